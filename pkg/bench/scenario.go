package bench

import (
	"context"
	"slices"
	"strings"
)

// Scenario is one thing that is done and measured, for every subject alike.
type Scenario struct {
	// Name is what --scenario takes. Names and those of figures are stable.
	Name  string
	Title string
	// Figures are what comes out of one sample, in order.
	Figures []Figure

	controlPlanes, workers int
	ephemeral              bool
	// unwarmed scenarios have no timed step that a cold cache could spoil.
	unwarmed bool
	// single scenarios give the same each time, and are taken once.
	single bool
	// app is the image that is loaded.
	app appShape
	// alone scenarios are about the node image, and make no cluster.
	alone bool
	take  func(*trial, context.Context) error
}

// Figure is one number of a sample.
type Figure struct {
	Name     string
	Title    string
	Unit     Unit
	Headline bool // what the scenario is about
	Part     bool // adds up to the headline
	// floor is the figure of the floor that this one is compared with.
	floor string
}

// The figures of a cluster that is made until it is usable. All are times
// since the command was started.
var creation = []Figure{
	{Name: figureCommand, Title: "the command returns", Unit: Seconds},
	{Name: figureAPI, Title: "the API answers", Unit: Seconds},
	{Name: figureNodes, Title: "every node is Ready", Unit: Seconds},
	{Name: figureDNS, Title: "CoreDNS is available", Unit: Seconds},
	{Name: figureAccount, Title: "the default ServiceAccount is there", Unit: Seconds},
	{Name: figureClass, Title: "the default StorageClass is there", Unit: Seconds},
	{Name: figureUsable, Title: "usable: nodes Ready, CoreDNS, ServiceAccount, StorageClass", Unit: Seconds, Headline: true, floor: figureNodes},
	{Name: figureDelete, Title: "deleted: nothing is left", Unit: Seconds, Headline: true},
}

// The names of figures that several places know.
const (
	figureCommand = "command"
	figureAPI     = "api"
	figureNodes   = FloorFigure
	figureDNS     = "coredns"
	figureAccount = "service-account"
	figureClass   = "storage-class"
	figureUsable  = "usable"
	figureDelete  = "delete"
	figureTotal   = "total"
)

