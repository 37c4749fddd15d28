package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hearth/internal/etcd"
	"hearth/internal/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logs calls do with each kind of log.
func logs(t *testing.T, do func(t *testing.T, log journal.Log)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) { do(t, journal.NewMemory()) })
	t.Run("etcd", func(t *testing.T) {
		server, err := etcd.Start(t.Context(), etcd.Config{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(server.Stop)
		do(t, journal.NewEtcd(server.Client(), "p/1"))
	})
}

func lead(t *testing.T, log journal.Log, value string) journal.Leadership {
	t.Helper()
	term, err := log.Lead(t.Context(), []byte(value), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return term
}

func appended(t *testing.T, log journal.Log, term journal.Term, from, to journal.Index) {
	t.Helper()
	for i := from; i <= to; i++ {
		if err := log.Append(t.Context(), entry(i, term)); err != nil {
			t.Fatalf("append %d: %v", i, err)
		}
	}
}

func entry(i journal.Index, term journal.Term) journal.Entry {
	return journal.Entry{Index: i, Term: term, Data: fmt.Appendf(nil, "entry %d", i)}
}

func wantEntries(t *testing.T, log journal.Log, from, to journal.Index, term journal.Term) {
	t.Helper()
	got, err := log.Read(t.Context(), from)
	if err != nil || len(got) != int(to-from+1) {
		t.Fatalf("%d entries, %v; want %d to %d", len(got), err, from, to)
	}
	for n, e := range got {
		if want := entry(from+journal.Index(n), term); e.Index != want.Index || e.Term != term || !bytes.Equal(e.Data, want.Data) {
			t.Errorf("%+v, want %+v", e, want)
		}
	}
}

func TestAppend(t *testing.T) {
	logs(t, func(t *testing.T, log journal.Log) {
		if l, err := log.Leader(t.Context()); l != nil || err != nil {
			t.Errorf("leader of a new log: %+v, %v", l, err)
		}
		if err := log.Append(t.Context(), entry(1, 1)); !errors.Is(err, journal.ErrDeposed) {
			t.Errorf("append without a leader: %v", err)
		}
		first := lead(t, log, "first")
		if l, err := log.Leader(t.Context()); err != nil || l.Term != first.Term() || string(l.Value) != "first" {
			t.Errorf("leader %+v, %v", l, err)
		}
		appended(t, log, first.Term(), 1, 40)
		appended(t, log, first.Term(), 38, 40) // once more changes nothing
		wantEntries(t, log, 1, 40, first.Term())
		wantEntries(t, log, 17, 40, first.Term())
		wantEntries(t, log, 41, 40, first.Term())
		other := entry(40, first.Term())
		other.Data = []byte("other")
		if err := log.Append(t.Context(), other); !errors.Is(err, journal.ErrDeposed) {
			t.Errorf("another entry at the same index: %v", err)
		}
		if err := log.Append(t.Context(), entry(42, first.Term())); !errors.Is(err, journal.ErrGap) {
			t.Errorf("append behind a gap: %v", err)
		}
		if err := log.Append(t.Context(), journal.Entry{Index: 41, Term: first.Term(), Data: make([]byte, journal.MaxEntry+1)}); !errors.Is(err, journal.ErrTooLarge) {
			t.Errorf("too large: %v", err)
		}
		if _, err := log.Lead(t.Context(), make([]byte, journal.MaxLeader+1), time.Second); !errors.Is(err, journal.ErrTooLarge) {
			t.Errorf("too much about a leader: %v", err)
		}

		// Another leads: what the first sends late is refused.
		if err := first.Resign(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-first.Lost()
		if err := log.Append(t.Context(), entry(41, first.Term())); !errors.Is(err, journal.ErrDeposed) {
			t.Errorf("append after resigning: %v", err)
		}
		second := lead(t, log, "second")
		if second.Term() <= first.Term() {
			t.Errorf("terms %d, %d", first.Term(), second.Term())
		}
		if err := log.Append(t.Context(), entry(41, first.Term())); !errors.Is(err, journal.ErrDeposed) {
			t.Errorf("append of the former leader: %v", err)
		}
		if err := log.Save(t.Context(), first.Term(), journal.Checkpoint{Index: 5}); !errors.Is(err, journal.ErrDeposed) {
			t.Errorf("checkpoint of the former leader: %v", err)
		}
		appended(t, log, second.Term(), 41, 41)
		if err := log.Append(t.Context(), entry(41, first.Term())); !errors.Is(err, journal.ErrDeposed) {
			t.Errorf("append of the former leader: %v", err)
		}
		if err := log.Append(t.Context(), entry(40, first.Term())); err != nil {
			t.Errorf("what is there is there: %v", err)
		}
		if err := second.Resign(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// TestLead has many want to lead: one at a time does, and each in the end.
func TestLead(t *testing.T) {
	logs(t, func(t *testing.T, log journal.Log) {
		var leading atomic.Int32
		var wg sync.WaitGroup
		terms := make([]journal.Term, 8)
		for i := range terms {
			wg.Go(func() {
				term, err := log.Lead(t.Context(), fmt.Appendf(nil, "%d", i), 10*time.Second)
				if err != nil {
					t.Error(err)
					return
				}
				if n := leading.Add(1); n != 1 {
					t.Errorf("%d lead", n)
				}
				terms[i] = term.Term()
				leading.Add(-1)
				if err := term.Resign(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		slices.Sort(terms)
		if len(slices.Compact(terms)) != 8 {
			t.Errorf("terms %v", terms)
		}
		// Who leaves while waiting leads nothing.
		term := lead(t, log, "x")
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() {
			_, err := log.Lead(ctx, nil, 10*time.Second)
			left <- err
		}()
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("who left: %v", err)
		}
		if err := term.Resign(t.Context()); err != nil {
			t.Fatal(err)
		}
		if l, err := log.Leader(t.Context()); l != nil || err != nil {
			t.Errorf("leader %+v, %v", l, err)
		}
	})
}

// TestFollow: a follower sees what was there and what comes, once and in order.
// TestEvict: a term that another ends is over, and its leader hears of it.
func TestEvict(t *testing.T) {
	logs(t, func(t *testing.T, log journal.Log) {
		first := lead(t, log, "first")
		appended(t, log, first.Term(), 1, 2)
		if err := log.Evict(t.Context(), first.Term()); err != nil {
			t.Fatal(err)
		}
		<-first.Lost()
		if err := log.Append(t.Context(), entry(3, first.Term())); !errors.Is(err, journal.ErrDeposed) {
			t.Errorf("append: %v", err)
		}
		second := lead(t, log, "second")
		if err := log.Evict(t.Context(), first.Term()); err != nil {
			t.Errorf("a term that is over: %v", err)
		}
		appended(t, log, second.Term(), 3, 3)
		for _, term := range []journal.Leadership{first, second} {
			if err := term.Resign(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestFollow(t *testing.T) {
	logs(t, func(t *testing.T, log journal.Log) {
		term := lead(t, log, "x")
		appended(t, log, term.Term(), 1, 30)
		seen := make(chan journal.Entry, 100)
		stop := errors.New("seen enough")
		done := make(chan error, 1)
		go func() {
			done <- log.Follow(t.Context(), 5, func(e journal.Entry) error {
				seen <- e
				if e.Index == 60 {
					return stop
				}
				return nil
			})
		}()
		appended(t, log, term.Term(), 31, 60)
		if err := <-done; !errors.Is(err, stop) {
			t.Fatal(err)
		}
		for i := journal.Index(5); i <= 60; i++ {
			if e := <-seen; e.Index != i || !bytes.Equal(e.Data, entry(i, 0).Data) {
				t.Fatalf("%+v in place of %d", e, i)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- log.Follow(ctx, 61, func(journal.Entry) error { return nil }) }()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("who left: %v", err)
		}
		if err := term.Resign(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCheckpoint(t *testing.T) {
	logs(t, func(t *testing.T, log journal.Log) {
		if c, err := log.Checkpoint(t.Context()); c != nil || err != nil {
			t.Errorf("of a new log: %+v, %v", c, err)
		}
		term := lead(t, log, "x")
		if err := log.Save(t.Context(), term.Term(), journal.Checkpoint{Index: 1}); !errors.Is(err, journal.ErrGap) {
			t.Errorf("of an entry that is not there: %v", err)
		}
		appended(t, log, term.Term(), 1, 20)
		large := bytes.Repeat([]byte("state "), 200_000) // three parts
		for _, c := range []struct {
			save, want journal.Checkpoint
		}{
			{journal.Checkpoint{Index: 7, Data: []byte("seven")}, journal.Checkpoint{Index: 7, Data: []byte("seven")}},
			{journal.Checkpoint{Index: 3, Data: []byte("three")}, journal.Checkpoint{Index: 7, Data: []byte("seven")}},
			{journal.Checkpoint{Index: 10, Data: large}, journal.Checkpoint{Index: 10, Data: large}},
			{journal.Checkpoint{Index: 12}, journal.Checkpoint{Index: 12}},
		} {
			if err := log.Save(t.Context(), term.Term(), c.save); err != nil {
				t.Fatal(err)
			}
			got, err := log.Checkpoint(t.Context())
			if err != nil || got.Index != c.want.Index || !bytes.Equal(got.Data, c.want.Data) {
				t.Errorf("checkpoint %d of %d bytes, %v; want %d of %d", got.Index, len(got.Data), err, c.want.Index, len(c.want.Data))
			}
		}
		wantEntries(t, log, 13, 20, term.Term())
		for _, from := range []journal.Index{1, 7, 12} {
			if got, err := log.Read(t.Context(), from); !errors.Is(err, journal.ErrTrimmed) {
				t.Errorf("read from %d: %v, %v", from, got, err)
			}
			if err := log.Follow(t.Context(), from, func(journal.Entry) error { return nil }); !errors.Is(err, journal.ErrTrimmed) {
				t.Errorf("follow from %d: %v", from, err)
			}
		}
		if err := log.Save(t.Context(), term.Term(), journal.Checkpoint{Index: 20}); err != nil {
			t.Fatal(err)
		}
		appended(t, log, term.Term(), 21, 22) // all before is gone
		wantEntries(t, log, 21, 22, term.Term())
		if err := term.Resign(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// TestTwoLogs: logs in one etcd know nothing of each other.
func TestTwoLogs(t *testing.T) {
	server, err := etcd.Start(t.Context(), etcd.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	for _, name := range []string{"p/1", "p/10", "p"} {
		log := journal.NewEtcd(server.Client(), name)
		term := lead(t, log, name)
		appended(t, log, term.Term(), 1, 3)
		if err := log.Save(t.Context(), term.Term(), journal.Checkpoint{Index: 2, Data: []byte(name)}); err != nil {
			t.Fatal(err)
		}
		wantEntries(t, log, 3, 3, term.Term())
		if err := term.Resign(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWatchLeader: whoever leads is told of, and that nobody does.
func TestWatchLeader(t *testing.T) {
	server, err := etcd.Start(t.Context(), etcd.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	log := journal.NewEtcd(server.Client(), "p/1")
	told := make(chan string)
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		log.WatchLeader(ctx, func(l *journal.Leader) {
			name := ""
			if l != nil {
				name = string(l.Value)
			}
			select {
			case told <- name:
			case <-ctx.Done():
			}
		})
	})
	defer watching.Wait()
	defer cancel()
	want := func(name string) {
		t.Helper()
		if got := <-told; got != name {
			t.Errorf("%q leads, want %q", got, name)
		}
	}
	want("")
	lead(t, log, "first")
	want("first")
	if err := journal.EvictHolder(t.Context(), log, "another"); err != nil {
		t.Error(err)
	}
	if now, err := log.Leader(t.Context()); err != nil || now == nil || string(now.Value) != "first" {
		t.Errorf("%v leads, %v, after another was evicted", now, err)
	}
	if err := journal.EvictHolder(t.Context(), log, "first"); err != nil {
		t.Error(err)
	}
	want("")
	second := lead(t, log, "second")
	want("second")
	if err := second.Resign(t.Context()); err != nil {
		t.Error(err)
	}
	want("")
}
