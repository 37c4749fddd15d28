package control

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"hearth/internal/function"
)

// crashDirEnv makes the test binary a child that is killed; see TestKill9.
const crashDirEnv = "HEARTH_TEST_CRASH_DIR"

const crashWorkers = 4

// crashChild creates, updates and deletes functions until it is killed. It
// says on stdout what it begins and what was acknowledged.
func crashChild(dir string) {
	st, err := openStack(context.Background(), dir, Config{})
	if err != nil {
		fmt.Println("fail", err)
		os.Exit(1)
	}
	var mu sync.Mutex
	say := func(words ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(os.Stdout, words...)
	}
	var wg sync.WaitGroup
	for w := range crashWorkers {
		wg.Go(func() { crashWorker(st, fmt.Sprint("w", w, "-"), say) })
	}
	wg.Wait()
}

func crashWorker(st *stack, prefix string, say func(...any)) {
	ctx := context.Background()
	for n := 0; ; n++ {
		name := fmt.Sprint(prefix, n%20)
		zip := zipOf(&testing.T{}, map[string]string{"app.py": strings.Repeat(fmt.Sprint(name, n, " "), 1000)})
		sum := sha256.Sum256(zip)
		digest := base64.StdEncoding.EncodeToString(sum[:])
		var err error
		now, missing := st.Get(ctx, account, name)
		switch {
		case missing != nil:
			say("begin", name, digest)
			_, err = st.Create(ctx, function.CreateRequest{Account: account, Name: name, Zip: zip})
		case n%3 == 0:
			digest = "gone"
			say("begin", name, digest)
			err = st.Delete(ctx, account, name)
		case needsPreparing(now):
			continue
		default:
			say("begin", name, digest)
			_, err = st.UpdateCode(ctx, function.CodeUpdate{Account: account, Name: name, Zip: zip})
		}
		if err != nil {
			say("fail", name, err)
			return
		}
		say("ack", name, digest)
	}
}

// TestKill9 kills a control plane in the middle of its work, again and again
// on the same data, and compares what it acknowledged with what is there.
func TestKill9(t *testing.T) {
	dir := t.TempDir()
	states := make(map[string]string) // what each function was last acknowledged to be
	for round := range 4 {
		maybe := runAndKill(t, dir, 40+rand.IntN(100), states)
		if t.Failed() {
			return
		}
		verifyAfterCrash(t, dir, round, states, maybe)
	}
}

// runAndKill runs a child until it has acknowledged n changes and returns what
// was under way when it was killed.
func runAndKill(t *testing.T, dir string, n int, states map[string]string) (maybe map[string]string) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), crashDirEnv+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	maybe = make(map[string]string)
	acks := 0
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		kind, rest, _ := strings.Cut(lines.Text(), " ")
		name, digest, _ := strings.Cut(rest, " ")
		switch kind {
		case "begin":
			maybe[name] = digest
		case "ack":
			states[name] = digest
			delete(maybe, name)
			if acks++; acks == n {
				if err := child.Process.Kill(); err != nil {
					t.Error(err)
				}
			}
		default:
			t.Errorf("child: %s", lines.Text())
		}
	}
	if err := child.Wait(); err == nil || acks < n {
		t.Errorf("the child ended by itself after %d changes: %v", acks, err)
	}
	return maybe
}

func verifyAfterCrash(t *testing.T, dir string, round int, states, maybe map[string]string) {
	t.Helper()
	st, err := openStack(t.Context(), dir, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.close(); err != nil {
			t.Error(err)
		}
	}()
	for name := range maybe {
		if _, ok := states[name]; !ok {
			states[name] = "gone"
		}
	}
	for name, want := range states {
		got := "gone"
		if r, err := st.Get(t.Context(), account, name); err == nil {
			got = r.Latest.Code.SHA256
		}
		if other, ok := maybe[name]; ok && got == other {
			states[name] = got
		} else if got != want {
			t.Errorf("round %d: %s is %s, and was acknowledged to be %s", round, name, got, want)
		}
	}
	named := make(map[string]bool)
	for _, r := range st.catalog.All() {
		if _, ok := states[r.Name]; !ok {
			t.Errorf("round %d: nobody created %s", round, r.Name)
		}
		st.wait(t, r.Name, settled)
	}
	for _, r := range st.catalog.All() {
		sum := sha256.Sum256(st.code(t, r))
		if got := base64.StdEncoding.EncodeToString(sum[:]); got != r.Latest.Code.SHA256 || r.State != function.Active {
			t.Errorf("round %d: %s is %s with code %s, want %s", round, r.Name, r.State, got, r.Latest.Code.SHA256)
		}
		for _, c := range configs(r) {
			named[c.Code.Object] = true
		}
	}
	st.Stop() // deletes what its preparations replaced, but for what has a grace
	stored, err := st.objects.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	graced := make(map[string]bool)
	for _, d := range st.garbage.items {
		graced[d.object] = true
	}
	for _, o := range stored {
		if !named[o.Key] && !graced[o.Key] {
			t.Errorf("round %d: orphan %s", round, o.Key)
		}
		delete(named, o.Key)
	}
	if len(named) != 0 {
		t.Error(errors.New("missing archives"), named)
	}
}
