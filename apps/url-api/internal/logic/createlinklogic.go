package logic

import (
	"context"
	"fmt"

	"github.com/zeromicro/go-zero/core/logx"

	"github.com/linktrail/linktrail/apps/url-api/internal/svc"
	"github.com/linktrail/linktrail/apps/url-api/internal/types"
	"github.com/linktrail/linktrail/internal/link"
)

// CreateLinkLogic answers one request.
type CreateLinkLogic struct {
	logx.Logger
	ctx    context.Context
	svcCtx *svc.ServiceContext
}

// NewCreateLinkLogic returns the logic of one request.
func NewCreateLinkLogic(ctx context.Context, svcCtx *svc.ServiceContext) *CreateLinkLogic {
	return &CreateLinkLogic{
		Logger: logx.WithContext(ctx),
		ctx:    ctx,
		svcCtx: svcCtx,
	}
}

// codeAttempts is how many random codes are tried. With a million million codes in use the first is taken in three cases
// of ten, so all of them in one of a hundred thousand.
const codeAttempts = 10

// CreateLink makes a link, under the slug or else under a random code.
func (l *CreateLinkLogic) CreateLink(req *types.CreateLinkRequest) (*types.Link, error) {
	wanted, err := l.wanted(req)
	if err != nil {
		return nil, err
	}
	created, err := l.store(wanted)
	if err != nil {
		return nil, err
	}
	// The cache may know that there is no such link.
	announce(l.ctx, l.svcCtx, created.Code)
	return shown(l.svcCtx, created), nil
}

// wanted returns the link that the request describes, all of it checked.
func (l *CreateLinkLogic) wanted(req *types.CreateLinkRequest) (link.Link, error) {
	target, err := l.svcCtx.Targets.Normalize(req.URL)
	if err != nil {
		return link.Link{}, err
	}
	if req.Slug != "" {
		if err := link.CheckSlug(req.Slug); err != nil {
			return link.Link{}, err
		}
	}
	if err := link.CheckTitle(req.Title); err != nil {
		return link.Link{}, err
	}
	tags, err := link.NormalizeTags(req.Tags)
	if err != nil {
		return link.Link{}, err
	}
	expires, err := parseExpiry(req.ExpiresAt, l.svcCtx.Now())
	if err != nil {
		return link.Link{}, err
	}
	if err := link.CheckRedirectStatus(req.RedirectStatus); err != nil {
		return link.Link{}, err
	}
	return link.Link{
		Code:           req.Slug,
		URL:            target,
		Title:          req.Title,
		Tags:           tags,
		RedirectStatus: req.RedirectStatus,
		ExpiresAt:      expires,
	}, nil
}

func (l *CreateLinkLogic) store(wanted link.Link) (link.Link, error) {
	if wanted.Code != "" {
		return l.svcCtx.Links.CreateLink(l.ctx, wanted)
	}
	for range codeAttempts {
		code, err := l.svcCtx.NewCode()
		if err != nil {
			return link.Link{}, err
		}
		wanted.Code = code
		created, err := l.svcCtx.Links.CreateLink(l.ctx, wanted)
		if link.KindOf(err) != link.KindConflict {
			return created, err
		}
	}
	return link.Link{}, fmt.Errorf("no free code in %d attempts", codeAttempts)
}
