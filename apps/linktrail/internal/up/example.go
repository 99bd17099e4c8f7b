package up

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/linktrail/linktrail/apps/linktrail/internal/client"
	"github.com/linktrail/linktrail/apps/linktrail/internal/traces"
	"github.com/linktrail/linktrail/internal/tracequery"
)

// The example's link, and the browser that clicks it: linktrail's own name would be counted among the bots.
const (
	exampleSlug   = "hello"
	exampleURL    = "https://opentelemetry.io/docs/concepts/signals/traces/"
	exampleTitle  = "Example"
	exampleAgent  = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	exampleWait   = 15 * time.Second
	exampleReach  = 10 * time.Second
	exampleStatus = http.StatusFound
)

// greet ends the start: the example, the addresses, the key, three commands. A start does not fail for its example.
func (s *supervisor) greet(ctx context.Context) {
	code := "go-blog" // what the first of the commands makes
	if s.o.Example {
		if shown, err := s.example(ctx); err == nil {
			code = shown
		} else if ctx.Err() == nil {
			s.term.warn("the example did not work: %v", err)
		}
	}
	if ctx.Err() != nil {
		return
	}
	flag := ""
	if data := shownPath(s.o.Data); data != "data" {
		flag = " --data " + quoted(data)
	}
	var b strings.Builder
	if console := s.plan.console(s.o, s.key); console != "" {
		fmt.Fprintf(&b, "\nin a browser: links, clicks as they come, and the trace of each\n  %s\n", console)
	}
	fmt.Fprintf(&b, "\nfront door  %s\nAPI         %s   (its contract: %s/openapi.json)\nAPI key     in %s\n",
		s.plan.url(), s.plan.apiURL(), s.plan.apiURL(), s.shown("api_key"))
	if s.o.Jaeger != "" {
		fmt.Fprintf(&b, "traces      %s\n", s.o.Jaeger)
	}
	see := flag // where trace reads
	if s.o.OTLP != "" && s.o.Jaeger == "" {
		see += " --jaeger http://localhost:16686"
	}
	program := program()
	fmt.Fprintf(&b, "\ntry\n  %[1]s links create https://go.dev/blog/ --slug go-blog%[2]s\n  %[1]s stats %[3]s%[2]s\n  %[1]s trace --last %[3]s%[4]s\n\nCtrl-C stops it\n",
		program, flag, code, see)
	_, _ = io.WriteString(s.term, b.String())
}

// example makes a short link, clicks it and prints the trace of that click. It returns the link's code.
func (s *supervisor) example(ctx context.Context) (string, error) {
	api, err := client.New(s.plan.apiURL(), s.key)
	if err != nil {
		return "", err
	}
	l, err := exampleLink(ctx, api)
	if err != nil {
		return "", err
	}
	s.term.say("\na short link  %s  leads to  %s", l.ShortURL, l.URL)
	id, location, err := click(ctx, s.plan.url()+"/"+l.Code)
	if err != nil {
		return "", err
	}
	source, err := s.traceSource()
	if err != nil {
		return "", err
	}
	if source == nil {
		s.term.say("a click on it was redirected to %s; its trace %s went to %s (--jaeger shows it here)", location, id, s.o.OTLP)
		return l.Code, nil
	}
	s.term.say("a click on it was redirected to %s; this is its trace:\n", location)
	trace, err := traces.Await(ctx, source, id, exampleWait)
	if err != nil {
		return "", fmt.Errorf("read trace %s: %w", id, err)
	}
	return l.Code, tracequery.WriteTree(s.term, trace)
}

// traceSource is where traces are read, nil when that is not known.
func (s *supervisor) traceSource() (tracequery.Reader, error) {
	switch {
	case s.plan.traces != "":
		return tracequery.Files(s.plan.traces), nil
	case s.o.Jaeger != "":
		return tracequery.Open(s.o.Jaeger)
	}
	return nil, nil
}

// exampleLink is the link of the example, that of an earlier start where it still works.
func exampleLink(ctx context.Context, api *client.Client) (client.Link, error) {
	wanted := client.NewLink{URL: exampleURL, Slug: exampleSlug, Title: exampleTitle, Tags: []string{"example"}, RedirectStatus: exampleStatus}
	made, err := api.CreateLink(ctx, wanted)
	if client.StatusOf(err) != http.StatusConflict {
		return made, err
	}
	earlier, err := api.Link(ctx, exampleSlug)
	if err != nil {
		return client.Link{}, err
	}
	if !earlier.Disabled && earlier.ExpiresAt == nil {
		return earlier, nil
	}
	wanted.Slug = ""
	return api.CreateLink(ctx, wanted)
}

// click visits an address as a browser would, without following it, and returns the trace's id.
func click(ctx context.Context, address string) (traceID, location string, err error) {
	visitor := &http.Client{
		Timeout:       exampleReach,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer visitor.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", "", err
	}
	request.Header.Set("User-Agent", exampleAgent)
	request.Header.Set("Accept-Language", "en")
	response, err := visitor.Do(request)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode/100 != 3 {
		return "", "", fmt.Errorf("%s answered %s", address, response.Status)
	}
	parts := strings.Split(response.Header.Get("traceparent"), "-")
	if len(parts) < 4 {
		return "", "", fmt.Errorf("%s answered without a traceparent", address)
	}
	return parts[1], response.Header.Get("Location"), nil
}
