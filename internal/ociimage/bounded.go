package ociimage

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// bounded is what all requests of a resolver pass through, those for tokens
// and those after redirects included: no answer may stall, and none but a
// blob's may be long.
type bounded struct {
	next  http.RoundTripper
	stall time.Duration
}

// Of what a registry sends slowly.
const (
	// maxSmall bounds answers that are read whole.
	maxSmall = maxManifest + 1
	// A registry may keep its reader waiting for slack, and for a second more
	// with every minRate bytes.
	slack   = 5 * time.Minute
	minRate = 32 << 10
)

func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	resp, err := b.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	body := &boundedBody{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, stall: b.stall, left: maxSmall, patience: slack}
	if r.Header.Get("Accept") == blobAccept {
		body.left = -1
	}
	resp.Body = body
	return resp, nil
}

// boundedBody is the body of an answer.
type boundedBody struct {
	io.ReadCloser
	ctx      context.Context //nolint:containedctx // the request's
	cancel   context.CancelCauseFunc
	stall    time.Duration
	left     int64 // bytes that may come; negative for any number
	patience time.Duration
}

var errLong = errors.New("an answer is longer than any such answer should be")

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errLong
	}
	if b.left > 0 {
		p = p[:min(int64(len(p)), b.left)]
	}
	if b.patience <= 0 {
		return 0, errStalled
	}
	begin := time.Now()
	timer := time.AfterFunc(min(b.stall, b.patience), func() { b.cancel(errStalled) })
	n, err := b.ReadCloser.Read(p)
	timer.Stop()
	b.patience += time.Duration(n)*time.Second/minRate - time.Since(begin)
	if b.left > 0 {
		b.left -= int64(n)
	}
	if err != nil && err != io.EOF && b.ctx.Err() != nil { //nolint:errorlint // Read returns io.EOF itself
		err = context.Cause(b.ctx)
	}
	return n, err
}

// Close implements io.Closer.
func (b *boundedBody) Close() error {
	b.cancel(nil)
	return b.ReadCloser.Close()
}
