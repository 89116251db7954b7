package cluster

import (
	"context"
	"errors"

	"github.com/petri-cluster/petri/pkg/kubeconfig"
	"github.com/petri-cluster/petri/pkg/progress"
)

// Delete removes a cluster and its entries in the kubeconfig files. What is
// not there is no error, so that it can be repeated: another deletion of the
// cluster is waited for. Any other change of it is an error that says who
// makes it, and nothing is touched.
func (m *Manager) Delete(ctx context.Context, name string, kubeconfigs []string) error {
	first, err := lockDeletion(ctx, name)
	if err != nil {
		return err
	}
	defer first()
	release, err := lock(name)
	if err != nil {
		return err
	}
	defer release()
	task := progress.Start(m.reporter, "delete", "Deleting cluster "+name, "")
	if id, _ := killed(name); id != "" {
		if err := awaitEngine(ctx); err != nil {
			return task.Done(err)
		}
	}
	nodes, err := m.provider.Nodes(ctx, name) // they know what it is called
	err = errors.Join(err, m.provider.Delete(ctx, name))
	_, kerr := kubeconfig.Remove(ctx, kubeconfigs, m.entryName(name, nodes))
	if err == nil {
		err = forget(name)
	}
	return task.Done(errors.Join(err, kerr))
}
