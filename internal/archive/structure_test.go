package archive

import (
	"bytes"
	"testing"
)

// TestHeadersAreCountedOnce has a header across the boundary of two reads.
func TestHeadersAreCountedOnce(t *testing.T) {
	for shift := range 5 {
		buf := append(bytes.Repeat([]byte{0}, 64<<10-shift), directoryHeader...)
		if n, err := countHeaders(bytes.NewReader(buf), int64(len(buf))); n != 1 || err != nil {
			t.Errorf("shift %d: %d headers, %v, want 1", shift, n, err)
		}
	}
}
