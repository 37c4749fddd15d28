package managedruntime

import (
	"context"
	"fmt"
	"os"
	"strconv"
)

const (
	blockSize = 4096
	inodeSize = 256
)

// writeExt4 makes file an ext4 file system that holds the tree root. Nothing
// is mounted. What mkfs draws at random is taken from the digest instead.
func writeExt4(ctx context.Context, file, root, digest string, u usage) error {
	id := fmt.Sprintf("%s-%s-4%s-8%s-%s", digest[0:8], digest[8:12], digest[13:16], digest[17:20], digest[20:32])
	// Room for directories, extents, bitmaps and group descriptors; a file
	// system of this kind is never written again, so no more.
	blocks := u.blocks + u.inodes*(inodeSize+64)/blockSize
	blocks += blocks/50 + 1024
	out, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	now := fmt.Sprintf("E2FSPROGS_FAKE_TIME=%d", imageTime)
	env := append(os.Environ(), now, "LC_ALL=C.UTF-8", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	err = run(ctx, command{name: "mkfs.ext4", pkg: "e2fsprogs", env: env, args: []string{
		"-q", "-F", "-d", root, "-U", id, "-L", "runtime", "-m", "0",
		"-b", strconv.Itoa(blockSize), "-I", strconv.Itoa(inodeSize), "-N", strconv.FormatInt(u.inodes+64, 10),
		"-O", "^has_journal,^resize_inode", "-E", "root_owner=0:0,lazy_itable_init=0,nodiscard,hash_seed=" + id,
		file, strconv.FormatInt(blocks, 10),
	}})
	if err != nil {
		return err
	}
	err = run(ctx, command{name: "debugfs", pkg: "e2fsprogs", env: env,
		args: []string{"-w", "-R", "rmdir lost+found", file}})
	return err
}
