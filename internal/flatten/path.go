package flatten

import (
	"errors"
	"fmt"
	"strings"
)

// Bounds of names: Linux's, and a depth that no image comes near.
const (
	maxPath    = 4095
	maxSegment = 255
	maxDepth   = 256
	// maxFollowed is how many links Linux follows in one path.
	maxFollowed = 40
	// maxSteps bounds the walks through links of one build together.
	maxSteps = 20_000_000
)

// splitPath checks a name of a tar's entry or the target of a hard link and
// returns its segments; the root has none. As for tar and the container
// runtimes, a slash at its beginning means the image's root.
func splitPath(name string) ([]string, error) {
	switch {
	case name == "":
		return nil, errors.New("its name is empty")
	case len(name) > maxPath:
		return nil, fmt.Errorf("its path is longer than %d bytes", maxPath)
	case strings.IndexByte(name, 0) >= 0:
		return nil, errors.New("its path has a zero byte")
	}
	segments := make([]string, 0, strings.Count(name, "/")+1)
	for s := range strings.SplitSeq(name, "/") {
		switch {
		case s == "" || s == ".":
		case s == "..":
			return nil, errors.New("its path leads out of the image")
		case len(s) > maxSegment:
			return nil, fmt.Errorf("a part of its path is longer than %d bytes", maxSegment)
		default:
			segments = append(segments, s)
		}
	}
	if len(segments) > maxDepth {
		return nil, fmt.Errorf("its path is deeper than %d directories", maxDepth)
	}
	return segments, nil
}

// walk is a way to a directory, which never leaves the tree.
type walk struct {
	// create makes directories that are not there.
	create bool
	// replace puts directories in the place of what is no directory, links
	// included. Otherwise links are followed, as seen from inside the image.
	replace bool

	at       uint32 // the directory walked to
	depth    int
	followed int
	todo     []string
}

// directory walks to a directory. It returns 0 if it is not there and was not
// to be made.
func (b *builder) directory(path []string, w walk) (uint32, error) {
	w.at, w.todo = rootDentry, path
	for len(w.todo) > 0 && w.at != 0 {
		if err := b.step(&w); err != nil {
			return 0, err
		}
	}
	return w.at, nil
}

// step takes one segment of the path.
func (b *builder) step(w *walk) error {
	t := b.tree
	s := w.todo[0]
	w.todo = w.todo[1:]
	switch {
	case s == "" || s == ".":
		return nil
	case s == "..":
		if w.at == rootDentry {
			return errors.New("its path follows a symbolic link that leads out of the image")
		}
		w.at, w.depth = t.dentries.at(w.at).parent, w.depth-1
		return nil
	case len(s) > maxSegment:
		return errors.New("its path follows a symbolic link with too long a target")
	}
	d := t.lookup(w.at, s)
	if d != 0 && !w.replace && t.node(d).is(typeSymlink) {
		return b.follow(w, t.target(t.node(d)))
	}
	if w.depth++; w.depth > maxDepth {
		return fmt.Errorf("its path is deeper than %d directories", maxDepth)
	}
	var err error
	switch isDir := d != 0 && t.node(d).is(typeDir); {
	case isDir:
	case !w.create:
		d = 0
	// A file of a layer below gives way, as for overlayfs; this layer's own
	// does not.
	case d != 0 && !w.replace && t.dentries.at(d).layer == b.layer:
		err = errNotDirectory
	default:
		d, err = b.put(w.at, s, inode{mode: typeDir | 0o755})
	}
	w.at = d
	return err
}

// follow puts a symbolic link's target in front of what is left of the path.
func (b *builder) follow(w *walk, target string) error {
	if w.followed++; w.followed > maxFollowed {
		return errors.New("its path follows symbolic links in a circle")
	}
	if target[0] == '/' {
		w.at, w.depth = rootDentry, 0
	}
	rest := strings.Split(target, "/")
	if b.tree.steps -= len(rest) + len(w.todo); b.tree.steps < 0 {
		return errors.New("the layers' symbolic links are too tangled to follow")
	}
	w.todo = append(rest, w.todo...)
	return nil
}

