package scratch_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"hearth/internal/mount"
	"hearth/internal/scratch"
)

func newMaker(tb testing.TB) *scratch.Maker {
	tb.Helper()
	m, err := scratch.New(filepath.Join(tb.TempDir(), "templates"))
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func makeVolume(tb testing.TB, m *scratch.Maker, sizeMB int) *scratch.Volume {
	tb.Helper()
	v, err := m.Make(tb.Context(), filepath.Join(tb.TempDir(), "v"), sizeMB)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := v.Remove(); err != nil {
			tb.Error(err)
		}
	})
	return v
}

func TestVolumeHoldsWhatItPromises(t *testing.T) {
	m := newMaker(t)
	for _, sizeMB := range []int{1, 10, 512, 1000, 10240} {
		t.Run(strconv.Itoa(sizeMB), func(t *testing.T) {
			v := makeVolume(t, m, sizeMB)
			var fs unix.Statfs_t
			if err := unix.Statfs(v.Dir, &fs); err != nil {
				t.Fatal(err)
			}
			got, promised := int64(fs.Bavail)*fs.Bsize, int64(sizeMB)<<20
			// Below 50 MB the fixed tables show.
			if most := promised + max(promised/50, 1<<20); got < promised || got > most {
				t.Errorf("available: got %d bytes, want %d to %d", got, promised, most)
			}
			if fs.Flags&unix.ST_NOSUID == 0 || fs.Flags&unix.ST_NODEV == 0 {
				t.Errorf("mount flags %#x lack nosuid or nodev", fs.Flags)
			}
			info, err := os.Stat(v.Dir)
			if err != nil {
				t.Fatal(err)
			}
			if want := os.ModeDir | os.ModeSticky | 0o777; info.Mode() != want {
				t.Errorf("mode: got %v, want %v", info.Mode(), want)
			}
		})
	}
}

func TestFullVolume(t *testing.T) {
	v := makeVolume(t, newMaker(t), 10)
	f, err := os.Create(filepath.Join(v.Dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	written, chunk := 0, make([]byte, 1<<20)
	for err == nil && written < 20<<20 {
		var n int
		n, err = f.Write(chunk)
		written += n
	}
	if !errors.Is(err, unix.ENOSPC) || written < 10<<20 {
		t.Errorf("got %v after %d bytes, want ENOSPC after 10 MB", err, written)
	}
}

func TestVolumesAreEmptyAndSparse(t *testing.T) {
	m := newMaker(t)
	first := makeVolume(t, m, 512)
	if err := os.WriteFile(filepath.Join(first.Dir, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	second := makeVolume(t, m, 512)
	entries, err := os.ReadDir(second.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 0 {
		t.Errorf("a new volume holds %v, want nothing", entries)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(filepath.Dir(second.Dir), "image"), &st); err != nil {
		t.Fatal(err)
	}
	if used := st.Blocks * 512; used > 2<<20 {
		t.Errorf("an empty volume takes %d bytes of disk, want at most 2 MB", used)
	}
}

func TestRemove(t *testing.T) {
	m := newMaker(t)
	dir := filepath.Join(t.TempDir(), "v")
	v, err := m.Make(t.Context(), dir, 10)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // it may be repeated
		if err := v.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Stat(%s): got %v, want that it is gone", dir, err)
	}
	if loops, err := mount.LoopsBelow(dir); err != nil || len(loops) != 0 {
		t.Errorf("LoopsBelow: got %v, %v, want none", loops, err)
	}
}

func TestMakeRefusesSizes(t *testing.T) {
	m := newMaker(t)
	for _, sizeMB := range []int{-1, 0, scratch.MaxMB + 1} {
		if v, err := m.Make(t.Context(), filepath.Join(t.TempDir(), "v"), sizeMB); err == nil {
			t.Errorf("Make(%d): got %v, want an error", sizeMB, v)
		}
	}
}

func BenchmarkMake(b *testing.B) {
	m, dir := newMaker(b), b.TempDir()
	makeVolume(b, m, 512) // and with it the template
	for b.Loop() {
		v, err := m.Make(b.Context(), filepath.Join(dir, "v"), 512)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := v.Remove(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
