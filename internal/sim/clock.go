package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// clock is simulated time with what is to happen in it.
type clock struct {
	now    time.Time
	events events
	seq    uint64
	dice   *rand.Rand
	// recent are the last things that happened, for whoever looks for a cause.
	recent []string
	bad    error
}

type event struct {
	at  int64  // in nanoseconds since the beginning
	seq uint64 // orders what happens at the same time
	do  func()
}

type events []event

func (e *events) Len() int { return len(*e) }
func (e *events) Less(i, j int) bool {
	a, b := &(*e)[i], &(*e)[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}
func (e *events) Swap(i, j int) { (*e)[i], (*e)[j] = (*e)[j], (*e)[i] }

// Push and Pop are for container/heap, and not used: they would allocate.
func (e *events) Push(any) {}
func (e *events) Pop() any { return nil }

// take removes the first event.
func (e *events) take() event {
	first, last := (*e)[0], len(*e)-1
	(*e)[0] = (*e)[last]
	(*e)[last] = event{}
	if *e = (*e)[:last]; last > 0 {
		heap.Fix(e, 0)
	}
	return first
}

// beginning is when each world begins.
var beginning = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (c *clock) passed() int64 { return int64(c.now.Sub(beginning)) }

func newClock(seed uint64) *clock {
	return &clock{
		now:  beginning,
		dice: rand.New(rand.NewPCG(seed, 1)), //nolint:gosec // it is to be the same each time
	}
}

// after has something happen later.
func (c *clock) after(d time.Duration, do func()) {
	c.seq++
	c.events = append(c.events, event{c.passed() + int64(d), c.seq, do})
	heap.Fix(&c.events, len(c.events)-1)
}

// run lets time pass, or until something is wrong.
func (c *clock) run(d time.Duration) {
	end := c.passed() + int64(d)
	for c.bad == nil && len(c.events) > 0 && c.events[0].at <= end {
		e := c.events.take()
		c.now = beginning.Add(time.Duration(e.at))
		e.do()
	}
	if c.bad == nil {
		c.now = beginning.Add(time.Duration(end))
	}
}

// between draws a duration.
func (c *clock) between(low, high time.Duration) time.Duration {
	return low + time.Duration(c.dice.Int64N(int64(high-low)+1))
}

func (c *clock) chance(p float64) bool { return c.dice.Float64() < p }

// kept is how many of the last events an error tells of.
const kept = 60

func (c *clock) notef(format string, args ...any) {
	if len(c.recent) == 2*kept {
		c.recent = slices.Delete(c.recent, 0, kept)
	}
	c.recent = append(c.recent, c.now.Format("15:04:05.000000 ")+fmt.Sprintf(format, args...))
}

// violated ends the run.
func (c *clock) violatedf(format string, args ...any) {
	if c.bad == nil {
		c.notef("VIOLATED: "+format, args...)
		c.bad = fmt.Errorf(format, args...)
	}
}
