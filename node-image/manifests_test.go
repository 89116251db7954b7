package nodeimage_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	nodeimage "github.com/petri-cluster/petri/node-image"
	contract "github.com/petri-cluster/petri/pkg/nodeimage"
)

// manifest is a file of the image with its placeholders and template filled.
func manifest(t *testing.T, name string) string {
	t.Helper()
	root, err := nodeimage.RootFS()
	if err != nil {
		t.Fatal(err)
	}
	data, err := fs.ReadFile(root, "kind/manifests/"+name)
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`@[A-Z_]+_IMAGE@`).ReplaceAllString(string(data), "example.com/image:v1")
	if strings.Contains(text, "would you kindly template this file") {
		var out strings.Builder
		fill := template.Must(template.New(name).Option("missingkey=error").Parse(text))
		if err := fill.Execute(&out, struct{ PodSubnet string }{"10.244.0.0/16"}); err != nil {
			t.Fatal(err)
		}
		text = out.String()
	}
	return text
}

// objects decodes a stream strictly: an unknown or repeated field is an error.
func objects(t *testing.T, text string) []runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, corev1.AddToScheme, rbacv1.AddToScheme, storagev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := utilyaml.NewDocumentDecoder(io.NopCloser(strings.NewReader(text)))
	var out []runtime.Object
	buffer := make([]byte, 1<<20)
	for {
		n, err := documents.Read(buffer)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		o, _, err := decoder.Decode(bytes.Clone(buffer[:n]), nil, nil)
		if err != nil {
			t.Fatalf("%v in\n%s", err, buffer[:n])
		}
		out = append(out, o)
	}
}

func one[T runtime.Object](t *testing.T, all []runtime.Object) T {
	t.Helper()
	var found []T
	for _, o := range all {
		if typed, ok := o.(T); ok {
			found = append(found, typed)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d objects of type %T, want 1", len(found), *new(T))
	}
	return found[0]
}

func TestDefaultCNI(t *testing.T) {
	text := manifest(t, "default-cni.yaml")
	if !strings.Contains(text, "would you kindly patch this file") {
		t.Error("kind will not tell the agent where the API is: its phrase is missing")
	}
	all := objects(t, text)
	daemons := one[*appsv1.DaemonSet](t, all)
	pod := daemons.Spec.Template.Spec
	agent := pod.Containers[0]
	env := map[string]string{}
	for _, e := range agent.Env {
		env[e.Name] = e.Value
	}
	if env["POD_SUBNET"] != "10.244.0.0/16" || len(agent.Env) == 0 || agent.Env[0].ValueFrom.FieldRef.FieldPath != "spec.nodeName" {
		t.Errorf("environment is %v", agent.Env)
	}
	if !pod.HostNetwork || !slices.Equal(pod.Tolerations, []corev1.Toleration{{Operator: corev1.TolerationOpExists}}) {
		t.Errorf("host network %v, tolerations %v: the agent would not run on a node that is not ready", pod.HostNetwork, pod.Tolerations)
	}
	if s := agent.SecurityContext; s.Privileged != nil || !slices.Equal(s.Capabilities.Add, []corev1.Capability{"NET_ADMIN"}) {
		t.Errorf("security context is %v", s)
	}
	if diff := cmp.Diff(daemons.Spec.Selector.MatchLabels, daemons.Spec.Template.Labels); diff != "" {
		t.Errorf("selector and labels differ:\n%s", diff)
	}
	want := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "list", "watch"}}}
	if diff := cmp.Diff(want, one[*rbacv1.ClusterRole](t, all).Rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

func TestDefaultStorage(t *testing.T) {
	all := objects(t, manifest(t, "default-storage.yaml"))
	class := one[*storagev1.StorageClass](t, all)
	if class.Name != "standard" || class.Annotations["storageclass.kubernetes.io/is-default-class"] != "true" ||
		*class.VolumeBindingMode != storagev1.VolumeBindingWaitForFirstConsumer || *class.ReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
		t.Errorf("storage class is %+v", class)
	}
	deployment := one[*appsv1.Deployment](t, all)
	account := one[*corev1.ServiceAccount](t, all)
	if got := deployment.Spec.Template.Spec.ServiceAccountName; got != account.Name {
		t.Errorf("the provisioner runs as %q, want %q", got, account.Name)
	}
	if !slices.Contains(deployment.Spec.Template.Spec.Containers[0].Command, "--service-account-name="+account.Name) {
		t.Error("helper pods would run as an account that is not there")
	}
	if diff := cmp.Diff(deployment.Spec.Selector.MatchLabels, deployment.Spec.Template.Labels); diff != "" {
		t.Errorf("selector and labels differ:\n%s", diff)
	}
	config := one[*corev1.ConfigMap](t, all)
	var helper corev1.Pod
	if err := yaml.UnmarshalStrict([]byte(config.Data["helperPod.yaml"]), &helper); err != nil {
		t.Fatal(err)
	}
	if helper.Spec.Containers[0].Name != "helper-pod" || helper.Spec.Containers[0].Image != "example.com/image:v1" {
		t.Errorf("helper container is %+v; the provisioner reads the log of the one named helper-pod", helper.Spec.Containers[0])
	}
	var paths struct {
		NodePathMap []struct {
			Node  string   `json:"node"`
			Paths []string `json:"paths"`
		} `json:"nodePathMap"`
	}
	if err := yaml.UnmarshalStrict([]byte(config.Data["config.json"]), &paths); err != nil {
		t.Fatal(err)
	}
	if len(paths.NodePathMap) != 1 || !slices.Equal(paths.NodePathMap[0].Paths, []string{"/var/local-path-provisioner"}) {
		t.Errorf("paths are %+v", paths)
	}
}

