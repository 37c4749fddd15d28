package artifact

// ErrDeleted ends the build of a volume that nobody wants any more.
var ErrDeleted = errDeleted

// Marks is how many objects are in use.
func (s *Service) Marks() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.marks)
}

// Locked says whether somebody keeps others from changing what describes an
// object's volume.
func (s *Service) Locked(object string) bool {
	m := s.mark(object)
	defer s.unmark(object)
	if m.TryLock() {
		m.Unlock()
		return false
	}
	return true
}
