package functionurl

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Request is a request to a function URL, read and authorised.
type Request struct {
	HTTP *http.Request
	// Path is the path as the client escaped it, without what Hearth put
	// before it.
	Path string
	Body []byte
	// ID is the invoke's, which the function and its log see.
	ID string
	// Trace is the X-Amzn-Trace-Id that the function gets.
	Trace string
	// URLID is the URL's id, Domain its host name, Scheme and Port how it is
	// published.
	URLID, Domain, Scheme, Port string
	SourceIP                    string
	Time                        time.Time
	// Account owns the function.
	Account string
	// Caller signed the request; nil if the URL asks for no signature.
	Caller *Caller
}

// Caller is who signed a request.
type Caller struct {
	AccessKey string  `json:"accessKey"`
	Account   string  `json:"accountId"`
	ID        string  `json:"callerId"`
	Cognito   *string `json:"cognitoIdentity"` // always null, as AWS's
	Org       *string `json:"principalOrgId"`  // always null: there are none
	ARN       string  `json:"userArn"`
	UserID    string  `json:"userId"`
}

// event is payload format 2.0, in the order of AWS's documentation
// (https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-request-payload).
// Members that function URLs never set are left out, as AWS does.
type event struct {
	Version    string            `json:"version"`
	RouteKey   string            `json:"routeKey"`
	RawPath    string            `json:"rawPath"`
	RawQuery   string            `json:"rawQueryString"`
	Cookies    []string          `json:"cookies,omitempty"`
	Headers    map[string]string `json:"headers"`
	Parameters map[string]string `json:"queryStringParameters,omitempty"`
	Context    eventContext      `json:"requestContext"`
	Body       *string           `json:"body,omitempty"`
	Base64     bool              `json:"isBase64Encoded"`
}

type eventContext struct {
	Account    string           `json:"accountId"`
	API        string           `json:"apiId"`
	Authorizer *eventAuthorizer `json:"authorizer,omitempty"`
	Domain     string           `json:"domainName"`
	Prefix     string           `json:"domainPrefix"`
	HTTP       eventHTTP        `json:"http"`
	RequestID  string           `json:"requestId"`
	RouteKey   string           `json:"routeKey"`
	Stage      string           `json:"stage"`
	Time       string           `json:"time"`
	Epoch      int64            `json:"timeEpoch"`
}

type eventAuthorizer struct {
	IAM *Caller `json:"iam"`
}

type eventHTTP struct {
	Method    string `json:"method"`
	Path      string `json:"path"`
	Protocol  string `json:"protocol"`
	SourceIP  string `json:"sourceIp"`
	UserAgent string `json:"userAgent"`
}

const (
	// placeholder is what AWS writes where API Gateway would have a route.
	placeholder = "$default"
	clfTime     = "02/Jan/2006:15:04:05 -0700"
)

// Event is the request as the function gets it.
func (r *Request) Event() ([]byte, error) {
	query := r.query()
	e := event{
		Version: "2.0", RouteKey: placeholder, RawPath: r.Path, RawQuery: query,
		Cookies: cookies(r.HTTP.Header), Headers: r.headers(), Parameters: parameters(query),
		Context: eventContext{
			Account: "anonymous", API: r.URLID, Domain: r.Domain, Prefix: r.URLID,
			HTTP: eventHTTP{
				Method: r.HTTP.Method, Path: r.Path, Protocol: r.HTTP.Proto,
				SourceIP: r.SourceIP, UserAgent: r.HTTP.UserAgent(),
			},
			RequestID: r.ID, RouteKey: placeholder, Stage: placeholder,
			Time: r.Time.UTC().Format(clfTime), Epoch: r.Time.UnixMilli(),
		},
	}
	if r.Caller != nil {
		e.Context.Account, e.Context.Authorizer = r.Account, &eventAuthorizer{r.Caller}
	}
	if len(r.Body) > 0 {
		body := ""
		if e.Base64 = !isText(r.HTTP.Header.Get("Content-Type"), r.Body); e.Base64 {
			body = base64.StdEncoding.EncodeToString(r.Body)
		} else {
			body = string(r.Body)
		}
		e.Body = &body
	}
	var b bytes.Buffer
	b.Grow(len(r.Body) + 4<<10)
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(&e); err != nil {
		return nil, fmt.Errorf("function url: write the event: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// isText says whether a body is handed over as it is. That is by its content
// type, as AWS does; what JSON cannot hold is Base64 in any case.
func isText(contentType string, body []byte) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		kind, _, _ = strings.Cut(strings.ToLower(contentType), ";")
		kind = strings.TrimSpace(kind)
	}
	sub, application := strings.CutPrefix(kind, "application/")
	text := strings.HasPrefix(kind, "text/") ||
		application && (slices.Contains([]string{"json", "javascript", "xml"}, sub) || strings.HasSuffix(sub, "+json") || strings.HasSuffix(sub, "+xml"))
	return text && utf8.Valid(body)
}

// hop are the headers that belong to one connection (RFC 9110, 7.6.1).
var hop = []string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade",
}

