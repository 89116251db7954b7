package cluster

import (
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/petri-cluster/petri/pkg/doctor"
	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
	"github.com/petri-cluster/petri/pkg/provider"
)

// sickHost is a machine on which the engine runs, with little of everything.
func sickHost(s *scene, free uint64) {
	files := fstest.MapFS{
		"proc/sys/fs/inotify/max_user_instances": {Data: []byte("128\n")},
		"proc/sys/fs/inotify/max_user_watches":   {Data: []byte("524288\n")},
		"etc/resolv.conf":                        {Data: []byte("nameserver 192.168.1.1\n")},
	}
	s.Host = &doctor.Host{
		FS: files, Getenv: func(string) string { return "" }, Now: time.Now,
		Space:   func(string) (doctor.Space, error) { return doctor.Space{Bytes: free}, nil },
		Inotify: func(n int) int { return n },
		Listen:  func(string, string) error { return fs.ErrPermission },
		Sync:    func() (time.Duration, error) { return time.Millisecond, nil },
	}
	s.SetInfo(provider.Info{
		Name: "fake", Version: "1.0.0", APIVersion: "1.41", OS: "linux", Architecture: "amd64", Local: true, Root: "/var/lib/engine",
		CgroupVersion: 2, CPUs: 2, MemoryBytes: 8 << 30, KernelVersion: "6.18.0", ID: "fake-engine",
	})
}

// What is fatal stops a creation before anything is made, in as many calls to
// the engine as before.
func TestPreflightStopsCreation(t *testing.T) {
	s := newScene(t)
	sickHost(s, 1<<20)
	err := s.Create(t.Context(), dev(t, 0), s.options())
	wantError(t, err, errdefs.ClassUnavailable, "DISK-FULL", "/var/lib/engine")
	for _, call := range s.Calls() {
		if strings.HasPrefix(call, "create ") || call == "survey" {
			t.Errorf("it called %s", call)
		}
	}
	s.untouched(t, "a full disk")
}

func TestPreflightWarnsOnce(t *testing.T) {
	s := newScene(t)
	sickHost(s, 100<<30)
	recorder := progress.NewRecorder()
	s.reporter = recorder
	s.create(t, 0)
	var warnings []string
	for _, e := range recorder.Events() {
		if e.Status == progress.Note && strings.HasPrefix(e.Message, "warning ") {
			warnings = append(warnings, e.Message)
		}
	}
	if len(warnings) != 1 || !strings.HasPrefix(warnings[0], "warning INOTIFY-LOW: a user may have 128 inotify instances") || strings.Contains(warnings[0], "\n") {
		t.Errorf("warnings: %q", warnings)
	}
}

// TestPreflightCostsNoCall makes the same cluster with checks that find
// something and with those that find nothing, and counts calls.
func TestPreflightCostsNoCall(t *testing.T) {
	well, sick := newScene(t), newScene(t)
	sickHost(sick, 100<<30)
	well.create(t, 0)
	sick.create(t, 0)
	if a, b := len(well.Calls()), len(sick.Calls()); a != b || a > 15 {
		t.Errorf("%d and %d calls, want at most 15 and the same: %q", a, b, sick.Calls())
	}
}

func TestDoctor(t *testing.T) {
	s := newScene(t)
	s.create(t, 0)
	s.AddContainer(provider.Container{Name: "old-worker", Cluster: "old", Role: nodeimage.RoleWorker})
	s.AddNetwork("office", netip.MustParsePrefix("10.96.4.0/24"))
	before := s.Objects()
	report := s.Doctor(t.Context(), dev(t, 0), DoctorOptions{Kubeconfig: s.kubeconfig, Named: true})
	for _, id := range []string{"CLUSTER-EXISTS", "LEFTOVERS", "SUBNET-ROUTED"} {
		if !slices.ContainsFunc(report.Findings, func(f doctor.Finding) bool { return f.ID == id }) {
			t.Errorf("%s was not found: %+v", id, report.Findings)
		}
	}
	if report.Works || !slices.Equal(before, s.Objects()) {
		t.Errorf("works: %v, objects %q", report.Works, s.Objects())
	}
}

// TestDoctorFailsAtEveryCall fails each call to the engine in turn: that is a
// finding, and no panic.
func TestDoctorFailsAtEveryCall(t *testing.T) {
	for n := 1; ; n++ {
		s := newScene(t)
		s.FailAt(n, errBroken)
		report := s.Doctor(t.Context(), dev(t, 0), DoctorOptions{})
		if len(s.Calls()) < n {
			if !report.Works || n < 4 {
				t.Errorf("after %d calls: %+v", n-1, report.Findings)
			}
			return
		}
		if report.Works || !strings.Contains(report.Err().Error(), errBroken.Error()) {
			t.Errorf("call %d: %v", n, report.Err())
		}
	}
}

func TestExplainedCreation(t *testing.T) {
	s := newScene(t)
	s.Break("SaveConfig", errors.New("etcdserver: request timed out"))
	wantError(t, s.Create(t.Context(), dev(t, 0), s.options()), errdefs.ClassUnavailable, "DISK-SLOW", "etcdserver")
}
