package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// goBuild compiles a Go function to the static bootstrap that provided.*
// runtimes start.
func goBuild(ctx context.Context, dir, out string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "lambda.norpc", "-ldflags", "-s -w",
		"-o", filepath.Join(out, "bootstrap"), ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	return run(cmd, "install Go from https://go.dev/dl, or deploy a directory with a ready bootstrap")
}

// pipInstall puts what requirements.txt asks for beside the code, as wheels
// for the runtime's Python.
func pipInstall(ctx context.Context, dir, out string) error {
	requirements := filepath.Join(dir, "requirements.txt")
	src, err := os.ReadFile(requirements)
	if errors.Is(err, os.ErrNotExist) || (err == nil && strings.TrimSpace(string(src)) == "") {
		return nil
	}
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile",
		"--only-binary=:all:", "--platform", "manylinux2014_x86_64", "--python-version", "3.11", "--implementation", "cp",
		"--target", out, "-r", requirements)
	return run(cmd, "apt-get install python3-pip, or install the packages into the directory yourself and remove requirements.txt")
}

// run runs a build tool and, if it fails, says so in the tool's own words.
func run(cmd *exec.Cmd, missing string) error {
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s is not installed: %s", cmd.Args[0], missing)
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args[:2], " "), err, out)
	}
	return nil
}
