package bootstrap

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
)

// FuzzEvents: whatever a node helper prints, reading it ends, phases take a
// time that can be, and only a helper that said so has finished.
func FuzzEvents(f *testing.F) {
	var good strings.Builder
	for _, e := range []nodeimage.NodeEvent{
		{Kind: nodeimage.PhaseStarted, Time: 1000, Phase: "kubeadm/certs"}, {Kind: nodeimage.PhaseDone, Time: 1250, Phase: "kubeadm/certs"},
		{Kind: nodeimage.ManifestFound, Name: nodeimage.CNIManifestPath, Data: "kind: DaemonSet\n"}, {Kind: nodeimage.Finished, Time: 2000},
	} {
		line, err := json.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		good.Write(append(line, '\n'))
	}
	f.Add(good.String())
	f.Add(`{"kind":"phase-done","time":1,"phase":"kubeadm/certs"}`)
	f.Add(`{"kind":"phase-started","time":9,"phase":"x"}` + "\n" + `{"kind":"phase-done","time":1,"phase":"x"}`)
	f.Add(`{"kind":"failed","error":"no"}` + "\nnull\n{}\n[]\n")
	f.Fuzz(func(t *testing.T, text string) {
		recorder := progress.NewRecorder()
		began := false
		w := &eventWriter{
			reporter: recorder, node: "n", begun: map[string]time.Time{},
			on: func(e nodeimage.NodeEvent) { began = began || e.Kind == nodeimage.PhaseStarted },
		}
		_, written := io.Copy(w, iotest.OneByteReader(strings.NewReader(text)))
		err := w.verdict("init", written)
		if (err == nil) != (w.finished && w.failure == nil && written == nil) {
			t.Fatalf("finished %v, failure %v, written %v: %v", w.finished, w.failure, written, err)
		}
		for _, e := range recorder.Events() {
			if e.Duration < 0 || !began && e.Duration != 0 {
				t.Fatalf("phase %q took %s", e.Phase, e.Duration)
			}
		}
	})
}
