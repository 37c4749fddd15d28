package origin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"slices"
	"sync"

	"hearth/internal/chunk"
	"hearth/internal/chunkstore/disk"
	"hearth/internal/rootdir"
)

// Beside the roots are what is being written or deleted, the copies that have
// rotted, and what expired.go says.
const (
	tempDir = "tmp"
	badDir  = "bad"
)

// Dir keeps chunks as files ROOT/ab/NAME of a directory, ab being the name's
// first two digits.
type Dir struct {
	disk disk.Disk

	mu sync.Mutex
	// puts are the chunks that are being stored.
	puts map[chunk.Ref]*pending
	// waiting are those whose bytes are written, but not synced.
	waiting []*pending
	// durable are the directories whose names and whose own name are synced.
	durable map[string]bool
	// visible are the chunks that the commit under way has renamed or is about
	// to, and not yet synced the names of.
	visible []*pending

	// commits makes those that wait one batch after the other durable.
	commits sync.Mutex
}

// pending is a chunk that is being stored.
type pending struct {
	ref       chunk.Ref
	temp      string
	committed bool // under Dir.mu
	err       error
	done      chan struct{}
}

// OpenDir opens the store in a directory, which must exist, and sweeps what
// interrupted writes and deletions left.
func OpenDir(name string) (*Dir, error) {
	root, err := disk.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("open store of chunks: %w", err)
	}
	d, err := NewDir(root)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store of chunks %s: %w", name, err), root.Close())
	}
	return d, nil
}

// AttachDir opens the store in a directory that another process has open, to
// read from it: nothing is swept.
func AttachDir(name string) (*Dir, error) {
	root, err := disk.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("attach store of chunks: %w", err)
	}
	return newDir(root), nil
}

func newDir(on disk.Disk) *Dir {
	return &Dir{disk: on, puts: make(map[chunk.Ref]*pending), durable: make(map[string]bool)}
}

// NewDir is OpenDir on a disk, which the Dir owns from then on.
func NewDir(on disk.Disk) (*Dir, error) {
	d := newDir(on)
	for _, name := range []string{tempDir, badDir, expiredDir, alarmDir} {
		if err := on.Mkdir(name); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, full(err)
		}
	}
	if err := on.Sync("."); err != nil {
		return nil, full(err)
	}
	left, err := on.ReadDir(tempDir)
	if err != nil {
		return nil, err
	}
	for _, e := range left {
		if err := d.removeTree(context.Background(), path.Join(tempDir, e.Name()), e.IsDir(), new(Freed)); err != nil {
			return nil, fmt.Errorf("sweep unfinished chunks: %w", err)
		}
	}
	return d, nil
}

// Close releases the directory.
func (d *Dir) Close() error { return d.disk.Close() }

func chunkPath(ref chunk.Ref) string {
	name := ref.Name.String()
	return ref.Root.String() + "/" + name[:2] + "/" + name
}

// asidePath is where a copy is that has rotted.
func asidePath(ref chunk.Ref) string {
	return badDir + "/" + ref.Root.String() + "." + ref.Name.String()
}

// ReadChunk implements chunk.Source.
func (d *Dir) ReadChunk(ctx context.Context, ref chunk.Ref) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	b, err := d.disk.ReadFile(chunkPath(ref), chunk.MaxCiphertext)
	if errors.Is(err, fs.ErrNotExist) {
		b, err = d.readExpired(ref)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %s of root %s", chunk.ErrNotFound, ref.Name, ref.Root)
	case errors.Is(err, disk.ErrTooLong):
		return nil, fmt.Errorf("%w: %s: %w", chunk.ErrIntegrity, ref.Name, err)
	case err != nil:
		return nil, fmt.Errorf("read chunk %s: %w", ref.Name, err)
	}
	return b, nil
}

// PutChunk implements chunk.Store. Puts that run at the same time are synced
// together. Once the bytes are written it does not end early.
func (d *Dir) PutChunk(ctx context.Context, ref chunk.Ref, ciphertext []byte) (stored bool, err error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err := check(ref, ciphertext); err != nil {
		return false, fmt.Errorf("put chunk: %w", err)
	}
	d.mu.Lock()
	if p := d.puts[ref]; p != nil {
		d.mu.Unlock()
		<-p.done
		return false, p.err
	}
	p := &pending{ref: ref, done: make(chan struct{})}
	d.puts[ref] = p
	d.mu.Unlock()
	stored, p.err = d.store(p, ciphertext)
	d.mu.Lock()
	delete(d.puts, ref)
	d.mu.Unlock()
	close(p.done)
	return stored, p.err
}

