package handler

import (
	"net/http"

	"github.com/zeromicro/go-zero/rest/httpx"

	"github.com/linktrail/linktrail/apps/url-api/internal/logic"
	"github.com/linktrail/linktrail/apps/url-api/internal/svc"
	"github.com/linktrail/linktrail/apps/url-api/internal/types"
)

// CreateLinkHandler makes a link and answers 201 with its address in this API.
func CreateLinkHandler(svcCtx *svc.ServiceContext) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req types.CreateLinkRequest
		if _, err := decode(w, r, svcCtx.MaxBody, &req); err != nil {
			fail(w, r, err)
			return
		}
		resp, err := logic.NewCreateLinkLogic(r.Context(), svcCtx).CreateLink(&req)
		if err != nil {
			fail(w, r, err)
			return
		}
		w.Header().Set("Location", "/api/v1/links/"+resp.Code)
		httpx.WriteJsonCtx(r.Context(), w, http.StatusCreated, resp)
	}
}
