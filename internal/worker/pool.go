package worker

import (
	"context"
	"sync"
	"time"
)

// pool keeps sandboxes booted ahead of demand, per runtime: as many as starts
// were asked for within the window, at most a fixed number.
type pool struct {
	w *Worker

	mu       sync.Mutex
	closed   bool
	runtimes map[string]*shelf
}

// shelf is the part of the pool for one runtime.
type shelf struct {
	ready   []*booted
	booting int
	demand  []time.Time // of the latest starts, oldest first, at most the pool's size
}

func newPool(w *Worker) *pool { return &pool{w: w, runtimes: make(map[string]*shelf)} }

func (p *pool) shelf(runtime string) *shelf {
	s := p.runtimes[runtime]
	if s == nil {
		s = &shelf{}
		p.runtimes[runtime] = s
	}
	return s
}

// expect takes note that a start of the runtime is likely soon.
func (p *pool) expect(runtime string) {
	if p.w.cfg.Pool == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shelf(runtime)
	s.demand = append(s.demand, time.Now())
	if over := len(s.demand) - p.w.cfg.Pool; over > 0 {
		s.demand = append(s.demand[:0], s.demand[over:]...)
	}
}

// take returns a booted sandbox: a ready one, or a new one.
func (p *pool) take(ctx context.Context, runtime string) (b *booted, pooled bool, err error) {
	p.expect(runtime)
	p.mu.Lock()
	s := p.shelf(runtime)
	for len(s.ready) > 0 && b == nil {
		b = s.ready[len(s.ready)-1]
		s.ready = s.ready[:len(s.ready)-1]
		select {
		case <-b.session.Closed(): // died in the pool; its watcher discards it
			b = nil
		case <-b.root.whenLost():
			b = nil
		default:
		}
	}
	p.mu.Unlock()
	if b != nil {
		return b, true, nil
	}
	b, err = p.w.bootRuntime(ctx, runtime)
	return b, false, err
}

// refill boots what is missing, in the background. It is called when a start
// has ended, so as not to compete with it.
func (p *pool) refill(runtime string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shelf(runtime)
	for !p.closed && len(s.ready)+s.booting < s.target(p.w.cfg.PoolWindow) {
		s.booting++
		p.w.wg.Go(func() { p.add(runtime) })
	}
}

func (s *shelf) target(window time.Duration) int {
	n := 0
	for _, at := range s.demand {
		if time.Since(at) < window {
			n++
		}
	}
	return n
}

// add boots one sandbox, keeps it, and waits for its end or its use.
func (p *pool) add(runtime string) {
	b, err := p.w.bootRuntime(p.w.ctx, runtime)
	p.mu.Lock()
	s := p.shelf(runtime)
	s.booting--
	keep := err == nil && !p.closed
	if keep {
		s.ready = append(s.ready, b)
	}
	p.mu.Unlock()
	if err != nil {
		if p.w.ctx.Err() == nil {
			p.w.cfg.Log.Warn("no sandbox for the pool", "runtime", runtime, "error", err)
		}
		return
	}
	if !keep {
		p.discard(b)
		return
	}
	select {
	case <-b.session.Closed():
	case <-b.root.whenLost():
	case <-p.w.ctx.Done():
		return
	}
	if p.remove(runtime, b) {
		p.discard(b)
	}
}

func (p *pool) discard(b *booted) {
	if err := p.w.discard(b); err != nil {
		p.w.cfg.Log.Error("sandbox not destroyed cleanly", "sandbox", b.id, "error", err)
	}
}

// remove takes a sandbox off its shelf, if it is still there.
func (p *pool) remove(runtime string, b *booted) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shelf(runtime)
	for i, x := range s.ready {
		if x == b {
			s.ready = append(s.ready[:i], s.ready[i+1:]...)
			return true
		}
	}
	return false
}

// trim discards sandboxes that demand no longer asks for.
func (p *pool) trim() {
	p.mu.Lock()
	var surplus []*booted
	for _, s := range p.runtimes {
		if over := len(s.ready) - s.target(p.w.cfg.PoolWindow); over > 0 {
			surplus = append(surplus, s.ready[:over]...)
			s.ready = append(s.ready[:0], s.ready[over:]...)
		}
	}
	p.mu.Unlock()
	for _, b := range surplus {
		p.discard(b)
	}
}

// close discards every sandbox and refuses new ones.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	var all []*booted
	for _, s := range p.runtimes {
		all = append(all, s.ready...)
		s.ready = nil
	}
	p.mu.Unlock()
	var wg sync.WaitGroup
	for _, b := range all {
		wg.Go(func() { p.discard(b) })
	}
	wg.Wait()
}
