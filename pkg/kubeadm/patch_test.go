package kubeadm

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/petri-cluster/petri/pkg/config"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// documentsOf renders the first node of a cluster, and gives its documents by
// kind.
func documentsOf(t *testing.T, c *config.Cluster) map[string]object {
	t.Helper()
	text, err := Render(input(c, 0))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]object{}
	for part := range strings.SplitSeq(strings.TrimPrefix(string(text), "---\n"), "---\n") {
		var d object
		if err := yaml.Unmarshal([]byte(part), &d); err != nil {
			t.Fatal(err)
		}
		out[d["kind"].(string)] = d
	}
	return out
}

// at is what a document has at a path of fields.
func at(d object, path ...string) any {
	var value any = d
	for _, key := range path {
		below, _ := value.(object)
		value = below[key]
	}
	return value
}

func arguments(pairs ...string) []any {
	var out []any
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, argument(pairs[i], pairs[i+1]))
	}
	return out
}

// petri's own arguments of a lone controller-manager.
const managerServing = "/etc/kubernetes/pki/serving/kube-controller-manager"

var managerArgs = []string{
	"kube-api-qps", "500", "kube-api-burst", "500", "leader-elect", "false", "profiling", "false",
	"tls-cert-file", managerServing + "/tls.crt", "tls-private-key-file", managerServing + "/tls.key",
}

// without are the controller-manager's arguments but for some, with others behind.
func without(names []string, others ...string) []any {
	var left []string
	for pair := range slices.Chunk(managerArgs, 2) {
		if !slices.Contains(names, pair[0]) {
			left = append(left, pair...)
		}
	}
	return arguments(append(left, others...)...)
}

// and those of the API server.
var apiServerArgs = []string{"profiling", "false", "authentication-config", nodeimage.AuthenticationPath}

func TestMergePatchesOfArguments(t *testing.T) {
	path := []string{"controllerManager", extraArgs}
	for name, test := range map[string]struct {
		patch string
		want  []any
	}{
		"as a list":            {"{extraArgs: [{name: v, value: '2'}, {name: kube-api-qps, value: '1'}]}", without([]string{"kube-api-qps"}, "v", "2", "kube-api-qps", "1")},
		"as an object":         {"{extraArgs: {v: 2, kube-api-qps: '1', leader-elect: true}}", without([]string{"kube-api-qps", "leader-elect"}, "kube-api-qps", "1", "leader-elect", "true", "v", "2")},
		"removed in a list":    {"{extraArgs: [{name: kube-api-qps, value: null}, {name: kube-api-burst}]}", without([]string{"kube-api-qps", "kube-api-burst"})},
		"removed by an object": {"{extraArgs: {kube-api-qps: null, kube-api-burst: null}}", without([]string{"kube-api-qps", "kube-api-burst"})},
		"there twice":          {"{extraArgs: [{name: leader-elect, value: a}, {name: leader-elect, value: b}]}", without([]string{"leader-elect"}, "leader-elect", "a", "leader-elect", "b")},
		"all removed":          {"{extraArgs: null}", nil},
		"nothing":              {"{extraArgs: []}", arguments(managerArgs...)},
	} {
		for _, head := range []string{"kind: ClusterConfiguration\n", "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\nmetadata: {name: config}\n"} {
			t.Run(name, func(t *testing.T) {
				c := cluster(0)
				c.KubeadmPatches = []string{head + "controllerManager: " + test.patch}
				d := documentsOf(t, c)["ClusterConfiguration"]
				got, _ := at(d, path...).([]any)
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("arguments (-want +got):\n%s", diff)
				}
				if d["apiVersion"] != kubeadmAPI || d["metadata"] != nil {
					t.Errorf("the document says it is %v, %v", d["apiVersion"], d["metadata"])
				}
			})
		}
	}
}

