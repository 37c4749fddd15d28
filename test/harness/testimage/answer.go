package testimage

import (
	"encoding/json"
	"testing"
)

// Answer is what the functions say about where they run.
type Answer struct {
	// Event is the event as it came.
	Event json.RawMessage `json:"event"`
	// Language is go, python or node.
	Language string `json:"language"`
	// Env holds the variables of VariableNames that are set.
	Env map[string]string `json:"env"`
	// Args are the arguments after the program's name, or the script's.
	Args []string `json:"args"`
	Cwd  string   `json:"cwd"`
	UID  int      `json:"uid"`
	GID  int      `json:"gid"`
	// Writable says whether a file could be made in / (it is removed again).
	Writable bool `json:"writable"`
	// Files holds the contents of those files of FilePaths that are there.
	Files map[string]string `json:"files"`
}

// VariableNames are the variables that an Answer reports. Greeting is set by
// the images' own configuration.
func VariableNames() []string {
	return []string{"AWS_LAMBDA_FUNCTION_NAME", "LAMBDA_TASK_ROOT", "AWS_REGION", Greeting}
}

// FilePaths are the files that an Answer reports.
func FilePaths() []string { return []string{RemovedFile, ChangedFile, HiddenFile} }

// Greeting is a variable of the images' own.
const Greeting = "TESTIMAGE_GREETING"

// GreetingText is the value that the images set it to.
const GreetingText = "hello from the image"

// Files of a lower layer of GoOnDebian, where their content is "old". A layer
// above removes the first by a whiteout, and the last with all else in its
// directory by an opaque whiteout; the other is ChangedText there.
const (
	RemovedFile = "/etc/testimage/removed"
	ChangedFile = "/etc/testimage/changed"
	HiddenFile  = "/usr/local/share/hidden/file"
	ChangedText = "new"
)

// ParseAnswer reads a function's response.
func ParseAnswer(t testing.TB, response []byte) Answer {
	t.Helper()
	var a Answer
	if err := json.Unmarshal(response, &a); err != nil {
		t.Fatalf("answer of a function of an image: %v: %q", err, response)
	}
	return a
}
