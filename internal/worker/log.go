package worker

import (
	"sync"
	"time"

	"hearth/internal/controlstream"
	"hearth/internal/invocation"
)

// sink takes the log of one sandbox, once it is assigned, to the log store,
// and keeps the end of the current invoke's log for a caller that wants it.
type sink struct {
	mu      sync.Mutex
	logs    Logs
	account string
	group   string
	stream  string
	least   level // of what the function writes
	tail    []byte
}

// assign directs the sandbox's log to its function's.
func (s *sink) assign(logs Logs, account, group, stream string, least level) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs, s.account, s.group, s.stream, s.least = logs, account, group, stream, least
}

// take is called with what the function writes. What a runtime writes before
// its sandbox is assigned belongs to nobody and is dropped.
func (s *sink) take(r controlstream.LogRecord) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logs == nil || below(r.Data, s.least) {
		return
	}
	s.logs.Append(s.account, s.group, s.stream, r.Time, r.RequestID, r.Data)
	s.keep(r.Data)
}

// line writes a line of the platform's.
func (s *sink) line(at time.Time, requestID string, line []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs.Append(s.account, s.group, s.stream, at, requestID, line)
	s.keep(line)
}

// keep appends to the tail, a ring of at most twice what is given out.
func (s *sink) keep(b []byte) {
	if len(b) > invocation.LogTail {
		b = b[len(b)-invocation.LogTail:]
	}
	s.tail = append(s.tail, b...)
	if n := len(b); n > 0 && b[n-1] != '\n' {
		s.tail = append(s.tail, '\n')
	}
	if over := len(s.tail) - invocation.LogTail; over > invocation.LogTail {
		s.tail = append(s.tail[:0], s.tail[over:]...)
	}
}

// begin forgets the tail of the invoke before.
func (s *sink) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tail = s.tail[:0]
}

// end returns a copy of the tail.
func (s *sink) end() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tail
	if over := len(t) - invocation.LogTail; over > 0 {
		t = t[over:]
	}
	return append([]byte(nil), t...)
}
