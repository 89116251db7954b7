// Package clustertest is a world in which clusters come up in milliseconds:
// the fake engine, node helpers that announce what real ones announce, and an
// API for each cluster that holds what was applied to it. It stands on the
// fake provider and is for tests of everything above that seam. No kubeadm is
// in it: what a node does inside itself is not tested with it.
package clustertest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/health"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider/fake"
)

// Version is the Kubernetes version of Image, which every World has.
const (
	Version = "v1.36.3"
	Image   = "petri/node:" + Version
)

// Token is the bootstrap token that kubeadm makes when it is asked for one.
const Token = "abcdef.0123456789abcdef"

// Discovery is what the node helper of every cluster tells joining nodes.
const Discovery = "clusters: [{cluster: {server: 'https://dev-control-plane:6443'}}]"

// World is an engine and the clusters on it. Use New. It is safe for
// concurrent use.
type World struct {
	*fake.Provider

	mu       sync.Mutex
	log      []string
	clusters map[string]*API
	broken   map[string]error
	stores   map[string]nodeStore // by node
}

// New is a World with Image and without clusters.
func New() *World {
	w := &World{Provider: fake.New(), clusters: map[string]*API{}, broken: map[string]error{}}
	w.AddImage(Image, NodeImage(Version))
	w.Handle(w.initNode, nodeimage.HelperPath, "init")
	w.Handle(w.joinNode, nodeimage.HelperPath, "join")
	w.Handle(w.certificates, nodeimage.HelperPath, "certificates")
	w.Handle(w.balance, nodeimage.HelperPath, "balance")
	w.Handle(w.extend, nodeimage.HelperPath, "extend")
	w.Handle(w.listMembers, nodeimage.HelperPath, "members")
	w.Handle(w.removeMember, nodeimage.HelperPath, "remove-member")
	w.Handle(w.adminConf, "cat", nodeimage.AdminConfPath)
	w.Handle(fake.Print(Token+"\n"), "kubeadm", "token", "create")
	w.Handle(fake.Print(""), "kubeadm", "reset")
	w.Handle(fake.Print(HealthyReport), "sh", "-c", health.ReportScript)
	w.upgrades()
	return w
}

// Log is what node helpers and APIs were asked, in the order in which it was
// done: "init dev-control-plane", "Apply DaemonSet/cni", "WaitServing".
func (w *World) Log() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.log)
}

// Break makes a method of every API fail with err: "WaitServing". A nil err
// mends it.
func (w *World) Break(method string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken[method] = err
}

// Connect is the API of the cluster that a kubeconfig is of.
func (w *World) Connect(kubeconfig []byte, server string) (*API, error) {
	name, err := clusterOf(kubeconfig)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.broken["Connect"]; err != nil {
		return nil, err
	}
	api, ok := w.clusters[name]
	if !ok {
		return nil, fmt.Errorf("cluster %q was never initialised", name)
	}
	api.endpoint = server
	return api, nil
}

// API is the API of a cluster; nil when there was no such cluster.
func (w *World) API(cluster string) *API {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.clusters[cluster]
}

// InitEvents is what the node helper of a cluster's first control plane says
// when all goes well.
func InitEvents(cluster string) []nodeimage.NodeEvent {
	return []nodeimage.NodeEvent{
		{Kind: nodeimage.ManifestFound, Time: 1000, Name: nodeimage.CNIManifestPath, Data: CNIManifest},
		{Kind: nodeimage.ManifestFound, Time: 1000, Name: nodeimage.StorageManifestPath, Data: StorageManifest},
		{Kind: nodeimage.PhaseStarted, Time: 1000, Phase: "kubeadm/certs"},
		{Kind: nodeimage.PhaseDone, Time: 1250, Phase: "kubeadm/certs"},
		{Kind: nodeimage.AdminReady, Time: 1300, Data: Kubeconfig(cluster, "admin")},
		{Kind: nodeimage.KubeconfigReady, Time: 1300, Data: Kubeconfig(cluster, "super-admin")},
		{Kind: nodeimage.JoinReady, Time: 3000, Data: Discovery},
		{Kind: nodeimage.Finished, Time: 4000},
	}
}

// The manifests that InitEvents announces.
const (
	CNIManifest = `apiVersion: apps/v1
kind: DaemonSet
metadata: {name: cni, namespace: kube-system}
spec:
  template:
    spec:
      containers:
      - name: cni
        env: [{name: POD_SUBNET, value: "{{ .PodSubnet }}"}]
`
	StorageManifest = `apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: standard
  annotations: {storageclass.kubernetes.io/is-default-class: "true"}
`
)

