// Package link is the domain of short links: what a link is, which codes and targets are allowed, and what a store of
// links must do. It knows no database, no broker and no HTTP.
package link

import (
	"context"
	"slices"
	"time"
)

// A Link maps a code to the target that its visitors are redirected to.
type Link struct {
	// ID is given by the store and never used again, also not after the link was deleted. Clicks, rollups and cached
	// values carry it, so that a code which is deleted and made anew starts from nothing.
	ID int64
	// Code is the path segment under which the link is reached. Codes are case-sensitive.
	Code string
	// URL is the target, normalised by TargetPolicy.
	URL string
	// Title is free text for people, at most MaxTitle characters.
	Title string
	// Tags are sorted, without repetition; see NormalizeTags.
	Tags []string
	// RedirectStatus is 301, 302, 307 or 308.
	RedirectStatus int
	// Disabled links answer as if they did not exist, and keep their statistics.
	Disabled bool
	// CreatedAt and UpdatedAt are UTC with microseconds.
	CreatedAt, UpdatedAt time.Time
	// ExpiresAt is the first moment at which the link is gone; the zero time means never.
	ExpiresAt time.Time
}

// Expired reports whether the link has expired at now.
func (l Link) Expired(now time.Time) bool {
	return !l.ExpiresAt.IsZero() && !now.Before(l.ExpiresAt)
}

// Redirect statuses that a link may have (RFC 9110, 15.4).
var redirectStatuses = []int{301, 302, 307, 308}

// DefaultRedirectStatus is 302: every visit reaches the door and is counted.
const DefaultRedirectStatus = 302

// CheckRedirectStatus refuses a status which is not a redirect that linktrail offers.
func CheckRedirectStatus(status int) error {
	if slices.Contains(redirectStatuses, status) {
		return nil
	}
	return Invalid("redirect_status", "must be one of 301, 302, 307 or 308, got %d", status)
}

// A Filter chooses links of a list. The zero Filter chooses all.
type Filter struct {
	// Tag, if set, is a tag that the link must have.
	Tag string
	// Text, if set, must occur in the code, the URL or the title; letter case is ignored.
	Text string
	// After is the ID of the last link of the page before; 0 is the first page.
	After int64
	// Limit is the most links returned, 1 to MaxPage.
	Limit int
}

// MaxPage is the most links one List returns.
const MaxPage = 200

// A Change names the fields of a link to set; nil fields stay as they are.
type Change struct {
	URL            *string
	Title          *string
	Tags           *[]string
	RedirectStatus *int
	Disabled       *bool
	// ExpiresAt set to the zero time removes the expiry.
	ExpiresAt *time.Time
}

// Store keeps links. Implementations are safe for concurrent use, by several processes too. What they are given is
// already valid; errors of kind Conflict and NotFound are *Error, others are faults of the store.
type Store interface {
	// CreateLink stores a new link and returns it with ID, CreatedAt and UpdatedAt. A code that is taken is an Error
	// of kind Conflict on the field "slug".
	CreateLink(ctx context.Context, l Link) (Link, error)
	// LinkByCode returns the link of a code, whether expired or disabled or not, or an Error of kind NotFound.
	LinkByCode(ctx context.Context, code string) (Link, error)
	// Links returns at most f.Limit links, newest (highest ID) first.
	Links(ctx context.Context, f Filter) ([]Link, error)
	// UpdateLink changes a link in one step and returns it as it is afterwards, or an Error of kind NotFound.
	UpdateLink(ctx context.Context, code string, c Change) (Link, error)
	// DeleteLink removes a link, or returns an Error of kind NotFound. Its clicks stay, and the store remembers which link
	// had the code, so that they can still be purged.
	DeleteLink(ctx context.Context, code string) error
	// PurgeLink removes a link as DeleteLink does and bans its clicks: from then on none is stored, however long it was on
	// its way. Those that are stored already, and their statistics, go with PurgeClicks.
	PurgeLink(ctx context.Context, code string) error
	// PurgeClicks removes the clicks of purged links and their statistics, in small transactions, and returns how many
	// clicks there were. What it had no time for is left to the next call, by whichever process; none is left when it
	// returns nil.
	PurgeClicks(ctx context.Context) (int64, error)
}
