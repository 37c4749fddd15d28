package table

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestChange(t *testing.T) {
	client := startEtcd(t)
	c := start(t, config(client))
	k := Key{account, "a"}
	set := func(value string) Edit[thing] {
		return func(*thing) (*thing, error) { return &thing{Name: "a", Value: value}, nil }
	}
	if _, err := c.Change(t.Context(), k, set("1")); err != nil {
		t.Fatal(err)
	}
	if r, ok := c.Lookup(k); !ok || r.Value != "1" {
		t.Errorf("after the change: %+v", r)
	}
	refused := errors.New("refused")
	if _, err := c.Change(t.Context(), k, func(*thing) (*thing, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Errorf("an edit's error: %v", err)
	}
	revision := c.Revision()
	if r, err := c.Change(t.Context(), k, func(now *thing) (*thing, error) { return now, nil }); err != nil || r.Value != "1" || c.Revision() != revision {
		t.Errorf("a change of nothing: %+v, %v, revision %d after %d", r, err, c.Revision(), revision)
	}
	if _, err := c.Change(t.Context(), k, func(*thing) (*thing, error) { return &thing{Name: "b"}, nil }); err == nil {
		t.Error("a record that its table refuses was stored")
	}
	big := strings.Repeat("x", MaxRecord)
	if _, err := c.Change(t.Context(), k, set(big)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a big one: %v", err)
	}
	if r, err := c.Change(t.Context(), k, func(*thing) (*thing, error) { return nil, nil }); err != nil || r != nil {
		t.Errorf("deleting: %+v, %v", r, err)
	}
	if _, ok := c.Lookup(k); ok {
		t.Error("still there")
	}
	if _, err := c.Change(t.Context(), k, func(*thing) (*thing, error) { return nil, nil }); err != nil {
		t.Errorf("deleting nothing: %v", err)
	}
}

// TestChangesNeverMix lets many change one record at once: each builds on what
// another has made of it.
func TestChangesNeverMix(t *testing.T) {
	client := startEtcd(t)
	c := start(t, config(client))
	const writers, each = 8, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				_, err := c.Change(t.Context(), Key{account, "a"}, func(now *thing) (*thing, error) {
					next := &thing{Name: "a"}
					if now != nil {
						next.Value = now.Value
					}
					next.Value += fmt.Sprintf(" %d.%d", w, i)
					return next, nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	r, _ := c.Lookup(Key{account, "a"})
	got := strings.Fields(r.Value)
	seen := make(map[string]bool)
	for _, v := range got {
		seen[v] = true
	}
	if len(got) != writers*each || len(seen) != writers*each {
		t.Errorf("%d changes, %d different, want %d: %s", len(got), len(seen), writers*each, r.Value)
	}
}

func TestCatchUp(t *testing.T) {
	client := startEtcd(t)
	c := start(t, config(client))
	if err := c.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		name := fmt.Sprint("f", i)
		write(t, client, name, record(name))
		if err := c.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, ok := c.Lookup(Key{account, name}); !ok {
			t.Fatalf("%s is not there", name)
		}
	}
}

func TestChangeWith(t *testing.T) {
	client := startEtcd(t)
	c := start(t, config(client))
	other := config(client)
	other.Prefix = "hearth/others/"
	o := start(t, other)
	k := Key{account, "a"}
	with := func(value string, ops ...Op) error {
		_, err := c.ChangeWith(t.Context(), k, func(*thing) (*thing, []Op, error) { return &thing{Name: "a", Value: value}, ops, nil })
		return err
	}
	x1, x2, y := Key{account, "x1"}, Key{account, "x2"}, Key{account, "y"}
	if err := with("1", o.Create(x1, record("x1")), o.Create(x2, record("x2")), o.Create(y, record("y"))); err != nil {
		t.Fatal(err)
	}
	if got := names(o.All()); got != "x1 x2 y" {
		t.Errorf("created beside: %q", got)
	}
	if err := with("2", o.Create(y, record("y"))); !errors.Is(err, ErrConflict) {
		t.Errorf("creating again: %v", err)
	}
	if r, _ := c.Lookup(k); r.Value != "1" {
		t.Errorf("half a transaction was made: %q", r.Value)
	}
	if err := with("2", o.Exists(y), o.Delete(Key{account, "nothing"})); err != nil {
		t.Errorf("beside what exists: %v", err)
	}
	if err := with("3", o.Exists(Key{account, "nothing"})); !errors.Is(err, ErrConflict) {
		t.Errorf("beside what does not exist: %v", err)
	}
	if err := with("3", o.Create(Key{account, "z"}, record("not z"))); err == nil {
		t.Error("a record that its table refuses was stored")
	}
	if err := with("4", o.DeleteAll(account, "x"), o.Delete(Key{account, "nothing"})); err != nil {
		t.Fatal(err)
	}
	if got := names(o.All()); got != "y" {
		t.Errorf("left beside: %q", got)
	}
	if err := with("5", o.Delete(y)); err != nil || len(o.All()) != 0 {
		t.Errorf("left: %q, %v", names(o.All()), err)
	}
}

// TestChangeThatFindsItsWorkDone is given another's record, which its table is
// yet to see: a lookup after the change must find it.
func TestChangeThatFindsItsWorkDone(t *testing.T) {
	client := startEtcd(t)
	cfg := config(client)
	cfg.WriteTimeout = 10 * time.Second
	c := New(cfg)
	revision := write(t, client, "a", record("a"))
	done := make(chan error, 1)
	go func() {
		_, err := c.Change(t.Context(), Key{account, "a"}, func(now *thing) (*thing, error) {
			if now != nil {
				return now, nil
			}
			return record("a"), nil
		})
		if _, ok := c.Lookup(Key{account, "a"}); err == nil && !ok {
			err = errors.New("not there after the change")
		}
		done <- err
	}()
	ctx, cancel := context.WithCancel(t.Context())
	go c.run(ctx, revision-1)
	if err := <-done; err != nil {
		t.Error(err)
	}
	cancel()
	<-c.done
}

func TestNone(t *testing.T) {
	client := startEtcd(t)
	c := start(t, config(client))
	other := config(client)
	other.Prefix = "hearth/others/"
	o := start(t, other)
	change := func(value string, ops ...Op) error {
		_, err := c.ChangeWith(t.Context(), Key{account, "a"}, func(*thing) (*thing, []Op, error) {
			return &thing{Name: "a", Value: value}, ops, nil
		})
		return err
	}
	if err := change("1", o.Create(Key{account, "p:x"}, record("p:x"))); err != nil {
		t.Fatal(err)
	}
	if err := change("2", o.None(account, "p:")); !errors.Is(err, ErrConflict) {
		t.Errorf("with one there: %v", err)
	}
	for _, prefix := range []string{"q:", "p:y"} {
		if err := change("of "+prefix, o.None(account, prefix)); err != nil {
			t.Errorf("with none below %s: %v", prefix, err)
		}
	}
	if err := change("3", o.None("111111111111", "p:")); err != nil {
		t.Errorf("in another account: %v", err)
	}
}
