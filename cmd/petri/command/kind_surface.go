package command

// KindItem is one thing that kind has, and how petri stands to it when it is
// called as kind.
type KindItem struct {
	// Kind is "command", "flag", "field", "variable" or "behaviour".
	Kind string
	// Name is "create cluster", "create cluster --wait", "Cluster.name",
	// "KIND_CLUSTER_NAME", or a few words.
	Name string
	// State is Same, Better or Not.
	State string
	// How says what is better, or why it is not there; empty for Same.
	How string
	// Tests are the functions that show it.
	Tests []string
}

// The states of a KindItem.
const (
	Same   = "same"
	Better = "better"
	Not    = "not"
)

// KindSurface is everything that kind has: its commands and flags, the fields
// of its configuration, its environment variables, and what scripts rely on.
// The page of the site is made of it, help marks by it what is beyond kind, and
// tests hold it against kind itself and against the tests that it names.
func KindSurface() []KindItem {
	var all []KindItem
	for _, list := range [][]KindItem{kindCommands, kindFlags, kindFields, kindVariables, kindBehaviours} {
		all = append(all, list...)
	}
	return all
}

func same(kind, name string, tests ...string) KindItem {
	return KindItem{Kind: kind, Name: name, State: Same, Tests: tests}
}

func better(kind, name, how string, tests ...string) KindItem {
	return KindItem{Kind: kind, Name: name, State: Better, How: how, Tests: tests}
}

func not(kind, name, why string, tests ...string) KindItem {
	return KindItem{Kind: kind, Name: name, State: Not, How: why, Tests: tests}
}

var kindCommands = []KindItem{
	better("command", "create cluster", "faster; a configuration is checked whole before anything is made; interrupted or failed, it leaves nothing", "TestKindScripts", "TestAsKind"),
	better("command", "delete cluster", "waits for nothing that it need not; also finds what a killed create left", "TestKindScripts", "TestAsKind"),
	better("command", "delete clusters", "the exit code is not 0 when one could not be deleted", "TestAsKind", "TestScripts"),
	same("command", "get clusters", "TestKindScripts", "TestAsKind", "TestScripts"),
	same("command", "get nodes", "TestKindScripts", "TestAsKind", "TestScripts"),
	same("command", "get kubeconfig", "TestAsKind", "TestScripts"),
	better("command", "export kubeconfig", "comments and order of the file stay as they are; the lock is waited for", "TestAsKind", "TestScripts"),
	better("command", "export logs", "also objects, events, what doctor finds (doctor.json) and a page that says what is wrong (summary.html); one file (.tar.zst) if you like; stopped nodes too; keys, tokens and passwords are taken out", "TestKindScripts", "TestAsKind", "TestExportLogs"),
	better("command", "load docker-image", "only the layers that a node lacks are sent; when a node fails, the others have the image", "TestScripts", "TestLoadImage"),
	better("command", "load image-archive", "also OCI layouts, packed by gzip or zstd, as directories and on standard input; what a node has is not sent", "TestScripts", "TestLoadImage"),
	better("command", "build node-image", "a version is built from its Go module, without a download site; two builds give the same image", "TestSourceTree", "TestServerArchive", "TestImageIsReproducible"),
	same("command", "completion", "TestHelp"),
	same("command", "version", "TestAsKindCommandLine"),
}

