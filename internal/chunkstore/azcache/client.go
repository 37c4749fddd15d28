package azcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"hearth/internal/chunk"
)

// ClientConfig says which nodes there are, and how they are asked.
type ClientConfig struct {
	// Nodes are the URLs of the zone's nodes, like http://10.0.0.7:9400. There
	// may be none.
	Nodes []string
	Key   Key
	// Timeout bounds a read, hedge and all; 250 ms if zero: the origin has
	// answered by then.
	Timeout time.Duration
	// HedgeAfter is when a second node is asked as long as little is known of
	// how fast they are; 5 ms if zero.
	HedgeAfter time.Duration
	// HedgeShare is how many hedges there may be for each read; 0.05 if zero,
	// none if negative.
	HedgeShare float64
	// Copies is on how many nodes a chunk is put; 2 if zero, so that there is
	// one to hedge with.
	Copies int
	// FillBytes bounds what waits to be put; 32 MiB if zero.
	FillBytes int64
	// Fillers is how many chunks are put at a time; 2 if zero.
	Fillers int
	// Transport is how nodes are reached; TCP if nil.
	Transport http.RoundTripper
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

func (c ClientConfig) withDefaults() ClientConfig {
	if c.Timeout == 0 {
		c.Timeout = 250 * time.Millisecond
	}
	if c.HedgeAfter == 0 {
		c.HedgeAfter = 5 * time.Millisecond
	}
	if c.HedgeShare == 0 {
		c.HedgeShare = 0.05
	}
	c.HedgeShare = max(0, c.HedgeShare)
	if c.Copies == 0 {
		c.Copies = 2
	}
	if c.FillBytes == 0 {
		c.FillBytes = 32 << 20
	}
	if c.Fillers == 0 {
		c.Fillers = 2
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Validate checks what a client is made of, and asks no node.
func (c ClientConfig) Validate() error {
	var problems []error
	if c.Timeout < 0 || c.HedgeAfter < 0 || c.Copies < 0 || c.FillBytes < 0 || c.Fillers < 0 || c.HedgeShare > 1 {
		problems = append(problems, errors.New("a bound is negative, or the share of hedges is above 1"))
	}
	for _, n := range c.Nodes {
		problems = append(problems, checkNode(n))
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("client of the zone's cache: %w", err)
	}
	return nil
}

func checkNode(node string) error {
	u, err := url.Parse(node)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || node != u.Scheme+"://"+u.Host {
		return fmt.Errorf("node %.100q: want a URL like http://10.0.0.7:9400 and no more", node)
	}
	return nil
}

// ErrUnavailable says that no node could be asked.
var ErrUnavailable = errors.New("no node of the zone's cache answers")

// Why a request ends: another one was faster, or it took too long.
var (
	errLost = errors.New("another answer came first")
	errLate = errors.New("no answer in time")
)

// Client asks the nodes of a zone. It may be used concurrently.
type Client struct {
	cfg     ClientConfig
	http    *http.Client
	idle    func()
	running sync.WaitGroup
	fills   filler

	mu     sync.Mutex
	ring   *ring
	hedger hedger
	stats  ClientStats
}

// ClientStats counts what a client did since it was made.
type ClientStats struct {
	Reads int64 `json:"reads"`
	// Hedges were sent since an answer was late; HedgesWon of them were the
	// first to answer. HedgesSpared would have been more than the share.
	Hedges       int64 `json:"hedges"`
	HedgesWon    int64 `json:"hedgesWon"`
	HedgesSpared int64 `json:"hedgesSpared"`
	// Failovers asked a second node since the first failed.
	Failovers int64 `json:"failovers"`
	// Spilled reads went to a node beyond those that keep the chunk, since
	// these had much to do, and then to one of them after all.
	Spilled int64 `json:"spilled"`
	// Failed requests had no usable answer in time.
	Failed int64 `json:"failed"`
	// Corrupt answers were not the chunk.
	Corrupt int64 `json:"corrupt"`
	// Filled copies were put. FillsDropped chunks came while too many waited,
	// FillsFailed copies were not taken.
	Filled       int64 `json:"filled"`
	FillsDropped int64 `json:"fillsDropped"`
	FillsFailed  int64 `json:"fillsFailed"`
	// Nodes there are, and how many of them are left alone.
	Nodes int `json:"nodes"`
	Out   int `json:"out"`
	// HedgeAfter is how late an answer must be now.
	HedgeAfter time.Duration `json:"hedgeAfter"`
}

// NewClient makes a client. It asks no node yet.
func NewClient(cfg ClientConfig) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	c := &Client{cfg: cfg, hedger: newHedger(cfg.HedgeShare, cfg.HedgeAfter), idle: func() {}}
	transport := cfg.Transport
	if transport == nil {
		tcp := &http.Transport{
			DialContext:            (&net.Dialer{Timeout: time.Second}).DialContext,
			TLSHandshakeTimeout:    time.Second,
			ExpectContinueTimeout:  time.Second,
			MaxIdleConnsPerHost:    64,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 16 << 10,
			DisableCompression:     true,
		}
		transport, c.idle = tcp, tcp.CloseIdleConnections
	}
	c.http = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.setNodes(cfg.Nodes)
	c.fills.start(c)
	return c, nil
}

// Close ends what goes on.
func (c *Client) Close() {
	c.fills.stop()
	c.running.Wait()
	c.idle()
}

// SetNodes replaces the nodes. What is known of those that stay is kept.
func (c *Client) SetNodes(nodes []string) error {
	for _, n := range nodes {
		if err := checkNode(n); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setNodes(nodes)
	return nil
}

func (c *Client) setNodes(urls []string) {
	known := make(map[string]*node)
	if c.ring != nil {
		for _, n := range c.ring.nodes {
			known[n.url] = n
		}
	}
	nodes := make([]*node, 0, len(urls))
	for _, u := range urls {
		n := known[u]
		if n == nil {
			n = &node{url: u}
		}
		nodes = append(nodes, n)
	}
	c.ring = newRing(nodes)
}

// Stats returns the counters.
func (c *Client) Stats() ClientStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Nodes, s.HedgeAfter = len(c.ring.nodes), c.hedger.delay
	for _, n := range c.ring.nodes {
		if n.failures >= outAfter {
			s.Out++
		}
	}
	return s
}

// why a node is asked.
type why int

const (
	asFirst why = iota
	asHedge     // the first is late
	asOther     // the first failed
	asOwner     // the first is none of the nodes that keep the chunk, and has it not
)

// answer is how a request ended.
type answer struct {
	bytes []byte
	err   error
	why   why
	owner bool
}

// ReadChunk implements chunk.Source. The bytes it returns are the chunk's.
// That there is none is believed of any node on which the chunk would be put;
// a node that was asked because those have too much to do may not have it.
func (c *Client) ReadChunk(ctx context.Context, ref chunk.Ref) ([]byte, error) {
	limited, release := context.WithTimeoutCause(ctx, c.cfg.Timeout, errLate)
	defer release()
	asking, cancel := context.WithCancelCause(limited)
	defer cancel(errLost)
	r := reading{client: c, ref: ref, answers: make(chan answer, 2)}
	r.ask(asking, asFirst)
	if r.asked == 0 {
		return nil, c.nobody()
	}
	timer := time.NewTimer(c.hedgeAfter())
	defer timer.Stop()
	for {
		select {
		case a := <-r.answers:
			if r.last(asking, a) {
				c.won(a)
				return a.bytes, a.err
			}
		case <-timer.C:
			if r.asked == 1 {
				r.ask(asking, asHedge)
			}
		}
	}
}

// reading is a chunk being read, from one node or two.
type reading struct {
	client             *Client
	ref                chunk.Ref
	first              *node
	asked, outstanding int
	answers            chan answer
}

// ask asks a node, if there is one for that.
func (r *reading) ask(ctx context.Context, why why) {
	n, owner := r.client.take(r.ref, r.first, why)
	if n == nil {
		return
	}
	if r.first == nil {
		r.first = n
	}
	r.asked++
	r.outstanding++
	r.client.ask(ctx, n, r.ref, why, owner, r.answers)
}

// last says whether an answer is the one that counts. If it is not, and there
// was no second request yet, it sends one.
func (r *reading) last(ctx context.Context, a answer) bool {
	r.outstanding--
	missing := errors.Is(a.err, chunk.ErrNotFound)
	switch {
	case a.err == nil || missing && a.owner:
		return true
	case r.asked > 1 || ctx.Err() != nil:
	case missing:
		r.ask(ctx, asOwner)
	default:
		r.ask(ctx, asOther)
	}
	return r.outstanding == 0
}

// nobody says why no node can be asked.
func (c *Client) nobody() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ring.nodes) == 0 {
		return chunk.ErrNotFound
	}
	return ErrUnavailable
}

