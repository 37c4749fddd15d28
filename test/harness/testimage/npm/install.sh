# Has npm run the installation scripts of AWS's client in the root that is the
# argument. The process has namespaces of its own: no network, and mounts that
# end with it.
set -e
root=$1
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mknod -m 666 "$root/dev/null" c 1 3
mknod -m 444 "$root/dev/urandom" c 1 9
exec env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/tmp LC_ALL=C.UTF-8 MAKEFLAGS=-j2 SOURCE_DATE_EPOCH=1767225600 npm_config_nodedir=/usr/local \
	/usr/sbin/chroot "$root" /usr/bin/env --chdir=/var/task npm rebuild --foreground-scripts --offline aws-lambda-ric
