package bootstrap

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// coredns is a part of kubeadm's Deployment, as the API gives it.
const coredns = `{"kind": "Deployment", "metadata": {"name": "coredns", "uid": "u1"}, "spec": {"replicas": 2,
	"selector": {"matchLabels": {"k8s-app": "kube-dns"}},
	"template": {"metadata": {"labels": {"k8s-app": "kube-dns"}, "annotations": {"a": "b"}},
		"spec": {"containers": [{"name": "coredns", "ports": [{"containerPort": 53}]}], "priorityClassName": "system-cluster-critical"}}}}`

// answeringAPI answers requests in turn, by method and path; of the last answer
// there are any number. What it does not know it makes.
type answeringAPI struct {
	mu      sync.Mutex
	answers map[string][]string // "201 body"
	made    map[string][]map[string]any
	queries []string // of what was made
}

func (a *answeringAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := r.Method + " " + r.URL.Path
	code, body := http.StatusCreated, "{}"
	if list := a.answers[key]; len(list) > 0 {
		if _, err := fmt.Sscanf(list[0], "%d", &code); err != nil {
			return nil, err
		}
		_, body, _ = strings.Cut(list[0], " ")
		if len(list) > 1 {
			a.answers[key] = list[1:]
		}
	}
	if code == http.StatusCreated {
		var o map[string]any
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
			return nil, err
		}
		a.made[r.URL.Path] = append(a.made[r.URL.Path], o)
		if r.URL.RawQuery != "" {
			a.queries = append(a.queries, r.URL.RawQuery)
		}
	}
	return &http.Response{StatusCode: code, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// answered is a new control plane whose API gives answers.
func answered(t *testing.T, answers map[string][]string) (*controlPlane, *answeringAPI) {
	t.Helper()
	plan := nodeimage.Plan{Name: "dev-control-plane", PodRanges: []string{"10.244.0.0/24"}, APIService: "10.96.0.1"}
	node, fake, _ := newNode(t, plan, "kind: InitConfiguration\nnodeRegistration: {taints: [{key: node-role.kubernetes.io/control-plane, effect: NoSchedule}], kubeletExtraArgs: [{name: node-ip}]}\n")
	fake.put(nodeimage.CertificatesDir+"/ca.crt", "the CA")
	fake.put(manifestsDir+"/kube-apiserver.yaml", "    - --secure-port=6443\n")
	api := &answeringAPI{answers: answers, made: map[string][]map[string]any{}}
	node.as = func(string) *http.Client { return &http.Client{Transport: api} }
	return &controlPlane{phased: phased{Node: node, plan: plan}}, api
}

// saidWords are those that a gate is told.
type saidWords struct{ strings.Builder }

func (*saidWords) Close() error { return nil }

// TestAdmitPods lets the kubelet in when static pods would be taken, and makes none.
func TestAdmitPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, api := answered(t, map[string][]string{
			"POST " + classesPath: {"409 {}"},
			"POST " + systemPods:  {"403 no PriorityClass with name system-node-critical was found", "404 no such namespace", "201 {}"},
		})
		var words saidWords
		began := time.Now()
		if err := c.admitPods(t.Context(), &gateway{words: &words}); err != nil {
			t.Fatal(err)
		}
		diff(t, "pods\n", words.String())
		diff(t, 2*apiInterval, time.Since(began))
		diff(t, []string{"dryRun=All"}, api.queries)
		diff(t, any("system-node-critical"), api.made[systemPods][0]["spec"].(map[string]any)["priorityClassName"])
	})
	synctest.Test(t, func(t *testing.T) {
		c, api := answered(t, nil)
		if err := c.admitPods(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		var classes []string
		for _, class := range api.made[classesPath] {
			classes = append(classes, fmt.Sprintf("%v %.0f", class["metadata"].(map[string]any)["name"], class["value"]))
		}
		slices.Sort(classes)
		diff(t, []string{"system-cluster-critical 2000000000", "system-node-critical 2000001000"}, classes)
	})
}

const (
	deploymentPath = "/apis/apps/v1/namespaces/kube-system/deployments/coredns"
	setsPath       = "/apis/apps/v1/namespaces/kube-system/replicasets"
	servicesPath   = "/api/v1/namespaces/default/services"
	classesPath    = "/apis/scheduling.k8s.io/v1/priorityclasses"
	caPath         = "/api/v1/namespaces/kube-system/configmaps"
)

// TestStartDNS: the pods are those of the Deployment, of a ReplicaSet that it will
// know as its own, and are on this node.
func TestStartDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		c, api := answered(t, map[string][]string{
			"GET " + deploymentPath: {"200 " + coredns},
			"POST " + setsPath:      {`201 {"metadata": {"uid": "u2"}}`},
			"POST " + servicesPath:  {"500 no range of addresses", "201 {}"},
		})
		c.startDNS(t.Context())
		made := api.made
		diff(t, apiInterval, time.Since(began))
		diff(t, 2, len(made[systemPods]))
		diff(t, map[string]any{"ca.crt": "the CA"}, made[caPath][0]["data"].(map[string]any))
		diff(t, any("10.96.0.1"), made[servicesPath][0]["spec"].(map[string]any)["clusterIP"])
		var of struct {
			Spec struct {
				Template map[string]any
			}
		}
		if err := json.Unmarshal([]byte(coredns), &of); err != nil {
			t.Fatal(err)
		}
		set := made[setsPath][0]
		name := set["metadata"].(map[string]any)["name"].(string)
		hash := strings.TrimPrefix(name, "coredns-")
		template := set["spec"].(map[string]any)["template"].(map[string]any)
		labels := map[string]any{"k8s-app": "kube-dns", "pod-template-hash": hash}
		diff(t, labels, template["metadata"].(map[string]any)["labels"].(map[string]any))
		diff(t, of.Spec.Template["spec"], template["spec"])
		diff(t, map[string]any{
			"kind": "Pod", "apiVersion": "v1",
			"metadata": map[string]any{
				"generateName": name + "-", "labels": labels, "annotations": map[string]any{"a": "b"},
				"ownerReferences": []any{map[string]any{
					"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": "u2", "controller": true, "blockOwnerDeletion": true,
				}},
			},
			"spec": map[string]any{
				"containers":        []any{map[string]any{"name": "coredns", "ports": []any{map[string]any{"containerPort": 53.0}}}},
				"priorityClassName": "system-cluster-critical", "nodeName": "dev-control-plane",
			},
		}, made[systemPods][1])
	})
}

