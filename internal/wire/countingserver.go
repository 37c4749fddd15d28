package wire

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"hearth/internal/ca"
	"hearth/internal/counting"
	"hearth/internal/environment"
	"hearth/internal/rpc"
)

// Counting is what an assignment process does for counting: it leads the counting
// partitions whose partitions of assignment it leads, and keeps rows for others
// that lead.
type Counting struct {
	// Led is what this process leads, with a channel that is closed when that
	// changes.
	Led func() (map[int]uint64, <-chan struct{})
	// Nodes are all nodes of the cluster.
	Nodes   func() []Node
	Tracker *Tracker
	Self    string
	Log     *slog.Logger

	shadow  *counting.Shadow
	ledgers []*counting.Ledger

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu sync.Mutex
	// asking are the lives that workers are being asked about.
	asking map[asking]bool
	// streams counts the streams of news that each frontend has open.
	streams map[string]int
}

type asking struct {
	partition int
	front     counting.Front
	worker    string
}

// Start begins to lead over so many partitions, and has a server answer. term is the
// term that a partition is led in by now: whoever led before is not heeded, also if
// this process had promised that in a former life.
func (c *Counting) Start(ctx context.Context, s *rpc.Server, partitions int, term func(context.Context, int) (uint64, error)) error {
	c.shadow = counting.NewShadow()
	for p := range partitions {
		epoch, err := term(ctx, p)
		if err != nil {
			return err
		}
		c.shadow.Promise(p, epoch)
	}
	c.asking, c.streams = make(map[asking]bool), make(map[string]int)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	for range partitions {
		c.ledgers = append(c.ledgers, counting.NewLedger(time.Now, func(uint64, counting.Front) {}))
	}
	frontends, assignments := []ca.Role{ca.Frontend}, []ca.Role{ca.Assignment}
	rpc.Handle(s, methodRegister, frontends, c.register)
	rpc.Handle(s, methodTake, frontends, c.take)
	rpc.Handle(s, methodGive, frontends, c.give)
	rpc.Handle(s, methodPromise, assignments, func(_ context.Context, q *promise) (*promised, error) {
		p := &promised{}
		p.Rows, p.Whole, p.OK = c.shadow.Promise(q.Partition, q.Epoch)
		return p, nil
	})
	rpc.Handle(s, methodKeep, assignments, func(_ context.Context, q *keep) (*answered, error) {
		return &answered{c.shadow.Keep(q.Partition, q.Epoch, q.Rows, q.All, q.Upto)}, nil
	})
	c.wg.Go(c.lead)
	c.wg.Go(c.look)
	return nil
}

// Stop ends it.
func (c *Counting) Stop() {
	c.cancel()
	c.wg.Wait()
}

// lead follows what this process leads.
func (c *Counting) lead() {
	taking := make(map[int]uint64)
	for {
		led, changed := c.Led()
		for p, l := range c.ledgers {
			epoch := led[p]
			if epoch == 0 || l.Epoch() != 0 && l.Epoch() != epoch {
				l.Depose()
			}
			if epoch != 0 && l.Epoch() != epoch && taking[p] != epoch {
				taking[p] = epoch
				c.wg.Go(func() { c.takeOver(p, epoch) })
			}
		}
		select {
		case <-changed:
		case <-c.ctx.Done():
			return
		}
	}
}

func (c *Counting) leads(partition int, epoch uint64) bool {
	led, _ := c.Led()
	return led[partition] == epoch
}

// others are the other assignment processes, and majority how many of them must
// take part so that, with this one, more than half do.
func (c *Counting) others() (others []Node, majority int) {
	all := 0
	for _, n := range c.Nodes() {
		if n.Has(ca.Assignment) {
			all++
			if n.Name != c.Self {
				others = append(others, n)
			}
		}
	}
	return others, all / 2
}

const (
	// peerFor bounds what another process is asked.
	peerFor = time.Second
	// lookEvery is how often it is looked who is late, and what is still busy.
	lookEvery = 250 * time.Millisecond
	// tellAll is how often others are told all rows.
	tellAll = 5 * time.Second
)

