package registry

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"

	"hearth/internal/ociname"
)

const (
	imageType = "application/vnd.oci.image.manifest.v1+json"
	indexType = "application/vnd.oci.image.index.v1+json"
)

// manifest is one of a configuration and layers that are there.
func manifest(blobs ...string) string {
	m := map[string]any{"schemaVersion": 2, "mediaType": imageType}
	var all []map[string]any
	for _, b := range blobs {
		all = append(all, map[string]any{"digest": ociname.Digest([]byte(b)), "size": len(b)})
	}
	m["config"], m["layers"] = all[0], all[1:]
	data, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// image pushes blobs and a manifest of them, and returns the manifest.
func (b *bed) image(name, tag string, blobs ...string) string {
	b.t.Helper()
	for _, blob := range blobs {
		b.push(name, blob)
	}
	m := manifest(blobs...)
	b.expect(201, "PUT", "/v2/"+name+"/manifests/"+tag, strings.NewReader(m), "Content-Type", imageType)
	return m
}

func TestLogin(t *testing.T) {
	b := newBed(t, StoreOptions{})
	base64Of := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for name, c := range map[string]struct {
		header string
		want   int
	}{
		"key":                        {basic(aliceKey, aliceSecret), 200},
		"token":                      {basic("AWS", Token(aliceKey, aliceSecret, "")), 200},
		"the token as docker has it": {"Basic " + Token(aliceKey, aliceSecret, ""), 200},
		"session":                    {basic(sessionKey, aliceSecret+":"+sessionToken), 200},
		"token of a session":         {basic("AWS", Token(sessionKey, aliceSecret, sessionToken)), 200},
		"nothing":                    {"", 401},
		"wrong secret":               {basic(aliceKey, aliceSecret+"x"), 401},
		"another's secret":           {basic(aliceKey, bobSecret), 401},
		"no secret":                  {basic(aliceKey, ""), 401},
		"unknown key without secret": {basic("AKIANOBODY", ""), 401},
		"unknown key":                {basic("AKIANOBODY", aliceSecret), 401},
		"session without token":      {basic(sessionKey, aliceSecret), 401},
		"token of garbage":           {basic("AWS", "%%%"), 401},
		"token without secret":       {basic("AWS", base64Of(aliceKey)), 401},
		"another scheme":             {"Bearer " + Token(aliceKey, aliceSecret, ""), 401},
		"long":                       {basic(aliceKey, strings.Repeat("x", maxSecret+1)), 401},
	} {
		a := b.do("GET", "/v2/", nil, "Authorization", c.header)
		if a.code != c.want || (a.code == 401) != (a.header.Get("WWW-Authenticate") == `Basic realm="hearth"`) {
			t.Errorf("%s: %d %v", name, a.code, a.header)
		}
		if a.code == 401 && !strings.Contains(a.body, `"code":"UNAUTHORIZED"`) {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	if len(b.audit) == 0 {
		t.Error("nothing in the audit log")
	}
	for _, e := range b.audit {
		if line := fmt.Sprint(e); strings.Contains(line, aliceSecret) || strings.Contains(line, sessionToken) || e.Allowed {
			t.Errorf("audit line %s", line)
		}
	}
}

// TestActions says which right each request needs, and that it is refused
// without.
func TestActions(t *testing.T) {
	const arn = " arn:aws:ecr:us-east-1:" + alice + ":repository/"
	b := newBed(t, StoreOptions{})
	b.image("team/app", "v1", "config", "layer")
	digest := ociname.Digest([]byte("layer"))
	start := func() string {
		return b.expect(202, "POST", "/v2/team/app/blobs/uploads/", nil).header.Get("Location")
	}
	for _, c := range []struct {
		method, path string
		want         []string
	}{
		{"GET", "/v2/", nil},
		{"GET", "/v2/_catalog", []string{"DescribeRepositories *"}},
		{"GET", "/v2/team/app/tags/list", []string{"ListImages team/app"}},
		{"GET", "/v2/team/app/manifests/v1", []string{"BatchGetImage team/app"}},
		{"HEAD", "/v2/team/app/manifests/v1", []string{"BatchGetImage team/app"}},
		{"GET", "/v2/team/app/blobs/" + digest, []string{"GetDownloadUrlForLayer team/app"}},
		{"HEAD", "/v2/team/app/blobs/" + digest, []string{"BatchCheckLayerAvailability team/app"}},
		{"POST", "/v2/team/app/blobs/uploads/", []string{"InitiateLayerUpload team/app"}},
		{"POST", "/v2/team/app/blobs/uploads/?digest=" + ociname.Digest(nil),
			[]string{"InitiateLayerUpload team/app", "UploadLayerPart team/app", "CompleteLayerUpload team/app"}},
		{"POST", "/v2/other/blobs/uploads/?from=team/app&mount=" + digest, []string{"InitiateLayerUpload other"}},
		{"GET", start(), []string{"UploadLayerPart team/app"}},
		{"PATCH", start(), []string{"UploadLayerPart team/app"}},
		{"PUT", start() + "?digest=" + ociname.Digest(nil), []string{"CompleteLayerUpload team/app"}},
		{"DELETE", start(), []string{"UploadLayerPart team/app"}},
		{"PUT", "/v2/team/app/manifests/v1", []string{"PutImage team/app"}},
		{"DELETE", "/v2/team/app/manifests/v1", []string{"BatchDeleteImage team/app"}},
	} {
		for _, denied := range c.want {
			action, repository, _ := strings.Cut(denied, " ")
			b.access.deny = map[string]bool{"ecr:" + action + arn + repository: true}
			if a := b.do(c.method, c.path, nil); a.code != 403 || c.method != "HEAD" && !strings.Contains(a.body, `"code":"DENIED"`) {
				t.Errorf("%s %s without %s: %d %s", c.method, c.path, denied, a.code, a.body)
			}
		}
		b.access.deny = map[string]bool{}
		b.access.take()
		body := io.Reader(nil)
		if c.method == "PUT" && strings.Contains(c.path, "manifests") {
			body = strings.NewReader(manifest("config", "layer"))
		}
		if a := b.do(c.method, c.path, body, "Content-Type", imageType); a.code >= 400 {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.code, a.body)
		}
		var want []string
		for _, w := range c.want {
			action, repository, _ := strings.Cut(w, " ")
			want = append(want, "ecr:"+action+arn+repository)
		}
		if strings.Contains(c.path, "mount=") {
			want = append(want, "ecr:GetDownloadUrlForLayer"+arn+"team/app")
		}
		if got := b.access.take(); !slices.Equal(got, want) {
			t.Errorf("%s %s: asked for %v, want %v", c.method, c.path, got, want)
		}
	}
}

// TestOtherAccounts has bob try to get at what alice has.
func TestOtherAccounts(t *testing.T) {
	b := newBed(t, StoreOptions{})
	b.image("app", "v1", "config", "secret layer")
	digest := ociname.Digest([]byte("secret layer"))
	upload := b.expect(202, "POST", "/v2/app/blobs/uploads/", nil).header.Get("Location")
	bob := []string{"Authorization", basic(bobKey, bobSecret)}
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/v2/app/manifests/v1", 404}, {"GET", "/v2/app/blobs/" + digest, 404}, {"HEAD", "/v2/app/blobs/" + digest, 404},
		{"GET", "/v2/app/tags/list", 404}, {"GET", upload, 404}, {"PATCH", upload, 404}, {"DELETE", upload, 404},
		{"PUT", upload + "?digest=" + ociname.Digest(nil), 404}, {"DELETE", "/v2/app/manifests/v1", 404},
		// An upload is begun as if nobody had the bytes.
		{"POST", "/v2/app/blobs/uploads/?from=app&mount=" + digest, 202},
		{"POST", "/v2/mine/blobs/uploads/?from=app&mount=" + digest, 202},
	} {
		if a := b.do(c.method, c.path, nil, bob...); a.code != c.want || strings.Contains(a.body, "secret") {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, a.code, a.body, c.want)
		}
	}
	if a := b.expect(200, "GET", "/v2/_catalog", nil, bob...); strings.Contains(a.body, "v1") {
		t.Error(a.body)
	}
	a := b.do("PUT", "/v2/app/manifests/v1", strings.NewReader(manifest("config", "secret layer")), append(bob, "Content-Type", imageType)...)
	if a.code != 400 || !strings.Contains(a.body, "MANIFEST_BLOB_UNKNOWN") {
		t.Errorf("a manifest of another's blobs: %d %s", a.code, a.body)
	}
	// What both have is stored twice: sharing would tell who has it.
	used := func() int64 { n, _ := b.store.Used("222222222222"); return n }
	before := used()
	b.expect(201, "POST", "/v2/app/blobs/uploads/?digest="+digest, strings.NewReader("secret layer"), bob...)
	if used() != before+2*fileCost { // the blob and its link
		t.Errorf("%d before, %d after", before, used())
	}
}

