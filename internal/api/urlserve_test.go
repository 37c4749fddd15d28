package api_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/internal/api"
	"hearth/internal/awserr"
	"hearth/internal/control"
	"hearth/internal/invocation"
	"hearth/internal/sigv4"
)

// puppet answers invokes as a test says.
type puppet struct {
	idle

	mu     sync.Mutex
	last   *invocation.Request
	target string
	answer string
	// failure is the function's, err the frontend's.
	failure string
	err     error
	stream  func(to invocation.Sink) (*invocation.Response, error)
}

func (p *puppet) Invoke(_ context.Context, account, name, qualifier string, req *invocation.Request) (*invocation.Response, *invocation.Timeline, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last, p.target = req, account+"/"+name+"/"+qualifier
	if p.err != nil {
		return nil, nil, p.err
	}
	return &invocation.Response{Payload: []byte(p.answer), FunctionError: p.failure, Version: "$LATEST"}, &invocation.Timeline{}, nil
}

func (p *puppet) InvokeStream(_ context.Context, account, name, qualifier string, req *invocation.Request, to invocation.Sink) (
	*invocation.Response, *invocation.Timeline, error,
) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last, p.target = req, account+"/"+name+"/"+qualifier
	res, err := p.stream(to)
	return res, &invocation.Timeline{}, err
}

// event is what the function got last.
func (p *puppet) event(t *testing.T) map[string]any {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		t.Fatal("the function was not invoked")
	}
	var e map[string]any
	if err := json.Unmarshal(p.last.Payload, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func (p *puppet) invoked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.last != nil
	p.last = nil
	return was
}

// site is a Hearth with a function and a client for its URLs.
type site struct {
	hearth
	*puppet
	transport *http.Transport
}

func startSite(t *testing.T) *site {
	t.Helper()
	s := &site{puppet: &puppet{answer: `"hello"`}, transport: &http.Transport{}}
	s.hearth = startHearth(t, func(_ *control.Config, c *api.Config) { c.Invoker = s.puppet })
	t.Cleanup(s.transport.CloseIdleConnections)
	s.create("hi")
	return s
}

// public lets everybody invoke a function by its URL.
func (s *site) public(name, qualifier string) {
	s.t.Helper()
	for i, in := range []*lambda.AddPermissionInput{
		{Action: aws.String("lambda:InvokeFunctionUrl"), FunctionUrlAuthType: types.FunctionUrlAuthTypeNone},
		{Action: aws.String("lambda:InvokeFunction"), InvokedViaFunctionUrl: aws.Bool(true)},
	} {
		in.FunctionName, in.Principal, in.StatementId = &name, aws.String("*"), aws.String(fmt.Sprint("public", i))
		if qualifier != "" {
			in.Qualifier = &qualifier
		}
		if _, err := s.AddPermission(s.t.Context(), in); err != nil {
			s.t.Fatal(err)
		}
	}
}

// request makes a request to the host form of a URL.
func (s *site) request(method, id, path, body string, header ...string) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Host = id + ".lambda-url.us-east-1.functions.test:4566"
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func sign(t *testing.T, r *http.Request, service, body string) *http.Request {
	t.Helper()
	now := time.Now().UTC()
	scope := sigv4.Scope{Date: now.Format("20060102"), Region: region, Service: service}
	if err := sigv4.Sign(t.Context(), r, key, secret, scope, []byte(body), now); err != nil {
		t.Fatal(err)
	}
	return r
}

// page is an HTTP answer, read.
type page struct {
	status int
	header http.Header
	body   string
}

