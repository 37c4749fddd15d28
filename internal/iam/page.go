package iam

import (
	"strconv"
	"strings"
)

// defaultPage and maxPage are the items of an answer, as IAM's API reference
// gives them for MaxItems.
const (
	defaultPage = 100
	maxPage     = 1000
	// chunk is how many records are looked through at once.
	chunk = 256
)

// paging ends a list in an answer.
type paging struct {
	IsTruncated bool
	Marker      string `xml:"Marker,omitempty"`
}

// limit reads MaxItems.
func (c *call) limit() (int, error) {
	v := c.Get("MaxItems")
	if v == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(v)
	switch {
	case err != nil || n < 1:
		return 0, outOfRange(v, "maxItems", "greater", 1)
	case n > maxPage:
		return 0, outOfRange(v, "maxItems", "less", maxPage)
	}
	return n, nil
}

func outOfRange(value, parameter, side string, bound int) error {
	return invalid("1 validation error detected: Value '%.20s' at '%s' failed to satisfy constraint: Member must have value %s than or equal to %d",
		value, parameter, side, bound)
}

// collect fills a page of records that are listed in the order of their names:
// it keeps those that are wanted, up to the call's limit, and names the last
// of them if there are more.
func collect[T any](c *call, list func(after string, limit int) []*T, name func(*T) string, wanted func(*T) bool) ([]*T, paging, error) {
	limit, err := c.limit()
	if err != nil {
		return nil, paging{}, err
	}
	var page []*T
	for after := c.Get("Marker"); ; {
		next := list(after, chunk)
		for _, r := range next {
			switch {
			case !wanted(r):
			case len(page) == limit:
				return page, paging{true, name(page[limit-1])}, nil
			default:
				page = append(page, r)
			}
		}
		if len(next) < chunk {
			return page, paging{}, nil
		}
		after = name(next[len(next)-1])
	}
}

// cut is a page of a short list; its marker is a number of items.
func cut[T any](c *call, all []T) ([]T, paging, error) {
	limit, err := c.limit()
	if err != nil {
		return nil, paging{}, err
	}
	from := 0
	if m := c.Get("Marker"); m != "" {
		if from, err = strconv.Atoi(m); err != nil || from < 0 {
			return nil, paging{}, invalid("Invalid Marker.")
		}
	}
	all = all[min(from, len(all)):]
	if len(all) <= limit {
		return all, paging{}, nil
	}
	return all[:limit], paging{true, strconv.Itoa(from + limit)}, nil
}

// hasPath says whether an entity is among those that a list asks for.
func hasPath(path string, c *call) bool { return strings.HasPrefix(path, c.Get("PathPrefix")) }
