package cache

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hearth/internal/chunk"
	"hearth/internal/chunkstore/disk"
	"hearth/internal/chunkstore/disk/disktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sealed returns the i-th chunk of a root.
func sealed(root chunk.Root, i int) (chunk.Ref, []byte) {
	salt := chunk.Salt{Epoch: 1}
	content := fmt.Appendf(nil, "%1000d", i)
	name, _, ciphertext := chunk.Seal(nil, chunk.NewExtra(&salt, root, chunk.Common), content)
	return chunk.Ref{Root: root, Name: name}, ciphertext
}

// size is that of each chunk that sealed makes.
const size = 1000 + chunk.Overhead

// clock is moved by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newClock() *clock { return &clock{now: time.Unix(1_800_000_000, 0)} }

func open(t *testing.T, cfg Config) *Cache {
	t.Helper()
	if cfg.Now == nil {
		cfg.Now = newClock().Now
	}
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// find reads as a worker does.
func find(c *Cache, ref chunk.Ref) ([]byte, bool) {
	if b, ok := c.Memory(ref); ok {
		return b, true
	}
	return c.Read(ref)
}

func want(t *testing.T, c *Cache, what string, ref chunk.Ref, b []byte) {
	t.Helper()
	if got, ok := find(c, ref); !ok || !bytes.Equal(got, b) {
		t.Errorf("%s: %d bytes, %v", what, len(got), ok)
	}
}

func wantNone(t *testing.T, c *Cache, what string, ref chunk.Ref) {
	t.Helper()
	if got, ok := find(c, ref); ok {
		t.Errorf("%s: got %d bytes, want none", what, len(got))
	}
}

func TestLevels(t *testing.T) {
	c := open(t, Config{MemoryBytes: 2 * size, DiskBytes: 10 * size, Disk: disktest.New()})
	var refs []chunk.Ref
	var all [][]byte
	for i := range 5 {
		ref, b := sealed(1, i)
		refs, all = append(refs, ref), append(all, b)
		wantNone(t, c, "before", ref)
		c.Put(ref, b)
		c.Put(ref, b)
		want(t, c, "just put", ref, b)
	}
	c.Wait()
	for i, ref := range refs {
		want(t, c, "after", ref, all[i])
	}
	wantNone(t, c, "another root", chunk.Ref{Root: 2, Name: refs[0].Name})
	s := c.Stats()
	if s.Disk.Chunks != 5 || s.Disk.Resident != 5*size || s.Written != 5 || s.Memory.Resident > 2*size || s.Memory.Chunks != 2 {
		t.Errorf("%+v", s)
	}
	if s.Memory.Hits+s.Disk.Hits != 10 || s.Memory.Misses != 6+s.Disk.Hits || s.Disk.Misses != 6 || s.Disk.Hits < 3 || s.Disk.Bytes != s.Disk.Hits*size {
		t.Errorf("%+v", s)
	}
	c.Drop(refs[0])
	wantNone(t, c, "dropped", refs[0])
	c.Wait()
	if s := c.Stats(); s.Disk.Chunks != 4 || c.Has(refs[0]) || !c.Has(refs[1]) {
		t.Errorf("%+v", s)
	}
	c.Put(refs[0], all[0])
	c.Wait()
	if !c.Has(refs[0]) {
		t.Error("put after drop: not there")
	}
}

func TestMemoryOnly(t *testing.T) {
	c := open(t, Config{MemoryBytes: 2 * size})
	for i := range 5 {
		ref, b := sealed(1, i)
		c.Put(ref, b)
		want(t, c, "put", ref, b)
	}
	ref, _ := sealed(1, 0)
	wantNone(t, c, "evicted", ref)
	c.Drop(ref)
	c.Wait()
}

func TestBadConfig(t *testing.T) {
	_, err := Open(Config{MemoryBytes: -1, DiskBytes: 1, Pause: -1})
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("got %v", err)
	}
}

// edits are the ways in which a copy on disk goes bad; other is another valid
// chunk, replayed the same content in another root.
func edits(other, replayed []byte) map[string]func([]byte) []byte {
	return map[string]func([]byte) []byte{
		"flipped":   func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"truncated": func(b []byte) []byte { return b[:len(b)-1] },
		"empty":     func([]byte) []byte { return nil },
		"longer":    func(b []byte) []byte { return append(b, 0) },
		"too long":  func([]byte) []byte { return make([]byte, chunk.MaxCiphertext+1) },
		"zeros":     func(b []byte) []byte { return make([]byte, len(b)) },
		"swapped":   func([]byte) []byte { return other },
		"replayed":  func([]byte) []byte { return replayed },
	}
}

