package flatten_test

import (
	"archive/tar"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hearth/internal/flatten"
	"hearth/internal/mount"
)

// model is a naive union: a map of paths. Of a layer, all whiteouts are applied
// to what is below first, then the entries one after the other.
type model struct {
	at map[string]*modelNode
	// own are the paths that the layer at hand has entered.
	own map[string]bool
}

type modelNode struct {
	kind     byte
	mode     int64
	uid, gid int
	time     time.Time
	target   string
	content  string
	xattr    string
}

func newModel() *model {
	return &model{at: map[string]*modelNode{".": emptyDir()}}
}

func emptyDir() *modelNode {
	return &modelNode{kind: tar.TypeDir, mode: 0o755, time: time.Unix(0, 0)}
}

// Where parent has not come to a directory.
const (
	blocked = "\x00blocked" // by a file of this layer
	lost    = "\x00lost"    // among symbolic links
)

func isLost(p string) bool { return p == blocked || p == lost }

// parent follows symbolic links on the way to a directory, from inside the
// image, and makes the directories that are not there.
func (m *model) parent(name string, links int) string {
	if name == "." {
		return "."
	}
	up := m.parent(path.Dir(name), links)
	if isLost(up) {
		return up
	}
	if links > 40 {
		return lost
	}
	p := path.Join(up, path.Base(name))
	n := m.at[p]
	switch {
	case n != nil && n.kind == tar.TypeDir:
		return p
	case n != nil && n.kind == tar.TypeSymlink:
		if strings.HasPrefix(n.target, "/") {
			return m.parent(path.Clean("."+n.target), links+1)
		}
		to := path.Join(up, n.target)
		if to == ".." || strings.HasPrefix(to, "../") {
			return lost
		}
		return m.parent(to, links+1)
	case n != nil && m.own[p]:
		return blocked
	default:
		m.at[p], m.own[p] = emptyDir(), true
		return p
	}
}

// remove takes away what is below a name, and the name itself.
func (m *model) remove(name string, itself bool) {
	for p := range m.at {
		if p == name && itself || strings.HasPrefix(p, name+"/") || name == "." && p != "." {
			delete(m.at, p)
		}
	}
}

// apply says whether the layer is a valid one.
func (m *model) apply(entries []entry) bool {
	m.own = make(map[string]bool)
	for _, e := range entries {
		base, isWhiteout := strings.CutPrefix(path.Base(e.Name), ".wh.")
		if !isWhiteout {
			continue
		}
		up := m.parentOf(path.Dir(e.Name))
		if up == lost {
			return false
		}
		if base == ".wh..opq" {
			m.remove(up, false)
		} else {
			m.remove(path.Join(up, base), true)
		}
	}
	for _, e := range entries {
		if strings.HasPrefix(path.Base(e.Name), ".wh.") {
			continue
		}
		if !m.enter(e) {
			return false
		}
	}
	return true
}

func (m *model) enter(e entry) bool {
	up := m.parent(path.Dir(e.Name), 0)
	if isLost(up) {
		return false
	}
	name := path.Join(up, path.Base(e.Name))
	n := &modelNode{
		kind: e.Typeflag, mode: e.Mode, uid: e.Uid, gid: e.Gid, time: e.ModTime, target: e.Linkname, content: e.content,
		xattr: e.PAXRecords["SCHILY.xattr.user.x"],
	}
	if e.Typeflag == tar.TypeLink {
		dir := m.parentOf(path.Dir(e.Linkname))
		target := path.Join(dir, path.Base(e.Linkname))
		if n = m.at[target]; isLost(dir) || n == nil || n.kind == tar.TypeDir || target == name || strings.HasPrefix(target, name+"/") {
			return false
		}
	}
	if was := m.at[name]; was != nil && was.kind == tar.TypeDir && n.kind == tar.TypeDir {
		*was = *n
		m.own[name] = true
		return true
	}
	m.remove(name, true)
	m.at[name], m.own[name] = n, true
	return true
}

// parentOf is parent, but makes nothing: what is not there, blocks.
func (m *model) parentOf(name string) string {
	copied := &model{maps.Clone(m.at), maps.Clone(m.own)}
	up := copied.parent(name, 0)
	if n := m.at[up]; up != lost && (n == nil || n.kind != tar.TypeDir) {
		return blocked
	}
	return up
}

// snapshot is what the harness's snapshot sees of the model, mounted.
func (m *model) snapshot() map[string]string {
	names := make([]string, 0, len(m.at))
	for p := range m.at {
		names = append(names, p)
	}
	// WalkDir goes by path elements, not by bytes.
	slices.SortFunc(names, func(a, b string) int {
		return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
	})
	first, links := make(map[*modelNode]string), make(map[*modelNode]int)
	for _, p := range names {
		links[m.at[p]]++
	}
	all := make(map[string]string)
	for _, p := range names {
		n := m.at[p]
		if n.kind == tar.TypeSymlink {
			n.mode = 0o777
		}
		line := fmt.Sprintf("%o %d:%d %d.%09d", n.mode|map[byte]int64{tar.TypeReg: 0o100000, tar.TypeDir: 0o040000, tar.TypeSymlink: 0o120000}[n.kind],
			n.uid, n.gid, n.time.Unix(), n.time.Nanosecond())
		switch n.kind {
		case tar.TypeReg:
			line += " " + digest([]byte(n.content))[:16]
		case tar.TypeSymlink:
			line += " → " + n.target
		}
		if n.kind != tar.TypeDir {
			if first[n] == "" {
				first[n] = p
			}
			line += fmt.Sprintf(" %d×%s", links[n], first[n])
		}
		if n.xattr != "" {
			line += fmt.Sprintf(" user.x=%q", n.xattr)
		}
		all[p] = line
	}
	return all
}

