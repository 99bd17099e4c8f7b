package rpcerror_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zeromicro/go-zero/core/breaker"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/rpcerror"
)

func TestRoundTrip(t *testing.T) {
	tests := []struct {
		err  *link.Error
		code codes.Code
	}{
		{link.Invalid("interval", "must be hour, day or month"), codes.InvalidArgument},
		{link.NotFound("abc"), codes.NotFound},
		{link.Taken("abc"), codes.AlreadyExists},
		{&link.Error{Kind: link.KindUnauthorized, Message: "no key"}, codes.Unauthenticated},
		{&link.Error{Kind: link.KindForbidden, Message: "no right"}, codes.PermissionDenied},
		{&link.Error{Kind: link.KindUnavailable, Message: "away"}, codes.Unavailable},
	}
	for _, tt := range tests {
		t.Run(string(tt.err.Kind), func(t *testing.T) {
			sent := rpcerror.ToStatus(fmt.Errorf("wrapped: %w", tt.err))
			if got := status.Code(sent); got != tt.code {
				t.Errorf("code = %v, want %v", got, tt.code)
			}
			got, ok := errors.AsType[*link.Error](rpcerror.FromStatus(sent, "statistics"))
			if !ok {
				t.Fatalf("FromStatus(%v) is no *link.Error", sent)
			}
			if diff := cmp.Diff(tt.err, got); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestToStatusHidesFaults(t *testing.T) {
	for _, err := range []error{
		errors.New("relation secret does not exist"),
		&link.Error{Kind: link.KindInternal, Message: "secret"},
		fmt.Errorf("secret: %w", context.DeadlineExceeded),
		fmt.Errorf("secret: %w", context.Canceled),
	} {
		if got := rpcerror.ToStatus(err); strings.Contains(got.Error(), "secret") {
			t.Errorf("ToStatus(%q) = %q", err, got)
		}
	}
	if got := status.Code(rpcerror.ToStatus(context.DeadlineExceeded)); got != codes.Unavailable {
		t.Errorf("a deadline is %v, want Unavailable", got)
	}
	if got := status.Code(rpcerror.ToStatus(context.Canceled)); got != codes.Canceled {
		t.Errorf("a cancelled request is %v, want Canceled", got)
	}
	if rpcerror.ToStatus(nil) != nil || rpcerror.FromStatus(nil, "statistics") != nil {
		t.Error("no error became one")
	}
}

func TestFromStatusOfOthers(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want link.Kind
	}{
		{"Unavailable", status.Error(codes.Unavailable, "dial tcp 10.0.0.1"), link.KindUnavailable},
		{"Deadline", status.Error(codes.DeadlineExceeded, ""), link.KindUnavailable},
		{"Breaker", breaker.ErrServiceUnavailable, link.KindUnavailable},
		{"Internal", status.Error(codes.Internal, "x"), link.KindInternal},
		{"OwnInternal", rpcerror.ToStatus(errors.New("x")), link.KindInternal},
		{"ForeignNotFound", status.Error(codes.NotFound, "x"), link.KindInternal},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := rpcerror.FromStatus(tt.err, "statistics")
			if link.KindOf(got) != tt.want {
				t.Errorf("FromStatus(%v) = %v, of kind %q, want %q", tt.err, got, link.KindOf(got), tt.want)
			}
			if tt.want == link.KindUnavailable && strings.Contains(got.Error(), "10.0.0.1") {
				t.Errorf("FromStatus shows internals: %v", got)
			}
		})
	}
	if err := rpcerror.FromStatus(status.Error(codes.Canceled, ""), "statistics"); !errors.Is(err, context.Canceled) {
		t.Errorf("FromStatus of Canceled = %v", err)
	}
}
