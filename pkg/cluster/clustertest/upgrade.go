package clustertest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/image/imagetest"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider"
	"github.com/petri-cluster/petri/pkg/provider/fake"
)

// NodeImage is a node image as petri builds it, of a Kubernetes version, with
// one preloaded image.
func NodeImage(version string) fake.Image {
	server := imagetest.Image{Name: ServerImage(version), Layers: [][]byte{imagetest.Layer("kube-apiserver", []byte(version))}}
	const blobs = nodeimage.StoreRoot + "/io.containerd.content.v1.content/blobs/sha256/"
	files := map[string][]byte{
		nodeimage.VersionPath:                                          []byte(version + "\n"),
		nodeimage.ManifestPath:                                         nodeManifest(version),
		nodeimage.CNIManifestPath:                                      []byte(CNIManifest),
		nodeimage.StorageManifestPath:                                  []byte(StorageManifest),
		blobs + server.ID().Encoded():                                  server.Config(),
		blobs + targetOf(server)[len("sha256:"):]:                      server.Manifest(),
		nodeimage.StoreSnapshots + "/kube-apiserver/fs/kube-apiserver": []byte(version),
	}
	for _, name := range []string{"kubeadm", "kubectl", "kubelet"} {
		files[nodeimage.ImageProgramsDir+"/"+name] = []byte(name + " " + version)
	}
	return fake.Image{Image: provider.Image{Labels: map[string]string{nodeimage.LabelKubernetes: version, nodeimage.LabelContract: nodeimage.Contract}}, Files: files}
}

// ServerImage is the name of the image that is preloaded in NodeImage.
func ServerImage(version string) string { return "registry.k8s.io/kube-apiserver:" + version }

func targetOf(i imagetest.Image) string {
	return imagetest.Descriptor("", i.Manifest()).Digest.String()
}

func nodeManifest(version string) []byte {
	server := imagetest.Image{Name: ServerImage(version), Layers: [][]byte{imagetest.Layer("kube-apiserver", []byte(version))}}
	data, _ := json.Marshal(nodeimage.Manifest{ // a struct of strings cannot fail
		SchemaVersion: 1, Kubernetes: version, Architecture: "amd64",
		Images: []nodeimage.Preloaded{{Name: server.Name, Digest: targetOf(server), Snapshot: "kube-apiserver"}},
	})
	return data
}

// versionOf is the Kubernetes of a node image called as petri calls them.
func versionOf(image string) string {
	if _, tag, ok := strings.Cut(image, ":v"); ok {
		return "v" + tag
	}
	return Version
}

// upgrades answers what an upgrade runs in nodes.
func (w *World) upgrades() {
	w.Handle(w.UpgradeScript, "sh", "-c")
	w.Handle(w.KubeadmUpgrade, "flock")
	w.Handle(w.hasManifest, "cat", nodeimage.ManifestPath)
	w.Handle(fake.Print(""), "cp", "-al")
	w.Handle(fake.Print("kubeadm explains itself\n"), "cat", "/var/log/petri-upgrade.log")
}

// hasManifest is the manifest of the image that a node was made of.
func (w *World) hasManifest(_ context.Context, n node.Node, cmd exec.Cmd) error {
	_, err := cmd.Stdout.Write(nodeManifest(versionOf(n.Image)))
	return err
}

// UpgradeScript answers the scripts of an upgrade. It does what counts of each script: kubelets change.
func (w *World) UpgradeScript(_ context.Context, n node.Node, cmd exec.Cmd) error {
	if len(cmd.Args) != 5 {
		return fake.Exit(cmd, 2, fmt.Sprintf("sh: %d arguments", len(cmd.Args)))
	}
	if _, err := io.Copy(io.Discard, cmd.Stdin); err != nil {
		return err
	}
	does, version := cmd.Args[3], cmd.Args[4]
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, does+" "+n.Name)
	api := w.clusters[n.Cluster]
	switch does {
	case "exchange the kubelet":
		api.kubelets = with(api.kubelets, n.Name, version)
	case "put the kubelet back":
		delete(api.kubelets, n.Name)
	}
	return nil
}

// KubeadmUpgrade is "kubeadm upgrade" under a lock.
func (w *World) KubeadmUpgrade(_ context.Context, n node.Node, cmd exec.Cmd) error {
	at := slices.Index(cmd.Args, "upgrade")
	if at < 0 || at+1 == len(cmd.Args) {
		return fake.Exit(cmd, 2, "kubeadm: no command")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, "kubeadm upgrade "+cmd.Args[at+1]+" "+n.Name)
	if cmd.Args[at+1] == "apply" {
		w.clusters[n.Cluster].server = cmd.Args[at+2]
	}
	return nil
}

// ServerVersion is what kubeadm has brought the cluster to.
func (a *API) ServerVersion(ctx context.Context) (string, error) {
	defer a.end()
	if err := a.begin(ctx, "ServerVersion", ""); err != nil {
		return "", err
	}
	return cmp.Or(a.server, Version), nil
}

// Annotate keeps what is said of a node.
func (a *API) Annotate(ctx context.Context, node string, annotations map[string]string) error {
	defer a.end()
	if err := a.begin(ctx, "Annotate", " "+node); err != nil {
		return err
	}
	has := maps.Clone(a.annotations[node])
	if has == nil {
		has = map[string]string{}
	}
	maps.Copy(has, annotations)
	maps.DeleteFunc(has, func(_, value string) bool { return value == "" })
	a.annotations = with(a.annotations, node, has)
	return nil
}

// Vacate is Drain.
func (a *API) Vacate(ctx context.Context, node string, left func(pods int)) error {
	err := func() error {
		defer a.end()
		return a.begin(ctx, "Vacate", " "+node)
	}()
	if err != nil {
		return err
	}
	return a.empty(ctx, node, left)
}

// kubelet is the version that a node reports.
func (a *API) kubelet(node string) string {
	return cmp.Or(a.kubelets[node], a.made[node], Version)
}
