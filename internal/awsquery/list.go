package awsquery

import (
	"encoding/json"
	"encoding/xml"
)

// List is a list in an answer. An empty one is an empty element, as clients
// expect of AWS: boto3 has no member for an element that is not there. With
// the tag's omitempty it is left out.
type List[T any] []T

// MarshalXML writes the items as <member> elements.
func (l List[T]) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	for i := range l {
		if err := e.EncodeElement(l[i], xml.StartElement{Name: xml.Name{Local: "member"}}); err != nil {
			return err
		}
	}
	return e.EncodeToken(start.End())
}

// MarshalJSON writes an empty list as one.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

// Entry is one entry of a Map.
type Entry struct {
	Key   string `xml:"key"`
	Value int    `xml:"value"`
}

// Map is a map of numbers in an answer, in the order given.
type Map []Entry

// MarshalXML writes the entries as <entry> elements.
func (m Map) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	return e.EncodeElement(struct {
		Entries []Entry `xml:"entry"`
	}{m}, start)
}

// Field is a member of a result whose name is known only at run time.
type Field struct {
	Name  string
	Value any
}

// Fields is a result of such members.
type Fields []Field

// MarshalXML writes the members in their order.
func (f Fields) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	for _, m := range f {
		if err := e.EncodeElement(m.Value, xml.StartElement{Name: xml.Name{Local: m.Name}}); err != nil {
			return err
		}
	}
	return e.EncodeToken(start.End())
}
