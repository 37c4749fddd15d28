package ociimage

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"hearth/internal/ociname"
)

// How often reading a blob is taken up again: in all, and without a byte of
// progress.
const (
	maxResumes   = 30
	maxFruitless = 4
)

// verified reads a blob, taking it up again where a connection ended, and
// returns io.EOF only after as many bytes as were promised, with their digest.
type verified struct {
	ctx       context.Context //nolint:containedctx // lives for one read of the blob
	f         *finder
	d         descriptor
	hash      hash.Hash
	body      io.ReadCloser
	at        int64
	resumes   int
	fruitless int
	err       error
}

func newVerified(ctx context.Context, f *finder, d descriptor) *verified {
	return &verified{ctx: ctx, f: f, d: d, hash: sha256.New()}
}

// start opens the blob at the place that reading has come to.
func (v *verified) start() error {
	for v.body == nil {
		body, err := v.f.source.blob(v.ctx, v.d, v.at)
		if err == nil {
			v.body = body
			break
		}
		if err := v.again(err); err != nil {
			return err
		}
	}
	return nil
}

// again says whether to try once more after an error, by returning nil; if so,
// it has waited.
func (v *verified) again(err error) error {
	v.resumes++
	v.fruitless++
	if !errors.Is(err, ErrUnavailable) || v.resumes > maxResumes || v.fruitless > maxFruitless {
		return err
	}
	return v.f.pause(v.ctx, v.fruitless-1)
}

func (v *verified) Read(p []byte) (int, error) {
	if v.err != nil || len(p) == 0 {
		return 0, v.err
	}
	n, err := v.read(p)
	v.err = err
	return n, err
}

func (v *verified) read(p []byte) (int, error) {
	for v.at < v.d.size {
		if err := v.start(); err != nil {
			return 0, err
		}
		n, err := v.body.Read(p[:min(int64(len(p)), v.d.size-v.at)])
		v.at += int64(n)
		v.hash.Write(p[:n])
		if n > 0 {
			v.fruitless = 0
			return n, nil // an error comes again
		}
		if err == nil {
			continue
		}
		if err == io.EOF { //nolint:errorlint // Read returns io.EOF itself
			err = fmt.Errorf("%w: %s ends after %d of %d bytes; push the image again", ErrUnavailable, v.d.digest, v.at, v.d.size)
		}
		_ = v.body.Close() // it has failed already
		v.body = nil
		if err := v.again(err); err != nil {
			return 0, err
		}
	}
	if ociname.Sum(v.hash.Sum(nil)) != v.d.digest {
		return 0, fmt.Errorf("%w: the bytes of %s have another digest: the registry is damaged, or lies; push the image again", ErrInvalid, v.d.digest)
	}
	return 0, io.EOF
}

// Close implements io.Closer.
func (v *verified) Close() error {
	if v.err == nil {
		v.err = errors.New("ociimage: read after close")
	}
	if v.body == nil {
		return nil
	}
	err := v.body.Close()
	v.body = nil
	return err
}
