package flatten_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"hearth/internal/archive"
	"hearth/internal/archive/archivetest"
	"hearth/internal/flatten"
)

// everything is a layer that holds one of each.
func everything(t fataler) []byte {
	t.Helper()
	setuid := file("bin/su", "root")
	setuid.Mode, setuid.ModTime, setuid.Uid, setuid.Gid = 0o4755, someTime, 70000, 80000
	setuid.PAXRecords = map[string]string{
		"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"SCHILY.xattr.security.selinux":    "of the machine that made it",
		"SCHILY.xattr.trusted.x":           "of its root",
	}
	many := file("etc/attributes", "x")
	many.PAXRecords = make(map[string]string)
	for i := range 40 {
		many.PAXRecords["SCHILY.xattr.user."+strings.Repeat("abc", 9-i%9)+fmt.Sprint(i)] = strings.Repeat("value", i%4)
	}
	old := file("etc/old", "before 1970")
	old.ModTime, old.Format = time.Unix(-1000, 5), tar.FormatPAX
	fifo := entry{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "run/fifo", Mode: 0o620}}
	sticky := dir("tmp/")
	sticky.Mode, sticky.ModTime = 0o1777, someTime
	// Times are whole seconds unless the format says otherwise.
	setuid.Format, sticky.Format = tar.FormatPAX, tar.FormatPAX
	entries := []entry{
		dir("./"), sticky, setuid, many, old, fifo,
		symlink("lib", "usr/lib"), dir("usr/lib/"), file("lib/followed", "in usr/lib"),
		symlink("usr/lib/absolute", "/usr/share/"+strings.Repeat("long/", 20)),
		symlink("usr/deep", "/etc"), file("usr/deep/through", "in etc"),
		hardlink("bin/su2", "/bin/su"), hardlink("lib/also", "lib/absolute"),
		file("/absolute", "names are from the image's root"),
		file("empty", ""), file("block", strings.Repeat("x", 4096)), file("two", strings.Repeat("x", 4097)),
		file("name with space and ünïcode", ""), file(strings.Repeat("n", 255), ""),
	}
	return pack(t, entries...)
}

func TestEverything(t *testing.T) {
	m, err := flatten.New(t.Context(), []flatten.Layer{layer(everything(t))}, options(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	got := snapshot(t, mounted(t, m))
	for name, want := range map[string]string{
		"bin/su":           "104755 70000:80000 1700000000.123456789 " + digest([]byte("root"))[:16] + ` 2×bin/su security.capability="\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"`,
		"bin/su2":          "104755 70000:80000 1700000000.123456789 " + digest([]byte("root"))[:16] + ` 2×bin/su security.capability="\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"`,
		"tmp":              "41777 0:0 1700000000.123456789",
		"run/fifo":         "10620 0:0 0.000000000 1×run/fifo",
		"etc/old":          "100644 0:0 -1000.000000005 " + digest([]byte("before 1970"))[:16] + " 1×etc/old",
		"usr/lib/followed": "100644 0:0 0.000000000 " + digest([]byte("in usr/lib"))[:16] + " 1×usr/lib/followed",
		"etc/through":      "100644 0:0 0.000000000 " + digest([]byte("in etc"))[:16] + " 1×etc/through",
		"usr/lib/also":     "120777 0:0 0.000000000 → /usr/share/" + strings.Repeat("long/", 20) + " 2×usr/lib/absolute",
		"absolute":         "100644 0:0 0.000000000 " + digest([]byte("names are from the image's root"))[:16] + " 1×absolute",
	} {
		if got[name] != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got[name], want)
		}
	}
	if n := strings.Count(got["etc/attributes"], " user."); n != 40 {
		t.Errorf("%d of 40 attributes can be read", n)
	}
	if s := m.Stats(); s.Skipped != 2 || s.Files != 12 || s.Links != 3 {
		t.Errorf("stats: got %+v", s)
	}
}

