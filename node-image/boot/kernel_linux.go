package boot

import "golang.org/x/sys/unix"

// Kernel is the Mounter that asks the kernel.
type Kernel struct{}

// Remount implements Mounter.
func (Kernel) Remount(path string, bind bool) error {
	flags := uintptr(unix.MS_REMOUNT | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if bind {
		flags |= unix.MS_BIND
	}
	return unix.Mount("none", path, "", flags, "")
}

// Share implements Mounter.
func (Kernel) Share() error {
	return unix.Mount("none", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

// Bind implements Mounter.
func (Kernel) Bind(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return unix.Mount("none", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
}

// MakeDevice implements Mounter.
func (Kernel) MakeDevice(path string, major, minor uint32) error {
	if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(major, minor))); err != nil {
		return err
	}
	return unix.Chmod(path, 0o666) // whatever the umask is
}
