package up

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestServiceLog(t *testing.T) {
	openTest := func(t *testing.T) (*serviceLog, *strings.Builder) {
		t.Helper()
		var shown strings.Builder
		l, err := openLog("url-api", filepath.Join(t.TempDir(), "url-api.log"), newTerminal(&shown, &shown))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.close)
		return l, &shown
	}
	t.Run("OK errors and panics are shown, the rest is kept", func(t *testing.T) {
		l, shown := openTest(t)
		for _, text := range []string{
			`{"@timestamp":"x","level":"info","content":"serving"}` + "\n",
			`{"@timestamp":"x","level":"error","content":"away`, `","status":503}` + "\n", // a line in two parts
			"panic: runtime error\n",
		} {
			_, _ = l.Write([]byte(text))
		}
		if want := "url-api | away status=503\nurl-api | panic: runtime error\n"; shown.String() != want {
			t.Errorf("it shows\n%swant\n%s", shown, want)
		}
		if want := "\n    serving\n    away status=503\n    panic: runtime error"; l.tail() != want {
			t.Errorf("the tail is %q", l.tail())
		}
		content, err := os.ReadFile(l.path)
		if err != nil || strings.Count(string(content), "\n") != 3 {
			t.Errorf("the file holds %q: %v", content, err)
		}
	})
	t.Run("OK a flood of errors does not flood the terminal", func(t *testing.T) {
		l, shown := openTest(t)
		for i := range 1000 {
			_, _ = fmt.Fprintf(l, "boom %d\n", i)
		}
		if lines := strings.Count(shown.String(), "\n"); lines != shownLines+1 || !strings.Contains(shown.String(), "more in") {
			t.Errorf("it shows %d lines:\n%s", lines, shown)
		}
	})
	t.Run("OK its size is bounded", func(t *testing.T) {
		l, _ := openTest(t)
		line := []byte(`{"level":"info","content":"` + strings.Repeat("x", 1<<20) + `"}` + "\n")
		for range 3 * logLimit / len(line) {
			_, _ = l.Write(line)
		}
		files, err := os.ReadDir(filepath.Dir(l.path))
		if err != nil || len(files) != 2 {
			t.Fatalf("there are %v: %v", files, err)
		}
		for _, file := range files {
			if info, err := file.Info(); err != nil || info.Size() > logLimit {
				t.Errorf("%s has %d bytes: %v", file.Name(), info.Size(), err)
			}
		}
	})
}
