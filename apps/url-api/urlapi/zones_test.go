package urlapi_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/linktrail/linktrail/hack/testenv"
	"github.com/linktrail/linktrail/internal/click"
)

// A zoneCase asks for the statistics of a link that was clicked at some moments; "bot" before a moment makes it a bot's.
type zoneCase struct {
	name, zone, query string
	clicks            []string
	from, to          string   // what the answer says it counted
	total, bots       int64    // and how many it says
	series            []string // start and clicks
}

var zoneCases = []zoneCase{
	{"SpringForward", "Europe/Berlin", "interval=day&from=2026-03-28&to=2026-03-31",
		[]string{"2026-03-27T23:59:59.999999+01:00", "2026-03-28T00:00:00+01:00", "2026-03-28T23:59:59.999999+01:00", "2026-03-29T00:00:00+01:00",
			"2026-03-29T03:00:00+02:00", "2026-03-29T23:59:59.999999+02:00", "2026-03-30T00:00:00+02:00", "2026-03-31T00:00:00+02:00"},
		"2026-03-28T00:00:00+01:00", "2026-03-31T00:00:00+02:00", 6, 0,
		[]string{"2026-03-28T00:00:00+01:00 2", "2026-03-29T00:00:00+01:00 3", "2026-03-30T00:00:00+02:00 1"}},
	{"SpringForwardHours", "Europe/Berlin", "interval=hour&from=2026-03-29T01:00:00%2B01:00&to=2026-03-29T04:00:00%2B02:00",
		[]string{"2026-03-29T01:59:59.999999+01:00", "2026-03-29T03:00:00+02:00", "bot 2026-03-29T03:00:00+02:00"},
		"2026-03-29T01:00:00+01:00", "2026-03-29T04:00:00+02:00", 2, 1,
		[]string{"2026-03-29T01:00:00+01:00 1", "2026-03-29T03:00:00+02:00 1"}},
	{"FallBackDay", "Europe/Berlin", "interval=day&from=2026-10-25&to=2026-10-26",
		[]string{"2026-10-24T23:59:59.999999+02:00", "2026-10-25T00:00:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00",
			"2026-10-25T23:59:59.999999+01:00", "2026-10-26T00:00:00+01:00"},
		"2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00", 4, 0, []string{"2026-10-25T00:00:00+02:00 4"}},
	{"FallBackHours", "Europe/Berlin", "interval=hour&from=2026-10-25T00:00:00Z&to=2026-10-25T02:00:00Z",
		[]string{"2026-10-25T02:00:00+02:00", "2026-10-25T02:59:59.999999+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"},
		"2026-10-25T02:00:00+02:00", "2026-10-25T03:00:00+01:00", 3, 0,
		[]string{"2026-10-25T02:00:00+02:00 2", "2026-10-25T02:00:00+01:00 1"}},
	{"Months", "America/New_York", "interval=month&from=2026-10-01&to=2027-01-01",
		[]string{"2026-09-30T23:59:59-04:00", "2026-10-01T00:00:00-04:00", "2026-10-31T23:59:59-04:00", "2026-11-01T01:30:00-04:00",
			"2026-11-01T01:30:00-05:00", "2026-11-30T23:59:59-05:00", "2026-12-31T23:59:59-05:00", "2027-01-01T00:00:00-05:00"},
		"2026-10-01T00:00:00-04:00", "2027-01-01T00:00:00-05:00", 6, 0,
		[]string{"2026-10-01T00:00:00-04:00 2", "2026-11-01T00:00:00-04:00 3", "2026-12-01T00:00:00-05:00 1"}},
	{"HalfAnHourOfSummer", "Australia/Lord_Howe", "interval=day&from=2026-04-05&to=2026-04-06",
		[]string{"2026-04-04T23:59:59+11:00", "2026-04-05T00:00:00+11:00", "2026-04-05T01:45:00+11:00", "2026-04-05T01:45:00+10:30",
			"2026-04-05T23:59:59+10:30", "2026-04-06T00:00:00+10:30"},
		"2026-04-05T00:00:00+11:00", "2026-04-06T00:00:00+10:30", 4, 0, []string{"2026-04-05T00:00:00+11:00 4"}},
	{"HalfAnHourOfSummerHours", "Australia/Lord_Howe", "interval=hour&from=2026-04-05T01:00:00%2B11:00&to=2026-04-05T03:00:00%2B10:30",
		[]string{"2026-04-05T01:59:59+11:00", "2026-04-05T01:30:00+10:30", "2026-04-05T01:59:59+10:30", "2026-04-05T02:00:00+10:30"},
		"2026-04-05T01:00:00+11:00", "2026-04-05T03:00:00+10:30", 4, 0,
		[]string{"2026-04-05T01:00:00+11:00 1", "2026-04-05T01:30:00+10:30 2", "2026-04-05T02:00:00+10:30 1"}},
	{"HalfHourZone", "Asia/Kolkata", "interval=day&from=2026-02-28&to=2026-03-02",
		[]string{"2026-02-27T23:59:59.999999+05:30", "2026-02-28T00:00:00+05:30", "2026-02-28T23:59:59.999999+05:30", "2026-03-01T00:00:00+05:30",
			"bot 2026-02-27T23:59:59+05:30", "bot 2026-03-01T23:59:59+05:30", "bot 2026-03-02T00:00:00+05:30", "2026-03-02T00:00:00+05:30"},
		"2026-02-28T00:00:00+05:30", "2026-03-02T00:00:00+05:30", 3, 1,
		[]string{"2026-02-28T00:00:00+05:30 2", "2026-03-01T00:00:00+05:30 1"}},
	{"HalfHourZoneMonths", "Asia/Kolkata", "interval=month&from=2027-12-01&to=2028-04-01",
		[]string{"2027-11-30T23:59:59+05:30", "2027-12-31T23:59:59+05:30", "2028-01-01T00:00:00+05:30", "2028-02-29T23:59:59+05:30", "2028-03-31T23:59:59+05:30",
			"2028-04-01T00:00:00+05:30"},
		"2027-12-01T00:00:00+05:30", "2028-04-01T00:00:00+05:30", 4, 0,
		[]string{"2027-12-01T00:00:00+05:30 1", "2028-01-01T00:00:00+05:30 1", "2028-02-01T00:00:00+05:30 1", "2028-03-01T00:00:00+05:30 1"}},
	{"QuarterHourZone", "Asia/Kathmandu", "interval=day&from=2026-05-01&to=2026-05-02",
		[]string{"2026-04-30T23:59:59.999999+05:45", "2026-05-01T00:00:00+05:45", "2026-05-01T23:59:59.999999+05:45", "2026-05-02T00:00:00+05:45"},
		"2026-05-01T00:00:00+05:45", "2026-05-02T00:00:00+05:45", 2, 0, []string{"2026-05-01T00:00:00+05:45 2"}},
	{"QuarterHourZoneHours", "Asia/Kathmandu", "interval=hour&from=2026-05-01T10:15:00%2B05:45&to=2026-05-01T12:00:00%2B05:45",
		[]string{"2026-05-01T10:14:59+05:45", "2026-05-01T10:15:00+05:45", "2026-05-01T10:59:59+05:45", "2026-05-01T11:00:00+05:45"},
		"2026-05-01T10:15:00+05:45", "2026-05-01T12:00:00+05:45", 3, 0,
		[]string{"2026-05-01T10:00:00+05:45 2", "2026-05-01T11:00:00+05:45 1"}},
	{"ADayLeftOut", "Pacific/Apia", "interval=day&from=2011-12-29&to=2012-01-01",
		[]string{"2011-12-29T00:00:00-10:00", "2011-12-29T23:59:59-10:00", "2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00"},
		"2011-12-29T00:00:00-10:00", "2012-01-01T00:00:00+14:00", 3, 0,
		[]string{"2011-12-29T00:00:00-10:00 2", "2011-12-31T00:00:00+14:00 1"}},
	{"ADayLeftOutAsked", "Pacific/Apia", "interval=day&from=2011-12-30&to=2012-01-01",
		[]string{"2011-12-29T23:59:59-10:00", "2011-12-31T00:00:00+14:00"},
		"2011-12-31T00:00:00+14:00", "2012-01-01T00:00:00+14:00", 1, 0, []string{"2011-12-31T00:00:00+14:00 1"}},
	{"NoMidnight", "America/Sao_Paulo", "interval=day&from=2018-11-03&to=2018-11-05",
		[]string{"2018-11-03T00:00:00-03:00", "2018-11-03T23:59:59-03:00", "2018-11-04T01:00:00-02:00", "2018-11-04T23:59:59-02:00", "2018-11-05T00:00:00-02:00"},
		"2018-11-03T00:00:00-03:00", "2018-11-05T00:00:00-02:00", 4, 0,
		[]string{"2018-11-03T00:00:00-03:00 2", "2018-11-04T01:00:00-02:00 2"}},
	{"NoMidnightAsked", "America/Santiago", "interval=day&from=2026-09-06&to=2026-09-07",
		[]string{"2026-09-05T23:59:59-04:00", "2026-09-06T01:00:00-03:00", "2026-09-06T23:59:59-03:00", "2026-09-07T00:00:00-03:00"},
		"2026-09-06T01:00:00-03:00", "2026-09-07T00:00:00-03:00", 2, 0, []string{"2026-09-06T01:00:00-03:00 2"}},
	{"TwoMidnights", "America/Havana", "interval=day&from=2026-11-01&to=2026-11-02",
		[]string{"2026-10-31T23:59:59-04:00", "2026-11-01T00:00:00-04:00", "2026-11-01T00:00:00-05:00", "2026-11-02T00:00:00-05:00"},
		"2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00", 2, 0, []string{"2026-11-01T00:00:00-04:00 2"}},
	{"LeapDay", "UTC", "interval=day&from=2028-02-28&to=2028-03-02",
		[]string{"2028-02-28T23:59:59Z", "2028-02-29T00:00:00Z", "2028-02-29T23:59:59Z", "2028-03-01T00:00:00Z"},
		"2028-02-28T00:00:00Z", "2028-03-02T00:00:00Z", 4, 0, []string{"2028-02-28T00:00:00Z 1", "2028-02-29T00:00:00Z 2", "2028-03-01T00:00:00Z 1"}},
	{"NewYear", "Pacific/Auckland", "interval=day&from=2026-12-31&to=2027-01-02",
		[]string{"2026-12-31T23:59:59.999999+13:00", "2027-01-01T00:00:00+13:00"},
		"2026-12-31T00:00:00+13:00", "2027-01-02T00:00:00+13:00", 2, 0, []string{"2026-12-31T00:00:00+13:00 1", "2027-01-01T00:00:00+13:00 1"}},
	{"InstantsAreWidened", "UTC", "interval=hour&from=2026-05-01T10:14:59Z&to=2026-05-01T11:15:01Z",
		[]string{"2026-05-01T09:59:59.999999Z", "2026-05-01T10:00:00Z", "2026-05-01T11:29:59.999999Z", "2026-05-01T11:30:00Z"},
		"2026-05-01T10:00:00Z", "2026-05-01T11:30:00Z", 2, 0, []string{"2026-05-01T10:00:00Z 1", "2026-05-01T11:00:00Z 1"}},
	{"AWholeQuarterStays", "UTC", "interval=hour&from=2026-05-01T10:15:00Z&to=2026-05-01T10:30:00Z",
		[]string{"2026-05-01T10:14:59.999999Z", "2026-05-01T10:15:00Z", "2026-05-01T10:29:59.999999Z", "2026-05-01T10:30:00Z"},
		"2026-05-01T10:15:00Z", "2026-05-01T10:30:00Z", 2, 0, []string{"2026-05-01T10:00:00Z 2"}},
	{"DefaultFromAcrossAChange", "Europe/Berlin", "interval=month&to=2026-04-11",
		[]string{"2026-03-11T23:59:59+01:00", "2026-03-12T00:00:00+01:00", "2026-04-10T23:59:59+02:00", "2026-04-11T00:00:00+02:00"},
		"2026-03-12T00:00:00+01:00", "2026-04-11T00:00:00+02:00", 2, 0, []string{"2026-03-01T00:00:00+01:00 1", "2026-04-01T00:00:00+02:00 1"}},
}

