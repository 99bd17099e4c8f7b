package buildinfo

import (
	"runtime/debug"
	"testing"
)

func TestFrom(t *testing.T) {
	for name, tc := range map[string]struct {
		build debug.BuildInfo
		want  Info
	}{
		"a release": {
			debug.BuildInfo{
				GoVersion: "go1.26.8",
				Main:      debug.Module{Version: "v1.2.3"},
				Settings:  []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "false"}},
			},
			Info{Version: "v1.2.3", Revision: "abc", Go: "go1.26.8"},
		},
		"a changed tree": {
			debug.BuildInfo{
				GoVersion: "go1.26.8",
				Main:      debug.Module{Version: "(devel)"},
				Settings:  []debug.BuildSetting{{Key: "vcs.modified", Value: "true"}, {Key: "vcs.revision", Value: "abc"}},
			},
			Info{Version: "devel", Revision: "abc+dirty", Go: "go1.26.8"},
		},
		"nothing stamped": {debug.BuildInfo{}, Info{Version: "devel", Revision: "unknown", Go: "unknown"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := from(&tc.build); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestRead(t *testing.T) {
	info := Read()
	if info.Version == "" || info.Revision == "" || info.Go == "" {
		t.Errorf("a field is empty: %+v", info)
	}
}
