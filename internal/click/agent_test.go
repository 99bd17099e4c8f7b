package click_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/linktrail/linktrail/internal/click"
)

// A userAgent is a row of the table: a real user agent and what it is expected to be counted as.
type userAgent struct {
	line                        int
	browser, os, device, header string
	bot                         bool
}

func mustReadUserAgents(t testing.TB) []userAgent {
	t.Helper()
	text, err := os.ReadFile("testdata/useragents.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var rows []userAgent
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 5 || f[3] != "bot" && f[3] != "person" {
			t.Fatalf("line %d has not the five fields of a row: %q", i+1, line)
		}
		rows = append(rows, userAgent{i + 1, f[0], f[1], f[2], f[4], f[3] == "bot"})
	}
	return rows
}

// TestUserAgents holds what is read to the table, and the table to the names that there are.
func TestUserAgents(t *testing.T) {
	rows := mustReadUserAgents(t)
	if len(rows) < 200 {
		t.Errorf("%d user agents, want 200 and more", len(rows))
	}
	people := append(click.Browsers(), click.Unknown)
	bots := append(click.Bots(), click.Unknown)
	systems := append(click.Systems(), click.Unknown)
	devices := []string{click.DeviceDesktop, click.DeviceMobile, click.DeviceTablet, click.DeviceTV, click.DeviceConsole, click.Unknown}
	used := make(map[string]bool)
	for _, row := range rows {
		c := click.Click{UserAgent: row.header}
		click.Classify(&c)
		v := dimensions(&c)
		if v[click.DimensionBrowser] != row.browser || v[click.DimensionOS] != row.os || v[click.DimensionDevice] != row.device || c.Bot != row.bot {
			t.Errorf("line %d: got %s on %s, %s, bot %v; want %s on %s, %s, bot %v\n\t%s", row.line, v[click.DimensionBrowser], v[click.DimensionOS],
				v[click.DimensionDevice], c.Bot, row.browser, row.os, row.device, row.bot, row.header)
		}
		known := slices.Contains(people, row.browser) && slices.Contains(devices, row.device)
		if row.bot {
			known = slices.Contains(bots, row.browser) && row.device == click.DeviceBot
		}
		if !known || !slices.Contains(systems, row.os) {
			t.Errorf("line %d: %s on %s, %s is not of the names that there are", row.line, row.browser, row.os, row.device)
		}
		used[row.browser], used[row.os], used[row.device] = true, true, true
	}
	for _, name := range slices.Concat(people, bots, systems, devices) {
		if !used[name] {
			t.Errorf("no user agent of the table is %s", name)
		}
	}
}

// TestUserAgentsAreDocumented looks for each name in the page that tells what clicks are counted by.
func TestUserAgentsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/statistics.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(page)), " ")
	for title, names := range map[string][]string{"Browsers": click.Browsers(), "Operating systems": click.Systems(), "Bots": click.Bots()} {
		slices.SortFunc(names, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
		if want := "**" + title + "**: " + strings.Join(names, ", ") + "."; !strings.Contains(text, want) {
			t.Errorf("docs/statistics.md has not this paragraph:\n%s", want)
		}
	}
}

// TestUserAgentNamesAreFew reads user agents that are made up, among them names nobody has heard of: no value that is not
// one of the tables' comes of it.
func TestUserAgentNamesAreFew(t *testing.T) {
	known := slices.Concat(click.Browsers(), click.Bots(), click.Systems(), []string{click.Unknown, click.DeviceDesktop, click.DeviceMobile,
		click.DeviceTablet, click.DeviceTV, click.DeviceConsole, click.DeviceBot})
	rows := mustReadUserAgents(t)
	for i, row := range rows {
		other := rows[(i*7+13)%len(rows)].header
		for _, header := range []string{row.header + " Novel/1.0", "Novel/1.0 " + row.header, row.header[:len(row.header)/2], strings.ToUpper(row.header),
			row.header[:len(row.header)/2] + other[len(other)/2:], strings.ReplaceAll(row.header, "/", " ")} {
			for _, v := range dimensions(&click.Click{UserAgent: header}) {
				if v != click.Direct && !slices.Contains(known, v) {
					t.Errorf("%q of %q", v, header)
				}
			}
		}
	}
}

func BenchmarkUserAgents(b *testing.B) {
	rows := mustReadUserAgents(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c := click.Click{UserAgent: rows[i%len(rows)].header}
		click.Classify(&c)
		c.Dimensions()
	}
}
