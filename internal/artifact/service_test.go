package artifact_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"hearth/internal/artifact"
	"hearth/internal/chunk"
	"hearth/internal/chunkstore/origin"
	"hearth/internal/flatten"
	"hearth/internal/volume"
)

// TestBuiltOnce has many ask for a volume while it is being built; some of them
// leave.
func TestBuiltOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startWith(t, plainKeys{})
		b.put(t, "code/f.zip", zipOf(t, "app.py", "code"))
		var builds atomic.Int32
		gate := make(chan struct{})
		b.begin = func() {
			builds.Add(1)
			<-gate
		}
		ref := artifact.Ref{Account: account, Object: "code/f.zip"}
		impatient, leave := context.WithCancelCause(t.Context())
		why := errors.New("no longer wanted")
		var ids [16]volume.ID
		var wg sync.WaitGroup
		for i := range ids {
			wg.Go(func() {
				if i%4 == 0 { // the first among them: whose build it is
					if _, err := b.Find(impatient, ref, nil); !errors.Is(err, why) {
						t.Errorf("who left got %v, want %v", err, why)
					}
					return
				}
				v, err := b.Find(t.Context(), ref, nil)
				if err != nil {
					t.Error(err)
					return
				}
				ids[i] = v.Manifest.ID
			})
			synctest.Wait()
		}
		leave(why)
		synctest.Wait()
		if got := builds.Load(); got != 1 {
			t.Errorf("%d builds at once, want 1", got)
		}
		close(gate)
		wg.Wait()
		b.find(t, ref)
		if got := builds.Load(); got != 1 {
			t.Errorf("%d builds, want 1", got)
		}
		for i, id := range ids {
			if i%4 != 0 && id != ids[1] {
				t.Errorf("caller %d got volume %s, another %s", i, id, ids[1])
			}
		}
	})
}

func TestStopEndsBuilds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startWith(t, plainKeys{})
		b.put(t, "code/f.zip", zipOf(t, "app.py", "code"))
		b.begin = b.Stop // as late as it can be before anything is stored
		if v, err := b.Find(t.Context(), artifact.Ref{Account: account, Object: "code/f.zip"}, nil); err == nil {
			t.Errorf("got %v, want an error: the service was stopped", v)
		}
		if files := b.files(t, "objects/objects"); len(files) != 1 {
			t.Errorf("there is more than the archive: %v", files)
		}
	})
}

// TestCrashBeforeManifest ends builds when the chunks are stored: nobody can
// see a volume, and the next who asks has it.
func TestCrashBeforeManifest(t *testing.T) {
	b := startWith(t, plainKeys{})
	b.put(t, "code/f.zip", zipOf(t, "app.py", "code"))
	b.addImage(t, "image")
	refs := []artifact.Ref{{Account: account, Object: "code/f.zip"}, {Account: account, Object: "code/image", Image: "image"}}
	crash := errors.New("crash")
	b.broken = func(key string) error {
		if strings.HasSuffix(key, "/manifest") {
			return crash
		}
		return nil
	}
	for _, ref := range refs {
		if v, err := b.Find(t.Context(), ref, nil); !errors.Is(err, crash) {
			t.Errorf("%s: got %v, %v, want the crash", ref.Object, v, err)
		}
	}
	for _, file := range b.files(t, "objects/objects") {
		if filepath.Base(file) == "manifest" {
			t.Errorf("visible: %s", file)
		}
	}
	b.broken = nil
	for _, ref := range refs {
		b.find(t, ref)
	}
}

// TestChunksBeforeManifest looks for the chunks of a manifest in the moment in
// which it becomes visible.
func TestChunksBeforeManifest(t *testing.T) {
	b := startWith(t, plainKeys{})
	b.put(t, "code/f.zip", zipOf(t, "app.py", strings.Repeat("code", 1<<18), "b", "more"))
	looked := false
	b.broken = func(key string) error {
		looked = looked || strings.HasSuffix(key, "/manifest")
		if stored := b.files(t, "chunks/"+root.String()); len(stored) < 2 {
			t.Errorf("%s: there are only chunks %v", key, stored)
		}
		return nil
	}
	v := b.find(t, artifact.Ref{Account: account, Object: "code/f.zip"})
	if !looked {
		t.Error("no manifest was written: the test shows nothing")
	}
	chunks, err := origin.AttachDir(filepath.Join(b.data, "chunks"))
	if err != nil {
		t.Fatal(err)
	}
	defer chunks.Close()
	for _, name := range names(v) {
		if _, err := chunks.ReadChunk(t.Context(), chunk.Ref{Root: root, Name: name}); err != nil {
			t.Error(err)
		}
	}
}

