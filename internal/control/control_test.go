package control

import (
	"bytes"
	"io"
	"testing"

	"hearth/internal/function"
)

func TestLifeOfAFunction(t *testing.T) {
	st := start(t, Config{})
	req := createRequest(t, "hi", "one")
	created, err := st.Create(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if created.State != function.Pending || created.StateReasonCode != "Creating" || created.Serving != nil {
		t.Fatalf("created: %+v", created)
	}
	active := st.wait(t, "hi", settled)
	if active.State != function.Active || active.Serving == nil || active.Generation != 1 ||
		active.LastUpdateStatus != function.UpdateSuccessful || active.RevisionID == created.RevisionID {
		t.Fatalf("active: %+v", active)
	}
	got, err := st.Get(t.Context(), account, "hi")
	if err != nil || got != active {
		t.Fatalf("get: %+v, %v", got, err)
	}
	f, err := st.OpenCode(t.Context(), got)
	if err != nil {
		t.Fatal(err)
	}
	code, err := io.ReadAll(f)
	if err != nil || !bytes.Equal(code, req.Zip) {
		t.Fatalf("code: %d bytes, %v, want %d", len(code), err, len(req.Zip))
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := st.Delete(t.Context(), account, "hi"); err != nil {
		t.Fatal(err)
	}
	_, err = st.Get(t.Context(), account, "hi")
	wantCode(t, err, "ResourceNotFoundException", "Function not found: arn:aws:lambda:us-east-1:000000000000:function:hi")
	st.Stop()
	left, err := st.objects.List(t.Context(), "")
	if err != nil || len(left) != 0 {
		t.Fatalf("objects left: %v, %v", left, err)
	}
}
