package flatten_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"testing"
)

const chunkSize = 512 << 10

// tree makes files of sizes as in images of languages: most are small, most of
// the bytes are in large ones.
func tree(seed int, prefix string, total int) []entry {
	source := rand.NewChaCha8([32]byte{byte(seed)})
	r := rand.New(source)
	var entries []entry
	for i := 0; total > 0; i++ {
		size := 200 + r.IntN(12000)
		switch r.IntN(100) {
		case 0:
			size = r.IntN(8 << 20)
		case 1, 2, 3:
			size = r.IntN(400 << 10)
		}
		total -= size
		b := make([]byte, size)
		_, _ = source.Read(b) // never fails
		entries = append(entries, file(fmt.Sprintf("%s/%02x/%d", prefix, r.IntN(256), i), string(b)))
	}
	return entries
}

func chunks(b []byte) map[[32]byte]bool {
	all := make(map[[32]byte]bool)
	for ; len(b) > 0; b = b[min(len(b), chunkSize):] {
		all[sha256.Sum256(b[:min(len(b), chunkSize)])] = true
	}
	return all
}

// shared is the part of an image's chunks that another has too.
func shared(of, with map[[32]byte]bool) float64 {
	n := 0
	for c := range of {
		if with[c] {
			n++
		}
	}
	return float64(n) / float64(len(of))
}

// TestLocality changes the size of one file in the middle of a layer.
func TestLocality(t *testing.T) {
	entries := tree(1, "usr", 64<<20)
	total := 0
	for _, e := range entries {
		total += len(e.content)
	}
	before := build(t, packed(t, entries...))
	if limit := total * 112 / 100; len(before) > limit {
		t.Errorf("%d bytes of files became an image of %d", total, len(before))
	}
	old := chunks(before)
	worst := 1.0
	for i := range 2 {
		at := (i + 1) * len(entries) / 3
		changed := append([]entry(nil), entries...)
		changed[at].content += string(make([]byte, 9000)) + "more"
		worst = min(worst, shared(chunks(build(t, packed(t, changed...))), old))
	}
	t.Logf("%.1f %% of %d chunks are the same", 100*worst, len(old))
	if worst < 0.88 { // the part shrinks with the size of the image
		t.Errorf("after a change of one file, %.1f %% of the chunks are the same", 100*worst)
	}
}

// TestSharedBase puts different code on one base.
func TestSharedBase(t *testing.T) {
	base := packed(t, tree(1, "usr", 64<<20)...)
	one := chunks(build(t, base, packed(t, tree(2, "app", 1<<20)...)))
	other := chunks(build(t, base, packed(t, append(tree(3, "app", 2<<20), whiteout("usr/00"))...)))
	part := shared(other, one)
	t.Logf("%.1f %% of %d chunks are the same", 100*part, len(other))
	if part < 0.85 { // the whiteout makes a gap in the base, besides
		t.Errorf("two images on one base share %.1f %% of their chunks", 100*part)
	}
}