func TestCorruptDisk(t *testing.T) {
	ref, b := sealed(1, 1)
	_, other := sealed(1, 2)
	_, replayed := sealed(2, 1)
	for what, edit := range edits(other, replayed) {
		on := disktest.New()
		c := open(t, Config{DiskBytes: 10 * size, Disk: on})
		c.Put(ref, b)
		c.Wait()
		want(t, c, what+", before", ref, b)
		if !on.Edit(fileName(ref), edit) {
			t.Fatal("no file")
		}
		wantNone(t, c, what, ref)
		wantNone(t, c, what+", again", ref)
		c.Wait()
		if s := c.Stats().Disk; s.Corrupt != 1 || s.Chunks != 0 || s.Resident != 0 || s.Hits != 1 {
			t.Errorf("%s: %+v", what, s)
		}
		if left := on.Files(ref.Name.String()[:2]); len(left) > 0 {
			t.Errorf("%s: left %v", what, left)
		}
		c.Put(ref, b)
		c.Wait()
		want(t, c, what+", put again", ref, b)
	}
}

// TestOpened: readers who open what they get are given what is there, and drop
// what they cannot open.
func TestOpened(t *testing.T) {
	ref, b := sealed(1, 1)
	on := disktest.New()
	for what, m := range map[string]struct{ memory, memoryCorrupt, diskCorrupt int64 }{
		"memory": {10 * size, 1, 0}, "disk": {0, 0, 1},
	} {
		c := open(t, Config{MemoryBytes: m.memory, DiskBytes: 10 * size, Disk: on, Opened: true})
		c.Put(ref, bytes.Clone(b))
		c.Wait()
		if m.memory > 0 {
			got, _ := find(c, ref)
			got[7] ^= 1
		} else if !on.Edit(fileName(ref), func(b []byte) []byte { b[7] ^= 1; return b }) {
			t.Fatal("no file")
		}
		if got, ok := find(c, ref); !ok || bytes.Equal(got, b) {
			t.Errorf("%s: got %d bytes, %v, want the corrupt ones", what, len(got), ok)
		}
		c.Drop(ref)
		wantNone(t, c, what+", dropped", ref)
		c.Wait()
		if s := c.Stats(); s.Memory.Corrupt != m.memoryCorrupt || s.Disk.Corrupt != m.diskCorrupt || s.Disk.Chunks != 0 {
			t.Errorf("%s: %+v", what, s)
		}
	}
}

// TestCorruptMemory has somebody write to the bytes that were handed out.
func TestCorruptMemory(t *testing.T) {
	ref, b := sealed(1, 1)
	on := &slowDisk{Disk: disktest.New(), gate: make(chan struct{}), began: make(chan struct{}, 9)}
	c := open(t, Config{MemoryBytes: 10 * size, DiskBytes: 10 * size, Disk: on})
	c.Put(ref, bytes.Clone(b))
	<-on.began // too late to take it off the queue
	got, _ := find(c, ref)
	got[7] ^= 1
	wantNone(t, c, "waiting to be written", ref)
	close(on.gate)
	c.Wait()
	c.Put(ref, bytes.Clone(b))
	c.Wait()
	got, _ = find(c, ref)
	got[7] ^= 1
	want(t, c, "from disk", ref, b)
	if s := c.Stats(); s.Memory.Corrupt != 2 || s.Disk.Hits != 1 {
		t.Errorf("%+v", s)
	}
}

// TestCorruptQueue corrupts what is only in the queue.
func TestCorruptQueue(t *testing.T) {
	ref, b := sealed(1, 1)
	on := &slowDisk{Disk: disktest.New(), gate: make(chan struct{})}
	c := open(t, Config{DiskBytes: 10 * size, Disk: on})
	b = bytes.Clone(b)
	c.Put(ref, b)
	want(t, c, "waiting", ref, b)
	b[3] ^= 1
	wantNone(t, c, "changed", ref)
	close(on.gate)
	c.Wait()
	wantNone(t, c, "written", ref)
	if s := c.Stats(); s.Memory.Corrupt != 1 {
		t.Errorf("%+v", s)
	}
}

// slowDisk writes nothing before its gate is open.
type slowDisk struct {
	*disktest.Disk
	gate  chan struct{}
	began chan struct{} // told of each write that waits; may be nil
}

func (d *slowDisk) WriteFile(name string, data []byte) error {
	if d.began != nil {
		d.began <- struct{}{}
	}
	<-d.gate
	return d.Disk.WriteFile(name, data)
}

// TestWritesDelayNobody: while the disk hangs, readers get what was put, and
// what does not fit into the queue is dropped.
func TestWritesDelayNobody(t *testing.T) {
	on := &slowDisk{Disk: disktest.New(), gate: make(chan struct{})}
	c := open(t, Config{DiskBytes: 100 * size, QueueBytes: 3 * size, Disk: on})
	there := 0
	for i := range 10 {
		ref, b := sealed(1, i)
		c.Put(ref, b)
		if got, ok := find(c, ref); ok && bytes.Equal(got, b) {
			there++
		}
	}
	if s := c.Stats(); there < 3 || there > 4 || s.Dropped != int64(10-there) {
		t.Errorf("%d are there, %d were dropped", there, s.Dropped)
	}
	close(on.gate)
	c.Wait()
	if s := c.Stats(); s.Written != int64(there) {
		t.Errorf("%d written, want %d", s.Written, there)
	}
}

