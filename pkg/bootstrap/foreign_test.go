package bootstrap

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/petri-cluster/petri/pkg/cluster/clustertest"
	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
	"github.com/petri-cluster/petri/pkg/provider/fake"
)

// foreignEnv is a cluster of two nodes, the second of an image that is not
// petri's, on an engine of a machine with cgroup v1.
func foreignEnv(t *testing.T) *Env {
	t.Helper()
	c, err := config.Load([]byte("apiVersion: petri.dev/v1alpha1\nkind: Cluster\nname: dev\nnodes: [{role: control-plane, image: "+
		clustertest.Image+"}, {role: worker, image: "+foreign+"}]\n"), "test", config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := fake.New()
	info, err := p.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	info.CgroupVersion = 1
	p.SetInfo(info)
	p.AddImage(clustertest.Image, clustertest.NodeImage("v1.36.3"))
	p.AddImage(foreign, foreignImage(map[string][]byte{"/kind/version": []byte("v1.36.3\n")}))
	env := &Env{Config: c, Provider: p, Reporter: progress.Discard, NodeHelper: func(string) ([]byte, error) { return []byte("helper"), nil }}
	if err := env.check(t); err != nil {
		t.Fatal(err)
	}
	return env
}

// A node whose image is not petri's is given the helper and told to be adopted;
// its kubelet is told what petri's image would have told it. Commands wait for
// its boot.
func TestForeignNode(t *testing.T) {
	env := foreignEnv(t)
	nodes := env.spec().Nodes
	if nodes[0].BootFirst || !nodes[1].BootFirst {
		t.Errorf("commands wait for the boot of the first node: %v, of the second: %v", nodes[0].BootFirst, nodes[1].BootFirst)
	}
	at := provider.Placement{Addrs: node.Addrs{netip.MustParseAddr("10.201.0.3")}, Nodes: map[string]node.Addrs{
		nodes[0].Name: {netip.MustParseAddr("10.201.0.2")}, nodes[1].Name: {netip.MustParseAddr("10.201.0.3")},
	}, Endpoint: netip.MustParseAddrPort("127.0.0.1:40000")}
	for i, foreign := range []bool{false, true} {
		at.Node = nodes[i]
		files, err := env.files(at)
		if err != nil {
			t.Fatal(err)
		}
		content := map[string]string{}
		for _, f := range files {
			content[f.Path] = string(f.Data)
		}
		var plan nodeimage.Plan
		if err := json.Unmarshal([]byte(content[nodeimage.PlanPath]), &plan); err != nil {
			t.Fatal(err)
		}
		if plan.Foreign != foreign || (content[nodeimage.HelperPath] == "helper") != foreign ||
			strings.Contains(content[nodeimage.KubeadmConfigPath], "failCgroupV1: false") != foreign {
			t.Errorf("%s: foreign in the plan is %v, the files are %q", nodes[i].Name, plan.Foreign, content)
		}
	}
}

// A petri that was built without the helper says so before anything is made.
func TestForeignImageWithoutAHelper(t *testing.T) {
	p := fake.New()
	p.AddImage(foreign, foreignImage(map[string][]byte{"/kind/version": []byte("v1.34.2\n")}))
	env := imageEnv(p, "", foreign)
	none := errors.New("none")
	env.NodeHelper = func(string) ([]byte, error) { return nil, none }
	if err := env.check(t); !errors.Is(err, none) {
		t.Errorf("got %v", err)
	}
}