var kindFlags = []KindItem{
	same("flag", "create cluster --name", "TestAsKind"),
	same("flag", "create cluster --config", "TestKindScripts"),
	same("flag", "create cluster --image", "TestAsKind"),
	same("flag", "create cluster --retain", "TestScripts"),
	better("flag", "create cluster --wait", "waits for all nodes, for DNS, the default ServiceAccount and StorageClass; when the time runs out that is a failure, and the exit code says so", "TestKindScripts"),
	same("flag", "create cluster --kubeconfig", "TestAsKind"),
	same("flag", "delete cluster --name", "TestAsKind"),
	same("flag", "delete cluster --kubeconfig", "TestAsKind"),
	same("flag", "delete clusters --all", "TestScripts"),
	same("flag", "delete clusters --kubeconfig", "TestScripts"),
	same("flag", "get nodes --name", "TestAsKind"),
	same("flag", "get nodes --all-clusters", "TestScripts"),
	same("flag", "get kubeconfig --name", "TestAsKind"),
	same("flag", "get kubeconfig --internal", "TestScripts"),
	same("flag", "export kubeconfig --name", "TestAsKind"),
	same("flag", "export kubeconfig --kubeconfig", "TestAsKind"),
	same("flag", "export kubeconfig --internal", "TestScripts"),
	same("flag", "export logs --name", "TestKindScripts"),
	same("flag", "load docker-image --name", "TestScripts"),
	same("flag", "load docker-image --nodes", "TestScripts"),
	same("flag", "load image-archive --name", "TestScripts"),
	same("flag", "load image-archive --nodes", "TestScripts"),
	same("flag", "build node-image --type", "TestAsKindCommandLine", "TestDetect", "TestCI"),
	same("flag", "build node-image --image", "TestAsKindCommandLine"),
	not("flag", "build node-image --base-image", "the flag is there, and takes petri's bases: a Debian suite, or an image that holds the packages a node needs; kind's base image is built from a Dockerfile and pulled", "TestAsKindCommandLine"),
	same("flag", "build node-image --arch", "TestAsKindCommandLine"),
	same("flag", "--verbosity", "TestAsKindCommandLine"),
	same("flag", "--quiet", "TestAsKindCommandLine"),
	same("flag", "--version", "TestAsKindCommandLine"),
}

var kindVariables = []KindItem{
	same("variable", "KIND_CLUSTER_NAME", "TestScripts"),
	not("variable", "KIND_EXPERIMENTAL_PROVIDER", "docker is accepted; podman, nerdctl and finch are refused with what to do: petri talks to Docker's API, which podman offers at a socket", "TestScripts"),
	same("variable", "KIND_EXPERIMENTAL_DOCKER_NETWORK", "TestScripts"),
	not("variable", "KIND_EXPERIMENTAL_PODMAN_NETWORK", "podman is reached by Docker's API, where the variable of Docker's network counts", "TestScripts"),
	same("variable", "KIND_EXPERIMENTAL_CONTAINERD_SNAPSHOTTER", "TestContainerdSnapshotter"),
	same("variable", "KIND_DNS_SEARCH", "TestSearchDomains", "TestKindConfig"),
	same("variable", "HTTP_PROXY, HTTPS_PROXY, NO_PROXY", "TestProxyEnv"),
	same("variable", "DOCKER_HOST, DOCKER_CONTEXT, DOCKER_CONFIG", "TestCurrentContext"),
	better("variable", "KUBECONFIG", "a file that cannot be written is found before anything is made", "TestScripts"),
	same("variable", "NO_COLOR, TERM", "TestPrinters"),
}

var kindBehaviours = []KindItem{
	same("behaviour", "contexts, users and clusters called kind-NAME", "TestAsKind", "TestScripts"),
	same("behaviour", "node names NAME-control-plane, NAME-worker2", "TestAsKind"),
	same("behaviour", "network kind, shared and kept", "TestAsKind", "TestGivenAddresses"),
	same("behaviour", "labels io.x-k8s.kind.cluster and io.x-k8s.kind.role", "TestKindHandlesPetri"),
	same("behaviour", "kind lists, loads into, exports and deletes petri's clusters", "TestKindHandlesPetri"),
	same("behaviour", "petri lists, reads, loads into, stops, starts, exports and deletes kind's clusters", "TestKindUsesTheImage"),
	same("behaviour", "kind makes clusters of petri's image", "TestKindUsesTheImage"),
	same("behaviour", "nodes of Cluster API's docker provider", "TestClusterAPINode"),
	same("behaviour", "standard output is the result, standard error the progress", "TestAsKindCommandLine", "TestKindScripts"),
	same("behaviour", "exit code 1 for every failure", "TestScripts"),
}
