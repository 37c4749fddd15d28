package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// Options are what a run may be told.
type Options struct {
	// Requests is how many invokes each warm series has.
	Requests int
	// Rounds is how many cold starts each runtime has.
	Rounds int
	// Runsc, Init and Function are Hearth's programs; default beside this one.
	Runsc, Init, Function string
	RuntimeCache          string
	// Progress is told what is being measured; may be nil.
	Progress func(string)
}

// MinRequests is the least of Options.Requests: there is a p99 of them.
const MinRequests = 100

func (o *Options) fill() error {
	if o.Requests < MinRequests || o.Rounds < 1 {
		return fmt.Errorf("bench: %d requests and %d rounds: want at least %d and 1", o.Requests, o.Rounds, MinRequests)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for path, name := range map[*string]string{&o.Runsc: "runsc", &o.Init: "hearth-init", &o.Function: "hearth-bench-function"} {
		if *path == "" {
			*path = filepath.Join(filepath.Dir(self), name)
		}
		if _, err := os.Stat(*path); err != nil {
			return fmt.Errorf("bench: %w; build it with: make build", err)
		}
	}
	return nil
}

func (o *Options) say(line string) {
	if o.Progress != nil {
		o.Progress(line)
	}
}

// Report is what a run found.
type Report struct {
	Cores int `json:"cores"`
	// Bare is the bare net/http server, at one client and at 16.
	Bare1  Latency `json:"bare1"`
	Bare16 Latency `json:"bare16"`
	// Floor is the Go function called straight over its control stream, and in
	// 16 sandboxes at once.
	Floor1  Latency `json:"floor1"`
	Floor16 Latency `json:"floor16"`
	// Warm is the same function through the API.
	Warm1  Latency `json:"warm1"`
	Warm16 Latency `json:"warm16"`
	Cold   []Cold  `json:"cold"`
	// IdleMB is Hearth's resident memory after its start, and UsedMB after
	// the warm series.
	IdleMB int `json:"idleMB"`
	UsedMB int `json:"usedMB"`
}

// event is the payload of every invoke.
var event = []byte(`{"name":"hearth","list":[1,2,3],"text":"the event is small, as most are"}`)

// Run measures everything.
func Run(ctx context.Context, o Options) (_ *Report, err error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	all, err := workloads(&o)
	if err != nil {
		return nil, err
	}
	rep := &Report{Cores: runtime.NumCPU()}
	r, err := newRig(&o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	for _, w := range all { // images first: nothing is built between figures
		if _, err := r.root(ctx, w.runtime); err != nil {
			return nil, err
		}
	}
	if err := rep.bare(ctx, &o); err != nil {
		return nil, err
	}
	o.say("floor: the function over its control stream")
	if rep.Floor1, err = r.floor(ctx, 1, o.Requests, event); err != nil {
		return nil, err
	}
	if rep.Floor16, err = r.floor(ctx, 16, o.Requests, event); err != nil {
		return nil, err
	}
	if err := rep.warm(ctx, &o, all[0]); err != nil {
		return nil, err
	}
	return rep, rep.cold(ctx, &o, r, all)
}

func (rep *Report) bare(ctx context.Context, o *Options) error {
	o.say("floor: a bare net/http server")
	p, err := start(ctx, nil, "listening on ", "bench", "--serve-bare")
	if err != nil {
		return err
	}
	defer p.stop()
	t := &target{url: "http://" + p.ready, body: event}
	if _, err := load(ctx, t, 16, o.Requests/4); err != nil { // warm up
		return err
	}
	if rep.Bare1, err = load(ctx, t, 1, o.Requests); err != nil {
		return err
	}
	rep.Bare16, err = load(ctx, t, 16, o.Requests)
	return err
}

func (rep *Report) warm(ctx context.Context, o *Options, w workload) error {
	o.say("warm path through the API")
	h, err := startHearth(ctx, o, "--pool", "0")
	if err != nil {
		return err
	}
	defer h.close()
	if rep.IdleMB, err = h.residentMB(); err != nil {
		return err
	}
	if err := h.create(ctx, "warm", w); err != nil {
		return err
	}
	t, err := h.target(ctx, "warm", event)
	if err != nil {
		return err
	}
	if _, err := load(ctx, t, 16, max(160, o.Requests/4)); err != nil { // warm up: 16 environments
		return err
	}
	if rep.Warm1, err = load(ctx, t, 1, o.Requests); err != nil {
		return err
	}
	if rep.Warm16, err = load(ctx, t, 16, o.Requests); err != nil {
		return err
	}
	rep.UsedMB, err = h.residentMB()
	return err
}

func (rep *Report) cold(ctx context.Context, o *Options, r *rig, all []workload) error {
	empty, err := startHearth(ctx, o, "--pool", "0")
	if err != nil {
		return err
	}
	defer empty.close()
	pooled, err := startHearth(ctx, o, "--pool", "1")
	if err != nil {
		return err
	}
	defer pooled.close()
	for i, w := range all {
		o.say("cold start of " + w.runtime)
		c, err := coldStarts(ctx, o, r, w, fmt.Sprintf("cold-%d", i), empty, pooled)
		if err != nil {
			return err
		}
		rep.Cold = append(rep.Cold, c)
	}
	return nil
}
