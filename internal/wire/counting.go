package wire

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"hearth/internal/counting"
	"hearth/internal/environment"
	"hearth/internal/rpc"
)

// Counts is counting for a frontend: a counting.Source.
type Counts struct {
	tracker    *Tracker
	partition  func(pool string) int
	partitions int
	log        *slog.Logger
	holdings   func(life uint64, choose func(pool string) bool) map[string]counting.Holding

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	// mu orders what changes what is held against the telling of it.
	mu       sync.Mutex
	life     uint64
	sessions []session
}

// session is what a frontend has with the leader of a counting partition. What it
// tells that leader counts once: as part of what it held when the session began,
// or after.
type session struct {
	number  uint64
	epoch   uint64 // of the leader; zero if there is none
	joining sync.Mutex
}

// NewCounts makes the counting of a frontend in a life, over some partitions.
func NewCounts(t *Tracker, life uint64, partitions int, partition func(pool string) int, log *slog.Logger) *Counts {
	c := &Counts{tracker: t, life: life, partitions: partitions, partition: partition, log: log, sessions: make([]session, partitions)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Start begins to tell leaders what holdings says that this frontend holds, and has
// trim called from time to time.
func (c *Counts) Start(holdings func(life uint64, choose func(pool string) bool) map[string]counting.Holding, trim func()) {
	c.holdings = holdings
	c.wg.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			_, changed := c.tracker.leader(0)
			for p := range c.partitions {
				if claim, _ := c.tracker.leader(p); claim != nil && claim.epoch != c.epoch(p) {
					c.wg.Go(func() { _ = c.join(c.ctx, p) }) // else with the next unit
				}
			}
			select {
			case <-changed:
			case <-tick.C:
				trim()
			case <-c.ctx.Done():
				return
			}
		}
	})
}

// Stop ends telling.
func (c *Counts) Stop() {
	c.cancel()
	c.wg.Wait()
}

func (c *Counts) epoch(partition int) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sessions[partition].epoch
}

// join begins a session with whoever leads a partition.
func (c *Counts) join(ctx context.Context, partition int) error {
	s := &c.sessions[partition]
	s.joining.Lock()
	defer s.joining.Unlock()
	claim, changed := c.tracker.leader(partition)
	if claim == nil {
		return wait(ctx, changed, time.Second)
	}
	c.mu.Lock()
	if s.epoch == claim.epoch {
		c.mu.Unlock()
		return nil
	}
	s.number++
	s.epoch = 0
	q := &register{Partition: partition, Life: c.life, Session: s.number}
	q.Held = c.holdings(c.life, func(pool string) bool { return c.partition(pool) == partition })
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	res, err := rpc.Call(ctx, claim.peer.conn, methodRegister, q)
	if errors.Is(err, environment.ErrFenced) {
		c.renew(q.Life)
		return nil
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.number == q.Session && c.life == q.Life {
		s.epoch = res.Epoch
	}
	return nil
}

// Over implements counting.Source.
func (c *Counts) Over(life uint64) { c.renew(life) }

// renew begins another life: what was granted in the one before is nobody's.
func (c *Counts) renew(life uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life != life {
		return
	}
	c.log.Warn("counting: this frontend was taken for gone and begins anew")
	c.life = max(c.life+1, uint64(time.Now().UnixNano()))
	for i := range c.sessions {
		c.sessions[i].number++
		c.sessions[i].epoch = 0
	}
	c.holdings(c.life, func(string) bool { return true })
}

// forget ends a session whose leader may not have heard all.
func (c *Counts) forget(partition int, number uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := &c.sessions[partition]; s.number == number {
		s.number++
		s.epoch = 0
	}
}

// countFor is how long an invoke waits to be counted.
const countFor = 10 * time.Second

// Take implements counting.Source.
func (c *Counts) Take(ctx context.Context, pool string, limit, want int, longest time.Duration, accept func(int, bool, uint64)) error {
	ctx, cancel := context.WithTimeout(ctx, countFor)
	defer cancel()
	partition := c.partition(pool)
	for {
		claim, changed := c.tracker.leader(partition)
		c.mu.Lock()
		s := c.sessions[partition].epoch
		number, life := c.sessions[partition].number, c.life
		c.mu.Unlock()
		if claim == nil || s != claim.epoch {
			if err := c.join(ctx, partition); err != nil {
				if err := wait(ctx, changed, 20*time.Millisecond); err != nil {
					return err
				}
			}
			continue
		}
		res, err := askLeader(ctx, claim, methodTake,
			&take{Partition: partition, Life: life, Session: number, Pool: pool, Limit: limit, Want: want, Longest: longest})
		if err == nil && c.accept(partition, number, res, accept) {
			return nil
		}
		switch {
		case ctx.Err() != nil:
			c.forget(partition, number) // it may have been granted
			return context.Cause(ctx)
		case errors.Is(err, environment.ErrFenced):
			c.renew(life)
		case err != nil:
			c.forget(partition, number)
			if err := wait(ctx, changed, 20*time.Millisecond); err != nil {
				return err
			}
		}
	}
}

// accept takes what was granted, unless the session is over: then the leader was
// told without it.
func (c *Counts) accept(partition int, number uint64, res *taken, accept func(int, bool, uint64)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions[partition].number != number {
		return false
	}
	accept(res.Granted, res.Single, c.life)
	return true
}

// Give implements counting.Source.
func (c *Counts) Give(pool string, from func() (n int, life uint64)) {
	partition := c.partition(pool)
	c.mu.Lock()
	n, life := from()
	s := &c.sessions[partition]
	if n == 0 || life != c.life {
		c.mu.Unlock()
		return
	}
	number, epoch := s.number, s.epoch
	if epoch == 0 {
		// A session that is about to begin was told of them: it is not to begin.
		s.number++
	}
	c.mu.Unlock()
	if epoch == 0 {
		c.wg.Go(func() { _ = c.join(c.ctx, partition) }) // else with the next unit
		return
	}
	told := make(chan struct{})
	c.wg.Go(func() {
		defer close(told)
		claim, _ := c.tracker.leader(partition)
		if claim == nil || claim.epoch != epoch {
			return
		}
		ctx, cancel := context.WithTimeout(c.ctx, 2*time.Second)
		defer cancel()
		_, err := rpc.Call(ctx, claim.peer.conn, methodGive, &give{Partition: partition, Life: life, Session: number, Pool: pool, Units: n})
		if err != nil {
			c.forget(partition, number)
			_ = c.join(c.ctx, partition) // else with the next unit
		}
	})
	// Whoever waits for an answer may come to another frontend with it: there the
	// unit is to be free.
	_ = wait(c.ctx, told, giveFor)
}

// giveFor is how long it is waited for the leader's having heard of units that are
// free.
const giveFor = 5 * time.Millisecond
