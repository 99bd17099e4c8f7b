package handler

import (
	"net/http"

	"github.com/zeromicro/go-zero/rest/httpx"

	"github.com/linktrail/linktrail/apps/url-api/internal/logic"
	"github.com/linktrail/linktrail/apps/url-api/internal/svc"
	"github.com/linktrail/linktrail/apps/url-api/internal/types"
)

// AllClicksHandler shows a page of the latest clicks of all links.
func AllClicksHandler(svcCtx *svc.ServiceContext) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req types.AllClicksRequest
		if _, err := decode(w, r, svcCtx.MaxBody, &req); err != nil {
			fail(w, r, err)
			return
		}
		resp, err := logic.NewAllClicksLogic(r.Context(), svcCtx).AllClicks(&req)
		if err != nil {
			fail(w, r, err)
			return
		}
		httpx.OkJsonCtx(r.Context(), w, resp)
	}
}
