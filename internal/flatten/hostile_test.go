package flatten_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hearth/internal/archive"
	"hearth/internal/flatten"
)

func device(kind byte, name string, major, minor int64) entry {
	return entry{Header: tar.Header{Typeflag: kind, Name: name, Mode: 0o666, Devmajor: major, Devminor: minor}}
}

// header is a layer of one header without the content that it promises.
func header(t *testing.T, h tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func xattrs(name string, value int) entry {
	e := file("attributed", "")
	e.PAXRecords = map[string]string{"SCHILY.xattr." + name: strings.Repeat("v", value)}
	return e
}

// chain is n symbolic links that lead to each other.
func chain(n int) []entry {
	var all []entry
	for i := range n {
		all = append(all, symlink(fmt.Sprintf("l%d", i), fmt.Sprintf("l%d", i+1)))
	}
	return append(all, dir(fmt.Sprintf("l%d", n)))
}

// gnuSparse says that a file is of 11 GiB, of which one byte is there.
func gnuSparse(t *testing.T) []byte {
	t.Helper()
	b := header(t, tar.Header{Typeflag: tar.TypeReg, Name: "holes", Size: 1, Format: tar.FormatGNU})
	b[156] = 'S'
	copy(b[257:], "ustar  \x00")
	copy(b[386:], fmt.Sprintf("%011o\x00%011o\x00", 0, 1))

	copy(b[483:], fmt.Sprintf("%012o", 11<<30))
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b[:512] {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return append(b, make([]byte, 512+1024)...)
}

func TestHostile(t *testing.T) {
	below := []entry{dir("etc"), file("etc/passwd", "root"), symlink("out", "../../etc"), symlink("round", "/round2"), symlink("round2", "round"), file("plain", "")}
	for name, c := range map[string]struct {
		layer []byte
		want  error
		words string
	}{
		"traversal":            {pack(t, file("../x", "")), flatten.ErrInvalid, "leads out"},
		"traversal inside":     {pack(t, file("a/../../x", "")), flatten.ErrInvalid, "leads out"},
		"traversal that stays": {pack(t, file("a/../x", "")), flatten.ErrInvalid, "leads out"},
		"link out":             {pack(t, file("out/x", "")), flatten.ErrInvalid, "symbolic link that leads out"},
		"link out of a new":    {pack(t, symlink("n", ".."), file("n/etc/x", "")), flatten.ErrInvalid, "leads out"},
		"loop of links":        {pack(t, file("round/x", "")), flatten.ErrInvalid, "circle"},
		"too many links":       {pack(t, append(chain(41), file("l0/x", ""))...), flatten.ErrInvalid, "circle"},
		"below a file":         {pack(t, file("own", ""), file("own/x", "")), flatten.ErrInvalid, "not a directory"},
		"hard link out":        {pack(t, hardlink("x", "../etc/passwd")), flatten.ErrInvalid, "leads out"},
		"hard link through":    {pack(t, hardlink("x", "out/passwd")), flatten.ErrInvalid, "leads out"},
		"hard link to nothing": {pack(t, hardlink("x", "/nothing")), flatten.ErrInvalid, "not there"},
		"hard link forward":    {pack(t, hardlink("x", "y"), file("y", "")), flatten.ErrInvalid, "not there"},
		"hard link to itself":  {pack(t, hardlink("plain", "plain")), flatten.ErrInvalid, "itself"},
		"hard link to a dir":   {pack(t, hardlink("x", "etc")), flatten.ErrInvalid, "to a directory"},
		"hard link to root":    {pack(t, hardlink("x", "/")), flatten.ErrInvalid, "to a directory"},
		"hard link over its":   {pack(t, hardlink("etc", "etc/passwd")), flatten.ErrInvalid, "over the directory"},
		"whiteout of nothing":  {pack(t, file("a/.wh.", "")), flatten.ErrInvalid, "whiteout of nothing"},
		"whiteout of dot":      {pack(t, file("a/.wh..", "")), flatten.ErrInvalid, "whiteout of nothing"},
		"whiteout of parent":   {pack(t, file("a/.wh...", "")), flatten.ErrInvalid, "whiteout of nothing"},
		"whiteout outside":     {pack(t, whiteout("out/passwd")), flatten.ErrInvalid, "leads out"},
		"root as a file":       {pack(t, file(".", "")), flatten.ErrInvalid, "root is not"},
		"root as a link":       {pack(t, symlink(".", "/etc")), flatten.ErrInvalid, "root is not"},
		"block device":         {pack(t, device(tar.TypeBlock, "sda", 8, 0)), flatten.ErrInvalid, "device outside of /dev"},
		"character device":     {pack(t, device(tar.TypeChar, "etc/mem", 1, 1)), flatten.ErrInvalid, "device outside of /dev"},
		"/dev as a device":     {pack(t, device(tar.TypeChar, "dev", 1, 1)), flatten.ErrInvalid, "device outside of /dev"},
		"block device 0":       {pack(t, device(tar.TypeBlock, "b", 0, 0)), flatten.ErrInvalid, "device outside of /dev"},
		"unknown type":         {header(t, tar.Header{Typeflag: 'Z', Name: "x"}), flatten.ErrInvalid, "of type"},
		"long segment":         {pack(t, file(strings.Repeat("n", 256), "")), flatten.ErrInvalid, "longer than 255"},
		"long path":            {pack(t, file(strings.Repeat("nn/", 1400)+"n", "")), flatten.ErrInvalid, "longer than 4095"},
		"deep path":            {pack(t, file(strings.Repeat("d/", 257)+"f", "")), flatten.ErrInvalid, "deeper"},
		"no target":            {pack(t, symlink("x", "")), flatten.ErrInvalid, "without a target"},
		"long target":          {pack(t, symlink("x", strings.Repeat("t", 4096))), flatten.ErrInvalid, "longer than 4095"},
		"owner":                {pack(t, entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: "x", Uid: 1<<32 - 1, Format: tar.FormatPAX}}), flatten.ErrInvalid, "owner"},
		"large attribute":      {pack(t, xattrs("user.x", 5000)), flatten.ErrInvalid, "do not fit"},
		"attribute's name":     {pack(t, xattrs("user."+strings.Repeat("n", 256), 1)), flatten.ErrInvalid, "bad name"},
		"11 GiB":               {header(t, tar.Header{Typeflag: tar.TypeReg, Name: "x", Size: 11 << 30}), flatten.ErrTooLarge, "10737418240 bytes"},
		"11 GiB of holes":      {gnuSparse(t), flatten.ErrTooLarge, "10737418240 bytes"},
		"8 EiB":                {header(t, tar.Header{Typeflag: tar.TypeReg, Name: "x", Size: 1<<63 - 1, Format: tar.FormatPAX}), flatten.ErrTooLarge, ""},
		"cut in a header":      {everything(t)[:700], flatten.ErrInvalid, "it is cut off, build it again"},
		"cut in a file":        {header(t, tar.Header{Typeflag: tar.TypeReg, Name: "x", Size: 100}), flatten.ErrInvalid, "it is cut off, build it again"},
		"no tar":               {bytes.Repeat([]byte("no tar "), 200), flatten.ErrInvalid, ""},
		"gzip of nothing":      {[]byte{0x1f, 0x8b, 8}, flatten.ErrInvalid, ""},
		"zstd with a window":   {[]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 0, 0, 0, 0}, flatten.ErrInvalid, ""},
	} {
		t.Run(name, func(t *testing.T) {
			scratch := t.TempDir()
			_, err := flatten.New(t.Context(), []flatten.Layer{packed(t, below...), layer(c.layer)}, options(scratch))
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.words) || !strings.Contains(err.Error(), "layer 2 of 2: ") {
				t.Errorf("got %v, want %v with %q", err, c.want, c.words)
			}
			expectEmpty(t, scratch)
		})
	}
}

