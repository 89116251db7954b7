package bootstrap

import (
	"context"
	_ "embed"
	"time"

	"github.com/petri-cluster/petri/node-image/gate"
)

// priorities are the two priority classes of the system's pods, as the API server
// makes them a second after it serves, when they are not there
// (k8s.io/kubernetes pkg/registry/scheduling/rest/storage_scheduling.go). Until then
// it refuses such pods.
//
//go:embed priorities.yaml
var priorities []byte

// systemPods is where the system's pods are made.
const systemPods = "/api/v1/namespaces/kube-system/pods"

// admitPods makes the priority classes, and lets the kubelet in when the API server
// has heard of them. Let in sooner, the kubelet would be refused its static pods, and
// they would be missing from the API for a minute; let in later, it would ask for its
// other pods a second later: when it knows no node yet it looks again after one
// (WaitForAPIServerSyncPeriod, k8s.io/kubernetes pkg/kubelet/config).
func (c *controlPlane) admitPods(ctx context.Context, gates *gateway) error {
	classes, err := parseObjects(priorities)
	if err != nil {
		return err
	}
	api, err := c.superuser()
	if err != nil {
		return err
	}
	defer api.CloseIdleConnections()
	api.each(ctx, classes)
	static := object{
		"kind": "Pod", "apiVersion": "v1",
		"metadata": object{"name": "petri", "annotations": object{"kubernetes.io/config.mirror": "petri"}},
		"spec": object{
			"nodeName": c.plan.Name, "priorityClassName": "system-node-critical",
			"containers": []object{{"name": "petri", "image": "petri"}},
		},
	}
	taken := false
	err = until(ctx, admitLimit, apiInterval, func() bool {
		_, err := api.post(ctx, systemPods+"?dryRun=All", static) // which makes none
		taken = err == nil
		return taken
	})
	if taken {
		gates.tell(gate.Pods)
	}
	return err
}

// admitLimit bounds the asking whether pods would be taken: then the API server's
// own check tells.
const admitLimit = time.Second
