package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"strings"
	"sync"

	"hearth/internal/chunk"
	"hearth/internal/s3"
)

// S3 keeps chunks as objects PREFIX/ROOT/ab/NAME of a bucket: a Dir can be
// copied there file by file.
type S3 struct {
	client         *s3.Client
	bucket, prefix string
}

// NewS3 keeps chunks in a bucket, below a prefix that is empty or a path. The
// client stays the caller's. It asks the endpoint nothing.
func NewS3(client *s3.Client, bucket, prefix string) (*S3, error) {
	prefix = strings.Trim(prefix, "/")
	if prefix != "" {
		prefix += "/"
	}
	if client == nil || bucket == "" || path.Clean("/"+prefix) != "/"+strings.TrimSuffix(prefix, "/") {
		return nil, fmt.Errorf("origin: bucket %.100q and prefix %.100q: want the name of a bucket and a plain path", bucket, prefix)
	}
	return &S3{client: client, bucket: bucket, prefix: prefix}, nil
}

func (s *S3) key(ref chunk.Ref) string { return s.prefix + chunkPath(ref) }

// ReadChunk implements chunk.Source.
func (s *S3) ReadChunk(ctx context.Context, ref chunk.Ref) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	o, err := s.client.Open(ctx, s.bucket, s.key(ref), "")
	if e, ok := errors.AsType[*s3.Error](err); ok && e.Code == "NoSuchKey" {
		return nil, fmt.Errorf("%w: %s of root %s", chunk.ErrNotFound, ref.Name, ref.Root)
	}
	if err != nil {
		return nil, fmt.Errorf("read chunk %s: %w", ref.Name, err)
	}
	defer o.Close()
	if o.Size < 0 || o.Size > chunk.MaxCiphertext {
		return nil, fmt.Errorf("%w: %s has %d bytes", chunk.ErrIntegrity, ref.Name, o.Size)
	}
	b := make([]byte, o.Size)
	if _, err := io.ReadFull(o, b); err != nil {
		return nil, fmt.Errorf("read chunk %s: %w", ref.Name, err)
	}
	return b, nil
}

// PutChunk implements chunk.Store. Two who put the same chunk at once may both
// be told that they stored it.
func (s *S3) PutChunk(ctx context.Context, ref chunk.Ref, ciphertext []byte) (stored bool, err error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err := check(ref, ciphertext); err != nil {
		return false, fmt.Errorf("put chunk: %w", err)
	}
	size, err := s.client.Size(ctx, s.bucket, s.key(ref))
	if err == nil && size == int64(len(ciphertext)) {
		return false, nil
	}
	if err == nil {
		err = s.client.Put(ctx, s.bucket, s.key(ref), ciphertext, ref.Name)
	}
	if err != nil {
		return false, fmt.Errorf("put chunk %s: %w", ref.Name, err)
	}
	return true, nil
}

// Distrust is told that a copy read from here was not the chunk. It reads the
// copy again, and sets it aside in bad/ if it is indeed not: the next PutChunk
// stores the chunk anew. It is not just deleted: what is rotten may be the way
// to the bucket, or this machine's memory.
func (s *S3) Distrust(ctx context.Context, ref chunk.Ref) (set bool, err error) {
	b, err := s.ReadChunk(ctx, ref)
	switch {
	case errors.Is(err, chunk.ErrNotFound):
		return false, nil
	case err != nil && !errors.Is(err, chunk.ErrIntegrity):
		return false, err
	case err == nil && chunk.Check(ref.Name, b) == nil:
		return false, nil
	}
	if err := s.client.Copy(ctx, s.bucket, s.key(ref), s.prefix+asidePath(ref)); err != nil {
		return false, fmt.Errorf("set chunk %s aside: %w", ref.Name, err)
	}
	if err := s.DeleteChunk(ctx, ref); err != nil {
		return false, err
	}
	return true, nil
}

// pages yields the pages of a list.
func (s *S3) pages(ctx context.Context, prefix, delimiter string) iter.Seq2[s3.Page, error] {
	return func(yield func(s3.Page, error) bool) {
		for next := ""; ; {
			page, err := s.client.List(ctx, s.bucket, prefix, delimiter, next)
			if !yield(page, err) || err != nil || page.Next == "" {
				return
			}
			next = page.Next
		}
	}
}

// Roots lists the roots that have chunks.
func (s *S3) Roots(ctx context.Context) ([]chunk.Root, error) {
	var roots []chunk.Root
	for page, err := range s.pages(ctx, s.prefix, "/") {
		if err != nil {
			return nil, fmt.Errorf("list roots: %w", err)
		}
		for _, p := range page.Prefixes {
			if root, err := chunk.ParseRoot(strings.TrimSuffix(strings.TrimPrefix(p, s.prefix), "/")); err == nil {
				roots = append(roots, root)
			}
		}
	}
	return roots, nil
}

// Chunks lists the chunks of a root. It ends after an error.
func (s *S3) Chunks(ctx context.Context, root chunk.Root) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		for page, err := range s.pages(ctx, s.prefix+root.String()+"/", "") {
			if err != nil {
				yield(Info{}, fmt.Errorf("list chunks of root %s: %w", root, err))
				return
			}
			for _, o := range page.Objects {
				name, err := chunk.ParseName(path.Base(o.Key))
				if err != nil || s.key(chunk.Ref{Root: root, Name: name}) != o.Key {
					continue // not ours
				}
				if !yield(Info{Name: name, Size: o.Size, Modified: o.Modified}, nil) {
					return
				}
			}
		}
	}
}

// DeleteChunk removes a chunk; one that is not there is no error.
func (s *S3) DeleteChunk(ctx context.Context, ref chunk.Ref) error {
	if err := s.client.Delete(ctx, s.bucket, s.key(ref)); err != nil {
		return fmt.Errorf("delete chunk %s: %w", ref.Name, err)
	}
	return nil
}

// deletions go on at a time.
const deletions = 16

// DeleteRoot removes the chunks of a root, one after the other: when it is
// interrupted, some are left, and it is to be called again.
func (s *S3) DeleteRoot(ctx context.Context, root chunk.Root) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	running := make(chan struct{}, deletions)
	var failed error
	for info, err := range s.Chunks(ctx, root) {
		if err != nil {
			failed = err
			break
		}
		running <- struct{}{}
		wg.Go(func() {
			defer func() { <-running }()
			if err := s.DeleteChunk(ctx, chunk.Ref{Root: root, Name: info.Name}); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		failed = context.Cause(ctx)
	}
	if failed != nil {
		return fmt.Errorf("delete root %s: %w", root, failed)
	}
	return nil
}
