package logsapi

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPutLogEvents(t *testing.T) {
	b := start(t)
	b.must(t, "CreateLogGroup", object{"logGroupName": "/app"}, nil)
	b.must(t, "CreateLogStream", object{"logGroupName": "/app", "logStreamName": "s"}, nil)
	ms := epoch.UnixMilli()
	event := func(at int64, text string) object { return object{"timestamp": at, "message": text} }
	put := func(events ...object) (out putLogEventsResponse, err error) {
		return out, b.ask("PutLogEvents", object{"logGroupName": "/app", "logStreamName": "s", "logEvents": events}, &out)
	}
	out, err := put(event(ms-1, "line one\n"), event(ms, "line two"))
	if err != nil || out.Rejected != nil || out.NextSequenceToken == "" {
		t.Fatalf("%+v, %v", out, err)
	}
	day := (24 * time.Hour).Milliseconds()
	b.must(t, "PutRetentionPolicy", object{"logGroupName": "/app", "retentionInDays": 3}, nil)
	for _, tt := range []struct {
		name   string
		events []object
		want   string
	}{
		{"too new", []object{event(ms, "line three"), event(ms+3*3600_000, "no")}, `{"tooNewLogEventStartIndex":1}`},
		{"expired", []object{event(ms-3*day-2, "no"), event(ms-3*day-1, "no"), event(ms-3*day+1, "line zero")}, `{"expiredLogEventEndIndex":2}`},
		{"too old", []object{event(ms-14*day-1, "no"), event(ms-14*day+5, "no")}, `{"tooOldLogEventEndIndex":1,"expiredLogEventEndIndex":2}`},
	} {
		out, err := put(tt.events...)
		got, _ := json.Marshal(out.Rejected)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: got %s, %v, want %s", tt.name, got, err, tt.want)
		}
	}
	var read answer
	b.must(t, "GetLogEvents", object{"logGroupName": "/app", "logStreamName": "s"}, &read)
	if got := read.lines(); got != "zero one\n two three" {
		t.Errorf("got %q", got)
	}

	big := strings.Repeat("x", maxMessage)
	many := slices.Repeat([]object{event(ms, "x")}, maxBatchEvents+1)
	for _, tt := range []struct {
		name   string
		events []object
		want   string
	}{
		{"none", nil, "logEvents"},
		{"too many", many, "logEvents"},
		{"too long", []object{event(ms, big+"x")}, "Log event too large"},
		{"too large", slices.Repeat([]object{event(ms, big)}, 4), "Upload too large: 1048680 bytes exceeds limit of 1048576"},
		{"no time", []object{{"message": "x"}}, "timestamp"},
		{"no message", []object{{"timestamp": ms}}, "message"},
		{"before 1970", []object{event(-1, "x")}, "timestamp"},
		{"out of order", []object{event(ms, "x"), event(ms-1, "x")}, "chronological"},
		{"too long a time", []object{event(ms-day-1, "x"), event(ms, "x")}, "24 hours"},
	} {
		_, err := put(tt.events...)
		refused(t, err, "InvalidParameterException", tt.want)
	}
	for group, stream := range map[string]string{"/app": "none", "/none": "s"} {
		refused(t, b.ask("PutLogEvents", object{"logGroupName": group, "logStreamName": stream, "logEvents": []object{event(ms, "x")}}, nil), "ResourceNotFoundException", "does not exist")
	}
}
