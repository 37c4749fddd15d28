package gvisor

import (
	"sync"

	"hearth/internal/cgroup"
)

// overheadMB is added to a function's memory for what gVisor itself needs: the
// sentry, the gofer, one stub per process of the guest, their page tables. An
// idle sandbox has 20 to 30 MB of it; it grows with processes and open files.
const overheadMB = 64

// memory turns what the kernel charges to the sandbox into what the function
// uses: the sandbox's own use, taken when hearth-init has dialled and no
// function is there yet, is subtracted.
type memory struct {
	mu       sync.Mutex
	limit    int64 // the function's, bytes
	baseline int64
	peak     int64 // highest use seen, bytes, before subtraction
	other    int64 // highest page cache and kernel memory seen, bytes
}

func (m *memory) setLimit(mb int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limit = int64(mb) << 20
}

// setBaseline is called once, between boot and assignment.
func (m *memory) setBaseline(u cgroup.Usage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.baseline = u.Memory
}

// observe returns what the function uses now and has used at most.
//
// The kernel knows the peak of all that is charged, page cache included, and
// a function that fills /tmp fills the page cache. Two figures are known not
// to exceed the true peak of use: the highest of our samples, and the peak of
// the charge less the most that we ever saw charged beside use. The better
// is taken: the second catches a spike between two samples, the first covers
// a charge that was mostly page cache.
func (m *memory) observe(u cgroup.Usage) (now, peak int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.other = max(m.other, u.Charged-u.Memory)
	m.peak = max(m.peak, u.Memory, u.ChargedPeak-m.other)
	return m.function(u.Memory), m.function(m.peak)
}

// function takes away what is the sandbox's own. What exceeds the function's
// limit is also the sandbox's: it lives in the overhead.
func (m *memory) function(bytes int64) int64 {
	return max(0, min(bytes-m.baseline, m.limit))
}

// exceeded reports whether the function and what the sandbox has needed for it
// since are over the function's limit. The overhead allows for some of that.
func (m *memory) exceeded(u cgroup.Usage) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return u.Memory-m.baseline > m.limit
}

// setBaseline runs when hearth-init dials.
func (s *instance) setBaseline() {
	// An error means that the sandbox is gone again; who uses it will be told.
	if usage, err := s.group.Usage(); err == nil {
		s.memory.setBaseline(usage)
	}
}
