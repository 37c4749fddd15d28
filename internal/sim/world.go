package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"hearth/internal/assignment"
	"hearth/internal/environment"
	"hearth/internal/function"
)

// Bug is a mistake that is made on purpose, to see that a run finds it.
type Bug int

// The bugs that can be planted.
const (
	NoBug Bug = iota
	// BugStaleAppends has the journal take entries of whoever led once.
	BugStaleAppends
	// BugOrphans has leaders forget environments without stopping them.
	BugOrphans
	// BugEarlyStart has leaders start what is not yet in the journal.
	BugEarlyStart
	// BugTwoInvokes has workers accept invokes of whoever asks.
	BugTwoInvokes
)

// zones is how many availability zones there are.
const zones = 3

// Config is what a run is made of; zero fields take their defaults.
type Config struct {
	Seed uint64
	// Chaos is how long things go wrong; 10 min unless told otherwise.
	Chaos time.Duration
	// Workers and Frontends are in each zone: 2 and 1.
	Workers, Frontends    int
	Partitions, Functions int           // 3 and 5
	CapacityMB            int           // of each worker: 2,048
	Every                 time.Duration // between invokes of a frontend: 2 s
	Patience              time.Duration // 30 s
	Term                  time.Duration // 2 s
	Lease                 time.Duration // 20 min
	// Managers has owners of environments as Lambda's worker managers once were:
	// one in each zone, each with environments of all functions that it alone
	// knows, and that nobody takes over.
	Managers bool
	Bug      Bug
}

func (c *Config) fill() {
	for v, d := range map[*int]int{
		&c.Workers: 2, &c.Frontends: 1, &c.Partitions: 3, &c.Functions: 5, &c.CapacityMB: 2048,
	} {
		if *v == 0 {
			*v = d
		}
	}
	for v, d := range map[*time.Duration]time.Duration{
		&c.Chaos: 10 * time.Minute, &c.Every: 2 * time.Second, &c.Patience: 30 * time.Second,
		&c.Term: 2 * time.Second, &c.Lease: 20 * time.Minute,
	} {
		if *v == 0 {
			*v = d
		}
	}
}

// World is a cluster.
type World struct {
	*network
	cfg       Config
	tuning    *assignment.Tuning
	keeper    *keeper
	hosts     []*host
	workers   map[environment.WorkerID]*worker
	workerIDs []environment.WorkerID
	frontends []*frontend
	functions []*function.Record

	// provisioned is how many environments of a function are kept ready.
	provisioned []int

	ids     uint64
	running map[environment.ID]int
	open    int // invokes that have not ended
	starts  int
	quiet   bool
	results Results
	// lastOK is when an invoke ended well, silence the longest time between two.
	lastOK  time.Time
	silence time.Duration
}

// Outcome is what a run has seen.
type Outcome struct {
	Results
	// Simulated is how long it was, Starts how many environments were started.
	Simulated time.Duration
	Starts    int
}

// Run lets a cluster live through a time of bad luck, lets it recover, and
// looks whether all is well. The error tells of the first violation.
func Run(cfg Config) (Outcome, error) {
	cfg.fill()
	w := build(cfg)
	begun := w.now
	w.misfortune(cfg.Chaos)
	w.run(cfg.Chaos)
	w.recover()
	out := Outcome{Results: w.results, Simulated: w.now.Sub(begun), Starts: w.starts}
	if w.bad != nil {
		return out, fmt.Errorf("seed %d, after %v: %w\n%s", cfg.Seed, out.Simulated, w.bad,
			strings.Join(w.recent[max(0, len(w.recent)-kept):], "\n"))
	}
	return out, nil
}

func build(cfg Config) *World {
	w := &World{
		network: &network{clock: newClock(cfg.Seed), cut: make(map[[2]int]bool)}, cfg: cfg,
		workers: make(map[environment.WorkerID]*worker), running: make(map[environment.ID]int),
	}
	w.tuning = &assignment.Tuning{
		Now: func() time.Time { return w.now }, IdleTimeout: 3 * time.Minute,
		NewID: func() environment.ID {
			w.ids++
			return environment.ID(fmt.Sprintf("%016x", w.ids))
		},
	}
	if err := w.tuning.Fill(); err != nil {
		panic(err)
	}
	for i := range cfg.Functions {
		c := &function.Config{MemorySize: 128}
		w.functions = append(w.functions, &function.Record{UID: fmt.Sprintf("f%d", i), Generation: 1, Latest: c, Serving: c})
	}
	w.provisioned = make([]int, cfg.Functions)
	w.keeper = newKeeper(w)
	for az := range zones {
		for i := range cfg.Workers {
			id := environment.WorkerID(fmt.Sprintf("w%d-%d", az, i))
			w.workers[id] = &worker{node: &node{name: string(id), az: az}, w: w, id: id}
			w.workerIDs = append(w.workerIDs, id)
		}
		w.hosts = append(w.hosts, &host{node: &node{name: fmt.Sprintf("host%d", az), az: az}, w: w})
		for i := range cfg.Frontends {
			w.frontends = append(w.frontends, &frontend{node: &node{name: fmt.Sprintf("front%d-%d", az, i), az: az}, w: w})
		}
	}
	for _, p := range w.processes() {
		p.begin()
	}
	return w
}

