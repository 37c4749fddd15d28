package azcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hearth/internal/chunk"
)

// zone is a network of nodes without sockets, whose nodes can be slow.
type zone struct {
	mu    sync.Mutex
	nodes map[string]*Server
	delay map[string]time.Duration // negative: it never answers
	down  map[string]bool
	asked map[string]int // GETs
}

func newZone(t *testing.T, n int) *zone {
	t.Helper()
	z := &zone{nodes: make(map[string]*Server), delay: make(map[string]time.Duration), down: make(map[string]bool), asked: make(map[string]int)}
	for _, u := range manyNodes(n) {
		z.nodes[u] = newServer(t)
	}
	return z
}

func (z *zone) RoundTrip(r *http.Request) (*http.Response, error) {
	u := "http://" + r.URL.Host
	z.mu.Lock()
	s, delay, down := z.nodes[u], z.delay[u], z.down[u]
	if r.Method == http.MethodGet {
		z.asked[u]++
	}
	z.mu.Unlock()
	if down {
		return nil, errors.New("connection refused")
	}
	if delay < 0 {
		<-r.Context().Done()
		return nil, context.Cause(r.Context())
	}
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return nil, context.Cause(r.Context())
	}
	w := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	s.ServeHTTP(w, r)
	return w.Result(), nil
}

func (z *zone) set(u string, delay time.Duration) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.delay[u] = delay
}

func newClient(t *testing.T, cfg ClientConfig) *Client {
	t.Helper()
	cfg.Key = key
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// fillAll puts the first n chunks on their nodes.
func fillAll(c *Client, n int) {
	for i := range n {
		c.Fill(sealed(1, i))
		c.Wait()
	}
}

func get(t *testing.T, c *Client, i int) error {
	t.Helper()
	ref, want := sealed(1, i)
	got, err := c.ReadChunk(t.Context(), ref)
	if err == nil && !bytes.Equal(got, want) {
		t.Errorf("%d other bytes", len(got))
	}
	return err
}

// TestOverTheNetwork is real HTTP.
func TestOverTheNetwork(t *testing.T) {
	servers := make([]*Server, 3)
	var urls []string
	for i := range servers {
		servers[i] = newServer(t)
		s := httptest.NewServer(servers[i])
		t.Cleanup(s.Close)
		urls = append(urls, s.URL)
	}
	c := newClient(t, ClientConfig{Nodes: urls, Timeout: 10 * time.Second, HedgeShare: -1})
	const n = 20
	if err := get(t, c, 0); !errors.Is(err, chunk.ErrNotFound) {
		t.Errorf("from an empty zone: %v", err)
	}
	fillAll(c, n)
	fillAll(c, n)
	var puts int64
	for _, s := range servers {
		puts += s.Stats().Puts
	}
	for i := range n {
		if err := get(t, c, i); err != nil {
			t.Error(err)
		}
	}
	if got := c.Stats(); puts != 2*n || got.Filled != 4*n || got.FillsFailed+got.FillsDropped+got.Failed != 0 {
		t.Errorf("%d puts, %+v", puts, got)
	}
	// A client with another key.
	stranger, err := NewClient(ClientConfig{Nodes: urls, Key: Key{9}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stranger.Close)
	if err := get(t, stranger, 0); err == nil || errors.Is(err, chunk.ErrNotFound) {
		t.Errorf("a stranger got %v", err)
	}
}

// TestLyingNodes: whatever a node answers, the client returns the chunk or
// none.
func TestLyingNodes(t *testing.T) {
	ref, b := sealed(1, 0)
	_, other := sealed(1, 1)
	_, replayed := sealed(2, 0)
	answer := func(b []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) }
	}
	elsewhere := httptest.NewServer(answer(b))
	t.Cleanup(elsewhere.Close)
	for what, h := range map[string]http.HandlerFunc{
		"flipped":   answer(append([]byte{b[0] ^ 1}, b[1:]...)),
		"truncated": answer(b[:size-1]),
		"longer":    answer(append(bytes.Clone(b), 0)),
		"empty":     answer(nil),
		"swapped":   answer(other),
		"replayed":  answer(replayed),
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(size))
			_, _ = w.Write(b[:10])
		},
		"no length": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(b[:10])
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(b[10:])
		},
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000000000000")
			_, _ = w.Write(b)
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) },
		"error":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
	} {
		lying := httptest.NewServer(h)
		t.Cleanup(lying.Close)
		honest := httptest.NewServer(newServer(t))
		t.Cleanup(honest.Close)
		alone := newClient(t, ClientConfig{Nodes: []string{lying.URL}, Timeout: 10 * time.Second})
		if got, err := alone.ReadChunk(t.Context(), ref); err == nil {
			t.Errorf("%s: got %d bytes", what, len(got))
		}
		alone.Close()
		if st := alone.Stats(); st.Failed != 1 {
			t.Errorf("%s: %+v", what, st)
		}
		// With an honest node beside it, the chunk comes from there.
		both := newClient(t, ClientConfig{Nodes: []string{lying.URL, honest.URL}, Timeout: 10 * time.Second, HedgeShare: -1})
		if err := both.put(t.Context(), honest.URL, fill{ref, b}); err != nil {
			t.Fatal(err)
		}
		if err := get(t, both, 0); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestStalledNode: when one of three nodes hangs, a second request gets the
// chunk after the usual time, and soon the node is not asked any more.
func TestStalledNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone(t, 3)
		c := newClient(t, ClientConfig{Nodes: manyNodes(3), Transport: z, HedgeShare: 0.2})
		const n = 200
		fillAll(c, n)
		for u := range z.nodes {
			z.set(u, time.Millisecond)
		}
		for i := range n {
			if err := get(t, c, i); err != nil {
				t.Fatal(err)
			}
		}
		if got := c.Stats(); got.Hedges != 0 || got.HedgeAfter != 1250*time.Microsecond {
			t.Fatalf("before: %+v", got)
		}
		stalled := manyNodes(3)[0]
		z.set(stalled, -1)
		slow := 0
		for i := range n {
			begin := time.Now()
			if err := get(t, c, i); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begin); took > 3*time.Millisecond {
				t.Errorf("read %d took %v", i, took)
			} else if took > time.Millisecond {
				slow++
			}
		}
		if got := c.Stats(); slow != outAfter || got.Hedges != outAfter || got.HedgesWon != outAfter || got.Out != 1 || z.asked[stalled] > n/2+outAfter {
			t.Errorf("%d slow reads, %+v", slow, got)
		}
		// When it is well again, it is asked again.
		z.set(stalled, time.Millisecond)
		time.Sleep(time.Minute)
		for i := range n {
			if err := get(t, c, i); err != nil {
				t.Fatal(err)
			}
		}
		if got := c.Stats(); got.Out != 0 {
			t.Errorf("after: %+v", got)
		}
	})
}

