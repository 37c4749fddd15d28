package origin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"hearth/internal/chunk"
	"hearth/internal/chunkstore/disk/disktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sealed is a chunk with content of its own.
func sealed(root chunk.Root, content string) (chunk.Ref, []byte) {
	salt := chunk.Salt{Epoch: 1}
	name, _, ciphertext := chunk.Seal(nil, chunk.NewExtra(&salt, root, chunk.Common), []byte(content))
	return chunk.Ref{Root: root, Name: name}, ciphertext
}

// lister is how an origin tells what it has.
type lister interface {
	Roots(ctx context.Context) ([]chunk.Root, error)
	Chunks(ctx context.Context, root chunk.Root) iter.Seq2[Info, error]
}

type both interface {
	chunk.Store
	lister
}

func openDir(t *testing.T) *Dir {
	t.Helper()
	d, err := OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func mustNew(t *testing.T, on *disktest.Disk) *Dir {
	t.Helper()
	d, err := NewDir(on)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func put(t *testing.T, s chunk.Store, ref chunk.Ref, b []byte, want bool) {
	t.Helper()
	if stored, err := s.PutChunk(t.Context(), ref, b); err != nil || stored != want {
		t.Fatalf("put: stored %v, %v; want %v", stored, err, want)
	}
}

// state is "whole", "none" or what is wrong.
func state(t *testing.T, s chunk.Source, ref chunk.Ref, want []byte) string {
	t.Helper()
	got, err := s.ReadChunk(t.Context(), ref)
	switch {
	case errors.Is(err, chunk.ErrNotFound):
		return "none"
	case err != nil:
		return err.Error()
	case !bytes.Equal(got, want):
		return fmt.Sprintf("%d other bytes", len(got))
	}
	return "whole"
}

func TestDir(t *testing.T) { testOrigin(t, openDir(t)) }

// testOrigin is what holds for every origin.
func testOrigin(t *testing.T, s interface {
	both
	DeleteChunk(ctx context.Context, ref chunk.Ref) error
	DeleteRoot(ctx context.Context, root chunk.Root) error
}) {
	t.Helper()
	one, oneBytes := sealed(7, "one")
	two, twoBytes := sealed(7, "two")
	other, otherBytes := sealed(0xffffffffffffffff, "one")
	if got := state(t, s, one, oneBytes); got != "none" {
		t.Errorf("before: %s", got)
	}
	put(t, s, one, oneBytes, true)
	put(t, s, one, oneBytes, false)
	put(t, s, two, twoBytes, true)
	put(t, s, other, otherBytes, true)
	for _, ref := range []chunk.Ref{{Root: 8, Name: one.Name}, {Root: 7, Name: other.Name}} {
		if got := state(t, s, ref, nil); got != "none" {
			t.Errorf("%v: %s", ref, got)
		}
	}
	if got := state(t, s, other, otherBytes); got != "whole" {
		t.Errorf("after: %s", got)
	}
	for what, bad := range map[string][]byte{"flipped": append(bytes.Clone(oneBytes[:len(oneBytes)-1]), 0), "another": twoBytes, "short": oneBytes[:80], "empty": nil} {
		if _, err := s.PutChunk(t.Context(), one, bad); !errors.Is(err, chunk.ErrIntegrity) {
			t.Errorf("put of %s bytes: %v", what, err)
		}
	}
	if got, err := s.Roots(t.Context()); err != nil || !slices.Equal(got, []chunk.Root{7, 0xffffffffffffffff}) {
		t.Errorf("roots: %v, %v", got, err)
	}
	if got, want := names(t, s, 7), sorted(one.Name, two.Name); !slices.Equal(got, want) {
		t.Errorf("chunks: %v, want %v", got, want)
	}
	if got := names(t, s, 8); len(got) != 0 {
		t.Errorf("chunks of no root: %v", got)
	}
	for range 2 {
		if err := s.DeleteChunk(t.Context(), two); err != nil {
			t.Error(err)
		}
	}
	if got := names(t, s, 7); !slices.Equal(got, []string{one.Name.String()}) {
		t.Errorf("chunks after a deletion: %v", got)
	}
	for range 2 {
		if err := s.DeleteRoot(t.Context(), 7); err != nil {
			t.Error(err)
		}
	}
	if got := state(t, s, one, oneBytes) + " " + state(t, s, other, otherBytes); got != "none whole" {
		t.Errorf("after the root's deletion: %s", got)
	}
	put(t, s, one, oneBytes, true)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("gone")
	cancel(cause)
	if _, err := s.PutChunk(ctx, two, twoBytes); !errors.Is(err, cause) {
		t.Errorf("cancelled put: %v", err)
	}
	if _, err := s.ReadChunk(ctx, one); !errors.Is(err, cause) {
		t.Errorf("cancelled read: %v", err)
	}
}

func names(t *testing.T, s lister, root chunk.Root) []string {
	t.Helper()
	var found []string
	for info, err := range s.Chunks(t.Context(), root) {
		if err != nil {
			t.Fatal(err)
		}
		if info.Size < chunk.Overhead || info.Modified.IsZero() {
			t.Errorf("%+v", info)
		}
		found = append(found, info.Name.String())
	}
	slices.Sort(found)
	return found
}

func sorted(names ...chunk.Name) []string {
	var s []string
	for _, n := range names {
		s = append(s, n.String())
	}
	slices.Sort(s)
	return s
}

// batches are the ways in which chunks come: alone, and enough at once to be
// synced together.
var batches = map[string]int{"alone": 1, "together": syncEach + 2}

// putAll stores chunks in one batch and returns the error.
func putAll(t *testing.T, d *Dir, refs []chunk.Ref, ciphertexts [][]byte) error {
	t.Helper()
	b := d.NewBulk(len(refs) + 1)
	defer b.Close()
	for i, ref := range refs {
		if _, err := b.PutChunk(t.Context(), ref, ciphertexts[i]); err != nil {
			return err
		}
	}
	return b.Flush(t.Context())
}

func some(n int) (refs []chunk.Ref, ciphertexts [][]byte) {
	for i := range n {
		ref, b := sealed(7, fmt.Sprint("chunk ", i))
		refs, ciphertexts = append(refs, ref), append(ciphertexts, b)
	}
	return refs, ciphertexts
}

// TestEveryFault lets each disk operation fail in turn, with and without a
// power cut following.
func TestEveryFault(t *testing.T) {
	old, oldBytes := sealed(7, "old")
	for how, n := range batches {
		refs, ciphertexts := some(n)
		for _, fault := range []error{syscall.ENOSPC, syscall.EIO, disktest.ErrPowerCut} {
			for at := 1; ; at++ {
				on := disktest.New()
				d := mustNew(t, on)
				put(t, d, old, oldBytes, true)
				on.FailAt(at, fault)
				err := putAll(t, d, refs, ciphertexts)
				struck := on.FailAt(0, nil)
				if struck != (err != nil) || struck && errors.Is(fault, syscall.ENOSPC) != errors.Is(err, ErrFull) {
					t.Errorf("%s: %v at operation %d: %v", how, fault, at, err)
				}
				if left := on.Files(tempDir); len(left) > 0 && !errors.Is(fault, disktest.ErrPowerCut) {
					t.Errorf("%s: %v at operation %d: left %v", how, fault, at, left)
				}
				after := on.PowerCut()
				again := mustNew(t, after)
				for i, ref := range refs {
					if got := state(t, again, ref, ciphertexts[i]); got != "whole" && (got != "none" || err == nil) {
						t.Errorf("%s: %v at operation %d (%v), then a power cut: %s", how, fault, at, err, got)
					}
				}
				if got := state(t, again, old, oldBytes); got != "whole" {
					t.Errorf("%s: %v at operation %d: the other chunk: %s", how, fault, at, got)
				}
				if left := after.Files(tempDir); len(left) > 0 {
					t.Errorf("%s: %v at operation %d: not swept: %v", how, fault, at, left)
				}
				if !struck {
					if at < 6 {
						t.Fatalf("only %d operations were tried", at)
					}
					break
				}
			}
		}
	}
}

// TestFoundIsDurable finds a chunk whose put failed, or whose process was
// killed, after it became visible: to say that it is stored makes it durable.
func TestFoundIsDurable(t *testing.T) {
	for how, n := range batches {
		refs, ciphertexts := some(n)
		for at := 1; ; at++ {
			for _, killed := range []bool{false, true} {
				on := disktest.New()
				d := mustNew(t, on)
				on.FailAt(at, syscall.EIO)
				err := putAll(t, d, refs, ciphertexts)
				if !on.FailAt(0, nil) {
					return
				}
				if err == nil {
					t.Fatalf("%s: no error at operation %d", how, at)
				}
				if killed {
					on = on.Kill()
					d = mustNew(t, on)
				}
				for i, ref := range refs {
					if _, err := d.PutChunk(t.Context(), ref, ciphertexts[i]); err != nil {
						t.Fatal(err)
					}
				}
				d = mustNew(t, on.PowerCut())
				for i, ref := range refs {
					if got := state(t, d, ref, ciphertexts[i]); got != "whole" {
						t.Errorf("%s, fault at operation %d, killed %v: %s", how, at, killed, got)
					}
				}
			}
		}
	}
}

// TestDoubt has the sync of a directory fail that was known to be durable: the
// chunk that is found there is not taken to be so.
func TestDoubt(t *testing.T) {
	first, b := sealed(7, "first")
	on := disktest.New()
	d := mustNew(t, on)
	put(t, d, first, b, true)
	second, b := first, []byte(nil)
	for i := 0; second == first || second.Name[0] != first.Name[0]; i++ {
		second, b = sealed(7, fmt.Sprint(i))
	}
	on.FailAt(5, syscall.EIO) // of create, write, sync, rename, sync
	if _, err := d.PutChunk(t.Context(), second, b); err == nil {
		t.Fatal("no error")
	}
	on.FailAt(0, nil)
	put(t, d, second, b, false)
	if got := state(t, mustNew(t, on.PowerCut()), second, b); got != "whole" {
		t.Error(got)
	}
}

// TestDeleteRootPowerCut interrupts a deletion: all chunks are there or none,
// and what had been deleted when it returned does not come back.
func TestDeleteRootPowerCut(t *testing.T) {
	refs, ciphertexts := some(5)
	for at := 1; ; at++ {
		on := disktest.New()
		d := mustNew(t, on)
		if err := putAll(t, d, refs, ciphertexts); err != nil {
			t.Fatal(err)
		}
		on.FailAt(at, disktest.ErrPowerCut)
		err := d.DeleteRoot(t.Context(), 7)
		struck := on.FailAt(0, nil)
		d = mustNew(t, on.PowerCut())
		there := 0
		for i, ref := range refs {
			if state(t, d, ref, ciphertexts[i]) == "whole" {
				there++
			}
		}
		if there != 0 && (there != len(refs) || err == nil) {
			t.Errorf("cut at operation %d (%v): %d chunks are there", at, err, there)
		}
		if !struck {
			break
		}
	}
}

func TestOpenSweeps(t *testing.T) {
	path := t.TempDir()
	for _, dir := range []string{"tmp/0000000000000007.x/ab"} {
		if err := os.MkdirAll(filepath.Join(path, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"tmp/TORN", "tmp/0000000000000007.x/ab/abcd"} {
		if err := os.WriteFile(filepath.Join(path, file), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(path, tempDir)); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestRot has a stored copy go bad: it is set aside once somebody complains
// rightly, and stored anew.
func TestRot(t *testing.T) {
	ref, b := sealed(7, "x")
	for what, edit := range map[string]func([]byte) []byte{
		"flipped":   func(b []byte) []byte { b[3] ^= 1; return b },
		"truncated": func(b []byte) []byte { return b[:5] },
		"empty":     func([]byte) []byte { return nil },
		"too long":  func([]byte) []byte { return make([]byte, chunk.MaxCiphertext+1) },
	} {
		on := disktest.New()
		d := mustNew(t, on)
		put(t, d, ref, b, true)
		if set, err := d.Distrust(t.Context(), ref); set || err != nil {
			t.Errorf("%s: a good copy was distrusted: %v, %v", what, set, err)
		}
		if !on.Edit(chunkPath(ref), edit) {
			t.Fatal("no such file")
		}
		got, err := d.ReadChunk(t.Context(), ref)
		if err == nil {
			err = chunk.Check(ref.Name, got)
		}
		if !errors.Is(err, chunk.ErrIntegrity) {
			t.Errorf("%s: read: %v", what, err)
		}
		if set, err := d.Distrust(t.Context(), ref); !set || err != nil {
			t.Errorf("%s: %v, %v", what, set, err)
		}
		put(t, d, ref, b, true)
		if got := state(t, d, ref, b); got != "whole" {
			t.Errorf("%s: %s", what, got)
		}
		if got := on.Files(badDir); len(got) != 1 {
			t.Errorf("%s: set aside: %v", what, got)
		}
	}
}

// TestWrongSizeIsReplaced: a put does not take a torn copy for the chunk.
func TestWrongSizeIsReplaced(t *testing.T) {
	ref, b := sealed(7, "x")
	on := disktest.New()
	d := mustNew(t, on)
	put(t, d, ref, b, true)
	on.Edit(chunkPath(ref), func(b []byte) []byte { return b[:5] })
	put(t, d, ref, b, true)
	if got := state(t, d, ref, b); got != "whole" {
		t.Error(got)
	}
}

func TestLinkOutside(t *testing.T) {
	ref, b := sealed(7, "x")
	path, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(path, ref.Root.String())); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	if _, err := d.PutChunk(t.Context(), ref, b); err == nil {
		t.Error("a chunk was stored outside")
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("outside: %v, %v", left, err)
	}
}

// TestConcurrentPuts has eight builds store the same chunks, one of them in
// bulk, while a root goes away again and again.
func TestConcurrentPuts(t *testing.T) {
	d := openDir(t)
	const n = 40
	var mu sync.Mutex
	storedTimes := make(map[chunk.Ref]int)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range n {
				ref, b := sealed(7, fmt.Sprint(i))
				stored, err := d.PutChunk(t.Context(), ref, b)
				if err != nil {
					t.Error(err)
				}
				if got := state(t, d, ref, b); got != "whole" {
					t.Errorf("after its put: %s", got)
				}
				if stored {
					mu.Lock()
					storedTimes[ref]++
					mu.Unlock()
				}
				fleeting, b := sealed(8, fmt.Sprint(i%4))
				if _, err := d.PutChunk(t.Context(), fleeting, b); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Error(err)
				}
				if got := state(t, d, fleeting, b); got != "whole" && got != "none" {
					t.Error(got)
				}
				if w == 0 {
					if err := d.DeleteRoot(t.Context(), 8); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	for ref, times := range storedTimes {
		if times != 1 {
			t.Errorf("%s was stored %d times", ref.Name, times)
		}
	}
	if len(storedTimes) != n || len(names(t, d, 7)) != n {
		t.Errorf("%d chunks were stored, %d are there, want %d", len(storedTimes), len(names(t, d, 7)), n)
	}
}

func TestBulk(t *testing.T) {
	d := openDir(t)
	b := d.NewBulk(3)
	t.Cleanup(b.Close)
	refs, ciphertexts := some(7)
	var wg sync.WaitGroup
	for i, ref := range refs {
		wg.Go(func() {
			if stored, err := b.PutChunk(t.Context(), ref, ciphertexts[i]); err != nil || !stored {
				t.Errorf("%v, %v", stored, err)
			}
		})
	}
	wg.Wait()
	put(t, b, refs[0], ciphertexts[0], false)
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, b, refs[0], ciphertexts[0], false)
	if got := names(t, d, 7); len(got) != 7 {
		t.Errorf("%d chunks", len(got))
	}
	given, bytes := sealed(7, "given up")
	put(t, b, given, bytes, true)
	b.Close()
	if got := state(t, d, given, bytes); got != "none" {
		t.Error(got)
	}
	if left, err := d.disk.ReadDir(tempDir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestBulkFails: once a batch is lost, the build that it was for cannot go on
// as if it were not.
func TestBulkFails(t *testing.T) {
	on := disktest.New()
	d := mustNew(t, on)
	refs, ciphertexts := some(3)
	b := d.NewBulk(2)
	put(t, b, refs[0], ciphertexts[0], true)
	on.FailAt(3, syscall.ENOSPC) // of create, write, sync
	if _, err := b.PutChunk(t.Context(), refs[1], ciphertexts[1]); !errors.Is(err, ErrFull) {
		t.Errorf("got %v", err)
	}
	on.FailAt(0, nil)
	if _, err := b.PutChunk(t.Context(), refs[2], ciphertexts[2]); !errors.Is(err, ErrFull) {
		t.Errorf("put: %v", err)
	}
	if err := b.Flush(t.Context()); !errors.Is(err, ErrFull) {
		t.Errorf("flush: %v", err)
	}
}
