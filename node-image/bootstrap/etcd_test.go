package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// etcdPeers is a server that stands for the members of etcd, which answer anything,
// and has the node trust it.
func etcdPeers(t *testing.T, node *Node) *httptest.Server {
	t.Helper()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	var conf kubeconfig
	if err := yaml.Unmarshal([]byte(endpointOf(server)), &conf); err != nil {
		t.Fatal(err)
	}
	kubeletPair(t, node)
	dir := node.path(nodeimage.CertificatesDir + "/etcd")
	if err := errors.Join(os.MkdirAll(dir, 0o755),
		os.WriteFile(filepath.Join(dir, "ca.crt"), conf.Clusters[0].Cluster.CA, 0o644),
		os.Link(node.path(servingCertPath), filepath.Join(dir, "peer.crt")),
		os.Link(node.path(servingKeyPath), filepath.Join(dir, "peer.key"))); err != nil {
		t.Fatal(err)
	}
	return server
}

// TestEtcdTurn waits for the members that start before, and for none that does
// not come.
func TestEtcdTurn(t *testing.T) {
	node, _, out := newNode(t, nodeimage.Plan{}, "")
	server := etcdPeers(t, node)
	c := &controlPlane{phased: phased{Node: node}}
	c.waitEtcdTurn(t.Context()) // there is nobody before it
	diff(t, 0, out.Len())
	c.plan.EtcdBefore = []string{server.URL, server.URL}
	c.waitEtcdTurn(t.Context())
	diff(t, 2, len(events(t, out)))
	server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.waitEtcdTurn(ctx) // it would wait for seconds
}

// etcdPod is the part that counts of what kubeadm writes for a member that is alone.
const etcdPod = `spec:
  containers:
  - command:
    - etcd
    - --data-dir=/var/lib/etcd
    - --initial-cluster=dev-control-plane2=https://10.201.0.3:2380
    - --name=dev-control-plane2
    env:
    - name: GOGC
      value: "50"
    image: registry.k8s.io/etcd:3.6.8-0
    volumeMounts:
    - mountPath: /var/lib/etcd
      name: etcd-data
    - mountPath: /etc/kubernetes/pki/etcd
      name: etcd-certs
  volumes:
  - hostPath:
      path: /etc/kubernetes/pki/etcd
    name: etcd-certs
  - hostPath:
      path: /var/lib/etcd
    name: etcd-data
`

// announcedNode is a node whose member of etcd was announced; url is that of all
// members' peers. Its kubeadm writes a manifest for "init phase etcd local".
func announcedNode(t *testing.T, manifest string) (node *Node, fake *fakeNode, sent func() []nodeimage.NodeEvent, server *httptest.Server) {
	t.Helper()
	node, fake, sent = joiningNode(t, "")
	server = etcdPeers(t, node)
	plan := fmt.Sprintf(`{"role": "control-plane", "name": "dev-control-plane2", "etcdBefore": [%[1]q],
		"etcdMembers": {"dev-control-plane": "https://10.201.0.2:2380", "dev-control-plane2": %[1]q}}`, server.URL)
	fake.put(nodeimage.PlanPath, plan)
	fake.members = fmt.Sprintf(`{"members": [{"ID": 1, "peerURLs": ["https://10.201.0.2:2380"]}, {"ID": 7, "peerURLs": [%q]}]}`, server.URL)
	fake.onKubeadm = func(_ context.Context, _ exec.Cmd, phases []string) error {
		if phases[0] == "etcd" && manifest != "" {
			fake.put(manifestsDir+"/etcd.yaml", manifest)
		}
		return nil
	}
	return node, fake, sent, server
}

// earlyMember stands for a container engine in which etcd gets a snapshot and then
// runs until it is ended.
func earlyMember(fake *fakeNode) func([]string) error {
	ended := make(chan struct{})
	end := sync.OnceFunc(func() { close(ended) })
	return func(args []string) error {
		if args[0] == "tasks" {
			end()
			return nil
		}
		fake.put("/var/lib/etcd/member/snap/0000000000000002-0000000000000212.snap", "")
		<-ended
		return nil
	}
}