// Kubeconfig is a kubeconfig as kubeadm writes it. Its certificates are none.
func Kubeconfig(cluster, user string) string {
	encode := func(what string) string {
		return base64.StdEncoding.EncodeToString([]byte(what + " of " + cluster))
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: %[1]s
  cluster: {server: "https://%[1]s-control-plane:6443", certificate-authority-data: %[3]s}
users:
- name: %[2]s
  user: {client-certificate-data: %[4]s, client-key-data: %[5]s}
`, cluster, user, encode("CA"), encode("certificate of "+user), encode("key of "+user))
}

func clusterOf(kubeconfig []byte) (string, error) {
	var file struct{ Clusters []struct{ Name string } }
	if err := yaml.Unmarshal(kubeconfig, &file); err != nil {
		return "", err
	}
	if len(file.Clusters) != 1 {
		return "", fmt.Errorf("a kubeconfig with %d clusters", len(file.Clusters))
	}
	return file.Clusters[0].Name, nil
}

// HealthyReport is what a node says of itself when all is well.
const HealthyReport = `== clock
1795309269
== units
NRestarts=0
Id=kubelet.service
ActiveState=active
SubState=running
ConditionResult=yes
ActiveEnterTimestamp=Sun 2026-11-22 01:00:00 UTC

NRestarts=0
Id=containerd.service
ActiveState=active
SubState=running
ConditionResult=yes
ActiveEnterTimestamp=Sun 2026-11-22 01:00:00 UTC
== disks
/ 801 1000000 4096 1000000 2000000
== link
up
`

// InitSays makes the node helpers of first control planes say other events
// than InitEvents. There is an API all the same.
func (w *World) InitSays(events ...nodeimage.NodeEvent) {
	w.Handle(func(ctx context.Context, n node.Node, cmd exec.Cmd) error {
		return w.initialise(ctx, n, cmd, events)
	}, nodeimage.HelperPath, "init")
}

func (w *World) initNode(ctx context.Context, n node.Node, cmd exec.Cmd) error {
	return w.initialise(ctx, n, cmd, InitEvents(n.Cluster))
}

// initialise is "petri-node init": from its first event on there is an API.
func (w *World) initialise(ctx context.Context, n node.Node, cmd exec.Cmd, events []nodeimage.NodeEvent) error {
	w.mu.Lock()
	w.log = append(w.log, "init "+n.Name)
	w.clusters[n.Cluster] = &API{
		world: w, registered: []string{n.Name}, etcd: []string{n.Name},
		server: versionOf(n.Image), made: map[string]string{n.Name: versionOf(n.Image)},
	}
	w.mu.Unlock()
	return fake.Events(events...)(ctx, n, cmd)
}

// joinNode is "petri-node join": it wants what the real one needs.
func (w *World) joinNode(ctx context.Context, n node.Node, cmd exec.Cmd) error {
	err := checkJoinInput(n, cmd.Stdin)
	if ctx.Err() != nil {
		return context.Cause(ctx) // a command that is cut short says nothing
	}
	if err != nil {
		return fake.Events(nodeimage.NodeEvent{Kind: nodeimage.NodeFailed, Error: err.Error()})(ctx, n, cmd)
	}
	w.mu.Lock()
	w.log = append(w.log, "join "+n.Name)
	api := w.clusters[n.Cluster]
	if api != nil && !slices.Contains(api.registered, n.Name) {
		api.registered = append(api.registered, n.Name)
		api.made[n.Name] = versionOf(n.Image)
	}
	if api != nil && n.Role == nodeimage.RoleControlPlane {
		err = api.joinEtcd(w, n.Name)
	}
	w.mu.Unlock()
	if err != nil {
		return fake.Events(nodeimage.NodeEvent{Kind: nodeimage.NodeFailed, Error: err.Error()})(ctx, n, cmd)
	}
	if api == nil {
		return fake.Events(nodeimage.NodeEvent{Kind: nodeimage.NodeFailed, Error: "there is no cluster to join"})(ctx, n, cmd)
	}
	return fake.Events(nodeimage.NodeEvent{Kind: nodeimage.Finished})(ctx, n, cmd)
}

func checkJoinInput(n node.Node, from io.Reader) error {
	var input nodeimage.JoinInput
	if err := json.NewDecoder(from).Decode(&input); err != nil {
		return fmt.Errorf("read what to join: %w", err)
	}
	// while a cluster is made its init tells; later it is read from admin.conf
	own := "server: https://" + n.Cluster + "-control-plane:6443"
	balanced := "server: https://" + n.Cluster + "-external-load-balancer:6444"
	if input.Discovery != Discovery && !strings.Contains(input.Discovery, own) && !strings.Contains(input.Discovery, balanced) {
		return fmt.Errorf("told to join %q", input.Discovery)
	}
	shared := string(input.Certificates["ca.key"]) == CAKey
	if wanted := n.Role == nodeimage.RoleControlPlane; shared != wanted {
		return fmt.Errorf("a %s has the key of the CA: %t", n.Role, shared)
	}
	return nil
}

// CAKey is the key that all control planes share.
const CAKey = "key of the CA"

// certificates is "petri-node certificates".
func (w *World) certificates(_ context.Context, n node.Node, cmd exec.Cmd) error {
	w.mu.Lock()
	w.log = append(w.log, "certificates "+n.Name)
	w.mu.Unlock()
	return json.NewEncoder(cmd.Stdout).Encode(nodeimage.Certificates{"ca.key": []byte(CAKey)})
}

// balance is "petri-node balance".
func (w *World) balance(ctx context.Context, n node.Node, cmd exec.Cmd) error {
	return n.Run(ctx, exec.Cmd{Args: []string{"cp", "/dev/stdin", nodeimage.BalancerPath}, Stdin: cmd.Stdin})
}

func (w *World) adminConf(_ context.Context, n node.Node, cmd exec.Cmd) error {
	if w.API(n.Cluster) == nil {
		return fake.Exit(cmd, 1, "cat: "+nodeimage.AdminConfPath+": No such file or directory")
	}
	admin := Kubeconfig(n.Cluster, "admin")
	if plan, err := w.Plan(n.Name); err == nil && plan.Balanced != "" {
		admin = strings.ReplaceAll(admin, n.Cluster+"-control-plane:6443", plan.Balanced+":6444")
	}
	_, err := cmd.Stdout.Write([]byte(admin))
	return err
}

// Plan is the plan that a node found.
func (w *World) Plan(nodeName string) (nodeimage.Plan, error) {
	var plan nodeimage.Plan
	f, ok := w.File(nodeName, nodeimage.PlanPath)
	if !ok {
		return plan, fmt.Errorf("node %s has no %s", nodeName, nodeimage.PlanPath)
	}
	return plan, json.Unmarshal(f.Data, &plan)
}
