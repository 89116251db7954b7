package kubeadm

import (
	"fmt"
	"slices"

	"sigs.k8s.io/yaml"
)

// Extend changes a ClusterConfiguration that Render made for one control plane,
// as the cluster keeps it, into that of one which will not stay alone: nodes
// name the API by another endpoint, the controllers elect a leader, and etcd has
// kubeadm's defaults for heartbeats, elections and progress messages. All else
// stays, also what kubeadm or somebody has changed since. Extending twice changes
// nothing.
func Extend(clusterConfiguration []byte, endpoint string) ([]byte, error) {
	var d object
	if err := yaml.Unmarshal(clusterConfiguration, &d); err != nil {
		return nil, fmt.Errorf("read ClusterConfiguration: %w", err)
	}
	d["controlPlaneEndpoint"] = endpoint
	for _, component := range []string{"controllerManager", "scheduler"} {
		if below, ok := d[component].(object); ok {
			if dropArguments(below, alone()); len(below) == 0 {
				delete(d, component)
			}
		}
	}
	if etcd, ok := d["etcd"].(object); ok {
		if local, ok := etcd["local"].(object); ok {
			dropArguments(local, append(impatient(), reticent()))
		}
	}
	return yaml.Marshal(d)
}

// dropArguments takes arguments with the same name and value out. What is no
// list is kubeadm's to refuse.
func dropArguments(component object, arguments []any) {
	list, ok := component[extraArgs].([]any)
	if !ok {
		return
	}
	component[extraArgs] = slices.DeleteFunc(list, func(one any) bool {
		have, _ := one.(object)
		return slices.ContainsFunc(arguments, func(a any) bool {
			gone := a.(object)
			return have["name"] == gone["name"] && have["value"] == gone["value"]
		})
	})
	if len(component[extraArgs].([]any)) == 0 {
		delete(component, extraArgs)
	}
}
