package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"hearth/internal/ca"
)

// Conn is a connection to a node, made when it is first needed and again when it
// is lost.
type Conn struct {
	peer string
	grpc *grpc.ClientConn
}

// Dial returns a connection to the node at an address, HOST:PORT, which has one
// of the roles.
func Dial(node *ca.Node, address string, roles ...ca.Role) (*Conn, error) {
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(node.Client(roles...))),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(wire), grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(4*window),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: quiet, Timeout: patience, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: time.Second,
		}),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithIdleTimeout(0),
	)
	if err != nil {
		return nil, fmt.Errorf("rpc: connect to %s: %w", address, err)
	}
	return &Conn{peer: address, grpc: conn}, nil
}

// Close ends the connection, and calls under way.
func (c *Conn) Close() error { return c.grpc.Close() }

// unreachable classifies what gRPC says went wrong. The caller's own end is not
// the peer's fault.
func (c *Conn) unreachable(ctx context.Context, sent bool, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch status.Code(err) {
	case codes.PermissionDenied, codes.Unimplemented, codes.ResourceExhausted:
		sent = false // refused before it was looked at
	default:
	}
	return &UnreachableError{Peer: c.peer, Sent: sent, Err: err}
}

var description = grpc.StreamDesc{ServerStreams: true}

type patient struct{}

// Patient has calls wait for a peer that cannot be reached until the context ends,
// where they would fail at once.
func Patient(ctx context.Context) context.Context { return context.WithValue(ctx, patient{}, true) }

func (c *Conn) begin(ctx context.Context, name string, req any) (grpc.ClientStream, error) {
	stream, err := c.grpc.NewStream(ctx, &description, "/"+name, grpc.WaitForReady(ctx.Value(patient{}) != nil))
	if err != nil {
		return nil, c.unreachable(ctx, false, err)
	}
	if err := stream.SendMsg(req); err != nil && !errors.Is(err, io.EOF) { // EOF: receiving says why
		return nil, c.unreachable(ctx, true, err)
	}
	if err := stream.CloseSend(); err != nil {
		return nil, c.unreachable(ctx, true, err)
	}
	return stream, nil
}

// Call calls a method. A context without a deadline waits for as long as the
// peer lives.
func Call[Req, Res any](ctx context.Context, c *Conn, m Method[Req, Res], req *Req) (*Res, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the stream's end
	stream, err := c.begin(ctx, string(m), req)
	if err != nil {
		return nil, err
	}
	return receive[Res](ctx, c, stream)
}

func receive[Res any](ctx context.Context, c *Conn, stream grpc.ClientStream) (*Res, error) {
	var a answer[Res]
	if err := stream.RecvMsg(&a); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, c.unreachable(ctx, true, err)
	}
	if a.Err != nil {
		return nil, a.Err.err()
	}
	if a.Res == nil {
		return new(Res), nil
	}
	return a.Res, nil
}

// Receiver gives the answers of a streamed call.
type Receiver[Res any] struct {
	ctx    context.Context
	conn   *Conn
	stream grpc.ClientStream
	cancel context.CancelFunc
}

// Open calls a streamed method. The receiver is to be closed.
func Open[Req, Res any](ctx context.Context, c *Conn, m Stream[Req, Res], req *Req) (*Receiver[Res], error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := c.begin(ctx, string(m), req)
	if err != nil {
		cancel()
		return nil, err
	}
	return &Receiver[Res]{ctx: ctx, conn: c, stream: stream, cancel: cancel}, nil
}

// Receive waits for the next answer; io.EOF says that the last has come.
func (r *Receiver[Res]) Receive() (*Res, error) { return receive[Res](r.ctx, r.conn, r.stream) }

// Close ends the call.
func (r *Receiver[Res]) Close() { r.cancel() }

// Refused says whether a call failed because the peer's system answered with one
// of the errors. gRPC gives the text of it only.
func Refused(err error, answers ...syscall.Errno) bool {
	for _, a := range answers {
		if strings.Contains(err.Error(), a.Error()) {
			return true
		}
	}
	return false
}
