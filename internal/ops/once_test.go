package ops_test

import (
	"context"
	"errors"
	"testing"

	"github.com/linktrail/linktrail/internal/ops"
)

func TestOnce(t *testing.T) {
	away := errors.New("away")
	answers := []error{away, nil, away}
	asked := 0
	check := ops.Once(func(context.Context) error {
		asked++
		return answers[asked-1]
	})
	for i, want := range []error{away, nil, nil} {
		if got := check(context.Background()); !errors.Is(got, want) {
			t.Errorf("call %d: %v, want %v", i+1, got, want)
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times, want 2: once it passed it is not asked again", asked)
	}
}
