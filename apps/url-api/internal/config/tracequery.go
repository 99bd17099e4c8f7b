package config

import (
	"errors"
	"fmt"

	"github.com/linktrail/linktrail/internal/tracequery"
)

// TraceQuery is where GET /api/v1/traces/{trace_id} reads traces: from Jaeger or from files of spans. Without either the
// API shows no traces.
type TraceQuery struct {
	// Jaeger is the URL of Jaeger's query service, such as http://localhost:16686.
	Jaeger string `json:",optional"`
	// Files is a folder with files of spans, as the file exporter of Telemetry writes them.
	Files string `json:",optional"`
}

// Open returns a reader of the traces, nil when there is nowhere to read them.
func (q TraceQuery) Open(opts ...tracequery.Option) (tracequery.Reader, error) {
	switch {
	case q.Jaeger != "" && q.Files != "":
		return nil, errors.New("TraceQuery: Jaeger and Files are both set; traces are read from one place")
	case q.Jaeger != "":
		if err := tracequery.CheckJaeger(q.Jaeger); err != nil {
			return nil, fmt.Errorf("TraceQuery.Jaeger: %w", err)
		}
		return tracequery.Jaeger(q.Jaeger, opts...), nil
	case q.Files != "":
		return tracequery.Files(q.Files, opts...), nil
	}
	return nil, nil
}
