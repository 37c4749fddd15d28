package guest

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// poller tells goroutines when their descriptors can be read. It does what
// Go's own does, for a process that has one processor (GOMAXPROCS is 1) in a
// sandbox, where every system call is dear and a switch between threads
// dearer still.
//
// Go's scheduler, before a thread waits in a system call, makes ready to give
// the processor to another: its monitor thread wakes up, looks every 20 µs,
// takes the processor away, and the thread has to get it back. While an
// invoke is under way nothing else wants the processor, so here the thread
// that waits for the next message keeps it: an invoke is served by one thread
// from the beginning to the end, and no other wakes.
//
// Nothing starves: after 10 ms the monitor interrupts a goroutine that keeps
// the processor with a signal, which ends the wait; the poller then waits in
// the ordinary way. And it always does while someone is about to wait for
// something else: see busy.
type poller struct {
	fd   int
	warm atomic.Bool  // nothing but invokes is going on
	slow atomic.Int32 // system calls under way that block

	mu      sync.Mutex
	watches map[int32]*watch // by descriptor
}

// watch is what a poller has seen of a descriptor.
type watch struct {
	// ready gets something when the descriptor has become readable, even if
	// what there is has been read since.
	ready chan struct{}
	// room, if not nil, gets something when the descriptor may take more.
	room chan struct{}
	// ended says that the other side has: there is nothing to wait for.
	ended atomic.Bool
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make poller: %w", err)
	}
	return &poller{fd: fd, watches: make(map[int32]*watch)}, nil
}

// add watches a descriptor, which does not block. Who has found less in it
// than there was room for, and not an end, can wait for ready instead of
// trying.
func (p *poller) add(fd int) (*watch, error) {
	return p.watch(fd, &watch{ready: make(chan struct{}, 1)}, unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLET)
}

// addBoth is add for a descriptor whose writer waits as well. Invokes do
// without: an event more for each answer would be felt.
func (p *poller) addBoth(fd int) (*watch, error) {
	w := &watch{ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	return p.watch(fd, w, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET)
}

func (p *poller) watch(fd int, w *watch, events uint32) (*watch, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	event := unix.EpollEvent{Events: events, Fd: int32(fd)} //nolint:gosec // descriptors are small
	if err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return nil, fmt.Errorf("poll: %w", err)
	}
	p.watches[event.Fd] = w
	return w, nil
}

// remove is called before the descriptor is closed.
func (p *poller) remove(fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.watches, int32(fd))                         //nolint:gosec // descriptors are small
	_ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil) // closing does it, too
}

// busy announces a system call that may block, until the returned function is
// called.
func (p *poller) busy() (done func()) {
	p.slow.Add(1)
	return func() { p.slow.Add(-1) }
}

// run never returns.
func (p *poller) run() {
	events := make([]unix.EpollEvent, 16)
	for {
		n, err := p.wait(events)
		if err != nil && !errors.Is(err, unix.EINTR) {
			panic(fmt.Sprintf("epoll_wait: %v", err)) // a broken invariant: the descriptor is ours
		}
		p.mu.Lock()
		for i := range max(n, 0) {
			if w := p.watches[events[i].Fd]; w != nil {
				w.happened(events[i].Events)
			}
		}
		p.mu.Unlock()
		// Everyone who can run does so first: the others are ahead in the
		// queue, but for one time in 61, hence twice.
		runtime.Gosched()
		runtime.Gosched()
	}
}

// happened passes on what epoll says.
func (w *watch) happened(events uint32) {
	if events&^(unix.EPOLLIN|unix.EPOLLOUT) != 0 {
		w.ended.Store(true)
	}
	if events&^unix.EPOLLOUT != 0 {
		w.notify()
	}
	if w.room != nil && events&^(unix.EPOLLIN|unix.EPOLLRDHUP) != 0 {
		w.notifyRoom()
	}
}

// notify wakes who waits, or will.
func (w *watch) notify() { wake(w.ready) }

// notifyRoom wakes who waits to write, or will.
func (w *watch) notifyRoom() { wake(w.room) }

func wake(waiting chan<- struct{}) {
	select {
	case waiting <- struct{}{}:
	default: // there is one in it already
	}
}

func (p *poller) wait(events []unix.EpollEvent) (int, error) {
	if p.warm.Load() && p.slow.Load() == 0 {
		n, err := rawEpollWait(p.fd, events)
		if err == nil {
			return n, nil
		}
		runtime.Gosched()
	}
	return unix.EpollWait(p.fd, events, -1)
}
