// Command petri makes local Kubernetes clusters out of containers.
package main

import (
	"os"

	"github.com/petri-cluster/petri/cmd/petri/command"
)

func main() {
	os.Exit(command.Main(os.Args[0], os.Args[1:]))
}
