package control

import "testing"

func TestQueue(t *testing.T) {
	q := newQueue()
	a, b := target{account, "a", ""}, target{account, "b", ""}
	take := func(want target) {
		t.Helper()
		if got, ok := q.next(); !ok || got != want {
			t.Fatalf("got %v, %t, want %v", got, ok, want)
		}
	}
	q.add(a)
	q.add(a) // waits already
	q.add(b)
	take(a)
	q.add(a) // while it is being prepared: another function of its name, perhaps
	take(b)
	q.done(b)
	q.done(a)
	take(a)
	q.done(a)
	if len(q.state) != 0 || len(q.waiting) != 0 {
		t.Errorf("left: %v, %v", q.state, q.waiting)
	}
	q.add(b)
	q.close()
	if got, ok := q.next(); ok {
		t.Errorf("a closed queue gave %v", got)
	}
}
