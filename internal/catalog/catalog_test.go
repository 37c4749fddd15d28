package catalog

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth/internal/function"
	"hearth/internal/table"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	account = "000000000000"
	path    = functionsPrefix + account + "/hi"
)

// functions only encodes and decodes.
var functions = New(Config{}).Functions

func record(name string) *function.Record {
	return &function.Record{
		Account: account, Region: "us-east-1", Name: name, UID: "u-" + name, RevisionID: "r",
		LastModified: time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC),
		State:        function.Pending, Latest: &function.Config{Runtime: "python3.11"},
	}
}

func encode(t testing.TB, r *function.Record) string {
	t.Helper()
	b, err := functions.Encode(table.Key{Account: account, Name: r.Name}, r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestGolden fails when the stored form changes: then its version must, too.
func TestGolden(t *testing.T) {
	r := record("hi")
	r.State, r.StateReason, r.StateReasonCode = function.Active, "why", "Code"
	r.LastUpdateStatus, r.LastUpdateStatusReason, r.LastUpdateStatusReasonCode = function.UpdateInProgress, "why", "Code"
	r.Tags = map[string]string{"k": "v"}
	r.Latest = &function.Config{
		Description: "d", Runtime: "python3.11", Role: "arn:aws:iam::000000000000:role/r", Handler: "app.handler", Timeout: 3,
		MemorySize: 128, EphemeralStorage: 512, Sealed: function.SealedEnvironment{Sealed: []byte("sealed")}, Architecture: "x86_64", PackageType: "Zip",
		TracingMode: "PassThrough", LogFormat: "Text", LogGroup: "/aws/lambda/hi", ApplicationLogLevel: "INFO", SystemLogLevel: "WARN",
		Code: function.Code{Object: "code/0/u/x.zip", SHA256: "c3Vt", Size: 7},
	}
	r.Serving, r.Generation = r.Latest.Clone(), 4
	got := []byte(encode(t, r))
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
	_, back, err := functions.Decode(path, want)
	if err != nil || string(back.Serving.Sealed.Sealed) != "sealed" {
		t.Errorf("decoded %+v, %v", back, err)
	}
	// Versions before sealing stored environments in the clear.
	plain, err := os.ReadFile(filepath.Join("testdata", "record-v1-clear.json"))
	if err != nil {
		t.Fatal(err)
	}
	k, back, err := functions.Decode(path, plain)
	if err != nil || back.Serving.Sealed.Clear["A"] != "b" {
		t.Errorf("decoded %+v, %v", back, err)
	}
	if b, err := functions.Encode(k, back); err == nil {
		t.Errorf("stored in the clear: %s", b)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := encode(t, record("hi"))
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
		bad := strings.Replace(good, tt.old, tt.with, 1)
		if bad == good {
			t.Fatalf("%s is not in %s", tt.old, good)
		}
		if _, _, err := functions.Decode(path, []byte(bad)); !errors.Is(err, table.ErrBadRecord) || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%s: got %v", tt.with, err)
		}
	}
}

func TestVersionKey(t *testing.T) {
	last := ""
	for _, v := range []string{"1", "9", "10", "99", "100", "1234567890"} {
		k := VersionKey(account, "hi", v)
		if k.Name <= last || !strings.HasPrefix(k.Name, VersionsOf("hi")) {
			t.Errorf("version %s is %q, after %q", v, k.Name, last)
		}
		last = k.Name
		r := record("hi")
		r.Version = v
		if err := checkVersion(k, r); err != nil {
			t.Error(err)
		}
		if err := checkFunction(table.Key{Account: account, Name: "hi"}, r); err == nil {
			t.Error("a version is taken for a function")
		}
	}
	if err := checkVersion(VersionKey(account, "hi", ""), record("hi")); err == nil {
		t.Error("a function is taken for a version")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(path, []byte(encode(f, record("hi"))))
	f.Add(functionsPrefix+"a/b", []byte(`{"version":1,"record":{"account":"a","name":"b"}}`))
	f.Fuzz(func(t *testing.T, at string, value []byte) {
		k, r, err := functions.Decode(at, value)
		if err != nil {
			return
		}
		if functions.Path(k) != at || r.Latest == nil || (r.State == function.Active && r.Serving == nil) {
			t.Errorf("accepted %+v at %q", r, at)
		}
		if r.Latest.Sealed.Clear != nil || r.Serving != nil && r.Serving.Sealed.Clear != nil {
			return // is sealed before it is stored again
		}
		if _, err := functions.Encode(k, r); err != nil {
			t.Errorf("cannot be stored again: %v", err)
		}
	})
}
