package logsapi

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestGetLogEvents(t *testing.T) {
	b := start(t)
	b.write(10, "s", "other") // s: 0 2 4 6 8
	get := func(in object) answer {
		t.Helper()
		in["logGroupName"], in["logStreamName"] = hi, "s"
		var out answer
		b.must(t, "GetLogEvents", in, &out)
		return out
	}
	want := func(got answer, lines string) {
		t.Helper()
		if got.lines() != lines {
			t.Errorf("got %q, want %q", got.lines(), lines)
		}
	}
	want(get(object{}), "0 2 4 6 8")
	last := get(object{"limit": 2})
	want(last, "6 8")
	before := get(object{"limit": 2, "nextToken": last.NextBackwardToken})
	want(before, "2 4")
	first := get(object{"limit": 2, "nextToken": before.NextBackwardToken})
	want(first, "0")
	start := get(object{"limit": 2, "nextToken": first.NextBackwardToken})
	want(start, "")
	if start.NextBackwardToken != first.NextBackwardToken {
		t.Error("at the beginning the token changed")
	}
	want(get(object{"limit": 2, "nextToken": start.NextForwardToken}), "0 2")
	want(get(object{"nextToken": last.NextForwardToken}), "")
	if end := get(object{"nextToken": last.NextForwardToken}); end.NextForwardToken != last.NextForwardToken {
		t.Error("at the end the token changed")
	} else {
		want(get(object{"limit": 1, "nextToken": end.NextBackwardToken}), "8")
	}
	head := get(object{"startFromHead": true, "limit": 3})
	want(head, "0 2 4")
	want(get(object{"startFromHead": true, "limit": 3, "nextToken": head.NextForwardToken}), "6 8")
	ms := epoch.UnixMilli()
	want(get(object{"startTime": ms + 2000, "endTime": ms + 6000}), "2 4")
	b.store.Append(account, hi, "s", epoch.Add(time.Minute), "", []byte("line late"))
	want(get(object{"nextToken": last.NextForwardToken}), "late")

	refused(t, b.ask("GetLogEvents", object{"logGroupName": hi, "logStreamName": "none"}, nil), "ResourceNotFoundException", "log stream does not exist")
	refused(t, b.ask("GetLogEvents", object{"logGroupName": "none", "logStreamName": "s"}, nil), "ResourceNotFoundException", "log group does not exist")
	for _, token := range []string{"x", "f/", "f/1", "g/" + strings.Repeat("0", 56), "f/" + strings.Repeat("9", 56), "f/-" + strings.Repeat("0", 55)} {
		refused(t, b.ask("GetLogEvents", object{"logGroupName": hi, "logStreamName": "s", "nextToken": token}, nil), "InvalidParameterException", "nextToken")
	}
	b.must(t, "CreateLogStream", object{"logGroupName": hi, "logStreamName": "new"}, nil)
	var empty answer
	b.must(t, "GetLogEvents", object{"logGroupName": hi, "logStreamName": "new"}, &empty)
	b.store.Append(account, hi, "new", epoch, "", []byte("line first"))
	b.must(t, "GetLogEvents", object{"logGroupName": hi, "logStreamName": "new", "nextToken": empty.NextForwardToken}, &empty)
	want(empty, "first")
}

func TestFilterLogEvents(t *testing.T) {
	b := start(t)
	b.write(10, "2026/a", "2026/b", "x")
	ms := epoch.UnixMilli()
	for _, tt := range []struct {
		in   object
		want string
	}{
		{object{}, "0 1 2 3 4 5 6 7 8 9"},
		{object{"logStreamNames": []string{"2026/a", "x"}}, "0 2 3 5 6 8 9"},
		{object{"logStreamNamePrefix": "2026/"}, "0 1 3 4 6 7 9"},
		{object{"startTime": ms + 3000, "endTime": ms + 5000}, "3 4 5"},
		{object{"filterPattern": `"line 1"`}, "1"},
		{object{"filterPattern": `?"line 1" ?%[78]%`}, "1 7 8"},
		{object{"limit": 3}, "0 1 2 | 3 4 5 | 6 7 8 | 9"},
		{object{"limit": 5, "logStreamNamePrefix": "2026/"}, "0 1 3 4 6 | 7 9"},
		{object{"limit": 10}, "0 1 2 3 4 5 6 7 8 9"},
	} {
		tt.in["logGroupIdentifier"] = hi
		var pages []string
		ids := map[string]bool{}
		for {
			var out answer
			b.must(t, "FilterLogEvents", tt.in, &out)
			pages = append(pages, out.lines())
			for _, e := range out.Events {
				if ids[e.EventID] || len(e.EventID) != 56 {
					t.Errorf("event id %s is not its own", e.EventID)
				}
				ids[e.EventID] = true
			}
			if out.NextToken == "" {
				break
			}
			tt.in["nextToken"] = out.NextToken
		}
		if got := strings.Join(pages, " | "); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.in, got, tt.want)
		}
	}
	var out answer
	b.must(t, "FilterLogEvents", object{"logGroupName": hi, "limit": 1}, &out)
	refused(t, b.ask("FilterLogEvents", object{"logGroupName": hi, "filterPattern": "x", "nextToken": out.NextToken}, nil), "InvalidParameterException", "nextToken")
	refused(t, b.ask("FilterLogEvents", object{"logGroupName": hi, "filterPattern": "{ $.a"}, nil), "InvalidParameterException", "filter pattern")
	refused(t, b.ask("FilterLogEvents", object{"logGroupName": hi, "startTime": 2, "endTime": 1}, nil), "InvalidParameterException", "startTime")
	refused(t, b.ask("FilterLogEvents", object{"logGroupName": hi, "logStreamNames": []string{"2026/a", "none"}}, nil), "ResourceNotFoundException", "stream")
	refused(t, b.ask("FilterLogEvents", object{"logGroupName": hi, "logStreamNames": []string{"x"}, "logStreamNamePrefix": "x"}, nil), "InvalidParameterException", "together")
	refused(t, b.askAs("111111111111", "FilterLogEvents", object{"logGroupName": hi}, nil), "ResourceNotFoundException", "group")
}

// TestPagesAreBounded reads a log that is larger than a page, and wants all of
// it, once and in order, although it was written out of order.
func TestPagesAreBounded(t *testing.T) {
	b := start(t)
	const n = 60
	filler := strings.Repeat("x", 100_000)
	for i := range n {
		at := (i * 37) % n
		b.store.Append(account, hi, "s", epoch.Add(time.Duration(at)*time.Second), "", fmt.Appendf(nil, "%02d%s", at, filler[:1000+(i%7)*16000]))
		if i%10 == 0 {
			b.store.Flush()
		}
	}
	in := object{"logGroupName": hi}
	next, pages := 0, 0
	for {
		var out answer
		b.must(t, "FilterLogEvents", in, &out)
		pages++
		size := 0
		for _, e := range out.Events {
			if want := fmt.Sprintf("%02d", next); e.Message[:2] != want {
				t.Fatalf("event %s, want %s", e.Message[:2], want)
			}
			next++
			size += len(e.Message)
		}
		if size > maxPageBytes {
			t.Errorf("a page of %d bytes", size)
		}
		if out.NextToken == "" {
			break
		}
		in["nextToken"] = out.NextToken
	}
	if next != n || pages < 2 {
		t.Errorf("%d events on %d pages, want %d", next, pages, n)
	}
}
