package managedruntime

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"hearth/runtimes"
)

// addPackages fetches the recipe's wheels and npm packages with the clients
// that the machine has set up for them, checks them against the recipe's
// digests and unpacks them.
func addPackages(ctx context.Context, r runtimes.Recipe, tmp, root string, say func(string, ...any)) error {
	tree, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer tree.Close()
	if len(r.Wheels) > 0 {
		say("fetching %d Python packages", len(r.Wheels))
		if err := addWheels(ctx, r, filepath.Join(tmp, "wheels"), tree); err != nil {
			return err
		}
	}
	for _, p := range r.NPM {
		say("fetching %s %s", p.Name, p.Version)
		if err := addNPM(ctx, p, filepath.Join(tmp, "npm"), tree); err != nil {
			return err
		}
	}
	return nil
}

func addWheels(ctx context.Context, r runtimes.Recipe, dir string, tree *os.Root) error {
	var requirements strings.Builder
	known := make(map[string]bool)
	for _, w := range r.Wheels {
		fmt.Fprintf(&requirements, "%s==%s --hash=sha256:%s\n", w.Name, w.Version, w.SHA256)
		known[w.SHA256] = true
	}
	list := dir + ".txt"
	if err := os.WriteFile(list, []byte(requirements.String()), 0o600); err != nil {
		return err
	}
	err := run(ctx, command{name: "python3", pkg: "python3-pip", args: []string{
		"-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check",
		"--no-deps", "--only-binary=:all:", "--require-hashes",
		"--python-version=3.11", "--implementation=cp", "--abi=cp311", "--abi=none",
		"--platform=manylinux_2_28_x86_64", "--platform=manylinux2014_x86_64", "--platform=manylinux_2_17_x86_64",
		"--dest", dir, "--requirement", list,
	}, hint: "packages come from where this machine's pip is set up to fetch them: see `python3 -m pip config list`; " +
		"if pip itself is missing, run `apt-get install -y python3-pip`"})
	if err != nil {
		return err
	}
	wheels, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil {
		return err
	}
	if len(wheels) != len(r.Wheels) {
		return fmt.Errorf("pip fetched %d packages of %d", len(wheels), len(r.Wheels))
	}
	for _, wheel := range wheels {
		if err := unpackWheel(wheel, known, r.WheelDir, tree); err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(wheel), err)
		}
	}
	return nil
}

// unpackWheel unpacks a wheel, whose digest must be one of known, into dir.
func unpackWheel(wheel string, known map[string]bool, dir string, tree *os.Root) error {
	f, err := os.Open(wheel)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	size, err := io.Copy(h, f)
	if err != nil {
		return err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); !known[sum] {
		return fmt.Errorf("its digest %s is not in the recipe", sum)
	}
	archive, err := zip.NewReader(f, size)
	if err != nil {
		return err
	}
	for _, entry := range archive.File {
		if strings.HasSuffix(entry.Name, "/") {
			continue
		}
		if !filepath.IsLocal(entry.Name) {
			return fmt.Errorf("%q escapes the directory", entry.Name)
		}
		content, err := entry.Open()
		if err != nil {
			return err
		}
		err = writeFile(tree, path.Join(dir, entry.Name), content, 0o644) //nolint:gosec // it is local, and tree is an os.Root
		if err := errors.Join(err, content.Close()); err != nil {
			return err
		}
	}
	return nil
}

func addNPM(ctx context.Context, p runtimes.NPMPackage, dir string, tree *os.Root) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	err := run(ctx, command{name: "npm", pkg: "npm", dir: dir, args: []string{
		"pack", "--silent", "--ignore-scripts", "--pack-destination", dir, p.Name + "@" + p.Version,
	}, hint: "packages come from where this machine's npm is set up to fetch them: see `npm config get registry`"})
	if err != nil {
		return err
	}
	archives, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil {
		return err
	}
	if len(archives) != 1 {
		return fmt.Errorf("npm fetched %d archives for %s", len(archives), p.Name)
	}
	if err := unpackNPM(archives[0], p, tree); err != nil {
		return fmt.Errorf("unpack %s: %w", filepath.Base(archives[0]), err)
	}
	return os.Remove(archives[0])
}

// unpackNPM copies the files that the recipe names out of an npm archive.
func unpackNPM(archive string, p runtimes.NPMPackage, tree *os.Root) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha512.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if sum := "sha512-" + base64.StdEncoding.EncodeToString(h.Sum(nil)); sum != p.Integrity {
		return fmt.Errorf("its integrity %s is not the recipe's", sum)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	wanted := make(map[string]string)
	for _, pair := range p.Files {
		wanted["package/"+pair.From] = pair.To
	}
	for archive := tar.NewReader(z); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		to, ok := wanted[header.Name]
		if !ok {
			continue
		}
		if err := writeFile(tree, to, archive, header.FileInfo().Mode().Perm()&0o755|0o644); err != nil {
			return err
		}
		delete(wanted, header.Name)
	}
	if len(wanted) > 0 {
		return fmt.Errorf("it lacks %d of the recipe's files", len(wanted))
	}
	return nil
}
