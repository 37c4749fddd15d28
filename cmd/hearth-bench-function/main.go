// Command hearth-bench-function is the function that "hearth bench" deploys: a
// Go handler that answers with its event, as a bootstrap for provided.al2023.
package main

import (
	"context"
	"encoding/json"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	lambda.Start(func(_ context.Context, event json.RawMessage) (json.RawMessage, error) { return event, nil })
}
