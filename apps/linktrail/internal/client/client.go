// Package client calls linktrail's REST API. Its types are those of the API's JSON.
package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/linktrail/linktrail/internal/link"
)

// Limits of a call.
const (
	// Timeout is how long one call may take.
	Timeout = 20 * time.Second
	// maxAnswer is the most bytes of an answer that are read.
	maxAnswer = 32 << 20
)

// MaxPage is the most links or clicks of one page.
const MaxPage = 100

// Client calls one server with one key. It is safe for concurrent use.
type Client struct {
	server string
	key    string
	http   *http.Client
}

// New returns a client of the API at a base URL such as http://127.0.0.1:8081. It does not connect.
func New(server, key string) (*Client, error) {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is not the URL of a server, such as http://127.0.0.1:8081", server)
	}
	return &Client{
		server: strings.TrimRight(server, "/"),
		key:    key,
		http: &http.Client{
			Timeout: Timeout,
			// The API never redirects; a key must not travel to where something else points.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Server is the address that is called.
func (c *Client) Server() string { return c.server }

// Problem is an error that the server told (RFC 9457).
type Problem struct {
	Status  int    `json:"status"`
	Title   string `json:"title"`
	Detail  string `json:"detail"`
	Field   string `json:"field"`
	TraceID string `json:"trace_id"`
}

// Error is what went wrong, in the server's words.
func (p *Problem) Error() string {
	text := p.Detail
	if text == "" {
		text = fmt.Sprintf("the server answered %d %s", p.Status, http.StatusText(p.Status))
	}
	text = strings.TrimSuffix(text, ".")
	if p.Status >= http.StatusInternalServerError && p.TraceID != "" {
		text += " (trace " + p.TraceID + ")"
	}
	return text
}

// StatusOf is the HTTP status of a Problem in err's chain, and 0 without one.
func StatusOf(err error) int {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Status
	}
	return 0
}

// Unreachable is the error for a server that does not answer at all.
type Unreachable struct {
	Server string
	Err    error
}

func (u *Unreachable) Error() string { return fmt.Sprintf("%s does not answer: %v", u.Server, u.Err) }

// Unwrap returns what the connection failed of.
func (u *Unreachable) Unwrap() error { return u.Err }

// CreateLink makes a link.
func (c *Client) CreateLink(ctx context.Context, l NewLink) (Link, error) {
	var made Link
	return made, c.call(ctx, http.MethodPost, "/links", nil, l, &made)
}

// Link returns the link of a code.
func (c *Client) Link(ctx context.Context, code string) (Link, error) {
	var l Link
	return l, c.callLink(ctx, http.MethodGet, code, "", nil, nil, &l)
}

// UpdateLink changes the fields that change names; a nil value takes a field back to what it is without it.
func (c *Client) UpdateLink(ctx context.Context, code string, change map[string]any) (Link, error) {
	var l Link
	return l, c.callLink(ctx, http.MethodPatch, code, "", nil, change, &l)
}

// DeleteLink removes a link, and with purge its clicks and statistics too.
func (c *Client) DeleteLink(ctx context.Context, code string, purge bool) error {
	query := url.Values{}
	if purge {
		query.Set("purge", "true")
	}
	return c.callLink(ctx, http.MethodDelete, code, "", query, nil, nil)
}

// Links returns a page of links, newest first; cursor is what the page before said in Next.
func (c *Client) Links(ctx context.Context, f Filter, cursor string, limit int) (Page, error) {
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	set(query, "tag", f.Tag)
	set(query, "text", f.Text)
	set(query, "cursor", cursor)
	var page Page
	return page, c.call(ctx, http.MethodGet, "/links", query, nil, &page)
}

// Stats returns the statistics of a link.
func (c *Client) Stats(ctx context.Context, code string, q StatsQuery) (Stats, error) {
	query := url.Values{}
	set(query, "from", q.From)
	set(query, "to", q.To)
	set(query, "interval", q.Interval)
	set(query, "tz", q.TZ)
	if q.Top != 0 {
		query.Set("top", strconv.Itoa(q.Top))
	}
	var s Stats
	return s, c.callLink(ctx, http.MethodGet, code, "/stats", query, nil, &s)
}

// LatestClicks returns the latest clicks of a link, newest first.
func (c *Client) LatestClicks(ctx context.Context, code string, limit int) ([]Click, error) {
	var page ClickPage
	err := c.callLink(ctx, http.MethodGet, code, "/clicks", url.Values{"limit": {strconv.Itoa(limit)}}, nil, &page)
	return page.Clicks, err
}

// Clicks returns a page of the latest clicks of a link, or of all links when the code is empty; cursor is what the page
// before said in Next. It is made to be called again and again: a server that trusts us makes no trace of it.
func (c *Client) Clicks(ctx context.Context, code, cursor string) (ClickPage, error) {
	query := url.Values{"limit": {strconv.Itoa(MaxPage)}}
	set(query, "cursor", cursor)
	ctx = context.WithValue(ctx, untraced{}, true)
	var page ClickPage
	if code == "" {
		return page, c.call(ctx, http.MethodGet, "/clicks", query, nil, &page)
	}
	return page, c.callLink(ctx, http.MethodGet, code, "/clicks", query, nil, &page)
}

// untraced is the context key of calls that are to be in no trace.
type untraced struct{}

// unsampled is the traceparent of a trace that nobody records (W3C Trace Context: flags 00).
func unsampled() string {
	id := make([]byte, 24)
	_, _ = rand.Read(id) // never fails
	id[0] |= 1           // not all zero, which is invalid
	id[16] |= 1
	return fmt.Sprintf("00-%x-%x-00", id[:16], id[16:])
}

func set(query url.Values, name, value string) {
	if value != "" {
		query.Set(name, value)
	}
}

// callLink makes a request about one link. What cannot be a code is not asked for: "." or "" would be another address.
func (c *Client) callLink(ctx context.Context, method, code, path string, query url.Values, body, answer any) error {
	if !link.ValidCode(code) {
		return link.NotFound(code)
	}
	return c.call(ctx, method, "/links/"+code+path, query, body, answer)
}

// call makes a request of the API and decodes its answer.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, body, answer any) error {
	request, err := c.request(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err
		}
		return &Unreachable{Server: c.server, Err: err}
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return &Unreachable{Server: c.server, Err: err}
	}
	if response.StatusCode/100 != 2 {
		return problem(response, content)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(content, answer); err != nil {
		return fmt.Errorf("%s is not the address of linktrail's API: its answer is %w", c.server, err)
	}
	return nil
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, body any) (*http.Request, error) {
	address := c.server + "/api/v1" + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, address, content)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	if c.key != "" {
		request.Header.Set("Authorization", "Bearer "+c.key)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if ctx.Value(untraced{}) != nil {
		request.Header.Set("Traceparent", unsampled())
	}
	return request, nil
}

// problem reads an error's body; one that is no problem+json came from something in between.
func problem(response *http.Response, content []byte) error {
	p := &Problem{}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/problem+json") {
		if err := json.Unmarshal(content, p); err != nil {
			p = &Problem{}
		}
	}
	p.Status = response.StatusCode
	return p
}
