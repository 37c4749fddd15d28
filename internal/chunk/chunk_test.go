package chunk_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"hearth/internal/chunk"
)

var salt = chunk.Salt{Epoch: 1, Secret: [32]byte{1}}

func TestSealAndOpen(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(t, "plain")
		extra := chunk.NewExtra(&salt, 7, chunk.AccountDomain("000000000000"))
		name, key, sealed := chunk.Seal(nil, extra, plain)
		if len(sealed) != len(plain)+chunk.Overhead {
			t.Fatalf("%d bytes became %d", len(plain), len(sealed))
		}
		again, _, twice := chunk.Seal([]byte("before"), extra, plain)
		if again != name || !bytes.Equal(twice, append([]byte("before"), sealed...)) {
			t.Fatal("the same chunk was sealed differently")
		}
		got, err := chunk.Open(nil, name, &key, extra, sealed)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("open: %v", err)
		}
		at := rapid.IntRange(0, len(sealed)-1).Draw(t, "at")
		flipped := bytes.Clone(sealed)
		flipped[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		for what, bad := range map[string][]byte{"flipped": flipped, "truncated": sealed[:at], "longer": append(bytes.Clone(sealed), 0)} {
			if _, err := chunk.Open(nil, name, &key, extra, bad); !errors.Is(err, chunk.ErrIntegrity) {
				t.Errorf("%s: got %v, want ErrIntegrity", what, err)
			}
		}
	})
}

// TestOpenElsewhere opens chunks by what belongs to others: the name's own hash
// holds in each, so what refuses them is the key, the tag or the extra.
func TestOpenElsewhere(t *testing.T) {
	t.Parallel()
	plain := []byte("the same content")
	mine := chunk.NewExtra(&salt, 7, chunk.AccountDomain("000000000000"))
	name, key, sealed := chunk.Seal(nil, mine, plain)
	otherSalt := chunk.Salt{Epoch: 1, Secret: [32]byte{2}}
	for what, other := range map[string]*chunk.Extra{
		"root":   chunk.NewExtra(&salt, 8, chunk.AccountDomain("000000000000")),
		"domain": chunk.NewExtra(&salt, 7, chunk.AccountDomain("111111111111")),
		"epoch":  chunk.NewExtra(&chunk.Salt{Epoch: 2, Secret: salt.Secret}, 7, chunk.AccountDomain("000000000000")),
		"salt":   chunk.NewExtra(&otherSalt, 7, chunk.AccountDomain("000000000000")),
	} {
		theirs, theirKey, theirSealed := chunk.Seal(nil, other, plain)
		if theirs == name || theirKey == key {
			t.Errorf("another %s has the same name or key", what)
		}
		if _, err := chunk.Open(nil, theirs, &theirKey, mine, theirSealed); !errors.Is(err, chunk.ErrIntegrity) {
			t.Errorf("a chunk of another %s: got %v, want ErrIntegrity", what, err)
		}
		if _, err := chunk.Open(nil, name, &theirKey, mine, sealed); !errors.Is(err, chunk.ErrIntegrity) {
			t.Errorf("the key of another %s: got %v, want ErrIntegrity", what, err)
		}
	}
}

// TestOtherMessage has who knows a chunk's key encrypt something else under it:
// only the name tells.
func TestOtherMessage(t *testing.T) {
	t.Parallel()
	extra := chunk.NewExtra(&salt, 7, chunk.Common)
	name, key, _ := chunk.Seal(nil, extra, []byte("what was stored"))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	forged := gcm.Seal(nil, make([]byte, 12), append(extra[:], "what was forged"...), nil)
	if _, err := chunk.Open(nil, name, &key, extra, forged); !errors.Is(err, chunk.ErrIntegrity) {
		t.Errorf("got %v, want ErrIntegrity", err)
	}
}

func TestSecretsHide(t *testing.T) {
	t.Parallel()
	extra := chunk.NewExtra(&salt, 7, chunk.Common)
	_, key, _ := chunk.Seal(nil, extra, []byte("x"))
	for _, format := range []string{"%v", "%s", "%+v", "%#v"} {
		for _, secret := range []any{key, salt, extra} {
			if got := fmt.Sprintf(format, secret); !strings.HasPrefix(got, "[") || len(got) > 10 {
				t.Errorf("%s shows %s", format, got)
			}
		}
	}
}

