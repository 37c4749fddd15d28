// Package chaos kills, floods and attacks real Hearths and looks at what is
// left: functions and their code, processes, mounts, loop devices, namespaces,
// cgroups and files.
package chaos

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"hearth/test/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

// noRetry is a client that shows every refusal.
func noRetry(h *harness.Instance) *lambda.Client {
	return h.Client(func(o *lambda.Options) { o.Retryer = aws.NopRetryer{} })
}

// patient is a client that waits out throttles.
func patient(h *harness.Instance) *lambda.Client {
	return h.Client(func(o *lambda.Options) {
		o.Retryer = retry.NewStandard(func(s *retry.StandardOptions) {
			s.MaxAttempts, s.MaxBackoff, s.RateLimiter = 20, time.Second, nothing{}
		})
	})
}

// nothing is a rate limiter for retries that does not limit.
type nothing struct{}

func (nothing) GetToken(context.Context, uint) (func() error, error) {
	return func() error { return nil }, nil
}
func (nothing) AddTokens(uint) error { return nil }

// update replaces a function's code and waits until it serves.
func update(ctx context.Context, c *lambda.Client, name string, zip []byte) error {
	if _, err := c.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: &name, ZipFile: zip}); err != nil {
		return err
	}
	return lambda.NewFunctionUpdatedV2Waiter(c, func(o *lambda.FunctionUpdatedV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, 200*time.Millisecond
	}).Wait(ctx, &lambda.GetFunctionInput{FunctionName: &name}, time.Minute)
}

func invoke(ctx context.Context, c *lambda.Client, name, payload string) (*lambda.InvokeOutput, error) {
	return c.Invoke(ctx, &lambda.InvokeInput{FunctionName: &name, Payload: []byte(payload)})
}

// until polls a condition until it holds or a minute has passed.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("still waiting after a minute: %s", what)
		}
	}
}
