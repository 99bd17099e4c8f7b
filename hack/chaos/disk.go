//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// diskBytes is the size of a disk that is made to be filled.
const diskBytes = 24 << 20

// smallDisk mounts a small disk for the journal, which only root may.
func smallDisk(s *system) error {
	if err := os.Mkdir(s.journal(), 0o750); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", s.journal(), "tmpfs", 0, fmt.Sprintf("size=%d", diskBytes)); err != nil {
		return fmt.Errorf("a small disk for the journal, which only root may mount: %w", err)
	}
	s.undo = append(s.undo, func() error { return unix.Unmount(s.journal(), 0) })
	return nil
}

// fill takes all that is left of the journal's disk.
func (s *system) fill() (empty func() error, err error) {
	path := filepath.Join(s.journal(), "filler")
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	block := make([]byte, 4096)
	for err == nil {
		_, err = file.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return nil, errors.Join(err, file.Close())
	}
	return func() error { return os.Remove(path) }, file.Close()
}

func fillDisk(ctx context.Context, t *trial) error {
	empty, err := t.fill()
	if err != nil {
		return err
	}
	if err := sleep(ctx, t.options.full); err != nil {
		return err
	}
	return empty()
}

// fillDiskWithoutKafka has the journal run out of room: nothing leaves it, and there is no more.
func fillDiskWithoutKafka(ctx context.Context, t *trial) error {
	empty, err := t.fill()
	if err != nil {
		return err
	}
	if err := t.session.End(ctx, kafka, syscall.SIGTERM); err != nil {
		return err
	}
	loses := func() bool { return t.urlAPI.metric(ctx, journalDropped) > 0 }
	if err := until(ctx, 2*time.Minute, "the journal is full", loses); err != nil {
		return err
	}
	if err := sleep(ctx, t.options.full); err != nil {
		return err
	}
	return errors.Join(t.session.Begin(ctx, kafka), empty())
}

// damage kills url-api when its journal holds what Kafka, which is stopped, does not have, and damages some of it before
// url-api is started again.
func damage(harm func(t *trial, segments []string) error) func(context.Context, *trial) error {
	return func(ctx context.Context, t *trial) error {
		if err := t.session.End(ctx, kafka, syscall.SIGTERM); err != nil {
			return err
		}
		// Of the first segment some may be in Kafka; behind the one that is written to there is a spare one.
		var segments []string
		last := ""
		if found, err := t.segments(); err == nil && len(found) > 0 {
			last = found[len(found)-1]
		}
		if err := until(ctx, 2*time.Minute, "the journal grows", func() bool {
			found, err := t.segments()
			i := slices.Index(found, last)
			if err != nil || i < 0 || len(found) < i+6 {
				return false
			}
			segments = found[i+1 : len(found)-2]
			return true
		}); err != nil {
			return err
		}
		if err := t.urlAPI.Kill(); err != nil {
			return err
		}
		if err := harm(t, segments); err != nil {
			return err
		}
		return errors.Join(t.urlAPI.start(ctx), t.session.Begin(ctx, kafka))
	}
}

// segments are the journal's files, the oldest first.
func (s *system) segments() ([]string, error) {
	found, err := filepath.Glob(filepath.Join(s.journal(), "*.journal"))
	slices.Sort(found)
	return found, err
}

// flipBits flips a bit here and there, so far apart that no two are in neighbouring records.
func flipBits(t *trial, segments []string) error {
	const apart = 64 << 10
	t.times = 0
	for _, path := range segments {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for at := apart; at < len(text); at += apart {
			if place := at + rand.N(apart/2); text[place] != 0 { // in no padding, which nobody misses
				text[place] ^= 1 << rand.N(7)
				t.times++
			}
		}
		if err := os.WriteFile(path, text, 0o640); err != nil { //nolint:gosec // as the journal's are
			return err
		}
	}
	return nil
}

// truncate cuts a segment within a record in its middle.
func truncate(_ *trial, segments []string) error {
	path := segments[0]
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	half := len(text) / 2
	value := bytes.Index(text[half:], []byte(`{"`))
	if value < 0 {
		return fmt.Errorf("%w: %s holds no click behind its middle", errVoid, path)
	}
	return os.Truncate(path, int64(half+value+20))
}
