package api

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"hearth/internal/arn"
	"hearth/internal/awserr"
	"hearth/internal/function"
	"hearth/internal/functionurl"
	"hearth/internal/invocation"
	"hearth/internal/policy"
)

// URLIndex finds functions by the ids of their URLs, from memory.
type URLIndex interface {
	URL(id string) (r *function.Record, qualifier string, ok bool)
}

// urlCall is a request to a function URL.
type urlCall struct {
	*call
	place  urlPlace
	url    *function.URL
	ref    arn.Function
	caller *functionurl.Caller // nil if anonymous
}

// serveURL serves a request to a function URL.
func (s *Server) serveURL(c *call, place urlPlace) error {
	c.viaURL = true
	record, qualifier, ok := s.cfg.URLs.URL(place.id)
	if !ok {
		// In AWS's words.
		s.write(c, &answer{
			status: http.StatusForbidden, body: []byte(`{"Message":null}`),
			header: http.Header{"Content-Type": {"application/json"}, "X-Amzn-Errortype": {"AccessDeniedException"}},
		})
		return nil
	}
	u := &urlCall{
		call: c, place: place, url: record.URLs[qualifier],
		ref: arn.Function{Region: record.Region, Account: record.Account, Name: record.Name, Qualifier: qualifier},
	}
	if qualifier == function.LatestVersion {
		u.ref.Qualifier = ""
	}
	functionurl.AllowCORS(u.url.CORS, c.r, c.w.Header())
	if u.url.CORS != nil && functionurl.IsPreflight(c.r) {
		// Browsers do not sign preflights, and functions do not see them.
		s.write(c, &answer{status: http.StatusOK})
		return nil
	}
	body, err := s.admitURL(u, record)
	if err != nil {
		return err
	}
	return s.invokeURL(u, body)
}

// admitURL finds out who sends a request and whether it may, and reads its
// body.
func (s *Server) admitURL(u *urlCall, record *function.Record) ([]byte, error) {
	if u.url.AuthType != function.AuthIAM {
		if err := s.authorizeURL(u, record); err != nil {
			return nil, err
		}
		return readUnsigned(u.call, invocation.MaxRequest)
	}
	p, err := s.verifier.Begin(u.r)
	if e, ok := awserr.As(err); ok && e.Code == "MissingAuthenticationTokenException" {
		s.auditRefusal(u.call, err)
		return nil, forbiddenURL()
	}
	if err != nil {
		return nil, err
	}
	if p.Scope.Service != "lambda" || p.Scope.Region != s.cfg.Region {
		return nil, awserr.New("InvalidSignatureException",
			"Credential should be scoped to the service 'lambda' and the region '%s', not to '%.64s' and '%.64s'.",
			s.cfg.Region, p.Scope.Service, p.Scope.Region)
	}
	body, err := readBody(u.call, p, invocation.MaxRequest)
	if err != nil {
		return nil, err
	}
	u.Identity = p.Identity
	u.RequestID = u.id
	u.caller = &functionurl.Caller{
		AccessKey: p.AccessKeyID, Account: p.AccountID, ID: p.UserID, ARN: p.PrincipalARN, UserID: p.UserID,
	}
	return body, s.authorizeURL(u, record)
}

// anonymous is who sends a request that nobody signed.
var anonymous = policy.Principal{Kind: policy.Anonymous, ARN: "anonymous"}

