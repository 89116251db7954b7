//go:build e2e

package container

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
	"github.com/petri-cluster/petri/pkg/provider/providertest"
)

const testImage = "petri.test/testnode:suite"

// realEngine is the Docker engine of this machine with the test image loaded.
func realEngine(t *testing.T) *Provider {
	t.Helper()
	p, err := New(Options{Version: "test", CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Check(t.Context()); errdefs.Is(err, errdefs.ClassUnavailable) {
		t.Skipf("no engine: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	return p
}

// loadTestImage puts the test image on the engine until the test ends.
func loadTestImage(t *testing.T, p *Provider) {
	t.Helper()
	if err := p.LoadImage(t.Context(), bytes.NewReader(providertest.Archive(t, testImage))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		_, err := p.engine.(*client.Client).ImageRemove(ctx, testImage, image.RemoveOptions{PruneChildren: true})
		if err != nil {
			t.Errorf("remove the test image: %v", err)
		}
	})
}

func TestSuite(t *testing.T) {
	p := realEngine(t)
	loadTestImage(t, p)
	providertest.Run(t, func(t *testing.T) providertest.Subject {
		return providertest.Subject{Provider: p, Image: testImage}
	})
}

func TestReadImageFile(t *testing.T) {
	p := realEngine(t)
	loadTestImage(t, p)
	data, err := p.ReadImageFile(t.Context(), testImage, providertest.ImageFile)
	if err != nil || string(data) != providertest.ImageFileData {
		t.Errorf("read %q, %v", data, err)
	}
	var names []string
	err = p.ReadImageFiles(t.Context(), testImage, []string{"/etc", providertest.ImageFile}, func(path string, archive io.Reader) error {
		h, err := tar.NewReader(archive).Next()
		if err == nil {
			names = append(names, path+": "+h.Name)
		}
		return err
	})
	if want := []string{"/etc: etc/", "/etc/testnode: testnode"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("archives begin with %q, %v", names, err)
	}
}

// oneNode is a cluster of one node that behaves as told.
func oneNode(name, behaviour string) provider.Spec {
	return provider.Spec{
		Cluster: name,
		API:     provider.Publish{Address: "127.0.0.1"},
		Nodes: []provider.NodeSpec{{
			Name: name + "-control-plane", Role: nodeimage.RoleControlPlane, Image: testImage,
			Env: []string{"TESTNODE=" + behaviour},
		}},
	}
}

func TestBadBoots(t *testing.T) {
	p := realEngine(t)
	loadTestImage(t, p)
	p.opts.BootTimeout = 2 * time.Second
	for behaviour, want := range map[string]struct {
		class errdefs.Class
		log   string
	}{
		"die":    {errdefs.ClassFailed, "no root file system"},
		"silent": {errdefs.ClassTimeout, "testnode: booting"},
	} {
		spec := oneNode("pt-boot-"+behaviour, behaviour)
		deleteLater(t, p, spec.Cluster)
		nodes, err := p.Create(t.Context(), spec, progress.Discard)
		if err != nil {
			t.Fatal(err)
		}
		err = exec.Run(t.Context(), nodes[0], "true")
		failed, ok := err.(*errdefs.Error)
		if !ok || failed.Class != want.class || !strings.Contains(failed.Log, want.log) {
			t.Errorf("%s: %#v, want class %d and %q in the log", behaviour, err, want.class, want.log)
		}
	}
}

// deleteLater deletes a cluster when the test ends, however it ends.
func deleteLater(t *testing.T, p *Provider, cluster string) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if err := p.Delete(ctx, cluster); err != nil {
			t.Errorf("delete %s: %v", cluster, err)
		}
	})
}

// TestGivenAddresses puts nodes on a network that lets nobody choose addresses,
// as kind makes its: their files come when they run, with the right ones.
func TestGivenAddresses(t *testing.T) {
	p := realEngine(t)
	loadTestImage(t, p)
	const name, cluster = "petri-test-given", "pt-given"
	_, err := p.engine.NetworkCreate(t.Context(), name, network.CreateOptions{Driver: "bridge"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := errors.Join(p.Delete(ctx, cluster), p.engine.NetworkRemove(ctx, name)); err != nil {
			t.Error(err)
		}
	})
	spec := oneNode(cluster, "")
	spec.Network = name
	spec.Nodes = append(spec.Nodes, provider.NodeSpec{Name: cluster + "-worker", Role: nodeimage.RoleWorker, Image: spec.Nodes[0].Image})
	spec.Files = func(at provider.Placement) ([]provider.File, error) {
		return []provider.File{{Path: "/petri/addresses", Data: fmt.Append(nil, at.Addrs.Of(false), len(at.Nodes))}}, nil
	}
	nodes, err := p.Create(t.Context(), spec, progress.Discard)
	if err != nil {
		t.Fatal(err)
	}
	listed, err := p.Nodes(t.Context(), cluster)
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range nodes {
		addr := n.Addr(false)
		if !addr.IsValid() || addr != listed[i].Addr(false) {
			t.Errorf("%s was told to be %s, and is at %s", n.Name, addr, listed[i].Addr(false))
		}
		for path, want := range map[string]string{"/petri/addresses": fmt.Sprint(addr, 2), nodeimage.CompletePath: "\n"} {
			if data, err := n.ReadFile(t.Context(), path); err != nil || string(data) != want {
				t.Errorf("%s of %s is %q, %v; want %q", path, n.Name, data, err, want)
			}
		}
	}
}

// TestSharedNetwork puts two clusters on one network that the first one makes.
func TestSharedNetwork(t *testing.T) {
	p := realEngine(t)
	loadTestImage(t, p)
	const name = "petri-test-shared"
	seen := map[string]bool{}
	for _, cluster := range []string{"pt-shared-a", "pt-shared-b"} {
		spec := oneNode(cluster, "")
		spec.Network = name
		deleteLater(t, p, cluster)
		nodes, err := p.Create(t.Context(), spec, progress.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if addr := nodes[0].Addr(false).String(); seen[addr] {
			t.Errorf("address %s given twice", addr)
		} else {
			seen[addr] = true
		}
		if err := exec.Run(t.Context(), nodes[0], "true"); err != nil {
			t.Error(err)
		}
	}
	for _, cluster := range []string{"pt-shared-a", "pt-shared-b"} {
		if err := p.Delete(t.Context(), cluster); err != nil {
			t.Error(err)
		}
	}
	if err := p.engine.NetworkRemove(t.Context(), name); err != nil {
		t.Errorf("the shared network should be there, and unused: %v", err)
	}
}
