package sim

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"hearth/internal/environment"
	"hearth/internal/function"
	"hearth/internal/placement"
)

// worker keeps environments that do nothing. It obeys as the real one does.
type worker struct {
	*node
	w      *World
	id     environment.WorkerID
	epochs map[int]uint64
	envs   map[environment.ID]*env
}

type env struct {
	id         environment.ID
	partition  int
	key        function.Key
	memoryMB   int
	starting   bool
	busy       bool
	epoch, seq uint64
	end        time.Time
}

type startAnswer struct {
	started *environment.Started
	err     error
}

var errFailed = errors.New("sim: it does not start")

func (w *worker) begin() {
	w.up = true
	w.life++
	w.epochs, w.envs = make(map[int]uint64), make(map[environment.ID]*env)
	w.loopIn(w.w, 2*time.Second, func() {
		for _, h := range w.w.hosts {
			w.w.send(w.node, h.node, func() { h.places.Heartbeat(w.status()) })
		}
	})
	w.loopIn(w.w, time.Second, func() {
		for _, e := range w.sorted() {
			if !e.busy && !e.starting && w.w.now.After(e.end) {
				delete(w.envs, e.id) // with its lease's end, whoever leads
			}
		}
	})
}

func (w *worker) sorted() []*env {
	all := make([]*env, 0, len(w.envs))
	for _, e := range w.envs {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *env) int { return strings.Compare(string(a.id), string(b.id)) })
	return all
}

func (w *worker) status() placement.Status {
	s := placement.Status{
		Worker: w.id, Zone: strconv.Itoa(w.az), CapacityMB: w.w.cfg.CapacityMB,
		Environments: make(map[environment.ID]environment.Promise),
	}
	for _, e := range w.envs {
		s.Environments[e.id] = environment.Promise{Function: e.key.UID, MemoryMB: e.memoryMB}
	}
	return s
}

func (w *worker) obey(partition int, epoch uint64) bool {
	if epoch < w.epochs[partition] {
		return false
	}
	w.epochs[partition] = epoch
	return true
}

func (w *worker) start(s *environment.Start, reply func(startAnswer)) {
	if !w.w.journaled(s) {
		w.w.violatedf("%s is told to start %s, which the journal of partition %d does not know", w.id, s.ID, s.Partition)
	}
	if !w.obey(s.Partition, s.Epoch) {
		reply(startAnswer{err: environment.ErrStale})
		return
	}
	used := 0
	for _, e := range w.envs {
		used += e.memoryMB
	}
	if used+s.Record.Serving.MemorySize > w.w.cfg.CapacityMB {
		reply(startAnswer{err: environment.ErrNoCapacity})
		return
	}
	e := &env{
		id: s.ID, partition: s.Partition, key: s.Record.Key(), memoryMB: s.Record.Serving.MemorySize,
		starting: true, end: s.LeaseEnd.Add(time.Minute),
	}
	w.envs[s.ID] = e
	w.w.starts++
	life := w.life
	w.w.after(w.w.between(100*time.Millisecond, 2*time.Second), func() {
		switch {
		case !w.up || w.life != life:
		case w.envs[s.ID] != e:
			reply(startAnswer{err: errFailed}) // it was called off
		case w.w.chance(0.01):
			delete(w.envs, s.ID)
			reply(startAnswer{err: errFailed})
		default:
			e.starting = false
			reply(startAnswer{started: &environment.Started{}})
		}
	})
}

func (w *worker) stop(id environment.ID) {
	if e := w.envs[id]; e != nil {
		if e.busy {
			w.w.running[id]--
		}
		delete(w.envs, id)
	}
}

func (w *worker) list(partition int, epoch uint64) ([]environment.Report, error) {
	if !w.obey(partition, epoch) {
		return nil, environment.ErrStale
	}
	var all []environment.Report
	for _, e := range w.sorted() {
		if e.partition == partition {
			all = append(all, environment.Report{ID: e.id, Key: e.key, Starting: e.starting, Busy: e.busy, Epoch: e.epoch, Seq: e.seq})
		}
	}
	return all, nil
}

// invoke runs for a time; ended is called if the environment lives to its end.
func (w *worker) invoke(l environment.Lease, d time.Duration, ended func()) error {
	if !w.obey(l.Partition, l.Epoch) {
		return environment.ErrStale
	}
	e := w.envs[l.ID]
	if e == nil || e.starting {
		return environment.ErrGone
	}
	if e.busy && w.w.cfg.Bug != BugTwoInvokes {
		return environment.ErrBusy
	}
	e.busy, e.epoch, e.seq = true, l.Epoch, l.Seq
	if w.w.running[l.ID]++; w.w.running[l.ID] > 1 {
		w.w.violatedf("%s runs two invokes in %s", w.id, l.ID)
	}
	life := w.life
	w.w.after(d, func() {
		if !w.up || w.life != life || w.envs[l.ID] != e {
			return
		}
		w.w.running[l.ID]--
		e.busy = false
		outcome := environment.OutcomeOK
		if w.w.chance(0.01) {
			outcome = environment.OutcomeCrash
		}
		w.report(l, outcome, 10)
		ended()
	})
	return nil
}

// report tells the partition's leader of the end, some times.
func (w *worker) report(l environment.Lease, outcome environment.Outcome, tries int) {
	h := w.w.leader(l.Partition)
	if h == nil {
		return
	}
	life := w.life
	call(w.w.network, w.node, h.node, time.Second, func(reply func(struct{})) {
		h.members[l.Partition].partition.Done(l, outcome, nil)
		reply(struct{}{})
	}, func(_ struct{}, err error) {
		if err != nil && tries > 1 && w.up && w.life == life {
			w.report(l, outcome, tries-1)
		}
	})
}

// crash ends the worker's life and all its environments.
func (w *worker) crash() {
	w.up = false
	for id, e := range w.envs {
		if e.busy {
			w.w.running[id]--
		}
	}
	w.envs = make(map[environment.ID]*env)
}
