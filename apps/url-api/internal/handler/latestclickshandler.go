package handler

import (
	"net/http"

	"github.com/zeromicro/go-zero/rest/httpx"

	"github.com/linktrail/linktrail/apps/url-api/internal/logic"
	"github.com/linktrail/linktrail/apps/url-api/internal/svc"
	"github.com/linktrail/linktrail/apps/url-api/internal/types"
)

// LatestClicksHandler shows a page of a link's latest clicks.
func LatestClicksHandler(svcCtx *svc.ServiceContext) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req types.LatestClicksRequest
		if _, err := decode(w, r, svcCtx.MaxBody, &req); err != nil {
			fail(w, r, err)
			return
		}
		resp, err := logic.NewLatestClicksLogic(r.Context(), svcCtx).LatestClicks(&req)
		if err != nil {
			fail(w, r, err)
			return
		}
		httpx.OkJsonCtx(r.Context(), w, resp)
	}
}