// TestRepositoriesApart has one repository's blobs asked for in another.
func TestRepositoriesApart(t *testing.T) {
	b := newBed(t, StoreOptions{})
	digest := b.push("private", "secret layer")
	b.push("public", "other")
	b.expect(404, "GET", "/v2/public/blobs/"+digest, nil)
	b.expect(404, "HEAD", "/v2/public/blobs/"+digest, nil)
	b.access.deny = map[string]bool{"ecr:GetDownloadUrlForLayer arn:aws:ecr:us-east-1:" + alice + ":repository/private": true}
	b.expect(202, "POST", "/v2/public/blobs/uploads/?from=private&mount="+digest, nil)
	b.expect(404, "HEAD", "/v2/public/blobs/"+digest, nil)
	b.access.deny = map[string]bool{}
	b.expect(202, "POST", "/v2/public/blobs/uploads/?from=nowhere&mount="+digest, nil)
	b.expect(201, "POST", "/v2/public/blobs/uploads/?from=private&mount="+digest, nil)
	b.expect(200, "HEAD", "/v2/public/blobs/"+digest, nil)
}

func TestBadRequests(t *testing.T) {
	b := newBed(t, StoreOptions{})
	b.image("app", "v1", "config", "layer")
	layer := ociname.Digest([]byte("layer"))
	upload := b.expect(202, "POST", "/v2/app/blobs/uploads/", nil).header.Get("Location")
	put := func(content string) string { return "PUT manifest " + content }
	for _, c := range []struct {
		request, body string
		status        int
		code          string
	}{
		{"GET /v2/app", "", 404, "UNSUPPORTED"},
		{"GET /v2/app/manifests/", "", 404, "UNSUPPORTED"},
		{"GET /v2/app/referrers/" + layer, "", 404, "UNSUPPORTED"},
		{"POST /v2/app/manifests/v1", "", 405, "UNSUPPORTED"},
		{"DELETE /v2/app/blobs/" + layer, "", 405, "UNSUPPORTED"},
		{"BREW /v2/", "", 405, "UNSUPPORTED"},
		{"GET /v2/APP/manifests/v1", "", 400, "NAME_INVALID"},
		{"GET /v2/../manifests/v1", "", 400, "NAME_INVALID"},
		{"GET /v2/%2e%2e/manifests/v1", "", 400, "NAME_INVALID"},
		{"GET /v2/a//b/manifests/v1", "", 400, "NAME_INVALID"},
		{"GET /v2//manifests/v1", "", 400, "NAME_INVALID"},
		{"GET /v2/a+b/manifests/v1", "", 400, "NAME_INVALID"},
		{"GET /v2/a%00/manifests/v1", "", 400, "NAME_INVALID"},
		{"GET /v2/" + strings.Repeat("a", 256) + "/manifests/v1", "", 400, "NAME_INVALID"},
		{"GET /v2/nothing/manifests/v1", "", 404, "MANIFEST_UNKNOWN"},
		{"GET /v2/app/manifests/v2", "", 404, "MANIFEST_UNKNOWN"},
		{"GET /v2/app/manifests/..", "", 404, "MANIFEST_UNKNOWN"},
		{"GET /v2/app/manifests/sha256:..%2f..%2ftags", "", 404, "UNSUPPORTED"},
		{"GET /v2/app/manifests/" + layer, "", 404, "MANIFEST_UNKNOWN"},
		{"GET /v2/app/blobs/sha256:x", "", 400, "DIGEST_INVALID"},
		{"GET /v2/app/blobs/..", "", 400, "DIGEST_INVALID"},
		{"GET /v2/app/blobs/sha512:" + strings.Repeat("a", 128), "", 400, "DIGEST_INVALID"},
		{"GET /v2/app/blobs/" + ociname.Digest(nil), "", 404, "BLOB_UNKNOWN"},
		{"GET /v2/nothing/tags/list", "", 404, "NAME_UNKNOWN"},
		{"GET /v2/app/tags/list?n=x", "", 400, "PAGINATION_NUMBER_INVALID"},
		{"GET /v2/app/blobs/uploads/..", "", 404, "BLOB_UPLOAD_UNKNOWN"},
		{"GET /v2/other" + strings.TrimPrefix(upload, "/v2/app"), "", 404, "BLOB_UPLOAD_UNKNOWN"},
		{"PUT " + upload, "", 400, "DIGEST_INVALID"},
		{"PUT " + upload + "?digest=md5:x", "", 400, "DIGEST_INVALID"},
		{"POST /v2/app/blobs/uploads/?digest=" + layer, "not the layer", 400, "DIGEST_INVALID"},
		{"POST /v2/app/blobs/uploads/?digest=x", "", 400, "DIGEST_INVALID"},
		{put("/v2/app/manifests/bad^tag"), manifest("config"), 400, "TAG_INVALID"},
		{put("/v2/app/manifests/" + layer), manifest("config"), 400, "DIGEST_INVALID"},
		{put("/v2/app/manifests/v2"), "", 400, "MANIFEST_INVALID"},
		{put("/v2/app/manifests/v2"), "[]", 400, "MANIFEST_INVALID"},
		{put("/v2/app/manifests/v2"), `{"layers":[]}`, 400, "MANIFEST_INVALID"},
		{put("/v2/app/manifests/v2"), manifest("config", "nothing"), 400, "MANIFEST_BLOB_UNKNOWN"},
		{put("/v2/nothing/manifests/v2"), manifest("config"), 400, "MANIFEST_BLOB_UNKNOWN"},
		{put("/v2/app/manifests/v2"), strings.Replace(manifest("config"), `"size":6`, `"size":7`, 1), 400, "SIZE_INVALID"},
		{put("/v2/app/manifests/v2"), strings.Replace(manifest("config"), `"size":6`, `"size":-6`, 1), 400, "MANIFEST_INVALID"},
		{put("/v2/app/manifests/v2"), strings.Replace(manifest("config"), `"sha256:`, `"sha256:../`, 1), 400, "MANIFEST_INVALID"},
		{put("/v2/app/manifests/v2"), strings.Replace(manifest("config"), imageType, indexType, 1), 400, "MANIFEST_INVALID"},
		{put("/v2/app/manifests/v2"), strings.Replace(manifest("config"), `{`, `{"manifests":[],`, 1), 400, "MANIFEST_INVALID"},
		{put("/v2/app/manifests/v2"), manifest("config") + strings.Repeat(" ", maxManifest), 413, "MANIFEST_INVALID"},
	} {
		c.request = strings.Replace(c.request, "PUT manifest ", "PUT ", 1)
		method, path, _ := strings.Cut(c.request, " ")
		a := b.do(method, path, strings.NewReader(c.body), "Content-Type", imageType)
		var got struct {
			Errors []struct{ Code, Message string }
		}
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.code != c.status || len(got.Errors) != 1 ||
			got.Errors[0].Code != c.code || got.Errors[0].Message == "" {
			t.Errorf("%s: %d %s, want %d %s", c.request, a.code, a.body, c.status, c.code)
		}
	}
	for _, contentType := range []string{"", "text/html", "application/vnd.docker.distribution.manifest.v1+json", indexType} {
		a := b.do("PUT", "/v2/app/manifests/v2", strings.NewReader(manifest("config")), "Content-Type", contentType)
		if a.code != 400 {
			t.Errorf("%q: %d", contentType, a.code)
		}
	}
	a := b.do("PUT", "/v2/app/manifests/v2", strings.NewReader(`{"manifests":[{"digest":"`+layer+`","size":1}]}`), "Content-Type", indexType)
	if a.code != 400 || !strings.Contains(a.body, "MANIFEST_BLOB_UNKNOWN") {
		t.Errorf("an index of what is not there: %d %s", a.code, a.body)
	}
	b.outside()
}

