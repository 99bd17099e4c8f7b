package testenv

import (
	"errors"
	"testing"
	"time"
)

func TestWithin(t *testing.T) {
	t.Run("OK as soon as it is so", func(t *testing.T) {
		tries := 0
		err := Within(time.Minute, func() error {
			if tries++; tries < 3 {
				return errors.New("not yet")
			}
			return nil
		})
		if err != nil || tries != 3 {
			t.Errorf("%v after %d tries", err, tries)
		}
	})
	t.Run("Err the last one, when it never is", func(t *testing.T) {
		never := errors.New("never")
		if err := Within(time.Millisecond, func() error { return never }); !errors.Is(err, never) {
			t.Errorf("%v", err)
		}
	})
}
