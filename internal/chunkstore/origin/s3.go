package origin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"hearth/internal/chunk"
	"hearth/internal/s3"
)

// S3 keeps chunks as objects PREFIX/ROOT/ab/NAME of a bucket: a Dir can be
// copied there file by file.
type S3 struct {
	client         *s3.Client
	bucket, prefix string
	owned          bool // the client is closed with it
	watch          watch
}

// NewS3 keeps chunks in a bucket, below a prefix that is empty or a path. The
// client stays the caller's, and is closed after the S3. It asks the endpoint
// nothing.
func NewS3(client *s3.Client, bucket, prefix string) (*S3, error) {
	prefix = strings.Trim(prefix, "/")
	if prefix != "" {
		prefix += "/"
	}
	if client == nil || bucket == "" || path.Clean("/"+prefix) != "/"+strings.TrimSuffix(prefix, "/") {
		return nil, fmt.Errorf("origin: bucket %.100q and prefix %.100q: want the name of a bucket and a plain path", bucket, prefix)
	}
	s := &S3{client: client, bucket: bucket, prefix: prefix}
	s.watch.start()
	return s, nil
}

// Close ends what goes on in the background.
func (s *S3) Close() error {
	s.watch.stop()
	if s.owned {
		s.client.Close()
	}
	return nil
}

func (s *S3) key(ref chunk.Ref) string { return s.prefix + chunkPath(ref) }

// ReadChunk implements chunk.Source.
func (s *S3) ReadChunk(ctx context.Context, ref chunk.Ref) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s.watchRead(ref.Root)
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

// Roots lists the roots that have chunks and have not expired.
func (s *S3) Roots(ctx context.Context) ([]chunk.Root, error) {
	expired, err := s.Expired(ctx)
	if err != nil {
		return nil, err
	}
	var roots []chunk.Root
	for page, err := range s.pages(ctx, s.prefix, "/") {
		if err != nil {
			return nil, fmt.Errorf("list roots: %w", err)
		}
		for _, p := range page.Prefixes {
			root, err := chunk.ParseRoot(strings.TrimSuffix(strings.TrimPrefix(p, s.prefix), "/"))
			if err == nil && !slices.Contains(expired, root) {
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

const (
	// deletions go on at a time.
	deletions = 16
	// deletePage is after how many is looked whether to go on.
	deletePage = 256
)

// DeleteRoot removes the chunks of a root, a page of the list at a time: when it
// is interrupted, some are left, and it is to be called again.
func (s *S3) DeleteRoot(ctx context.Context, root chunk.Root) error {
	_, err := s.deleteRoot(ctx, root, func(context.Context) error { return nil })
	return err
}

// deleteRoot asks before each page whether to go on.
func (s *S3) deleteRoot(ctx context.Context, root chunk.Root, goOn func(context.Context) error) (freed Freed, err error) {
	var page []Info
	flush := func() error {
		if len(page) == 0 {
			return nil
		}
		if err := goOn(ctx); err != nil {
			return err
		}
		if err := s.deleteAll(ctx, root, page); err != nil {
			return err
		}
		for _, info := range page {
			freed.Bytes += info.Size
		}
		freed.Chunks += len(page)
		page = page[:0]
		return nil
	}
	for info, err := range s.Chunks(ctx, root) {
		if err != nil {
			return freed, fmt.Errorf("delete root %s: %w", root, err)
		}
		if page = append(page, info); len(page) < deletePage {
			continue
		}
		if err := flush(); err != nil {
			return freed, fmt.Errorf("delete root %s: %w", root, err)
		}
	}
	if err := flush(); err != nil {
		return freed, fmt.Errorf("delete root %s: %w", root, err)
	}
	return freed, nil
}

// deleteAll removes chunks of a root.
func (s *S3) deleteAll(ctx context.Context, root chunk.Root, chunks []Info) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(deletions)
	for _, info := range chunks {
		group.Go(func() error { return s.DeleteChunk(ctx, chunk.Ref{Root: root, Name: info.Name}) })
	}
	return group.Wait()
}
