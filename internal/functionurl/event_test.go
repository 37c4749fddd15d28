package functionurl

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"
)

const id = "abcdefghijklmnopqrstuvwxyz012345"

func request(t testing.TB, method, target, body string, header ...string) *Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return &Request{
		HTTP: r, Path: r.URL.EscapedPath(), Body: []byte(body), ID: "e1506fd5-9e7b-434f-bd42-4f8fa224b599",
		Trace: "Root=1-62ecd163-5f302e550dcde3b12402207d;Parent=53995c3f42cd8ad8;Sampled=0",
		URLID: id, Domain: id + ".lambda-url.us-west-2.localhost", Scheme: "https", Port: "443",
		SourceIP: "123.123.123.123", Time: time.UnixMilli(1583348638390), Account: "123456789012",
	}
}

func (r *Request) event(t testing.TB) map[string]any {
	t.Helper()
	raw, err := r.Event()
	if err != nil {
		t.Fatal(err)
	}
	var e map[string]any
	if err := json.Unmarshal(raw, &e); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return e
}

func sameJSON(t *testing.T, got any, want string) {
	t.Helper()
	var w any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, w) {
		g, err := json.MarshalIndent(got, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		t.Errorf("got  %s\nwant %s", g, want)
	}
}

// TestDocumentedEvent is the example of AWS's documentation, as a request of an
// IAM user.
func TestDocumentedEvent(t *testing.T) {
	r := request(t, "POST", "/my/path?parameter1=value1&parameter1=value2&parameter2=value", "Hello from client!",
		"Cookie", "cookie1; cookie2", "Header1", "value1", "Header2", "value1", "Header2", "value2",
		"User-Agent", "agent", "Content-Type", "text/plain", "Authorization", "AWS4-HMAC-SHA256 x", "X-Amz-Security-Token", "secret", "X-Amz-Date", "20200304T181718Z")
	r.HTTP.Host = r.Domain
	r.Caller = &Caller{AccessKey: "AKIA...", Account: "111122223333", ID: "AIDA...", ARN: "arn:aws:iam::111122223333:user/example-user", UserID: "AIDA..."}
	sameJSON(t, r.event(t), `{
		"version": "2.0", "routeKey": "$default", "rawPath": "/my/path",
		"rawQueryString": "parameter1=value1&parameter1=value2&parameter2=value",
		"cookies": ["cookie1", "cookie2"],
		"headers": {
			"header1": "value1", "header2": "value1,value2", "user-agent": "agent", "content-type": "text/plain", "content-length": "18",
			"host": "abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-west-2.localhost", "x-amz-date": "20200304T181718Z",
			"x-amzn-trace-id": "Root=1-62ecd163-5f302e550dcde3b12402207d",
			"x-forwarded-for": "123.123.123.123", "x-forwarded-port": "443", "x-forwarded-proto": "https"
		},
		"queryStringParameters": {"parameter1": "value1,value2", "parameter2": "value"},
		"requestContext": {
			"accountId": "123456789012", "apiId": "abcdefghijklmnopqrstuvwxyz012345",
			"authorizer": {"iam": {
				"accessKey": "AKIA...", "accountId": "111122223333", "callerId": "AIDA...", "cognitoIdentity": null, "principalOrgId": null,
				"userArn": "arn:aws:iam::111122223333:user/example-user", "userId": "AIDA..."
			}},
			"domainName": "abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-west-2.localhost", "domainPrefix": "abcdefghijklmnopqrstuvwxyz012345",
			"http": {"method": "POST", "path": "/my/path", "protocol": "HTTP/1.1", "sourceIp": "123.123.123.123", "userAgent": "agent"},
			"requestId": "e1506fd5-9e7b-434f-bd42-4f8fa224b599", "routeKey": "$default", "stage": "$default",
			"time": "04/Mar/2020:19:03:58 +0000", "timeEpoch": 1583348638390
		},
		"body": "Hello from client!", "isBase64Encoded": false
	}`)
}

func TestBareEvent(t *testing.T) {
	r := request(t, "GET", "/", "")
	r.HTTP.Host, r.Scheme, r.Port = "h:8080", "http", "8080"
	sameJSON(t, r.event(t), `{
		"version": "2.0", "routeKey": "$default", "rawPath": "/", "rawQueryString": "",
		"headers": {"host": "h:8080", "x-amzn-trace-id": "Root=1-62ecd163-5f302e550dcde3b12402207d",
			"x-forwarded-for": "123.123.123.123", "x-forwarded-port": "8080", "x-forwarded-proto": "http"},
		"requestContext": {
			"accountId": "anonymous", "apiId": "abcdefghijklmnopqrstuvwxyz012345",
			"domainName": "abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-west-2.localhost", "domainPrefix": "abcdefghijklmnopqrstuvwxyz012345",
			"http": {"method": "GET", "path": "/", "protocol": "HTTP/1.1", "sourceIp": "123.123.123.123", "userAgent": ""},
			"requestId": "e1506fd5-9e7b-434f-bd42-4f8fa224b599", "routeKey": "$default", "stage": "$default",
			"time": "04/Mar/2020:19:03:58 +0000", "timeEpoch": 1583348638390
		},
		"isBase64Encoded": false
	}`)
}