// boundedDisk says when more is on it than should be, the index aside.
type boundedDisk struct {
	*disktest.Disk
	limit int64
	t     *testing.T
}

func (d *boundedDisk) WriteFile(name string, data []byte) error {
	err := d.Disk.WriteFile(name, data)
	index, _ := d.Stat(indexName)
	if sum := d.Bytes(".") - index.Size; sum > d.limit && !bytes.HasPrefix(data, []byte(indexMagic)) {
		d.t.Errorf("%d bytes on disk, at most %d are allowed", sum, d.limit)
	}
	return err
}

func TestBoundsAndRestart(t *testing.T) {
	on, now := disktest.New(), newClock()
	cfg := Config{DiskBytes: 20 * size, Disk: &boundedDisk{on, 20 * size, t}, Now: now.Now}
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	// The first ten are hot, and the rest read once.
	for range 3 {
		for i := range 10 {
			ref, b := sealed(1, i)
			if _, ok := find(c, ref); !ok {
				c.Put(ref, b)
				c.Wait()
			}
		}
		now.pass(time.Minute)
	}
	read := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			ref, b := sealed(1, i)
			c.Put(ref, b)
			c.Wait()
			now.pass(time.Second)
		}
	}
	hot := func(what string) {
		t.Helper()
		for i := range 10 {
			ref, b := sealed(1, i)
			want(t, c, what, ref, b)
		}
	}
	read(10, 60)
	hot("after a scan")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	reopened := on.PowerCut() // the names and bytes are not synced: all is lost but for nothing
	if got := len(reopened.Files(".")); got != 0 {
		t.Errorf("%d files were synced", got)
	}
	cfg.Disk = on.Kill()
	c = open(t, cfg)
	if s := c.Stats().Disk; s.Chunks != 20 || s.Resident != 20*size {
		t.Errorf("after a restart: %+v", s)
	}
	// What is known of the references is known again: the hot ones stay.
	read(60, 120)
	hot("after a restart and a scan")
	if got := c.Stats().Disk.Evicted; got != 60 {
		t.Errorf("%d evicted", got)
	}
}

// TestSmallerAfterRestart gives a cache less room than it had.
func TestSmallerAfterRestart(t *testing.T) {
	on := disktest.New()
	c, err := Open(Config{DiskBytes: 20 * size, Disk: on})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		c.Put(sealed(1, i))
		c.Wait()
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, Config{DiskBytes: 5 * size, Disk: on})
	if s := c.Stats().Disk; s.Chunks != 5 || on.Bytes(".") > 5*size+int64(maxIndexOf(20)) {
		t.Errorf("%+v, %d bytes", s, on.Bytes("."))
	}
}

func maxIndexOf(n int) int { return indexHeader + n*indexRecord + indexFooter }

// TestKilled ends the process before each operation of the disk, or lets the
// operation fail, and reopens what is left: bytes that are right, or none.
func TestKilled(t *testing.T) {
	const n = 12
	for _, fault := range []error{disktest.ErrPowerCut, syscall.EIO, syscall.ENOSPC} {
		for at := 1; ; at++ {
			on, now := disktest.New(), newClock()
			c, err := Open(Config{DiskBytes: 5 * size, Disk: on, Now: now.Now})
			if err != nil {
				t.Fatal(err)
			}
			on.FailAt(at, fault)
			for i := range n {
				ref, b := sealed(1, i)
				c.Put(ref, b)
				c.Wait()
				if got, ok := find(c, ref); ok && !bytes.Equal(got, b) {
					t.Errorf("%v at %d: other bytes", fault, at)
				}
				now.pass(time.Minute)
			}
			_ = c.Close()
			struck := on.FailAt(0, nil)
			for _, after := range []*disktest.Disk{on.Kill(), on.PowerCut()} {
				// Bytes that were written without a sync may be there in part.
				for i, file := range after.Files(".") {
					if i%3 == 0 {
						after.Edit(file, func(b []byte) []byte { return b[:len(b)/2] })
					}
				}
				again := open(t, Config{DiskBytes: 5 * size, Disk: after})
				for i := range n {
					ref, b := sealed(1, i)
					if got, ok := find(again, ref); ok && !bytes.Equal(got, b) {
						t.Errorf("%v at %d, reopened: other bytes", fault, at)
					}
					again.Put(ref, b)
					again.Wait()
					want(t, again, "reopened and put", ref, b)
				}
				if left := after.Files(tempDir); len(left) > 0 {
					t.Errorf("%v at %d: left %v", fault, at, left)
				}
			}
			if !struck {
				if at < 20 {
					t.Fatalf("only %d operations were tried", at)
				}
				break
			}
		}
	}
}