func (s *site) do(r *http.Request) page {
	s.t.Helper()
	res, err := (&http.Client{Transport: s.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return page{res.StatusCode, res.Header, string(body)}
}

func (p page) want(t *testing.T, status int, body string, header ...string) {
	t.Helper()
	if p.status != status || p.body != body {
		t.Errorf("got  %d %s\nwant %d %s", p.status, p.body, status, body)
	}
	for i := 0; i < len(header); i += 2 {
		if got := strings.Join(p.header[http.CanonicalHeaderKey(header[i])], " | "); got != header[i+1] {
			t.Errorf("%s: got %q, want %q", header[i], got, header[i+1])
		}
	}
}

const (
	forbidden  = `{"Message":"Forbidden. For troubleshooting Function URL authorization issues, see: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"}`
	badGateway = "Internal Server Error"
)

func TestURLServesEverybody(t *testing.T) {
	s := startSite(t)
	id := urlID(t, s.createURL("hi", "", types.FunctionUrlAuthTypeNone).FunctionUrl)
	post := func() page {
		return s.do(s.request("POST", id, "/a%20b/c?x=1&x=2", `{"k":"v"}`, "Content-Type", "application/json", "Cookie", "a=1", "Authorization", "Bearer t"))
	}
	post().want(t, 403, forbidden, "X-Amzn-ErrorType", "AccessDeniedException", "Content-Type", "application/json") // url-083
	if s.invoked() {
		t.Error("a forbidden request invoked the function")
	}
	s.public("hi", "")
	got := post()
	got.want(t, 200, "hello", "Content-Type", "application/json", "Content-Length", "5", "Server-Timing", "")
	e := s.event(t)
	context := e["requestContext"].(map[string]any)
	headers := e["headers"].(map[string]any)
	for _, c := range []struct{ got, want any }{
		{e["rawPath"], "/a%20b/c"},
		{e["rawQueryString"], "x=1&x=2"},
		{fmt.Sprint(e["queryStringParameters"]), "map[x:1,2]"},
		{e["body"], `{"k":"v"}`},
		{fmt.Sprint(e["cookies"]), "[a=1]"},
		{headers["authorization"], "Bearer t"},
		{headers["host"], id + ".lambda-url.us-east-1.functions.test:4566"},
		{headers["x-forwarded-for"], "127.0.0.1"},
		{headers["x-forwarded-proto"], "http"},
		{headers["x-forwarded-port"], "4566"},
		{context["domainName"], id + ".lambda-url.us-east-1.functions.test"},
		{context["apiId"], id},
		{context["accountId"], "anonymous"},
		{context["authorizer"], nil},
		{context["requestId"], got.header.Get("X-Amzn-Requestid")},
		{s.last.ID, got.header.Get("X-Amzn-Requestid")},
		{s.last.TraceID, got.header.Get("X-Amzn-Trace-Id")},
		{s.last.InvokedARN, hiARN},
		{s.target, "000000000000/hi/"},
	} {
		if c.got != c.want {
			t.Errorf("got %v, want %v", c.got, c.want)
		}
	}
	// A signature is nothing to a URL that asks for none.
	s.do(sign(t, s.request("GET", id, "/", ""), "lambda", "x")).want(t, 200, "hello")
	for _, host := range []string{id + ".lambda-url.us-east-1.elsewhere.example", strings.ToUpper(id) + ".LAMBDA-URL.US-EAST-1.localhost:1"} {
		r := s.request("GET", id, "/", "")
		r.Host = host
		s.do(r).want(t, 200, "hello")
	}
}

func TestURLIsNobodys(t *testing.T) {
	s := startSite(t)
	id := urlID(t, s.createURL("hi", "", types.FunctionUrlAuthTypeNone).FunctionUrl)
	s.public("hi", "")
	unknown := "0123456789abcdefghijklmnopqrstuv"
	for _, host := range []string{
		unknown + ".lambda-url.us-east-1.localhost", id + ".lambda-url.eu-west-1.localhost", id + ".lambda-url.us-east-10.localhost",
		id + ".lambda-url.", "x." + id + ".lambda-url.us-east-1.localhost", "a.lambda-url.b.lambda-url.us-east-1.localhost",
	} {
		r := s.request("GET", id, "/", "")
		r.Host = host
		s.do(r).want(t, 403, `{"Message":null}`, "X-Amzn-ErrorType", "AccessDeniedException", "Content-Type", "application/json")
	}
	for _, path := range []string{"/_url/", "/_url/" + unknown, "/_url/" + unknown + "/x"} {
		r := s.request("GET", id, path, "")
		r.Host = "localhost"
		s.do(r).want(t, 403, `{"Message":null}`)
	}
	// The API is not below a URL's host, and a URL ends with its function.
	s.do(sign(t, s.request("GET", id, "/2015-03-31/functions", ""), "lambda", "")).want(t, 200, "hello")
	s.do(s.request("GET", id, "/_hearth/health", "")).want(t, 200, "hello")
	if _, err := s.DeleteFunction(t.Context(), &lambda.DeleteFunctionInput{FunctionName: aws.String("hi")}); err != nil {
		t.Fatal(err)
	}
	s.do(s.request("GET", id, "/", "")).want(t, 403, `{"Message":null}`)
}

func TestURLPathForm(t *testing.T) {
	s := startSite(t)
	id := urlID(t, s.createURL("hi", "", types.FunctionUrlAuthTypeNone).FunctionUrl)
	s.public("hi", "")
	s.answer = `{"statusCode": 200, "cookies": ["a=1; Path=/; HttpOnly", "b=2;domain=localhost;path ; Secure", "path=c"], "headers": {"Set-Cookie": "d=4", "Content-Security-Policy": "default-src x"}}`
	for _, tt := range []struct{ path, want string }{
		{"/_url/" + id, "/"}, {"/_url/" + id + "/", "/"}, {"/_url/" + id + "/a%2Fb/?q", "/a%2Fb/"},
	} {
		r := s.request("GET", id, tt.path, "")
		r.Host = "127.0.0.1:4566"
		got := s.do(r)
		scope := "; Path=/_url/" + id
		got.want(t, 200, "", "Set-Cookie", "d=4"+scope+" | a=1; HttpOnly"+scope+" | b=2; Secure"+scope+" | path=c"+scope,
			"Content-Security-Policy", "default-src x | sandbox allow-scripts allow-forms allow-popups")
		if e := s.event(t); e["rawPath"] != tt.want {
			t.Errorf("%s: rawPath %v, want %s", tt.path, e["rawPath"], tt.want)
		}
	}
	got := s.do(s.request("GET", id, "/", ""))
	got.want(t, 200, "", "Set-Cookie", "d=4 | a=1; Path=/; HttpOnly | b=2;domain=localhost;path ; Secure | path=c", "Content-Security-Policy", "default-src x")
}

func TestURLWithIAM(t *testing.T) {
	s := startSite(t)
	id := urlID(t, s.createURL("hi", "", types.FunctionUrlAuthTypeAwsIam).FunctionUrl)
	s.public("hi", "") // is for AuthType NONE
	const body = `{"k":"v"}`
	post := func() *http.Request {
		return s.request("POST", id, "/x?a=b%20c", body, "Content-Type", "application/json", "Cookie", "a=1")
	}
	s.do(post()).want(t, 403, forbidden, "X-Amzn-ErrorType", "AccessDeniedException")
	if e := (*s.events)[len(*s.events)-1]; e.By != "MissingAuthenticationTokenException" || e.Allowed || e.RequestID == "" {
		t.Errorf("the audit log has %+v", e)
	}
	s.do(sign(t, post(), "lambda", body)).want(t, 200, "hello")
	for i, action := range []string{"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"} {
		if e := (*s.events)[len(*s.events)-2+i]; e.Action != action || !e.Allowed || e.AccessKey != key || e.RequestID != s.last.ID {
			t.Errorf("the audit log has %+v", e)
		}
	}
	e := s.event(t)
	if got := fmt.Sprint(e["requestContext"].(map[string]any)["authorizer"]); got != "map[iam:map[accessKey:"+key+
		" accountId:000000000000 callerId:000000000000 cognitoIdentity:<nil> principalOrgId:<nil> userArn:arn:aws:iam::000000000000:root userId:000000000000]]" {
		t.Errorf("authorizer %s", got)
	}
	if headers := e["headers"].(map[string]any); headers["authorization"] != nil || headers["x-amz-date"] == nil {
		t.Errorf("headers %v", headers)
	}
	if account := e["requestContext"].(map[string]any)["accountId"]; account != "000000000000" {
		t.Errorf("accountId %v", account)
	}
	s.invoked()
	for _, tt := range []struct {
		name    string
		request *http.Request
		code    string
	}{
		{"another body", sign(t, post(), "lambda", "x"), "InvalidSignatureException"},
		{"another service", sign(t, post(), "sts", body), "InvalidSignatureException"},
		{"another path", func() *http.Request { r := sign(t, post(), "lambda", body); r.URL.Path = "/y"; return r }(), "InvalidSignatureException"},
		{"another host", func() *http.Request { r := sign(t, post(), "lambda", body); r.Host = "nobodys" + r.Host[7:]; return r }(), "AccessDeniedException"},
		{"unknown key", func() *http.Request {
			r := sign(t, post(), "lambda", body)
			r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), key, "AKIANOBODYNOBODY0001", 1))
			return r
		}(), "UnrecognizedClientException"},
		{"form", func() *http.Request {
			r := sign(t, post(), "lambda", body)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("X-Amz-Date", "20200101T000000Z")
			return r
		}(), "InvalidSignatureException"},
		{"JSON of another protocol", func() *http.Request {
			r := sign(t, post(), "lambda", body)
			r.Header.Set("Content-Type", "application/x-amz-json-1.1")
			r.Header.Set("X-Amz-Date", "20200101T000000Z")
			return r
		}(), "InvalidSignatureException"},
	} {
		got := s.do(tt.request)
		if got.status != 403 || got.header.Get("X-Amzn-Errortype") != tt.code || !strings.HasPrefix(got.body, "{") || s.invoked() {
			t.Errorf("%s: %d %s", tt.name, got.status, got.body)
		}
	}
}

