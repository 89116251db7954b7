package doctor

import (
	"os"
	"syscall"
)

func space(dir string) (Space, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return Space{}, err
	}
	return Space{Bytes: s.Bavail * uint64(s.Bsize), Inodes: s.Ffree}, nil
}

func inotify(instances int) int {
	if os.Geteuid() != 0 {
		return instances
	}
	for got := range instances {
		fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC)
		if err != nil {
			return got
		}
		defer syscall.Close(fd)
	}
	return instances
}
