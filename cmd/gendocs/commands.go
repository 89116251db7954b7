package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/petri-cluster/petri/cmd/petri/command"
)

// neutral are defaults that depend on the machine or its environment, as the
// page says them.
var neutral = map[string]string{
	"arch":     "that of this machine",
	"name":     "petri",
	"provider": "",
}

const commandHead = `---
title: Command reference
weight: 20
description: Every command of petri, with its flags and their defaults.
# gendocs makes this page from cmd/petri/command: change it there
---

`

// commandReference makes the reference of the command line.
func commandReference(string) ([]byte, error) {
	return commandPage((&command.App{}).Root()), nil
}

// commandPage describes a tree of commands.
func commandPage(root *cobra.Command) []byte {
	var b bytes.Buffer
	b.WriteString(commandHead)
	describe(&b, root)
	b.WriteString("Flags of all commands:\n\n")
	flags(&b, root.PersistentFlags())
	each(root, func(c *cobra.Command) { describe(&b, c) })
	return append(bytes.TrimRight(b.Bytes(), "\n"), '\n')
}

// completion is cobra's own command: what is below it is the shells' business.
const completion = "completion"

// each walks the commands below one in the order of their names.
func each(c *cobra.Command, fn func(*cobra.Command)) {
	for _, child := range c.Commands() {
		if !child.IsAvailableCommand() || child.Name() == "help" {
			continue
		}
		fn(child)
		if child.Name() != completion {
			each(child, fn)
		}
	}
}

func describe(b *bytes.Buffer, c *cobra.Command) {
	fmt.Fprintf(b, "## %s\n\n", c.CommandPath())
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	fmt.Fprintf(b, "%s\n\n", plain(text))
	if c.HasAvailableSubCommands() && c.Name() != completion {
		each(c, func(child *cobra.Command) {
			if child.Parent() == c {
				fmt.Fprintf(b, "- [%s](#%s): %s\n", child.CommandPath(), anchor(child), plain(child.Short))
			}
		})
		b.WriteByte('\n')
	}
	if !c.HasAvailableSubCommands() {
		fmt.Fprintf(b, "```text\n%s\n```\n\n", c.UseLine())
	}
	if c.Example != "" {
		fmt.Fprintf(b, "Examples:\n\n```sh\n%s\n```\n\n", unindented(c.Example))
	}
	if c.HasParent() {
		flags(b, c.NonInheritedFlags())
	}
}

// flags writes a table of those that people may use.
func flags(b *bytes.Buffer, set *pflag.FlagSet) {
	var rows []string
	set.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && f.Name != "help" {
			rows = append(rows, fmt.Sprintf("| %s | %s | %s |\n", flagName(f), flagDefault(f), cell(f.Usage)))
		}
	})
	if len(rows) > 0 {
		fmt.Fprintf(b, "| flag | default | what it does |\n|---|---|---|\n%s\n", strings.Join(rows, ""))
	}
}

func flagName(f *pflag.Flag) string {
	name := "--" + f.Name
	if kind, _ := pflag.UnquoteUsage(f); kind != "" {
		name += " " + kind
	}
	if f.Shorthand != "" {
		return fmt.Sprintf("`-%s`, `%s`", f.Shorthand, name)
	}
	return "`" + name + "`"
}

// flagDefault is a default as the page says it: the same on every machine.
func flagDefault(f *pflag.Flag) string {
	value, ok := neutral[f.Name]
	switch {
	case ok && strings.Contains(value, " "):
		return value
	case !ok:
		value = f.DefValue
	}
	if value == "" || value == "[]" {
		return ""
	}
	return "`" + value + "`"
}

// anchor is the address of a command's heading on the page.
func anchor(c *cobra.Command) string {
	return strings.ReplaceAll(c.CommandPath(), " ", "-")
}

// plain keeps text from being read as markup, and flags as they are typed.
func plain(text string) string {
	return markdown(strings.NewReplacer("<", "&lt;", "*", `\*`).Replace(strings.TrimSpace(text)))
}

// cell is text in a table.
func cell(text string) string { return strings.ReplaceAll(plain(text), "|", `\|`) }

// unindented takes away the two blanks that examples have in a terminal.
func unindented(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, "  ")
	}
	return strings.Join(lines, "\n")
}
