package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/petri-cluster/petri/cmd/petri/command"
)

const kindHead = `---
title: kind, item by item
weight: 40
description: Every command, flag, field and variable of kind, and how petri stands to it.
# gendocs makes this page from cmd/petri/command: change it there
---

Called as ` + "`kind`" + ` (a link of that name, or ` + "`--compat=kind`" + `) petri has the command
line of kind v%s. This is all that kind has. A test asks kind itself for its
commands and flags and holds this list against them, and each line names the
tests that show it: what they did not show is not on this page.

**Same** means that scripts see no difference; **better**, that it does the same
and more; **not**, that it is refused, with the reason.

`

// kindSections are the parts of the page, in order.
var kindSections = []struct{ kind, title string }{
	{"command", "Commands"},
	{"flag", "Flags"},
	{"field", "Configuration"},
	{"variable", "Environment variables"},
	{"behaviour", "What scripts and tools rely on"},
}

// kindReference makes the page that compares petri with kind.
func kindReference(string) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, kindHead, command.KindVersion)
	items := command.KindSurface()
	for _, section := range kindSections {
		var rows bytes.Buffer
		for _, item := range items {
			if item.Kind == section.kind {
				fmt.Fprintf(&rows, "| %s | %s | %s | %s |\n", named(item), item.State, item.How, strings.Join(item.Tests, ", "))
			}
		}
		if rows.Len() > 0 {
			fmt.Fprintf(&b, "## %s\n\n| kind | petri | how, or why not | shown by |\n| --- | --- | --- | --- |\n%s\n", section.title, &rows)
		}
	}
	return append(bytes.TrimRight(b.Bytes(), "\n"), '\n'), nil
}

// named is what an item is called: words of a command line as they are typed.
func named(item command.KindItem) string {
	if item.Kind == "behaviour" {
		return item.Name
	}
	return "`" + item.Name + "`"
}
