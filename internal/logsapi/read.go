package logsapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"hearth/internal/logfilter"
	"hearth/internal/logstore"
)

type getLogEventsRequest struct {
	times

	LogGroupName       string `json:"logGroupName"`
	LogGroupIdentifier string `json:"logGroupIdentifier"`
	LogStreamName      string `json:"logStreamName"`
	NextToken          string `json:"nextToken"`
	Limit              *int64 `json:"limit"`
	StartFromHead      bool   `json:"startFromHead"`
}

func (r *getLogEventsRequest) resources(sc scope) ([]string, error) {
	var c checks
	c.group(r.LogGroupName, false)
	c.identifier(r.LogGroupIdentifier)
	c.stream(r.LogStreamName, true)
	c.number("limit", r.Limit, 1, maxEvents)
	c.token(r.NextToken)
	r.times.check(&c)
	if err := c.err(); err != nil {
		return nil, err
	}
	name, err := sc.resolve(r.LogGroupName, r.LogGroupIdentifier)
	r.LogGroupName, r.LogGroupIdentifier = name, ""
	return []string{sc.streamARN(name, r.LogStreamName)}, err
}

type getLogEventsResponse struct {
	Events            []outputLogEvent `json:"events"`
	NextForwardToken  string           `json:"nextForwardToken"`
	NextBackwardToken string           `json:"nextBackwardToken"`
}

type outputLogEvent struct {
	Timestamp     int64  `json:"timestamp"`
	Message       string `json:"message"`
	IngestionTime int64  `json:"ingestionTime"`
}

// Tokens of GetLogEvents say the direction and from where, such as "f/" and
// the cursor of the event behind which the next page begins.
const (
	forward  = "f/"
	backward = "b/"
)

