package bootstrap

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
)

// patchFiles are kubeadm's patches for what it makes on a control plane of a
// version of Kubernetes.
func (e *Env) patchFiles(kubernetes string) []provider.File {
	patch := func(target string, data []byte) provider.File {
		return provider.File{Path: nodeimage.PatchesDir + "/" + target + "+strategic.yaml", Data: data}
	}
	files := []provider.File{patch("corednsdeployment", e.corednsPatch())}
	for _, component := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		files = append(files, patch(component, staticPodPatch(component, kubernetes)))
	}
	return files
}

// readinessSince is the version since which kubeadm gives a static pod a
// readiness probe, or one since which it is known to: a patch of a probe that is
// not there would make one that asks nothing, and the kubelet would refuse the
// pod.
var readinessSince = map[string]*version.Version{
	"etcd":           version.MustParseSemantic("v1.31.0-0"),
	"kube-apiserver": version.MustParseSemantic("v1.31.0-0"),
	"kube-scheduler": version.MustParseSemantic("v1.33.0-0"),
}

// staticPodPatch lets a static pod share its shim, and be asked whether it is
// ready each ten seconds instead of each second: three handshakes and as many
// rounds of all checks a second are a tenth of what an idle node does. It is
// asked at once when it has started, so no start takes longer.
func staticPodPatch(component, kubernetes string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "metadata:\n  annotations:\n    %s: %s\n", nodeimage.ShimGroupAnnotation, nodeimage.ShimGroup)
	since, probed := readinessSince[component]
	if v, err := version.ParseSemantic(kubernetes); probed && err == nil && v.AtLeast(since) {
		fmt.Fprintf(&b, "spec:\n  containers:\n  - name: %s\n    readinessProbe:\n      periodSeconds: 10\n", component)
	}
	return []byte(b.String())
}

// corednsPatch is for CoreDNS's Deployment, which would otherwise be probed each
// ten seconds, have two replicas on one node, and a shim of its own.
func (e *Env) corednsPatch() []byte {
	replicas := min(2, len(e.Config.Nodes))
	return fmt.Appendf(nil, `spec:
  replicas: %d
  template:
    metadata:
      annotations:
        %s: %s
    spec:
      containers:
      - name: coredns
        readinessProbe:
          periodSeconds: 1
`, replicas, nodeimage.ShimGroupAnnotation, nodeimage.ShimGroup)
}