// outside makes sure that nothing is in the store's directory but what should
// be there.
func (b *bed) outside() {
	b.t.Helper()
	want := []string{"blobs", "links", "manifests", "repositories", "tags", "tmp", "uploads"}
	err := filepath.WalkDir(b.dir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(b.dir, path)
		parts := strings.Split(rel, "/")
		if err != nil || rel == "." || len(parts) == 1 && accountPattern.MatchString(rel) {
			return err
		}
		if len(parts) == 2 && !slices.Contains(want, parts[1]) || len(parts) == 4 && !slices.Contains(want, parts[3]) || len(parts) > 5 {
			b.t.Errorf("there is %s", rel)
		}
		return nil
	})
	if err != nil {
		b.t.Error(err)
	}
}

func TestChunks(t *testing.T) {
	b := newBed(t, StoreOptions{})
	upload := b.expect(202, "POST", "/v2/app/blobs/uploads/", nil).header.Get("Location")
	type step struct {
		method, query, body, at string
		status                  int
		ends                    string // Range of the answer
	}
	for _, s := range []step{
		{"PATCH", "", "abc", "0-2", 202, "0-2"},
		{"GET", "", "", "", 204, "0-2"},
		{"PATCH", "", "def", "0-2", 416, "0-2"},
		{"PATCH", "", "def", "4-6", 416, "0-2"},
		{"PATCH", "", "def", "3-9", 400, ""},
		{"PATCH", "", "def", "5-3", 400, ""},
		{"PATCH", "", "def", "x", 400, ""},
		{"PATCH", "", "def", "-3-1", 400, ""},
		{"PATCH", "", "def", "99999999999999999999-1", 400, ""},
		{"PATCH", "", "def", "bytes 3-5/*", 202, "0-5"},
		{"PATCH", "", "ghi", "", 202, "0-8"}, // docker sends no range
		{"PUT", "?digest=" + ociname.Digest([]byte("abcdefghijkl")), "jkl", "8-10", 416, "0-8"},
		{"PUT", "?digest=" + ociname.Digest([]byte("abcdefghijkl")), "jkl", "9-11", 201, ""},
		{"GET", "", "", "", 404, ""},
	} {
		var header []string
		if s.at != "" {
			header = []string{"Content-Range", s.at}
		}
		a := b.do(s.method, upload+s.query, strings.NewReader(s.body), header...)
		if a.code != s.status || a.header.Get("Range") != s.ends {
			t.Errorf("%+v: %d %s, Range %q", s, a.code, a.body, a.header.Get("Range"))
		}
	}
	digest := ociname.Digest([]byte("abcdefghijkl"))
	for _, c := range []struct {
		at, want string
		status   int
	}{{"", "abcdefghijkl", 200}, {"bytes=3-5", "def", 206}, {"bytes=9-", "jkl", 206}, {"bytes=-2", "kl", 206}, {"bytes=12-", "", 416}} {
		a := b.do("GET", "/v2/app/blobs/"+digest, nil, "Range", c.at)
		if a.code != c.status || c.status != 416 && a.body != c.want || a.header.Get("Docker-Content-Digest") != digest {
			t.Errorf("%q: %d %q", c.at, a.code, a.body)
		}
	}
	if a := b.expect(200, "HEAD", "/v2/app/blobs/"+digest, nil); a.header.Get("Content-Length") != "12" {
		t.Error(a.header)
	}
	// An upload that is over because its bytes are wrong leaves nothing.
	upload = b.expect(202, "POST", "/v2/app/blobs/uploads/", nil).header.Get("Location")
	b.expect(202, "PATCH", upload, strings.NewReader("abc"))
	b.expect(400, "PUT", upload+"?digest="+digest, nil)
	b.expect(404, "GET", upload, nil)
	// And so does one that is cancelled.
	upload = b.expect(202, "POST", "/v2/app/blobs/uploads/", nil).header.Get("Location")
	b.expect(202, "PATCH", upload, strings.NewReader("abc"))
	b.expect(204, "DELETE", upload, nil)
	b.expect(404, "PATCH", upload, strings.NewReader("abc"))
	if left, err := os.ReadDir(filepath.Join(b.dir, alice, "repositories", "app", "uploads")); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}

