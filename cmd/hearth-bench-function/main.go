// Command hearth-bench-function is the function that "hearth bench" deploys: a
// Go handler that answers with its event, as a bootstrap for provided.al2023.
// In a container image of "hearth bench storage" it first reads the files that
// the image's file /touch names, and an event may ask it to take its time.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	if err := touch(); err != nil {
		log.Fatal(err)
	}
	lambda.Start(func(_ context.Context, event json.RawMessage) (json.RawMessage, error) {
		var wait struct {
			HoldMs int64 `json:"holdMs"`
		}
		if json.Unmarshal(event, &wait) == nil { // others are events, too
			time.Sleep(time.Duration(wait.HoldMs) * time.Millisecond)
		}
		return event, nil
	})
}

func touch() error {
	list, err := os.ReadFile("/touch")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for path := range strings.FieldsSeq(string(list)) {
		if _, err := os.ReadFile(path); err != nil {
			return err
		}
	}
	return err
}
