package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// The ConfigMap in which a cluster keeps the configuration it was made from.
const (
	ConfigMapName = "petri-config"
	ConfigMapKey  = "config.yaml"
)

// SaveConfig keeps the cluster's configuration in the cluster.
func (c *Client) SaveConfig(ctx context.Context, config []byte) error {
	cm := corev1ac.ConfigMap(ConfigMapName, metav1.NamespaceSystem).WithData(map[string]string{ConfigMapKey: string(config)})
	_, err := c.typed.CoreV1().ConfigMaps(metav1.NamespaceSystem).Apply(ctx, cm, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if err != nil {
		return fmt.Errorf("save configuration in the cluster: %w", err)
	}
	return nil
}

// LoadConfig returns what SaveConfig kept; class not found when nothing was.
func (c *Client) LoadConfig(ctx context.Context) ([]byte, error) {
	cm, err := c.typed.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, ConfigMapName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, errdefs.New(errdefs.ClassNotFound, "CONFIG-NOT-FOUND", "the cluster has no ConfigMap %s in kube-system", ConfigMapName)
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration from the cluster: %w", err)
	}
	return []byte(cm.Data[ConfigMapKey]), nil
}

// registryConfigMap is where KEP-1755 has tools look for a local registry, below
// a key that names the version of what is said.
const (
	registryConfigMap = "local-registry-hosting"
	registryKey       = "localRegistryHosting.v1"
)

// AnnounceRegistry says in the cluster where a local registry is, in the form of
// KEP-1755; empty: there is none.
func (c *Client) AnnounceRegistry(ctx context.Context, hosting string) error {
	maps := c.typed.CoreV1().ConfigMaps(metav1.NamespacePublic)
	if hosting == "" {
		err := maps.Delete(ctx, registryConfigMap, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("take back where the local registry is: %w", err)
		}
		return nil
	}
	cm := corev1ac.ConfigMap(registryConfigMap, metav1.NamespacePublic).WithData(map[string]string{registryKey: hosting})
	err := retry(ctx, func(ctx context.Context) error {
		_, err := maps.Apply(ctx, cm, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
		return err
	})
	if err != nil {
		return fmt.Errorf("say where the local registry is: %w", err)
	}
	return nil
}

// DeleteToken removes a bootstrap token by its ID (the part before the dot),
// so that nobody joins with it any more. It may be gone already.
func (c *Client) DeleteToken(ctx context.Context, id string) error {
	err := c.typed.CoreV1().Secrets(metav1.NamespaceSystem).Delete(ctx, "bootstrap-token-"+id, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete bootstrap token: %w", err)
	}
	return nil
}

// NodeInfo is what the API says of a node.
type NodeInfo struct {
	Name       string
	Ready      bool
	Problem    string // why it is not Ready
	Version    string // kubelet's, "v1.36.3"
	Cordoned   bool   // no new pods are scheduled to it
	Upgrading  string // the version that petri is upgrading it to; empty: none
	Image      string // whose Kubernetes it was upgraded to; empty: its own
	Conditions []string
	Resources  map[string]string // allocatable
	Capacity   map[string]string
}

// Nodes returns what the API says of every node, by name.
func (c *Client) Nodes(ctx context.Context) (map[string]NodeInfo, error) {
	nodes, err := c.typed.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	out := map[string]NodeInfo{}
	for i := range nodes.Items {
		n := &nodes.Items[i]
		info := NodeInfo{Name: n.Name, Version: n.Status.NodeInfo.KubeletVersion, Cordoned: n.Spec.Unschedulable,
			Upgrading: n.Annotations[nodeimage.AnnotationUpgrading], Image: n.Annotations[nodeimage.AnnotationImage], Problem: notReady(n), Resources: map[string]string{}, Capacity: map[string]string{}}
		info.Ready = info.Problem == ""
		for _, condition := range n.Status.Conditions {
			if (condition.Type == corev1.NodeReady) == (condition.Status == corev1.ConditionTrue) {
				continue // as it should be
			}
			info.Conditions = append(info.Conditions, string(condition.Type)+"="+string(condition.Status))
		}
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourcePods} {
			free, all := n.Status.Allocatable[name], n.Status.Capacity[name]
			info.Resources[string(name)], info.Capacity[string(name)] = free.String(), all.String()
		}
		out[n.Name] = info
	}
	return out, nil
}