func drawLayer(t *rapid.T, links bool) []entry {
	name := rapid.Custom(func(t *rapid.T) string {
		return path.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 3).Draw(t, "path")...)
	})
	kinds := []byte{tar.TypeReg, tar.TypeReg, tar.TypeDir}
	if links {
		kinds = append(kinds, tar.TypeSymlink, tar.TypeLink)
	}
	var entries []entry
	for range rapid.IntRange(0, 8).Draw(t, "entries") {
		e := entry{Header: tar.Header{
			Typeflag: rapid.SampledFrom(kinds).Draw(t, "kind"), Name: name.Draw(t, "name"),
			Mode: rapid.Int64Range(0, 0o7777).Draw(t, "mode"), Uid: rapid.SampledFrom([]int{0, 1000, 1 << 20, 1<<32 - 2}).Draw(t, "uid"),
			ModTime: time.Unix(rapid.Int64Range(-1<<31, 1<<34-1<<31-1).Draw(t, "time"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")),
			Format:  tar.FormatPAX,
		}}
		switch e.Typeflag {
		case tar.TypeReg:
			e.content = strings.Repeat(rapid.String().Draw(t, "content"), rapid.SampledFrom([]int{1, 1, 1000}).Draw(t, "times"))
		case tar.TypeLink:
			e.Linkname = name.Draw(t, "target")
		case tar.TypeSymlink:
			e.Linkname = rapid.SampledFrom([]string{"a", "/b", "../c", "b/a", "/", ".", "../../a", "./c", "/" + strings.Repeat("./", 50) + "a"}).Draw(t, "target")
		}
		if e.Typeflag == tar.TypeReg || e.Typeflag == tar.TypeDir {
			if n := rapid.SampledFrom([]int{0, 0, 1, 60, 3000}).Draw(t, "xattr"); n > 0 {
				e.PAXRecords = map[string]string{"SCHILY.xattr.user.x": strings.Repeat("v", n)}
			}
		}
		entries = append(entries, e)
	}
	at := 0
	for range rapid.IntRange(0, 3).Draw(t, "whiteouts") {
		e := whiteout(name.Draw(t, "gone"))
		if rapid.Bool().Draw(t, "opaque") {
			e = opaque(name.Draw(t, "emptied"))
		}
		if !links {
			// Nothing is followed, so a whiteout says the same wherever it is.
			at = rapid.IntRange(0, len(entries)).Draw(t, "at")
		}
		entries = slices.Insert(entries, at, e)
	}
	return entries
}

// TestUnion compares what the kernel sees in images of random layers with a
// model.
func TestUnion(t *testing.T) {
	scratch, at := t.TempDir(), t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		m, valid := newModel(), true
		links := rapid.Bool().Draw(rt, "links")
		var layers []flatten.Layer
		for range rapid.IntRange(1, 4).Draw(rt, "layers") {
			entries := drawLayer(rt, links)
			layers = append(layers, packed(rt, entries...))
			valid = valid && m.apply(entries)
		}
		image, err := flatten.New(t.Context(), layers, options(scratch))
		if (err == nil) != valid {
			rt.Fatalf("got %v, want valid: %v", err, valid)
		}
		if err != nil {
			return
		}
		defer image.Close()
		name := filepath.Join(scratch, "image")
		writeImage(rt, image, name)
		if err := mount.Ext4(name, at, true, ""); err != nil {
			rt.Fatalf("%v", err)
		}
		defer func() {
			if err := mount.UnmountBelow(at); err != nil {
				rt.Fatalf("%v", err)
			}
		}()
		compare(rt, snapshot(rt, at), m.snapshot())
	})
	left, err := os.ReadDir(scratch)
	if err != nil || len(left) > 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestOrderWithin builds layers whose entries come in other orders.
func TestOrderWithin(t *testing.T) {
	scratch := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		var one, other []flatten.Layer
		for range rapid.IntRange(1, 3).Draw(rt, "layers") {
			entries := drawLayer(rt, false)
			// One name has one entry here: of two, the last counts.
			seen := make(map[string]bool)
			entries = slices.DeleteFunc(entries, func(e entry) bool {
				had := seen[e.Name]
				seen[e.Name] = true
				return had
			})
			one = append(one, packed(rt, entries...))
			other = append(other, packed(rt, rapid.Permutation(entries).Draw(rt, "order")...))
		}
		var sums [2]string
		for i, layers := range [][]flatten.Layer{one, other} {
			m, err := flatten.New(t.Context(), layers, options(scratch))
			if err != nil {
				return // a file is on another's way, in one order or in both
			}
			b, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size()))
			if err != nil {
				rt.Fatalf("%v", err)
			}
			_ = m.Close()
			sums[i] = digest(b)
		}
		if sums[0] != sums[1] {
			rt.Fatalf("another order of entries gives another image")
		}
	})
}
