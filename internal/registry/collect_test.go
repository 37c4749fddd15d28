package registry

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/internal/ociname"
)

func (b *bed) collect(want Collected) {
	b.t.Helper()
	got, err := b.store.Collect(ctx)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		b.t.Errorf("collected %+v, %v, want %+v", got, err, want)
	}
	expectUsage(b.t, b.store, readDir(b.dir), "after a collection")
}

func TestCollect(t *testing.T) {
	b := newBed(t, StoreOptions{})
	kept := b.image("app", "v1", "config", "layer")
	gone := b.image("app", "v2", "config 2", "layer", "layer 2")
	lost, asked := b.push("app", "lost"), b.push("app", "asked for")
	mounted := b.push("other", "mounted")
	b.clock.pass(20 * time.Hour)
	b.expect(202, "DELETE", "/v2/app/manifests/"+ociname.Digest([]byte(gone)), nil)
	b.collect(Collected{})
	// What is asked for in a push, or mounted, is kept for another day.
	b.expect(200, "HEAD", "/v2/app/blobs/"+asked, nil)
	b.expect(201, "POST", "/v2/app/blobs/uploads/?from=other&mount="+mounted, nil)
	b.clock.pass(5 * time.Hour)
	b.collect(Collected{Links: 4, Blobs: 3, Repositories: 1}) // config 2, layer 2, lost; other's link
	for digest, want := range map[string]int{
		lost: 404, asked: 200, mounted: 200, ociname.Digest([]byte("config 2")): 404, ociname.Digest([]byte("layer")): 200,
	} {
		if a := b.do("GET", "/v2/app/blobs/"+digest, nil); a.code != want {
			t.Errorf("%s: %d", digest, a.code)
		}
	}
	b.clock.pass(100 * time.Hour)
	b.restart() // which collects
	b.collect(Collected{})
	b.expect(404, "GET", "/v2/app/blobs/"+asked, nil)
	if a := b.expect(200, "GET", "/v2/app/manifests/v1", nil); a.body != kept {
		t.Error(a.body)
	}
	b.expect(200, "GET", "/v2/app/blobs/"+ociname.Digest([]byte("layer")), nil)
	b.expect(202, "DELETE", "/v2/app/manifests/"+ociname.Digest([]byte(kept)), nil)
	b.collect(Collected{Links: 2, Blobs: 2, Repositories: 1})
	if used, _ := b.store.Used(alice); used != 0 {
		t.Errorf("%d bytes of nothing", used)
	}
	b.image("app", "v1", "config") // and there again
}

func TestCollectUploads(t *testing.T) {
	b := newBed(t, StoreOptions{})
	old := b.expect(202, "POST", "/v2/app/blobs/uploads/", nil).header.Get("Location")
	b.expect(202, "PATCH", old, strings.NewReader("abc"))
	used := b.expect(202, "POST", "/v2/app/blobs/uploads/", nil).header.Get("Location")
	b.clock.pass(23 * time.Hour)
	b.expect(202, "PATCH", used, strings.NewReader("abc"))
	b.clock.pass(2 * time.Hour)
	b.collect(Collected{Uploads: 1})
	b.expect(404, "GET", old, nil)
	b.expect(204, "GET", used, nil)
	// One that is worked on is not old.
	_, u, err := b.store.open(ctx, alice, "app", used[strings.LastIndexByte(used, '/')+1:])
	if err != nil {
		t.Fatal(err)
	}
	b.clock.pass(100 * time.Hour)
	b.collect(Collected{})
	u.done()
	b.collect(Collected{Uploads: 1, Repositories: 1})
}

