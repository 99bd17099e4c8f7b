package journal

import (
	"slices"
	"sync/atomic"
)

// Chunk is records that were read together, in order. They are good until all of them are done.
type Chunk struct {
	Records []Record

	journal *Journal
	segment *segment
	end     int
	left    atomic.Int64
}

// Done says that one record of the chunk is done. It is called once for each, by anyone. When all records up to some place
// are done, no later process reads them again.
func (c *Chunk) Done() {
	if c.left.Add(-1) == 0 {
		c.journal.done(c)
	}
}

// Read returns the next records, at most limit, or nil when there are none now. One goroutine at a time may call it.
func (j *Journal) Read(limit int) *Chunk {
	for {
		s, at := j.position()
		if s == nil {
			return nil
		}
		sealed := s.sealed.Load() && s.writers.Load() == 0 // looked at before its records are
		if chunk := s.read(at, limit); chunk != nil {
			j.took(chunk)
			return chunk
		}
		switch {
		case !sealed:
			return nil
		case at < s.tail: // what is there is damaged, or was never finished
			next := s.after(at)
			if !s.unfinished(at, next) {
				j.counts.damaged.Add(1)
			}
			j.pass(next)
		default:
			j.leave()
		}
	}
}

// read returns the records from a place on, nil when there are none.
func (s *segment) read(at, limit int) *Chunk {
	chunk := &Chunk{segment: s, end: at}
	for len(chunk.Records) < limit {
		body, next, ok := s.at(chunk.end)
		if !ok {
			break
		}
		record, err := parse(body)
		if err != nil { // its checksum is right: another version wrote it
			break
		}
		chunk.Records = append(chunk.Records, record)
		chunk.end = next
	}
	if len(chunk.Records) == 0 {
		return nil
	}
	chunk.left.Store(int64(len(chunk.Records)))
	return chunk
}

// position is where to read on; nil when there is no segment.
func (j *Journal) position() (*segment, int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if s := j.reading; s != nil && s.dropped {
		j.reading = nil
	}
	j.tidy()
	if j.reading == nil {
		if len(j.segments) == 0 {
			return nil, 0
		}
		j.reading = j.segments[0]
		j.at = j.reading.shipped()
	}
	return j.reading, j.at
}

func (j *Journal) took(c *Chunk) {
	j.mu.Lock()
	defer j.mu.Unlock()
	c.journal = j
	c.segment.chunks = append(c.segment.chunks, c)
	c.segment.setReadUpTo(c.end)
	j.at = c.end
}

func (j *Journal) pass(at int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.at = at
}

// leave goes on to the next segment.
func (j *Journal) leave() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.reading.left = true
	i := slices.Index(j.segments, j.reading)
	j.reading = nil
	if i+1 < len(j.segments) && i >= 0 {
		j.reading = j.segments[i+1]
		j.at = j.reading.shipped()
	}
	j.tidy()
}

// done moves the mark of a segment over the chunks that are done.
func (j *Journal) done(c *Chunk) {
	j.counts.shipped.Add(uint64(len(c.Records)))
	j.mu.Lock()
	defer j.mu.Unlock()
	s := c.segment
	for len(s.chunks) > 0 && s.chunks[0].left.Load() == 0 {
		s.setShipped(s.chunks[0].end)
		s.chunks[0] = nil
		s.chunks = s.chunks[1:]
	}
	j.tidy()
}
