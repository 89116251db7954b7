package release

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// heapProgram makes garbage, keeps 40 MiB, and says whether it was swept in between,
// and by how many percent its heap may grow at last.
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
	second := garbage(100)
	kept := make([]byte, 40<<20)
	third := garbage(200)
	runtime.KeepAlive(kept)
	fmt.Printf("%v %v %v; %d\n", first > 0, second > first && second < first+20, third > second, debug.SetGCPercent(100))
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
	for name, c := range map[string]struct {
		gogc, size string
		want       string
		atLeast    int // percent at last
		atMost     int
	}{
		"much more than it keeps": {"50", "128", "true true true", 200, 200},
		"little more":             {"50", "80", "true true true", 60, 110},
		"less than it keeps":      {"50", "32", "true true true", 50, 50},
		"not told":                {"50", "", "true false true", 50, 50},
		"not a number":            {"50", "many", "true false true", 50, 50},
		"too small":               {"50", "3", "true false true", 50, 50},
		"turned off":              {"off", "32", "false false false", -1, -1},
	} {
		t.Run(name, func(t *testing.T) {
			program := exec.CommandContext(t.Context(), dir+"/program")
			program.Env = append(os.Environ(), "GOGC="+c.gogc, "PETRI_STARTUP_HEAP="+c.size)
			out, err := program.Output()
			if err != nil {
				t.Fatal(err)
			}
			swept, last, _ := strings.Cut(strings.TrimSpace(string(out)), "; ")
			percent, err := strconv.Atoi(last)
			if err != nil || swept != c.want || percent < c.atLeast || percent > c.atMost {
				t.Errorf("got %s, %v; want %s and %d to %d %%", out, err, c.want, c.atLeast, c.atMost)
			}
		})
	}
}
