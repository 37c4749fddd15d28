package cache

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"sync"
	"time"

	"hearth/internal/chunk"
	"hearth/internal/chunkstore/disk"
)

// Config says how large a cache is.
type Config struct {
	// MemoryBytes and DiskBytes bound the ciphertexts kept.
	MemoryBytes, DiskBytes int64
	// Disk is where they are kept on disk; nil for memory only. The cache owns
	// it: Close closes it.
	Disk disk.Disk
	// Opened says that whoever reads opens what it gets, which authenticates it,
	// and calls Drop for what cannot be opened. Reading then costs no hash: Drop
	// finds out whose fault it was.
	Opened bool
	// Correlated is for how long references of one chunk count as one: as long
	// as a start reads the same chunk again; 30 s if zero.
	Correlated time.Duration
	// QueueBytes bounds what waits to be written to disk; 64 MiB if zero.
	QueueBytes int64
	// Pause is how long nothing is written after the disk was full, or failed;
	// 10 s if zero.
	Pause time.Duration
	// IndexEvery is how often the index is written; 5 minutes if zero.
	IndexEvery time.Duration
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	if c.Correlated == 0 {
		c.Correlated = 30 * time.Second
	}
	if c.QueueBytes == 0 {
		c.QueueBytes = 64 << 20
	}
	if c.Pause == 0 {
		c.Pause = 10 * time.Second
	}
	if c.IndexEvery == 0 {
		c.IndexEvery = 5 * time.Minute
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// validate reports every problem at once.
func (c Config) validate() error {
	var problems []error
	if c.MemoryBytes < 0 || c.DiskBytes < 0 || c.QueueBytes < 0 {
		problems = append(problems, errors.New("a negative number of bytes"))
	}
	if c.Correlated < 0 || c.Pause < 0 || c.IndexEvery < 0 {
		problems = append(problems, errors.New("a negative duration"))
	}
	if c.Disk == nil && c.DiskBytes > 0 {
		problems = append(problems, errors.New("bytes on disk, but no disk"))
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("cache of chunks: %w", err)
	}
	return nil
}

// Level counts what one level of a cache did since it was opened.
type Level struct {
	Hits   int64 `json:"hits"`
	Misses int64 `json:"misses"`
	// Bytes were read, in hits.
	Bytes int64 `json:"bytes"`
	// Corrupt copies were found, and dropped.
	Corrupt int64 `json:"corrupt"`
	// Errors are reads that failed.
	Errors int64 `json:"errors"`
	// Evicted chunks had to go for others.
	Evicted int64 `json:"evicted"`
	// Chunks of Resident bytes are there now.
	Chunks   int64 `json:"chunks"`
	Resident int64 `json:"resident"`
}

// Stats counts what a cache did since it was opened.
type Stats struct {
	Memory Level `json:"memory"`
	Disk   Level `json:"disk"`
	// Written chunks reached the disk. Of those that did not, Dropped found the
	// queue full, Full met a disk without space, Failed met another error,
	// and Paused came shortly after one of these.
	Written int64 `json:"written"`
	Dropped int64 `json:"dropped"`
	Full    int64 `json:"full"`
	Failed  int64 `json:"failed"`
	Paused  int64 `json:"paused"`
}

// held is a chunk in memory.
type held struct {
	bytes []byte
	sum   uint64
}

// filed is a chunk on disk. It is not ready while it is being written.
type filed struct{ ready bool }

// Cache keeps ciphertexts that can be had elsewhere.
type Cache struct {
	cfg  Config
	seed maphash.Seed

	mu     sync.Mutex
	memory *policy[held]
	disk   *policy[filed]
	stats  Stats
	writer writer
}

// Open opens a cache with what an earlier one left on the disk.
func Open(cfg Config) (*Cache, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	c := &Cache{
		cfg: cfg, seed: maphash.MakeSeed(),
		memory: newPolicy[held](cfg.MemoryBytes, int64(cfg.Correlated)),
		disk:   newPolicy[filed](cfg.DiskBytes, int64(cfg.Correlated)),
	}
	if cfg.Disk == nil {
		return c, nil
	}
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("open cache of chunks: %w", err)
	}
	c.writer.start(c)
	return c, nil
}

// Close writes what waits to be written, and the index.
func (c *Cache) Close() error {
	if c.cfg.Disk == nil {
		return nil
	}
	c.writer.stop()
	if err := c.cfg.Disk.Close(); err != nil {
		return fmt.Errorf("close cache of chunks: %w", err)
	}
	return nil
}

// Stats returns the counters.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Memory.Chunks, s.Memory.Resident = int64(len(c.memory.entries)), c.memory.bytes
	s.Disk.Chunks, s.Disk.Resident = int64(len(c.disk.entries)), c.disk.bytes
	return s
}

// Memory returns a chunk that is in memory. It neither waits for a disk nor
// allocates; the caller must not change the bytes.
func (c *Cache) Memory(ref chunk.Ref) ([]byte, bool) { return c.fromMemory(ref, true) }

