package control

import (
	"regexp"
	"sync"
	"testing"

	"hearth/internal/awserr"
	"hearth/internal/function"
)

func TestURLIDs(t *testing.T) {
	seen := map[string]bool{}
	letters := map[rune]bool{}
	for range 1000 {
		id := newURLID()
		if !regexp.MustCompile(`^[a-z0-9]{32}$`).MatchString(id) || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
		for _, c := range id {
			letters[c] = true
		}
	}
	if len(letters) != 36 {
		t.Errorf("%d letters are in use, want 36", len(letters))
	}
}

// TestURLIndex follows a URL from its creation over a restart to the end of its
// function.
func TestURLIndex(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	st := startIn(t, dir, Config{})
	st.mustCreate(t, "hi", "x")
	u, err := st.CreateURL(ctx, account, "hi", function.LatestVersion, function.URL{AuthType: function.AuthNone})
	if err != nil {
		t.Fatal(err)
	}
	found := func(st *stack, id string) bool {
		r, qualifier, ok := st.catalog.URL(id)
		return ok && r.Name == "hi" && qualifier == function.LatestVersion
	}
	if !found(st, u.ID) || found(st, newURLID()) {
		t.Error("a new URL is not found, or another is")
	}
	if err := st.close(); err != nil {
		t.Fatal(err)
	}
	st = startIn(t, dir, Config{})
	if !found(st, u.ID) {
		t.Error("a URL is not found after a restart")
	}
	if err := st.DeleteURL(ctx, account, "hi", function.LatestVersion); err != nil || found(st, u.ID) {
		t.Errorf("a deleted URL is found: %v", err)
	}
	again, err := st.CreateURL(ctx, account, "hi", function.LatestVersion, function.URL{AuthType: function.AuthNone})
	if err != nil || !found(st, again.ID) || found(st, u.ID) {
		t.Errorf("the second URL: %v", err)
	}
	if err := st.Delete(ctx, account, "hi"); err != nil || found(st, again.ID) {
		t.Errorf("a deleted function's URL is found: %v", err)
	}
}

// TestURLsAreCreatedOnce has many create the same URL at once.
func TestURLsAreCreatedOnce(t *testing.T) {
	st := start(t, Config{})
	st.mustCreate(t, "hi", "x")
	const n = 8
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			_, errs[i] = st.CreateURL(t.Context(), account, "hi", function.LatestVersion, function.URL{AuthType: function.AuthNone})
		})
	}
	wg.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
		} else if e, ok := awserr.As(err); !ok || e.Code != "ResourceConflictException" {
			t.Errorf("got %v, want ResourceConflictException", err)
		}
	}
	if made != 1 {
		t.Errorf("%d URLs were made, want 1", made)
	}
}
