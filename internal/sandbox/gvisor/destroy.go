package gvisor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"hearth/internal/mount"
)

// Destroy implements sandbox.Sandbox. When it fails, what is left can be
// destroyed by calling it again.
func (s *instance) Destroy(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dying = true
	if s.destroyed {
		return nil
	}
	if err := s.tearDown(ctx); err != nil {
		return fmt.Errorf("gvisor: destroy sandbox %s: %w", s.id, err)
	}
	s.destroyed = true
	s.driver.release(s.id)
	return nil
}

// tearDown goes from the processes outwards: each step relies on nothing
// using what it removes.
func (s *instance) tearDown(ctx context.Context) error {
	if err := s.group.Kill(ctx); err != nil {
		return err
	}
	if s.killer != nil {
		s.killer.stop()
	}
	s.sentry.close()
	if s.control != nil {
		s.control.close()
	}
	if s.watched {
		<-s.done // the process is dead: its pidfd tells at once
	} else {
		s.closeDone()
	}
	if s.network != nil {
		if err := s.network.Close(); err != nil {
			return err
		}
	}
	if err := mount.UnmountBelow(s.dir); err != nil {
		return err
	}
	if err := s.group.Remove(); err != nil {
		return err
	}
	return s.removeFiles()
}

// closeDone ends a sandbox that never began.
func (s *instance) closeDone() {
	select {
	case <-s.done:
	default:
		s.exit.Detail = "the sandbox did not start"
		close(s.done)
	}
}

func (s *instance) removeFiles() error {
	files, err := s.stateFiles()
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// Only now, with nothing mounted in it any more (invariant 3).
	return os.RemoveAll(s.dir)
}