func (s *Service) getLogEvents(ctx context.Context, sc scope, in *getLogEventsRequest) (any, error) {
	p := &page{limit: int(orDefault(in.Limit, maxEvents)), last: !in.StartFromHead}
	var from *cursor
	if in.NextToken != "" {
		direction, text := in.NextToken[:min(2, len(in.NextToken))], in.NextToken[min(2, len(in.NextToken)):]
		c, err := parseCursor(text)
		if err != nil || direction != forward && direction != backward {
			return nil, errToken
		}
		from, p.last = &c, direction == backward
	}
	ctx, done, err := s.scan(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	g := sc.group(in.LogGroupName)
	seen := false
	_, err = s.cfg.Store.Scan(ctx, g, logstore.Position{}, func(e logstore.Event) error {
		if e.Stream != in.LogStreamName {
			return nil
		}
		seen = true
		if in.excludesEnd(&e) && (from == nil || (cursorOf(&e).compare(*from) < 0) == p.last && cursorOf(&e) != *from) {
			p.offer(e)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !seen {
		if known, err := s.cfg.Store.HasStream(ctx, g, in.LogStreamName); err != nil || !known {
			return nil, or(err, errNoStream)
		}
	}
	return in.answer(p, from), nil
}

func or(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// answer makes the tokens for both directions. At an end the token is the one
// that came, as AWS documents: that is how a client knows.
func (r *getLogEventsRequest) answer(p *page, from *cursor) *getLogEventsResponse {
	events := p.take()
	out := &getLogEventsResponse{Events: make([]outputLogEvent, 0, len(events))}
	for _, e := range events {
		at := e.Time.UnixMilli()
		out.Events = append(out.Events, outputLogEvent{Timestamp: at, Message: e.Message, IngestionTime: at})
	}
	var first, last cursor
	switch {
	case len(events) > 0:
		first, last = cursorOf(&events[0]), cursorOf(&events[len(events)-1])
	case from == nil: // before all that will come
	case p.last:
		first, last = *from, from.before()
	default:
		first, last = from.after(), *from
	}
	out.NextForwardToken, out.NextBackwardToken = forward+last.String(), backward+first.String()
	return out
}

type filterLogEventsRequest struct {
	times

	LogGroupName       string   `json:"logGroupName"`
	LogGroupIdentifier string   `json:"logGroupIdentifier"`
	Streams            []string `json:"logStreamNames"`
	StreamPrefix       string   `json:"logStreamNamePrefix"`
	FilterPattern      string   `json:"filterPattern"`
	NextToken          string   `json:"nextToken"`
	Limit              *int64   `json:"limit"`

	pattern *logfilter.Pattern
}

func (r *filterLogEventsRequest) resources(sc scope) ([]string, error) {
	var c checks
	c.group(r.LogGroupName, false)
	c.identifier(r.LogGroupIdentifier)
	c.streams("logStreamNames", r.Streams)
	c.text("logStreamNamePrefix", r.StreamPrefix, false, maxName, streamPattern)
	c.text("filterPattern", r.FilterPattern, false, logfilter.MaxPattern, nil)
	c.number("limit", r.Limit, 1, maxEvents)
	c.token(r.NextToken)
	r.times.check(&c)
	if err := c.err(); err != nil {
		return nil, err
	}
	switch {
	case len(r.Streams) > 0 && r.StreamPrefix != "":
		return nil, invalid("logStreamNames and logStreamNamePrefix cannot be specified together.")
	case r.Start != nil && r.End != nil && *r.Start > *r.End:
		return nil, invalid("startTime cannot be after endTime.")
	}
	var err error
	if r.pattern, err = parsePattern(r.FilterPattern); err != nil {
		return nil, err
	}
	name, err := sc.resolve(r.LogGroupName, r.LogGroupIdentifier)
	r.LogGroupName, r.LogGroupIdentifier = name, ""
	return []string{sc.streamARN(name, "")}, err
}

// streams checks a list of names.
func (c *checks) streams(member string, names []string) {
	c.length(member, len(names), 100)
	for _, name := range names {
		c.text(member, name, true, maxName, streamPattern)
		if len(c.problems) > 8 {
			return // enough said
		}
	}
}

func parsePattern(text string) (*logfilter.Pattern, error) {
	p, err := logfilter.Parse(text)
	if err != nil {
		return nil, invalid("Invalid %s", err)
	}
	return p, nil
}

type filterLogEventsResponse struct {
	Events             []filteredLogEvent `json:"events"`
	SearchedLogStreams []struct{}         `json:"searchedLogStreams"` // always empty, as on AWS
	NextToken          string             `json:"nextToken,omitempty"`
}

type filteredLogEvent struct {
	LogStreamName string `json:"logStreamName"`
	Timestamp     int64  `json:"timestamp"`
	Message       string `json:"message"`
	IngestionTime int64  `json:"ingestionTime"`
	EventID       string `json:"eventId"`
}

func (s *Service) filterLogEvents(ctx context.Context, sc scope, in *filterLogEventsRequest) (any, error) {
	var from *cursor
	if in.NextToken != "" {
		c, err := in.parseToken()
		if err != nil {
			return nil, err
		}
		from = &c
	}
	ctx, done, err := s.scan(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	g := sc.group(in.LogGroupName)
	p := &page{limit: int(orDefault(in.Limit, maxEvents))}
	seen := make(map[string]bool)
	_, err = s.cfg.Store.Scan(ctx, g, logstore.Position{}, func(e logstore.Event) error {
		if len(in.Streams) > 0 {
			if !slices.Contains(in.Streams, e.Stream) {
				return nil
			}
			seen[e.Stream] = true
		}
		if strings.HasPrefix(e.Stream, in.StreamPrefix) && in.includes(&e) &&
			(from == nil || cursorOf(&e).compare(*from) > 0) && in.pattern.Match(e.Message) {
			p.offer(e)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, name := range in.Streams {
		if seen[name] {
			continue
		}
		if known, err := s.cfg.Store.HasStream(ctx, g, name); err != nil || !known {
			return nil, or(err, errNoStream)
		}
	}
	return in.answer(p), nil
}

func (r *filterLogEventsRequest) answer(p *page) *filterLogEventsResponse {
	events := p.take()
	out := &filterLogEventsResponse{Events: make([]filteredLogEvent, 0, len(events)), SearchedLogStreams: []struct{}{}}
	for _, e := range events {
		at := e.Time.UnixMilli()
		out.Events = append(out.Events, filteredLogEvent{
			LogStreamName: e.Stream, Timestamp: at, Message: e.Message, IngestionTime: at, EventID: cursorOf(&e).String(),
		})
	}
	if p.more {
		out.NextToken = r.fingerprint() + cursorOf(&events[len(events)-1]).String()
	}
	return out
}

// fingerprint ties a token to the request that it continues: with another
// filter it would skip events without a word.
func (r *filterLogEventsRequest) fingerprint() string {
	b, err := json.Marshal([]any{r.LogGroupName, r.Streams, r.StreamPrefix, r.FilterPattern, r.Start, r.End})
	if err != nil {
		panic("logsapi: fingerprint: " + err.Error()) // strings and numbers
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

func (r *filterLogEventsRequest) parseToken() (cursor, error) {
	text, ok := strings.CutPrefix(r.NextToken, r.fingerprint())
	if !ok {
		return cursor{}, errToken
	}
	return parseCursor(text)
}
