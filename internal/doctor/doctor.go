// Package doctor looks whether this machine can run Hearth. Each check names
// what it looked at, says what it found and, where that is not good enough,
// gives the command that mends it.
//
// Nothing is changed on the machine: the one sandbox that is booted to prove
// that gVisor works here is gone before Run returns. All that checks see of
// the machine comes through the fields of one struct, so that tests can take
// anything away.
package doctor

import "context"

// Check is what one look at the machine has found.
type Check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Detail says what is there, and when OK is false why that is not enough.
	Detail string `json:"detail"`
	// Fix is the command that mends it, empty when OK.
	Fix string `json:"fix,omitempty"`
	// Fatal says that Hearth cannot run functions unless it is mended. The
	// others cost something, named in Detail.
	Fatal bool `json:"fatal,omitempty"`
}

// Options say which Hearth is to run on the machine.
type Options struct {
	// DataDir and Listen are those of `hearth up`.
	DataDir, Listen string
	// Runsc and Init are the paths of gVisor's runsc and of hearth-init.
	Runsc, Init string
	// Egress says that functions are to reach the outside world.
	Egress bool
}

// Run makes all the checks. It needs no privileges to say what is missing.
func Run(ctx context.Context, o Options) []Check {
	return thisMachine().run(ctx, o)
}

// Fatal reports whether any check found what keeps Hearth from running.
func Fatal(checks []Check) bool {
	for _, c := range checks {
		if !c.OK && c.Fatal {
			return true
		}
	}
	return false
}

func (m *machine) run(ctx context.Context, o Options) []Check {
	checks := []Check{
		m.user(),
		m.kernel(),
		m.namespaces(),
		m.seccomp(),
		m.ptrace(),
		m.cgroups(),
		m.limits(),
		m.memory(),
		m.clock(o.DataDir),
		m.loop(),
		m.fuse(),
		m.dataDir(o.DataDir),
		m.disk(o.DataDir),
		m.leftovers(o.DataDir),
		m.listenAddress(o.Listen, o.DataDir),
		m.hearthInit(o.Init),
	}
	runsc := m.runsc(o.Runsc)
	checks = append(checks, runsc, m.boot(ctx, o.Runsc, runsc.OK))
	checks = append(checks, m.tools()...)
	if o.Egress {
		checks = append(checks, m.firewall())
	}
	return checks
}

func good(name, detail string) Check {
	return Check{Name: name, OK: true, Detail: detail}
}

// bad is a finding that keeps Hearth from running.
func bad(name, detail, fix string) Check {
	return Check{Name: name, Detail: detail, Fix: fix, Fatal: true}
}

// poor is a finding that Hearth can live with.
func poor(name, detail, fix string) Check {
	return Check{Name: name, Detail: detail, Fix: fix}
}
