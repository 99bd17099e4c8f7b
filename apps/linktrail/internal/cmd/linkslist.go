package cmd

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/linktrail/linktrail/apps/linktrail/internal/client"
)

func (a *app) linksListCommand() *cobra.Command {
	var (
		filter client.Filter
		limit  int
		all    bool
	)
	c := &cobra.Command{
		Use:   "list",
		Short: "List links, newest first",
		Example: `  linktrail links list
  linktrail links list --tag go --text blog
  linktrail links list --all --output json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := exclusive(c, "limit", "all"); err != nil {
				return err
			}
			if limit < 1 {
				return usagef("--limit %d is not a positive number", limit)
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			page := client.Page{Links: []client.Link{}}
			for cursor := ""; all || len(page.Links) < limit; {
				size := client.MaxPage
				if !all {
					size = min(size, limit-len(page.Links))
				}
				next, err := api.Links(c.Context(), filter, cursor, size)
				if err != nil {
					return err
				}
				page.Links = append(page.Links, next.Links...)
				page.Next = next.Next
				if page.Next == nil {
					break
				}
				cursor = *page.Next
			}
			return a.print(page, func(w io.Writer) error { return a.listTable(w, page) })
		},
	}
	flags := c.Flags()
	flags.StringVar(&filter.Tag, "tag", "", "only links with this tag")
	flags.StringVar(&filter.Text, "text", "", "only links with this text in code, URL or title")
	flags.IntVar(&limit, "limit", 50, "the most links to list")
	flags.BoolVar(&all, "all", false, "list all links")
	return c
}

func (a *app) listTable(w io.Writer, page client.Page) error {
	lines := [][]string{{"CODE", "URL", "TITLE", "TAGS", "STATUS", "EXPIRES"}}
	for _, l := range page.Links {
		status := fmt.Sprint(l.RedirectStatus)
		if l.Disabled {
			status += " disabled"
		}
		lines = append(lines, []string{l.Code, cut(l.URL, 60), cut(l.Title, 30), strings.Join(l.Tags, ","), status, shownExpiry(l.ExpiresAt)})
	}
	if err := rows(w, lines); err != nil {
		return err
	}
	if page.Next != nil {
		_, _ = fmt.Fprintln(a.err, "there are more: --all lists them, --limit some")
	}
	return nil
}
