package eventsource

import (
	"slices"
	"strings"

	"hearth/internal/awserr"
)

// Conflict says, in AWS's words, that two mappings would feed the same
// function from the same source. It is nil if they would not.
func (m *Mapping) Conflict(other *Mapping) error {
	if m.UUID == other.UUID || m.Account != other.Account || m.Function != other.Function || m.ARN != other.ARN {
		return nil
	}
	switch k := m.Kind(); k {
	case SQS, FIFO:
		return conflict(`An event source mapping with SQS arn (" %s ") and function (" %s ") already exists. `+
			`Please update or delete the existing mapping with UUID %s`, m.ARN, m.functionName(), other.UUID)
	case MSK, SelfManagedKafka:
		servers := m.Servers
		if k == MSK {
			servers = []string{m.ARN}
		} else if !overlap(m.Servers, other.Servers) {
			return nil
		}
		if !overlap(m.Topics, other.Topics) {
			return nil
		}
		return conflict(`An event source mapping with event source ("%s"), function ("%s"), topics ("%s") already exists. `+
			`Please update or delete the existing mapping with UUID %s`, strings.Join(servers, ","), m.Function, strings.Join(m.Topics, ","), other.UUID)
	case MQ:
		if !overlap(m.Queues, other.Queues) {
			return nil
		}
	}
	return conflict(`The event source arn (" %s ") and function (" %s ") provided mapping already exists. `+
		`Please update or delete the existing mapping with UUID %s`, m.ARN, m.functionName(), other.UUID)
}

func conflict(format string, args ...any) error {
	return awserr.New("ResourceConflictException", format, args...)
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// functionName is the bare name in the function's ARN.
func (m *Mapping) functionName() string {
	_, rest, _ := strings.Cut(m.Function, ":function:")
	name, _, _ := strings.Cut(rest, ":")
	return name
}
