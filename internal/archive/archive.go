// Package archive checks the zip archives in which functions' code is uploaded,
// and lists what is in them. Every byte of an archive is hostile.
//
// Invariants:
//
//  1. No path of a File leads out of the directory that it is unpacked in, nor
//     does a symbolic link, nor a path through one.
//  2. An archive that Check accepts is one that List accepts, and whose files
//     CopyTo does.
//  3. Work is bounded: by Limits in files and bytes, never by what the archive
//     says about itself.
//
// An archive is refused as a whole, with an error that wraps ErrEmpty,
// ErrTooLarge or ErrInvalid and names the entry at fault.
package archive

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

var (
	// ErrEmpty says that there are no bytes, or no file among the entries.
	ErrEmpty = errors.New("archive is empty")
	// ErrTooLarge says that the unpacked files exceed Limits.
	ErrTooLarge = errors.New("archive is too large unpacked")
	// ErrInvalid says that the archive is damaged or holds what no archive of
	// code may hold.
	ErrInvalid = errors.New("archive is not valid")
)

// Limits bound what an archive may unpack to.
type Limits struct {
	// Bytes is the most that all files together may have, exclusively, as in
	// AWS's "Unzipped size must be smaller than 262144000 bytes".
	Bytes int64
	// Entries is the most files and directories, implied ones included.
	Entries int
}

// Default is Lambda's quota for a function's unpacked code, and a bound on the
// number of files that Lambda does not document.
func Default() Limits { return Limits{Bytes: 262144000, Entries: 100_000} }

// Bounds of names: Linux's, and a depth that no tree of code comes near, which
// keeps the work for one path small.
const (
	maxPath    = 4095
	maxSegment = 255
	maxDepth   = 128
)

// Summary tells what is in an archive.
type Summary struct {
	Files int
	// Bytes is the size of all files together, as counted while unpacking.
	Bytes int64
}

// Check reads the whole archive: structure, names, links, sizes and checksums.
func Check(r io.ReaderAt, size int64, l Limits) (Summary, error) {
	p, err := open(r, size, l)
	if err != nil {
		return Summary{}, err
	}
	sum := Summary{}
	for _, e := range p.entries {
		if e.kind != regular {
			continue
		}
		n, err := e.copyTo(io.Discard, l.Bytes-sum.Bytes)
		if err != nil {
			return Summary{}, err
		}
		sum.Files++
		sum.Bytes += n
	}
	return sum, nil
}

// plan is an archive whose structure was found good.
type plan struct {
	entries []entry
	// tree maps the path of each entry, and of each directory that a path
	// implies, to what is there.
	tree map[string]node
}

type kind uint8

const (
	directory kind = iota
	regular
	symlink
)

type node struct {
	kind   kind
	target string // of a symlink
	// implied directories have no entry of their own.
	implied bool
}

type entry struct {
	file *zip.File
	path string // clean, relative
	kind kind
	mode fs.FileMode
}

