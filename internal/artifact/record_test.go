package artifact_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"hearth/internal/artifact"
	"hearth/internal/objectstore"
	"hearth/internal/volume"
)

// TestCopiedManifest moves manifests to where they do not belong.
func TestCopiedManifest(t *testing.T) {
	b := start(t)
	b.put(t, "code/mine.zip", zipOf(t, "app.py", "mine"))
	b.put(t, "code/other.zip", zipOf(t, "app.py", "other"))
	mine := artifact.Ref{Account: account, Object: "code/mine.zip"}
	b.find(t, mine)
	b.copy(t, "manifest", "code/mine.zip", "code/other.zip")
	for _, ref := range []artifact.Ref{{Account: account, Object: "code/other.zip"}, {Account: other, Object: "code/mine.zip"}} {
		v, err := b.Find(t.Context(), ref, nil)
		if !errors.Is(err, volume.ErrRefused) {
			t.Errorf("%v: got %v, %v, want volume.ErrRefused", ref, v, err)
		} else if !strings.Contains(err.Error(), "update the function's code") {
			t.Errorf("the error does not say what to do: %v", err)
		}
	}
	b.find(t, mine)
}

// TestCopiedImage moves what an image says itself to another image.
func TestCopiedImage(t *testing.T) {
	b := start(t)
	b.addImage(t, "image")
	mine := artifact.Ref{Account: account, Object: "code/mine", Image: "image"}
	theirs := artifact.Ref{Account: account, Object: "code/theirs", Image: "image"}
	if v := b.find(t, mine); v.Image == nil || v.Image.Env[0] != "PASSWORD="+secret {
		t.Errorf("got %v, want the image's configuration", v.Image)
	}
	b.find(t, theirs)
	b.copy(t, "image", mine.Object, theirs.Object)
	if v, err := b.Find(t.Context(), theirs, nil); err == nil {
		t.Errorf("got %v, want an error", v)
	}
}

// TestNothingInTheClear looks for what is secret in all files.
func TestNothingInTheClear(t *testing.T) {
	b := start(t)
	b.addImage(t, "image")
	v := b.find(t, artifact.Ref{Account: account, Object: "code/image", Image: "image"})
	files := b.files(t, ".")
	if len(files) < 3 {
		t.Fatalf("only files %v: the test shows nothing", files)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for what, s := range map[string][]byte{"variable": []byte(secret), "data key": v.DataKey, "extra": v.Extra[16:48]} {
			if bytes.Contains(content, s) {
				t.Errorf("%s has the %s in the clear", file, what)
			}
		}
	}
}

// TestDamagedManifest: what an archive's manifest says can be had from the
// archive; an image's registry may not have it any more.
func TestDamagedManifest(t *testing.T) {
	b := start(t)
	b.put(t, "code/f.zip", zipOf(t, "app.py", "code"))
	b.addImage(t, "image")
	zip := artifact.Ref{Account: account, Object: "code/f.zip"}
	image := artifact.Ref{Account: account, Object: "code/image", Image: "image"}
	want := b.find(t, zip).Manifest.ID
	b.find(t, image)
	for name, damage := range map[string]func([]byte) []byte{
		"cut":     func(c []byte) []byte { return c[:len(c)/2] },
		"empty":   func([]byte) []byte { return nil },
		"flipped": func(c []byte) []byte { c[20] ^= 1; return c },
		"newer":   func(c []byte) []byte { c[9]++; return c },
	} {
		b.change(t, zip.Object, "manifest", damage)
		v, err := b.Find(t.Context(), zip, nil)
		if err != nil || v.Manifest.ID != want {
			t.Errorf("%s: got %v, %v, want it built anew", name, v, err)
		}
		good, err := os.ReadFile(b.path(image.Object, "manifest"))
		if err != nil {
			t.Fatal(err)
		}
		b.change(t, image.Object, "manifest", damage)
		v, err = b.Find(t.Context(), image, nil)
		if !errors.Is(err, volume.ErrManifest) {
			t.Errorf("%s: got %v, %v, want volume.ErrManifest", name, v, err)
		} else if !strings.Contains(err.Error(), "update the function's code") {
			t.Errorf("%s: the error does not say what to do: %v", name, err)
		}
		b.change(t, image.Object, "manifest", func([]byte) []byte { return good })
	}
}

