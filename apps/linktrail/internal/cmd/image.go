package cmd

import (
	"os"
	"path/filepath"
)

// inImage returns the file of settings for `linktrail up` that the container image brings along, and "" outside of one.
// The image has no default arguments of its own, since ko, which makes it, knows none: where this file is, a call
// without arguments is `up`.
func inImage() string {
	folder := os.Getenv("KO_DATA_PATH") // set by ko: where kodata is in the image
	if folder == "" {
		return ""
	}
	file := filepath.Join(folder, "up.yaml")
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}
