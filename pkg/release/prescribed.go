package release

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"

	"golang.org/x/mod/semver"
)

// constantsPath is where kubeadm's source names the versions it goes with.
const constantsPath = "cmd/kubeadm/app/constants/constants.go"

// Prescribed are the versions that a Kubernetes release asks for.
type Prescribed struct {
	Etcd    string // module version: "v3.6.8"
	EtcdTag string // image tag: "3.6.8-0"
	CoreDNS string // module version and image tag: "v1.14.2"
	Pause   string // image tag: "3.10.2"
}

// ParseConstants reads the versions from kubeadm's constants.go.
func ParseConstants(src []byte) (Prescribed, error) {
	consts, err := stringConstants(src)
	if err != nil {
		return Prescribed{}, fmt.Errorf("read kubeadm's constants: %w", err)
	}
	for _, name := range []string{"DefaultEtcdVersion", "CoreDNSVersion", "PauseVersion"} {
		if consts[name] == "" {
			return Prescribed{}, fmt.Errorf("read kubeadm's constants: there is no string constant %s", name)
		}
	}
	return newPrescribed(consts["DefaultEtcdVersion"], consts["CoreDNSVersion"], consts["PauseVersion"])
}

// newPrescribed makes module versions of image tags.
func newPrescribed(etcdTag, coreDNS, pause string) (Prescribed, error) {
	p := Prescribed{EtcdTag: etcdTag, CoreDNS: coreDNS, Pause: pause}
	// the number after the last dash counts builds of the image
	upstream := etcdTag
	if i := strings.LastIndexByte(etcdTag, '-'); i >= 0 {
		upstream = etcdTag[:i]
	}
	p.Etcd = "v" + strings.TrimPrefix(upstream, "v")
	if !semver.IsValid(p.Etcd) {
		return Prescribed{}, fmt.Errorf("kubeadm's etcd version %q is not a version", etcdTag)
	}
	if !semver.IsValid(p.CoreDNS) {
		return Prescribed{}, fmt.Errorf("kubeadm's CoreDNS version %q is not a version", coreDNS)
	}
	return p, nil
}

// stringConstants returns the constants of a Go file that are string literals.
func stringConstants(src []byte) (map[string]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "", src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.CONST {
			continue
		}
		for _, spec := range gen.Specs {
			value := spec.(*ast.ValueSpec)
			for i, name := range value.Names {
				if i >= len(value.Values) {
					break
				}
				lit, ok := value.Values[i].(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					continue
				}
				if s, err := strconv.Unquote(lit.Value); err == nil {
					out[name.Name] = s
				}
			}
		}
	}
	return out, nil
}