// process is what can die and begin again.
type process struct {
	*node
	begin, crash func()
}

func (w *World) processes() []process {
	var all []process
	for _, h := range w.hosts {
		all = append(all, process{h.node, h.begin, func() { h.up = false }})
	}
	for _, id := range w.workerIDs {
		x := w.workers[id]
		all = append(all, process{x.node, x.begin, x.crash})
	}
	for _, f := range w.frontends {
		all = append(all, process{f.node, f.begin, func() { f.up = false }})
	}
	return all
}

// every repeats something until the end of the world.
func (w *World) every(d time.Duration, do func()) {
	var again func()
	again = func() {
		do()
		w.after(d, again)
	}
	w.after(d, again)
}

// call has a node look at what etcd knows.
func (w *World) call(from *node, look func()) {
	call(w.network, from, w.keeper.node, time.Second, func(reply func(struct{})) { reply(struct{}{}) }, func(_ struct{}, err error) {
		if err == nil {
			look()
		}
	})
}

// leader is the host that the journal says leads.
func (w *World) leader(partition int) *host {
	v := w.keeper.look(partition, w.keeper.logs[partition].next())
	if v.leader == nil {
		return nil
	}
	i := slices.IndexFunc(w.hosts, func(h *host) bool { return h.name == string(v.leader.Value) })
	return w.hosts[i]
}

func (w *World) partitionOf(rec *function.Record) int {
	if w.cfg.Managers {
		return w.dice.IntN(w.cfg.Partitions)
	}
	return assignment.PartitionOf(rec.UID, w.cfg.Partitions)
}

// journaled says whether the journal knows an environment.
func (w *World) journaled(s *environment.Start) bool {
	return w.keeper.logs[s.Partition].intents[s.ID]
}

// misfortune is what will go wrong.
func (w *World) misfortune(d time.Duration) {
	for at := time.Duration(0); ; {
		at += w.between(2*time.Second, 20*time.Second)
		if at > d-10*time.Second {
			return
		}
		w.after(at, w.mishap)
	}
}

// mishap is one misfortune, and its end.
func (w *World) mishap() {
	lasts := w.between(500*time.Millisecond, 20*time.Second)
	az := w.dice.IntN(zones)
	cut := func(from, to int) {
		link := [2]int{from, to}
		w.cut[link] = true
		w.after(lasts, func() { delete(w.cut, link) })
	}
	switch w.dice.IntN(10) {
	case 0, 1, 2:
		all := w.processes()
		p := all[w.dice.IntN(len(all))]
		w.notef("%s dies", p.name)
		w.kill(p, lasts)
	case 3:
		w.notef("zone %d dies", az)
		for _, p := range w.processes() {
			if p.az == az {
				w.kill(p, lasts)
			}
		}
	case 4:
		w.notef("zone %d is cut off", az)
		for other := -1; other < zones; other++ {
			if other != az {
				cut(az, other)
				cut(other, az)
			}
		}
	case 5:
		to := w.dice.IntN(zones+1) - 1
		w.notef("zone %d does not reach %d", az, to)
		cut(az, to)
	case 6:
		w.notef("etcd is away")
		w.keeper.up = false
		w.after(lasts, func() { w.keeper.up = true })
	case 7:
		w.notef("messages get lost")
		w.loss = 0.2
		w.after(lasts, func() { w.loss = 0 })
	case 8:
		w.update(w.dice.IntN(len(w.functions)))
	case 9:
		w.provide(w.dice.IntN(len(w.functions)), w.dice.IntN(4))
	}
}

// update changes a function: hosts hear of it, each in its time.
func (w *World) update(i int) {
	now := w.functions[i].Clone()
	now.Generation++
	w.functions[i] = now
	w.notef("%s is updated", now.UID)
	for _, h := range w.hosts {
		w.send(w.keeper.node, h.node, func() {
			p := h.members[assignment.PartitionOf(now.UID, w.cfg.Partitions)].partition
			p.RetireFunction(now.UID, now.Generation)
			p.Provide(now, w.provisioned[i])
		})
	}
}

