package worker

import (
	"context"
	"time"

	"hearth/internal/controlstream"
	"hearth/internal/environment"
	"hearth/internal/invocation"
)

// InvokeStream is Invoke for a caller that takes the answer as it comes. It
// returns when the invoke has ended and the sink has taken everything.
//
// The invoke is run beside the delivery: a client that takes nothing holds up
// a function that has more to say than fits a control stream's window, until
// its deadline, but keeps no environment from its next invoke after that.
func (w *Worker) InvokeStream(ctx context.Context, l environment.Lease, req *invocation.Request, unit invocation.Unit, to invocation.Sink) (
	*invocation.Response, error,
) {
	e, err := w.accept(ctx, l)
	if err != nil {
		return nil, err
	}
	c := &call{env: e, lease: l, req: req, unit: unit, begun: time.Now(), stream: controlstream.NewStream()}
	ended := make(chan *invocation.Response, 1)
	w.wg.Go(func() { ended <- c.run(ctx) })

	head := c.stream.Head()
	if head != nil {
		to.Begin(invocation.StreamHead{ContentType: head.ContentType, Version: c.version(), Streamed: true})
		_ = c.stream.CopyTo(to) // a client that is gone is its server's affair
	}
	res := <-ended
	if head == nil && res.FunctionError == "" {
		to.Begin(invocation.StreamHead{ContentType: c.contentType, Version: res.Version})
		if len(res.Payload) > 0 {
			_, _ = to.Write(res.Payload) // as above
		}
		res.Payload = nil
	}
	return res, nil
}
