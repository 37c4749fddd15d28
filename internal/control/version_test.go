package control

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"hearth/internal/function"
)

func (st *stack) publish(t *testing.T, name string) *function.Record {
	t.Helper()
	v, err := st.Publish(t.Context(), function.PublishRequest{Account: account, Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// updateCode gives a function new code and waits until it serves.
func (st *stack) updateCode(t *testing.T, name, body string) *function.Record {
	t.Helper()
	zip := zipOf(t, map[string]string{"app.py": body})
	r, err := st.UpdateCode(t.Context(), function.CodeUpdate{Account: account, Name: name, Zip: zip})
	if err != nil {
		t.Fatal(err)
	}
	return st.wait(t, name, func(now *function.Record) bool { return settled(now) && now.Latest.Code == r.Latest.Code })
}

func TestPublish(t *testing.T) {
	st := start(t, Config{})
	hi := st.mustCreate(t, "hi", "one")
	one := st.publish(t, "hi")
	if one.Version != "1" || one.State != function.Active || one.Serving == nil || one.UID == hi.UID || one.Latest.Code != hi.Latest.Code {
		t.Errorf("version 1: %+v", one)
	}
	if again := st.publish(t, "hi"); again.UID != one.UID {
		t.Errorf("publishing the same again made %+v", again)
	}
	latest := st.updateCode(t, "hi", "two")
	if latest.RevisionID == hi.RevisionID {
		t.Error("the revision id stayed")
	}
	description := "the second"
	two, err := st.Publish(t.Context(), function.PublishRequest{Account: account, Name: "hi", Description: &description})
	if err != nil || two.Version != "2" || two.Latest.Description != description {
		t.Errorf("version 2: %+v, %v", two, err)
	}
	if got := st.code(t, one); string(got) == string(st.code(t, two)) {
		t.Error("both versions have the same code")
	}
	list, next, err := st.Versions(t.Context(), account, "hi", "", 1)
	if err != nil || len(list) != 1 || list[0].UID != one.UID || next != "1" {
		t.Errorf("first page: %v, next %q, %v", list, next, err)
	}
	list, next, err = st.Versions(t.Context(), account, "hi", next, 1)
	if err != nil || len(list) != 1 || list[0].Version != "2" || next != "" {
		t.Errorf("second page: %v, next %q, %v", list, next, err)
	}
}

func TestPublishRefuses(t *testing.T) {
	hold := make(chan struct{})
	st := start(t, Config{Preparer: preparer(func(ctx context.Context, r *function.Record, _ *function.Config) error {
		if r.Name == "slow" {
			<-hold
		}
		return ctx.Err()
	})})
	defer close(hold)
	hi := st.mustCreate(t, "hi", "one")
	if _, err := st.Create(t.Context(), createRequest(t, "slow", "x")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		req           function.PublishRequest
		code, message string
	}{
		{function.PublishRequest{Name: "no"}, "ResourceNotFoundException", "Function not found: arn:aws:lambda:us-east-1:000000000000:function:no"},
		{function.PublishRequest{Name: "hi", CodeSHA256: "x"}, "InvalidParameterValueException",
			"CodeSHA256 (x) is different from current CodeSHA256 in $LATEST (" + hi.Latest.Code.SHA256 + "). Please try again with the CodeSHA256 in $LATEST."},
		{function.PublishRequest{Name: "hi", RevisionID: "x"}, "PreconditionFailedException", ""},
		{function.PublishRequest{Name: "slow"}, "ResourceConflictException", ""},
	} {
		tt.req.Account = account
		_, err := st.Publish(t.Context(), tt.req)
		wantCode(t, err, tt.code, tt.message)
	}
}

// TestVersionsKeepTheirCode updates a function after publishing: the version's
// archive stays as long as the version does, and not longer.
func TestVersionsKeepTheirCode(t *testing.T) {
	dir := t.TempDir()
	st := startIn(t, dir, Config{ObjectGrace: 1})
	st.mustCreate(t, "hi", "one")
	one := st.publish(t, "hi")
	for range 5 {
		st.updateCode(t, "hi", "two")
		st.updateCode(t, "hi", "three")
	}
	if err := st.close(); err != nil { // deletes what is due
		t.Fatal(err)
	}
	st = startIn(t, dir, Config{ObjectGrace: 1})
	st.code(t, one)
	st.wantObjects(t, 2)
	if err := st.DeleteVersion(t.Context(), account, "hi", "1"); err != nil {
		t.Fatal(err)
	}
	if err := st.DeleteVersion(t.Context(), account, "hi", "1"); err != nil {
		t.Errorf("deleting it again: %v", err)
	}
	if two := st.publish(t, "hi"); two.Version != "2" {
		t.Errorf("the number of a deleted version was used again: %s", two.Version)
	}
	if err := st.Delete(t.Context(), account, "hi"); err != nil {
		t.Fatal(err)
	}
	if all := st.catalog.All(); len(all) != 0 {
		t.Errorf("left: %v", all)
	}
	if err := st.close(); err != nil {
		t.Fatal(err)
	}
	st = startIn(t, dir, Config{})
	st.wantObjects(t, 0)
}

// TestPublishAtOnce creates and updates with Publish: the version is prepared
// by itself.
func TestPublishAtOnce(t *testing.T) {
	st := start(t, Config{})
	req := createRequest(t, "hi", "one")
	req.Publish = true
	one, err := st.Create(t.Context(), req)
	if err != nil || one.Version != "1" || one.State != function.Pending {
		t.Fatalf("version 1: %+v, %v", one, err)
	}
	active := func(version string) func(*function.Record) bool {
		return func(r *function.Record) bool {
			return r.Version == version && r.State == function.Active && r.Serving != nil
		}
	}
	st.wait(t, "hi", active("1"))
	st.wait(t, "hi", active(""))
	two, err := st.UpdateCode(t.Context(), function.CodeUpdate{
		Account: account, Name: "hi", Zip: zipOf(t, map[string]string{"app.py": "two"}), Publish: true,
	})
	if err != nil || two.Version != "2" {
		t.Fatalf("version 2: %+v, %v", two, err)
	}
	st.wait(t, "hi", active("2"))
	st.wait(t, "hi", func(r *function.Record) bool { return r.Version == "" && settled(r) })
	same, err := st.UpdateCode(t.Context(), function.CodeUpdate{
		Account: account, Name: "hi", Zip: zipOf(t, map[string]string{"app.py": "two"}), Publish: true,
	})
	if err != nil || same.Version != "2" {
		t.Errorf("publishing the same code again: %+v, %v", same, err)
	}
}

func TestAliases(t *testing.T) {
	st := start(t, Config{})
	hi := st.mustCreate(t, "hi", "one")
	st.publish(t, "hi")
	st.updateCode(t, "hi", "two")
	st.publish(t, "hi")
	latest, _ := st.catalog.Lookup(account, "hi")

	live, err := st.CreateAlias(t.Context(), account, "hi", function.Alias{Name: "live", Version: "1"})
	if err != nil || live.RevisionID == "" {
		t.Fatalf("create: %+v, %v", live, err)
	}
	weights := map[string]float64{"2": 0.1}
	changed, err := st.UpdateAlias(t.Context(), account, "hi", function.AliasUpdate{Name: "live", RevisionID: live.RevisionID, Weights: &weights})
	if err != nil || changed.Weights["2"] != 0.1 || changed.Version != "1" || changed.RevisionID == live.RevisionID {
		t.Errorf("update: %+v, %v", changed, err)
	}
	if now, _ := st.catalog.Lookup(account, "hi"); now.RevisionID != latest.RevisionID {
		t.Error("an alias changed the function's revision id")
	}
	if r, err := st.Resolve(t.Context(), account, "hi", "live"); err != nil || r.Version != "1" {
		t.Errorf("resolved to %+v, %v", r, err)
	}
	for _, version := range []string{"1", "2"} {
		wantCode(t, st.DeleteVersion(t.Context(), account, "hi", version), "ResourceConflictException", "")
	}
	wantAliasErrors(t, st, hi)
	for range 2 {
		if err := st.DeleteAlias(t.Context(), account, "hi", "live"); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	_, err = st.Alias(t.Context(), account, "hi", "live")
	wantCode(t, err, "ResourceNotFoundException", "Cannot find alias arn: "+hi.ARN()+":live")
}

func wantAliasErrors(t *testing.T, st *stack, hi *function.Record) {
	t.Helper()
	_, err := st.UpdateAlias(t.Context(), account, "hi", function.AliasUpdate{Name: "live", RevisionID: "stale"})
	wantCode(t, err, "PreconditionFailedException", "")
	for _, tt := range []struct {
		alias         function.Alias
		code, message string
	}{
		{function.Alias{Name: "live", Version: "1"}, "ResourceConflictException", "Alias already exists: " + hi.ARN() + ":live"},
		{function.Alias{Name: "x", Version: "7"}, "ResourceNotFoundException", "Function not found: " + hi.ARN() + ":7"},
		{function.Alias{Name: "x", Version: "1", Weights: map[string]float64{"7": .5}}, "ResourceNotFoundException", "Function not found: " + hi.ARN() + ":7"},
		{function.Alias{Name: "x", Version: "1", Weights: map[string]float64{"1": .5}}, "InvalidParameterValueException",
			"Invalid function version 1. Function version 1 is already included in routing configuration."},
		{function.Alias{Name: "x", Version: "$LATEST", Weights: map[string]float64{"1": .5}}, "InvalidParameterValueException",
			"$LATEST is not supported for an alias pointing to more than 1 version"},
		{function.Alias{Name: "x", Version: "1", Weights: map[string]float64{"2": .5, "3": .1}}, "InvalidParameterValueException", ""},
	} {
		_, err := st.CreateAlias(t.Context(), account, "hi", tt.alias)
		wantCode(t, err, tt.code, tt.message)
	}
}

// TestAliasesPointToWhatExists creates aliases to versions that are being
// deleted: either the version goes or the alias comes, never both.
func TestAliasesPointToWhatExists(t *testing.T) {
	st := start(t, Config{})
	st.mustCreate(t, "hi", "one")
	for round := range 10 {
		st.updateCode(t, "hi", strings.Repeat("x", round+1))
		v := st.publish(t, "hi").Version
		var deleted, created error
		var wg sync.WaitGroup
		wg.Go(func() { deleted = st.DeleteVersion(t.Context(), account, "hi", v) })
		wg.Go(func() {
			_, created = st.CreateAlias(t.Context(), account, "hi", function.Alias{Name: "a" + v, Version: v})
		})
		wg.Wait()
		if (deleted == nil) == (created == nil) {
			t.Errorf("version %s: deleted %v, alias %v", v, deleted, created)
		}
		for _, err := range []error{deleted, created} {
			if err != nil {
				var codes []string
				for _, code := range []string{"ResourceConflictException", "ResourceNotFoundException"} {
					if strings.Contains(err.Error(), code) {
						codes = append(codes, code)
					}
				}
				if errors.Is(err, context.Canceled) || slices.Equal(codes, nil) {
					t.Errorf("version %s: %v", v, err)
				}
			}
		}
	}
}
