package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"hearth/internal/controlstream"
	"hearth/internal/environment"
	"hearth/internal/invocation"
)

const (
	// outOfMemory is AWS's error type for a sandbox that its memory limit killed.
	outOfMemory = "Runtime.OutOfMemory"
	// killGrace is how much later than the deadline, which hearth-init keeps,
	// the worker itself gives up on a sandbox.
	killGrace = time.Second
	// doneGrace is how long an answer is held back for the end of its invoke.
	// Nearly always the runtime asks for the next event at once; then the
	// environment is idle, and its unit free, before the caller can come
	// again. A runtime that works on after its answer does not delay it.
	doneGrace = 2 * time.Millisecond
)

// call is one invoke under way.
type call struct {
	env   *env
	lease environment.Lease
	req   *invocation.Request
	unit  invocation.Unit
	begun time.Time

	// stream takes the answer as it comes, if the caller wants that.
	stream *controlstream.Stream

	res         *invocation.Response
	contentType string // of an answer that was not streamed
	use         usage
	// broken says that the control stream is lost: no Done will come.
	broken bool
}

// Invoke runs an invoke in an environment.
func (w *Worker) Invoke(ctx context.Context, l environment.Lease, req *invocation.Request, unit invocation.Unit) (*invocation.Response, error) {
	e, err := w.accept(ctx, l)
	if err != nil {
		return nil, err
	}
	c := &call{env: e, lease: l, req: req, unit: unit, begun: time.Now()}
	return c.run(ctx), nil
}

// accept finds the environment of a lease and has it take an invoke.
func (w *Worker) accept(ctx context.Context, l environment.Lease) (*env, error) {
	if !w.terms.obey(l.Partition, l.Epoch) {
		return nil, environment.ErrStale
	}
	v, ok := w.envs.Load(l.ID)
	if !ok {
		return nil, environment.ErrGone
	}
	e := v.(*env)
	return e, e.accept(ctx, l)
}

// version is the function's that runs.
func (c *call) version() string { return c.env.start.Record.VersionName() }

func (c *call) run(ctx context.Context) *invocation.Response {
	e := c.env
	deadline := c.begun.Add(time.Duration(e.start.Record.Serving.Timeout) * time.Second)
	ctx, cancel := context.WithDeadline(ctx, deadline.Add(killGrace))
	e.logs.begin()
	e.report.start(c.begun, c.req.ID)

	answer, payload, err := c.send(ctx, &controlstream.Invoke{
		RequestID: c.req.ID, FunctionARN: c.req.InvokedARN, DeadlineMs: deadline.UnixMilli(),
		TraceID: c.req.TraceID, ClientContext: c.req.ClientContext,
	})
	c.res = &invocation.Response{Version: c.version(), Run: time.Since(c.begun)}
	c.use.duration = c.res.Run
	if err != nil {
		c.lost(ctx, err)
	} else {
		c.judge(answer, payload)
	}
	if c.broken || c.req.Tail || e.session.DoneSoon(doneGrace) {
		c.finish(ctx)
		cancel()
		return c.res
	}
	// The answer goes out; the invoke ends by itself. Whoever ends it must not
	// touch the response any more.
	early := *c.res
	e.w.wg.Go(func() {
		defer cancel()
		c.finish(ctx)
	})
	return &early
}

func (c *call) send(ctx context.Context, in *controlstream.Invoke) (*controlstream.Response, []byte, error) {
	if c.stream == nil {
		return c.env.session.Invoke(ctx, in, c.req.Payload)
	}
	return c.env.session.InvokeStream(ctx, in, c.req.Payload, c.stream)
}

// judge turns the function's answer into the caller's.
func (c *call) judge(a *controlstream.Response, payload []byte) {
	c.res.Payload, c.contentType = payload, a.ContentType
	c.use.errType = a.ErrorType
	switch a.Status {
	case controlstream.StatusSuccess:
		c.use.errType = ""
		return
	case controlstream.StatusError, controlstream.StatusTooLarge:
	case controlstream.StatusTimeout:
		c.late()
	case controlstream.StatusInitError:
		c.res.Outcome = environment.OutcomeInitError
	default:
		c.res.Outcome = environment.OutcomeCrash
		if c.env.outOfMemory() { // the kernel's choice was the runtime, not the sandbox
			c.outOfMemory()
		}
	}
	c.res.FunctionError = "Unhandled"
}

