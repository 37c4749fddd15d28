package sim

import (
	"errors"
	"time"
)

// node is a process on a host in a zone.
type node struct {
	name string
	az   int
	up   bool
	life int // which of its lives it is in
}

// network carries messages between nodes.
type network struct {
	*clock
	cut  map[[2]int]bool // between zones, in one direction
	loss float64
}

// errSilent says that no answer came in time: nobody knows what was done.
var errSilent = errors.New("sim: no answer")

func (n *network) delay(from, to *node) time.Duration {
	switch dice := n.dice.Float64(); {
	case dice < 0.0005:
		return n.between(time.Second, 45*time.Second) // later than anybody waits
	case dice < 0.0015:
		return n.between(50*time.Millisecond, 3*time.Second)
	}
	if from.az == to.az {
		return n.between(50*time.Microsecond, 400*time.Microsecond)
	}
	return n.between(300*time.Microsecond, 3*time.Millisecond)
}

// send has do happen at a node, unless the message is lost.
func (n *network) send(from, to *node, do func()) {
	if !from.up {
		return
	}
	life := to.life
	n.after(n.delay(from, to), func() {
		if to.up && to.life == life && !n.cut[[2]int{from.az, to.az}] && !n.chance(n.loss) {
			do()
		}
	})
}

// call asks a node, which answers through reply. done is called once with the
// answer, or with errSilent; never if the caller has died.
func call[T any](n *network, from, to *node, timeout time.Duration, serve func(reply func(T)), done func(T, error)) {
	life, over := from.life, false
	end := func(answer T, err error) {
		if !over && from.up && from.life == life {
			over = true
			done(answer, err)
		}
	}
	n.send(from, to, func() {
		serve(func(answer T) { n.send(to, from, func() { end(answer, nil) }) })
	})
	n.after(timeout, func() {
		var none T
		end(none, errSilent)
	})
}
