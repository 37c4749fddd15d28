package logsapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"

	"hearth/internal/awserr"
	"hearth/internal/logfilter"
	"hearth/internal/logstore"
)

// Bounds of Live Tail, from AWS's reference of StartLiveTail.
const (
	maxTailGroups   = 10
	maxSessions     = 15  // at once, of an account
	maxUpdateEvents = 500 // in an update, of which there is one a second
)

type startLiveTailRequest struct {
	LogGroupIdentifiers []string `json:"logGroupIdentifiers"`
	Streams             []string `json:"logStreamNames"`
	StreamPrefixes      []string `json:"logStreamNamePrefixes"`
	FilterPattern       string   `json:"logEventFilterPattern"`

	names   []string
	pattern *logfilter.Pattern
}

func (r *startLiveTailRequest) resources(sc scope) ([]string, error) {
	var c checks
	if len(r.LogGroupIdentifiers) == 0 {
		c.add("null", "logGroupIdentifiers", "Member must not be null")
	}
	c.length("logGroupIdentifiers", len(r.LogGroupIdentifiers), maxTailGroups)
	for _, id := range r.LogGroupIdentifiers {
		c.text("logGroupIdentifiers", id, true, maxIdentifier, identifierPattern)
	}
	c.streams("logStreamNames", r.Streams)
	c.streams("logStreamNamePrefixes", r.StreamPrefixes)
	c.text("logEventFilterPattern", r.FilterPattern, false, logfilter.MaxPattern, nil)
	if err := c.err(); err != nil {
		return nil, err
	}
	switch {
	case len(r.Streams) > 0 && len(r.StreamPrefixes) > 0:
		return nil, invalid("logStreamNames and logStreamNamePrefixes cannot be specified together.")
	case len(r.Streams)+len(r.StreamPrefixes) > 0 && len(r.LogGroupIdentifiers) > 1:
		return nil, invalid("logStreamNames and logStreamNamePrefixes can only be specified with one log group.")
	}
	var err error
	if r.pattern, err = parsePattern(r.FilterPattern); err != nil {
		return nil, err
	}
	var arns []string
	for _, id := range r.LogGroupIdentifiers {
		name, err := sc.identified(id)
		if err != nil {
			return nil, err
		}
		r.names = append(r.names, name)
		arns = append(arns, sc.streamARN(name, ""))
	}
	return arns, nil
}

func (r *startLiveTailRequest) selects(e *logstore.Event) bool {
	if len(r.Streams) > 0 && !slices.Contains(r.Streams, e.Stream) {
		return false
	}
	if len(r.StreamPrefixes) > 0 && !slices.ContainsFunc(r.StreamPrefixes, func(p string) bool { return strings.HasPrefix(e.Stream, p) }) {
		return false
	}
	return r.pattern.Match(e.Message)
}

// Tail serves StartLiveTail: it calls send with the messages of the answer's
// event stream until the session or the client's ctx ends, or send fails. What
// goes wrong after the first of them is also a message of its own.
func (s *Service) Tail(ctx context.Context, account, requestID string, body []byte, allow Allow, send func(message []byte) error) error {
	sc, in := scope{s.cfg.Region, account}, new(startLiveTailRequest)
	if err := decode(body, in); err != nil {
		return err
	}
	if err := authorize(sc, "StartLiveTail", in, allow); err != nil {
		return err
	}
	for _, name := range in.names {
		if _, ok := s.cfg.Store.Info(sc.group(name)); !ok {
			return errNoGroup
		}
	}
	if err := s.begin(account); err != nil {
		return err
	}
	defer s.end(account)
	ctx, cancel := context.WithCancel(ctx)
	t := &tail{service: s, scope: sc, in: in, send: send, broken: make(chan error, len(in.names))}
	defer t.followers.Wait()
	defer cancel()
	for _, name := range in.names {
		// What is written once the client knows that the session has begun
		// belongs to it.
		from, err := s.cfg.Store.End(sc.group(name))
		if err != nil {
			return err
		}
		t.followers.Go(func() { t.follow(ctx, name, from) })
	}
	return t.run(ctx, requestID)
}

// begin counts a session in, if there may be one more.
func (s *Service) begin(account string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[account] >= maxSessions {
		return awserr.New("LimitExceededException", "There are %d Live Tail sessions, which is the most at once. End one of them.", maxSessions)
	}
	s.sessions[account]++
	return nil
}

func (s *Service) end(account string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[account]--; s.sessions[account] == 0 {
		delete(s.sessions, account)
	}
}

