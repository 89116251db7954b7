package progress

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// day is when all recorded things happened.
var day = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return day.Add(time.Duration(seconds * float64(time.Second))) }

// ran records a phase from one second to another.
func ran(r Reporter, phase, title, node string, from, to float64, status Status) {
	r.Report(Event{Time: at(from), Phase: phase, Title: title, Node: node, Status: Started})
	d := at(to).Sub(at(from))
	r.Report(Event{Time: at(to), Phase: phase, Title: title, Node: node, Status: status, Duration: d, Seconds: d.Seconds()})
}

// creation is what making a cluster of four nodes reports.
func creation() *Recorder {
	r := NewRecorder()
	r.Report(Event{Time: at(0), Status: Note, Message: `Creating cluster "dev"`})
	ran(r, "image", "Checking the node image", "", 0.1, 0.3, Done)
	ran(r, "provision", "Starting nodes", "", 0.3, 3.1, Done)
	nodes := []string{"dev-control-plane", "dev-worker", "dev-worker2", "dev-worker10"}
	for i, n := range nodes {
		off := float64(i) * 0.15
		ran(r, "container", "Starting "+n, n, 0.5+off, 1.1+off, Done)
		ran(r, "boot", "Booting "+n, n, 1.1+off, 2.6+off, Done)
	}
	ran(r, "init", "Starting the control plane", "", 3.1, 9.4, Done)
	cp := nodes[0]
	ran(r, "init", "", cp, 3.1, 9.3, Done)
	last := 3.2
	for _, step := range []struct {
		name string
		took float64
	}{{"preflight", 0.2}, {"certs", 1.1}, {"kubeconfig", 0.4}, {"etcd", 0.1}, {"control-plane", 0.2}, {"kubelet-start", 0.3}, {"wait-control-plane", 2.9}, {"upload-config", 0.3}} {
		last += step.took
		d := time.Duration(step.took * float64(time.Second))
		r.Report(Event{Time: at(last), Phase: "kubeadm/" + step.name, Title: step.name, Node: cp, Status: Done, Duration: d})
	}
	ran(r, "api", "Waiting for the API", "", 3.1, 6.9, Done)
	ran(r, "addons", "Installing network and storage", "", 6.9, 8.2, Done)
	ran(r, "join", "Joining workers", "", 6.9, 10.8, Done)
	for i, n := range nodes[1:] {
		ran(r, "join", "", n, 6.9, 9.9+0.4*float64(i), Done)
		ran(r, "kubeadm/kubelet-start", "kubelet-start", n, 7.2, 9.6+0.4*float64(i), Done)
	}
	ran(r, "ready", "Waiting until the cluster is usable", "", 10.8, 14.9, Done)
	ran(r, "finish", "Keeping the configuration", "", 14.9, 15.1, Done)
	r.Report(Event{Time: at(15.2), Status: Note, Message: "ready"})
	return r
}

// failure is a creation that an unhealthy worker and an interrupt ended.
func failure() *Recorder {
	r := NewRecorder()
	ran(r, "image", "Pulling <node> & \"image\"", "", 0, 48, Done)
	r.Report(Event{Time: at(48), Phase: "mirror", Title: "Filling the mirror", Status: Skipped})
	ran(r, "provision", "Starting nodes", "", 48, 52, Done)
	ran(r, "init", "Starting the control plane", "", 52, 61, Done)
	r.Report(Event{Time: at(61), Phase: "join", Title: "Joining workers", Status: Started})
	ran(r, "join", "", "dev-worker", 61, 100, Failed)
	r.Report(Event{Time: at(61), Phase: "join", Node: "dev-worker2", Status: Started})
	ran(r, "addons", "Installing network and storage", "", 99, 101, Failed)
	r.Report(Event{Time: at(101), Status: Note, Message: "interrupted"})
	return r
}

func TestTimeline(t *testing.T) {
	for name, r := range map[string]*Recorder{"timeline": creation(), "timeline-failed": failure(), "timeline-empty": NewRecorder()} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if err := r.Timeline(&out, "petri create cluster --name <dev>"); err != nil {
				t.Fatal(err)
			}
			wellFormed(t, out.String())
			golden(t, name+".svg", out.String())
		})
	}
}

// TestTimelineLayout holds what makes the picture readable, for thousands of
// arrangements: nothing overlaps and nothing leaves the page.
func TestTimelineLayout(t *testing.T) {
	for n := range 60 {
		r := NewRecorder()
		for i := range n {
			// A fixed pattern of long and short, early and late.
			from := float64(i*i*7%97) / float64(n%5+1)
			to := from + float64(i*13%41)*float64(i%3)
			node := []string{"", "a-node-with-a-rather-long-name-for-a-lane", "b"}[i%3]
			ran(r, fmt.Sprint("p", i), strings.Repeat("Title ", i%14+1), node, from, to, []Status{Done, Failed}[i%2])
		}
		tl := newTimeline(r.Events(), "t")
		for _, l := range tl.lanes {
			for i, b := range l.bars {
				from, to := b.extent()
				if from < tl.left-gap || to > pageWidth {
					t.Errorf("%d bars: %q reaches from %.0f to %.0f", n, b.label, from, to)
				}
				for _, o := range l.bars[:i] {
					if b.row == o.row && b.overlaps(o) {
						t.Errorf("%d bars: %q and %q overlap", n, b.label, o.label)
					}
				}
			}
		}
	}
}

func TestTimelineWriteError(t *testing.T) {
	if err := creation().Timeline(broken{}, "t"); !errors.Is(err, errBroken) {
		t.Errorf("got %v", err)
	}
}

func TestTicks(t *testing.T) {
	for total, want := range map[time.Duration]string{
		300 * time.Millisecond: "0.1s", 15 * time.Second: "2s", 50 * time.Second: "5s",
		100 * time.Second: "10s", 10 * time.Minute: "1m", 20 * time.Hour: "2h",
	} {
		if got := tickLabel(tickStep(total)); got != want {
			t.Errorf("%s: got steps of %s, want %s", total, got, want)
		}
	}
	if got := tickLabel(90 * time.Second); got != "1m30s" {
		t.Errorf("got %s, want 1m30s", got)
	}
}

func wellFormed(t *testing.T, doc string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(doc))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
