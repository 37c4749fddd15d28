package logsapi

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"

	"hearth/internal/logfilter"
	"hearth/internal/logstore"
)

// session is a Live Tail under test.
type session struct {
	messages chan message
	cancel   context.CancelFunc
	done     chan error
}

type message struct {
	kind, name string
	payload    struct {
		SessionMetadata struct{ Sampled bool }
		SessionResults  []liveTailEvent
		Message         string
	}
}

func (b *bench) tail(t *testing.T, in object) *session {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s := &session{messages: make(chan message, 1000), cancel: cancel, done: make(chan error, 1)}
	go func() {
		s.done <- b.Tail(ctx, account, "the-id", body, b.allow, func(raw []byte) error {
			m, err := eventstream.NewDecoder().Decode(bytes.NewReader(raw), nil)
			if err != nil {
				return err
			}
			got := message{kind: m.Headers.Get(":message-type").String()}
			if name := m.Headers.Get(":event-type"); name != nil {
				got.name = name.String()
			} else {
				got.name = m.Headers.Get(":exception-type").String()
			}
			if err := json.Unmarshal(m.Payload, &got.payload); err != nil {
				return err
			}
			if got.name != "sessionUpdate" || len(got.payload.SessionResults) > 0 || got.payload.SessionMetadata.Sampled {
				s.messages <- got
			}
			return nil
		})
		close(s.messages)
	}()
	return s
}

func (s *session) want(t *testing.T, name string) message {
	t.Helper()
	m, ok := <-s.messages
	if !ok || m.name != name {
		t.Fatalf("got %+v (open %v), want %s", m, ok, name)
	}
	return m
}

func TestLiveTail(t *testing.T) {
	b := start(t)
	b.write(3, "s")
	b.store.Flush()
	s := b.tail(t, object{"logGroupIdentifiers": []string{"arn:aws:logs:us-east-1:000000000000:log-group:" + hi}, "logEventFilterPattern": "-secret", "logStreamNamePrefixes": []string{"s"}})
	s.want(t, "initial-response")
	s.want(t, "sessionStart")
	b.store.Append(account, hi, "other", epoch, "", []byte("not this stream"))
	b.store.Append(account, hi, "s", epoch, "", []byte("secret"))
	b.store.Append(account, hi, "s", epoch, "", []byte("news"))
	want := liveTailEvent{"s", account + ":" + hi, "news", epoch.UnixMilli(), epoch.UnixMilli()}
	if got := s.want(t, "sessionUpdate").payload.SessionResults; len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	s.cancel()
	if err := <-s.done; err != nil {
		t.Error(err)
	}
}

func TestLiveTailSamples(t *testing.T) {
	b := start(t)
	b.must(t, "CreateLogGroup", object{"logGroupName": hi}, nil)
	in := &startLiveTailRequest{pattern: mustParse(t, "")}
	tl := &tail{service: b.Service, in: in}
	for range maxUpdateEvents {
		tl.add("g", &logstore.Event{Message: "x"})
	}
	if u := tl.update(); len(u.Results) != maxUpdateEvents || u.Metadata.Sampled {
		t.Errorf("%d events, sampled %v", len(u.Results), u.Metadata.Sampled)
	}
	for range maxUpdateEvents + 1 {
		tl.add("g", &logstore.Event{Message: "x"})
	}
	if u := tl.update(); len(u.Results) != maxUpdateEvents || !u.Metadata.Sampled {
		t.Errorf("%d events, sampled %v", len(u.Results), u.Metadata.Sampled)
	}
	for range 10 {
		tl.add("g", &logstore.Event{Message: strings.Repeat("x", maxMessage)})
	}
	if u := tl.update(); len(u.Results) != 4 || !u.Metadata.Sampled {
		t.Errorf("%d large events, sampled %v", len(u.Results), u.Metadata.Sampled)
	}
	if u := tl.update(); len(u.Results) != 0 || u.Metadata.Sampled {
		t.Errorf("%d events, sampled %v", len(u.Results), u.Metadata.Sampled)
	}
}

func TestLiveTailEnds(t *testing.T) {
	b := start(t)
	b.must(t, "CreateLogGroup", object{"logGroupName": hi}, nil)
	tails := make([]*session, maxSessions)
	for i := range tails {
		tails[i] = b.tail(t, object{"logGroupIdentifiers": []string{hi}})
		tails[i].want(t, "initial-response")
	}
	one := b.tail(t, object{"logGroupIdentifiers": []string{hi}})
	refused(t, <-one.done, "LimitExceededException", "15")
	one.cancel()
	tails[0].cancel()
	if err := <-tails[0].done; err != nil {
		t.Error(err)
	}
	b.Stop()
	for _, s := range tails[1:] {
		s.want(t, "sessionStart")
		s.want(t, "SessionStreamingException")
		if err := <-s.done; err != nil {
			t.Error(err)
		}
		s.cancel()
	}
	for _, tt := range []struct {
		in         object
		code, want string
	}{
		{object{}, "InvalidParameterException", "logGroupIdentifiers"},
		{object{"logGroupIdentifiers": slices.Repeat([]string{hi}, 11)}, "InvalidParameterException", "logGroupIdentifiers"},
		{object{"logGroupIdentifiers": []string{"none"}}, "ResourceNotFoundException", "group"},
		{object{"logGroupIdentifiers": []string{hi, "x"}, "logStreamNames": []string{"s"}}, "InvalidParameterException", "one log group"},
		{object{"logGroupIdentifiers": []string{hi}, "logStreamNames": []string{"s"}, "logStreamNamePrefixes": []string{"s"}}, "InvalidParameterException", "together"},
		{object{"logGroupIdentifiers": []string{hi}, "logEventFilterPattern": "%("}, "InvalidParameterException", "filter pattern"},
	} {
		s := b.tail(t, tt.in)
		refused(t, <-s.done, tt.code, tt.want)
		s.cancel()
	}
}

func TestLiveTailTimesOut(t *testing.T) {
	b := start(t)
	b.must(t, "CreateLogGroup", object{"logGroupName": hi}, nil)
	b.cfg.TailLimit = time.Millisecond
	short := b.tail(t, object{"logGroupIdentifiers": []string{hi}})
	short.want(t, "initial-response")
	short.want(t, "sessionStart")
	if m := short.want(t, "SessionTimeoutException"); m.kind != "exception" || m.payload.Message == "" {
		t.Errorf("%+v", m)
	}
	if err := <-short.done; err != nil {
		t.Error(err)
	}
	short.cancel()
}

func mustParse(t *testing.T, text string) *logfilter.Pattern {
	t.Helper()
	p, err := logfilter.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
