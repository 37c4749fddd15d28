package etcd

import (
	"testing"
	"time"
)

func TestStartServesAndKeepsData(t *testing.T) {
	dir := t.TempDir()
	for i := range 2 {
		began := time.Now()
		s, err := Start(t.Context(), Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		t.Log("start", time.Since(began))
		if i == 0 {
			if _, err := s.Client().Put(t.Context(), "a", "b"); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.Client().Get(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "b" {
			t.Fatalf("got %v, want b", got.Kvs)
		}
		began = time.Now()
		s.Stop()
		t.Log("stop", time.Since(began))
	}
}
