package shutdown

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/exec"
)

// id is the ID of a container, of 64 digits.
func id(n int) string { return fmt.Sprintf("%064x", n) }

// runtime answers as crictl does, and notes what it is told to stop.
type runtime struct {
	pods, running string
	fail          string // a container that cannot be stopped

	mu    sync.Mutex
	stops []string
}

func (r *runtime) Run(_ context.Context, cmd exec.Cmd) error {
	switch cmd.Args[1] {
	case "pods":
		_, err := cmd.Stdout.Write([]byte(r.pods))
		return err
	case "ps":
		_, err := cmd.Stdout.Write([]byte(r.running))
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stops = append(r.stops, strings.TrimLeft(cmd.Args[3], "0")+" "+cmd.Args[2])
	if strings.HasSuffix(cmd.Args[3], r.fail) && r.fail != "" {
		return errors.New("it does not answer")
	}
	return nil
}

// node is a runtime with a control plane's containers: etcd (1), the API
// server (2), CoreDNS (3), and four ordinary ones.
func node() *runtime {
	container := func(n int, pod, namespace, name, grace string) string {
		return fmt.Sprintf(`{"id": "%s", "podSandboxId": "%s", "labels": {"io.kubernetes.container.name": "%s", "io.kubernetes.pod.namespace": "%s"},
			"annotations": {"io.kubernetes.pod.terminationGracePeriod": "%s"}}`, id(n), pod, name, namespace, grace)
	}
	return &runtime{
		pods: `{"items": [{"id": "s1", "annotations": {"kubernetes.io/config.source": "file"}}, {"id": "s2", "annotations": {"kubernetes.io/config.source": "file"}},
			{"id": "o", "annotations": {"kubernetes.io/config.source": "api"}}]}`,
		running: `{"containers": [` + strings.Join([]string{
			container(1, "s1", "kube-system", "etcd", "30"), container(2, "s2", "kube-system", "kube-apiserver", "30"),
			container(3, "o", "kube-system", "coredns", "30"), container(4, "o", "default", "etcd", "30"),
			container(5, "o", "default", "quick", "2"), container(6, "o", "default", "deaf", "30"), container(7, "o", "default", "never said", ""),
		}, ", ") + `]}`,
	}
}

// groupsOf are the control groups of a container's process as the kernel writes
// them, on each version and by each driver. The node is a container too.
func groupsOf() map[string]string {
	return map[string]string{
		"v1":          "2:pids:/docker/" + id(9) + "/kubelet/kubepods/pod1/%s\n",
		"v1, systemd": "1:name=systemd:/docker/" + id(9) + "/kubelet.slice/cri-containerd-%s.scope\n",
		"v2, crun":    "0::/kubelet.slice/cri-containerd-%s.scope/container\n",
		"v2, runc":    "0::/kubelet.slice/cri-containerd-%s.scope\n",
	}
}

// root is a /proc in which the first process of container 6 is deaf, and that
// of container 4 is not.
func root(t *testing.T, groups string) string {
	t.Helper()
	dir := t.TempDir()
	for pid, process := range map[string]struct {
		nspid, caught string
		container     int
	}{
		"10": {"10\t100\t1", "0000000000000000", 6},
		"11": {"11\t101\t7", "0000000000000000", 5}, // not the first of its namespace
		"12": {"12\t102\t1", "0000000000004000", 4}, // catches SIGTERM
		"13": {"13", "0000000000000000", 3},         // of this namespace
	} {
		status := fmt.Sprintf("Name:\tx\nNSpid:\t%s\nSigCgt:\t%s\n", process.nspid, process.caught)
		group := fmt.Sprintf(groups, id(process.container))
		base := filepath.Join(dir, "proc", pid)
		err := errors.Join(os.MkdirAll(base, 0o755),
			os.WriteFile(filepath.Join(base, "status"), []byte(status), 0o644), os.WriteFile(filepath.Join(base, "cgroup"), []byte(group), 0o644))
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestRun(t *testing.T) {
	for name, groups := range groupsOf() {
		t.Run(name, func(t *testing.T) {
			r := node()
			if err := Run(t.Context(), root(t, groups), r); err != nil {
				t.Fatal(err)
			}
			if len(r.stops) != 7 {
				t.Fatalf("stopped %q", r.stops)
			}
			// each wave in any order
			for _, w := range [][]string{r.stops[:4], r.stops[4:6]} {
				slices.Sort(w)
			}
			want := []string{
				"4 --timeout=10", "5 --timeout=2", "6 --timeout=0", "7 --timeout=10",
				"2 --timeout=4", "3 --timeout=1",
				"1 --timeout=5",
			}
			if diff := cmp.Diff(want, r.stops); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A container that does not end keeps no other from its time.
func TestOneFails(t *testing.T) {
	r := node()
	r.fail = "5"
	if err := Run(t.Context(), t.TempDir(), r); err == nil || !strings.Contains(err.Error(), "it does not answer") {
		t.Errorf("error %v", err)
	}
	if len(r.stops) != 7 || !strings.HasPrefix(r.stops[6], "1 ") {
		t.Errorf("stopped %q", r.stops)
	}
}

func TestNoRuntime(t *testing.T) {
	r := &runtime{pods: "no JSON"}
	if err := Run(t.Context(), t.TempDir(), r); err == nil || !strings.Contains(err.Error(), "read crictl pods") {
		t.Errorf("error %v", err)
	}
}
