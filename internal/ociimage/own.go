package ociimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// ownSource is a repository of Hearth's own registry.
type ownSource struct {
	store               Store
	account, repository string
}

func (s *ownSource) manifest(ctx context.Context, reference string) ([]byte, string, error) {
	data, kind, err := s.store.Manifest(ctx, s.account, s.repository, reference)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("%w: Hearth's registry has no %s in repository %s; push it first", ErrNotFound, printable(reference), s.repository)
	}
	return data, kind, err
}

func (s *ownSource) blob(ctx context.Context, d descriptor, offset int64) (io.ReadCloser, error) {
	r, size, err := s.store.Blob(ctx, s.account, s.repository, d.digest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: Hearth's registry has no %s in repository %s any more; push the image again", ErrNotFound, d.digest, s.repository)
	}
	if err != nil {
		return nil, err
	}
	return from(r, d, size, offset)
}

// from returns a blob that is on this machine from an offset on.
func from(r io.ReadSeekCloser, d descriptor, size, offset int64) (io.ReadCloser, error) {
	var err error
	if size != d.size {
		err = fmt.Errorf("%w: %s has %d bytes, where the manifest promises %d; make the image again", ErrInvalid, d.digest, size, d.size)
	} else {
		_, err = r.Seek(offset, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}
