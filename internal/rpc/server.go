package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"hearth/internal/ca"
)

const (
	// quiet is how long a connection is silent before it is asked for a sign of
	// life, and patience how long that may take: gRPC allows no less than ten
	// seconds for the first.
	quiet    = 10 * time.Second
	patience = 3 * time.Second
	// window is how much is on its way before its receiver has to take it.
	window = 1 << 20
)

// Server answers calls.
type Server struct {
	grpc    *grpc.Server
	log     *slog.Logger
	methods map[string]method
}

type method struct {
	roles []ca.Role
	serve func(grpc.ServerStream) error
}

// NewServer makes a Server; Handle and HandleStream give it methods, and then
// Serve serves.
func NewServer(node *ca.Node, log *slog.Logger) *Server {
	s := &Server{log: log, methods: make(map[string]method)}
	s.grpc = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(node.Server())),
		grpc.ForceServerCodec(wire),
		grpc.UnknownServiceHandler(s.dispatch),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(4*window),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: quiet / 2, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: quiet, Timeout: patience}),
	)
	return s
}

// Serve answers until Stop.
func (s *Server) Serve(listener net.Listener) error {
	if err := s.grpc.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("rpc: %w", err)
	}
	return nil
}

// Stop ends calls under way, by their contexts, and waits for them.
func (s *Server) Stop() { s.grpc.Stop() }

// Drain refuses new calls and waits for those under way, at most until the
// context ends.
func (s *Server) Drain(ctx context.Context) {
	defer context.AfterFunc(ctx, s.grpc.Stop)()
	s.grpc.GracefulStop()
}

func (s *Server) dispatch(_ any, stream grpc.ServerStream) error {
	name, _ := grpc.MethodFromServerStream(stream)
	m, ok := s.methods[name]
	if !ok {
		return status.Errorf(codes.Unimplemented, "%s does not do %s", "this node", name)
	}
	from, err := Caller(stream.Context())
	if err != nil || !from.Has(m.roles...) {
		s.log.LogAttrs(stream.Context(), slog.LevelWarn, "rpc: a node asks for what its roles do not allow",
			slog.String("method", name), slog.String("node", from.Name), slog.Any("roles", from.Roles))
		return status.Errorf(codes.PermissionDenied, "%s is not for a node of the roles %v", name, from.Roles)
	}
	return s.guarded(m, name, stream)
}

// guarded keeps a fault in one call from ending the process.
func (s *Server) guarded(m method, name string, stream grpc.ServerStream) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.LogAttrs(stream.Context(), slog.LevelError, "rpc: a call has failed badly",
				slog.String("method", name), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			err = status.Error(codes.Internal, "the call has failed badly; that node's log tells more")
		}
	}()
	return m.serve(stream)
}

// Caller is who calls.
func Caller(ctx context.Context) (ca.Identity, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ca.Identity{}, ca.ErrIdentity
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return ca.Identity{}, ca.ErrIdentity
	}
	return ca.Peer(info.State)
}

// Method is a call with one answer.
type Method[Req, Res any] string

// Handle has the server answer a method for peers of some roles.
func Handle[Req, Res any](s *Server, m Method[Req, Res], roles []ca.Role, do func(context.Context, *Req) (*Res, error)) {
	s.methods["/"+string(m)] = method{roles, func(stream grpc.ServerStream) error {
		req := new(Req)
		if err := stream.RecvMsg(req); err != nil {
			return err
		}
		res, err := do(stream.Context(), req)
		a := answer[Res]{Res: res}
		if err != nil {
			a = answer[Res]{Err: faultOf(err)}
		}
		return stream.SendMsg(&a)
	}}
}

// Stream is a call with many answers.
type Stream[Req, Res any] string

// HandleStream has the server answer a streamed method: send may be called any
// number of times, by one goroutine at a time.
func HandleStream[Req, Res any](s *Server, m Stream[Req, Res], roles []ca.Role,
	do func(ctx context.Context, req *Req, send func(*Res) error) error,
) {
	s.methods["/"+string(m)] = method{roles, func(stream grpc.ServerStream) error {
		req := new(Req)
		if err := stream.RecvMsg(req); err != nil {
			return err
		}
		err := do(stream.Context(), req, func(res *Res) error { return stream.SendMsg(&answer[Res]{Res: res}) })
		if err != nil && !errors.Is(err, io.EOF) {
			return stream.SendMsg(&answer[Res]{Err: faultOf(err)})
		}
		return nil
	}}
}
