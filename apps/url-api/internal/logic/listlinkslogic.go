package logic

import (
	"context"
	"strings"

	"github.com/zeromicro/go-zero/core/logx"

	"github.com/linktrail/linktrail/apps/url-api/internal/svc"
	"github.com/linktrail/linktrail/apps/url-api/internal/types"
	"github.com/linktrail/linktrail/internal/link"
)

// ListLinksLogic answers one request.
type ListLinksLogic struct {
	logx.Logger
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewListLinksLogic returns the logic of one request.
func NewListLinksLogic(ctx context.Context, svcCtx *svc.ServiceContext) *ListLinksLogic {
	return &ListLinksLogic{
		Logger: logx.WithContext(ctx),
		ctx:    ctx,
		svcCtx: svcCtx,
	}
}

// ListLinks returns a page of links, newest first.
func (l *ListLinksLogic) ListLinks(req *types.ListLinksRequest) (*types.ListLinksResponse, error) {
	after, err := parseLinkCursor(req.Cursor)
	if err != nil {
		return nil, err
	}
	// One more than asked for tells whether there is another page.
	links, err := l.svcCtx.Links.Links(l.ctx, link.Filter{
		Tag: strings.ToLower(strings.TrimSpace(req.Tag)), Text: req.Text, After: after, Limit: req.Limit + 1})
	if err != nil {
		return nil, err
	}
	resp := &types.ListLinksResponse{Links: make([]types.Link, 0, len(links))}
	if len(links) > req.Limit {
		links = links[:req.Limit]
		resp.Next = new(linkCursor(links[req.Limit-1].ID))
	}
	for _, found := range links {
		resp.Links = append(resp.Links, *shown(l.svcCtx, found))
	}
	return resp, nil
}
