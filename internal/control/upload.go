package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"hearth/internal/archive"
	"hearth/internal/awserr"
	"hearth/internal/function"
	"hearth/internal/s3"
	"hearth/internal/table"
)

// Buckets reads objects from S3.
type Buckets interface {
	Open(ctx context.Context, bucket, key, version string) (*s3.Object, error)
}

// Images finds container images.
type Images interface {
	// Resolve finds the image for an architecture that a URI names now. That
	// there is none, or none for this account, is an *awserr.Error.
	Resolve(ctx context.Context, account, uri, architecture string) (Image, error)
}

// Image is a container image as it was found.
type Image struct {
	// Resolved is its URI by digest.
	Resolved string
	// Digest is that of its manifest, sha256:….
	Digest string
}

// fetches is how many archives are fetched from S3 at once: each takes as much
// of the disk as an archive may have.
const fetches = 4

// upload is an archive on its way into the store. Its quota is set aside until
// it is closed.
type upload struct {
	s *Service
	// code describes the archive; its Object is where it is or will be stored.
	code function.Code
	// zip are the bytes that are still to be stored; nil if they are.
	zip []byte
	// image is set for code that is a container image.
	image   *function.Image
	release func()
}

// source is where code comes from: one of zip, s3 and image.
type source struct {
	zip   []byte
	s3    *function.S3Object
	image string // URI
	// architecture is what an image is wanted for.
	architecture string
}

// receive takes code for account, from the request, from S3 or as an image,
// checks it and sets quota aside for it and for what else the change needs.
func (s *Service) receive(ctx context.Context, account, key string, from source, also function.Usage) (*upload, error) {
	switch {
	case from.s3 != nil:
		return s.fetch(ctx, account, key, *from.s3, also)
	case from.image != "":
		return s.resolve(ctx, account, key, from, also)
	}
	code, err := s.checkCode(from.zip)
	if err != nil {
		return nil, err
	}
	code.Object = key
	also.CodeBytes += code.Size
	release, err := s.reserve(account, also)
	if err != nil {
		return nil, err
	}
	return &upload{s: s, code: code, zip: from.zip, release: release}, nil
}

// resolve finds out which image a URI names now. The image itself is copied
// when the function is prepared; images count in their repository, not here.
func (s *Service) resolve(ctx context.Context, account, key string, from source, also function.Usage) (*upload, error) {
	if s.cfg.Images == nil {
		return nil, errors.New("control: nothing here finds images")
	}
	image, err := s.cfg.Images.Resolve(ctx, account, from.image, from.architecture)
	if err != nil {
		return nil, err
	}
	release, err := s.reserve(account, also)
	if err != nil {
		return nil, err
	}
	return &upload{
		s: s, code: function.Code{Object: key, SHA256: strings.TrimPrefix(image.Digest, "sha256:")},
		image: &function.Image{URI: from.image, Resolved: image.Resolved}, release: release,
	}, nil
}

// use makes an upload the code of a configuration.
func (u *upload) use(cfg *function.Config) {
	cfg.Code = u.code
	if u.image != nil {
		cfg.Image.URI, cfg.Image.Resolved = u.image.URI, u.image.Resolved
	}
}

// fetch streams an archive from S3 into the store and checks it there: it may
// be five times as large as one in a request.
func (s *Service) fetch(ctx context.Context, account, key string, from function.S3Object, also function.Usage) (_ *upload, err error) {
	if s.cfg.Buckets == nil {
		return nil, awserr.New("InvalidParameterValueException",
			"Code from S3 needs an S3 endpoint, and this Hearth has none. Start it with hearth up --s3-endpoint URL, or send the code as ZipFile.")
	}
	select {
	case s.fetching <- struct{}{}:
		defer func() { <-s.fetching }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	object, err := s.cfg.Buckets.Open(ctx, from.Bucket, from.Key, from.Version)
	if err != nil {
		return nil, bucketError(err, from)
	}
	defer object.Close()
	limit := s.cfg.Limits.Archive.Bytes
	if object.Size >= limit {
		return nil, archiveError(archive.ErrTooLarge, s.cfg.Limits.Archive)
	}
	also.CodeBytes += object.Size
	if object.Size < 0 {
		also.CodeBytes += 1 + limit
	}
	u := &upload{s: s, code: function.Code{Object: key}}
	if u.release, err = s.reserve(account, also); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = u.drop(ctx, err)
			u.close()
		}
	}()
	in := &measured{r: object, left: limit, hash: sha256.New()}
	if err := s.cfg.Objects.Put(ctx, key, in); err != nil {
		if in.failed == nil {
			return nil, storeError(err)
		}
		if errors.Is(in.failed, archive.ErrTooLarge) {
			return nil, archiveError(in.failed, s.cfg.Limits.Archive)
		}
		return nil, bucketError(in.failed, from)
	}
	u.code.Size, u.code.SHA256 = limit-in.left, base64.StdEncoding.EncodeToString(in.hash.Sum(nil))
	return u, s.checkStored(ctx, &u.code)
}

