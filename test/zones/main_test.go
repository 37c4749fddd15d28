// Package zones tests a cluster of three availability zones: real processes, each
// zone in a network of its own, under load through the AWS SDK, while zones and
// processes are killed, stopped and cut off.
package zones

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/internal/ca"
	azs "hearth/internal/zones"
	"hearth/test/harness"
)

// shared is the cluster that the tests of this package share, one after the other.
var shared *harness.Instance

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	defer harness.Cleanup()
	data, err := harness.NewData()
	if err != nil {
		return complain(err)
	}
	defer os.RemoveAll(data)
	if shared, err = harness.Start(data, "--azs", "3", "--pool", "0", "--memory", "6144"); err != nil {
		return complain(err)
	}
	code := m.Run()
	if code != 0 {
		logs, _ := filepath.Glob(filepath.Join(data, "az*", "*.log"))
		for _, log := range logs {
			text, _ := os.ReadFile(log)
			fmt.Fprintf(os.Stderr, "==> %s\n%s\n", log, text[max(0, len(text)-20_000):])
		}
	}
	if err := shared.Stop(); err != nil {
		code = complain(err)
	}
	if left := harness.Remaining(data); len(left) > 0 {
		code = complain(fmt.Errorf("left behind after a clean stop:\n%s", strings.Join(left, "\n")))
	}
	if code != 0 {
		fmt.Fprintf(os.Stderr, "hearth's log:\n%s", shared.Log())
	}
	return code
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// order breaks or heals something, and has it healed in the end.
func order(t *testing.T, do, zone string, role ca.Role) {
	t.Helper()
	if err := azs.Send(t.Context(), shared.Data, azs.Order{Do: do, Zone: zone, Role: role}); err != nil {
		t.Fatal(err)
	}
	if do == "heal" {
		return
	}
	t.Cleanup(func() {
		if err := azs.Send(context.Background(), shared.Data, azs.Order{Do: "heal", Zone: zone}); err != nil {
			t.Error(err)
		}
	})
}

// tagged is a function whose environments are told apart.
const tagged = `
import time, uuid
me, n = str(uuid.uuid4()), 0
def handler(event, context):
    global n
    n += 1
    begun = time.time()
    time.sleep(event.get("sleep", 0.05))
    return {"env": me, "n": n, "begun": begun, "ended": time.time()}
`

// seen is one invoke, as the function and its caller saw it.
type seen struct {
	Env          string
	N            int
	Begun, Ended float64
	// at and took are the caller's, err what it was told.
	at   time.Time
	took time.Duration
	err  error
}

// client makes a client that tries nothing again.
func client() *lambda.Client {
	return shared.Client(func(o *lambda.Options) {
		o.RetryMaxAttempts = 1
		o.HTTPClient = &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	})
}

// invoke invokes a function once.
func invoke(ctx context.Context, c *lambda.Client, name string, sleep time.Duration) seen {
	s := seen{at: time.Now()}
	payload := fmt.Appendf(nil, `{"sleep":%g}`, sleep.Seconds())
	out, err := c.Invoke(ctx, &lambda.InvokeInput{FunctionName: &name, Payload: payload})
	s.took = time.Since(s.at)
	switch {
	case err != nil:
		s.err = err
	case out.FunctionError != nil:
		s.err = fmt.Errorf("%s: %s", *out.FunctionError, out.Payload)
	default:
		s.err = json.Unmarshal(out.Payload, &s)
	}
	return s
}

// load has clients invoke a function, each again and again, until stop is called,
// which returns what they saw.
func load(t *testing.T, name string, clients int, sleep time.Duration) (stop func() []seen) {
	t.Helper()
	return loadWith(t, name, clients, sleep, client)
}

func loadWith(t *testing.T, name string, clients int, sleep time.Duration, client func() *lambda.Client) (stop func() []seen) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var all []seen
	var wg sync.WaitGroup
	for range clients {
		c := client()
		wg.Go(func() {
			for ctx.Err() == nil {
				s := invoke(context.WithoutCancel(ctx), c, name, sleep)
				mu.Lock()
				all = append(all, s)
				mu.Unlock()
			}
		})
	}
	var once sync.Once
	stop = func() []seen {
		once.Do(func() {
			cancel()
			wg.Wait()
		})
		return all
	}
	t.Cleanup(func() { stop() })
	return stop
}

// create makes a tagged function.
func create(t *testing.T, name string, change ...func(*lambda.CreateFunctionInput)) {
	t.Helper()
	// While nobody leads the control plane, clients try again.
	c := shared.Client(func(o *lambda.Options) { o.RetryMaxAttempts = 10 })
	harness.CreatePython(t, c, name, tagged, change...)
	t.Cleanup(func() {
		_, err := c.DeleteFunction(context.Background(), &lambda.DeleteFunctionInput{FunctionName: &name})
		if gone := new(types.ResourceNotFoundException); err != nil && !errors.As(err, &gone) {
			t.Error(err)
		}
	})
}

// warm has a function's environments started by as many invokes at once, and
// returns them.
//
// An error here is one of the test's: nothing is broken.
func warm(t *testing.T, name string, n int) map[string]bool {
	t.Helper()
	envs := make(map[string]bool)
	c := shared.Client() // which tries again
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			s := invoke(t.Context(), c, name, 6*time.Second)
			mu.Lock()
			defer mu.Unlock()
			if s.err != nil {
				t.Error(s.err)
			}
			envs[s.Env] = true
		})
	}
	wg.Wait()
	return envs
}

// exclusive checks that no environment was ever in two invokes at once.
func exclusive(t *testing.T, all []seen) {
	t.Helper()
	last := make(map[string][]seen)
	for _, s := range all {
		if s.err != nil {
			continue
		}
		for _, o := range last[s.Env] {
			if s.Begun < o.Ended && o.Begun < s.Ended {
				t.Errorf("environment %s was in two invokes at once: %v to %v and %v to %v", s.Env, s.Begun, s.Ended, o.Begun, o.Ended)
			}
		}
		last[s.Env] = append(last[s.Env], s)
	}
}

// failures counts what went wrong, by what callers were told.
func failures(all []seen) (n int, by map[string]int) {
	by = make(map[string]int)
	for _, s := range all {
		if s.err != nil {
			n++
			by[s.err.Error()]++
		}
	}
	return n, by
}
