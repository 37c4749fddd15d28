package chaos

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"hearth/test/harness"
)

//go:embed testdata/hostile.py
var hostileSource string

// attack is what one attack of the hostile function reports: how far it got,
// and whether that is a breach.
type attack struct {
	Breach bool   `json:"breach"`
	Detail string `json:"detail"`
}

// TestHostileFunctionGetsNothing runs every attack from inside a sandbox.
func TestHostileFunctionGetsNothing(t *testing.T) {
	h := harness.Run(t)
	client := noRetry(h)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("host secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	// Ports of the host: one on loopback, one on every address it has.
	var accepted atomic.Int32
	targets := []string{strings.TrimPrefix(h.URL, "http://"), "169.254.169.254:80"}
	for _, ip := range hostAddresses(t) {
		l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
		if err != nil {
			continue // an address that cannot be listened on
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				accepted.Add(1)
				_ = c.Close()
			}
		}()
		targets = append(targets, l.Addr().String())
	}
	harness.CreatePython(t, client, "hostile", hostileSource, func(in *lambda.CreateFunctionInput) { in.Timeout, in.MemorySize = aws.Int32(60), aws.Int32(1769) })
	harness.CreatePython(t, client, "victim", echo)
	if _, err := invoke(t.Context(), client, "victim", `{}`); err != nil { // a neighbour to find
		t.Fatal(err)
	}
	event, err := json.Marshal(map[string]any{
		"files":   []string{secret, filepath.Join(h.Data, "credentials"), "/var/lib/hearth/credentials", "/root/.bashrc"},
		"targets": targets,
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := invoke(t.Context(), client, "hostile", string(event))
	if err != nil || out.FunctionError != nil {
		t.Fatalf("the hostile function did not run: %v %s", err, out.Payload)
	}
	var report map[string]attack
	if err := json.Unmarshal(out.Payload, &report); err != nil {
		t.Fatalf("%v: %s", err, out.Payload)
	}
	if len(report) < 12 {
		t.Fatalf("only %d attacks were made: %v", len(report), report)
	}
	for name, a := range report {
		t.Logf("%-14s %s", name, a.Detail)
		if a.Breach {
			t.Errorf("%s: breach: %s", name, a.Detail)
		}
	}
	if n := accepted.Load(); n != 0 {
		t.Errorf("the host accepted %d connections from the sandbox", n)
	}
}

func hostAddresses(t *testing.T) []string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var ips []string
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			ips = append(ips, n.IP.String())
		}
	}
	return ips
}

// TestExhaustionIsContained has a function that eats what it can reach (memory,
// processes, /tmp, the log, CPU), one after the other and again at once, beside
// a neighbour. Each attack ends as the limits say, the neighbour's p99 stays
// under twice what it is alone, and Hearth goes on.
func TestExhaustionIsContained(t *testing.T) {
	h := harness.Run(t)
	client := noRetry(h)
	small := func(in *lambda.CreateFunctionInput) { in.Timeout = aws.Int32(30); in.MemorySize = aws.Int32(128) }
	harness.CreatePython(t, client, "neighbour", echo, func(in *lambda.CreateFunctionInput) { in.MemorySize = aws.Int32(1769) })
	harness.CreatePython(t, client, "hostile", hostileSource, small)
	for range 50 { // warm up
		if _, err := invoke(t.Context(), client, "neighbour", `{}`); err != nil {
			t.Fatal(err)
		}
	}
	alone := p99(t, client, func(n int) bool { return n < 500 })

	results := map[string]string{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, what := range []string{"memory", "fork", "disk", "log", "cpu"} {
			out, err := invoke(t.Context(), client, "hostile", fmt.Sprintf(`{"eat":%q}`, what))
			if err != nil {
				results[what] = "error: " + err.Error()
				continue
			}
			results[what] = aws.ToString(out.FunctionError) + " " + string(out.Payload)
		}
	}()
	beside := p99(t, client, func(int) bool {
		select {
		case <-done:
			return false
		default:
			return true
		}
	})
	for what, got := range results {
		t.Logf("%-7s %.200s", what, got)
	}
	t.Logf("the neighbour's p99: %v alone, %v beside the eaters", alone, beside)
	if !strings.Contains(results["memory"], "Runtime.OutOfMemory") && !strings.Contains(results["memory"], "MemoryError") {
		t.Errorf("the memory eater ended with %s", results["memory"])
	}
	if !strings.Contains(results["disk"], "No space left on device") {
		t.Errorf("the disk eater ended with %s", results["disk"])
	}
	// One sample in a hundred of a shared machine is noise below 20 ms.
	if limit := max(2*alone, 20*time.Millisecond); beside > limit {
		t.Errorf("the neighbour's p99 rose from %v to %v", alone, beside)
	}
	if _, err := invoke(t.Context(), client, "neighbour", `{}`); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

// p99 invokes the neighbour for as long as more says so.
func p99(t *testing.T, c *lambda.Client, more func(n int) bool) time.Duration {
	t.Helper()
	var samples []time.Duration
	for more(len(samples)) {
		clock := time.Now()
		out, err := invoke(t.Context(), c, "neighbour", `{"a": 1}`)
		if err != nil || out.FunctionError != nil {
			t.Fatalf("the neighbour failed: %v %v", err, out)
		}
		samples = append(samples, time.Since(clock))
	}
	slices.Sort(samples)
	t.Logf("%d invokes of the neighbour", len(samples))
	return samples[len(samples)*99/100]
}
