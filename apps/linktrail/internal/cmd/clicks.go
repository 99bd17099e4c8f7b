package cmd

import (
	"github.com/spf13/cobra"
)

func (a *app) clicksCommand() *cobra.Command {
	var flags storeFlags
	c := group("clicks", "Look after the clicks of a store: remove what is old", `  linktrail clicks retain --months 13`,
		a.clicksRetainCommand(&flags))
	flags.add(c)
	return c
}
