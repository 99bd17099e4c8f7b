// Package logic decides what the API does. It knows no HTTP: requests and answers are the types of url.api, errors are
// those of package link.
package logic

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/zeromicro/go-zero/core/logc"
	"github.com/zeromicro/go-zero/core/logx"

	"github.com/linktrail/linktrail/apps/url-api/internal/svc"
	"github.com/linktrail/linktrail/apps/url-api/internal/types"
	"github.com/linktrail/linktrail/internal/link"
)

// shown returns a link as the API shows it.
func shown(svcCtx *svc.ServiceContext, l link.Link) *types.Link {
	s := &types.Link{
		Code:           l.Code,
		ShortURL:       svcCtx.PublicURL + "/" + l.Code,
		URL:            l.URL,
		Title:          l.Title,
		Tags:           l.Tags,
		CreatedAt:      timeText(l.CreatedAt),
		UpdatedAt:      timeText(l.UpdatedAt),
		RedirectStatus: l.RedirectStatus,
		Disabled:       l.Disabled,
	}
	if s.Tags == nil {
		s.Tags = []string{}
	}
	if !l.ExpiresAt.IsZero() {
		s.ExpiresAt = new(timeText(l.ExpiresAt))
	}
	return s
}

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// parseExpiry reads expires_at; empty is never.
func parseExpiry(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, link.Invalid("expires_at", "must be a time of RFC 3339 such as 2030-01-31T12:00:00Z, got %q", text)
	}
	t = t.UTC().Truncate(time.Microsecond)
	return t, link.CheckExpiry(t, now)
}

// announce makes every replica forget what it knows of a code. Call it whatever the store has answered: a change may have been
// made whose answer did not arrive, and who then tries again hears that there is no such link. A failure is only logged, since
// the change stands; caches end by themselves within their TTL.
func announce(ctx context.Context, svcCtx *svc.ServiceContext, code string) {
	if err := svcCtx.Cache.Forget(ctx, code); err != nil {
		logc.Errorw(ctx, "a change was not announced", logx.Field("code", code), logx.Field("error", err.Error()))
	}
}

// Cursors are opaque to clients, so that what they hold can change: "l" and the id of the last link of the page, or "c"
// and that of the last click.
const (
	linkCursorMark  = "l"
	clickCursorMark = "c"
)

func linkCursor(id int64) string { return sealCursor(linkCursorMark, strconv.FormatInt(id, 10)) }

func parseLinkCursor(cursor string) (int64, error) {
	text, err := openCursor(linkCursorMark, cursor)
	if err != nil || text == "" {
		return 0, err
	}
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id <= 0 {
		return 0, errCursor()
	}
	return id, nil
}

func sealCursor(mark, text string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(mark + text))
}

// openCursor returns what a cursor holds, "" for the empty cursor of the first page.
func openCursor(mark, cursor string) (string, error) {
	if cursor == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	text, ok := strings.CutPrefix(string(raw), mark)
	if err != nil || !ok || text == "" {
		return "", errCursor()
	}
	return text, nil
}

func errCursor() error {
	return link.Invalid("cursor", "must be what the page before said in next")
}
