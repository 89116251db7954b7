package doctor

import (
	"context"
	"encoding/json"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
)

// Host is the machine that this process runs on. ThisHost is the real one.
type Host struct {
	FS     fs.FS // rooted at /
	Getenv func(string) string
	Now    func() time.Time
	// Space is what the file system that holds a directory has left.
	Space func(dir string) (Space, error)
	// Inotify makes as many inotify instances as it is told, says how many it
	// got, and lets them go again. Nodes run as root: nobody else can tell what
	// they would get, and all is well then.
	Inotify func(instances int) int
	// Sync is how long it takes to bring a few bytes to the disk of the user's
	// cache, which is mostly the engine's too.
	Sync func() (time.Duration, error)
	// Listen tries to listen at an address and stops again.
	Listen func(network, address string) error
}

// Space is what is left of a file system.
type Space struct {
	Bytes  uint64
	Inodes uint64 // 0 also where a file system does not count them
}

// ThisHost is the machine that this process runs on.
func ThisHost(ctx context.Context) Host {
	return Host{
		FS: os.DirFS("/"), Getenv: os.Getenv, Now: time.Now, Space: space, Inotify: inotify, Sync: syncTime,
		Listen: func(network, address string) error { return listen(ctx, network, address) },
	}
}

func listen(ctx context.Context, network, address string) error {
	var config net.ListenConfig
	if network == "udp" {
		conn, err := config.ListenPacket(ctx, network, address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	l, err := config.Listen(ctx, network, address)
	if err != nil {
		return err
	}
	return l.Close()
}

// syncs is how often the disk is written to; the median counts.
const syncs = 9

// syncTime writes where petri keeps what it downloads, or as near to it as there is a
// directory: a new user has none.
func syncTime() (time.Duration, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	f, err := os.CreateTemp(dir, "petri-doctor-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var took []time.Duration
	for range syncs {
		start := time.Now()
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took[syncs/2], nil
}

// Kubectl is the version of the kubectl that the user has, "v1.36.3"; empty
// when there is none that says.
func Kubectl(ctx context.Context) string {
	out, err := exec.Output(ctx, exec.Host{}, "kubectl", "version", "--client", "--output=json")
	var v struct{ ClientVersion struct{ GitVersion string } }
	if err != nil || json.Unmarshal(out, &v) != nil {
		return ""
	}
	return v.ClientVersion.GitVersion
}

// text is the content of a file below /; empty when it cannot be read.
func (h Host) text(path string) string {
	data, err := fs.ReadFile(h.FS, path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// numbers are the numbers that a file holds; nil when it does not.
func (h Host) numbers(path string) []uint64 {
	var out []uint64
	for _, field := range strings.Fields(h.text(path)) {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return nil
		}
		out = append(out, n)
	}
	return out
}

// number is the first number in a file; ok is false when there is none.
func (h Host) number(path string) (n uint64, ok bool) {
	all := h.numbers(path)
	if len(all) == 0 {
		return 0, false
	}
	return all[0], true
}

func (h Host) exists(path string) bool {
	_, err := fs.Stat(h.FS, path)
	return err == nil
}