func TestURLPresigned(t *testing.T) {
	s := startSite(t)
	id := urlID(t, s.createURL("hi", "", types.FunctionUrlAuthTypeAwsIam).FunctionUrl)
	link := func(life time.Duration, at time.Time) *http.Request {
		scope := sigv4.Scope{Date: at.Format("20060102"), Region: region, Service: "lambda"}
		signed, err := sigv4.Presign(t.Context(), s.request("GET", id, "/x?a=1", ""), aws.Credentials{AccessKeyID: key, SecretAccessKey: secret}, scope, at, life)
		if err != nil {
			t.Fatal(err)
		}
		_, query, _ := strings.Cut(signed, "?")
		return s.request("GET", id, "/x?"+query, "")
	}
	now := time.Now().UTC()
	s.do(link(time.Minute, now)).want(t, 200, "hello")
	if raw := s.event(t)["rawQueryString"].(string); strings.Contains(raw, "Signature=") || !strings.Contains(raw, "a=1") || !strings.Contains(raw, "X-Amz-Date") {
		t.Errorf("the function got the query %s", raw)
	}
	s.invoked()
	if got := s.do(link(time.Minute, now.Add(-2*time.Minute))); got.status != 403 || got.header.Get("X-Amzn-Errortype") != "InvalidSignatureException" || s.invoked() {
		t.Errorf("an expired link: %d %s", got.status, got.body)
	}
}

