package sigv4

import "net/http"

// ClaimedKey is the access key id that a request claims to be signed with,
// believed or not; empty if there is none. It is for logs.
func ClaimedKey(r *http.Request) string {
	const longest = 128
	c, err := readClaim(r)
	if err != nil || len(c.accessKeyID) > longest {
		return ""
	}
	return c.accessKeyID
}
