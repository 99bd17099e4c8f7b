package logic

import (
	"context"

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

// DeleteLink removes a link; its clicks stay, under an id that is never used again.
func (l *DeleteLinkLogic) DeleteLink(req *types.GetLinkRequest) error {
	if err := l.svcCtx.Links.DeleteLink(l.ctx, req.Code); err != nil {
		return err
	}
	announce(l.ctx, l.svcCtx, req.Code)
	return nil
}
