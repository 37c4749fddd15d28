package catalog

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"hearth/internal/etcd"
	"hearth/internal/function"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "rewrite the golden files")

const account = "000000000000"

func startEtcd(t testing.TB) *clientv3.Client {
	t.Helper()
	s, err := etcd.Start(t.Context(), etcd.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s.Client()
}

func start(t testing.TB, cfg Config) *Catalog {
	t.Helper()
	cfg.RetryDelay = time.Millisecond
	c := New(cfg)
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

func record(name string) *function.Record {
	return &function.Record{
		Account: account, Region: "us-east-1", Name: name, UID: "u-" + name, RevisionID: "r",
		LastModified: time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC),
		State:        function.Pending, Latest: &function.Config{Runtime: "python3.11"},
	}
}

// write stores a record, or with nil deletes it, and returns the revision.
func write(t testing.TB, client *clientv3.Client, name string, r *function.Record) int64 {
	t.Helper()
	if r == nil {
		resp, err := client.Delete(t.Context(), Key(account, name))
		if err != nil {
			t.Fatal(err)
		}
		return resp.Header.GetRevision()
	}
	b, err := Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	return writeRaw(t, client, Key(account, name), string(b))
}

func writeRaw(t testing.TB, client *clientv3.Client, key, value string) int64 {
	t.Helper()
	resp, err := client.Put(t.Context(), key, value)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.GetRevision()
}

func waitRevision(t testing.TB, c *Catalog, revision int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.WaitRevision(ctx, revision); err != nil {
		t.Fatal(err)
	}
}

func names(records []*function.Record) string {
	var all []string
	for _, r := range records {
		all = append(all, r.Name)
	}
	return strings.Join(all, " ")
}

func TestFollowsEtcd(t *testing.T) {
	client := startEtcd(t)
	write(t, client, "b", record("b"))
	write(t, client, "d", record("d"))
	c := start(t, Config{Client: client})
	if got := names(c.All()); got != "b d" {
		t.Fatalf("after start: %q", got)
	}
	write(t, client, "a", record("a"))
	write(t, client, "d", nil)
	changed := record("b")
	changed.RevisionID = "r2"
	revision := write(t, client, "b", changed)
	waitRevision(t, c, revision)
	r, ok := c.Lookup(account, "b")
	if !ok || r.RevisionID != "r2" || r.ModRevision != revision {
		t.Errorf("b is %+v", r)
	}
	if _, ok := c.Lookup(account, "d"); ok {
		t.Error("d is still there")
	}
	if _, ok := c.Lookup("111111111111", "b"); ok {
		t.Error("b is in another account")
	}
	if got := names(c.All()); got != "a b" {
		t.Errorf("all: %q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.WaitRevision(ctx, revision+1); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for the future: %v", err)
	}
}

func TestLoadsInPages(t *testing.T) {
	client := startEtcd(t)
	const n = 2*loadPage + 1
	for i := range n {
		write(t, client, fmt.Sprintf("f%05d", i), record(fmt.Sprintf("f%05d", i)))
	}
	c := start(t, Config{Client: client})
	if got := len(c.All()); got != n {
		t.Errorf("%d records, want %d", got, n)
	}
}

func TestList(t *testing.T) {
	client := startEtcd(t)
	for _, name := range []string{"c", "a", "e", "b", "d"} {
		write(t, client, name, record(name))
	}
	other := record("a")
	other.Account = "111111111111"
	b, err := Encode(other)
	if err != nil {
		t.Fatal(err)
	}
	writeRaw(t, client, Key(other.Account, "a"), string(b))
	c := start(t, Config{Client: client})
	for _, tt := range []struct {
		account, after string
		limit          int
		want           string
	}{
		{account, "", 10, "a b c d e"},
		{account, "", 2, "a b"},
		{account, "b", 2, "c d"},
		{account, "bb", 2, "c d"},
		{account, "e", 2, ""},
		{"111111111111", "", 9, "a"},
		{"222222222222", "", 9, ""},
	} {
		if got := names(c.List(tt.account, tt.after, tt.limit)); got != tt.want {
			t.Errorf("%+v: got %q", tt, got)
		}
	}
}

func TestSubscribersHearEveryChangeInOrder(t *testing.T) {
	client := startEtcd(t)
	write(t, client, "x", record("x"))
	c := start(t, Config{Client: client})
	var mu sync.Mutex
	var heard []string
	last := make(map[string]*function.Record)
	cancel := c.Subscribe(func(before, after *function.Record) {
		mu.Lock()
		defer mu.Unlock()
		r := after
		if r == nil {
			r = before
		}
		if last[r.Name] != before {
			t.Errorf("%s: told that %p was before, and it was %p", r.Name, before, last[r.Name])
		}
		last[r.Name] = after
		heard = append(heard, fmt.Sprintf("%s:%t:%t", r.Name, before != nil, after != nil))
	})
	write(t, client, "y", record("y"))
	write(t, client, "x", record("x"))
	waitRevision(t, c, write(t, client, "x", nil))
	// No lock and no waiting: what WaitRevision saw has been told.
	if got, want := strings.Join(heard, " "), "x:false:true y:false:true x:true:true x:true:false"; got != want {
		t.Errorf("heard %q\nwant  %q", got, want)
	}
	cancel()
	waitRevision(t, c, write(t, client, "y", nil))
	if len(heard) != 4 {
		t.Errorf("heard after cancelling: %q", heard)
	}
}

func TestBadRecordsAreRefused(t *testing.T) {
	client := startEtcd(t)
	refused := make(chan string, 100)
	writeRaw(t, client, Key(account, "early"), "garbage")
	c := start(t, Config{Client: client, OnRefused: func(key string, err error) {
		if !errors.Is(err, ErrBadRecord) {
			t.Errorf("%s: %v", key, err)
		}
		refused <- key
	}})
	if got := <-refused; got != Key(account, "early") || c.Refused() != 1 {
		t.Errorf("refused %q, %d in all", got, c.Refused())
	}
	waitRevision(t, c, write(t, client, "good", record("good")))
	waitRevision(t, c, writeRaw(t, client, Key(account, "good"), `{"version":2}`))
	if _, ok := c.Lookup(account, "good"); !ok || c.Refused() != 2 {
		t.Errorf("the last good record is gone, or %d were refused", c.Refused())
	}
	waitRevision(t, c, writeRaw(t, client, Prefix+"odd", "{}"))
	waitRevision(t, c, write(t, client, "good", record("good")))
	waitRevision(t, c, write(t, client, "early", nil))
	if got := names(c.All()); got != "good" || c.Refused() != 1 {
		t.Errorf("records %q, %d refused, want the odd key", got, c.Refused())
	}
}

// TestCompactedHistory lets etcd forget what the watch needs: a catalog that
// was away for longer than etcd keeps history.
func TestCompactedHistory(t *testing.T) {
	client := startEtcd(t)
	write(t, client, "gone", record("gone"))
	write(t, client, "changed", record("changed"))
	write(t, client, "same", record("same"))
	write(t, client, "broken", record("broken"))
	c := New(Config{Client: client, RetryDelay: time.Millisecond})
	revision, err := c.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var heard []string
	defer c.Subscribe(func(before, after *function.Record) {
		switch {
		case before == nil:
			heard = append(heard, "+"+after.Name)
		case after == nil:
			heard = append(heard, "-"+before.Name)
		default:
			heard = append(heard, "~"+after.Name)
		}
	})()
	heard = nil
	write(t, client, "gone", nil)
	writeRaw(t, client, Key(account, "broken"), "garbage")
	write(t, client, "changed", record("changed"))
	last := write(t, client, "new", record("new"))
	if _, err := client.Compact(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go c.run(ctx, revision)
	waitRevision(t, c, last)
	cancel()
	<-c.done
	if got := names(c.All()); got != "broken changed new same" {
		t.Errorf("records %q", got)
	}
	got := strings.Join(heard, " ")
	if len(heard) != 3 || heard[0] != "-gone" || !strings.Contains(got, "~changed") || !strings.Contains(got, "+new") {
		t.Errorf("heard %q", got)
	}
}

func TestServesOnWithoutEtcd(t *testing.T) {
	s, err := etcd.Start(t.Context(), etcd.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.Client(), "a", record("a"))
	c := New(Config{Client: s.Client(), RetryDelay: time.Millisecond})
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if _, ok := c.Lookup(account, "a"); !ok {
		t.Error("the record is gone")
	}
	c.Stop()
	if err := New(Config{Client: s.Client()}).Start(t.Context()); err == nil {
		t.Error("a catalog started without etcd")
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	c := New(Config{})
	c.change(id{account, "hi"}, record("hi"))
	name := strings.Repeat("h", 1) + "i"
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := c.Lookup(account, name); !ok {
			t.Error("not found")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestConcurrentLookups(t *testing.T) {
	c := New(Config{})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if r, ok := c.Lookup(account, "f7"); ok && r.Name != "f7" {
					t.Errorf("found %s", r.Name)
				}
				c.List(account, "f5", 10)
			}
		})
	}
	for i := range 2000 {
		name := fmt.Sprint("f", i%20)
		r := record(name)
		if i%3 == 0 {
			r = nil
		}
		c.change(id{account, name}, r)
	}
	close(stop)
	wg.Wait()
}

// TestGolden fails when the stored form changes: then its version must, too.
func TestGolden(t *testing.T) {
	r := record("hi")
	r.State, r.StateReason, r.StateReasonCode = function.Active, "why", "Code"
	r.LastUpdateStatus, r.LastUpdateStatusReason, r.LastUpdateStatusReasonCode = function.UpdateInProgress, "why", "Code"
	r.Tags = map[string]string{"k": "v"}
	r.Latest = &function.Config{
		Description: "d", Runtime: "python3.11", Role: "arn:aws:iam::000000000000:role/r", Handler: "app.handler", Timeout: 3,
		MemorySize: 128, EphemeralStorage: 512, Environment: map[string]string{"A": "b"}, Architecture: "x86_64", PackageType: "Zip",
		TracingMode: "PassThrough", LogFormat: "Text", LogGroup: "/aws/lambda/hi", ApplicationLogLevel: "INFO", SystemLogLevel: "WARN",
		Code: function.Code{Object: "code/0/u/x.zip", SHA256: "c3Vt", Size: 7},
	}
	r.Serving, r.Generation = r.Latest.Clone(), 4
	got, err := Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join("testdata", "record-v1.json")
	if *update {
		if err := os.WriteFile(name, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("the stored form changed:\ngot  %s\nwant %s", got, want)
	}
	back, err := Decode(Key(account, "hi"), want, 9)
	if err != nil || back.ModRevision != 9 || back.Serving.Environment["A"] != "b" {
		t.Errorf("decoded %+v, %v", back, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good, err := Encode(record("hi"))
	if err != nil {
		t.Fatal(err)
	}
	key := Key(account, "hi")
	for _, tt := range []struct{ old, with, words string }{
		{`"version":1`, `"version":2`, "version 2"},
		{`"version":1`, `"version":"1"`, "version"},
		{`"version":1,`, ``, "version 0"},
		{`"name":"hi"`, `"name":"ho"`, "record of"},
		{`"account":"000000000000"`, `"account":"000000000000/x"`, "record of"},
		{`"uid":"u-hi"`, `"uid":""`, "missing"},
		{`"revisionId":"r"`, `"revisionId":""`, "missing"},
		{`"state":"Pending"`, `"state":"Happy"`, "state"},
		{`"state":"Pending"`, `"state":"Active"`, "does not fit"},
		{`"state":"Pending"`, `"lastUpdateStatus":"Odd","state":"Pending"`, "lastUpdateStatus"},
		{`"generation":0`, `"generation":-1`, "generation"},
		{`"record":{`, `"record":null,"x":{`, "no record"},
		{`}`, ``, ""},
	} {
		bad := strings.Replace(string(good), tt.old, tt.with, 1)
		if bad == string(good) {
			t.Fatalf("%s is not in %s", tt.old, good)
		}
		if _, err := Decode(key, []byte(bad), 1); !errors.Is(err, ErrBadRecord) || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%s: got %v", tt.with, err)
		}
	}
	if _, err := Decode(key, make([]byte, maxRecord+1), 1); !errors.Is(err, ErrBadRecord) {
		t.Errorf("a big one: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	good, err := Encode(record("hi"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(Key(account, "hi"), good)
	f.Add(Prefix+"a/b", []byte(`{"version":1,"record":{"account":"a","name":"b"}}`))
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		r, err := Decode(key, value, 1)
		if err != nil {
			return
		}
		if Key(r.Account, r.Name) != key || r.Latest == nil || (r.State == function.Active && r.Serving == nil) {
			t.Errorf("accepted %+v at %q", r, key)
		}
		if k, ok := parseKey(key); !ok || k != (id{r.Account, r.Name}) {
			t.Errorf("key %q is read as %+v", key, k)
		}
		if _, err := Encode(r); err != nil {
			t.Errorf("cannot be stored again: %v", err)
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	c := New(Config{})
	for i := range 10_000 {
		name := fmt.Sprint("f", i)
		c.change(id{account, name}, record(name))
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.Lookup(account, "f777")
		}
	})
}
