package telemetry

import (
	"sync"
	"time"

	"github.com/zeromicro/go-zero/core/logx"
)

// ErrorInterval is how often errors of OpenTelemetry are logged at most. With a
// collector away there is one for each batch.
const ErrorInterval = time.Minute

// errorLog logs an error and then no other for an interval; the next one tells how
// many were left out. It is an otel.ErrorHandler.
type errorLog struct {
	interval time.Duration
	now      func() time.Time
	log      func(err error, leftOut int)

	mu      sync.Mutex
	last    time.Time
	leftOut int
}

func (l *errorLog) Handle(err error) {
	if err == nil {
		return
	}
	l.mu.Lock()
	now := l.now()
	if !l.last.IsZero() && now.Sub(l.last) < l.interval {
		l.leftOut++
		l.mu.Unlock()
		return
	}
	leftOut := l.leftOut
	l.last, l.leftOut = now, 0
	l.mu.Unlock()
	l.log(err, leftOut)
}

func logExportError(err error, leftOut int) {
	logx.Errorw("spans could not be exported", logx.Field("error", err.Error()), logx.Field("more_since_last", leftOut))
}
