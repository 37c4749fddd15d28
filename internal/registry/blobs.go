package registry

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/ociname"
)

// getBlob answers with a blob or a part of it.
func (s *Server) getBlob(c *call) error {
	if err := s.permit(c, "GetDownloadUrlForLayer"); err != nil {
		return err
	}
	return s.serveBlob(c)
}

// headBlob tells whether a blob is there. A push leaves out what is.
func (s *Server) headBlob(c *call) error {
	if err := s.permit(c, "BatchCheckLayerAvailability"); err != nil {
		return err
	}
	if err := errors.Join(checkName(c.name), checkDigest(c.reference)); err != nil {
		return err
	}
	if err := s.cfg.Store.Keep(c.AccountID, c.name, c.reference); err != nil && !notThere(err) {
		return err
	}
	return s.serveBlob(c)
}

func (s *Server) serveBlob(c *call) error {
	blob, _, err := s.cfg.Store.Blob(c.r.Context(), c.AccountID, c.name, c.reference)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Docker-Content-Digest", c.reference)
	h.Set("ETag", `"`+c.reference+`"`)
	http.ServeContent(c.w, c.r, "", time.Time{}, blob)
	return blob.Close()
}

// startUpload begins a blob, takes one that comes whole, or mounts one.
func (s *Server) startUpload(c *call) error {
	if err := s.permit(c, "InitiateLayerUpload"); err != nil {
		return err
	}
	query := c.r.URL.Query()
	if digest, from := query.Get("mount"), query.Get("from"); digest != "" && from != "" {
		if mounted, err := s.mount(c, digest, from); mounted || err != nil {
			return err
		}
	}
	digest := query.Get("digest")
	if digest != "" {
		if err := checkDigest(digest); err != nil {
			return err
		}
		if err := s.permit(c, "UploadLayerPart", "CompleteLayerUpload"); err != nil {
			return err
		}
	}
	id, err := s.cfg.Store.StartUpload(c.r.Context(), c.AccountID, c.name)
	if err != nil {
		return err
	}
	c.reference = id
	if digest == "" {
		return s.accepted(c, 0)
	}
	_, err = s.appendBody(c, AtEnd)
	if err == nil {
		return s.finish(c, digest)
	}
	// Its id has not been told: nobody could go on with it.
	if end := s.cfg.Store.CancelUpload(c.r.Context(), c.AccountID, c.name, id); end != nil && !notThere(end) {
		err = errors.Join(err, end)
	}
	return err
}

// mount makes a blob of another repository one of this. A client that may not
// read it there is treated as if it was not there: it gets an upload.
func (s *Server) mount(c *call, digest, from string) (bool, error) {
	if !ociname.IsRepository(from) || !ociname.IsDigest(digest) {
		return false, nil
	}
	err := s.authorize(c, "GetDownloadUrlForLayer", from)
	if errors.As(err, new(*awserr.Error)) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if mounted, err := s.cfg.Store.Mount(c.r.Context(), c.AccountID, from, c.name, digest); !mounted || err != nil {
		return false, err
	}
	return true, s.created(c, "blobs", digest)
}

func (s *Server) patchUpload(c *call) error {
	if err := s.permit(c, "UploadLayerPart"); err != nil {
		return err
	}
	offset, err := readContentRange(c.r)
	if err != nil {
		return err
	}
	size, err := s.appendBody(c, offset)
	if err != nil {
		return err
	}
	return s.accepted(c, size)
}

func (s *Server) putUpload(c *call) error {
	if err := s.permit(c, "CompleteLayerUpload"); err != nil {
		return err
	}
	digest := c.r.URL.Query().Get("digest")
	if err := checkDigest(digest); err != nil {
		return err
	}
	if c.r.ContentLength != 0 {
		if err := s.permit(c, "UploadLayerPart"); err != nil {
			return err
		}
		offset, err := readContentRange(c.r)
		if err != nil {
			return err
		}
		if _, err := s.appendBody(c, offset); err != nil {
			return err
		}
	}
	return s.finish(c, digest)
}

func (s *Server) finish(c *call, digest string) error {
	if err := s.cfg.Store.FinishUpload(c.r.Context(), c.AccountID, c.name, c.reference, digest); err != nil {
		return err
	}
	return s.created(c, "blobs", digest)
}

// appendBody adds the request's body to the upload.
func (s *Server) appendBody(c *call, offset int64) (int64, error) {
	body := &counted{r: c.r.Body}
	size, err := s.cfg.Store.Append(c.r.Context(), c.AccountID, c.name, c.reference, offset, body)
	if body.err != nil && err != nil && !errors.As(err, new(*Error)) {
		return size, gone(body.err)
	}
	return size, err
}

// counted remembers how reading a body ended.
type counted struct {
	r   io.Reader
	err error
}

func (r *counted) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

var contentRange = regexp.MustCompile(`^(?:bytes[ =])?([0-9]{1,18})-([0-9]{1,18})(?:/[0-9*]+)?$`)

// readContentRange returns where a body belongs in its upload.
func readContentRange(r *http.Request) (int64, error) {
	value := r.Header.Get("Content-Range")
	if value == "" {
		return AtEnd, nil
	}
	m := contentRange.FindStringSubmatch(value)
	if m == nil {
		return 0, refuse(http.StatusBadRequest, "SIZE_INVALID", "Content-Range %.100q: want START-END, both included", value)
	}
	start, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0, err // 18 digits always fit
	}
	end, err := strconv.ParseInt(m[2], 10, 64)
	if err != nil {
		return 0, err
	}
	if r.ContentLength < 0 || end-start+1 != r.ContentLength {
		return 0, refuse(http.StatusBadRequest, "SIZE_INVALID",
			"Content-Range %.100q and Content-Length %d do not agree; a part needs both", value, r.ContentLength)
	}
	return start, nil
}

func (s *Server) uploadStatus(c *call) error {
	if err := s.permit(c, "UploadLayerPart"); err != nil {
		return err
	}
	size, err := s.cfg.Store.UploadSize(c.r.Context(), c.AccountID, c.name, c.reference)
	if err != nil {
		return err
	}
	s.setUpload(c, size)
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) cancelUpload(c *call) error {
	if err := s.permit(c, "UploadLayerPart"); err != nil {
		return err
	}
	if err := s.cfg.Store.CancelUpload(c.r.Context(), c.AccountID, c.name, c.reference); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// accepted tells where an upload is and how much of it.
func (s *Server) accepted(c *call, size int64) error {
	s.setUpload(c, size)
	c.w.Header().Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}

func (s *Server) setUpload(c *call, size int64) {
	h := c.w.Header()
	h.Set("Location", (&url.URL{Path: Prefix + c.name + "/blobs/uploads/" + c.reference}).String())
	h.Set("Range", rangeOf(size))
	h.Set("Docker-Upload-Uuid", c.reference)
}

// rangeOf is how clients are told that an upload has so many bytes. Nothing is
// told as one byte is: it is how Docker's registry does it.
func rangeOf(size int64) string { return "0-" + strconv.FormatInt(max(size-1, 0), 10) }

// created tells where something is now.
func (s *Server) created(c *call, kind, digest string) error {
	h := c.w.Header()
	h.Set("Location", Prefix+c.name+"/"+kind+"/"+digest)
	h.Set("Docker-Content-Digest", digest)
	h.Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusCreated)
	return nil
}
