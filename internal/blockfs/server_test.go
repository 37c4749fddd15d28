package blockfs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestOneServerADirectory(t *testing.T) {
	dir := filepath.Join(shortDir(t), "fs")
	serve(t, Config{Dir: dir})
	s, err := NewServer(Config{Dir: dir, Opener: testOpener{}})
	if err != nil {
		t.Fatal(err)
	}
	if f, err := tryLock(filepath.Join(dir, lockName)); err == nil {
		t.Errorf("the lock was free")
		_ = f.Close()
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err == nil {
		t.Error("started in a directory that others can enter")
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestConfigSaysAllThatIsWrong(t *testing.T) {
	for want, cfg := range map[string]Config{
		"blockfs: config: no directory\nno opener": {},
		"blockfs: config: read-ahead of 1 bytes":   {Dir: "x", Opener: testOpener{}, ReadAhead: 1},
		"blockfs: config: a negative bound":        {Dir: "x", Opener: testOpener{}, ReadTimeout: -1},
	} {
		if _, err := NewServer(cfg); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := NewClient(ClientConfig{}); err == nil || errors.Unwrap(err) == nil {
		t.Errorf("client: got %v", err)
	}
}
