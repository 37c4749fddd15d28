package api

import (
	"reflect"
	"strings"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/traits"
)

//go:generate go run ./operationgen operations_gen.go
//go:generate go run ./constraintgen constraint_gen.go

// operation is one of Lambda's operations: its schemas from the SDK and, once
// prepared, where each member of its input travels in a request.
type operation struct {
	schema   *smithy.OperationSchema
	newInput func() any

	name     string
	http     *traits.HTTP
	bindings []binding
	payload  *binding // the member that is the whole body, if there is one
	hasBody  bool     // some members travel in a JSON body
	about    string   // the member that names what the operation is about
}

// place is the part of a request that carries a member.
type place uint8

const (
	inLabel place = iota
	inQuery
	inHeader
)

// binding ties a member of an input to its place outside the JSON body.
type binding struct {
	member *smithy.Schema
	field  []int // index of the struct field
	place  place
	name   string // wire name
}

// prepare reads the operation's traits. It panics on a trait that this server
// does not know, so that an update of the SDK cannot go wrong silently.
func (op *operation) prepare() {
	op.name = op.schema.ID().Name
	var ok bool
	if op.http, ok = smithy.SchemaTrait[*traits.HTTP](op.schema.Schema); !ok {
		panic("api: operation without an http trait: " + op.name)
	}
	input := reflect.TypeOf(op.newInput()).Elem()
	for name, member := range op.schema.Input.Members() {
		f, ok := input.FieldByName(name)
		if !ok {
			panic("api: input of " + op.name + " has no field " + name)
		}
		b := binding{member: member, field: f.Index}
		if _, ok := smithy.SchemaTrait[*traits.HTTPLabel](member); ok {
			b.place, b.name = inLabel, name
		} else if t, ok := smithy.SchemaTrait[*traits.HTTPQuery](member); ok {
			b.place, b.name = inQuery, t.Name
		} else if t, ok := smithy.SchemaTrait[*traits.HTTPHeader](member); ok {
			b.place, b.name = inHeader, t.Name
		} else if _, ok := smithy.SchemaTrait[*traits.HTTPPayload](member); ok {
			op.payload = &b
			continue
		} else {
			op.hasBody = true
			continue
		}
		op.bindings = append(op.bindings, b)
	}
	if strings.Contains(op.http.URI, "+}") {
		panic("api: greedy labels are not served: " + op.http.URI)
	}
	op.about = op.namesBy()
}