// TestSharing compares the chunks of equal content.
func TestSharing(t *testing.T) {
	b := startWith(t, plainKeys{})
	content := zipOf(t, "app.py", strings.Repeat("the same code\n", 1<<16))
	b.put(t, "code/mine.zip", content)
	b.put(t, "code/again.zip", content)
	b.put(t, "code/theirs.zip", content)
	mine := b.find(t, artifact.Ref{Account: account, Object: "code/mine.zip"})
	again := b.find(t, artifact.Ref{Account: account, Object: "code/again.zip"})
	theirs := b.find(t, artifact.Ref{Account: other, Object: "code/theirs.zip"})
	if len(names(mine)) < 2 || !slices.Equal(names(mine), names(again)) {
		t.Errorf("one account's chunks differ:\n%v\n%v", names(mine), names(again))
	}
	for _, name := range names(theirs) {
		if slices.Contains(names(mine), name) {
			t.Errorf("two accounts share chunk %s", name)
		}
	}
	if mine.Manifest.ID == theirs.Manifest.ID {
		t.Error("the id of the volume tells that two accounts have the same code")
	}

	system := filepath.Join(t.TempDir(), "runtime")
	if err := os.WriteFile(system, bytes.Repeat([]byte("runtime "), 1<<14), 0o600); err != nil {
		t.Fatal(err)
	}
	one := b.find(t, artifact.Ref{Account: account, Object: "runtimes/a", File: system})
	two := b.find(t, artifact.Ref{Account: other, Object: "runtimes/b", File: system})
	if !slices.Equal(names(one), names(two)) {
		t.Error("accounts do not share the chunks of a managed runtime")
	}
}

func TestLoadSalt(t *testing.T) {
	client, ring := keys(t)
	var salts [4]chunk.Salt
	var wg sync.WaitGroup
	for i := range salts {
		wg.Go(func() {
			var err error
			if salts[i], err = artifact.LoadSalt(t.Context(), client, ring, account); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range salts {
		if s != salts[0] || s.Secret == [32]byte{} || s.Epoch != 1 {
			t.Fatal("salts differ, or are of zeros")
		}
	}
	answer, err := client.Get(t.Context(), "hearth/chunk-salt/1")
	if err != nil || len(answer.Kvs) != 1 {
		t.Fatalf("%v, %v", answer, err)
	}
	if bytes.Contains(answer.Kvs[0].Value, salts[0].Secret[:]) {
		t.Error("the salt is stored in the clear")
	}
	if _, err := client.Put(t.Context(), "hearth/chunk-salt/1", "damaged"); err != nil {
		t.Fatal(err)
	}
	if s, err := artifact.LoadSalt(t.Context(), client, ring, account); err == nil {
		t.Errorf("a damaged salt was loaded: %v", s.Epoch)
	}
}

// TestProgress looks how far a build is, while it reads and when all is stored,
// and what is known of it afterwards: the second of two alike stores nothing.
func TestProgress(t *testing.T) {
	b := start(t)
	b.images["x"] = &artifact.Image{Layers: []flatten.Layer{layer(t, tar.Header{Typeflag: tar.TypeDir, Name: "bin", Mode: 0o755})}, Size: 4 << 20}
	var seen []string
	look := func(object string) {
		p, ok := b.Progress(object)
		if !ok {
			t.Errorf("%s is not being built", object)
		}
		seen = append(seen, p.String())
	}
	for i, object := range []string{"code/000000000000/first.image", "code/000000000000/second.image"} {
		seen = nil
		b.begin = func() { look(object) }
		b.broken = func(key string) error {
			if strings.HasSuffix(key, "/manifest") {
				look(object)
			}
			return nil
		}
		if _, ok := b.Progress(object); ok {
			t.Error("a build that has not begun is told of")
		}
		v := b.find(t, artifact.Ref{Account: account, Object: object, Image: "x"})
		if _, ok := b.Progress(object); ok {
			t.Error("a build that has ended is told of")
		}
		stored := v.Manifest.Size
		if i > 0 {
			stored = 0
		}
		size := fmt.Sprintf("%.1f MB", float64(v.Manifest.Size)/(1<<20))
		want := []string{
			"2.0 MB of the image's 4.0 MB are read.",
			fmt.Sprintf("%s of %s are done: %.1f MB stored, the rest was known or empty.", size, size, float64(stored)/(1<<20)),
		}
		if !slices.Equal(seen, want) {
			t.Errorf("seen %q\nwant %q", seen, want)
		}
		info, err := b.Inspect(t.Context(), object)
		if err != nil || info.Built == nil || info.Built.Chunks != info.Unique || (info.Built.Stored == 0) != (i > 0) || (info.Built.StoredBytes == 0) != (i > 0) {
			t.Errorf("%+v, %v", info, err)
		}
	}
}
