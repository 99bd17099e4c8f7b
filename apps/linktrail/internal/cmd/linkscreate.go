package cmd

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/linktrail/linktrail/apps/linktrail/internal/client"
)

func (a *app) linksCreateCommand() *cobra.Command {
	var (
		l       client.NewLink
		expires string
	)
	c := &cobra.Command{
		Use:   "create URL",
		Short: "Make a short link",
		Example: `  linktrail links create https://go.dev/blog/
  linktrail links create https://go.dev/blog/ --slug go-blog --title "The Go blog" --tag go --tag blog
  linktrail links create https://go.dev/blog/ --expires 24h --status 307`,
		Args: oneArg("URL"),
		RunE: func(c *cobra.Command, args []string) (err error) {
			l.URL = args[0]
			if l.RedirectStatus == 0 { // which the API takes for none given
				return usagef("--status 0 is not one of 301, 302, 307, 308")
			}
			if c.Flags().Changed("expires") {
				if l.ExpiresAt, err = expiry(expires, time.Now()); err != nil {
					return err
				}
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			made, err := api.CreateLink(c.Context(), l)
			if err != nil {
				return err
			}
			return a.printLink(made)
		},
	}
	flags := c.Flags()
	flags.StringVar(&l.Slug, "slug", "", "a code of your choice, 3 to 64 of A-Z a-z 0-9 _ - (default a random one)")
	flags.StringVar(&l.Title, "title", "", "free text for people")
	flags.StringSliceVar(&l.Tags, "tag", nil, "a word to find the link by; may be given several times")
	flags.StringVar(&expires, "expires", "", "when the link ends: a duration such as 24h or 30d, or a time of RFC 3339 (default never)")
	flags.IntVar(&l.RedirectStatus, "status", 302, "HTTP status of the redirect: 301, 302, 307 or 308")
	completes(c, "status", "301", "302", "307", "308")
	return c
}
