// Package document writes what was measured into a document, between two lines that mark the place.
package document

import (
	"fmt"
	"strings"
)

// Replace puts text between the lines <!-- MARK --> and <!-- /MARK --> of a document, which must have both.
func Replace(doc, mark, text string) (string, error) {
	begin, end := "<!-- "+mark+" -->\n", "<!-- /"+mark+" -->"
	head, rest, ok := strings.Cut(doc, begin)
	_, foot, ended := strings.Cut(rest, end)
	if !ok || !ended {
		return "", fmt.Errorf("there are no lines %s and %s", strings.TrimSpace(begin), end)
	}
	return head + begin + "\n" + text + "\n" + end + foot, nil
}
