package blockfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// shelf holds the volumes of a server: by id for clients, by node for the
// kernel.
type shelf struct {
	cfg    *Config
	prefix string // of the names of files
	// attach makes a device of a file of the mount, detach frees it.
	attach func(name string) (device string, err error)
	detach func(device, name string) error

	ctx context.Context
	wg  sync.WaitGroup

	mu        sync.Mutex
	byID      map[string]*volume
	byNode    map[uint64]*volume
	leases    map[uint64]*volume
	nextNode  uint64
	nextLease uint64
	retiring  bool
	// closed says that the shelf was retiring and empty: nothing is opened any
	// more. Then idle is closed, too.
	closed bool
	idle   chan struct{}
}

// volume is a volume on the shelf.
type volume struct {
	id        string
	node      uint64
	name      string // of its file
	source    Volume
	size      int64
	chunkSize int64
	timeout   time.Duration
	redact    redactor
	follow    func(chunks []int) // fetches them ahead of who reads
	counts    counts

	ctx    context.Context // ends when the volume is closed
	cancel context.CancelFunc
	slots  chan struct{}  // bounds reads under way
	calls  sync.WaitGroup // of the source's methods

	ready chan struct{} // closed when opening has ended
	err   error         // why it has failed

	// change is held while the device comes or goes.
	change sync.Mutex
	// The shelf's lock guards these.
	device  string
	owners  map[uint64]string // by lease
	handles int               // how often the kernel has the file open
	gone    bool
	ahead   ahead
}

func newShelf(ctx context.Context, cfg *Config, prefix string) *shelf {
	return &shelf{
		cfg: cfg, prefix: prefix, ctx: ctx,
		byID: make(map[string]*volume), byNode: make(map[uint64]*volume), leases: make(map[uint64]*volume),
		nextNode: firstNode, idle: make(chan struct{}),
	}
}

// open takes out a lease on a volume, which is opened if it is not there.
func (s *shelf) open(ctx context.Context, args *openArgs) (opened, error) {
	if args.Volume == "" || len(args.Volume) > maxName || args.Owner == "" || len(args.Owner) > maxName {
		return opened{}, fmt.Errorf("%w: volume and owner are 1 to %d bytes", ErrInvalid, maxName)
	}
	for {
		v, mine, err := s.find(args.Volume, args.Spec)
		if err != nil {
			return opened{}, err
		}
		select {
		case <-v.ready:
		case <-ctx.Done():
			return opened{}, context.Cause(ctx)
		}
		if v.err != nil {
			if mine {
				return opened{}, v.err
			}
			// It was opened by another's spec, which may have been withdrawn, or
			// been wrong: that is no matter of ours.
			continue
		}
		if o, ok, err := s.lease(v, args.Owner); ok || err != nil {
			return o, err
		}
		// It was closed in between.
	}
}

// find returns the volume of an id, beginning to open it if need be: then it is
// the caller's own spec that it is opened by.
func (s *shelf) find(id string, spec json.RawMessage) (_ *volume, mine bool, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.byID[id]; v != nil {
		return v, false, nil
	}
	if s.closed {
		return nil, false, errEnding
	}
	v := &volume{
		id: id, node: s.nextNode, name: s.prefix + strconv.FormatUint(s.nextNode, 10),
		timeout: s.cfg.ReadTimeout, redact: newRedactor(spec), slots: make(chan struct{}, s.cfg.ReadsPerVolume),
		ready: make(chan struct{}), owners: make(map[uint64]string),
	}
	v.follow = func(chunks []int) { s.follow(v, chunks) }
	v.ctx, v.cancel = context.WithCancel(s.ctx)
	s.nextNode++
	s.byID[id] = v
	s.wg.Go(func() {
		if v.err = v.redact.err(s.openSource(v, spec)); v.err != nil {
			s.mu.Lock()
			s.remove(v)
			s.mu.Unlock()
			v.cancel()
		}
		close(v.ready)
	})
	return v, true, nil
}

// openSource has the opener make the volume's source, for as long as it may take.
func (s *shelf) openSource(v *volume, spec json.RawMessage) error {
	ctx, cancel := context.WithTimeoutCause(v.ctx, s.cfg.OpenTimeout, errStalled)
	defer cancel()
	type made struct {
		source Volume
		err    error
	}
	result := make(chan made, 1)
	s.wg.Go(func() {
		source, err := openWith(ctx, s.cfg.Opener, spec)
		result <- made{source, err}
	})
	var source Volume
	select {
	case m := <-result:
		if m.err != nil {
			return fmt.Errorf("blockfs: open volume: %w", m.err)
		}
		source = m.source
	case <-ctx.Done():
		s.wg.Go(func() {
			if m := <-result; m.err == nil {
				_ = m.source.Close() // it comes too late
			}
		})
		return fmt.Errorf("blockfs: open volume: %w", context.Cause(ctx))
	}
	v.source, v.size, v.chunkSize = source, source.Size(), DefaultChunkSize
	if c, ok := source.(Chunked); ok {
		v.chunkSize = c.ChunkSize()
	}
	if v.size <= 0 || v.size > MaxSize || v.size%SectorSize != 0 || v.chunkSize < SectorSize {
		err := fmt.Errorf("%w: a volume has %d bytes in chunks of %d; want a multiple of %d", ErrInvalid, v.size, v.chunkSize, SectorSize)
		return errors.Join(err, source.Close())
	}
	v.counts.seen = make([]uint64, v.chunks()/64+1)
	v.ahead.seen = make([]uint64, v.chunks()/64+1)
	s.mu.Lock()
	s.byNode[v.node] = v
	s.mu.Unlock()
	return nil
}

