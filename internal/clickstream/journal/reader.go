package journal

import "sync/atomic"

// Chunk is records that were read together, in order. They are good until all of them are done.
type Chunk struct {
	Records []Record

	journal *Journal
	segment *segment
	end     int
	left    atomic.Int64

	repeated uint64 // records that an earlier process had read
}

// Done says that one record of the chunk is done. It is called once for each, by anyone. When all records up to some place
// are done, no later process reads them again.
func (c *Chunk) Done() {
	if c.left.Add(-1) == 0 {
		c.journal.done(c)
	}
}

// Read returns the next records, the oldest first, at most limit, or nil when there are none now. One goroutine at a time
// may call Read and ReadFresh.
func (j *Journal) Read(limit int) *Chunk {
	return j.read(limit, func() *segment { return j.oldest })
}

// ReadFresh returns records that Read would come to much later, or nil: while Read has two segments or more to go through
// before the one that is written to, ReadFresh reads that one and those after it. So a click of now does not wait until the
// clicks of an outage are sent. A segment that one of the two has read is not read by the other.
func (j *Journal) ReadFresh(limit int) *Chunk {
	return j.read(limit, func() *segment { return j.fresh })
}

// read reads the segment that which returns, and then the next one that it returns.
func (j *Journal) read(limit int, which func() *segment) *Chunk {
	for {
		s := j.place(which)
		if s == nil {
			return nil
		}
		sealed := s.sealed.Load() && s.writers.Load() == 0 // looked at before its records are
		if chunk := s.read(limit); chunk != nil {
			if j.took(chunk) {
				return chunk
			}
			continue
		}
		switch {
		case !sealed:
			j.sealDamaged(s)
			return nil
		case s.next < s.tail: // what is there is damaged, or was never finished
			next := s.after(s.next)
			if !s.earlier && !s.unfinished(s.next, next) { // Open has counted those of an earlier process
				j.counts.damaged.Add(1)
			}
			j.pass(s, next)
		default:
			j.leave(s)
		}
	}
}

// read returns the records from where reading goes on, nil when there are none.
func (s *segment) read(limit int) *Chunk {
	chunk := &Chunk{segment: s, end: s.next}
	for len(chunk.Records) < limit {
		body, next, ok := s.at(chunk.end)
		if !ok {
			break
		}
		record, err := parse(body)
		if err != nil { // its checksum is right: another version wrote it
			break
		}
		if chunk.end < s.again {
			chunk.repeated++
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

// place says where to read. Both places are found anew each time: segments are read through, dropped and begun meanwhile.
func (j *Journal) place(which func() *segment) *segment {
	j.mu.Lock()
	defer j.mu.Unlock()
	var unread int
	var newest, following *segment
	j.oldest = nil
	for _, s := range j.segments {
		if s.left {
			continue
		}
		if unread++; unread == 1 {
			j.oldest = s
		}
		if j.fresh != nil && following == nil && s.sequence >= j.fresh.sequence {
			following = s // that of ReadFresh itself, unless it is through with it
		}
		newest = s
	}
	j.fresh = following
	if j.fresh == nil && unread > 2 && !newest.sealed.Load() {
		j.fresh = newest
	}
	if j.fresh == j.oldest {
		j.fresh = nil // there is nothing between them
	}
	j.tidy()
	return which()
}

// sealDamaged ends a segment whose next record was damaged after it was written, so that what is behind it is read. Nobody
// can be writing that record: one that has its place has a writer.
func (j *Journal) sealDamaged(s *segment) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if s.next == s.tail || s.writers.Load() > 0 {
		return
	}
	if _, _, ok := s.at(s.next); !ok {
		s.seal()
	}
}

// took reports false when the chunk's segment has been given up meanwhile.
func (j *Journal) took(c *Chunk) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := c.segment
	if s.dropped {
		return false
	}
	c.journal = j
	s.chunks = append(s.chunks, c)
	s.next = c.end
	s.unread -= uint64(len(c.Records))
	s.setReadUpTo(max(c.end, s.again))
	j.counts.repeated.Add(c.repeated)
	return true
}

func (j *Journal) pass(s *segment, at int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s.next = at
}

func (j *Journal) leave(s *segment) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s.left = true
	j.counts.lost.Add(s.unread)
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