// TestGolden holds images to what they were: a change moves all chunks of all
// volumes, so it must be meant.
func TestGolden(t *testing.T) {
	const golden = "testdata/images.golden"
	var got strings.Builder
	for _, c := range images(t) {
		fmt.Fprintf(&got, "%s %d %s\n", c.name, len(c.image), digest(c.image))
	}
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

type namedImage struct {
	name  string
	image []byte
}

func images(t *testing.T) []namedImage {
	t.Helper()
	big := file("big", strings.Repeat("0123456789abcdef", 5<<20/16))
	return []namedImage{
		{"empty", build(t)},
		{"everything", build(t, layer(everything(t)))},
		{"layers", build(t, layer(everything(t)), packed(t, whiteout("bin/su"), opaque("etc"), file("etc/new", "new"), big))},
		{"zip", build(t, flatten.Zip{Prefix: "opt", Archives: []archive.Source{zipped(t, "index.mjs", "export"), zipped(t, "lib/x", "y")}, Limits: archive.Default()})},
	}
}

// TestElsewhere builds in a process with other settings.
func TestElsewhere(t *testing.T) {
	if os.Getenv("HEARTH_TEST_ELSEWHERE") != "" {
		for _, c := range images(t) {
			fmt.Printf("image %s %s\n", c.name, digest(c.image))
		}
		return
	}
	for _, settings := range [][]string{{"TZ=Asia/Kathmandu", "LANG=tr_TR.UTF-8", "LC_ALL=tr_TR.UTF-8", "GOMAXPROCS=1"}, {"TZ=America/St_Johns", "LANG=C", "HOME=/nowhere"}} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestElsewhere$")
		cmd.Env = append(append(os.Environ(), "HEARTH_TEST_ELSEWHERE=1", "TMPDIR="+t.TempDir()), settings...)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, c := range images(t) {
			if !strings.Contains(string(out), fmt.Sprintf("image %s %s\n", c.name, digest(c.image))) {
				t.Errorf("%q: %s is another image", settings, c.name)
			}
		}
	}
}

