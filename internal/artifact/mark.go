package artifact

import (
	"sync"
	"sync/atomic"
)

// mark orders what is done to what describes one object's volume. It is there
// while somebody uses it.
type mark struct {
	sync.Mutex
	users int // under Service.mu
	// deleted counts the deletions since the mark was made. Who keeps the mark
	// while they build can tell that the object was deleted meanwhile.
	deleted int
	// building is set while the volume is being built.
	building atomic.Pointer[progress]
}

// deletions is how often the object was deleted.
func (m *mark) deletions() int {
	m.Lock()
	defer m.Unlock()
	return m.deleted
}

// mark returns an object's mark, to be given back by unmark.
func (s *Service) mark(object string) *mark {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.marks[object]
	if m == nil {
		m = &mark{}
		s.marks[object] = m
	}
	m.users++
	return m
}

func (s *Service) unmark(object string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.marks[object]
	if m.users--; m.users == 0 {
		delete(s.marks, object)
	}
}

// with does something while nobody else changes what describes an object's
// volume.
func (s *Service) with(object string, do func(m *mark) error) error {
	m := s.mark(object)
	defer s.unmark(object)
	m.Lock()
	defer m.Unlock()
	return do(m)
}
