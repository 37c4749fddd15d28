package e2e

import (
	"bufio"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/internal/chunkstore/stack"
	"hearth/test/harness"
)

// bucket is an S3 server behind a proxy that can go away.
type bucket struct {
	url  string
	away atomic.Bool
}

func startBucket(t *testing.T) *bucket {
	t.Helper()
	server := harness.StartS3(t)
	server.MakeBucket(t, "chunks")
	b := &bucket{}
	b.url = server.Behind(t, func(*http.Request) {
		if b.away.Load() {
			panic(http.ErrAbortHandler)
		}
	})
	return b
}

// keys returns the keys of the chunks in a root, or in all.
func (b *bucket) keys(t *testing.T, root string) []string {
	t.Helper()
	var keys []string
	for next := ""; ; {
		var page struct {
			Contents              []struct{ Key string }
			NextContinuationToken string
		}
		if err := xml.Unmarshal(b.get(t, "?list-type=2&prefix=hearth/"+root+next), &page); err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Contents {
			if chunkKey.MatchString(c.Key) {
				keys = append(keys, c.Key)
			}
		}
		if page.NextContinuationToken == "" {
			return keys
		}
		next = "&continuation-token=" + url.QueryEscape(page.NextContinuationToken)
	}
}

// chunkKey has the root, and the path of the chunk in it.
var chunkKey = regexp.MustCompile(`^hearth/([0-9a-f]{16})/([0-9a-f]{2}/[0-9a-f]{64})$`)

func (b *bucket) get(t *testing.T, path string) []byte {
	t.Helper()
	resp, err := http.Get(b.url + "/chunks" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", path, resp.Status, err)
	}
	return all
}

