package cmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/linktrail/linktrail/internal/clickstream/journal"
)

func (a *app) journalCommand() *cobra.Command {
	return group("journal", "Look at a journal of url-api, and send what one has left behind", `  linktrail journal inspect ./data/journal
  linktrail journal ship /mnt/orphan/journal --config url-api.yaml`,
		a.journalInspectCommand(), a.journalShipCommand())
}

// errDamaged says that a journal is damaged, which has been told.
var errDamaged = errors.New("the journal is damaged")

// shownJournal is a journal as it is printed.
type shownJournal struct {
	Dir      string         `json:"dir"`
	Open     bool           `json:"open"`
	Bytes    int            `json:"bytes"`
	Waiting  int            `json:"waiting"`
	Oldest   *time.Time     `json:"oldest"`
	Damaged  int            `json:"damaged"`
	Segments []shownSegment `json:"segments"`
	PutAside []string       `json:"put_aside"`
	Records  []shownRecord  `json:"records"`
}

type shownSegment struct {
	File    string        `json:"file"`
	Bytes   int           `json:"bytes"`
	Used    int           `json:"used"`
	Done    int           `json:"done"`
	Sent    int           `json:"sent"`
	Waiting int           `json:"waiting"`
	Oldest  *time.Time    `json:"oldest"`
	Newest  *time.Time    `json:"newest"`
	Damage  []shownDamage `json:"damage"`
}

type shownDamage struct {
	At    int    `json:"at"`
	Bytes int    `json:"bytes"`
	What  string `json:"what"`
}

type shownRecord struct {
	ID       string    `json:"id"`
	Appended time.Time `json:"appended"`
	TraceID  string    `json:"trace_id"`
	SpanID   string    `json:"span_id"`
	Sampled  bool      `json:"sampled"`
	// Click is the value that Kafka gets, null when it is no JSON.
	Click json.RawMessage `json:"click"`
}

func showRecord(r journal.Record) shownRecord {
	shown := shownRecord{ID: r.ID.String(), Appended: r.Appended.UTC(), Sampled: r.Parent.IsSampled()}
	if r.Parent.IsValid() {
		shown.TraceID, shown.SpanID = r.Parent.TraceID().String(), r.Parent.SpanID().String()
	}
	if json.Valid(r.Value) {
		shown.Click = append(shown.Click, r.Value...)
	}
	return shown
}

func showJournal(s journal.State) shownJournal {
	shown := shownJournal{
		Dir: s.Dir, Open: s.Open, Waiting: s.Waiting(), Oldest: momentOf(s.Oldest()), Damaged: s.Damaged(),
		Segments: []shownSegment{}, PutAside: append([]string{}, s.PutAside...), Records: []shownRecord{},
	}
	for _, segment := range s.Segments {
		shown.Bytes += segment.Bytes
		one := shownSegment{
			File: segment.File, Bytes: segment.Bytes, Used: segment.Used, Done: segment.Done, Sent: segment.Sent, Waiting: segment.Waiting,
			Oldest: momentOf(segment.Oldest), Newest: momentOf(segment.Newest), Damage: []shownDamage{},
		}
		for _, d := range segment.Damage {
			one.Damage = append(one.Damage, shownDamage(d))
		}
		shown.Segments = append(shown.Segments, one)
	}
	return shown
}

func momentOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(t.UTC())
}

func (a *app) journalInspectCommand() *cobra.Command {
	var records int
	c := &cobra.Command{
		Use:   "inspect DIR",
		Short: "Print the state of a journal, and records that wait in it",
		Long: `Print the state of a journal, and the first of the records that wait in it, as url-api appended them. Nothing is changed,
and url-api may have the journal open. What is damaged is told; then the exit code is 1.`,
		Example: `  linktrail journal inspect ./data/journal
  linktrail journal inspect /var/lib/linktrail/journal --records -1 --output json`,
		Args: oneArg("folder"),
		RunE: func(_ *cobra.Command, args []string) error { return a.inspectJournal(args[0], records) },
	}
	c.Flags().IntVar(&records, "records", 10, "how many records to print; -1 is all")
	c.ValidArgsFunction = folders
	return c
}

