package container

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
)

// How a node is allowed to run, as nodeimage.LabelMode carries it.
const (
	// modePrivileged is all that a container can be allowed.
	modePrivileged = "privileged"
	// modeCapabilities is the same, spelt out, less CAP_SYS_RESOURCE: for
	// engines that themselves lack that capability, as in many sandboxes,
	// where a privileged container cannot start.
	modeCapabilities = "capabilities"
	// modeNone is what any container is allowed: enough for one program.
	modeNone = "none"
)

// applyMode gives a machine the privileges of the mode.
func applyMode(host *container.HostConfig, mode string) {
	host.SecurityOpt = []string{"seccomp=unconfined", "apparmor=unconfined", "label=disable"}
	if mode == modePrivileged {
		host.Privileged = true
		return
	}
	host.CapAdd = []string{"ALL"}
	host.CapDrop = []string{"SYS_RESOURCE"}
	// Empty, not nil: nothing of /proc and /sys is hidden or read-only.
	host.MaskedPaths = []string{}
	host.ReadonlyPaths = []string{}
	host.DeviceCgroupRules = []string{"a *:* rwm"}
}

// learnedFor is how long an engine's answer is believed: somebody may give it
// more privileges.
const learnedFor = 24 * time.Hour

// learned is what the cache file of an engine holds.
type learned struct {
	Privileges string    `json:"privileges"`
	Time       time.Time `json:"time"`
}

// knownMode is how nodes may run on the engine, or "" when nobody has asked it
// yet. The only way of asking is to start a node.
func (p *Provider) knownMode(engineID string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.privileges != "" {
		return p.privileges
	}
	data, err := os.ReadFile(p.learnedPath(engineID))
	if err != nil {
		return ""
	}
	var l learned
	if json.Unmarshal(data, &l) != nil {
		return ""
	}
	age := time.Since(l.Time)
	if age < 0 || age > learnedFor || (l.Privileges != modePrivileged && l.Privileges != modeCapabilities) {
		return ""
	}
	p.privileges = l.Privileges
	return l.Privileges
}

// learnMode remembers that a node started with the mode. A cache that cannot
// be written costs the next creation one failed start, so it is no error.
func (p *Provider) learnMode(engineID, mode string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.privileges == mode {
		return
	}
	p.privileges = mode
	path := p.learnedPath(engineID)
	data, err := json.Marshal(learned{Privileges: mode, Time: time.Now()})
	if path == "" || err != nil || os.MkdirAll(filepath.Dir(path), 0o755) != nil {
		return
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".engine-*")
	if err != nil {
		return
	}
	_, err = temp.Write(data)
	if closeErr := temp.Close(); err != nil || closeErr != nil || os.Rename(temp.Name(), path) != nil {
		os.Remove(temp.Name())
	}
}

// learnedPath is the cache file of an engine, or "" when there can be none.
func (p *Provider) learnedPath(engineID string) string {
	dir := p.opts.CacheDir
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(user, "petri")
	}
	if engineID == "" {
		return ""
	}
	safe := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '-' {
			return r
		}
		return '-'
	}, engineID)
	return filepath.Join(dir, "engine-"+safe+".json")
}