func (d *Dir) store(p *pending, ciphertext []byte) (stored bool, err error) {
	if there, err := d.there(p.ref, len(ciphertext)); there || err != nil {
		return false, err
	}
	if err := d.write(p, ciphertext); err != nil {
		return false, err
	}
	d.mu.Lock()
	d.waiting = append(d.waiting, p)
	d.mu.Unlock()
	d.commits.Lock()
	defer d.commits.Unlock()
	d.mu.Lock()
	if p.committed {
		d.mu.Unlock()
		return p.err == nil, p.err
	}
	batch := d.waiting
	d.waiting = nil
	d.mu.Unlock()
	err = d.commit(batch)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, other := range batch {
		other.committed = true
		if other != p {
			other.err = err
		}
	}
	return err == nil, err
}

// there says whether a chunk of that size is stored, durably. Its bytes are
// not read: that is for those who do so anyway, and for Distrust.
func (d *Dir) there(ref chunk.Ref, size int) (bool, error) {
	name := chunkPath(ref)
	info, err := d.disk.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size != int64(size) {
		return false, nil
	}
	if err == nil {
		// A process before this one may not have come to sync its name, nor has
		// a commit that goes on, and that may fail yet.
		d.mu.Lock()
		visible := slices.ContainsFunc(d.visible, func(p *pending) bool { return p.ref == ref })
		d.mu.Unlock()
		err = d.syncDir(path.Dir(name), visible)
	}
	if err != nil {
		return false, fmt.Errorf("put chunk %s: %w", ref.Name, full(err))
	}
	return true, nil
}

func (d *Dir) write(p *pending, ciphertext []byte) error {
	p.temp = path.Join(tempDir, rand.Text())
	if err := d.disk.WriteFile(p.temp, ciphertext); err != nil {
		_ = d.disk.Remove(p.temp) // or else the next OpenDir does it
		return fmt.Errorf("put chunk %s: %w", p.ref.Name, full(err))
	}
	return nil
}

// syncEach is the largest batch that is synced file by file. Beyond it one sync
// of the whole file system is faster, whatever else it has to write.
const syncEach = 2

// commit makes written chunks durable and visible, in this order. After an
// error some of them may be visible: their bytes are synced, and whoever finds
// them there syncs their names.
func (d *Dir) commit(batch []*pending) (err error) {
	defer d.show(nil) // after doubt
	defer func() {
		if err != nil {
			for _, p := range batch {
				_ = d.disk.Remove(p.temp) // gone if it was renamed
			}
			d.doubt(batch)
			err = fmt.Errorf("put %d chunks: %w", len(batch), full(err))
		}
	}()
	if err := d.syncBytes(batch); err != nil {
		return err
	}
	d.show(batch)
	for _, p := range batch {
		if err := d.rename(p.temp, chunkPath(p.ref)); err != nil {
			return err
		}
	}
	if len(batch) > syncEach {
		return d.disk.SyncAll()
	}
	for _, p := range batch {
		if err := d.syncDir(path.Dir(chunkPath(p.ref)), true); err != nil {
			return err
		}
	}
	return nil
}

// show has whoever finds one of these chunks sync its name.
func (d *Dir) show(batch []*pending) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.visible = batch
}

// doubt has whoever finds one of these chunks sync its directory first.
func (d *Dir) doubt(batch []*pending) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range batch {
		delete(d.durable, path.Dir(chunkPath(p.ref)))
	}
}

func (d *Dir) syncBytes(batch []*pending) error {
	if len(batch) > syncEach {
		return d.disk.SyncAll()
	}
	for _, p := range batch {
		if err := d.disk.Sync(p.temp); err != nil {
			return err
		}
	}
	return nil
}

