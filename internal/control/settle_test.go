package control

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"hearth/internal/codesigning"
	"hearth/internal/eventsource"
	"hearth/internal/table"
)

// follower is a Poller that a test controls.
type follower func(ctx context.Context, m *eventsource.Mapping) error

func (f follower) Follow(ctx context.Context, m *eventsource.Mapping) error { return f(ctx, m) }

func queueMapping(function string) *eventsource.Mapping {
	m := &eventsource.Mapping{Account: account}
	m.ARN, m.Function, m.Enabled = "arn:aws:sqs:us-east-1:000000000000:q", "arn:aws:lambda:us-east-1:000000000000:function:"+function, true
	return m
}

// waitMapping waits until a mapping is in a state; an empty one is none.
func (st *stack) waitMapping(t *testing.T, uuid string, want eventsource.State) {
	t.Helper()
	found := make(chan struct{})
	once := sync.OnceFunc(func() { close(found) })
	cancel := st.catalog.EventSources.Subscribe(func(_ table.Key, _, after *eventsource.Mapping) {
		if after == nil && want == "" || after != nil && after.UUID == uuid && after.State == want {
			once()
		}
	})
	defer cancel()
	select {
	case <-found:
	case <-time.After(20 * time.Second):
		t.Fatalf("mapping %s does not become %q", uuid, want)
	}
}

// TestMappingInUse: while the poller has not followed a change, there is no
// other; a poller that fails is asked again, also after a restart.
func TestMappingInUse(t *testing.T) {
	dir := t.TempDir()
	followed := make(chan eventsource.State)
	stuck := Config{Poller: follower(func(ctx context.Context, m *eventsource.Mapping) error {
		select {
		case followed <- m.State:
		case <-ctx.Done():
		}
		<-ctx.Done()
		return ctx.Err()
	})}
	st := startIn(t, dir, stuck)
	st.mustCreate(t, "hi", "x")
	m, err := st.CreateMapping(t.Context(), queueMapping("hi"))
	if err != nil {
		t.Fatal(err)
	}
	if got := <-followed; got != eventsource.Creating {
		t.Errorf("the poller saw %s", got)
	}
	_, err = st.UpdateMapping(t.Context(), account, m.UUID, func(*eventsource.Mapping) error { return nil })
	wantCode(t, err, "ResourceInUseException", "Cannot update the event source mapping because it is in use.")
	_, err = st.DeleteMapping(t.Context(), account, m.UUID)
	wantCode(t, err, "ResourceInUseException", "Cannot delete the event source mapping because it is in use.")
	if err := st.close(); err != nil {
		t.Fatal(err)
	}

	tries := 0
	st = startIn(t, dir, Config{Poller: follower(func(context.Context, *eventsource.Mapping) error {
		if tries++; tries == 1 {
			return errors.New("the queue is away")
		}
		return nil
	})})
	st.waitMapping(t, m.UUID, eventsource.Enabled)
	if tries != 2 {
		t.Errorf("the poller was asked %d times", tries)
	}
	if _, err := st.DeleteMapping(t.Context(), account, m.UUID); err != nil {
		t.Fatal(err)
	}
	st.waitMapping(t, m.UUID, "")
}

// TestMappingsUnlike: of two equal mappings made at once there is one.
func TestMappingsUnlike(t *testing.T) {
	st := start(t, Config{})
	st.mustCreate(t, "hi", "x")
	const n = 8
	errs := make(chan error, n)
	for range n {
		go func() {
			_, err := st.CreateMapping(t.Context(), queueMapping("hi"))
			errs <- err
		}()
	}
	made := 0
	for range n {
		err := <-errs
		if err == nil {
			made++
			continue
		}
		wantCode(t, err, "ResourceConflictException", "")
	}
	if made != 1 {
		t.Errorf("%d equal mappings were made", made)
	}
}

// TestCodeSigningInUse: whatever the order, no function is left with a
// configuration that was deleted.
func TestCodeSigningInUse(t *testing.T) {
	st := start(t, Config{})
	st.mustCreate(t, "hi", "x")
	for range 10 {
		c, err := st.CreateCodeSigningConfig(t.Context(), &codesigning.Config{Account: account, Untrusted: codesigning.Warn})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { _ = st.SetCodeSigning(t.Context(), account, "hi", c.ARN()) })
		deleted := st.DeleteCodeSigningConfig(t.Context(), account, c.ID)
		wg.Wait()
		r, err := st.Get(t.Context(), account, "hi")
		if err != nil {
			t.Fatal(err)
		}
		if deleted == nil && r.CodeSigningConfig == c.ARN() {
			t.Fatalf("%s was deleted, and hi has it", c.ARN())
		}
	}
}
