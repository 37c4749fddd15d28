package zones

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"hearth/internal/cluster"
)

// balancer gives clients' connections to frontends that answer.
type balancer struct {
	listener net.Listener
	backends []*backend
	next     atomic.Uint64

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

type backend struct {
	address string
	mu      sync.Mutex
	well    bool
	// open are the connections there.
	open    map[net.Conn]struct{}
	changed chan struct{} // closed and replaced when well changes
}

const (
	// probeEvery and probeFor are how often frontends are looked at, and how long
	// an answer may take.
	probeEvery = 250 * time.Millisecond
	probeFor   = time.Second
	dialFor    = 500 * time.Millisecond
)

func newBalancer(listener net.Listener, addresses []string) *balancer {
	b := &balancer{listener: listener}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	for _, a := range addresses {
		b.backends = append(b.backends, &backend{address: a, open: make(map[net.Conn]struct{}), changed: make(chan struct{})})
	}
	for _, one := range b.backends {
		b.wg.Go(func() { b.probe(one) })
	}
	b.wg.Go(b.accept)
	return b
}

func (b *balancer) stop() {
	b.cancel()
	_ = b.listener.Close()
	for _, one := range b.backends {
		one.set(false)
	}
	b.wg.Wait()
}

// await returns when so many frontends answer.
func (b *balancer) await(ctx context.Context, n int) error {
	for _, one := range b.backends[:n] {
		for {
			one.mu.Lock()
			well, changed := one.well, one.changed
			one.mu.Unlock()
			if well {
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// set notes how a frontend is. Connections to one that does not answer are cut:
// clients try again.
func (one *backend) set(well bool) {
	one.mu.Lock()
	defer one.mu.Unlock()
	if well == one.well {
		return
	}
	one.well = well
	close(one.changed)
	one.changed = make(chan struct{})
	if !well {
		for c := range one.open {
			_ = c.Close() // both ends end
		}
	}
}

// probe looks at a frontend from time to time: any answer is one.
func (b *balancer) probe(one *backend) {
	client := &http.Client{Timeout: probeFor, Transport: &http.Transport{DisableKeepAlives: true}}
	late := 0
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(b.ctx, http.MethodGet, "http://"+one.address+cluster.HealthPath, http.NoBody)
		if err != nil {
			return
		}
		res, err := client.Do(req)
		if err == nil {
			err = res.Body.Close()
		}
		switch {
		case err == nil:
			late = 0
			one.set(true)
		case errors.Is(err, syscall.ECONNREFUSED):
			one.set(false)
		default:
			// It may be busy.
			if late++; late > 1 {
				one.set(false)
			}
		}
		select {
		case <-tick.C:
		case <-b.ctx.Done():
			return
		}
	}
}

func (b *balancer) accept() {
	for {
		c, err := b.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		b.wg.Go(func() { b.serve(c) })
	}
}

// serve passes on one connection.
func (b *balancer) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	one, server := b.dial()
	if one == nil {
		return
	}
	defer func() { _ = server.Close() }()
	one.mu.Lock()
	well := one.well
	one.open[server], one.open[client] = struct{}{}, struct{}{}
	one.mu.Unlock()
	defer func() {
		one.mu.Lock()
		defer one.mu.Unlock()
		delete(one.open, server)
		delete(one.open, client)
	}()
	if !well {
		return
	}
	var both sync.WaitGroup
	pass := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // whichever end fails, the other is told
		if t, ok := to.(*net.TCPConn); ok {
			_ = t.CloseWrite()
		}
	}
	both.Go(func() { pass(server, client) })
	both.Go(func() { pass(client, server) })
	both.Wait()
}

// dial connects to the next frontend that answers.
func (b *balancer) dial() (*backend, net.Conn) {
	first := b.next.Add(1)
	for _, needWell := range []bool{true, false} {
		for i := range b.backends {
			one := b.backends[(first+uint64(i))%uint64(len(b.backends))]
			one.mu.Lock()
			well := one.well
			one.mu.Unlock()
			if needWell && !well {
				continue
			}
			d := net.Dialer{Timeout: dialFor}
			c, err := d.DialContext(b.ctx, "tcp", one.address)
			if err == nil {
				return one, c
			}
			if b.ctx.Err() != nil {
				return nil, nil
			}
		}
	}
	return nil, nil
}
