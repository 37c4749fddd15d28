package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"hearth/internal/archive"
	"hearth/internal/catalog"
	"hearth/internal/function"
	"hearth/internal/objectstore"
	"hearth/internal/table"
)

func TestLifeOfAFunction(t *testing.T) {
	st := start(t, Config{})
	req := createRequest(t, "hi", "one")
	req.Tags = map[string]string{"k": "v"}
	created, err := st.Create(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if created.State != function.Pending || created.StateReasonCode != "Creating" || created.StateReason != "The function is being created." ||
		created.Serving != nil || created.LastUpdateStatus != "" || created.Tags["k"] != "v" {
		t.Fatalf("created: %+v", created)
	}
	active := st.wait(t, "hi", settled)
	if active.State != function.Active || active.StateReason != "" || active.Serving == nil || active.Generation != 1 ||
		active.LastUpdateStatus != function.UpdateSuccessful || active.RevisionID == created.RevisionID || !active.LastModified.Equal(created.LastModified) {
		t.Fatalf("active: %+v", active)
	}
	got, err := st.Get(t.Context(), account, "hi")
	if err != nil || got != active {
		t.Fatalf("get: %+v, %v", got, err)
	}
	if code := st.code(t, got); !bytes.Equal(code, req.Zip) {
		t.Fatalf("code: %d bytes, want %d", len(code), len(req.Zip))
	}
	if u, err := st.Usage(t.Context(), account); err != nil || u != (function.Usage{Functions: 1, CodeBytes: int64(len(req.Zip))}) {
		t.Errorf("usage: %+v, %v", u, err)
	}
	if err := st.Delete(t.Context(), account, "hi"); err != nil {
		t.Fatal(err)
	}
	_, err = st.Get(t.Context(), account, "hi")
	wantCode(t, err, "ResourceNotFoundException", "Function not found: arn:aws:lambda:us-east-1:000000000000:function:hi")
	st.Stop()
	st.wantObjects(t, 0)
}

func TestUpdates(t *testing.T) {
	st := start(t, Config{ObjectGrace: time.Hour})
	one := st.mustCreate(t, "hi", "one")
	two := zipOf(t, map[string]string{"app.py": "two"})
	updated, err := st.UpdateCode(t.Context(), function.CodeUpdate{Account: account, Name: "hi", Zip: two, Architecture: "arm64", RevisionID: one.RevisionID})
	if err != nil {
		t.Fatal(err)
	}
	if updated.State != function.Active || updated.LastUpdateStatus != function.UpdateInProgress || updated.LastUpdateStatusReasonCode != "Creating" ||
		updated.Serving.Code != one.Serving.Code || updated.Latest.Code == one.Latest.Code || updated.RevisionID == one.RevisionID {
		t.Fatalf("updated: %+v", updated)
	}
	served := st.wait(t, "hi", settled)
	if served.Generation != 2 || served.Serving.Code != updated.Latest.Code || served.Serving.Architecture != "arm64" ||
		served.LastUpdateStatus != function.UpdateSuccessful || served.LastUpdateStatusReason != "" || served.Key() == one.Key() {
		t.Fatalf("served: %+v", served)
	}
	if code := st.code(t, served); !bytes.Equal(code, two) {
		t.Errorf("code is not the new one")
	}
	st.wantObjects(t, 2) // the old one has its grace

	_, err = st.UpdateConfig(t.Context(), function.ConfigUpdate{Account: account, Name: "hi", Apply: func(c *function.Config) error {
		c.MemorySize = 512
		c.Environment = map[string]string{"A": "b"}
		c.Code = function.Code{Object: "somewhere/else"}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	served = st.wait(t, "hi", settled)
	if served.Generation != 3 || served.Serving.MemorySize != 512 || served.Serving.Code != updated.Latest.Code || !bytes.Contains(served.Serving.Sealed.Sealed, []byte(`{"A":"b"}`)) {
		t.Fatalf("configured: %+v", served.Serving)
	}
	refusal := errors.New("no")
	_, err = st.UpdateConfig(t.Context(), function.ConfigUpdate{Account: account, Name: "hi", Apply: func(*function.Config) error { return refusal }})
	if !errors.Is(err, refusal) {
		t.Errorf("got %v, want %v", err, refusal)
	}
	if now, err := st.Get(t.Context(), account, "hi"); err != nil || now != served {
		t.Errorf("a refused change changed something: %+v, %v", now, err)
	}
}

func TestRefusals(t *testing.T) {
	st := start(t, Config{})
	hi := st.mustCreate(t, "hi", "one")
	good := zipOf(t, map[string]string{"app.py": "two"})
	nothing := func(*function.Config) error { return nil }
	const missing = "Function not found: arn:aws:lambda:us-east-1:000000000000:function:nope"
	const stale = "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
	tests := []struct {
		name, code, message string
		call                func(ctx context.Context) error
	}{
		{"create again", "ResourceConflictException", "Function already exist: hi", func(ctx context.Context) error {
			_, err := st.Create(ctx, createRequest(t, "hi", "x"))
			return err
		}},
		{"create from nothing", "InvalidParameterValueException", "Uploaded file must be a non-empty zip", func(ctx context.Context) error {
			_, err := st.Create(ctx, function.CreateRequest{Account: account, Name: "new"})
			return err
		}},
		{"create from garbage", "InvalidParameterValueException", "", func(ctx context.Context) error {
			_, err := st.Create(ctx, function.CreateRequest{Account: account, Name: "new", Zip: []byte("garbage")})
			if err != nil && !strings.Contains(err.Error(), "Could not unzip uploaded file. Please check your file, then try to upload again.") {
				t.Errorf("words: %v", err)
			}
			return err
		}},
		{"update code of nothing", "ResourceNotFoundException", missing, func(ctx context.Context) error {
			_, err := st.UpdateCode(ctx, function.CodeUpdate{Account: account, Name: "nope", Zip: good})
			return err
		}},
		{"update config of nothing", "ResourceNotFoundException", missing, func(ctx context.Context) error {
			_, err := st.UpdateConfig(ctx, function.ConfigUpdate{Account: account, Name: "nope", Apply: nothing})
			return err
		}},
		{"delete nothing", "ResourceNotFoundException", missing, func(ctx context.Context) error { return st.Delete(ctx, account, "nope") }},
		{"tag nothing", "ResourceNotFoundException", missing, func(ctx context.Context) error { return st.Tag(ctx, account, "nope", nil) }},
		{"untag nothing", "ResourceNotFoundException", missing, func(ctx context.Context) error { return st.Untag(ctx, account, "nope", nil) }},
		{"another account", "ResourceNotFoundException", "", func(ctx context.Context) error { return st.Delete(ctx, "111111111111", "hi") }},
		{"stale code update", "PreconditionFailedException", stale, func(ctx context.Context) error {
			_, err := st.UpdateCode(ctx, function.CodeUpdate{Account: account, Name: "hi", Zip: good, RevisionID: "old"})
			return err
		}},
		{"stale config update", "PreconditionFailedException", stale, func(ctx context.Context) error {
			_, err := st.UpdateConfig(ctx, function.ConfigUpdate{Account: account, Name: "hi", Apply: nothing, RevisionID: "old"})
			return err
		}},
		{"bad code update", "InvalidParameterValueException", "", func(ctx context.Context) error {
			_, err := st.UpdateCode(ctx, function.CodeUpdate{Account: account, Name: "hi", Zip: []byte("x")})
			return err
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantCode(t, tt.call(t.Context()), tt.code, tt.message) })
	}
	if now, err := st.Get(t.Context(), account, "hi"); err != nil || now != hi {
		t.Errorf("a refused change changed something: %+v, %v", now, err)
	}
	st.wantObjects(t, 1)
}

func TestTooLargeUnpacked(t *testing.T) {
	st := start(t, Config{Limits: Limits{Archive: archive.Limits{Bytes: 100, Entries: 10}}})
	_, err := st.Create(t.Context(), createRequest(t, "hi", strings.Repeat("x", 100)))
	wantCode(t, err, "InvalidParameterValueException", "Unzipped size must be smaller than 100 bytes")
}

func TestBusyFunctionsRefuseUpdates(t *testing.T) {
	gate := make(chan struct{})
	st := start(t, Config{Preparer: preparer(func(ctx context.Context, _ *function.Record, _ *function.Config) error {
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})})
	if _, err := st.Create(t.Context(), createRequest(t, "hi", "one")); err != nil {
		t.Fatal(err)
	}
	code := function.CodeUpdate{Account: account, Name: "hi", Zip: zipOf(t, map[string]string{"app.py": "two"})}
	config := function.ConfigUpdate{Account: account, Name: "hi", Apply: func(*function.Config) error { return nil }}
	const pending = "The operation cannot be performed at this time. The function is currently in the following state: Pending"
	_, err := st.UpdateCode(t.Context(), code)
	wantCode(t, err, "ResourceConflictException", pending)
	_, err = st.UpdateConfig(t.Context(), config)
	wantCode(t, err, "ResourceConflictException", pending)
	gate <- struct{}{}
	st.wait(t, "hi", settled)
	if _, err := st.UpdateCode(t.Context(), code); err != nil {
		t.Fatal(err)
	}
	const busy = "The operation cannot be performed at this time. An update is in progress for resource: arn:aws:lambda:us-east-1:000000000000:function:hi"
	_, err = st.UpdateCode(t.Context(), code)
	wantCode(t, err, "ResourceConflictException", busy)
	_, err = st.UpdateConfig(t.Context(), config)
	wantCode(t, err, "ResourceConflictException", busy)
	// Tags are not part of what is prepared.
	if err := st.Tag(t.Context(), account, "hi", map[string]string{"a": "b"}); err != nil {
		t.Fatal(err)
	}
	gate <- struct{}{}
	if r := st.wait(t, "hi", settled); r.Generation != 2 || r.Tags["a"] != "b" {
		t.Errorf("after the update: %+v", r)
	}
	if err := st.Delete(t.Context(), account, "hi"); err != nil {
		t.Fatal(err)
	}
}

func TestFailedPreparation(t *testing.T) {
	var failure atomic.Pointer[error]
	set := func(err error) { failure.Store(&err) }
	st := start(t, Config{Preparer: preparer(func(context.Context, *function.Record, *function.Config) error { return *failure.Load() })})
	set(&PrepareError{Code: "InvalidRuntime", Reason: "no such runtime"})
	if _, err := st.Create(t.Context(), createRequest(t, "hi", "one")); err != nil {
		t.Fatal(err)
	}
	r := st.wait(t, "hi", settled)
	if r.State != function.Failed || r.StateReasonCode != "InvalidRuntime" || r.StateReason != "no such runtime" || r.Serving != nil || r.Generation != 0 {
		t.Fatalf("failed: %+v", r)
	}
	// A failed function can be mended by an update.
	set(nil)
	update := function.ConfigUpdate{Account: account, Name: "hi", Apply: func(c *function.Config) error { c.Runtime = "nodejs20.x"; return nil }}
	if _, err := st.UpdateConfig(t.Context(), update); err != nil {
		t.Fatal(err)
	}
	mended := st.wait(t, "hi", settled)
	if mended.State != function.Active || mended.StateReason != "" || mended.Serving.Runtime != "nodejs20.x" {
		t.Fatalf("mended: %+v", mended)
	}
	// An update that fails leaves what serves alone, and hides the inner error.
	set(errors.New("secret path /var/x"))
	if _, err := st.UpdateCode(t.Context(), function.CodeUpdate{Account: account, Name: "hi", Zip: zipOf(t, map[string]string{"b": "2"})}); err != nil {
		t.Fatal(err)
	}
	r = st.wait(t, "hi", settled)
	if r.State != function.Active || r.LastUpdateStatus != function.UpdateFailed || r.LastUpdateStatusReasonCode != "InternalError" ||
		strings.Contains(r.LastUpdateStatusReason, "secret") || r.Serving.Code != mended.Serving.Code || r.Generation != mended.Generation ||
		r.Latest.Code == mended.Latest.Code {
		t.Fatalf("after a failed update: %+v", r)
	}
	set(nil)
	if _, err := st.UpdateCode(t.Context(), function.CodeUpdate{Account: account, Name: "hi", Zip: zipOf(t, map[string]string{"b": "3"})}); err != nil {
		t.Fatal(err)
	}
	st.wait(t, "hi", settled)
}

func TestDryRunChangesNothing(t *testing.T) {
	st := start(t, Config{})
	req := createRequest(t, "hi", "one")
	req.DryRun = true
	r, err := st.Create(t.Context(), req)
	if err != nil || r.Latest.Code.SHA256 == "" {
		t.Fatalf("dry create: %+v, %v", r, err)
	}
	if _, err := st.Get(t.Context(), account, "hi"); err == nil {
		t.Error("a dry run created the function")
	}
	hi := st.mustCreate(t, "hi", "one")
	update := function.CodeUpdate{Account: account, Name: "hi", Zip: zipOf(t, map[string]string{"app.py": "two"}), DryRun: true}
	r, err = st.UpdateCode(t.Context(), update)
	if err != nil || r.Latest.Code.SHA256 == hi.Latest.Code.SHA256 || r.LastUpdateStatus != function.UpdateSuccessful || r.RevisionID != hi.RevisionID {
		t.Fatalf("dry update: %+v, %v", r, err)
	}
	update.RevisionID = "stale"
	_, err = st.UpdateCode(t.Context(), update)
	wantCode(t, err, "PreconditionFailedException", "")
	if now, err := st.Get(t.Context(), account, "hi"); err != nil || now != hi {
		t.Errorf("a dry run changed something: %+v, %v", now, err)
	}
	st.wantObjects(t, 1)
}

func TestTags(t *testing.T) {
	st := start(t, Config{})
	hi := st.mustCreate(t, "hi", "one")
	if err := st.Tag(t.Context(), account, "hi", map[string]string{"a": "1", "b": "2"}); err != nil {
		t.Fatal(err)
	}
	if err := st.Tag(t.Context(), account, "hi", map[string]string{"b": "3"}); err != nil {
		t.Fatal(err)
	}
	if err := st.Untag(t.Context(), account, "hi", []string{"a", "none"}); err != nil {
		t.Fatal(err)
	}
	r, err := st.Get(t.Context(), account, "hi")
	if err != nil || len(r.Tags) != 1 || r.Tags["b"] != "3" || r.RevisionID == hi.RevisionID || r.Generation != hi.Generation {
		t.Errorf("tags: %+v, %v", r, err)
	}
	many := make(map[string]string)
	for i := range maxTags {
		many[fmt.Sprint(i)] = ""
	}
	wantCode(t, st.Tag(t.Context(), account, "hi", many), "InvalidParameterValueException", "Number of tags exceeds resource tag limit.")
	delete(many, "0")
	if err := st.Tag(t.Context(), account, "hi", many); err != nil {
		t.Error(err)
	}
}

func TestList(t *testing.T) {
	st := start(t, Config{})
	for _, name := range []string{"c", "a", "b"} {
		st.mustCreate(t, name, "x")
	}
	for _, tt := range []struct {
		after      string
		limit      int
		want, next string
	}{{"", 50, "a b c", ""}, {"", 2, "a b", "b"}, {"b", 2, "c", ""}, {"", 3, "a b c", ""}, {"c", 1, "", ""}} {
		records, next, err := st.List(t.Context(), account, tt.after, tt.limit)
		var names []string
		for _, r := range records {
			names = append(names, r.Name)
		}
		if got := strings.Join(names, " "); err != nil || got != tt.want || next != tt.next {
			t.Errorf("after %q, %d: got %q, %q, %v", tt.after, tt.limit, got, next, err)
		}
	}
	if _, _, err := st.List(t.Context(), account, "", 0); err == nil {
		t.Error("a list of none was given")
	}
}

func TestQuotasHoldUnderConcurrency(t *testing.T) {
	size := int64(len(createRequest(t, "f0", "x").Zip))
	st := start(t, Config{Limits: Limits{CodeBytes: 5 * size}})
	var made atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			_, err := st.Create(t.Context(), createRequest(t, fmt.Sprint("f", i), "x"))
			if err == nil {
				made.Add(1)
				return
			}
			wantCode(t, err, "CodeStorageExceededException", "Code storage limit exceeded.")
		})
	}
	wg.Wait()
	if made.Load() != 5 {
		t.Errorf("%d functions were made, room for 5", made.Load())
	}
	st.wantObjects(t, 5)
	if len(st.quota.reserved) != 0 {
		t.Errorf("quota is still reserved: %v", st.quota.reserved)
	}
}

func TestFunctionQuota(t *testing.T) {
	st := start(t, Config{Limits: Limits{Functions: 1}})
	st.mustCreate(t, "a", "x")
	_, err := st.Create(t.Context(), createRequest(t, "b", "x"))
	wantCode(t, err, "ServiceQuotaExceededException", "")
}

// fullStore is an object store without room.
type fullStore struct{ objectstore.Store }

func (fullStore) Put(context.Context, string, io.Reader) error {
	return errors.Join(objectstore.ErrFull, syscall.ENOSPC)
}

func TestFullDiskIsAClearError(t *testing.T) {
	dir := t.TempDir()
	objects, err := objectstore.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = objects.Close() }()
	st := startIn(t, dir, Config{Objects: fullStore{objects}})
	_, err = st.Create(t.Context(), createRequest(t, "hi", "x"))
	wantCode(t, err, "ServiceException", "Hearth's disk is full; nothing was changed. Free some space where its data directory is, then try again.")
	if _, err := st.Get(t.Context(), account, "hi"); err == nil {
		t.Error("a function without code exists")
	}
}