// Arguments and names are merged where petri renders none, too.
func TestMergePatchesOfWhatIsNotThere(t *testing.T) {
	c := cluster(0)
	c.KubeadmPatches = []string{
		"kind: ClusterConfiguration\napiServer: {extraArgs: {v: '3'}, certSANs: [localhost, shop.test]}\netcd: {local: {serverCertSANs: [x], extraArgs: {v: '1'}}}\nscheduler: {extraArgs: {leader-elect: null, profiling: null, tls-cert-file: null, tls-private-key-file: null}}\n",
	}
	d := documentsOf(t, c)["ClusterConfiguration"]
	if diff := cmp.Diff(arguments(append(apiServerArgs, "v", "3")...), at(d, "apiServer", extraArgs)); diff != "" {
		t.Errorf("the API server's (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]any{"localhost", "127.0.0.1", "dev-control-plane", "192.168.1.10", "shop.test"}, at(d, "apiServer", certSANs)); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(arguments("heartbeat-interval", "50", "election-timeout", "250", "watch-progress-notify-interval", "60s", "listen-client-http-urls", "https://127.0.0.1:2382", "v", "1"), at(d, "etcd", "local", extraArgs)); diff != "" {
		t.Errorf("etcd's (-want +got):\n%s", diff)
	}
	if got := at(d, "scheduler", extraArgs); got != nil {
		t.Errorf("the scheduler's are %v", got)
	}
}

// A list of volumes that replaces the scheduler's leaves it what it is told to read.
func TestMergePatchesOfVolumes(t *testing.T) {
	mine := object{"name": "mine", "hostPath": "/mine", "mountPath": "/mine"}
	for name, test := range map[string]struct {
		patch string
		want  []any
	}{
		"volumes of the user's": {"{extraVolumes: [{name: mine, hostPath: /mine, mountPath: /mine}]}", []any{mine, servingVolume(schedulerName)}},
		"a certificate of the user's too": {
			"{extraVolumes: [{name: mine, hostPath: /mine, mountPath: /mine}], extraArgs: {tls-cert-file: /mine/a.crt, tls-private-key-file: /mine/a.key}}", []any{mine},
		},
		"arguments": {"{extraArgs: {v: '3'}}", []any{servingVolume(schedulerName)}},
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster(0)
			c.KubeadmPatches = []string{"kind: ClusterConfiguration\nscheduler: " + test.patch}
			if diff := cmp.Diff(test.want, at(documentsOf(t, c)["ClusterConfiguration"], "scheduler", extraVolumes)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A merge patch replaces every other list, and removes what is null.
func TestMergePatchesOfOtherFields(t *testing.T) {
	c := cluster(0)
	c.KubeadmPatches = []string{
		"kind: InitConfiguration\nbootstrapTokens: null\nnodeRegistration: {taints: [{key: a, effect: NoSchedule}]}\n",
		"kind: KubeletConfiguration\nevictionHard: {nodefs.available: null, memory.available: 1Gi}\n",
	}
	d := documentsOf(t, c)
	if _, there := d["InitConfiguration"]["bootstrapTokens"]; there {
		t.Error("the tokens are there")
	}
	if diff := cmp.Diff([]any{object{"key": "a", "effect": "NoSchedule"}}, at(d["InitConfiguration"], "nodeRegistration", "taints")); diff != "" {
		t.Errorf("taints (-want +got):\n%s", diff)
	}
	want := object{"nodefs.inodesFree": "0%", "imagefs.available": "0%", "memory.available": "1Gi"}
	if diff := cmp.Diff(want, d["KubeletConfiguration"]["evictionHard"]); diff != "" {
		t.Errorf("eviction (-want +got):\n%s", diff)
	}
}

func TestJSONPatchesOfArguments(t *testing.T) {
	apiServer, byName := arguments(apiServerArgs...), arguments("authentication-config", nodeimage.AuthenticationPath, "profiling", "false")
	for name, test := range map[string]struct {
		version, patch string
		manager, api   []any
	}{
		"in a list":           {"v1beta4", "[{op: add, path: /controllerManager/extraArgs/-, value: {name: v, value: '2'}}, {op: remove, path: /controllerManager/extraArgs/0}]", without([]string{"kube-api-qps"}, "v", "2"), apiServer},
		"first in a list":     {"v1beta4", "[{op: add, path: /apiServer/extraArgs/0, value: {name: v, value: '2'}}]", arguments(managerArgs...), append(arguments("v", "2"), apiServer...)},
		"by name":             {"v1beta3", "[{op: add, path: /apiServer/extraArgs/v, value: 2}]", arguments(append([]string{"kube-api-burst", "500", "kube-api-qps", "500"}, managerArgs[4:]...)...), arguments("authentication-config", nodeimage.AuthenticationPath, "profiling", "false", "v", "2")},
		"by name, no version": {"", "[{op: replace, path: /controllerManager/extraArgs/kube-api-qps, value: '1'}]", arguments(append([]string{"kube-api-burst", "500", "kube-api-qps", "1"}, managerArgs[4:]...)...), byName},
		"whole, as an object": {"", "[{op: replace, path: /controllerManager/extraArgs, value: {v: '2'}}]", arguments("v", "2"), apiServer},
		"of nothing":          {"v1beta4", "[{op: add, path: /certificatesDir, value: /pki}]", arguments(managerArgs...), apiServer},
	} {
		t.Run(name, func(t *testing.T) {
			c := cluster(0)
			one := config.JSONPatch{Kind: "ClusterConfiguration", Patch: test.patch}
			if test.version != "" {
				one.Group, one.Version = "kubeadm.k8s.io", test.version
			}
			c.KubeadmJSONPatches = []config.JSONPatch{one}
			d := documentsOf(t, c)["ClusterConfiguration"]
			manager, _ := at(d, "controllerManager", extraArgs).([]any)
			api, _ := at(d, "apiServer", extraArgs).([]any)
			if diff := cmp.Diff(test.manager, manager); diff != "" {
				t.Errorf("the controller-manager's (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.api, api); diff != "" {
				t.Errorf("the API server's (-want +got):\n%s", diff)
			}
		})
	}
}

// Patches of a node come after those of the cluster, and JSON patches after
// merge patches of the same place.
func TestOrderOfPatches(t *testing.T) {
	c := cluster(0)
	set := func(n string) config.JSONPatch {
		return config.JSONPatch{Kind: "KubeletConfiguration", Patch: "[{op: test, path: /maxPods, value: " + n + "}, {op: add, path: /maxPods, value: " + n + "0}]"}
	}
	c.KubeadmPatches = []string{"{kind: KubeletConfiguration, maxPods: 1}", "{kind: KubeletConfiguration, maxPods: 2}"}
	c.KubeadmJSONPatches = []config.JSONPatch{set("2"), set("20")}
	c.Nodes[0].KubeadmPatches = []string{"{kind: KubeletConfiguration, maxPods: 3}"}
	c.Nodes[0].KubeadmJSONPatches = []config.JSONPatch{set("3")}
	if got := documentsOf(t, c)["KubeletConfiguration"]["maxPods"]; got != 30.0 {
		t.Errorf("maxPods is %v, want 30", got)
	}
}

// What v1beta3 said of timeouts is where v1beta4 has it, and does not win over
// what is said there.
func TestTimeoutsMove(t *testing.T) {
	c := cluster(0)
	c.KubeadmPatches = []string{
		"{kind: ClusterConfiguration, apiServer: {timeoutForControlPlane: 9m0s}}",
		"{kind: InitConfiguration, timeouts: {controlPlaneComponentHealthCheck: 7m0s}}",
		"{kind: JoinConfiguration, discovery: {timeout: 5m0s}}",
	}
	d := documentsOf(t, c)
	if got := at(d["ClusterConfiguration"], "apiServer", "timeoutForControlPlane"); got != nil {
		t.Errorf("the old field is %v", got)
	}
	if got := at(d["JoinConfiguration"], "discovery", "timeout"); got != nil {
		t.Errorf("the old field is %v", got)
	}
	if diff := cmp.Diff(object{"controlPlaneComponentHealthCheck": "7m0s"}, d["InitConfiguration"]["timeouts"]); diff != "" {
		t.Errorf("timeouts of init (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(object{"controlPlaneComponentHealthCheck": "9m0s", "discovery": "5m0s"}, d["JoinConfiguration"]["timeouts"]); diff != "" {
		t.Errorf("timeouts of join (-want +got):\n%s", diff)
	}
}
