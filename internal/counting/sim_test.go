package counting

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"hearth/internal/environment"
)

// The simulation runs real ledgers and shadows, of three processes that lead one
// after the other, with models of frontends and workers, over a network that delays
// and loses messages and cuts processes off. What it looks for: a pool of one unit
// is a mutex, whoever dies.

type event struct {
	at  time.Duration
	seq int
	do  func()
}

type events []event

func (e *events) Len() int { return len(*e) }
func (e *events) Less(i, j int) bool {
	a, b := (*e)[i], (*e)[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}
func (e *events) Swap(i, j int) { (*e)[i], (*e)[j] = (*e)[j], (*e)[i] }
func (e *events) Push(x any)    { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

// simulation is a small world.
type simulation struct {
	*rand.Rand
	now     time.Duration
	queue   events
	seq     int
	cut     map[string]bool // processes that nothing reaches
	planted string

	epoch   uint64
	leaders []*simLeader
	leading int // who leads, by the elections
	fronts  []*simFront
	workers []*simWorker

	running, most, ran int
}

const simLongest = 3 * time.Second

func (s *simulation) after(d time.Duration, do func()) {
	s.seq++
	heap.Push(&s.queue, event{s.now + d, s.seq, do})
}

// send delivers a message or loses it.
func (s *simulation) send(from, to string, do func()) {
	if s.IntN(50) == 0 {
		return
	}
	delay := time.Duration(s.Int64N(int64(5 * time.Millisecond)))
	if s.IntN(20) == 0 {
		delay = time.Duration(s.Int64N(int64(2 * time.Second)))
	}
	s.after(delay, func() {
		if !s.cut[from] && !s.cut[to] {
			do()
		}
	})
}

type simLeader struct {
	s      *simulation
	name   string
	ledger *Ledger
	shadow *Shadow
}

func (l *simLeader) clock() time.Time { return time.Unix(0, 0).Add(l.s.now) }

// takeOver is wire.Counting's.
func (l *simLeader) takeOver(epoch uint64) {
	own, whole, ok := l.shadow.Promise(0, epoch)
	if !ok {
		return
	}
	wholes := 0
	if whole {
		wholes++
	}
	done := false
	for _, o := range l.s.leaders {
		if o == l {
			continue
		}
		l.s.send(l.name, o.name, func() {
			rows, w, ok := o.shadow.Promise(0, epoch)
			l.s.send(o.name, l.name, func() {
				if !ok || done || l.s.epoch != epoch {
					return
				}
				done = true
				if w {
					wholes++
				}
				var fronts []Front
				for _, f := range l.s.fronts {
					fronts = append(fronts, Front{f.name, f.joined})
				}
				l.ledger.Lead(epoch, fronts, Merge(own, rows), wholes > 1)
				l.tell()
			})
		})
	}
	l.s.after(time.Second, func() {
		if !done && l.s.epoch == epoch {
			l.takeOver(epoch)
		}
	})
}

func (l *simLeader) tell() {
	epoch, upto, rows := l.ledger.Rows()
	l.shadow.Keep(0, epoch, rows, true, upto)
	for _, o := range l.s.leaders {
		if o != l {
			l.s.send(l.name, o.name, func() { o.shadow.Keep(0, epoch, rows, true, upto) })
		}
	}
}

// look is wire.Counting's.
func (l *simLeader) look() {
	defer l.s.after(250*time.Millisecond, l.look)
	if l.ledger.Epoch() == 0 || l.s.cut[l.name] {
		return
	}
	l.ledger.Late()
	if l.s.IntN(20) == 0 {
		l.tell()
	}
	epoch, pending := l.ledger.Pending()
	var keys []Front
	for f := range pending {
		keys = append(keys, f)
	}
	slices.SortFunc(keys, func(a, b Front) int { return int(a.Life) - int(b.Life) })
	for _, f := range keys {
		workers := pending[f]
		if len(workers) == 0 {
			for _, w := range l.s.workers {
				workers = append(workers, w.name)
			}
			l.ledger.Asked(epoch, f, workers)
		}
		slices.Sort(workers)
		for _, name := range workers {
			i := slices.IndexFunc(l.s.workers, func(w *simWorker) bool { return w.name == name })
			w := l.s.workers[i]
			l.s.send(l.name, name, func() {
				busy := w.fence(f)
				l.s.send(name, l.name, func() { l.ledger.Fenced(epoch, f, name, busy) })
			})
			if l.s.planted == "freed by clock" {
				l.s.after(time.Second, func() { l.ledger.Fenced(epoch, f, name, nil) })
			}
		}
	}
}

// take is wire.Counting's: the row is kept by another before the answer goes out.
func (l *simLeader) take(f *simFront, life, session uint64, reply func(bool, error)) {
	granted, _, row, err := l.ledger.Take(Front{f.name, life}, session, "p", 1, 1, simLongest)
	if err != nil {
		reply(false, err)
		return
	}
	answer := func() { reply(granted > 0, nil) }
	if l.s.planted == "not kept" {
		answer()
		return
	}
	if !l.shadow.Keep(0, row.Epoch, []Row{row}, false, 0) {
		l.ledger.Give(Front{f.name, life}, session, "p", granted)
		return
	}
	told := false
	for _, o := range l.s.leaders {
		if o != l {
			l.s.send(l.name, o.name, func() {
				ok := o.shadow.Keep(0, row.Epoch, []Row{row}, false, 0)
				l.s.send(o.name, l.name, func() {
					if ok && !told {
						told = true
						answer()
					}
				})
			})
		}
	}
}

// simFront is a frontend: wire.Counts, with one pool of one unit.
type simFront struct {
	s       *simulation
	name    string
	joined  uint64 // the life that the directory knows
	life    uint64
	session uint64
	epoch   uint64 // of the leader it is registered with
	held    int
	used    int
	unit    int // of the present one
	up      bool
	// whom it takes for the leader, and in which term.
	seen      int
	seenEpoch uint64
}

func (f *simFront) leader() *simLeader { return f.s.leaders[f.seen] }

// hear has it hear of an election when it can be reached.
func (f *simFront) hear(leader int, epoch uint64) {
	f.s.after(time.Duration(f.s.Int64N(int64(500*time.Millisecond))), func() {
		switch {
		case f.s.cut[f.name] || f.s.cut[f.s.leaders[leader].name]:
			f.hear(leader, epoch)
		case epoch > f.seenEpoch:
			f.seen, f.seenEpoch = leader, epoch
		}
	})
}

// join registers with the leader.
func (f *simFront) join() {
	f.session++
	f.epoch = 0
	life, session, l := f.life, f.session, f.leader()
	held := map[string]Holding{}
	if f.held > 0 {
		held["p"] = Holding{f.held, simLongest}
	}
	f.s.send(f.name, l.name, func() {
		err := l.ledger.Register(Front{f.name, life}, session, held)
		epoch := l.ledger.Epoch()
		f.s.send(l.name, f.name, func() {
			switch {
			case f.life != life || f.session != session:
			case errors.Is(err, environment.ErrFenced):
				f.life, f.held, f.used = f.life+1, 0, 0
			case err == nil:
				f.epoch = epoch
			}
		})
	})
}

// invoke admits an invoke and has a worker run it.
func (f *simFront) invoke() {
	defer f.s.after(time.Duration(f.s.Int64N(int64(300*time.Millisecond))), f.invoke)
	if !f.up || f.used > 0 {
		return
	}
	if f.epoch == 0 || f.epoch != f.seenEpoch {
		f.join()
		return
	}
	life, session, l := f.life, f.session, f.leader()
	f.s.send(f.name, l.name, func() {
		l.take(f, life, session, func(granted bool, err error) {
			f.s.send(l.name, f.name, func() {
				if f.life != life || f.session != session || f.used > 0 {
					return
				}
				if errors.Is(err, environment.ErrFenced) {
					f.life, f.held, f.used, f.session, f.epoch = f.life+1, 0, 0, f.session+1, 0
				} else if errors.Is(err, environment.ErrUnregistered) {
					f.epoch = 0
				}
				if granted {
					f.held, f.used = 1, 1
					f.run(life)
				}
			})
		})
	})
	// Nobody knows what became of a call without an answer.
	f.s.after(time.Second, func() {
		if f.life == life && f.session == session && f.used == 0 {
			f.session, f.epoch = f.session+1, 0
		}
	})
}

func (f *simFront) run(life uint64) {
	w := f.s.workers[f.s.IntN(len(f.s.workers))]
	f.unit++
	unit := f.unit
	f.s.send(f.name, w.name, func() {
		w.accept(Front{f.name, life}, func() {
			f.s.send(w.name, f.name, func() { f.over(life, unit) })
		})
	})
	// Without an answer the worker is asked, and in the end nothing can run any more.
	f.s.after(simLongest+margin, func() { f.over(life, unit) })
}

func (f *simFront) over(life uint64, unit int) {
	if f.life != life || f.unit != unit || f.used == 0 {
		return
	}
	f.held, f.used = 0, 0
	session, l := f.session, f.leader()
	if f.epoch == f.seenEpoch {
		f.s.send(f.name, l.name, func() { l.ledger.Give(Front{f.name, life}, session, "p", 1) })
	}
}

type simWorker struct {
	s      *simulation
	name   string
	fenced map[string]uint64
	busy   map[Front]int
}

func (w *simWorker) accept(f Front, done func()) {
	if f.Life <= w.fenced[f.Name] {
		done()
		return
	}
	w.busy[f]++
	w.s.running++
	w.s.ran++
	w.s.most = max(w.s.most, w.s.running)
	w.s.after(time.Duration(w.s.Int64N(int64(simLongest))), func() {
		w.s.running--
		if w.busy[f]--; w.busy[f] == 0 {
			delete(w.busy, f)
		}
		done()
	})
}

func (w *simWorker) fence(f Front) map[string]int {
	w.fenced[f.Name] = max(w.fenced[f.Name], f.Life)
	n := 0
	for other, units := range w.busy {
		if other.Name == f.Name && other.Life <= f.Life {
			n += units
		}
	}
	if n == 0 {
		return nil
	}
	return map[string]int{"p": n}
}

// mishap breaks something for a while.
func (s *simulation) mishap() {
	defer s.after(time.Duration(s.Int64N(int64(20*time.Second))), s.mishap)
	for1 := time.Duration(s.Int64N(int64(10 * time.Second)))
	switch s.IntN(5) {
	case 0: // another leads
		s.leading = (s.leading + 1 + s.IntN(2)) % 3
		s.epoch++
		epoch, l := s.epoch, s.leaders[s.leading]
		s.after(0, func() { l.takeOver(epoch) })
		for _, f := range s.fronts {
			f.hear(s.leading, epoch)
		}
	case 1, 2: // a zone is cut off
		zone := s.IntN(3)
		names := []string{s.leaders[zone].name, s.fronts[zone%len(s.fronts)].name, s.workers[zone].name}
		for _, n := range names {
			s.cut[n] = true
		}
		s.after(for1, func() {
			for _, n := range names {
				delete(s.cut, n)
			}
		})
		s.after(time.Second+500*time.Millisecond, func() {
			for _, l := range s.leaders {
				l.ledger.Gone(names[1])
			}
		})
	case 3: // a frontend dies and begins anew
		f := s.fronts[s.IntN(len(s.fronts))]
		f.up, f.held, f.used, f.session, f.epoch = false, 0, 0, 0, 0
		f.life++
		f.joined = f.life
		s.after(time.Second, func() {
			for _, l := range s.leaders {
				l.ledger.Gone(f.name)
			}
		})
		s.after(for1, func() { f.up = true })
	case 4: // a leader loses its memory
		l := s.leaders[s.IntN(3)]
		if l == s.leaders[s.leading] {
			return
		}
		l.shadow, l.ledger = NewShadow(), NewLedger(l.clock, func(uint64, Front) {})
		l.shadow.Promise(0, s.epoch) // which it reads in etcd when it starts
	}
}

func simulate(seed uint64, hours time.Duration, planted string) *simulation {
	s := &simulation{Rand: rand.New(rand.NewPCG(seed, 1)), cut: make(map[string]bool), epoch: 1, planted: planted}
	for i := range 3 {
		l := &simLeader{s: s, name: fmt.Sprint("leader", i), shadow: NewShadow()}
		l.ledger = NewLedger(l.clock, func(uint64, Front) {})
		s.leaders = append(s.leaders, l)
		s.workers = append(s.workers, &simWorker{s: s, name: fmt.Sprint("worker", i), fenced: map[string]uint64{}, busy: map[Front]int{}})
		s.fronts = append(s.fronts, &simFront{s: s, name: fmt.Sprint("front", i), joined: 1, life: 1, up: true, seenEpoch: 1})
	}
	s.after(0, func() { s.leaders[0].takeOver(1) })
	for _, l := range s.leaders {
		s.after(0, l.look)
	}
	for _, f := range s.fronts {
		s.after(0, f.invoke)
	}
	s.after(5*time.Second, s.mishap)
	for s.now < hours && s.most < 2 {
		e := heap.Pop(&s.queue).(event)
		s.now = e.at
		e.do()
	}
	return s
}

// TestMutexInSimulation: never two at once, and it goes on running.
func TestMutexInSimulation(t *testing.T) {
	for seed := range uint64(6) {
		s := simulate(seed, time.Hour, "")
		if s.most > 1 {
			t.Fatalf("seed %d: two at once after %v", seed, s.now)
		}
		if s.ran < 100 {
			t.Errorf("seed %d: only %d ran in an hour", seed, s.ran)
		}
	}
}

// TestPlantedBugs: what breaks the mutex is found.
func TestPlantedBugs(t *testing.T) {
	for _, planted := range []string{"freed by clock", "not kept"} {
		found := false
		for seed := uint64(0); seed < 200 && !found; seed++ {
			if s := simulate(seed, time.Hour, planted); s.most > 1 {
				t.Logf("%s: seed %d finds it after %v", planted, seed, s.now)
				found = true
			}
		}
		if !found {
			t.Errorf("nobody notices: %s", planted)
		}
	}
}
