package handler

import (
	"net/http"

	"github.com/linktrail/linktrail/apps/url-api/internal/logic"
	"github.com/linktrail/linktrail/apps/url-api/internal/svc"
	"github.com/linktrail/linktrail/apps/url-api/internal/types"
)

// DeleteLinkHandler deletes a link and answers 204.
func DeleteLinkHandler(svcCtx *svc.ServiceContext) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req types.DeleteLinkRequest
		if _, err := decode(w, r, svcCtx.MaxBody, &req); err != nil {
			fail(w, r, err)
			return
		}
		if err := logic.NewDeleteLinkLogic(r.Context(), svcCtx).DeleteLink(&req); err != nil {
			fail(w, r, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}