// connectionHeaders are those of hop and what Connection names.
func connectionHeaders(h http.Header) []string {
	names := slices.Clone(hop)
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			names = append(names, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
	return names
}

// headers are the request's, in lower case, several values joined by commas.
func (r *Request) headers() map[string]string {
	dropped := append(connectionHeaders(r.HTTP.Header), "Cookie", "Content-Length", "X-Forwarded-Proto", "X-Forwarded-Port")
	if r.Caller != nil {
		dropped = append(dropped, "Authorization", "X-Amz-Security-Token")
	}
	const added = 6
	out := make(map[string]string, len(r.HTTP.Header)+added)
	for name, values := range r.HTTP.Header {
		if !slices.Contains(dropped, name) {
			out[strings.ToLower(name)] = strings.Join(values, ",")
		}
	}
	out["host"] = r.HTTP.Host
	if _, sent := r.HTTP.Header["Content-Length"]; sent || len(r.Body) > 0 {
		out["content-length"] = strconv.Itoa(len(r.Body))
	}
	out["x-amzn-trace-id"] = root(r.Trace)
	out["x-forwarded-proto"], out["x-forwarded-port"] = r.Scheme, r.Port
	// The last is the one that Hearth saw.
	if before := out["x-forwarded-for"]; before != "" {
		out["x-forwarded-for"] = before + ", " + r.SourceIP
	} else {
		out["x-forwarded-for"] = r.SourceIP
	}
	return out
}

// root is the part of a trace header that clients send.
func root(trace string) string {
	for part := range strings.SplitSeq(trace, ";") {
		if strings.HasPrefix(part, "Root=") {
			return part
		}
	}
	return trace
}

// cookies are those of all Cookie headers, one by one.
func cookies(h http.Header) []string {
	var out []string
	for _, v := range h["Cookie"] {
		for c := range strings.SplitSeq(v, ";") {
			if c = strings.TrimSpace(c); c != "" {
				out = append(out, c)
			}
		}
	}
	return out
}

// proofs are the parameters of a presigned request that let others repeat it.
var proofs = []string{"X-Amz-Signature", "X-Amz-Security-Token"}

// query is the query as it was sent, without the proofs of who sent it.
func (r *Request) query() string {
	raw := r.HTTP.URL.RawQuery
	if r.Caller == nil {
		return raw
	}
	kept := slices.DeleteFunc(strings.Split(raw, "&"), func(field string) bool {
		name, _, _ := strings.Cut(field, "=")
		name, err := url.QueryUnescape(name)
		return err == nil && slices.Contains(proofs, name)
	})
	return strings.Join(kept, "&")
}

// parameters are a query's, several values joined by commas. What is malformed
// is in the raw query only.
func parameters(raw string) map[string]string {
	if raw == "" {
		return nil
	}
	values, _ := url.ParseQuery(raw)
	out := make(map[string]string, len(values))
	for name, v := range values {
		out[name] = strings.Join(v, ",")
	}
	return out
}
