package objectstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"hearth/internal/rootdir"
)

// Inside the store's directory, objects have their keys as paths below
// objectsDir; what is being written is in tempDir.
const (
	objectsDir = "objects"
	tempDir    = "tmp"
)

// Dir is a Store in a directory of the local file system.
type Dir struct {
	disk disk
	// tree orders the making of an object's directories against the removal
	// of empty ones: Put must not find its directory gone before the rename.
	tree sync.RWMutex
	// names order the publications of one name, by its hash: who takes an
	// object back must not take another's.
	names [64]sync.Mutex
	seed  maphash.Seed
}

// OpenDir opens the store in directory name, which must exist, and sweeps what
// interrupted writes left.
func OpenDir(name string) (*Dir, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("open object store: %w", err)
	}
	d, err := newDir(rootDisk{rootdir.Dir{Root: root}})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open object store %s: %w", name, err), root.Close())
	}
	return d, nil
}

// OpenShared opens a store for reading that another process has opened with
// OpenDir, and may be writing to.
func OpenShared(name string) (*Dir, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("open object store: %w", err)
	}
	return &Dir{disk: rootDisk{rootdir.Dir{Root: root}}, seed: maphash.MakeSeed()}, nil
}

func newDir(disk disk) (*Dir, error) {
	for _, name := range []string{objectsDir, tempDir} {
		if err := disk.Mkdir(name); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, full(err)
		}
	}
	if err := disk.SyncDir("."); err != nil {
		return nil, full(err)
	}
	left, err := disk.ReadDir(tempDir)
	if err != nil {
		return nil, err
	}
	for _, e := range left {
		if err := disk.Remove(path.Join(tempDir, e.Name())); err != nil {
			return nil, fmt.Errorf("sweep unfinished objects: %w", err)
		}
	}
	return &Dir{disk: disk, seed: maphash.MakeSeed()}, nil
}

// Close releases the directory. Objects that are open stay readable.
func (d *Dir) Close() error { return d.disk.Close() }

// Put implements Store.
func (d *Dir) Put(ctx context.Context, key string, r io.Reader) (err error) {
	if err := CheckKey(key); err != nil {
		return err
	}
	temp := path.Join(tempDir, rand.Text())
	defer func() {
		if err != nil {
			// The temporary name is gone if the rename went through; what
			// cannot be removed now is swept by the next OpenDir.
			_ = d.disk.Remove(temp)
			err = fmt.Errorf("put object %s: %w", key, full(err))
		}
	}()
	if err := d.write(ctx, temp, r); err != nil {
		return err
	}
	return d.publish(temp, path.Join(objectsDir, key))
}

// write puts the bytes into a file and makes them durable.
func (d *Dir) write(ctx context.Context, name string, r io.Reader) (err error) {
	f, err := d.disk.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.Copy(f, contextReader{ctx, r}); err != nil {
		return err
	}
	return f.Sync()
}

// publish gives a written file its final name, durably. When it fails after
// the rename a new object is taken back, so that an error means "not stored". One
// that has replaced another stays: there is nothing to put in its place.
func (d *Dir) publish(temp, name string) error {
	d.tree.RLock()
	defer d.tree.RUnlock()
	if err := d.mkdirAll(path.Dir(name)); err != nil {
		return err
	}
	mine := &d.names[maphash.String(d.seed, name)%uint64(len(d.names))]
	mine.Lock()
	defer mine.Unlock()
	isNew := d.isNew(name)
	if err := d.disk.Rename(temp, name); err != nil {
		return err
	}
	err := d.disk.SyncDir(path.Dir(name))
	if err != nil && isNew {
		return errors.Join(err, d.disk.Remove(name))
	}
	return err
}

// isNew says that there is nothing of a name, for certain.
func (d *Dir) isNew(name string) bool {
	f, _, err := d.disk.Open(name)
	if err == nil {
		_ = f.Close() // nothing was read of it
	}
	return errors.Is(err, fs.ErrNotExist)
}

// mkdirAll makes name and its parents; each new name is made durable in the
// directory that holds it.
func (d *Dir) mkdirAll(name string) error {
	err := d.disk.Mkdir(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err := d.mkdirAll(path.Dir(name)); err != nil {
			return err
		}
		err = d.disk.Mkdir(name)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// Also when it existed: whoever made it may not have synced it yet.
	return d.disk.SyncDir(path.Dir(name))
}

// Open implements Store.
func (d *Dir) Open(_ context.Context, key string) (io.ReadSeekCloser, int64, error) {
	if err := CheckKey(key); err != nil {
		return nil, 0, err
	}
	f, size, err := d.disk.Open(path.Join(objectsDir, key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("open object %s: %w", key, ErrNotFound)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("open object %s: %w", key, err)
	}
	return f, size, nil
}

// Delete implements Store. The removal is not synced: an object that comes
// back after a power cut is one that no record names, and is swept.
func (d *Dir) Delete(_ context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	d.tree.Lock()
	defer d.tree.Unlock()
	name := path.Join(objectsDir, key)
	if err := d.disk.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete object %s: %w", key, err)
	}
	for dir := path.Dir(name); dir != objectsDir; dir = path.Dir(dir) {
		if err := d.disk.Remove(dir); err != nil {
			return nil // not empty: others still need it
		}
	}
	return nil
}

// List implements Store.
func (d *Dir) List(ctx context.Context, prefix string) ([]Info, error) {
	start := objectsDir
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		if err := CheckKey(prefix[:i]); err != nil {
			return nil, err
		}
		start = path.Join(objectsDir, prefix[:i])
	}
	var found []Info
	if err := d.walk(ctx, start, prefix, &found); err != nil {
		return nil, fmt.Errorf("list objects %s: %w", prefix, err)
	}
	slices.SortFunc(found, func(a, b Info) int { return cmp.Compare(a.Key, b.Key) })
	return found, nil
}

func (d *Dir) walk(ctx context.Context, dir, prefix string, found *[]Info) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := d.disk.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed meanwhile
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		key := strings.TrimPrefix(name, objectsDir+"/")
		if e.IsDir() {
			if strings.HasPrefix(key+"/", prefix) || strings.HasPrefix(prefix, key+"/") {
				if err := d.walk(ctx, name, prefix, found); err != nil {
					return err
				}
			}
			continue
		}
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		*found = append(*found, Info{Key: key, Size: info.Size(), Modified: info.ModTime()})
	}
	return nil
}

// full marks errors of a full file system.
func full(err error) error {
	if rootdir.IsFull(err) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// contextReader ends a copy when ctx ends.
type contextReader struct {
	ctx context.Context //nolint:containedctx // lives for one copy
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}
