package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/progress"
)

// ciSite is where the Kubernetes project publishes what its CI builds of HEAD
// and of the release branches.
const ciSite = "https://dl.k8s.io"

// CI is the newest build of Kubernetes' own CI that a marker names: "ci/latest"
// of HEAD, "ci/latest-1.36" of a branch.
type CI struct {
	Marker  string
	Site    string // empty: ciSite
	Builder *Builder
	Client  *http.Client // nil is http.DefaultClient
}

// String implements Source.
func (c CI) String() string { return "marker " + c.marker() }

func (c CI) marker() string {
	name := strings.TrimSuffix(strings.TrimPrefix(c.Marker, "ci/"), ".txt")
	if name == "" {
		name = "latest"
	}
	return "ci/" + name
}

func (c CI) site() string {
	if c.Site != "" {
		return c.Site
	}
	return ciSite
}

// Fetch implements Source. It asks the site which version the marker means, and
// downloads the server archive of that version.
func (c CI) Fetch(ctx context.Context, arch string, r progress.Reporter) (Kubernetes, error) {
	task := progress.Start(r, "resolve-kubernetes", "Asking which version "+c.marker()+" is", "")
	version, err := c.resolve(ctx)
	if err == nil {
		task.Update(version)
	}
	if err := task.Done(err); err != nil {
		return Kubernetes{}, fmt.Errorf("resolve %s: %w", c.marker(), err)
	}
	url := fmt.Sprintf("%s/ci/%s/kubernetes-server-linux-%s.tar.gz", c.site(), version, arch)
	return URL{URL: url, Builder: c.Builder, Client: c.Client}.Fetch(ctx, arch, r)
}

func (c CI) resolve(ctx context.Context) (string, error) {
	at := URL{URL: c.site() + "/" + c.marker() + ".txt", Client: c.Client}
	answer, err := at.get(ctx, at.URL)
	if errdefs.Is(err, errdefs.ClassNotFound) {
		return "", badSource("there is no marker %s", c.marker())
	}
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if err != nil {
		return "", err
	}
	version := strings.TrimSpace(string(data))
	if !semver.IsValid(version) {
		return "", errors.New("what the server answers is no version")
	}
	return version, nil
}
