package logic

import (
	"context"

	"github.com/zeromicro/go-zero/core/logx"

	"github.com/linktrail/linktrail/apps/url-api/internal/svc"
	"github.com/linktrail/linktrail/apps/url-api/internal/types"
	"github.com/linktrail/linktrail/internal/link"
)

// UpdateLinkLogic answers one request.
type UpdateLinkLogic struct {
	logx.Logger
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewUpdateLinkLogic returns the logic of one request.
func NewUpdateLinkLogic(ctx context.Context, svcCtx *svc.ServiceContext) *UpdateLinkLogic {
	return &UpdateLinkLogic{
		Logger: logx.WithContext(ctx),
		ctx:    ctx,
		svcCtx: svcCtx,
	}
}

// UpdateLink changes the fields that the request names.
func (l *UpdateLinkLogic) UpdateLink(req *types.UpdateLinkRequest) (*types.Link, error) {
	change, err := l.change(req)
	if err != nil {
		return nil, err
	}
	changed, err := l.svcCtx.Links.UpdateLink(l.ctx, req.Code, change)
	announce(l.ctx, l.svcCtx, req.Code)
	if err != nil {
		return nil, err
	}
	return shown(l.svcCtx, changed), nil
}

func (l *UpdateLinkLogic) change(req *types.UpdateLinkRequest) (link.Change, error) {
	c := link.Change{Title: req.Title, RedirectStatus: req.RedirectStatus, Disabled: req.Disabled}
	if req.URL != nil {
		target, err := l.svcCtx.Targets.Normalize(*req.URL)
		if err != nil {
			return c, err
		}
		c.URL = &target
	}
	if req.Title != nil {
		if err := link.CheckTitle(*req.Title); err != nil {
			return c, err
		}
	}
	if req.Tags != nil {
		tags, err := link.NormalizeTags(req.Tags)
		if err != nil {
			return c, err
		}
		c.Tags = &tags
	}
	if req.ExpiresAt != nil {
		expires, err := parseExpiry(*req.ExpiresAt, l.svcCtx.Now())
		if err != nil {
			return c, err
		}
		c.ExpiresAt = &expires
	}
	if req.RedirectStatus != nil {
		if err := link.CheckRedirectStatus(*req.RedirectStatus); err != nil {
			return c, err
		}
	}
	return c, nil
}
