package release

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/petri-cluster/petri/pkg/progress"
)

// Module is Kubernetes as released on the Go module proxy.
type Module struct {
	Pin
	Builder *Builder
}

// String implements Source.
func (m Module) String() string { return "module " + m.Module + " " + m.Version }

// Fetch implements Source: it compiles the release.
func (m Module) Fetch(ctx context.Context, arch string, r progress.Reporter) (Kubernetes, error) {
	s := kubernetesStep(m.Module, m.Version)
	s.Set = versionVariables(m.Version, "", "archive", "{date}")
	s.Keep, s.KeepIfThere = []string{constantsPath}, roleFiles
	o, err := m.Builder.build(ctx, arch, s, r)
	if err != nil {
		return Kubernetes{}, err
	}
	k, err := kubernetesFrom(m.Version, o.file(constantsPath), o.artifacts())
	if err != nil {
		return Kubernetes{}, err
	}
	k.Roles, err = defaultRoles(o.file)
	return k, err
}

// daemons share most of their code, and run all the time. The commands kubeadm
// and kubectl stay apart: they are started often, and would take twice as long
// to start.
var daemons = []string{"kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubelet"}

// kubernetesTags are those of Kubernetes' own releases (its hack/lib/golang.sh).
// Without the last one the linker keeps every exported method, because a page of
// grpc's that nobody serves is a template.
var kubernetesTags = []string{"selinux", "notest", "grpcnotrace"}

func kubernetesStep(module, version string) Step {
	s := Step{
		Name: "kubernetes", Version: version, Module: module, Programs: map[string]string{}, Weight: 280,
		Combine: daemons, Answer: "Kubernetes {version}\n", Tags: kubernetesTags,
	}
	for _, name := range KubernetesPrograms() {
		s.Programs[name] = path.Join(module, "cmd", name)
	}
	return s
}

// versionVariables are the linker variables that make the programs of
// Kubernetes say their version. An unknown commit is set too, to nothing: the
// source has a placeholder there that only git archive fills in.
func versionVariables(version, commit, state, date string) map[string]string {
	major, minor, _ := strings.Cut(strings.TrimPrefix(semver.MajorMinor(version), "v"), ".")
	if semver.Prerelease(version)+semver.Build(version) != "" {
		minor += "+" // how Kubernetes marks what is on the way to a release
	}
	values := map[string]string{
		"gitVersion": version, "gitMajor": major, "gitMinor": minor,
		"gitCommit": commit, "gitTreeState": state, "buildDate": date,
	}
	set := map[string]string{}
	for name, value := range values {
		for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
			set[pkg+"."+name] = value
		}
	}
	return set
}

// kubernetesFrom completes a result with what kubeadm's constants prescribe.
func kubernetesFrom(version, constants string, a Artifacts) (Kubernetes, error) {
	src, err := os.ReadFile(constants)
	if err != nil {
		return Kubernetes{}, fmt.Errorf("read kubeadm's constants: %w", err)
	}
	p, err := ParseConstants(src)
	if err != nil {
		return Kubernetes{}, err
	}
	return Kubernetes{Version: version, Prescribed: p, Artifacts: a}, nil
}
