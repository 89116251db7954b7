// Package approver approves the serving certificates that kubelets ask the
// cluster for, as Kubernetes itself never does: it cannot know which addresses
// are a node's. The engine can, and it is asked here by its DNS server. What a
// node says of itself counts for nothing.
package approver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// Approver approves what Check finds nothing wrong with. Several may run at
// once, one on each control plane.
type Approver struct {
	// API makes a client of the cluster's API, which may ask for as long as it
	// likes, and the URL of it. It is called again when the API is lost.
	API func() (*http.Client, string, error)
	// Lookup returns the addresses of a node by what the engine says.
	Lookup func(ctx context.Context, node string) ([]netip.Addr, error)
	Log    *slog.Logger
}

// How soon an API that was lost is asked again: at first and at last.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

// Run approves until ctx ends.
func (a *Approver) Run(ctx context.Context) error {
	pause := firstPause
	for ctx.Err() == nil {
		begun := time.Now()
		err := a.watch(ctx)
		if time.Since(begun) > lastPause {
			pause = firstPause // it had worked
		}
		if err != nil && pause == lastPause && ctx.Err() == nil {
			a.Log.Warn("the API cannot be asked", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			pause = min(2*pause, lastPause)
		}
	}
	return nil
}

// watchTime is how long one watch lasts. Each begins with all requests, so that
// one is looked at again whose node could not be found.
const watchTime = time.Minute

const collection = "/apis/certificates.k8s.io/v1/certificatesigningrequests"

// watch looks at every request that there is, and at each that comes, until the
// API ends it.
func (a *Approver) watch(ctx context.Context) error {
	client, server, err := a.API()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, watchTime+lastPause) // a server that is gone says nothing
	defer cancel()
	seconds := strconv.Itoa(int(watchTime.Seconds()))
	query := url.Values{"watch": {"true"}, "timeoutSeconds": {seconds}, "fieldSelector": {"spec.signerName=" + signer}}
	body, err := call(ctx, client, http.MethodGet, server+collection+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	defer body.Close()
	for events := json.NewDecoder(body); ; {
		var event struct {
			Type   string
			Object Request
		}
		switch err := events.Decode(&event); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case event.Type == "ERROR":
			return errors.New("the API ended the watch")
		case event.Type == "DELETED" || len(event.Object.Status.Conditions) > 0:
			continue
		}
		if err := a.decide(ctx, client, server, event.Object); err != nil {
			return err
		}
	}
}

// decide approves a request, or says why not: somebody else may.
func (a *Approver) decide(ctx context.Context, client *http.Client, server string, r Request) error {
	node, err := r.Node()
	if err == nil {
		var addrs []netip.Addr
		if addrs, err = a.Lookup(ctx, node); err == nil {
			err = r.Check(addrs)
		}
	}
	if err != nil {
		a.Log.Warn("not approved", "request", r.Metadata.Name, "of", r.Spec.Username, "because", err.Error())
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": r.Metadata.ResourceVersion},
		"status": map[string]any{"conditions": []any{map[string]any{
			"type": "Approved", "status": "True", "reason": "PetriNode",
			"message": "the name and the addresses are the node's",
		}}},
	})
	if err != nil {
		return err
	}
	body, err := call(ctx, client, http.MethodPatch, server+collection+"/"+url.PathEscape(r.Metadata.Name)+"/approval", patch)
	if failed, ok := errors.AsType[statusError](err); ok {
		switch failed {
		case http.StatusConflict, http.StatusNotFound:
			return nil // another one was faster
		case http.StatusUnprocessableEntity, http.StatusBadRequest:
			// the others need not wait for one that the API does not take
			a.Log.Warn("not approved", "request", r.Metadata.Name, "of", r.Spec.Username, "because", err.Error())
			return nil
		}
	}
	if err != nil {
		return err
	}
	a.Log.Info("approved", "request", r.Metadata.Name, "of", r.Spec.Username)
	return body.Close()
}

// statusError is an answer other than success.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("the API answered %d", int(e)) }

// call makes one request; a body is a merge patch.
func call(ctx context.Context, client *http.Client, method, url string, body []byte) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/merge-patch+json")
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, statusError(response.StatusCode)
	}
	return response.Body, nil
}