// folders has a shell offer folders.
func folders(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

func (a *app) inspectJournal(dir string, most int) error {
	records := []shownRecord{}
	state, err := journal.Inspect(dir, func(r journal.Record) error {
		if most < 0 || len(records) < most {
			records = append(records, showRecord(r))
		}
		return nil
	})
	if err != nil {
		return noJournal(dir, err)
	}
	shown := showJournal(state)
	shown.Records = records
	if err := a.print(shown, func(w io.Writer) error { return drawJournal(w, shown) }); err != nil {
		return err
	}
	if shown.Damaged > 0 {
		return fmt.Errorf("%w in %d places", errDamaged, shown.Damaged)
	}
	return nil
}

// noJournal makes the error of a folder without a journal one that people can mend.
func noJournal(dir string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return usagef("%s is no folder of a journal: it is what Journal.Dir of url-api names, DATA/journal for `linktrail up`", dir)
	}
	return err
}

func drawJournal(w io.Writer, s shownJournal) error {
	holder := "nobody"
	if s.Open {
		holder = "a running process"
	}
	values := [][2]string{
		{"journal", s.Dir}, {"open by", holder}, {"bytes", strconv.Itoa(s.Bytes)}, {"clicks that wait", strconv.Itoa(s.Waiting)},
	}
	if s.Oldest != nil {
		values = append(values, [2]string{"the oldest of", fmt.Sprintf("%s, %v ago", s.Oldest.Format(time.RFC3339), time.Since(*s.Oldest).Round(time.Second))})
	}
	if err := pairs(w, values); err != nil {
		return err
	}
	if len(s.Segments) > 0 {
		lines := [][]string{{"SEGMENT", "BYTES", "USED", "DONE", "SENT", "WAITING", "OLDEST", "NEWEST"}}
		for _, one := range s.Segments {
			lines = append(lines, []string{filepath.Base(one.File), strconv.Itoa(one.Bytes), strconv.Itoa(one.Used), strconv.Itoa(one.Done),
				strconv.Itoa(one.Sent), strconv.Itoa(one.Waiting), timeCell(one.Oldest), timeCell(one.Newest)})
		}
		_, _ = fmt.Fprintln(w)
		if err := rows(w, lines); err != nil {
			return err
		}
	}
	if s.Damaged > 0 {
		lines := [][]string{{"DAMAGED", "AT", "BYTES", "WHAT"}}
		for _, one := range s.Segments {
			for _, d := range one.Damage {
				lines = append(lines, []string{filepath.Base(one.File), strconv.Itoa(d.At), strconv.Itoa(d.Bytes), d.What})
			}
		}
		for _, file := range s.PutAside {
			lines = append(lines, []string{filepath.Base(file), "-", "-", "put aside by an earlier start: no segment"})
		}
		_, _ = fmt.Fprintln(w)
		if err := rows(w, lines); err != nil {
			return err
		}
	}
	return drawRecords(w, s)
}

func drawRecords(w io.Writer, s shownJournal) error {
	if len(s.Records) == 0 {
		return nil
	}
	lines := [][]string{{"APPENDED", "CLICK", "CODE", "TRACE"}}
	for _, r := range s.Records {
		var click struct{ Code string }
		if json.Unmarshal(r.Click, &click) != nil {
			click.Code = "-"
		}
		lines = append(lines, []string{r.Appended.Format(time.RFC3339Nano), r.ID, click.Code, r.TraceID})
	}
	_, _ = fmt.Fprintln(w)
	if err := rows(w, lines); err != nil {
		return err
	}
	if more := s.Waiting - len(s.Records); more > 0 {
		_, err := fmt.Fprintf(w, "and %d more; --records -1 prints all\n", more)
		return err
	}
	return nil
}

func timeCell(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format(time.RFC3339)
}
