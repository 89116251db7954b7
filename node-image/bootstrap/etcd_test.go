package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
    - --initial-cluster=dev-control-plane3=https://10.201.0.4:2380
    - --name=dev-control-plane3
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

// announcedConf are kubeadm's documents of a control plane that joins others.
const announcedConf = `kind: ClusterConfiguration
kubernetesVersion: v1.36.3
etcd: {local: {extraArgs: [{name: max-learners, value: "1"}]}}
---
kind: InitConfiguration
localAPIEndpoint: {advertiseAddress: 10.201.0.3}
patches: {directory: /petri/patches}
---
kind: JoinConfiguration
controlPlane: {localAPIEndpoint: {advertiseAddress: 10.201.0.3}}
patches: {directory: /petri/patches}
`

// clusterConf is the cluster's, with kubeadm's defaults in it.
const clusterConf = `{"etcd":{"local":{"dataDir":"/var/lib/etcd","extraArgs":[{"name":"max-learners","value":"1"}]}},"imageRepository":"registry.k8s.io","kubernetesVersion":"v1.36.3","dns":{}}`

const kubeadmConfigPath = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"

// announced is a node whose member of etcd was announced.
type announced struct {
	node *Node
	fake *fakeNode
	sent func() []nodeimage.NodeEvent
	// server is that of all members' peers, and of its own
	server   *httptest.Server
	manifest string // that its kubeadm writes for "init phase etcd local"
	api      *answeringAPI
}

func newAnnounced(t *testing.T) *announced {
	t.Helper()
	a := &announced{manifest: etcdPod}
	a.node, a.fake, a.sent = joiningNode(t, announcedConf)
	a.server = etcdPeers(t, a.node)
	url := a.server.URL
	// the server stands for the second member too, at a URL that is not its own
	a.fake.put(nodeimage.PlanPath, fmt.Sprintf(`{"role": "control-plane", "name": "dev-control-plane3", "etcdBefore": [%[1]q, "%[1]s/"],
		"etcdMembers": {"dev-control-plane": "https://10.201.0.2:2380", "dev-control-plane2": "https://10.201.0.3:2380", "dev-control-plane3": %[1]q}}`, url))
	a.fake.members = fmt.Sprintf(`{"members": [{"ID": 1, "peerURLs": ["https://10.201.0.2:2380"]}, {"ID": 7, "peerURLs": [%q], "isLearner": true}]}`, url)
	a.fake.ctr = earlyMember(a.fake)
	a.node.probe = answers(map[apiState]time.Duration{apiAnswers: 0, apiReady: 0})
	a.api = &answeringAPI{made: map[string][]map[string]any{}}
	a.keep(clusterConf)
	a.node.as = func(string) *http.Client { return &http.Client{Transport: a.api} }
	a.fake.onKubeadm = func(_ context.Context, _ exec.Cmd, phases []string) error {
		if phases[0] == "etcd" && a.manifest != "" {
			a.fake.put(manifestsDir+"/etcd.yaml", a.manifest)
		}
		if phases[0] == "check-etcd" {
			diff(t, 0, len(manifests(t, a.node)))
		}
		return nil
	}
	return a
}

// keep puts a ClusterConfiguration in the cluster.
func (a *announced) keep(conf string) {
	kept, _ := json.Marshal(map[string]any{"data": map[string]string{"ClusterConfiguration": conf}}) // of strings
	a.api.answers = map[string][]string{"GET " + kubeadmConfigPath: {"200 " + string(kept)}}
}

