package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"hearth/internal/function"
)

// codeCache keeps volumes of code mounted, shared by environments: one mount a
// volume, and one for each list of several layers that some function has, laid
// over each other. It is disposable.
type codeCache struct {
	dir    string
	code   Code
	mounts Volumes
	log    *slog.Logger
	spare  int // mounts that nobody uses and that are kept

	// ctx ends with the worker; making are the mounts that are being made.
	ctx    context.Context
	making sync.WaitGroup

	mu      sync.Mutex
	entries map[string]*codeEntry // by objects
}

// codeEntry is a mount, being made or made.
type codeEntry struct {
	key   string
	ready chan struct{} // closed when it is mounted, or failed
	err   error
	dir   string
	// volume is set for a mount of one volume, parts for one of several mounts.
	volume Volume
	parts  []*codeEntry
	// recorded says that a start from the volume has been recorded.
	recorded sync.Once

	// Under the cache's lock:
	refs int
	used time.Time
	// gone says that the cache does not have it any more: who releases it last
	// unmounts it.
	gone bool
}

func newCodeCache(ctx context.Context, cfg *Config) *codeCache {
	return &codeCache{
		ctx: ctx,
		dir: filepath.Join(cfg.Dir, "code"), code: cfg.Code, mounts: cfg.Volumes, spare: cfg.SpareMounts, log: cfg.Log,
		entries: make(map[string]*codeEntry),
	}
}

// layersOf are the archives of a function's /opt, the lowest first; none if it
// has no layers.
func layersOf(cfg *function.Config) []CodeRef {
	var layers []CodeRef
	for i := range cfg.Layers {
		layers = append(layers, CodeRef{Account: cfg.Layers[i].Account(), Object: cfg.Layers[i].Code.Object})
	}
	return layers
}

// codeOf is a function's own code.
func codeOf(account string, cfg *function.Config) []CodeRef {
	ref := CodeRef{Account: account, Object: cfg.Code.Object}
	if cfg.Image != nil {
		ref.Image = cfg.Image.Resolved
	}
	return []CodeRef{ref}
}

// Refs are the code and the layers of a configuration.
func Refs(account string, cfg *function.Config) []CodeRef {
	return append(codeOf(account, cfg), layersOf(cfg)...)
}

// acquire mounts what refs name, the last on top, and pins it; callers of the
// same share one mount.
func (c *codeCache) acquire(ctx context.Context, refs []CodeRef) (*codeEntry, error) {
	objects := make([]string, len(refs))
	for i, ref := range refs {
		objects[i] = ref.Object
	}
	key := strings.Join(objects, "\n") // which no object's key has
	c.mu.Lock()
	e := c.entries[key]
	var over []*codeEntry
	if e != nil && e.lost() {
		c.take(e) // and have another
		if e.unused() {
			over = append(over, e)
		}
		e = nil
	}
	first := e == nil
	if first {
		// A name of its own for each life: the mount before may still be going.
		e = &codeEntry{key: key, ready: make(chan struct{}), dir: filepath.Join(c.dir, rand.Text())}
		c.entries[key] = e
	}
	e.refs++
	c.mu.Unlock()

	c.unmountLogged(over...)
	if first {
		// Others wait for this mount: one caller's leaving must not fail it. It
		// can take minutes, if the volume is to be built.
		c.making.Go(func() {
			e.err = c.make(c.ctx, e, refs)
			c.made(e)
		})
	}
	select {
	case <-e.ready:
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), c.release(e))
	}
	if e.err != nil {
		return nil, errors.Join(e.err, c.release(e))
	}
	return e, nil
}

// made tells those who wait that a mount is there, or has failed.
func (c *codeCache) made(e *codeEntry) {
	c.mu.Lock()
	if e.err != nil {
		c.take(e) // the next caller tries again
	}
	close(e.ready)
	nobodys := e.gone && e.refs == 0
	c.mu.Unlock()
	if nobodys {
		c.unmountLogged(e)
	}
}

func (c *codeCache) make(ctx context.Context, e *codeEntry, refs []CodeRef) (err error) {
	if len(refs) > 1 {
		return c.stack(ctx, e, refs)
	}
	if e.volume, err = c.code.Open(ctx, refs[0]); err != nil {
		return fmt.Errorf("worker: code of the function: %w", err)
	}
	if err := e.volume.Mount(e.dir); err != nil {
		err = fmt.Errorf("worker: mount code of the function: %w", err)
		return errors.Join(err, e.volume.Release(ctx))
	}
	return nil
}

