package kubeadm

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// find is the document of a kind, and of an apiVersion where that is given.
func find(documents []object, version, kind string) (object, error) {
	if kind == "" {
		return nil, errors.New("it does not say which kind it is for")
	}
	var known []string
	for _, d := range documents {
		if text(d, "kind") == kind && (version == "" || version == text(d, "apiVersion")) {
			return d, nil
		}
		known = append(known, text(d, "apiVersion")+" "+text(d, "kind"))
	}
	return nil, fmt.Errorf("there is no document %s; there are %s", strings.TrimSpace(version+" "+kind), strings.Join(known, ", "))
}

// overlay lays a raw document over that of its kind: objects field by field,
// lists of named values by name, names in certificates one after the other,
// all else whole; null removes.
func overlay(documents []object, source string) error {
	var over object
	if err := yaml.Unmarshal([]byte(source), &over); err != nil {
		return err
	}
	d, err := find(documents, text(over, "apiVersion"), text(over, "kind"))
	if err != nil {
		return err
	}
	merge(d, over)
	return nil
}

func merge(into, over object) {
	for key, value := range over {
		switch value := value.(type) {
		case nil:
			delete(into, key)
		case object:
			below, ok := into[key].(object)
			if !ok {
				below = object{}
				into[key] = below
			}
			merge(below, value)
		case []any:
			have, _ := into[key].([]any)
			into[key] = mergeList(key, have, value)
		default:
			into[key] = value
		}
	}
}

func mergeList(key string, have, over []any) []any {
	switch key {
	case extraArgs, kubeletExtraArgs, "extraEnvs":
		out := slices.DeleteFunc(slices.Clone(have), func(h any) bool {
			return slices.ContainsFunc(over, func(o any) bool { return nameOf(o) == nameOf(h) })
		})
		return append(out, over...)
	case certSANs:
		out := slices.Clone(have)
		for _, o := range over {
			if !containsText(out, o) {
				out = append(out, o)
			}
		}
		return out
	}
	return over
}

// containsText reports whether a list has a string. What is no string is
// kubeadm's to refuse; some of it could not even be compared.
func containsText(list []any, value any) bool {
	text, ok := value.(string)
	return ok && slices.Contains(list, any(text))
}

func nameOf(argument any) string {
	o, _ := argument.(object)
	return text(o, "name")
}
