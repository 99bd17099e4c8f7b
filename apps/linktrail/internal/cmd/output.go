package cmd

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"

	"sigs.k8s.io/yaml"
)

func (a *app) checkOutput() error {
	switch a.output {
	case "table", "json", "yaml":
		return nil
	}
	return usagef("--output %q is not one of table, json, yaml", a.output)
}

// print prints data as it was asked for; table draws it for people.
func (a *app) print(data any, table func(io.Writer) error) error {
	switch a.output {
	case "json":
		encoder := json.NewEncoder(a.out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(data)
	case "yaml":
		content, err := yaml.Marshal(data)
		if err != nil {
			return err
		}
		_, err = a.out.Write(content)
		return err
	}
	return table(a.out)
}

// rows draws columns. The first row is the heading.
func rows(w io.Writer, lines [][]string) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, line := range lines {
		for i, cell := range line {
			if i > 0 {
				_, _ = fmt.Fprint(table, "\t")
			}
			_, _ = fmt.Fprint(table, printable(cell))
		}
		_, _ = fmt.Fprintln(table)
	}
	return table.Flush()
}

// pairs draws names with their values.
func pairs(w io.Writer, values [][2]string) error {
	lines := make([][]string, len(values))
	for i, value := range values {
		lines[i] = value[:]
	}
	return rows(w, lines)
}

// printable takes out what could move the terminal's cursor: titles and referrers are strangers' text.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '�'
	}, text)
}

// cut shortens a text for a column.
func cut(text string, width int) string {
	runes := []rune(text)
	if len(runes) <= width {
		return text
	}
	return string(runes[:width-1]) + "…"
}
