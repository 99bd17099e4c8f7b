// Package click is the domain of clicks: what one click is, how it travels, which dimensions it is counted by, and what
// a store of clicks must do. It knows no database, no broker and no HTTP.
package click

import (
	"context"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"
)

// A Click is one redirect that was answered. Text fields are valid UTF-8 within the limits below.
type Click struct {
	// ID is a UUIDv7 (RFC 9562) whose time is Time; a click that is delivered twice has the same ID twice.
	ID uuid.UUID
	// LinkID is the link's id; Code is the code under which it was called.
	LinkID int64
	Code   string
	// Time is when the request was taken, UTC with microseconds.
	Time time.Time
	// Referrer is the Referer header without query and fragment, at most MaxReferrer bytes.
	Referrer string
	// UserAgent is the User-Agent header, at most MaxUserAgent bytes.
	UserAgent string
	// Language is the first tag of Accept-Language, at most MaxLanguage bytes.
	Language string
	// Client is the caller's network, an IPv4 /24 or an IPv6 /48. The whole address is never written anywhere.
	Client netip.Prefix
	// Country is an ISO 3166-1 alpha-2 code in capitals, or empty when it is not known.
	Country string
	// Bot says that the caller is an automaton by its user agent. Set by Classify.
	Bot bool
	// TraceID and SpanID are those of the redirect's server span.
	TraceID trace.TraceID
	SpanID  trace.SpanID
	// Sampled says whether that span was sampled.
	Sampled bool
}

// Limits of the text fields, in bytes. Longer values are cut at a character boundary.
const (
	MaxReferrer  = 512
	MaxUserAgent = 512
	MaxLanguage  = 35 // the length that RFC 5646 4.4.1 asks for
)

// Store keeps clicks and their rollups. Implementations are safe for concurrent use, by several processes too.
type Store interface {
	// WriteClicks stores a batch and its rollups in one transaction. A click whose ID is known already, whose link was
	// purged, or that is from before what the retention keeps, changes nothing and is not counted. It returns how many were
	// new. The batch may hold the same click twice.
	WriteClicks(ctx context.Context, batch []Click) (written int, err error)
	// ClickStats adds up the rollups of a link. It reads rollups only, never clicks.
	ClickStats(ctx context.Context, q StatsQuery) (Stats, error)
	// LatestClicks returns at most limit clicks of a link, newest (highest ID) first, that are older than the click
	// before; the zero UUID starts at the newest. AllLinks instead of a link's id asks for the clicks of all links, those
	// of deleted ones included. What it reads grows with limit only, not with the clicks that there are.
	LatestClicks(ctx context.Context, linkID int64, before uuid.UUID, limit int) ([]Click, error)
}

// AllLinks stands for every link where the store asks for the id of one; no link has it.
const AllLinks int64 = 0

// MaxLatest is the most clicks that LatestClicks returns.
const MaxLatest = 200
