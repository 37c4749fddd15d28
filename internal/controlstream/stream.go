package controlstream

import (
	"fmt"
	"io"
	"sync"

	"hearth/internal/invocation"
)

// Stream takes an answer that comes in pieces. What has come and was not yet
// taken is in memory, at most Window bytes: hearth-init sends no more before
// it gets credit, which it gets for what was taken. So whoever takes slowly
// holds up the function, and nothing else on the connection.
//
// One goroutine takes: Head, then CopyTo.
type Stream struct {
	mu    sync.Mutex
	moved sync.Cond
	head  *StreamHead
	ring  []byte
	at    int // of the first byte
	size  int // how many there are
	total int64
	ended bool

	// credit lets hearth-init send n more bytes.
	credit func(n int)
}

// NewStream makes a Stream for one invoke.
func NewStream() *Stream {
	st := new(Stream)
	st.moved.L = &st.mu
	return st
}

// Head waits for the beginning of the answer. It is nil if the answer has
// not come in pieces, or will never come.
func (st *Stream) Head() *StreamHead {
	st.mu.Lock()
	defer st.mu.Unlock()
	for st.head == nil && !st.ended {
		st.moved.Wait()
	}
	return st.head
}

// CopyTo passes pieces on to w until the answer has ended. After an error of
// w the rest is thrown away, and the error returned at the end: the function
// does not care who listens.
func (st *Stream) CopyTo(w io.Writer) (err error) {
	owed := 0
	for {
		piece := st.next()
		if len(piece) == 0 {
			return err
		}
		if err == nil {
			_, err = w.Write(piece)
		}
		// Half a window at a time: a frame for less would cost more than it
		// helps.
		if owed += len(piece); st.release(len(piece)) && owed >= Window/2 {
			st.credit(owed)
			owed = 0
		}
	}
}

// next waits for bytes; there are none at the end.
func (st *Stream) next() []byte {
	st.mu.Lock()
	defer st.mu.Unlock()
	for st.size == 0 && !st.ended {
		st.moved.Wait()
	}
	return st.ring[st.at:min(st.at+st.size, len(st.ring))]
}

// release gives back the room of n bytes and says whether it is wanted.
func (st *Stream) release(n int) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.at = (st.at + n) % len(st.ring)
	st.size -= n
	return !st.ended
}

// end says that nothing comes any more.
func (st *Stream) end() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.ended = true
	st.moved.Broadcast()
}

// begin makes room.
func (st *Stream) begin(head *StreamHead) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.head != nil {
		return fmt.Errorf("%w: a second beginning of an answer", ErrProtocol)
	}
	st.head, st.ring = head, make([]byte, Window)
	st.moved.Broadcast()
	return nil
}

func (st *Stream) begun() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.head != nil
}

// receive reads a piece of n bytes into the ring. It is for one goroutine.
func (st *Stream) receive(from io.Reader, n int) error {
	st.mu.Lock()
	room := len(st.ring) - st.size
	st.mu.Unlock()
	switch {
	case n == 0:
		return fmt.Errorf("%w: an empty piece", ErrProtocol)
	case n > room:
		return fmt.Errorf("%w: a piece of %d bytes with credit for %d", ErrProtocol, n, room)
	case st.total+int64(n) > invocation.MaxStream:
		return fmt.Errorf("%w: an answer of more than %d bytes", ErrProtocol, invocation.MaxStream)
	}
	// Nobody else touches the free part.
	st.mu.Lock()
	at := (st.at + st.size) % len(st.ring)
	st.mu.Unlock()
	first := min(n, len(st.ring)-at)
	if err := readFull(from, st.ring[at:at+first]); err != nil {
		return err
	}
	if err := readFull(from, st.ring[:n-first]); err != nil {
		return err
	}
	st.total += int64(n)
	st.mu.Lock()
	defer st.mu.Unlock()
	st.size += n
	st.moved.Broadcast()
	return nil
}