func TestDelete(t *testing.T) {
	b := startWith(t, plainKeys{})
	b.addImage(t, "image")
	for _, object := range []string{"code/1/a", "code/1/b", "code/2/c", "layers/d"} {
		b.find(t, artifact.Ref{Account: account, Object: object, Image: "image"})
	}
	a := artifact.Ref{Account: account, Object: "code/1/a", Image: "image"}
	if err := b.Record(t.Context(), a, []uint32{0}); err != nil {
		t.Fatal(err)
	}
	expect := func(with string, want ...string) {
		t.Helper()
		got, err := b.Objects(t.Context(), with)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("objects at %q: got %q, %v, want %q", with, got, err, want)
		}
	}
	expect("", "code/1/a", "code/1/b", "code/2/c", "layers/d")
	expect("code/1/", "code/1/a", "code/1/b")
	// Parts of a volume are found, to be deleted.
	if err := os.Remove(b.path("code/1/b", "manifest")); err != nil {
		t.Fatal(err)
	}
	expect("code/1/", "code/1/a", "code/1/b")
	for range 2 { // one that is gone is no error
		for _, object := range []string{"code/1/a", "code/1/b"} {
			if err := b.Delete(t.Context(), object); err != nil {
				t.Error(err)
			}
		}
	}
	expect("code/1/")
	expect("", "code/2/c", "layers/d")
	if files := b.files(t, "objects/objects/volumes/"); slices.ContainsFunc(files, func(f string) bool { return strings.Contains(f, "code/1") }) {
		t.Errorf("left: %v", files)
	}
	if err := b.Record(t.Context(), a, []uint32{0}); err != nil {
		t.Errorf("a start from what is deleted: %v", err)
	}
	expect("code/1/")
}

func TestProfile(t *testing.T) {
	b := startWith(t, plainKeys{})
	code := strings.Repeat("code", 1<<19)
	b.put(t, "code/f.zip", zipOf(t, "app.py", code))
	b.put(t, "code/g.zip", zipOf(t, "app.py", "other"))
	f, g := artifact.Ref{Account: account, Object: "code/f.zip"}, artifact.Ref{Account: account, Object: "code/g.zip"}
	expect := func(what string, ref artifact.Ref, want ...uint32) {
		t.Helper()
		if got := b.find(t, ref).Profile; !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	record := func(ref artifact.Ref, touched ...uint32) {
		t.Helper()
		if err := b.Record(t.Context(), ref, touched); err != nil {
			t.Error(err)
		}
	}
	expect("none", f)
	record(f)
	expect("of a start that read nothing", f)
	record(f, 2, 0)
	record(f, 2, 1, 0, 1<<20) // there is no such chunk
	expect("merged", f, 2, 1, 0)

	b.find(t, g)
	b.copy(t, "profile", f.Object, g.Object)
	expect("another volume's", g)
	record(g, 0)
	expect("recorded over another volume's", g, 0)

	b.change(t, f.Object, "profile", func(c []byte) []byte { c[len(c)/2] ^= 1; return c })
	expect("damaged", f)
	record(f, 1)
	expect("recorded over what was damaged", f, 1)
	b.change(t, f.Object, "profile", func([]byte) []byte { return nil })
	expect("empty", f)
	record(f, 1)

	// The archive is another now, and so is the volume.
	b.put(t, f.Object, zipOf(t, "app.py", code+code))
	if err := os.Remove(b.path(f.Object, "manifest")); err != nil {
		t.Fatal(err)
	}
	expect("of the build before", f)
}

func TestRecordNothing(t *testing.T) {
	b := startWith(t, plainKeys{})
	if err := b.Record(t.Context(), artifact.Ref{Account: account, Object: "code/none.zip"}, []uint32{1}); err != nil {
		t.Error(err)
	}
	if _, err := b.objects.List(t.Context(), "volumes/"); err != nil {
		t.Error(err)
	}
	if _, err := b.Find(t.Context(), artifact.Ref{Account: account, Object: "code/none.zip"}, nil); !errors.Is(err, objectstore.ErrNotFound) {
		t.Errorf("got %v, want objectstore.ErrNotFound", err)
	}
}
