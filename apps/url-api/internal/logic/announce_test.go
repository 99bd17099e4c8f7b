package logic_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/linktrail/linktrail/apps/url-api/internal/logic"
	"github.com/linktrail/linktrail/apps/url-api/internal/svc"
	"github.com/linktrail/linktrail/apps/url-api/internal/types"
	"github.com/linktrail/linktrail/internal/link"
)

// silentStore makes a change and does not come to say so; or it has no such link, as it says to who tries again.
type silentStore struct {
	link.Store
	err error
}

func (s silentStore) DeleteLink(context.Context, string) error { return s.err }
func (s silentStore) PurgeLink(context.Context, string) error  { return s.err }
func (s silentStore) UpdateLink(context.Context, string, link.Change) (link.Link, error) {
	return link.Link{}, s.err
}

func TestAnnounce(t *testing.T) {
	ctx := context.Background()
	title := "another"
	changes := map[string]func(*svc.ServiceContext) error{
		"delete": func(c *svc.ServiceContext) error {
			return logic.NewDeleteLinkLogic(ctx, c).DeleteLink(&types.DeleteLinkRequest{Code: "evil"})
		},
		"purge": func(c *svc.ServiceContext) error {
			return logic.NewDeleteLinkLogic(ctx, c).DeleteLink(&types.DeleteLinkRequest{Code: "evil", Purge: true})
		},
		"update": func(c *svc.ServiceContext) error {
			_, err := logic.NewUpdateLinkLogic(ctx, c).UpdateLink(&types.UpdateLinkRequest{Code: "evil", Title: &title})
			return err
		},
	}
	for name, change := range changes {
		for _, want := range []error{context.DeadlineExceeded, link.NotFound("evil")} {
			t.Run("OK "+name+" that may have been made: "+want.Error(), func(t *testing.T) {
				f := &forgotten{}
				err := change(&svc.ServiceContext{Links: silentStore{err: want}, Cache: f, Now: time.Now})
				if !errors.Is(err, want) {
					t.Errorf("error = %v, want %v", err, want)
				}
				if !slices.Equal(f.codes, []string{"evil"}) {
					t.Errorf("announced %q", f.codes)
				}
			})
		}
	}
}
