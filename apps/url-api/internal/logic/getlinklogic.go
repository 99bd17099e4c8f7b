package logic

import (
	"context"

	"github.com/zeromicro/go-zero/core/logx"

	"github.com/linktrail/linktrail/apps/url-api/internal/svc"
	"github.com/linktrail/linktrail/apps/url-api/internal/types"
)

// GetLinkLogic answers one request.
type GetLinkLogic struct {
	logx.Logger
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewGetLinkLogic returns the logic of one request.
func NewGetLinkLogic(ctx context.Context, svcCtx *svc.ServiceContext) *GetLinkLogic {
	return &GetLinkLogic{
		Logger: logx.WithContext(ctx),
		ctx:    ctx,
		svcCtx: svcCtx,
	}
}

// GetLink returns a link, disabled and expired ones too.
func (l *GetLinkLogic) GetLink(req *types.GetLinkRequest) (*types.Link, error) {
	found, err := l.svcCtx.Links.LinkByCode(l.ctx, req.Code)
	if err != nil {
		return nil, err
	}
	return shown(l.svcCtx, found), nil
}
