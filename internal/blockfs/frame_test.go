package blockfs

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func frameOf(body string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func TestReadFrame(t *testing.T) {
	for name, test := range map[string]struct {
		in   []byte
		want error
	}{
		"an end":        {nil, io.EOF},
		"half a header": {[]byte{0, 0}, io.ErrUnexpectedEOF},
		"no body":       {[]byte{0, 0, 0, 0}, errFrame},
		"too long":      {binary.BigEndian.AppendUint32(nil, 101), errFrame},
		"much too long": {[]byte{255, 255, 255, 255}, errFrame},
		"half a body":   {frameOf(`{"id":1}`)[:8], errFrame},
		"not JSON":      {frameOf("secret"), errFrame},
		"another type":  {frameOf(`{"id":"secret"}`), errFrame},
		"two objects":   {frameOf(`{}secret`), errFrame},
		"good":          {frameOf(`{"id":1,"op":"x","later":2}`), nil},
	} {
		var q request
		err := readFrame(bytes.NewReader(test.in), 100, &q)
		if !errors.Is(err, test.want) || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
	if err := writeFrame(io.Discard, 10, strings.Repeat("x", 100)); !errors.Is(err, errFrame) {
		t.Errorf("writing more than is allowed: got %v", err)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add(frameOf(`{"id":1,"op":"open","args":{"volume":"v","owner":"o","spec":{"key":"k"}}}`))
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 1 << 10
		r := bytes.NewReader(in)
		var q request
		if err := readFrame(r, limit, &q); err != nil {
			return
		}
		if used := len(in) - r.Len(); used > limit+frameHeader {
			t.Fatalf("%d bytes were read", used)
		}
		var out bytes.Buffer
		if err := writeFrame(&out, maxRequest, &q); err != nil {
			t.Fatal(err)
		}
		var again request
		if err := readFrame(&out, maxRequest, &again); err != nil || again.ID != q.ID || again.Op != q.Op {
			t.Fatalf("got %+v, %v, want %+v", again, err, q)
		}
	})
}

// TestFlood sends a server what no client sends, from more connections than it
// serves; whoever behaves is served then.
func TestFlood(t *testing.T) {
	dir := filepath.Join(shortDir(t), "fs")
	serve(t, Config{Dir: dir})
	greeting := frameOf(`{"version":1}`)
	var group sync.WaitGroup
	for i := range 3 * maxSessions {
		for _, junk := range [][]byte{
			bytes.Repeat([]byte{0xff}, 1<<16),
			greeting[:3],
			append(bytes.Clone(greeting), frameOf(`["not","an","object"]`)...),
			append(bytes.Clone(greeting), binary.BigEndian.AppendUint32(nil, maxRequest+1)...),
			append(bytes.Clone(greeting), append(binary.BigEndian.AppendUint32(nil, maxRequest), make([]byte, 1000)...)...),
			frameOf(`{"version":1,"build":"` + strings.Repeat("x", maxHello) + `"}`),
		} {
			if i%3 > 0 && len(junk) > 1000 {
				continue
			}
			group.Go(func() {
				conn, err := net.Dial("unix", filepath.Join(dir, socketName))
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = conn.Write(junk)
				_ = conn.(*net.UnixConn).CloseWrite()
				_, _ = io.Copy(io.Discard, conn) // until it hangs up
				_ = conn.Close()
			})
		}
	}
	group.Wait()
	c := connect(t, ClientConfig{Dir: dir})
	open(t, c, "v", testSpec{Size: 1 << 20})

	l, err := c.current(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for op, args := range map[string]any{
		"nonsense": nil, "": nil, opOpen: 7, opRelease: "x", opStats: nil, opPrefetch: []int{1}, opShutdown: "now",
	} {
		if err := l.call(t.Context(), op, args, nil, nil); err == nil {
			t.Errorf("%q with %v: got no error", op, args)
		}
	}
	if err := l.call(t.Context(), opRelease, releaseArgs{12345}, nil, nil); !errors.Is(err, ErrUnknown) {
		t.Errorf("a lease that is not there: got %v, want ErrUnknown", err)
	}
	spec, _ := json.Marshal(strings.Repeat("x", maxRequest))
	if _, err := c.Open(t.Context(), "large", spec); !errors.Is(err, ErrInvalid) {
		t.Errorf("a spec that is too large: got %v, want ErrInvalid", err)
	}
	if _, err := c.List(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCounters(t *testing.T) {
	type counters struct{ Chunks int }
	dir, n := filepath.Join(shortDir(t), "fs"), 0
	serve(t, Config{Dir: dir, Counters: func() any { n++; return counters{n} }})
	c := connect(t, ClientConfig{Dir: dir})
	for want := 1; want <= 2; want++ {
		var got counters
		if err := c.Counters(t.Context(), &got); err != nil || got.Chunks != want {
			t.Errorf("got %+v, %v, want %d", got, err, want)
		}
	}
}

// TestOtherVersion speaks as a client of a later version.
func TestOtherVersion(t *testing.T) {
	dir := filepath.Join(shortDir(t), "fs")
	s := serve(t, Config{Dir: dir})
	conn, err := net.Dial("unix", filepath.Join(dir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := writeFrame(conn, maxHello, &hello{Version: 2}); err != nil {
		t.Fatal(err)
	}
	var theirs hello
	if err := readFrame(conn, maxHello, &theirs); err != nil || theirs.Version != protocolVersion {
		t.Fatalf("hello: got %+v, %v", theirs, err)
	}
	for i, want := range map[string]bool{opList: false, opOpen: false, opDrop: true, opRetire: true} {
		var a response
		err := writeFrame(conn, maxRequest, &request{ID: 1, Op: i, Args: encode(dropArgs{Owner: "x"})})
		if err == nil {
			err = readFrame(conn, maxResponse, &a)
		}
		if err != nil || (a.Error == nil) != want {
			t.Errorf("%s: got %+v, %v, want %v", i, a.Error, err, want)
		}
		if i == opRetire {
			break // and the server ends
		}
	}
	if err := writeFrame(conn, maxRequest, &request{ID: 2, Op: opRetire}); err == nil {
		select {
		case <-s.Done():
		case <-time.After(30 * time.Second):
			t.Error("the server has not retired")
		}
	}
}