// open reads the archive's directory and checks everything but the contents.
func open(r io.ReaderAt, size int64, l Limits) (*plan, error) {
	if size == 0 {
		return nil, ErrEmpty
	}
	// The zip reader believes in as many entries as there are headers, however
	// many the archive admits to; count them before it spends memory on each.
	// An archive within an archive has headers too, hence the margin.
	n, err := countHeaders(r, size)
	if err != nil {
		return nil, err
	}
	if n > 2*l.Entries {
		return nil, fmt.Errorf("%w: more than %d entries", ErrTooLarge, l.Entries)
	}
	z, err := zip.NewReader(r, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	p := &plan{tree: make(map[string]node, len(z.File))}
	declared, limit := uint64(0), uint64(max(0, l.Bytes))
	for _, f := range z.File {
		if err := p.add(f, l); err != nil {
			return nil, err
		}
		declared += min(f.UncompressedSize64, limit) // which cannot overflow
		if declared >= limit {
			return nil, tooManyBytes(l)
		}
	}
	if !slices.ContainsFunc(p.entries, func(e entry) bool { return e.kind == regular }) {
		return nil, fmt.Errorf("%w: it holds no file", ErrEmpty)
	}
	if err := p.checkOverlap(); err != nil {
		return nil, err
	}
	return p, p.checkLinks()
}

// add puts one entry of the archive into the plan.
func (p *plan) add(f *zip.File, l Limits) error {
	bad := func(what string) error { return invalid(f.Name, what) }
	if f.Flags&0x2041 != 0 { // encrypted, strongly encrypted, masked headers
		return bad("it is encrypted")
	}
	if f.Method != zip.Store && f.Method != zip.Deflate {
		return bad(fmt.Sprintf("compression method %d is not supported", f.Method))
	}
	name, err := cleanPath(f.Name)
	if err != nil {
		return bad(err.Error())
	}
	e := entry{file: f, path: name, mode: f.Mode()}
	switch e.mode.Type() {
	case 0:
		e.kind = regular
	case fs.ModeDir:
		e.kind = directory
	case fs.ModeSymlink:
		e.kind = symlink
	default:
		return bad("it is neither a file, a directory nor a symbolic link")
	}
	if name == "" {
		if e.kind != directory {
			return bad("it has no name")
		}
		return nil // "./": the root itself
	}
	n := node{kind: e.kind}
	if e.kind == symlink {
		if n.target, err = readTarget(f); err != nil {
			return err
		}
	}
	if err := p.place(name, n); err != nil {
		return bad(err.Error())
	}
	if len(p.tree) > l.Entries {
		return fmt.Errorf("%w: more than %d files and directories", ErrTooLarge, l.Entries)
	}
	p.entries = append(p.entries, e)
	return nil
}

// place enters a node and the directories above it into the tree.
func (p *plan) place(name string, n node) error {
	for i := range len(name) {
		if name[i] != '/' {
			continue
		}
		parent, ok := p.tree[name[:i]]
		if !ok {
			p.tree[name[:i]] = node{kind: directory, implied: true}
		} else if parent.kind != directory {
			return fmt.Errorf("%.100q is not a directory in this archive", name[:i])
		}
	}
	was, ok := p.tree[name]
	// A directory may be named again: archives that grew by appending do it,
	// and there is nothing in it to contradict the first entry.
	if ok && (was.kind != directory || n.kind != directory) {
		return errors.New("its name occurs twice")
	}
	p.tree[name] = n
	return nil
}

// cleanPath checks an entry's name and returns it without "." segments and
// trailing slashes; the root is "".
func cleanPath(name string) (string, error) {
	switch {
	case name == "":
		return "", errors.New("its name is empty")
	case len(name) > maxPath:
		return "", fmt.Errorf("its name is longer than %d bytes", maxPath)
	case name[0] == '/':
		return "", errors.New("its path is absolute")
	case strings.ContainsRune(name, '\\'):
		return "", errors.New("its path has a backslash; use / between directories")
	case strings.ContainsRune(name, 0):
		return "", errors.New("its path has a zero byte")
	}
	var segments []string
	for s := range strings.SplitSeq(name, "/") {
		switch {
		case s == "" || s == ".":
		case s == "..":
			return "", errors.New("its path leads out of the archive")
		case len(s) > maxSegment:
			return "", fmt.Errorf("a part of its path is longer than %d bytes", maxSegment)
		default:
			segments = append(segments, s)
		}
	}
	if len(segments) > maxDepth {
		return "", fmt.Errorf("its path is deeper than %d directories", maxDepth)
	}
	return strings.Join(segments, "/"), nil
}

// copyTo unpacks an entry, which may have fewer than limit bytes.
func (e *entry) copyTo(w io.Writer, limit int64) (int64, error) {
	r, err := e.file.Open()
	if err != nil {
		return 0, invalid(e.file.Name, err.Error())
	}
	// Whatever the header says, no more than the limit is ever unpacked.
	n, err := io.Copy(w, io.LimitReader(source{r, e.file.Name}, limit))
	if err = errors.Join(err, r.Close()); err != nil {
		return n, err
	}
	if n >= limit {
		return n, fmt.Errorf("%w: %.100q", ErrTooLarge, e.file.Name)
	}
	return n, nil
}

// source marks read errors as the archive's fault, so that a caller can tell
// them from a full disk. The zip reader checks sizes and checksums.
type source struct {
	r    io.Reader
	name string
}

func (s source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // Read returns io.EOF itself
		err = invalid(s.name, err.Error())
	}
	return n, err
}

func invalid(name, what string) error {
	return fmt.Errorf("%w: entry %.100q: %s", ErrInvalid, name, what)
}

func tooManyBytes(l Limits) error {
	return fmt.Errorf("%w: %d bytes or more", ErrTooLarge, l.Bytes)
}
