// Package buildinfo says which linktrail is running: what `linktrail version`
// prints, the build_info metric carries and every span's resource names.
package buildinfo

import "runtime/debug"

// Info identifies a build.
type Info struct {
	Version  string // the module's version as the Go tool stamped it; "devel" for a build without one
	Revision string // the commit it was built from, with "+dirty" after it when the tree had changes; "unknown" without one
	Go       string // the Go version it was built with
}

// Read returns what the Go tool stamped into the running binary. No field is
// ever empty.
func Read() Info {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return Info{Version: "devel", Revision: "unknown", Go: "unknown"}
	}
	return from(build)
}

func from(build *debug.BuildInfo) Info {
	info := Info{Version: build.Main.Version, Revision: "unknown", Go: build.GoVersion}
	if info.Version == "" || info.Version == "(devel)" {
		info.Version = "devel"
	}
	if info.Go == "" {
		info.Go = "unknown"
	}
	dirty := false
	for _, setting := range build.Settings {
		switch setting.Key {
		case "vcs.revision":
			info.Revision = setting.Value
		case "vcs.modified":
			dirty = setting.Value == "true"
		}
	}
	if dirty && info.Revision != "unknown" {
		info.Revision += "+dirty"
	}
	return info
}
