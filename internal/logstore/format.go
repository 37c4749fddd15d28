package logstore

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"
)

// The segment format; docs/formats/log-segment.md has the byte tables.
const (
	magic          = "HRTHLOG\x01" // the last byte is the version
	recordHeader   = 8             // length and checksum of the body
	bodyFixed      = 12            // time and lengths of the names
	maxName        = 512           // AWS's bound for groups and streams
	maxMessage     = 256 << 10     // longer lines become several events
	maxBody        = bodyFixed + 2*maxName + maxMessage
	segmentPattern = "%016d.log"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	// errTorn says that a record is cut off, damaged, or not written yet.
	errTorn = errors.New("torn record")
	// errHeader says that a file is not a segment of a version that is known.
	errHeader = errors.New("not a log segment")
)

// Event is one line of a log.
type Event struct {
	Time      time.Time
	Stream    string
	RequestID string // empty for lines outside an invoke
	Message   string // without a newline at its end
	// At tells this event from all others of its group, for good.
	At Position
}

// Position is a place in a group's log: a segment and an offset in it. Events
// that are written later are at later positions.
type Position struct {
	Segment uint64 `json:"segment"`
	Offset  int64  `json:"offset"`
}

// Compare is negative if p comes before q.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Segment, q.Segment), cmp.Compare(p.Offset, q.Offset))
}

// appendHeader appends the beginning of a segment of a group.
func appendHeader(b []byte, group string) []byte {
	start := len(b)
	b = append(b, magic...)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(group))) //nolint:gosec // at most maxName
	b = append(b, group...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// appendRecord appends one event. Names and message are within their bounds.
func appendRecord(b []byte, t time.Time, stream, requestID string, message []byte) []byte {
	start := len(b)
	n := bodyFixed + len(stream) + len(requestID) + len(message)
	b = binary.LittleEndian.AppendUint32(b, uint32(n)) //nolint:gosec // at most maxBody
	b = append(b, 0, 0, 0, 0)
	body := len(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(t.UnixNano()))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(stream)))    //nolint:gosec // at most maxName
	b = binary.LittleEndian.AppendUint16(b, uint16(len(requestID))) //nolint:gosec // at most maxName
	b = append(b, stream...)
	b = append(b, requestID...)
	b = append(b, message...)
	binary.LittleEndian.PutUint32(b[start+4:], crc32.Checksum(b[body:], castagnoli))
	return b
}

// decoder reads a segment from wherever its reader stands.
type decoder struct {
	r *bufio.Reader
	// offset is where the last record that was read ends.
	offset int64
	body   []byte
	// last is the event before: its names are nearly always the next one's.
	last Event
}

func newDecoder(r io.Reader, offset int64) *decoder {
	return &decoder{r: bufio.NewReaderSize(r, 64<<10), offset: offset}
}

// decoderAt returns a decoder of the records from an offset of a segment on.
func decoderAt(f io.ReadSeeker, offset int64) (*decoder, error) {
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read log segment: %w", err)
	}
	return newDecoder(f, offset), nil
}

// headerSize is where the first record of a group's segments is.
func headerSize(group string) int { return len(magic) + 2 + len(group) + 4 }

// header reads the beginning of a segment and returns its group.
func (d *decoder) header() (string, error) {
	fixed := make([]byte, len(magic)+2)
	if _, err := io.ReadFull(d.r, fixed); err != nil {
		return "", torn(err)
	}
	if string(fixed[:len(magic)]) != magic {
		return "", errHeader
	}
	n := int(binary.LittleEndian.Uint16(fixed[len(magic):]))
	if n == 0 || n > maxName {
		return "", errHeader
	}
	rest := make([]byte, n+4)
	if _, err := io.ReadFull(d.r, rest); err != nil {
		return "", torn(err)
	}
	sum := crc32.Update(crc32.Checksum(fixed, castagnoli), castagnoli, rest[:n])
	if sum != binary.LittleEndian.Uint32(rest[n:]) {
		return "", errHeader
	}
	d.offset += int64(len(fixed) + len(rest))
	return string(rest[:n]), nil
}

// next reads an event. The error is io.EOF at the end, errTorn where the
// segment cannot be read on, or one of the file.
func (d *decoder) next() (Event, error) {
	var head [recordHeader]byte
	if _, err := io.ReadFull(d.r, head[:]); err != nil {
		if err == io.EOF {
			return Event{}, io.EOF
		}
		return Event{}, torn(err)
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n < bodyFixed || n > maxBody {
		return Event{}, errTorn
	}
	if cap(d.body) < int(n) {
		d.body = make([]byte, n)
	}
	body := d.body[:n]
	if _, err := io.ReadFull(d.r, body); err != nil {
		return Event{}, torn(err)
	}
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return Event{}, errTorn
	}
	stream := int(binary.LittleEndian.Uint16(body[8:]))
	request := int(binary.LittleEndian.Uint16(body[10:]))
	if stream > maxName || request > maxName || bodyFixed+stream+request > len(body) {
		return Event{}, errTorn
	}
	rest := body[bodyFixed:]
	d.last = Event{
		Time:      time.Unix(0, int64(binary.LittleEndian.Uint64(body))).UTC(), //nolint:gosec // as written
		Stream:    same(d.last.Stream, rest[:stream]),
		RequestID: same(d.last.RequestID, rest[stream:stream+request]),
		Message:   string(rest[stream+request:]),
		At:        Position{Offset: d.offset},
	}
	d.offset += int64(recordHeader) + int64(n)
	return d.last, nil
}

// same is b as a string, without a copy if it is what came before.
func same(before string, b []byte) string {
	if before == string(b) {
		return before
	}
	return string(b)
}

// torn turns the end of the file within a record into errTorn.
func torn(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF { //nolint:errorlint // as ReadFull documents
		return errTorn
	}
	return fmt.Errorf("read log segment: %w", err)
}
