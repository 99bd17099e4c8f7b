package logic

import (
	"context"
	"time"

	"github.com/zeromicro/go-zero/core/logx"

	"github.com/linktrail/linktrail/apps/url-api/internal/svc"
	"github.com/linktrail/linktrail/apps/url-api/internal/types"
)

// DeleteLinkLogic answers one request.
type DeleteLinkLogic struct {
	logx.Logger
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewDeleteLinkLogic returns the logic of one request.
func NewDeleteLinkLogic(ctx context.Context, svcCtx *svc.ServiceContext) *DeleteLinkLogic {
	return &DeleteLinkLogic{
		Logger: logx.WithContext(ctx),
		ctx:    ctx,
		svcCtx: svcCtx,
	}
}

// purgeTime is how long a request waits for the clicks of a purged link to be removed. Far more than those of most links
// are gone by then; analytics-consumer removes the others.
const purgeTime = time.Second

// DeleteLink removes a link. Its clicks stay, under an id that is never used again, or go with it.
func (l *DeleteLinkLogic) DeleteLink(req *types.DeleteLinkRequest) error {
	remove := l.svcCtx.Links.DeleteLink
	if req.Purge {
		remove = l.svcCtx.Links.PurgeLink
	}
	err := remove(l.ctx, req.Code)
	announce(l.ctx, l.svcCtx, req.Code)
	if err != nil || !req.Purge {
		return err
	}
	limited, cancel := context.WithTimeout(l.ctx, purgeTime)
	defer cancel()
	if _, err := l.svcCtx.Links.PurgeClicks(limited); err != nil {
		l.Infow("clicks of purged links are left to analytics-consumer", logx.Field("reason", err.Error()))
	}
	return nil
}