func TestEventBody(t *testing.T) {
	for _, tt := range []struct {
		contentType, body string
		text              bool
	}{
		{"text/plain", "hello", true},
		{"text/html; charset=utf-8", "<p>ü € 漢字", true},
		{"TEXT/CSV", "a,b", true},
		{"application/json", `{"a":1}`, true},
		{"application/json;charset", `{"a":1}`, true},
		{"application/javascript", "x", true},
		{"application/xml", "<x/>", true},
		{"application/vnd.api+json", "{}", true},
		{"application/soap+xml", "<x/>", true},
		{"application/x-www-form-urlencoded", "a=b", false},
		{"multipart/form-data; boundary=x", "--x", false},
		{"application/octet-stream", "x", false},
		{"image/png", "x", false},
		{"image/svg+xml", "<svg/>", false},
		{"", "{}", false},
		{"nonsense; ;", "x", false},
		{"text/plain", "\xff\xfe", false},
		{"application/json", "\"\x00\u2028<>&\"", true},
	} {
		e := request(t, "POST", "/", tt.body, "Content-Type", tt.contentType).event(t)
		want := tt.body
		if !tt.text {
			want = base64.StdEncoding.EncodeToString([]byte(tt.body))
		}
		if e["body"] != want || e["isBase64Encoded"] != !tt.text {
			t.Errorf("%s: %q came as %q, isBase64Encoded %v", tt.contentType, tt.body, e["body"], e["isBase64Encoded"])
		}
	}
}

func TestEventHeaders(t *testing.T) {
	r := request(t, "POST", "/", "",
		"Connection", "close, X-Hop", "X-Hop", "x", "Keep-Alive", "5", "Te", "trailers", "Transfer-Encoding", "chunked", "Upgrade", "h2c",
		"Proxy-Authorization", "secret", "X-Forwarded-For", "10.0.0.1", "X-Forwarded-Proto", "gopher", "X-Forwarded-Port", "70",
		"X-Amzn-Trace-Id", "Root=mine", "Cookie", "a=1; ; b=2", "Cookie", "c=3", "Authorization", "Bearer x", "Content-Length", "0",
		"X-Bad", "\xff")
	e := r.event(t)
	headers := e["headers"].(map[string]any)
	for name, want := range map[string]any{
		"connection": nil, "x-hop": nil, "keep-alive": nil, "te": nil, "transfer-encoding": nil, "upgrade": nil, "proxy-authorization": nil,
		"cookie": nil, "x-forwarded-for": "10.0.0.1, 123.123.123.123", "x-forwarded-proto": "https", "x-forwarded-port": "443",
		"x-amzn-trace-id": "Root=1-62ecd163-5f302e550dcde3b12402207d", "authorization": "Bearer x", "content-length": "0", "x-bad": "\ufffd",
	} {
		if headers[name] != want {
			t.Errorf("%s = %v, want %v", name, headers[name], want)
		}
	}
	sameJSON(t, e["cookies"], `["a=1", "b=2", "c=3"]`)
}

func TestEventQuery(t *testing.T) {
	for _, tt := range []struct {
		name, query string
		signed      bool
		raw         string
		parameters  string
	}{
		{"none", "", false, "", "null"},
		{"values", "?a=1&b=x%20y+z&a=2&c&%C3%BC=%E2%82%AC", false, "a=1&b=x%20y+z&a=2&c&%C3%BC=%E2%82%AC", `{"a": "1,2", "b": "x y z", "c": "", "ü": "€"}`},
		{"malformed", "?a=%zz&b=1", false, "a=%zz&b=1", `{"b": "1"}`},
		{"presigned", "?a=1&X-Amz-Signature=s&X%2dAmz-Security%2DToken=t&X-Amz-Date=d", true, "a=1&X-Amz-Date=d", `{"a": "1", "X-Amz-Date": "d"}`},
		{"not signed", "?X-Amz-Signature=s", false, "X-Amz-Signature=s", `{"X-Amz-Signature": "s"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := request(t, "GET", "/a%20b//c"+tt.query, "")
			if tt.signed {
				r.Caller = &Caller{}
			}
			e := r.event(t)
			if e["rawQueryString"] != tt.raw || e["rawPath"] != "/a%20b//c" {
				t.Errorf("rawQueryString %q, rawPath %q", e["rawQueryString"], e["rawPath"])
			}
			sameJSON(t, e["queryStringParameters"], tt.parameters)
		})
	}
}

func BenchmarkEvent(b *testing.B) {
	r := request(b, http.MethodPost, "/my/path?a=1&b=2", `{"hello":"world"}`, "Content-Type", "application/json", "Accept", "*/*", "User-Agent", "bench")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Event(); err != nil {
			b.Fatal(err)
		}
	}
}
