package clustertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/kube"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// API is the API of one cluster. Its nodes are those whose helper has run;
// they are Ready once a network was applied, and CoreDNS serves then. Each
// method first fails as World.Break told it to, or as its context ended.
type API struct {
	world      *World
	endpoint   string
	registered []string
	// versions: of the API server, of the kubelets that nodes were made with,
	// and of those that came later
	server         string
	made, kubelets map[string]string
	annotations    map[string]map[string]string
	applied        []string
	network        bool
	class          bool
	deleted        string
	config         []byte
	hosting        string
	cordoned       map[string]bool
	onlyHere       map[string][]string
	stuck          map[string]bool
	silent         map[string]bool
	etcd           []string // names of the members
	redirected     string
	ailing         map[string]int
	troubles       []kube.Trouble
	pods           []kube.Pod // beside those that there always are
}

// errDead is what a process meets that was killed: nobody hears it.
var errDead = errors.New("this process was killed")

// begin is what every method does first. It returns with the world locked,
// also on error.
func (a *API) begin(ctx context.Context, method, what string) error {
	dead := a.world.Dead()
	a.world.mu.Lock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if dead {
		return errDead
	}
	if err := a.world.broken[method]; err != nil {
		return err
	}
	a.world.log = append(a.world.log, method+what)
	return nil
}

func (a *API) end() { a.world.mu.Unlock() }

// WaitServing returns at once.
func (a *API) WaitServing(ctx context.Context) error {
	defer a.end()
	return a.begin(ctx, "WaitServing", "")
}

// Apply keeps the kinds and names of the objects.
func (a *API) Apply(ctx context.Context, manifest []byte) error {
	objects, err := kube.Decode(manifest)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := a.apply(ctx, o.GetKind(), o.GetName()); err != nil {
			return err
		}
	}
	return nil
}

func (a *API) apply(ctx context.Context, kind, name string) error {
	defer a.end()
	if err := a.begin(ctx, "Apply", " "+kind+"/"+name); err != nil {
		return err
	}
	a.applied = append(a.applied, kind+"/"+name)
	a.network = a.network || kind == "DaemonSet"
	a.class = a.class || kind == "StorageClass"
	return nil
}

// Wait returns when the conditions hold, which is at once or never.
func (a *API) Wait(ctx context.Context, conditions []kube.Condition, met func(name string)) error {
	unmet, err := a.check(ctx, "Wait", conditions, met)
	if err != nil || len(unmet) == 0 {
		return err
	}
	<-ctx.Done()
	var missing []string
	for _, s := range unmet {
		missing = append(missing, s.Condition+": "+s.Why)
	}
	return &kube.Unmet{Conditions: missing, Cause: context.Cause(ctx)}
}

// Unmet is the conditions that do not hold.
func (a *API) Unmet(ctx context.Context, conditions []kube.Condition) ([]kube.Shortfall, error) {
	return a.check(ctx, "Unmet", conditions, nil)
}

func (a *API) check(ctx context.Context, method string, conditions []kube.Condition, met func(string)) (unmet []kube.Shortfall, err error) {
	defer a.end()
	if err := a.begin(ctx, method, ""); err != nil {
		return nil, err
	}
	state := a.state()
	for _, c := range conditions {
		if err := c.Check(state); err != nil {
			unmet = append(unmet, kube.Shortfall{Condition: c.Name, Why: err.Error()})
		} else if met != nil {
			met(c.Name)
		}
	}
	return unmet, nil
}

// state is what the conditions are held against.
func (a *API) state() kube.State {
	s := kube.State{ServiceAccounts: []*corev1.ServiceAccount{{}}, CoreDNS: &appsv1.Deployment{}}
	status := corev1.ConditionFalse
	if a.network {
		status = corev1.ConditionTrue
		s.CoreDNS.Status = appsv1.DeploymentStatus{
			AvailableReplicas: 1,
			Conditions:        []appsv1.DeploymentCondition{{Type: appsv1.DeploymentAvailable, Status: status}},
		}
	}
	for _, name := range a.registered {
		heard := metav1.NewTime(lately)
		if a.silent[name] {
			heard = metav1.Time{}
		}
		s.Nodes = append(s.Nodes, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Status: corev1.NodeStatus{
				NodeInfo: corev1.NodeSystemInfo{KubeletVersion: a.kubelet(name)},
				Conditions: []corev1.NodeCondition{
					{Type: corev1.NodeReady, Status: status, Reason: "KubeletNotReady", Message: "no network", LastHeartbeatTime: heard},
				},
			},
		})
	}
	if a.network {
		s.DNSPods = []*corev1.Pod{{Status: corev1.PodStatus{
			Conditions:        []corev1.PodCondition{{Type: corev1.PodReady, Status: status}},
			ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(lately)}}}},
		}}}
	}
	if a.class {
		s.StorageClasses = append(s.StorageClasses, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{
			Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"},
		}})
	}
	return s
}