// tail is a session.
type tail struct {
	service   *Service
	scope     scope
	in        *startLiveTailRequest
	send      func([]byte) error
	broken    chan error // what ended the reading of a log
	followers sync.WaitGroup

	mu sync.Mutex
	// events is the next update; sampled says that some did not fit.
	events  []liveTailEvent
	bytes   int
	sampled bool
}

type liveTailEvent struct {
	LogStreamName      string `json:"logStreamName"`
	LogGroupIdentifier string `json:"logGroupIdentifier"`
	Message            string `json:"message"`
	Timestamp          int64  `json:"timestamp"`
	IngestionTime      int64  `json:"ingestionTime"`
}

// follow collects what comes in a group.
func (t *tail) follow(ctx context.Context, name string, from logstore.Position) {
	identifier := t.scope.account + ":" + name
	err := t.service.cfg.Store.FollowFrom(ctx, t.scope.group(name), from, func(e logstore.Event) error {
		if t.in.selects(&e) {
			t.add(identifier, &e)
		}
		return nil
	})
	if ctx.Err() == nil {
		t.broken <- err
	}
}

func (t *tail) add(group string, e *logstore.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.events) >= maxUpdateEvents || len(t.events) > 0 && t.bytes+len(e.Message) > maxPageBytes {
		t.sampled = true
		return
	}
	at := e.Time.UnixMilli()
	t.events = append(t.events, liveTailEvent{e.Stream, group, e.Message, at, at})
	t.bytes += len(e.Message)
}

type sessionStart struct {
	RequestID           string   `json:"requestId"`
	SessionID           string   `json:"sessionId"`
	LogGroupIdentifiers []string `json:"logGroupIdentifiers"`
	Streams             []string `json:"logStreamNames,omitempty"`
	StreamPrefixes      []string `json:"logStreamNamePrefixes,omitempty"`
	FilterPattern       string   `json:"logEventFilterPattern,omitempty"`
}

type sessionUpdate struct {
	Metadata struct {
		Sampled bool `json:"sampled"`
	} `json:"sessionMetadata"`
	Results []liveTailEvent `json:"sessionResults"`
}

// run sends the session's messages.
func (t *tail) run(ctx context.Context, requestID string) error {
	// AWS's JSON protocol begins a stream with the members of the answer that
	// are not in it, of which there are none; botocore wants it.
	if err := t.event("initial-response", struct{}{}); err != nil {
		return err
	}
	err := t.event("sessionStart", sessionStart{
		RequestID: requestID, SessionID: requestID, LogGroupIdentifiers: t.in.LogGroupIdentifiers,
		Streams: t.in.Streams, StreamPrefixes: t.in.StreamPrefixes, FilterPattern: t.in.FilterPattern,
	})
	if err != nil {
		return err
	}
	tick := time.NewTicker(t.service.cfg.TailInterval)
	defer tick.Stop()
	limit := time.NewTimer(t.service.cfg.TailLimit)
	defer limit.Stop()
	for {
		select {
		case <-tick.C:
			if err := t.event("sessionUpdate", t.update()); err != nil {
				return err
			}
		case <-limit.C:
			return t.exception("SessionTimeoutException", "The session has reached its longest time. Start another.")
		case <-t.service.stop:
			return t.exception("SessionStreamingException", "The server is stopping. Start another session.")
		case err := <-t.broken:
			return errors.Join(err, t.exception("SessionStreamingException", "The log could not be read on. Start another session."))
		case <-ctx.Done():
			return nil
		}
	}
}

// update takes what has been collected.
func (t *tail) update() *sessionUpdate {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := &sessionUpdate{Results: t.events}
	if u.Results == nil {
		u.Results = []liveTailEvent{}
	}
	u.Metadata.Sampled = t.sampled
	t.events, t.bytes, t.sampled = nil, 0, false
	return u
}

func (t *tail) event(kind string, payload any) error {
	return t.message(payload, "event", ":event-type", kind)
}

func (t *tail) exception(kind, text string) error {
	return t.message(map[string]string{"message": text}, "exception", ":exception-type", kind)
}

// message sends one message of AWS's event stream encoding.
func (t *tail) message(payload any, messageType, kindHeader, kind string) error {
	body, err := json.Marshal(payload)
	if err != nil {
		return fmt.Errorf("logsapi: encode %s: %w", kind, err)
	}
	var m eventstream.Message
	m.Headers.Set(":message-type", eventstream.StringValue(messageType))
	m.Headers.Set(kindHeader, eventstream.StringValue(kind))
	m.Headers.Set(":content-type", eventstream.StringValue("application/json"))
	m.Payload = body
	var b bytes.Buffer
	if err := eventstream.NewEncoder().Encode(&b, m); err != nil {
		return fmt.Errorf("logsapi: encode %s: %w", kind, err)
	}
	return t.send(b.Bytes())
}
