package blockfs

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestStreams has readers, each of which goes on from chunk to chunk.
func TestStreams(t *testing.T) {
	const chunks = 20
	for what, c := range map[string]struct {
		reads []int
		want  [][]int // ahead of each read
	}{
		"one after the other": {[]int{0, 1, 2, 3}, [][]int{nil, {2, 3, 4, 5}, {6}, {7}}},
		"parts of a chunk":    {[]int{0, 0, 1, 1, 1}, [][]int{nil, nil, {2, 3, 4, 5}, nil, nil}},
		"here and there":      {[]int{9, 2, 17, 5}, [][]int{nil, nil, nil, nil}},
		"backwards":           {[]int{9, 8, 7}, [][]int{nil, nil, nil}},
		"up to the end":       {[]int{16, 17, 18, 19}, [][]int{nil, {18, 19}, nil, nil}},
		"two readers":         {[]int{0, 10, 1, 11, 2}, [][]int{nil, nil, {2, 3, 4, 5}, {12, 13, 14, 15}, {6}}},
		"overtaken":           {[]int{0, 2, 1, 3}, [][]int{nil, nil, {2, 3, 4, 5}, {4, 5, 6, 7}}},
		"overtaken later":     {[]int{0, 1, 3, 2, 4}, [][]int{nil, {2, 3, 4, 5}, {6, 7}, nil, {8}}},
		"again":               {[]int{0, 1, 0, 9, 0, 1}, [][]int{nil, {2, 3, 4, 5}, nil, nil, nil, nil}},
		"too many":            {[]int{0, 4, 8, 12, 16, 1}, [][]int{nil, nil, nil, nil, nil, nil}},
	} {
		var s streams
		for i, read := range c.reads {
			var got []int
			for from, to := s.read(read, chunks); from < to; from++ {
				got = append(got, from)
			}
			if !slices.Equal(got, c.want[i]) {
				t.Errorf("%s: ahead of read %d: got %v, want %v", what, i, got, c.want[i])
			}
		}
	}
}

// TestStreamsBounded: whatever is read, little is fetched ahead, and nothing
// that is not there.
func TestStreamsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s streams
		chunks := rapid.IntRange(1, 30).Draw(t, "chunks")
		for _, c := range rapid.SliceOf(rapid.IntRange(0, chunks-1)).Draw(t, "reads") {
			from, to := s.read(c, int64(chunks))
			if from < to && (from <= c || to > chunks || to-from > runAhead) {
				t.Fatalf("chunk %d of %d: ahead from %d to %d", c, chunks, from, to)
			}
			if len(s.recent) > maxStreams {
				t.Fatalf("%d streams", len(s.recent))
			}
		}
	})
}
