package api

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/function"
	"hearth/internal/sigv4"
)

const (
	// codeService is the service of a code link's credential scope. It is
	// none of AWS's, so a link is good for nothing else.
	codeService = "hearth-code"
	codePath    = "/_hearth/code/"
	// codeLinkLife is how long a link works, as AWS's do.
	codeLinkLife = 10 * time.Minute
)

// codeLink is a URL from which the function's code can be fetched without
// credentials: presigned with the caller's own key, so that it ends with the
// key. It names the archive's digest: after an update it finds nothing rather
// than other code.
func (s *Server) codeLink(ctx context.Context, c *call, r *function.Record) (string, error) {
	return s.presign(ctx, c, codePath+r.Name+":"+r.VersionName()+"/"+digest(r.Latest.Code))
}

// presign makes a link to a path of this server, good for getting it.
func (s *Server) presign(ctx context.Context, c *call, path string) (string, error) {
	base := s.cfg.PublicURL
	if base == "" {
		base = "http://" + c.r.Host
		if c.r.TLS != nil {
			base = "https://" + c.r.Host
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+path, nil)
	if err != nil {
		return "", fmt.Errorf("api: make a code link: %w", err)
	}
	now := s.cfg.Now().UTC()
	scope := sigv4.Scope{Date: now.Format("20060102"), Region: s.cfg.Region, Service: codeService}
	return sigv4.Presign(ctx, req, c.AccessKeyID, c.Secret, scope, now, codeLinkLife)
}

// digest is the archive's SHA-256 in a form that needs no escaping in a path.
func digest(code function.Code) string {
	sum, err := base64.StdEncoding.DecodeString(code.SHA256)
	if err != nil {
		return "unknown"
	}
	return hex.EncodeToString(sum)
}

// serveCode answers a code link.
func (s *Server) serveCode(c *call, p *sigv4.Pending) error {
	if _, err := p.Check(nil); err != nil {
		return err
	}
	if strings.HasPrefix(c.r.URL.Path, layerPath) {
		return s.serveLayer(c)
	}
	rest, ok := strings.CutPrefix(c.r.URL.Path, codePath)
	name, sum, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || c.r.Method != http.MethodGet {
		return awserr.New("UnknownOperationException", "This is not a link to a function's code.")
	}
	name, version, _ := strings.Cut(name, ":")
	record, err := s.cfg.Functions.Resolve(c.r.Context(), c.AccountID, name, version)
	if err != nil {
		return err
	}
	if digest(record.Latest.Code) != sum {
		return awserr.New("ResourceNotFoundException", "The code of %s has been replaced. Ask GetFunction for a new link.", record.ARN())
	}
	code, err := s.cfg.Functions.OpenCode(c.r.Context(), record)
	if err != nil {
		return err
	}
	defer code.Close()
	c.w.Header().Set("Content-Type", "application/zip")
	http.ServeContent(c.w, c.r, "", record.LastModified, code)
	return nil
}
