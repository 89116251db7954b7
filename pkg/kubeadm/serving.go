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

// servingVolume mounts a component's certificate.
func servingVolume(component string) object {
	dir := servingDir(component)
	return object{"name": "petri-serving", "hostPath": dir, "mountPath": dir, "readOnly": true, "pathType": "Directory"}
}

// keepServingVolumes puts the volumes back that a configuration took out with a list
// of its own, as long as the component is told to look there.
func keepServingVolumes(document object) {
	for field, name := range map[string]string{"controllerManager": managerName, "scheduler": schedulerName} {
		component, _ := document[field].(object)
		args, _ := component[extraArgs].([]any)
		if slices.ContainsFunc(args, func(one any) bool { return reflect.DeepEqual(one, serving(name)[0]) }) {
			keepVolume(component, servingVolume(name))
		}
	}
}

// ServingFiles are the certificates that components of a control plane serve with,
// and their keys, by their paths on the node of that name. They are new ones at each
// call, and the keys are secrets.
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
