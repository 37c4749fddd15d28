package api

import (
	"context"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"hearth/internal/awserr"
	"hearth/internal/awsquery"
	"hearth/internal/sigv4"
)

// maxForm bounds a request of the query protocol: policies travel in it.
const maxForm = 256 << 10

// Identities is the identity service's own API.
type Identities interface {
	// Serve answers a request of IAM or STS in the form that it asks for.
	Serve(ctx context.Context, c *awsquery.Call) ([]byte, error)
}

// serveQuery serves IAM and STS.
func (s *Server) serveQuery(c *call, p *sigv4.Pending) error {
	body, err := readBody(c, p, maxForm)
	if err != nil {
		return err
	}
	return s.query(c, p.Scope.Service, &c.Identity, body)
}

// unsignedQuery serves what needs no signature: AssumeRoleWithWebIdentity,
// whose callers have a token of their identity provider instead. It returns
// false for anything else.
func (s *Server) unsignedQuery(c *call) (bool, error) {
	if c.r.Method != http.MethodPost || !isForm(c.r) || c.r.Header.Get("Authorization") != "" {
		return false, nil
	}
	c.Scope.Service = "sts" // its errors are XML
	body, err := readUnsigned(c, maxForm)
	if err != nil {
		return true, err
	}
	return true, s.query(c, "sts", nil, body)
}

func (s *Server) query(c *call, service string, caller *sigv4.Identity, body []byte) error {
	form := c.r.URL.Query()
	if c.r.Method == http.MethodPost {
		sent, err := url.ParseQuery(string(body))
		if err != nil {
			return awserr.New("SerializationException", "The body is not a form.")
		}
		maps.Copy(form, sent)
	}
	asked := &awsquery.Call{
		Caller: caller, Service: service, Form: form, RequestID: c.id, SourceIP: remoteIP(c.r.RemoteAddr), Secure: c.r.TLS != nil,
		UserAgent: c.r.UserAgent(), JSON: !speaksQuery(c),
	}
	text, err := s.cfg.Identities.Serve(c.r.Context(), asked)
	if err != nil {
		return err
	}
	a := &answer{status: http.StatusOK, header: http.Header{"Content-Type": {"text/xml"}}, body: text}
	if asked.JSON {
		a.header = jsonHeader()
	}
	s.write(c, a)
	return nil
}

// speaksQuery says that the client speaks AWS's query protocol, whose errors
// are XML.
func speaksQuery(c *call) bool {
	switch c.Scope.Service {
	case "sts":
		return !strings.Contains(c.r.Header.Get("Accept"), "application/json")
	case "iam":
		return true
	}
	return isForm(c.r)
}

func isForm(r *http.Request) bool {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return kind == "application/x-www-form-urlencoded"
}
