package archive_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth/internal/archive"
	"hearth/internal/archive/archivetest"
)

// item is an entry of an archive that a test makes.
type item struct {
	name  string
	body  string
	mode  fs.FileMode
	tweak func(*zip.FileHeader)
}

func file(name, body string) item { return item{name: name, body: body, mode: 0o644} }
func link(name, to string) item {
	return item{name: name, body: to, mode: fs.ModeSymlink | 0o777}
}
func dir(name string) item { return item{name: name + "/", mode: fs.ModeDir | 0o700} }

// directoryHeader begins an entry of an archive's directory.
var directoryHeader = []byte("PK\x01\x02")

var mtime = time.Date(2020, 5, 17, 10, 20, 30, 0, time.UTC)

func archiveOf(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, it := range items {
		h := &zip.FileHeader{Name: it.name, Method: zip.Deflate, Modified: mtime}
		if it.mode.IsDir() {
			h.Method = zip.Store
		}
		h.SetMode(it.mode)
		if it.tweak != nil {
			it.tweak(h)
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, it.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func check(b []byte, l archive.Limits) (archive.Summary, error) {
	return archive.Check(bytes.NewReader(b), int64(len(b)), l)
}

// extract unpacks b.
func extract(t testing.TB, b []byte, l archive.Limits) (string, error) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	return out, archivetest.Extract(out, l, archive.Source{ReaderAt: bytes.NewReader(b), Size: int64(len(b))})
}

func TestExtract(t *testing.T) {
	b := archiveOf(t,
		dir("empty"),
		file("app.py", "code"),
		item{name: "bin/tool", body: "#!", mode: 0o711 | fs.ModeSetuid | fs.ModeSticky},
		item{name: "none", body: "no mode at all", tweak: func(h *zip.FileHeader) { h.ExternalAttrs = 0 }},
		item{name: "stored", body: "s", mode: 0o666, tweak: stored},
		file("./a//b/./c", "deep"),
		dir("a"), dir("a"),
		link("a/up", "../app.py"),
		link("a/b/far", "../../bin/../bin/tool"),
		link("dangling", "not/there"),
		link("dirlink", "a/b"),
		link("through", "dirlink/../up"),
		file("Case", "1"), file("case", "2"),
	)
	sum, err := check(b, archive.Default())
	if err != nil {
		t.Fatal(err)
	}
	if want := (archive.Summary{Files: 7, Bytes: 27}); sum != want {
		t.Errorf("summary %+v, want %+v", sum, want)
	}
	out, err := extract(t, b, archive.Default())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, body string
		mode       fs.FileMode
	}{
		{"app.py", "code", 0o644},
		{"bin/tool", "#!", 0o755},
		{"none", "no mode at all", 0o444},
		{"stored", "s", 0o644},
		{"a/b/c", "deep", 0o644},
		{"a/up", "code", 0o644},
		{"a/b/far", "#!", 0o755},
		{"through", "code", 0o644},
		{"Case", "1", 0o644},
		{"case", "2", 0o644},
	} {
		name := filepath.Join(out, tt.name)
		got, err := os.ReadFile(name)
		if err != nil || string(got) != tt.body {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.body)
		}
		info, err := os.Stat(name)
		if err != nil || info.Mode() != tt.mode {
			t.Errorf("%s: mode %v, %v, want %v", tt.name, info.Mode(), err, tt.mode)
		}
		if !info.ModTime().Equal(mtime) {
			t.Errorf("%s: time %v, want %v", tt.name, info.ModTime(), mtime)
		}
	}
	for _, name := range []string{".", "empty", "a", "a/b", "bin"} {
		if info, err := os.Stat(filepath.Join(out, name)); err != nil || info.Mode() != fs.ModeDir|0o755 {
			t.Errorf("%s: mode %v, %v, want a directory of 0755", name, info.Mode(), err)
		}
	}
	if target, err := os.Readlink(filepath.Join(out, "dangling")); err != nil || target != "not/there" {
		t.Errorf("dangling: %q, %v", target, err)
	}
}

