package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"hearth/internal/archive"
	"hearth/internal/function"
	"hearth/internal/layer"
	"hearth/internal/s3"
)

// buckets answers every request with what open returns.
type buckets func(ctx context.Context, bucket, key, version string) (*s3.Object, error)

func (b buckets) Open(ctx context.Context, bucket, key, version string) (*s3.Object, error) {
	return b(ctx, bucket, key, version)
}

func objectOf(b []byte) *s3.Object {
	return &s3.Object{ReadCloser: io.NopCloser(bytes.NewReader(b)), Size: int64(len(b))}
}

var fromS3 = &function.S3Object{Bucket: "b", Key: "dir/k.zip", Version: "v"}

func TestCodeFromS3(t *testing.T) {
	zip := zipOf(t, map[string]string{"app.py": "from s3"})
	var unknownSize atomic.Bool
	st := start(t, Config{Buckets: buckets(func(_ context.Context, bucket, key, version string) (*s3.Object, error) {
		if bucket != "b" || key != "dir/k.zip" || version != "v" {
			t.Errorf("asked for %s/%s version %s", bucket, key, version)
		}
		o := objectOf(zip)
		if unknownSize.Load() {
			o.Size = -1
		}
		return o, nil
	})})
	inline := st.mustCreate(t, "inline", "from s3")
	req := createRequest(t, "f", "")
	req.Zip, req.S3 = nil, fromS3
	dry := req
	dry.DryRun = true
	if _, err := st.Create(t.Context(), dry); err != nil {
		t.Fatal(err)
	}
	st.wantObjects(t, 1)
	if _, err := st.Create(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	r := st.wait(t, "f", settled)
	same := r.Latest.Code
	same.Object = inline.Latest.Code.Object
	if got := st.code(t, r); !bytes.Equal(got, zip) || same != inline.Latest.Code {
		t.Errorf("code %+v, want that of %+v", r.Latest.Code, inline.Latest.Code)
	}
	unknownSize.Store(true)
	if _, err := st.UpdateCode(t.Context(), function.CodeUpdate{Account: account, Name: "f", S3: fromS3}); err != nil {
		t.Fatal(err)
	}
	st.wait(t, "f", settled)
	v, err := st.PublishLayer(t.Context(), layer.PublishRequest{Account: account, Name: "tools", S3: fromS3})
	if err != nil || v.Code.SHA256 != inline.Latest.Code.SHA256 || v.Code.Unpacked != 7 {
		t.Errorf("layer: %+v, %v", v, err)
	}
}

func TestS3CodeThatIsRefused(t *testing.T) {
	limits := archive.Limits{Bytes: 2000, Entries: 10}
	denied := "Your access has been denied by S3, please make sure your request credentials have permission to GetObject for b/dir/k.zip. " +
		"S3 Error Code: AccessDenied. S3 Error Message: Access Denied"
	answer := func(o *s3.Object) buckets {
		return func(context.Context, string, string, string) (*s3.Object, error) { return o, nil }
	}
	fail := func(err error) buckets {
		return func(context.Context, string, string, string) (*s3.Object, error) { return nil, err }
	}
	endless := &s3.Object{ReadCloser: io.NopCloser(io.MultiReader(io.LimitReader(zeros{}, 1<<20), iotest.ErrReader(errors.New("it was read on")))), Size: -1}
	for _, tt := range []struct {
		name          string
		buckets       Buckets
		code, message string
	}{
		{"no endpoint", nil, "InvalidParameterValueException",
			"Code from S3 needs an S3 endpoint, and this Hearth has none. Start it with hearth up --s3-endpoint URL, or send the code as ZipFile."},
		{"no such key", fail(&s3.Error{Status: 404, Code: "NoSuchKey", Message: "The specified key does not exist."}), "InvalidParameterValueException",
			"Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist."},
		{"denied", fail(&s3.Error{Status: 403, Code: "AccessDenied", Message: "Access Denied"}), "AccessDeniedException", denied},
		{"unreachable", fail(fmt.Errorf("%w: secret host", s3.ErrUnreachable)), "ServiceException",
			"The S3 endpoint of this Hearth (--s3-endpoint) gave no usable answer; the server's log tells why."},
		{"a bad name", fail(s3.ErrBadName), "InvalidParameterValueException", ""},
		{"breaks off", answer(&s3.Object{ReadCloser: io.NopCloser(iotest.ErrReader(fmt.Errorf("%w: cut", s3.ErrUnreachable))), Size: 100}), "ServiceException", ""},
		{"no zip", answer(objectOf([]byte("hello"))), "InvalidParameterValueException", ""},
		{"nothing", answer(objectOf(nil)), "InvalidParameterValueException", "Uploaded file must be a non-empty zip"},
		{"declared too large", answer(&s3.Object{ReadCloser: io.NopCloser(iotest.ErrReader(errors.New("it was read"))), Size: 2000}),
			"InvalidParameterValueException", "Unzipped size must be smaller than 2000 bytes"},
		{"endless", answer(endless), "InvalidParameterValueException", "Unzipped size must be smaller than 2000 bytes"},
		{"unpacks to too much", buckets(func(context.Context, string, string, string) (*s3.Object, error) {
			return objectOf(zipOf(t, map[string]string{"a": strings.Repeat("a", 2000)})), nil
		}), "InvalidParameterValueException",
			"Unzipped size must be smaller than 2000 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st := start(t, Config{Buckets: tt.buckets, Limits: Limits{Archive: limits}})
			req := createRequest(t, "f", "")
			req.Zip, req.S3 = nil, fromS3
			_, err := st.Create(t.Context(), req)
			wantCode(t, err, tt.code, tt.message)
			_, err = st.PublishLayer(t.Context(), layer.PublishRequest{Account: account, Name: "tools", S3: fromS3})
			wantCode(t, err, tt.code, tt.message)
			st.wantObjects(t, 0)
			if len(st.quota.reserved) != 0 {
				t.Errorf("still reserved: %v", st.quota.reserved)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestS3QuotaIsSetAsideFirst makes sure that an archive which the account has
// no room for is never read.
func TestS3QuotaIsSetAsideFirst(t *testing.T) {
	st := start(t, Config{Limits: Limits{CodeBytes: 99}, Buckets: buckets(func(context.Context, string, string, string) (*s3.Object, error) {
		return &s3.Object{ReadCloser: io.NopCloser(iotest.ErrReader(errors.New("it was read"))), Size: 100}, nil
	})})
	_, err := st.PublishLayer(t.Context(), layer.PublishRequest{Account: account, Name: "tools", S3: fromS3})
	wantCode(t, err, "CodeStorageExceededException", "Code storage limit exceeded.")
}

// TestS3FetchesAreBounded holds as many fetches as may run and finds that the
// next one waits, and can be given up.
func TestS3FetchesAreBounded(t *testing.T) {
	reached, let := make(chan struct{}), make(chan struct{})
	zip := zipOf(t, map[string]string{"a": "b"})
	st := start(t, Config{Buckets: buckets(func(context.Context, string, string, string) (*s3.Object, error) {
		reached <- struct{}{}
		<-let
		return objectOf(zip), nil
	})})
	results := make(chan error, fetches)
	publish := func(ctx context.Context) error {
		_, err := st.PublishLayer(ctx, layer.PublishRequest{Account: account, Name: "tools", S3: fromS3})
		return err
	}
	for range fetches {
		go func() { results <- publish(t.Context()) }()
		<-reached
	}
	ctx, cancel := context.WithCancel(t.Context())
	one := make(chan error, 1)
	go func() { one <- publish(ctx) }()
	cancel()
	if err := <-one; !errors.Is(err, context.Canceled) {
		t.Errorf("one more: %v", err)
	}
	close(let)
	for range fetches {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}
