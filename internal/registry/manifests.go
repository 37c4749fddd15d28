package registry

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"hearth/internal/ociname"
)

func notThere(err error) bool { return errors.Is(err, fs.ErrNotExist) }

func (s *Server) getManifest(c *call) error {
	if err := s.permit(c, "BatchGetImage"); err != nil {
		return err
	}
	data, mediaType, err := s.cfg.Store.Manifest(c.r.Context(), c.AccountID, c.name, c.reference)
	if err != nil {
		return err
	}
	digest := ociname.Digest(data)
	h := c.w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	h.Set("Docker-Content-Digest", digest)
	h.Set("ETag", `"`+digest+`"`)
	// A manifest is anybody's text.
	h.Set("X-Content-Type-Options", "nosniff")
	c.w.WriteHeader(http.StatusOK)
	if c.r.Method == http.MethodHead {
		return nil
	}
	_, err = c.w.Write(data)
	return gone(err)
}

func (s *Server) putManifest(c *call) error {
	if err := s.permit(c, "PutImage"); err != nil {
		return err
	}
	data, err := io.ReadAll(io.LimitReader(c.r.Body, maxManifest+1))
	if err != nil {
		return gone(err)
	}
	digest, err := s.cfg.Store.PutManifest(c.r.Context(), c.AccountID, c.name, c.reference, c.r.Header.Get("Content-Type"), data)
	if err != nil {
		return err
	}
	return s.created(c, "manifests", digest)
}

func (s *Server) deleteManifest(c *call) error {
	if err := s.permit(c, "BatchDeleteImage"); err != nil {
		return err
	}
	if err := s.cfg.Store.DeleteManifest(c.r.Context(), c.AccountID, c.name, c.reference); err != nil {
		return err
	}
	c.w.Header().Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}

func (s *Server) tags(c *call) error {
	if err := s.permit(c, "ListImages"); err != nil {
		return err
	}
	all, err := s.cfg.Store.Tags(c.r.Context(), c.AccountID, c.name)
	if err != nil {
		return err
	}
	page, err := s.page(c, all)
	if err != nil {
		return err
	}
	return s.answer(c, map[string]any{"name": c.name, "tags": page})
}

// catalog lists the account's repositories.
func (s *Server) catalog(c *call) error {
	if err := s.authorize(c, "DescribeRepositories", "*"); err != nil {
		return err
	}
	all, err := s.cfg.Store.Repositories(c.r.Context(), c.AccountID)
	if err != nil {
		return err
	}
	page, err := s.page(c, all)
	if err != nil {
		return err
	}
	return s.answer(c, map[string]any{"repositories": page})
}

// maxPage is the longest page of a list.
const maxPage = 1000

// page cuts a sorted list as the query's n and last say, and tells the client
// where the next page is.
func (s *Server) page(c *call, all []string) ([]string, error) {
	query := c.r.URL.Query()
	n := maxPage
	if v := query.Get("n"); v != "" {
		asked, err := strconv.Atoi(v)
		if err != nil || asked < 0 {
			return nil, refuse(http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "n is %.20q: want a number", v)
		}
		n = min(asked, maxPage)
	}
	if last := query.Get("last"); last != "" {
		i, found := slices.BinarySearch(all, last)
		if found {
			i++
		}
		all = all[i:]
	}
	if len(all) <= n {
		return append([]string{}, all...), nil
	}
	if n > 0 {
		next := url.URL{Path: c.r.URL.Path, RawQuery: url.Values{"n": {strconv.Itoa(n)}, "last": {all[n-1]}}.Encode()}
		c.w.Header().Set("Link", "<"+next.String()+`>; rel="next"`)
	}
	return all[:n], nil
}

func (s *Server) answer(c *call, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, err = c.w.Write(body)
	return gone(err)
}