// stack lays volumes over each other.
func (c *codeCache) stack(ctx context.Context, e *codeEntry, refs []CodeRef) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, c.releaseAll(e.parts))
		}
	}()
	dirs := make([]string, len(refs)) // the top first
	for i, ref := range refs {
		part, err := c.acquire(ctx, []CodeRef{ref})
		if err != nil {
			return err
		}
		e.parts = append(e.parts, part)
		dirs[len(refs)-1-i] = part.dir
	}
	return c.mounts.Overlay(e.dir, dirs)
}

// whenLost is closed when what is mounted cannot be read any more. Volumes of
// one machine are lost together.
func (e *codeEntry) whenLost() <-chan struct{} {
	if len(e.parts) > 0 {
		return e.parts[0].whenLost()
	}
	return e.volume.Lost()
}

// unused says whether an entry can be unmounted. One that is being made is
// left to who makes it. The caller holds the cache's lock.
func (e *codeEntry) unused() bool {
	select {
	case <-e.ready:
		return e.refs == 0
	default:
		return false
	}
}

// lost says whether a mount that has been made cannot be read any more.
func (e *codeEntry) lost() bool {
	select {
	case <-e.ready:
	default:
		return false
	}
	if e.err != nil {
		return false
	}
	select {
	case <-e.whenLost():
		return true
	default:
		return false
	}
}

// started records the first start from a mount.
func (c *codeCache) started(ctx context.Context, e *codeEntry) {
	for _, part := range e.parts {
		c.started(ctx, part)
	}
	if e.volume != nil {
		e.recorded.Do(func() { e.volume.Started(ctx) })
	}
}

// take takes an entry out of the cache, for those who come from now on. The
// caller holds the lock.
func (c *codeCache) take(e *codeEntry) {
	e.gone = true
	if c.entries[e.key] == e {
		delete(c.entries, e.key)
	}
}

// release unpins what acquire pinned.
func (c *codeCache) release(e *codeEntry) error {
	c.mu.Lock()
	e.refs--
	e.used = time.Now()
	var over []*codeEntry
	if e.gone && e.unused() {
		over = append(over, e)
	}
	over = append(over, c.trim()...)
	c.mu.Unlock()
	return c.unmountAll(over)
}

func (c *codeCache) releaseAll(all []*codeEntry) error {
	var errs []error
	for _, e := range all {
		errs = append(errs, c.release(e))
	}
	return errors.Join(errs...)
}

// trim takes out the least recently used mounts that nobody uses beyond the
// spare ones. The caller holds the lock, and unmounts them without it.
func (c *codeCache) trim() (over []*codeEntry) {
	for {
		unused := 0
		var oldest *codeEntry
		for _, e := range c.entries {
			if !e.unused() {
				continue
			}
			unused++
			if oldest == nil || e.used.Before(oldest.used) {
				oldest = e
			}
		}
		if unused <= c.spare {
			return over
		}
		c.take(oldest)
		over = append(over, oldest)
	}
}

// unmountLogged is unmountAll where nobody can be told.
func (c *codeCache) unmountLogged(all ...*codeEntry) {
	if err := c.unmountAll(all); err != nil {
		c.log.LogAttrs(c.ctx, slog.LevelError, "worker: a volume is not unmounted", slog.Any("error", err))
	}
}

// unmountAll ends mounts that nobody can reach any more.
func (c *codeCache) unmountAll(all []*codeEntry) error {
	var errs []error
	for _, e := range all {
		if e.err != nil {
			continue // never was mounted
		}
		err := c.mounts.Unmount(e.dir)
		if err == nil {
			err = os.Remove(e.dir)
		}
		errs = append(errs, err)
		if e.volume != nil {
			errs = append(errs, e.volume.Release(context.Background()))
		}
		errs = append(errs, c.releaseAll(e.parts))
	}
	return errors.Join(errs...)
}

// renew has all who come from now on get a mount of their own volume as it is
// found then. What nobody uses is unmounted now, the rest when it is released.
func (c *codeCache) renew() error { return c.takeAll(func(*codeEntry) bool { return true }) }

// forget is renew for what an object is a part of.
func (c *codeCache) forget(object string) error {
	return c.takeAll(func(e *codeEntry) bool { return slices.Contains(strings.Split(e.key, "\n"), object) })
}

func (c *codeCache) takeAll(which func(*codeEntry) bool) error {
	c.mu.Lock()
	var unused []*codeEntry
	for _, e := range c.entries {
		if !which(e) {
			continue
		}
		c.take(e)
		if e.unused() {
			unused = append(unused, e)
		}
	}
	c.mu.Unlock()
	return c.unmountAll(unused)
}

// close unmounts everything; no environment is left, and the context has ended.
func (c *codeCache) close() error {
	c.making.Wait()
	c.mu.Lock()
	c.spare = 0
	c.mu.Unlock()
	return c.renew()
}
