package blockfs

import "slices"

// runAhead is how many chunks are fetched ahead of who reads one chunk after
// the other: the time that a source takes is then waited for once in as many.
const runAhead = 4

// maxStreams is how many readers of a volume are followed at a time.
const maxStreams = 4

// streams knows who reads one chunk after the other.
type streams struct {
	recent []stream // the one that was read from last comes last
}

// stream is one reader.
type stream struct {
	at    int // the chunk that it has come to
	ahead int // the last one that was asked for ahead of it, or at
}

// read notes that a chunk is being read, of a volume of so many chunks. It
// returns what to fetch ahead, from one chunk up to before another: nothing
// unless the reader has come from the chunk before.
func (s *streams) read(c int, chunks int64) (from, to int) {
	i := slices.IndexFunc(s.recent, func(r stream) bool { return r.follows(c) })
	if i < 0 {
		if len(s.recent) == maxStreams {
			s.recent = slices.Delete(s.recent, 0, 1)
		}
		s.recent = append(s.recent, stream{at: c, ahead: c})
		return 0, 0
	}
	r := s.recent[i]
	if c > r.at {
		r.at = c
		from = max(r.ahead, c) + 1
		to = int(min(int64(c+runAhead+1), chunks))
		r.ahead = max(r.ahead, to-1)
	}
	s.recent = append(slices.Delete(s.recent, i, i+1), r)
	return from, to
}

// follows says whether a read may be of this stream: the kernel reads ahead
// with requests that overtake each other.
func (r stream) follows(c int) bool {
	return r.at-1 <= c && c <= max(r.at+1, r.ahead)
}
