package streamtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	franz "github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linktrail/linktrail/internal/clickstream"
)

// TestDeadMember has the group wait for a member that died, for as long as its session lasts or until somebody takes it
// out. Meanwhile a consumer goes on with the partitions it has, and one that waits to join can stop.
func TestDeadMember(t *testing.T) {
	t.Parallel()
	const session = 5 * time.Minute
	s := newStream(t, variant{driver: clickstream.DriverKgo}, 4)
	got := newReceived()
	first := s.consume(t, patience, got.take)
	eventually(t, first.consumer.Ready)

	assigned := make(chan struct{})
	var once sync.Once
	life, die := context.WithCancel(t.Context())
	dead := MustDial(t, franz.WithContext(life), franz.ConsumerGroup(s.Group), franz.ConsumeTopics(s.Topic),
		franz.Balancers(franz.CooperativeStickyBalancer()), franz.SessionTimeout(session),
		franz.OnPartitionsAssigned(func(_ context.Context, _ *franz.Client, p map[string][]int32) {
			if len(p[s.Topic]) > 0 {
				once.Do(func() { close(assigned) })
			}
		}))
	await(t, assigned, "the member that is to die got no partition")
	id, _ := dead.GroupMetadata()
	die()
	dead.Close()

	waiting := s.consume(t, patience, got.take)
	p := s.publisher(t)
	defer MustClose(t, p)
	for range 4 {
		before := got.count()
		s.publish(t, p, spread)
		eventually(t, func() error {
			if got.count() == before {
				return errors.New("the consumer does not go on")
			}
			return nil
		})
	}
	waiting.stop(t)
	// It is a member still: nobody above has waited for its end.
	client := MustDial(t)
	defer client.Close()
	leave := kmsg.NewPtrLeaveGroupRequest()
	member := kmsg.NewLeaveGroupRequestMember()
	leave.Group, member.MemberID = s.Group, id
	leave.Members = append(leave.Members, member)
	left, err := leave.RequestWith(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(left.Members[0].ErrorCode); err != nil {
		t.Fatalf("take the dead member out of the group: %v", err)
	}
	// Once the group has given the dead one up, all is read, and committed without further traffic.
	eventually(t, func() error {
		if n := s.committed(t); n != 4*spread {
			return fmt.Errorf("%d records are committed, want %d", n, 4*spread)
		}
		return nil
	})
}
