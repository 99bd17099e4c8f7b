package client

// Link is a short link. Times are RFC 3339; ExpiresAt is nil when the link never ends.
type Link struct {
	Code           string   `json:"code"`
	ShortURL       string   `json:"short_url"`
	URL            string   `json:"url"`
	Title          string   `json:"title"`
	Tags           []string `json:"tags"`
	CreatedAt      string   `json:"created_at"`
	UpdatedAt      string   `json:"updated_at"`
	ExpiresAt      *string  `json:"expires_at"`
	RedirectStatus int      `json:"redirect_status"`
	Disabled       bool     `json:"disabled"`
}

// NewLink describes a link to make; only URL is needed.
type NewLink struct {
	URL            string   `json:"url"`
	Slug           string   `json:"slug,omitempty"`
	Title          string   `json:"title,omitempty"`
	Tags           []string `json:"tags,omitempty"`
	ExpiresAt      string   `json:"expires_at,omitempty"`
	RedirectStatus int      `json:"redirect_status,omitempty"`
}

// Filter chooses links; the zero Filter chooses all.
type Filter struct {
	Tag  string
	Text string
}

// Page is some links, newest first. Next is the cursor of the next page, nil on the last.
type Page struct {
	Links []Link  `json:"links"`
	Next  *string `json:"next"`
}

// StatsQuery says what to count; what is empty is the server's default.
type StatsQuery struct {
	From, To, Interval, TZ string
	Top                    int
}

// Stats are the counts of a link. Bots are in Bots alone.
type Stats struct {
	Clicks    int64   `json:"clicks"`
	Bots      int64   `json:"bots"`
	From      string  `json:"from"`
	To        string  `json:"to"`
	Interval  string  `json:"interval"`
	TZ        string  `json:"tz"`
	Series    []Step  `json:"series"`
	Referrers []Count `json:"referrers"`
	Countries []Count `json:"countries"`
	Browsers  []Count `json:"browsers"`
	OS        []Count `json:"os"`
	Devices   []Count `json:"devices"`
}

// Step is the clicks of an interval.
type Step struct {
	Start  string `json:"start"`
	Clicks int64  `json:"clicks"`
}

// Count is how many clicks had a value.
type Count struct {
	Value  string `json:"value"`
	Clicks int64  `json:"clicks"`
}

// Click is one redirect that was answered.
type Click struct {
	ID        string  `json:"id"`
	Code      string  `json:"code"`
	Time      string  `json:"time"`
	TraceID   string  `json:"trace_id"`
	SpanID    string  `json:"span_id"`
	Sampled   bool    `json:"sampled"`
	TraceURL  *string `json:"trace_url"`
	Referrer  string  `json:"referrer"`
	Country   string  `json:"country"`
	Browser   string  `json:"browser"`
	OS        string  `json:"os"`
	Device    string  `json:"device"`
	Language  string  `json:"language"`
	UserAgent string  `json:"user_agent"`
	Bot       bool    `json:"bot"`
}

// ClickPage is some clicks, newest first. Next is the cursor of the next page, nil on the last.
type ClickPage struct {
	Clicks []Click `json:"clicks"`
	Next   *string `json:"next"`
}
