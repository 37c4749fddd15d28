// Command toucher is the function of images of random data: at its start it
// reads as much of them as its argument says, in pieces spread over all of it,
// and ends if a byte is wrong.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"github.com/aws/aws-lambda-go/lambda"

	"hearth/test/harness/testimage/keystream"
)

// piece is how much is read in one place: a few pages, as a program that
// starts reads its libraries.
const piece = 64 << 10

func main() {
	if err := start(); err != nil {
		fmt.Fprintln(os.Stderr, "toucher:", err)
		os.Exit(1)
	}
}

func start() error {
	want, err := strconv.ParseInt(os.Args[1], 10, 64)
	if err != nil {
		return err
	}
	touched, err := touch("/data", want)
	if err != nil {
		return err
	}
	lambda.Start(func(context.Context) (map[string]int64, error) { return map[string]int64{"touched": touched}, nil })
	return nil
}

// touch reads want bytes. The data is cut into as many equal stretches as
// there are pieces to read, and one is read somewhere in each.
func touch(dir string, want int64) (touched int64, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || want == 0 {
		return 0, err
	}
	var total int64
	sizes := make([]int64, len(paths))
	for i, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		sizes[i] = info.Size()
		total += sizes[i]
	}
	pieces := (want + piece - 1) / piece
	stretch := total / pieces / piece * piece
	draw := rand.New(rand.NewPCG(2, uint64(want)))
	for i := range pieces {
		at := i*stretch + draw.Int64N(stretch/piece)*piece
		n := min(piece, want-touched)
		for j, path := range paths {
			if at < sizes[j] {
				if err := check(path, at, n); err != nil {
					return touched, err
				}
				break
			}
			at -= sizes[j]
		}
		touched += n
	}
	return touched, nil
}

// check reads n bytes, which lie in one file: sizes are multiples of piece.
func check(path string, at, n int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	got, want := make([]byte, n), make([]byte, n)
	if _, err := f.ReadAt(got, at); err != nil {
		return err
	}
	if _, err := io.ReadFull(keystream.New(path, info.ModTime().Unix(), at), want); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s: wrong data at %d", path, at)
	}
	return nil
}
