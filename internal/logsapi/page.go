package logsapi

import (
	"cmp"
	"container/heap"
	"fmt"
	"math"
	"slices"
	"strconv"

	"hearth/internal/logstore"
)

const (
	maxEvents = 10_000
	// maxPageBytes is about AWS's 1 MB of a page.
	maxPageBytes = 1 << 20
	// pageOverhead is counted for each event beside its message.
	pageOverhead = 128
	// maxMillis is the last time that the store can hold.
	maxMillis = math.MaxInt64/1_000_000 - 1
)

// cursor is the place of an event in the order of a log: by time, and by
// position where times are equal. As text it has 56 digits, as AWS's event
// ids do.
type cursor struct {
	nanos int64
	at    logstore.Position
}

func cursorOf(e *logstore.Event) cursor { return cursor{max(0, e.Time.UnixNano()), e.At} }

func (c cursor) compare(d cursor) int {
	return cmp.Or(cmp.Compare(c.nanos, d.nanos), c.at.Compare(d.at))
}

const cursorDigits = 56

func (c cursor) String() string {
	return fmt.Sprintf("%020d%016d%020d", c.nanos, c.at.Segment, c.at.Offset)
}

func parseCursor(s string) (cursor, error) {
	var c cursor
	if len(s) != cursorDigits {
		return c, errToken
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return c, errToken
		}
	}
	var errs [3]error
	c.nanos, errs[0] = strconv.ParseInt(s[:20], 10, 64)
	c.at.Segment, errs[1] = strconv.ParseUint(s[20:36], 10, 64)
	c.at.Offset, errs[2] = strconv.ParseInt(s[36:], 10, 64)
	for _, err := range errs {
		if err != nil {
			return c, errToken
		}
	}
	return c, nil
}

// before and after are cursors with no event between them and c.
func (c cursor) after() cursor {
	c.at.Offset++
	return c
}

func (c cursor) before() cursor {
	c.at.Offset = max(0, c.at.Offset-1)
	return c
}

// page collects the first events of a log, or the last, from all in any order.
type page struct {
	limit int
	// last has it collect the last ones.
	last bool

	events eventHeap
	bytes  int
	// cut is the nearest event that was left out, if more is set.
	cut  cursor
	more bool
}

// offer gives an event to the page, which keeps it while it belongs there.
func (p *page) offer(e logstore.Event) {
	p.events.last = p.last
	c := cursorOf(&e)
	if p.more && !p.events.nearer(c, p.cut) {
		return
	}
	heap.Push(&p.events, e)
	p.bytes += len(e.Message) + pageOverhead
	for p.events.Len() > p.limit || p.bytes > maxPageBytes && p.events.Len() > 1 {
		out := heap.Pop(&p.events).(logstore.Event)
		p.bytes -= len(out.Message) + pageOverhead
		p.cut, p.more = cursorOf(&out), true
	}
}

// take returns the events in the order of the log.
func (p *page) take() []logstore.Event {
	slices.SortFunc(p.events.events, func(a, b logstore.Event) int { return cursorOf(&a).compare(cursorOf(&b)) })
	return p.events.events
}

// eventHeap has the event that is the first to be left out at its top.
type eventHeap struct {
	events []logstore.Event
	last   bool
}

// nearer says that c belongs to the page rather than d.
func (h *eventHeap) nearer(c, d cursor) bool {
	if h.last {
		c, d = d, c
	}
	return c.compare(d) < 0
}

func (h *eventHeap) Len() int { return len(h.events) }
func (h *eventHeap) Less(i, j int) bool {
	return h.nearer(cursorOf(&h.events[j]), cursorOf(&h.events[i]))
}
func (h *eventHeap) Swap(i, j int) { h.events[i], h.events[j] = h.events[j], h.events[i] }
func (h *eventHeap) Push(x any)    { h.events = append(h.events, x.(logstore.Event)) }
func (h *eventHeap) Pop() any {
	n := len(h.events) - 1
	e := h.events[n]
	h.events[n] = logstore.Event{}
	h.events = h.events[:n]
	return e
}

// times is what a request says of times, in milliseconds since 1970.
type times struct {
	Start *int64 `json:"startTime"`
	End   *int64 `json:"endTime"`
}

func (t *times) check(c *checks) {
	c.number("startTime", t.Start, 0, maxMillis)
	c.number("endTime", t.End, 0, maxMillis)
}

// includes says that an event is from the start on and not after the end.
func (t *times) includes(e *logstore.Event) bool {
	return t.has(e, func(at, end int64) bool { return at <= end })
}

// excludesEnd is includes without the end itself.
func (t *times) excludesEnd(e *logstore.Event) bool {
	return t.has(e, func(at, end int64) bool { return at < end })
}

func (t *times) has(e *logstore.Event, ends func(at, end int64) bool) bool {
	at := e.Time.UnixMilli()
	return (t.Start == nil || at >= *t.Start) && (t.End == nil || ends(at, *t.End))
}
