package archive

import (
	"fmt"
	"io"
)

// Source is an archive and its size in bytes.
type Source struct {
	io.ReaderAt
	Size int64
}

// openAll is open for archives over each other.
func openAll(l Limits, sources []Source) (*plan, error) {
	merged := &plan{tree: make(map[string]node)}
	for i, s := range sources {
		p, err := open(s, s.Size, l)
		if err != nil {
			if len(sources) > 1 {
				err = fmt.Errorf("archive %d of %d: %w", i+1, len(sources), err)
			}
			return nil, err
		}
		merged.cover(p)
		if len(merged.tree) > l.Entries {
			return nil, fmt.Errorf("%w: more than %d files and directories together", ErrTooLarge, l.Entries)
		}
	}
	if len(sources) > 1 {
		// Links that are harmless in each archive can lead through one another.
		if err := merged.checkLinks(); err != nil {
			return nil, err
		}
	}
	return merged, nil
}

// cover puts another plan on top of this one.
func (p *plan) cover(top *plan) {
	if len(p.tree) == 0 {
		*p = *top
		return
	}
	gone := make(map[string]bool)
	for name := range p.tree {
		if top.hides(name, p.tree[name]) {
			gone[name] = true
		}
	}
	kept := p.entries[:0]
	for _, e := range p.entries {
		if !gone[e.path] {
			kept = append(kept, e)
		}
	}
	p.entries = append(kept, top.entries...)
	for name := range gone {
		delete(p.tree, name)
	}
	for name, n := range top.tree {
		if was, ok := p.tree[name]; ok {
			n.implied = n.implied && was.implied // both are directories
		}
		p.tree[name] = n
	}
}

// hides says whether what is at a path below cannot be seen under the plan.
func (p *plan) hides(name string, below node) bool {
	if n, ok := p.tree[name]; ok {
		return n.kind != directory || below.kind != directory
	}
	for i := range len(name) {
		if name[i] != '/' {
			continue
		}
		if n, ok := p.tree[name[:i]]; ok && n.kind != directory {
			return true
		}
	}
	return false
}
