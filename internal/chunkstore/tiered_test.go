package chunkstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"hearth/internal/chunk"
	"hearth/internal/chunkstore"
	"hearth/internal/chunkstore/cache"
	"hearth/internal/chunkstore/disk/disktest"
	"hearth/internal/chunkstore/origin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const size = 1000 + chunk.Overhead

// sealed returns the i-th chunk of a root.
func sealed(root chunk.Root, i int) (chunk.Ref, []byte) {
	salt := chunk.Salt{Epoch: 1}
	name, _, b := chunk.Seal(nil, chunk.NewExtra(&salt, root, chunk.Common), fmt.Appendf(nil, "%1000d", i))
	return chunk.Ref{Root: root, Name: name}, b
}

// fake is an origin, or a zone, with a log of what it was asked.
type fake struct {
	mu     sync.Mutex
	chunks map[chunk.Ref][]byte
	log    []chunk.Ref
	filled []chunk.Ref
	// answer is asked first; nil for what is in chunks.
	answer func(ctx context.Context, n int, ref chunk.Ref) ([]byte, error)
	now    int
	most   int
}

func newFake(n int) *fake {
	f := &fake{chunks: make(map[chunk.Ref][]byte)}
	for i := range n {
		ref, b := sealed(1, i)
		f.chunks[ref] = b
	}
	return f
}

func (f *fake) ReadChunk(ctx context.Context, ref chunk.Ref) ([]byte, error) {
	f.mu.Lock()
	f.log = append(f.log, ref)
	n := len(f.log)
	f.now++
	f.most = max(f.most, f.now)
	b := f.chunks[ref]
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.now--
		f.mu.Unlock()
	}()
	if f.answer != nil {
		if b, err := f.answer(ctx, n, ref); b != nil || err != nil {
			return b, err
		}
	}
	if b == nil {
		return nil, chunk.ErrNotFound
	}
	return b, nil
}

func (f *fake) Fill(ref chunk.Ref, b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.filled = append(f.filled, ref)
	f.chunks[ref] = b
}

func (f *fake) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.log)
}

type parts struct {
	*chunkstore.Tiered
	cache *cache.Cache
	disk  *disktest.Disk
}

func start(t *testing.T, cfg chunkstore.Config, c cache.Config) parts {
	t.Helper()
	p := parts{disk: disktest.New()}
	c.Disk = p.disk
	if c.DiskBytes == 0 {
		c.DiskBytes = 1000 * size
	}
	var err error
	if p.cache, err = cache.Open(c); err != nil {
		t.Fatal(err)
	}
	cfg.Cache = p.cache
	if p.Tiered, err = chunkstore.New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		if err := p.cache.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func read(t *testing.T, s chunk.Source, i int) error {
	t.Helper()
	ref, want := sealed(1, i)
	got, err := s.ReadChunk(t.Context(), ref)
	if err == nil && !bytes.Equal(got, want) {
		t.Errorf("chunk %d: got %d other bytes", i, len(got))
	}
	return err
}

func mustRead(t *testing.T, s chunk.Source, i int) {
	t.Helper()
	if err := read(t, s, i); err != nil {
		t.Errorf("chunk %d: %v", i, err)
	}
}

func TestConfig(t *testing.T) {
	if _, err := chunkstore.New(chunkstore.Config{Fetches: -1}); err == nil {
		t.Error("accepted")
	}
}

func TestTiers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone, from := newFake(0), newFake(4)
		s := start(t, chunkstore.Config{Zone: zone, Origin: from}, cache.Config{MemoryBytes: 2 * size})
		mustRead(t, s, 0)
		mustRead(t, s, 0) // memory
		s.cache.Wait()
		mustRead(t, s, 1)
		s.cache.Wait()
		mustRead(t, s, 2)
		s.cache.Wait()
		mustRead(t, s, 0) // disk
		ref, _ := sealed(1, 0)
		s.cache.Drop(ref)
		mustRead(t, s, 0) // zone
		if err := read(t, s, 9); !errors.Is(err, chunk.ErrNotFound) {
			t.Errorf("a chunk that is nowhere: %v", err)
		}
		got := s.Stats()
		for what, tier := range map[string]struct{ got, want chunkstore.Tier }{
			"memory": {got.Memory, chunkstore.Tier{Hits: 1, Bytes: size, Misses: 6}},
			"disk":   {got.Disk, chunkstore.Tier{Hits: 1, Bytes: size, Misses: 5}},
			"zone":   {got.Zone, chunkstore.Tier{Hits: 1, Bytes: size, Misses: 4}},
			"origin": {got.Origin, chunkstore.Tier{Hits: 3, Bytes: 3 * size, Misses: 1}},
		} {
			if tier.got != tier.want {
				t.Errorf("%s: %+v, want %+v", what, tier.got, tier.want)
			}
		}
		if len(zone.filled) != 3 || from.asked() != 4 {
			t.Errorf("filled %d, origin asked %d times", len(zone.filled), from.asked())
		}
	})
}

