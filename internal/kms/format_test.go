package kms

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var withEverything = []clientv3.OpOption{clientv3.WithFromKey()}

// golden compares bytes with those that an earlier version made.
func golden(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the form of %s changed:\ngot  %s\nwant %s", name, got, want)
	}
	return want
}

func TestGoldenRecords(t *testing.T) {
	at := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	s, err := New(Config{Client: &clientv3.Client{}, Keeper: &fakeKeeper{}, Region: region})
	if err != nil {
		t.Fatal(err)
	}
	k := &key{
		Account: account, Region: region, ID: "12345678-1234-4234-8234-123456789abc", Manager: managedByCustomer, Created: at, Description: "d",
		State: pendingDeletion, Deletion: at.Add(day), Policy: "{}", Tags: map[string]string{"k": "v"},
		Rotation:  rotation{Enabled: true, Days: 365, Next: at.Add(day)},
		Materials: []material{{Version: 1, Created: at, Sealed: []byte("s1")}, {Version: 2, Created: at, OnDemand: true, Sealed: []byte("s2")}},
	}
	b, err := s.keys.Encode(tableKey(k.Account, k.ID), k)
	if err != nil {
		t.Fatal(err)
	}
	want := golden(t, "key-v1.json", b)
	if _, back, err := s.keys.Decode(s.keys.Path(tableKey(k.Account, k.ID)), want); err != nil || back.Materials[1].Version != 2 {
		t.Errorf("%+v, %v", back, err)
	}
	a := &alias{Account: account, Name: "team/x", Target: k.ID, Created: at, Updated: at}
	if b, err = s.aliases.Encode(tableKey(a.Account, a.Name), a); err != nil {
		t.Fatal(err)
	}
	golden(t, "alias-v1.json", b)
	head := header{account, k.ID, 2}.append(nil)
	golden(t, "ciphertext-header-v1.hex", []byte(hex.Dump(head)))
	golden(t, "associated-v1.hex", []byte(hex.Dump(associated(head, forAPI, map[string]string{"b": "2", "a": "1"}))))
}

func TestBadRecordsAreRefused(t *testing.T) {
	good := func() *key {
		return &key{Account: account, ID: "12345678-1234-4234-8234-123456789abc", Manager: managedByCustomer, State: enabled,
			Materials: []material{{Version: 1, Sealed: []byte("s")}}}
	}
	if err := checkKey(tableKey(account, good().ID), good()); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(k *key){
		"another account": func(k *key) { k.Account = other },
		"another id":      func(k *key) { k.ID = uuid.NewString() },
		"manager":         func(k *key) { k.Manager = "x" },
		"state":           func(k *key) { k.State = "x" },
		"no date":         func(k *key) { k.State = pendingDeletion },
		"a date":          func(k *key) { k.Deletion = time.Now() },
		"no material":     func(k *key) { k.Materials = nil },
		"order":           func(k *key) { k.Materials[0].Version = 2 },
		"empty material":  func(k *key) { k.Materials[0].Sealed = nil },
	} {
		k := good()
		f(k)
		if err := checkKey(tableKey(account, good().ID), k); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := checkAlias(tableKey(account, "x"), &alias{Account: account, Name: "x", Target: "y"}); err == nil {
		t.Error("an alias of nothing was accepted")
	}
}

func FuzzReadHeader(f *testing.F) {
	f.Add(append(header{account, uuid.NewString(), 7}.append(nil), make([]byte, overhead-headerSize)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := readHeader(b)
		if ok && !bytes.Equal(h.append(nil), b[:headerSize]) {
			t.Errorf("read %+v of %x", h, b)
		}
	})
}

// FuzzServe sends requests that no SDK would.
func FuzzServe(f *testing.F) {
	b := start(f)
	k := b.makeKey(f, account)
	for name := range operations {
		f.Add(targetPrefix+name, []byte(`{"KeyId":"`+k.ID+`","AliasName":"alias/x","Plaintext":"eA==","NumberOfBytes":3,"Limit":1,"Marker":"eA"}`))
	}
	f.Fuzz(func(t *testing.T, target string, body []byte) {
		status, answer := b.Serve(t.Context(), root(other), nil, target, body)
		if status == 500 || status == 200 && len(answer) > 0 && !json.Valid(answer) {
			t.Errorf("%s %q: %d %s", target, body, status, answer)
		}
		if now, ok := b.keys.Lookup(tableKey(account, k.ID)); !ok || now.State != enabled {
			t.Errorf("%s %q: changed another account's key", target, body)
		}
	})
}