// TestURLPermissions takes the statements away that a public URL needs, one at
// a time.
func TestURLPermissions(t *testing.T) {
	s := startSite(t)
	s.publish("hi")
	ctx, hi := t.Context(), aws.String("hi")
	if _, err := s.CreateAlias(ctx, &lambda.CreateAliasInput{FunctionName: hi, Name: aws.String("live"), FunctionVersion: aws.String("1")}); err != nil {
		t.Fatal(err)
	}
	latest := urlID(t, s.createURL("hi", "", types.FunctionUrlAuthTypeNone).FunctionUrl)
	live := urlID(t, s.createURL("hi", "live", types.FunctionUrlAuthTypeNone).FunctionUrl)
	get := func(id string) page { return s.do(s.request("GET", id, "/", "")) }
	s.public("hi", "live")
	get(latest).want(t, 403, forbidden) // each has a policy of its own
	get(live).want(t, 200, "hello")
	if s.last.InvokedARN != hiARN+":live" || s.target != "000000000000/hi/live" {
		t.Errorf("invoked %s, %s", s.last.InvokedARN, s.target)
	}
	for _, id := range []string{"public0", "public1"} {
		if _, err := s.RemovePermission(ctx, &lambda.RemovePermissionInput{FunctionName: hi, Qualifier: aws.String("live"), StatementId: &id}); err != nil {
			t.Fatal(err)
		}
		get(live).want(t, 403, forbidden)
		if id == "public0" {
			if _, err := s.RemovePermission(ctx, &lambda.RemovePermissionInput{FunctionName: hi, Qualifier: aws.String("live"), StatementId: aws.String("public1")}); err != nil {
				t.Fatal(err)
			}
			s.public("hi", "live")
		}
	}
	s.public("hi", "")
	get(latest).want(t, 200, "hello")
	if _, err := s.UpdateFunctionUrlConfig(ctx, &lambda.UpdateFunctionUrlConfigInput{FunctionName: hi, AuthType: types.FunctionUrlAuthTypeAwsIam}); err != nil {
		t.Fatal(err)
	}
	get(latest).want(t, 403, forbidden)
	// A deny is stronger than the account's own right.
	s.do(sign(t, s.request("GET", latest, "/", ""), "lambda", "")).want(t, 200, "hello")
	for _, tt := range []struct {
		condition string
		status    int
		body      string
	}{
		{`"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}`, 200, "hello"},
		{`"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}`, 403, forbidden},
		{`"Bool": {"lambda:InvokedViaFunctionUrl": "true"}`, 403, forbidden},
	} {
		document := `{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "lambda:InvokeFunction*", "Resource": "` + hiARN +
			`", "Condition": {` + tt.condition + `}}]}`
		if _, err := s.PutResourcePolicy(ctx, &lambda.PutResourcePolicyInput{ResourceArn: aws.String(hiARN), Policy: &document}); err != nil {
			t.Fatal(err)
		}
		s.do(sign(t, s.request("GET", latest, "/", ""), "lambda", "")).want(t, tt.status, tt.body)
	}
}

