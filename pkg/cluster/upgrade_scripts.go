package cluster

import (
	"context"
	"fmt"
	"io"

	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// What an upgrade does in a node beside running kubeadm. Each script can be run
// again after it was cut short at any place, and gets the version that is
// upgraded to as its argument.

// nodeScript is a script, and what it does, for errors.
type nodeScript struct{ does, text string }

// Directories of an upgrade in a node, for the scripts.
const scriptNames = `set -eu
releases=` + nodeimage.ReleasesDir + `
release=$releases/$1
before=/var/lib/petri/before-upgrade
links=` + nodeimage.ProgramsDir + `
manifests=/etc/kubernetes/manifests
`

// unpackRelease puts the programs of a version beside those that run.
var unpackRelease = nodeScript{"unpack the release", scriptNames + `
rm -rf "$release.incoming"
mkdir -p "$release.incoming"
tar -x -C "$release.incoming"
rm -rf "$release"
mv "$release.incoming" "$release"
`}

// copyManifests is the part of scripts that keeps the static pods.
const copyManifests = `
for f in "$manifests"/*.yaml; do
  [ ! -e "$f" ] || cp -p "$f" "$new/"
done
`

// keepBefore keeps what the node ran before it is changed. What an upgrade that
// was cut short has kept stays: the node may be half changed since.
var keepBefore = nodeScript{"keep what runs", scriptNames + `
[ ! -e "$before" ] || exit 0
rm -rf "$before.new"
mkdir -p "$before.new/kubelet" "$before.new/manifests"
for f in config.yaml kubeadm-flags.env instance-config.yaml; do
  [ ! -e "/var/lib/kubelet/$f" ] || cp -p "/var/lib/kubelet/$f" "$before.new/kubelet/"
done
new=$before.new/manifests
` + copyManifests + `
if [ -L "$links/kubelet" ]; then readlink "$links/kubelet" > "$before.new/kubelet-link"; fi
mv "$before.new" "$before"
`}

// keepManifests keeps the static pods that kubeadm has exchanged in the place of
// those before: an API server does not go back over data of a newer one when a
// later attempt fails. The kubelet is still the one before, and so is what was
// kept for it.
var keepManifests = nodeScript{"keep the new static pods", scriptNames + `
[ -e "$before" ] || exit 0
new=$before/manifests.new
rm -rf "$new"
mkdir -p "$new"
` + copyManifests + `
rm -rf "$before/manifests"
mv "$new" "$before/manifests"
`}

// restoreKubelet is the end of the scripts that put back what was kept.
const restoreKubelet = `
for f in "$before"/kubelet/*; do
  cmp -s "$f" "/var/lib/kubelet/${f##*/}" || cp -p "$f" "/var/lib/kubelet/"
done
`

// restoreManifests puts back the static pods that kubeadm has left exchanged. A
// new etcd stays, unless there is none: its data may be of the new form, and
// kubeadm takes etcd back with its data. What was kept is what ran when kubeadm
// had last succeeded, see keepManifests; it is what runs then, and is kept anew
// by the next attempt.
var restoreManifests = nodeScript{"restore the static pods", scriptNames + `
for f in "$before"/manifests/*.yaml; do
  name=${f##*/}
  [ -e "$f" ] || continue
  [ "$name" != etcd.yaml ] || [ ! -e "$manifests/$name" ] || continue
  cmp -s "$f" "$manifests/$name" && continue
  cp -p "$f" "/etc/kubernetes/.$name"
  mv "/etc/kubernetes/.$name" "$manifests/$name"
done
` + restoreKubelet + `
rm -rf "$before"
`}

// restartControllers starts those anew who had lost the API: they ask it again
// ever more seldom, at last after a minute, and may take nodes for dead that they
// did not hear of.
var restartControllers = nodeScript{"start the controllers anew", scriptNames + `
for name in kube-controller-manager kube-scheduler; do
  for id in $(crictl ps --quiet --name "^$name\$"); do crictl stop --timeout 5 "$id"; done
done
`}

// switchPrograms makes the programs of a version those of the node.
var switchPrograms = nodeScript{"exchange the kubelet", scriptNames + `
for p in kubeadm kubectl kubelet; do
  ln -sfn "$release` + nodeimage.ImageProgramsDir + `/$p" "$links/.$p"
  mv -fT "$links/.$p" "$links/$p"
done
systemctl restart kubelet
`}

// restorePrograms is switchPrograms taken back.
var restorePrograms = nodeScript{"put the kubelet back", scriptNames + `
for p in kubeadm kubectl kubelet; do
  if [ -e "$before/kubelet-link" ]; then
    ln -sfn "$(dirname "$(cat "$before/kubelet-link")")/$p" "$links/.$p"
    mv -fT "$links/.$p" "$links/$p"
  else
    rm -f "$links/$p"
  fi
done
` + restoreKubelet + `
systemctl restart kubelet
`}

// settle makes the version the node's own, and forgets what was before.
var settle = nodeScript{"finish", scriptNames + `
cp "$release` + nodeimage.ManifestPath + `" ` + nodeimage.ManifestPath + `
cp "$release` + nodeimage.VersionPath + `" ` + nodeimage.VersionPath + `
rm -rf "$before"
for d in "$releases"/*; do
  [ "$d" = "$release" ] || rm -rf "$d"
done
`}

// script runs one of the scripts.
func script(ctx context.Context, n node.Node, s nodeScript, stdin io.Reader, version string) error {
	err := n.Run(ctx, exec.Cmd{Args: []string{"sh", "-c", s.text, s.does, version}, Stdin: stdin})
	if err != nil {
		if e, ok := err.(*exec.Error); ok {
			e.Args = []string{"sh"} // nobody wants to read it all
		}
		return fmt.Errorf("node %s: %s: %w", n.Name, s.does, err)
	}
	return nil
}