func zipped(t fataler, names ...string) archive.Source {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i := 0; i < len(names); i += 2 {
		f, err := w.CreateHeader(&zip.FileHeader{Name: names[i], Method: zip.Deflate, Modified: someTime})
		if err == nil {
			_, err = io.WriteString(f, names[i+1])
		}
		if err != nil {
			t.Fatalf("%v", err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatalf("%v", err)
	}
	return archive.Source{ReaderAt: bytes.NewReader(b.Bytes()), Size: int64(b.Len())}
}

// TestZipAsExtracted compares an image of archives with what they are unpacked to.
func TestZipAsExtracted(t *testing.T) {
	sources := []archive.Source{zipped(t, "a", "1", "d/b", "2", "d/c", "3"), zipped(t, "d/b", "4", "a/x", "5")}
	m, err := flatten.New(t.Context(), []flatten.Layer{flatten.Zip{Archives: sources, Limits: archive.Default()}}, options(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	out := filepath.Join(t.TempDir(), "out")
	if err := archivetest.Extract(out, archive.Default(), sources...); err != nil {
		t.Fatal(err)
	}
	got, want := snapshot(t, mounted(t, m)), snapshot(t, out)
	for _, s := range []map[string]string{got, want} {
		s["."], _, _ = strings.Cut(s["."], " ") // its time is that of unpacking
	}
	compare(t, got, want)
}

// TestZipOverLinks puts archives of layers over each other one by one: names
// of a later one are never looked for through links of an earlier one.
func TestZipOverLinks(t *testing.T) {
	m, err := flatten.New(t.Context(), []flatten.Layer{
		packed(t, symlink("opt", "/etc")), flatten.Zip{Prefix: "/opt/", Archives: []archive.Source{zipped(t, "f", "x")}, Limits: archive.Default()},
	}, options(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if got := snapshot(t, mounted(t, m)); !strings.HasPrefix(got["opt"], "40755 ") || !strings.HasPrefix(got["opt/f"], "100644 ") || got["etc"] != "" {
		t.Errorf("got %v", got)
	}
}

func TestSmallIsSmall(t *testing.T) {
	source := zipped(t, "index.mjs", strings.Repeat("x", 1000))
	b := build(t, flatten.Zip{Archives: []archive.Source{source}, Limits: archive.Default()})
	if len(b) > 32<<10 {
		t.Errorf("an archive of 1 KB became an image of %d bytes", len(b))
	}
}

func TestPacking(t *testing.T) {
	plain := everything(t)
	want := digest(build(t, layer(plain)))
	var zipped, zstandard bytes.Buffer
	g := gzip.NewWriter(&zipped)
	_, _ = g.Write(plain[:1000])
	_ = g.Close()
	g.Reset(&zipped) // two members are one layer
	_, _ = g.Write(plain[1000:])
	_ = g.Close()
	z, err := zstd.NewWriter(&zstandard)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = z.Write(plain)
	_ = z.Close()
	for name, b := range map[string][]byte{"gzip": zipped.Bytes(), "zstd": zstandard.Bytes()} {
		if digest(build(t, layer(b))) != want {
			t.Errorf("%s: another image", name)
		}
		for what, broken := range map[string][]byte{"cut": b[:len(b)-5], "flipped": flip(b, len(b)/2), "checksum": flip(b, len(b)-6)} {
			if _, err := flatten.New(t.Context(), []flatten.Layer{layer(broken)}, options(t.TempDir())); !errors.Is(err, flatten.ErrInvalid) {
				t.Errorf("%s, %s: got %v, want ErrInvalid", name, what, err)
			}
		}
	}
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 0x10
	return b
}

// TestSourceErrors: what goes wrong below a layer is not the layer's fault.
func TestSourceErrors(t *testing.T) {
	broken := errors.New("connection reset")
	plain := everything(t)
	for name, l := range map[string]flatten.Tar{
		"open": {Open: func() (io.ReadCloser, error) { return nil, broken }},
		"read": {Open: func() (io.ReadCloser, error) {
			return reader{io.MultiReader(bytes.NewReader(plain[:5000]), failing{broken}), nil}, nil
		}},
		"close": {Open: func() (io.ReadCloser, error) { return reader{bytes.NewReader(plain), broken}, nil }},
	} {
		scratch := t.TempDir()
		_, err := flatten.New(t.Context(), []flatten.Layer{l}, options(scratch))
		if !errors.Is(err, broken) || errors.Is(err, flatten.ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
		expectEmpty(t, scratch)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	if _, err := flatten.New(ctx, []flatten.Layer{layer(plain)}, options(t.TempDir())); !errors.Is(err, broken) {
		t.Errorf("called off: got %v", err)
	}
}

type reader struct {
	io.Reader
	err error
}

func (r reader) Close() error { return r.err }

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestReadsToTheEnd: a reader that checks a digest has seen all bytes.
func TestReadsToTheEnd(t *testing.T) {
	b := append(everything(t), make([]byte, 1<<20)...)
	r := bytes.NewReader(b)
	l := flatten.Tar{Open: func() (io.ReadCloser, error) { return io.NopCloser(r), nil }}
	if build(t, l); r.Len() > 0 {
		t.Errorf("%d bytes were not read", r.Len())
	}
}

func expectEmpty(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestWhiteoutComesAnywhere(t *testing.T) {
	below := packed(t, dir("z"), dir("a/b"), file("a/b/c", ""))
	first := build(t, below, packed(t, whiteout("a"), dir("a"), file("a/n", "x")))
	last := build(t, below, packed(t, dir("a"), file("a/n", "x"), whiteout("a")))
	if !bytes.Equal(first, last) {
		t.Error("an image depends on where in its layer a whiteout is")
	}
}

func TestReadAt(t *testing.T) {
	m, err := flatten.New(t.Context(), []flatten.Layer{layer(everything(t))}, options(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	all := make([]byte, m.Size())
	if n, err := m.ReadAt(all, 0); n != len(all) || err != nil {
		t.Fatalf("got %d, %v", n, err)
	}
	for off := int64(0); off < m.Size(); off += 1777 {
		p := make([]byte, 5000)
		n, err := m.ReadAt(p, off)
		if want := min(int64(len(p)), m.Size()-off); int64(n) != want || errors.Is(err, io.EOF) != (want < 5000) || !bytes.Equal(p[:n], all[off:off+want]) {
			t.Fatalf("at %d: got %d, %v", off, n, err)
		}
	}
	if _, err := m.ReadAt(all[:1], -1); err == nil {
		t.Error("read before the beginning")
	}
}
