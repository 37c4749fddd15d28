package worker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"hearth/internal/controlstream"
	"hearth/internal/environment"
	"hearth/internal/function"
	"hearth/internal/sandbox"
)

// Start starts an environment and returns when it can take an invoke. A
// function whose init fails does not fail the start: its init runs again
// inside the first invoke, as on AWS.
func (w *Worker) Start(ctx context.Context, st *environment.Start) (*environment.Started, error) {
	if w.ctx.Err() != nil {
		return nil, errStopped
	}
	ctx, end, err := w.startings.begin(ctx, st)
	if err != nil {
		return nil, err
	}
	defer end()
	if !w.terms.obey(st.Partition, st.Epoch) {
		return nil, environment.ErrStale
	}
	return w.bring(ctx, st)
}

// bring brings an environment up.
func (w *Worker) bring(ctx context.Context, st *environment.Start) (_ *environment.Started, err error) {
	cfg := st.Record.Serving
	if err := w.reserve(cfg.MemorySize); err != nil {
		return nil, err
	}
	e := &env{w: w, start: st, ended: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.destroy())
		}
		if cfg.Image == nil {
			w.pool.refill(cfg.Runtime)
		}
	}()
	if e.code, err = w.code.acquire(ctx, codeOf(st.Record.Account, cfg)); err != nil {
		return nil, err
	}
	if layers := layersOf(cfg); len(layers) > 0 {
		if e.layers, err = w.code.acquire(ctx, layers); err != nil {
			return nil, err
		}
	}
	started := &environment.Started{}
	clock := time.Now()
	if cfg.Image != nil {
		// Its root is its own: no sandbox can be ready before it is wanted.
		e.booted, err = w.bootImage(ctx, codeOf(st.Record.Account, cfg))
	} else {
		e.booted, started.Pooled, err = w.pool.take(ctx, cfg.Runtime)
	}
	if err != nil {
		return nil, err
	}
	started.Boot = time.Since(clock)

	clock = time.Now()
	if err := e.assign(ctx); err != nil {
		return nil, err
	}
	started.Assign = time.Since(clock)
	if w.endpoint != nil {
		e.door = w.endpoint.open(e.sb.Relayed())
	}
	if err := e.init(ctx, started); err != nil {
		return nil, err
	}
	w.recordStart(e)
	w.envs.Store(st.ID, e)
	if w.ctx.Err() != nil { // Close may have looked before the Store
		w.envs.Delete(st.ID)
		return nil, errStopped
	}
	if !e.initOOM { // a dead one is kept for the invoke that is to hear of it
		w.wg.Go(e.watch)
	}
	e.settle()
	return started, nil
}

// assign makes the booted sandbox an environment of the function.
func (e *env) assign(ctx context.Context) error {
	rec, cfg := e.start.Record, e.start.Record.Serving
	group, stream := cfg.LogGroup, logStream(time.Now(), rec.VersionName())
	e.logs.assign(e.w.cfg.Logs, rec.Account, group, stream, appLevel(cfg))
	e.report = report{
		rec: rec, image: e.image, sink: e.logs, initialization: initialization(e.start),
		json: cfg.LogFormat == formatJSON, least: systemLevel(cfg),
	}

	scratch := e.scratch
	if cfg.EphemeralStorage != defaultScratchMB {
		var err error
		if scratch, err = e.w.cfg.Volumes.MakeScratch(ctx, e.w.scratchDir(e.id+"-own"), cfg.EphemeralStorage); err != nil {
			return fmt.Errorf("worker: make /tmp: %w", err)
		}
		e.ownScratch = scratch
	}
	mounts := []controlstream.Mount{{Source: sandbox.LateDir + "/tmp", Target: "/tmp"}}
	if cfg.Image == nil {
		if err := e.sb.Attach(ctx, "task", e.code.dir, true); err != nil {
			return fmt.Errorf("worker: attach code: %w", err)
		}
		mounts = append(mounts, controlstream.Mount{Source: sandbox.LateDir + "/task", Target: "/var/task", ReadOnly: true})
	}
	if e.layers != nil {
		if err := e.sb.Attach(ctx, "opt", e.layers.dir, true); err != nil {
			return fmt.Errorf("worker: attach layers: %w", err)
		}
		mounts = append(mounts, controlstream.Mount{Source: sandbox.LateDir + "/opt", Target: "/opt", ReadOnly: true})
	}
	if err := e.sb.Attach(ctx, "tmp", scratch.Path(), false); err != nil {
		return fmt.Errorf("worker: attach /tmp: %w", err)
	}
	// The CPU quota comes after init: AWS lets functions initialise at full
	// speed, and so do we while no neighbour wants the cores.
	limits := sandbox.Limits{MemoryMB: cfg.MemorySize, Pids: hostPids, Weight: milliCPU(cfg)}
	if err := e.sb.Limit(ctx, limits); err != nil {
		return fmt.Errorf("worker: set limits: %w", err)
	}
	err := e.session.Assign(ctx, &controlstream.Assignment{
		FunctionName: rec.Name, FunctionVersion: rec.VersionName(), AccountID: rec.Account, Handler: cfg.Handler,
		CustomerEnv: e.start.Secrets.Variables,
		PlatformEnv: e.w.platformEnv(e.start, group, stream),
		Mounts:      mounts,
		Image:       imageOf(cfg, e.code),
		UID:         functionUID, GID: functionGID, Files: functionFiles, Processes: functionProcesses,
	})
	if err != nil {
		return fmt.Errorf("worker: assign: %w", err)
	}
	return nil
}

