// Package sink is a collector that takes spans over OTLP/gRPC, counts them and forgets them: what it costs is little more
// than to receive them, which a collector on the same machine could not say of itself.
package sink

import (
	"fmt"
	"net"
	"net/http"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
)

// Serve takes spans on l, and tells on counts, over HTTP, how many have come, until one of them fails.
func Serve(l, counts net.Listener) error {
	var spans atomic.Int64
	server := grpc.NewServer(grpc.ForceServerCodec(raw{}), grpc.MaxRecvMsgSize(64<<20),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			var request, answer message
			if err := stream.RecvMsg(&request); err != nil {
				return err
			}
			n, err := countSpans(request)
			if err != nil {
				return err
			}
			spans.Add(int64(n))
			return stream.SendMsg(&answer) // of no bytes: all were taken
		}))
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(l) }()
	go func() {
		failed <- http.Serve(counts, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, spans.Load())
		}))
	}()
	return <-failed
}

// message is one of gRPC's, not decoded.
type message []byte

// raw is a codec that leaves messages as they are.
type raw struct{}

func (raw) Marshal(v any) ([]byte, error) { return *v.(*message), nil }

func (raw) Unmarshal(data []byte, v any) error {
	*v.(*message) = data
	return nil
}

func (raw) Name() string { return "proto" }

// The path from an ExportTraceServiceRequest to its spans: the field numbers of resource_spans, scope_spans and spans.
var toSpans = [...]protowire.Number{1, 2, 2}

// countSpans counts the spans of an ExportTraceServiceRequest.
func countSpans(request []byte) (int, error) { return count(request, toSpans[:]) }

func count(m []byte, path []protowire.Number) (n int, err error) {
	if len(path) == 0 {
		return 1, nil
	}
	for len(m) > 0 {
		number, kind, length := protowire.ConsumeTag(m)
		if length < 0 {
			return 0, protowire.ParseError(length)
		}
		m = m[length:]
		if number != path[0] || kind != protowire.BytesType {
			if length = protowire.ConsumeFieldValue(number, kind, m); length < 0 {
				return 0, protowire.ParseError(length)
			}
			m = m[length:]
			continue
		}
		inner, length := protowire.ConsumeBytes(m)
		if length < 0 {
			return 0, protowire.ParseError(length)
		}
		m = m[length:]
		below, err := count(inner, path[1:])
		if err != nil {
			return 0, err
		}
		n += below
	}
	return n, nil
}
