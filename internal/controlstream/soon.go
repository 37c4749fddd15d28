package controlstream

import "time"

// DoneSoon waits at most d for the end of the invoke to begin to arrive and
// says whether it has: then WaitDone returns at once. Unlike a context that
// ends, the wait leaves the session as it was. It is called between Invoke
// and WaitDone.
func (s *Session) DoneSoon(d time.Duration) bool {
	s.invokeMu.Lock()
	defer s.invokeMu.Unlock()
	if s.invoke.r.Buffered() > 0 {
		return true
	}
	if err := s.invoke.raw.SetReadDeadline(time.Now().Add(d)); err != nil {
		return false
	}
	_, err := s.invoke.r.Peek(1)
	_ = s.invoke.raw.SetReadDeadline(time.Time{}) // returns nil always
	return err == nil
}
