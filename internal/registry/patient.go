package registry

import (
	"io"
	"net/http"
	"time"
)

// patient gives a client time as long as bytes move: servers' timeouts for
// whole requests do not fit blobs of gigabytes.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	begin   time.Time
	moved   int64
}

// minRate is how many bytes a second a client has to move, after the first
// while.
const minRate = 4 << 10

func newPatient(w http.ResponseWriter, r *http.Request, stall time.Duration) *patient {
	p := &patient{ResponseWriter: w, control: http.NewResponseController(w), stall: stall, begin: time.Now()}
	if r.Body != http.NoBody {
		p.expect(p.control.SetReadDeadline)
	}
	p.expect(p.control.SetWriteDeadline)
	return p
}

// expect sets the time that the next byte must move by. Writers without
// deadlines are those of tests.
func (p *patient) expect(set func(time.Time) error) {
	slowest := p.begin.Add(10*p.stall + time.Duration(p.moved/minRate)*time.Second)
	next := time.Now().Add(p.stall)
	if slowest.Before(next) {
		next = slowest
	}
	_ = set(next)
}

// end takes the deadline of writing away: the connection's next request may be
// another handler's. That of reading is the server's to set anew.
func (p *patient) end() { _ = p.control.SetWriteDeadline(time.Time{}) }

// Write implements http.ResponseWriter.
func (p *patient) Write(b []byte) (int, error) {
	p.expect(p.control.SetWriteDeadline)
	n, err := p.ResponseWriter.Write(b)
	p.moved += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

func (p *patient) body(r io.ReadCloser) io.ReadCloser { return &patientBody{r, p} }

type patientBody struct {
	io.ReadCloser
	p *patient
}

func (b *patientBody) Read(buf []byte) (int, error) {
	b.p.expect(b.p.control.SetReadDeadline)
	n, err := b.ReadCloser.Read(buf)
	b.p.moved += int64(n)
	if err == io.EOF {
		// From here on the server waits for the next request, or for the client
		// to go away, which a deadline would look like.
		_ = b.p.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
