package cache

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"path"
	"slices"
	"sync"
	"time"

	"hearth/internal/chunk"
	"hearth/internal/rootdir"
)

// writer does all writing to the disk, in a goroutine of its own.
type writer struct {
	cache *Cache

	// Guarded by Cache.mu.
	waiting []*job             // in the order in which they came
	queued  map[chunk.Ref]*job // waiting, or being written
	bytes   int64              // of waiting
	remove  []chunk.Ref        // whose files are of no use any more
	closing bool
	idle    *sync.Cond
	busy    bool

	wake chan struct{}
	done chan struct{}

	// Of the goroutine. Nothing is written while a file that should be gone is
	// stuck: the bound of the disk is kept.
	stuck       []chunk.Ref
	pausedUntil time.Time
}

// job is a chunk to be written.
type job struct {
	ref   chunk.Ref
	bytes []byte
}

func (w *writer) start(c *Cache) {
	w.cache = c
	w.queued = make(map[chunk.Ref]*job)
	w.idle = sync.NewCond(&c.mu)
	w.wake = make(chan struct{}, 1)
	w.done = make(chan struct{})
	go w.run()
}

func (w *writer) stop() {
	w.cache.mu.Lock()
	w.closing = true
	w.cache.mu.Unlock()
	w.signal()
	<-w.done
}

func (w *writer) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// queue has a chunk written if there is room. Called locked.
func (w *writer) queue(ref chunk.Ref, b []byte) {
	if w.queued[ref] != nil {
		return
	}
	if w.closing || w.bytes+int64(len(b)) > w.cache.cfg.QueueBytes {
		w.cache.stats.Dropped++
		return
	}
	j := &job{ref, b}
	w.waiting = append(w.waiting, j)
	w.queued[ref] = j
	w.bytes += int64(len(b))
	w.busy = true
	w.signal()
}

// unqueue has a chunk not be written. Called locked.
func (w *writer) unqueue(ref chunk.Ref) { delete(w.queued, ref) }

// removeFile has a file removed whose chunk is not resident. Called locked.
func (w *writer) removeFile(ref chunk.Ref) {
	w.remove = append(w.remove, ref)
	w.busy = true
	w.signal()
}

// wait returns when everything that was asked for is done.
func (w *writer) wait() {
	w.cache.mu.Lock()
	defer w.cache.mu.Unlock()
	for w.busy {
		w.idle.Wait()
	}
}

func (w *writer) run() {
	defer close(w.done)
	tick := time.NewTicker(w.cache.cfg.IndexEvery)
	defer tick.Stop()
	for {
		closing := w.work()
		if closing {
			w.index()
			return
		}
		select {
		case <-w.wake:
		case <-tick.C:
			w.index()
		}
	}
}

// work does what is to be done, and says whether it was the last.
func (w *writer) work() (closing bool) {
	c := w.cache
	for {
		c.mu.Lock()
		remove := w.remove
		w.remove = nil
		var next *job
		if len(w.waiting) > 0 {
			next = w.waiting[0]
			w.waiting = slices.Delete(w.waiting, 0, 1)
			w.bytes -= int64(len(next.bytes))
		}
		if next == nil && len(remove) == 0 {
			w.busy = false
			w.idle.Broadcast()
			closing = w.closing
			c.mu.Unlock()
			return closing
		}
		c.mu.Unlock()
		w.removeFiles(remove)
		if next != nil {
			w.write(next)
		}
	}
}

// removeFiles removes files, and those that could not be removed before.
func (w *writer) removeFiles(refs []chunk.Ref) {
	refs, w.stuck = append(w.stuck, refs...), nil
	for _, ref := range refs {
		if err := w.cache.cfg.Disk.Remove(fileName(ref)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.stuck = append(w.stuck, ref)
		}
	}
}

// write puts a chunk on disk if the policy lets it in.
func (w *writer) write(j *job) {
	c := w.cache
	now := c.cfg.Now()
	c.mu.Lock()
	if now.Before(w.pausedUntil) {
		c.stats.Paused++
		w.end(j)
		c.mu.Unlock()
		return
	}
	if w.queued[j.ref] != j {
		c.mu.Unlock()
		return
	}
	e, out := c.disk.add(j.ref, int64(len(j.bytes)), filed{}, now.UnixNano())
	c.stats.Disk.Evicted += int64(len(out))
	gone := w.remove // what was dropped until now made room for this one
	w.remove = nil
	for _, o := range out {
		if o == e {
			e = nil
		} else {
			gone = append(gone, o.ref)
		}
	}
	if e == nil {
		w.end(j)
	}
	c.mu.Unlock()
	w.removeFiles(gone)
	if e == nil {
		return
	}
	err := errStuck
	if len(w.stuck) == 0 {
		err = w.file(j)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	unwanted := w.queued[j.ref] != j // meanwhile: dropped, or found to be corrupt
	w.end(j)
	switch {
	case err == nil && unwanted:
		if c.disk.entries[j.ref] == e {
			c.disk.remove(e)
			w.removeFile(j.ref)
		}
		return
	case err == nil:
		c.stats.Written++
		e.value.ready = true
		return
	case rootdir.IsFull(err):
		c.stats.Full++
	default:
		c.stats.Failed++
	}
	w.pausedUntil = now.Add(c.cfg.Pause)
	if c.disk.entries[j.ref] == e {
		c.disk.remove(e)
	}
}

var errStuck = errors.New("a file cannot be removed")

// end takes a job off the queue. Called locked.
func (w *writer) end(j *job) {
	if w.queued[j.ref] == j {
		delete(w.queued, j.ref)
	}
}

// file writes a chunk's file. Nothing is synced: what a power cut tears is
// found when it is read.
func (w *writer) file(j *job) error {
	to, temp := w.cache.cfg.Disk, path.Join(tempDir, rand.Text())
	err := to.WriteFile(temp, j.bytes)
	if err == nil {
		err = to.Rename(temp, fileName(j.ref))
	}
	if err != nil {
		_ = to.Remove(temp) // or else the next Open does it
	}
	return err
}

// index writes down how the chunks on disk were referenced. It looks at a part
// of them at a time, so that readers wait for none of it: a record that is
// missing or there twice does no harm.
func (w *writer) index() {
	const part = 1024
	c := w.cache
	var records []record
	c.mu.Lock()
	for e := c.disk.fresh.Front(); e != nil; e = e.Next() {
		records = appendRecord(records, e.Value.(*entry[filed]))
	}
	for i := 0; i < len(c.disk.main) && len(records) < maxRecords; i += part {
		for _, e := range c.disk.main[i:min(i+part, len(c.disk.main))] {
			records = appendRecord(records, e)
		}
		c.mu.Unlock()
		c.mu.Lock()
	}
	c.mu.Unlock()
	if len(records) > maxRecords {
		records = records[:maxRecords]
	}
	temp := path.Join(tempDir, rand.Text())
	err := c.cfg.Disk.WriteFile(temp, encodeIndex(records))
	if err == nil {
		err = c.cfg.Disk.Rename(temp, indexName)
	}
	if err == nil {
		return
	}
	_ = c.cfg.Disk.Remove(temp) // or else the next Open does it
	c.mu.Lock()
	defer c.mu.Unlock()
	if rootdir.IsFull(err) {
		c.stats.Full++
	} else {
		c.stats.Failed++
	}
}

func appendRecord(records []record, e *entry[filed]) []record {
	return append(records, record{e.ref, e.history})
}
