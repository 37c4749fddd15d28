package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/google/uuid"

	"hearth/internal/audit"
	"hearth/internal/awserr"
	"hearth/internal/awsquery"
	"hearth/internal/function"
	"hearth/internal/invocation"
	"hearth/internal/sigv4"
)

// Control is the control plane, as the API needs it. Its errors are
// *awserr.Error, or faults.
type Control interface {
	Functions
	Tags
	Environments
	Versions
	Aliases
	Concurrency
	Permissions
	Settings
	Beside
}

// Beside is what the control plane does with what lives beside functions.
type Beside interface {
	Layers
	EventSources
	CodeSigning
}

// Functions is what the control plane does with functions as a whole.
type Functions interface {
	Create(ctx context.Context, req function.CreateRequest) (*function.Record, error)
	UpdateCode(ctx context.Context, req function.CodeUpdate) (*function.Record, error)
	UpdateConfig(ctx context.Context, req function.ConfigUpdate) (*function.Record, error)
	Delete(ctx context.Context, account, name string) error
	Get(ctx context.Context, account, name string) (*function.Record, error)
	// List returns up to limit records in order of name, from the one behind
	// after on; next is empty at the end, or the after of the next page.
	List(ctx context.Context, account, after string, limit int) (records []*function.Record, next string, err error)
	// OpenCode opens the archive of the record's latest configuration.
	OpenCode(ctx context.Context, record *function.Record) (io.ReadSeekCloser, error)
	Usage(ctx context.Context, account string) (function.Usage, error)
}

// Tags is what the control plane does with functions' tags.
type Tags interface {
	Tag(ctx context.Context, account, name string, tags map[string]string) error
	Untag(ctx context.Context, account, name string, keys []string) error
}

// Invoker is the frontend of the invoke path. Its errors are *awserr.Error.
type Invoker interface {
	Invoke(ctx context.Context, account, name, qualifier string, req *invocation.Request) (*invocation.Response, *invocation.Timeline, error)
	// InvokeStream is Invoke for an answer that is given to the sink as it
	// comes. The Response says how it ended; its Payload is a failure's.
	InvokeStream(ctx context.Context, account, name, qualifier string, req *invocation.Request, to invocation.Sink) (
		*invocation.Response, *invocation.Timeline, error)
	// Check does what Invoke does up to running the function.
	Check(ctx context.Context, account, name, qualifier string) error
}

