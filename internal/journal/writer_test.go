package journal_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"hearth/internal/journal"
)

// gate holds appends up until it is opened.
type gate struct {
	journal.Log
	open    chan struct{}
	entries int
}

func (g *gate) Append(ctx context.Context, e journal.Entry) error {
	<-g.open
	g.entries++
	return g.Log.Append(ctx, e)
}

// records returns all records of a log, with the entry that each is in.
func records(t *testing.T, log journal.Log) (all []string, in []journal.Index) {
	t.Helper()
	entries, err := log.Read(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		for r, err := range journal.Records(e.Data) {
			if err != nil {
				t.Fatal(err)
			}
			all, in = append(all, string(r)), append(in, e.Index)
		}
	}
	return all, in
}

// TestWriterBatches: what comes while an entry is on its way goes into the next
// one, as much as fits.
func TestWriterBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{Log: journal.NewMemory(), open: make(chan struct{})}
		term := lead(t, g, "x")
		w := journal.NewWriter(g, term.Term(), 1)
		var wg sync.WaitGroup
		at := make([]journal.Index, 103)
		put := func(i int, record string) {
			wg.Go(func() {
				index, err := w.Append(t.Context(), []byte(record))
				if err != nil {
					t.Error(err)
				}
				at[i] = index
			})
			synctest.Wait()
		}
		put(0, "first")
		for i := 1; i <= 100; i++ {
			put(i, fmt.Sprint("record ", i))
		}
		put(101, strings.Repeat("x", journal.MaxRecord))
		put(102, "")
		close(g.open)
		wg.Wait()
		if g.entries != 4 {
			t.Errorf("%d entries, want one for the first, one for what waited, one that is full, one for the rest", g.entries)
		}
		all, in := records(t, g)
		if len(all) != 103 || all[0] != "first" || !slices.Equal(in, at) {
			t.Errorf("%d records in entries %v, want %v", len(all), in, at)
		}
		if _, err := w.Append(t.Context(), make([]byte, journal.MaxRecord+1)); !errors.Is(err, journal.ErrTooLarge) {
			t.Errorf("too large: %v", err)
		}
		w.Close()
		if _, err := w.Append(t.Context(), nil); err == nil {
			t.Error("a closed writer appends")
		}
	})
}

// TestWriterDeposed: all who wait are told when the term is over, and those who
// come.
func TestWriterDeposed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := journal.NewMemory()
		term := lead(t, log, "x")
		w := journal.NewWriter(log, term.Term(), 1)
		log.Lapse()
		for range 2 {
			if _, err := w.Append(t.Context(), []byte("x")); !errors.Is(err, journal.ErrDeposed) {
				t.Errorf("append: %v", err)
			}
			<-w.Failed()
		}
		w.Close()
	})
}

// TestLinearizable has clients append through leaders that come and go over a
// log that does not always answer, and checks the history: each record that was
// acknowledged is there once, at a place that fits the times.
func TestLinearizable(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { linearizable(t, seed) })
		})
	}
}

// op is an append of a record, or a look at how many there are.
type op struct{ record string }

// history is what clients saw.
type history struct {
	mu  sync.Mutex
	ops []porcupine.Operation
	// unsettled are appends that nobody knows of.
	unsettled []porcupine.Operation
}

// pause waits in simulated time.
func pause(d time.Duration) { <-time.After(d) }

func linearizable(t *testing.T, seed uint64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	var mu sync.Mutex
	draw := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	log := journal.NewMemory()
	log.Fault = func(_ context.Context, op journal.Op) journal.Fault {
		pause(time.Duration(draw(20)) * time.Millisecond)
		if op == journal.OpLead || draw(5) > 0 {
			return journal.NoFault
		}
		return journal.Fault(1 + draw(2))
	}
	start := time.Now()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var current struct {
		sync.Mutex
		w *journal.Writer
	}
	for range 3 { // who would lead
		wg.Go(func() {
			for ctx.Err() == nil {
				term, err := log.Lead(ctx, nil, time.Second)
				if err != nil {
					continue
				}
				entries, err := log.Read(ctx, 1)
				for err != nil && ctx.Err() == nil {
					entries, err = log.Read(ctx, 1)
				}
				w := journal.NewWriter(log, term.Term(), journal.Index(len(entries)+1))
				current.Lock()
				current.w = w
				current.Unlock()
				select {
				case <-w.Failed():
				case <-ctx.Done():
				}
				w.Close()
				_ = term.Resign(ctx)
			}
		})
	}
	wg.Go(func() { // leaders are not heard of, and do not know it
		for ctx.Err() == nil {
			pause(time.Duration(draw(300)) * time.Millisecond)
			log.Lapse()
		}
	})
	var h history
	var clients sync.WaitGroup
	for client := range 5 {
		clients.Go(func() {
			for n := range 30 {
				pause(time.Duration(draw(30)) * time.Millisecond)
				current.Lock()
				w := current.w
				current.Unlock()
				if w == nil {
					continue
				}
				o := porcupine.Operation{ClientId: client, Input: op{fmt.Sprintf("%d/%d", client, n)}, Call: int64(time.Since(start))}
				_, err := w.Append(ctx, []byte(o.Input.(op).record))
				o.Return = int64(time.Since(start))
				h.mu.Lock()
				if err == nil {
					h.ops = append(h.ops, o)
				} else {
					h.unsettled = append(h.unsettled, o)
				}
				h.mu.Unlock()
			}
		})
	}
	clients.Wait()
	stop()
	wg.Wait()
	log.Fault = nil
	all, _ := records(t, log)
	place := make(map[string]int)
	for i, r := range all {
		if _, twice := place[r]; twice {
			t.Errorf("record %s is there twice", r)
		}
		place[r] = i
	}
	end := int64(time.Since(start))
	acked := len(h.ops)
	for _, o := range h.unsettled { // what is there was appended at some time until now
		if _, there := place[o.Input.(op).record]; there {
			o.ClientId, o.Return = 100+len(h.ops), end
			h.ops = append(h.ops, o)
		}
	}
	for i := range h.ops {
		at, there := place[h.ops[i].Input.(op).record]
		if !there {
			t.Errorf("record %s was acknowledged and is not there", h.ops[i].Input.(op).record)
		}
		h.ops[i].Output = at
	}
	model := porcupine.Model{
		Init: func() any { return 0 },
		Step: func(state, _, output any) (bool, any) { return state == output, state.(int) + 1 },
	}
	if !porcupine.CheckOperations(model, h.ops) {
		t.Errorf("seed %d: the history of %d appends is not linearizable", seed, len(h.ops))
	}
	if acked < 10 {
		t.Errorf("only %d appends were acknowledged", acked)
	}
}
