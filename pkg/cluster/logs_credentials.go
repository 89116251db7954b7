package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
	"github.com/petri-cluster/petri/pkg/registry"
)

// Where a node has its containerd's configuration.
const (
	containerdDir  = "/etc/containerd"
	containerdConf = containerdDir + "/config.toml"
)

// credentials prints the files of a node that name passwords and tokens of
// others: of registries and of their mirrors.
var credentials = []string{"sh", "-c", "cat " + containerdConf + " " + containerdDir + "/conf.d/*.toml " + containerdDir + "/certs.d/*/hosts.toml " +
	"/var/lib/kubelet/config.json /root/.docker/config.json " + nodeimage.ConfigPath + " 2>/dev/null; true"}

// credentialPlaces are the same files, and the plan, for a node in which
// nothing can be run.
var credentialPlaces = []string{
	nodeimage.PlanPath, containerdDir, "/var/lib/kubelet/config.json", "/root/.docker/config.json", nodeimage.ConfigPath,
	nodeimage.EncryptionPath,
}

// learnCredentials finds the credentials for registries that a node has. What
// can be parsed is: no pattern knows where a password ends.
func (e *export) learnCredentials(ctx context.Context, n node.Node) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	if n.State != node.Running {
		return e.learnOfDead(ctx, n)
	}
	printed, err := exec.Output(ctx, n, credentials...)
	e.Learn(printed)
	errs := []error{err}
	for _, name := range []string{nodeimage.PlanPath, containerdConf, nodeimage.EncryptionPath} {
		data, err := n.ReadFile(ctx, name)
		if !isAbsent(err) { // another tool's node has no plan, and few have a key for Secrets
			errs = append(errs, err)
		}
		if err == nil {
			errs = append(errs, e.learnFile(name, data))
		}
	}
	return errors.Join(errs...)
}

// learnOfDead is learnCredentials for a node that does not run. Its journal may
// have them all the same.
func (e *export) learnOfDead(ctx context.Context, n node.Node) error {
	c, ok := e.provider.(provider.LogCollector)
	if !ok {
		return fmt.Errorf("it is %s", n.State)
	}
	var errs []error
	for _, place := range credentialPlaces {
		files, err := c.ReadNodeFiles(ctx, n, place)
		if !isAbsent(err) {
			errs = append(errs, err)
		}
		for name, data := range files {
			e.Learn(data)
			errs = append(errs, e.learnFile(name, data))
		}
	}
	return errors.Join(errs...)
}

// isAbsent reports whether reading a file failed because there is none.
func isAbsent(err error) bool {
	failed, ok := errors.AsType[*exec.Error](err)
	return errdefs.Is(err, errdefs.ClassNotFound) || ok && failed.Code == 1 && bytes.Contains(failed.Stderr, []byte("No such file"))
}

// encryptionKey is the key for Secrets in the file that has it.
var encryptionKey = regexp.MustCompile(`(?m)^[ -]*secret: *(\S+)$`)

// learnFile parses a file for credentials, if it is of a form that has them.
func (e *export) learnFile(name string, data []byte) error {
	texts := []string{string(data)}
	switch {
	case name == nodeimage.EncryptionPath:
		for _, key := range encryptionKey.FindAllSubmatch(data, -1) {
			e.Add(string(key[1]))
		}
		return nil
	case name == nodeimage.PlanPath:
		var plan nodeimage.Plan
		if json.Unmarshal(data, &plan) != nil {
			return fmt.Errorf("read %s: not a plan", name) // and not what is in it
		}
		texts = append(plan.ContainerdPatches, plan.RegistryAuth)
	case path.Ext(name) != ".toml":
		return nil
	}
	var errs []error
	for _, text := range texts {
		found, err := registry.Passwords(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("read %s: %w", name, err))
		}
		for _, c := range found {
			e.Add(c.Password, c.Username+":"+c.Password) // which goes to registries in base64
		}
	}
	return errors.Join(errs...)
}
