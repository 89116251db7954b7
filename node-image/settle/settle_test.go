package settle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lay writes files below a new root.
func lay(t *testing.T, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, content := range files {
		at := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// Only the node's kubelet and the first processes of the control plane's
// containers are made patient, with all their threads.
func TestSlacken(t *testing.T) {
	files := map[string]string{}
	for pid, status := range map[string]string{
		"10": "Name:\tetcd\nNSpid:\t10\t1\n",
		"11": "Name:\tetcd\nNSpid:\t11\t1\n", // has peers
		"20": "Name:\tkube-controller\nNSpid:\t20\t1\n",
		"30": "Name:\tmine\nNSpid:\t30\t1\n",
		"40": "Name:\tetcd\nNSpid:\t40\t9\n",    // what a pod's own program calls so
		"50": "Name:\tetcd\nNSpid:\t50\t7\t1\n", // of a node within a pod
		"60": "Name:\tkube-scheduler\nNSpid:\t60\n",
		"70": "Name:\tkubelet\nNSpid:\t70\n",
		"80": "Name:\tkubelet\nNSpid:\t80\t1\n", // of a node within
	} {
		files["proc/"+pid+"/status"] = status
		for _, thread := range []string{pid, pid + "1"} {
			files["proc/"+pid+"/task/"+thread+"/comm"] = ""
			files["proc/"+thread+"/timerslack_ns"] = "50000"
		}
	}
	files["proc/10/task/12/comm"] = "" // has ended since
	files["proc/10/cmdline"] = "etcd\x00--name=a\x00--heartbeat-interval=50\x00--election-timeout=250\x00"
	files["proc/11/cmdline"] = "etcd\x00--name=a\x00"
	root := lay(t, files)
	if err := slacken(root); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, thread := range []string{"10", "101", "11", "111", "20", "201", "30", "301", "40", "401", "50", "501", "60", "601", "70", "701", "80", "801"} {
		if data, err := os.ReadFile(filepath.Join(root, "proc", thread, "timerslack_ns")); err != nil {
			t.Fatal(err)
		} else if string(data) != "50000" {
			got[thread] = string(data)
		}
	}
	const long, short = "100000000", "20000000"
	want := map[string]string{
		"10": long, "101": long, "11": short, "111": short, "20": long, "201": long, "70": short, "701": short,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("threads with slack (-want +got):\n%s", diff)
	}
	if err := os.Remove(filepath.Join(root, "proc/101/timerslack_ns")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "proc/101/timerslack_ns"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := slacken(root); err == nil {
		t.Error("a thread that could not be told is not in the error")
	}
}

func TestRelease(t *testing.T) {
	root := lay(t, map[string]string{
		"usr/bin/kubeadm": "x", "opt/cni/bin/bridge": "x", "petri/store/snapshots/etcd/fs/etcd": "x",
		"petri/plan.json": "x", "var/lib/etcd/member/snap/db": "x",
	})
	if err := os.Symlink("kubeadm", filepath.Join(root, "usr/bin/link")); err != nil {
		t.Fatal(err)
	}
	var released []string
	err := release(root, func(f *os.File) error {
		name, err := filepath.Rel(root, f.Name())
		released = append(released, name)
		return errors.Join(err, forget(f))
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(released)
	if diff := cmp.Diff([]string{"opt/cni/bin/bridge", "petri/store/snapshots/etcd/fs/etcd", "usr/bin/kubeadm"}, released); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := release(root, func(*os.File) error { return fs.ErrPermission }); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v", err)
	}
	if err := release(t.TempDir(), forget); err != nil {
		t.Errorf("without programs: %v", err)
	}
}

// A root that is not on a file system in user space keeps its pages.
func TestRun(t *testing.T) {
	if err := Run(lay(t, map[string]string{"proc/1/status": "Name:\tinit\nNSpid:\t1\n"})); err != nil {
		t.Error(err)
	}
	if err := Run("/no/such/root"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
