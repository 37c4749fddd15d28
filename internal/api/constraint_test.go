package api

import "testing"

func TestEveryPatternCompiles(t *testing.T) {
	for name, c := range constraints {
		if c.pattern != "" {
			t.Run(name, func(t *testing.T) { c.matches("") })
		}
	}
}
