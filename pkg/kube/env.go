package kube

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// SetEnv sets environment variables of the first container of every workload
// of a kind, and returns all objects as one YAML stream.
func SetEnv(objects []*unstructured.Unstructured, kind string, env map[string]string) ([]byte, error) {
	var out bytes.Buffer
	for _, o := range objects {
		if o.GetKind() == kind {
			if err := setEnv(o, env); err != nil {
				return nil, fmt.Errorf("%s %s: %w", kind, o.GetName(), err)
			}
		}
		data, err := yaml.Marshal(o.Object)
		if err != nil {
			return nil, err
		}
		out.WriteString("---\n")
		out.Write(data)
	}
	return out.Bytes(), nil
}

func setEnv(o *unstructured.Unstructured, env map[string]string) error {
	containers, ok, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
	if err != nil {
		return err
	}
	if !ok || len(containers) == 0 {
		return errors.New("it has no containers")
	}
	first, ok := containers[0].(map[string]any)
	if !ok {
		return fmt.Errorf("its first container is a %T", containers[0])
	}
	have, _, err := unstructured.NestedSlice(first, "env")
	if err != nil {
		return err
	}
	have = slices.DeleteFunc(have, func(v any) bool {
		entry, _ := v.(map[string]any)
		name, _ := entry["name"].(string)
		_, replaced := env[name]
		return replaced
	})
	for _, name := range slices.Sorted(maps.Keys(env)) {
		have = append(have, map[string]any{"name": name, "value": env[name]})
	}
	first["env"] = have
	return unstructured.SetNestedSlice(o.Object, containers, "spec", "template", "spec", "containers")
}
