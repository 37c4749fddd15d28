package catalog

import (
	"testing"

	"hearth/internal/function"
	"hearth/internal/table"
)

// TestURLIndexForgets makes sure that the index holds what there is and no
// more.
func TestURLIndexForgets(t *testing.T) {
	u := urls{of: map[string]urlOwner{}}
	key := table.Key{Account: account, Name: "hi"}
	with := func(ids ...string) *function.Record {
		r := record("hi")
		r.URLs = map[string]*function.URL{}
		for i, id := range ids {
			r.URLs[string(rune('a'+i))] = &function.URL{ID: id}
		}
		return r
	}
	for _, step := range []struct {
		before, after *function.Record
		want          int
	}{
		{nil, record("hi"), 0},
		{record("hi"), with("1"), 1},
		{with("1"), with("1", "2"), 2},
		{with("1", "2"), with("3", "2"), 2},
		{with("3", "2"), with("2"), 1},
		{with("2"), nil, 0},
	} {
		u.changed(key, step.before, step.after)
		if len(u.of) != step.want {
			t.Errorf("after %v the index holds %v, want %d", step.after, u.of, step.want)
		}
	}
}
