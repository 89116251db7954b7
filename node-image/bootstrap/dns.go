package bootstrap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// startDNS makes the first pods of CoreDNS, on this node, where the scheduler would
// put them: there is no other yet. Their Deployment's controllers adopt them as if they
// were theirs. They cannot begin before ctx ends, which is when the API server is
// ready; what is not made by then, or cannot be made, is left to them.
func (c *controlPlane) startDNS(ctx context.Context) {
	if !c.takesDNS() {
		return
	}
	defer c.Events.phase("node/dns")()
	api, err := c.superuser()
	if err != nil {
		return
	}
	defer api.CloseIdleConnections()
	d := dns{maker: api, node: c.plan.Name}
	of, err := d.deployment(ctx)
	if err != nil {
		return
	}
	if d.makeCA(ctx, c.path(filepath.Join(nodeimage.CertificatesDir, "ca.crt"))) == nil && d.makeService(ctx, c.plan.APIService) == nil {
		_ = d.makePods(ctx, of)
	}
}

// takesDNS reports whether pods of CoreDNS would run on this node, and well: they
// have a network that petri has laid, and a way to the API before kube-proxy; nothing
// keeps the scheduler from putting them here; and the Service of the API is as the API
// server makes it by default.
func (c *controlPlane) takesDNS() bool {
	if len(c.plan.PodRanges) == 0 || c.plan.APIService == "" {
		return false
	}
	server, err := os.ReadFile(filepath.Join(c.path(manifestsDir), "kube-apiserver.yaml"))
	if err != nil || !bytes.Contains(server, []byte("--secure-port="+strconv.Itoa(nodeimage.APIServerPort)+"\n")) ||
		bytes.Contains(server, []byte("--kubernetes-service-node-port")) {
		return false
	}
	var conf struct {
		NodeRegistration struct {
			Taints           []struct{ Key, Effect string }
			KubeletExtraArgs []struct{ Name string }
		}
	}
	var kubelet struct{ RegisterWithTaints []any }
	if c.kubeadmDocument("InitConfiguration", &conf) != nil || c.kubeadmDocument("KubeletConfiguration", &kubelet) != nil || len(kubelet.RegisterWithTaints) > 0 {
		return false
	}
	for _, taint := range conf.NodeRegistration.Taints {
		// the one that kubeadm has CoreDNS tolerate
		if taint.Key != "node-role.kubernetes.io/control-plane" || taint.Effect != "NoSchedule" {
			return false
		}
	}
	for _, arg := range conf.NodeRegistration.KubeletExtraArgs {
		if arg.Name == "register-with-taints" {
			return false
		}
	}
	return true
}

// dns makes the first pods of CoreDNS, on a node.
type dns struct {
	*maker
	node string
}

// makeCA makes the ConfigMap with the cluster's CA that every pod mounts, as the
// controller-manager makes it (k8s.io/kubernetes
// pkg/controller/certificates/rootcacertpublisher).
func (d *dns) makeCA(ctx context.Context, path string) error {
	ca, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	_, err = d.post(ctx, "/api/v1/namespaces/kube-system/configmaps", object{
		"kind": "ConfigMap", "apiVersion": "v1",
		"metadata": object{"name": "kube-root-ca.crt", "annotations": object{
			"kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.",
		}},
		"data": object{"ca.crt": string(ca)},
	})
	return err
}

// makeService makes the Service by which pods know the API, as the API server makes
// it when it is ready (pkg/controlplane/controller/kubernetesservice). The kubelet
// tells containers of the Services that are there when they start.
func (d *dns) makeService(ctx context.Context, address string) (err error) {
	service := object{
		"kind": "Service", "apiVersion": "v1",
		"metadata": object{"name": "kubernetes", "labels": object{"component": "apiserver", "provider": "kubernetes"}},
		"spec": object{
			"type": "ClusterIP", "clusterIP": address, "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None",
			"ports": []object{{"name": "https", "protocol": "TCP", "port": 443, "targetPort": nodeimage.APIServerPort}},
		},
	}
	// it is refused until the server has made its ranges of addresses
	_ = until(ctx, patience, apiInterval, func() bool {
		_, err = d.post(ctx, "/api/v1/namespaces/default/services", service)
		return err == nil
	})
	return err
}

// deployment is the part of a Deployment that its pods are made of.
type deployment struct {
	Metadata struct {
		Name, UID string
	}
	Spec struct {
		Replicas int
		Selector struct{ MatchLabels map[string]string }
		Template struct {
			Metadata struct{ Labels, Annotations map[string]string }
			Spec     object
		}
	}
	Status struct{ ObservedGeneration int }
}