// TestHedgesAreBounded: when all nodes become slower and slower, as those that
// have too much to do, they do not get twice as much for it.
func TestHedgesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone(t, 3)
		c := newClient(t, ClientConfig{Nodes: manyNodes(3), Transport: z, HedgeAfter: time.Millisecond, HedgeShare: 0.05, Timeout: time.Hour})
		const n = 100
		fillAll(c, n)
		delay := 2 * time.Millisecond
		for i := range n {
			delay += delay / 10
			for u := range z.nodes {
				z.set(u, delay)
			}
			if err := get(t, c, i); err != nil {
				t.Fatal(err)
			}
		}
		if got := c.Stats(); got.Hedges < n/20 || got.Hedges > n/20+1 || got.HedgesSpared < n/2 {
			t.Errorf("%+v", got)
		}
	})
}

// TestDeadNode: reads go to the next node at once, and after a few not to the
// dead one any more.
func TestDeadNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone(t, 3)
		c := newClient(t, ClientConfig{Nodes: manyNodes(3), Transport: z})
		const n = 60
		fillAll(c, n)
		dead := manyNodes(3)[1]
		z.down[dead] = true
		begin := time.Now()
		for i := range n {
			if err := get(t, c, i); err != nil {
				t.Errorf("chunk %d: %v", i, err)
			}
			synctest.Wait()
		}
		if got := c.Stats(); got.Failovers != outAfter || got.Failed != outAfter || z.asked[dead] != outAfter || time.Since(begin) != 0 {
			t.Errorf("%+v, asked %d times, %v", got, z.asked[dead], time.Since(begin))
		}
		for u := range z.nodes {
			z.down[u] = true
		}
		for i := range 10 {
			if err := get(t, c, i); err == nil || errors.Is(err, chunk.ErrNotFound) {
				t.Errorf("from nobody: %v", err)
			}
			synctest.Wait()
		}
		if err := get(t, c, 0); !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		// What is filled now goes nowhere, and nobody waits for it.
		c.Fill(sealed(1, 999))
		c.Wait()
	})
}

