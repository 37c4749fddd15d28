package counting

import (
	"errors"
	"testing"
	"time"

	"hearth/internal/environment"
)

// TestLaterLives: a frontend that has begun another life since it joined goes on in
// it under a new leader.
func TestLaterLives(t *testing.T) {
	fenced := 0
	l := NewLedger(time.Now, func(uint64, Front) { fenced++ })
	f := Front{"f", 7}
	l.Lead(2, []Front{{"f", 1}}, []Row{{Pool: "p", Front: f, Units: 1, Limit: 1, Epoch: 1, Seq: 1}}, true)
	if err := l.Register(f, 1, map[string]Holding{"p": {Units: 1}}); err != nil || fenced > 0 {
		t.Fatalf("its present life is refused: %v, %d lives were ended", err, fenced)
	}
	if _, _, _, err := l.Take(f, 1, "p", 1, 1, time.Second); !errors.Is(err, ErrFull) {
		t.Errorf("a second unit: %v", err)
	}
	if err := l.Register(Front{"f", 1}, 1, nil); !errors.Is(err, environment.ErrFenced) {
		t.Errorf("a former life: %v", err)
	}
}
