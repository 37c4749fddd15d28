package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

// contentTyped is an answer with a type. The client streams readers that are
// nothing in JSON.
type contentTyped struct{ from io.Reader }

func (r contentTyped) Read(b []byte) (int, error) { return r.from.Read(b) }

func (contentTyped) ContentType() string { return "text/x-stream" }

// stream answers piece by piece: the text, after a pause the time in
// nanoseconds if one was asked for, then so many bytes. In the end it does
// what the name says.
func stream(_ context.Context, e *event) (any, error) {
	r, w := io.Pipe()
	go func() {
		_, err := io.WriteString(w, e.Text)
		if e.Seconds > 0 && err == nil {
			time.Sleep(time.Duration(e.Seconds * float64(time.Second)))
			_, err = io.WriteString(w, strconv.FormatInt(time.Now().UnixNano(), 10))
		}
		block := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
		for left := e.Size; left > 0 && err == nil; left -= len(block) {
			_, err = w.Write(block[:min(left, len(block))])
		}
		fmt.Println("streamed everything:", err)
		switch e.Name {
		case "fail":
			err = &Boom{"in midstream"}
		case "exit":
			time.Sleep(time.Second / 4) // so that what was written was sent
			os.Exit(3)
		case "hang":
			time.Sleep(time.Hour)
		case "":
		default:
			err = errors.New("cannot end with " + e.Name)
		}
		_ = w.CloseWithError(err)
	}()
	return contentTyped{r}, nil
}
