package kubeadm

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Fields of kubeadm's documents that are merged in a way of their own.
const (
	extraArgs        = "extraArgs"
	extraVolumes     = "extraVolumes"
	kubeletExtraArgs = "kubeletExtraArgs"
	certSANs         = "certSANs"
)

func isArguments(field string) bool { return field == extraArgs || field == kubeletExtraArgs }

// mergeNamed takes arguments and names for certificates out of a merge patch,
// wherever they are in it, and merges them into a document: arguments by name,
// where one without a value is removed.
func mergeNamed(into, over object) {
	for key, value := range over {
		switch value := value.(type) {
		case object:
			if isArguments(key) {
				mergeArguments(into, key, toList(value))
				delete(over, key)
				continue
			}
			below, ok := into[key].(object)
			if !ok {
				below = object{}
			}
			mergeNamed(below, value)
			if len(below) > 0 {
				into[key] = below
			}
		case []any:
			switch {
			case isArguments(key):
				mergeArguments(into, key, value)
				delete(over, key)
			case key == certSANs:
				have, _ := into[key].([]any)
				into[key] = mergeList(key, have, value)
				delete(over, key)
			}
		}
	}
}

func mergeArguments(into object, key string, over []any) {
	have, _ := into[key].([]any)
	merged := slices.DeleteFunc(mergeList(key, have, over), func(one any) bool {
		argument, ok := one.(object)
		return ok && nameOf(one) != "" && argument["value"] == nil
	})
	into[key] = merged
	if len(merged) == 0 {
		delete(into, key)
	}
}

// toList is the list of arguments that an older version has as an object.
func toList(arguments object) []any {
	var out []any
	for _, name := range slices.Sorted(maps.Keys(arguments)) {
		out = append(out, object{"name": name, "value": asText(arguments[name])})
	}
	return out
}

// asText is the text of a value that somebody wrote without quotes. Nothing
// stays nothing: it removes an argument.
func asText(value any) any {
	switch value := value.(type) {
	case bool:
		return strconv.FormatBool(value)
	case float64, int64:
		data, _ := json.Marshal(value) // numbers cannot fail
		return string(data)
	}
	return value
}

// eachArguments calls on for every list or object of arguments of a document.
func eachArguments(d object, on func(parent object, key string)) {
	for _, key := range slices.Sorted(maps.Keys(d)) {
		if isArguments(key) {
			on(d, key)
			continue
		}
		if below, ok := d[key].(object); ok {
			eachArguments(below, on)
		}
	}
}

// argumentsToObjects gives a document the form of the older versions. That form
// has no place for an argument that is there twice.
func argumentsToObjects(d object) error {
	var err error
	eachArguments(d, func(parent object, key string) {
		list, _ := parent[key].([]any)
		out := object{}
		for _, one := range list {
			argument, _ := one.(object)
			name := text(argument, "name")
			if _, twice := out[name]; twice {
				err = fmt.Errorf("the argument %s is there twice, and cannot be named", name)
			}
			out[name] = argument["value"]
		}
		parent[key] = out
	})
	return err
}

// argumentsToLists gives it the form of v1beta4 again.
func argumentsToLists(d object) {
	eachArguments(d, func(parent object, key string) {
		if byName, ok := parent[key].(object); ok {
			parent[key] = toList(byName)
		}
	})
}

// addArguments adds empty lists of arguments where kind's documents have lists
// and petri's may have none: JSON patches count on them.
func addArguments(d object) {
	switch text(d, "kind") {
	case "ClusterConfiguration":
		for _, component := range []string{"apiServer", "controllerManager", "scheduler"} {
			addList(d, component, extraArgs)
		}
	case "InitConfiguration", "JoinConfiguration":
		addList(d, "nodeRegistration", kubeletExtraArgs)
	}
}

func addList(d object, parent, key string) {
	if d[parent] == nil {
		d[parent] = object{}
	}
	if below, ok := d[parent].(object); ok && below[key] == nil {
		below[key] = []any{}
	}
}

// dropEmptyArguments takes out the lists that nobody filled, and what held
// nothing else.
func dropEmptyArguments(d object) {
	eachArguments(d, func(parent object, key string) {
		if list, ok := parent[key].([]any); ok && len(list) == 0 {
			delete(parent, key)
		}
	})
	for _, component := range []string{"apiServer", "controllerManager", "scheduler"} {
		if below, ok := d[component].(object); ok && len(below) == 0 {
			delete(d, component)
		}
	}
}

// moveTimeouts puts the timeouts of v1beta3 where v1beta4 has them: what the
// cluster's document said of the API server belongs to each node's, and a
// node's for discovery to its other ones. What is there already stays.
func moveTimeouts(documents []object) {
	var controlPlane any
	for _, d := range documents {
		if api, ok := d["apiServer"].(object); ok && api["timeoutForControlPlane"] != nil {
			controlPlane = api["timeoutForControlPlane"]
			delete(api, "timeoutForControlPlane")
		}
	}
	for _, d := range documents {
		kind := text(d, "kind")
		if kind == "InitConfiguration" || kind == "JoinConfiguration" {
			addTimeout(d, "controlPlaneComponentHealthCheck", controlPlane)
		}
		if discovery, ok := d["discovery"].(object); ok && kind == "JoinConfiguration" {
			addTimeout(d, "discovery", discovery["timeout"])
			delete(discovery, "timeout")
		}
	}
}

func addTimeout(d object, name string, value any) {
	if value == nil {
		return
	}
	timeouts, ok := d["timeouts"].(object)
	if !ok {
		timeouts = object{}
		d["timeouts"] = timeouts
	}
	if timeouts[name] == nil {
		timeouts[name] = value
	}
}
