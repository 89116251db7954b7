package cluster

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/petri-cluster/petri/pkg/cluster/clustertest"
	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// hardenedFiles are what the host gives to control planes of a hardened cluster.
var hardenedFiles = []string{nodeimage.AuthenticationPath, nodeimage.AdmissionPath, nodeimage.AuditPolicyPath}

// Control planes that come later find the same as the first one, and workers
// nothing of it; the keys are not the host's to give.
func TestHardenedNodes(t *testing.T) {
	s := newScene(t)
	three, one := 3, 1
	c, err := config.Load(nil, "test", config.Options{
		DefaultImage: func(string) string { return clustertest.Image },
		Overrides:    config.Overrides{Name: "dev", ControlPlanes: &three, Workers: &one, Profile: "hardened"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Create(t.Context(), c, s.options()); err != nil {
		t.Fatal(err)
	}
	if err := s.Scale(t.Context(), "dev", controlPlanes(1), AddOptions{}, removing); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateNodes(t.Context(), "dev", addingControlPlanes(1)); err != nil {
		t.Fatal(err)
	}
	if err := s.Scale(t.Context(), "dev", Size{Workers: &three}, AddOptions{Wait: time.Minute}, removing); err != nil {
		t.Fatal(err)
	}
	nodes, err := s.Nodes(t.Context(), "dev")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if n.Role == nodeimage.RoleLoadBalancer {
			continue
		}
		plan, err := s.Plan(n.Name)
		if err != nil || !plan.Hardened || !plan.ServingCertificates {
			t.Errorf("plan of %s: %+v, %v", n.Name, plan, err)
		}
		for _, path := range hardenedFiles {
			want, _ := s.File("dev-control-plane", path)
			got, there := s.File(n.Name, path)
			if wanted := n.Role == nodeimage.RoleControlPlane; there != wanted || there && (got.Mode != 0o600 || !bytes.Equal(got.Data, want.Data) || len(got.Data) == 0) {
				t.Errorf("%s of %s: there %v, mode %o:\n%s", path, n.Name, there, got.Mode, got.Data)
			}
		}
		if _, there := s.File(n.Name, nodeimage.EncryptionPath); there {
			t.Errorf("the host knows the key of %s", n.Name)
		}
		if kubelet := documents(t, s, n.Name)["KubeletConfiguration"]; kubelet["seccompDefault"] != true {
			t.Errorf("the kubelet of %s has %v", n.Name, kubelet)
		}
	}
	if len(nodes) < 5 {
		t.Errorf("there are %d nodes", len(nodes))
	}
	if kept := string(s.World.API("dev").Kept().Config); !strings.Contains(kept, "profile: hardened") {
		t.Errorf("the cluster forgets its profile:\n%s", kept)
	}
}

// A node's name, labels and mounts are arguments and data, never words of a
// shell: what runs in nodes and has a shell in it is one of petri's own scripts.
func TestNothingReachesAShell(t *testing.T) {
	s := newScene(t)
	evil := t.TempDir() + "/$(touch owned);`id` '\""
	c := dev(t, 1)
	for i := range c.Nodes {
		c.Nodes[i].Labels = map[string]string{"a": "b"}
		c.Nodes[i].Mounts = []config.Mount{{HostPath: evil, ContainerPath: "/$(id)", Create: true, Propagation: "None"}}
	}
	if err := s.Create(t.Context(), c, s.options()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateNodes(t.Context(), "dev", adding(1)); err != nil {
		t.Fatal(err)
	}
	// these nodes have next to no logs: what is run in them is the point
	_, _ = s.ExportLogs(t.Context(), "dev", t.TempDir()+"/logs")
	for _, command := range s.Commands() {
		shell := slices.Index(command.Args, "-c")
		if shell < 0 || command.Args[shell-1] != "sh" {
			continue
		}
		for _, word := range []string{"dev-", "$(touch", "$(id)", evil} {
			if strings.Contains(command.Args[shell+1], word) {
				t.Errorf("a shell of %s is given %q", command.Node, command.Args[shell+1])
			}
		}
	}
}