func TestDamagedManifest(t *testing.T) {
	b := newBed(t, StoreOptions{})
	m := b.image("app", "v1", "config", "layer")
	file := filepath.Join(b.dir, alice, "repositories", "app", "manifests", strings.TrimPrefix(ociname.Digest([]byte(m)), "sha256:"))
	if err := os.WriteFile(file, []byte(strings.Replace(m, "sha256", "sha257", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	b.clock.pass(100 * time.Hour)
	got, err := b.store.Collect(ctx)
	if err != nil || got.Links+got.Blobs > 0 || !slices.Equal(got.Damaged, []string{alice + "/app"}) {
		t.Errorf("%+v, %v", got, err)
	}
	if a := b.expect(500, "GET", "/v2/app/manifests/v1", nil); strings.Contains(a.body, "sha25") || strings.Contains(a.body, b.dir) {
		t.Error(a.body)
	}
	b.expect(201, "PUT", "/v2/app/manifests/v1", strings.NewReader(m), "Content-Type", imageType)
	b.expect(200, "GET", "/v2/app/manifests/v1", nil)
}

func TestQuota(t *testing.T) {
	const blob = 10 * fileCost
	b := newBed(t, StoreOptions{Quota: repositoryCost + 2*blob})
	content := bytes.Repeat([]byte("x"), blob)
	first := b.push("app", string(content))
	content[0] = 'y'
	a := b.do("POST", "/v2/app/blobs/uploads/?digest="+ociname.Digest(content), bytes.NewReader(content))
	if a.code != 413 || !strings.Contains(a.body, "TOOLARGE") || !strings.Contains(a.body, "quota") {
		t.Errorf("%d %s", a.code, a.body)
	}
	// In pieces, and with a length that is not told.
	upload := b.expect(202, "POST", "/v2/app/blobs/uploads/", nil).header.Get("Location")
	b.expect(413, "PATCH", upload, struct{ *bytes.Reader }{bytes.NewReader(content)})
	b.expect(404, "GET", upload, nil)
	expectUsage(t, b.store, readDir(b.dir), "after refusals")
	// Another account has its own, and small things count.
	b.expect(201, "POST", "/v2/app/blobs/uploads/?digest="+ociname.Digest(content), bytes.NewReader(content), "Authorization", basic(bobKey, bobSecret))
	for i := range 100 {
		if a = b.do("POST", fmt.Sprintf("/v2/app%d/blobs/uploads/?from=app&mount=%s", i, first), nil); a.code != 201 {
			break
		}
	}
	if a.code != 413 {
		t.Errorf("repositories without end: %d", a.code)
	}
	b.clock.pass(48 * time.Hour)
	if _, err := b.store.Collect(ctx); err != nil {
		t.Fatal(err)
	}
	b.expect(201, "POST", "/v2/app/blobs/uploads/?digest="+ociname.Digest(content), bytes.NewReader(content))
}

func TestManyUploads(t *testing.T) {
	b := newBed(t, StoreOptions{})
	for range maxUploads {
		if _, err := b.store.StartUpload(ctx, alice, "app"); err != nil {
			t.Fatal(err)
		}
	}
	if a := b.do("POST", "/v2/app/blobs/uploads/", nil); a.code != 429 {
		t.Errorf("%d %s", a.code, a.body)
	}
	expectUsage(t, b.store, readDir(b.dir), "with many uploads")
	b.expect(202, "POST", "/v2/app/blobs/uploads/", nil, "Authorization", basic(bobKey, bobSecret))
}

// TestSilentClient has a client that stops sending: its connection ends, and
// what it sent is kept.
func TestSilentClient(t *testing.T) {
	b := newBed(t, StoreOptions{})
	b.server.Config.Handler.(*Server).cfg.Stall = 50 * time.Millisecond
	upload := b.expect(202, "POST", "/v2/app/blobs/uploads/", nil).header.Get("Location")
	conn, err := net.Dial("tcp", b.host())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: 100\r\n\r\nabc", upload, basic(aliceKey, aliceSecret))
	if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
		t.Errorf("it was answered %s", resp.Status)
	}
	if a := b.expect(204, "GET", upload, nil); a.header.Get("Range") != "0-2" {
		t.Error(a.header)
	}
}
