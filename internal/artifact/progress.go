package artifact

import (
	"fmt"
	"sync/atomic"
)

// Progress is how far the build of a volume is, in bytes. What it says of chunks
// that were known speaks of those that the volume's owner may share: names of
// chunks differ by domain.
type Progress struct {
	// Packed is how much there is of the layers of an image, Read how much of
	// that was read; zero for what is no image.
	Packed, Read int64
	// Size is the volume's; zero until the layers are read. Of Done bytes,
	// Stored were not there before.
	Size, Done, Stored int64
}

// String tells it to a function's owner.
func (p Progress) String() string {
	switch {
	case p.Size > 0:
		return fmt.Sprintf("%s of %s are done: %s stored, the rest was known or empty.", megabytes(p.Done), megabytes(p.Size), megabytes(p.Stored))
	case p.Packed > 0:
		return fmt.Sprintf("%s of the image's %s are read.", megabytes(p.Read), megabytes(p.Packed))
	}
	return "Its code is being read."
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/(1<<20)) }

// progress is kept while a volume is built.
type progress struct{ packed, read, size, done, stored atomic.Int64 }

// note is volume.Params.Progress.
func (p *progress) note(done, stored int) {
	p.done.Add(int64(done))
	p.stored.Add(int64(stored))
}

// Progress says how far the build of an object's volume is, if it is being
// built.
func (s *Service) Progress(object string) (Progress, bool) {
	s.mu.Lock()
	m := s.marks[object]
	s.mu.Unlock()
	if m == nil {
		return Progress{}, false
	}
	p := m.building.Load()
	if p == nil {
		return Progress{}, false
	}
	return Progress{p.packed.Load(), p.read.Load(), p.size.Load(), p.done.Load(), p.stored.Load()}, true
}
