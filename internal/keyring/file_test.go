package keyring

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func goldenRing() *ring {
	r := &ring{masters: []master{
		{version: 1, created: time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC), key: bytes.Repeat([]byte{0x11}, KeySize)},
		{version: 2, created: time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC), arn: "arn:aws:kms:us-east-1:000000000000:key/k", key: []byte("wrapped")},
	}}
	copy(r.id[:], "0123456789abcdef")
	return r
}

// TestGolden fails when the form of the file changes: then its version must,
// too.
func TestGolden(t *testing.T) {
	r := goldenRing()
	got := hex.Dump(r.encode())
	name := filepath.Join("testdata", "keyring-v1.hex")
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the form changed:\n%s", got)
	}
	back, err := decodeRing(r.encode())
	if err != nil {
		t.Fatal(err)
	}
	if back.id != r.id || len(back.masters) != 2 || back.masters[1].arn != r.masters[1].arn ||
		!bytes.Equal(back.masters[0].key, r.masters[0].key) || !back.masters[0].created.Equal(r.masters[0].created) {
		t.Errorf("decoded %+v", back)
	}
}

// withSum appends the checksum, so that what is wrong is found behind it.
func withSum(b []byte) []byte {
	sum := sha256.Sum256(b)
	return append(bytes.Clone(b), sum[:]...)
}

func TestDecodeRefuses(t *testing.T) {
	good := goldenRing().encode()
	body := good[:len(good)-sha256.Size]
	edit := func(f func(r *ring)) []byte {
		r := goldenRing()
		f(r)
		return r.encode()
	}
	at := func(i int, v byte) []byte {
		b := bytes.Clone(body)
		b[i] = v
		return withSum(b)
	}
	const firstKind = 8 + 2 + 16 + 2 + 4
	for _, tt := range []struct {
		name string
		b    []byte
		say  string
	}{
		{"nothing", nil, "begin"},
		{"another file", []byte("{}"), "begin"},
		{"only a beginning", []byte(magic), "cut off"},
		{"another version", at(9, 2), "version 2"},
		{"no checksum", body, "checksum"},
		{"a byte more", withSum(append(bytes.Clone(body), 0)), "follow"},
		{"a byte less", withSum(body[:len(body)-1]), "cut off"},
		{"no keys", edit(func(r *ring) { r.masters = nil }), "no key"},
		{"version 0", edit(func(r *ring) { r.masters[0].version = 0 }), "no version"},
		{"out of order", edit(func(r *ring) { r.masters[0].version = 2 }), "order"},
		{"a short key", edit(func(r *ring) { r.masters[0].key = r.masters[0].key[1:] }), "length"},
		{"an empty wrapped key", edit(func(r *ring) { r.masters[1].key = nil }), "length"},
		{"a long ARN", edit(func(r *ring) { r.masters[1].arn = strings.Repeat("x", maxARN+1) }), "length"},
		{"an unknown kind", at(firstKind, 9), "kind"},
		{"a far future", at(firstKind+1, 0xff), "future"},
		{"too large", make([]byte, maxFile+1), "large"},
	} {
		if _, err := decodeRing(tt.b); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tt.say) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func FuzzDecodeRing(f *testing.F) {
	good := goldenRing().encode()
	f.Add(good[:len(good)-sha256.Size])
	f.Fuzz(func(t *testing.T, b []byte) {
		b = withSum(b)
		r, err := decodeRing(b)
		if err == nil && !bytes.Equal(r.encode(), b) {
			t.Errorf("accepted %x, would write %x", b, r.encode())
		}
	})
}

func FuzzOpenSealed(f *testing.F) {
	aead, err := newAEAD(make([]byte, KeySize))
	if err != nil {
		f.Fatal(err)
	}
	good, err := seal(aead, 3, Binding{Account: account}, []byte("x"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := sealedVersion(b); err != nil {
			return
		}
		if got, err := open(aead, Binding{Account: account}, b); err == nil && !bytes.Equal(b, good) && string(got) != "x" {
			t.Errorf("forged %q", got)
		}
	})
}
