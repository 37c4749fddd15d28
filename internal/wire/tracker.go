package wire

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"hearth/internal/ca"
	"hearth/internal/rpc"
)

const (
	// sign is how often an assignment process gives a sign of life to those who
	// watch it, and silence how long one may be quiet before it is asked anew.
	sign    = time.Second
	silence = 4 * time.Second
	// redial is the pause before somebody who could not be reached is tried again.
	redial = 100 * time.Millisecond
)

// Tracker knows the nodes of the cluster, and who leads which partition, from
// what assignment processes tell of themselves.
type Tracker struct {
	node *ca.Node
	log  *slog.Logger
	// Dead is called when a process was there and is no more; it may be nil. Set
	// it before Start.
	Dead func(name string)

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when something below changes
	nodes   map[string]Node
	peers   map[string]*peer // assignment processes by address
	claims  map[int]*claim
	conns   map[string]*rpc.Conn // by role and address
}

// peer is an assignment process that is watched.
type peer struct {
	address string
	conn    *rpc.Conn
	since   time.Time // that it is heard; zero if it is not
}

// claim is who leads a partition, as far as anybody has said.
type claim struct {
	epoch uint64
	peer  *peer
	// over ends what is asked of the leader when there is another.
	over   context.Context
	cancel context.CancelFunc
}

