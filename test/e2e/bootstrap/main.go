// Command bootstrap is the Go function of the end-to-end tests: it does what
// its event asks for. The tests build it and deploy it for provided.al2023.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

// event is what the function is asked for.
type event struct {
	Do      string          `json:"do"`
	Value   json.RawMessage `json:"value"`
	Blob    string          `json:"blob"`
	Text    string          `json:"text"`
	Say     string          `json:"say"`
	Name    string          `json:"name"`
	Size    int             `json:"size"`
	Status  int             `json:"status"`
	Times   int             `json:"times"`
	MB      int             `json:"mb"`
	Seconds float64         `json:"seconds"`
}

// Boom is an error with a type of its own.
type Boom struct{ What string }

func (b *Boom) Error() string { return b.What }

var (
	count    int
	instance = rand.Text()
)

func main() {
	switch os.Getenv("AT_INIT") {
	case "raise":
		panic("no init today")
	case "exit":
		os.Exit(7)
	case "sleep":
		time.Sleep(time.Minute)
	case "print":
		fmt.Println("said at init")
	}
	if os.Getenv("_HANDLER") == "whole" {
		lambda.Start(func(_ context.Context, e json.RawMessage) (json.RawMessage, error) { return e, nil })
	}
	lambda.Start(handle)
}

type deed func(context.Context, *event) (any, error)

var deeds = map[string]deed{
	"echo":    func(_ context.Context, e *event) (any, error) { return e.Value, nil },
	"nothing": func(context.Context, *event) (any, error) { return nil, nil },
	"fail":    func(context.Context, *event) (any, error) { return nil, &Boom{"it went wrong: ü"} },
	"panic":   func(context.Context, *event) (any, error) { panic("out of the blue") },
	"leave":   func(_ context.Context, e *event) (any, error) { os.Exit(e.Status); return nil, nil },
	"kill":    func(context.Context, *event) (any, error) { return nil, syscall.Kill(os.Getpid(), syscall.SIGKILL) },
	"big":     func(_ context.Context, e *event) (any, error) { return strings.Repeat("x", e.Size), nil },
	"measure": func(_ context.Context, e *event) (any, error) { return len(e.Blob), nil },
	"sleep":   sleep,
	"hog":     hog,
	"state": func(context.Context, *event) (any, error) {
		count++
		return map[string]any{"count": count, "pid": os.Getpid(), "instance": instance}, nil
	},
	"environment": environment,
	"describe":    describe,
	"say": func(_ context.Context, e *event) (any, error) {
		for range max(e.Times, 1) {
			fmt.Println(e.Text)
		}
		return nil, nil
	},
	"stream": stream,
	"keep":   keep,
	"files":  files,
	"version": func(context.Context, *event) (any, error) {
		b, err := os.ReadFile(filepath.Join(os.Getenv("LAMBDA_TASK_ROOT"), "version"))
		return string(b), err
	},
}

func handle(ctx context.Context, e *event) (any, error) {
	do, ok := deeds[e.Do]
	if !ok {
		return nil, fmt.Errorf("cannot do %q", e.Do)
	}
	return do(ctx, e)
}

func sleep(_ context.Context, e *event) (any, error) {
	fmt.Println(e.Say)
	time.Sleep(time.Duration(e.Seconds * float64(time.Second)))
	fmt.Println("slept well")
	return map[string]any{"instance": instance}, nil
}

// hog fills memory until it is stopped.
func hog(context.Context, *event) (any, error) {
	var hoard [][]byte
	for {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += os.Getpagesize() {
			b[i] = 1
		}
		hoard = append(hoard, b)
		if len(hoard) > 1<<20 {
			return len(hoard), nil
		}
	}
}

func environment(context.Context, *event) (any, error) {
	all := map[string]string{}
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		all[name] = value
	}
	return all, nil
}

func describe(ctx context.Context, _ *event) (any, error) {
	lc, ok := lambdacontext.FromContext(ctx)
	if !ok {
		return nil, errors.New("there is no context")
	}
	deadline, _ := ctx.Deadline()
	var custom map[string]string
	if len(lc.ClientContext.Custom) > 0 {
		custom = lc.ClientContext.Custom
	}
	return map[string]any{
		"name": lambdacontext.FunctionName, "version": lambdacontext.FunctionVersion,
		"arn": lc.InvokedFunctionArn, "memory": lambdacontext.MemoryLimitInMB, "id": lc.AwsRequestID,
		"group": lambdacontext.LogGroupName, "stream": lambdacontext.LogStreamName,
		"remaining": time.Until(deadline).Milliseconds(), "custom": custom,
	}, nil
}

// keep writes a file of some MB below /tmp, until it is done or refused.
func keep(_ context.Context, e *event) (any, error) {
	f, err := os.Create(filepath.Join("/tmp", filepath.Base(e.Name)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = 0xa5
	}
	for mb := range e.MB {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			return map[string]any{"mb": mb, "error": "ENOSPC"}, nil
		} else if err != nil {
			return nil, err
		}
	}
	return map[string]any{"mb": e.MB, "error": nil}, nil
}

func files(context.Context, *event) (any, error) {
	entries, err := os.ReadDir("/tmp")
	if err != nil {
		return nil, err
	}
	sizes := map[string]int64{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.Name() != "lost+found" {
			sizes[e.Name()] = info.Size()
		}
	}
	return sizes, nil
}
