package archive

import (
	"archive/zip"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// directoryHeader begins each entry of a zip archive's central directory.
var directoryHeader = []byte("PK\x01\x02")

// localHeaderSize is the fixed part of the header before an entry's bytes.
const localHeaderSize = 30

// countHeaders returns how often a central directory header could begin in r:
// never fewer than the entries that a reader can find.
func countHeaders(r io.ReaderAt, size int64) (int, error) {
	const overlap = 3 // a header may straddle two reads
	buf := make([]byte, 64<<10)
	n, kept := 0, 0
	src := io.NewSectionReader(r, 0, size)
	for {
		m, err := io.ReadFull(src, buf[kept:])
		window := buf[:kept+m]
		n += bytes.Count(window, directoryHeader)
		if err != nil {
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				return n, nil
			}
			return 0, fmt.Errorf("read archive: %w", err)
		}
		kept = copy(buf, window[len(window)-overlap:])
	}
}

// checkOverlap refuses archives whose entries share bytes: the way to unpack
// petabytes from kilobytes, and never made by a tool that packs code.
func (p *plan) checkOverlap() error {
	type span struct {
		from, to int64
		name     string
	}
	spans := make([]span, 0, len(p.entries))
	for _, e := range p.entries {
		body, err := e.file.DataOffset()
		if err != nil {
			return invalid(e.file.Name, err.Error())
		}
		spans = append(spans, span{
			from: body - localHeaderSize - int64(len(e.file.Name)),
			to:   body + int64(e.file.CompressedSize64), //nolint:gosec // compared below
			name: e.file.Name,
		})
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	end := int64(0)
	for _, s := range spans {
		if s.from < end || s.to < s.from {
			return invalid(s.name, "its bytes overlap another entry's")
		}
		end = s.to
	}
	return nil
}

// readTarget returns where a symbolic link points.
func readTarget(f *zip.File) (string, error) {
	if f.UncompressedSize64 == 0 || f.UncompressedSize64 > maxPath {
		return "", invalid(f.Name, "it is a symbolic link with a bad target")
	}
	var target strings.Builder
	e := entry{file: f}
	if _, err := e.copyTo(&target, maxPath+1); err != nil {
		return "", err
	}
	return target.String(), nil
}

const (
	// maxLinks is how many links Linux follows in one path.
	maxLinks = 40
	// maxSteps bounds the work for all links of an archive together: a chain
	// of long targets would otherwise take hours to walk.
	maxSteps = 500_000
)

func (p *plan) checkLinks() error {
	steps := maxSteps
	for _, e := range p.entries {
		if e.kind != symlink {
			continue
		}
		if err := p.resolve(e.path, &steps); err != nil {
			return invalid(e.file.Name, err.Error())
		}
	}
	return nil
}

// resolve walks a path as the kernel would, in a world that holds only the
// archive, and refuses a walk that leaves it at any point. A link to something
// that is not there is allowed.
func (p *plan) resolve(name string, steps *int) error {
	var at []string // the directory walked to
	todo := strings.Split(name, "/")
	links := 0
	for len(todo) > 0 {
		if *steps--; *steps < 0 {
			return errors.New("the archive's symbolic links are too tangled to follow")
		}
		s := todo[0]
		todo = todo[1:]
		switch s {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return errors.New("it is a symbolic link that leads out of the archive")
			}
			at = at[:len(at)-1]
			continue
		}
		if len(at) == maxDepth {
			return errors.New("it is a symbolic link that leads too deep")
		}
		at = append(at, s)
		n := p.tree[strings.Join(at, "/")]
		if n.kind != symlink {
			continue
		}
		if links++; links > maxLinks {
			return errors.New("it is a symbolic link that goes in a circle")
		}
		if err := checkTarget(n.target); err != nil {
			return err
		}
		at = at[:len(at)-1]
		todo = append(strings.Split(n.target, "/"), todo...)
		*steps -= len(todo)
	}
	return nil
}

func checkTarget(target string) error {
	switch {
	case target[0] == '/':
		return errors.New("it is a symbolic link to an absolute path")
	case strings.ContainsRune(target, 0):
		return errors.New("it is a symbolic link with a zero byte in its target")
	}
	for s := range strings.SplitSeq(target, "/") {
		if len(s) > maxSegment {
			return errors.New("it is a symbolic link with too long a target")
		}
	}
	return nil
}