// provide changes how many environments are kept ready.
func (w *World) provide(i, n int) {
	w.provisioned[i] = n
	w.notef("%d of %s are provisioned", n, w.functions[i].UID)
	for _, h := range w.hosts {
		w.send(w.keeper.node, h.node, func() { h.provide(i) })
	}
}

func (w *World) kill(p process, lasts time.Duration) {
	if !p.up {
		return
	}
	p.crash()
	w.after(lasts, func() {
		if !p.up {
			p.begin()
		}
	})
}

// recover makes everything well and wants everything to be well in the end.
func (w *World) recover() {
	if w.bad != nil {
		return
	}
	w.run(30 * time.Second) // what is under way ends
	w.keeper.up, w.loss = true, 0
	clear(w.cut)
	for _, p := range w.processes() {
		if !p.up {
			p.begin()
		}
	}
	w.quiet = true
	w.run(2 * time.Minute) // and so do invokes
	w.agree()
	w.run(5 * time.Minute) // others have idled out, there is room
	w.ready()
	for i := range w.functions {
		w.provide(i, 0)
	}
	w.run(20 * time.Minute) // all environments idle out
	if n := w.count(); n > 0 && w.bad == nil {
		w.violatedf("%d environments are left that nobody uses", n)
	}
	w.agree()
}

// ready wants as many environments as are provisioned, if there is room for
// twice as many.
func (w *World) ready() {
	mb := 0
	for i, n := range w.provisioned {
		mb += n * w.functions[i].Serving.MemorySize
	}
	if 2*mb > len(w.workers)*w.cfg.CapacityMB {
		return
	}
	for i, rec := range w.functions {
		h := w.leader(assignment.PartitionOf(rec.UID, w.cfg.Partitions))
		if w.bad != nil || h == nil {
			return
		}
		n := 0
		for _, e := range h.members[assignment.PartitionOf(rec.UID, w.cfg.Partitions)].partition.Environments(nil) {
			if e.Key == rec.Key() {
				n++
			}
		}
		if n < w.provisioned[i] {
			w.violatedf("%d environments of %s are ready, of %d that are provisioned", n, rec.UID, w.provisioned[i])
		}
	}
}

func (w *World) count() (n int) {
	for _, id := range w.workerIDs {
		n += len(w.workers[id].envs)
	}
	return n
}

// agree wants workers, leaders and journals to have the same environments, at
// some moment of the next: something may just be on its way.
func (w *World) agree() {
	var err error
	for range 10 {
		if err = w.disagreement(); err == nil || w.bad != nil {
			return
		}
		w.run(time.Second)
	}
	w.violatedf("%v", err)
}

// disagreement is the first that there is.
func (w *World) disagreement() error {
	at := make(map[string]string) // by environment
	for _, id := range w.workerIDs {
		for _, e := range w.workers[id].sorted() {
			at[string(e.id)] = string(id)
			if e.busy || e.starting {
				return fmt.Errorf("%s is still busy or starting at %s", e.id, id)
			}
		}
	}
	for p := range w.cfg.Partitions {
		if err := w.settle(p, at); err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(at)) {
		return fmt.Errorf("%s at %s is an orphan", id, at[id])
	}
	return nil
}

// settle takes what the leader of a partition has from what is at workers.
func (w *World) settle(p int, at map[string]string) error {
	h := w.leader(p)
	if h == nil || !h.members[p].leading {
		return fmt.Errorf("partition %d has no leader", p)
	}
	m := h.members[p]
	known := make(map[environment.ID]bool)
	for _, e := range m.partition.Environments(nil) {
		if at[string(e.ID)] != string(e.Worker) {
			return fmt.Errorf("%s has %s at %s, where it is not", h.name, e.ID, e.Worker)
		}
		if !e.Idle {
			return fmt.Errorf("%s has %s for busy, and nothing is in it", h.name, e.ID)
		}
		known[e.ID] = true
		delete(at, string(e.ID))
	}
	journaled := m.replica.Known()
	for _, k := range journaled {
		if !known[k.ID] {
			return fmt.Errorf("the journal of partition %d has %s, and its leader has not", p, k.ID)
		}
	}
	if len(journaled) != len(known) {
		return fmt.Errorf("the journal of partition %d has %d environments, and its leader %d", p, len(journaled), len(known))
	}
	return nil
}
