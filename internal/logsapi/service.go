package logsapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/logstore"
	"hearth/internal/rootdir"
)

// Allow says whether the caller may do an action, in IAM's words such as
// logs:GetLogEvents, on resources. Its error goes to the caller.
type Allow = func(action string, resources []string) error

// Config is what the service needs.
type Config struct {
	Store  *logstore.Store
	Region string
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// TailInterval is how often a Live Tail tells news; AWS's 1 s if zero.
	TailInterval time.Duration
	// TailLimit is how long a Live Tail lasts; AWS's 3 h if zero.
	TailLimit time.Duration
}

// maxScans bounds the logs that are being read at once, each of which keeps a
// core busy.
const maxScans = 4

// scanTime bounds one reading of a log.
const scanTime = 30 * time.Second

// Service serves the operations.
type Service struct {
	cfg        Config
	operations map[string]operation
	scans      chan struct{}

	mu       sync.Mutex
	sessions map[string]int // Live Tails by account
	stop     chan struct{}
	stopped  bool
}

// New makes a service.
func New(cfg Config) (*Service, error) {
	if cfg.Store == nil || cfg.Region == "" {
		return nil, errors.New("logsapi: config: Store and Region must be set")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.TailInterval == 0 {
		cfg.TailInterval = time.Second
	}
	if cfg.TailLimit == 0 {
		cfg.TailLimit = 3 * time.Hour
	}
	s := &Service{
		cfg: cfg, scans: make(chan struct{}, maxScans), sessions: make(map[string]int), stop: make(chan struct{}),
	}
	s.operations = map[string]operation{
		"CreateLogGroup":        on(s.createLogGroup),
		"CreateLogStream":       on(s.createLogStream),
		"DeleteLogGroup":        on(s.deleteLogGroup),
		"DeleteLogStream":       on(s.deleteLogStream),
		"DeleteRetentionPolicy": on(s.deleteRetentionPolicy),
		"DescribeLogGroups":     on(s.describeLogGroups),
		"DescribeLogStreams":    on(s.describeLogStreams),
		"FilterLogEvents":       on(s.filterLogEvents),
		"GetLogEvents":          on(s.getLogEvents),
		"ListTagsForResource":   on(s.listTagsForResource),
		"ListTagsLogGroup":      on(s.listTagsLogGroup),
		"PutLogEvents":          on(s.putLogEvents),
		"PutRetentionPolicy":    on(s.putRetentionPolicy),
		"TagLogGroup":           on(s.tagLogGroup),
		"TagResource":           on(s.tagResource),
		"UntagLogGroup":         on(s.untagLogGroup),
		"UntagResource":         on(s.untagResource),
	}
	return s, nil
}

// Stop ends the Live Tails, and has new ones end at once.
func (s *Service) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.stopped = true
		close(s.stop)
	}
}

// request is a decoded request of an operation.
type request interface {
	// resources checks the request and returns the ARNs of what it is about.
	resources(s scope) ([]string, error)
}

// operation serves one operation on a request's body.
type operation func(ctx context.Context, sc scope, name string, body []byte, allow Allow) (any, error)

// on makes an operation of a method that takes its own request type.
func on[In any, P interface {
	*In
	request
}](serve func(ctx context.Context, sc scope, in P) (any, error),
) operation {
	return func(ctx context.Context, sc scope, name string, body []byte, allow Allow) (any, error) {
		in := P(new(In))
		if err := decode(body, in); err != nil {
			return nil, err
		}
		if err := authorize(sc, name, in, allow); err != nil {
			return nil, err
		}
		return serve(ctx, sc, in)
	}
}

func decode(body []byte, in any) error {
	if len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, in); err != nil {
		return awserr.New("SerializationException", "The body is not the JSON object that this operation takes.")
	}
	return nil
}

// authorize checks a request and asks whether it is allowed.
func authorize(sc scope, name string, in request, allow Allow) error {
	resources, err := in.resources(sc)
	if err != nil {
		return err
	}
	return allow("logs:"+name, resources)
}

// scan waits until a log may be read.
func (s *Service) scan(ctx context.Context) (context.Context, func(), error) {
	select {
	case s.scans <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, scanTime, errSlow)
	return ctx, func() {
		cancel()
		<-s.scans
	}, nil
}

var errSlow = awserr.New("ServiceUnavailableException",
	"Reading the log took too long. Ask for a simpler filter pattern; regular expressions over long lines take the most time.")

// words turns the store's errors into AWS's.
func words(err error) error {
	switch {
	case errors.Is(err, logstore.ErrNoGroup):
		return errNoGroup
	case errors.Is(err, logstore.ErrNoStream):
		return errNoStream
	case errors.Is(err, logstore.ErrTooMany):
		return awserr.New("LimitExceededException", "Resource limit exceeded.")
	case errors.Is(err, context.Canceled): // nobody reads this
		return awserr.New("ServiceUnavailableException", "The client went away before its answer.")
	case rootdir.IsFull(err):
		return awserr.New("ServiceUnavailableException", "The disk that holds the logs is full.")
	}
	return err
}

var (
	errNoGroup  = awserr.New("ResourceNotFoundException", "The specified log group does not exist.")
	errNoStream = awserr.New("ResourceNotFoundException", "The specified log stream does not exist.")
)

// Serve serves an operation of the API but StartLiveTail, which is Tail.
// Errors are *awserr.Error, or faults.
func (s *Service) Serve(ctx context.Context, account, operation string, body []byte, allow Allow) ([]byte, error) {
	op, ok := s.operations[operation]
	if !ok {
		return nil, awserr.New("NotImplementedException", "logs:%.64s is not supported yet by this version of Hearth.", operation)
	}
	out, err := op(ctx, scope{s.cfg.Region, account}, operation, body, allow)
	if err != nil {
		return nil, words(err)
	}
	if out == nil {
		return nil, nil // as AWS: an answer without members has no body
	}
	b, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("logsapi: encode the answer of %s: %w", operation, err)
	}
	return b, nil
}
