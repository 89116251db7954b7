// Package logsummary renders the page that an export of a cluster opens with:
// what is wrong first, then what the cluster is made of, then where everything
// else is. It is a template and what fills it; what is wrong is found by who
// exports, and secrets are taken out by them too. The page is one file without
// scripts that loads nothing, so that it can be read from a CI artifact.
package logsummary

import (
	_ "embed"
	"html/template"
	"io"
	"time"
)

// Page is what the page says.
type Page struct {
	Cluster  string
	Provider string // "docker 20.10.24"
	Petri    string // version
	Made     time.Time
	Findings []Finding // the gravest first
	Warnings []Finding // what need not be wrong
	Missing  []string  // what could not be exported, and why
	Nodes    []Node
	Files    []string
}

// Finding is one thing that is wrong, and the last lines that tell why.
type Finding struct {
	ID   string // of the catalogue of errors; empty when it is not in there
	Kind string // "node not ready"
	What string // "node dev-worker"
	Why  string
	Do   string // what mends it; empty when nobody knows
	File string // in the export, where the lines are from; empty when there are none
	Tail string
}

// Node is a line of the table of nodes.
type Node struct {
	Name, Role, State, Version, Problem string
	Ready                               bool
}

//go:embed page.html
var source string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"moment": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
}).Parse(source))

// Write renders the page.
func Write(w io.Writer, p Page) error { return page.Execute(w, p) }
