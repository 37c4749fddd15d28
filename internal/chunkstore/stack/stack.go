// Package stack puts the tiers of a machine together: what Hearth is told by
// its flags, and hands to its blockfs process, becomes a source of chunks.
//
// Readers of a Stack must open what they get, which authenticates it, and call
// Refetch for what they cannot open: on this machine nobody else checks.
//
// Invariants:
//
//  1. A Config has no secrets, but the names of files that have: it can be a
//     part of a command line.
//  2. Only one process at a time has a directory of a cache open.
package stack

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"hearth/internal/chunk"
	"hearth/internal/chunkstore"
	"hearth/internal/chunkstore/azcache"
	"hearth/internal/chunkstore/cache"
	"hearth/internal/chunkstore/disk"
	"hearth/internal/chunkstore/origin"
)

// Config says where a machine has chunks from.
type Config struct {
	Origin origin.Location `json:"origin"`
	// MemoryBytes of chunks are kept in memory, and DiskBytes in CacheDir.
	MemoryBytes int64  `json:"memoryBytes"`
	CacheDir    string `json:"cacheDir,omitempty"`
	DiskBytes   int64  `json:"diskBytes,omitempty"`
	// Zone are the URLs of the zone's cache nodes, and ZoneKey the file with the
	// key that they know.
	Zone    []string `json:"zone,omitempty"`
	ZoneKey string   `json:"zoneKey,omitempty"`
}

// Validate reports what can be seen before anything is opened.
func (c *Config) Validate() error {
	problems := []error{c.Origin.Validate()}
	if len(c.Zone) > 0 && c.ZoneKey == "" {
		problems = append(problems, errors.New("the zone's cache takes signed requests only: the file with its key is missing"))
	}
	if c.MemoryBytes < 0 || c.DiskBytes < 0 {
		problems = append(problems, errors.New("a cache of chunks with a negative size"))
	}
	if c.DiskBytes > 0 && c.CacheDir == "" {
		problems = append(problems, errors.New("a cache of chunks on disk, but no directory"))
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	zone, err := c.zone()
	return errors.Join(err, zone.Validate())
}

// zone is what the client of the zone's cache is made of. There may be no node.
func (c *Config) zone() (azcache.ClientConfig, error) {
	zone := azcache.ClientConfig{Nodes: c.Zone}
	if len(c.Zone) == 0 {
		return zone, nil
	}
	var err error
	zone.Key, err = azcache.LoadKey(c.ZoneKey)
	return zone, err
}

// Stack is a source of chunks once it is open.
type Stack struct {
	*chunkstore.Tiered

	cfg    Config
	wrap   func(chunk.Source) (chunk.Source, error)
	zone   *azcache.Client
	closes []func() error
}

// Stats counts what the tiers did.
type Stats struct {
	chunkstore.Stats
	// ZoneClient is of the zone's cache, if there is one.
	ZoneClient *azcache.ClientStats `json:"zoneClient,omitempty"`
}

// New makes a stack that is not open. wrap, which may be nil, gets the origin
// and returns what is asked in its place.
func New(cfg Config, wrap func(chunk.Source) (chunk.Source, error)) (*Stack, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Stack{cfg: cfg, wrap: wrap}, nil
}

// Open opens all tiers. Nothing far is asked yet.
func (s *Stack) Open() (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	from, err := s.cfg.Origin.Attach()
	if err != nil {
		return err
	}
	s.closes = append(s.closes, from.Close)
	var source chunk.Source = from
	if s.wrap != nil {
		if source, err = s.wrap(from); err != nil {
			return err
		}
	}
	kept, err := openCache(cache.Config{MemoryBytes: s.cfg.MemoryBytes, DiskBytes: s.cfg.DiskBytes, Opened: true}, s.cfg.CacheDir)
	if err != nil {
		return err
	}
	s.closes = append(s.closes, kept.Close)
	zone, err := s.cfg.zone()
	if err != nil {
		return err
	}
	tiers := chunkstore.Config{
		Cache: kept.Cache, Origin: source,
		// What comes from far, and what others are offered, is hashed.
		Opened: !s.cfg.Origin.Far() && len(zone.Nodes) == 0,
	}
	if len(zone.Nodes) > 0 {
		if s.zone, err = azcache.NewClient(zone); err != nil {
			return err
		}
		tiers.Zone = s.zone
	}
	s.Tiered, err = chunkstore.New(tiers)
	return err
}

// Close closes what is open.
func (s *Stack) Close() error {
	if s.Tiered != nil {
		s.Tiered.Close()
	}
	if s.zone != nil {
		s.zone.Close()
		s.zone = nil
	}
	var errs []error
	for len(s.closes) > 0 {
		last := len(s.closes) - 1
		errs = append(errs, s.closes[last]())
		s.closes = s.closes[:last]
	}
	return errors.Join(errs...)
}

// Stats returns the counters of an open stack.
func (s *Stack) Stats() Stats {
	stats := Stats{Stats: s.Tiered.Stats()}
	if s.zone != nil {
		z := s.zone.Stats()
		stats.ZoneClient = &z
	}
	return stats
}

// Cache is a cache.Cache that has its directory for itself.
type Cache struct {
	*cache.Cache
	lock *os.File
}

// OpenCache opens a cache in memory and, unless diskBytes is zero, in a
// directory, which is made if need be.
func OpenCache(memoryBytes int64, dir string, diskBytes int64) (*Cache, error) {
	return openCache(cache.Config{MemoryBytes: memoryBytes, DiskBytes: diskBytes}, dir)
}

func openCache(cfg cache.Config, dir string) (_ *Cache, err error) {
	c := &Cache{}
	if cfg.DiskBytes == 0 {
		c.Cache, err = cache.Open(cfg)
		return c, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("directory of the cache of chunks: %w", err)
	}
	if c.lock, err = os.Open(dir); err != nil {
		return nil, fmt.Errorf("directory of the cache of chunks: %w", err)
	}
	if err = unix.Flock(int(c.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		err = errors.New("another process has it open: stop that one, or give each a directory of its own")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("directory of the cache of chunks %s: %w", dir, err), c.lock.Close())
	}
	on, err := disk.OpenRoot(dir)
	if err == nil {
		cfg.Disk = on
		if c.Cache, err = cache.Open(cfg); err != nil {
			err = errors.Join(err, on.Close())
		}
	}
	if err != nil {
		return nil, errors.Join(err, c.lock.Close())
	}
	return c, nil
}

// Close writes what waits to be written, and lets others open the directory.
func (c *Cache) Close() error {
	err := c.Cache.Close()
	if c.lock != nil {
		err = errors.Join(err, c.lock.Close())
	}
	return err
}
