package kgo

import (
	"fmt"
	"sync"
	"time"

	franz "github.com/twmb/franz-go/pkg/kgo"
	"github.com/zeromicro/go-zero/core/logx"
)

// repeatAfter is how long a message of the client is not logged again: while a broker is away it tries several times a
// second and says so each time.
const repeatAfter = time.Minute

// logger writes what franz-go warns of to the service's log.
type logger struct {
	mu   sync.Mutex
	last map[string]time.Time // by message; franz-go's are constants, the values stand beside them
}

func newLogger() *logger { return &logger{last: make(map[string]time.Time)} }

// Level is that of franz-go's Logger.
func (l *logger) Level() franz.LogLevel { return franz.LogLevelWarn }

// Log is that of franz-go's Logger.
func (l *logger) Log(level franz.LogLevel, msg string, keyvals ...any) {
	now := time.Now()
	l.mu.Lock()
	silent := now.Sub(l.last[msg]) < repeatAfter
	if !silent {
		l.last[msg] = now
	}
	l.mu.Unlock()
	if silent {
		return
	}
	fields := make([]logx.LogField, 0, len(keyvals)/2)
	for i := 0; i+1 < len(keyvals); i += 2 {
		fields = append(fields, logx.Field(fmt.Sprint(keyvals[i]), fmt.Sprint(keyvals[i+1])))
	}
	if level == franz.LogLevelError {
		logx.Errorw("kafka: "+msg, fields...)
		return
	}
	logx.Infow("kafka: "+msg, fields...)
}
