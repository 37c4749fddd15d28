package logsapi

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/logstore"
)

// streamRequest is a request that only names a stream.
type streamRequest struct {
	LogGroupName  string `json:"logGroupName"`
	LogStreamName string `json:"logStreamName"`
}

func (r *streamRequest) check(c *checks) {
	c.group(r.LogGroupName, true)
	c.stream(r.LogStreamName, true)
}

func (r *streamRequest) resources(sc scope) ([]string, error) {
	var c checks
	r.check(&c)
	return []string{sc.streamARN(r.LogGroupName, r.LogStreamName)}, c.err()
}

// createLogStreamRequest is checked against the group, as there is no stream
// yet that could be named.
type createLogStreamRequest struct{ streamRequest }

func (r *createLogStreamRequest) resources(sc scope) ([]string, error) {
	var c checks
	r.check(&c)
	return []string{sc.streamARN(r.LogGroupName, "")}, c.err()
}

func (s *Service) createLogStream(ctx context.Context, sc scope, in *createLogStreamRequest) (any, error) {
	ctx, done, err := s.scan(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	err = s.cfg.Store.CreateStream(ctx, sc.group(in.LogGroupName), in.LogStreamName)
	if errors.Is(err, logstore.ErrExists) {
		return nil, awserr.New("ResourceAlreadyExistsException", "The specified log stream already exists")
	}
	return nil, err
}

func (s *Service) deleteLogStream(ctx context.Context, sc scope, in *streamRequest) (any, error) {
	ctx, done, err := s.scan(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return nil, s.cfg.Store.DeleteStream(ctx, sc.group(in.LogGroupName), in.LogStreamName)
}

const byTime = "LastEventTime"

type describeLogStreamsRequest struct {
	LogGroupName       string `json:"logGroupName"`
	LogGroupIdentifier string `json:"logGroupIdentifier"`
	Prefix             string `json:"logStreamNamePrefix"`
	OrderBy            string `json:"orderBy"`
	Descending         bool   `json:"descending"`
	NextToken          string `json:"nextToken"`
	Limit              *int64 `json:"limit"`
}

func (r *describeLogStreamsRequest) resources(sc scope) ([]string, error) {
	var c checks
	c.group(r.LogGroupName, false)
	c.identifier(r.LogGroupIdentifier)
	c.text("logStreamNamePrefix", r.Prefix, false, maxName, streamPattern)
	c.enum("orderBy", r.OrderBy, "LogStreamName", byTime)
	c.number("limit", r.Limit, 1, maxDescribe)
	c.token(r.NextToken)
	if err := c.err(); err != nil {
		return nil, err
	}
	if r.OrderBy == byTime && r.Prefix != "" {
		return nil, invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
	}
	name, err := sc.resolve(r.LogGroupName, r.LogGroupIdentifier)
	r.LogGroupName, r.LogGroupIdentifier = name, ""
	return []string{sc.streamARN(name, "")}, err
}

type describeLogStreamsResponse struct {
	LogStreams []logStream `json:"logStreams"`
	NextToken  string      `json:"nextToken,omitempty"`
}

type logStream struct {
	LogStreamName       string `json:"logStreamName"`
	CreationTime        int64  `json:"creationTime"`
	FirstEventTimestamp int64  `json:"firstEventTimestamp,omitempty"`
	LastEventTimestamp  int64  `json:"lastEventTimestamp,omitempty"`
	LastIngestionTime   int64  `json:"lastIngestionTime,omitempty"`
	ARN                 string `json:"arn"`
	StoredBytes         int64  `json:"storedBytes"` // always 0, as on AWS since 2019
}

func (s *Service) describeLogStreams(ctx context.Context, sc scope, in *describeLogStreamsRequest) (any, error) {
	ctx, done, err := s.scan(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	all, err := s.cfg.Store.Streams(ctx, sc.group(in.LogGroupName))
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(i logstore.StreamInfo) bool { return !strings.HasPrefix(i.Name, in.Prefix) })
	slices.SortFunc(all, in.compare)
	if in.NextToken != "" {
		last, err := in.last()
		if err != nil {
			return nil, err
		}
		i, found := slices.BinarySearchFunc(all, last, in.compare)
		if found {
			i++
		}
		all = all[i:]
	}
	out := &describeLogStreamsResponse{LogStreams: []logStream{}}
	limit := int(orDefault(in.Limit, maxDescribe))
	for _, i := range all[:min(limit, len(all))] {
		stream := logStream{LogStreamName: i.Name, CreationTime: i.Created.UnixMilli(), ARN: sc.streamARN(in.LogGroupName, i.Name)}
		if !i.First.IsZero() {
			stream.FirstEventTimestamp, stream.LastEventTimestamp = i.First.UnixMilli(), i.Last.UnixMilli()
			stream.LastIngestionTime = stream.LastEventTimestamp
		}
		out.LogStreams = append(out.LogStreams, stream)
	}
	if len(all) > limit {
		last := all[limit-1]
		out.NextToken = encodeName(strconv.FormatInt(nanos(last.Last), 10) + "/" + last.Name)
	}
	return out, nil
}

// compare is the order that the request wants.
func (r *describeLogStreamsRequest) compare(a, b logstore.StreamInfo) int {
	order := strings.Compare(a.Name, b.Name)
	if r.OrderBy == byTime {
		order = cmp.Or(cmp.Compare(nanos(a.Last), nanos(b.Last)), order)
	}
	if r.Descending {
		return -order
	}
	return order
}

// last is the last stream of the page before.
func (r *describeLogStreamsRequest) last() (logstore.StreamInfo, error) {
	token, err := decodeName(r.NextToken)
	if err != nil {
		return logstore.StreamInfo{}, err
	}
	stamp, name, _ := strings.Cut(token, "/")
	at, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return logstore.StreamInfo{}, errToken
	}
	return logstore.StreamInfo{Name: name, Last: time.Unix(0, at)}, nil
}

// nanos is a time as a number; -1 for that of a stream without events.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return -1
	}
	return t.UnixNano()
}
