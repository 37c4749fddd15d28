package api

import "encoding/base64"

// maxPage is the most items in one answer of a list.
const maxPage = 50

// pageSize is how many items a caller gets at once.
func pageSize(asked *int32) int {
	if asked == nil {
		return maxPage
	}
	return max(1, min(maxPage, int(*asked)))
}

// marker is where the next page begins, as callers see it; nil at the end.
func marker(next string) *string {
	if next == "" {
		return nil
	}
	m := base64.RawURLEncoding.EncodeToString([]byte(next))
	return &m
}

// readMarker is the reverse of marker; none is the beginning.
func readMarker(m *string) (string, error) {
	after, err := base64.RawURLEncoding.DecodeString(str(m))
	if err != nil {
		return "", badMarker()
	}
	return string(after), nil
}

func badMarker() error { return badValue("The marker is not one that this operation returned.") }
