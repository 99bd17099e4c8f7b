package up

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// program is how people type this command here: its name when that is found on their path, else the way to it.
func program() string {
	self, err := os.Executable()
	if err != nil {
		return "linktrail"
	}
	if found, err := exec.LookPath(filepath.Base(self)); err == nil {
		if resolved, err := filepath.EvalSymlinks(found); err == nil && resolved == self {
			return filepath.Base(self)
		}
	}
	path := shownPath(self)
	if !strings.ContainsRune(path, filepath.Separator) {
		path = "." + string(filepath.Separator) + path
	}
	return quoted(path)
}

// quoted is a word as a shell takes it.
func quoted(word string) string {
	if strings.ContainsAny(word, " \t\n\"'`$&|;<>()*?[]#~=%!{}\\") {
		return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	return word
}
