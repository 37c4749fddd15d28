package bench

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"hearth/internal/chunk"
)

type oneChunk struct{}

func (oneChunk) ReadChunk(_ context.Context, ref chunk.Ref) ([]byte, error) {
	if ref.Name[0] == 0 {
		return nil, chunk.ErrNotFound
	}
	return make([]byte, 10), nil
}

func TestOrigin(t *testing.T) {
	if got, err := Origin(oneChunk{}); got != (oneChunk{}) || err != nil {
		t.Errorf("without a bench: got %T, %v", got, err)
	}
	log := filepath.Join(t.TempDir(), "log")
	t.Setenv(delayEnv, "20ms")
	t.Setenv(logEnv, log)
	source, err := Origin(oneChunk{})
	if err != nil {
		t.Fatal(err)
	}
	defer source.(*lateOrigin).log.Close()
	synctest.Test(t, func(t *testing.T) {
		clock := time.Now()
		for _, name := range []byte{1, 2, 1} {
			if b, err := source.ReadChunk(t.Context(), chunk.Ref{Name: chunk.Name{name}}); len(b) != 10 || err != nil {
				t.Errorf("got %d bytes, %v", len(b), err)
			}
		}
		if took := time.Since(clock); took != 60*time.Millisecond {
			t.Errorf("took %v", took)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := source.ReadChunk(gone, chunk.Ref{Name: chunk.Name{3}}); !errors.Is(err, context.Canceled) {
			t.Errorf("nobody waits: got %v", err)
		}
	})
	if got, err := readOriginLog(log); got != (Fetched{Reads: 3, Distinct: 2, Bytes: 30, AtOnce: 1}) || err != nil {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestPicture sees that pictures differ where they are to, and nowhere else.
func TestPicture(t *testing.T) {
	digest := func(p picture) string {
		l, err := p.layer()
		if err != nil {
			t.Fatal(err)
		}
		r, _ := l.Compressed()
		n, err := io.Copy(io.Discard, r)
		if err != nil || n != l.size {
			t.Errorf("got %d bytes, %v, want %d", n, err, l.size)
		}
		return l.digest.Hex
	}
	p := picture{files: 8, touched: 2}
	same, changed := digest(p), p
	changed.changed = 3
	if digest(p) != same || digest(changed) == same {
		t.Error("the same picture is another image, or another the same")
	}
	large := picture{files: 32, touched: 2}
	if p.seed(0) != large.seed(0) || p.seed(4) != large.seed(16) || !p.isTouched(4) || p.isTouched(1) || !large.isTouched(16) {
		t.Error("what is read differs from image to image")
	}
}

// TestBuild builds small volumes: what did not change is there already.
func TestBuild(t *testing.T) {
	b, err := Build(t.Context(), 16)
	if err != nil {
		t.Fatal(err)
	}
	if b.Again != 0 || b.Changed == 0 || b.Changed*2 > b.Chunks || b.Chunks < 32 || b.Took <= 0 || b.Durable <= 0 || b.PeakMB == 0 {
		t.Errorf("got %+v", b)
	}
}
