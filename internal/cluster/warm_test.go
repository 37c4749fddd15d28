package cluster_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/prometheus/client_golang/prometheus"

	"hearth/internal/cluster"
	"hearth/test/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.Cleanup()
	os.Exit(code)
}

// TestWarmPathStaysInMemory invokes a warm function many times inside this
// process and finds that etcd was neither read nor written, and that no
// goroutine was left behind.
func TestWarmPathStaysInMemory(t *testing.T) {
	client := inProcess(t)
	harness.CreatePython(t, client, "warm", "def handler(event, context):\n    return event\n",
		func(in *lambda.CreateFunctionInput) { in.MemorySize = aws.Int32(1769) })
	series := func(n int) {
		for range n {
			out, err := client.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("warm"), Payload: []byte(`{"a": 1}`)})
			if err != nil || out.FunctionError != nil {
				t.Fatalf("invoke: %v %+v", err, out)
			}
		}
	}
	series(20)
	// etcd has chores of its own, rarely; three series in a row are not all
	// going to meet one.
	var touched map[string]float64
	for range 3 {
		before, goroutines := storeCounters(t), runtime.NumGoroutine()
		series(200)
		touched = map[string]float64{}
		for name, after := range storeCounters(t) {
			if after != before[name] {
				touched[name] = after - before[name]
			}
		}
		// On a busy machine another environment may have been started, which
		// has a few goroutines; one for each request would be 200.
		if grown := runtime.NumGoroutine() - goroutines; grown > 50 {
			t.Fatalf("%d goroutines more after 200 warm invokes", grown)
		}
		if len(touched) == 0 {
			return
		}
	}
	t.Fatalf("200 warm invokes touched the store: %v", touched)
}

// storeCounters are etcd's own counts of what it reads and writes.
func storeCounters(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counters := map[string]float64{}
	for _, f := range families {
		switch f.GetName() {
		case "etcd_disk_wal_fsync_duration_seconds", "etcd_disk_backend_commit_duration_seconds":
			counters[f.GetName()] = float64(f.GetMetric()[0].GetHistogram().GetSampleCount())
		case "etcd_mvcc_range_total", "etcd_mvcc_put_total", "etcd_mvcc_txn_total":
			counters[f.GetName()] = f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	if len(counters) != 5 {
		t.Fatalf("etcd's counters have other names now; found %v", counters)
	}
	return counters
}

// inProcess starts a Hearth in this process.
func inProcess(t *testing.T) *lambda.Client {
	t.Helper()
	bin, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	data, err := harness.NewData()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(bin)
	h, err := cluster.Start(t.Context(), cluster.Config{
		DataDir: data, Listen: "127.0.0.1:0", RuntimeCache: harness.RuntimeCache(),
		Runsc: filepath.Join(dir, "runsc"), Init: filepath.Join(dir, "hearth-init"), Program: filepath.Join(dir, "hearth"), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(data)
	})
	keys, url := h.Credentials(), h.URL()
	return lambda.New(lambda.Options{
		BaseEndpoint: &url, Region: "us-east-1",
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.SecretAccessKey}, nil
		}),
	})
}
