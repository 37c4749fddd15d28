package counting

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"hearth/internal/environment"
)

// Why a Ledger gives nothing.
var (
	// ErrFull says that all units are held.
	ErrFull = errors.New("counting: all units are held")
	// ErrLearning says that it is not known yet which units are held.
	ErrLearning = errors.New("counting: it is still being found out which units are held")
)

// SmallLimit is the largest limit whose units are given out one by one.
const SmallLimit = 64

// Front is a frontend in one of its lives: numbers that grow.
type Front struct {
	Name string
	Life uint64
}

// Ledger is what the leader of a counting partition knows: which frontend holds
// how many units of which pool. It learns that anew in each term, from frontends
// and, of those that are gone, from workers. Its methods are events; it waits for
// nothing. What a frontend holds that is gone is freed by nothing but workers'
// word that its invokes have ended, or by the deadlines that functions have.
type Ledger struct {
	// Fence asks all workers to take no more invokes of a frontend's lives up to
	// this one, and for the invokes of those that are under way: Fenced. It is
	// called with the ledger locked, and calls nothing back from within.
	Fence func(epoch uint64, f Front)
	// Now is the clock.
	Now func() time.Time

	mu    sync.Mutex
	epoch uint64 // zero unless this process leads
	seq   uint64 // of the last row
	// complete says that the rows of the terms before were all known.
	complete bool
	began    time.Time
	fronts   map[string]*front
	pools    map[string]*book
	changed  chan struct{} // closed and replaced when something may have become free
}

// front is a frontend as the leader knows it.
type front struct {
	life       uint64
	registered bool
	// session counts its registrations: what belongs to an earlier one is part of
	// what it has registered since.
	session uint64
	// left are former lives that are being fenced, or have been.
	left map[uint64]*left
}

// left is a life that is over.
type left struct {
	since time.Time
	// waiting are the workers that have not said yet what they have of it; nil
	// until it is known which they are.
	waiting map[string]bool
	asked   bool
	// busy are its invokes under way, by worker and pool.
	busy map[string]map[string]int
}

// book is a pool's.
type book struct {
	limit int
	// longest is the longest time that an invoke of it may take, as far as known.
	longest time.Duration
	held    map[string]int // by frontend, in its present life
	// former is what lives that are over held, as far as it is known here.
	former map[Front]int
}

// NewLedger makes a ledger that does not lead.
func NewLedger(now func() time.Time, fence func(epoch uint64, f Front)) *Ledger {
	return &Ledger{
		Fence: fence, Now: now,
		fronts: make(map[string]*front), pools: make(map[string]*book), changed: make(chan struct{}),
	}
}

// grace is how long frontends have to register with a new leader before they are
// taken for gone.
const grace = time.Second

// Row is what a frontend holds of a pool, as the leader has it kept by a majority
// before the frontend gets to know: whoever leads next knows of all units.
type Row struct {
	Pool    string
	Front   Front
	Units   int
	Limit   int
	Longest time.Duration
	// Epoch and Seq order the rows.
	Epoch, Seq uint64
}

// Lead begins a term with the frontends that there are and the rows of the terms
// before, of which none is missing if complete.
func (l *Ledger) Lead(epoch uint64, fronts []Front, rows []Row, complete bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch == epoch {
		return
	}
	l.epoch, l.began, l.seq, l.complete = epoch, l.Now(), 0, complete
	clear(l.fronts)
	clear(l.pools)
	for _, f := range fronts {
		l.fronts[f.Name] = &front{life: f.Life, left: make(map[uint64]*left)}
	}
	// A frontend may have begun other lives since it joined: the latest that is known
	// is its present one.
	for _, r := range rows {
		if fr := l.fronts[r.Front.Name]; fr == nil {
			l.fronts[r.Front.Name] = &front{life: r.Front.Life, left: make(map[uint64]*left)}
		} else {
			fr.life = max(fr.life, r.Front.Life)
		}
	}
	for _, r := range rows {
		b := l.book(r.Pool)
		b.limit, b.longest = r.Limit, max(b.longest, r.Longest)
		fr := l.fronts[r.Front.Name]
		if r.Front.Life == fr.life {
			b.held[r.Front.Name] = r.Units
			continue
		}
		b.former[r.Front] = r.Units
		if fr.left[r.Front.Life] == nil {
			fr.left[r.Front.Life] = newLeft(l.Now())
			l.Fence(epoch, r.Front)
		}
	}
	l.change()
}

