package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Latency sums up a series of equal operations.
type Latency struct {
	N    int           `json:"n"`
	P50  time.Duration `json:"p50"`
	P99  time.Duration `json:"p99"`
	P999 time.Duration `json:"p999"`
	// Rate is operations a second, all workers together.
	Rate float64 `json:"rate"`
}

// summarise sorts the samples.
func summarise(samples []time.Duration, elapsed time.Duration) Latency {
	slices.Sort(samples)
	at := func(q float64) time.Duration {
		return samples[min(len(samples)-1, int(q*float64(len(samples))))]
	}
	return Latency{
		N: len(samples), P50: at(0.5), P99: at(0.99), P999: at(0.999),
		Rate: float64(len(samples)) / elapsed.Seconds(),
	}
}

// median of a few samples.
func median(samples []time.Duration) time.Duration {
	slices.Sort(samples)
	return samples[len(samples)/2]
}

// target is something that answers POSTs: a bare server or Hearth.
type target struct {
	url    string
	header http.Header
	body   []byte
}

// newClient keeps enough connections open for the largest load.
func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}
}

// errThrottled says that there was no room for a request in time.
var errThrottled = errors.New("throttled")

// post sends one request and returns the answer's Server-Timing header.
func (t *target) post(ctx context.Context, c *http.Client) (timing string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(t.body))
	if err != nil {
		return "", err
	}
	req.Header = t.header
	res, err := c.Do(req)
	if err != nil {
		return "", err
	}
	answer, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	switch {
	case err != nil:
		return "", err
	case res.StatusCode == http.StatusTooManyRequests:
		return "", fmt.Errorf("bench: %s: %w: %.300s", t.url, errThrottled, answer)
	case res.StatusCode != http.StatusOK || res.Header.Get("X-Amz-Function-Error") != "":
		return "", fmt.Errorf("bench: %s answered %s: %.300s", t.url, res.Status, answer)
	case !bytes.Equal(answer, t.body):
		return "", fmt.Errorf("bench: %s answered %.300q, want the event back", t.url, answer)
	}
	return res.Header.Get("Server-Timing"), nil
}

// insist posts a request until it is not throttled.
func (t *target) insist(ctx context.Context, c *http.Client) (timing string, throttled int, err error) {
	for {
		timing, err = t.post(ctx, c)
		if !errors.Is(err, errThrottled) {
			return timing, throttled, err
		}
		throttled++
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return "", throttled, context.Cause(ctx)
		}
	}
}

// load posts n requests from a number of closed-loop workers.
func load(ctx context.Context, t *target, workers, n int) (Latency, error) {
	client := newClient()
	defer client.CloseIdleConnections()
	return closedLoop(workers, n, func(int) error {
		_, err := t.post(ctx, client)
		return err
	})
}

// closedLoop does something n times, from a number of workers each of which
// begins again when it has ended.
func closedLoop(workers, n int, do func(worker int) error) (Latency, error) {
	all := make([][]time.Duration, workers)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	begun := time.Now()
	for w := range workers {
		wg.Go(func() {
			all[w] = make([]time.Duration, 0, n/workers)
			for range n / workers {
				clock := time.Now()
				if errs[w] = do(w); errs[w] != nil {
					return
				}
				all[w] = append(all[w], time.Since(clock))
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(begun)
	if err := errors.Join(errs...); err != nil {
		return Latency{}, err
	}
	return summarise(slices.Concat(all...), elapsed), nil
}

// Bare serves what the bare server of a bench answers: the request's body. It
// is the least that an HTTP server in Go can do.
func Bare(ctx context.Context, listening func(addr string)) error {
	s := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			_, _ = w.Write(body)
		}),
	}
	return serveUntil(ctx, s, listening)
}