// TestAbandoned cuts a connection in the middle of an upload, restarts the
// registry and goes on.
func TestAbandoned(t *testing.T) {
	b := newBed(t, StoreOptions{})
	content := bytes.Repeat([]byte("0123456789"), 200<<10)
	digest := ociname.Digest(content)
	upload := b.expect(202, "POST", "/v2/app/blobs/uploads/", nil).header.Get("Location")
	conn, err := net.Dial("tcp", b.host())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n", upload, basic(aliceKey, aliceSecret), len(content))
	if _, err := conn.Write(content[:len(content)/2]); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil && resp.StatusCode < 300 {
		t.Errorf("half of the bytes: %s", resp.Status)
	}
	conn.Close()
	for range 2 {
		if a := b.expect(204, "GET", upload, nil); a.header.Get("Range") != fmt.Sprintf("0-%d", len(content)/2-1) {
			t.Fatalf("Range %s", a.header.Get("Range"))
		}
		b.restart()
	}
	b.expect(202, "PATCH", upload, bytes.NewReader(content[len(content)/2:]), "Content-Range", fmt.Sprintf("%d-%d", len(content)/2, len(content)-1))
	b.restart()
	b.expect(201, "PUT", upload+"?digest="+digest, nil)
	if a := b.expect(200, "GET", "/v2/app/blobs/"+digest, nil); a.body != string(content) {
		t.Error("other bytes came back")
	}
	sum, err := measureTree(readDir(b.dir))
	if err != nil {
		t.Fatal(err)
	}
	if used, _ := b.store.Used(alice); used != sum {
		t.Errorf("used %d, on disk %d", used, sum)
	}
}

