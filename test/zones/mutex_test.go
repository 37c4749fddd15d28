package zones

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/internal/ca"
	"hearth/test/harness"
)

// witness is a function that tells in its log when it ran, also if its caller
// never hears of it.
const witness = `
import json, time
def handler(event, context):
    begun = time.time()
    time.sleep(event["sleep"])
    print(json.dumps({"begun": begun, "ended": time.time()}), flush=True)
    return {"begun": begun}
`

// stranger is a client that connects anew each time, and so comes to another
// frontend each time.
func stranger() *lambda.Client {
	return shared.Client(func(o *lambda.Options) {
		o.RetryMaxAttempts = 1
		o.HTTPClient = &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	})
}

func createMutex(t *testing.T, name string) {
	t.Helper()
	c := shared.Client(func(o *lambda.Options) { o.RetryMaxAttempts = 10 })

	create(t, name, func(in *lambda.CreateFunctionInput) {
		in.Timeout = aws.Int32(3)
		in.Code = &types.FunctionCode{ZipFile: harness.Zip(t, map[string]string{"app.py": witness})}
	})
	_, err := c.PutFunctionConcurrency(t.Context(), &lambda.PutFunctionConcurrencyInput{
		FunctionName: &name, ReservedConcurrentExecutions: aws.Int32(1),
	})
	if err != nil {
		t.Fatal(err)
	}
}

func throttled(err error) bool {
	var e *types.TooManyRequestsException
	return errors.As(err, &e)
}

func TestAlternatingFrontends(t *testing.T) {
	createMutex(t, "alternating")
	c := stranger()
	invoke(t.Context(), c, "alternating", 0) // the cold start
	refused := 0
	for i := range 100 {
		s := invoke(t.Context(), c, "alternating", 0)
		if throttled(s.err) {
			refused++
			t.Logf("invoke %d was refused after %v", i, s.took)
		} else if s.err != nil {
			t.Fatalf("invoke %d: %v", i, s.err)
		}
	}
	if !within(refused, 100, 3) {
		t.Errorf("%d of 100 invokes were refused, though nothing ran", refused)
	}
}

// moments are when a witness ran: when each invoke ended, by when it began.
type moments map[float64]float64

// read adds what the log of the last while tells. It may not be reached just now.
func (m moments) read(t *testing.T, name string) {
	t.Helper()
	for _, text := range logEvents(t, name, 2*time.Minute) {
		var one struct{ Begun, Ended float64 }
		if strings.HasPrefix(text, "{") && json.Unmarshal([]byte(text), &one) == nil && one.Begun > 0 {
			m[one.Begun] = one.Ended
		}
	}
}

// settle reads until there is no more to come.
func (m moments) settle(t *testing.T, name string) {
	t.Helper()
	for last := -1; len(m) != last; {
		last = len(m)
		timer := time.NewTimer(2 * time.Second)
		<-timer.C
		m.read(t, name)
	}
}

// TestMutex has a function with a reserved concurrency of one invoked from all
// sides, while frontends and the leaders of counting are killed, stopped and cut
// off: it never runs twice at once.
func TestMutex(t *testing.T) {
	createMutex(t, "mutex")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	var ran, refused, failed atomic.Int64
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				c := stranger()
				switch s := invoke(context.WithoutCancel(ctx), c, "mutex", 40*time.Millisecond); {
				case s.err == nil:
					ran.Add(1)
				case throttled(s.err):
					refused.Add(1)
				default:
					failed.Add(1)
				}
			}
		})
	}
	var story []string
	all, read := make(moments), time.Now()
	for until := time.Now().Add(*outage * 3); time.Now().Before(until); {
		zone := zones[dice.IntN(len(zones))]
		what := []string{"kill", "pause", "cut", "restart"}[dice.IntN(4)]
		role := []ca.Role{ca.Assignment, ca.Frontend}[dice.IntN(2)]
		if what == "cut" {
			role = ""
		}
		story = append(story, fmt.Sprint(what, " ", zone, " ", role))
		order(t, what, zone, role)
		timer := time.NewTimer(time.Duration(1+dice.IntN(5)) * time.Second)
		<-timer.C
		order(t, "heal", zone, "")
		timer.Reset(time.Duration(dice.IntN(3)) * time.Second)
		<-timer.C
		if time.Since(read) > 30*time.Second {
			all.read(t, "mutex")
			read = time.Now()
		}
	}
	cancel()
	wg.Wait()
	t.Logf("%d ran, %d were refused, %d failed, while: %s", ran.Load(), refused.Load(), failed.Load(), strings.Join(story, "; "))
	await(t, "mutex", 5)
	all.settle(t, "mutex")
	// Lines that the leader of the control plane had when it was killed are lost.
	if len(all) < int(ran.Load())/2 || ran.Load() < 10 {
		t.Errorf("the log tells of %d invokes, callers of %d", len(all), ran.Load())
	}
	t.Logf("the log tells of %d invokes", len(all))
	before := 0.0
	for _, begun := range slices.Sorted(maps.Keys(all)) {
		if begun < before {
			t.Errorf("two at once: one began at %.6f, before another ended at %.6f", begun, before)
		}
		before = max(before, all[begun])
	}
}

// logEvents reads the log of a function's last while, without the times.
func logEvents(t *testing.T, name string, since time.Duration) (lines []string) {
	t.Helper()
	bin, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(bin, "logs", name, "--data", shared.Data, "--since", since.String()).Output()
	if err != nil {
		return nil // it is asked again
	}
	for line := range strings.Lines(string(out)) {
		if _, text, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			lines = append(lines, text)
		}
	}
	return lines
}