// authorizeURL asks whether the caller, or everybody, may invoke a function by
// its URL. Since October 2025 AWS asks for both actions.
func (s *Server) authorizeURL(u *urlCall, record *function.Record) error {
	ctx := u.r.Context()
	about, resource := subject{resource: u.ref.String(), account: u.ref.Account, fn: u.ref}, s.policyOf(ctx, u.ref)
	for _, action := range []string{"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"} {
		r := s.accessRequest(u.call, action, about)
		r.Keys.Set(policy.KeyFunctionURLAuthType, u.url.AuthType)
		r.Keys.SetBool(policy.KeyInvokedViaFunctionURL, true)
		r.Keys.SetTags(policy.TagsOfResource, record.Tags)
		var err error
		if u.caller != nil {
			err = s.cfg.Access.Authorize(ctx, &u.Identity, r, resource)
		} else {
			r.Principal = &anonymous
			err = s.cfg.Access.AuthorizeAnonymous(r, resource)
		}
		if e, ok := awserr.As(err); ok && e.Code == "AccessDeniedException" {
			return forbiddenURL()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// forbiddenURL refuses in the words that AWS has for all who may not.
func forbiddenURL() error {
	return awserr.New("AccessDeniedException", "Forbidden. For troubleshooting Function URL authorization issues, see: "+
		"https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html")
}

// invokeURL has the function answer.
func (s *Server) invokeURL(u *urlCall, body []byte) error {
	req, err := s.urlRequest(u, body)
	if err != nil {
		return err
	}
	u.w.Header()["X-Amzn-Trace-Id"] = []string{req.TraceID}
	// A function runs to its end even if its caller has gone.
	ctx := context.WithoutCancel(u.r.Context())
	if u.url.InvokeMode == function.ModeStream {
		return s.streamURL(ctx, u, req)
	}
	res, _, err := s.cfg.Invoker.Invoke(ctx, u.ref.Account, u.ref.Name, u.ref.Qualifier, req)
	if err != nil {
		return err
	}
	if res.FunctionError != "" {
		s.badGateway(u)
		return nil
	}
	a, err := functionurl.Decode(res.Payload)
	if err != nil {
		s.logURL(ctx, u, err)
		s.badGateway(u)
		return nil
	}
	s.guardAnswer(u, a)
	// Writers without deadlines, as tests have, are none the worse.
	control := http.NewResponseController(u.w)
	_ = control.SetWriteDeadline(time.Now().Add(urlWriteTime))
	s.write(u.call, &answer{status: a.Status, header: a.Header, body: a.Body})
	_ = control.Flush()
	_ = control.SetWriteDeadline(time.Time{})
	return nil
}

// urlRequest makes the invoke of a request.
func (s *Server) urlRequest(u *urlCall, body []byte) (*invocation.Request, error) {
	req := &invocation.Request{ID: u.id, InvokedARN: u.ref.String(), TraceID: s.trace(u.r.Header)}
	r := &functionurl.Request{
		HTTP: u.r, Path: u.place.path, Body: body, ID: u.id, Trace: req.TraceID,
		URLID: u.place.id, Domain: s.site.host(u.place.id), Scheme: s.site.scheme, Port: s.site.publicPort(),
		Time: s.cfg.Now(), Account: u.ref.Account, Caller: u.caller,
	}
	if u.r.TLS != nil {
		r.Scheme = "https"
	}
	if ip := remoteIP(u.r.RemoteAddr); ip.IsValid() {
		r.SourceIP = ip.String()
	}
	var err error
	if req.Payload, err = r.Event(); err != nil {
		return nil, err
	}
	if len(req.Payload) > invocation.MaxRequest {
		// Base64 and escapes have made it larger than it came.
		return nil, u.tooLarge(invocation.MaxRequest)
	}
	return req, nil
}

// badGateway is what AWS answers for a function that failed, timed out, or did
// not answer HTTP; why is in the function's log.
func (s *Server) badGateway(u *urlCall) {
	s.write(u.call, &answer{status: http.StatusBadGateway, header: jsonHeader(), body: []byte("Internal Server Error")})
}

// logURL tells of an answer that is the function's fault.
func (s *Server) logURL(ctx context.Context, u *urlCall, err error) {
	s.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "a function's answer is no whole HTTP answer", slog.String("requestId", u.id),
		slog.String("function", u.ref.String()), slog.Any("error", err))
}

// urlWriteTime is how long a client may take to read an answer.
const urlWriteTime = 5 * time.Minute

// guardAnswer takes from a function's answer what is not its to say.
func (s *Server) guardAnswer(u *urlCall, a *functionurl.Answer) {
	functionurl.KeepCORS(u.url.CORS, a.Header)
	if vary := u.w.Header()["Vary"]; vary != nil {
		a.Header["Vary"] = append(slices.Clip(vary), a.Header["Vary"]...)
	}
	if u.place.prefix != "" {
		confine(a.Header, u.place.prefix)
	}
	if a.Status == http.StatusNoContent || a.Status == http.StatusNotModified {
		a.Body = nil
	}
}

// confine keeps functions apart that are called in the path form, which makes
// them one site to a browser: each gets its own cookies only, and its pages
// run as if they were nobody's.
func confine(h http.Header, prefix string) {
	cookies := h["Set-Cookie"]
	for i, c := range cookies {
		cookie, attributes, _ := strings.Cut(c, ";")
		for a := range strings.SplitSeq(attributes, ";") {
			a = strings.TrimSpace(a)
			name, _, _ := strings.Cut(a, "=")
			name = strings.ToLower(strings.TrimSpace(name))
			if name != "" && name != "path" && name != "domain" {
				cookie += "; " + a
			}
		}
		cookies[i] = cookie + "; Path=" + prefix
	}
	h.Add("Content-Security-Policy", "sandbox allow-scripts allow-forms allow-popups")
}
