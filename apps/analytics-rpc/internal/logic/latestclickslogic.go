package logic

import (
	"context"

	"github.com/google/uuid"
	"github.com/zeromicro/go-zero/core/logx"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/linktrail/linktrail/apps/analytics-rpc/internal/svc"
	"github.com/linktrail/linktrail/apps/analytics-rpc/pb"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/link"
)

// LatestClicksLogic answers one call of LatestClicks.
type LatestClicksLogic struct {
	ctx    context.Context
	svcCtx *svc.ServiceContext
	logx.Logger
}

// NewLatestClicksLogic returns the logic of one call.
func NewLatestClicksLogic(ctx context.Context, svcCtx *svc.ServiceContext) *LatestClicksLogic {
	return &LatestClicksLogic{
		ctx:    ctx,
		svcCtx: svcCtx,
		Logger: logx.WithContext(ctx),
	}
}

// LatestClicks returns the clicks of a link or of all links, newest first, page by page.
func (l *LatestClicksLogic) LatestClicks(in *pb.LatestClicksRequest) (*pb.LatestClicksResponse, error) {
	if in.GetLinkId() < 0 {
		return nil, link.Invalid("link_id", "must not be negative, got %d", in.GetLinkId())
	}
	if in.GetLimit() < 1 || in.GetLimit() > click.MaxLatest {
		return nil, link.Invalid("limit", "must be 1 to %d, got %d", click.MaxLatest, in.GetLimit())
	}
	var before uuid.UUID
	if in.GetBefore() != "" {
		var err error
		if before, err = uuid.Parse(in.GetBefore()); err != nil {
			return nil, link.Invalid("before", "must be the id of a click")
		}
	}
	clicks, err := l.svcCtx.Clicks.LatestClicks(l.ctx, in.GetLinkId(), before, int(in.GetLimit()))
	if err != nil {
		return nil, err
	}
	out := &pb.LatestClicksResponse{Clicks: make([]*pb.Click, 0, len(clicks))}
	for i := range clicks {
		out.Clicks = append(out.Clicks, message(&clicks[i]))
	}
	return out, nil
}

func message(c *click.Click) *pb.Click {
	m := &pb.Click{
		Id:        c.ID.String(),
		Code:      c.Code,
		Time:      timestamppb.New(c.Time),
		TraceId:   c.TraceID.String(),
		SpanId:    c.SpanID.String(),
		Sampled:   c.Sampled,
		Referrer:  c.Referrer,
		Country:   c.Country,
		Language:  c.Language,
		UserAgent: c.UserAgent,
		Bot:       c.Bot,
	}
	for _, v := range c.Dimensions() {
		switch v.Dimension {
		case click.DimensionBrowser:
			m.Browser = v.Value
		case click.DimensionOS:
			m.Os = v.Value
		case click.DimensionDevice:
			m.Device = v.Value
		}
	}
	return m
}