// rename makes the directories when they are missing. DeleteRoot may take them
// away in between, so it tries more than once.
func (d *Dir) rename(temp, name string) error {
	dir := path.Dir(name)
	for range 3 {
		err := d.disk.Rename(temp, name)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		d.mu.Lock()
		delete(d.durable, dir)
		d.mu.Unlock()
		for _, made := range []string{path.Dir(dir), dir} {
			if err := d.disk.Mkdir(made); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return d.disk.Rename(temp, name)
}

// syncDir makes the names in a root's directory durable, and its own name too
// if that is not known to be so. Without force it does nothing for one that is
// known.
func (d *Dir) syncDir(dir string, force bool) error {
	d.mu.Lock()
	known := d.durable[dir]
	d.mu.Unlock()
	if known && !force {
		return nil
	}
	if err := d.disk.Sync(dir); err != nil {
		return err
	}
	if known {
		return nil
	}
	for _, parent := range []string{path.Dir(dir), "."} {
		if err := d.disk.Sync(parent); err != nil {
			return err
		}
	}
	d.mu.Lock()
	d.durable[dir] = true
	d.mu.Unlock()
	return nil
}

// Distrust is told that a copy read from here was not the chunk. It reads the
// copy again, and sets it aside in bad/ if it is indeed not: the next PutChunk
// stores the chunk anew.
func (d *Dir) Distrust(ctx context.Context, ref chunk.Ref) (set bool, err error) {
	d.commits.Lock() // or the copy could be replaced before it is set aside
	defer d.commits.Unlock()
	b, err := d.ReadChunk(ctx, ref)
	if errors.Is(err, chunk.ErrNotFound) {
		return false, nil
	}
	if err != nil && !errors.Is(err, chunk.ErrIntegrity) {
		return false, err
	}
	if err == nil && chunk.Check(ref.Name, b) == nil {
		return false, nil
	}
	name, aside := chunkPath(ref), asidePath(ref)
	if err := d.disk.Rename(name, aside); err != nil {
		return false, fmt.Errorf("set chunk %s aside: %w", ref.Name, err)
	}
	if b, err = d.disk.ReadFile(aside, chunk.MaxCiphertext); err != nil || chunk.Check(ref.Name, b) != nil {
		return true, nil // it is what was to be set aside
	}
	// Another process has replaced it all the same, and was told that it lasts.
	if err = d.disk.Rename(aside, name); err == nil {
		err = d.disk.Sync(path.Dir(name))
	}
	if err != nil {
		return false, fmt.Errorf("put chunk %s back: %w", ref.Name, err)
	}
	return false, nil
}

// Roots lists the roots that have or had chunks, less those that have expired.
func (d *Dir) Roots(context.Context) ([]chunk.Root, error) { return d.rootsIn(".") }

func (d *Dir) rootsIn(dir string) ([]chunk.Root, error) {
	entries, err := d.disk.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list roots: %w", err)
	}
	var roots []chunk.Root
	for _, e := range entries {
		if root, err := chunk.ParseRoot(e.Name()); err == nil && e.IsDir() {
			roots = append(roots, root)
		}
	}
	return roots, nil
}

// Chunks lists the chunks of a root, in no order. It ends after an error.
func (d *Dir) Chunks(ctx context.Context, root chunk.Root) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		shards, err := d.disk.ReadDir(root.String())
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			yield(Info{}, fmt.Errorf("list chunks of root %s: %w", root, err))
			return
		}
		for _, shard := range shards {
			if ok, err := d.shard(ctx, root, shard.Name(), yield); err != nil {
				yield(Info{}, fmt.Errorf("list chunks of root %s: %w", root, err))
				return
			} else if !ok {
				return
			}
		}
	}
}

// shard lists one directory of a root. It says whether more is wanted.
func (d *Dir) shard(ctx context.Context, root chunk.Root, shard string, yield func(Info, error) bool) (more bool, err error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	entries, err := d.disk.ReadDir(path.Join(root.String(), shard))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil // deleted meanwhile
	}
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		name, err := chunk.ParseName(e.Name())
		if err != nil || e.IsDir() {
			continue // not ours
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		if !yield(Info{Name: name, Size: info.Size(), Modified: info.ModTime()}, nil) {
			return false, nil
		}
	}
	return true, nil
}

// DeleteChunk removes a chunk; one that is not there is no error. The removal
// is not synced: a chunk that comes back after a power cut is found again by
// whoever collects garbage.
func (d *Dir) DeleteChunk(_ context.Context, ref chunk.Ref) error {
	if err := d.disk.Remove(chunkPath(ref)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete chunk %s: %w", ref.Name, err)
	}
	return nil
}

// DeleteRoot removes a root with all its chunks: from one moment to the next
// none of them is there, and durably so. When it is interrupted later, OpenDir
// frees the rest of the space.
func (d *Dir) DeleteRoot(ctx context.Context, root chunk.Root) error {
	_, err := d.doom(ctx, root.String(), root)
	return err
}

// removeTree removes a file or a directory with all below it, and adds to freed
// what that was.
func (d *Dir) removeTree(ctx context.Context, name string, dir bool, freed *Freed) error {
	if !dir {
		info, notFile := d.disk.Stat(name)
		err := d.disk.Remove(name)
		if err == nil && notFile == nil {
			freed.Chunks++
			freed.Bytes += info.Size
		}
		return err
	}
	entries, err := d.disk.ReadDir(name)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := d.removeTree(ctx, path.Join(name, e.Name()), e.IsDir(), freed); err != nil {
			return err
		}
	}
	return d.disk.Remove(name)
}

// full marks errors of a full file system.
func full(err error) error {
	if rootdir.IsFull(err) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}
