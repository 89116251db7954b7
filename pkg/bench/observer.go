package bench

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/petri-cluster/petri/pkg/kube"
)

// observer looks at one cluster from outside, with a client of its own. It
// knows what a user knows: the kubeconfig file that the launcher writes.
type observer struct {
	place      *place
	kubeconfig string // path
}

// lookInterval is how often the observer looks again for what it cannot watch:
// a file, and an API that does not answer yet.
const lookInterval = 10 * time.Millisecond

// connect waits until the kubeconfig is written, and makes a client.
func (o *observer) connect(ctx context.Context) (*kube.Client, error) {
	var client *kube.Client
	err := again(ctx, func() error {
		data, err := os.ReadFile(o.kubeconfig)
		if err != nil {
			return err
		}
		client, err = o.place.connect(ctx, data, "")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("wait for a kubeconfig: %w", err)
	}
	return client, nil
}

// connect makes a client of the cluster that a kubeconfig leads to. A server
// that is not empty takes the place of the file's.
func (p *place) connect(ctx context.Context, kubeconfig []byte, server string) (*kube.Client, error) {
	client, err := kube.Connect(kubeconfig, server)
	if err != nil || !p.separate {
		return client, err
	}
	u, err := url.Parse(client.Server())
	if err != nil {
		return nil, fmt.Errorf("address of the API: %w", err)
	}
	address, err := p.forward(ctx, u.Host)
	if err != nil {
		return nil, err
	}
	return kube.Connect(kubeconfig, "https://"+address)
}

// serving connects and returns when the API answers and lets its user in.
func (o *observer) serving(ctx context.Context) (*kube.Client, error) {
	client, err := o.connect(ctx)
	if err != nil {
		return nil, err
	}
	return client, answers(ctx, client)
}

// answers returns when the API is ready and lets its user read: a watch that
// is begun earlier waits a second before it tries again.
func answers(ctx context.Context, client *kube.Client) error {
	if err := client.WaitServing(ctx); err != nil {
		return err
	}
	return again(ctx, func() error { _, err := client.Nodes(ctx); return err })
}

// usable watches until a cluster of these nodes can be used, and marks what it
// sees by the names of figures.
func (o *observer) usable(ctx context.Context, nodes []string, mark func(figure string)) error {
	client, err := o.serving(ctx)
	if err != nil {
		return err
	}
	mark(figureAPI)
	err = client.Wait(ctx, []kube.Condition{
		named(figureNodes, kube.NodesReady(nodes)),
		named(figureDNS, kube.DNSServing()),
		named(figureAccount, kube.DefaultServiceAccount()),
		named(figureClass, kube.DefaultStorageClass()),
	}, mark)
	if err == nil {
		mark(figureUsable)
	}
	return err
}

// named is the condition under the name of a figure.
func named(figure string, c kube.Condition) kube.Condition {
	c.Name = figure
	return c
}

// again calls fn until it returns nil. When ctx ends first, the last error of
// fn is in what it returns.
func again(ctx context.Context, fn func() error) error {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		err := fn()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last answer: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}