// bad are wrong answers for the chunk sealed(1, 0).
func bad() map[string][]byte {
	_, b := sealed(1, 0)
	_, other := sealed(1, 1)
	_, replayed := sealed(2, 0)
	flipped := bytes.Clone(b)
	flipped[size/2] ^= 1
	return map[string][]byte{"flipped": flipped, "truncated": b[:size-1], "empty": {}, "longer": append(bytes.Clone(b), 0), "swapped": other, "replayed": replayed}
}

// TestCorrupt has each tier in turn hold a bad copy: it is never served, the
// next tier's is, and it is counted.
func TestCorrupt(t *testing.T) {
	ref, good := sealed(1, 0)
	for what, wrong := range bad() {
		t.Run("zone "+what, func(t *testing.T) {
			zone, from := newFake(0), newFake(1)
			zone.chunks[ref] = wrong
			s := start(t, chunkstore.Config{Zone: zone, Origin: from}, cache.Config{MemoryBytes: 10 * size})
			mustRead(t, s, 0)
			if got := s.Stats(); got.Zone.Corrupt != 1 || got.Origin.Hits != 1 || got.Zone.Hits != 0 || !bytes.Equal(zone.chunks[ref], good) {
				t.Errorf("%+v", got)
			}
		})
		t.Run("disk "+what, func(t *testing.T) {
			from := newFake(1)
			s := start(t, chunkstore.Config{Origin: from}, cache.Config{}) // without memory
			mustRead(t, s, 0)
			s.cache.Wait()
			for _, file := range s.disk.Files(ref.Name.String()[:2]) {
				s.disk.Edit(file, func([]byte) []byte { return wrong })
			}
			mustRead(t, s, 0)
			if got := s.Stats(); got.Disk.Corrupt != 1 || got.Origin.Hits != 2 || from.asked() != 2 {
				t.Errorf("%+v", got)
			}
			s.cache.Wait()
			mustRead(t, s, 0)
			if got := s.Stats(); got.Disk.Hits != 1 || got.Origin.Hits != 2 {
				t.Errorf("it was not replaced: %+v", got)
			}
		})
		t.Run("origin "+what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from := newFake(1)
				from.answer = func(_ context.Context, n int, _ chunk.Ref) ([]byte, error) {
					if n <= 2 {
						return wrong, nil
					}
					return nil, nil
				}
				s := start(t, chunkstore.Config{Origin: from}, cache.Config{MemoryBytes: 10 * size})
				mustRead(t, s, 0)
				if got := s.Stats(); got.Origin.Corrupt != 2 || got.Origin.Hits != 1 || got.Retried != 2 {
					t.Errorf("%+v", got)
				}
			})
		})
	}
	// Bytes that were handed out are changed by somebody.
	s := start(t, chunkstore.Config{Origin: newFake(1)}, cache.Config{MemoryBytes: 10 * size})
	b, err := s.ReadChunk(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	s.cache.Wait()
	b[0] ^= 1
	mustRead(t, s, 0)
	if got := s.Stats(); got.Memory.Corrupt != 1 || got.Disk.Hits+got.Origin.Hits != 2 {
		t.Errorf("memory: %+v", got)
	}
}

