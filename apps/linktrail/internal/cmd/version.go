package cmd

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/linktrail/linktrail/internal/buildinfo"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Say which linktrail this is",
		Example: "  linktrail version\n  linktrail version --output json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			info := buildinfo.Read()
			data := struct {
				Version  string `json:"version"`
				Revision string `json:"revision"`
				Go       string `json:"go"`
			}{info.Version, info.Revision, info.Go}
			return a.print(data, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "linktrail %s (revision %s, %s)\n", data.Version, data.Revision, data.Go)
				return err
			})
		},
	}
}
