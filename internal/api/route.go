package api

import (
	"net/url"
	"strings"
)

// router finds the operation of a request. It works on the escaped path:
// labels that are ARNs arrive with %3A and may hold encoded slashes.
type router struct {
	methods map[string]*node
}

// node is one path segment of the tree; a label matches any segment that no
// sibling matches literally.
type node struct {
	literal map[string]*node
	label   *node
	name    string // of the label that led here
	targets []target
}

// target is an operation at the end of a path. Two operations may share a
// path and differ by a query parameter with a fixed value.
type target struct {
	op         *operation
	key, value string
}

// match is a routed request.
type match struct {
	op     *operation
	labels []label
}

// label is a path label of a request, decoded.
type label struct{ name, value string }

func newRouter(ops []*operation) *router {
	r := &router{methods: map[string]*node{}}
	for _, op := range ops {
		r.add(op)
	}
	return r
}

func (r *router) add(op *operation) {
	path, query, _ := strings.Cut(op.http.URI, "?")
	n := r.methods[op.http.Method]
	if n == nil {
		n = &node{}
		r.methods[op.http.Method] = n
	}
	for segment := range strings.SplitSeq(path[1:], "/") {
		n = n.child(segment)
	}
	t := target{op: op}
	t.key, t.value, _ = strings.Cut(query, "=")
	if t.key != "" {
		n.targets = append([]target{t}, n.targets...)
	} else {
		n.targets = append(n.targets, t)
	}
}

func (n *node) child(segment string) *node {
	if strings.HasPrefix(segment, "{") {
		if n.label == nil {
			n.label = &node{name: strings.Trim(segment, "{}")}
		} else if n.label.name != strings.Trim(segment, "{}") {
			panic("api: two names for one label: " + segment)
		}
		return n.label
	}
	if n.literal == nil {
		n.literal = map[string]*node{}
	}
	c := n.literal[segment]
	if c == nil {
		c = &node{}
		n.literal[segment] = c
	}
	return c
}

// route returns the operation for an escaped path. One trailing slash is
// ignored: older SDKs send it.
func (r *router) route(method, escapedPath string, query url.Values) (match, bool) {
	var m match
	n := r.methods[method]
	path := strings.TrimSuffix(strings.TrimPrefix(escapedPath, "/"), "/")
	for n != nil {
		segment, rest, more := strings.Cut(path, "/")
		if c := n.literal[segment]; c != nil {
			n = c
		} else if n = n.label; n != nil {
			value, err := url.PathUnescape(segment)
			if err != nil || value == "" {
				return match{}, false
			}
			m.labels = append(m.labels, label{n.name, value})
		}
		if !more {
			break
		}
		path = rest
	}
	if n == nil {
		return match{}, false
	}
	for _, t := range n.targets {
		if t.key == "" || query.Get(t.key) == t.value {
			m.op = t.op
			return m, true
		}
	}
	return match{}, false
}
