package chunkstore_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"hearth/internal/chunk"
	"hearth/internal/chunkstore"
	"hearth/internal/chunkstore/azcache"
	"hearth/internal/chunkstore/cache"
	"hearth/internal/chunkstore/disk/disktest"
	"hearth/internal/chunkstore/origin"
)

// log is an origin's own log of requests.
type log struct {
	chunk.Source
	mu   sync.Mutex
	read map[chunk.Ref]int
}

func (l *log) ReadChunk(ctx context.Context, ref chunk.Ref) ([]byte, error) {
	l.mu.Lock()
	l.read[ref]++
	l.mu.Unlock()
	return l.Source.ReadChunk(ctx, ref)
}

// whole is an origin, a zone of three nodes, and workers.
type whole struct {
	origin *log
	nodes  []*azcache.Server
	caches []*cache.Cache
	disks  []*disktest.Disk
	urls   []string
}

var clusterKey = azcache.Key{1}

func startWhole(t *testing.T, chunks int) *whole {
	t.Helper()
	dir, err := origin.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	bulk := dir.NewBulk(0)
	for i := range chunks {
		ref, b := sealed(1, i)
		if _, err := bulk.PutChunk(t.Context(), ref, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := bulk.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := &whole{origin: &log{Source: dir, read: make(map[chunk.Ref]int)}}
	for range 3 {
		on := disktest.New()
		c, err := cache.Open(cache.Config{DiskBytes: 1000 * size, Disk: on}) // all from disk
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		node, err := azcache.NewServer(azcache.ServerConfig{Cache: c, Keys: []azcache.Key{clusterKey}, Puts: 1000})
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(node)
		t.Cleanup(server.Close)
		w.nodes, w.caches, w.disks, w.urls = append(w.nodes, node), append(w.caches, c), append(w.disks, on), append(w.urls, server.URL)
	}
	return w
}

type worker struct {
	parts
	zone *azcache.Client
}

func (w *whole) worker(t *testing.T) worker {
	t.Helper()
	zone, err := azcache.NewClient(azcache.ClientConfig{
		Nodes: w.urls, Key: clusterKey, Copies: 1, HedgeShare: -1, Timeout: 10 * time.Second, // a busy machine is no slow node
		Transport: http.DefaultTransport,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	t.Cleanup(zone.Close)
	return worker{start(t, chunkstore.Config{Zone: zone, Origin: w.origin}, cache.Config{MemoryBytes: 1000 * size}), zone}
}

func (w *whole) settle(workers ...worker) {
	for _, k := range workers {
		k.zone.Wait()
		k.cache.Wait()
	}
	for _, c := range w.caches {
		c.Wait()
	}
}

func startAll(t *testing.T, s chunk.Source, starts, chunks int) {
	t.Helper()
	var wg sync.WaitGroup
	for range starts {
		wg.Go(func() {
			for _, i := range rand.Perm(chunks) {
				mustRead(t, s, i)
			}
		})
	}
	wg.Wait()
}

// TestWhole starts 200 readers on one worker from empty caches everywhere, and
// then 200 on another: the origin is asked for each chunk once, and then never.
// The counters of the workers, the nodes and the origin's log agree.
func TestWhole(t *testing.T) {
	const starts, chunks = 200, 40
	w := startWhole(t, chunks)
	first, second := w.worker(t), w.worker(t)
	startAll(t, first, starts, chunks)
	w.settle(first)
	startAll(t, second, starts, chunks)
	w.settle(second)
	var hits, misses, puts int64
	for _, n := range w.nodes {
		s := n.Stats()
		hits, misses, puts = hits+s.Hits, misses+s.Misses, puts+s.Puts
	}
	a, b := first.Stats(), second.Stats()
	if a.Origin != (chunkstore.Tier{Hits: chunks, Bytes: chunks * size}) || b.Origin != (chunkstore.Tier{}) {
		t.Errorf("origin: %+v, then %+v", a.Origin, b.Origin)
	}
	if a.Zone != (chunkstore.Tier{Misses: chunks}) || b.Zone != (chunkstore.Tier{Hits: chunks, Bytes: chunks * size}) {
		t.Errorf("zone: %+v, then %+v", a.Zone, b.Zone)
	}
	spilled := first.zone.Stats().Spilled + second.zone.Stats().Spilled
	if hits != chunks || misses != chunks+spilled || puts != chunks {
		t.Errorf("the nodes: %d hits, %d misses (%d spilled), %d puts", hits, misses, spilled, puts)
	}
	if len(w.origin.read) != chunks {
		t.Errorf("the origin was asked for %d chunks", len(w.origin.read))
	}
	for ref, n := range w.origin.read {
		if n != 1 {
			t.Errorf("the origin was asked for %s %d times", ref.Name, n)
		}
	}
	if got := a.Memory.Hits + a.Memory.Misses; got < starts*chunks || a.Shared+a.Memory.Hits < starts*chunks-chunks {
		t.Errorf("%+v", a)
	}
}

// TestWholeCorrupt lets every copy on every node's disk go bad: the worker gets
// the chunks from the origin, and the nodes are filled anew.
func TestWholeCorrupt(t *testing.T) {
	const chunks = 12
	w := startWhole(t, chunks)
	first := w.worker(t)
	startAll(t, first, 1, chunks)
	w.settle(first)
	bad := 0
	for n, on := range w.disks {
		for i, file := range on.Files(".") {
			if len(file) < 64 {
				continue // the index
			}
			on.Edit(file, []func([]byte) []byte{
				func(b []byte) []byte { b[n] ^= 1; return b },
				func(b []byte) []byte { return b[:len(b)/2] },
				func([]byte) []byte { _, other := sealed(1, 99); return other },
				func([]byte) []byte { _, replayed := sealed(2, i); return replayed },
			}[i%4])
			bad++
		}
	}
	second := w.worker(t)
	startAll(t, second, 20, chunks)
	w.settle(second)
	var corrupt int64
	for _, n := range w.nodes {
		corrupt += n.Stats().Cache.Disk.Corrupt
	}
	if got := second.Stats(); bad != chunks || corrupt != chunks || got.Origin.Hits != chunks || got.Zone.Misses != chunks {
		t.Errorf("%d bad copies, %d found, %+v", bad, corrupt, got)
	}
	third := w.worker(t)
	startAll(t, third, 1, chunks)
	if got := third.Stats(); got.Zone.Hits != chunks || got.Origin.Hits != 0 {
		t.Errorf("afterwards: %+v", got)
	}
}
