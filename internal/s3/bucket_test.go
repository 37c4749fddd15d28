package s3

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/internal/sigv4"
)

func TestPut(t *testing.T) {
	var got string
	v := sigv4.NewVerifier(oneKey{}, time.Now)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		p, err := v.Begin(r)
		if err == nil {
			_, err = p.Check(b)
		}
		if err != nil {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, "<Error><Code>SignatureDoesNotMatch</Code><Message>%s</Message></Error>", strings.NewReplacer("<", "", "&", "").Replace(err.Error()))
			return
		}
		got = r.Method + " " + r.RequestURI + " " + string(b)
	})
	c := client(t, Config{Endpoint: url, Credentials: Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}})
	for _, body := range []string{"bytes", ""} {
		if err := c.Put(t.Context(), "b", "a/k", []byte(body), sha256.Sum256([]byte(body))); err != nil {
			t.Fatal(err)
		}
		if want := "PUT /b/a/k " + body; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	err := c.Put(t.Context(), "b", "k", []byte("bytes"), sha256.Sum256([]byte("others")))
	if e, ok := errors.AsType[*Error](err); !ok || e.Status != http.StatusForbidden {
		t.Errorf("other bytes than were signed: %v", err)
	}
	if _, err := c.List(t.Context(), "b", "p/ü", "/", "token+/="); err == nil || !strings.Contains(err.Error(), "not a list") {
		t.Errorf("list: %v", err)
	}
	if want := "GET /b?continuation-token=token%2B%2F%3D&delimiter=%2F&list-type=2&prefix=p%2F%C3%BC "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCopy(t *testing.T) {
	var answer, got string
	v := sigv4.NewVerifier(oneKey{}, time.Now)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		p, err := v.Begin(r)
		if err == nil {
			_, err = p.Check(nil)
		}
		if err != nil || !strings.Contains(r.Header.Get("Authorization"), "x-amz-copy-source") {
			t.Errorf("not signed: %v", err)
		}
		got = r.Method + " " + r.RequestURI + " of " + r.Header.Get("X-Amz-Copy-Source")
		_, _ = io.WriteString(w, answer)
	})
	c := client(t, Config{Endpoint: url, Credentials: Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}})
	answer = `<CopyObjectResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><ETag>"x"</ETag></CopyObjectResult>`
	if err := c.Copy(t.Context(), "b", "a/ü", "bad/k"); err != nil {
		t.Error(err)
	}
	if want := "PUT /b/bad/k of /b/a/%C3%BC"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	answer = "<Error><Code>InternalError</Code></Error>"
	if e, ok := errors.AsType[*Error](c.Copy(t.Context(), "b", "a", "k")); !ok || e.Code != "InternalError" {
		t.Errorf("an error after the status: %v", e)
	}
	for _, answer = range []string{"", "<CopyObjectRes"} {
		if err := c.Copy(t.Context(), "b", "a", "k"); !errors.Is(err, ErrUnreachable) {
			t.Errorf("%q: %v", answer, err)
		}
	}
	if err := errors.Join(c.Copy(t.Context(), "b", "..", "k"), c.Copy(t.Context(), "b", "k", "..")); !errors.Is(err, ErrBadName) || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("bad names: %v", err)
	}
}

func TestBucketErrors(t *testing.T) {
	status := http.StatusNotFound
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "<Error><Code>NoSuchKey</Code></Error>")
	})
	c := client(t, Config{Endpoint: url})
	if size, err := c.Size(t.Context(), "b", "k"); size != -1 || err != nil {
		t.Errorf("size: %d, %v", size, err)
	}
	if err := c.Delete(t.Context(), "b", "k"); err != nil {
		t.Errorf("delete: %v", err)
	}
	status = http.StatusForbidden
	if _, err := c.Size(t.Context(), "b", "k"); err == nil || !strings.Contains(err.Error(), "403 Forbidden") {
		t.Errorf("size: %v", err)
	}
	for what, err := range map[string]error{
		"put":    c.Put(t.Context(), "b", "../k", nil, [32]byte{}),
		"delete": c.Delete(t.Context(), "..", "k"),
		"list":   func() error { _, err := c.List(t.Context(), "a/b", "", "", ""); return err }(),
		"size":   func() error { _, err := c.Size(t.Context(), "b", ""); return err }(),
	} {
		if !errors.Is(err, ErrBadName) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestParsePage(t *testing.T) {
	page, err := parsePage([]byte(`<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Contents><Key>a/k</Key><Size>7</Size>` +
		`<LastModified>2026-11-23T09:00:00.000Z</LastModified></Contents><CommonPrefixes><Prefix>a/b/</Prefix></CommonPrefixes>` +
		`<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>`))
	want := []Listed{{Key: "a/k", Size: 7, Modified: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)}}
	if err != nil || !slices.Equal(page.Objects, want) || !slices.Equal(page.Prefixes, []string{"a/b/"}) || page.Next != "t" {
		t.Errorf("%+v, %v", page, err)
	}
	for what, bad := range map[string]string{
		"empty": "", "another document": "<Error/>", "endless": "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
		"a size that is none": "<ListBucketResult><Contents><Size>x</Size></Contents></ListBucketResult>", "long": strings.Repeat(" ", maxPage+1),
	} {
		if _, err := parsePage([]byte(bad)); !errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func FuzzParsePage(f *testing.F) {
	f.Add([]byte(`<ListBucketResult><Contents><Key>k</Key><Size>7</Size></Contents><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := parsePage(b); err != nil && !errors.Is(err, ErrUnreachable) {
			t.Error(err)
		}
	})
}
