package cmd

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/linktrail/linktrail/apps/linktrail/internal/client"
)

const (
	// shownSteps is how many steps of the series a table has; JSON has all.
	shownSteps = 31
	// barWidth is the longest bar of a chart, in characters.
	barWidth = 40
	// maxTop is the API's bound.
	maxTop = 200
)

func (a *app) statsCommand() *cobra.Command {
	var q client.StatsQuery
	c := &cobra.Command{
		Use:   "stats CODE",
		Short: "Show how often a link was clicked, by whom and when",
		Long: `Show the clicks of a link over time and by referrer, country, browser, operating system and device. Bots are counted
apart, in no other figure.`,
		Example: `  linktrail stats go-blog
  linktrail stats go-blog --from 2026-01-01 --to 2026-02-01 --interval day --tz Europe/Berlin
  linktrail stats go-blog --output json`,
		Args: oneArg("CODE"),
		RunE: func(c *cobra.Command, args []string) error {
			if q.Top < 1 || q.Top > maxTop {
				return usagef("--top %d is not 1 to %d", q.Top, maxTop)
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			s, err := api.Stats(c.Context(), args[0], q)
			if err != nil {
				return err
			}
			return a.print(s, func(w io.Writer) error { return statsTable(w, s) })
		},
	}
	flags := c.Flags()
	flags.StringVar(&q.From, "from", "", "start, a time of RFC 3339 or a date (default 30 days ago, or when the link was made)")
	flags.StringVar(&q.To, "to", "", "end, exclusive, a time of RFC 3339 or a date (default now)")
	flags.StringVar(&q.Interval, "interval", "", "hour, day or month (default what suits the range)")
	flags.StringVar(&q.TZ, "tz", "", "time zone of days and months, such as Europe/Berlin (default UTC)")
	completes(c, "interval", "hour", "day", "month")
	flags.IntVar(&q.Top, "top", 10, "how many values of each breakdown")
	return c
}

func statsTable(w io.Writer, s client.Stats) error {
	_, _ = fmt.Fprintf(w, "%s, and %s of bots, from %s to %s\n", clicks(s.Clicks), clicks(s.Bots), shownTime(s.From), shownTime(s.To))
	if err := seriesTable(w, s); err != nil {
		return err
	}
	for _, part := range []struct {
		title  string
		counts []client.Count
	}{{"REFERRER", s.Referrers}, {"COUNTRY", s.Countries}, {"BROWSER", s.Browsers}, {"OS", s.OS}, {"DEVICE", s.Devices}} {
		if len(part.counts) == 0 {
			continue
		}
		_, _ = fmt.Fprintln(w)
		lines := [][]string{{part.title, "CLICKS", ""}}
		for _, count := range part.counts {
			lines = append(lines, []string{cut(count.Value, 50), strconv.FormatInt(count.Clicks, 10), bar(count.Clicks, part.counts[0].Clicks)})
		}
		if err := rows(w, lines); err != nil {
			return err
		}
	}
	return nil
}

func clicks(n int64) string {
	if n == 1 {
		return "1 click"
	}
	return strconv.FormatInt(n, 10) + " clicks"
}

// seriesTable draws the steps from the first to the last with clicks, the latest of them when they are many.
func seriesTable(w io.Writer, s client.Stats) error {
	steps := s.Series
	clicked := func(step client.Step) bool { return step.Clicks > 0 }
	first := slices.IndexFunc(steps, clicked)
	if first < 0 {
		return nil
	}
	steps = steps[first:]
	for !clicked(steps[len(steps)-1]) {
		steps = steps[:len(steps)-1]
	}
	_, _ = fmt.Fprintln(w)
	if hidden := len(steps) - shownSteps; hidden > 0 {
		_, _ = fmt.Fprintf(w, "(%d earlier steps: --output json has them)\n", hidden)
		steps = steps[hidden:]
	}
	var most int64
	for _, step := range steps {
		most = max(most, step.Clicks)
	}
	lines := [][]string{{strings.ToUpper(s.Interval), "CLICKS", ""}}
	for _, step := range steps {
		lines = append(lines, []string{shownStep(step.Start, s.Interval), strconv.FormatInt(step.Clicks, 10), bar(step.Clicks, most)})
	}
	return rows(w, lines)
}

func shownStep(start, interval string) string {
	t, err := time.Parse(time.RFC3339, start)
	if err != nil {
		return start
	}
	switch interval {
	case "month":
		return t.Format("2006-01")
	case "day":
		return t.Format("2006-01-02")
	}
	return t.Format("2006-01-02 15:04 -0700")
}

// bar is a bar in proportion to the greatest; whatever was clicked has one.
func bar(n, most int64) string {
	if n <= 0 || most <= 0 {
		return ""
	}
	return strings.Repeat("█", max(1, int(n*barWidth/most)))
}