// checkStored is checkCode for an archive that is in the store already.
func (s *Service) checkStored(ctx context.Context, code *function.Code) error {
	f, size, err := s.cfg.Objects.Open(ctx, code.Object)
	if err != nil {
		return storeError(err)
	}
	defer f.Close()
	at, ok := f.(io.ReaderAt)
	if !ok {
		return errors.New("control: the object store's readers cannot be read at an offset")
	}
	sum, err := archive.Check(at, size, s.cfg.Limits.Archive)
	if err != nil {
		return archiveError(err, s.cfg.Limits.Archive)
	}
	code.Unpacked = sum.Bytes
	return nil
}

// measured counts and digests what is read through it, and stops at a limit.
type measured struct {
	r    io.Reader
	left int64
	hash interface {
		io.Writer
		Sum([]byte) []byte
	}
	// failed is what went wrong here, and not with who reads.
	failed error
}

func (m *measured) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.left -= int64(n)
	if m.left <= 0 {
		m.failed = archive.ErrTooLarge
		return 0, m.failed
	}
	_, _ = m.hash.Write(p[:n]) // a hash never fails
	if err != nil && err != io.EOF {
		m.failed = err
	}
	return n, err
}

// keep stores an upload, if it is not yet, and makes the change that names it.
// If it is certain that no record names the archive, it is deleted again.
func keep[R any](ctx context.Context, u *upload, f func() (R, error)) (R, error) {
	var none R
	if u.zip != nil {
		if err := u.s.cfg.Objects.Put(ctx, u.code.Object, bytes.NewReader(u.zip)); err != nil {
			return none, storeError(err)
		}
		u.zip = nil
	}
	r, err := f()
	if err != nil && !errors.Is(err, table.ErrUnknown) {
		return r, u.drop(ctx, err)
	}
	return r, err
}

// drop deletes an upload that no record names, after err.
func (u *upload) drop(ctx context.Context, err error) error {
	if u.zip != nil {
		return err
	}
	if derr := u.s.cfg.remove(context.WithoutCancel(ctx), u.code.Object); derr != nil {
		return errors.Join(err, fmt.Errorf("an archive stays until the next start: %w", derr))
	}
	return err
}

// close gives back the quota; what was kept is in the catalog by now.
func (u *upload) close() { u.release() }

// bucketError says in AWS's words why an archive could not be fetched.
func bucketError(err error, from function.S3Object) error {
	if e, ok := errors.AsType[*s3.Error](err); ok {
		const words = "S3 Error Code: %s. S3 Error Message: %s"
		if e.Code == "AccessDenied" {
			return fmt.Errorf("%w: %w", awserr.New("AccessDeniedException",
				"Your access has been denied by S3, please make sure your request credentials have permission to GetObject for %s/%s. "+words,
				from.Bucket, from.Key, e.Code, e.Message), err)
		}
		return fmt.Errorf("%w: %w", awserr.New("InvalidParameterValueException", "Error occurred while GetObject. "+words, e.Code, e.Message), err)
	}
	switch {
	case errors.Is(err, s3.ErrBadName):
		return fmt.Errorf("%w: %w", awserr.New("InvalidParameterValueException",
			"Hearth does not ask S3 for this object: %v. Give it another name.", err), err)
	case errors.Is(err, s3.ErrUnreachable):
		return fmt.Errorf("%w: %w", awserr.New("ServiceException",
			"The S3 endpoint of this Hearth (--s3-endpoint) gave no usable answer; the server's log tells why."), err)
	}
	return err
}
