package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"hearth/internal/function"
)

// codeCache keeps unpacked code and layers, shared read-only by environments:
// one directory an archive of code, and one for each list of layers that some
// function has, unpacked over each other. It is disposable.
type codeCache struct {
	dir      string
	archives Archives
	volumes  Volumes
	spare    int64 // bytes of unused code to keep

	mu      sync.Mutex
	entries map[string]*codeEntry // by objects
}

type codeEntry struct {
	ready chan struct{} // closed when unpacked or failed
	err   error
	dir   string
	bytes int64
	refs  int
	used  time.Time
}

func newCodeCache(cfg *Config) *codeCache {
	return &codeCache{
		dir: filepath.Join(cfg.Dir, "code"), archives: cfg.Archives, volumes: cfg.Volumes,
		spare: int64(cfg.CodeCacheMB) << 20, entries: make(map[string]*codeEntry),
	}
}

// stack is archives in the order in which they are unpacked over each other.
type stack []function.Code

// key names the stack in the cache; no object's key has a line break.
func (s stack) key() string {
	var objects []string
	for _, code := range s {
		objects = append(objects, code.Object)
	}
	return strings.Join(objects, "\n")
}

// layersOf are the archives of a function's /opt; none if it has no layers.
func layersOf(cfg *function.Config) stack {
	var s stack
	for i := range cfg.Layers {
		s = append(s, cfg.Layers[i].Code)
	}
	return s
}

// acquire returns the directory of the unpacked archives and pins it; callers
// of the same ones share one unpacking.
func (c *codeCache) acquire(ctx context.Context, s stack) (string, error) {
	key := s.key()
	c.mu.Lock()
	e := c.entries[key]
	first := e == nil
	if first {
		sum := sha256.Sum256([]byte(key))
		e = &codeEntry{ready: make(chan struct{}), dir: filepath.Join(c.dir, hex.EncodeToString(sum[:12]))}
		c.entries[key] = e
	}
	e.refs++
	c.mu.Unlock()

	if first {
		// Others wait for this unpacking: one caller's leaving must not fail it.
		e.bytes, e.err = c.unpack(context.WithoutCancel(ctx), s, e.dir)
		close(e.ready)
	}
	<-e.ready
	if e.err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		e.refs--
		if c.entries[key] == e {
			delete(c.entries, key) // the next caller tries again
		}
		return "", e.err
	}
	return e.dir, nil
}

// release unpins what acquire pinned.
func (c *codeCache) release(s stack) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[s.key()]
	e.refs--
	e.used = time.Now()
	c.trim()
}

// trim removes the least recently used code that nobody uses beyond the spare.
func (c *codeCache) trim() {
	for {
		var unused int64
		oldest := ""
		for object, e := range c.entries {
			if e.refs > 0 {
				continue
			}
			unused += e.bytes
			if oldest == "" || e.used.Before(c.entries[oldest].used) {
				oldest = object
			}
		}
		if unused <= c.spare {
			return
		}
		// Removed under the lock: a new acquire of the same archive must not
		// find half of the directory.
		_ = os.RemoveAll(c.entries[oldest].dir)
		delete(c.entries, oldest)
	}
}

func (c *codeCache) unpack(ctx context.Context, s stack, dir string) (int64, error) {
	var archives []Archive
	var opened []io.Closer
	defer func() {
		for _, r := range opened {
			_ = r.Close()
		}
	}()
	for _, code := range s {
		r, err := c.archives.OpenCode(ctx, code.Object)
		if err != nil {
			return 0, fmt.Errorf("worker: code of the function: %w", err)
		}
		opened = append(opened, r)
		at, ok := r.(io.ReaderAt)
		if !ok {
			return 0, errors.New("worker: the object store's readers cannot be read at an offset")
		}
		archives = append(archives, Archive{at, code.Size})
	}
	if err := c.volumes.Extract(archives, dir); err != nil {
		return 0, fmt.Errorf("worker: unpack code: %w", err)
	}
	var bytes int64
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if i, err := d.Info(); err == nil {
			bytes += i.Size()
		}
		return nil
	})
	return bytes, err
}
