package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (m *machine) user() Check {
	if m.uid != 0 {
		return bad("user", fmt.Sprintf("user %d; mounts, cgroups and namespaces of sandboxes need root", m.uid), "sudo hearth up")
	}
	return good("user", "root")
}

// Linux 5.10 has all that is used: LOOP_CONFIGURE (5.8), CLONE_INTO_CGROUP
// (5.7), pidfds (5.3); it is the oldest that Debian supports, too.
const (
	wantMajor = 5
	wantMinor = 10
)

func (m *machine) kernel() Check {
	const fix = "apt-get update && apt-get install --yes linux-image-amd64 && reboot"
	release, err := m.release()
	if err != nil {
		return bad("kernel", err.Error(), fix)
	}
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return bad("kernel", fmt.Sprintf("release %q is not understood", release), fix)
	}
	if major < wantMajor || major == wantMajor && minor < wantMinor {
		return bad("kernel", fmt.Sprintf("Linux %s is older than %d.%d", release, wantMajor, wantMinor), fix)
	}
	return good("kernel", "Linux "+release)
}

func (m *machine) namespaces() Check {
	var missing []string
	for _, name := range []string{"cgroup", "ipc", "mnt", "net", "pid", "uts"} {
		if _, err := m.stat("/proc/self/ns/" + name); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return bad("namespaces", "the kernel has no namespaces for: "+strings.Join(missing, ", "),
			"apt-get install --yes linux-image-amd64 && reboot")
	}
	return good("namespaces", "all kinds that sandboxes use")
}

// seccomp looks for the action by which gVisor's systrap platform takes system
// calls of sandboxed programs.
func (m *machine) seccomp() Check {
	const fix = "apt-get install --yes linux-image-amd64 && reboot"
	actions, err := m.text("/proc/sys/kernel/seccomp/actions_avail")
	if err != nil {
		return bad("seccomp", "the kernel has no seccomp filters", fix)
	}
	if !slices.Contains(strings.Fields(actions), "trap") {
		return bad("seccomp", "the kernel cannot trap system calls; it has: "+actions, fix)
	}
	return good("seccomp", "filters, with traps")
}

// ptrace matters because systrap attaches to the processes it runs code in.
func (m *machine) ptrace() Check {
	scope, err := m.text("/proc/sys/kernel/yama/ptrace_scope")
	if err != nil || scope != "3" {
		return good("ptrace", "allowed")
	}
	return bad("ptrace", "kernel.yama.ptrace_scope is 3: nobody may attach to a process, which gVisor has to; it can only be lowered by a reboot",
		"grep -ls ptrace_scope /etc/sysctl.conf /etc/sysctl.d/* | xargs -r sed -i '/ptrace_scope/d' && reboot")
}

func (m *machine) cgroups() Check {
	table, err := m.text("/proc/self/mountinfo")
	if err != nil {
		return bad("cgroups", err.Error(), "mount -t proc proc /proc")
	}
	v1, unified := cgroupMounts(table)
	if len(v1) > 0 && slices.Contains(v1, "memory") {
		return cgroupsV1(v1)
	}
	if unified == "" {
		return bad("cgroups", "no cgroup hierarchy is mounted", "mkdir -p /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup")
	}
	have, err := m.text(unified + "/cgroup.controllers")
	if err != nil {
		return bad("cgroups", err.Error(), "mount -o remount "+unified)
	}
	for _, controller := range []string{"cpu", "memory", "pids"} {
		if !slices.Contains(strings.Fields(have), controller) {
			return bad("cgroups", fmt.Sprintf("version 2 at %s has no %s controller, only: %s", unified, controller, have),
				fmt.Sprintf("sed -i 's/^GRUB_CMDLINE_LINUX=\"/&cgroup_enable=%s cgroup_no_v1=all /' /etc/default/grub && update-grub && reboot", controller))
		}
	}
	return good("cgroups", "version 2 at "+unified)
}

// cgroupMounts lists the version 1 controllers that are mounted, and where
// version 2 is.
func cgroupMounts(table string) (v1 []string, unified string) {
	for line := range strings.Lines(table) {
		before, after, _ := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if len(left) < 5 || len(right) < 3 {
			continue
		}
		switch right[0] {
		case "cgroup":
			v1 = append(v1, strings.Split(right[2], ",")...)
		case "cgroup2":
			unified = left[4]
		}
	}
	return v1, unified
}