// TestStatisticsOfZones asks the API, which asks analytics-rpc, which asks each of the stores.
func TestStatisticsOfZones(t *testing.T) {
	for name, dsn := range map[string]string{
		"SQLite":     "sqlite:" + filepath.Join(t.TempDir(), "zones.db"),
		"PostgreSQL": testenv.Postgres(t),
	} {
		t.Run(name, func(t *testing.T) {
			s := mustServeOn(t, dsn, "")
			for _, tt := range zoneCases {
				t.Run("OK"+tt.name, func(t *testing.T) { testZone(t, s, tt) })
			}
			t.Run("OKDefaults", func(t *testing.T) { testDefaultRange(t, s) })
			for name, tt := range map[string]struct{ query, field string }{
				"ADayThatIsNone":   {"from=2026-02-29", "from"},
				"NoDate":           {"from=2026-13-01", "from"},
				"BeforeTime":       {"from=0000-01-01&interval=month", "from"},
				"NoTime":           {"to=2026-03-01T25:00:00Z", "to"},
				"Backward":         {"from=2026-03-02&to=2026-03-01", "to"},
				"ADayLeftOut":      {"from=2011-12-30&to=2011-12-31&tz=Pacific/Apia", "to"},
				"FarAway":          {"from=9998-01-01&to=9999-12-31&interval=month", "to"},
				"Steps":            {"from=2020-01-01&to=2026-01-01&interval=hour", "interval"},
				"Zone":             {"tz=Europe/Nowhere", "tz"},
				"ZoneOfTheMachine": {"tz=Local", "tz"},
				"ZoneFile":         {"tz=../../etc/passwd", "tz"},
			} {
				t.Run("Err"+name, func(t *testing.T) {
					checkProblem(t, s.call(t, http.MethodGet, "/api/v1/links/leapday/stats?"+tt.query, ""), http.StatusBadRequest, tt.field)
				})
			}
		})
	}
}

