package logsapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hearth/internal/awserr"
	"hearth/internal/logstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	account = "000000000000"
	hi      = "/aws/lambda/hi"
)

var epoch = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// bench is a service over a store in a temporary directory.
type bench struct {
	*Service
	store *logstore.Store
	dir   string
	// now is the clock; only the test's goroutine moves it, before it calls.
	mu  sync.Mutex
	now time.Time
	// asked is what the last request asked to be allowed.
	asked []string
}

func (b *bench) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bench) sleep(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func start(t *testing.T) *bench {
	t.Helper()
	b := &bench{dir: t.TempDir(), now: epoch}
	b.open(t)
	t.Cleanup(func() {
		b.Stop()
		b.store.Stop()
	})
	return b
}

func (b *bench) open(t *testing.T) {
	t.Helper()
	var err error
	if b.store, err = logstore.Open(logstore.Config{Dir: b.dir, Now: b.clock, FlushInterval: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	b.Service, err = New(Config{Store: b.store, Region: "us-east-1", Now: b.clock, TailInterval: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bench) restart(t *testing.T) {
	t.Helper()
	b.Stop()
	b.store.Stop()
	b.open(t)
}

func (b *bench) allow(action string, resources []string) error {
	b.asked = append([]string{action}, resources...)
	return nil
}

type object = map[string]any

// ask sends a request and reads its answer into out, if there is any.
func (b *bench) ask(operation string, in object, out any) error {
	return b.askAs(account, operation, in, out)
}

func (b *bench) askAs(account, operation string, in object, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	answer, err := b.Serve(context.Background(), account, operation, body, b.allow)
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(answer, out)
}

func (b *bench) must(t *testing.T, operation string, in object, out any) {
	t.Helper()
	if err := b.ask(operation, in, out); err != nil {
		t.Fatalf("%s: %v", operation, err)
	}
}

// refused wants an error of a code whose words contain a text.
func refused(t *testing.T, err error, code, words string) {
	t.Helper()
	e, ok := awserr.As(err)
	if !ok || e.Code != code || !strings.Contains(e.Message, words) {
		t.Errorf("got %v, want %s with %q", err, code, words)
	}
}

// write has a function write lines, one a second in turn to its streams.
func (b *bench) write(n int, streams ...string) {
	for i := range n {
		b.store.Append(account, hi, streams[i%len(streams)], epoch.Add(time.Duration(i)*time.Second), "r", fmt.Appendf(nil, "line %d", i))
	}
}

type answer struct {
	Events []struct {
		LogStreamName, Message, EventID string
		Timestamp, IngestionTime        int64
	}
	NextToken, NextForwardToken, NextBackwardToken string
}

func (a *answer) lines() string {
	var all []string
	for _, e := range a.Events {
		all = append(all, strings.TrimPrefix(e.Message, "line "))
	}
	return strings.Join(all, " ")
}

func TestGroups(t *testing.T) {
	b := start(t)
	b.write(3, "s")
	b.must(t, "CreateLogGroup", object{"logGroupName": "/app/b", "tags": object{"team": "fire"}}, nil)
	b.must(t, "CreateLogGroup", object{"logGroupName": "/app/a"}, nil)
	refused(t, b.ask("CreateLogGroup", object{"logGroupName": "/app/a"}, nil), "ResourceAlreadyExistsException", "exists")
	if err := b.askAs("111111111111", "CreateLogGroup", object{"logGroupName": "/app/a"}, nil); err != nil {
		t.Errorf("another account cannot have the same name: %v", err)
	}
	names := func(in object) string {
		t.Helper()
		var out describeLogGroupsResponse
		b.must(t, "DescribeLogGroups", in, &out)
		var all []string
		for _, g := range out.LogGroups {
			all = append(all, g.LogGroupName)
		}
		if out.NextToken != "" {
			in["nextToken"] = out.NextToken
			all = append(all, "|")
		}
		return strings.Join(all, " ")
	}
	page := object{"limit": 2}
	for _, tt := range []struct {
		in   object
		want string
	}{
		{object{}, "/app/a /app/b /aws/lambda/hi"},
		{object{"logGroupNamePrefix": "/app"}, "/app/a /app/b"},
		{object{"logGroupNamePattern": "lambda"}, "/aws/lambda/hi"},
		{object{"logGroupNamePattern": "LAMBDA"}, ""},
		{object{"logGroupIdentifiers": []string{"/app/b", "arn:aws:logs:us-east-1:000000000000:log-group:/app/a"}}, "/app/a /app/b"},
		{object{"logGroupClass": "INFREQUENT_ACCESS"}, ""},
		{object{"logGroupNamePrefix": "/app", "limit": 2}, "/app/a /app/b"},
		{page, "/app/a /app/b |"},
		{page, "/aws/lambda/hi"},
	} {
		if got := names(tt.in); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.in, got, tt.want)
		}
	}
	var out describeLogGroupsResponse
	b.must(t, "DescribeLogGroups", object{"logGroupNamePrefix": hi}, &out)
	g := out.LogGroups[0]
	if g.ARN != "arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/hi:*" || g.LogGroupARN+":*" != g.ARN ||
		g.StoredBytes < 60 || g.CreationTime != epoch.UnixMilli() || g.LogGroupClass != "STANDARD" || g.RetentionInDays != 0 {
		t.Errorf("%+v", g)
	}
	b.restart(t)
	if got := names(object{}); got != "/app/a /app/b /aws/lambda/hi" {
		t.Errorf("after a restart: %s", got)
	}
	b.must(t, "DeleteLogGroup", object{"logGroupName": "/app/a"}, nil)
	refused(t, b.ask("DeleteLogGroup", object{"logGroupName": "/app/a"}, nil), "ResourceNotFoundException", "log group does not exist")
	b.restart(t)
	if got := names(object{"logGroupNamePrefix": "/app"}); got != "/app/b" {
		t.Errorf("after a delete: %s", got)
	}
}

func TestTags(t *testing.T) {
	b := start(t)
	b.must(t, "CreateLogGroup", object{"logGroupName": "/app", "tags": object{"a": "1"}}, nil)
	arn := "arn:aws:logs:us-east-1:000000000000:log-group:/app"
	b.must(t, "TagResource", object{"resourceArn": arn, "tags": object{"b": "2", "c": ""}}, nil)
	b.must(t, "UntagResource", object{"resourceArn": arn, "tagKeys": []string{"a"}}, nil)
	b.must(t, "TagLogGroup", object{"logGroupName": "/app", "tags": object{"d": "4"}}, nil)
	b.must(t, "UntagLogGroup", object{"logGroupName": "/app", "tags": []string{"c"}}, nil)
	b.restart(t)
	for operation, in := range map[string]object{"ListTagsForResource": {"resourceArn": arn + ":*"}, "ListTagsLogGroup": {"logGroupName": "/app"}} {
		var out tagsResponse
		b.must(t, operation, in, &out)
		if fmt.Sprint(out.Tags) != "map[b:2 d:4]" {
			t.Errorf("%s: %v", operation, out.Tags)
		}
	}
	many := object{}
	for i := range 49 {
		many[fmt.Sprint("k", i)] = "v"
	}
	refused(t, b.ask("TagResource", object{"resourceArn": arn, "tags": many}, nil), "TooManyTagsException", "50")
	refused(t, b.ask("TagResource", object{"resourceArn": "x", "tags": object{"a": "b"}}, nil), "InvalidParameterException", "ARN")
	refused(t, b.ask("ListTagsForResource", object{"resourceArn": strings.Replace(arn, account, "111111111111", 1)}, nil), "ResourceNotFoundException", "group")
}

func TestStreams(t *testing.T) {
	b := start(t)
	b.write(4, "2026/b", "2026/a") // b: 0, 2; a: 1, 3
	b.must(t, "CreateLogStream", object{"logGroupName": hi, "logStreamName": "empty"}, nil)
	refused(t, b.ask("CreateLogStream", object{"logGroupName": hi, "logStreamName": "empty"}, nil), "ResourceAlreadyExistsException", "stream")
	refused(t, b.ask("CreateLogStream", object{"logGroupName": hi, "logStreamName": "2026/a"}, nil), "ResourceAlreadyExistsException", "stream")
	refused(t, b.ask("CreateLogStream", object{"logGroupName": "none", "logStreamName": "x"}, nil), "ResourceNotFoundException", "group")
	names := func(in object) string {
		t.Helper()
		in["logGroupName"] = hi
		var all []string
		for {
			var out describeLogStreamsResponse
			b.must(t, "DescribeLogStreams", in, &out)
			for _, s := range out.LogStreams {
				all = append(all, s.LogStreamName)
			}
			if out.NextToken == "" {
				return strings.Join(all, " ")
			}
			all = append(all, "|")
			in["nextToken"] = out.NextToken
		}
	}
	for _, tt := range []struct {
		in   object
		want string
	}{
		{object{}, "2026/a 2026/b empty"},
		{object{"descending": true}, "empty 2026/b 2026/a"},
		{object{"orderBy": "LastEventTime"}, "empty 2026/b 2026/a"},
		{object{"orderBy": "LastEventTime", "descending": true, "limit": 1}, "2026/a | 2026/b | empty"},
		{object{"limit": 2}, "2026/a 2026/b | empty"},
		{object{"logStreamNamePrefix": "2026/"}, "2026/a 2026/b"},
	} {
		if got := names(tt.in); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.in, got, tt.want)
		}
	}
	var raw struct{ LogStreams []object }
	b.must(t, "DescribeLogStreams", object{"logGroupIdentifier": "arn:aws:logs:us-east-1:000000000000:log-group:" + hi, "limit": 1}, &raw)
	s := raw.LogStreams[0]
	if s["firstEventTimestamp"] != float64(epoch.UnixMilli()+1000) || s["lastEventTimestamp"] != float64(epoch.UnixMilli()+3000) ||
		s["arn"] != "arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/hi:log-stream:2026/a" || s["storedBytes"] != 0. {
		t.Errorf("%v", s)
	}
	if _, ok := s["uploadSequenceToken"]; ok {
		t.Error("there is an uploadSequenceToken")
	}
	refused(t, b.ask("DescribeLogStreams", object{"logGroupName": hi, "orderBy": "LastEventTime", "logStreamNamePrefix": "x"}, nil),
		"InvalidParameterException", "Cannot order by LastEventTime with a logStreamNamePrefix.")

	b.must(t, "DeleteLogStream", object{"logGroupName": hi, "logStreamName": "2026/a"}, nil)
	b.must(t, "DeleteLogStream", object{"logGroupName": hi, "logStreamName": "empty"}, nil)
	refused(t, b.ask("DeleteLogStream", object{"logGroupName": hi, "logStreamName": "2026/a"}, nil), "ResourceNotFoundException", "stream")
	b.restart(t)
	if got := names(object{}); got != "2026/b" {
		t.Errorf("after a delete: %s", got)
	}
	var out answer
	b.must(t, "FilterLogEvents", object{"logGroupName": hi}, &out)
	if out.lines() != "0 2" {
		t.Errorf("after a delete: %s", out.lines())
	}
	// The stream begins anew with what is written later.
	b.store.Append(account, hi, "2026/a", epoch, "", []byte("line new"))
	b.must(t, "FilterLogEvents", object{"logGroupName": hi, "logStreamNames": []string{"2026/a"}}, &out)
	if out.lines() != "new" {
		t.Errorf("after a new line: %s", out.lines())
	}
}

func TestRetention(t *testing.T) {
	b := start(t)
	put := func(age time.Duration, text string) {
		b.store.Append(account, hi, "s", b.clock().Add(-age), "", []byte("line "+text))
	}
	day := 24 * time.Hour
	put(10*day, "old")
	put(5*day, "older-than-3")
	put(time.Hour, "new")
	lines := func() string {
		t.Helper()
		var out answer
		b.must(t, "FilterLogEvents", object{"logGroupName": hi}, &out)
		return out.lines()
	}
	for _, days := range []any{0, 2, -1, 3654, nil} {
		in := object{"logGroupName": hi}
		if days != nil {
			in["retentionInDays"] = days
		}
		refused(t, b.ask("PutRetentionPolicy", in, nil), "InvalidParameterException", "retentionInDays")
	}
	refused(t, b.ask("PutRetentionPolicy", object{"logGroupName": "none", "retentionInDays": 3}, nil), "ResourceNotFoundException", "group")
	b.must(t, "PutRetentionPolicy", object{"logGroupName": hi, "retentionInDays": 7}, nil)
	if got := lines(); got != "older-than-3 new" {
		t.Errorf("after 7 days: %s", got)
	}
	b.restart(t)
	var out describeLogGroupsResponse
	b.must(t, "DescribeLogGroups", object{}, &out)
	if out.LogGroups[0].RetentionInDays != 7 {
		t.Errorf("after a restart: %+v", out.LogGroups)
	}
	b.sleep(3 * day)
	if got := lines(); got != "new" {
		t.Errorf("three days later: %s", got)
	}
	b.must(t, "DeleteRetentionPolicy", object{"logGroupName": hi}, nil)
	// What had expired is not promised to come back, nor to be gone for good.
	if got := lines(); !strings.HasSuffix(got, "new") || strings.HasPrefix(got, "old ") {
		t.Errorf("without retention: %s", got)
	}
}

func TestNamesAreChecked(t *testing.T) {
	b := start(t)
	for _, tt := range []struct {
		operation string
		in        object
		want      string
	}{
		{"CreateLogGroup", object{}, "Value null at 'logGroupName'"},
		{"CreateLogGroup", object{"logGroupName": "a:b"}, `pattern: [\.\-_/#A-Za-z0-9]+`},
		{"CreateLogGroup", object{"logGroupName": strings.Repeat("a", 513)}, "less than or equal to 512"},
		{"CreateLogGroup", object{"logGroupName": "a", "kmsKeyId": "k"}, "kmsKeyId"},
		{"CreateLogGroup", object{"logGroupName": "a", "logGroupClass": "INFREQUENT_ACCESS"}, "logGroupClass"},
		{"CreateLogGroup", object{"logGroupName": "a", "tags": object{"a$": "x"}}, "tags"},
		{"CreateLogStream", object{"logGroupName": "", "logStreamName": "a:*"}, "2 validation errors detected"},
		{"DescribeLogGroups", object{"limit": 51}, "'limit'"},
		{"DescribeLogGroups", object{"limit": 0}, "'limit'"},
		{"DescribeLogGroups", object{"logGroupNamePrefix": "a", "logGroupNamePattern": "b"}, "mutually exclusive"},
		{"DescribeLogGroups", object{"nextToken": "!"}, "nextToken"},
		{"DescribeLogStreams", object{}, "At least one of"},
		{"DescribeLogStreams", object{"logGroupName": "a", "logGroupIdentifier": "a"}, "mutually exclusive"},
		{"DescribeLogStreams", object{"logGroupName": "a", "orderBy": "Size"}, "enum value set: [LogStreamName, LastEventTime]"},
		{"DescribeLogStreams", object{"logGroupIdentifier": "arn:aws:s3:::bucket"}, "Invalid ARN"},
		{"GetLogEvents", object{"logGroupName": "a", "logStreamName": "s", "limit": 10001}, "'limit'"},
		{"FilterLogEvents", object{"logGroupName": "a", "logStreamNames": slices.Repeat([]string{"x"}, 101)}, "logStreamNames"},
		{"FilterLogEvents", object{"logGroupName": "a", "startTime": -1}, "startTime"},
	} {
		refused(t, b.ask(tt.operation, tt.in, nil), "InvalidParameterException", tt.want)
	}
	refused(t, b.ask("CreateLogGroup", object{"logGroupName": 1}, nil), "SerializationException", "JSON")
	refused(t, b.ask("StartQuery", object{}, nil), "NotImplementedException", "StartQuery")
}

// TestEverythingAsksFirst denies every operation and wants nothing done, and
// the action and resources that IAM's reference has for it.
func TestEverythingAsksFirst(t *testing.T) {
	b := start(t)
	b.write(1, "s")
	group, arn := "arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/hi:log-stream:", "arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/hi"
	names := object{
		"logGroupName": hi, "logStreamName": "s", "retentionInDays": 1, "resourceArn": arn, "tags": object{"a": "b"}, "tagKeys": []string{"a"},
		"logEvents": []object{{"timestamp": 1, "message": "x"}},
	}
	denied := errors.New("denied")
	want := map[string]string{
		"DescribeLogGroups": "arn:aws:logs:us-east-1:000000000000:log-group::log-stream:",
		"PutLogEvents":      group + "s", "GetLogEvents": group + "s", "DeleteLogStream": group + "s",
		"ListTagsForResource": arn, "TagResource": arn, "UntagResource": arn,
	}
	for operation := range b.operations {
		in := names
		if strings.HasSuffix(operation, "UntagLogGroup") {
			in = object{"logGroupName": hi, "tags": []string{"a"}}
		}
		body, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var asked []string
		_, err = b.Serve(t.Context(), account, operation, body, func(action string, resources []string) error {
			asked = append([]string{action}, resources...)
			return denied
		})
		resource := want[operation]
		if resource == "" {
			resource = group
		}
		if !errors.Is(err, denied) || strings.Join(asked, " ") != "logs:"+operation+" "+resource {
			t.Errorf("%s: asked for %q, %v", operation, asked, err)
		}
	}
	err := b.Tail(t.Context(), account, "id", []byte(`{"logGroupIdentifiers":["`+arn+`"]}`),
		func(action string, resources []string) error {
			if action != "logs:StartLiveTail" || strings.Join(resources, " ") != group {
				t.Errorf("asked for %s %v", action, resources)
			}
			return denied
		}, func([]byte) error { t.Error("it began"); return nil })
	if !errors.Is(err, denied) {
		t.Errorf("tail: %v", err)
	}
	var out answer
	if b.must(t, "FilterLogEvents", object{"logGroupName": hi}, &out); out.lines() != "0" {
		t.Errorf("something was done: %v", out)
	}
}

func FuzzRequests(f *testing.F) {
	dir := f.TempDir()
	store, err := logstore.Open(logstore.Config{Dir: dir})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(store.Stop)
	store.Append(account, hi, "s", epoch, "", []byte("x"))
	s, err := New(Config{Store: store, Region: "us-east-1"})
	if err != nil {
		f.Fatal(err)
	}
	names := make([]string, 0, len(s.operations))
	for name := range s.operations {
		names = append(names, name)
	}
	slices.Sort(names)
	f.Add(uint8(9), []byte(`{"logGroupName":"/aws/lambda/hi","logStreamName":"s","nextToken":"f/1","filterPattern":"{ $.a = 1 }","limit":3,"startTime":1}`))
	f.Add(uint8(11), []byte(`{"logGroupName":"/aws/lambda/hi","logStreamName":"s","logEvents":[{"timestamp":1,"message":"x"}]}`))
	f.Fuzz(func(t *testing.T, operation uint8, body []byte) {
		name := names[int(operation)%len(names)]
		if strings.HasPrefix(name, "Create") {
			return // nothing new: it would all add up
		}
		_, err := s.Serve(t.Context(), account, name, body, func(string, []string) error { return nil })
		if _, ok := awserr.As(err); err != nil && !ok {
			t.Errorf("%s %s: %v", name, body, err)
		}
	})
}
