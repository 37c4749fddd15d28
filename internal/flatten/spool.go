package flatten

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// spool is the temporary file that contents are appended to. Runs of zeros are
// holes in it: they cost no disk, however many a layer has.
type spool struct {
	file    *os.File
	buf     []byte
	used    int
	flushed int64 // where buf begins in the file
}

const spoolBuffer = 256 << 10

var zeros [spoolBuffer]byte

func newSpool(dir string) (*spool, error) {
	f, err := temporary(dir)
	if err != nil {
		return nil, err
	}
	return &spool{file: f, buf: make([]byte, spoolBuffer)}, nil
}

// offset is where the next byte will be.
func (s *spool) offset() int64 { return s.flushed + int64(s.used) }

// readFrom appends exactly n bytes of r.
func (s *spool) readFrom(r io.Reader, n int64) error {
	for n > 0 {
		if s.used == len(s.buf) {
			if err := s.flush(); err != nil {
				return err
			}
		}
		room := s.buf[s.used:]
		m, err := io.ReadFull(r, room[:min(int64(len(room)), n)])
		s.used += m
		n -= int64(m)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Write appends bytes.
func (s *spool) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		if s.used == len(s.buf) {
			if err := s.flush(); err != nil {
				return n, err
			}
		}
		m := copy(s.buf[s.used:], p[n:])
		s.used += m
		n += m
	}
	return len(p), nil
}

// flush writes what is in the buffer.
func (s *spool) flush() error {
	var err error
	if !bytes.Equal(s.buf[:s.used], zeros[:s.used]) {
		_, err = s.file.WriteAt(s.buf[:s.used], s.flushed)
	}
	s.flushed += int64(s.used)
	s.used = 0
	if err != nil {
		return diskError{fmt.Errorf("temporary file: %w", err)}
	}
	return nil
}

// finish makes all of it readable; nothing is appended after it.
func (s *spool) finish() error {
	if err := s.flush(); err != nil {
		return err
	}
	s.buf = nil
	if err := s.file.Truncate(s.flushed); err != nil {
		return diskError{err}
	}
	return nil
}

func (s *spool) close() error { return s.file.Close() }

// diskError tells trouble of this machine from faults of a layer.
type diskError struct{ error }

func (e diskError) Unwrap() error { return e.error }
