// Package containers runs linktrail in containers as people with Docker alone do: hack/compose/compose.yaml, and the image
// that is a whole system. hack/compose/try builds the images and names them in the variables of compose.yaml; the build tag
// `e2e` keeps it out of `make test`.
package containers
