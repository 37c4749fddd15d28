package policy

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// same compares what a decision means; which statement it names may differ.
func same(a, b Decision) bool {
	return a.Allowed == b.Allowed && a.Explicit == b.Explicit && a.Missing == b.Missing
}

func TestDenyNeverAllowsMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, r := drawWorld(t), drawRequest(t)
		before := w.decide(t, r)
		where := rapid.IntRange(0, 3).Draw(t, "where")
		lists := []*[]Statement{&w.identity, &w.boundary, &w.session, &w.own}
		kinds := []Kind{KindIdentity, KindBoundary, KindSession, w.ownKind}
		deny := drawStatement(t, kinds[where])
		if deny.Effect = Deny; deny.NotPrincipal != nil && w.ownKind == KindTrust {
			t.Skip("not of this kind")
		}
		*lists[where] = append(slices.Clone(*lists[where]), deny)
		if after := w.decide(t, r); after.Allowed && !before.Allowed {
			t.Fatalf("a Deny in list %d allowed: before %+v, after %+v", where, before, after)
		}
	})
}

func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, r := drawWorld(t), drawRequest(t)
		before := w.decide(t, r)
		for _, list := range []*[]Statement{&w.identity, &w.boundary, &w.session, &w.own} {
			*list = rapid.Permutation(*list).Draw(t, "order")
		}
		if after := w.decide(t, r); !same(before, after) {
			t.Fatalf("before %+v, after %+v", before, after)
		}
	})
}

func TestBoundaryNeverAllowsMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, r := drawWorld(t), drawRequest(t)
		w.boundary = nil
		without := w.decide(t, r)
		w.boundary = drawStatements(t, KindBoundary, 1)
		if with := w.decide(t, r); with.Allowed && !without.Allowed {
			t.Fatalf("without %+v, with %+v", without, with)
		}
	})
}

func TestSessionPolicyNeverAllowsMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, r := drawWorld(t), drawRequest(t)
		if r.Principal.Kind == FederatedUser {
			t.Skip("may do nothing without one")
		}
		w.session = nil
		without := w.decide(t, r)
		w.session = drawStatements(t, KindSession, 1)
		if with := w.decide(t, r); with.Allowed && !without.Allowed {
			t.Fatalf("without %+v, with %+v", without, with)
		}
	})
}

// TestNothingIsAllowedByNothing: without a statement that allows only the root
// user in its own account may do anything.
func TestNothingIsAllowedByNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, r := drawWorld(t), drawRequest(t)
		for _, list := range []*[]Statement{&w.identity, &w.boundary, &w.session, &w.own} {
			*list = slices.DeleteFunc(*list, func(s Statement) bool { return s.Effect == Allow })
		}
		d := w.decide(t, r)
		if d.Allowed && (r.Principal.Kind != RootUser || r.Principal.Account != r.ResourceAccount) {
			t.Fatalf("allowed by %+v", d)
		}
	})
}

// TestCacheEqualsEvaluate asks a small cache about few policies and many
// requests, so that it answers from memory often and forgets often.
func TestCacheEqualsEvaluate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cache := NewCache(rapid.SampledFrom([]int{1, 64, 4096}).Draw(t, "decisions"))
		type policies struct {
			set *Set
			own *Document
		}
		var worlds []policies
		for range 3 {
			w := drawWorld(t)
			set, own := w.policies(t)
			worlds = append(worlds, policies{set, own}, policies{nil, own}, policies{set, nil})
		}
		requests := rapid.SliceOfN(rapid.Custom(drawRequest), 1, 8).Draw(t, "requests")
		for range 40 {
			p := rapid.SampledFrom(worlds).Draw(t, "world")
			r := rapid.SampledFrom(requests).Draw(t, "request")
			if got, want := cache.Evaluate(r, p.set, p.own), Evaluate(r, p.set, p.own); got != want {
				t.Fatalf("cached %+v, want %+v", got, want)
			}
		}
	})
}

// TestMarshalKeepsMeaning: a document read back decides alike.
func TestMarshalKeepsMeaning(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]Kind{KindIdentity, KindResource, KindTrust}).Draw(t, "kind")
		once := build(t, kind, drawStatements(t, kind, 1))
		again := build(t, kind, once.Statements)
		r := drawRequest(t)
		if a, b := decideAlone(r, once), decideAlone(r, again); a != b {
			t.Fatalf("%+v, then %+v", a, b)
		}
	})
}

func decideAlone(r *Request, d *Document) Decision {
	if d.Kind.namesPrincipals() {
		return Evaluate(r, nil, d)
	}
	return Evaluate(r, NewSet([]*Document{d}, nil, nil), nil)
}
