// Package rpcerror carries linktrail's errors over gRPC. It is the one place that maps the kinds of link.Error to gRPC's
// codes and back; the field travels as google.rpc.BadRequest, the kind as google.rpc.ErrorInfo.
package rpcerror

import (
	"context"
	"errors"
	"fmt"

	"github.com/zeromicro/go-zero/core/breaker"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/outage"
)

// domain marks statuses whose message is linktrail's own and meant for people (google.rpc.ErrorInfo).
const domain = "linktrail"

var codeOf = map[link.Kind]codes.Code{
	link.KindInvalid:      codes.InvalidArgument,
	link.KindNotFound:     codes.NotFound,
	link.KindConflict:     codes.AlreadyExists,
	link.KindUnauthorized: codes.Unauthenticated,
	link.KindForbidden:    codes.PermissionDenied,
	link.KindUnavailable:  codes.Unavailable,
	link.KindInternal:     codes.Internal,
}

// ToStatus returns the error that a gRPC handler answers with. Errors that are no *link.Error keep their text to
// themselves: an outage is Unavailable, a cancelled request Canceled, all else Internal.
func ToStatus(err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*link.Error](err)
	switch {
	case ok && e.Kind != link.KindInternal:
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "the request was cancelled")
	case outage.Of(err):
		e = &link.Error{Kind: link.KindUnavailable, Message: "the store cannot be reached"}
	default:
		e = &link.Error{Kind: link.KindInternal, Message: "internal error"}
	}

	details := &errdetails.ErrorInfo{Reason: string(e.Kind), Domain: domain}
	violation := &errdetails.BadRequest{}
	if e.Field != "" {
		violation.FieldViolations = []*errdetails.BadRequest_FieldViolation{{Field: e.Field, Description: e.Message}}
	}
	s, detailErr := status.New(codeOf[e.Kind], e.Message).WithDetails(details, violation)
	if detailErr != nil {
		return status.Error(codeOf[e.Kind], e.Message)
	}
	return s.Err()
}

// FromStatus returns the error that a gRPC call failed with as linktrail's own: the *link.Error that ToStatus was given,
// or, when the service called could not answer, one of kind Unavailable that speaks of what, such as "statistics".
// Anything else is returned as it is, wrapped, and counts as internal.
func FromStatus(err error, what string) error {
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	if e := ours(s); e != nil {
		return e
	}
	switch {
	case errors.Is(err, context.Canceled), s.Code() == codes.Canceled:
		return fmt.Errorf("%s: %w", what, context.Canceled)
	case errors.Is(err, breaker.ErrServiceUnavailable), s.Code() == codes.Unavailable,
		s.Code() == codes.DeadlineExceeded, s.Code() == codes.ResourceExhausted, outage.Of(err):
		return &link.Error{Kind: link.KindUnavailable, Message: what + " cannot be had at the moment; try again later"}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// ours returns the Error in a status that ToStatus made, unless it is internal.
func ours(s *status.Status) *link.Error {
	var e *link.Error
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == domain {
			if kind := link.Kind(info.GetReason()); codeOf[kind] == s.Code() && kind != link.KindInternal {
				e = &link.Error{Kind: kind, Message: s.Message()}
			}
		}
	}
	if e == nil {
		return nil
	}
	for _, detail := range s.Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok && len(bad.GetFieldViolations()) > 0 {
			e.Field = bad.GetFieldViolations()[0].GetField()
		}
	}
	return e
}