// NewTracker makes a tracker that begins with the assignment processes at some
// addresses.
func NewTracker(node *ca.Node, seeds []string, log *slog.Logger) (*Tracker, error) {
	t := &Tracker{
		node: node, log: log, changed: make(chan struct{}),
		nodes: make(map[string]Node), peers: make(map[string]*peer), claims: make(map[int]*claim), conns: make(map[string]*rpc.Conn),
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	for _, address := range seeds {
		if _, err := t.conn(address, ca.Assignment); err != nil {
			t.Stop()
			return nil, err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, address := range seeds {
		t.meet(address)
	}
	return t, nil
}

// Start begins to watch.
func (t *Tracker) Start() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.peers {
		t.wg.Go(func() { t.watch(p) })
	}
}

// Stop ends all connections.
func (t *Tracker) Stop() {
	t.cancel()
	t.wg.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.conns {
		_ = c.Close() // nothing is asked any more
	}
	for _, c := range t.claims {
		c.cancel()
	}
}

// change is called with the lock held.
func (t *Tracker) change() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// conn is the connection to a node of a role.
func (t *Tracker) conn(address string, role ca.Role) (*rpc.Conn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := string(role) + " " + address
	if c := t.conns[key]; c != nil {
		return c, nil
	}
	c, err := rpc.Dial(t.node, address, role)
	if err == nil {
		t.conns[key] = c
	}
	return c, err
}

// meet makes a peer of an address, with the lock held; it is nil if there is one.
func (t *Tracker) meet(address string) *peer {
	if t.peers[address] != nil {
		return nil
	}
	p := &peer{address: address}
	t.peers[address] = p
	return p
}

// watch follows one assignment process.
func (t *Tracker) watch(p *peer) {
	conn, err := t.conn(p.address, ca.Assignment)
	if err != nil {
		t.log.Error("wire: an address of the cluster is not one", "address", p.address, "error", err)
		return
	}
	t.mu.Lock()
	p.conn = conn
	t.mu.Unlock()
	for heard := false; t.ctx.Err() == nil; {
		got, err := t.listen(p)
		heard = heard || got
		if t.ctx.Err() != nil {
			return
		}
		if heard && refused(err) {
			heard = false
			t.bury(p)
		}
		_ = wait(t.ctx, nil, redial) // else the loop ends
	}
}

// refused says that where a process was nothing listens any more. Whoever is cut
// off or stands still answers nothing at all.
func refused(err error) bool {
	sent, is := rpc.Unreachable(err)
	return is && !sent && rpc.Refused(err, syscall.ECONNREFUSED)
}

// bury says that a process that was heard is dead.
func (t *Tracker) bury(p *peer) {
	name := ""
	t.mu.Lock()
	for _, n := range t.nodes {
		if n.Address == p.address {
			name = n.Name
		}
	}
	t.mu.Unlock()
	if name != "" && t.Dead != nil {
		t.Dead(name)
	}
}

// listen takes one stream of news; heard says that there was some.
func (t *Tracker) listen(p *peer) (heard bool, err error) {
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	// Whoever is cut off does not end the stream.
	quiet := time.AfterFunc(silence, cancel)
	defer quiet.Stop()
	r, err := rpc.Open(ctx, p.conn, methodWatch, &none{})
	if err != nil {
		return false, err
	}
	defer r.Close()
	defer func() {
		t.mu.Lock()
		p.since = time.Time{}
		t.change()
		t.mu.Unlock()
	}()
	for {
		n, err := r.Receive()
		if err != nil {
			return heard, err
		}
		heard = true
		quiet.Reset(silence)
		t.learn(p, n)
	}
}

// learn takes note of news.
func (t *Tracker) learn(p *peer, n *news) {
	t.mu.Lock()
	defer t.mu.Unlock()
	changed := p.since.IsZero()
	if changed {
		p.since = time.Now()
	}
	for partition, c := range t.claims {
		// Its own claims are what it says now; another's end by a higher epoch.
		if c.peer == p && n.Led[partition] != c.epoch {
			c.cancel()
			delete(t.claims, partition)
			changed = true
		}
	}
	for partition, epoch := range n.Led {
		c := t.claims[partition]
		if c != nil && epoch <= c.epoch {
			continue
		}
		if c != nil {
			c.cancel()
		}
		t.claims[partition] = t.claimed(p, epoch)
		changed = true
	}
	if n.Nodes != nil {
		changed = true
		clear(t.nodes)
		for _, other := range n.Nodes {
			t.nodes[other.Name] = other
			if !other.Has(ca.Assignment) {
				continue
			}
			if next := t.meet(other.Address); next != nil && t.ctx.Err() == nil {
				t.wg.Go(func() { t.watch(next) })
			}
		}
	}
	if changed {
		t.change()
	}
}

func (t *Tracker) claimed(p *peer, epoch uint64) *claim {
	c := &claim{epoch: epoch, peer: p}
	c.over, c.cancel = context.WithCancel(t.ctx)
	return c
}

// leader is who leads a partition: nil if nobody is known to. changed is closed
// when that may be different.
func (t *Tracker) leader(partition int) (c *claim, changed <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.claims[partition], t.changed
}

// Node finds a node by its name.
func (t *Tracker) Node(name string) (Node, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, ok := t.nodes[name]
	return n, ok
}

// Nodes are the nodes of a role, by name; those of a zone first.
func (t *Tracker) Nodes(role ca.Role, zone string) []Node {
	t.mu.Lock()
	defer t.mu.Unlock()
	var near, far []Node
	for _, name := range slices.Sorted(maps.Keys(t.nodes)) {
		switch n := t.nodes[name]; {
		case !n.Has(role):
		case n.Zone == zone:
			near = append(near, n)
		default:
			far = append(far, n)
		}
	}
	return append(near, far...)
}

// Alive are the names of the assignment processes that have been heard for a
// while.
func (t *Tracker) Alive(since time.Duration) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []string
	for _, n := range t.nodes {
		p := t.peers[n.Address]
		if n.Has(ca.Assignment) && p != nil && !p.since.IsZero() && time.Since(p.since) >= since {
			all = append(all, n.Name)
		}
	}
	slices.Sort(all)
	return all
}

// each calls a method of every assignment process, at once, and returns how many
// have answered.
func each[Req, Res any](ctx context.Context, t *Tracker, m rpc.Method[Req, Res], req *Req) int {
	t.mu.Lock()
	var conns []*rpc.Conn
	for _, p := range t.peers {
		if p.conn != nil {
			conns = append(conns, p.conn)
		}
	}
	t.mu.Unlock()
	var wg sync.WaitGroup
	var mu sync.Mutex
	n := 0
	for _, c := range conns {
		wg.Go(func() {
			if _, err := rpc.Call(ctx, c, m, req); err == nil {
				mu.Lock()
				n++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return n
}

// Heartbeat tells all placement services how a worker is. How many have heard it
// is returned.
func (t *Tracker) Heartbeat(ctx context.Context, status Status) int {
	ctx, cancel := context.WithTimeout(ctx, sign)
	defer cancel()
	return each(ctx, t, methodHeartbeat, &status)
}

// Join makes this process known to the cluster: it returns when one assignment
// process has it recorded.
func (t *Tracker) Join(ctx context.Context, n Node) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		known := each(attempt, t, methodJoin, &n)
		cancel()
		if known > 0 {
			return nil
		}
		if err := wait(ctx, nil, redial); err != nil {
			return err
		}
	}
}
