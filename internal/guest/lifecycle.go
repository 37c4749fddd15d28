package guest

import (
	"sync"
	"time"

	"hearth/internal/controlstream"
)

// phase is where the runtime is in its life.
type phase uint8

const (
	phaseStopped  phase = iota // there is no runtime
	phaseInit                  // started; has not asked for an event yet
	phaseReady                 // has asked for an event
	phaseRunning               // has an event
	phaseAnswered              // has answered, and not asked for the next
)

// String gives AWS's names, which runtimes see in errors.
func (p phase) String() string {
	return [...]string{"Stopped", "Started", "Ready", "Running", "ResponseSent"}[p]
}

// reporter is where answers go: the control stream.
type reporter interface {
	Begin(*controlstream.StreamHead) error
	Data([]byte) error
	Respond(*controlstream.Response, []byte) error
	Finish(*controlstream.Done) error
}

// lifecycle is the state machine of the runtime and its invokes. All events
// (calls of the runtime, asks of the worker, exits, deadlines) come to it
// from their own goroutines and are handled one at a time under mu, writes to
// the worker included, so that these have an order. What waits for the
// function never happens under mu: reading its bodies, writing its events.
type lifecycle struct {
	worker reporter
	poller *poller
	procs  *processes
	// launch starts the runtime; the lifecycle owns the result.
	launch func() (*started, *failure)
	// closeConns ends all connections of the runtime.
	closeConns func()

	mu        sync.Mutex
	phase     phase
	runtime   *started
	initStart time.Time
	initDone  chan *controlstream.InitReport // of an init phase of its own
	initError *failure                       // what the runtime posted

	// The invoke under way, until it is done.
	invoke  *controlstream.Invoke
	payload []byte
	claimer *conn // that is giving the answer
	begun   time.Time
	took    time.Duration
	inner   *controlstream.InitReport // of the init inside this invoke
	window  int                       // how much of a streamed answer may be sent
	room    sync.Cond                 // window has grown, or the claim is lost

	waiter *conn  // whose call of next is unanswered
	event  []byte // buffer of the head of events, for the invoke loop
}

// started is a running runtime.
type started struct {
	proc *process
	logs *logPipe
}

// init starts the runtime and waits until it is ready, fails or limit (0 is
// none) has passed.
func (l *lifecycle) init(limit time.Duration) *controlstream.InitReport {
	l.mu.Lock()
	if l.phase != phaseStopped || l.invoke != nil {
		l.mu.Unlock()
		return &controlstream.InitReport{Status: controlstream.StatusError, ErrorType: typeUnknown,
			Error: errorPayload(typeUnknown, "init was asked for twice")}
	}
	done := make(chan *controlstream.InitReport, 1)
	l.initDone = done
	if fail := l.startLocked(); fail != nil {
		l.initFailedLocked(fail)
	}
	l.mu.Unlock()
	if limit <= 0 {
		return <-done
	}
	timer := time.AfterFunc(limit, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.initDone == done {
			l.endLocked()
			l.initFailedLocked(&failure{status: controlstream.StatusTimeout, kind: typeInitTimeout,
				message: "Init timed out after " + limit.Round(time.Millisecond).String()})
		}
	})
	defer timer.Stop()
	return <-done
}

func (l *lifecycle) startLocked() *failure {
	l.initStart = time.Now()
	rt, fail := l.launch()
	if fail != nil {
		return fail
	}
	l.runtime, l.phase = rt, phaseInit
	go rt.logs.pump()
	go func() {
		<-rt.proc.exited
		l.exited(rt)
	}()
	return nil
}

// initFailedLocked reports a failed init, to the worker's ask or as the end
// of the invoke it ran in. The runtime has ended.
func (l *lifecycle) initFailedLocked(f *failure) {
	report := &controlstream.InitReport{Status: f.status, Duration: time.Since(l.initStart), ErrorType: f.kind}
	if l.initDone != nil {
		report.Error = f.payload("")
		l.initDone <- report
		l.initDone = nil
		return
	}
	report.Error = f.payload(l.invoke.RequestID)
	l.inner = report
	l.respondLocked(&controlstream.Response{Status: controlstream.StatusInitError, ErrorType: f.kind}, report.Error)
	l.finishLocked(false)
}

