package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/petri-cluster/petri/pkg/config/kindv1alpha4"
	"github.com/petri-cluster/petri/pkg/config/v1alpha1"
)

// Options are what a configuration is read with.
type Options struct {
	// DefaultName is the name of a cluster whose file has none; empty: petri.
	DefaultName string
	// DefaultImage makes the name of the default node image for a Kubernetes
	// version; for "" that of the default version. Nil leaves images empty.
	DefaultImage func(kubernetesVersion string) string
	// Dir is the directory that relative paths are meant from. Paths of
	// mounts and manifests must then be there; empty: they are not looked at.
	Dir string
	// Overrides are values of flags.
	Overrides Overrides
	// Note is told, in one line with its place, each thing in a file of kind's
	// that has no effect or another one than its words say. It is called only
	// when the file can be used; nil: nobody is told.
	Note func(line string)
}

// Overrides win over what a file says; zero values say nothing. The numbers of
// nodes replace those of the file's list.
type Overrides struct {
	Name, Image, KubernetesVersion string
	Profile                        string // of security
	Ephemeral                      bool   // true wins over the file
	ControlPlanes, Workers         *int
	LocalRegistries                []string // added to the file's
}

// Load reads a configuration strictly, fills in defaults and checks it: a file
// of petri's own format or of kind's. Empty data is all defaults. Filename is
// for messages. Everything that is wrong is in one error of class usage, each
// with its line or the flag it came from.
func Load(data []byte, filename string, opts Options) (*Cluster, error) {
	p := newProblems(filename)
	file, raw := read(data, p)
	if file == nil {
		return nil, p.err()
	}
	file.override(opts.Overrides, p)
	c := file.resolve(p, opts)
	c.Kubeadm = append(c.Kubeadm, raw...)
	checkProxy(p, c)
	if err := p.err(); err != nil {
		return nil, err
	}
	if opts.Note != nil {
		p.tell(opts.Note)
	}
	return c, nil
}

// read decodes the first document, and keeps those of kubeadm that follow. It
// returns no source when there is nothing to go on with.
func read(data []byte, p *problems) (*source, []RawDocument) {
	s := &source{}
	var raw []RawDocument
	ofKind := false
	documents := yaml.NewDecoder(bytes.NewReader(data))
	for first := true; ; {
		var n yaml.Node
		err := documents.Decode(&n)
		if errors.Is(err, io.EOF) {
			return s, raw
		}
		if err != nil {
			if at := yamlPosition(err); at.line > 0 {
				p.addAt(at, "", "%s", plainYAML(err))
			} else {
				p.addAt(at, p.file, "%s", plainYAML(err))
			}
			return nil, nil
		}
		if len(n.Content) == 0 || n.Content[0].ShortTag() == "!!null" {
			continue
		}
		if !first && ofKind {
			p.noteAt(placeOf(n.Content[0]), "", "kind reads the first document only: this one is not read")
			continue
		}
		if !first {
			if r, ok := rawDocument(n.Content[0], p); ok {
				raw = append(raw, r)
			}
			continue
		}
		first = false
		if !known(n.Content[0], p) {
			return nil, nil
		}
		if ofKind = headerOf(n.Content[0]).APIVersion == kindv1alpha4.APIVersion; ofKind {
			if !readKind(n.Content[0], s, p) {
				return nil, nil
			}
			continue
		}
		if !decode(n.Content[0], &s.Cluster, p, false) {
			return nil, nil
		}
	}
}

var yamlLine = regexp.MustCompile(`line (\d+)`)

var yamlPrefix = regexp.MustCompile(`(?m)^(yaml: )?(unmarshal errors:\n)?( *line \d+: )?`)

// plainYAML is what the parser complains of, in one line and without the
// place, which problems have already.
func plainYAML(err error) string {
	return strings.ReplaceAll(yamlPrefix.ReplaceAllString(err.Error(), ""), "\n", "; ")
}

func yamlPosition(err error) position {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		line, _ := strconv.Atoi(m[1])
		return position{line, 1}
	}
	return position{}
}

// header is the part of a document that says what it is.
type header struct{ APIVersion, Kind string }

func headerOf(n *yaml.Node) header {
	var h header
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		switch n.Content[i].Value {
		case "apiVersion":
			h.APIVersion = followed(n.Content[i+1]).Value
		case "kind":
			h.Kind = followed(n.Content[i+1]).Value
		}
	}
	return h
}

// known reports whether a document is of a format that can be read.
func known(n *yaml.Node, p *problems) bool {
	at, h := placeOf(n), headerOf(n)
	switch {
	case h.APIVersion == v1alpha1.APIVersion && h.Kind == v1alpha1.Kind,
		h.APIVersion == kindv1alpha4.APIVersion && h.Kind == kindv1alpha4.Kind:
		return true
	case h.APIVersion == "" || h.Kind == "":
		p.addAt(at, "", "must begin with apiVersion: %s and kind: %s", v1alpha1.APIVersion, v1alpha1.Kind)
	default:
		p.addAt(at, "apiVersion", "%s %s is not a format that petri reads; those are %s and %s, kind: %s", h.APIVersion, h.Kind, v1alpha1.APIVersion, kindv1alpha4.APIVersion, v1alpha1.Kind)
	}
	return false
}