// The pods of the addons share a shim with the others of the cluster's own, which
// takes containerd to pass the annotation on.
func TestShimGroup(t *testing.T) {
	cni := one[*appsv1.DaemonSet](t, objects(t, manifest(t, "default-cni.yaml"))).Spec.Template
	storage := one[*appsv1.Deployment](t, objects(t, manifest(t, "default-storage.yaml"))).Spec.Template
	for _, pod := range []corev1.PodTemplateSpec{cni, storage} {
		if pod.Annotations[contract.ShimGroupAnnotation] != contract.ShimGroup {
			t.Errorf("pods of %s have annotations %v", pod.Spec.ServiceAccountName, pod.Annotations)
		}
	}
	root, err := nodeimage.RootFS()
	if err != nil {
		t.Fatal(err)
	}
	config, err := fs.ReadFile(root, "etc/containerd/config.toml")
	if err != nil || !strings.Contains(string(config), "\n      pod_annotations = ['"+contract.ShimGroupAnnotation+"']\n") {
		t.Errorf("containerd keeps the annotation to itself (%v)", err)
	}
}

func TestSelfContainedBindings(t *testing.T) {
	for _, name := range []string{"default-cni.yaml", "default-storage.yaml"} {
		names := map[string]bool{}
		all := objects(t, manifest(t, name))
		for _, o := range all {
			switch o := o.(type) {
			case *corev1.ServiceAccount:
				names["ServiceAccount "+o.Namespace+"/"+o.Name] = true
			case *rbacv1.Role:
				names["Role "+o.Name] = true
			case *rbacv1.ClusterRole:
				names["ClusterRole "+o.Name] = true
			}
		}
		check := func(ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
			for _, want := range []string{ref.Kind + " " + ref.Name, subjects[0].Kind + " " + subjects[0].Namespace + "/" + subjects[0].Name} {
				if want == "Group /system:nodes" {
					continue // Kubernetes' own
				}
				if !names[want] {
					t.Errorf("%s binds %s, which it does not define", name, want)
				}
			}
		}
		for _, o := range all {
			switch o := o.(type) {
			case *rbacv1.RoleBinding:
				check(o.RoleRef, o.Subjects)
			case *rbacv1.ClusterRoleBinding:
				check(o.RoleRef, o.Subjects)
			}
		}
	}
}
