package blockfs

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

const (
	// maxRequest bounds a frame from client to server.
	maxRequest = 1 << 20
	// maxResponse bounds one from server to client: the chunks that a volume
	// of tens of gigabytes was touched at.
	maxResponse = 8 << 20

	frameHeader = 4
)

// errFrame says that the peer does not speak the protocol.
var errFrame = errors.New("broken frame")

// readFrame reads one frame and decodes its JSON into v.
func readFrame(r io.Reader, limit int, v any) error {
	var header [frameHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return err // io.EOF between frames is an end, not a fault
	}
	n := binary.BigEndian.Uint32(header[:])
	if n == 0 || int64(n) > int64(limit) {
		return fmt.Errorf("%w: length %d is not in 1 to %d", errFrame, n, limit)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("%w: %w", errFrame, err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		// The decoder's words can quote the body, and bodies hold keys.
		return fmt.Errorf("%w: its %d bytes are not the JSON that is due", errFrame, n)
	}
	return nil
}

// writeFrame writes v as one frame, in one call of Write.
func writeFrame(w io.Writer, limit int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode frame: %w", err)
	}
	if len(body) > limit {
		return fmt.Errorf("%w: %d bytes, at most %d can be sent", errFrame, len(body), limit)
	}
	frame := make([]byte, frameHeader, frameHeader+len(body))
	binary.BigEndian.PutUint32(frame, uint32(len(body))) //nolint:gosec // below limit
	_, err = w.Write(append(frame, body...))
	return err
}
