package cmd

import (
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) linksUpdateCommand() *cobra.Command {
	var (
		target, title, expires            string
		tags                              []string
		status                            int
		noExpiry, noTags, disable, enable bool
	)
	c := &cobra.Command{
		Use:   "update CODE",
		Short: "Change a link; what no flag names stays as it is",
		Example: `  linktrail links update go-blog --url https://go.dev/blog/all
  linktrail links update go-blog --tag go --tag news --expires 2030-01-31T12:00:00Z
  linktrail links update go-blog --no-expiry --disable`,
		Args: oneArg("CODE"),
		RunE: func(c *cobra.Command, args []string) error {
			for _, names := range [][]string{{"disable", "enable"}, {"expires", "no-expiry"}, {"tag", "no-tags"}} {
				if err := exclusive(c, names...); err != nil {
					return err
				}
			}
			change := map[string]any{}
			given := c.Flags().Changed
			if given("url") {
				change["url"] = target
			}
			if given("title") {
				change["title"] = title
			}
			if given("tag") {
				change["tags"] = tags
			}
			if noTags {
				change["tags"] = []string{}
			}
			if given("status") {
				change["redirect_status"] = status
			}
			if given("expires") {
				at, err := expiry(expires, time.Now())
				if err != nil {
					return err
				}
				change["expires_at"] = at
			}
			if noExpiry {
				change["expires_at"] = nil
			}
			if disable || enable {
				change["disabled"] = disable
			}
			if len(change) == 0 {
				return usagef("nothing to change: give one of %s", strings.Join(updateFlags(), ", "))
			}
			api, err := a.client()
			if err != nil {
				return err
			}
			l, err := api.UpdateLink(c.Context(), args[0], change)
			if err != nil {
				return err
			}
			return a.printLink(l)
		},
	}
	flags := c.Flags()
	flags.StringVar(&target, "url", "", "the target")
	flags.StringVar(&title, "title", "", "free text for people")
	flags.StringSliceVar(&tags, "tag", nil, "all of the link's tags; may be given several times")
	flags.BoolVar(&noTags, "no-tags", false, "take all tags away")
	flags.StringVar(&expires, "expires", "", "when the link ends: a duration such as 24h or 30d, or a time of RFC 3339")
	flags.BoolVar(&noExpiry, "no-expiry", false, "let the link never end")
	flags.IntVar(&status, "status", 302, "HTTP status of the redirect: 301, 302, 307 or 308")
	flags.BoolVar(&disable, "disable", false, "answer as if the link did not exist")
	flags.BoolVar(&enable, "enable", false, "answer again")
	completes(c, "status", "301", "302", "307", "308")
	return c
}

func updateFlags() []string {
	return []string{"--url", "--title", "--tag", "--no-tags", "--expires", "--no-expiry", "--status", "--disable", "--enable"}
}
