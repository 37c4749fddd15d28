package blockfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ClientConfig is what a Client is made of.
type ClientConfig struct {
	// Dir is the server's directory. It is made, for the owner only.
	Dir string
	// Owner is whose leases this client takes out.
	Owner string
	// Build names this program. A server of another build is replaced as soon
	// as nobody uses it.
	Build string
	// Command is a program with its arguments that runs Run, with ready.
	Command []string
	// Lost is told which volumes were lost with a server. Everything that is
	// mounted from them gives EIO for ever. It is called once for each server.
	Lost func(volumes []string)
	Log  *slog.Logger
	// Watch is how often the server is asked whether it is well (default 5 s),
	// and Patience how long it may take to answer before it is ended (10 s).
	Watch, Patience time.Duration
}

func (c *ClientConfig) fill() error {
	if c.Watch == 0 {
		c.Watch = 5 * time.Second
	}
	if c.Patience == 0 {
		c.Patience = helloTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Lost == nil {
		c.Lost = func([]string) {}
	}
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("no directory"))
	}
	if c.Owner == "" || len(c.Owner) > maxName {
		errs = append(errs, fmt.Errorf("owner must be 1 to %d bytes", maxName))
	}
	if len(c.Command) == 0 {
		errs = append(errs, errors.New("no command"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("blockfs: config of client: %w", err)
	}
	return nil
}

// Client uses the server of a directory, and sees to it that there is one.
type Client struct {
	cfg    ClientConfig
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	// child is the server's process if this client has started it. The
	// goroutine of keep owns it, before it runs Start.
	child *exec.Cmd

	mu      sync.Mutex
	link    *link         // nil while there is none
	changed chan struct{} // closed when link changes
	leases  map[uint64]*Lease
	ending  bool // no server is to be started any more

	// kept is closed when nobody sees any more to it that there is a server.
	kept chan struct{}
}

// errClosed is why calls of a client that was stopped end.
var errClosed = errors.New("blockfs: the client is stopped")

// NewClient makes a Client; Start starts it.
func NewClient(cfg ClientConfig) (*Client, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("blockfs: %w", err)
	}
	cfg.Dir = dir
	c := &Client{cfg: cfg, changed: make(chan struct{}), leases: make(map[uint64]*Lease), kept: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c, nil
}

// Start connects to the server, which it starts if there is none. Leases of
// the same owner from a former life are still there; see Sweep.
func (c *Client) Start(ctx context.Context) error {
	if err := makeDir(c.cfg.Dir); err != nil {
		return fmt.Errorf("blockfs: %w", err)
	}
	l, err := c.connect(ctx)
	if err != nil {
		return fmt.Errorf("blockfs: connect: %w", err)
	}
	c.setLink(l)
	c.wg.Go(func() { c.keep(l) })
	return nil
}

// Stop hangs up. The server goes on and keeps the leases; see Shutdown.
func (c *Client) Stop() {
	c.cancel(errClosed)
	c.wg.Wait()
	if c.child != nil {
		_ = c.child.Process.Release()
		c.child = nil
	}
}

// Shutdown ends the server, if nobody uses it or by force, and stops the client.
// If the server is in use and not forced it is ErrBusy, and all goes on.
func (c *Client) Shutdown(ctx context.Context, force bool) error {
	c.mu.Lock()
	c.ending = true
	c.mu.Unlock()
	l, err := c.current(ctx, nil)
	if err == nil {
		err = l.call(ctx, opShutdown, shutdownArgs{Force: force}, nil, nil)
	}
	if errors.Is(err, ErrBusy) {
		c.mu.Lock()
		c.ending = false
		c.mu.Unlock()
		return err
	}
	// A server may hang up before it has answered. The lock is the last to go.
	switch {
	case l == nil && errors.Is(err, errUnlinked):
		err = c.bury(ctx)
	case err == nil, errors.Is(err, errUnlinked):
		err = c.awaitEnd(ctx, l)
	}
	c.cancel(errClosed)
	c.wg.Wait()
	if c.child != nil {
		reap(c.child, stopTimeout)
		c.child = nil
	}
	return err
}

// bury removes what a server has left that is gone, and for which there will
// be no other, unless somebody else has started one.
func (c *Client) bury(ctx context.Context) error {
	f, err := takeLock(ctx, c.cfg.Dir)
	if errors.Is(err, errTaken) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(sweep(c.cfg.Dir), os.Remove(f.Name()), f.Close())
}

// awaitEnd waits until a server that was asked to end has released its
// directory. It may have been killed on the way.
func (c *Client) awaitEnd(ctx context.Context, l *link) error {
	select {
	case <-l.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	f, err := awaitLock(ctx, c.cfg.Dir)
	if err != nil {
		return err
	}
	return errors.Join(sweep(c.cfg.Dir), os.Remove(f.Name()), f.Close())
}

// connect returns a link to a server that can be used, and starts one if need be.
func (c *Client) connect(ctx context.Context) (*link, error) {
	spawned := false
	for {
		l, err := dial(ctx, c.cfg.Dir, c.cfg.Build, c.cfg.Patience)
		var hung *hungError
		switch {
		case err == nil:
			// Of another build it can be even so, if the program has been
			// replaced since this one was started: there is no better one.
			if spawned && l.server.Version == protocolVersion {
				return l, nil
			}
			if ok, err := c.suits(ctx, l); ok {
				return l, nil
			} else if err != nil {
				l.close()
				return nil, err
			}
		case errors.As(err, &hung):
			if err := c.killHung(ctx, hung.pid); err != nil {
				return nil, err
			}
		case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
			c.reapChild()
			// Somebody else may have started one in this moment.
			err := c.spawn(ctx)
			if err != nil && !errors.Is(err, errTaken) {
				return nil, err
			}
			spawned = err == nil
		case errors.Is(err, errUnlinked): // it is ending
		default:
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

// suits says whether a server is to be used. One of another build ends if
// nobody uses it, and is used until then if it speaks our version.
func (c *Client) suits(ctx context.Context, l *link) (bool, error) {
	if l.server.Version == protocolVersion && l.server.Build == c.cfg.Build {
		return true, nil
	}
	c.cfg.Log.Info("blockfs is of another build", "pid", l.pid, "version", l.server.Version)
	if l.server.Version == protocolVersion {
		err := l.call(ctx, opShutdown, shutdownArgs{}, nil, nil)
		if errors.Is(err, ErrBusy) {
			return true, l.call(ctx, opRetire, struct{}{}, nil, nil)
		}
		if err != nil && !errors.Is(err, errUnlinked) {
			return false, err
		}
	} else {
		// What this owner had is of no use to it any more.
		for _, q := range []struct {
			op   string
			args any
		}{{opDrop, dropArgs{Owner: c.cfg.Owner}}, {opRetire, struct{}{}}} {
			if err := l.call(ctx, q.op, q.args, nil, nil); err != nil && !errors.Is(err, errUnlinked) {
				return false, err
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if err := c.awaitEnd(ctx, l); err != nil {
		return false, fmt.Errorf("process %d is a blockfs of another version that is in use; unmount what is mounted from it: %w", l.pid, err)
	}
	l.close()
	return false, nil
}

func (c *Client) reapChild() {
	if c.child != nil {
		reap(c.child, stopTimeout)
		c.child = nil
	}
}

// keep sees to it that there is a server.
func (c *Client) keep(l *link) {
	defer close(c.kept)
	defer func() { l.close() }()
	for {
		c.watch(l)
		c.setLink(nil)
		l.close()
		if c.ctx.Err() != nil {
			return
		}
		next := c.again(l)
		if next == nil {
			return
		}
		l = next
		c.setLink(l)
	}
}

// watch returns when a link has ended, or its server does not answer.
func (c *Client) watch(l *link) {
	tick := time.NewTicker(c.cfg.Watch)
	defer tick.Stop()
	for {
		select {
		case <-l.done:
			return
		case <-c.ctx.Done():
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(c.ctx, c.cfg.Patience)
		err := l.call(ctx, opList, struct{}{}, nil, nil)
		cancel()
		if err != nil {
			return
		}
	}
}

const (
	retryFirst = 10 * time.Millisecond
	retryMost  = 5 * time.Second
)

// again connects anew after a link has ended. It returns nil if the client is
// to stop.
func (c *Client) again(old *link) *link {
	l, err := dial(c.ctx, c.cfg.Dir, c.cfg.Build, c.cfg.Patience)
	if err == nil && l.server.Instance == old.server.Instance {
		return l // only the connection was lost
	}
	if err == nil {
		l.close()
	}
	if hung, ok := errors.AsType[*hungError](err); ok {
		// Now, rather than when connect has waited for it as long again.
		if err := c.killHung(c.ctx, hung.pid); err != nil {
			c.cfg.Log.Error("a blockfs that does not answer cannot be ended", "pid", hung.pid, "error", err)
		}
	}
	c.lose(old.server.Instance)
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		c.mu.Lock()
		ending := c.ending
		c.mu.Unlock()
		if ending || c.ctx.Err() != nil {
			return nil
		}
		ctx, cancel := context.WithTimeout(c.ctx, startTimeout+c.cfg.Patience)
		l, err := c.connect(ctx)
		cancel()
		if err == nil {
			return l
		}
		c.cfg.Log.Error("no blockfs; trying again", "error", err)
		select {
		case <-time.After(wait):
		case <-c.ctx.Done():
			return nil
		}
	}
}

// lose marks the leases of a server that is gone.
func (c *Client) lose(instance string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	volumes := make(map[string]bool)
	for id, lease := range c.leases {
		if lease.instance == instance {
			volumes[lease.volume] = true
			close(lease.lost)
			delete(c.leases, id)
		}
	}
	if len(volumes) > 0 {
		names := slices.Sorted(maps.Keys(volumes))
		c.cfg.Log.Error("blockfs is gone, and with it volumes in use", "volumes", len(names))
		c.wg.Go(func() { c.cfg.Lost(names) })
	}
}

func (c *Client) setLink(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link = l
	close(c.changed)
	c.changed = make(chan struct{})
}

// current returns the link, or waits until there is one: not longer than till
// stop is closed. It is errUnlinked if there will be none.
func (c *Client) current(ctx context.Context, stop <-chan struct{}) (*link, error) {
	for {
		c.mu.Lock()
		l, changed := c.link, c.changed
		c.mu.Unlock()
		if l != nil && l.alive() {
			return l, nil
		}
		select {
		case <-changed:
		case <-stop:
			return nil, ErrLost
		case <-c.kept:
			if c.ctx.Err() != nil {
				return nil, context.Cause(c.ctx)
			}
			return nil, fmt.Errorf("blockfs: no server: %w", errUnlinked)
		case <-ctx.Done():
			return nil, fmt.Errorf("blockfs: no server: %w", context.Cause(ctx))
		case <-c.ctx.Done():
			return nil, context.Cause(c.ctx)
		}
	}
}

// retries is how often a call is made anew when its server has ended.
const retries = 3

func (c *Client) call(ctx context.Context, op string, args, result any) error {
	var err error
	for range retries {
		var l *link
		if l, err = c.current(ctx, nil); err != nil {
			return err
		}
		if err = l.call(ctx, op, args, result, nil); !errors.Is(err, errUnlinked) {
			return err
		}
	}
	return err
}

// Open takes out a lease on a volume. The id names the content: whoever opens
// the same id has the same device, made of the spec of who came first and
// whose spec was good.
func (c *Client) Open(ctx context.Context, volume string, spec json.RawMessage) (*Lease, error) {
	args := openArgs{Volume: volume, Owner: c.cfg.Owner, Spec: spec}
	if ctx.Err() != nil { // an answer that comes at once would be taken
		return nil, fmt.Errorf("blockfs: open volume: %w", context.Cause(ctx))
	}
	var err error
	for range retries {
		var l *link
		if l, err = c.current(ctx, nil); err != nil {
			return nil, err
		}
		var o opened
		late := func(a *response) {
			var o opened
			if decode(a, &o) == nil {
				c.wg.Go(func() {
					_ = l.call(c.ctx, opRelease, releaseArgs{o.Lease}, nil, nil) // else it goes with the owner's sweep
				})
			}
		}
		if err = l.call(ctx, opOpen, args, &o, late); err == nil {
			return c.held(l, volume, &o)
		}
		if !errors.Is(err, errUnlinked) {
			return nil, err
		}
	}
	return nil, err
}

// held notes a lease, unless its server has gone meanwhile.
func (c *Client) held(l *link, volume string, o *opened) (*Lease, error) {
	lease := &Lease{client: c, volume: volume, opened: *o, instance: l.server.Instance, lost: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == nil || c.link.server.Instance != lease.instance {
		return nil, fmt.Errorf("open volume: %w", ErrLost)
	}
	c.leases[o.Lease] = lease
	return lease, nil
}

// Sweep ends all leases of the owner that this client does not hold: those of
// a former life. It returns how many there were. Who wants to take up a
// volume opens it first; then its device stays.
func (c *Client) Sweep(ctx context.Context) (int, error) {
	args := dropArgs{Owner: c.cfg.Owner}
	c.mu.Lock()
	args.Except = slices.Sorted(maps.Keys(c.leases))
	c.mu.Unlock()
	var d dropped
	err := c.call(ctx, opDrop, args, &d)
	return d.Released, err
}

// List tells what the server has.
func (c *Client) List(ctx context.Context) (Listing, error) {
	var l Listing
	err := c.call(ctx, opList, struct{}{}, &l)
	return l, err
}

// Stats tells what has happened to a volume since it was opened.
func (c *Client) Stats(ctx context.Context, volume string) (Stats, error) {
	var s Stats
	err := c.call(ctx, opStats, volumeArgs{volume}, &s)
	return s, err
}

// Counters decodes what the server's Config.Counters returns.
func (c *Client) Counters(ctx context.Context, into any) error {
	return c.call(ctx, opCounters, nil, into)
}

// Prefetch has chunks of a volume fetched, in this order as far as several at
// once have one. It returns when they are queued, and how many of them were
// not queued before.
func (c *Client) Prefetch(ctx context.Context, volume string, chunks []int) (int, error) {
	var q queued
	err := c.call(ctx, opPrefetch, prefetchArgs{volume, chunks}, &q)
	return q.Queued, err
}
