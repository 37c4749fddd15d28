package archive_test

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hearth/internal/archive"
	"hearth/internal/archive/archivetest"
)

// extractAll unpacks archives over each other and returns what is there then:
// files' contents, links' targets after "->", directories as "/".
func extractAll(t testing.TB, l archive.Limits, archives ...[]byte) (map[string]string, error) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	var sources []archive.Source
	for _, b := range archives {
		sources = append(sources, archive.Source{ReaderAt: bytes.NewReader(b), Size: int64(len(b))})
	}
	if err := archivetest.Extract(out, l, sources...); err != nil {
		return nil, err
	}
	got := make(map[string]string)
	err := filepath.WalkDir(out, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == out {
			return err
		}
		name, _ := filepath.Rel(out, path)
		switch d.Type() {
		case fs.ModeDir:
			got[name] = "/"
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			got[name] = "->" + target
			return err
		default:
			b, err := os.ReadFile(path)
			got[name] = string(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got, nil
}

func TestMerged(t *testing.T) {
	for _, tt := range []struct {
		name   string
		layers [][]item
		want   map[string]string
	}{
		{"the later file wins", [][]item{{file("a", "1"), file("b", "1")}, {file("b", "2"), file("c", "2")}},
			map[string]string{"a": "1", "b": "2", "c": "2"}},
		{"directories are joined", [][]item{{dir("d"), file("d/x", "1")}, {file("d/y", "2")}, {file("d/x", "3")}},
			map[string]string{"d": "/", "d/x": "3", "d/y": "2"}},
		{"a file over a directory", [][]item{{file("d/x", "1"), file("d/e/y", "1")}, {file("d", "2")}},
			map[string]string{"d": "2"}},
		{"a directory over a file", [][]item{{file("d", "1"), file("o", "1")}, {file("d/x", "2")}},
			map[string]string{"d": "/", "d/x": "2", "o": "1"}},
		{"and back again", [][]item{{file("d/x", "1")}, {file("d", "2")}, {file("d/y", "3")}},
			map[string]string{"d": "/", "d/y": "3"}},
		{"a file over a link is not written through it", [][]item{{file("real", "1"), link("name", "real")}, {file("name", "2")}},
			map[string]string{"real": "1", "name": "2"}},
		{"a directory over a link is not entered through it", [][]item{{file("lib64/x", "1"), link("lib", "lib64")}, {file("lib/y", "2")}},
			map[string]string{"lib64": "/", "lib64/x": "1", "lib": "/", "lib/y": "2"}},
		{"a link over a directory", [][]item{{file("lib/x", "1")}, {file("lib64/y", "2"), link("lib", "lib64")}},
			map[string]string{"lib": "->lib64", "lib64": "/", "lib64/y": "2"}},
		{"names that begin alike", [][]item{{file("ab/x", "1"), file("a.b", "1")}, {file("a", "2")}},
			map[string]string{"ab": "/", "ab/x": "1", "a.b": "1", "a": "2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var archives [][]byte
			for _, items := range tt.layers {
				archives = append(archives, archiveOf(t, items...))
			}
			got, err := extractAll(t, archive.Default(), archives...)
			if err != nil || !maps.Equal(got, tt.want) {
				t.Errorf("got %v, %v\nwant %v", got, err, tt.want)
			}
		})
	}
}

func TestMergedRefused(t *testing.T) {
	small := archive.Limits{Bytes: 100, Entries: 5}
	forty := strings.Repeat("x", 40)
	for _, tt := range []struct {
		name   string
		layers [][]item
		want   error
	}{
		{"too many bytes together", [][]item{{file("a", forty)}, {file("b", forty)}, {file("c", forty)}}, archive.ErrTooLarge},
		{"too many files together", [][]item{{file("a", ""), file("b", "")}, {file("c", ""), file("d", "")}, {file("e", ""), file("f", "")}}, archive.ErrTooLarge},
		{"a bad archive among good ones", [][]item{{file("a", "1")}, {file("../b", "2")}}, archive.ErrInvalid},
		// Below, each archive alone is harmless: the path of the link is not
		// there, or is a plain directory.
		{"links that lead out through one another", [][]item{{file("f", ""), link("l", "d/e/../../f")}, {file("g", ""), link("d/e", "..")}}, archive.ErrInvalid},
		{"a circle of links", [][]item{{file("f", ""), link("a", "b")}, {file("g", ""), link("b", "a")}}, archive.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var archives [][]byte
			for _, items := range tt.layers {
				archives = append(archives, archiveOf(t, items...))
			}
			if got, err := extractAll(t, small, archives...); !errors.Is(err, tt.want) {
				t.Errorf("got %v, %v, want %v", got, err, tt.want)
			}
		})
	}
	// What is overwritten does not count.
	if _, err := extractAll(t, small, archiveOf(t, file("a", forty)), archiveOf(t, file("a", forty)), archiveOf(t, file("a", forty))); err != nil {
		t.Errorf("three versions of one small file: %v", err)
	}
}

// FuzzMerged unpacks two archives over each other: nothing may be left
// outside, and nothing inside may lead out.
func FuzzMerged(f *testing.F) {
	f.Add(archiveOf(f, file("a/b", "1"), link("l", "a")), archiveOf(f, file("l/b", "2"), link("a", "l")))
	f.Add(archiveOf(f, file("f", ""), link("l", "d/e/../../f")), archiveOf(f, file("g", ""), link("d/e", "..")))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		got, err := extractAll(t, archive.Limits{Bytes: 1 << 20, Entries: 1000}, one, two)
		if err != nil {
			return
		}
		for _, name := range slices.Sorted(maps.Keys(got)) {
			if target, ok := strings.CutPrefix(got[name], "->"); ok && strings.HasPrefix(target, "/") {
				t.Errorf("%s leads to %s", name, target)
			}
		}
	})
}