// TestRot has the origin's only copy go bad: no reader gets it, and it is set
// aside so that a build stores it anew.
func TestRot(t *testing.T) {
	t.Run("checked", func(t *testing.T) { testRot(t, false) })
	t.Run("opened", func(t *testing.T) { testRot(t, true) })
}

func testRot(t *testing.T, opened bool) {
	ref, b := sealed(1, 0)
	on := disktest.New()
	from, err := origin.NewDir(on)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := from.PutChunk(t.Context(), ref, b); err != nil {
		t.Fatal(err)
	}
	for _, file := range on.Files(ref.Root.String()) {
		on.Edit(file, func(b []byte) []byte { b[9] ^= 1; return b })
	}
	s := start(t, chunkstore.Config{Origin: from, Opened: opened, Backoff: 1}, cache.Config{MemoryBytes: 10 * size, Opened: opened})
	if opened {
		// It is its reader who finds out.
		if got, err := s.ReadChunk(t.Context(), ref); err != nil || bytes.Equal(got, b) {
			t.Errorf("read: %d bytes, %v", len(got), err)
		}
		s.cache.Wait()
		if _, err := s.Refetch(t.Context(), ref); !errors.Is(err, chunk.ErrIntegrity) {
			t.Errorf("read again: %v", err)
		}
		if st := s.Stats(); st.Memory.Corrupt != 1 || st.Disk.Corrupt != 1 || st.Origin.Corrupt != 1 {
			t.Errorf("%+v", st)
		}
	} else if err := read(t, s, 0); !errors.Is(err, chunk.ErrIntegrity) {
		t.Errorf("got %v", err)
	}
	if stored, err := from.PutChunk(t.Context(), ref, b); err != nil || !stored {
		t.Errorf("stored anew: %v, %v", stored, err)
	}
	mustRead(t, s, 0)
}

// TestRefetch: a reader that cannot use what it got gets what the origin has.
func TestRefetch(t *testing.T) {
	from := newFake(1)
	s := start(t, chunkstore.Config{Origin: from}, cache.Config{MemoryBytes: 10 * size})
	mustRead(t, s, 0)
	s.cache.Wait()
	ref, want := sealed(1, 0)
	got, err := s.Refetch(t.Context(), ref)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	s.cache.Wait()
	mustRead(t, s, 0)
	if st := s.Stats(); from.asked() != 2 || st.Refetched != 1 || st.Memory.Hits != 1 || st.Disk.Hits != 0 || st.Cache.Written != 2 {
		t.Errorf("asked %d times, %+v", from.asked(), st)
	}
}

