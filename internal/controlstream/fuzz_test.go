package controlstream

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"
	"time"
)

// FuzzFrame feeds the frame reader and, for each frame, the decoders of every
// header; whatever decodes must encode to the same bytes.
func FuzzFrame(f *testing.F) {
	var buf bytes.Buffer
	w := frameWriter{w: &buf}
	in := &Invoke{RequestID: "id", FunctionARN: "arn", DeadlineMs: 1, ClientContext: []byte("{}"), ContentType: "t"}
	done := &Done{RequestID: "id", Alive: true, Init: &InitReport{Status: StatusExited, ErrorType: "T"}}
	for _, err := range []error{
		w.finish(frameInvoke, appendInvoke(w.begin(), in), []byte("payload")),
		w.finish(frameResponse, appendResponse(w.begin(), &Response{RequestID: "id", Status: StatusError}), nil),
		w.finish(frameDone, appendDone(w.begin(), done), []byte("error")),
		w.finish(frameInit, appendMillis(w.begin(), time.Second), nil),
		w.finish(frameInitDone, appendInitReport(w.begin(), &InitReport{Status: StatusTimeout}), nil),
		w.finish(frameLog, appendLog(w.begin(), &LogRecord{RequestID: "id", Time: time.Unix(1, 2)}), []byte("line")),
		w.finish(frameBegin, appendHead(w.begin(), &StreamHead{RequestID: "id", ContentType: "t"}), nil),
		w.finish(frameData, w.begin(), []byte("piece")),
		w.finish(frameCredit, appendCredit(w.begin(), "id", 5), nil),
	} {
		if err != nil {
			f.Fatal(err)
		}
	}
	f.Add(buf.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		r := frameReader{r: bufio.NewReaderSize(bytes.NewReader(data), 64)}
		for {
			fr, err := r.next()
			if err != nil {
				return
			}
			checkHeader(t, fr.kind, fr.header)
			body, err := r.body(fr, nil)
			if err != nil {
				return
			}
			if len(body) != fr.body {
				t.Fatalf("body of %d bytes, announced %d", len(body), fr.body)
			}
		}
	})
}

func checkHeader(t *testing.T, kind frameType, header []byte) {
	var again []byte
	var err error
	switch kind {
	case frameInvoke:
		var v Invoke
		err = decodeInvoke(header, &v)
		again = appendInvoke(nil, &v)
	case frameResponse:
		v, err2 := decodeResponse(header, "id")
		if err = err2; err == nil {
			again = appendResponse(nil, v)
		}
	case frameDone:
		v, err2 := decodeDone(header, "id")
		if err = err2; err == nil {
			again = appendDone(nil, v)
		}
	case frameInitDone:
		v, err2 := decodeInitReport(header)
		err, again = err2, appendInitReport(nil, v)
	case frameLog:
		v, err2 := decodeLog(header, "id")
		err, again = err2, appendLog(nil, &v)
	case frameExpire:
		id, err2 := decodeExpire(header, "id")
		err, again = err2, appendString(nil, id)
	case frameBegin:
		v, err2 := decodeHead(header, "id")
		if err = err2; err == nil {
			again = appendHead(nil, v)
		}
	case frameCredit:
		id, n, err2 := decodeCredit(header, "id")
		err, again = err2, appendCredit(nil, id, n)
	default:
		return
	}
	if err == nil && len(again) > len(header) { // varints have longer forms too
		t.Fatalf("type %d: %x decoded and became %x", kind, header, again)
	}
}

// TestCodec: what is encoded is decoded.
func TestCodec(t *testing.T) {
	in := Invoke{"id", "arn", -5, "trace", []byte("ctx"), "text/plain", 7}
	var gotIn Invoke
	if err := decodeInvoke(appendInvoke(nil, &in), &gotIn); err != nil || !reflect.DeepEqual(gotIn, in) {
		t.Errorf("got %+v, %v, want %+v", gotIn, err, in)
	}
	resp := &Response{"id", StatusTooLarge, "T", "text/plain", true}
	if got, err := decodeResponse(appendResponse(nil, resp), "id"); err != nil || *got != *resp {
		t.Errorf("got %+v, %v, want %+v", got, err, resp)
	}
	done := &Done{"id", true, 7, &InitReport{Status: StatusSuccess, Duration: 3}}
	if got, err := decodeDone(appendDone(nil, done), "id"); err != nil || !reflect.DeepEqual(got, done) {
		t.Errorf("got %+v, %v, want %+v", got, err, done)
	}
	head := &StreamHead{"id", "text/plain"}
	if got, err := decodeHead(appendHead(nil, head), "id"); err != nil || *got != *head {
		t.Errorf("got %+v, %v, want %+v", got, err, head)
	}
	if id, n, err := decodeCredit(appendCredit(nil, "id", Window), ""); err != nil || id != "id" || n != Window {
		t.Errorf("got %q, %d, %v", id, n, err)
	}
	for _, n := range []int{-1, Window + 1} {
		if _, _, err := decodeCredit(appendCredit(nil, "id", n), ""); err == nil {
			t.Errorf("a credit of %d was taken", n)
		}
	}
	for n := range 3 {
		if _, err := decodeMillis(make([]byte, 7+n)); (err == nil) != (n == 1) {
			t.Errorf("%d bytes of milliseconds: %v", 7+n, err)
		}
	}
	if err := decodeInvoke(append(appendInvoke(nil, &in), 0), &gotIn); err == nil {
		t.Error("a longer header was taken")
	}
}

// TestFrameReaderEnds: an end inside a frame is not an end of the stream.
func TestFrameReaderEnds(t *testing.T) {
	var buf bytes.Buffer
	w := frameWriter{w: &buf}
	if err := w.finish(frameLog, appendLog(w.begin(), &LogRecord{}), []byte("line")); err != nil {
		t.Fatal(err)
	}
	for n := range buf.Len() {
		r := frameReader{r: bufio.NewReader(bytes.NewReader(buf.Bytes()[:n]))}
		fr, err := r.next()
		if err == nil {
			_, err = r.body(fr, nil)
		}
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if !errors.Is(err, want) {
			t.Errorf("after %d bytes: got %v, want %v", n, err, want)
		}
	}
}