// fromMemory counts a miss only if it is the first look.
func (c *Cache) fromMemory(ref chunk.Ref, first bool) ([]byte, bool) {
	now := c.cfg.Now().UnixNano()
	c.mu.Lock()
	e := c.memory.get(ref, now)
	if e == nil {
		if first {
			c.stats.Memory.Misses++
		}
		c.mu.Unlock()
		return nil, false
	}
	// What is wanted in memory is to stay on disk, too.
	c.disk.get(ref, now)
	h := e.value
	c.stats.Memory.Hits++
	c.stats.Memory.Bytes += int64(len(h.bytes))
	c.mu.Unlock()
	if c.cfg.Opened || maphash.Bytes(c.seed, h.bytes) == h.sum {
		return h.bytes, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Memory.Hits--
	c.stats.Memory.Bytes -= int64(len(h.bytes))
	c.stats.Memory.Corrupt++
	if c.memory.entries[ref] == e {
		c.memory.remove(e)
	}
	c.writer.unqueue(ref) // it is the same bytes that wait
	return nil, false
}

// check says whether bytes may be returned.
func (c *Cache) check(ref chunk.Ref, b []byte) error {
	if c.cfg.Opened {
		return nil
	}
	return chunk.Check(ref.Name, b)
}

// Read returns a chunk that Memory did not have a moment ago: it may be there
// now, or wait to be written, or be on disk. What comes from disk is checked,
// and kept in memory from then on.
func (c *Cache) Read(ref chunk.Ref) ([]byte, bool) {
	if b, ok := c.fromMemory(ref, false); ok {
		return b, true
	}
	now := c.cfg.Now().UnixNano()
	c.mu.Lock()
	e := c.disk.get(ref, now)
	if j := c.writer.queued[ref]; j != nil {
		c.mu.Unlock()
		if c.check(ref, j.bytes) == nil {
			c.keep(ref, j.bytes, now)
			return j.bytes, true
		}
		c.mu.Lock()
		c.stats.Memory.Corrupt++
		c.writer.unqueue(ref)
	}
	if e == nil || !e.value.ready {
		c.stats.Disk.Misses++
		c.mu.Unlock()
		return nil, false
	}
	c.mu.Unlock()
	b, err := c.cfg.Disk.ReadFile(fileName(ref), chunk.MaxCiphertext)
	wrong := errors.Is(err, disk.ErrTooLong)
	if err == nil {
		wrong = c.check(ref, b) != nil
	}
	if err == nil && !wrong {
		c.mu.Lock()
		c.stats.Disk.Hits++
		c.stats.Disk.Bytes += int64(len(b))
		c.mu.Unlock()
		c.keep(ref, b, now)
		return b, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Disk.Misses++
	switch {
	case wrong:
		c.stats.Disk.Corrupt++
	case !errors.Is(err, fs.ErrNotExist): // else it was evicted meanwhile
		c.stats.Disk.Errors++
	}
	if c.disk.entries[ref] == e {
		c.disk.remove(e)
		c.writer.removeFile(ref)
	}
	return nil, false
}

// Put keeps a chunk that has been checked. The bytes must not change from now
// on. It waits for nothing: writing to disk happens later, or not at all.
func (c *Cache) Put(ref chunk.Ref, ciphertext []byte) {
	now := c.cfg.Now().UnixNano()
	c.keep(ref, ciphertext, now)
	if c.cfg.Disk == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.disk.entries[ref] == nil {
		c.writer.queue(ref, ciphertext)
	}
}

// keep makes a chunk resident in memory.
func (c *Cache) keep(ref chunk.Ref, b []byte, now int64) {
	if int64(len(b)) > c.cfg.MemoryBytes {
		return // not even worth a checksum
	}
	var sum uint64
	if !c.cfg.Opened {
		sum = maphash.Bytes(c.seed, b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, out := c.memory.add(ref, int64(len(b)), held{b, sum}, now)
	c.stats.Memory.Evicted += int64(len(out))
}

// Drop forgets a chunk's copies, and counts those that are corrupt.
func (c *Cache) Drop(ref chunk.Ref) {
	corrupt := func(b []byte) (n int64) {
		if chunk.Check(ref.Name, b) != nil {
			n = 1
		}
		return n
	}
	var memory, onDisk int64
	c.mu.Lock()
	inMemory, inFile := c.memory.entries[ref], c.disk.entries[ref]
	filed := inFile != nil && inFile.value.ready
	c.mu.Unlock()
	if inMemory != nil {
		memory = corrupt(inMemory.value.bytes)
	}
	if filed {
		if b, err := c.cfg.Disk.ReadFile(fileName(ref), chunk.MaxCiphertext); err == nil {
			onDisk = corrupt(b)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Memory.Corrupt += memory
	c.stats.Disk.Corrupt += onDisk
	if e := c.memory.entries[ref]; e != nil {
		c.memory.remove(e)
	}
	c.writer.unqueue(ref)
	if e := c.disk.entries[ref]; e != nil {
		c.disk.remove(e)
		c.writer.removeFile(ref)
	}
}

// Wait returns when what was put is on disk, or given up.
func (c *Cache) Wait() {
	if c.cfg.Disk != nil {
		c.writer.wait()
	}
}

// Has says whether a chunk is here, unchecked, without noting a reference.
func (c *Cache) Has(ref chunk.Ref) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writer.queued[ref] != nil || c.memory.entries[ref] != nil || c.disk.entries[ref] != nil
}
