//go:build e2e

package e2e

import (
	"strings"
	"testing"
)

// An ephemeral cluster is one like any other, whose etcd writes to memory.
func TestEphemeral(t *testing.T) {
	t.Parallel()
	c := create(t, "--ephemeral")
	node := c.name + "-control-plane"
	if kind := docker(t, "exec", node, "findmnt", "--noheadings", "--output", "FSTYPE", "--target", "/run/petri/etcd/member"); kind != "tmpfs" {
		t.Errorf("etcd's data is on %s", kind)
	}
	command := c.must(t, "-n", "kube-system", "get", "pod", "etcd-"+node, "-o", "jsonpath={.spec.containers[0].command}")
	if !strings.Contains(command, "--unsafe-no-fsync=true") || !strings.Contains(command, "--data-dir=/run/petri/etcd") {
		t.Errorf("etcd runs as %s", command)
	}
	if r := c.petri(t.Context(), "get", "config", "--name", c.name); !strings.Contains(r.stdout, "ephemeral: true") {
		t.Errorf("the configuration does not say it:\n%s%s", r.stdout, r.stderr)
	}
}
