// Package doctest holds the documentation to the code: links lead somewhere,
// commands and examples are understood by the programs they are for, every
// error ID is explained, and paths that are named exist. It reads the pages as
// they are and stands on the packages they speak of.
package doctest

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the repository, seen from this package.
var root = filepath.Join("..", "..")

// page is one Markdown file. Text is without fenced blocks; those are apart.
type page struct {
	path   string // from the root, with slashes
	text   string
	blocks []block
}

// block is a fenced block.
type block struct {
	line     int
	language string
	text     string
}

// pages reads all documentation.
func pages(t *testing.T) []page {
	t.Helper()
	paths := []string{"README.md", "node-image/README.md", "e2e/README.md"}
	err := filepath.WalkDir(filepath.Join(root, "site", "content"), func(name string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(name, ".md") {
			rel, _ := filepath.Rel(root, name)
			paths = append(paths, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) < 15 {
		t.Fatalf("only %d pages were found", len(paths))
	}
	var out []page
	for _, path := range paths {
		data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, split(path, string(data)))
	}
	return out
}

// split takes the fenced blocks out of a page.
func split(path, data string) page {
	p := page{path: path}
	var text strings.Builder
	var open *block
	number := 0
	for line := range strings.Lines(data) {
		number++
		fence, ok := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case ok && open == nil:
			open = &block{line: number, language: fence}
		case ok:
			p.blocks = append(p.blocks, *open)
			open = nil
		case open != nil:
			open.text += line
		default:
			text.WriteString(line)
		}
	}
	p.text = text.String()
	return p
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	span    = regexp.MustCompile("`([^`]+)`")
)

func TestLinks(t *testing.T) {
	all := pages(t)
	count := 0
	for _, p := range all {
		for _, m := range link.FindAllStringSubmatch(p.text, -1) {
			u, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s: link %s: %v", p.path, m[1], err)
				continue
			}
			if u.IsAbs() {
				continue
			}
			count++
			to := p.path
			if u.Path != "" {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(p.path), u.Path))
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s links to %s, which is not there", p.path, m[1])
				continue
			}
			if u.Fragment != "" && !slices.Contains(anchors(all, to), u.Fragment) {
				t.Errorf("%s links to %s, and %s has no such heading", p.path, m[1], to)
			}
		}
	}
	if count < 20 {
		t.Errorf("only %d links were found", count)
	}
}

// anchors are the identifiers of a page's headings, as GitHub and Hugo make
// them.
func anchors(all []page, path string) []string {
	var out []string
	for _, p := range all {
		if p.path != path {
			continue
		}
		for _, m := range heading.FindAllStringSubmatch(p.text, -1) {
			out = append(out, strings.Map(func(r rune) rune {
				switch {
				case r == ' ':
					return '-'
				case r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
					return r
				}
				return -1
			}, strings.ToLower(m[1])))
		}
	}
	return out
}

func TestFrontMatter(t *testing.T) {
	for _, p := range pages(t) {
		if !strings.HasPrefix(p.path, "site/") {
			continue
		}
		head, _, ok := strings.Cut(strings.TrimPrefix(p.text, "---\n"), "\n---\n")
		for _, field := range []string{"title: ", "weight: ", "description: "} {
			if !ok || !strings.Contains("\n"+head, "\n"+field) {
				t.Errorf("%s: front matter has no %s", p.path, field)
			}
		}
	}
}

// ownPath is what looks like a path of the repository.
var ownPath = regexp.MustCompile(`^(cmd|pkg|node-image|images|e2e|hack|site)(/[A-Za-z0-9._/-]+)?$`)

// made are paths that only exist once something has run.
var made = []string{"e2e/artifacts/NAME", "site/public"}

func TestPaths(t *testing.T) {
	count := 0
	for _, p := range pages(t) {
		for _, m := range span.FindAllStringSubmatch(p.text, -1) {
			if !ownPath.MatchString(m[1]) || slices.Contains(made, m[1]) {
				continue
			}
			count++
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(m[1]))); err != nil {
				t.Errorf("%s names %s, which is not there", p.path, m[1])
			}
		}
	}
	if count < 40 {
		t.Errorf("only %d paths were found", count)
	}
}
