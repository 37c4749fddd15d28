package control

import (
	"context"
	"math"

	"hearth/internal/arn"
	"hearth/internal/awserr"
	"hearth/internal/eventsource"
	"hearth/internal/table"
)

// CreateMapping creates an event source mapping of what its owner said; it is
// Creating until its source is polled.
func (s *Service) CreateMapping(ctx context.Context, asked *eventsource.Mapping) (*eventsource.Mapping, error) {
	m := asked.Clone()
	m.Region, m.UUID, m.Version = s.cfg.Region, newRevisionID(), 1
	m.State, m.LastModified = eventsource.Creating, s.now()
	m.Complete()
	if err := s.checkMapping(m, true); err != nil {
		return nil, err
	}
	s.mappingMu.Lock()
	defer s.mappingMu.Unlock()
	return s.changeMapping(ctx, m.Account, m.UUID, func(*eventsource.Mapping) (*eventsource.Mapping, error) {
		return m, s.mustBeUnlike(m)
	})
}

// UpdateMapping makes a change of a mapping's settings, which apply makes in a
// private copy. It may be called more than once.
func (s *Service) UpdateMapping(ctx context.Context, account, uuid string, apply func(next *eventsource.Mapping) error) (*eventsource.Mapping, error) {
	s.mappingMu.Lock()
	defer s.mappingMu.Unlock()
	return s.changeMapping(ctx, account, uuid, func(now *eventsource.Mapping) (*eventsource.Mapping, error) {
		if now == nil {
			return nil, noMapping()
		}
		if !now.State.Settled() {
			return nil, awserr.New("ResourceInUseException", "Cannot update the event source mapping because it is in use.")
		}
		next := now.Clone()
		if err := apply(next); err != nil {
			return nil, err
		}
		next.Complete()
		if err := s.checkMapping(next, next.Function != now.Function); err != nil {
			return nil, err
		}
		next.Version++
		next.LastModified = s.now()
		switch {
		case next.Enabled == now.Enabled:
			next.State = eventsource.Updating
		case next.Enabled:
			next.State = eventsource.Enabling
		default:
			next.State = eventsource.Disabling
		}
		return next, s.mustBeUnlike(next)
	})
}

// DeleteMapping begins to delete a mapping: it is Deleting until its source is
// polled no more.
func (s *Service) DeleteMapping(ctx context.Context, account, uuid string) (*eventsource.Mapping, error) {
	return s.changeMapping(ctx, account, uuid, func(now *eventsource.Mapping) (*eventsource.Mapping, error) {
		if now == nil {
			return nil, noMapping()
		}
		if !now.State.Settled() {
			return nil, awserr.New("ResourceInUseException", "Cannot delete the event source mapping because it is in use.")
		}
		next := now.Clone()
		next.Version++
		next.State, next.Reason, next.LastModified = eventsource.Deleting, now.Kind().Reason, s.now()
		return next, nil
	})
}

// Mapping returns an event source mapping.
func (s *Service) Mapping(_ context.Context, account, uuid string) (*eventsource.Mapping, error) {
	m, ok := s.cfg.Catalog.EventSources.Lookup(table.Key{Account: account, Name: uuid})
	if !ok {
		return nil, noMapping()
	}
	return m, nil
}

// Mappings returns up to limit mappings of an account in the order of their
// UUIDs, beginning after one: those of a source and a function, if they are
// not empty. If there may be more, next is what to give as after for them.
func (s *Service) Mappings(_ context.Context, account, source, functionARN, after string, limit int) (list []*eventsource.Mapping, next string, err error) {
	for _, m := range s.cfg.Catalog.EventSources.List(account, "", after, math.MaxInt) {
		if source != "" && m.ARN != source || functionARN != "" && m.Function != functionARN {
			continue
		}
		if len(list) == limit {
			return list, list[limit-1].UUID, nil
		}
		list = append(list, m)
	}
	return list, "", nil
}

// TagMapping adds tags to a mapping and removes others.
func (s *Service) TagMapping(ctx context.Context, account, uuid string, add map[string]string, remove []string) error {
	_, err := s.changeMapping(ctx, account, uuid, func(now *eventsource.Mapping) (*eventsource.Mapping, error) {
		if now == nil {
			return nil, noMapping()
		}
		next := now.Clone()
		var err error
		next.Tags, err = retag(next.Tags, add, remove)
		return next, err
	})
	return err
}

func (s *Service) changeMapping(ctx context.Context, account, uuid string, f table.Edit[eventsource.Mapping]) (*eventsource.Mapping, error) {
	m, err := s.cfg.Catalog.EventSources.Change(ctx, table.Key{Account: account, Name: uuid}, f)
	if err != nil {
		return nil, storeError(err)
	}
	return m, nil
}

// checkMapping checks what a mapping says, and if its function is new also
// that there is one. Later the function may go away: AWS keeps its mappings.
func (s *Service) checkMapping(m *eventsource.Mapping, newFunction bool) error {
	if err := m.Check(s.now()); err != nil || !newFunction {
		return err
	}
	ref, err := arn.Parse(m.Function)
	if err == nil && ref.Account == m.Account && ref.Region == s.cfg.Region {
		if r, ok := s.cfg.Catalog.Lookup(m.Account, ref.Name); ok && s.hasTarget(r, ref.Qualifier) {
			return nil
		}
	}
	return awserr.New("InvalidParameterValueException", "Function does not exist")
}

// mustBeUnlike refuses a mapping that another one is like already.
func (s *Service) mustBeUnlike(m *eventsource.Mapping) error {
	for _, other := range s.cfg.Catalog.EventSources.List(m.Account, "", "", math.MaxInt) {
		if err := m.Conflict(other); err != nil {
			return err
		}
	}
	return nil
}

func noMapping() error {
	return awserr.New("ResourceNotFoundException", "The resource you requested does not exist.")
}