// copy copies all chunks to a directory.
func (b *bucket) copy(t *testing.T, dir string) {
	t.Helper()
	for _, key := range b.keys(t, "") {
		name := filepath.Join(dir, strings.TrimPrefix(key, "hearth/"))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b.get(t, "/"+key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// zoneNode is a hearth cache in a process of its own.
type zoneNode struct {
	url string
	cmd *exec.Cmd
}

func startZoneNode(t *testing.T, dir, key string) *zoneNode {
	t.Helper()
	program, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	n := &zoneNode{cmd: exec.Command(program, "cache", "--listen", "127.0.0.1:0", "--dir", dir, "--disk", "500", "--memory", "16", "--key", key)}
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := n.cmd.StderrPipe()
	if err == nil {
		err = n.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.kill)
	line, err := bufio.NewReader(stderr).ReadString('\n')
	at, ok := strings.CutPrefix(strings.TrimSpace(line), "hearth cache ready on ")
	if !ok {
		t.Fatalf("hearth cache: %q, %v", line, err)
	}
	n.url = at
	return n
}

func (n *zoneNode) kill() {
	_ = n.cmd.Process.Kill()
	_ = n.cmd.Wait()
}

// chunkStats is what hearth chunks shows.
func chunkStats(t *testing.T, h *harness.Instance) *stack.Stats {
	t.Helper()
	s := &stack.Stats{}
	if err := json.Unmarshal([]byte(hearth(t, h, "chunks", "-o", "json")), s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestBucketAndZone keeps chunks in a bucket, with two nodes of a zone's cache
// before it, and takes one tier after the other away.
func TestBucketAndZone(t *testing.T) {
	store, dir := startBucket(t), t.TempDir()
	credentials, key := filepath.Join(dir, "credentials"), filepath.Join(dir, "key")
	if err := os.WriteFile(credentials, []byte("[default]\naws_access_key_id = AKIAHEARTHTEST000001\naws_secret_access_key = secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	program, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, "cache", "key", key).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	nodes := []*zoneNode{startZoneNode(t, filepath.Join(dir, "a"), key), startZoneNode(t, filepath.Join(dir, "b"), key)}
	where := []string{"--chunks-bucket", store.url + "/chunks/hearth", "--chunks-bucket-credentials", credentials}
	flags := append([]string{
		"--zone-cache", nodes[0].url, "--zone-cache", nodes[1].url, "--zone-cache-key", key, "--pool", "0", "--gc-rotation", "1000h", "--gc-expiry", "1ms",
	}, where...)
	data, err := harness.NewData()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	var h *harness.Instance
	start := func() *lambda.Client {
		if h, err = harness.Start(data, flags...); err != nil {
			t.Fatal(err)
		}
		return h.Client()
	}
	stop := func() {
		if err := h.Stop(); err != nil {
			t.Fatal(err)
		}
		if left := harness.Remaining(data); len(left) > 0 {
			t.Errorf("left behind after a clean stop:\n%s", strings.Join(left, "\n"))
		}
	}
	forget := func() {
		if err := os.RemoveAll(filepath.Join(data, "cache")); err != nil {
			t.Fatal(err)
		}
	}
	client := start()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(h.Log())
		}
		_ = h.Stop() // if a check has failed
	})
	harness.CreatePython(t, client, "app", "", func(in *lambda.CreateFunctionInput) {
		in.Code = &types.FunctionCode{ZipFile: harness.Zip(t, map[string]string{
			"app.py": "data = open('data', 'rb').read()\ndef handler(event, context):\n    return len(data)\n", "data": incompressible(3 << 20),
		})}
	})
	started(t, client, "app")
	if n := bytesBelow(t, filepath.Join(data, "chunks")); n != 0 {
		t.Errorf("%d bytes of chunks are in the data directory", n)
	}
	s := chunkStats(t, h)
	if s.Origin.Hits == 0 || s.Zone.Hits != 0 || s.ZoneClient == nil {
		t.Errorf("first start: %+v", s)
	}
	eventually(t, "the zone is filled", func() bool {
		now := chunkStats(t, h)
		return now.ZoneClient.Filled == 2*now.Origin.Hits
	})
	stop()

	// Without a copy on this machine, the zone has all of it.
	forget()
	store.away.Store(true)
	client = start()
	started(t, client, "app")
	if s := chunkStats(t, h); s.Origin.Hits != 0 || s.Zone.Hits == 0 || s.Disk.Hits != 0 {
		t.Errorf("with the zone's cache alone: %+v", s)
	}
	stop()

	// Without the zone and the bucket, this machine's disk has.
	nodes[0].kill()
	nodes[1].kill()
	client = start()
	started(t, client, "app")
	if s := chunkStats(t, h); s.Origin.Hits != 0 || s.Zone.Hits != 0 || s.Disk.Hits == 0 {
		t.Errorf("with the machine's cache alone: %+v", s)
	}
	stop()

	// Without any cache, the bucket.
	forget()
	store.away.Store(false)
	client = start()
	started(t, client, "app")
	if s := chunkStats(t, h); s.Origin.Hits == 0 || s.Zone.Hits != 0 {
		t.Errorf("with the bucket alone: %+v", s)
	}

	// What is not needed any more leaves the bucket.
	all := store.keys(t, "")
	first := chunkKey.FindStringSubmatch(all[0])[1]
	if len(store.keys(t, first)) != len(all) {
		t.Fatalf("the bucket has more roots than one: %q", all)
	}
	hearth(t, h, "gc", "--rotate")
	again(t, client, "app", "1", "") // what runs has the first root open
	eventually(t, "the first root is deleted", func() bool {
		collectGarbage(t, h)
		return len(store.keys(t, first)) == 0
	})
	stop()

	// Another place, or another's place, is told apart from an empty one.
	if other, err := harness.Start(data); err == nil || !strings.Contains(err.Error(), "--chunks-moved") {
		t.Errorf("without the bucket: %v", err)
		if err == nil {
			_ = other.Kill()
		}
	}
	fresh, err := harness.NewData()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(fresh) })
	if other, err := harness.Start(fresh, where...); err == nil || !strings.Contains(err.Error(), "another Hearth's") {
		t.Errorf("a second Hearth in the same bucket: %v", err)
		if err == nil {
			_ = other.Kill()
		}
	}

	// The chunks can be copied to where Hearth is to have them.
	store.copy(t, filepath.Join(data, "chunks"))
	flags = []string{"--chunks-moved", "--pool", "0"}
	client = start()
	started(t, client, "app")
	stop()
	flags = []string{"--pool", "0"}
	client = start()
	started(t, client, "app")
	stop()
}
