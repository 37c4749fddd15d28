package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/test/harness"
)

// versioned is a function in three files that all carry a version number: an
// environment that mixed two versions of the code would show it.
func versioned(t *testing.T, version int) []byte {
	part := fmt.Sprintf("VERSION = %d\n", version)
	return harness.Zip(t, map[string]string{
		"a.py": part, "b.py": part,
		"app.py": part + `
import importlib

def handler(event, context):
    # b is imported late, while an update may be under way.
    return {"versions": [VERSION, importlib.import_module("a").VERSION, importlib.import_module("b").VERSION]}
`,
	})
}

// TestUpdatesUnderLoad sends 1,000 invokes at 16 clients across three functions
// while one of them is updated in a loop: no error but throttles, no torn
// code, no environment left over.
func TestUpdatesUnderLoad(t *testing.T) {
	h := harness.Run(t, "--memory", "65536")
	client := patient(h)
	names := []string{"still", "calm", "moving"}
	for _, name := range names {
		harness.CreatePython(t, client, name, echo)
	}
	if err := update(t.Context(), client, "moving", versioned(t, 1)); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var updates sync.WaitGroup
	var version, answered atomic.Int64
	version.Store(1)
	updates.Go(func() {
		for n := 2; ctx.Err() == nil; n++ {
			if err := update(ctx, client, "moving", versioned(t, n)); err != nil && ctx.Err() == nil {
				t.Errorf("update %d: %v", n, err)
				return
			}
			version.Store(int64(n))
			// Some invokes get through between two updates, or the test would
			// measure how fast two cores can start sandboxes.
			seen := answered.Load()
			for tick := time.NewTicker(5 * time.Millisecond); answered.Load() < seen+40 && ctx.Err() == nil; {
				<-tick.C
			}
		}
	})
	var invokes sync.WaitGroup
	for w := range 16 {
		invokes.Go(func() {
			for i := range 1000 / 16 {
				name := names[(w+i)%3]
				before := version.Load()
				out, err := invoke(t.Context(), client, name, `{"k": 1}`)
				answered.Add(1)
				var throttled *types.TooManyRequestsException
				switch {
				case errors.As(err, &throttled):
				case err != nil:
					t.Errorf("%s: %v", name, err)
				case out.FunctionError != nil:
					t.Errorf("%s: %s", name, out.Payload)
				case name == "moving":
					checkVersions(t, string(out.Payload), int(before))
				}
			}
		})
	}
	invokes.Wait()
	stop()
	updates.Wait()
	t.Logf("%d updates", version.Load())
	if version.Load() < 3 {
		t.Errorf("only %d updates came through meanwhile", version.Load())
	}
}

// checkVersions wants one version, not older than what had been acknowledged
// before the invoke was sent.
func checkVersions(t *testing.T, payload string, atLeast int) {
	t.Helper()
	var v [3]int
	if _, err := fmt.Sscanf(strings.ReplaceAll(payload, " ", ""), `{"versions":[%d,%d,%d]}`, &v[0], &v[1], &v[2]); err != nil {
		t.Errorf("payload %s: %v", payload, err)
		return
	}
	if v[0] != v[1] || v[1] != v[2] {
		t.Errorf("torn code: versions %v in one environment", v)
	}
	if v[0] < atLeast {
		t.Errorf("version %d answered after version %d had been acknowledged", v[0], atLeast)
	}
}
