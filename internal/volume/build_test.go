package volume_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"hearth/internal/chunk"
	"hearth/internal/flatten"
	"hearth/internal/volume"
)

func random(b []byte) { _, _ = rand.NewChaCha8([32]byte{}).Read(b) }

func TestBuildTwice(t *testing.T) {
	s := newStore()
	b := content(9*size+1, 3)
	copy(b[5*size:6*size], b[4*size:5*size]) // equal chunks are one
	var done, anew atomic.Int64
	p := params(s)
	p.Progress = func(n, stored int) {
		done.Add(int64(n))
		anew.Add(int64(stored))
	}
	m, _, got, err := volume.Build(t.Context(), bytes.NewReader(b), int64(len(b)), p)
	want := volume.Stats{Bytes: 9*size + 1, Chunks: 10, Zero: 1, Stored: 8, StoredBytes: 7*size + 1 + 8*chunk.Overhead}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if done.Load() != got.Bytes || anew.Load() != 7*size+1 {
		t.Errorf("progress ended at %d of %d, %d of them stored", done.Load(), got.Bytes, anew.Load())
	}
	p.Sealers, p.Puts = 1, 1
	again, _, got, err := volume.Build(t.Context(), bytes.NewReader(b), int64(len(b)), p)
	want.Stored, want.StoredBytes = 0, 0
	if err != nil || got != want {
		t.Errorf("again: got %+v, %v, want %+v", got, err, want)
	}
	if again.ID != m.ID || !slices.Equal(again.Entries, m.Entries) {
		t.Error("the same content has another id or other chunks")
	}
	elsewhere := params(s)
	elsewhere.Domain = chunk.AccountDomain("111111111111")
	elsewhere.Extra = chunk.NewExtra(&salt, root, elsewhere.Domain)
	other, _, got, err := volume.Build(t.Context(), bytes.NewReader(b), int64(len(b)), elsewhere)
	if err != nil || got.Stored != 8 || other.ID == m.ID {
		t.Errorf("in another domain: got %+v, %v; its id is another: %v", got, err, other.ID != m.ID)
	}
	var refs []chunk.Ref
	for ref := range m.Refs() {
		refs = append(refs, ref)
	}
	if len(refs) != 9 || refs[0] != (chunk.Ref{Root: root, Name: m.Entries[0].Name}) {
		t.Errorf("refs: got %v", refs)
	}
}

func TestBuildFails(t *testing.T) {
	broken := errors.New("disk full")
	b := content(100 * size)
	s := newStore()
	n := 0
	s.put = func() error {
		if n++; n > 20 {
			return broken
		}
		return nil
	}
	if _, _, _, err := volume.Build(t.Context(), bytes.NewReader(b), int64(len(b)), params(s)); !errors.Is(err, broken) {
		t.Errorf("store: got %v", err)
	}
	if n > 60 {
		t.Errorf("%d chunks were stored after the first failure", n)
	}
	image := io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))-1)
	if _, _, _, err := volume.Build(t.Context(), image, int64(len(b)), params(newStore())); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a short image: got %v", err)
	}
	if _, _, _, err := volume.Build(t.Context(), failing{broken}, int64(len(b)), params(newStore())); !errors.Is(err, broken) {
		t.Errorf("image: got %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	if _, _, _, err := volume.Build(ctx, bytes.NewReader(b), int64(len(b)), params(newStore())); !errors.Is(err, broken) {
		t.Errorf("called off: got %v", err)
	}
	for what, change := range map[string]func(p *volume.Params) int64{
		"no bytes":      func(*volume.Params) int64 { return 0 },
		"chunk size":    func(p *volume.Params) int64 { p.ChunkSize = 5000; return size },
		"no domain":     func(p *volume.Params) int64 { p.Domain = ""; return size },
		"another extra": func(p *volume.Params) int64 { p.Extra = chunk.NewExtra(&salt, 8, place.Domain); return size },
	} {
		p := params(newStore())
		length := change(&p)
		if _, _, _, err := volume.Build(t.Context(), bytes.NewReader(b), length, p); err == nil {
			t.Errorf("%s: was built", what)
		}
	}
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

// layerOf opens a tar of random files, which is made as it is read.
func layerOf(files, size int) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() {
			t := tar.NewWriter(w)
			content := make([]byte, size)
			source := rand.NewChaCha8([32]byte{})
			for i := range files {
				h := &tar.Header{Typeflag: tar.TypeReg, Name: "d" + strconv.Itoa(i/1000) + "/file" + strconv.Itoa(i), Size: int64(size), Mode: 0o644}
				if t.WriteHeader(h) != nil {
					return
				}
				_, _ = source.Read(content)
				if _, err := t.Write(content); err != nil {
					return
				}
			}
			_ = w.CloseWithError(t.Close())
		}()
		return r, nil
	}
}

// BenchmarkBuild flattens, chunks and encrypts a tar of 512 MB; storing is
// free.
func BenchmarkBuild(b *testing.B) {
	for name, c := range map[string]struct{ files, size int }{
		"files of 8 MB": {64, 8 << 20}, "files of 40 KB": {12800, 40 << 10}, "files of 4 KB": {128000, 4 << 10},
	} {
		b.Run(name, func(b *testing.B) {
			scratch := b.TempDir()
			layer := filepath.Join(scratch, "layer")
			write(b, layer, layerOf(c.files, c.size))
			b.SetBytes(int64(c.files) * int64(c.size))
			for b.Loop() {
				buildOnce(b, scratch, func() (io.ReadCloser, error) { return os.Open(layer) })
			}
			b.ReportMetric(float64(peak(b))/(1<<20), "MB-peak")
		})
	}
}

func write(b *testing.B, name string, open func() (io.ReadCloser, error)) {
	b.Helper()
	r, err := open()
	if err != nil {
		b.Fatal(err)
	}
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, r); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkMillion is one build of a million tiny files. What it reads is made
// meanwhile, by the same cores in the same memory.
func BenchmarkMillion(b *testing.B) {
	scratch := b.TempDir()
	for b.Loop() {
		buildOnce(b, scratch, layerOf(1_000_000, 10))
	}
	b.ReportMetric(float64(peak(b))/(1<<20), "MB-peak")
}

func buildOnce(b *testing.B, scratch string, open func() (io.ReadCloser, error)) {
	b.Helper()
	m, err := flatten.New(b.Context(), []flatten.Layer{flatten.Tar{Open: open}}, flatten.Options{Dir: scratch, Limits: flatten.Default()})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	p := params(discard{})
	p.ChunkSize = chunk.Size
	if _, _, _, err := volume.Build(b.Context(), m, m.Size(), p); err != nil {
		b.Fatal(err)
	}
}

// peak is the most memory that this process has had.
func peak(b *testing.B) int {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kilobytes, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		b.Fatal(err)
	}
	return kilobytes << 10
}
