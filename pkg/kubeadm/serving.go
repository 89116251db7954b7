package kubeadm

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/selfsigned"
)

// The components that serve their metrics with a certificate that nobody verifies.
// Each would make one when it starts.
const (
	managerName   = "kube-controller-manager"
	schedulerName = "kube-scheduler"
)

// servingValidity outlives a cluster: a component reads its certificate when it
// starts, and makes no new one.
const servingValidity = 10 * 365 * 24 * time.Hour

func servingDir(component string) string { return nodeimage.ServingDir + "/" + component }

// serving are the arguments by which a component serves with a certificate that is
// there.
func serving(component string) []any {
	return []any{
		argument("tls-cert-file", servingDir(component)+"/tls.crt"),
		argument("tls-private-key-file", servingDir(component)+"/tls.key"),
	}
}

// servingVolume mounts a component's certificate. The controller-manager needs
// none: kubeadm mounts all certificates for it.
func servingVolume(component string) object {
	dir := servingDir(component)
	return object{"name": "petri-serving", "hostPath": dir, "mountPath": dir, "readOnly": true, "pathType": "Directory"}
}

// keepServingVolume puts the volume back that a configuration took out with a list of
// its own, as long as the component is told to look there.
func keepServingVolume(component object, name string) {
	args, _ := component[extraArgs].([]any)
	told := slices.ContainsFunc(args, func(one any) bool { return reflect.DeepEqual(one, serving(name)[0]) })
	volumes, _ := component[extraVolumes].([]any)
	mounted := slices.ContainsFunc(volumes, func(one any) bool {
		o, _ := one.(object)
		return text(o, "mountPath") == servingDir(name)
	})
	if told && !mounted {
		component[extraVolumes] = append(slices.Clone(volumes), servingVolume(name))
	}
}

// ServingFiles are the certificates that components of a control plane serve with,
// and their keys, by their paths on the node of that name. They are new ones at each
// call.
func ServingFiles(node string) (map[string][]byte, error) {
	out := map[string][]byte{}
	now := time.Now()
	for _, component := range []string{managerName, schedulerName} {
		certificate, key, err := selfsigned.Serving(fmt.Sprintf("%s@%d", node, now.Unix()), node, now, servingValidity)
		if err != nil {
			return nil, fmt.Errorf("make a certificate for %s: %w", component, err)
		}
		out[servingDir(component)+"/tls.crt"], out[servingDir(component)+"/tls.key"] = certificate, key
	}
	return out, nil
}
