package runtimes

import "io/fs"

// suite is the Debian release that all images are made from.
const suite = "bookworm"

// base starts a recipe with what all runtimes share: the shell and the tools
// that functions, layers and their wrapper scripts call (AWS's images have
// them too), certificates, time zones, and the C and C++ libraries.
func base(name, version string, packages ...string) Recipe {
	r := Recipe{
		Name:    name,
		Version: version,
		Suite:   suite,
		Packages: append([]string{
			"bash", "ca-certificates", "coreutils", "curl", "dash", "findutils",
			"grep", "gzip", "libc-bin", "libgcc-s1", "libssl3", "libstdc++6",
			"mawk", "netbase", "sed", "tar", "tzdata", "zlib1g",
		}, packages...),
		Remove: []string{
			// Documentation, translations, and package managers' own data.
			"/usr/share/doc", "/usr/share/doc-base", "/usr/share/man", "/usr/share/info",
			"/usr/share/locale", "/usr/share/lintian", "/usr/share/bug", "/usr/share/menu",
			"/usr/share/common-licenses", "/usr/share/applications", "/usr/share/pixmaps",
			"/usr/share/bash-completion", "/usr/share/zsh", "/usr/share/gdb", "/usr/share/gcc",
			"/usr/share/binfmts", "/usr/share/polkit-1", "/usr/share/readline", "/usr/share/dict",
			"/etc/apt", "/etc/dpkg", "/etc/cron*", "/etc/logrotate.d", "/etc/debconf.conf",
			"/etc/fstab", "/etc/kernel", "/etc/skel", "/etc/init.d", "/etc/pam*", "/etc/security",
			"/etc/systemd", "/usr/lib/systemd", "/etc/ca-certificates", "/etc/update-motd.d",
			"/etc/alternatives", "/etc/profile.d", "/etc/issue*", "/etc/default", "/etc/xattr.conf",
			"/var/lib/dpkg", "/var/lib/apt", "/var/cache/*", "/var/lib/pam", "/var/lib/systemd",
			"/dev/*", "/var/backups", "/var/log/*", "/var/mail", "/var/spool", "/var/local", "/var/opt",
			// Dependencies of maintainer scripts, which are never run here.
			"/usr/bin/perl*", "/usr/lib/x86_64-linux-gnu/perl*", "/usr/share/perl*",
			"/usr/bin/debconf*", "/usr/share/debconf", "/usr/sbin/dpkg*", "/usr/bin/dpkg*",
			"/usr/share/dpkg", "/usr/lib/dpkg", "/usr/bin/update-alternatives", "/usr/bin/c_rehash",
			"/usr/sbin/update-*", "/usr/sbin/invoke-rc.d", "/usr/sbin/service",
			"/usr/sbin/adduser", "/usr/sbin/deluser", "/usr/sbin/addgroup", "/usr/sbin/delgroup",
			// Tools for more than one user, and those that are set-uid.
			"/usr/bin/su", "/usr/bin/mount", "/usr/bin/umount", "/usr/bin/login", "/usr/bin/passwd", "/usr/bin/chsh",
			"/usr/bin/chfn", "/usr/bin/newgrp", "/usr/bin/gpasswd", "/usr/bin/chage",
			"/usr/bin/expiry", "/usr/bin/faillog", "/usr/bin/lastlog", "/usr/sbin/unix_chkpwd",
			"/etc/passwd-", "/etc/group-", "/etc/shadow*", "/etc/gshadow*", "/etc/subuid*", "/etc/subgid*",
		},
		Dirs: []string{
			// The directories of LD_LIBRARY_PATH are here even where nothing
			// is in them: the loader remembers for good that one is missing,
			// and a prewarmed runtime starts before /var/task and /opt are
			// mounted.
			"/proc", "/sys", "/dev", "/tmp", "/run", "/root", "/home", "/mnt", "/usr/local/bin",
			"/opt/lib", "/var/task/lib", "/var/runtime/lib", "/var/lang", "/usr/lib64",
			// Where sandbox drivers put process 1 and its connection, and
			// where directories attached after the boot appear.
			"/.hearth/ctl", "/.hearth/late",
		},
		Files: []fs.FS{rootfs("base")},
		Links: []Pair{
			// Functions and layers are written for an sh that is bash.
			{From: "/usr/bin/sh", To: "bash"},
			{From: "/usr/bin/awk", To: "mawk"},
			// OpenSSL's default file of trusted certificates.
			{From: "/usr/lib/ssl/cert.pem", To: "/etc/ssl/certs/ca-certificates.crt"},
			// The locale AWS names in LANG: UTF-8, ordered by code point.
			{From: "/usr/lib/locale/en_US.utf8", To: "C.utf8"},
			{From: "/etc/localtime", To: "/usr/share/zoneinfo/UTC"},
			{From: "/etc/mtab", To: "/proc/self/mounts"},
		},
	}
	r.Links = append(r.Links, systemLibraries()...)
	return r
}

// systemLibraries puts the libraries that every program loads where AWS has
// them, near the front of LD_LIBRARY_PATH. In Debian's place the loader would
// find them last, after a hundred look-ups, which are dear in a sandbox; and
// after the function's own, which on AWS come later.
func systemLibraries() []Pair {
	var links []Pair
	for _, name := range []string{
		"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libgcc_s.so.1", "libstdc++.so.6",
		"libz.so.1", "libssl.so.3", "libcrypto.so.3",
	} {
		links = append(links, Pair{From: "/usr/lib64/" + name, To: "../lib/x86_64-linux-gnu/" + name})
	}
	return links
}