// next is a call of next. A nil refusal means that c waits from now on.
func (l *lifecycle) next(c *conn) (*refusal, error) {
	l.mu.Lock()
	switch {
	case c.dead, l.claimer != nil, l.initError != nil:
		defer l.mu.Unlock()
		return badTransition(l.phase, phaseReady.String()), nil
	case l.phase == phaseInit:
		l.phase = phaseReady
		l.poller.warm.Store(true)
		l.initSucceededLocked()
	case l.phase == phaseReady:
		if l.waiter != nil { // its client has given up, or is not sane
			_ = l.waiter.Close()
		}
	case l.phase == phaseAnswered:
		l.phase = phaseReady
		l.runtime.logs.drain()
	default:
		defer l.mu.Unlock()
		return badTransition(l.phase, phaseReady.String()), nil
	}
	l.waiter = c
	if l.invoke == nil {
		l.mu.Unlock()
		return nil, nil
	}
	if !l.begun.IsZero() { // the invoke that was answered
		l.finishLocked(true)
		l.mu.Unlock()
		return nil, nil
	}
	return nil, l.deliver()
}

func (l *lifecycle) initSucceededLocked() {
	report := &controlstream.InitReport{Status: controlstream.StatusSuccess, Duration: time.Since(l.initStart)}
	l.runtime.logs.drain()
	if l.initDone != nil {
		l.initDone <- report
		l.initDone = nil
		return
	}
	l.inner = report
}

// deliver gives the event to the connection that waits. It is called with mu
// held, and releases it.
func (l *lifecycle) deliver() error {
	c, in, payload, buf := l.waiter, l.invoke, l.payload, l.event
	l.waiter, l.event = nil, nil
	l.phase, l.begun = phaseRunning, time.Now()
	l.runtime.logs.setRequest(in.RequestID)
	l.mu.Unlock()
	buf, err := c.writeEvent(buf, in, payload)
	l.mu.Lock()
	l.event = buf
	l.mu.Unlock()
	return err
}

// gone says that the connection has ended.
func (l *lifecycle) gone(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiter == c {
		l.waiter = nil
	}
}

// beginInvoke hands an event to the runtime, starting it again if there is
// none. An error is the worker's: it has broken the protocol.
func (l *lifecycle) beginInvoke(in *controlstream.Invoke, payload []byte) error {
	l.mu.Lock()
	if l.invoke != nil || l.initDone != nil {
		l.mu.Unlock()
		return controlstream.ErrBusy
	}
	l.invoke, l.payload = in, payload
	l.begun, l.took, l.inner, l.window = time.Time{}, 0, nil, in.Window
	switch {
	case l.phase == phaseStopped:
		defer l.mu.Unlock()
		if fail := l.startLocked(); fail != nil {
			l.initFailedLocked(fail)
		}
		return nil
	case l.waiter == nil: // its connection broke; the event waits for the next
		l.mu.Unlock()
		return nil
	default:
		// A failing write is the runtime's affair, and ends with the deadline.
		_ = l.deliver()
		return nil
	}
}

// expire ends the invoke of that id, if it is not over yet: its time is up.
func (l *lifecycle) expire(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.invoke == nil || l.invoke.RequestID != id {
		return
	}
	owed := l.phase != phaseAnswered
	l.markEndLocked()
	if l.phase == phaseInit {
		l.inner = &controlstream.InitReport{Status: controlstream.StatusTimeout, Duration: time.Since(l.initStart)}
	}
	l.endLocked()
	if owed {
		l.respondLocked(&controlstream.Response{Status: controlstream.StatusTimeout}, nil)
	}
	l.finishLocked(false)
}

// exited says that a runtime's process has ended.
func (l *lifecycle) exited(rt *started) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.runtime != rt {
		return // we ended it
	}
	f := exitFailure(rt.proc.status)
	if l.initError != nil {
		f = l.initError
	}
	was := l.phase
	l.markEndLocked()
	l.endLocked()
	switch {
	case was == phaseInit:
		l.initFailedLocked(f)
	case l.invoke == nil:
		// It died between invokes: the next one starts it again.
	default:
		if was != phaseAnswered {
			l.respondLocked(&controlstream.Response{Status: f.status, ErrorType: f.kind},
				f.payload(l.invoke.RequestID))
		}
		l.finishLocked(false)
	}
}