func TestOldCodeGoesAfterItsGrace(t *testing.T) {
	st := start(t, Config{ObjectGrace: 300 * time.Millisecond})
	hi := st.mustCreate(t, "hi", "one")
	update := function.CodeUpdate{Account: account, Name: "hi", Zip: zipOf(t, map[string]string{"app.py": "two"})}
	if _, err := st.UpdateCode(t.Context(), update); err != nil {
		t.Fatal(err)
	}
	st.wait(t, "hi", settled)
	if f, _, err := st.objects.Open(t.Context(), hi.Serving.Code.Object); err != nil {
		t.Errorf("the old code is gone at once: %v", err)
	} else if err := f.Close(); err != nil {
		t.Error(err)
	}
	deadline := time.After(10 * time.Second)
	for {
		_, _, err := st.objects.Open(t.Context(), hi.Serving.Code.Object)
		if errors.Is(err, objectstore.ErrNotFound) {
			break
		}
		select {
		case <-deadline:
			t.Fatal("the old code stayed")
		case <-time.After(10 * time.Millisecond):
		}
	}
	st.wantObjects(t, 1)
}

func TestStartTakesUpWhatACrashInterrupted(t *testing.T) {
	dir := t.TempDir()
	started := make(chan struct{}, 10)
	never := preparer(func(ctx context.Context, _ *function.Record, _ *function.Config) error {
		started <- struct{}{}
		<-ctx.Done()
		return context.Cause(ctx)
	})
	st := startIn(t, dir, Config{Preparer: never})
	if _, err := st.Create(t.Context(), createRequest(t, "hi", "one")); err != nil {
		t.Fatal(err)
	}
	<-started
	if err := st.objects.Put(t.Context(), objectKey(account, "orphan", source{}), strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if err := st.close(); err != nil {
		t.Fatal(err)
	}
	st = startIn(t, dir, Config{})
	r := st.wait(t, "hi", settled)
	if r.State != function.Active {
		t.Fatalf("after the restart: %+v", r)
	}
	st.wantObjects(t, 1)
}

func TestUnreadableRecordsKeepTheirCode(t *testing.T) {
	dir := t.TempDir()
	st := startIn(t, dir, Config{})
	hi := st.mustCreate(t, "hi", "one")
	if _, err := st.etcd.Client().Put(t.Context(), st.catalog.Functions.Path(table.Key{Account: account, Name: "hi"}), `{"version":99}`); err != nil {
		t.Fatal(err)
	}
	if err := st.close(); err != nil {
		t.Fatal(err)
	}
	st = startIn(t, dir, Config{})
	f, _, err := st.objects.Open(t.Context(), hi.Latest.Code.Object)
	if err != nil {
		t.Fatalf("the code of a function of a newer version was deleted: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	// Nor can it be overwritten by mistake.
	if _, err := st.Create(t.Context(), createRequest(t, "hi", "x")); err == nil {
		t.Error("an unreadable function was created again")
	}
}

// TestWithoutEtcd has the store go away under the control plane.
func TestWithoutEtcd(t *testing.T) {
	st := startOf(t, t.TempDir(), Config{}, catalog.Config{WriteTimeout: 100 * time.Millisecond})
	hi := st.mustCreate(t, "hi", "one")
	st.etcd.Stop()
	if got, err := st.Get(t.Context(), account, "hi"); err != nil || got != hi {
		t.Errorf("get: %v, %v", got, err)
	}
	if err := st.Delete(t.Context(), account, "hi"); err == nil {
		t.Error("a delete was acknowledged without a store")
	}
	if _, err := st.Create(t.Context(), createRequest(t, "new", "x")); err == nil {
		t.Error("a create was acknowledged without a store")
	}
}