func TestParseName(t *testing.T) {
	t.Parallel()
	name := chunk.Name{0xab, 31: 0x01}
	if got, err := chunk.ParseName(name.String()); err != nil || got != name {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "ab", strings.ToUpper(name.String()), strings.Repeat("g", 64), "../" + name.String()[3:]} {
		if _, err := chunk.ParseName(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// TestInPlace compares what works in the caller's buffers with what does not.
func TestInPlace(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(t, "plain")
		extra := chunk.NewExtra(&salt, 7, chunk.Common)
		name, key, want := chunk.Seal(nil, extra, plain)
		buf := make([]byte, chunk.ExtraSize, chunk.Overhead+len(plain))
		gotName, gotKey, got := chunk.SealInPlace(append(buf, plain...), extra)
		if gotName != name || gotKey != key || !bytes.Equal(got, want) {
			t.Fatal("sealed in place is not what Seal gives")
		}
		if len(got) > 0 && &got[0] != &buf[0] {
			t.Error("there was room, and yet it was moved")
		}
		before := bytes.Clone(got)
		room := make([]byte, 0, rapid.IntRange(0, 2*chunk.ExtraSize+len(plain)).Draw(t, "room"))
		opened, err := chunk.OpenIn(room, name, &key, extra, got)
		if err != nil || !bytes.Equal(opened, plain) {
			t.Fatalf("open: %v", err)
		}
		if !bytes.Equal(got, before) {
			t.Error("the ciphertext was changed by opening it")
		}
		other := chunk.NewExtra(&salt, 8, chunk.Common)
		room = room[:cap(room)]
		clear(room)
		if _, err := chunk.OpenIn(room, name, &key, other, got); !errors.Is(err, chunk.ErrIntegrity) {
			t.Errorf("of another root: got %v, want ErrIntegrity", err)
		}
		if !bytes.Equal(room, make([]byte, len(room))) {
			t.Error("a refused chunk's plaintext was left in the buffer")
		}
	})
}

func TestMatches(t *testing.T) {
	t.Parallel()
	extra := chunk.NewExtra(&salt, 7, chunk.AccountDomain("000000000000"))
	if !extra.Matches(7, 1, "account/000000000000") {
		t.Error("it does not match what it was made of")
	}
	if extra.Matches(8, 1, "account/000000000000") || extra.Matches(7, 2, "account/000000000000") || extra.Matches(7, 1, chunk.Common) {
		t.Error("it matches what it was not made of")
	}
}

func TestParseRoot(t *testing.T) {
	t.Parallel()
	if got, err := chunk.ParseRoot(chunk.Root(0xab01).String()); err != nil || got != 0xab01 {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "ab01", "000000000000AB01", "+00000000000ab01", "00000000000000_1", "../0000000000000"} {
		if _, err := chunk.ParseRoot(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	plain := make([]byte, chunk.Size)
	_, _ = rand.Read(plain)
	extra := chunk.NewExtra(&salt, 7, chunk.Common)
	b.SetBytes(chunk.Size)
	buf := make([]byte, chunk.ExtraSize+chunk.Size, chunk.Size+chunk.Overhead)
	for b.Loop() {
		copy(buf[chunk.ExtraSize:], plain)
		chunk.SealInPlace(buf, extra)
	}
}

func BenchmarkOpen(b *testing.B) {
	plain := make([]byte, chunk.Size)
	_, _ = rand.Read(plain)
	extra := chunk.NewExtra(&salt, 7, chunk.Common)
	name, key, sealed := chunk.Seal(nil, extra, plain)
	b.SetBytes(chunk.Size)
	buf := make([]byte, chunk.ExtraSize+chunk.Size)
	for b.Loop() {
		if _, err := chunk.OpenIn(buf, name, &key, extra, sealed); err != nil {
			b.Fatal(err)
		}
	}
}
