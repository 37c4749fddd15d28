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
	streams   streams
	lastError string
}

// touch notes which chunks are being read, and returns which to fetch ahead of
// the reader.
func (v *volume) touch(off int64, n int) (ahead []int) {
	first, last := int(off/v.chunkSize), int((off+int64(n)-1)/v.chunkSize)
	v.counts.mu.Lock()
	defer v.counts.mu.Unlock()
	for c := first; c <= last; c++ {
		from, to := v.counts.streams.read(c, v.chunks())
		for ; from < to; from++ {
			ahead = append(ahead, from)
		}
		if v.counts.seen[c/64]&(1<<(c%64)) != 0 {
			continue
		}
		v.counts.seen[c/64] |= 1 << (c % 64)
		v.counts.order = append(v.counts.order, c)
		if t, ok := v.source.(Toucher); ok {
			t.Touched(c)
		}
	}
	return ahead
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