const appsOfSystem = "/apis/apps/v1/namespaces/kube-system/"

// deployment is CoreDNS's, whose controller has not begun.
func (d *dns) deployment(ctx context.Context) (*deployment, error) {
	body, err := d.ask(ctx, http.MethodGet, appsOfSystem+"deployments/coredns", nil)
	if err != nil {
		return nil, err
	}
	of := new(deployment)
	if err := json.Unmarshal(body, of); err != nil {
		return nil, err
	}
	if of.Status.ObservedGeneration > 0 {
		return nil, errors.New("the controllers have begun")
	}
	if of.choosesNodes() {
		return nil, errors.New("the scheduler may put it elsewhere")
	}
	return of, nil
}

// choosesNodes reports whether the pods want certain nodes, which kubeadm's do not: a
// user's patches may have them so.
func (of *deployment) choosesNodes() bool {
	selector, _ := of.Spec.Template.Spec["nodeSelector"].(object)
	for label := range selector {
		if label != "kubernetes.io/os" {
			return true
		}
	}
	affinity, err := json.Marshal(of.Spec.Template.Spec["affinity"])
	return err != nil || bytes.Contains(affinity, []byte(`"requiredDuring`)) || of.Spec.Template.Spec["topologySpreadConstraints"] != nil
}

// makePods makes a ReplicaSet of the Deployment, and its pods.
func (d *dns) makePods(ctx context.Context, of *deployment) error {
	hash, err := of.hash()
	if err != nil {
		return err
	}
	body, err := d.post(ctx, appsOfSystem+"replicasets", of.replicaSet(hash))
	if err != nil {
		return err
	}
	var made struct{ Metadata struct{ UID string } }
	if err := json.Unmarshal(body, &made); err != nil {
		return err
	}
	pod := of.pod(hash, made.Metadata.UID, d.node)
	for range of.Spec.Replicas {
		if _, err := d.post(ctx, systemPods, pod); err != nil {
			return err
		}
	}
	return nil
}

// hashLabel tells the pods of one template of a Deployment from those of others.
const hashLabel = "pod-template-hash"

// hash is one of the Deployment's template. The Deployment's controller knows its own
// ReplicaSet by the template, whatever the hash is (FindNewReplicaSet,
// k8s.io/kubernetes pkg/controller/deployment/util).
func (of *deployment) hash() (string, error) {
	template, err := json.Marshal(of.Spec.Template)
	if err != nil {
		return "", err
	}
	sum := fnv.New32a()
	_, _ = sum.Write(template) // never fails
	return fmt.Sprintf("%08x", sum.Sum32()), nil
}

// setName is the name of the ReplicaSet of a template with a hash.
func (of *deployment) setName(hash string) string { return of.Metadata.Name + "-" + hash }

// replicaSet is one with the Deployment's template, which has a hash.
func (of *deployment) replicaSet(hash string) object {
	labels := with(of.Spec.Template.Metadata.Labels, hash)
	return object{
		"kind": "ReplicaSet", "apiVersion": "apps/v1",
		"metadata": object{
			"name": of.setName(hash), "labels": labels,
			"ownerReferences": owner("apps/v1", "Deployment", of.Metadata.Name, of.Metadata.UID),
		},
		"spec": object{
			"replicas": of.Spec.Replicas,
			"selector": object{"matchLabels": with(of.Spec.Selector.MatchLabels, hash)},
			"template": object{
				"metadata": object{"labels": labels, "annotations": of.Spec.Template.Metadata.Annotations},
				"spec":     of.Spec.Template.Spec,
			},
		},
	}
}

// pod is a pod of the ReplicaSet with a hash and a UID, on a node.
func (of *deployment) pod(hash, uid, node string) object {
	name := of.setName(hash)
	spec := maps.Clone(of.Spec.Template.Spec)
	spec["nodeName"] = node
	return object{
		"kind": "Pod", "apiVersion": "v1",
		"metadata": object{
			"generateName": name + "-", "labels": with(of.Spec.Template.Metadata.Labels, hash), "annotations": of.Spec.Template.Metadata.Annotations,
			"ownerReferences": owner("apps/v1", "ReplicaSet", name, uid),
		},
		"spec": spec,
	}
}

// with are labels and the one of a hash.
func with(labels map[string]string, hash string) map[string]string {
	out := map[string]string{hashLabel: hash}
	maps.Copy(out, labels)
	return out
}

func owner(version, kind, name, uid string) []object {
	return []object{{"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true, "blockOwnerDeletion": true}}
}
