package logic

import (
	"context"
	"strings"

	"github.com/google/uuid"
	"github.com/zeromicro/go-zero/core/logx"

	"github.com/linktrail/linktrail/apps/analytics-rpc/pb"
	"github.com/linktrail/linktrail/apps/url-api/internal/svc"
	"github.com/linktrail/linktrail/apps/url-api/internal/types"
	"github.com/linktrail/linktrail/internal/rpcerror"
)

// LatestClicksLogic answers one request.
type LatestClicksLogic struct {
	logx.Logger
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewLatestClicksLogic returns the logic of one request.
func NewLatestClicksLogic(ctx context.Context, svcCtx *svc.ServiceContext) *LatestClicksLogic {
	return &LatestClicksLogic{
		Logger: logx.WithContext(ctx),
		ctx:    ctx,
		svcCtx: svcCtx,
	}
}

// LatestClicks returns a page of a link's clicks, newest first, from analytics-rpc.
func (l *LatestClicksLogic) LatestClicks(req *types.LatestClicksRequest) (*types.LatestClicksResponse, error) {
	before, err := parseClickCursor(req.Cursor)
	if err != nil {
		return nil, err
	}
	found, err := l.svcCtx.Links.LinkByCode(l.ctx, req.Code)
	if err != nil {
		return nil, err
	}
	return clickPage(l.ctx, l.svcCtx, found.ID, before, req.Limit)
}

// clickPage returns the page of a link's clicks, or those of all links, that begins after the click before.
func clickPage(ctx context.Context, svcCtx *svc.ServiceContext, linkID int64, before string, limit int) (*types.LatestClicksResponse, error) {
	// One more than asked for tells whether there is another page.
	latest, err := svcCtx.Analytics.LatestClicks(ctx, &pb.LatestClicksRequest{LinkId: linkID, Before: before, Limit: int32(limit) + 1})
	if err != nil {
		return nil, rpcerror.FromStatus(err, "statistics")
	}
	clicks := latest.GetClicks()
	resp := &types.LatestClicksResponse{Clicks: make([]types.Click, 0, len(clicks))}
	if len(clicks) > limit {
		clicks = clicks[:limit]
		resp.Next = new(sealCursor(clickCursorMark, clicks[limit-1].GetId()))
	}
	for _, c := range clicks {
		resp.Clicks = append(resp.Clicks, shownClick(svcCtx, c))
	}
	return resp, nil
}

func shownClick(svcCtx *svc.ServiceContext, c *pb.Click) types.Click {
	s := types.Click{
		ID:        c.GetId(),
		Code:      c.GetCode(),
		Time:      timeText(c.GetTime().AsTime()),
		TraceID:   c.GetTraceId(),
		SpanID:    c.GetSpanId(),
		Sampled:   c.GetSampled(),
		Referrer:  c.GetReferrer(),
		Country:   c.GetCountry(),
		Browser:   c.GetBrowser(),
		OS:        c.GetOs(),
		Device:    c.GetDevice(),
		Language:  c.GetLanguage(),
		UserAgent: c.GetUserAgent(),
		Bot:       c.GetBot(),
	}
	if c.GetSampled() && svcCtx.TraceURL != "" {
		s.TraceURL = new(strings.ReplaceAll(svcCtx.TraceURL, "{trace_id}", s.TraceID))
	}
	return s
}

func parseClickCursor(cursor string) (string, error) {
	text, err := openCursor(clickCursorMark, cursor)
	if err != nil || text == "" {
		return "", err
	}
	if _, err := uuid.Parse(text); err != nil {
		return "", errCursor()
	}
	return text, nil
}
