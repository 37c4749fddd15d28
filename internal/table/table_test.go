package table

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"hearth/internal/etcd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

func start(t testing.TB, cfg Config[thing]) *Table[thing] {
	t.Helper()
	c := New(cfg)
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

// thing is a record of the tests.
type thing struct {
	Name  string `json:"name"`
	Value string `json:"value,omitempty"`
}

func record(name string) *thing { return &thing{Name: name, Value: "r"} }

func config(client *clientv3.Client) Config[thing] {
	return Config[thing]{Client: client, Prefix: prefix, RetryDelay: time.Millisecond, Check: func(k Key, r *thing) error {
		if r.Name != k.Name {
			return fmt.Errorf("it is the record of %q", r.Name)
		}
		return nil
	}}
}

const prefix = "hearth/things/"

func path(account, name string) string { return prefix + account + "/" + name }

func encode(t testing.TB, r *thing) string {
	t.Helper()
	b, err := New(config(nil)).Encode(Key{account, r.Name}, r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// write stores a record, or with nil deletes it, and returns the revision.
func write(t testing.TB, client *clientv3.Client, name string, r *thing) int64 {
	t.Helper()
	if r == nil {
		resp, err := client.Delete(t.Context(), path(account, name))
		if err != nil {
			t.Fatal(err)
		}
		return resp.Header.GetRevision()
	}
	return writeRaw(t, client, path(account, name), encode(t, r))
}

func writeRaw(t testing.TB, client *clientv3.Client, key, value string) int64 {
	t.Helper()
	resp, err := client.Put(t.Context(), key, value)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.GetRevision()
}

func waitRevision(t testing.TB, c *Table[thing], revision int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := c.WaitRevision(ctx, revision); err != nil {
		t.Fatal(err)
	}
}

func names(records []*thing) string {
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
	c := start(t, config(client))
	if got := names(c.All()); got != "b d" {
		t.Fatalf("after start: %q", got)
	}
	write(t, client, "a", record("a"))
	write(t, client, "d", nil)
	changed := record("b")
	changed.Value = "r2"
	revision := write(t, client, "b", changed)
	waitRevision(t, c, revision)
	r, ok := c.Lookup(Key{account, "b"})
	if !ok || r.Value != "r2" {
		t.Errorf("b is %+v", r)
	}
	if _, ok := c.Lookup(Key{account, "d"}); ok {
		t.Error("d is still there")
	}
	if _, ok := c.Lookup(Key{"111111111111", "b"}); ok {
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
	c := start(t, config(client))
	if got := len(c.All()); got != n {
		t.Errorf("%d records, want %d", got, n)
	}
}

func TestList(t *testing.T) {
	client := startEtcd(t)
	for _, name := range []string{"c", "a", "e", "b", "d"} {
		write(t, client, name, record(name))
	}
	write(t, client, "bcd", record("bcd"))
	writeRaw(t, client, path("111111111111", "a"), encode(t, record("a")))
	c := start(t, config(client))
	for _, tt := range []struct {
		account, prefix, after string
		limit                  int
		want                   string
	}{
		{account, "", "", 10, "a b bcd c d e"},
		{account, "", "", 2, "a b"},
		{account, "", "b", 2, "bcd c"},
		{account, "", "bb", 2, "bcd c"},
		{account, "", "e", 2, ""},
		{account, "b", "", 9, "b bcd"},
		{account, "b", "b", 9, "bcd"},
		{account, "b", "a", 9, "b bcd"},
		{account, "b", "c", 9, ""},
		{account, "x", "", 9, ""},
		{"111111111111", "", "", 9, "a"},
		{"222222222222", "", "", 9, ""},
	} {
		if got := names(c.List(tt.account, tt.prefix, tt.after, tt.limit)); got != tt.want {
			t.Errorf("%+v: got %q", tt, got)
		}
	}
}

func TestSubscribersHearEveryChangeInOrder(t *testing.T) {
	client := startEtcd(t)
	write(t, client, "x", record("x"))
	c := start(t, config(client))
	var mu sync.Mutex
	var heard []string
	last := make(map[string]*thing)
	cancel := c.Subscribe(func(_ Key, before, after *thing) {
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
	writeRaw(t, client, path(account, "early"), "garbage")
	cfg := config(client)
	cfg.OnRefused = func(key string, err error) {
		if !errors.Is(err, ErrBadRecord) {
			t.Errorf("%s: %v", key, err)
		}
		refused <- key
	}
	c := start(t, cfg)
	if got := <-refused; got != path(account, "early") || c.Refused() != 1 {
		t.Errorf("refused %q, %d in all", got, c.Refused())
	}
	waitRevision(t, c, write(t, client, "good", record("good")))
	waitRevision(t, c, writeRaw(t, client, path(account, "good"), `{"version":2}`))
	if _, ok := c.Lookup(Key{account, "good"}); !ok || c.Refused() != 2 {
		t.Errorf("the last good record is gone, or %d were refused", c.Refused())
	}
	waitRevision(t, c, writeRaw(t, client, prefix+"odd", "{}"))
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
	c := New(config(client))
	revision, err := c.load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var heard []string
	defer c.Subscribe(func(_ Key, before, after *thing) {
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
	writeRaw(t, client, path(account, "broken"), "garbage")
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
	c := New(config(s.Client()))
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if _, ok := c.Lookup(Key{account, "a"}); !ok {
		t.Error("the record is gone")
	}
	c.Stop()
	if err := New(config(s.Client())).Start(t.Context()); err == nil {
		t.Error("a catalog started without etcd")
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	c := New(config(nil))
	c.change(Key{account, "hi"}, entry[thing]{record("hi"), 1})
	name := strings.Repeat("h", 1) + "i"
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := c.Lookup(Key{account, name}); !ok {
			t.Error("not found")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestConcurrentLookups(t *testing.T) {
	c := New(config(nil))
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
				if r, ok := c.Lookup(Key{account, "f7"}); ok && r.Name != "f7" {
					t.Errorf("found %s", r.Name)
				}
				c.List(account, "", "f5", 10)
			}
		})
	}
	for i := range 2000 {
		name := fmt.Sprint("f", i%20)
		r := record(name)
		if i%3 == 0 {
			r = nil
		}
		c.change(Key{account, name}, entry[thing]{r, 1})
	}
	close(stop)
	wg.Wait()
}

func BenchmarkLookup(b *testing.B) {
	c := New(config(nil))
	for i := range 10_000 {
		name := fmt.Sprint("f", i)
		c.change(Key{account, name}, entry[thing]{record(name), 1})
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.Lookup(Key{account, "f777"})
		}
	})
}
