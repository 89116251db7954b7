package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// State is what a cluster is seen to hold, as far as its use depends on it.
type State struct {
	Nodes           []*corev1.Node
	CoreDNS         *appsv1.Deployment // nil when it is not there
	DNSPods         []*corev1.Pod
	ServiceAccounts []*corev1.ServiceAccount
	StorageClasses  []*storagev1.StorageClass
}

// Condition is one thing that must hold before a cluster is usable. Check
// returns nil when it holds, else what is missing.
type Condition struct {
	Name  string // "nodes ready"
	Check func(State) error
}

// NodesReady holds when every named node is registered and Ready.
func NodesReady(names []string) Condition {
	return Condition{"every node is Ready", func(s State) error { return checkNodes(s, names, true) }}
}

// NodesRegistered holds when every named node is registered.
func NodesRegistered(names []string) Condition {
	return Condition{"every node is registered", func(s State) error { return checkNodes(s, names, false) }}
}

func checkNodes(s State, names []string, ready bool) error {
	var missing []string
	for _, name := range names {
		i := slices.IndexFunc(s.Nodes, func(n *corev1.Node) bool { return n.Name == name })
		if i < 0 {
			missing = append(missing, name+" is not registered")
		} else if why := notReady(s.Nodes[i]); ready && why != "" {
			missing = append(missing, name+": "+why)
		}
	}
	if len(missing) > 0 {
		return errors.New(strings.Join(missing, "; "))
	}
	return nil
}

// notReady says why a node is not Ready; empty when it is.
func notReady(n *corev1.Node) string {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
			return ""
		}
		if c.Type == corev1.NodeReady {
			return c.Reason + ": " + c.Message
		}
	}
	return "it has reported no status yet"
}

// DNSServing holds when CoreDNS is available.
func DNSServing() Condition {
	return Condition{"CoreDNS is serving", func(s State) error {
		if s.CoreDNS == nil {
			return errors.New("there is no Deployment coredns in kube-system")
		}
		for _, c := range s.CoreDNS.Status.Conditions {
			if c.Type == appsv1.DeploymentAvailable && c.Status == corev1.ConditionTrue && s.CoreDNS.Status.AvailableReplicas > 0 {
				return nil
			}
		}
		return fmt.Errorf("%d of %d replicas are available", s.CoreDNS.Status.AvailableReplicas, wantedReplicas(s.CoreDNS))
	}}
}

// wantedReplicas is the API's default where a Deployment says nothing.
func wantedReplicas(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

// DefaultServiceAccount holds when pods can be made in namespace default.
func DefaultServiceAccount() Condition {
	return Condition{"the default ServiceAccount is there", func(s State) error {
		if len(s.ServiceAccounts) == 0 {
			return errors.New("the controller-manager has not made it yet")
		}
		return nil
	}}
}

// DefaultStorageClass holds when claims without a class are served.
func DefaultStorageClass() Condition {
	return Condition{"a default StorageClass is there", func(s State) error {
		for _, c := range s.StorageClasses {
			if c.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" {
				return nil
			}
		}
		return errors.New("no StorageClass is marked as the default")
	}}
}

// Unmet is a wait that ended before every condition held.
type Unmet struct {
	Conditions []string // "name: what is missing"
	Cause      error    // why the wait ended
}

// Error names each condition and what it lacks.
func (u *Unmet) Error() string {
	return fmt.Sprintf("%s; %s", u.Cause, strings.Join(u.Conditions, "; "))
}

// Unwrap gives the reason that the wait ended.
func (u *Unmet) Unwrap() error { return u.Cause }

// Wait watches the cluster until every condition holds. When ctx ends first
// it returns an *Unmet. Each condition is told to met when it is first seen
// to hold; met may be nil.
func (c *Client) Wait(ctx context.Context, conditions []Condition, met func(name string)) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	w := newWatcher(c)
	w.start(ctx)
	told := map[string]bool{}
	for {
		state := w.state()
		var missing []string
		for _, condition := range conditions {
			if err := condition.Check(state); err != nil {
				missing = append(missing, condition.Name+": not yet ("+err.Error()+")")
			} else if !told[condition.Name] {
				told[condition.Name] = true
				if met != nil {
					met(condition.Name)
				}
			}
		}
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-w.changed:
		case <-ctx.Done():
			return &Unmet{Conditions: missing, Cause: context.Cause(ctx)}
		}
	}
}

// watcher keeps the objects that State is made of up to date.
type watcher struct {
	changed   chan struct{}
	factories []informers.SharedInformerFactory
	nodes     cache.SharedIndexInformer
	coredns   cache.SharedIndexInformer
	dnsPods   cache.SharedIndexInformer
	accounts  cache.SharedIndexInformer
	classes   cache.SharedIndexInformer
}