// Pod is one pod as "kubectl get pods -A" shows it.
type Pod struct {
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
	Node       string `json:"node"`
	Phase      string `json:"phase"`
	Ready      int    `json:"ready"`      // containers that are ready
	Containers int    `json:"containers"` // containers in all
	Restarts   int    `json:"restarts"`
	Problem    string `json:"problem,omitempty"` // why it is not Ready
	// Controller owns it: "DaemonSet/kube-proxy", "Deployment/coredns",
	// "Node/dev-worker" of a static pod; empty: nobody.
	Controller string `json:"-"`
	// Failing: it will not become Ready by itself soon, by what it shows.
	Failing bool `json:"failing,omitempty"`
}

// longUnready is how long a pod may take to become Ready that shows no failure.
const longUnready = time.Minute

// failing says why a pod is not Ready, and whether that will stay so by what is
// known: containers that have just ended or begun tell nothing yet.
func failing(p *corev1.Pod, now time.Time) (why string, fails bool) {
	if podReady(p) || p.Status.Phase == corev1.PodSucceeded || p.DeletionTimestamp != nil {
		return "", false
	}
	why = podFailing(p)
	if p.Status.Phase == corev1.PodFailed && metav1.GetControllerOf(p) != nil {
		return why, false // it stays, and its controller has made another
	}
	for _, c := range p.Status.Conditions {
		fails = fails || c.Type == corev1.PodReady && now.Sub(c.LastTransitionTime.Time) > longUnready
	}
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if kind, trouble := containerTrouble(&s); kind != "" {
			why, fails = "container "+s.Name+": "+trouble, fails || kind != Restarting && s.State.Waiting != nil
		}
		fails = fails || goesRound(&s)
	}
	return why, fails
}

// goesRound reports whether a container has ended twice within the longest pause
// that a kubelet makes before it starts one again. Each start of one without a
// probe makes its pod Ready for a moment.
func goesRound(s *corev1.ContainerStatus) bool {
	now, before := s.State.Terminated, s.LastTerminationState.Terminated
	return now != nil && before != nil && now.ExitCode != 0 && before.ExitCode != 0 && now.FinishedAt.Sub(before.FinishedAt.Time) < longestBackOff
}

// longestBackOff is the kubelet's, with the time that a start takes.
const longestBackOff = 6 * time.Minute

// controller is what owns a pod, as Pod has it: the Deployment for a ReplicaSet
// of one.
func controller(p *corev1.Pod) string {
	owner := metav1.GetControllerOf(p)
	if owner == nil {
		return ""
	}
	hash := p.Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	if name, ok := strings.CutSuffix(owner.Name, "-"+hash); ok && hash != "" && owner.Kind == "ReplicaSet" {
		return "Deployment/" + name
	}
	return owner.Kind + "/" + owner.Name
}

// Pods lists all pods of a namespace; all namespaces when it is empty.
func (c *Client) Pods(ctx context.Context, namespace string) ([]Pod, error) {
	pods, err := c.typed.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	var out []Pod
	for i := range pods.Items {
		p := &pods.Items[i]
		pod := Pod{Namespace: p.Namespace, Name: p.Name, Node: p.Spec.NodeName, Phase: string(p.Status.Phase), Containers: len(p.Spec.Containers), Controller: controller(p)}
		for _, s := range p.Status.ContainerStatuses {
			pod.Restarts += int(s.RestartCount)
			if s.Ready {
				pod.Ready++
			}
		}
		pod.Problem, pod.Failing = failing(p, time.Now())
		out = append(out, pod)
	}
	return out, nil
}
