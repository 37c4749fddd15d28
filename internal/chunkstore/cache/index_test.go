package cache

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hearth/internal/chunk"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden files")

func someRecords() []record {
	return []record{
		{chunk.Ref{Root: 1, Name: chunk.Name{0xab, 31: 1}}, history{last: 300, recent: 200, previous: 100}},
		{chunk.Ref{Root: 0xffffffffffffffff, Name: chunk.Name{0xcd, 31: 2}}, history{last: 1, recent: 1}},
	}
}

func TestIndexGolden(t *testing.T) {
	name := filepath.Join("testdata", "index-v1")
	got := encodeIndex(someRecords())
	if *rewrite {
		if err := os.WriteFile(name, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", hex.Dump(got), hex.Dump(want))
	}
	records, err := parseIndex(want, 1000)
	if err != nil || !slices.Equal(records, someRecords()) {
		t.Errorf("read %v, %v", records, err)
	}
	// A clock that went back: nothing is newer than now.
	records, err = parseIndex(want, 150)
	if h := records[0].history; err != nil || h != (history{last: 150, recent: 150, previous: 100}) {
		t.Errorf("read %+v, %v", h, err)
	}
}

func TestIndexRefused(t *testing.T) {
	good := encodeIndex(someRecords())
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if _, err := parseIndex(bad, 1000); err == nil {
			t.Errorf("byte %d changed: accepted", i)
		}
		if _, err := parseIndex(good[:i], 1000); err == nil {
			t.Errorf("cut at %d: accepted", i)
		}
	}
	newer := bytes.Clone(good)
	newer[7] = 2
	if _, err := parseIndex(newer, 1000); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("got %v", err)
	}
}

func FuzzParseIndex(f *testing.F) {
	f.Add(encodeIndex(someRecords()))
	f.Add(encodeIndex(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		records, err := parseIndex(b, 1000)
		if err != nil {
			return
		}
		for _, r := range records {
			h := r.history
			if h.previous < 0 || h.previous > h.recent || h.recent > h.last || h.last > 1000 {
				t.Errorf("%+v", h)
			}
		}
		if again, err := parseIndex(encodeIndex(records), 1000); err != nil || !slices.Equal(again, records) {
			t.Errorf("%v", err)
		}
	})
}

func FuzzParseFileName(f *testing.F) {
	ref, _ := sealed(1, 1)
	dir, base, _ := strings.Cut(fileName(ref), "/")
	f.Add(dir, base)
	f.Add("..", "0.0")
	f.Fuzz(func(t *testing.T, shard, base string) {
		if ref, ok := parseFileName(shard, base); ok && fileName(ref) != shard+"/"+base {
			t.Errorf("%s/%s is %s", shard, base, fileName(ref))
		}
	})
}
