package postgres_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/linktrail/linktrail/internal/click"
	"github.com/linktrail/linktrail/internal/store/postgres"
	"github.com/linktrail/linktrail/internal/store/storetest"
)

// TestLatestClicksPlan asks the planner: a page of the latest clicks must not cost more with every click that there is.
// The plan is looked at for this one page and as the server keeps it for any page.
func TestLatestClicksPlan(t *testing.T) {
	c := fresh(t)
	storetest.MustMigrate(t, c)
	s, conn := storetest.MustOpen(t, c), mustConnect(t, c)
	for month := range 3 {
		var batch []click.Click
		first := time.Now().UTC().AddDate(0, month, 0)
		for i := range 4000 {
			at := first.Add(time.Duration(i) * time.Second)
			batch = append(batch, click.Click{ID: click.NewID(at), LinkID: int64(1 + i%4), Code: "x", Time: at})
		}
		storetest.MustWrite(t, s, batch, len(batch))
	}
	if _, err := conn.Exec(t.Context(), `ANALYZE clicks`); err != nil {
		t.Fatal(err)
	}
	for name, linkID := range map[string]int64{"OK all links": click.AllLinks, "OK one link": 2} {
		for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
			t.Run(name+" "+mode, func(t *testing.T) {
				if _, err := conn.Exec(t.Context(), `SET plan_cache_mode = `+mode); err != nil {
					t.Fatal(err)
				}
				query, args := postgres.LatestQuery(linkID, click.NewID(time.Now().AddDate(0, 1, 0)), 50)
				rows, err := conn.Query(t.Context(), `EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF) `+query, args...)
				if err != nil {
					t.Fatal(err)
				}
				lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
				if err != nil {
					t.Fatal(err)
				}
				plan := strings.Join(lines, "\n")
				if strings.Contains(plan, "Sort (") || strings.Contains(plan, "Seq Scan") || !strings.Contains(plan, "Index Scan") {
					t.Errorf("the newest clicks are not read from an index:\n%s", plan)
				}
			})
		}
	}
}