// Scenarios are all of them, in the order in which they run and are shown.
func Scenarios() []Scenario {
	return []Scenario{
		{Name: "one-node", Title: "One node", controlPlanes: 1, Figures: creation, take: (*trial).makeUsable},
		{Name: "time-to-k8s", Title: "time-to-k8s, one node", controlPlanes: 1, Figures: []Figure{
			{Name: figureCommand, Title: "command", Unit: Seconds, Part: true},
			{Name: "apiserver", Title: "apiserver answering", Unit: Seconds, Part: true},
			{Name: "kubernetes-svc", Title: "kubernetes svc", Unit: Seconds, Part: true},
			{Name: "dns-svc", Title: "dns svc", Unit: Seconds, Part: true},
			{Name: "app", Title: "app running", Unit: Seconds, Part: true},
			{Name: "dns", Title: "dns answering", Unit: Seconds, Part: true},
			{Name: figureTotal, Title: "sum of the six phases", Unit: Seconds, Headline: true},
		}, take: (*trial).timeToK8s},
		{Name: "one-plus-two", Title: "One control plane and two workers", controlPlanes: 1, workers: 2, Figures: creation, take: (*trial).makeUsable},
		{Name: "three-plus-three", Title: "Three control planes and three workers", controlPlanes: 3, workers: 3, Figures: creation, take: (*trial).makeUsable},
		{Name: "ephemeral", Title: "One node, etcd's data kept in memory only", controlPlanes: 1, ephemeral: true, Figures: creation, take: (*trial).makeUsable},
		{Name: "join", Title: "One worker joins a running cluster", controlPlanes: 1, Figures: []Figure{
			{Name: figureCommand, Title: "the command returns", Unit: Seconds},
			{Name: "ready", Title: "the new node is Ready", Unit: Seconds, Headline: true},
		}, take: (*trial).join},
		{Name: "stop-start", Title: "Stop and start of one node", controlPlanes: 1, Figures: []Figure{
			{Name: "stop", Title: "stopped: nothing runs", Unit: Seconds, Headline: true},
			{Name: "start-command", Title: "the start command returns", Unit: Seconds},
			{Name: "start", Title: "started: a new app runs and resolves names", Unit: Seconds, Headline: true},
		}, take: (*trial).stopStart},
		{Name: "image-load", Title: "Load an image of 100 MB into one node", controlPlanes: 1, app: appShape{layers: 2, bytes: 100_000_000}, Figures: loading, take: (*trial).loadImages},
		{Name: "image-load-one-plus-two", Title: "Load an image of 20 layers and 500 MB into three nodes", controlPlanes: 1, workers: 2, app: appShape{layers: 20, bytes: 500_000_000}, Figures: loading, take: (*trial).loadImages},
		{Name: "idle", Title: "One node that does nothing", controlPlanes: 1, unwarmed: true, Figures: []Figure{
			{Name: "memory", Title: "memory, control plane", Unit: Memory, Headline: true},
			{Name: "cpu", Title: "CPU, control plane", Unit: Percent, Headline: true},
			{Name: "disk", Title: "disk of the node, etcd's data aside", Unit: Bytes, Headline: true},
			{Name: "disk-etcd", Title: "disk of etcd's data", Unit: Bytes},
		}, take: (*trial).idle},
		{Name: "idle-one-plus-two", Title: "Workers that do nothing", controlPlanes: 1, workers: 2, unwarmed: true, Figures: []Figure{
			{Name: "memory", Title: "memory, control plane", Unit: Memory},
			{Name: "cpu", Title: "CPU, control plane", Unit: Percent},
			{Name: "worker-memory", Title: "memory, mean of the workers", Unit: Memory, Headline: true},
			{Name: "worker-cpu", Title: "CPU, mean of the workers", Unit: Percent, Headline: true},
			{Name: "worker-disk", Title: "disk, mean of the workers", Unit: Bytes, Headline: true},
		}, take: (*trial).idle},
		{Name: "engine-calls", Title: "Calls of the engine's API", controlPlanes: 1, unwarmed: true, single: true, Figures: []Figure{
			{Name: "one-node", Title: "to make one node", Unit: Count, Headline: true},
			{Name: "further-node", Title: "more, for each further node", Unit: Count, Headline: true},
		}, take: (*trial).countCalls},
		{Name: "node-image", Title: "The node image", unwarmed: true, single: true, alone: true, Figures: []Figure{
			{Name: "unpacked", Title: "unpacked", Unit: Bytes, Headline: true},
			{Name: "compressed", Title: "compressed by gzip", Unit: Bytes, Headline: true},
		}, take: (*trial).imageSizes},
	}
}

var loading = []Figure{
	{Name: "first", Title: "nothing of it is there", Unit: Seconds, Headline: true},
	{Name: "iterative", Title: "only its last layer is new", Unit: Seconds, Headline: true},
	{Name: "repeated", Title: "all of it is there", Unit: Seconds, Headline: true},
}

// Names are the names of all scenarios.
func Names() []string {
	var out []string
	for _, s := range Scenarios() {
		out = append(out, s.Name)
	}
	return out
}

// choose picks scenarios by name, in their own order; all when names is empty.
func choose(names []string) ([]Scenario, error) {
	all := Scenarios()
	for _, name := range names {
		if !slices.ContainsFunc(all, func(s Scenario) bool { return s.Name == name }) {
			return nil, usagef("there is no scenario %q", name).WithHint("there are %s", strings.Join(Names(), ", "))
		}
	}
	return slices.DeleteFunc(all, func(s Scenario) bool { return len(names) > 0 && !slices.Contains(names, s.Name) }), nil
}