func newLeft(now time.Time) *left { return &left{since: now, busy: make(map[string]map[string]int)} }

// Rows are all that is held, for whoever keeps them. Rows with a number up to upto
// that are not among them are of nothing.
func (l *Ledger) Rows() (epoch, upto uint64, rows []Row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for pool, b := range l.pools {
		for name, n := range b.held {
			rows = append(rows, l.row(pool, b, Front{name, l.fronts[name].life}, n))
		}
		for f, n := range b.former {
			rows = append(rows, l.row(pool, b, f, n))
		}
	}
	return l.epoch, l.seq, rows
}

func (l *Ledger) row(pool string, b *book, f Front, n int) Row {
	l.seq++
	return Row{Pool: pool, Front: f, Units: n, Limit: b.limit, Longest: b.longest, Epoch: l.epoch, Seq: l.seq}
}

// Depose ends it.
func (l *Ledger) Depose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch = 0
	l.change()
}

// Epoch is the leader's; zero unless this process leads.
func (l *Ledger) Epoch() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch
}

func (l *Ledger) change() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Changed is closed when something may have become free.
func (l *Ledger) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *Ledger) book(pool string) *book {
	b := l.pools[pool]
	if b == nil {
		b = &book{held: make(map[string]int), former: make(map[Front]int)}
		l.pools[pool] = b
	}
	return b
}

// Holding is what a frontend holds of a pool.
type Holding struct {
	Units   int
	Longest time.Duration
}

// Register begins a session of a frontend with what it holds, in all.
func (l *Ledger) Register(f Front, session uint64, held map[string]Holding) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	fr := l.fronts[f.Name]
	switch {
	case l.epoch == 0:
		return environment.ErrUnregistered
	case fr == nil:
		fr = &front{life: f.Life, left: make(map[uint64]*left)}
		l.fronts[f.Name] = fr
	case f.Life < fr.life || fr.left[f.Life] != nil:
		return environment.ErrFenced
	case f.Life > fr.life:
		l.leave(f.Name, fr)
		former := Front{f.Name, fr.life}
		fr.life, fr.session = f.Life, 0
		l.bury(former, fr) // if it was found out before
	}
	if session < fr.session {
		return environment.ErrUnregistered // a later one has come before
	}
	fr.registered, fr.session = true, session
	for _, b := range l.pools {
		delete(b.held, f.Name)
	}
	for pool, h := range held {
		b := l.book(pool)
		b.held[f.Name], b.longest = h.Units, max(b.longest, h.Longest)
	}
	l.change()
	return nil
}

// leave ends a frontend's present life: what it held is held still.
func (l *Ledger) leave(name string, fr *front) {
	if fr.left[fr.life] != nil {
		return
	}
	f := Front{name, fr.life}
	for _, b := range l.pools {
		if n := b.held[name]; n > 0 {
			b.former[f] = n
			delete(b.held, name)
		}
	}
	// Of one that never registered here nobody knows what it holds.
	fr.left[fr.life] = newLeft(l.Now())
	fr.registered = false
	l.Fence(l.epoch, f)
}

// Gone says that a frontend cannot be reached, or is dead.
func (l *Ledger) Gone(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if fr := l.fronts[name]; l.epoch != 0 && fr != nil {
		l.leave(name, fr)
	}
}

// bury forgets a life of which nothing is under way, as all workers have told.
func (l *Ledger) bury(f Front, fr *front) {
	lf := fr.left[f.Life]
	if lf == nil || f.Life == fr.life || !lf.asked || len(lf.waiting) > 0 || len(lf.busy) > 0 {
		return
	}
	delete(fr.left, f.Life)
	for _, b := range l.pools {
		delete(b.former, f)
	}
}

// Late takes frontends for gone that have not registered in time.
func (l *Ledger) Late() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch == 0 || l.Now().Sub(l.began) < grace {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(l.fronts)) {
		if fr := l.fronts[name]; !fr.registered {
			l.leave(name, fr)
		}
	}
}

// Asked says which workers are asked about a life that is over: all there are.
func (l *Ledger) Asked(epoch uint64, f Front, workers []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lf := l.life(epoch, f)
	if lf == nil || lf.asked {
		return
	}
	lf.asked, lf.waiting = true, make(map[string]bool, len(workers))
	for _, w := range workers {
		lf.waiting[w] = true
	}
}

