// Command handler is the Go function of the images that tests build: it
// answers with what it sees around it, in the form of testimage.Answer.
package main

import (
	"context"
	"encoding/json"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() { lambda.Start(handle) }

// answer has the members of testimage.Answer, whose package would bring all
// that builds images into the binary.
type answer struct {
	Event    json.RawMessage   `json:"event"`
	Language string            `json:"language"`
	Env      map[string]string `json:"env"`
	Args     []string          `json:"args"`
	Cwd      string            `json:"cwd"`
	UID      int               `json:"uid"`
	GID      int               `json:"gid"`
	Writable bool              `json:"writable"`
	Files    map[string]string `json:"files"`
}

func handle(_ context.Context, event json.RawMessage) (answer, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return answer{}, err
	}
	a := answer{
		Event: event, Language: "go", Env: map[string]string{}, Args: os.Args[1:],
		Cwd: cwd, UID: os.Getuid(), GID: os.Getgid(), Writable: writable(), Files: map[string]string{},
	}
	for _, name := range []string{"AWS_LAMBDA_FUNCTION_NAME", "LAMBDA_TASK_ROOT", "AWS_REGION", "TESTIMAGE_GREETING"} {
		if value, ok := os.LookupEnv(name); ok {
			a.Env[name] = value
		}
	}
	for _, path := range []string{"/etc/testimage/removed", "/etc/testimage/changed", "/usr/local/share/hidden/file"} {
		if text, err := os.ReadFile(path); err == nil {
			a.Files[path] = string(text)
		}
	}
	return a, nil
}

func writable() bool {
	const probe = "/.writable"
	if err := os.WriteFile(probe, nil, 0o600); err != nil {
		return false
	}
	return os.Remove(probe) == nil
}
