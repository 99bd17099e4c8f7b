package urlapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/linktrail/linktrail/internal/link"
)

// shownLink is a link as clients read it.
type shownLink struct {
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

type linkPage struct {
	Links []shownLink `json:"links"`
	Next  *string     `json:"next"`
}

func TestLinks(t *testing.T) {
	s := mustServe(t, "")
	t.Run("Create", func(t *testing.T) { testCreate(t, s) })
	t.Run("Update", func(t *testing.T) { testUpdate(t, s) })
	t.Run("Delete", func(t *testing.T) { testDelete(t, s) })
	t.Run("List", func(t *testing.T) { testList(t, s) })
	t.Run("Errors", func(t *testing.T) { testErrors(t, s) })
	t.Run("Keys", func(t *testing.T) { testKeys(t, s) })
	t.Run("Methods", func(t *testing.T) { testMethods(t, s) })
	t.Run("ChangesReachTheDoor", func(t *testing.T) { testDoor(t, s) })
	t.Run("IdleConnectionsStay", func(t *testing.T) { testIdle(t, s) })
	t.Run("Stop", func(t *testing.T) {
		began := time.Now()
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("a stop with nothing in flight took %v", took)
		}
	})
}

func testCreate(t *testing.T, s *server) {
	t.Run("OK", func(t *testing.T) {
		a := s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links", `{"url":"https://Example.com/a b"}`)
		var got shownLink
		a.decode(t, &got)
		if !link.ValidCode(got.Code) || len(got.Code) != link.CodeLength {
			t.Errorf("code = %q", got.Code)
		}
		want := shownLink{Code: got.Code, ShortURL: "https://go.example/" + got.Code, URL: "https://example.com/a%20b",
			Tags: []string{}, RedirectStatus: 302}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(shownLink{}, "CreatedAt", "UpdatedAt")); diff != "" {
			t.Errorf("link (-want +got):\n%s", diff)
		}
		if at, err := time.Parse(time.RFC3339, got.CreatedAt); err != nil || time.Since(at).Abs() > time.Minute {
			t.Errorf("created_at = %q", got.CreatedAt)
		}
		location := a.header.Get("Location")
		if location != "/api/v1/links/"+got.Code {
			t.Errorf("Location = %q", location)
		}
		var read shownLink
		s.mustCall(t, http.StatusOK, http.MethodGet, location, "").decode(t, &read)
		if diff := cmp.Diff(got, read); diff != "" {
			t.Errorf("link read again (-created +read):\n%s", diff)
		}
	})
	t.Run("OKWithEverything", func(t *testing.T) {
		var got shownLink
		s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links", `{"url":"http://a.example","slug":"my-Slug_1","title":"T",
			"tags":["b","A","b"],"expires_at":"2999-01-02T03:04:05+01:00","redirect_status":308}`).decode(t, &got)
		want := shownLink{Code: "my-Slug_1", ShortURL: "https://go.example/my-Slug_1", URL: "http://a.example", Title: "T",
			Tags: []string{"a", "b"}, ExpiresAt: new("2999-01-02T02:04:05Z"), RedirectStatus: 308}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(shownLink{}, "CreatedAt", "UpdatedAt")); diff != "" {
			t.Errorf("link (-want +got):\n%s", diff)
		}
	})
	t.Run("OKNullIsNothing", func(t *testing.T) {
		s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links",
			`{"url":"http://a.example","slug":null,"title":null,"tags":null,"expires_at":null,"redirect_status":null}`)
	})
	t.Run("OKWithoutContentType", func(t *testing.T) {
		s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links", `{"url":"http://a.example"}`, "Content-Type: ")
	})
}

func testUpdate(t *testing.T, s *server) {
	s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links",
		`{"url":"http://a.example","slug":"update","title":"T","tags":["a"],"expires_at":"2999-01-01T00:00:00Z","redirect_status":301}`)
	begin := shownLink{Code: "update", ShortURL: "https://go.example/update", URL: "http://a.example", Title: "T",
		Tags: []string{"a"}, ExpiresAt: new("2999-01-01T00:00:00Z"), RedirectStatus: 301}
	// Each step says what it changes in what the step before left.
	steps := []struct {
		name, body string
		change     func(*shownLink)
	}{
		{"Nothing", `{}`, func(*shownLink) {}},
		{"Title", `{"title":"U"}`, func(l *shownLink) { l.Title = "U" }},
		{"URL", `{"url":"https://b.example/x"}`, func(l *shownLink) { l.URL = "https://b.example/x" }},
		{"Expiry", `{"expires_at":"2999-06-01T00:00:00Z"}`, func(l *shownLink) { l.ExpiresAt = new("2999-06-01T00:00:00Z") }},
		{"NoExpiry", `{"expires_at":null}`, func(l *shownLink) { l.ExpiresAt = nil }},
		{"Tags", `{"tags":["z","y"]}`, func(l *shownLink) { l.Tags = []string{"y", "z"} }},
		{"NoTags", `{"tags":[]}`, func(l *shownLink) { l.Tags = []string{} }},
		{"Disabled", `{"disabled":true}`, func(l *shownLink) { l.Disabled = true }},
		{"Nulls", `{"title":null,"tags":null,"redirect_status":null,"disabled":null}`, func(l *shownLink) {
			l.Title, l.RedirectStatus, l.Disabled = "", 302, false
		}},
	}
	want := begin
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			step.change(&want)
			var got shownLink
			s.mustCall(t, http.StatusOK, http.MethodPatch, "/api/v1/links/update", step.body).decode(t, &got)
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(shownLink{}, "CreatedAt", "UpdatedAt")); diff != "" {
				t.Errorf("link (-want +got):\n%s", diff)
			}
		})
	}
}

func testDelete(t *testing.T, s *server) {
	s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links", `{"url":"http://a.example","slug":"delete"}`)
	a := s.mustCall(t, http.StatusNoContent, http.MethodDelete, "/api/v1/links/delete", "")
	if len(a.body) > 0 {
		t.Errorf("204 with a body: %q", a.body)
	}
	s.mustCall(t, http.StatusNotFound, http.MethodGet, "/api/v1/links/delete", "")
	s.mustCall(t, http.StatusNotFound, http.MethodDelete, "/api/v1/links/delete", "")
	s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links", `{"url":"http://a.example","slug":"delete"}`)
	for _, value := range []string{"yes", "1", "TRUE"} {
		s.mustCall(t, http.StatusBadRequest, http.MethodDelete, "/api/v1/links/delete?purge="+value, "")
	}
	s.mustCall(t, http.StatusNoContent, http.MethodDelete, "/api/v1/links/delete?purge=true", "")
	s.mustCall(t, http.StatusNotFound, http.MethodDelete, "/api/v1/links/delete?purge=true", "")
	s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links", `{"url":"http://a.example","slug":"delete"}`)
	s.mustCall(t, http.StatusNoContent, http.MethodDelete, "/api/v1/links/delete?purge=false", "")
}

func testList(t *testing.T, s *server) {
	var want []string
	for i := range 5 {
		code := fmt.Sprintf("list-%d", i)
		want = append([]string{code}, want...)
		s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links",
			fmt.Sprintf(`{"url":"http://a.example/Needle%d","slug":%q,"tags":["listed"]}`, i, code))
	}
	t.Run("OKPages", func(t *testing.T) {
		var got []string
		path := "/api/v1/links?tag=listed&limit=2"
		pages := 0
		for next := ""; ; pages++ {
			var page linkPage
			s.mustCall(t, http.StatusOK, http.MethodGet, path+next, "").decode(t, &page)
			for _, l := range page.Links {
				got = append(got, l.Code)
			}
			if page.Next == nil {
				break
			}
			next = "&cursor=" + *page.Next
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("codes (-want +got):\n%s", diff)
		}
		if pages != 2 {
			t.Errorf("%d pages before the last, want 2", pages)
		}
	})
	t.Run("OKLastPageIsFull", func(t *testing.T) {
		var page linkPage
		s.mustCall(t, http.StatusOK, http.MethodGet, "/api/v1/links?tag=listed&limit=5", "").decode(t, &page)
		if len(page.Links) != 5 || page.Next != nil {
			t.Errorf("%d links, next %v; want 5 and none", len(page.Links), page.Next)
		}
	})
	t.Run("OKText", func(t *testing.T) {
		var page linkPage
		s.mustCall(t, http.StatusOK, http.MethodGet, "/api/v1/links?text=needle3", "").decode(t, &page)
		if len(page.Links) != 1 || page.Links[0].Code != "list-3" {
			t.Errorf("links = %v", page.Links)
		}
	})
	t.Run("OKNone", func(t *testing.T) {
		a := s.mustCall(t, http.StatusOK, http.MethodGet, "/api/v1/links?tag=nobody-has-this", "")
		if got := strings.TrimSpace(string(a.body)); got != `{"links":[],"next":null}` {
			t.Errorf("body = %s", got)
		}
	})
}

// testDoor sees changes made at the API at once at the front door, whatever it had cached.
func testDoor(t *testing.T, s *server) {
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	visit := func(status int, location string) {
		t.Helper()
		resp, err := client.Get(s.door + "/door-test")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != status || resp.Header.Get("Location") != location {
			t.Errorf("the door answers %d to %q, want %d to %q", resp.StatusCode, resp.Header.Get("Location"), status, location)
		}
	}
	visit(http.StatusNotFound, "")
	s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links", `{"url":"http://a.example/1","slug":"door-test"}`)
	visit(http.StatusFound, "http://a.example/1")
	s.mustCall(t, http.StatusOK, http.MethodPatch, "/api/v1/links/door-test", `{"url":"http://a.example/2"}`)
	visit(http.StatusFound, "http://a.example/2")
	s.mustCall(t, http.StatusOK, http.MethodPatch, "/api/v1/links/door-test", `{"disabled":true}`)
	visit(http.StatusNotFound, "")
	s.mustCall(t, http.StatusNoContent, http.MethodDelete, "/api/v1/links/door-test", "")
	visit(http.StatusNotFound, "")
}

// testIdle holds a connection idle for longer than go-zero's read timeout, 0.8 of Timeout, would let it live.
func testIdle(t *testing.T, s *server) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	get := func() (reused bool) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, s.api+"/openapi.json", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req.WithContext(traceReuse(req.Context(), &reused)))
		if err != nil {
			t.Fatal(err)
		}
		var document map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&document); err != nil {
			t.Error(err)
		}
		_ = resp.Body.Close()
		return reused
	}
	get()
	<-time.After(2600 * time.Millisecond) // no wait for luck: the time that passes is what is tested
	if !get() {
		t.Error("the connection was not kept for 2.6 s")
	}
}
