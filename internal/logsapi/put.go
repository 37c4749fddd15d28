package logsapi

import (
	"context"
	"time"

	"hearth/internal/logstore"
)

// Bounds of PutLogEvents, from AWS's reference of the operation.
const (
	maxBatchBytes  = 1_048_576
	maxBatchEvents = 10_000
	eventOverhead  = 26 // counted for each event beside its message
	// maxMessage is the store's bound; AWS's was the same until 2025 and is
	// 1 MB since.
	maxMessage = 256 << 10
	batchSpan  = 24 * time.Hour
	tooNew     = 2 * time.Hour
	tooOld     = 14 * 24 * time.Hour
)

type putLogEventsRequest struct {
	streamRequest

	LogEvents []inputLogEvent `json:"logEvents"`
}

type inputLogEvent struct {
	Timestamp *int64 `json:"timestamp"`
	Message   string `json:"message"`
}

func (r *putLogEventsRequest) resources(sc scope) ([]string, error) {
	var c checks
	r.check(&c)
	if len(r.LogEvents) == 0 {
		c.add("'[]'", "logEvents", "Member must have length greater than or equal to 1")
	}
	c.length("logEvents", len(r.LogEvents), maxBatchEvents)
	for _, e := range r.LogEvents {
		if e.Timestamp == nil {
			c.add("null", "logEvents.member.timestamp", "Member must not be null")
		}
		c.number("logEvents.member.timestamp", e.Timestamp, 0, maxMillis)
		if e.Message == "" {
			c.add("''", "logEvents.member.message", "Member must have length greater than or equal to 1")
		}
		if len(c.problems) > 0 {
			break // one is enough: there may be 10,000 of them
		}
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	return []string{sc.streamARN(r.LogGroupName, r.LogStreamName)}, r.checkBatch()
}

func (r *putLogEventsRequest) checkBatch() error {
	bytes, last := 0, int64(0)
	for _, e := range r.LogEvents {
		if len(e.Message) > maxMessage {
			return invalid("Log event too large: %d bytes exceeds limit of %d", len(e.Message), maxMessage)
		}
		if *e.Timestamp < last {
			return invalid("Log events in a single PutLogEvents request must be in chronological order.")
		}
		last = *e.Timestamp
		bytes += len(e.Message) + eventOverhead
	}
	if bytes > maxBatchBytes {
		return invalid("Upload too large: %d bytes exceeds limit of %d", bytes, maxBatchBytes)
	}
	if last-*r.LogEvents[0].Timestamp > batchSpan.Milliseconds() {
		return invalid("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
	}
	return nil
}

type putLogEventsResponse struct {
	// NextSequenceToken is what AWS still answers and nobody needs.
	NextSequenceToken string    `json:"nextSequenceToken"`
	Rejected          *rejected `json:"rejectedLogEventsInfo,omitempty"`
}

// rejected says which events were not taken: those before an end, and those
// from a start on.
type rejected struct {
	TooNewStart *int `json:"tooNewLogEventStartIndex,omitempty"`
	TooOldEnd   *int `json:"tooOldLogEventEndIndex,omitempty"`
	ExpiredEnd  *int `json:"expiredLogEventEndIndex,omitempty"`
}

func (s *Service) putLogEvents(ctx context.Context, sc scope, in *putLogEventsRequest) (any, error) {
	g := sc.group(in.LogGroupName)
	info, ok := s.cfg.Store.Info(g)
	if !ok {
		return nil, errNoGroup
	}
	if err := s.needStream(ctx, g, in.LogStreamName); err != nil {
		return nil, err
	}
	first, end, refused := s.window(info, in.LogEvents)
	out := &putLogEventsResponse{NextSequenceToken: sequenceToken, Rejected: refused}
	if first >= end {
		return out, nil
	}
	events := make([]logstore.Event, 0, end-first)
	for _, e := range in.LogEvents[first:end] {
		events = append(events, logstore.Event{Time: time.UnixMilli(*e.Timestamp), Message: e.Message})
	}
	return out, s.cfg.Store.Put(g, in.LogStreamName, events)
}

const sequenceToken = "49600000000000000000000000000000000000000000000000000001"

func (s *Service) needStream(ctx context.Context, g logstore.Group, name string) error {
	if s.cfg.Store.StreamCreated(g, name) {
		return nil // who writes does not wait for those who read
	}
	ctx, done, err := s.scan(ctx)
	if err != nil {
		return err
	}
	defer done()
	known, err := s.cfg.Store.HasStream(ctx, g, name)
	if err == nil && !known {
		err = errNoStream
	}
	return err
}

// window finds the events that are neither too old nor too new.
func (s *Service) window(info logstore.GroupInfo, events []inputLogEvent) (first, end int, refused *rejected) {
	now := s.cfg.Now()
	old := countBefore(events, now.Add(-tooOld).UnixMilli())
	expired := 0
	if info.Retention > 0 {
		expired = countBefore(events, now.AddDate(0, 0, -info.Retention).UnixMilli())
	}
	end = countBefore(events, now.Add(tooNew).UnixMilli()+1)
	first = max(old, expired)
	if first == 0 && end == len(events) {
		return first, end, nil
	}
	refused = new(rejected)
	if old > 0 {
		refused.TooOldEnd = &old
	}
	if expired > 0 {
		refused.ExpiredEnd = &expired
	}
	if end < len(events) {
		refused.TooNewStart = &end
	}
	return first, end, refused
}

// countBefore counts the events before a time; they are in order.
func countBefore(events []inputLogEvent, at int64) int {
	for i, e := range events {
		if *e.Timestamp >= at {
			return i
		}
	}
	return len(events)
}
