package datadir

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func mustOpen(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() }) // some tests have closed it
	return d
}

// wantErr checks the error's kind, and that it says what to do.
func wantErr(t *testing.T, err, want error, words ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func write(t *testing.T, name, body string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, []byte(body), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

func TestOpenMakesAndKeepsLayout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "data")
	for range 2 {
		d := mustOpen(t, path)
		for _, dir := range []string{d.Path(), d.Etcd(), d.Objects(), d.Runtimes(), d.Worker(), d.Logs(), d.Audit()} {
			info, err := os.Stat(dir)
			if err != nil || info.Mode() != os.ModeDir|0o700 {
				t.Fatalf("%s: %v, %v, want a directory of mode 0700", dir, info.Mode(), err)
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenAcceptsFreshFileSystemAndCrashedFirstStart(t *testing.T) {
	path := t.TempDir()
	if err := os.Mkdir(filepath.Join(path, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	torn := filepath.Join(path, tempPrefix+"X")
	write(t, torn, "1", 0o600)
	mustOpen(t, path)
	if _, err := os.Stat(torn); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a half-written file survived: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	tests := []struct {
		name  string
		setup func(t *testing.T, path string)
		want  error
		words []string
	}{
		{"a file", func(t *testing.T, p string) { write(t, p, "", 0o600) }, ErrNotDataDir, []string{"--data"}},
		{"below a file", func(t *testing.T, p string) {
			write(t, filepath.Dir(p), "", 0o600)
		}, ErrNotDataDir, []string{"--data"}},
		{"someone's files", func(t *testing.T, p string) {
			mkdir(t, p)
			write(t, filepath.Join(p, "thesis.tex"), "", 0o600)
		}, ErrNotDataDir, []string{"not empty", "--data"}},
		{"newer version", func(t *testing.T, p string) {
			mkdir(t, p)
			write(t, filepath.Join(p, versionFile), "2\n", 0o600)
		}, ErrVersion, []string{"version 2", "version 1"}},
		{"damaged version", func(t *testing.T, p string) {
			mkdir(t, p)
			write(t, filepath.Join(p, versionFile), "\x00\x00", 0o600)
		}, ErrDamaged, []string{"backup"}},
		{"empty version", func(t *testing.T, p string) {
			mkdir(t, p)
			write(t, filepath.Join(p, versionFile), "", 0o600)
		}, ErrDamaged, []string{"backup"}},
		{"open to others", func(t *testing.T, p string) {
			mustClose(t, mustOpen(t, p))
			chmod(t, p, 0o755)
		}, ErrUnsafe, []string{"chmod 700 "}},
		{"another owner", func(t *testing.T, p string) {
			mustClose(t, mustOpen(t, p))
			if err := os.Chown(p, 1234, -1); err != nil {
				t.Fatal(err)
			}
		}, ErrUnsafe, []string{"1234", "chown"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "parent", "data")
			if tt.name != "below a file" {
				mkdir(t, filepath.Dir(path))
			}
			tt.setup(t, path)
			d, err := Open(path)
			if err == nil {
				mustClose(t, d)
			}
			wantErr(t, err, tt.want, tt.words...)
		})
	}
}

func TestOpenRefusesOthersThanRoot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	_, err := open(path, 1000)
	wantErr(t, err, ErrNotRoot, "sudo")
	if _, err := os.Stat(path); err == nil {
		t.Error("the directory was made all the same")
	}
}

func TestOpenTwiceNamesTheHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	d := mustOpen(t, path)
	_, err := Open(path)
	wantErr(t, err, ErrLocked, strconv.Itoa(os.Getpid()), "--data")
	// Asking for the endpoint must not disturb the lock.
	if _, err := Endpoint(path); err == nil {
		t.Error("there is an endpoint before Serving")
	}
	_, err = Open(path)
	wantErr(t, err, ErrLocked)
	mustClose(t, d)
	mustOpen(t, path)
}

func TestOpenOnReadOnlyAndFullFileSystems(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	mnt := t.TempDir()
	if err := unix.Mount("hearth-test", mnt, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mnt, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	filler := filepath.Join(mnt, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Open(filepath.Join(mnt, "data"))
	wantErr(t, err, ErrNoSpace, "free some")
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	mustClose(t, mustOpen(t, filepath.Join(mnt, "data")))

	if err := unix.Mount("", mnt, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	_, err = Open(filepath.Join(mnt, "data"))
	wantErr(t, err, ErrReadOnly, "--data")
	_, err = Open(filepath.Join(mnt, "other"))
	wantErr(t, err, ErrReadOnly)
}

func TestCredentials(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	d := mustOpen(t, path)
	c, err := d.Credentials()
	if err != nil {
		t.Fatal(err)
	}
	if c.AccountID != "000000000000" || len(c.AccessKeyID) != 20 || !strings.HasPrefix(c.AccessKeyID, "AKIA") || len(c.SecretAccessKey) != 40 {
		t.Fatalf("credentials %+v", c)
	}
	again, err := d.Credentials()
	if err != nil || again != c {
		t.Fatalf("second time: %+v, %v", again, err)
	}
	other, err := mustOpen(t, filepath.Join(t.TempDir(), "data")).Credentials()
	if err != nil || other.SecretAccessKey == c.SecretAccessKey || other.AccessKeyID == c.AccessKeyID {
		t.Fatalf("two directories share keys, or %v", err)
	}
	name := filepath.Join(path, credentialsFile)
	info, err := os.Stat(name)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	chmod(t, name, 0o640)
	_, err = d.Credentials()
	wantErr(t, err, ErrUnsafe, "chmod 600 "+name)

	good := `{"accountId":"000000000000","accessKeyId":"` + c.AccessKeyID + `","secretAccessKey":"` + c.SecretAccessKey + `"}`
	for _, bad := range []string{"", "{", good[:40], strings.Replace(good, "AKIA", "XXXX", 1),
		strings.Replace(good, "000000000000", "0", 1), strings.Replace(good, `","secretAccessKey":"`, `","secretAccessKey":" `, 1),
		strings.Repeat(" ", maxSmall+1)} {
		write(t, name, bad, 0o600)
		_, err := d.Credentials()
		wantErr(t, err, ErrDamaged)
		if strings.Contains(err.Error(), c.SecretAccessKey) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
	write(t, name, good, 0o600)
	if again, err := LoadCredentials(path); err != nil || again != c {
		t.Fatalf("load: %+v, %v", again, err)
	}
}

func TestEndpoint(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	_, err := Endpoint(path)
	wantErr(t, err, ErrNotDataDir, "does not exist", "--data")
	mkdir(t, path)
	_, err = Endpoint(path)
	wantErr(t, err, ErrNotDataDir, "--data")
	d := mustOpen(t, path)
	_, err = Endpoint(path)
	wantErr(t, err, ErrNotServing, "hearth up --data "+path)
	if err := d.Serving("http://127.0.0.1:4566"); err != nil {
		t.Fatal(err)
	}
	if got, err := Endpoint(path); err != nil || got != "http://127.0.0.1:4566" {
		t.Fatalf("endpoint %q, %v", got, err)
	}
	// Killed: the lock goes, the file stays.
	if err := d.lock.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Endpoint(path)
	wantErr(t, err, ErrNotServing)
	mustClose(t, mustOpen(t, path))
	if _, err := os.Stat(filepath.Join(path, endpointFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an old endpoint survived a start: %v", err)
	}
}

func TestImages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data")
	d := mustOpen(t, path)
	if got, err := Images(path); err != nil || got != d.Runtimes() {
		t.Errorf("nothing said: %q, %v", got, err)
	}
	t.Chdir(t.TempDir())
	if err := d.KeepsImages("cache"); err != nil {
		t.Fatal(err)
	}
	mustClose(t, d)
	want, err := filepath.Abs("cache")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Images(path); err != nil || got != want {
		t.Errorf("stopped: %q, %v, want %s", got, err, want)
	}
	write(t, filepath.Join(path, imagesFile), strings.Repeat("x", maxSmall+1), 0o600)
	if _, err := Images(path); !errors.Is(err, ErrDamaged) {
		t.Errorf("damaged: %v", err)
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func mustClose(t *testing.T, d *Dir) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