func TestURLAnswers(t *testing.T) {
	s := startSite(t)
	id := urlID(t, s.createURL("hi", "", types.FunctionUrlAuthTypeNone).FunctionUrl)
	s.public("hi", "")
	throttled := awserr.Throttled(awserr.ReasonReservedConcurrentInvocationLimit)
	throttled.RetryAfterSeconds = 1
	for _, tt := range []struct {
		name, method    string
		answer, failure string
		err             error
		status          int
		body            string
		header          []string
	}{
		{name: "structured", answer: `{"statusCode": 201, "headers": {"My-Custom-Header": "Custom Value", "content-type": "text/html"}, "body": "<p>", "cookies": ["a=1", "b=2"]}`,
			status: 201, body: "<p>", header: []string{"My-Custom-Header", "Custom Value", "Content-Type", "text/html", "Set-Cookie", "a=1 | b=2"}},
		{name: "binary", answer: `{"statusCode": 200, "body": "` + base64.StdEncoding.EncodeToString([]byte("\x00\xff")) + `", "isBase64Encoded": true}`, status: 200, body: "\x00\xff"},
		{name: "redirect", answer: `{"statusCode": 302, "headers": {"Location": "/x"}}`, status: 302, header: []string{"Location", "/x"}},
		{name: "no content", answer: `{"statusCode": 204, "body": "ignored"}`, status: 204},
		{name: "not modified", answer: `{"statusCode": 304, "body": "ignored"}`, status: 304},
		{name: "HEAD", method: "HEAD", answer: `{"statusCode": 200, "body": "12345"}`, status: 200, header: []string{"Content-Length", "5"}},
		{name: "own length and connection", answer: `{"statusCode": 200, "headers": {"Content-Length": "99", "Connection": "close", "Transfer-Encoding": "x", "X-Amzn-Requestid": "x"}, "body": "b"}`,
			status: 200, body: "b", header: []string{"Content-Length", "1", "Connection", ""}},
		{name: "error status", answer: `{"statusCode": 500, "body": "mine"}`, status: 500, body: "mine"},
		{name: "malformed", answer: `{"statusCode": "OK"}`, status: 502, body: badGateway, header: []string{"Content-Type", "application/json"}},
		{name: "split", answer: `{"statusCode": 200, "headers": {"a": "b\r\nSet-Cookie: c"}}`, status: 502, body: badGateway},
		{name: "not JSON", answer: "hello", status: 502, body: badGateway},
		{name: "function error", answer: `{"errorMessage": "secret", "statusCode": 200}`, failure: "Unhandled", status: 502, body: badGateway},
		{name: "throttled", err: throttled, status: 429, header: []string{"Retry-After", "1"},
			body: `{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}`},
		{name: "fault", err: errors.New("disk on fire"), status: 500},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.answer, s.failure, s.err = tt.answer, tt.failure, tt.err
			method := tt.method
			if method == "" {
				method = "POST"
			}
			got := s.do(s.request(method, id, "/", "a=b", "Content-Type", "application/x-www-form-urlencoded"))
			if tt.name == "fault" {
				tt.body = got.body
				if strings.Contains(got.body, "fire") {
					t.Errorf("the cause got out: %s", got.body)
				}
			}
			got.want(t, tt.status, tt.body, tt.header...)
			if len(got.header.Get("X-Amzn-Requestid")) != 36 {
				t.Errorf("request id %q", got.header.Get("X-Amzn-Requestid"))
			}
		})
	}
}

