// Command bootstrap is a Lambda function that greets whoever the event names.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
)

type event struct {
	Name     string `json:"name"`
	Language string `json:"language"`
}

type answer struct {
	Message string `json:"message"`
}

// Made once for each execution environment, before its first invoke.
var greetings = map[string]string{"": "Hello", "en": "Hello", "fr": "Bonjour"}

func greet(ctx context.Context, e event) (answer, error) {
	if deadline, ok := ctx.Deadline(); ok {
		log.Printf("greeting with %d ms left", time.Until(deadline).Milliseconds())
	}
	greeting, ok := greetings[e.Language]
	if !ok {
		return answer{}, fmt.Errorf("no greeting in %q", e.Language)
	}
	if e.Name == "" {
		e.Name = "world"
	}
	return answer{Message: greeting + ", " + e.Name + "!"}, nil
}

func main() { lambda.Start(greet) }
