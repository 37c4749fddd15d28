package worker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"hearth/internal/function"
)

// source is archives and volumes of code: an archive's bytes become a file.
type source struct {
	Volumes
	unpacked atomic.Int32
	fail     atomic.Bool
}

type object struct{ *bytes.Reader }

func (object) Close() error { return nil }

func (s *source) OpenCode(_ context.Context, name string) (io.ReadSeekCloser, error) {
	if s.fail.Load() {
		return nil, errors.New("no such object")
	}
	return object{bytes.NewReader(bytes.Repeat([]byte(name), 1<<18))}, nil
}

func (s *source) Extract(archives []Archive, dir string) error {
	s.unpacked.Add(1)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, a := range archives {
		b := make([]byte, a.Size)
		if _, err := a.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "code"), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func newCode(t *testing.T, spareMB int) (*codeCache, *source) {
	t.Helper()
	s := &source{}
	return newCodeCache(&Config{Dir: t.TempDir(), Archives: s, Volumes: s, CodeCacheMB: spareMB}), s
}

// code is an archive of 1 MiB.
func code(names ...string) stack {
	var s stack
	for _, name := range names {
		s = append(s, function.Code{Object: name, Size: 1 << 20})
	}
	return s
}

func TestCodeIsUnpackedOnce(t *testing.T) {
	c, s := newCode(t, 10)
	dirs := make([]string, 16)
	var wg sync.WaitGroup
	for i := range dirs {
		wg.Go(func() {
			var err error
			if dirs[i], err = c.acquire(t.Context(), code("a")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := s.unpacked.Load(); n != 1 || dirs[0] != dirs[15] {
		t.Fatalf("unpacked %d times, to %s and %s", n, dirs[0], dirs[15])
	}
}

// TestLayersAreStacked makes sure that a list of layers is unpacked once, in
// its order, and taken for no other list.
func TestLayersAreStacked(t *testing.T) {
	cfg := &function.Config{Layers: []function.Layer{{Code: function.Code{Object: "a"}}, {Code: function.Code{Object: "b"}}}}
	if got := layersOf(cfg); len(got) != 2 || got[0].Object != "a" || got[1].Object != "b" {
		t.Errorf("layers %v: want them in the function's order", got)
	}
	c, s := newCode(t, 10)
	dirs := map[string]bool{}
	for _, tt := range []struct {
		layers stack
		top    byte
	}{
		{code("a", "b"), 'b'}, {code("b", "a"), 'a'}, {code("a", "b"), 'b'}, {code("a"), 'a'}, {code("ab"), 'a'},
	} {
		dir, err := c.acquire(t.Context(), tt.layers)
		if err != nil {
			t.Fatal(err)
		}
		dirs[dir] = true
		if b, err := os.ReadFile(filepath.Join(dir, "code")); err != nil || b[0] != tt.top {
			t.Errorf("%v: %c is on top, %v", tt.layers, b[0], err)
		}
	}
	if n := s.unpacked.Load(); n != 4 || len(dirs) != 4 {
		t.Errorf("unpacked %d times, into %d directories, want 4", n, len(dirs))
	}
}

func TestCodeCacheIsBounded(t *testing.T) {
	c, s := newCode(t, 2)
	dirs := map[string]string{}
	for _, name := range []string{"a", "b", "c", "d"} {
		dir, err := c.acquire(t.Context(), code(name))
		if err != nil {
			t.Fatal(err)
		}
		dirs[name] = dir
	}
	there := func(name string) bool {
		_, err := os.Stat(dirs[name])
		return err == nil
	}
	for _, name := range []string{"a", "b", "c"} {
		c.release(code(name))
	}
	if there("a") || !there("c") || !there("d") {
		t.Fatalf("a %v, b %v, c %v, d %v: want the least recently used gone and what is in use kept", there("a"), there("b"), there("c"), there("d"))
	}
	if _, err := c.acquire(t.Context(), code("a")); err != nil || !there("a") {
		t.Fatalf("a is not there again: %v", err)
	}
	if n := s.unpacked.Load(); n != 5 {
		t.Fatalf("unpacked %d times, want 5", n)
	}
}

func TestCodeThatCannotBeHad(t *testing.T) {
	c, s := newCode(t, 10)
	s.fail.Store(true)
	if _, err := c.acquire(t.Context(), code("a")); err == nil {
		t.Fatal("no error")
	}
	s.fail.Store(false)
	if _, err := c.acquire(t.Context(), code("a")); err != nil {
		t.Fatalf("a failure was kept: %v", err)
	}
}
