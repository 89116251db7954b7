package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// configSource is where the file format is documented.
const configSource = "pkg/config/v1alpha1/types.go"

const configHead = `---
title: Configuration reference
weight: 10
description: Every field of a cluster's configuration, with its default and an example.
# gendocs makes this page from pkg/config/v1alpha1/types.go: change it there
---

[Configuration](../configuration.md) shows what files look like; this page has
every field. Reading is strict: an unknown field, a wrong type or a value that
is not allowed is an error with its line.

`

// configReference makes the reference of the configuration.
func configReference(root string) ([]byte, error) {
	objects, err := readObjects(filepath.Join(root, filepath.FromSlash(configSource)))
	if err != nil {
		return nil, err
	}
	places, err := walk(objects)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.WriteString(configHead)
	for i, p := range places {
		if i == 0 {
			writeTop(&out, p)
		} else {
			fmt.Fprintf(&out, "## %s\n\n%s\n\n", p.path, markdown(p.prose))
		}
		for _, f := range p.fields {
			writeField(&out, p.path, f)
		}
	}
	return append(bytes.TrimRight(out.Bytes(), "\n"), '\n'), nil
}

// flagForm is a flag in a text. As code its dashes stay two.
var flagForm = regexp.MustCompile(`--[a-z][a-z-]*`)

func markdown(text string) string { return flagForm.ReplaceAllString(text, "`$0`") }

// place is an object and where it stands in a file: "nodes[].taints[]".
type place struct {
	object
	path string
}

// walk lists the objects in the order in which fields lead to them, the first
// one at the top.
func walk(objects []object) ([]place, error) {
	if len(objects) == 0 {
		return nil, fmt.Errorf("there is no object")
	}
	out := []place{{objects[0], ""}}
	for i := 0; i < len(out); i++ {
		for _, f := range out[i].fields {
			below := slices.IndexFunc(objects, func(o object) bool { return o.name == strings.TrimPrefix(f.typ, "[]") })
			if below < 0 {
				continue
			}
			path := join(out[i].path, f.name)
			if strings.HasPrefix(f.typ, "[]") {
				path += "[]"
			}
			if slices.ContainsFunc(out, func(p place) bool { return p.name == objects[below].name }) {
				continue // it is documented where it stands first
			}
			out = append(out, place{objects[below], path})
		}
	}
	if len(out) != len(objects) {
		return nil, fmt.Errorf("%d objects are documented, and fields lead to %d", len(objects), len(out))
	}
	return out, nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// writeTop writes the head of the top object, with the examples of its fields
// as one file.
func writeTop(out *bytes.Buffer, p place) {
	fmt.Fprintf(out, "%s\n\n```yaml\n", markdown(p.prose))
	for _, f := range p.fields {
		out.WriteString(f.fact("Example") + "\n")
	}
	fmt.Fprintf(out, "```\n\n## %s\n\n", p.name)
}

func writeField(out *bytes.Buffer, path string, f field) {
	fmt.Fprintf(out, "### %s\n\n%s\n\n- Type: %s\n", join(path, f.name), markdown(f.prose), typeWords(f.typ))
	for _, one := range f.facts {
		if one.name == "Example" {
			fmt.Fprintf(out, "- Example: `%s`\n", one.text)
			continue
		}
		fmt.Fprintf(out, "- %s: %s\n", one.name, markdown(one.text))
	}
	out.WriteString("\n")
}

// typeWords says what a value looks like in a file.
func typeWords(typ string) string {
	switch typ {
	case "string":
		return "text"
	case "int":
		return "whole number"
	case "bool":
		return "true or false"
	case "[]string":
		return "list of texts"
	case "map[string]string":
		return "object of texts"
	case "map[string]bool":
		return "object of true or false"
	}
	if strings.HasPrefix(typ, "[]") {
		return "list of objects"
	}
	return "object"
}