func openWith(ctx context.Context, o Opener, spec json.RawMessage) (_ Volume, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the opener has panicked: %v", p)
		}
	}()
	return o.Open(ctx, spec)
}

func (v *volume) chunks() int64 { return (v.size + v.chunkSize - 1) / v.chunkSize }

// lease adds a lease to an open volume and attaches its device. It is not ok
// if the volume was closed meanwhile.
func (s *shelf) lease(v *volume, owner string) (o opened, ok bool, err error) {
	v.change.Lock()
	defer v.change.Unlock()
	s.mu.Lock()
	if v.gone {
		s.mu.Unlock()
		return o, false, nil
	}
	s.nextLease++
	lease, device := s.nextLease, v.device
	v.owners[lease], s.leases[lease] = owner, v
	s.mu.Unlock()
	if device == "" {
		if device, err = s.attach(v.name); err != nil {
			_ = s.release(lease)
			return o, false, fmt.Errorf("blockfs: attach volume: %w", err)
		}
		s.mu.Lock()
		v.device = device
		s.mu.Unlock()
	}
	return opened{Lease: lease, Device: device, File: v.name, Size: v.size}, true, nil
}

// release ends a lease. The volume is closed with its last one, as soon as
// nobody has it open.
func (s *shelf) release(lease uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.leases[lease]
	if v == nil {
		return fmt.Errorf("%w: lease %d", ErrUnknown, lease)
	}
	delete(s.leases, lease)
	delete(v.owners, lease)
	s.settleSoon(v)
	return nil
}

// drop ends the leases of an owner, but those that are excepted.
func (s *shelf) drop(args *dropArgs) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for lease, v := range s.leases {
		if v.owners[lease] == args.Owner && !slices.Contains(args.Except, lease) {
			delete(s.leases, lease)
			delete(v.owners, lease)
			s.settleSoon(v)
			n++
		}
	}
	return n
}

// settleSoon closes a volume that nobody needs any more. The shelf is locked.
func (s *shelf) settleSoon(v *volume) {
	if len(v.owners) == 0 {
		s.wg.Go(func() { s.settle(v) })
	}
}

func (s *shelf) settle(v *volume) {
	v.change.Lock()
	defer v.change.Unlock()
	s.mu.Lock()
	if len(v.owners) > 0 || v.gone {
		s.mu.Unlock()
		return
	}
	device := v.device
	v.device = ""
	s.mu.Unlock()
	if device != "" {
		// A device that is still mounted somewhere goes with its last mount;
		// then the kernel releases the file, and this comes here again.
		if err := s.detach(device, v.name); err != nil {
			s.cfg.Log.Error("loop device not detached", "device", device, "error", err)
		}
	}
	s.mu.Lock()
	closing := v.handles == 0
	if closing {
		s.remove(v)
	}
	s.mu.Unlock()
	if closing {
		s.close(v)
	}
}

// remove takes a volume off the shelf, which is locked.
func (s *shelf) remove(v *volume) {
	v.gone = true
	delete(s.byID, v.id)
	delete(s.byNode, v.node)
	if s.retiring && len(s.byID) == 0 {
		s.becomeIdle()
	}
}

// errEnding says that the server ends.
var errEnding = errors.New("blockfs: the server ends")

// becomeIdle closes the shelf, which is locked.
func (s *shelf) becomeIdle() {
	if !s.closed {
		s.closed = true
		close(s.idle)
	}
}

// close ends a volume's source when its last call has returned.
func (s *shelf) close(v *volume) {
	v.cancel()
	v.calls.Wait()
	if err := v.source.Close(); err != nil {
		s.cfg.Log.Error("volume not closed cleanly", "error", v.redact.err(err))
	}
}

// retire has the shelf say when it is empty.
func (s *shelf) retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retiring = true
	if len(s.byID) == 0 {
		s.becomeIdle()
	}
}

// closeIfEmpty closes the shelf if there is nothing on it.
func (s *shelf) closeIfEmpty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.byID) > 0 {
		return false
	}
	s.retiring = true
	s.becomeIdle()
	return true
}

// clear detaches all devices: the server ends.
func (s *shelf) clear() {
	s.mu.Lock()
	var all []*volume
	for _, v := range s.byNode {
		for lease := range v.owners {
			delete(s.leases, lease)
			delete(v.owners, lease)
		}
		all = append(all, v)
	}
	s.mu.Unlock()
	for _, v := range all {
		s.settle(v)
	}
}

// closeAll closes what is left, once nobody can open or read any more. It waits
// for every source.
func (s *shelf) closeAll() {
	s.wg.Wait()
	s.mu.Lock()
	var all []*volume
	for _, v := range s.byNode {
		s.remove(v)
		all = append(all, v)
	}
	s.mu.Unlock()
	for _, v := range all {
		s.close(v)
	}
}

func (s *shelf) list() Listing {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := Listing{Volumes: []Entry{}, Retiring: s.retiring}
	for _, v := range s.byNode {
		e := Entry{Volume: v.id, Device: v.device, Size: v.size, Owners: []string{}}
		for _, owner := range v.owners {
			e.Owners = append(e.Owners, owner)
		}
		slices.Sort(e.Owners)
		l.Volumes = append(l.Volumes, e)
	}
	slices.SortFunc(l.Volumes, func(a, b Entry) int { return strings.Compare(a.Volume, b.Volume) })
	return l
}

// named returns a volume that is open.
func (s *shelf) named(id string) (*volume, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.byID[id]; v != nil && s.byNode[v.node] == v {
		return v, nil
	}
	return nil, ErrUnknown
}