func (c *Client) hedgeAfter() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hedger.delay
}

// take chooses a node to ask, if there is one, and counts a request to it. It
// says whether the chunk would be put there.
func (c *Client) take(ref chunk.Ref, except *node, why why) (n *node, owner bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	owners := c.ring.owners(ref.Name, c.cfg.Copies, now)
	switch why {
	case asFirst:
		c.stats.Reads++
		c.hedger.request()
	case asHedge:
		if !c.hedger.spend() {
			c.stats.HedgesSpared++
			return nil, false
		}
	case asOther:
	case asOwner:
		for _, o := range owners {
			if n == nil && o != except {
				n = o
			}
		}
	}
	if n == nil {
		n = c.ring.choose(ref.Name, except, now)
	}
	if n == nil {
		return nil, false
	}
	n.inFlight++
	switch why {
	case asFirst:
	case asHedge:
		c.stats.Hedges++
	case asOther:
		c.stats.Failovers++
	case asOwner:
		c.stats.Spilled++
	}
	return n, slices.Contains(owners, n)
}

func (c *Client) won(a answer) {
	if a.why == asHedge && a.err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.stats.HedgesWon++
	}
}

// ask sends a request to a node that was taken, and gives it back with what it
// made of it.
func (c *Client) ask(ctx context.Context, n *node, ref chunk.Ref, why why, owner bool, answers chan<- answer) {
	c.running.Go(func() {
		begin := c.cfg.Now()
		b, err := c.get(ctx, n.url, ref)
		ended := context.Cause(ctx)
		answers <- answer{b, err, why, owner}
		c.mu.Lock()
		defer c.mu.Unlock()
		n.inFlight--
		now := c.cfg.Now()
		switch {
		case err == nil || errors.Is(err, chunk.ErrNotFound):
			n.failures = 0
			c.hedger.answered(now.Sub(begin))
		case errors.Is(ended, errLost):
			if why == asFirst { // not one that began later
				n.failed(now)
				c.hedger.answered(now.Sub(begin))
			}
		case ended != nil && !errors.Is(ended, errLate):
			// The reader went away: that says nothing of the node.
		default:
			n.failed(now)
			c.stats.Failed++
			if errors.Is(err, chunk.ErrIntegrity) {
				c.stats.Corrupt++
			}
		}
	})
}

// get reads a chunk from a node and checks it.
func (c *Client) get(ctx context.Context, node string, ref chunk.Ref) ([]byte, error) {
	req, err := c.request(ctx, http.MethodGet, node, ref, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("cache node: %w", err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		drain(resp.Body)
		return nil, fmt.Errorf("cache node: %w", chunk.ErrNotFound)
	default:
		drain(resp.Body)
		return nil, fmt.Errorf("cache node %s: status %d", node, resp.StatusCode)
	}
	b, err := readBody(resp.Body, resp.ContentLength)
	if err == nil {
		err = chunk.Check(ref.Name, b)
	}
	if err != nil {
		return nil, fmt.Errorf("cache node %s: %w", node, err)
	}
	return b, nil
}

func (c *Client) request(ctx context.Context, method, node string, ref chunk.Ref, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, node+chunkPath(ref), body)
	if err != nil {
		return nil, fmt.Errorf("cache node: %w", err)
	}
	req.Header.Set("Authorization", authorization(&c.cfg.Key, method, ref, c.cfg.Now()))
	return req, nil
}

// drain reads a short body so that its connection can be used again.
func drain(r io.Reader) { _, _ = io.CopyN(io.Discard, r, 4<<10) }
