package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"hearth/internal/audit"
	"hearth/internal/awserr"
	"hearth/internal/policy"
	"hearth/internal/sigv4"
)

// Access decides what callers may do. Its refusals are *awserr.Error.
type Access interface {
	// Authorize says whether the caller may do what the request asks. It fills
	// in the request's principal.
	Authorize(ctx context.Context, caller *sigv4.Identity, r *policy.Request, resource *policy.Document) error
}

// Config is what a server needs.
type Config struct {
	Store *Store
	// Keys finds the secrets of access keys.
	Keys   sigv4.Keys
	Access Access
	// Region is that of repositories' ARNs.
	Region string
	Log    *slog.Logger
	// Audit, if not nil, is told of requests that cannot be authenticated.
	Audit func(audit.Event)
	// Stall is how long a client may send or take nothing; a minute if zero.
	Stall time.Duration
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Server is the endpoint, an http.Handler for Prefix.
type Server struct{ cfg Config }

// Prefix is what all paths of the endpoint begin with.
const Prefix = "/v2/"

// defaultStall is how long a client may send or take nothing.
const defaultStall = time.Minute

// NewServer makes a server.
func NewServer(c Config) (*Server, error) {
	var problems []error
	for _, p := range []struct {
		missing bool
		name    string
	}{
		{c.Store == nil, "Store"}, {c.Keys == nil, "Keys"}, {c.Access == nil, "Access"}, {c.Region == "", "Region"}, {c.Log == nil, "Log"},
	} {
		if p.missing {
			problems = append(problems, fmt.Errorf("registry: config: %s is not set", p.name))
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Stall = cmp.Or(c.Stall, defaultStall)
	return &Server{cfg: c}, errors.Join(problems...)
}

// call is one request under way.
type call struct {
	*sigv4.Identity
	w http.ResponseWriter
	r *http.Request
	route
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := uuid.NewString()
	w.Header().Set("X-Amzn-Requestid", id)
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	defer func() {
		fault := recover()
		if fault == http.ErrAbortHandler { //nolint:errorlint // it is thrown as it is
			panic(fault)
		}
		if fault != nil {
			s.fail(w, r, id, fmt.Errorf("panic: %v\n%s", fault, debug.Stack()))
		}
	}()
	p := newPatient(w, r, s.cfg.Stall)
	defer p.end()
	if err := s.serve(p, r, id); err != nil {
		s.fail(w, r, id, err)
	}
}

func (s *Server) serve(w *patient, r *http.Request, id string) error {
	caller, err := s.authenticate(r, id)
	if err != nil {
		w.Header().Set("WWW-Authenticate", `Basic realm="hearth"`)
		return err
	}
	to, ok := parseRoute(r.URL.Path)
	if !ok {
		return refuse(http.StatusNotFound, "UNSUPPORTED", "there is nothing at this path; registries' paths are those of the OCI distribution specification")
	}
	h := s.handler(to.kind, r.Method)
	if h == nil {
		return refuse(http.StatusMethodNotAllowed, "UNSUPPORTED", "%.16s is not supported here", r.Method)
	}
	if to.name != "" {
		if err := checkName(to.name); err != nil {
			return err
		}
	}
	r.Body = w.body(r.Body)
	return h(&call{Identity: caller, w: w, r: r, route: to})
}

func (s *Server) handler(k kind, method string) func(*call) error {
	switch k {
	case kindBase:
		return map[string]func(*call) error{http.MethodGet: s.base, http.MethodHead: s.base}[method]
	case kindCatalog:
		return map[string]func(*call) error{http.MethodGet: s.catalog}[method]
	case kindTags:
		return map[string]func(*call) error{http.MethodGet: s.tags}[method]
	case kindBlob:
		return map[string]func(*call) error{http.MethodGet: s.getBlob, http.MethodHead: s.headBlob}[method]
	case kindUploads:
		return map[string]func(*call) error{http.MethodPost: s.startUpload}[method]
	case kindUpload:
		return map[string]func(*call) error{
			http.MethodGet: s.uploadStatus, http.MethodPatch: s.patchUpload, http.MethodPut: s.putUpload, http.MethodDelete: s.cancelUpload,
		}[method]
	case kindManifest:
		return map[string]func(*call) error{
			http.MethodGet: s.getManifest, http.MethodHead: s.getManifest, http.MethodPut: s.putManifest, http.MethodDelete: s.deleteManifest,
		}[method]
	default:
		return nil
	}
}

// base tells that this is a registry, and that the caller is logged in.
func (s *Server) base(c *call) error {
	c.w.Header().Set("Content-Type", "application/json")
	_, err := c.w.Write([]byte("{}"))
	return gone(err)
}

// errGone is what a handler returns when its client is not there any more.
var errGone = errors.New("the client went away")

func gone(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return nil
}

// fail answers an error. What is not meant for a client is Hearth's own fault:
// it goes to the log, and the client gets the request id to find it by.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, id string, err error) {
	var e *Error
	var denied *awserr.Error
	switch {
	case errors.Is(err, errGone), r.Context().Err() != nil:
		panic(http.ErrAbortHandler) // nobody may take an answer for success
	case errors.As(err, &e):
	case errors.As(err, &denied):
		e = refuse(denied.HTTPStatus(), "DENIED", "%s", denied.Message)
	default:
		s.cfg.Log.LogAttrs(r.Context(), slog.LevelError, "request to the registry failed", slog.String("requestId", id),
			slog.String("method", r.Method), slog.Any("error", err))
		e = refuse(http.StatusInternalServerError, "UNKNOWN", "something went wrong here; try again, or look for request id %s in Hearth's log", id)
	}
	if e.Code == "BLOB_UPLOAD_INVALID" && e.Status == http.StatusRequestedRangeNotSatisfiable {
		w.Header().Set("Range", rangeOf(e.offset))
		w.Header().Set("Location", r.URL.Path)
	}
	type problem struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  any    `json:"detail"`
	}
	body, err := json.Marshal(map[string][]problem{"errors": {{e.Code, e.Message, nil}}})
	if err != nil {
		panic(err) // strings
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // whoever is gone does not read it
	}
}

// authorize asks whether the caller may do something with a repository, or
// with all of them.
func (s *Server) authorize(c *call, action, repository string) error {
	r := &policy.Request{
		Action:          "ecr:" + action,
		Resource:        "arn:aws:ecr:" + s.cfg.Region + ":" + c.AccountID + ":repository/" + repository,
		ResourceAccount: c.AccountID,
	}
	r.Keys.Time = s.cfg.Now()
	r.Keys.SourceIP = remoteIP(c.r.RemoteAddr)
	r.Keys.SetBool("aws:SecureTransport", c.r.TLS != nil)
	r.Keys.Set("aws:RequestedRegion", s.cfg.Region)
	if agent := c.r.UserAgent(); agent != "" {
		r.Keys.Set("aws:UserAgent", agent)
	}
	return s.cfg.Access.Authorize(c.r.Context(), c.Identity, r, nil)
}

// permit asks for several actions on the call's repository.
func (s *Server) permit(c *call, actions ...string) error {
	for _, action := range actions {
		if err := s.authorize(c, action, c.name); err != nil {
			return err
		}
	}
	return nil
}

// A kind is what a path names.
type kind int

const (
	kindBase kind = iota
	kindCatalog
	kindTags
	kindBlob
	kindUploads
	kindUpload
	kindManifest
)

// route is what a path says.
type route struct {
	kind      kind
	name      string // of the repository
	reference string // a tag, a digest or an upload's id
}

// parseRoute reads a path. Names of repositories have slashes, and may have in
// them what is behind names elsewhere: the last such part counts. Nothing that
// it returns has been checked.
func parseRoute(path string) (route, bool) {
	rest, ok := strings.CutPrefix(path, Prefix)
	switch {
	case !ok:
		return route{}, path == strings.TrimSuffix(Prefix, "/")
	case rest == "":
		return route{}, true
	case rest == "_catalog":
		return route{kind: kindCatalog}, true
	}
	if name, ok := strings.CutSuffix(rest, "/tags/list"); ok {
		return route{kind: kindTags, name: name}, true
	}
	if name, ok := strings.CutSuffix(strings.TrimSuffix(rest, "/"), "/blobs/uploads"); ok {
		return route{kind: kindUploads, name: name}, true
	}
	for _, p := range []struct {
		infix string
		kind  kind
	}{{"/blobs/uploads/", kindUpload}, {"/blobs/", kindBlob}, {"/manifests/", kindManifest}} {
		i := strings.LastIndex(rest, p.infix)
		if i < 0 {
			continue
		}
		if reference := rest[i+len(p.infix):]; reference != "" && !strings.Contains(reference, "/") {
			return route{p.kind, rest[:i], reference}, true
		}
	}
	return route{}, false
}
