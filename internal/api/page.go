package api

import (
	"encoding/base64"
	"slices"
)

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

// pageOf returns the keys of a map that one answer holds, in order, and where
// the next page begins.
func pageOf[T any](m map[string]T, from *string, asked *int32) (keys []string, next *string, err error) {
	after, err := readMarker(from)
	if err != nil {
		return nil, nil, err
	}
	keys = sortedAfter(m, after)
	if page := pageSize(asked); len(keys) > page {
		keys = keys[:page]
		next = marker(keys[page-1])
	}
	return keys, next, nil
}

// sortedAfter returns the keys of a map behind the given one, in order.
func sortedAfter[T any](m map[string]T, after string) []string {
	var keys []string
	for k := range m {
		if k > after {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

func badMarker() error { return badValue("The marker is not one that this operation returned.") }
