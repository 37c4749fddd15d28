package guest

import (
	"testing"

	"hearth/internal/controlstream"
)

// TestCreditOfAnotherRequest: credit that comes when its request is over does
// not count for the next one.
func TestCreditOfAnotherRequest(t *testing.T) {
	l := &lifecycle{}
	l.credit("none", 5)
	l.invoke, l.window = &controlstream.Invoke{RequestID: "now"}, 1
	l.credit("before", 5)
	if l.window != 1 {
		t.Errorf("window %d after the credit of another request, want 1", l.window)
	}
	if l.credit("now", 5); l.window != 6 {
		t.Errorf("window %d, want 6", l.window)
	}
}
