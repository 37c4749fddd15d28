package logstore

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Follow calls fn for a group's events from a time on, those that are there
// and then those that come, in the order they were written, until ctx ends or
// fn returns an error, which is returned. Events that were rotated away before
// they were read are missed.
func (r *Reader) Follow(ctx context.Context, g Group, since time.Time, fn func(Event) error) error {
	return r.FollowFrom(ctx, g, Position{}, func(e Event) error {
		if e.Time.Before(since) {
			return nil
		}
		return fn(e)
	})
}

// End is the position behind what has been written to a group so far.
func (r *Reader) End(g Group) (Position, error) {
	if r.flush != nil {
		r.flush()
	}
	return end(g.path(r.dir))
}

// FollowFrom is Follow for the events from a position on.
func (r *Reader) FollowFrom(ctx context.Context, g Group, from Position, fn func(Event) error) error {
	for {
		// Taken before reading, so that what is written meanwhile is noticed.
		news := r.written.wait()
		var err error
		if from, err = r.scan(ctx, g, from, fn); err != nil && !errors.Is(err, ErrNoGroup) {
			return err
		}
		timer := time.NewTimer(pollInterval)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-news:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// signal wakes everyone who waits for it.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

func newSignal() *signal { return &signal{ch: make(chan struct{})} }

// wait returns a channel that the next raise closes; never closed if s is nil.
func (s *signal) wait() <-chan struct{} {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ch
}

func (s *signal) raise() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.ch)
	s.ch = make(chan struct{})
}
