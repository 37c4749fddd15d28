package control

import (
	"context"
	"fmt"
	"log/slog"

	"hearth/internal/eventsource"
	"hearth/internal/table"
)

// Poller polls event sources for mappings.
type Poller interface {
	// Follow begins, changes or ends the polling of a mapping's source, as its
	// state (Creating, Enabling, Disabling, Updating or Deleting) and settings
	// say. It is called again until it succeeds once.
	Follow(ctx context.Context, m *eventsource.Mapping) error
}

// unpolled is the Poller of a Hearth without an engine for event sources.
type unpolled struct{}

func (unpolled) Follow(context.Context, *eventsource.Mapping) error { return nil }

// observeMapping queues mappings that are between two states. Those that a
// crash left so are reported, and queued, when the service starts.
func (s *Service) observeMapping(k table.Key, _, after *eventsource.Mapping) {
	if after != nil && !after.State.Settled() {
		s.unsettled.add(target{account: k.Account, name: k.Name})
	}
}

func (s *Service) settleLoop(ctx context.Context) {
	s.unsettled.serve(ctx, s.settle, func(t target, err error) {
		s.cfg.Log.LogAttrs(ctx, slog.LevelError, "control: cannot settle an event source mapping, trying again",
			slog.String("account", t.account), slog.String("uuid", t.name), slog.Any("error", err))
	})
}

// settle has the poller follow a mapping, and then moves the mapping to the
// state that lasts, or out of the world. One that was changed meanwhile is
// queued again by that change.
func (s *Service) settle(ctx context.Context, t target) error {
	m, ok := s.cfg.Catalog.EventSources.Lookup(table.Key{Account: t.account, Name: t.name})
	if !ok || m.State.Settled() {
		return nil
	}
	if err := s.cfg.Poller.Follow(ctx, m); err != nil {
		return fmt.Errorf("follow mapping %s: %w", m.UUID, err)
	}
	_, err := s.changeMapping(ctx, t.account, t.name, func(now *eventsource.Mapping) (*eventsource.Mapping, error) {
		if now == nil || now.Version != m.Version {
			return now, nil
		}
		if now.State == eventsource.Deleting {
			return nil, nil
		}
		next := now.Clone()
		next.State = eventsource.Disabled
		if next.Enabled {
			next.State = eventsource.Enabled
		}
		return next, nil
	})
	return err
}
