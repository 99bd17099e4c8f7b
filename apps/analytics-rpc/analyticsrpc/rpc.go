package analyticsrpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/zeromicro/go-zero/core/logc"
	"github.com/zeromicro/go-zero/core/logx"
	"github.com/zeromicro/go-zero/core/proc"
	"github.com/zeromicro/go-zero/zrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/linktrail/linktrail/apps/analytics-rpc/internal/server"
	"github.com/linktrail/linktrail/apps/analytics-rpc/internal/svc"
	"github.com/linktrail/linktrail/apps/analytics-rpc/pb"
	"github.com/linktrail/linktrail/internal/rpcerror"
)

// rpcServer is go-zero's zRPC server, whose start panics and whose end is the process's, as one that returns errors and
// can be ended.
type rpcServer struct {
	zrpc *zrpc.RpcServer
	addr string

	listening chan struct{} // closed once the port is ours
	once      sync.Once
	started   bool
	done      chan struct{} // closed when it has ended
	err       error         // why, once done is closed

	mu   sync.Mutex
	grpc *grpc.Server
}

// maxConnectionIdle is go-zero's own, which has to be said again beside an age.
const maxConnectionIdle = 5 * time.Minute

// newRPCServer makes a server that ends each connection at maxAge, once its calls are answered; 0 is never.
func newRPCServer(c zrpc.RpcServerConf, maxAge time.Duration, svcCtx *svc.ServiceContext) (*rpcServer, error) {
	s := &rpcServer{addr: c.ListenOn, listening: make(chan struct{}), done: make(chan struct{})}
	z, err := zrpc.NewServer(c, func(g *grpc.Server) {
		pb.RegisterAnalyticsServer(g, server.NewAnalyticsServer(svcCtx))
		s.mu.Lock()
		s.grpc = g
		s.mu.Unlock()
		s.once.Do(func() { close(s.listening) }) // go-zero calls this once the port is ours
	})
	if err != nil {
		return nil, err
	}
	z.AddOptions(grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: maxConnectionIdle, MaxConnectionAge: maxAge}))
	z.AddUnaryInterceptors(answerErrors)
	s.zrpc = z
	return s, nil
}

// start serves until shutdown; done tells the end.
func (s *rpcServer) start() {
	s.started = true
	go func() {
		defer close(s.done)
		defer func() {
			if p := recover(); p != nil {
				s.err = startError(s.addr, p)
			}
		}()
		s.zrpc.Start()
	}()
}

// startError makes an error of what go-zero's Start panics with.
func startError(addr string, p any) error {
	err, ok := p.(error)
	if !ok {
		return fmt.Errorf("rpc server: %v", p)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "listen" {
		return fmt.Errorf("ListenOn: cannot listen on %q: %w", addr, op.Err)
	}
	return fmt.Errorf("rpc server: %w", err)
}

// ready is the readiness check: the port is ours.
func (s *rpcServer) ready(context.Context) error {
	select {
	case <-s.listening:
		return nil
	default:
		return errors.New("not listening yet")
	}
}

// shutdown takes no further calls and waits for those in flight, at most until ctx ends; then they are cut off, which
// is the error.
func (s *rpcServer) shutdown(ctx context.Context) error {
	if !s.started {
		return nil
	}
	select {
	case <-s.done: // it never listened
		return nil
	case <-s.listening:
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		proc.Shutdown() // the one way to end a zRPC server
	}()
	defer func() { <-stopped }()
	select {
	case <-s.done:
		return s.err
	case <-ctx.Done():
		s.mu.Lock()
		s.grpc.Stop()
		s.mu.Unlock()
		<-s.done
		return fmt.Errorf("rpc server: calls were cut off: %w", ctx.Err())
	}
}

// answerErrors makes gRPC statuses of linktrail's errors and logs the faults among them.
func answerErrors(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	resp, err := handle(ctx, req)
	if err == nil {
		return resp, nil
	}
	answer := rpcerror.ToStatus(err)
	switch status.Code(answer) {
	case codes.Internal, codes.Unavailable:
		logc.Errorw(ctx, "call failed", logx.Field("method", info.FullMethod), logx.Field("error", err.Error()))
	}
	return nil, answer
}