func testZone(t *testing.T, s *server, tt zoneCase) {
	code := strings.ToLower(tt.name)
	s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links", `{"url":"http://a.example","slug":"`+code+`"}`)
	s.mustClickAt(t, code, tt.clicks...)
	var got shownStats
	s.mustCall(t, http.StatusOK, http.MethodGet, "/api/v1/links/"+code+"/stats?tz="+url.QueryEscape(tt.zone)+"&"+tt.query, "").decode(t, &got)
	if got.From != tt.from || got.To != tt.to || got.TZ != tt.zone {
		t.Errorf("counted %s to %s in %s, want %s to %s", got.From, got.To, got.TZ, tt.from, tt.to)
	}
	if got.Clicks != tt.total || got.Bots != tt.bots {
		t.Errorf("%d clicks and %d bots, want %d and %d", got.Clicks, got.Bots, tt.total, tt.bots)
	}
	var series []string
	for _, step := range got.Series {
		series = append(series, fmt.Sprint(step.Start, " ", step.Clicks))
	}
	if diff := cmp.Diff(tt.series, series); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
	for name, counts := range map[string][]count{"referrer": got.Referrers, "country": got.Countries, "browser": got.Browsers, "os": got.OS, "device": got.Devices} {
		var sum int64
		for _, c := range counts {
			sum += c.Clicks
		}
		if sum != tt.total {
			t.Errorf("%d clicks by %s, want %d", sum, name, tt.total)
		}
	}
}

