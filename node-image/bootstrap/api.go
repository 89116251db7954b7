package bootstrap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// apiState is how far the API server has come. It only grows.
type apiState int

const (
	apiDown apiState = iota
	// apiAnswers: it serves requests of the superuser, whom no role limits.
	apiAnswers
	// apiHasNamespaces: that of the system is there. kubeadm, which puts all
	// that it keeps there, would try again after half a second.
	apiHasNamespaces
	// apiTakesPods: the namespaces and priority classes that static pods are
	// of are there. The kubelet announces its static pods once, when it has
	// registered its node; before this state they would be refused, and be
	// missing from the API for a minute.
	apiTakesPods
	apiReady
)

// apiInterval is how often a server that is starting is asked. There is
// nothing to watch yet.
const apiInterval = 20 * time.Millisecond

// follow calls on for each state that the API server reaches, in order, until
// it is ready, ctx ends, or on fails. It asks as the user of a kubeconfig.
func (n *Node) follow(ctx context.Context, kubeconfig string, on func(apiState) error) error {
	probe := n.probe
	if probe == nil {
		var err error
		if probe, err = n.newProbe(kubeconfig); err != nil {
			return err
		}
	}
	tick := time.NewTicker(apiInterval)
	defer tick.Stop()
	for state := apiDown; state < apiReady; {
		for found := probe(ctx); state < found; {
			state++
			if err := on(state); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil // whoever ended it knows why
		case <-tick.C:
		}
	}
	return nil
}

// Single checks of the API server's. The system's namespaces are made before both.
// All checks at once are only asked for after them: some of those ask etcd, each
// that fails is logged, and the server is busy.
const (
	// priorityClasses tells the state apiTakesPods
	// (k8s.io/kubernetes pkg/registry/scheduling/rest/storage_scheduling.go).
	priorityClasses = "/readyz/poststarthook/scheduling/bootstrap-system-priority-classes"
	// roles is one of the last that hold (pkg/registry/rbac/rest/storage_rbac.go).
	roles = "/readyz/poststarthook/rbac/bootstrap-roles"
)

// newProbe makes a function that asks this node's API server for its state.
func (n *Node) newProbe(kubeconfig string) (func(context.Context) apiState, error) {
	client, err := n.clientAs(kubeconfig)
	if err != nil {
		return nil, err
	}
	namespaces := false
	return func(ctx context.Context) apiState {
		state := ask(ctx, client, "https://"+localAPI, namespaces)
		namespaces = namespaces || state >= apiHasNamespaces
		return state
	}, nil
}

// clientAs makes a client of this node's API server for the user of a kubeconfig.
func (n *Node) clientAs(kubeconfig string) (*http.Client, error) {
	if n.as != nil {
		return n.as(kubeconfig), nil
	}
	user, err := n.readKubeconfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	return user.client(kubeconfig)
}

// client is a client for the user; the credentials are of a file.
func (c credentials) client(file string) (*http.Client, error) {
	pair, err := tls.X509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	client, err := clientOf(c.CA, pair)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return client, nil
}

// clientOf makes a client of servers that a CA vouches for.
func clientOf(ca []byte, pairs ...tls.Certificate) (*http.Client, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("no CA in it")
	}
	return &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{Certificates: pairs, RootCAs: roots},
	}}, nil
}

// localAPI is the API server on loopback, a name of its certificate.
var localAPI = net.JoinHostPort("127.0.0.1", strconv.Itoa(nodeimage.APIServerPort))

// ask asks a server for its state, and not again for namespaces that were seen. A
// server that was told to have no priority classes, or no roles, does not know their
// check.
func ask(ctx context.Context, client *http.Client, server string, namespaces bool) apiState {
	switch get(ctx, client, server+priorityClasses) {
	case http.StatusOK, http.StatusNotFound:
		if hasRoles(ctx, client, server) && get(ctx, client, server+"/readyz") == http.StatusOK {
			return apiReady
		}
		return apiTakesPods
	case 0:
		return apiDown
	}
	if namespaces || get(ctx, client, server+"/api/v1/namespaces/kube-system") == http.StatusOK {
		return apiHasNamespaces
	}
	return apiAnswers
}

func hasRoles(ctx context.Context, client *http.Client, server string) bool {
	code := get(ctx, client, server+roles)
	return code == http.StatusOK || code == http.StatusNotFound
}

// get asks a server for a status code, which is 0 when it does not answer.
func get(ctx context.Context, client *http.Client, url string) int {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0
	}
	response, err := client.Do(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0
	}
	return response.StatusCode
}
