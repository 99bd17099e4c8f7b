package logic

import (
	"context"

	"github.com/zeromicro/go-zero/core/logx"

	"github.com/linktrail/linktrail/apps/url-api/internal/svc"
	"github.com/linktrail/linktrail/apps/url-api/internal/types"
	"github.com/linktrail/linktrail/internal/tracequery"
)

// GetTraceLogic answers one request.
type GetTraceLogic struct {
	logx.Logger
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewGetTraceLogic returns the logic of one request.
func NewGetTraceLogic(ctx context.Context, svcCtx *svc.ServiceContext) *GetTraceLogic {
	return &GetTraceLogic{
		Logger: logx.WithContext(ctx),
		ctx:    ctx,
		svcCtx: svcCtx,
	}
}

// GetTrace returns a trace as `linktrail trace --output json` prints it.
func (l *GetTraceLogic) GetTrace(req *types.TraceRequest) (*types.Trace, error) {
	found, err := l.svcCtx.Traces.Trace(l.ctx, req.TraceID)
	if err != nil {
		return nil, err
	}
	resp := &types.Trace{TraceID: found.TraceID, Spans: make([]types.Span, 0, len(found.Spans))}
	for i := range found.Spans {
		resp.Spans = append(resp.Spans, shownSpan(&found.Spans[i]))
	}
	return resp, nil
}

func shownSpan(s *tracequery.Span) types.Span {
	links := make([]types.SpanLink, 0, len(s.Links))
	for _, to := range s.Links {
		links = append(links, types.SpanLink(to))
	}
	return types.Span{
		Service:    s.Service,
		Name:       s.Name,
		Kind:       s.Kind,
		SpanID:     s.SpanID,
		ParentID:   s.ParentID,
		Links:      links,
		Start:      timeText(s.Start),
		DurationUS: s.DurationUS,
		Attributes: s.Attributes,
	}
}
