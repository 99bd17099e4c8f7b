package cmd

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/linktrail/linktrail/apps/linktrail/internal/client"
)

func (a *app) linksCommand() *cobra.Command {
	return group("links", "Make, list, change and delete short links", `  linktrail links create https://go.dev/blog/ --slug go-blog --tag go --tag blog
  linktrail links list --tag go
  linktrail links update go-blog --title "The Go blog" --expires 720h
  linktrail links delete go-blog`,
		a.linksCreateCommand(), a.linksListCommand(), a.linksGetCommand(), a.linksUpdateCommand(), a.linksDeleteCommand())
}

// expiry reads --expires: a duration from now, or a time.
func expiry(text string, now time.Time) (string, error) {
	if d, err := time.ParseDuration(text); err == nil {
		if d <= 0 {
			return "", usagef("--expires %q is not in the future", text)
		}
		return now.Add(d).UTC().Format(time.RFC3339Nano), nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n < 1e6 {
			return now.AddDate(0, 0, n).UTC().Format(time.RFC3339Nano), nil
		}
	}
	if _, err := time.Parse(time.RFC3339, text); err != nil {
		return "", usagef("--expires %q is neither a duration such as 24h or 30d, nor a time of RFC 3339 such as 2030-01-31T12:00:00Z", text)
	}
	return text, nil
}

// printLink prints a link; people see its fields, one a line.
func (a *app) printLink(l client.Link) error {
	return a.print(l, func(w io.Writer) error {
		state := "active"
		if l.Disabled {
			state = "disabled"
		}
		lines := [][2]string{{"short URL", l.ShortURL}, {"leads to", l.URL}, {"code", l.Code}}
		if l.Title != "" {
			lines = append(lines, [2]string{"title", l.Title})
		}
		if len(l.Tags) > 0 {
			lines = append(lines, [2]string{"tags", strings.Join(l.Tags, ", ")})
		}
		lines = append(lines, [2]string{"redirect", strconv.Itoa(l.RedirectStatus)}, [2]string{"state", state},
			[2]string{"created", shownTime(l.CreatedAt)})
		if l.UpdatedAt != l.CreatedAt {
			lines = append(lines, [2]string{"updated", shownTime(l.UpdatedAt)})
		}
		return pairs(w, append(lines, [2]string{"expires", shownExpiry(l.ExpiresAt)}))
	})
}

func shownExpiry(at *string) string {
	if at == nil {
		return "never"
	}
	return shownTime(*at)
}

// shownTime is a time of RFC 3339 without its fraction.
func shownTime(text string) string {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return text
	}
	return t.Format(time.RFC3339)
}

func (a *app) linksGetCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "get CODE",
		Short:   "Show a link",
		Example: "  linktrail links get go-blog\n  linktrail links get go-blog --output json",
		Args:    oneArg("CODE"),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			l, err := api.Link(c.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printLink(l)
		},
	}
}

func (a *app) linksDeleteCommand() *cobra.Command {
	var purge bool
	c := &cobra.Command{
		Use:   "delete CODE...",
		Short: "Delete links",
		Long: `Delete links. A code can be used again afterwards; a link that is made with it starts without clicks.

The clicks of a deleted link stay in the store, unless --purge removes them and its statistics for good, as a request for
privacy wants it. No click that was still on its way, in a journal or in Kafka, is then stored any more.`,
		Example: `  linktrail links delete go-blog
  linktrail links delete go-blog hello --purge`,
		Args: someArgs("CODEs"),
		RunE: func(c *cobra.Command, codes []string) error {
			api, err := a.client()
			if err != nil {
				return err
			}
			for i, code := range codes {
				if err := api.DeleteLink(c.Context(), code, purge); err != nil {
					if i > 0 {
						_, _ = fmt.Fprintf(a.err, "deleted %s\n", strings.Join(codes[:i], ", "))
					}
					return err
				}
			}
			return a.print(map[string]any{"deleted": codes, "purged": purge}, func(w io.Writer) error {
				what := map[bool]string{false: "deleted", true: "deleted, with their clicks:"}[purge]
				_, err := fmt.Fprintf(w, "%s %s\n", what, strings.Join(codes, ", "))
				return err
			})
		},
	}
	c.Flags().BoolVar(&purge, "purge", false, "remove clicks and statistics too, for good")
	return c
}
