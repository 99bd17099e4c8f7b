package logic

import (
	"context"
	"time"

	"github.com/zeromicro/go-zero/core/logx"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/linktrail/linktrail/apps/analytics-rpc/pb"
	"github.com/linktrail/linktrail/apps/url-api/internal/svc"
	"github.com/linktrail/linktrail/apps/url-api/internal/types"
	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/link"
	"github.com/linktrail/linktrail/internal/rpcerror"
)

// LinkStatsLogic answers one request.
type LinkStatsLogic struct {
	logx.Logger
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewLinkStatsLogic returns the logic of one request.
func NewLinkStatsLogic(ctx context.Context, svcCtx *svc.ServiceContext) *LinkStatsLogic {
	return &LinkStatsLogic{
		Logger: logx.WithContext(ctx),
		ctx:    ctx,
		svcCtx: svcCtx,
	}
}

// defaultDays is how many days of the zone statistics go back when the request does not say.
const defaultDays = 30

// LinkStats returns the statistics of a link, from analytics-rpc.
func (l *LinkStatsLogic) LinkStats(req *types.LinkStatsRequest) (*types.LinkStatsResponse, error) {
	found, err := l.svcCtx.Links.LinkByCode(l.ctx, req.Code)
	if err != nil {
		return nil, err
	}
	zone, err := parseZone(req.TZ)
	if err != nil {
		return nil, err
	}
	from, to, err := l.timeRange(req, zone, found.CreatedAt)
	if err != nil {
		return nil, err
	}
	interval := req.Interval
	if interval == "" {
		interval = string(suitable(to.Sub(from)))
	}
	stats, err := l.svcCtx.Analytics.ClickStats(l.ctx, &pb.ClickStatsRequest{
		LinkId:   found.ID,
		From:     timestamppb.New(from),
		To:       timestamppb.New(to),
		Interval: interval,
		TimeZone: zone.String(),
		Top:      int32(req.Top),
	})
	if err != nil {
		return nil, rpcerror.FromStatus(err, "statistics")
	}
	return shownStats(stats, interval, zone), nil
}

// timeRange returns what the request asks for. Without from it begins 30 days before to, or when the link was made if
// that was later.
func (l *LinkStatsLogic) timeRange(req *types.LinkStatsRequest, zone *time.Location, created time.Time) (from, to time.Time, err error) {
	to = l.svcCtx.Now()
	if req.To != "" {
		if to, err = parseMoment("to", req.To, zone); err != nil {
			return from, to, err
		}
	}
	from = daysBefore(to, defaultDays, zone)
	if created.After(from) && created.Before(to) {
		from = created
	}
	if req.From != "" {
		if from, err = parseMoment("from", req.From, zone); err != nil {
			return from, to, err
		}
	}
	if !from.Before(to) {
		return from, to, link.Invalid("to", "must be after from")
	}
	return from, to, nil
}

// daysBefore returns the same time of the day, days before: from midnight to midnight, whatever the clocks did.
func daysBefore(t time.Time, days int, zone *time.Location) time.Time {
	year, month, day := t.In(zone).Date()
	sinceMidnight := t.Sub(click.StartOfDay(year, month, day, zone))
	return click.StartOfDay(year, month, day-days, zone).Add(sinceMidnight)
}

// suitable returns the interval that makes a series of some dozens of steps of a range.
func suitable(d time.Duration) click.Interval {
	switch {
	case d <= 3*24*time.Hour:
		return click.IntervalHour
	case d <= 400*24*time.Hour:
		return click.IntervalDay
	default:
		return click.IntervalMonth
	}
}

func parseZone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || zone == time.Local {
		return nil, link.Invalid("tz", "must be an IANA time zone such as Europe/Berlin, got %q", name)
	}
	return zone, nil
}

// parseMoment reads a time of RFC 3339, or a date, which is its first moment in the zone.
func parseMoment(field, text string, zone *time.Location) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	date, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return date, link.Invalid(field, "must be a time of RFC 3339 or a date such as 2026-01-31, got %q", text)
	}
	return click.StartOfDay(date.Year(), date.Month(), date.Day(), zone), nil
}

func shownStats(stats *pb.ClickStatsResponse, interval string, zone *time.Location) *types.LinkStatsResponse {
	local := func(t *timestamppb.Timestamp) string { return t.AsTime().In(zone).Format(time.RFC3339) }
	resp := &types.LinkStatsResponse{
		Clicks:   stats.GetClicks(),
		Bots:     stats.GetBots(),
		From:     local(stats.GetFrom()),
		To:       local(stats.GetTo()),
		Interval: interval,
		TZ:       zone.String(),
		Series:   make([]types.Step, 0, len(stats.GetSeries())),
	}
	for _, s := range stats.GetSeries() {
		resp.Series = append(resp.Series, types.Step{Start: local(s.GetStart()), Clicks: s.GetClicks()})
	}
	resp.Referrers = counts(stats, click.DimensionReferrer)
	resp.Countries = counts(stats, click.DimensionCountry)
	resp.Browsers = counts(stats, click.DimensionBrowser)
	resp.OS = counts(stats, click.DimensionOS)
	resp.Devices = counts(stats, click.DimensionDevice)
	return resp
}

func counts(stats *pb.ClickStatsResponse, dimension click.Dimension) []types.Count {
	values := []types.Count{}
	for _, d := range stats.GetDimensions() {
		if d.GetName() != string(dimension) {
			continue
		}
		for _, c := range d.GetCounts() {
			values = append(values, types.Count{Value: c.GetValue(), Clicks: c.GetClicks()})
		}
	}
	return values
}