func read(t *testing.T, node *Node, path string) string {
	t.Helper()
	data, err := os.ReadFile(node.path(path))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// earlyMember stands for a container runtime in which etcd gets a snapshot and then
// runs until it is ended, which is possible only when it has started.
func earlyMember(fake *fakeNode) func([]string) error {
	ended := make(chan struct{})
	kills := 0
	return func(args []string) error {
		if args[0] == "tasks" {
			if kills++; kills == 1 {
				return &exec.Error{Args: args, Code: 1}
			}
			if kills == 2 {
				close(ended)
			}
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
	a := newAnnounced(t)
	a.fake.promotes = []error{errors.New("can only promote a learner member which is in sync with leader"), nil}
	if err := a.node.Join(t.Context(), joinInput(t, discovery, nil)); err != nil {
		t.Fatal(err)
	}
	members := "--initial-cluster=dev-control-plane=https://10.201.0.2:2380,dev-control-plane2=https://10.201.0.3:2380,dev-control-plane3=" + a.server.URL
	diff(t, strings.Replace(etcdPod, "--initial-cluster=dev-control-plane3=https://10.201.0.4:2380", members+"\n    - --initial-cluster-state=existing", 1),
		read(t, a.node, manifestsDir+"/etcd.yaml"))
	const kill = "ctr --namespace=k8s.io tasks kill --signal=SIGTERM petri-etcd-catches-up"
	diff(t, []string{
		"ctr --namespace=k8s.io run --rm --null-io --net-host --cgroup= --env=GOGC=50" +
			" --mount=type=bind,src=/var/lib/etcd,dst=/var/lib/etcd,options=rbind:rw" +
			" --mount=type=bind,src=/etc/kubernetes/pki/etcd,dst=/etc/kubernetes/pki/etcd,options=rbind:rw" +
			" registry.k8s.io/etcd:3.6.8-0 petri-etcd-catches-up etcd --data-dir=/var/lib/etcd " + members +
			" --initial-cluster-state=existing --name=dev-control-plane3",
		kill, kill,
	}, a.fake.run("ctr"))
	promoted := slices.DeleteFunc(a.fake.run("etcdctl"), func(c string) bool { return !strings.HasSuffix(c, " member promote 7") })
	diff(t, 2, len(promoted))
	if slices.ContainsFunc(a.fake.run("kubeadm"), joinsEtcd) {
		t.Errorf("kubeadm was asked to join etcd too: %q", a.fake.run("kubeadm"))
	}
	var phases []string
	for _, e := range a.sent() {
		if e.Kind == nodeimage.PhaseDone {
			phases = append(phases, e.Phase)
		}
	}
	diff(t, []string{"node/etcd-turn", "node/etcd-catch-up", "node/etcd-join", "node/api-server"}, phases)
}

// TestJoinPromotedMember: a vote of which the answer was lost is not asked for again.
func TestJoinPromotedMember(t *testing.T) {
	a := newAnnounced(t)
	a.fake.members = strings.Replace(a.fake.members, `, "isLearner": true`, "", 1)
	if err := a.node.Join(t.Context(), joinInput(t, discovery, nil)); err != nil {
		t.Fatal(err)
	}
	for _, command := range a.fake.run("etcdctl") {
		if strings.Contains(command, "promote") {
			t.Errorf("ran %s", command)
		}
	}
}

// joinsEtcd reports whether a command of kubeadm's runs the phase that joins etcd.
func joinsEtcd(command string) bool {
	return strings.HasPrefix(command, "kubeadm join") && !strings.Contains(command, "etcd-join")
}

// TestJoinEtcdByKubeadm: where the member cannot be run as the cluster's are, kubeadm
// does the whole, and finds nothing that was begun.
func TestJoinEtcdByKubeadm(t *testing.T) {
	for name, change := range map[string]func(*announced){
		"etcd is elsewhere":  func(a *announced) { a.manifest = "" },
		"no manifest at all": func(a *announced) { a.manifest = "\t--initial-cluster=x" },
		"another manifest":   func(a *announced) { a.manifest = strings.ReplaceAll(etcdPod, "--initial-cluster=", "--x=") },
		"two containers":     func(a *announced) { a.manifest = etcdPod + "---\n" + etcdPod },
		"no API":             func(a *announced) { a.api.answers = map[string][]string{"GET " + kubeadmConfigPath: {"403 {}"}} },
		"garbage is kept":    func(a *announced) { a.keep("[") },
		"somebody's user": func(a *announced) {
			a.manifest = strings.Replace(etcdPod, "    env:", "    securityContext: {runAsUser: 7}\n    env:", 1)
		},
		"another volume": func(a *announced) {
			a.manifest = strings.Replace(etcdPod, "  - hostPath:\n      path: /var/lib/etcd\n", "  - hostPath: {path: \"\"}\n", 1)
		},
		"no data":                 func(a *announced) { a.manifest = strings.Replace(etcdPod, "--data-dir", "--wal-dir", 1) },
		"another directory":       func(a *announced) { a.keep(strings.Replace(clusterConf, "/var/lib/etcd", "/data", 1)) },
		"another version":         func(a *announced) { a.keep(strings.Replace(clusterConf, "v1.36.3", "v1.36.2", 1)) },
		"other arguments":         func(a *announced) { a.keep(strings.Replace(clusterConf, `"1"`, `"2"`, 1)) },
		"the cluster's elsewhere": func(a *announced) { a.keep(`{"etcd":{"external":{"endpoints":["https://a:2379"]}}}`) },
		"patches of joining": func(a *announced) {
			a.fake.put(nodeimage.KubeadmConfigPath, strings.Replace(announcedConf, "/petri/patches", "/mine", 1))
		},
		"kubeadm fails": func(a *announced) { a.fake.onKubeadm = failingManifest(a.fake) },
	} {
		t.Run(name, func(t *testing.T) {
			a := newAnnounced(t)
			change(a)
			synctest.Test(t, func(t *testing.T) {
				if err := a.node.Join(t.Context(), joinInput(t, discovery, nil)); err != nil {
					t.Fatal(err)
				}
			})
			if !slices.ContainsFunc(a.fake.run("kubeadm"), joinsEtcd) {
				t.Errorf("kubeadm was not asked to join etcd: %q", a.fake.run("kubeadm"))
			}
			diff(t, 0, len(a.fake.run("ctr")))
			diff(t, "etcd", read(t, a.node, manifestsDir+"/etcd.yaml")) // as kubeadm has written it
		})
	}
}

// failingManifest is a kubeadm that fails when it has written etcd's manifest.
func failingManifest(fake *fakeNode) func(context.Context, exec.Cmd, []string) error {
	return func(_ context.Context, cmd exec.Cmd, phases []string) error {
		if phases[0] != "etcd" {
			return nil
		}
		fake.put(manifestsDir+"/etcd.yaml", etcdPod)
		return &exec.Error{Args: cmd.Args, Code: 1}
	}
}

// TestAnnouncedMemberFails: a member that has run once is nothing that kubeadm could
// join, so that what fails then is the end.
func TestAnnouncedMemberFails(t *testing.T) {
	refused := &exec.Error{Args: []string{"etcdctl"}, Code: 1}
	for name, test := range map[string]struct {
		change func(*announced)
		want   string
		took   time.Duration
	}{
		"it does not run": {func(a *announced) { a.server.Close() }, errAbsent.Error(), etcdTurn + memberLimit + endInterval},
		"it is not known": {func(a *announced) { a.fake.members = `{"members": []}` }, "no member of etcd is at " + "https://127.0.0.1", memberLimit + endInterval},
		"nobody lists it": {func(a *announced) { a.fake.members = "no JSON" }, "read the members of etcd", etcdTurn + memberLimit + endInterval},
		"it may not vote": {func(a *announced) { a.fake.promotes = slices.Repeat([]error{refused}, 10000) }, refused.Error(), memberLimit + endInterval},
		"it does not end": {func(a *announced) {
			a.fake.ctr = func(args []string) error {
				if args[0] == "run" {
					time.Sleep(time.Minute)
				}
				return nil
			}
		}, "does not end", catchUpLimit + endLimit},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAnnounced(t)
			synctest.Test(t, func(t *testing.T) {
				a.fake.ctr = earlyMember(a.fake)
				test.change(a)
				began := time.Now()
				err := a.node.Join(t.Context(), joinInput(t, discovery, nil))
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
				if took := time.Since(began); took < test.took || took > test.took+time.Second {
					t.Errorf("it took %v, want %v", took, test.took)
				}
				time.Sleep(time.Minute) // until what did not end has ended
			})
			if slices.ContainsFunc(a.fake.run("kubeadm"), joinsEtcd) {
				t.Errorf("kubeadm was asked to join etcd: %q", a.fake.run("kubeadm"))
			}
		})
	}
}

// TestNoEarlyMember: what cannot be run early is run by the kubelet all the same, and
// none is started for a kubelet that fails.
func TestNoEarlyMember(t *testing.T) {
	a := newAnnounced(t)
	a.fake.ctr = func(args []string) error { return &exec.Error{Args: args, Code: 1} }
	if err := a.node.Join(t.Context(), joinInput(t, discovery, nil)); err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(a.fake.run("kubeadm"), joinsEtcd) {
		t.Errorf("kubeadm was asked to join etcd: %q", a.fake.run("kubeadm"))
	}
	a = newAnnounced(t)
	broken := &exec.Error{Args: []string{"kubeadm"}, Code: 1}
	kubeadm := a.fake.onKubeadm
	a.fake.onKubeadm = func(ctx context.Context, cmd exec.Cmd, phases []string) error {
		if phases[0] == "check-etcd" {
			a.server.Close() // the members before it are waited for meanwhile
			return broken
		}
		return kubeadm(ctx, cmd, phases)
	}
	a.server.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if err := a.node.Join(t.Context(), joinInput(t, discovery, nil)); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	diff(t, 0, len(a.fake.run("ctr")))
}