// late deals with a passed deadline. A function without memory can be too slow
// to die before it: then that is its error, not the time.
func (c *call) late() {
	if c.env.outOfMemory() {
		c.outOfMemory()
		return
	}
	c.timedOut()
}

func (c *call) outOfMemory() {
	c.res.Outcome = environment.OutcomeOutOfMemory
	c.killed(outOfMemory)
}

// killed makes the answer for a sandbox that has died.
func (c *call) killed(errType string) {
	c.use.errType = errType
	c.res.FunctionError = "Unhandled"
	c.res.Payload = c.failure(errType, "Runtime exited with error: signal: killed")
}

func (c *call) timedOut() {
	c.res.Outcome = environment.OutcomeTimeout
	c.res.FunctionError = "Unhandled"
	seconds := float64(c.env.start.Record.Serving.Timeout)
	c.res.Payload = c.failure("Sandbox.Timedout", fmt.Sprintf("Task timed out after %.2f seconds", seconds))
	c.env.report.timedOut(time.Now(), c.req.ID)
}

// failure is the platform's payload for a failed invoke, as AWS words it.
func (c *call) failure(errType, text string) []byte {
	return fmt.Appendf(nil, `{"errorType":"%s","errorMessage":"RequestId: %s Error: %s"}`, errType, c.req.ID, text)
}

// lost deals with a control stream that broke: the deadline passed and the
// sandbox did not even answer that, or the sandbox has died.
func (c *call) lost(ctx context.Context, err error) {
	c.broken = true
	if errors.Is(err, context.DeadlineExceeded) {
		c.late()
		return
	}
	exit, dead := c.env.exited(ctx)
	if dead && exit.OutOfMemory || c.env.initOOM {
		c.outOfMemory()
		return
	}
	c.res.Outcome = environment.OutcomeCrash
	c.killed("Runtime.ExitError")
	c.env.w.cfg.Log.Warn("sandbox lost in an invoke", "environment", c.env.start.ID, "request", c.req.ID, "exit", exit.Detail, "error", err)
}

// finish waits for the end of the invoke, writes its report, and makes the
// environment free for the next, or has it retired.
func (c *call) finish(ctx context.Context) {
	e := c.env
	if !c.broken {
		c.wait(ctx)
		// The function runs no more; what follows is bookkeeping.
		c.unit.Release()
	}
	e.mu.Lock()
	c.use.init, e.initTime = e.initTime, 0
	e.mu.Unlock()
	c.use.outcome = c.res.Outcome
	c.use.memoryMB = e.maxMemoryMB()
	if c.use.outcome == environment.OutcomeOutOfMemory {
		c.use.memoryMB = e.start.Record.Serving.MemorySize
	}
	e.report.end(time.Now(), c.req.ID, c.use)
	if c.req.Tail {
		c.res.Log = e.logs.end()
	}
	outcome := c.res.Outcome
	if outcome.Reusable() && !e.settle() {
		outcome = environment.OutcomeFault // of the environment, not of this invoke
	}
	if c.broken {
		c.unit.Release()
	}
	e.w.cfg.Reporter.InvokeDone(c.lease, outcome, c.res.Payload)
}

func (c *call) wait(ctx context.Context) {
	done, err := c.env.session.WaitDone(ctx)
	if err != nil {
		if c.res.Outcome == environment.OutcomeOK { // it answered, then died or hung
			c.res.Outcome, c.use.errType = environment.OutcomeCrash, "Runtime.ExitError"
		}
		return
	}
	c.use.duration = done.Duration
	if done.Init != nil && done.Init.Status != controlstream.StatusSuccess {
		c.env.report.initFailed(time.Now(), "invoke", c.req.ID, done.Init)
	}
	if !done.Alive && c.res.Outcome == environment.OutcomeOK {
		c.res.Outcome = environment.OutcomeCrash
	}
}
