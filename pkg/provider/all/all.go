// Package all is the list of providers that petri has, in the order in which
// they are looked for. It stands on every implementation and is where they
// are named; nothing registers itself.
package all

import (
	"context"
	"errors"
	"strings"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/provider"
	"github.com/petri-cluster/petri/pkg/provider/container"
	"github.com/petri-cluster/petri/pkg/version"
)

// candidate is a provider that can be had.
type candidate struct {
	name string
	open func() (provider.Provider, error)
}

func candidates() []candidate {
	return []candidate{
		{"docker", func() (provider.Provider, error) {
			return container.New(container.Options{Version: version.String()})
		}},
	}
}

// Names are the names of all providers, in the order of detection.
func Names() []string {
	var names []string
	for _, c := range candidates() {
		names = append(names, c.name)
	}
	return names
}

// Detect opens the provider of that name, whether or not its engine answers:
// the first thing done with it says so. With an empty name it opens the first
// whose engine answers. It fails with class usage when there is no such
// provider, and with class unavailable when no engine answers.
func Detect(ctx context.Context, name string) (provider.Provider, error) {
	return detect(ctx, name, candidates())
}

func detect(ctx context.Context, name string, from []candidate) (provider.Provider, error) {
	var names []string
	var errs []error
	for _, c := range from {
		names = append(names, c.name)
		if name != "" && c.name != name {
			continue
		}
		p, err := c.open()
		if name != "" {
			return p, err
		}
		if err == nil {
			_, err = p.Check(ctx)
		}
		if err == nil {
			return p, nil
		}
		errs = append(errs, err)
	}
	if name != "" {
		return nil, errdefs.New(errdefs.ClassUsage, "UNKNOWN-PROVIDER", "no provider is called %q", name).
			WithHint("Known providers: %s.", strings.Join(names, ", "))
	}
	return nil, errors.Join(errs...)
}
