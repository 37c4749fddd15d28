// Package mount attaches ext4 images and directories of the host to its file
// tree, and finds and removes what was attached.
//
// Images are attached through loop devices that the kernel frees with their
// last mount (autoclear): unmounting is all the cleaning there is, and a
// crash between the two steps leaves at most an unused loop device, which
// LoopsBelow finds. Devices of AttachLoop stay until they are detached, and have
// a name by which LoopsNamed finds them.
//
// Failure modes: all loop devices in use (ErrNoLoop says how to get more); an
// image that is no ext4 file system (the kernel's EINVAL); a busy mount, which
// Unmount then detaches lazily.
package mount