// TestJoinAnnouncedMember: the member has what the others hold before the kubelet
// runs it, and votes when it runs, before the API server starts.
func TestJoinAnnouncedMember(t *testing.T) {
	node, fake, sent, server := announcedNode(t, etcdPod)
	fake.ctr = earlyMember(fake)
	fake.promotes = []error{errors.New("can only promote a learner member which is in sync with leader"), nil}
	node.probe = answers(map[apiState]time.Duration{apiAnswers: 0, apiReady: 0})
	kubeadm := fake.onKubeadm
	fake.onKubeadm = func(ctx context.Context, cmd exec.Cmd, phases []string) error {
		if phases[0] == "check-etcd" {
			diff(t, 0, len(manifests(t, node)))
		}
		return kubeadm(ctx, cmd, phases)
	}
	if err := node.Join(t.Context(), joinInput(t, discovery, nil)); err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(node.path(manifestsDir + "/etcd.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	members := "--initial-cluster=dev-control-plane=https://10.201.0.2:2380,dev-control-plane2=" + server.URL
	diff(t, strings.Replace(etcdPod, "--initial-cluster=dev-control-plane2=https://10.201.0.3:2380", members+"\n    - --initial-cluster-state=existing", 1), string(manifest))
	diff(t, []string{
		"ctr --namespace=k8s.io run --rm --null-io --net-host --cgroup= --env=GOGC=50" +
			" --mount=type=bind,src=/var/lib/etcd,dst=/var/lib/etcd,options=rbind:rw" +
			" --mount=type=bind,src=/etc/kubernetes/pki/etcd,dst=/etc/kubernetes/pki/etcd,options=rbind:rw" +
			" registry.k8s.io/etcd:3.6.8-0 petri-etcd-catches-up etcd --data-dir=/var/lib/etcd " + members +
			" --initial-cluster-state=existing --name=dev-control-plane2",
		"ctr --namespace=k8s.io tasks kill --signal=SIGTERM petri-etcd-catches-up",
	}, fake.run("ctr"))
	promoted := slices.DeleteFunc(fake.run("etcdctl"), func(c string) bool { return !strings.HasSuffix(c, " member promote 7") })
	diff(t, 2, len(promoted))
	if slices.ContainsFunc(fake.run("kubeadm"), joinsEtcd) {
		t.Errorf("kubeadm was asked to join etcd too: %q", fake.run("kubeadm"))
	}
	var phases []string
	for _, e := range sent() {
		if e.Kind == nodeimage.PhaseDone {
			phases = append(phases, e.Phase)
		}
	}
	diff(t, []string{"node/etcd-turn", "node/etcd-catch-up", "node/etcd-join", "node/api-server"}, phases)
}

// joinsEtcd reports whether a command of kubeadm's runs the phase that joins etcd.
func joinsEtcd(command string) bool {
	return strings.HasPrefix(command, "kubeadm join") && !strings.Contains(command, "etcd-join")
}

// TestJoinEtcdByKubeadm: what petri cannot do kubeadm does, or says why not.
func TestJoinEtcdByKubeadm(t *testing.T) {
	refused := &exec.Error{Args: []string{"etcdctl"}, Code: 1}
	for name, test := range map[string]struct {
		manifest string
		change   func(*fakeNode, *httptest.Server)
		took     time.Duration
	}{
		"etcd is elsewhere":  {},
		"no manifest at all": {manifest: "\t"},
		"two containers":     {manifest: "spec: {containers: [{}, {}]}"},
		"it does not run":    {manifest: etcdPod, change: func(_ *fakeNode, s *httptest.Server) { s.Close() }, took: etcdTurn + catchUpLimit + patience},
		"it is not known":    {manifest: etcdPod, change: func(f *fakeNode, _ *httptest.Server) { f.members = `{"members": []}` }},
		"nobody lists it":    {manifest: etcdPod, change: func(f *fakeNode, _ *httptest.Server) { f.members = "no JSON" }},
		"it may not vote":    {manifest: etcdPod, change: func(f *fakeNode, _ *httptest.Server) { f.promotes = slices.Repeat([]error{refused}, 1000) }, took: patience},
		"etcdctl fails":      {manifest: etcdPod, change: func(f *fakeNode, _ *httptest.Server) { f.etcdctl = refused }},
		"no early container": {manifest: etcdPod, change: func(f *fakeNode, _ *httptest.Server) {
			f.ctr = func([]string) error { return refused }
			f.etcdctl = refused
		}},
		"a manifest is there": {manifest: "spec: 7"},
	} {
		t.Run(name, func(t *testing.T) {
			node, fake, _, server := announcedNode(t, test.manifest)
			synctest.Test(t, func(t *testing.T) {
				fake.ctr = earlyMember(fake)
				if name == "it does not run" {
					fake.ctr = func(args []string) error { // it hangs without a snapshot
						if args[0] == "run" {
							time.Sleep(catchUpLimit)
						}
						return nil
					}
				}
				if test.change != nil {
					test.change(fake, server)
				}
				node.probe = answers(map[apiState]time.Duration{apiAnswers: 0, apiReady: 0})
				began := time.Now()
				if err := node.Join(t.Context(), joinInput(t, discovery, nil)); err != nil {
					t.Fatal(err)
				}
				if !slices.ContainsFunc(fake.run("kubeadm"), joinsEtcd) {
					t.Errorf("kubeadm was not asked to join etcd: %q", fake.run("kubeadm"))
				}
				if took := time.Since(began).Round(time.Second); took != test.took {
					t.Errorf("it took %v, want %v", took, test.took)
				}
			})
		})
	}
}
