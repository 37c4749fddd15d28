package gvisor

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"

	"hearth/internal/sandbox"
)

// capabilities are what hearth-init may do inside the sandbox: bind volumes
// to their places, hand them to the function's user, become that user, kill
// its processes, and give the loopback device of gVisor's own network stack the
// address of the function's endpoint. They are gVisor's, not the host's; the function's
// processes have none.
var capabilities = []string{
	"CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_KILL", "CAP_CHOWN",
	"CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SYS_RESOURCE", "CAP_NET_BIND_SERVICE",
	"CAP_NET_ADMIN",
}

// openFiles bounds file descriptors per process. hearth-init lowers it to 1024
// for the function, as AWS has it.
const openFiles = 4096

func (s *instance) writeBundle() error {
	text, err := json.Marshal(s.bundle())
	if err != nil {
		return err
	}
	return os.WriteFile(s.path("config.json"), text, 0o600)
}

func (s *instance) bundle() *specs.Spec {
	// Under memory pressure, the sandbox's limit or the host's, the sentry is
	// to die first: with it dies the whole sandbox, cleanly and noticed.
	oomScore := 1000
	network := specs.LinuxNamespace{Type: specs.NetworkNamespace}
	if s.network != nil {
		network.Path = s.path("netns")
	}
	return &specs.Spec{
		Version:  specs.Version,
		Hostname: "hearth",
		Process: &specs.Process{
			Args:            []string{initPath},
			Env:             []string{"PATH=/usr/local/bin:/usr/bin:/bin"},
			Cwd:             "/",
			NoNewPrivileges: true,
			OOMScoreAdj:     &oomScore,
			Rlimits:         []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: openFiles, Soft: openFiles}},
			Capabilities: &specs.LinuxCapabilities{
				Bounding: capabilities, Permitted: capabilities, Effective: capabilities,
			},
		},
		Root:   &specs.Root{Path: s.path("root"), Readonly: true},
		Mounts: s.mounts(),
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
			{Type: specs.MountNamespace}, network,
		}},
	}
}

// writeResolvers writes the file that names the sandbox's name servers.
func (s *instance) writeResolvers() error {
	var text []byte
	for _, address := range s.driver.cfg.Resolvers {
		text = fmt.Appendf(text, "nameserver %s\n", address)
	}
	return os.WriteFile(s.path("resolv.conf"), text, 0o644) // for every user of the sandbox
}

func (s *instance) mounts() []specs.Mount {
	bind := func(inside, host string, options ...string) specs.Mount {
		return specs.Mount{Destination: inside, Type: "bind", Source: host, Options: options}
	}
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc"},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs"},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"ro"}},
		bind(initPath, s.driver.cfg.Init, "bind", "ro"),
		bind(ctlDir, s.path("ctl"), "bind", "ro"),
		// Mounts that the host makes below it later arrive inside (rslave);
		// none of the sandbox's gets out.
		bind(sandbox.LateDir, s.path("late"), "rbind", "rslave"),
	}
	if s.network != nil {
		mounts = append(mounts, bind(resolversPath, s.path("resolv.conf"), "bind", "ro"))
	}
	return mounts
}
