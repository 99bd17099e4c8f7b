package outage_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/outage"
)

type sqlError string

func (e sqlError) Error() string    { return "sql " + string(e) }
func (e sqlError) SQLState() string { return string(e) }

func TestOf(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, refused := net.DialTimeout("tcp", addr, time.Second)

	tests := []struct {
		name string
		err  error
		want bool
	}{
		{"Nil", nil, false},
		{"Refused", fmt.Errorf("ping: %w", refused), true},
		{"Deadline", fmt.Errorf("select: %w", context.DeadlineExceeded), true},
		{"Canceled", context.Canceled, false},
		{"Kind", &link.Error{Kind: link.KindUnavailable}, true},
		{"NotFound", link.NotFound("abc"), false},
		{"Shutdown", fmt.Errorf("select: %w", sqlError("57P01")), true},
		{"TooManyConnections", sqlError("53300"), true},
		{"UniqueViolation", sqlError("23505"), false},
		{"File", fmt.Errorf("open: %w", &fs.PathError{Op: "mkdir", Path: "data", Err: syscall.ENOTDIR}), false},
		{"Other", errors.New("a fault"), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := outage.Of(tt.err); got != tt.want {
				t.Errorf("Of(%v) = %v, want %v", tt.err, got, tt.want)
			}
		})
	}
}
