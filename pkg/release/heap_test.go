package release

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// heapProgram says, in MiB, how far its heap may grow before it is swept: when it
// starts, after a sweep that left next to nothing, and after one that left 40 MiB.
const heapProgram = `package main

import (
	"fmt"
	"runtime"
	"runtime/metrics"

	_ "example.com/m/heap"
)

// sweep ends when what follows a sweep has been done too. Finalizers run one after
// the other, in no order within a sweep: those of the last sweep but one have run.
func sweep() {
	for range 3 {
		swept := make(chan bool)
		runtime.SetFinalizer(&struct{ _ *byte }{}, func(any) { close(swept) })
		runtime.GC()
		<-swept
	}
}

func goal() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	metrics.Read(s)
	return min(s[0].Value.Uint64()>>20, 1<<20) // that much is never
}

func main() {
	start := goal()
	sweep()
	empty := goal()
	kept := make([]byte, 40<<20)
	sweep()
	fmt.Println(start, empty, goal())
	runtime.KeepAlive(kept)
}
`

// TestHeap: a program that starts may let its heap grow threefold, up to the size that
// it was given, and as it will be later once it keeps more than that.
func TestHeap(t *testing.T) {
	dir := t.TempDir()
	writeTree(t, dir, map[string]string{
		"go.mod": "module example.com/m\n\ngo 1.24\n", "main.go": heapProgram, "heap/heap.go": heapSource,
	})
	build := exec.CommandContext(t.Context(), "go", "build", "-o", "program", ".")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const never = 1 << 20
	for name, c := range map[string]struct {
		gogc, size string
		want       [3]int // MiB; the last one to within 4
	}{
		"much more than it keeps": {"50", "128", [3]int{16, 8, 122}},
		"little more":             {"50", "80", [3]int{16, 8, 80}},
		"less than it keeps":      {"50", "32", [3]int{16, 8, 61}},
		"not told":                {"50", "", [3]int{2, 2, 61}},
		"not a number":            {"50", "many", [3]int{2, 2, 61}},
		"too small":               {"50", "3", [3]int{2, 2, 61}},
		"turned off":              {"off", "32", [3]int{never, never, never}},
	} {
		t.Run(name, func(t *testing.T) {
			program := exec.CommandContext(t.Context(), dir+"/program")
			program.Env = append(os.Environ(), "GOGC="+c.gogc, "PETRI_STARTUP_HEAP="+c.size)
			out, err := program.Output()
			if err != nil {
				t.Fatal(err)
			}
			var got [3]int
			if _, err := fmt.Sscan(string(out), &got[0], &got[1], &got[2]); err != nil {
				t.Fatalf("%q: %v", out, err)
			}
			if got[0] != c.want[0] || got[1] != c.want[1] || max(got[2]-c.want[2], c.want[2]-got[2]) > 4 {
				t.Errorf("the heap may grow to %v MiB; want %v", got, c.want)
			}
		})
	}
}
