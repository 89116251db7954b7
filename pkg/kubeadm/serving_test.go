package kubeadm

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// TestServingFiles: what the arguments name is there, and is a certificate of the
// node with its key.
func TestServingFiles(t *testing.T) {
	files, err := ServingFiles("dev-control-plane")
	if err != nil {
		t.Fatal(err)
	}
	for _, component := range []string{managerName, schedulerName} {
		args := serving(component)
		certificate, key := files[text(args[0].(object), "value")], files[text(args[1].(object), "value")]
		pair, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			t.Fatalf("%s: %v", component, err)
		}
		if err := pair.Leaf.VerifyHostname("dev-control-plane"); err != nil {
			t.Errorf("%s: %v", component, err)
		}
	}
	for path := range files {
		if !strings.HasPrefix(path, nodeimage.ServingDir+"/") {
			t.Errorf("%s is elsewhere", path)
		}
	}
	if len(files) != 4 {
		t.Errorf("%d files, want 4", len(files))
	}
}
