package telemetry

import (
	"context"

	"github.com/google/uuid"
	"github.com/zeromicro/go-zero/core/logx"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/linktrail/linktrail/internal/buildinfo"
)

// newResource says which process a span comes from. OTEL_RESOURCE_ATTRIBUTES adds
// to it and overrides it (a pod's name as service.instance.id), save the service's
// name, which is the configuration's.
func newResource(name string) *resource.Resource {
	opts := []resource.Option{
		resource.WithAttributes(
			semconv.ServiceVersion(buildinfo.Read().Version),
			semconv.ServiceInstanceID(uuid.NewString()),
		),
		resource.WithHost(),
		resource.WithProcessPID(),
		resource.WithTelemetrySDK(),
		resource.WithFromEnv(),
	}
	if name != "" {
		opts = append(opts, resource.WithAttributes(semconv.ServiceName(name)))
	} else {
		opts = append([]resource.Option{resource.WithService()}, opts...)
	}
	res, err := resource.New(context.Background(), opts...)
	if err != nil {
		logx.Errorw("telemetry: part of the resource is missing", logx.Field("error", err.Error()))
	}
	return res
}