func cgroupsV1(mounted []string) Check {
	var missing, fixes []string
	for _, controller := range []string{"cpu", "cpuacct", "freezer", "memory", "pids"} {
		if !slices.Contains(mounted, controller) {
			missing = append(missing, controller)
			fixes = append(fixes, fmt.Sprintf("mkdir -p /sys/fs/cgroup/%[1]s && mount -t cgroup -o %[1]s none /sys/fs/cgroup/%[1]s", controller))
		}
	}
	if len(missing) > 0 {
		return bad("cgroups", "version 1 without: "+strings.Join(missing, ", "), strings.Join(fixes, " && "))
	}
	return good("cgroups", "version 1, all controllers that are needed")
}

// leastSettings are the kernel's own defaults or a little below: less than
// these, and a busy worker runs into them before its memory is used up.
var leastSettings = []struct {
	name  string
	least uint64
}{
	{"fs.file-max", 100_000},
	{"fs.inotify.max_user_instances", 128},
	{"kernel.pid_max", 32_768},
	{"kernel.threads-max", 32_768},
	{"vm.max_map_count", 65_530},
}

const leastOpenFiles = 16_384

func (m *machine) limits() Check {
	var low, fixes []string
	for _, s := range leastSettings {
		text, err := m.text("/proc/sys/" + strings.ReplaceAll(s.name, ".", "/"))
		if err != nil {
			continue // not in this kernel, hence no limit
		}
		if n, err := strconv.ParseUint(text, 10, 64); err == nil && n < s.least {
			low = append(low, fmt.Sprintf("%s is %d, want %d", s.name, n, s.least))
			fixes = append(fixes, fmt.Sprintf("sysctl -w %s=%d", s.name, s.least))
		}
	}
	if m.openFiles < leastOpenFiles {
		low = append(low, fmt.Sprintf("a process may open %d files, want %d", m.openFiles, leastOpenFiles))
		fixes = append(fixes, fmt.Sprintf("ulimit -Hn %d", leastOpenFiles))
	}
	if len(low) > 0 {
		return poor("limits", "too low for many environments at once: "+strings.Join(low, "; "), strings.Join(fixes, " && "))
	}
	return good("limits", "of processes, files and mappings are high enough")
}

// Below the first, not even a few small functions fit beside Hearth itself.
const (
	leastMemory   = 1 << 30
	wantAvailable = 512 << 20
)

func (m *machine) memory() Check {
	text, err := m.text("/proc/meminfo")
	if err != nil {
		return bad("memory", err.Error(), "mount -t proc proc /proc")
	}
	total, available := meminfo(text, "MemTotal"), meminfo(text, "MemAvailable")
	detail := fmt.Sprintf("%s, %s available", size(total), size(available))
	const fix = "ps aux --sort=-rss | head"
	switch {
	case total < leastMemory:
		return bad("memory", detail+"; want at least "+size(leastMemory), fix)
	case available < wantAvailable:
		return poor("memory", detail+"; functions will wait for each other; stop what needs most of it", fix)
	}
	return good("memory", detail)
}

func meminfo(text, name string) uint64 {
	for line := range strings.Lines(text) {
		var kib uint64
		if after, found := strings.CutPrefix(line, name+":"); found {
			if _, err := fmt.Sscanf(after, "%d kB", &kib); err == nil {
				return kib << 10
			}
		}
	}
	return 0
}

// released is when this was written: no clock that is right says less.
var released = time.Date(2026, time.October, 1, 0, 0, 0, 0, time.UTC)

// maxSkew is how far AWS's clients and servers let their clocks be apart.
const maxSkew = 5 * time.Minute

// clock compares it with what was written to the data directory last: a clock
// behind that has been set back, and requests signed with right clocks will
// be refused.
func (m *machine) clock(dataDir string) Check {
	const fix = "apt-get install --yes systemd-timesyncd && timedatectl set-ntp true"
	now := m.now()
	said := now.UTC().Format(time.RFC3339)
	if now.Before(released) {
		return bad("clock", "it says "+said+", before this program was made; no signature of a request will be accepted", fix)
	}
	for _, name := range []string{"", "/endpoint", "/lock", "/credentials"} {
		info, err := m.stat(dataDir + name)
		if err == nil && info.ModTime().After(now.Add(maxSkew)) {
			return poor("clock", fmt.Sprintf("it says %s, but %s was written at %s: it has been set back",
				said, dataDir+name, info.ModTime().UTC().Format(time.RFC3339)), fix)
		}
	}
	return good("clock", said)
}

// size prints bytes as people say them.
func size(n uint64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%d MB", n>>20)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
}
