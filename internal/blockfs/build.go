package blockfs

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
)

// Build names the running program and its settings: the hash that the Go linker
// has left in it, and one of the settings. Two servers with the same Build do the
// same.
func Build(settings string) (string, error) {
	program, err := programID()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(settings))
	return program + " " + hex.EncodeToString(sum[:8]), nil
}

func programID() (string, error) {
	// Not the path of the program, which may have been replaced since.
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("blockfs: build of this program: %w", err)
	}
	defer f.Close()
	section := f.Section(".note.go.buildid")
	if section == nil {
		return "", errors.New("blockfs: build of this program: it has no Go build id")
	}
	note, err := section.Data()
	if err != nil {
		return "", fmt.Errorf("blockfs: build of this program: %w", err)
	}
	// A header of 12 bytes, the name "Go\0\0", the id.
	const header = 16
	if len(note) <= header {
		return hex.EncodeToString(note), nil
	}
	return string(note[header:]), nil
}
