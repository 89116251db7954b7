package bootstrap

import (
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// Every pod of the control plane is of the group, and a probe is changed only
// where kubeadm of the version makes one.
func TestPatchFiles(t *testing.T) {
	for kubernetes, want := range map[string][]string{
		"v1.30.14": nil,
		"v1.31.0":  {"etcd", "kube-apiserver"},
		"v1.32.13": {"etcd", "kube-apiserver"},
		"v1.33.6":  {"etcd", "kube-apiserver", "kube-scheduler"},
		"v1.36.3":  {"etcd", "kube-apiserver", "kube-scheduler"},
		"":         nil, // not known
	} {
		e := &Env{Config: &config.Cluster{Nodes: make([]config.Node, 1)}}
		var probed, grouped []string
		for _, f := range e.patchFiles(kubernetes) {
			target, ok := strings.CutSuffix(path.Base(f.Path), "+strategic.yaml")
			if !ok || path.Dir(f.Path) != nodeimage.PatchesDir {
				t.Errorf("a patch is at %s", f.Path)
			}
			if target == "corednsdeployment" {
				continue
			}
			var pod corev1.Pod
			if err := yaml.UnmarshalStrict(f.Data, &pod); err != nil {
				t.Fatalf("%s: %v", target, err)
			}
			if pod.Annotations[nodeimage.ShimGroupAnnotation] == nodeimage.ShimGroup {
				grouped = append(grouped, target)
			}
			for _, c := range pod.Spec.Containers {
				if c.Name == target && c.ReadinessProbe.PeriodSeconds == 10 {
					probed = append(probed, target)
				}
			}
		}
		if diff := cmp.Diff(want, probed); diff != "" {
			t.Errorf("%s: probes that are changed (-want +got):\n%s", kubernetes, diff)
		}
		if diff := cmp.Diff([]string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}, grouped); diff != "" {
			t.Errorf("%s: pods of the group (-want +got):\n%s", kubernetes, diff)
		}
	}
}
