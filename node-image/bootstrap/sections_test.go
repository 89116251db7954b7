package bootstrap

import (
	"bytes"
	"testing"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

func TestSectionOf(t *testing.T) {
	for line, want := range map[string]string{
		"[init] Using Kubernetes version: v1.36.3":           "init",
		"[kubelet-check] Waiting for a healthy kubelet":      "kubelet-check",
		"[certs] Generating \"etcd/ca\" certificate and key": "certs",
		"":                                 "",
		"Your Kubernetes control-plane":    "",
		"\t[WARNING Swap]: swap is on":     "",
		"[WARNING Swap]: swap is on":       "",
		"[a b] two words":                  "",
		"[open":                            "",
		"  [certs] not at the start":       "",
		"[10.0.0.1:6443]: an address":      "",
		"the cause [certs] is in the line": "",
	} {
		if got := sectionOf(line); got != want {
			t.Errorf("%q begins %q, want %q", line, got, want)
		}
	}
}

func TestSectionsAcrossWrites(t *testing.T) {
	const output = "[init] no phase\n[certs] a\nmore of it\n[certs] b\n[etcd] c\n\n[certs] d\nunfinished"
	for size := 1; size <= len(output); size++ {
		var out bytes.Buffer
		s := &sectionWriter{events: NewEvents(&out)}
		for rest := []byte(output); len(rest) > 0; {
			n, err := s.Write(rest[:min(size, len(rest))])
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		s.close()
		var got []string
		for _, e := range events(t, &out) {
			got = append(got, string(e.Kind)+" "+e.Phase)
		}
		diff(t, []string{
			string(nodeimage.PhaseStarted) + " kubeadm/certs", string(nodeimage.PhaseDone) + " kubeadm/certs",
			string(nodeimage.PhaseStarted) + " kubeadm/etcd", string(nodeimage.PhaseDone) + " kubeadm/etcd",
			string(nodeimage.PhaseStarted) + " kubeadm/certs", string(nodeimage.PhaseDone) + " kubeadm/certs",
		}, got)
	}
}