func (l *Ledger) life(epoch uint64, f Front) *left {
	fr := l.fronts[f.Name]
	if fr == nil || l.epoch != epoch {
		return nil
	}
	return fr.left[f.Life]
}

// Fenced is a worker's word on a life that is over: it takes no more of its
// invokes, and these are under way, by pool. It says so again until there is none.
func (l *Ledger) Fenced(epoch uint64, f Front, worker string, busy map[string]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lf := l.life(epoch, f)
	if lf == nil {
		return
	}
	delete(lf.waiting, worker)
	delete(lf.busy, worker)
	if len(busy) > 0 {
		lf.busy[worker] = maps.Clone(busy)
	}
	l.bury(f, l.fronts[f.Name])
	l.change()
}

// Pending are the lives that are over of which something may still be under way,
// with the workers to ask.
func (l *Ledger) Pending() (epoch uint64, pending map[Front][]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	pending = make(map[Front][]string)
	for name, fr := range l.fronts {
		for life, lf := range fr.left {
			workers := slices.Collect(maps.Keys(lf.waiting))
			for w := range lf.busy {
				workers = append(workers, w)
			}
			if !lf.asked || len(workers) > 0 {
				pending[Front{name, life}] = workers
			}
		}
	}
	return l.epoch, pending
}

// margin is how much later than its function's time allows an invoke may end:
// from its admission it waits for an environment for 65 s at most.
const margin = 70 * time.Second

// used is how many units may be held of a pool; learning says that this is not
// known yet.
func (l *Ledger) used(pool string, b *book) (n int, learning bool) {
	for _, units := range b.held {
		n += units
	}
	now := l.Now()
	for name, fr := range l.fronts {
		if !fr.registered && fr.left[fr.life] == nil {
			return n, true // a frontend that may come yet
		}
		for life, lf := range fr.left {
			under := 0
			for _, busy := range lf.busy {
				under += busy[pool]
			}
			held, known := b.former[Front{name, life}]
			switch {
			case lf.asked && len(lf.waiting) == 0:
				// All workers have told: what is not under way is free.
				n += under
			case now.Sub(lf.since) > b.longest+margin:
				// Where nobody could ask, its invokes have been ended by their
				// deadlines.
				n += under
			case known || l.complete:
				n += max(held, under)
			case b.limit <= SmallLimit:
				n += b.limit // it may hold all of them
			default:
				n += under
			}
		}
	}
	return n, false
}

// Take gives a frontend up to want units of a pool, of which limit may be held at
// once. single says that they are to be given back one by one, when they are free.
// longest is the longest time that an invoke may take.
//
// The row is to be kept by a majority before the frontend is told; if it cannot
// be, they are given back.
func (l *Ledger) Take(f Front, session uint64, pool string, limit, want int, longest time.Duration) (granted int, single bool, row Row, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fr := l.fronts[f.Name]
	switch {
	case l.epoch == 0 || fr == nil:
		return 0, false, row, environment.ErrUnregistered
	case f.Life < fr.life || fr.left[f.Life] != nil:
		return 0, false, row, environment.ErrFenced
	case !fr.registered || f.Life != fr.life || session != fr.session:
		return 0, false, row, environment.ErrUnregistered
	}
	b := l.book(pool)
	b.limit, b.longest = limit, max(b.longest, longest)
	used, learning := l.used(pool, b)
	if learning {
		return 0, false, row, ErrLearning
	}
	free := limit - used
	if free <= 0 {
		return 0, false, row, ErrFull
	}
	// When units get scarce, nobody keeps any that it does not use.
	single = limit <= SmallLimit || free < limit/8
	if single {
		want = 1
	}
	granted = min(want, free)
	b.held[f.Name] += granted
	return granted, single, l.row(pool, b, f, b.held[f.Name]), nil
}

// Give takes units back.
func (l *Ledger) Give(f Front, session uint64, pool string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fr, b := l.fronts[f.Name], l.pools[pool]
	if fr == nil || b == nil || fr.life != f.Life || !fr.registered || fr.session != session {
		return
	}
	if b.held[f.Name] -= n; b.held[f.Name] <= 0 {
		delete(b.held, f.Name)
	}
	l.change()
}
