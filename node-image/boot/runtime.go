package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/petri-cluster/petri/pkg/containerdconf"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

const (
	containerdRoot  = "/var/lib/containerd"
	containerdConfD = "/etc/containerd/conf.d"
	overlayRoot     = containerdRoot + "/io.containerd.snapshotter.v1.overlayfs"
)

// imageStore gives containerd the preloaded images. Only metadata is copied;
// the unpacked trees stay in the image and are linked, so that a node costs
// no copy and no disk. A store that is there already is left alone.
func imageStore(_ context.Context, m *Machine) error {
	marker := m.path(containerdRoot + "/.petri-store")
	if _, err := os.Stat(marker); err == nil {
		return nil
	}
	if _, err := os.Stat(m.path(nodeimage.StoreRoot)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := copyTree(m.path(nodeimage.StoreRoot), m.path(containerdRoot)); err != nil {
		return fmt.Errorf("lay out the image store: %w", err)
	}
	if err := m.linkSnapshots(); err != nil {
		return fmt.Errorf("link snapshots: %w", err)
	}
	return os.WriteFile(marker, nil, 0o644)
}

// linkSnapshots links each snapshot that containerd knows to its directory in
// the image. containerd removes a snapshot by removing the link.
func (m *Machine) linkSnapshots() error {
	data, err := os.ReadFile(m.path(nodeimage.StoreLinks))
	if err != nil {
		return err
	}
	var links map[string]string
	if err := json.Unmarshal(data, &links); err != nil {
		return fmt.Errorf("%s: %w", nodeimage.StoreLinks, err)
	}
	into := m.path(overlayRoot + "/snapshots")
	if err := os.MkdirAll(into, 0o700); err != nil {
		return err
	}
	for id, name := range links {
		err := os.Symlink(nodeimage.StoreSnapshots+"/"+name, filepath.Join(into, id))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// copyTree copies directories and files, with their modes.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(target, info.Mode().Perm())
		}
		return copyFile(path, target, info.Mode().Perm())
	})
}

func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// cgroupfs has the runtime make the groups of containers by itself. On cgroup v1
// systemd removes groups of controllers that a unit of its own does not ask for,
// also in the moment in which the kubelet makes one below: the pod then waits for
// ten seconds and more.
const cgroupfs = `version = 3
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = false
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.test-handler.options]
  SystemdCgroup = false
`

// containerd writes the settings that depend on the machine, as drop-ins that
// the image's own config.toml imports.
func containerd(_ context.Context, m *Machine) error {
	// without the capability oom_score_adj cannot be lowered, and runc would
	// fail on it
	err := errors.Join(
		m.dropIn(!m.ResourceCap, containerdConfD+"/10-oom.toml",
			"version = 3\n[plugins.'io.containerd.cri.v1.runtime']\n  restrict_oom_score_adj = true\n"),
		m.dropIn(m.ResourceCap, "/etc/systemd/system/containerd.service.d/10-oom.conf",
			"[Service]\nOOMScoreAdjust=-999\n"),
		m.dropIn(m.CgroupV1, containerdConfD+"/10-cgroup-v1.toml", cgroupfs),
	)
	if err != nil {
		return err
	}
	if s := os.Getenv(nodeimage.SnapshotterVariable); s != "" {
		if strings.ContainsAny(s, "'\"\n") {
			return fmt.Errorf("snapshotter %q is not a name", s)
		}
		conf := fmt.Sprintf("version = 3\n[plugins.'io.containerd.cri.v1.images']\n  snapshotter = '%s'\n", s)
		if err := m.write(containerdConfD+"/20-snapshotter.toml", conf); err != nil {
			return err
		}
	}
	return m.patchContainerd()
}

const (
	containerdConf = "/etc/containerd/config.toml"
	// imageContainerdConf keeps the image's own configuration while a patched
	// one has its place, so that a restart does not patch it twice.
	imageContainerdConf = "/etc/containerd/config.image.toml"
)

