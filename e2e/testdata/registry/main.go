// Command registry is a container registry in memory, for tests of scripts
// that push to one. It answers at port 5000.
package main

import (
	"log"
	"net/http"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	log.Fatal(http.ListenAndServe(":5000", registry.New()))
}
