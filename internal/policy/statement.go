package policy

import (
	"bytes"
)

// Effect is what a statement that applies does.
type Effect uint8

// The effects.
const (
	Allow Effect = iota + 1
	Deny
)

func (e Effect) String() string {
	if e == Deny {
		return "Deny"
	}
	return "Allow"
}

// Statement is one statement as it was written. Of each pair of an element
// and its Not form at most one is set.
type Statement struct {
	Sid          string
	Effect       Effect
	Principal    *Principals
	NotPrincipal *Principals
	Action       []string
	NotAction    []string
	Resource     []string
	NotResource  []string
	Condition    []Condition
}

// Condition is one key of the Condition element. All conditions of a statement
// must hold; of the values of one, any may.
type Condition struct {
	Operator string
	Key      string
	Values   []string
}

// Principals is the value of Principal and NotPrincipal. The zero value is "*".
type Principals struct {
	AWS       []string
	Service   []string
	Federated []string
}

func (p *Principals) everyone() bool {
	return len(p.AWS) == 0 && len(p.Service) == 0 && len(p.Federated) == 0
}

// MarshalJSON writes the statement as AWS's services show theirs.
func (s *Statement) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	s.write(&b)
	return b.Bytes(), nil
}

func (s *Statement) write(b *bytes.Buffer) {
	b.WriteByte('{')
	if s.Sid != "" {
		b.WriteString(`"Sid":` + quote(s.Sid) + ",")
	}
	b.WriteString(`"Effect":"` + s.Effect.String() + `"`)
	s.Principal.write(b, "Principal")
	s.NotPrincipal.write(b, "NotPrincipal")
	writeList(b, "Action", s.Action)
	writeList(b, "NotAction", s.NotAction)
	writeList(b, "Resource", s.Resource)
	writeList(b, "NotResource", s.NotResource)
	s.writeCondition(b)
	b.WriteByte('}')
}

func (s *Statement) writeCondition(b *bytes.Buffer) {
	if len(s.Condition) == 0 {
		return
	}
	b.WriteString(`,"Condition":{`)
	for i, c := range s.Condition {
		if i > 0 && s.Condition[i-1].Operator == c.Operator {
			b.WriteByte(',')
		} else {
			if i > 0 {
				b.WriteString("},")
			}
			b.WriteString(quote(c.Operator) + ":{")
		}
		b.WriteString(quote(c.Key) + ":")
		writeStrings(b, c.Values)
	}
	b.WriteString("}}")
}

func (p *Principals) write(b *bytes.Buffer, name string) {
	if p == nil {
		return
	}
	b.WriteString(`,"` + name + `":`)
	if p.everyone() {
		b.WriteString(`"*"`)
		return
	}
	comma := byte('{')
	for _, group := range []struct {
		name   string
		values []string
	}{{"AWS", p.AWS}, {"Service", p.Service}, {"Federated", p.Federated}} {
		if len(group.values) == 0 {
			continue
		}
		b.WriteByte(comma)
		comma = ','
		b.WriteString(`"` + group.name + `":`)
		writeStrings(b, group.values)
	}
	b.WriteByte('}')
}

func writeList(b *bytes.Buffer, name string, values []string) {
	if len(values) == 0 {
		return
	}
	b.WriteString(`,"` + name + `":`)
	writeStrings(b, values)
}

func writeStrings(b *bytes.Buffer, values []string) {
	if len(values) == 1 {
		b.WriteString(quote(values[0]))
		return
	}
	comma := byte('[')
	for _, v := range values {
		b.WriteByte(comma)
		comma = ','
		b.WriteString(quote(v))
	}
	b.WriteByte(']')
}
