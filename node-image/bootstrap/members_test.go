package bootstrap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

func TestCertificates(t *testing.T) {
	node, fake, _ := newNode(t, nodeimage.Plan{}, "")
	var out bytes.Buffer
	if err := node.Certificates(&out); err == nil || out.Len() > 0 {
		t.Errorf("a node without certificates: %v, %q", err, &out)
	}
	fake.put(nodeimage.CertificatesDir+"/ca.crt", "CA")
	fake.put(nodeimage.CertificatesDir+"/etcd/ca.key", "key of etcd's CA")
	fake.put(nodeimage.CertificatesDir+"/apiserver.key", "this node's own")
	if err := node.Certificates(&out); err != nil {
		t.Fatal(err)
	}
	var got nodeimage.Certificates
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	diff(t, nodeimage.Certificates{"ca.crt": []byte("CA"), "etcd/ca.key": []byte("key of etcd's CA")}, got)
}

func severalPlan() nodeimage.Plan {
	return nodeimage.Plan{
		Name: "dev-control-plane", Address: "10.201.0.2", Balanced: "dev-external-load-balancer",
		EtcdMembers: map[string]string{
			"dev-control-plane": "https://10.201.0.2:2380", "dev-control-plane3": "https://10.201.0.4:2380", "dev-control-plane2": "https://10.201.0.3:2380",
		},
	}
}

// TestInitOfSeveral: the members of etcd are announced before anybody is told
// to join, and what only the superuser may do goes to the node's own API
// server, which the balancer does not yet lead to.
func TestInitOfSeveral(t *testing.T) {
	testInitOfSeveral(t, "10.201.0.2", "https://10.201.0.2:6443", "https://127.0.0.1:2379")
}

// In a cluster of IPv6 etcd listens on the loopback of that family.
func TestInitOfSeveralOfIPv6(t *testing.T) {
	testInitOfSeveral(t, "fd5a::2", "https://[fd5a::2]:6443", "https://[::1]:2379")
}

func testInitOfSeveral(t *testing.T, address, server, etcd string) {
	synctest.Test(t, func(t *testing.T) {
		plan := severalPlan()
		plan.Address = address
		node, fake, sent := initNode(t, plan, "")
		node.probe = answers(map[apiState]time.Duration{apiAnswers: time.Second, apiReady: 2 * time.Second})
		const here = nodeimage.SuperAdminConfPath + ".here"
		fake.onKubeadm = func(_ context.Context, cmd exec.Cmd, phases []string) error {
			if phases[0] != "addon" {
				return nil
			}
			if !slices.Contains(cmd.Args, "--kubeconfig="+here) {
				t.Errorf("command %q", cmd.Args)
			}
			data, err := os.ReadFile(node.path(here))
			diff(t, strings.ReplaceAll(kubeconfigOf("super"), "https://a:6443", server), string(data))
			return err
		}
		if err := node.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(node.path(here)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the superuser's credentials are left: %v", err)
		}
		tls := "etcdctl --endpoints=" + etcd + " --cacert=/etc/kubernetes/pki/etcd/ca.crt" +
			" --cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt --key=/etc/kubernetes/pki/etcd/healthcheck-client.key"
		members := slices.DeleteFunc(slices.Clone(fake.commands), func(c string) bool { return !strings.HasPrefix(c, "etcdctl") })
		diff(t, []string{
			tls + " member add dev-control-plane2 --learner --peer-urls=https://10.201.0.3:2380",
			tls + " member add dev-control-plane3 --learner --peer-urls=https://10.201.0.4:2380",
		}, members)
		list := sent()
		announced := slices.IndexFunc(list, func(e nodeimage.NodeEvent) bool {
			return e.Kind == nodeimage.PhaseDone && e.Phase == "node/etcd-members"
		})
		joinable := slices.IndexFunc(list, func(e nodeimage.NodeEvent) bool { return e.Kind == nodeimage.JoinReady })
		if announced < 0 || joinable < announced {
			t.Errorf("members are announced at %d, and nodes may join at %d", announced, joinable)
		}
	})
}

// TestInitOfSeveralElsewhere: an etcd that is not the node's own has no members
// to come.
func TestInitOfSeveralElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, fake, _ := initNode(t, severalPlan(), "")
		node.probe = answers(map[apiState]time.Duration{apiReady: time.Second})
		fake.onKubeadm = func(_ context.Context, _ exec.Cmd, phases []string) error {
			if slices.Contains(phases, "control-plane") {
				return os.Remove(node.path(manifestsDir + "/etcd.yaml"))
			}
			return nil
		}
		if err := node.Init(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, c := range fake.commands {
			if strings.HasPrefix(c, "etcdctl") {
				t.Errorf("command %q", c)
			}
		}
	})
}

func TestInitWhenAMemberIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, fake, _ := initNode(t, severalPlan(), "")
		node.probe = answers(map[apiState]time.Duration{apiReady: time.Second})
		fake.etcdctl = &exec.Error{Args: []string{"etcdctl"}, Code: 1, Stderr: []byte("too many learner members")}
		err := node.Init(t.Context())
		if !errors.Is(err, fake.etcdctl) || !strings.Contains(err.Error(), "announce etcd member dev-control-plane2") {
			t.Errorf("got %v", err)
		}
	})
}

const memberList = `{"members":[
 {"ID":10276657743932975437,"name":"dev-control-plane","peerURLs":["https://10.201.0.2:2380"],"clientURLs":["https://10.201.0.2:2379"]},
 {"ID":7,"peerURLs":["https://10.201.0.3:2380"],"isLearner":true}]}`

// TestMembers: numbers of members are larger than a float holds, and one that
// has not begun has no name.
func TestMembers(t *testing.T) {
	node, fake, _ := newNode(t, nodeimage.Plan{}, "")
	var out bytes.Buffer
	if err := node.Members(t.Context(), &out); err != nil || out.String() != "[]\n" {
		t.Errorf("without etcd: %q, %v", &out, err)
	}
	fake.put(manifestsDir+"/etcd.yaml", "etcd")
	fake.members = memberList
	out.Reset()
	if err := node.Members(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	var got []nodeimage.EtcdMember
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	diff(t, []nodeimage.EtcdMember{
		{ID: "8e9e05c52164694d", Name: "dev-control-plane", PeerURLs: []string{"https://10.201.0.2:2380"}, ClientURLs: []string{"https://10.201.0.2:2379"}, Healthy: true},
		{ID: "7", PeerURLs: []string{"https://10.201.0.3:2380"}, Learner: true},
	}, got)
	if err := node.RemoveMember(t.Context(), "7"); err != nil {
		t.Fatal(err)
	}
	if last := fake.commands[len(fake.commands)-1]; !strings.HasSuffix(last, " member remove 7") {
		t.Errorf("command %q", last)
	}
	fake.members = "no JSON"
	if err := node.Members(t.Context(), &out); err == nil {
		t.Error("garbage was taken for members")
	}
	fake.etcdctl = errors.New("no leader")
	if err := node.Members(t.Context(), &out); !errors.Is(err, fake.etcdctl) {
		t.Errorf("error %v", err)
	}
}