// TestColdStarts has 200 readers read the same volume at once from empty caches
// in orders of their own: each chunk is fetched once.
func TestColdStarts(t *testing.T) {
	const readers, chunks, limit = 200, 60, 8
	from := newFake(chunks)
	for name, answer := range map[string]func(context.Context, int, chunk.Ref) ([]byte, error){
		"at once": nil,
		"after a while": func(ctx context.Context, _ int, _ chunk.Ref) ([]byte, error) {
			select {
			case <-time.After(20 * time.Millisecond):
				return nil, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from.answer, from.log, from.most = answer, nil, 0
				// Memory holds a third: the rest waits to be written, or is on disk.
				s := start(t, chunkstore.Config{Origin: from, Fetches: limit}, cache.Config{MemoryBytes: chunks / 3 * size})
				begin := time.Now()
				var wg sync.WaitGroup
				for range readers {
					wg.Go(func() {
						for _, i := range rand.Perm(chunks) {
							mustRead(t, s, i)
						}
					})
				}
				wg.Wait()
				took := time.Since(begin)
				times := make(map[chunk.Ref]int)
				for _, ref := range from.log {
					times[ref]++
				}
				for ref, n := range times {
					if n != 1 {
						t.Errorf("%s was fetched %d times", ref.Name, n)
					}
				}
				got := s.Stats()
				if len(times) != chunks || got.Origin != (chunkstore.Tier{Hits: chunks, Bytes: chunks * size}) || got.Retried != 0 {
					t.Errorf("the origin was asked for %d chunks, %+v", len(times), got)
				}
				if from.most > limit {
					t.Errorf("the origin was asked for %d chunks at once", from.most)
				}
				if answer != nil && took > (chunks/limit+2)*20*time.Millisecond {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// TestCancel: a reader that goes away fails alone, and the last takes the
// fetch along.
func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := newFake(1)
		release := make(chan struct{})
		var ended error
		from.answer = func(ctx context.Context, _ int, _ chunk.Ref) ([]byte, error) {
			select {
			case <-release:
				return nil, nil
			case <-ctx.Done():
				ended = context.Cause(ctx)
				return nil, ctx.Err()
			}
		}
		s := start(t, chunkstore.Config{Origin: from}, cache.Config{MemoryBytes: 10 * size})
		ref, _ := sealed(1, 0)
		cause := errors.New("the invoke ended")
		first, cancelFirst := context.WithCancelCause(t.Context())
		second, cancelSecond := context.WithTimeout(t.Context(), time.Second)
		defer cancelSecond()
		errs := make([]error, 3)
		var wg sync.WaitGroup
		for i, ctx := range []context.Context{first, second, t.Context()} {
			wg.Go(func() { _, errs[i] = s.ReadChunk(ctx, ref) })
			synctest.Wait()
		}
		cancelFirst(cause)
		synctest.Wait()
		time.Sleep(2 * time.Second)
		close(release)
		wg.Wait()
		if !errors.Is(errs[0], cause) || !errors.Is(errs[1], context.DeadlineExceeded) || errs[2] != nil || from.asked() != 1 {
			t.Errorf("%v, asked %d times", errs, from.asked())
		}
		if got := s.Stats(); got.Shared != 2 || got.Abandoned != 0 {
			t.Errorf("%+v", got)
		}

		release = make(chan struct{})
		s.cache.Drop(ref)
		third, cancelThird := context.WithCancel(t.Context())
		wg.Go(func() { _, errs[0] = s.ReadChunk(third, ref) })
		synctest.Wait()
		cancelThird()
		wg.Wait()
		synctest.Wait()
		if ended == nil || !errors.Is(errs[0], context.Canceled) {
			t.Errorf("the fetch goes on: %v, %v", ended, errs[0])
		}
		if got := s.Stats(); got.Abandoned != 1 || got.Origin.Errors != 0 {
			t.Errorf("%+v", got)
		}
		close(release)
		mustRead(t, s, 0)
	})
}

// TestOriginDown: what is cached is read at once; the rest fails after a few
// attempts that are further and further apart, and works again later.
func TestOriginDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := newFake(2)
		var waits []int64
		jitter := func(n int64) int64 {
			waits = append(waits, n)
			return n - 1
		}
		s := start(t, chunkstore.Config{Origin: from, Attempts: 5, Backoff: 100 * time.Millisecond, MaxBackoff: 300 * time.Millisecond, Jitter: jitter},
			cache.Config{MemoryBytes: 10 * size})
		mustRead(t, s, 0)
		down := errors.New("connection refused")
		from.answer = func(context.Context, int, chunk.Ref) ([]byte, error) { return nil, down }
		begin := time.Now()
		mustRead(t, s, 0)
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("a cached read waited %v", waited)
		}
		if err := read(t, s, 1); !errors.Is(err, down) {
			t.Errorf("got %v", err)
		}
		ms := int64(time.Millisecond)
		if want := []int64{100*ms + 1, 200*ms + 1, 300*ms + 1, 300*ms + 1}; !slices.Equal(waits, want) || time.Since(begin) != 900*time.Millisecond {
			t.Errorf("waited %v, %v in all", waits, time.Since(begin))
		}
		if got := s.Stats(); got.Origin.Errors != 5 || got.Retried != 4 {
			t.Errorf("%+v", got)
		}
		// A reader's deadline ends it earlier.
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		defer cancel()
		ref, _ := sealed(1, 1)
		begin = time.Now()
		if _, err := s.ReadChunk(ctx, ref); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 150*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		synctest.Wait()
		from.answer = nil
		mustRead(t, s, 1)
	})
}