// TestFull: a cache on a full disk reads on, and writes again after a pause.
func TestFull(t *testing.T) {
	on, now := disktest.New(), newClock()
	c := open(t, Config{MemoryBytes: 10 * size, DiskBytes: 10 * size, Disk: on, Now: now.Now})
	first, b := sealed(1, 0)
	c.Put(first, b)
	c.Wait()
	on.FailEach(syscall.ENOSPC, func(string) bool { return true })
	for i := 1; i < 4; i++ {
		ref, b := sealed(1, i)
		c.Put(ref, b)
		c.Wait()
		want(t, c, "in memory", ref, b)
	}
	want(t, c, "on disk", first, b)
	if s := c.Stats(); s.Full != 1 || s.Paused != 2 || s.Disk.Chunks != 1 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
	on.FailEach(nil, nil)
	now.pass(time.Minute)
	ref, b := sealed(1, 5)
	c.Put(ref, b)
	c.Wait()
	if s := c.Stats(); s.Written != 2 || s.Disk.Chunks != 2 {
		t.Errorf("%+v", s)
	}
}

// stuckDisk removes no chunks.
type stuckDisk struct {
	*disktest.Disk
	mu    sync.Mutex
	stuck bool
}

func (d *stuckDisk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stuck && !strings.HasPrefix(name, tempDir) {
		return syscall.EIO
	}
	return d.Disk.Remove(name)
}

// TestStuck: while a file cannot be removed, none is written.
func TestStuck(t *testing.T) {
	on, now := &stuckDisk{Disk: disktest.New(), stuck: true}, newClock()
	c := open(t, Config{DiskBytes: 3 * size, Disk: on, Now: now.Now})
	for i := range 6 {
		c.Put(sealed(1, i))
		c.Wait()
		now.pass(time.Minute)
		if sum := on.Bytes("."); sum > 3*size {
			t.Fatalf("%d bytes on disk", sum)
		}
	}
	if s := c.Stats(); s.Written != 3 || s.Failed != 3 {
		t.Errorf("%+v", s)
	}
	on.mu.Lock()
	on.stuck = false
	on.mu.Unlock()
	ref, b := sealed(1, 9)
	c.Put(ref, b)
	c.Wait()
	want(t, c, "after", ref, b)
	if len(on.Files(ref.Name.String()[:2])) == 0 {
		t.Error("nothing was written")
	}
}

func TestOpenSweeps(t *testing.T) {
	on := disktest.New()
	open(t, Config{DiskBytes: 10 * size, Disk: on})
	for _, name := range []string{"tmp/torn", "ab/strange", "ab/0000000000000001.abcd", indexName} {
		if err := on.WriteFile(name, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	ref, _ := sealed(1, 1)
	if err := on.WriteFile(fileName(ref), nil); err != nil {
		t.Fatal(err)
	}
	c := open(t, Config{DiskBytes: 10 * size, Disk: on})
	if got := on.Files("."); len(got) != 1 || got[0] != indexName || c.Stats().Disk.Chunks != 0 {
		t.Errorf("left %v", got)
	}
}

func TestRealDisk(t *testing.T) {
	path := t.TempDir()
	for round := range 2 {
		root, err := disk.OpenRoot(path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Open(Config{DiskBytes: 5 * size, Disk: root})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			ref, b := sealed(1, i)
			if round == 0 {
				c.Put(ref, b)
				c.Wait()
			}
			want(t, c, fmt.Sprint("round ", round), ref, b)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConcurrently(t *testing.T) {
	c := open(t, Config{MemoryBytes: 5 * size, DiskBytes: 20 * size, Disk: &boundedDisk{disktest.New(), 20 * size, t}})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 200 {
				ref, b := sealed(1, (i*7+w)%40)
				got, ok := find(c, ref)
				if ok && !bytes.Equal(got, b) {
					t.Error("other bytes")
				}
				if !ok {
					c.Put(ref, b)
				}
				if i%50 == w {
					c.Drop(ref)
				}
			}
		})
	}
	wg.Wait()
	c.Wait()
	if s := c.Stats(); s.Memory.Corrupt+s.Disk.Corrupt+s.Disk.Errors+s.Failed > 0 {
		t.Errorf("%+v", s)
	}
}

func TestMemoryAllocatesNothing(t *testing.T) {
	c := open(t, Config{MemoryBytes: 5 * size})
	ref, b := sealed(1, 1)
	c.Put(ref, b)
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := c.Memory(ref); !ok {
			t.Error("not there")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
