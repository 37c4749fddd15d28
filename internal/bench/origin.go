package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"hearth/internal/chunk"
)

// What a bench tells the blockfs process that its Hearth starts.
const (
	// delayEnv is how long the origin takes to answer, as a store across a
	// network does.
	delayEnv = "HEARTH_BENCH_ORIGIN_DELAY"
	// logEnv is a file that each read of the origin becomes a line of.
	logEnv = "HEARTH_BENCH_ORIGIN_LOG"
)

// Origin is source as a bench wants it: late, and with a log of its own. It is
// source itself unless the environment says that this is a bench.
func Origin(source chunk.Source) (chunk.Source, error) {
	delay, log := os.Getenv(delayEnv), os.Getenv(logEnv)
	if delay == "" && log == "" {
		return source, nil
	}
	d, err := time.ParseDuration(delay)
	if err != nil {
		return nil, fmt.Errorf("bench: %s: %w", delayEnv, err)
	}
	f, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600) //nolint:gosec // who sets the environment starts the process
	if err != nil {
		return nil, fmt.Errorf("bench: %s: %w", logEnv, err)
	}
	return &lateOrigin{source: source, delay: d, log: f}, nil
}

// lateOrigin lives as long as its process does.
type lateOrigin struct {
	source chunk.Source
	delay  time.Duration
	log    *os.File
	now    atomic.Int64 // reads under way
}

// ReadChunk implements chunk.Source.
func (o *lateOrigin) ReadChunk(ctx context.Context, ref chunk.Ref) ([]byte, error) {
	underWay := o.now.Add(1)
	defer o.now.Add(-1)
	timer := time.NewTimer(o.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	b, err := o.source.ReadChunk(ctx, ref)
	// One write a line: they are whole however many are written at once.
	_, lerr := fmt.Fprintf(o.log, "%s %d %d\n", ref.Name, len(b), underWay)
	return b, errors.Join(err, lerr)
}

// Fetched is what an origin was asked for.
type Fetched struct {
	// Reads is how many chunks were read, Distinct how many different ones.
	Reads    int   `json:"reads"`
	Distinct int   `json:"distinct"`
	Bytes    int64 `json:"bytes"`
	// AtOnce is the most reads that were under way together.
	AtOnce int `json:"atOnce"`
}

// readOriginLog sums up a log.
func readOriginLog(path string) (Fetched, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Fetched{}, err
	}
	var f Fetched
	distinct := make(map[string]struct{})
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		var name string
		var length int64
		var atOnce int
		if _, err := fmt.Sscanf(lines.Text(), "%s %d %d", &name, &length, &atOnce); err != nil {
			return Fetched{}, fmt.Errorf("bench: log of the origin: %q: %w", lines.Text(), err)
		}
		distinct[name] = struct{}{}
		f.Reads, f.Bytes, f.AtOnce = f.Reads+1, f.Bytes+length, max(f.AtOnce, atOnce)
	}
	f.Distinct = len(distinct)
	return f, nil
}
