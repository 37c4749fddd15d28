package e2e

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// qualified invokes a version or alias.
func qualified(qualifier string) func(*lambda.InvokeInput) {
	return func(in *lambda.InvokeInput) { in.Qualifier = &qualifier }
}

func (f *function) publish(t *testing.T) string {
	t.Helper()
	out, err := f.client.PublishVersion(t.Context(), &lambda.PublishVersionInput{FunctionName: &f.name})
	if err != nil {
		t.Fatal(err)
	}
	return *out.Version
}

func (f *function) update(t *testing.T, runtime, version string) {
	t.Helper()
	_, err := f.client.UpdateFunctionCode(t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: &f.name, ZipFile: code(t, runtime, version)})
	if err != nil {
		t.Fatal(err)
	}
	f.wait(t)
}

// TestVersions runs old code after the function has gone on.
func TestVersions(t *testing.T) {
	t.Parallel()
	f := deploy(t, python)
	one := f.publish(t)
	f.update(t, python, "2")
	_, err := f.client.CreateAlias(t.Context(), &lambda.CreateAliasInput{FunctionName: &f.name, Name: aws.String("live"), FunctionVersion: &one})
	if err != nil {
		t.Fatal(err)
	}
	for qualifier, want := range map[string]string{"$LATEST": `"2"`, one: `"1"`, "live": `"1"`} {
		r, err := f.send(t.Context(), []byte(`{"do":"version"}`), qualified(qualifier))
		if err != nil || string(r.payload) != want {
			t.Errorf("%s: %s, %v, want %s", qualifier, r.payload, err, want)
		}
		shown := strings.ReplaceAll(qualifier, "live", one)
		if !strings.Contains(r.log, "Version: "+shown+"\n") {
			t.Errorf("%s: the log does not name version %s:\n%s", qualifier, shown, r.log)
		}
	}
	_, err = f.send(t.Context(), []byte(`{}`), qualified("none"))
	wantError(t, err, "ResourceNotFoundException", "Function not found: arn:aws:lambda:us-east-1:000000000000:function:"+f.name+":none")
}

// TestWeightedAlias sends 10,000 invokes to an alias that gives a tenth of them
// to another version.
func TestWeightedAlias(t *testing.T) {
	t.Parallel()
	f := deploy(t, provided, memory(1024))
	one := f.publish(t)
	f.update(t, provided, "2")
	two := f.publish(t)
	_, err := f.client.CreateAlias(t.Context(), &lambda.CreateAliasInput{
		FunctionName: &f.name, Name: aws.String("canary"), FunctionVersion: &one,
		RoutingConfig: &types.AliasRoutingConfiguration{AdditionalVersionWeights: map[string]float64{two: 0.1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	const n, clients = 10_000, 4
	var left, first, second atomic.Int64
	left.Store(n)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				out, err := f.client.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: &f.name, Qualifier: aws.String("canary"), Payload: []byte(`{"do":"version"}`)})
				if err != nil {
					t.Error(err)
					return
				}
				switch *out.ExecutedVersion + string(out.Payload) {
				case one + `"1"`:
					first.Add(1)
				case two + `"2"`:
					second.Add(1)
				default:
					t.Errorf("version %s answered %s", *out.ExecutedVersion, out.Payload)
				}
			}
		})
	}
	wg.Wait()
	// Six standard deviations (30) to either side.
	if got := second.Load(); first.Load()+got != n || got < 1000-180 || got > 1000+180 {
		t.Errorf("%d invokes went to version %s and %d to version %s; want about 9000 and 1000", first.Load(), one, got, two)
	}
}

// TestProvisionedConcurrency has two environments initialised ahead: two
// invokes at once find them, a third starts one.
func TestProvisionedConcurrency(t *testing.T) {
	t.Parallel()
	f := deploy(t, python)
	one := f.publish(t)
	_, err := f.client.PutProvisionedConcurrencyConfig(t.Context(), &lambda.PutProvisionedConcurrencyConfigInput{
		FunctionName: &f.name, Qualifier: &one, ProvisionedConcurrentExecutions: aws.Int32(2),
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "two environments are ready", func() bool {
		got, err := f.client.GetProvisionedConcurrencyConfig(t.Context(), &lambda.GetProvisionedConcurrencyConfigInput{FunctionName: &f.name, Qualifier: &one})
		if err != nil {
			t.Fatal(err)
		}
		return got.Status == types.ProvisionedConcurrencyStatusEnumReady && *got.AllocatedProvisionedConcurrentExecutions == 2
	})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			r, err := f.send(t.Context(), []byte(`{"do":"sleep","seconds":0.5}`), qualified(one))
			if err != nil || r.failure != "" || strings.Contains(r.log, "INIT_START") {
				t.Errorf("an invoke within what is provisioned: %v, %s\n%s", err, r.payload, r.log)
			}
		})
	}
	wg.Wait()
	r, err := f.send(t.Context(), []byte(`{"do":"environment"}`), qualified(one))
	if err != nil || !strings.Contains(string(r.payload), `"AWS_LAMBDA_INITIALIZATION_TYPE": "provisioned-concurrency"`) {
		t.Errorf("%v, %s", err, r.payload)
	}
}

// TestReservedConcurrency makes a mutex of a function, and then shuts it.
func TestReservedConcurrency(t *testing.T) {
	t.Parallel()
	f := deploy(t, python)
	reserve := func(n int32) {
		_, err := f.client.PutFunctionConcurrency(t.Context(), &lambda.PutFunctionConcurrencyInput{FunctionName: &f.name, ReservedConcurrentExecutions: &n})
		if err != nil {
			t.Fatal(err)
		}
	}
	reserve(1)
	f.do(t, event{"do": "echo"}, nil)
	var throttled atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			_, err := f.send(context.Background(), []byte(`{"do":"sleep","seconds":1}`))
			if e := new(types.TooManyRequestsException); errors.As(err, &e) {
				if e.Reason != types.ThrottleReasonReservedFunctionConcurrentInvocationLimitExceeded {
					t.Errorf("reason %s", e.Reason)
				}
				throttled.Add(1)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := throttled.Load(); n < 1 || n > 3 {
		t.Errorf("%d of 4 invokes at once were throttled", n)
	}
	reserve(0)
	_, err := f.send(t.Context(), []byte(`{}`))
	wantError(t, err, "TooManyRequestsException", "Rate Exceeded.")
}
