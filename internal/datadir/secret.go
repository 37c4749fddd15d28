package datadir

import (
	"fmt"
	"os"
	"path/filepath"
)

// SecretFile is a small file that only its owner may read. What is in it is
// another package's business.
type SecretFile struct{ dir, name string }

// Name is the path of the file.
func (f SecretFile) Name() string { return filepath.Join(f.dir, f.name) }

// Load reads the file. The error is fs.ErrNotExist if there is none, and one
// that tells what to do if others can read it.
func (f SecretFile) Load() ([]byte, error) {
	info, err := os.Lstat(f.Name())
	if err != nil {
		return nil, explain(f.Name(), err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s: %w: others can read the keys (mode %04o); run: chmod 600 %s",
			f.Name(), ErrUnsafe, info.Mode().Perm(), f.Name())
	}
	b, err := readSmall(f.Name())
	if err != nil {
		return nil, explain(f.Name(), err)
	}
	return b, nil
}

// Save replaces the file in one step; it is on disk when Save returns.
func (f SecretFile) Save(b []byte) error { return writeFile(f.dir, f.name, b) }

// Secret is a file of secrets in the directory.
func (d *Dir) Secret(name string) SecretFile { return SecretIn(d.path, name) }

// SecretIn is a file of secrets in some directory.
func SecretIn(dir, name string) SecretFile { return SecretFile{dir: dir, name: name} }
