// Command gendocs writes the reference pages of the site from the source that
// they are about, so that they say what is true. It runs in the root of the
// repository; with -check it writes nothing and fails when a page is not
// current.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	check := flag.Bool("check", false, "fail when a page is not current, and write nothing")
	flag.Parse()
	if err := run(".", *check); err != nil {
		fmt.Fprintln(os.Stderr, "gendocs:", err)
		os.Exit(1)
	}
}

// page is one generated file.
type page struct {
	path string // from the root
	make func(root string) ([]byte, error)
}

// pages are all that gendocs writes.
func pages() []page {
	return []page{
		{"site/content/docs/reference/config.md", configReference},
		{"site/content/docs/reference/commands.md", commandReference},
		{"site/content/docs/reference/kind.md", kindReference},
	}
}

// run writes or checks every page below root.
func run(root string, check bool) error {
	for _, p := range pages() {
		content, err := p.make(root)
		if err != nil {
			return fmt.Errorf("make %s: %w", p.path, err)
		}
		if err := sync(root, p.path, content, check); err != nil {
			return err
		}
	}
	return syncErrors(root, check)
}

// sync makes content that of a page, or checks that it is.
func sync(root, page string, content []byte, check bool) error {
	path := filepath.Join(root, filepath.FromSlash(page))
	if !check {
		return os.WriteFile(path, content, 0o644)
	}
	have, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(have, content) {
		return fmt.Errorf("%s is not what its source makes; make update writes it", page)
	}
	return nil
}
