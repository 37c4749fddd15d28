package gvisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// sentry talks to the sandbox's kernel over its control socket, to pause and
// resume all of its tasks.
//
// The cgroup freezer would be quicker but is not safe under systrap: freezing
// interrupts the stub threads that wait in a seccomp notification; frozen
// twice without a system call in between, the sentry finds the notification
// gone, gives the stub up and the guest's process dies by a signal
// (docs/sandbox.md has the measurement).
type sentry struct {
	socket string

	mu     sync.Mutex
	conn   net.Conn // kept from the first call on
	paused bool     // pauses add up in the sentry; ours do not
}

// maxReply bounds an answer of the sentry, which a hostile guest may have
// taken over.
const maxReply = 64 << 10

func (s *sentry) pause(ctx context.Context) error {
	return s.set(ctx, true, "containerManager.Pause")
}

func (s *sentry) resume(ctx context.Context) error {
	return s.set(ctx, false, "containerManager.Resume")
}

func (s *sentry) set(ctx context.Context, paused bool, method string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paused == paused {
		return nil
	}
	if err := s.call(ctx, method); err != nil {
		return fmt.Errorf("gvisor: %s: %w", method, err)
	}
	s.paused = paused
	return nil
}

// call makes one remote procedure call: a JSON object there, one back.
func (s *sentry) call(ctx context.Context, method string) error {
	if s.conn == nil {
		conn, err := dialShort(ctx, s.socket)
		if err != nil {
			return err
		}
		s.conn = conn
	}
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Now()) })
	defer stop()
	err := exchange(s.conn, method)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

func exchange(conn net.Conn, method string) error {
	call := struct {
		Method string    `json:"method"`
		Arg    *struct{} `json:"arg"`
	}{Method: method}
	if err := json.NewEncoder(conn).Encode(call); err != nil {
		return err
	}
	var reply struct {
		Success bool   `json:"success"`
		Err     string `json:"err"`
	}
	if err := json.NewDecoder(io.LimitReader(conn, maxReply)).Decode(&reply); err != nil {
		return err
	}
	if !reply.Success {
		return errors.New(reply.Err)
	}
	return nil
}

// close ends the conversation; the sandbox is dead.
func (s *sentry) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		_ = s.conn.Close() // nothing was left to say
	}
}

// dialShort dials a Unix socket whose path may exceed the 107 bytes that an
// address can hold.
func dialShort(ctx context.Context, socket string) (net.Conn, error) {
	dir, err := os.Open(filepath.Dir(socket))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", filepath.Join(fdPath(dir), filepath.Base(socket)))
}

// fdPath is a short path to an open directory.
func fdPath(dir *os.File) string {
	return filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())))
}
