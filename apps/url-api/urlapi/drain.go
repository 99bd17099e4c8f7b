package urlapi

import (
	"context"
	"errors"
	"time"

	"github.com/zeromicro/go-zero/core/logx"
	"golang.org/x/sync/errgroup"

	"github.com/linktrail/linktrail/internal/clickstream/journal"
)

// flushDeadline is how long the last spans and the ops listener may take, beyond the drain deadline: a collector or a
// broker that is away must not cost the other's share.
const flushDeadline = 5 * time.Second

// drain ends whatever there is, each part before those that it needs: the doors, then the clicks they left, then spans,
// then what all of them used.
func (s *service) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.config.Drain)
	defer cancel()
	if s.ops != nil {
		s.ops.Drain()
	}
	// A caller who is slow on purpose must not use up the time that the clicks of the last moment need.
	doors, cancelDoors := context.WithTimeout(ctx, 3*s.config.Drain/4)
	defer cancelDoors()
	err := errors.Join(s.closeDoors(doors), s.sendClicks(ctx))
	s.flushSpans()
	return errors.Join(err, s.closeStores(), s.endOps())
}

// closeDoors takes no further requests at either door and waits for those in flight.
func (s *service) closeDoors(ctx context.Context) error {
	var doors errgroup.Group
	if s.running != nil {
		doors.Go(func() error { return s.door.Shutdown(ctx) })
		doors.Go(func() error { return s.api.shutdown(ctx) })
		return doors.Wait()
	}
	// Not yet served: nobody else would close them.
	if s.doorListener != nil {
		doors.Go(s.doorListener.Close)
	}
	if s.apiListener != nil {
		doors.Go(s.apiListener.Close)
	}
	return doors.Wait()
}

// sendClicks waits until the broker has the clicks of the last redirects. Those that stay in the journal are told in the log:
// they are not lost, and the stop was in order.
func (s *service) sendClicks(ctx context.Context) error {
	if s.clicks == nil {
		return nil
	}
	err := s.clicks.Close(ctx)
	if left, ok := errors.AsType[*journal.LeftError](err); ok {
		logx.Errorw("Kafka has not taken all clicks: "+left.Error(), logx.Field("error", err.Error()))
		return nil
	}
	return err
}

// flushSpans comes after the last request and the last publish. Spans that a collector did not take are told in the log:
// the stop was in order all the same.
func (s *service) flushSpans() {
	if s.telemetry == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushDeadline)
	defer cancel()
	if err := s.telemetry.Shutdown(ctx); err != nil {
		logx.Errorw("spans were lost", logx.Field("error", err.Error()))
	}
}

func (s *service) closeStores() error {
	var errs []error
	if s.unfollow != nil {
		s.unfollow()
		errs = append(errs, <-s.followed)
	}
	if s.cache != nil {
		s.cache.Close()
	}
	if s.redis != nil {
		errs = append(errs, s.redis.Close())
	}
	if s.analytics != nil {
		errs = append(errs, s.analytics.Conn().Close())
	}
	errs = append(errs, s.countries.Close())
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}

// endOps is last, so that metrics can be read until the end, and waits for all that serve started.
func (s *service) endOps() error {
	var errs []error
	if s.ops != nil {
		ctx, cancel := context.WithTimeout(context.Background(), flushDeadline)
		defer cancel()
		errs = append(errs, s.ops.Shutdown(ctx))
	}
	if s.running != nil {
		errs = append(errs, s.running.Wait())
	}
	return errors.Join(errs...)
}
