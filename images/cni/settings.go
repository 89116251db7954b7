//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// settings is what the DaemonSet tells the agent in its environment.
type settings struct {
	node     string         // NODE_NAME
	pods     []netip.Prefix // POD_SUBNET: the cluster's, one of each family, with commas
	services []netip.Prefix // SERVICE_SUBNET, in the same form; may be empty
	// endpoint is CONTROL_PLANE_ENDPOINT, "host:port" of the API as nodes
	// reach it. Services work only once kube-proxy does, and kube-proxy needs
	// no pod network, but waiting for it would cost time.
	endpoint string
}

// settingsFrom reads the environment and names everything that is wrong in it.
func settingsFrom(getenv func(string) string) (settings, error) {
	s := settings{node: getenv("NODE_NAME"), endpoint: getenv("CONTROL_PLANE_ENDPOINT")}
	var errs []error
	if s.node == "" {
		errs = append(errs, errors.New("NODE_NAME is not set"))
	}
	var err error
	if s.pods, err = prefixes(getenv("POD_SUBNET")); err != nil {
		errs = append(errs, fmt.Errorf("POD_SUBNET: %w", err))
	} else if len(s.pods) == 0 {
		errs = append(errs, errors.New("POD_SUBNET is not set"))
	}
	if s.services, err = prefixes(getenv("SERVICE_SUBNET")); err != nil {
		errs = append(errs, fmt.Errorf("SERVICE_SUBNET: %w", err))
	}
	return s, errors.Join(errs...)
}

// prefixes parses a list with commas.
func prefixes(list string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for text := range strings.SplitSeq(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		out = append(out, p.Masked())
	}
	return out, nil
}