// Config is what a server needs.
type Config struct {
	Functions Control
	Invoker   Invoker
	// Provisioner knows of environments that are initialised ahead.
	Provisioner Provisioner
	Keys        sigv4.Keys
	// KMS is the key service; without one its API is not served.
	KMS KeyService
	// Access decides what callers may do, Identities are who they are.
	Access     Access
	Identities Identities
	// URLs finds functions by their URLs.
	URLs URLIndex
	// URLBase is what function URLs are below: a scheme, a domain and perhaps
	// a port; http://localhost if empty.
	URLBase string
	// Logs is CloudWatch Logs; not served if nil.
	Logs Logs
	// Operator looks after this Hearth; nobody does if it has no Operations.
	Operator Operator
	// Region is the one region served.
	Region string
	// Runtimes are the managed runtimes that can be built here.
	Runtimes []string
	// RuntimeVersion returns the identifier of a runtime's current version,
	// or nothing. It may be nil.
	RuntimeVersion func(runtime string) string
	// Progress returns how far the code is being stored that is at a key, or
	// nothing. It may be nil.
	Progress func(object string) string
	// Architecture is what this machine runs; x86_64 if empty.
	Architecture string
	// Concurrency is an account's limit of concurrent invokes.
	Concurrency int
	// PublicURL is the base of links to this server; if it is empty, links
	// use the host that the caller asked.
	PublicURL string
	Log       *slog.Logger
	// Audit, if not nil, is told of requests that cannot be authenticated.
	Audit func(audit.Event)
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// validate fills defaults and reports every problem at once.
func (c *Config) validate() error {
	var problems []error
	for _, p := range []struct {
		missing bool
		name    string
	}{
		{c.Functions == nil, "Functions"}, {c.Invoker == nil, "Invoker"}, {c.Provisioner == nil, "Provisioner"},
		{c.Keys == nil, "Keys"}, {c.Access == nil, "Access"}, {c.Identities == nil, "Identities"},
		{c.URLs == nil, "URLs"},
		{c.Region == "", "Region"}, {c.Concurrency <= 0, "Concurrency"}, {c.Log == nil, "Log"},
	} {
		if p.missing {
			problems = append(problems, fmt.Errorf("api: config: %s is not set", p.name))
		}
	}
	if _, err := url.Parse(c.PublicURL); err != nil {
		problems = append(problems, fmt.Errorf("api: config: PublicURL: %w", err))
	}
	if c.URLBase == "" {
		c.URLBase = "http://localhost"
	}
	if _, err := readURLSite(c.URLBase, c.Region); err != nil {
		problems = append(problems, fmt.Errorf("api: config: URLBase %q: %w", c.URLBase, err))
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Architecture == "" {
		c.Architecture = "x86_64"
	}
	return errors.Join(problems...)
}

// Server is the API server, an http.Handler.
type Server struct {
	cfg      Config
	verifier *sigv4.Verifier
	router   *router
	encoder  *encoder
	handlers map[string]handler
	policies policyCache
	site     urlSite
}

// New makes a server.
func New(c Config) (*Server, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	site, err := readURLSite(c.URLBase, c.Region)
	if err != nil {
		return nil, err
	}
	prepareOperations()
	s := &Server{
		site:     site,
		cfg:      c,
		verifier: sigv4.NewVerifier(c.Keys, c.Now),
		router:   newRouter(operations),
		encoder:  newEncoder(),
	}
	s.handlers = s.lambdaHandlers()
	return s, nil
}

// call is one request under way.
type call struct {
	sigv4.Identity
	id string
	op *operation
	w  http.ResponseWriter
	r  *http.Request
	// viaURL says that the request is for a function URL and not for the API.
	viaURL bool
}

// healthPath answers without authentication, for load balancers.
const healthPath = "/_hearth/health"

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{id: uuid.NewString(), w: w, r: r}
	w.Header()["X-Amzn-Requestid"] = []string{c.id}
	defer func() {
		fault := recover()
		if fault == http.ErrAbortHandler { //nolint:errorlint // it is thrown as it is
			panic(fault)
		}
		if fault != nil {
			s.cfg.Log.LogAttrs(r.Context(), slog.LevelError, "panic in a handler", slog.String("requestId", c.id),
				slog.Any("panic", fault), slog.String("stack", string(debug.Stack())))
			s.fail(c, awserr.Internal())
		}
	}()
	if place, ok := s.site.find(r); ok {
		if err := s.serveURL(c, place); err != nil {
			s.auditRefusal(c, err)
			s.fail(c, err)
		}
		return
	}
	if r.URL.Path == healthPath && r.Method == http.MethodGet {
		s.write(c, &answer{status: http.StatusOK, header: jsonHeader(), body: []byte(`{"status":"ok"}`)})
		return
	}
	if err := s.serve(c); err != nil {
		s.auditRefusal(c, err)
		s.fail(c, err)
	}
}

// serve authenticates a request and hands it to the service that its
// credential scope names.
func (s *Server) serve(c *call) error {
	p, err := s.verifier.Begin(c.r)
	if e, ok := awserr.As(err); ok && e.Code == "MissingAuthenticationTokenException" {
		if served, err := s.unsignedQuery(c); served {
			return err
		}
	}
	if err != nil {
		return err
	}
	c.Identity = p.Identity
	c.RequestID = c.id
	switch p.Scope.Service {
	case "lambda":
		return s.serveLambda(c, p)
	case "iam", "sts":
		return s.serveQuery(c, p)
	case codeService:
		return s.serveCode(c, p)
	case "logs":
		if s.cfg.Logs != nil {
			return s.serveLogs(c, p)
		}
	case "kms":
		if s.cfg.KMS != nil {
			return s.serveKMS(c, p)
		}
	case operatorService:
		if s.cfg.Operator.Operations != nil {
			return s.serveOperator(c, p)
		}
	}
	if _, err := readBody(c, p, maxBody); err != nil {
		return err
	}
	return awserr.New("NotImplementedException",
		"The service '%.64s' is not served by this version of Hearth; lambda, iam, sts, kms and logs are.", p.Scope.Service)
}

// unauthenticated are the errors of requests of which nobody knows who sent
// them.
var unauthenticated = map[string]bool{
	"ExpiredTokenException": true, "IncompleteSignatureException": true, "InvalidIdentityToken": true, "InvalidSignatureException": true,
	"MissingAuthenticationTokenException": true, "RequestExpired": true, "UnrecognizedClientException": true,
}

// auditRefusal tells the audit log of a request that was not authenticated.
func (s *Server) auditRefusal(c *call, err error) {
	if e, ok := awserr.As(err); ok && unauthenticated[e.Code] && s.cfg.Audit != nil {
		s.cfg.Audit(audit.Event{
			Time: s.cfg.Now(), RequestID: c.id, AccessKey: sigv4.ClaimedKey(c.r), Action: clip(c.r.Method + " " + c.r.URL.Path),
			SourceIP: remoteIP(c.r.RemoteAddr).String(), By: e.Code,
		})
	}
}

func (s *Server) serveLambda(c *call, p *sigv4.Pending) error {
	if err := s.checkRegion(p); err != nil {
		return err
	}
	var query url.Values
	if c.r.URL.RawQuery != "" {
		query = c.r.URL.Query()
	}
	m, ok := s.router.route(c.r.Method, c.r.URL.EscapedPath(), query)
	if !ok {
		if _, err := readBody(c, p, maxBody); err != nil {
			return err
		}
		return awserr.New("UnknownOperationException", "No operation of Lambda's API has this method and path: %s %.256s", c.r.Method, c.r.URL.EscapedPath())
	}
	c.op = m.op
	limit := m.op.maxBody()
	body, err := readBody(c, p, limit)
	if err != nil {
		return err
	}
	switch m.op.name {
	case "Invoke":
		return s.invoke(c, m.labels[0].value, query, body)
	case streamOperation:
		return s.invokeStream(c, m.labels[0].value, query, body)
	}
	return s.operate(c, m, query, body)
}

// checkRegion refuses signatures for another region than the one served: the
// caller does not mean what is here.
func (s *Server) checkRegion(p *sigv4.Pending) error {
	if p.Scope.Region != s.cfg.Region {
		return awserr.New("InvalidSignatureException",
			"Credential should be scoped to a valid region, not '%.64s'. This Hearth serves '%s': set AWS_REGION to it.", p.Scope.Region, s.cfg.Region)
	}
	return nil
}

// operate runs an operation through the codec.
func (s *Server) operate(c *call, m match, query url.Values, body []byte) error {
	h, ok := s.handlers[m.op.name]
	if !ok {
		// 501 on purpose: the retry tables of the SDKs (botocore, Go, Java,
		// JavaScript) hold 500, 502, 503 and 504, so no client tries again
		// what cannot succeed.
		return awserr.New("NotImplementedException", "%s is not supported yet by this version of Hearth.", m.op.name)
	}
	in, err := m.op.decode(m.labels, query, c.r.Header, body)
	if err != nil {
		return err
	}
	if err := validate(m.op, in); err != nil {
		return err
	}
	if err := s.authorize(c.r.Context(), c, in); err != nil {
		return err
	}
	out, err := h(c.r.Context(), c, in)
	if err != nil {
		return err
	}
	a, err := s.encoder.encode(m.op, out)
	if err != nil {
		return fmt.Errorf("api: encode the answer of %s: %w", m.op.name, err)
	}
	if m.op.name == "DeleteFunction" {
		// The model says 200 with a body; AWS was recorded to answer 204.
		a = &answer{status: http.StatusNoContent}
	}
	s.write(c, a)
	return nil
}

func (s *Server) write(c *call, a *answer) {
	h := c.w.Header()
	maps.Copy(h, a.header)
	if a.status != http.StatusNoContent {
		h["Content-Length"] = []string{strconv.Itoa(len(a.body))}
	}
	c.w.WriteHeader(a.status)
	//nolint:gosec // a function's page is that of a site of its own
	if _, err := c.w.Write(a.body); err != nil && len(a.body) > 0 {
		s.cfg.Log.LogAttrs(c.r.Context(), slog.LevelDebug, "client went away before its answer",
			slog.String("requestId", c.id), slog.Any("error", err))
	}
}

func jsonHeader() http.Header { return http.Header{"Content-Type": {"application/json"}} }

// fail answers an error. What is not an AWS error is Hearth's own fault: it
// goes to the log, and the caller gets the request id to find it by.
func (s *Server) fail(c *call, err error) {
	e, ok := awserr.As(err)
	if !ok {
		s.cfg.Log.LogAttrs(c.r.Context(), slog.LevelError, "request failed", slog.String("requestId", c.id),
			slog.String("operation", c.operation()), slog.Any("error", err))
		e = awserr.Internal()
	}
	a := &answer{status: e.HTTPStatus(), header: jsonHeader()}
	switch {
	case !c.viaURL && speaksJSON(c):
		a = jsonError(e)
	case !c.viaURL && speaksQuery(c):
		a.header.Set("Content-Type", "text/xml")
		a.body = awsquery.Fault(e, c.id)
	default:
		a.header["X-Amzn-Errortype"] = []string{e.Code}
		body, err := json.Marshal(e.Body())
		if err != nil {
			panic(err) // a map of strings
		}
		a.body = body
	}
	if e.RetryAfterSeconds > 0 {
		a.header.Set("Retry-After", strconv.Itoa(e.RetryAfterSeconds))
	}
	s.write(c, a)
}

func (c *call) operation() string {
	if c.op != nil {
		return c.op.name
	}
	return c.r.Method + " " + clip(c.r.URL.Path)
}
