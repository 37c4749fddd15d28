package assignment

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"hearth/internal/environment"
	"hearth/internal/function"
	"hearth/internal/journal"
)

func intentOf(id environment.ID) Record {
	return Record{Op: opIntent, ID: id, Intent: &Intent{
		Key: function.Key{UID: "u", Version: "$LATEST", Generation: 3}, Worker: "w",
		LeaseEnd: time.Date(2026, 11, 1, 12, 0, 0, 5, time.UTC), MemoryMB: 128,
	}}
}

// golden are records as they lie in journals.
var golden = []string{
	`{"op":"intent","id":"a","intent":{"key":{"uid":"u","version":"$LATEST","generation":3},"worker":"w","leaseEnd":"2026-11-01T12:00:00.000000005Z","memoryMB":128}}`,
	`{"op":"ready","id":"a"}`,
	`{"op":"removed","id":"a"}`,
}

func TestRecords(t *testing.T) {
	for i, r := range []Record{intentOf("a"), {Op: opReady, ID: "a"}, {Op: opRemoved, ID: "a"}} {
		if got := string(r.Encode()); got != golden[i] {
			t.Errorf("got %s, want %s", got, golden[i])
		}
		if got, err := DecodeRecord([]byte(golden[i])); err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("got %+v, %v, want %+v", got, err, r)
		}
	}
	for _, bad := range []string{
		``, `{}`, `[]`, `{"op":"ready"}`, `{"op":"moved","id":"a"}`, `{"op":"intent","id":"a"}`, `{"op":"ready","id":"a","by":"b"}`,
		`{"op":"ready","id":"a"} {}`, `{"op":"ready","id":"a","intent":{}}`,
	} {
		if _, err := DecodeRecord([]byte(bad)); !errors.Is(err, errRecord) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestReplica: whatever the entries are cut into, and with a checkpoint in
// between, they lead to the same.
func TestReplica(t *testing.T) {
	records := []Record{
		intentOf("a"), intentOf("b"), {Op: opReady, ID: "a"}, intentOf("c"), {Op: opRemoved, ID: "b"},
		{Op: opReady, ID: "b"}, {Op: opReady, ID: "c"}, {Op: opRemoved, ID: "x"},
	}
	want := []Known{{ID: "a", Intent: *intentOf("a").Intent, Ready: true}, {ID: "c", Intent: *intentOf("c").Intent, Ready: true}}
	for size := 1; size <= len(records); size++ {
		r := NewReplica()
		for i, index := 0, journal.Index(1); i < len(records); i, index = i+size, index+1 {
			var data []byte
			for _, record := range records[i:min(i+size, len(records))] {
				data = journal.AppendRecord(data, record.Encode())
			}
			e := journal.Entry{Index: index, Term: 1, Data: data}
			if err := r.Apply(e); err != nil {
				t.Fatal(err)
			}
			if err := r.Apply(e); err == nil {
				t.Error("an entry was applied twice")
			}
			c, again := r.Checkpoint(), NewReplica()
			if err := again.Restore(&c); err != nil || again.Next() != r.Next() {
				t.Fatalf("restored: next %d, %v", again.Next(), err)
			}
			r = again
		}
		if got := r.Known(); !reflect.DeepEqual(got, want) {
			t.Errorf("entries of %d: got %+v, want %+v", size, got, want)
		}
		if err := r.Restore(&journal.Checkpoint{Index: 1, Data: []byte("[]")}); err != nil || len(r.Known()) != 2 {
			t.Errorf("an older checkpoint: %v", err)
		}
	}
	if err := NewReplica().Restore(&journal.Checkpoint{Index: 1, Data: []byte(`[{"id":"a","new":1}]`)}); !errors.Is(err, errRecord) {
		t.Errorf("a checkpoint of a newer version: %v", err)
	}
}

func FuzzReplica(f *testing.F) {
	for _, g := range golden {
		f.Add(journal.AppendRecord(nil, []byte(g)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewReplica()
		if r.Apply(journal.Entry{Index: 1, Data: data}) != nil {
			return
		}
		c, again := r.Checkpoint(), NewReplica()
		if err := again.Restore(&c); err != nil || len(again.Known()) != len(r.Known()) {
			t.Errorf("%q: %d environments, restored %d, %v", data, len(r.Known()), len(again.Known()), err)
		}
	})
}