// mustClickAt stores clicks of a link as the consumer does; "bot" before a time makes it a bot's.
func (s *server) mustClickAt(t *testing.T, code string, times ...string) {
	t.Helper()
	l, err := s.store.LinkByCode(context.Background(), code)
	if err != nil {
		t.Fatal(err)
	}
	var batch []click.Click
	for _, text := range times {
		text, bot := strings.CutPrefix(text, "bot ")
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		c := click.Click{ID: click.NewID(at), LinkID: l.ID, Code: code, Time: at.UTC(), UserAgent: chrome}
		if bot {
			c.UserAgent = "curl/8.14.1"
		}
		click.Classify(&c)
		batch = append(batch, c)
	}
	if n, err := s.store.WriteClicks(context.Background(), batch); err != nil || n != len(batch) {
		t.Fatalf("%d clicks written, %v", n, err)
	}
}

// testDefaultRange asks for nothing: from when the link was made to now, both widened to a quarter.
func testDefaultRange(t *testing.T, s *server) {
	began := time.Now()
	s.mustCall(t, http.StatusCreated, http.MethodPost, "/api/v1/links", `{"url":"http://a.example","slug":"by-default"}`)
	s.mustClickAt(t, "by-default", time.Now().Format(time.RFC3339Nano))
	var got shownStats
	s.mustCall(t, http.StatusOK, http.MethodGet, "/api/v1/links/by-default/stats?tz=Asia/Kathmandu", "").decode(t, &got)
	from, err := time.Parse(time.RFC3339, got.From)
	if err != nil || from.Before(began.Add(-click.Quarter)) || from.After(time.Now()) || from.UTC().Minute()%15 != 0 {
		t.Errorf("from = %s, %v; want the quarter of %s", got.From, err, began)
	}
	to, err := time.Parse(time.RFC3339, got.To)
	if err != nil || to.Before(began) || to.After(time.Now().Add(click.Quarter)) || got.Clicks != 1 || got.Interval != "hour" {
		t.Errorf("to = %s, %v; %d clicks by %s", got.To, err, got.Clicks, got.Interval)
	}
}

// TestZonesInTheBinary looks for the time zones in the programs themselves: a container without a distribution has none.
func TestZonesInTheBinary(t *testing.T) {
	for _, app := range []string{"url-api", "analytics-rpc", "linktrail"} {
		t.Run("OK"+app, func(t *testing.T) {
			deps, err := exec.Command("go", "list", "-deps", "../../"+app).Output()
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(strings.Fields(string(deps)), "time/tzdata") {
				t.Error("time/tzdata is not linked into it")
			}
		})
	}
}