// imageOf says how to start a container image; nil for other functions.
func imageOf(cfg *function.Config, code *codeEntry) *controlstream.Image {
	if cfg.Image == nil {
		return nil
	}
	own := code.volume.Image()
	image := &controlstream.Image{Env: make(map[string]string, len(own.Env))}
	image.Command, image.Dir = cfg.Image.Program(own)
	for _, v := range own.Env {
		if name, value, ok := strings.Cut(v, "="); ok {
			image.Env[name] = value
		}
	}
	return image
}

// recordStart has the chunks recorded that the start has read.
func (w *Worker) recordStart(e *env) {
	w.wg.Go(func() {
		for _, code := range []*codeEntry{e.root, e.code, e.layers} {
			if code != nil {
				w.code.started(w.ctx, code)
			}
		}
	})
}

// init runs the function's init phase.
func (e *env) init(ctx context.Context, started *environment.Started) error {
	cfg := e.start.Record.Serving
	clock := time.Now()
	e.report.initStart(clock)
	ctx, cancel := context.WithTimeout(ctx, e.w.cfg.InitTimeout)
	defer cancel()
	rep, err := e.session.Init(ctx)
	if err != nil {
		// The sandbox died: most likely the function used more memory than it
		// has. Its first invoke finds that out again, and its caller is told.
		if rep = e.diedInInit(ctx, clock); rep == nil {
			return fmt.Errorf("worker: init: %w", err)
		}
	}
	if rep.Status != controlstream.StatusSuccess && e.lostCode() {
		return errCodeLost // it is not the function's fault
	}
	started.Init = time.Since(clock)
	if rep.Status == controlstream.StatusSuccess {
		e.initTime = rep.Duration
		e.report.initDone(time.Now(), rep.Duration)
	} else {
		started.InitFailed = true
		e.report.initFailed(time.Now(), "init", "", rep)
	}
	if err := e.sb.Limit(ctx, sandbox.Limits{MilliCPU: milliCPU(cfg)}); err != nil && rep.ErrorType != outOfMemory {
		return fmt.Errorf("worker: set the CPU limit: %w", err)
	}
	return nil
}

// errCodeLost is why a start fails in whose course blockfs has died.
var errCodeLost = errors.New("worker: init: the code could not be read, as the process that shows it has ended; the next start has it again")

// lostCode says whether what the environment runs from cannot be read any more.
func (e *env) lostCode() bool {
	for _, code := range []*codeEntry{e.root, e.code, e.layers} {
		if code != nil && code.lost() {
			return true
		}
	}
	return false
}

// diedInInit tells how a sandbox ended that died while it initialised, if the
// function's memory use is to blame.
func (e *env) diedInInit(ctx context.Context, since time.Time) *controlstream.InitReport {
	if exit, dead := e.exited(ctx); dead && exit.OutOfMemory {
		e.initOOM = true
		return &controlstream.InitReport{Status: controlstream.StatusExited, Duration: time.Since(since), ErrorType: outOfMemory}
	}
	return nil
}

// logStream names an environment's log stream as AWS does.
func logStream(at time.Time, version string) string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return at.UTC().Format("2006/01/02") + "/[" + version + "]" + hex.EncodeToString(b[:])
}
