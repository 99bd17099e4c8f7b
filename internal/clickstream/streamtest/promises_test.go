package streamtest

import (
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/linktrail/linktrail/internal/clickstream"
)

// demonstrations show for each promise that the driver keeps it or, where the table says no, what it does instead.
func demonstrations() map[string]func(t *testing.T, v variant) {
	return map[string]func(t *testing.T, v variant){
		Carries:       demonstrateCarries,
		NoKey:         demonstrateNoKey,
		NeverBlocks:   demonstrateNeverBlocks,
		Acknowledged:  demonstrateAcknowledged,
		Retried:       demonstrateRetried,
		RefusedIsSeen: demonstrateRefusedIsSeen,
		CloseCounts:   demonstrateCloseCounts,
		Survives:      demonstrateSurvives,
		FromTheFirst:  demonstrateFromTheFirst,
		BatchRetried:  demonstrateBatchRetried,
		HoldsBack:     demonstrateHoldsBack,
		Stalled:       demonstrateStalled,
		Stopped:       demonstrateStopped,
		Killed:        demonstrateKilled,
		Batches:       demonstrateBatches,
		Offsets:       demonstrateOffsets,
		DeadHeaders:   demonstrateDeadHeaders,
		Ready:         demonstrateReady,
		Secure:        demonstrateSecure,
	}
}

// ofPublishers are the promises of publishers, which a journal in front must keep too.
func ofPublishers() []string {
	return []string{Carries, NoKey, NeverBlocks, Acknowledged, Retried, RefusedIsSeen, CloseCounts}
}

// TestPromises demonstrates every row for both drivers, for kgo over SASL_SSL too, those of publishers behind a journal as well,
// and prints the table of what it saw.
func TestPromises(t *testing.T) {
	shown := demonstrations()
	seen := Promises()
	var mu sync.Mutex
	for i, p := range Promises() {
		demonstrate, ok := shown[p.Text]
		if !ok {
			t.Errorf("nothing demonstrates %q", p.Text)
			continue
		}
		variants := []variant{{driver: clickstream.DriverKgo}, {driver: clickstream.DriverKgo, secure: true}, {driver: clickstream.DriverKq}}
		if slices.Contains(ofPublishers(), p.Text) {
			variants = append(variants, variant{driver: clickstream.DriverKgo, journal: true}, variant{driver: clickstream.DriverKq, journal: true})
		}
		for _, v := range variants {
			t.Run(p.Text+"/"+v.String(), func(t *testing.T) {
				v.parallel(t)
				t.Cleanup(func() {
					if !t.Failed() {
						return
					}
					mu.Lock()
					defer mu.Unlock()
					if v.driver == clickstream.DriverKgo {
						seen[i].Kgo = "FAILED"
					} else {
						seen[i].Kq = "FAILED"
					}
				})
				demonstrate(t, v)
			})
		}
	}
	t.Cleanup(func() { t.Logf("what each driver promises:\n%s", Markdown(seen)) })
}

// parallel lets a test run beside others, unless it publishes with kq: kafka-go has one pool of connections for the
// process, and where acks=0 forbids the broker to answer an error it closes the connection, with what others have on it.
func (v variant) parallel(t *testing.T) {
	if v.driver != clickstream.DriverKq {
		t.Parallel()
	}
}

func TestTableInDocs(t *testing.T) {
	const file = "../../../docs/clickstream.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if table := Markdown(Promises()); !strings.Contains(string(text), table) {
		t.Errorf("docs/clickstream.md does not hold this table:\n%s", table)
	}
}

// broken reports whether the table says that the driver does not keep a promise.
func broken(promise string, v variant) bool {
	for _, p := range Promises() {
		if p.Text == promise && v.driver == clickstream.DriverKq {
			return strings.HasPrefix(p.Kq, "no")
		}
	}
	return false
}