// DeleteToken keeps the ID.
func (a *API) DeleteToken(ctx context.Context, id string) error {
	defer a.end()
	if err := a.begin(ctx, "DeleteToken", ""); err != nil {
		return err
	}
	a.deleted = id
	return nil
}

// AnnounceRegistry keeps what is said of the registry.
func (a *API) AnnounceRegistry(ctx context.Context, hosting string) error {
	defer a.end()
	if err := a.begin(ctx, "AnnounceRegistry", ""); err != nil {
		return err
	}
	a.hosting = hosting
	return nil
}

// Hosting is what was said last of the registry.
func (a *API) Hosting() string {
	a.world.mu.Lock()
	defer a.world.mu.Unlock()
	return a.hosting
}

// SaveConfig keeps the configuration.
func (a *API) SaveConfig(ctx context.Context, config []byte) error {
	defer a.end()
	if err := a.begin(ctx, "SaveConfig", ""); err != nil {
		return err
	}
	a.config = slices.Clone(config)
	return nil
}

// LoadConfig returns what SaveConfig kept; class not found when nothing was.
func (a *API) LoadConfig(ctx context.Context) ([]byte, error) {
	defer a.end()
	if err := a.begin(ctx, "LoadConfig", ""); err != nil {
		return nil, err
	}
	if a.config == nil {
		return nil, errdefs.New(errdefs.ClassNotFound, "CONFIG-NOT-FOUND", "no configuration was kept")
	}
	return slices.Clone(a.config), nil
}

// Nodes are the nodes whose helper has run.
func (a *API) Nodes(ctx context.Context) (map[string]kube.NodeInfo, error) {
	defer a.end()
	if err := a.begin(ctx, "Nodes", ""); err != nil {
		return nil, err
	}
	out := map[string]kube.NodeInfo{}
	for _, name := range a.registered {
		info := kube.NodeInfo{
			Name: name, Ready: a.network, Version: a.kubelet(name), Cordoned: a.cordoned[name],
			Upgrading: a.annotations[name][nodeimage.AnnotationUpgrading], Image: a.annotations[name][nodeimage.AnnotationImage],
			Resources: map[string]string{"cpu": "2", "memory": "8Gi"}, Capacity: map[string]string{"cpu": "2", "memory": "9Gi"},
		}
		if !info.Ready {
			info.Problem, info.Conditions = "KubeletNotReady: no network", []string{"Ready=False"}
		}
		if a.ailing[name] > 0 {
			a.ailing[name]--
			info.Ready, info.Problem = false, "NodeStatusUnknown: Kubelet stopped posting node status."
		}
		out[name] = info
	}
	return out, nil
}

// Pods is CoreDNS, and a pod that is none of the system's.
func (a *API) Pods(ctx context.Context, _ string) ([]kube.Pod, error) {
	defer a.end()
	if err := a.begin(ctx, "Pods", ""); err != nil {
		return nil, err
	}
	return append([]kube.Pod{
		{Namespace: "default", Name: "mine", Phase: "Running"},
		{Namespace: "kube-system", Name: "coredns-1", Phase: "Running", Node: a.registered[0], Ready: 1, Containers: 1},
	}, a.pods...), nil
}

// AddPod makes one more pod be there.
func (a *API) AddPod(p kube.Pod) {
	a.world.mu.Lock()
	defer a.world.mu.Unlock()
	a.pods = append(a.pods, p)
}

// Observe is what Trouble said.
func (a *API) Observe(ctx context.Context) (kube.Observation, error) {
	defer a.end()
	if err := a.begin(ctx, "Observe", ""); err != nil {
		return kube.Observation{}, err
	}
	return kube.Observation{
		Troubles: slices.Clone(a.troubles),
		Moments:  []kube.Moment{{Time: lately, What: "Pod kube-system/coredns-1", Text: "created"}},
	}, nil
}

// Trouble makes something be wrong.
func (a *API) Trouble(t kube.Trouble) {
	a.world.mu.Lock()
	defer a.world.mu.Unlock()
	a.troubles = append(a.troubles, t)
}

// Secret is the value of the one Secret that every API has.
const Secret = "correct-horse"

