package journal

import "fmt"

// The values of Config.Full.
const (
	FullDropOldest = "drop-oldest"
	FullRefuseNew  = "refuse-new"
)

// Config is the Journal block of a service's YAML.
type Config struct {
	// Dir is the folder; without one there is no journal, and a click that Kafka has not taken dies with the process.
	Dir string `json:",optional"`
	// MaxBytes is the most that the journal takes of the disk, at least four segments.
	MaxBytes int64 `json:",default=268435456"`
	// SegmentBytes is the size of each file.
	SegmentBytes int `json:",default=16777216"`
	// Full says what goes when the journal is full: the oldest segment that is not shipped, or the new click.
	Full string `json:",default=drop-oldest,options=drop-oldest|refuse-new"`
	// Sync has each redirect wait until its click is on the disk, so that it survives the machine.
	Sync bool `json:",optional"`
}

const (
	defaultMaxBytes     = 256 << 20
	defaultSegmentBytes = 16 << 20
	minSegmentBytes     = 64 << 10
	maxSegmentBytes     = 1 << 30
	minSegments         = 4
)

func (c Config) withDefaults() Config {
	if c.MaxBytes == 0 {
		c.MaxBytes = defaultMaxBytes
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = defaultSegmentBytes
	}
	if c.Full == "" {
		c.Full = FullDropOldest
	}
	return c
}

// Validate reports the first wrong value: its key, the value and what is allowed. Without Dir there is no journal, and the
// other keys must not say that there is to be one. It opens no file.
func (c Config) Validate() error {
	c = c.withDefaults()
	switch {
	case c == Config{}.withDefaults():
		return nil
	case c.Dir == "":
		return wrong("Dir", c.Dir, "a folder, since other keys of Journal are set")
	case c.SegmentBytes < minSegmentBytes || c.SegmentBytes > maxSegmentBytes || c.SegmentBytes%minSegmentBytes != 0:
		return wrong("SegmentBytes", fmt.Sprint(c.SegmentBytes), fmt.Sprintf("a multiple of %d up to %d", minSegmentBytes, maxSegmentBytes))
	case c.MaxBytes < minSegments*int64(c.SegmentBytes):
		return wrong("MaxBytes", fmt.Sprint(c.MaxBytes), fmt.Sprintf("at least %d times SegmentBytes", minSegments))
	case c.Full != FullDropOldest && c.Full != FullRefuseNew:
		return wrong("Full", c.Full, FullDropOldest+" or "+FullRefuseNew)
	}
	return nil
}

func wrong(key, value, allowed string) error {
	return fmt.Errorf("Journal.%s: %q is not allowed; allowed is %s", key, value, allowed)
}
