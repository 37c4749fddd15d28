package stack_test

import (
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"hearth/internal/chunk"
	"hearth/internal/chunkstore/azcache"
	"hearth/internal/chunkstore/origin"
	"hearth/internal/chunkstore/stack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newKey(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "key")
	if err := azcache.NewKeyFile(name); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestValidate(t *testing.T) {
	key := newKey(t)
	for what, bad := range map[string]stack.Config{
		"a bucket that is none": {Origin: origin.Location{Bucket: "chunks"}},
		"a zone without a key":  {Zone: []string{"http://127.0.0.1:9400"}},
		"no such key":           {Zone: []string{"http://127.0.0.1:9400"}, ZoneKey: key + "x"},
		"a node that is none":   {Zone: []string{"127.0.0.1:9400"}, ZoneKey: key},
		"a negative size":       {DiskBytes: -1, CacheDir: "x"},
		"no directory":          {DiskBytes: 1},
	} {
		if err := bad.Validate(); err == nil {
			t.Errorf("%s was accepted", what)
		}
		if _, err := stack.New(bad, nil); err == nil {
			t.Errorf("a stack was made of %s", what)
		}
	}
}

// TestTiers opens all tiers, twice: what the first life has read is on this
// machine's disk and in the zone for the second.
func TestTiers(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	store, err := origin.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	extra := chunk.NewExtra(&chunk.Salt{Epoch: 1}, 1, "d")
	name, _, ciphertext := chunk.Seal(nil, extra, []byte("some"))
	ref := chunk.Ref{Root: 1, Name: name}
	if _, err := store.PutChunk(t.Context(), ref, ciphertext); err != nil {
		t.Fatal(err)
	}
	secret, err := azcache.LoadKey(key)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := stack.OpenCache(1<<20, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	node, err := azcache.NewServer(azcache.ServerConfig{Cache: kept.Cache, Keys: []azcache.Key{secret}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(node)
	defer server.Close()
	cfg := stack.Config{
		Origin: origin.Location{Dir: dir}, MemoryBytes: 1 << 20, CacheDir: filepath.Join(t.TempDir(), "cache"), DiskBytes: 1 << 20,
		Zone: []string{server.URL}, ZoneKey: key,
	}
	asked := 0
	for _, want := range []struct{ zone, disk int64 }{{}, {disk: 1}, {zone: 1}} {
		s, err := stack.New(cfg, func(from chunk.Source) (chunk.Source, error) { asked++; return from, nil })
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Open(); err != nil {
			t.Fatal(err)
		}
		other, err := stack.New(cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Open(); err == nil || !strings.Contains(err.Error(), "another process has it open") {
			t.Errorf("two have the cache open: %v", err)
		}
		if b, err := s.ReadChunk(t.Context(), ref); err != nil || string(b) != string(ciphertext) {
			t.Errorf("read: %q, %v", b, err)
		}
		stats := s.Stats()
		if stats.Zone.Hits != want.zone || stats.Disk.Hits != want.disk || stats.Origin.Hits != 1-want.zone-want.disk || stats.ZoneClient == nil {
			t.Errorf("%+v, want %+v", stats, want)
		}
		for node.Stats().Puts == 0 { // it is filled in the background
			if s.Stats().ZoneClient.FillsFailed > 0 {
				t.Fatal("the zone cannot be filled")
			}
			runtime.Gosched()
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if want.disk == 1 {
			if err := errors.Join(os.RemoveAll(cfg.CacheDir), store.DeleteRoot(t.Context(), 1)); err != nil {
				t.Error(err)
			}
		}
	}
	if asked != 3 {
		t.Errorf("the origin was wrapped %d times", asked)
	}
	if err := errors.Join(store.Close(), kept.Close()); err != nil {
		t.Error(err)
	}
}

// TestOpenFails leaves nothing open.
func TestOpenFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wrapped := errors.New("no")
	for what, c := range map[string]struct {
		cfg  stack.Config
		wrap func(chunk.Source) (chunk.Source, error)
	}{
		"no such directory": {cfg: stack.Config{Origin: origin.Location{Dir: file + "x"}}},
		"wrapping fails": {
			cfg:  stack.Config{Origin: origin.Location{Dir: t.TempDir()}},
			wrap: func(chunk.Source) (chunk.Source, error) { return nil, wrapped },
		},
		"the cache's directory is a file": {cfg: stack.Config{Origin: origin.Location{Dir: t.TempDir()}, CacheDir: file, DiskBytes: 1}},
	} {
		s, err := stack.New(c.cfg, c.wrap)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Open(); err == nil {
			t.Errorf("%s: opened", what)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: close: %v", what, err)
		}
	}
}