// Dump writes one object, and tells Secret.
func (a *API) Dump(ctx context.Context, open func(resource string) (io.WriteCloser, error), secret func(value string)) error {
	defer a.end()
	if err := a.begin(ctx, "Dump", ""); err != nil {
		return err
	}
	secret(Secret)
	w, err := open("deployments.apps")
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, "---\nkind: Deployment\n")
	return errors.Join(err, w.Close())
}

// lately is when everything in a cluster was last heard of: after any node was
// started.
var lately = time.Date(2040, time.January, 1, 0, 0, 0, 0, time.UTC)

// Silence makes a node one that has not been heard of since it was started; or
// one that has.
func (a *API) Silence(node string, silent bool) {
	a.world.mu.Lock()
	defer a.world.mu.Unlock()
	a.silent = with(a.silent, node, silent)
}

// Ail makes a node one that is not Ready the next times that Nodes is asked.
func (a *API) Ail(node string, times int) {
	a.world.mu.Lock()
	defer a.world.mu.Unlock()
	a.ailing = with(a.ailing, node, times)
}

// Stick makes the draining of a node end with its context only.
func (a *API) Stick(node string) {
	a.world.mu.Lock()
	defer a.world.mu.Unlock()
	a.stuck = with(a.stuck, node, true)
}

// Hold makes a node one that has things which are nowhere else.
func (a *API) Hold(node string, what ...string) {
	a.world.mu.Lock()
	defer a.world.mu.Unlock()
	a.onlyHere = with(a.onlyHere, node, what)
}

// with is a map with one more entry, made when there is none yet.
func with[V any](m map[string]V, key string, value V) map[string]V {
	if m == nil {
		m = map[string]V{}
	}
	m[key] = value
	return m
}

// Cordon keeps which nodes take no pods.
func (a *API) Cordon(ctx context.Context, node string, cordoned bool) error {
	defer a.end()
	if err := a.begin(ctx, "Cordon", fmt.Sprintf(" %s %t", node, cordoned)); err != nil {
		return err
	}
	a.cordoned = with(a.cordoned, node, cordoned)
	return nil
}

// OnlyHere is what Hold said.
func (a *API) OnlyHere(ctx context.Context, node string) ([]string, error) {
	defer a.end()
	if err := a.begin(ctx, "OnlyHere", " "+node); err != nil {
		return nil, err
	}
	return slices.Clone(a.onlyHere[node]), nil
}

// Drain takes a pod off a node, at once or, when it sticks, never.
func (a *API) Drain(ctx context.Context, node string, left func(pods int)) error {
	err := func() error {
		defer a.end()
		return a.begin(ctx, "Drain", " "+node)
	}()
	if err != nil {
		return err
	}
	return a.empty(ctx, node, left)
}

// empty takes a pod off a node.
func (a *API) empty(ctx context.Context, node string, left func(pods int)) error {
	left(1)
	a.world.mu.Lock()
	stuck := a.stuck[node]
	a.world.mu.Unlock()
	if stuck {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return nil
}

// DeleteNode takes a node out of the API.
func (a *API) DeleteNode(ctx context.Context, node string) error {
	defer a.end()
	if err := a.begin(ctx, "DeleteNode", " "+node); err != nil {
		return err
	}
	a.registered = slices.DeleteFunc(a.registered, func(name string) bool { return name == node })
	delete(a.cordoned, node)
	return nil
}

// Forget takes a node out of the API, as if it had never joined.
func (a *API) Forget(node string) {
	a.world.mu.Lock()
	defer a.world.mu.Unlock()
	a.registered = slices.DeleteFunc(a.registered, func(name string) bool { return name == node })
}

// Kept is what the calls so far left behind.
type Kept struct {
	Server  string   // that was connected to last
	Applied []string // "DaemonSet/cni", in order
	Deleted string   // ID of a bootstrap token
	Config  []byte
	// Nodes are those that the API knows, in the order in which they joined,
	// and Cordoned those of them that take no pods.
	Nodes, Cordoned []string
	// Etcd are the members of etcd, and Endpoint is what Redirect was told last.
	Etcd     []string
	Endpoint string
}

// Kept returns what the calls so far left behind.
func (a *API) Kept() Kept {
	a.world.mu.Lock()
	defer a.world.mu.Unlock()
	kept := Kept{
		Server: a.endpoint, Applied: slices.Clone(a.applied), Deleted: a.deleted, Config: slices.Clone(a.config),
		Nodes: slices.Clone(a.registered), Etcd: slices.Clone(a.etcd), Endpoint: a.redirected,
	}
	for _, name := range slices.Sorted(maps.Keys(a.cordoned)) {
		if a.cordoned[name] {
			kept.Cordoned = append(kept.Cordoned, name)
		}
	}
	return kept
}
