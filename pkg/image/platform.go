package image

import (
	"cmp"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// Want is the platform that an image is wanted for. The zero value is not
// ready; use ForNodes or ParsePlatform.
type Want struct {
	name    string
	matcher platforms.MatchComparer
	native  bool
}

// ForNodes wants what nodes of an architecture run by themselves, as
// containerd chooses it.
func ForNodes(arch string) Want {
	p := platforms.Normalize(ocispec.Platform{OS: "linux", Architecture: arch})
	return Want{name: platforms.Format(p), matcher: platforms.Only(p), native: true}
}

// ParsePlatform wants exactly the platform that text names ("linux/arm64"),
// for nodes of an architecture. It fails with class usage.
func ParsePlatform(text, arch string) (Want, error) {
	p, err := platforms.Parse(text)
	if err != nil {
		return Want{}, errdefs.New(errdefs.ClassUsage, "IMAGE-PLATFORM", "platform %q: %w", text, err).
			WithHint("A platform is an operating system and an architecture: linux/amd64, linux/arm64.")
	}
	p = platforms.Normalize(p)
	return Want{name: platforms.Format(p), matcher: platforms.OnlyStrict(p), native: ForNodes(arch).matcher.Match(p)}, nil
}

// String is the platform as people write it.
func (w Want) String() string { return w.name }

// choose returns the index of the best of several platforms, -1 when none fits.
func (w Want) choose(offered []ocispec.Platform) int {
	best := -1
	for i, p := range offered {
		if !w.matcher.Match(p) {
			continue
		}
		if best < 0 || w.matcher.Less(p, offered[best]) {
			best = i
		}
	}
	return best
}

// missing is the error for an image that is there for other platforms only.
func (w Want) missing(what string, offered []ocispec.Platform) error {
	var names []string
	for _, p := range offered {
		if p.OS != "unknown" { // an attestation, and no image
			names = append(names, platforms.Format(p))
		}
	}
	slices.Sort(names)
	list := cmp.Or(strings.Join(slices.Compact(names), ", "), "none")
	err := errdefs.New(errdefs.ClassNotFound, "IMAGE-PLATFORM", "%s is not there for %s, but for: %s", what, w, list)
	if len(names) == 0 {
		return err
	}
	return err.WithHint("Build or pull it for %s, or choose another one: --platform %s. A node runs that only where it emulates it.", w, names[0])
}