// put gives a name in a directory to something new, over what had it before. A
// directory over a directory changes its attributes and nothing else.
func (b *builder) put(parent uint32, name string, n inode) (uint32, error) {
	t := b.tree
	n.layer = b.layer
	d, err := t.enter(parent, name)
	if err != nil {
		return 0, err
	}
	e := t.dentries.at(d)
	if e.inode != 0 {
		if was := t.node(d); was.is(typeDir) && n.is(typeDir) {
			was.setAttributes(&n)
			e.layer = b.layer
			return d, nil
		}
		t.detach(d)
	}
	if int(t.inodes.n) >= t.limits.Entries/2*3 {
		return 0, fmt.Errorf("%w: more than %d files were overwritten", ErrTooLarge, t.limits.Entries)
	}
	i, slot := t.inodes.add()
	*slot = n
	return d, t.attach(d, i, b.layer)
}

func (n *inode) setAttributes(of *inode) {
	n.mode, n.uid, n.gid = of.mode, of.uid, of.gid
	n.seconds, n.nanos, n.xattrs = of.seconds, of.nanos, of.xattrs
}

// link gives one more name to what is at target, which may be of a layer below.
func (b *builder) link(parent uint32, name string, target []string) error {
	t := b.tree
	if len(target) == 0 {
		return errors.New("it is a hard link to a directory")
	}
	dir, err := b.directory(target[:len(target)-1], walk{})
	if err != nil {
		return err
	}
	var from uint32
	if dir != 0 {
		from = t.lookup(dir, target[len(target)-1])
	}
	if from == 0 {
		return errors.New("it is a hard link to something that is not there")
	}
	if t.node(from).is(typeDir) {
		return errors.New("it is a hard link to a directory")
	}
	to, err := t.enter(parent, name)
	if err != nil {
		return err
	}
	if to == from {
		return errors.New("it is a hard link to itself")
	}
	node := t.dentries.at(from).inode
	if t.dentries.at(to).inode != 0 {
		if t.within(from, to) {
			return errors.New("it is a hard link over the directory that holds its target")
		}
		t.detach(to)
	}
	return t.attach(to, node, b.layer)
}

// within says whether d is below dir.
func (t *tree) within(d, dir uint32) bool {
	for ; d != rootDentry; d = t.dentries.at(d).parent {
		if d == dir {
			return true
		}
	}
	return false
}

// hide takes away what layers below this one have at a name.
func (b *builder) hide(parent uint32, name string) {
	if d := b.tree.lookup(parent, name); d != 0 {
		b.strip(d)
	}
}

// clear takes away what layers below this one have in a directory.
func (b *builder) clear(dir uint32) {
	if _, done := b.cleared[dir]; done {
		return // nothing of a lower layer can have come since
	}
	b.cleared[dir] = struct{}{}
	t := b.tree
	for c := uint32(t.node(dir).at); c != 0; { //nolint:gosec // a dentry
		next := t.dentries.at(c).next
		b.strip(c)
		c = next
	}
}

// strip takes away what is of lower layers at and below a dentry. A directory
// that this layer put something into stays, without what the lower layers said
// about it.
func (b *builder) strip(d uint32) {
	t := b.tree
	n := t.node(d)
	if n.is(typeDir) {
		b.clear(d)
	}
	if t.dentries.at(d).layer == b.layer {
		n.layer = b.layer // as if the whiteout had come first
		return
	}
	if n.is(typeDir) && n.at != 0 {
		n.setAttributes(&inode{mode: typeDir | 0o755})
		n.layer = b.layer
		t.dentries.at(d).layer = b.layer
		return
	}
	t.detach(d)
}
