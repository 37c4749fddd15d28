package cgroup

// Quota returns the group's CPU quota as the kernel tells it.
func (g *Group) Quota() (string, error) {
	if g.v2() {
		return g.read("", "cpu.max")
	}
	return g.read("cpu", "cpu.cfs_quota_us")
}