// patchContainerd writes containerd's configuration anew where the cluster's
// configuration changes it: the image's own, the drop-ins, and the patches.
func (m *Machine) patchContainerd() error {
	if !m.patchesContainerd() {
		return nil
	}
	files, err := m.containerdFiles()
	if err != nil {
		return err
	}
	result, err := containerdconf.Apply(files, m.containerdPatches(), m.Plan.ContainerdJSONPatches)
	if err == nil && m.CgroupV1 && !m.Plan.Foreign {
		result.TOML, err = containerdconf.WithoutSystemd(result.TOML)
	}
	if err != nil {
		return err
	}
	for registry, hosts := range result.Hosts {
		if err := m.writeHosts(containerdconf.CertsDir+"/"+registry+"/hosts.toml", string(hosts)); err != nil {
			return err
		}
	}
	if _, err := os.Stat(m.path(imageContainerdConf)); errors.Is(err, fs.ErrNotExist) {
		if err := os.Rename(m.path(containerdConf), m.path(imageContainerdConf)); err != nil {
			return err
		}
	}
	return m.writeSecret(containerdConf, string(result.TOML)) // patches may hold passwords
}

// containerdPatches are those of the cluster's configuration, after the
// credentials for registries.
func (m *Machine) containerdPatches() []string {
	if m.Plan.RegistryAuth == "" {
		return m.Plan.ContainerdPatches
	}
	return append([]string{m.Plan.RegistryAuth}, m.Plan.ContainerdPatches...)
}

// patchesContainerd reports whether the cluster's configuration has patches.
func (m *Machine) patchesContainerd() bool {
	return m.Plan != nil && len(m.containerdPatches())+len(m.Plan.ContainerdJSONPatches) > 0
}

// containerdFiles are the image's configuration of containerd and the drop-ins,
// in the order in which containerd would import them. An image of somebody
// else's may import none of these.
func (m *Machine) containerdFiles() ([]string, error) {
	own, err := os.ReadFile(m.path(imageContainerdConf))
	if errors.Is(err, fs.ErrNotExist) {
		own, err = os.ReadFile(m.path(containerdConf))
	}
	if err != nil {
		return nil, err
	}
	out := []string{string(own)}
	if !strings.Contains(out[0], containerdConfD) {
		return out, nil
	}
	paths, err := filepath.Glob(m.path(containerdConfD + "/*.toml"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		out = append(out, string(data))
	}
	return out, nil
}

// writeHosts writes the hosts of a registry, and leaves alone what somebody
// else wrote: it may be a file of the host's.
func (m *Machine) writeHosts(path, content string) error {
	have, err := os.ReadFile(m.path(path))
	if errors.Is(err, fs.ErrNotExist) {
		return m.write(path, content)
	}
	if err == nil && string(have) != content {
		err = fmt.Errorf("%s is there already, and differs from registry.mirrors of containerdConfigPatches", path)
	}
	return err
}

// kubelet writes drop-ins for what kubelet must forgive on this machine,
// whoever writes its main configuration.
func kubelet(_ context.Context, m *Machine) error {
	const head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
	return errors.Join(
		// kubelet 1.35 and later refuses v1 unless told; one that cannot ask the
		// runtime for its driver, as later ones do, must have the same
		m.dropIn(m.CgroupV1, nodeimage.KubeletDropInDir+"/10-cgroup-v1.conf",
			head+"failCgroupV1: false\ncgroupDriver: cgroupfs\n"),
		// the gate that forgives rlimits, oom scores and global sysctls; the
		// kubelet would try to lower its own score three times, a tenth of a
		// second apart
		m.dropIn(!m.ResourceCap, nodeimage.KubeletDropInDir+"/20-no-resource-cap.conf",
			head+"featureGates:\n  KubeletInUserNamespace: true\noomScoreAdj: 0\n"),
	)
}
