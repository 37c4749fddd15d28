package wire

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/ca"
	"hearth/internal/counting"
	"hearth/internal/function"
	"hearth/internal/rpc"
)

// town is a cluster of counting: three processes that lead or keep, and frontends,
// over loopback.
type town struct {
	authority *ca.Authority
	nodes     []Node
	mu        sync.Mutex
	leading   int
	epoch     uint64
	changed   chan struct{}
}

func (w *town) enrol(t testing.TB, name string, role ca.Role) *ca.Node {
	t.Helper()
	key, request, err := ca.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := w.authority.Sign(request, ca.Identity{Zone: "az1", Name: name, Roles: []ca.Role{role}}, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := ca.Save(dir, key, cert, w.authority.Certificate()); err != nil {
		t.Fatal(err)
	}
	n, err := ca.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// elect has another process lead the only partition.
func (w *town) elect(i int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leading = i
	w.epoch++
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *town) led(i int) (map[int]uint64, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.leading == i {
		return map[int]uint64{0: w.epoch}, w.changed
	}
	return nil, w.changed
}

func newTown(t testing.TB) *town {
	t.Helper()
	w := &town{epoch: 1, changed: make(chan struct{})}
	var err error
	if w.authority, err = ca.NewAuthority("test", time.Now()); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	var listeners []net.Listener
	for i := range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
		w.nodes = append(w.nodes, Node{Name: "a" + strconv.Itoa(i), Zone: "az1", Roles: []ca.Role{ca.Assignment}, Address: l.Addr().String()})
	}
	for i, l := range listeners {
		node := w.enrol(t, w.nodes[i].Name, ca.Assignment)
		tracker, err := NewTracker(node, nil, log)
		if err != nil {
			t.Fatal(err)
		}
		server := rpc.NewServer(node, log)
		c := &Counting{
			Led: func() (map[int]uint64, <-chan struct{}) { return w.led(i) }, Nodes: func() []Node { return w.nodes },
			Tracker: tracker, Self: w.nodes[i].Name, Log: log,
		}
		if err := c.Start(t.Context(), server, 1, func(context.Context, int) (uint64, error) { return 0, nil }); err != nil {
			t.Fatal(err)
		}
		rpc.HandleStream(server, methodWatch, ca.Roles, func(ctx context.Context, _ *none, send func(*news) error) error {
			if caller, err := rpc.Caller(ctx); err == nil {
				defer c.Watching(caller.Name)()
			}
			for {
				led, changed := w.led(i)
				if err := send(&news{Led: led, Nodes: w.nodes}); err != nil {
					return err
				}
				select {
				case <-changed:
				case <-ctx.Done():
					return nil
				}
			}
		})
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = server.Serve(l)
		}()
		t.Cleanup(func() {
			server.Stop()
			<-served
			c.Stop()
			tracker.Stop()
		})
	}
	return w
}

// front adds a frontend's counting.
func (w *town) front(t testing.TB, name string) (*counting.Service, *Counts) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	tracker, err := NewTracker(w.enrol(t, name, ca.Frontend), []string{w.nodes[0].Address}, log)
	if err != nil {
		t.Fatal(err)
	}
	tracker.Start()
	counts := NewCounts(tracker, 1, 1, func(string) int { return 0 }, log)
	s, err := counting.New(counting.Config{AccountConcurrency: 1000, Source: counts})
	if err != nil {
		t.Fatal(err)
	}
	counts.Start(s.Holdings, s.Trim)
	t.Cleanup(func() {
		counts.Stop()
		tracker.Stop()
	})
	return s, counts
}

// counted is a function with a reserved concurrency.
func counted(reserved int) *function.Record {
	f := &function.Record{Account: "1", UID: "f" + strconv.Itoa(reserved), Serving: &function.Config{Timeout: 3}}
	f.Reserved = &reserved
	return f
}

// TestOneUnit: of two frontends one has it, whoever leads.
func TestOneUnit(t *testing.T) {
	w := newTown(t)
	a, _ := w.front(t, "x")
	b, _ := w.front(t, "y")
	f := counted(1)
	for i := range 20 {
		u, err := a.Admit(t.Context(), f, f)
		if err != nil {
			t.Fatalf("turn %d: %v", i, err)
		}
		if i%5 == 0 {
			w.elect(i / 5 % 3)
		}
		if _, err := b.Admit(t.Context(), f, f); !isThrottled(err) {
			t.Fatalf("turn %d: a second unit: %v", i, err)
		}
		u.Release()
		v, err := b.Admit(t.Context(), f, f)
		if err != nil {
			t.Fatalf("turn %d: after it was released: %v", i, err)
		}
		v.Release()
	}
}

func isThrottled(err error) bool {
	e, ok := awserr.As(err)
	return ok && e.Code == "TooManyRequestsException"
}

// TestSlices: large limits hold over all frontends, and what one does not use the
// other gets.
func TestSlices(t *testing.T) {
	w := newTown(t)
	a, _ := w.front(t, "x")
	b, _ := w.front(t, "y")
	f := counted(200)
	held := 0
	for _, s := range []*counting.Service{a, b} {
		for range 300 {
			if _, err := s.Admit(t.Context(), f, f); err == nil {
				held++
			} else if s == b || held == 200 {
				break
			}
		}
	}
	if held != 200 {
		t.Errorf("%d units were given out, want 200", held)
	}
}

// BenchmarkUnits measures the admission by a leader, its unit kept by another
// process, over TLS on loopback: 16 clients, each 50 times a second.
func BenchmarkUnits(b *testing.B) {
	w := newTown(b)
	s, _ := w.front(b, "x")
	functions := make([]*function.Record, 16)
	for i := range functions {
		f := *counted(1)
		f.UID = "g" + strconv.Itoa(i)
		n := 1000 // the rate is not what is measured
		f.Reserved = &n
		functions[i] = &f
	}
	small := 60
	for _, f := range functions {
		f.Reserved = &small
	}
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	b.ResetTimer()
	const pace = 20 * time.Millisecond
	for i, f := range functions {
		wg.Go(func() {
			// Not all at the same moment.
			phase := time.NewTimer(pace * time.Duration(i) / time.Duration(len(functions)))
			<-phase.C
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for range b.N / len(functions) {
				<-tick.C
				at := time.Now()
				u, err := s.Admit(b.Context(), f, f)
				took := time.Since(at)
				if err != nil {
					b.Error(err)
					return
				}
				u.Release()
				mu.Lock()
				all = append(all, took)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.Sort(all)
	if len(all) > 0 {
		b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
		b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
		b.ReportMetric(float64(all[len(all)*999/1000].Microseconds()), "p99.9-µs")
	}
}

// BenchmarkSlice is the admission from a slice.
func BenchmarkSlice(b *testing.B) {
	w := newTown(b)
	s, _ := w.front(b, "x")
	n := 1 << 30
	f := counted(1000)
	f.Reserved = &n
	first, err := s.Admit(b.Context(), f, f)
	if err != nil {
		b.Fatal(err)
	}
	first.Release()
	b.ResetTimer()
	for b.Loop() {
		u, err := s.Admit(b.Context(), f, f)
		if err != nil {
			b.Fatal(err)
		}
		u.Release()
	}
}
