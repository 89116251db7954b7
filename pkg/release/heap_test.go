package release

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// heapProgram makes garbage, keeps 40 MiB, and says whether it was swept in between,
// and whether at last its heap may grow by more than the half that it was told.
const heapProgram = `package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	_ "example.com/m/heap"
)

var sink []byte

func garbage(mib int) (sweeps uint32) {
	for range mib {
		sink = make([]byte, 1<<20)
	}
	time.Sleep(20 * time.Millisecond) // what comes after a sweep runs beside
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.NumGC
}

func main() {
	first := garbage(40)
	second := garbage(100) - first
	kept := make([]byte, 40<<20)
	third := garbage(100)
	runtime.KeepAlive(kept)
	fmt.Println(first > 0, second > 0 && second < 10, third > 0, debug.SetGCPercent(100) > 50)
}
`

// TestHeap: a program that starts is swept when its heap has the size that it was
// given, and as it will be later once it keeps more than that.
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
	for size, want := range map[string]string{
		"128":  "false true true true",
		"32":   "true true true false",
		"":     "true false true false",
		"many": "true false true false",
		"3":    "true false true false", // less than the smallest heap
	} {
		t.Run(size, func(t *testing.T) {
			program := exec.CommandContext(t.Context(), dir+"/program")
			program.Env = append(os.Environ(), "GOGC=50", "PETRI_STARTUP_HEAP="+size)
			out, err := program.Output()
			if got := strings.TrimSpace(string(out)); err != nil || got != want {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		})
	}
}
