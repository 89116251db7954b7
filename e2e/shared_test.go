//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// shared is the cluster of one control plane and two workers that tests of
// what runs in a cluster use together, each in a namespace of its own.
var shared = &sharedCluster{}

type sharedCluster struct {
	once     sync.Once
	cluster  *cluster
	nodePort int // on the host, for NodePort 30080 of the first worker
	hostPort int // on the host, for port 8081 of the first worker
	err      error
	output   string
}

// get makes the cluster the first time; a failure fails every user.
func (s *sharedCluster) get(t *testing.T) *sharedCluster {
	t.Helper()
	s.once.Do(s.make)
	if s.err != nil {
		t.Fatalf("the shared cluster: %v\n%s", s.err, s.output)
	}
	return s
}

func (s *sharedCluster) make() {
	dir, err := os.MkdirTemp(toolsDir, "shared-")
	if err != nil {
		s.err = err
		return
	}
	s.nodePort, s.hostPort = freePort(), freePort()
	config := fmt.Sprintf(`apiVersion: petri.dev/v1alpha1
kind: Cluster
name: e2e-shared
nodes:
- role: control-plane
- role: worker
  labels:
    tier: front
  extraPortMappings:
  - containerPort: 30080
    hostPort: %d
  - containerPort: 8081
    hostPort: %d
- role: worker
`, s.nodePort, s.hostPort)
	path := filepath.Join(dir, "cluster.yaml")
	if s.err = os.WriteFile(path, []byte(config), 0o644); s.err != nil {
		return
	}
	s.cluster = &cluster{name: "e2e-shared", kubeconfig: filepath.Join(dir, "kubeconfig")}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	r := s.cluster.petri(ctx, withImage([]string{"create", "cluster", "--config", path, "--timeline", filepath.Join(dir, "timeline.svg")})...)
	s.output = r.stderr
	if r.code != 0 {
		s.err = fmt.Errorf("exit code %d", r.code)
	}
}

func (s *sharedCluster) close() {
	if s.cluster == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if os.Getenv("PETRI_E2E_KEEP") == "" {
		s.cluster.petri(ctx, "delete", "cluster", "--name", s.cluster.name)
	}
}

// freePort is a TCP port that was free a moment ago.
func freePort() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
