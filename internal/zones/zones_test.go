package zones

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBelongs(t *testing.T) {
	for line, want := range map[string]bool{
		"hearth\x00serve\x00--data\x00/d/az1/worker\x00":       true,
		"runsc\x00--root=/d/az1/worker/worker/x\x00":           true,
		`hearth` + "\x00" + `{"dir":"/d/az1/worker"}` + "\x00": true,
		"hearth\x00serve\x00--data\x00/d/az1/worker2\x00":      false,
		"hearth\x00serve\x00--data\x00/d/az1\x00":              false,
		"": false,
	} {
		if got := belongs([]byte(line), "/d/az1/worker"); got != want {
			t.Errorf("%q: got %v, want %v", line, got, want)
		}
	}
}

// frontendLike answers with its name, unless it stands still.
func frontendLike(t *testing.T, name string) (*httptest.Server, *atomic.Bool) {
	t.Helper()
	still := new(atomic.Bool)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if still.Load() {
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, name)
	}))
	t.Cleanup(s.Close)
	return s, still
}

// TestBalancer: who does not answer gets no clients, and those that it had are cut.
func TestBalancer(t *testing.T) {
	one, _ := frontendLike(t, "one")
	two, still := frontendLike(t, "two")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := newBalancer(l, []string{one.Listener.Addr().String(), two.Listener.Addr().String()})
	defer b.stop()
	if err := b.await(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	ask := func() string {
		client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := client.Get("http://" + l.Addr().String())
		if err != nil {
			return err.Error()
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return string(text)
	}
	got := map[string]bool{ask(): true, ask(): true}
	if !got["one"] || !got["two"] {
		t.Errorf("two clients came to %v, want to both", got)
	}

	still.Store(true)
	held := make(chan string, 2)
	for range 2 {
		go func() { held <- ask() }()
	}
	b.backends[1].mu.Lock()
	well, changed := b.backends[1].well, b.backends[1].changed
	b.backends[1].mu.Unlock()
	if well {
		<-changed
	}
	if a, z := <-held, <-held; a != "one" && z != "one" {
		t.Errorf("clients were told %q and %q", a, z)
	}
	for range 4 {
		if text := ask(); text != "one" {
			t.Errorf("a client was told %q, want one", text)
		}
	}
	two.CloseClientConnections()
}