func TestRefused(t *testing.T) {
	ok := file("app.py", "code")
	long := strings.Repeat("x", 256)
	tests := []struct {
		name  string
		zip   []byte
		want  error
		words string
	}{
		{"no bytes", nil, archive.ErrEmpty, ""},
		{"no entries", archiveOf(t), archive.ErrEmpty, "no file"},
		{"only directories", archiveOf(t, dir("a")), archive.ErrEmpty, "no file"},
		{"only links", archiveOf(t, link("a", "b")), archive.ErrEmpty, "no file"},
		{"not a zip", []byte("hello"), archive.ErrInvalid, ""},
		{"cut at the end", cut(archiveOf(t, ok), 10), archive.ErrInvalid, ""},
		{"cut at the front", archiveOf(t, ok)[20:], archive.ErrInvalid, ""},
		{"absolute", archiveOf(t, file("/etc/passwd", "")), archive.ErrInvalid, "absolute"},
		{"dot dot", archiveOf(t, file("../app.py", "")), archive.ErrInvalid, "leads out"},
		{"dot dot inside", archiveOf(t, file("a/../../app.py", "")), archive.ErrInvalid, "leads out"},
		{"dot dot at the end", archiveOf(t, file("a/..", "")), archive.ErrInvalid, "leads out"},
		{"backslash", archiveOf(t, file(`a\b.py`, "")), archive.ErrInvalid, "backslash"},
		{"zero byte", archiveOf(t, file("a\x00b", "")), archive.ErrInvalid, "zero byte"},
		{"long name", archiveOf(t, file(long, "")), archive.ErrInvalid, "longer than 255"},
		{"long path", archiveOf(t, file(strings.Repeat("xxxxxxxxx/", 500)+"x", "")), archive.ErrInvalid, "longer than 4095"},
		{"deep path", archiveOf(t, file(strings.Repeat("x/", 200)+"x", "")), archive.ErrInvalid, "deeper"},
		{"file without name", archiveOf(t, file(".", "x")), archive.ErrInvalid, "no name"},
		{"same file twice", archiveOf(t, ok, ok), archive.ErrInvalid, "twice"},
		{"same file twice, spelled differently", archiveOf(t, ok, file("./app.py", "")), archive.ErrInvalid, "twice"},
		{"file below a file", archiveOf(t, ok, file("app.py/x", "")), archive.ErrInvalid, "not a directory"},
		{"file in place of a directory", archiveOf(t, file("a/b", ""), file("a", "")), archive.ErrInvalid, "twice"},
		{"directory in place of a file", archiveOf(t, ok, dir("app.py")), archive.ErrInvalid, "twice"},
		{"file below a link", archiveOf(t, ok, link("l", "d"), file("l/x", "")), archive.ErrInvalid, "not a directory"},
		{"link to absolute", archiveOf(t, ok, link("l", "/etc/passwd")), archive.ErrInvalid, "absolute"},
		{"link to outside", archiveOf(t, ok, link("l", "../x")), archive.ErrInvalid, "leads out"},
		{"link to outside and back", archiveOf(t, ok, link("l", "../out/app.py")), archive.ErrInvalid, "leads out"},
		{"link to the root's parent", archiveOf(t, ok, link("a/l", "../..")), archive.ErrInvalid, "leads out"},
		// A lexical check sees a/b/../../x = x here; the kernel goes to d/../../x.
		{"link through a link", archiveOf(t, ok, dir("d"), link("a/b", "../d"), link("l", "a/b/../../x")), archive.ErrInvalid, "leads out"},
		{"link in a circle", archiveOf(t, ok, link("a", "b"), link("b", "a")), archive.ErrInvalid, "circle"},
		{"link to itself", archiveOf(t, ok, link("a", "a/x")), archive.ErrInvalid, "circle"},
		{"link to nothing", archiveOf(t, ok, link("a", "")), archive.ErrInvalid, "bad target"},
		{"link with zero byte", archiveOf(t, ok, link("a", "b\x00c")), archive.ErrInvalid, "zero byte"},
		{"link with long name", archiveOf(t, ok, link("a", long)), archive.ErrInvalid, "too long"},
		{"link with long target", archiveOf(t, ok, link("a", strings.Repeat("b/", 3000))), archive.ErrInvalid, "bad target"},
		{"fifo", archiveOf(t, ok, item{name: "p", mode: fs.ModeNamedPipe | 0o644}), archive.ErrInvalid, "neither"},
		{"device", archiveOf(t, ok, item{name: "p", mode: fs.ModeDevice | 0o644}), archive.ErrInvalid, "neither"},
		{"character device", archiveOf(t, ok, item{name: "p", mode: fs.ModeDevice | fs.ModeCharDevice | 0o644}), archive.ErrInvalid, "neither"},
		{"socket", archiveOf(t, ok, item{name: "p", mode: fs.ModeSocket | 0o644}), archive.ErrInvalid, "neither"},
		{"encrypted", archiveOf(t, item{name: "a", body: "x", tweak: func(h *zip.FileHeader) { h.Flags |= 1 }}), archive.ErrInvalid, "encrypted"},
		{"unknown method", patchDirectory(t, archiveOf(t, ok), 10, 14), archive.ErrInvalid, "method"},
		{"bad checksum", patchDirectory(t, archiveOf(t, ok), 16, 1), archive.ErrInvalid, "checksum"},
		{"damaged body", damage(archiveOf(t, item{name: "app.py", body: "code", mode: 0o644, tweak: stored})), archive.ErrInvalid, "app.py"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := check(tt.zip, archive.Default())
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.words) {
				t.Errorf("check: got %v, want %v: %s", err, tt.want, tt.words)
			}
			_, err = extract(t, tt.zip, archive.Default())
			if !errors.Is(err, tt.want) {
				t.Errorf("extract: got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	kib := strings.Repeat("x", 1024)
	b := archiveOf(t, file("a/b/c", kib), file("d", kib))
	tests := []struct {
		l  archive.Limits
		ok bool
	}{
		{archive.Limits{Bytes: 2049, Entries: 4}, true},
		{archive.Limits{Bytes: 2048, Entries: 4}, false}, // smaller than the limit, not as large
		{archive.Limits{Bytes: 2049, Entries: 3}, false}, // a, a/b, a/b/c, d
		{archive.Limits{Bytes: 1500, Entries: 4}, false},
	}
	for _, tt := range tests {
		_, err := check(b, tt.l)
		if tt.ok != (err == nil) || (err != nil && !errors.Is(err, archive.ErrTooLarge)) {
			t.Errorf("check with %+v: %v", tt.l, err)
		}
		_, err = extract(t, b, tt.l)
		if tt.ok != (err == nil) || (err != nil && !errors.Is(err, archive.ErrTooLarge)) {
			t.Errorf("extract with %+v: %v", tt.l, err)
		}
	}
}

// TestLyingSizes has headers that say less than what comes out, and more.
func TestLyingSizes(t *testing.T) {
	b := archiveOf(t, file("a", strings.Repeat("x", 1<<20)))
	for _, declared := range []uint32{10, 2 << 20} {
		lying := patchDirectory32(t, b, 24, declared)
		if _, err := check(lying, archive.Limits{Bytes: 1 << 19, Entries: 10}); err == nil {
			t.Errorf("declared %d: accepted", declared)
		}
		if _, err := extract(t, lying, archive.Default()); err == nil {
			t.Errorf("declared %d: unpacked", declared)
		}
	}
}

func TestOverlap(t *testing.T) {
	// Two directory entries that share one file's bytes, the seed of a bomb.
	b := archiveOf(t, file("a", strings.Repeat("x", 100)), file("b", strings.Repeat("x", 100)))
	second := bytes.LastIndex(b, directoryHeader)
	binary.LittleEndian.PutUint32(b[second+42:], 0) // offset of the local header
	_, err := check(b, archive.Default())
	if !errors.Is(err, archive.ErrInvalid) || !strings.Contains(err.Error(), "overlap") {
		t.Errorf("got %v, want an overlap", err)
	}
}

func TestManyHeadersAreNotRead(t *testing.T) {
	var b bytes.Buffer
	for range 1000 {
		b.Write(directoryHeader)
	}
	_, err := check(b.Bytes(), archive.Limits{Bytes: 1000, Entries: 100})
	if !errors.Is(err, archive.ErrTooLarge) {
		t.Errorf("got %v, want %v", err, archive.ErrTooLarge)
	}
}

func TestTangledLinksEndSoon(t *testing.T) {
	items := []item{file("app.py", "x")}
	for i := range 2000 {
		items = append(items, link(fmt.Sprintf("l%d", i), strings.Repeat("./", 2000)+fmt.Sprintf("l%d", (i+1)%2000)))
	}
	began := time.Now()
	if _, err := check(archiveOf(t, items...), archive.Default()); !errors.Is(err, archive.ErrInvalid) {
		t.Errorf("got %v, want %v", err, archive.ErrInvalid)
	}
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
}

// FuzzExtract checks that what is accepted is unpacked inside, agrees with
// Check, and leads nowhere else.
func FuzzExtract(f *testing.F) {
	f.Add(archiveOf(f, file("app.py", "code"), link("l", "app.py"), dir("d"), link("d/l", "../l")))
	f.Add(archiveOf(f, file("a/b/c", "x"), link("a/l", "b/../../a")))
	f.Add(archiveOf(f, item{name: "s", body: "stored", mode: 0o755, tweak: stored}))
	l := archive.Limits{Bytes: 1 << 20, Entries: 100}
	f.Fuzz(func(t *testing.T, b []byte) {
		sum, err := check(b, l)
		out, xerr := extract(t, b, l)
		if (err == nil) != (xerr == nil) {
			t.Fatalf("check: %v, extract: %v", err, xerr)
		}
		if err != nil {
			return
		}
		files, size := 0, int64(0)
		werr := filepath.WalkDir(out, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			switch d.Type() {
			case fs.ModeSymlink:
				if to, err := filepath.EvalSymlinks(name); err == nil && to != out && !strings.HasPrefix(to, out+"/") {
					t.Errorf("%s leads to %s", name, to)
				}
			case 0:
				info, err := d.Info()
				if err != nil {
					return err
				}
				files++
				size += info.Size()
			case fs.ModeDir:
			default:
				t.Errorf("%s is %v", name, d.Type())
			}
			return nil
		})
		if werr != nil || files != sum.Files || size != sum.Bytes {
			t.Errorf("%d files of %d bytes, %v, want %+v", files, size, werr, sum)
		}
	})
}

func cut(b []byte, n int) []byte { return b[:len(b)-n] }

func damage(b []byte) []byte {
	b[bytes.Index(b, []byte("code"))] ^= 0xff
	return b
}

func stored(h *zip.FileHeader) { h.Method = zip.Store }

// patchDirectory sets two bytes of the first entry in the archive's directory.
func patchDirectory(t testing.TB, b []byte, offset int, v uint16) []byte {
	t.Helper()
	b = bytes.Clone(b)
	i := bytes.Index(b, directoryHeader)
	if i < 0 {
		t.Fatal("no directory")
	}
	binary.LittleEndian.PutUint16(b[i+offset:], v)
	return b
}

func patchDirectory32(t testing.TB, b []byte, offset int, v uint32) []byte {
	t.Helper()
	return patchDirectory(t, patchDirectory(t, b, offset, uint16(v)), offset+2, uint16(v>>16))
}
