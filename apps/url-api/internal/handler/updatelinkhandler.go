package handler

import (
	"net/http"

	"github.com/zeromicro/go-zero/rest/httpx"

	"github.com/linktrail/linktrail/apps/url-api/internal/logic"
	"github.com/linktrail/linktrail/apps/url-api/internal/svc"
	"github.com/linktrail/linktrail/apps/url-api/internal/types"
	"github.com/linktrail/linktrail/internal/link"
)

// UpdateLinkHandler changes the fields of a link that the request names.
func UpdateLinkHandler(svcCtx *svc.ServiceContext) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req types.UpdateLinkRequest
		nulls, err := decode(w, r, svcCtx.MaxBody, &req)
		if err == nil {
			err = resetNulls(&req, nulls)
		}
		if err != nil {
			fail(w, r, err)
			return
		}
		resp, err := logic.NewUpdateLinkLogic(r.Context(), svcCtx).UpdateLink(&req)
		if err != nil {
			fail(w, r, err)
			return
		}
		httpx.OkJsonCtx(r.Context(), w, resp)
	}
}

// resetNulls sets fields that were null to what a link has without them, as RFC 7396 removes them.
func resetNulls(req *types.UpdateLinkRequest, nulls []string) error {
	for _, name := range nulls {
		switch name {
		case "url":
			return link.Invalid("url", "must not be null: a link needs a target")
		case "title":
			req.Title = new("")
		case "tags":
			req.Tags = []string{}
		case "expires_at":
			req.ExpiresAt = new("")
		case "redirect_status":
			req.RedirectStatus = new(link.DefaultRedirectStatus)
		case "disabled":
			req.Disabled = new(false)
		}
	}
	return nil
}
