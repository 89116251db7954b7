package noderelease

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/image/imagetest"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/provider/fake"
)

const ref = "petri/node:v1.36.3"

// program is a file that is worth to be there once.
var program = bytes.Repeat([]byte("program "), large/8+1)

// nodeFiles are those of a node image with two images of one program.
func nodeFiles(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{
		nodeimage.VersionPath: []byte("v1.36.3\n"), nodeimage.CNIManifestPath: []byte("cni"), nodeimage.StorageManifestPath: []byte("storage"),
		"/usr/bin/kubeadm": []byte("kubeadm"), "/usr/bin/kubectl": []byte("kubectl"), "/usr/bin/kubelet": program,
	}
	m := nodeimage.Manifest{Kubernetes: "v1.36.3", Architecture: "amd64"}
	for _, name := range []string{"kube-apiserver", "etcd"} {
		i := imagetest.Image{Layers: [][]byte{imagetest.Layer(name, []byte(name))}}
		target := imagetest.Descriptor("", i.Manifest()).Digest
		files[blobs+"/"+i.ID().Encoded()] = i.Config()
		files[blobs+"/"+target.Encoded()] = i.Manifest()
		files[nodeimage.StoreSnapshots+"/"+name+"/fs/bin/"+name] = program
		files[nodeimage.StoreSnapshots+"/"+name+"/fs/etc/conf"] = []byte("of " + name)
		m.Images = append(m.Images, nodeimage.Preloaded{Name: "registry.k8s.io/" + name + ":v1", Digest: target.String(), Snapshot: name})
	}
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	files[nodeimage.ManifestPath] = data
	return files
}

func engineWith(files map[string][]byte) *fake.Provider {
	p := fake.New()
	p.AddImage(ref, fake.Image{Files: files})
	return p
}

func TestRead(t *testing.T) {
	r, err := Read(t.Context(), engineWith(nodeFiles(t)), ref)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Images) != 2 || r.Images[1].Names[0] != "registry.k8s.io/etcd:v1" || r.Images[1].Snapshot != "etcd" || len(r.Images[1].DiffIDs()) != 1 {
		t.Errorf("images %+v", r.Images)
	}
	if r.Addons[nodeimage.CNIManifestPath] != "cni" || Tag(r.Manifest, "registry.k8s.io/etcd") != "v1" || Tag(r.Manifest, "registry.k8s.io/etc") != "" {
		t.Errorf("release %+v", r)
	}
}

func TestReadRefuses(t *testing.T) {
	for id, change := range map[string]func(map[string][]byte){
		"NOT-A-PETRI-IMAGE": func(f map[string][]byte) { delete(f, nodeimage.ManifestPath) },
		"OLD-NODE-IMAGE": func(f map[string][]byte) {
			f[nodeimage.ManifestPath] = bytes.ReplaceAll(f[nodeimage.ManifestPath], []byte(`,"snapshot":"etcd"`), nil)
		},
		"IMAGE-BROKEN": func(f map[string][]byte) {
			for name := range f {
				if len(name) > len(blobs) && name[:len(blobs)] == blobs {
					f[name] = []byte("{}")
				}
			}
		},
	} {
		files := nodeFiles(t)
		change(files)
		_, err := Read(t.Context(), engineWith(files), ref)
		if e, ok := errors.AsType[*errdefs.Error](err); !ok || e.ID != id {
			t.Errorf("%v, want %s", err, id)
		}
	}
}

// What is in the archive under several names is there once.
func TestPack(t *testing.T) {
	r, err := Read(t.Context(), engineWith(nodeFiles(t)), ref)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := r.Pack(t.Context(), r.Images, t.TempDir(), &out); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for tr := tar.NewReader(&out); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name] = h.Linkname
		if h.Typeflag == tar.TypeReg {
			got[h.Name] = fmt.Sprint(h.Size)
		}
	}
	want := map[string]string{
		"petri/manifest.json": got["petri/manifest.json"], "kind/version": "8",
		"usr/bin/kubeadm": "7", "usr/bin/kubectl": "7", "usr/bin/kubelet": fmt.Sprint(len(program)),
		"images/kube-apiserver/bin/kube-apiserver": "usr/bin/kubelet", "images/kube-apiserver/etc/conf": "17",
		"images/etcd/bin/etcd": "usr/bin/kubelet", "images/etcd/etc/conf": "7",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	without := maps.Clone(nodeFiles(t))
	delete(without, "/usr/bin/kubelet")
	if r, err = Read(t.Context(), engineWith(without), ref); err != nil {
		t.Fatal(err)
	}
	if err := r.Pack(t.Context(), nil, t.TempDir(), io.Discard); !errdefs.Is(err, errdefs.ClassNotFound) {
		t.Errorf("without a kubelet: %v", err)
	}
}
