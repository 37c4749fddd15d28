package logstore

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func sample() []byte {
	b := appendHeader(nil, group)
	b = appendRecord(b, epoch, stream, "8f5a7d3e-1c1b-4c53-9a3e-3e1f6d3a0b11", []byte("START"))
	return appendRecord(b, epoch.Add(1), stream, "", []byte("no request"))
}

// TestGolden fails when the format changes: then the version must, too.
func TestGolden(t *testing.T) {
	name := filepath.Join("testdata", "segment-v1.log")
	if *update {
		if err := os.WriteFile(name, sample(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := sample(); !bytes.Equal(got, want) {
		t.Errorf("the format changed:\ngot  %x\nwant %x", got, want)
	}
	d := newDecoder(bytes.NewReader(want), 0)
	if g, err := d.header(); err != nil || g != group {
		t.Fatalf("header %q, %v", g, err)
	}
	for range 2 {
		if _, err := d.next(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.next(); err != io.EOF { //nolint:errorlint // exactly that
		t.Errorf("at the end: %v", err)
	}
	if d.offset != int64(len(want)) {
		t.Errorf("offset %d, want %d", d.offset, len(want))
	}
}

func TestEveryDamagedByteIsNoticed(t *testing.T) {
	whole := sample()
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 0x10
		d := newDecoder(bytes.NewReader(b), 0)
		_, err := d.header()
		for err == nil {
			_, err = d.next()
		}
		if errors.Is(err, io.EOF) {
			t.Errorf("a flipped bit in byte %d was not noticed", i)
		}
	}
	for n := range whole {
		d := newDecoder(bytes.NewReader(whole[:n]), 0)
		_, err := d.header()
		for err == nil {
			_, err = d.next()
		}
		if !errors.Is(err, io.EOF) && !errors.Is(err, errTorn) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sample())
	f.Add([]byte(magic))
	f.Add(appendHeader(nil, "g"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := newDecoder(bytes.NewReader(b), 0)
		_, err := d.header()
		for err == nil {
			var e Event
			if e, err = d.next(); err == nil && len(e.Message) > maxMessage+2*maxName {
				t.Errorf("message of %d bytes", len(e.Message))
			}
		}
		if d.offset > int64(len(b)) {
			t.Errorf("offset %d beyond %d", d.offset, len(b))
		}
		whole, count := wholeRecords(b)
		if whole > len(b) || count > len(b)/recordHeader {
			t.Errorf("%d whole bytes in %d records of %d", whole, count, len(b))
		}
	})
}