func newWatcher(c *Client) *watcher {
	w := &watcher{changed: make(chan struct{}, 1)}
	factory := func(opts ...informers.SharedInformerOption) informers.SharedInformerFactory {
		f := informers.NewSharedInformerFactoryWithOptions(c.typed, 0, opts...)
		w.factories = append(w.factories, f)
		return f
	}
	all := factory()
	system := factory(informers.WithNamespace(metav1.NamespaceSystem), named("coredns"))
	dns := factory(informers.WithNamespace(metav1.NamespaceSystem), informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = dnsLabel }))
	defaults := factory(informers.WithNamespace(metav1.NamespaceDefault), named("default"))
	w.nodes = all.Core().V1().Nodes().Informer()
	w.classes = all.Storage().V1().StorageClasses().Informer()
	w.coredns = system.Apps().V1().Deployments().Informer()
	w.dnsPods = dns.Core().V1().Pods().Informer()
	w.accounts = defaults.Core().V1().ServiceAccounts().Informer()
	return w
}

// dnsLabel selects the pods of CoreDNS, as kubeadm labels them.
const dnsLabel = "k8s-app=kube-dns"

func named(name string) informers.SharedInformerOption {
	return informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = "metadata.name=" + name })
}

func (w *watcher) start(ctx context.Context) {
	notify := func() {
		select {
		case w.changed <- struct{}{}:
		default: // one is pending already
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { notify() },
		UpdateFunc: func(any, any) { notify() },
		DeleteFunc: func(any) { notify() },
	}
	for _, i := range []cache.SharedIndexInformer{w.nodes, w.coredns, w.dnsPods, w.accounts, w.classes} {
		// both fail only on an informer that was started or stopped before
		_, _ = i.AddEventHandler(handler)
		_ = i.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {})
	}
	for _, f := range w.factories {
		f.Start(ctx.Done())
	}
}

func (w *watcher) state() State {
	s := State{
		Nodes:           list[*corev1.Node](w.nodes),
		ServiceAccounts: list[*corev1.ServiceAccount](w.accounts),
		StorageClasses:  list[*storagev1.StorageClass](w.classes),
		DNSPods:         list[*corev1.Pod](w.dnsPods),
	}
	if d := list[*appsv1.Deployment](w.coredns); len(d) > 0 {
		s.CoreDNS = d[0]
	}
	return s
}

func list[T any](i cache.SharedIndexInformer) []T {
	var out []T
	for _, o := range i.GetStore().List() {
		if t, ok := o.(T); ok {
			out = append(out, t)
		}
	}
	return out
}

// Shortfall is a condition that does not hold.
type Shortfall struct {
	Condition string // its name
	Why       string // what is missing
}

// Unmet looks once and returns the conditions that do not hold.
func (c *Client) Unmet(ctx context.Context, conditions []Condition) ([]Shortfall, error) {
	state, err := c.look(ctx)
	if err != nil {
		return nil, err
	}
	var out []Shortfall
	for _, condition := range conditions {
		if err := condition.Check(state); err != nil {
			out = append(out, Shortfall{condition.Name, err.Error()})
		}
	}
	return out, nil
}

func (c *Client) look(ctx context.Context) (State, error) {
	var s State
	nodes, err := c.typed.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return s, fmt.Errorf("list nodes: %w", err)
	}
	accounts, err := c.typed.CoreV1().ServiceAccounts(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=default"})
	if err != nil {
		return s, fmt.Errorf("list service accounts: %w", err)
	}
	classes, err := c.typed.StorageV1().StorageClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		return s, fmt.Errorf("list storage classes: %w", err)
	}
	dns, err := c.typed.AppsV1().Deployments(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=coredns"})
	if err != nil {
		return s, fmt.Errorf("list deployments: %w", err)
	}
	pods, err := c.typed.CoreV1().Pods(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{LabelSelector: dnsLabel})
	if err != nil {
		return s, fmt.Errorf("list pods of CoreDNS: %w", err)
	}
	for i := range pods.Items {
		s.DNSPods = append(s.DNSPods, &pods.Items[i])
	}
	for i := range nodes.Items {
		s.Nodes = append(s.Nodes, &nodes.Items[i])
	}
	for i := range accounts.Items {
		s.ServiceAccounts = append(s.ServiceAccounts, &accounts.Items[i])
	}
	for i := range classes.Items {
		s.StorageClasses = append(s.StorageClasses, &classes.Items[i])
	}
	if len(dns.Items) > 0 {
		s.CoreDNS = &dns.Items[0]
	}
	return s, nil
}