// TestOriginHangs: an attempt that does not end is given up, and others are not
// held up longer than that.
func TestOriginHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := newFake(1)
		from.answer = func(ctx context.Context, n int, _ chunk.Ref) ([]byte, error) {
			if n > 1 {
				return nil, nil
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		s := start(t, chunkstore.Config{Origin: from, Timeout: time.Second, Jitter: func(int64) int64 { return 0 }}, cache.Config{MemoryBytes: 10 * size})
		begin := time.Now()
		mustRead(t, s, 0)
		if took := time.Since(begin); took != time.Second || s.Stats().Origin.Errors != 1 {
			t.Errorf("%v, %+v", took, s.Stats())
		}
	})
}

// TestZoneFails: it is a miss.
func TestZoneFails(t *testing.T) {
	zone, from := newFake(0), newFake(1)
	zone.answer = func(context.Context, int, chunk.Ref) ([]byte, error) { return nil, errors.New("no route") }
	s := start(t, chunkstore.Config{Zone: zone, Origin: from}, cache.Config{MemoryBytes: 10 * size})
	mustRead(t, s, 0)
	if got := s.Stats(); got.Zone.Errors != 1 || got.Origin.Hits != 1 {
		t.Errorf("%+v", got)
	}
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := newFake(1)
		from.answer = func(ctx context.Context, _ int, _ chunk.Ref) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		s := start(t, chunkstore.Config{Origin: from}, cache.Config{MemoryBytes: 10 * size})
		var err error
		var wg sync.WaitGroup
		wg.Go(func() { err = read(t, s, 0) })
		synctest.Wait()
		s.Close()
		wg.Wait()
		if !errors.Is(err, chunkstore.ErrClosed) {
			t.Errorf("got %v", err)
		}
		if err := read(t, s, 0); !errors.Is(err, chunkstore.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

func BenchmarkWarm(b *testing.B) {
	c, err := cache.Open(cache.Config{MemoryBytes: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	s, err := chunkstore.New(chunkstore.Config{Cache: c, Origin: newFake(0)})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	ref := chunk.Ref{Root: 1}
	c.Put(ref, make([]byte, chunk.Size+chunk.Overhead))
	b.SetBytes(chunk.Size)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.ReadChunk(b.Context(), ref); err != nil {
				b.Error(err)
			}
		}
	})
}

// touched is an origin that is told of reads that caches answer.
type touched struct {
	*fake
	roots chan chunk.Root
}

func (o touched) Touch(root chunk.Root) { o.roots <- root }

// TestTouch: what this machine's disk or the zone answers is in use all the same.
func TestTouch(t *testing.T) {
	o, zone := touched{newFake(0), make(chan chunk.Root, 9)}, newFake(1)
	p := start(t, chunkstore.Config{Origin: o, Zone: zone}, cache.Config{MemoryBytes: 0})
	ref, b := sealed(1, 0)
	for i := range 3 { // from the zone, then from what waits to be written or is on disk
		if got, err := p.ReadChunk(t.Context(), ref); err != nil || !bytes.Equal(got, b) {
			t.Fatal(err)
		}
		select {
		case root := <-o.roots:
			if root != 1 {
				t.Errorf("root %s", root)
			}
		default:
			t.Errorf("read %d went unnoticed", i)
		}
	}
	if zone.asked() != 1 || o.asked() != 0 {
		t.Errorf("the zone was asked %d times, the origin %d times", zone.asked(), o.asked())
	}
}