func TestURLSizes(t *testing.T) {
	s := startSite(t)
	id := urlID(t, s.createURL("hi", "", types.FunctionUrlAuthTypeNone).FunctionUrl)
	s.public("hi", "")
	for _, tt := range []struct {
		name, kind string
		size       int
		status     int
	}{
		{"fits", "text/plain", 6<<20 - 4096, 200},
		{"the event is larger than its body", "text/plain", 6 << 20, 413},
		{"too large in base64", "image/png", 5 << 20, 413},
		{"too large", "text/plain", 6<<20 + 1, 413},
	} {
		s.invoked()
		got := s.do(s.request("POST", id, "/", strings.Repeat("x", tt.size), "Content-Type", tt.kind))
		if got.status != tt.status || s.invoked() != (tt.status == 200) {
			t.Errorf("%s: %d %.200s", tt.name, got.status, got.body)
		}
	}
}

func TestURLCORS(t *testing.T) {
	s := startSite(t)
	id := urlID(t, s.createURL("hi", "", types.FunctionUrlAuthTypeAwsIam, func(in *lambda.CreateFunctionUrlConfigInput) {
		in.Cors = &types.Cors{AllowOrigins: []string{"https://a.example"}, AllowMethods: []string{"GET"}, MaxAge: aws.Int32(60)}
	}).FunctionUrl)
	preflight := s.do(s.request("OPTIONS", id, "/", "", "Origin", "https://a.example", "Access-Control-Request-Method", "GET"))
	preflight.want(t, 200, "", "Access-Control-Allow-Origin", "https://a.example", "Access-Control-Allow-Methods", "GET", "Access-Control-Max-Age", "60", "Vary", "Origin")
	s.do(s.request("OPTIONS", id, "/", "", "Origin", "https://b.example", "Access-Control-Request-Method", "GET")).want(t, 200, "", "Access-Control-Allow-Origin", "", "Vary", "Origin")
	if s.invoked() {
		t.Error("a preflight invoked the function")
	}
	// A browser can read why it was refused.
	s.do(s.request("GET", id, "/", "", "Origin", "https://a.example")).want(t, 403, forbidden, "Access-Control-Allow-Origin", "https://a.example")
	s.do(s.request("OPTIONS", id, "/", "", "Origin", "https://a.example")).want(t, 403, forbidden)
	s.answer = `{"statusCode": 200, "headers": {"Access-Control-Allow-Origin": "*", "access-control-allow-headers": "x", "Vary": "Accept"}}`
	for origin, want := range map[string]string{"https://a.example": "https://a.example", "https://b.example": ""} {
		s.do(sign(t, s.request("GET", id, "/", "", "Origin", origin), "lambda", "")).want(t, 200, "",
			"Access-Control-Allow-Origin", want, "Access-Control-Allow-Headers", "x", "Vary", "Origin | Accept")
	}
	// Without a setting all of it is the function's.
	if _, err := s.UpdateFunctionUrlConfig(t.Context(), &lambda.UpdateFunctionUrlConfigInput{FunctionName: aws.String("hi"), Cors: &types.Cors{}}); err != nil {
		t.Fatal(err)
	}
	s.do(sign(t, s.request("OPTIONS", id, "/", "", "Origin", "https://b.example", "Access-Control-Request-Method", "GET"), "lambda", "")).want(t, 200, "",
		"Access-Control-Allow-Origin", "*", "Vary", "Accept")
}