// measureTree adds up what an account's files and repositories cost.
func measureTree(readDir func(name string) ([]fs.DirEntry, error)) (sum int64, err error) {
	var measure func(dir string, depth int) error
	measure = func(dir string, depth int) error {
		entries, err := readDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() {
				if depth == 1 {
					sum += repositoryCost
				}
				if err := measure(path.Join(dir, e.Name()), depth+1); err != nil {
					return err
				}
				continue
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			sum += cost(info.Size())
		}
		return nil
	}
	return sum, measure(alice, 0)
}

// readDir lists directories below another.
func readDir(below string) func(name string) ([]fs.DirEntry, error) {
	return func(name string) ([]fs.DirEntry, error) { return os.ReadDir(filepath.Join(below, name)) }
}

// TestConcurrentPushes pushes the same images at once, to the same and to
// other repositories, while garbage is collected.
func TestConcurrentPushes(t *testing.T) {
	b := newBed(t, StoreOptions{})
	img := randomImage(t, 200<<10, 3)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := crane.Push(img, fmt.Sprintf("%s/app%d:v%d", b.host(), i%2, i), asAlice); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := b.store.Collect(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range 8 {
		if got, err := crane.Digest(fmt.Sprintf("%s/app%d:v%d", b.host(), i%2, i), asAlice); err != nil || got != digest(t, img) {
			t.Errorf("%s, %v", got, err)
		}
	}
	sum, err := measureTree(readDir(b.dir))
	if err != nil {
		t.Fatal(err)
	}
	if used, _ := b.store.Used(alice); used != sum {
		t.Errorf("used %d, on disk %d", used, sum)
	}
	blobs, err := os.ReadDir(filepath.Join(b.dir, alice, "blobs"))
	if err != nil || len(blobs) != 4 {
		t.Errorf("%d blobs, %v", len(blobs), err)
	}
}

func TestTags(t *testing.T) {
	b := newBed(t, StoreOptions{})
	b.push("app", "config")
	b.push("app", "layer")
	for _, tag := range []string{"a", "b", "c", "d"} {
		b.image("app", tag, "config")
	}
	for path, want := range map[string]string{
		"":            `["a","b","c","d"] `,
		"?n=2":        `["a","b"] </v2/app/tags/list?last=b&n=2>; rel="next"`,
		"?n=2&last=b": `["c","d"] `, "?last=bb": `["c","d"] `, "?last=d": `[] `, "?n=0": `[] `, "?n=4": `["a","b","c","d"] `,
	} {
		a := b.expect(200, "GET", "/v2/app/tags/list"+path, nil)
		if got := a.body + " " + a.header.Get("Link"); got != `{"name":"app","tags":`+strings.Replace(want, "] ", "]} ", 1) {
			t.Errorf("%q: %s", path, got)
		}
	}
	// A tag goes alone, a manifest with its tags.
	b.expect(202, "DELETE", "/v2/app/manifests/a", nil)
	b.expect(404, "GET", "/v2/app/manifests/a", nil)
	b.expect(404, "DELETE", "/v2/app/manifests/a", nil)
	other := b.image("app", "e", "config", "layer")
	b.expect(202, "DELETE", "/v2/app/manifests/"+ociname.Digest([]byte(manifest("config"))), nil)
	if a := b.expect(200, "GET", "/v2/app/tags/list", nil); a.body != `{"name":"app","tags":["e"]}` {
		t.Error(a.body)
	}
	if a := b.expect(200, "GET", "/v2/app/manifests/e", nil); a.body != other || a.header.Get("Content-Type") != imageType ||
		a.header.Get("Docker-Content-Digest") != ociname.Digest([]byte(other)) {
		t.Errorf("%s %v", a.body, a.header)
	}
}

func TestForHearth(t *testing.T) {
	b := newBed(t, StoreOptions{})
	m := b.image("team/app", "v1", "config", "layer")
	ctx := context.Background()
	for _, reference := range []string{"v1", ociname.Digest([]byte(m))} {
		data, mediaType, err := b.store.Manifest(ctx, alice, "team/app", reference)
		if err != nil || string(data) != m || mediaType != imageType {
			t.Errorf("%s: %s %s %v", reference, data, mediaType, err)
		}
	}
	blob, size, err := b.store.Blob(ctx, alice, "team/app", ociname.Digest([]byte("layer")))
	if err != nil || size != 5 {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(blob); err != nil || string(data) != "layer" {
		t.Error(err)
	}
	blob.Close()
	_, _, err1 := b.store.Manifest(ctx, bob, "team/app", "v1")
	_, _, err2 := b.store.Manifest(ctx, alice, "team/app", "v2")
	_, _, err3 := b.store.Blob(ctx, alice, "team/app", ociname.Digest(nil))
	_, _, err4 := b.store.Blob(ctx, bob, "team/app", ociname.Digest([]byte("layer")))
	for i, err := range []error{err1, err2, err3, err4} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d: %v", i+1, err)
		}
	}
	if _, _, err := b.store.Manifest(ctx, "../..", "team/app", "v1"); err == nil {
		t.Error("an account that is none")
	}
}
