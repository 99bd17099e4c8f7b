package logic

import (
	"context"

	"github.com/zeromicro/go-zero/core/logx"

	"github.com/linktrail/linktrail/apps/url-api/internal/svc"
	"github.com/linktrail/linktrail/apps/url-api/internal/types"
	"github.com/linktrail/linktrail/internal/click"
)

// AllClicksLogic answers one request.
type AllClicksLogic struct {
	logx.Logger
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewAllClicksLogic returns the logic of one request.
func NewAllClicksLogic(ctx context.Context, svcCtx *svc.ServiceContext) *AllClicksLogic {
	return &AllClicksLogic{
		Logger: logx.WithContext(ctx),
		ctx:    ctx,
		svcCtx: svcCtx,
	}
}

// AllClicks returns a page of the clicks of all links, newest first, from analytics-rpc.
func (l *AllClicksLogic) AllClicks(req *types.AllClicksRequest) (*types.LatestClicksResponse, error) {
	before, err := parseClickCursor(req.Cursor)
	if err != nil {
		return nil, err
	}
	return clickPage(l.ctx, l.svcCtx, click.AllLinks, before, req.Limit)
}