// TestStartDNSLeavesIt to the controllers where pods could not run, and when
// something cannot be made.
func TestStartDNSLeavesIt(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(*testing.T, *controlPlane)
		answers map[string][]string
		sets    int
		took    time.Duration
	}{
		"no network":        {change: func(_ *testing.T, c *controlPlane) { c.plan.PodRanges = nil }},
		"no way to the API": {change: func(_ *testing.T, c *controlPlane) { c.plan.APIService = "" }},
		"no API server":     {change: func(t *testing.T, c *controlPlane) { put(t, c, manifestsDir+"/kube-apiserver.yaml", "") }},
		"a port of the node": {change: func(t *testing.T, c *controlPlane) {
			put(t, c, manifestsDir+"/kube-apiserver.yaml", "--secure-port=6443\n--kubernetes-service-node-port=30000\n")
		}},
		"a taint": {change: func(t *testing.T, c *controlPlane) {
			put(t, c, nodeimage.KubeadmConfigPath, "kind: InitConfiguration\nnodeRegistration: {taints: [{key: mine, effect: NoSchedule}]}\n")
		}},
		"the kubelet's taint": {change: func(t *testing.T, c *controlPlane) {
			put(t, c, nodeimage.KubeadmConfigPath, "kind: InitConfiguration\nnodeRegistration: {kubeletExtraArgs: [{name: register-with-taints}]}\n")
		}},
		"to be evicted": {change: func(t *testing.T, c *controlPlane) {
			put(t, c, nodeimage.KubeadmConfigPath, "kind: InitConfiguration\nnodeRegistration: {taints: [{key: node-role.kubernetes.io/control-plane, effect: NoExecute}]}\n")
		}},
		"its configuration's": {change: func(t *testing.T, c *controlPlane) {
			put(t, c, nodeimage.KubeadmConfigPath, "kind: KubeletConfiguration\nregisterWithTaints: [{key: mine}]\n")
		}},
		"certain nodes":    {answers: map[string][]string{"GET " + deploymentPath: {`200 {"spec": {"replicas": 1, "template": {"spec": {"nodeSelector": {"kubernetes.io/os": "linux", "mine": "x"}}}}}`}}},
		"one on each node": {answers: map[string][]string{"GET " + deploymentPath: {`200 {"spec": {"replicas": 1, "template": {"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}}}}}}`}}},
		"spread":           {answers: map[string][]string{"GET " + deploymentPath: {`200 {"spec": {"replicas": 1, "template": {"spec": {"topologySpreadConstraints": []}}}}`}}},
		"older documents": {change: func(t *testing.T, c *controlPlane) {
			put(t, c, nodeimage.KubeadmConfigPath, "kind: InitConfiguration\nnodeRegistration: {kubeletExtraArgs: {node-ip: a}}\n")
		}},
		"controllers":         {answers: map[string][]string{"GET " + deploymentPath: {`200 {"spec": {"replicas": 1}, "status": {"observedGeneration": 1}}`}}},
		"no CoreDNS":          {answers: map[string][]string{"GET " + deploymentPath: {"404 {}"}}},
		"no Deployment":       {answers: map[string][]string{"GET " + deploymentPath: {"200 []"}}},
		"a set that is there": {answers: map[string][]string{"GET " + deploymentPath: {"200 " + coredns}, "POST " + setsPath: {"409 {}"}}},
		"a set that is none":  {answers: map[string][]string{"GET " + deploymentPath: {"200 " + coredns}, "POST " + setsPath: {"201 []"}}, sets: 1},
		"no CA":               {answers: map[string][]string{"GET " + deploymentPath: {"200 " + coredns}, "POST " + caPath: {"500 {}"}}},
		"no addresses": {answers: map[string][]string{
			"GET " + deploymentPath: {"200 " + coredns}, "POST " + servicesPath: {"500 {}"},
		}, took: time.Second},
		"no pods": {answers: map[string][]string{
			"GET " + deploymentPath: {"200 " + coredns}, "POST " + systemPods: {"403 {}"},
		}, sets: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, api := answered(t, test.answers)
				if test.change != nil {
					test.change(t, c)
				}
				began := time.Now()
				unready, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				c.startDNS(unready)
				diff(t, test.sets, len(api.made[setsPath]))
				diff(t, 0, len(api.made[systemPods]))
				diff(t, test.took, time.Since(began))
			})
		})
	}
}

func put(t *testing.T, c *controlPlane, path, content string) {
	t.Helper()
	if err := os.WriteFile(c.path(path), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
