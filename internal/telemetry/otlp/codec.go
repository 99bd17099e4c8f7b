package otlp

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
)

// WithoutCopy makes a gRPC client send what an Exporter has written from where it lies: gRPC would measure the message,
// clear as much memory and copy it there. All other messages are as ever.
func WithoutCopy() grpc.DialOption {
	return grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{encoding.GetCodecV2(proto.Name)}))
}

type codec struct{ encoding.CodecV2 }

// Marshal returns the bytes of an ExportTraceServiceRequest that holds what an Exporter has written, and nothing else,
// without a copy. They must not change until the call has been answered.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	request, ok := v.(*coltracepb.ExportTraceServiceRequest)
	if !ok || len(request.GetResourceSpans()) != 1 {
		return c.CodecV2.Marshal(v)
	}
	message := request.GetResourceSpans()[0]
	written := message.ProtoReflect().GetUnknown()
	if len(written) == 0 || message.GetResource() != nil || len(message.GetScopeSpans()) > 0 || message.GetSchemaUrl() != "" {
		return c.CodecV2.Marshal(v)
	}
	head := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.BytesType), uint64(len(written)))
	return mem.BufferSlice{mem.SliceBuffer(head), mem.SliceBuffer(written)}, nil
}