// askOthers calls others until enough have answered; answers come one at a time.
func askOthers[Req, Res any](ctx context.Context, c *Counting, m rpc.Method[Req, Res], req *Req, enough func(*Res) (done bool)) bool {
	others, majority := c.others()
	if majority == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, peerFor)
	defer cancel()
	answers := make(chan *Res, len(others))
	for _, n := range others {
		c.wg.Go(func() {
			conn, err := c.Tracker.conn(n.Address, ca.Assignment)
			if err != nil {
				answers <- nil
				return
			}
			res, err := rpc.Call(context.WithoutCancel(ctx), conn, m, req) // the others are told, too
			if err != nil {
				res = nil
			}
			answers <- res
		})
	}
	for range others {
		select {
		case res := <-answers:
			if res != nil && enough(res) {
				return true
			}
		case <-ctx.Done():
			return false
		}
	}
	return false
}

// takeOver begins to lead a partition: a majority heeds no former leader any more
// and has told what is known.
func (c *Counting) takeOver(partition int, epoch uint64) {
	for c.ctx.Err() == nil && c.leads(partition, epoch) {
		own, whole, ok := c.shadow.Promise(partition, epoch)
		if !ok {
			return // a later leader has been here
		}
		_, majority := c.others()
		lists, wholes, promises := [][]counting.Row{own}, 0, 0
		if whole {
			wholes++
		}
		if askOthers(c.ctx, c, methodPromise, &promise{partition, epoch}, func(p *promised) bool {
			if !p.OK {
				return false
			}
			lists = append(lists, p.Rows)
			promises++
			if p.Whole {
				wholes++
			}
			return promises >= majority
		}) {
			c.ledgers[partition].Lead(epoch, c.fronts(), counting.Merge(lists...), wholes > majority)
			c.tell(partition)
			return
		}
		if wait(c.ctx, nil, redial) != nil {
			return
		}
	}
}

// fronts are the frontends that there are.
func (c *Counting) fronts() (all []counting.Front) {
	for _, n := range c.Nodes() {
		if n.Has(ca.Frontend) {
			all = append(all, counting.Front{Name: n.Name, Life: n.Life})
		}
	}
	return all
}

// tell has all others keep all rows of a partition.
func (c *Counting) tell(partition int) {
	epoch, upto, rows := c.ledgers[partition].Rows()
	if epoch == 0 {
		return
	}
	c.shadow.Keep(partition, epoch, rows, true, upto)
	askOthers(c.ctx, c, methodKeep, &keep{partition, epoch, rows, true, upto}, func(*answered) bool { return false })
}

// kept has a row kept by a majority.
func (c *Counting) kept(ctx context.Context, partition int, epoch uint64, row counting.Row) bool {
	rows := []counting.Row{row}
	if !c.shadow.Keep(partition, epoch, rows, false, 0) {
		return false
	}
	_, majority := c.others()
	n := 0
	return askOthers(ctx, c, methodKeep, &keep{partition, epoch, rows, false, 0}, func(a *answered) bool {
		if a.Yes {
			n++
		}
		return n >= majority
	})
}

func (c *Counting) ledger(partition int) (*counting.Ledger, error) {
	if partition < 0 || partition >= len(c.ledgers) || c.ledgers[partition].Epoch() == 0 {
		return nil, environment.ErrNotLeading
	}
	return c.ledgers[partition], nil
}

// front is who calls, in the life that it says, with the ledger that it calls for.
func (c *Counting) front(ctx context.Context, life uint64, partition int) (counting.Front, *counting.Ledger, error) {
	caller, err := rpc.Caller(ctx)
	if err != nil {
		return counting.Front{}, nil, err
	}
	l, err := c.ledger(partition)
	return counting.Front{Name: caller.Name, Life: life}, l, err
}

