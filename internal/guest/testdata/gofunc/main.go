// Command gofunc is a function with the Go runtime client, for tests: the
// event says what it does.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type event struct {
	Do   string `json:"do"`
	Text string `json:"text"`
	Size int    `json:"size"`
}

func handle(ctx context.Context, in event) (any, error) {
	lc, _ := lambdacontext.FromContext(ctx)
	switch in.Do {
	case "echo":
		return in.Text, nil
	case "log":
		fmt.Println(in.Text)
		fmt.Fprint(os.Stderr, "no newline")
		return "logged", nil
	case "fail":
		return nil, errors.New(in.Text)
	case "panic":
		panic(in.Text)
	case "exit":
		os.Exit(in.Size)
	case "big":
		return strings.Repeat("x", in.Size), nil
	case "context":
		deadline, _ := ctx.Deadline()
		return map[string]any{"id": lc.AwsRequestID, "arn": lc.InvokedFunctionArn, "client": lc.ClientContext.Custom,
			"deadline": deadline.UnixMilli(), "env": os.Getenv(in.Text)}, nil
	case "stream":
		return &endless{in.Text}, nil
	case "hang":
		fmt.Println("hanging")
		<-make(chan struct{})
	}
	return nil, fmt.Errorf("unknown: %q", in.Do)
}

// endless is an answer that begins and never ends.
type endless struct{ text string }

func (e *endless) Read(b []byte) (int, error) {
	if e.text == "" {
		select {}
	}
	n := copy(b, e.text)
	e.text = e.text[n:]
	return n, nil
}

func main() { lambda.Start(handle) }
