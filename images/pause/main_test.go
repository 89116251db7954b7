package main

import (
	"os"
	"testing"
	"time"
)

// What asks for the version gets an answer, not a sandbox.
func TestVersion(t *testing.T) {
	args := os.Args
	t.Cleanup(func() { os.Args = args })
	os.Args = []string{"pause", "-v"}
	ended := make(chan struct{})
	go func() {
		main()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("pause -v goes on")
	}
}