func (c *Counting) register(ctx context.Context, q *register) (*registered, error) {
	f, l, err := c.front(ctx, q.Life, q.Partition)
	if err != nil {
		return nil, err
	}
	epoch := l.Epoch()
	return &registered{epoch}, l.Register(f, q.Session, q.Held)
}

const (
	// fullFor is how long it is waited for a unit that may be on its way back, and
	// learnFor for what is not known yet.
	fullFor  = 100 * time.Millisecond
	learnFor = 5 * time.Second
)

func (c *Counting) take(ctx context.Context, q *take) (*taken, error) {
	began := time.Now()
	for {
		f, l, err := c.front(ctx, q.Life, q.Partition)
		if err != nil {
			return nil, err
		}
		changed := l.Changed()
		granted, single, row, err := l.Take(f, q.Session, q.Pool, q.Limit, q.Want, q.Longest)
		if err == nil {
			if !c.kept(ctx, q.Partition, row.Epoch, row) {
				l.Give(f, q.Session, q.Pool, granted)
				return nil, environment.ErrNotLeading // as far as this process can tell
			}
			return &taken{granted, single}, nil
		}
		most := fullFor
		switch {
		case errors.Is(err, counting.ErrLearning):
			most = learnFor
		case !errors.Is(err, counting.ErrFull):
			return nil, err
		}
		left := most - time.Since(began)
		if left <= 0 {
			return &taken{}, nil
		}
		if err := wait(ctx, changed, min(left, 50*time.Millisecond)); err != nil {
			return nil, err
		}
	}
}

func (c *Counting) give(ctx context.Context, q *give) (*none, error) {
	f, l, err := c.front(ctx, q.Life, q.Partition)
	if err != nil {
		return nil, err
	}
	if q.Units > 0 {
		l.Give(f, q.Session, q.Pool, q.Units)
	}
	return nil, nil
}

// look finds out what has become of frontends that are gone.
func (c *Counting) look() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	told := time.Now()
	for {
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			return
		}
		all := time.Since(told) > tellAll
		if all {
			told = time.Now()
		}
		for p, l := range c.ledgers {
			if l.Epoch() == 0 {
				continue
			}
			l.Late()
			c.fence(p, l)
			if all {
				c.wg.Go(func() { c.tell(p) })
			}
		}
	}
}

// fence asks workers about lives that are over.
func (c *Counting) fence(partition int, l *counting.Ledger) {
	epoch, pending := l.Pending()
	for f, workers := range pending {
		if len(workers) == 0 {
			for _, w := range c.workers() {
				workers = append(workers, w.Name)
			}
			l.Asked(epoch, f, workers)
		}
		for _, w := range workers {
			key := asking{partition, f, w}
			c.mu.Lock()
			busy := c.asking[key]
			c.asking[key] = true
			c.mu.Unlock()
			if busy {
				continue
			}
			c.wg.Go(func() {
				remote := NewWorkers(c.Tracker).Worker(environment.WorkerID(w))
				res, err := callWorker(c.ctx, remote, methodFence, listFor, &f)
				if err == nil {
					l.Fenced(epoch, f, w, res.Units)
				}
				c.mu.Lock()
				defer c.mu.Unlock()
				delete(c.asking, key)
			})
		}
	}
}

func (c *Counting) workers() []Node { return c.Tracker.Nodes(ca.Worker, "") }

// lonely is how long a frontend has no stream of news before it is taken for gone.
const lonely = time.Second

// Watching notes that a frontend has begun to watch; the returned is called when it
// has ended.
func (c *Counting) Watching(name string) (ended func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams[name]++
	return func() {
		c.mu.Lock()
		c.streams[name]--
		c.mu.Unlock()
		time.AfterFunc(lonely, func() {
			c.mu.Lock()
			gone := c.streams[name] == 0
			c.mu.Unlock()
			if gone && c.ctx.Err() == nil {
				for _, l := range c.ledgers {
					l.Gone(name)
				}
			}
		})
	}
}
