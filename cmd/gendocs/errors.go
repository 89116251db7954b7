package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/tools/txtar"
)

const (
	// errorSource explains all IDs, and errorDir has a page for each.
	errorSource = "site/content/docs/troubleshooting.md"
	errorDir    = "site/content/docs/errors"
	// errorLogs are the logs that petri is tested to recognise.
	errorLogs = "pkg/diagnosis/testdata"
)

// errorSection is what the source says of one ID.
type errorSection struct {
	id, group, text string
}

var (
	groupLine = regexp.MustCompile(`^## (.+)`)
	idLine    = regexp.MustCompile(`^### ([A-Z][A-Z0-9-]+)$`)
	// ownAnchor and ownLink are links within the source, and from it.
	ownAnchor = regexp.MustCompile(`\]\(#([a-z0-9-]+)\)`)
	ownLink   = regexp.MustCompile(`\]\(([a-z][a-z_/-]*\.md)`)
)

// errorPages makes the pages of the catalogue: an index, and one for each ID.
func errorPages(root string) (map[string][]byte, error) {
	source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(errorSource)))
	if err != nil {
		return nil, err
	}
	logs, err := recognisedLogs(root)
	if err != nil {
		return nil, err
	}
	sections := errorSections(string(source))
	pages := map[string][]byte{errorDir + "/_index.md": errorIndex(sections)}
	for _, s := range sections {
		var b bytes.Buffer
		// of one weight, so sorted by title: a new one changes no other
		fmt.Fprintf(&b, "---\ntitle: %s\nweight: 1\ndescription: What error %s means, why it happens and what to do.\n", s.id, s.id)
		fmt.Fprintf(&b, "# gendocs makes this page from troubleshooting.md: change it there\n---\n\n%s\n", linked(s.text, sections))
		for _, log := range logs[s.id] {
			fmt.Fprintf(&b, "\n## Recognised by\n\n%s\n\n```text\n%s\n```\n", strings.TrimSpace(log.source), strings.TrimSpace(log.text))
		}
		pages[errorPage(s.id)] = b.Bytes()
	}
	return pages, nil
}

func errorPage(id string) string { return path.Join(errorDir, strings.ToLower(id)+".md") }

// errorSections reads the sections of a page, in their order.
func errorSections(source string) []errorSection {
	var out []errorSection
	var group string
	for line := range strings.Lines(source) {
		switch m := idLine.FindStringSubmatch(strings.TrimSpace(line)); {
		case groupLine.MatchString(line):
			group = strings.TrimSpace(groupLine.FindStringSubmatch(line)[1])
			out = append(out, errorSection{group: group}) // what follows is of no ID
		case m != nil:
			out = append(out, errorSection{id: m[1], group: group})
		case len(out) > 0:
			out[len(out)-1].text += line
		}
	}
	var sections []errorSection
	for _, s := range out {
		if s.text = strings.TrimSpace(s.text); s.id != "" {
			sections = append(sections, s)
		}
	}
	return sections
}

// linked makes the links of the source ones of a page below it.
func linked(text string, sections []errorSection) string {
	text = ownLink.ReplaceAllString(text, "](../$1")
	return ownAnchor.ReplaceAllStringFunc(text, func(link string) string {
		anchor := ownAnchor.FindStringSubmatch(link)[1]
		for _, s := range sections {
			if strings.ToLower(s.id) == anchor {
				return "](" + anchor + ".md)"
			}
		}
		return "](../troubleshooting.md#" + anchor + ")"
	})
}

func errorIndex(sections []errorSection) []byte {
	var b bytes.Buffer
	b.WriteString("---\ntitle: Errors\nweight: 65\ndescription: A page for each error ID.\n# gendocs makes this page from troubleshooting.md: change it there\n---\n\n")
	b.WriteString("All of them on one page, and where to look when there is no ID:\n[troubleshooting](../troubleshooting.md).\n")
	group := ""
	for _, s := range sections {
		if s.group != group {
			group = s.group
			fmt.Fprintf(&b, "\n## %s\n\n", group)
		}
		fmt.Fprintf(&b, "- [%s](%s.md)\n", s.id, strings.ToLower(s.id))
	}
	return b.Bytes()
}

// recognisedLog is a log, and where it comes from.
type recognisedLog struct{ source, text string }

// recognisedLogs are the logs by the ID that they are recognised as.
func recognisedLogs(root string) (map[string][]recognisedLog, error) {
	files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(errorLogs), "*.txtar"))
	if err != nil {
		return nil, err
	}
	out := map[string][]recognisedLog{}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			return nil, err
		}
		if len(archive.Files) != 2 {
			return nil, fmt.Errorf("%s has %d files, and not a log and what is wanted", file, len(archive.Files))
		}
		if id, _, ok := strings.Cut(string(archive.Files[1].Data), ":"); ok {
			out[id] = append(out[id], recognisedLog{string(archive.Comment), string(archive.Files[0].Data)})
		}
	}
	return out, nil
}

// syncErrors writes or checks the pages of the catalogue. Pages of IDs that are
// gone are removed.
func syncErrors(root string, check bool) error {
	pages, err := errorPages(root)
	if err != nil {
		return err
	}
	dir := filepath.Join(root, filepath.FromSlash(errorDir))
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if _, ok := pages[path.Join(errorDir, e.Name())]; ok {
			continue
		}
		if check {
			return fmt.Errorf("%s/%s explains no ID of %s; make update removes it", errorDir, e.Name(), errorSource)
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for path, content := range pages {
		if err := sync(root, path, content, check); err != nil {
			return err
		}
	}
	return nil
}
