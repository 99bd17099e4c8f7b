// Package logic decides what analytics-rpc answers.
package logic

import (
	"context"
	"time"

	"github.com/zeromicro/go-zero/core/logx"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/linktrail/linktrail/apps/analytics-rpc/internal/svc"
	"github.com/linktrail/linktrail/apps/analytics-rpc/pb"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/link"
)

// ClickStatsLogic answers one call of ClickStats.
type ClickStatsLogic struct {
	ctx    context.Context
	svcCtx *svc.ServiceContext
	logx.Logger
}

// NewClickStatsLogic returns the logic of one call.
func NewClickStatsLogic(ctx context.Context, svcCtx *svc.ServiceContext) *ClickStatsLogic {
	return &ClickStatsLogic{
		ctx:    ctx,
		svcCtx: svcCtx,
		Logger: logx.WithContext(ctx),
	}
}

// ClickStats adds up the clicks of a link. It reads rollups only, so its cost does not grow with the clicks.
func (l *ClickStatsLogic) ClickStats(in *pb.ClickStatsRequest) (*pb.ClickStatsResponse, error) {
	q, err := statsQuery(in)
	if err != nil {
		return nil, err
	}
	stats, err := l.svcCtx.Clicks.ClickStats(l.ctx, q)
	if err != nil {
		return nil, err
	}

	out := &pb.ClickStatsResponse{
		Clicks: stats.Clicks,
		Bots:   stats.Bots,
		From:   timestamppb.New(q.From),
		To:     timestamppb.New(q.To),
		Series: make([]*pb.Step, 0, len(stats.Series)),
	}
	for _, s := range stats.Series {
		out.Series = append(out.Series, &pb.Step{Start: timestamppb.New(s.Start), Clicks: s.Clicks})
	}
	for _, d := range click.Dimensions() {
		dimension := &pb.Dimension{Name: string(d)}
		for _, c := range stats.Values[d] {
			dimension.Counts = append(dimension.Counts, &pb.Count{Value: c.Value, Clicks: c.Clicks})
		}
		out.Dimensions = append(out.Dimensions, dimension)
	}
	return out, nil
}

func statsQuery(in *pb.ClickStatsRequest) (click.StatsQuery, error) {
	if in.GetLinkId() <= 0 {
		return click.StatsQuery{}, link.Invalid("link_id", "must be positive, got %d", in.GetLinkId())
	}
	for field, t := range map[string]*timestamppb.Timestamp{"from": in.GetFrom(), "to": in.GetTo()} {
		if t.CheckValid() != nil {
			return click.StatsQuery{}, link.Invalid(field, "must be a time")
		}
	}
	zone, err := time.LoadLocation(in.GetTimeZone())
	if err != nil || zone == time.Local {
		return click.StatsQuery{}, link.Invalid("tz", "must be an IANA time zone such as Europe/Berlin, got %q", in.GetTimeZone())
	}
	return click.StatsQuery{
		LinkID:   in.GetLinkId(),
		From:     in.GetFrom().AsTime(),
		To:       in.GetTo().AsTime(),
		Interval: click.Interval(in.GetInterval()),
		Location: zone,
		Top:      int(in.GetTop()),
	}.Check()
}
