package blockfs

import (
	"errors"
	"sync"
	"sync/atomic"
)

// counts is what has happened to a volume.
type counts struct {
	reads, bytes, errors, stalls, prefetched, prefetchErrors atomic.Int64

	mu        sync.Mutex
	seen      []uint64 // bitmap of touched chunks
	order     []int
	lastError string
}

// touch notes which chunks are being read. It says which of them are read for
// the first time, right after the chunk before them.
func (v *volume) touch(off int64, n int) (runs []int) {
	first, last := int(off/v.chunkSize), int((off+int64(n)-1)/v.chunkSize)
	v.counts.mu.Lock()
	defer v.counts.mu.Unlock()
	for c := first; c <= last; c++ {
		if v.counts.seen[c/64]&(1<<(c%64)) != 0 {
			continue
		}
		v.counts.seen[c/64] |= 1 << (c % 64)
		if o := v.counts.order; len(o) > 0 && o[len(o)-1] == c-1 {
			runs = append(runs, c)
		}
		v.counts.order = append(v.counts.order, c)
		if t, ok := v.source.(Toucher); ok {
			t.Touched(c)
		}
	}
	return runs
}

// failed notes that a read was answered with EIO.
func (v *volume) failed(err error) {
	v.counts.errors.Add(1)
	if errors.Is(err, errStalled) {
		v.counts.stalls.Add(1)
	}
	v.counts.mu.Lock()
	defer v.counts.mu.Unlock()
	v.counts.lastError = v.redact.text(err.Error())
}

func (v *volume) stats() Stats {
	c := &v.counts
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{
		Volume: v.id, Size: v.size, ChunkSize: v.chunkSize,
		Reads: c.reads.Load(), BytesRead: c.bytes.Load(), Errors: c.errors.Load(), Stalls: c.stalls.Load(),
		LastError: c.lastError, Touched: append([]int{}, c.order...),
		Prefetched: c.prefetched.Load(), PrefetchErrors: c.prefetchErrors.Load(),
	}
}
