package azcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"hearth/internal/chunk"
)

// filler puts chunks on nodes that did not have them, behind the readers' back.
type filler struct {
	client *Client
	cancel context.CancelFunc
	wg     sync.WaitGroup
	wake   chan struct{}

	mu      sync.Mutex
	waiting []fill
	queued  map[chunk.Ref]bool // waiting, or being put
	bytes   int64
	closed  bool
	busy    int
	idle    *sync.Cond
}

type fill struct {
	ref   chunk.Ref
	bytes []byte
}

// errRefused is a node's answer to what it does not take.
var errRefused = errors.New("the chunk is refused")

// fillTimeout bounds putting one copy.
const fillTimeout = 5 * time.Second

func (f *filler) start(c *Client) {
	f.client = c
	f.queued = make(map[chunk.Ref]bool)
	f.idle = sync.NewCond(&f.mu)
	f.wake = make(chan struct{}, c.cfg.Fillers)
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	for range c.cfg.Fillers {
		f.wg.Go(func() { f.run(ctx) })
	}
}

func (f *filler) stop() {
	f.mu.Lock()
	f.closed = true
	f.waiting = nil
	f.mu.Unlock()
	f.cancel()
	f.wg.Wait()
}

// Fill puts a chunk on its nodes, soon, unless too many wait already. The bytes
// must not change.
func (c *Client) Fill(ref chunk.Ref, ciphertext []byte) {
	f := &c.fills
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.queued[ref] {
		return
	}
	if f.bytes+int64(len(ciphertext)) > c.cfg.FillBytes {
		c.mu.Lock()
		c.stats.FillsDropped++
		c.mu.Unlock()
		return
	}
	f.waiting = append(f.waiting, fill{ref, ciphertext})
	f.queued[ref] = true
	f.bytes += int64(len(ciphertext))
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Wait returns when nothing waits to be put.
func (c *Client) Wait() {
	f := &c.fills
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.busy > 0 || len(f.waiting) > 0 {
		f.idle.Wait()
	}
}

func (f *filler) run(ctx context.Context) {
	for {
		f.mu.Lock()
		if len(f.waiting) == 0 {
			f.waiting = nil // give the memory back
			f.mu.Unlock()
			select {
			case <-f.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		next := f.waiting[0]
		f.waiting[0] = fill{}
		f.waiting = f.waiting[1:]
		f.busy++
		f.mu.Unlock()
		f.put(ctx, next)
		f.mu.Lock()
		delete(f.queued, next.ref)
		f.bytes -= int64(len(next.bytes))
		f.busy--
		f.idle.Broadcast()
		f.mu.Unlock()
	}
}

// put offers a chunk to each of its nodes.
func (f *filler) put(ctx context.Context, next fill) {
	c := f.client
	c.mu.Lock()
	owners := c.ring.owners(next.ref.Name, c.cfg.Copies, c.cfg.Now())
	for _, n := range owners {
		n.inFlight++
	}
	c.mu.Unlock()
	for _, n := range owners {
		err := c.put(ctx, n.url, next)
		c.mu.Lock()
		n.inFlight--
		switch {
		case err == nil:
			n.failures = 0
			c.stats.Filled++
		case ctx.Err() == nil:
			c.stats.FillsFailed++
			if !errors.Is(err, errRefused) { // as a busy node does
				n.failed(c.cfg.Now())
			}
		}
		c.mu.Unlock()
	}
}

func (c *Client) put(ctx context.Context, node string, next fill) error {
	ctx, cancel := context.WithTimeout(ctx, fillTimeout)
	defer cancel()
	req, err := c.request(ctx, http.MethodPut, node, next.ref, bytes.NewReader(next.bytes))
	if err != nil {
		return err
	}
	// A node that has the chunk already says so before it is sent.
	req.Header.Set("Expect", "100-continue")
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("cache node: %w", err)
	}
	defer resp.Body.Close()
	drain(resp.Body)
	if resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("cache node %s: %w: status %d", node, errRefused, resp.StatusCode)
	}
	return nil
}
