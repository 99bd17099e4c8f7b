// Package sink is a collector that takes spans over OTLP/gRPC, counts them and forgets them: what it costs is little more
// than to receive them, which a collector on the same machine could not say of itself.
package sink

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// Serve takes spans on l, and tells on counts, over HTTP, how many have come, until one of them fails.
func Serve(l, counts net.Listener) error {
	var spans atomic.Int64
	server := grpc.NewServer(grpc.ForceServerCodecV2(raw{}), grpc.MaxRecvMsgSize(64<<20),
		grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(window), grpc.ReadBufferSize(256<<10),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			var request message
			if err := stream.RecvMsg(&request); err != nil {
				return err
			}
			n, err := request.count()
			if err != nil {
				return err
			}
			spans.Add(int64(n))
			return stream.SendMsg(new(message)) // of no bytes: all were taken
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

// window is how many bytes may be under way: so many that nobody waits for leave to send.
const window = 16 << 20

// message is one of gRPC's, not decoded, in the buffers that it came in.
type message struct{ data mem.BufferSlice }

// count counts the spans and gives the buffers back.
func (m *message) count() (int, error) {
	defer m.data.Free()
	r := m.data.Reader()
	defer func() { _ = r.Close() }()
	return count(r, 0, toSpans[:])
}

// raw is a codec that leaves messages as they are.
type raw struct{}

func (raw) Marshal(v any) (mem.BufferSlice, error) { return v.(*message).data, nil }

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	data.Ref()
	v.(*message).data = data
	return nil
}

func (raw) Name() string { return "proto" }

// The path from an ExportTraceServiceRequest to its spans: the field numbers of resource_spans, scope_spans and spans.
var toSpans = [...]protowire.Number{1, 2, 2}

// count counts what is at the end of the path in a message that goes on until end bytes remain. Whatever else there is, and
// what is in the spans, is left out unread.
func count(r *mem.Reader, end int, path []protowire.Number) (n int, err error) {
	if len(path) == 0 {
		return 1, skip(r, uint64(r.Remaining()-end))
	}
	for r.Remaining() > end {
		tag, err := binary.ReadUvarint(r)
		if err != nil {
			return 0, err
		}
		number, kind := protowire.DecodeTag(tag)
		if kind != protowire.BytesType {
			return 0, fmt.Errorf("field %d of a message on the way to the spans is of type %d", number, kind)
		}
		length, err := binary.ReadUvarint(r)
		if err != nil {
			return 0, err
		}
		if length > uint64(r.Remaining()-end) {
			return 0, io.ErrUnexpectedEOF
		}
		if number != path[0] {
			if err := skip(r, length); err != nil {
				return 0, err
			}
			continue
		}
		below, err := count(r, r.Remaining()-int(length), path[1:])
		if err != nil {
			return 0, err
		}
		n += below
	}
	return n, nil
}

func skip(r *mem.Reader, n uint64) error {
	_, err := r.Discard(int(n))
	return err
}
