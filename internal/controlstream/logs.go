package controlstream

import (
	"bufio"
	"io"
	"sync"

	"github.com/hashicorp/yamux"
)

// logReceiver reads the logs stream on the worker's side.
type logReceiver struct {
	frames frameReader
	sink   func(LogRecord)
	ended  chan struct{}

	mu    sync.Mutex
	moved sync.Cond // on mu: got or over has changed
	got   int64     // bytes given to sink
	over  bool
}

func newLogReceiver(raw *yamux.Stream, sink func(LogRecord), fail func(error)) *logReceiver {
	l := &logReceiver{
		frames: frameReader{r: bufio.NewReaderSize(raw, 4<<10)},
		sink:   sink,
		ended:  make(chan struct{}),
	}
	l.moved.L = &l.mu
	go func() {
		defer close(l.ended)
		err := l.receive()
		l.mu.Lock()
		l.over = true
		l.mu.Unlock()
		l.moved.Broadcast()
		fail(err)
	}()
	return l
}

func (l *logReceiver) receive() error {
	var id string
	var buf []byte
	for {
		fr, err := l.frames.next(frameLog)
		if err != nil {
			return err
		}
		rec, err := decodeLog(fr.header, id)
		if err != nil {
			return err
		}
		id = rec.RequestID
		if rec.Data, err = l.frames.body(fr, buf); err != nil {
			return err
		}
		if l.sink != nil {
			l.sink(rec)
		}
		l.mu.Lock()
		l.got += int64(len(rec.Data))
		l.mu.Unlock()
		l.moved.Broadcast()
		if buf = rec.Data; cap(buf) > oneWrite {
			buf = nil // most lines are short, and environments many
		}
	}
}

// wait returns once n bytes have been given to the sink.
func (l *logReceiver) wait(n int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.got < n && !l.over {
		l.moved.Wait()
	}
	if l.got < n {
		return io.ErrUnexpectedEOF
	}
	return nil
}