// TestHarmless has what looks like an attack and is none.
func TestHarmless(t *testing.T) {
	for name, c := range map[string]struct {
		entries []entry
		path    string
		want    string // begins what is at path; nothing if empty
	}{
		"devices below /dev":     {[]entry{device(tar.TypeChar, "dev/null", 1, 3), device(tar.TypeBlock, "dev/disk/sda", 8, 0), file("x", "")}, "dev", ""},
		"overlay's whiteout":     {[]entry{device(tar.TypeChar, "etc/passwd", 0, 0)}, "etc/passwd", ""},
		"overlay's opaque":       {[]entry{{Header: tar.Header{Typeflag: tar.TypeDir, Name: "etc", Mode: 0o700, PAXRecords: map[string]string{"SCHILY.xattr.trusted.overlay.opaque": "y"}}}}, "etc/passwd", ""},
		"what AUFS leaves":       {[]entry{dir(".wh..wh.plnk"), file(".wh..wh.aufs", "")}, ".wh..wh.plnk", ""},
		"links out of the image": {[]entry{symlink("l", "../../../etc/shadow")}, "l", "120777 0:0 0.000000000 → ../../../etc/shadow"},
		"link to a circle":       {[]entry{symlink("l", "l")}, "l", "120777"},
		"a name twice":           {[]entry{file("twice", "1"), dir("twice"), file("twice/x", ""), file("twice", "2")}, "twice", "100644 0:0 0.000000000 " + digest([]byte("2"))[:16]},
		"file over a directory":  {[]entry{file("etc", "")}, "etc/passwd", ""},
		"below a lower file":     {[]entry{file("plain/x", "")}, "plain/x", "100644"},
		"global header":          {[]entry{{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "x"}}}, file("x", "")}, "x", "100644"},
		"whiteout of what it is": {[]entry{file("etc/passwd", "new"), whiteout("etc/passwd")}, "etc/passwd", "100644 0:0 0.000000000 " + digest([]byte("new"))[:16]},
		"whiteout in nothing":    {[]entry{whiteout("no/such/place"), opaque("nowhere")}, "no", ""},
		"hard link across":       {[]entry{hardlink("h", "etc/passwd"), whiteout("plain")}, "h", "100644 0:0 0.000000000 " + digest([]byte("root"))[:16] + " 2×etc/passwd"},
		"link kept by a name":    {[]entry{hardlink("h", "etc/passwd"), file("etc/passwd", "other")}, "h", "100644 0:0 0.000000000 " + digest([]byte("root"))[:16] + " 1×h"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := flatten.New(t.Context(), []flatten.Layer{packed(t, dir("etc"), file("etc/passwd", "root"), file("plain", "")), packed(t, c.entries...)}, options(t.TempDir()))
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			got := snapshot(t, mounted(t, m))[c.path]
			if !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestLimits: each bound holds, and what is just below it passes.
func TestLimits(t *testing.T) {
	small := flatten.Limits{Bytes: 1000, Entries: 20, Names: 500, Layers: 3}
	files := func(n, size int) []entry {
		var all []entry
		for i := range n {
			all = append(all, file(fmt.Sprintf("f%d", i), strings.Repeat("x", size)))
		}
		return all
	}
	for name, c := range map[string]struct {
		layers []flatten.Layer
		ok     bool
	}{
		"bytes":           {[]flatten.Layer{packed(t, files(10, 100)...)}, true},
		"a byte more":     {[]flatten.Layer{packed(t, append(files(10, 100), file("x", "x"))...)}, false},
		"hidden bytes":    {[]flatten.Layer{packed(t, files(10, 100)...), packed(t, files(1, 1)...)}, false},
		"entries":         {[]flatten.Layer{packed(t, files(20, 0)...)}, true},
		"one more":        {[]flatten.Layer{packed(t, files(21, 0)...)}, false},
		"implied entries": {[]flatten.Layer{packed(t, file(strings.Repeat("d/", 20)+"f", ""))}, false},
		"names":           {[]flatten.Layer{packed(t, file(strings.Repeat("n", 250), ""), file(strings.Repeat("m", 250), ""))}, true},
		"longer names":    {[]flatten.Layer{packed(t, file(strings.Repeat("n", 250), ""), file(strings.Repeat("m", 251), ""))}, false},
		"targets":         {[]flatten.Layer{packed(t, symlink("l", strings.Repeat("n", 500)))}, false},
		"attributes":      {[]flatten.Layer{packed(t, xattrs("user.x", 200))}, false},
		"overwritten":     {[]flatten.Layer{packed(t, append(files(20, 0), files(20, 0)...)...)}, false},
		"layers":          {[]flatten.Layer{packed(t), packed(t), packed(t)}, true},
		"too many layers": {[]flatten.Layer{packed(t), packed(t), packed(t), packed(t)}, false},
		"padding":         {[]flatten.Layer{layer(append(pack(t), make([]byte, 1<<20)...))}, false},
		"zip":             {[]flatten.Layer{flatten.Zip{Archives: []archive.Source{zipped(t, "f", strings.Repeat("x", 1000))}, Limits: archive.Default()}}, true},
		"a larger zip":    {[]flatten.Layer{flatten.Zip{Archives: []archive.Source{zipped(t, "f", strings.Repeat("x", 1001))}, Limits: archive.Default()}}, false},
		"zip's own":       {[]flatten.Layer{flatten.Zip{Archives: []archive.Source{zipped(t, "f", strings.Repeat("x", 10))}, Limits: archive.Limits{Bytes: 10, Entries: 5}}}, false},
	} {
		scratch := t.TempDir()
		m, err := flatten.New(t.Context(), c.layers, flatten.Options{Dir: scratch, Limits: small})
		if (err == nil) != c.ok || err != nil && !errors.Is(err, flatten.ErrTooLarge) {
			t.Errorf("%s: got %v, want allowed: %v", name, err, c.ok)
		}
		if m != nil {
			_ = m.Close()
		}
		expectEmpty(t, scratch)
	}
}

// TestManyLinks has as many names of a file as ext4 can count, and one more;
// and more directories in one than it can count.
func TestManyLinks(t *testing.T) {
	links := func(n int) []entry {
		all := []entry{file("f", "")}
		for i := 1; i < n; i++ {
			all = append(all, hardlink(fmt.Sprintf("l%d", i), "f"))
		}
		return all
	}
	if _, err := flatten.New(t.Context(), []flatten.Layer{packed(t, links(65001)...)}, options(t.TempDir())); !errors.Is(err, flatten.ErrTooLarge) {
		t.Errorf("65001 links: got %v", err)
	}
	all := links(65000)
	for i := range 65001 {
		all = append(all, dir(fmt.Sprintf("d%d", i)))
	}
	m, err := flatten.New(t.Context(), []flatten.Layer{packed(t, all...)}, options(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	name := filepath.Join(t.TempDir(), "image")
	writeImage(t, m, name)
	if out, err := exec.Command("e2fsck", "-f", "-n", name).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
}

// TestTangled: a layer whose links take hours to follow takes seconds.
func TestTangled(t *testing.T) {
	all := []entry{dir("d")}
	for i := range 39 {
		next := fmt.Sprintf("l%d", i+1)
		if i == 38 {
			next = "d"
		}
		all = append(all, symlink(fmt.Sprintf("l%d", i), strings.Repeat("./", 2000)+next))
	}
	for i := range 10000 {
		all = append(all, file(fmt.Sprintf("l0/f%d", i), ""))
	}
	if _, err := flatten.New(t.Context(), []flatten.Layer{packed(t, all...)}, options(t.TempDir())); !errors.Is(err, flatten.ErrInvalid) || !strings.Contains(err.Error(), "tangled") {
		t.Errorf("got %v", err)
	}
}

// TestRepeatedOpaque empties a full directory again and again.
func TestRepeatedOpaque(t *testing.T) {
	var below, above []entry
	for i := range 20000 {
		below = append(below, file(fmt.Sprintf("d/%d", i), ""))
		above = append(above, file(fmt.Sprintf("d/n%d", i), ""), opaque("d"))
	}
	m, err := flatten.New(t.Context(), []flatten.Layer{packed(t, below...), packed(t, above...)}, options(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if got := m.Stats().Files; got != 20000 {
		t.Errorf("%d files, want 20000", got)
	}
}

// TestLargeFile has a file of more extents than fit into an inode.
func TestLargeFile(t *testing.T) {
	const size = 700 << 20
	h := header(t, tar.Header{Typeflag: tar.TypeReg, Name: "large", Size: size, Mode: 0o644})
	open := func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(h), io.LimitReader(zeros{}, size-512), bytes.NewReader(bytes.Repeat([]byte{'x'}, 512)), bytes.NewReader(make([]byte, 1024)))), nil
	}
	m, err := flatten.New(t.Context(), []flatten.Layer{flatten.Tar{Open: open}}, options(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	name := filepath.Join(t.TempDir(), "image")
	writeSparse(t, m, name)
	if out, err := exec.Command("e2fsck", "-f", "-n", name).CombinedOutput(); err != nil {
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
	out, err := exec.Command("tail", "-c", "600", filepath.Join(mountAt(t, name), "large")).Output()
	if want := strings.Repeat("\x00", 88) + strings.Repeat("x", 512); err != nil || string(out) != want {
		t.Errorf("its end is %q, %v", out, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// FuzzTar: no layer brings New down, and what it accepts can be read.
func FuzzTar(f *testing.F) {
	f.Add(everything(fuzzing{f}))
	f.Add(pack(fuzzing{f}, dir("a"), whiteout("a/b"), opaque("a"), hardlink("x", "y")))
	f.Add([]byte{0x1f, 0x8b})
	limits := flatten.Limits{Bytes: 1 << 20, Entries: 1000, Names: 64 << 10, Layers: 2}
	scratch := f.TempDir()
	below := pack(fuzzing{f}, dir("a"), file("a/b", "x"), symlink("s", "a"), symlink("lib", "../lib"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := flatten.New(t.Context(), []flatten.Layer{layer(below), layer(b)}, flatten.Options{Dir: scratch, Limits: limits})
		if err != nil {
			if !errors.Is(err, flatten.ErrInvalid) && !errors.Is(err, flatten.ErrTooLarge) {
				t.Errorf("got %v", err)
			}
			return
		}
		defer m.Close()
		p := make([]byte, min(m.Size(), 1<<20))
		if n, err := m.ReadAt(p, 0); err != nil || n != len(p) {
			t.Errorf("read %d: %v", n, err)
		}
	})
}

type fuzzing struct{ *testing.F }
