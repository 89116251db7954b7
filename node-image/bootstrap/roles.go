package bootstrap

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/petri-cluster/petri/pkg/nodeimage"
)

// nodeRoles lets nodes read the configuration of the system's own pods, which has no
// secrets, before the API server has understood that a pod is theirs. A kubelet hears
// of its pod at the same moment as the server's authorizer does (Node,
// k8s.io/kubernetes plugin/pkg/auth/authorizer/node), asks at once, and when it is
// the first it is refused, and asks again after a second or two.
//
//go:embed roles.yaml
var nodeRoles []byte

// makeRoles makes the default roles and bindings of this version of Kubernetes,
// which the image has from its source, and those that petri adds. The API server
// makes what is missing of its own a second after it serves, one after the other, and
// is not ready before that; until then it has little to do. What cannot be made
// here is left to it.
func (n *Node) makeRoles(ctx context.Context) error {
	roles, err := n.roles()
	if err != nil {
		return err
	}
	api, err := n.superuser()
	if err != nil {
		return err
	}
	defer api.CloseIdleConnections()
	defer n.Events.phase("node/roles")()
	api.each(ctx, roles)
	return nil
}

// roles are those to be made. The API server takes nothing away that it finds in its
// defaults, so they are left to one of another version than the image's, and to one
// that was told of feature gates or to behave like another version: it has others.
func (n *Node) roles() ([]creation, error) {
	out, err := parseObjects(nodeRoles)
	if err != nil {
		return nil, fmt.Errorf("roles of petri: %w", err)
	}
	ours, err := n.serverIsOfImage()
	if err != nil || !ours {
		return out, err
	}
	defaults, err := os.ReadFile(n.path(nodeimage.RolesPath))
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	more, err := parseObjects(defaults)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", nodeimage.RolesPath, err)
	}
	return slices.Concat(out, more), nil
}

// serverIsOfImage reports whether the API server is the one that the image has, and
// behaves as it does by default.
func (n *Node) serverIsOfImage() (bool, error) {
	manifest, err := os.ReadFile(filepath.Join(n.path(manifestsDir), "kube-apiserver.yaml"))
	if err != nil {
		return false, err
	}
	for _, flag := range []string{"--feature-gates", "--emulat", "--min-compatibility-version"} {
		if bytes.Contains(manifest, []byte(flag)) {
			return false, nil
		}
	}
	version, err := os.ReadFile(n.path(nodeimage.VersionPath))
	if err != nil {
		return false, err
	}
	tag := strings.ReplaceAll(strings.TrimSpace(string(version)), "+", "_") // as kubeadm does
	return bytes.Contains(manifest, []byte("image: registry.k8s.io/kube-apiserver:"+tag+"\n")), nil
}