// mayFailInit says whether init/error may be called.
func (l *lifecycle) mayFailInit() *refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mayFailInitLocked()
}

func (l *lifecycle) mayFailInitLocked() *refusal {
	if l.phase != phaseInit || l.initError != nil {
		return badTransition(l.phase, "InitError")
	}
	return nil
}

// postInitError notes what was posted to init/error. The runtime is to be
// answered before failInit, which kills it; if it exits before that, this is
// why all the same.
func (l *lifecycle) postInitError(kind string, body []byte) *refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	refused := l.mayFailInitLocked()
	if refused == nil {
		l.initError = &failure{status: controlstream.StatusError, kind: kind, body: body}
	}
	return refused
}

// failInit ends the init phase with what was posted.
func (l *lifecycle) failInit() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.initError; f != nil {
		l.endLocked()
		l.initFailedLocked(f)
	}
}

// claim reserves the right to answer the current invoke for one connection,
// until release.
func (l *lifecycle) claim(c *conn, id []byte, to string) *refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.invoke == nil || l.begun.IsZero() || string(id) != l.invoke.RequestID {
		return badRequestID
	}
	if l.phase != phaseRunning || l.claimer != nil {
		return badTransition(l.phase, to)
	}
	l.claimer = c
	return nil
}

func (l *lifecycle) release(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.claimer == c {
		l.claimer = nil
	}
}

// answer is the answer given by the connection that holds the claim. If the
// invoke has ended meanwhile, nobody wants it any more.
func (l *lifecycle) answer(c *conn, resp *controlstream.Response, body []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.takeAnswerLocked(c) {
		l.respondLocked(resp, body)
	}
}

// answerAccept is answer, and tells the runtime so: first, for it can go on
// to call next while the worker is told. Under mu, so that its next cannot
// overtake the answer; and so without a wait.
func (l *lifecycle) answerAccept(c *conn, resp *controlstream.Response, body []byte) error {
	l.mu.Lock()
	taken := l.takeAnswerLocked(c)
	n, err := c.tryWrite(acceptedBytes)
	if taken {
		l.respondLocked(resp, body)
	}
	l.mu.Unlock()
	if err == nil && n < len(acceptedBytes) {
		_, err = c.Write(acceptedBytes[n:])
	}
	return err
}

func (l *lifecycle) takeAnswerLocked(c *conn) bool {
	if l.claimer != c || l.phase != phaseRunning {
		return false
	}
	l.claimer = nil
	l.markEndLocked()
	l.phase = phaseAnswered
	return true
}

// markEndLocked takes the function's time, once.
func (l *lifecycle) markEndLocked() {
	if l.phase == phaseRunning {
		l.took = time.Since(l.begun)
	}
}

// respondLocked sends the answer to the current invoke. If the worker cannot
// be reached the connection is broken, which ends everything elsewhere.
func (l *lifecycle) respondLocked(resp *controlstream.Response, body []byte) {
	resp.RequestID = l.invoke.RequestID
	_ = l.worker.Respond(resp, body)
}

// finishLocked ends the current invoke.
func (l *lifecycle) finishLocked(alive bool) {
	done := &controlstream.Done{RequestID: l.invoke.RequestID, Alive: alive, Duration: l.took, Init: l.inner}
	l.invoke, l.payload, l.inner = nil, nil, nil
	_ = l.worker.Finish(done)
}

// endLocked kills whatever the function started and sends its last words.
func (l *lifecycle) endLocked() {
	l.phase = phaseStopped
	l.poller.warm.Store(false)
	l.waiter, l.claimer, l.initError = nil, nil, nil
	rt := l.runtime
	l.runtime = nil
	l.procs.killAll()
	l.closeConns()
	l.room.Broadcast()
	if rt != nil {
		rt.logs.close()
	}
}

// shutdown ends the runtime for good. Without extensions nobody is asked
// first: AWS kills at once.
func (l *lifecycle) shutdown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.endLocked()
}