// TestTimeout: all nodes hang. The reader is told in time.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone(t, 2)
		for u := range z.nodes {
			z.set(u, -1)
		}
		c := newClient(t, ClientConfig{Nodes: manyNodes(2), Transport: z, Timeout: 100 * time.Millisecond})
		begin := time.Now()
		if err := get(t, c, 0); !errors.Is(err, errLate) || time.Since(begin) != 100*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		synctest.Wait()
		if got := c.Stats(); got.Failed != 2 || got.Hedges != 1 {
			t.Errorf("%+v", got)
		}
		// A reader that goes away says nothing of the nodes.
		cause := errors.New("the invoke ended")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Millisecond, func() { cancel(cause) })
		ref, _ := sealed(1, 0)
		if _, err := c.ReadChunk(ctx, ref); !errors.Is(err, cause) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if got := c.Stats(); got.Failed != 2 || got.Out != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// TestSpread: many readers of one popular chunk are spread over the nodes that
// have it, and beyond.
func TestSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone(t, 4)
		c := newClient(t, ClientConfig{Nodes: manyNodes(4), Transport: z, Copies: 4, HedgeShare: -1})
		fillAll(c, 1)
		for u := range z.nodes {
			z.set(u, time.Millisecond)
		}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if err := get(t, c, 0); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for u, n := range z.asked {
			if n > 100*5/4/4+2 {
				t.Errorf("%s was asked %d times", u, n)
			}
		}
	})
}

// TestSpill: reads that go past a busy node, to one that has not got the chunk,
// come back to it.
func TestSpill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone(t, 4)
		c := newClient(t, ClientConfig{Nodes: manyNodes(4), Transport: z, Copies: 1, HedgeShare: -1})
		var same []int
		for i := 0; len(same) < 40; i++ {
			if owner(c.ring, name(i)) == manyNodes(4)[2] {
				same = append(same, i)
				c.Fill(sealed(1, i))
				c.Wait()
			}
		}
		for u := range z.nodes {
			z.set(u, time.Millisecond)
		}
		var wg sync.WaitGroup
		for _, i := range same {
			wg.Go(func() {
				if err := get(t, c, i); err != nil {
					t.Errorf("chunk %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if got := c.Stats(); got.Spilled == 0 || got.Failed != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// TestFillIsBounded: while nodes hang, what does not fit is dropped, nobody
// waits, and closing does not either.
func TestFillIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone(t, 2)
		for u := range z.nodes {
			z.set(u, -1)
		}
		c := newClient(t, ClientConfig{Nodes: manyNodes(2), Transport: z, FillBytes: 5 * size})
		begin := time.Now()
		for i := range 20 {
			c.Fill(sealed(1, i))
			c.Fill(sealed(1, i))
		}
		if got := c.Stats(); got.FillsDropped < 15 || time.Since(begin) != 0 {
			t.Errorf("%+v", got)
		}
		c.Close()
		if time.Since(begin) != 0 {
			t.Errorf("closing took %v", time.Since(begin))
		}
		c.Fill(sealed(1, 0))
	})
}

func TestNodesComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone(t, 4)
		c := newClient(t, ClientConfig{Transport: z})
		if err := get(t, c, 0); !errors.Is(err, chunk.ErrNotFound) {
			t.Errorf("without nodes: %v", err)
		}
		if err := c.SetNodes(manyNodes(3)); err != nil {
			t.Fatal(err)
		}
		const n = 100
		fillAll(c, n)
		if err := c.SetNodes(manyNodes(4)); err != nil {
			t.Fatal(err)
		}
		misses := 0
		for i := range n {
			if err := get(t, c, i); errors.Is(err, chunk.ErrNotFound) {
				misses++
			} else if err != nil {
				t.Error(err)
			}
		}
		if misses == 0 || misses > n/2 {
			t.Errorf("%d of %d chunks moved", misses, n)
		}
		if err := c.SetNodes([]string{"http://x/y"}); err == nil {
			t.Error("a bad node was accepted")
		}
	})
}

func TestClientConfig(t *testing.T) {
	for _, bad := range []string{"", "10.0.0.1:9400", "http://", "http://a/b", "http://a?b", "ftp://a", "http://user@a", "http://a/"} {
		if _, err := NewClient(ClientConfig{Nodes: []string{bad}}); err == nil {
			t.Errorf("node %q was accepted", bad)
		}
	}
	if _, err := NewClient(ClientConfig{Timeout: -1}); err == nil {
		t.Error("a negative timeout was accepted")
	}
}
