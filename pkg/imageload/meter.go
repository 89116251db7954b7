package imageload

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/petri-cluster/petri/pkg/progress"
)

// meterPeriod is how often progress is reported.
const meterPeriod = 200 * time.Millisecond

// meter says from time to time how many bytes each node has got.
type meter struct {
	task  *progress.Task
	nodes []*receiver

	mu   sync.Mutex
	last time.Time
}

// tick reports, unless it has just done so.
func (m *meter) tick() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.last) < meterPeriod {
		return
	}
	m.last = time.Now()
	var parts []string
	for _, r := range m.nodes {
		part := fmt.Sprintf("%s %.1f", r.store.Node(), megabytes(r.sent.Load()))
		if total := r.total.Load(); total > 0 {
			part += fmt.Sprintf("/%.1f", megabytes(total))
		}
		parts = append(parts, part+" MB")
	}
	m.task.Update(strings.Join(parts, ", "))
}

func megabytes(n int64) float64 { return float64(n) / 1e6 }

// counted counts what a node reads.
type counted struct {
	io.Reader
	r *receiver
}

// Read implements io.Reader.
func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.r.sent.Add(int64(n))
	c.r.meter.tick()
	return n, err
}
