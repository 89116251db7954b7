package container

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/docker/client"

	"github.com/petri-cluster/petri/pkg/errdefs"
)

// dialect is what differs between the engines that speak the Engine API. The
// functions read messages, because the API answers all of these with the same
// few status codes.
type dialect struct {
	name string
	// refusesPrivileges reports that a container may not have all privileges.
	refusesPrivileges func(error) bool
	// subnetTaken reports that a network's subnet overlaps with another's.
	subnetTaken func(error) bool
	// ipv6Refused reports that a network with IPv6 cannot be had.
	ipv6Refused func(error) bool
	// portTaken reports that a host port is in use.
	portTaken func(error) bool
	// fixedAddressRefused reports that a network lets nobody choose addresses.
	fixedAddressRefused func(error) bool
	// addressTaken reports that another container has an address that was
	// chosen.
	addressTaken func(error) bool
	// removing reports that somebody else is removing the object.
	removing func(error) bool
	// dying reports that a container was killed and takes longer to end than
	// the engine waits, as it may on a busy machine.
	dying func(error) bool
	// paused and notPaused report that a container was so already.
	paused, notPaused func(error) bool
	// running reports that a container makes processes faster than the engine finds
	// them to freeze, as it may on cgroup v1.
	running func(error) bool
	// unreachableHint says what to do when nobody answers.
	unreachableHint func(error) string
}

// docker is Docker Engine, 20.10 and later.
func docker() dialect {
	return dialect{
		name: "docker",
		refusesPrivileges: containsAny(
			"unable to apply caps",
			"operation not permitted",
			"privileged mode is incompatible",
			"privileged containers are not allowed",
			"authorization denied by plugin",
		),
		subnetTaken:         containsAny("pool overlaps", "networks have overlapping"),
		ipv6Refused:         containsAny("ipv6", "ip6tables"),
		portTaken:           containsAny("port is already allocated", "bind: address already in use", "ports are not available"),
		fixedAddressRefused: containsAny("user configured subnet", "user-configured subnet"),
		addressTaken:        addressTaken,
		removing:            containsAny("is already in progress"),
		dying:               containsAny("did not receive an exit event", "tried to kill container"),
		paused:              containsAny("is already paused"),
		notPaused:           containsAny("is not paused"),
		running:             containsAny("unable to freeze"),
		unreachableHint: func(err error) string {
			if errors.Is(err, fs.ErrPermission) || strings.Contains(statusText(err), "permission denied") {
				return "Your user may not talk to Docker. Join the docker group (sudo usermod -aG docker $USER) and log in again."
			}
			return "Start Docker (sudo systemctl start docker, or Docker Desktop), or set DOCKER_HOST to where it runs."
		},
	}
}

// addressTaken tells an address on a network from one that a program listens on.
func addressTaken(err error) bool {
	text := statusText(err)
	return strings.Contains(text, "address already in use") && !strings.Contains(text, "bind: address already in use")
}

func containsAny(parts ...string) func(error) bool {
	return func(err error) bool {
		text := statusText(err)
		for _, part := range parts {
			if strings.Contains(text, part) {
				return true
			}
		}
		return false
	}
}

// dialDocker makes a client for the engine the settings name. Nothing is sent.
func dialDocker(getenv func(string) string) (*client.Client, error) {
	opts := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if getenv(client.EnvOverrideHost) == "" {
		endpoint, err := currentContext(getenv)
		if err != nil {
			return nil, err
		}
		opts = append(opts, endpoint...)
	}
	cli, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return nil, errdefs.New(errdefs.ClassUsage, "ENGINE-SETTINGS", "read Docker's connection settings: %w", err).
			WithHint("Check DOCKER_HOST, DOCKER_CERT_PATH and DOCKER_API_VERSION.")
	}
	return cli, nil
}

// contextMeta is the part of a Docker context's meta file that is used.
type contextMeta struct {
	Endpoints map[string]struct {
		Host          string
		SkipTLSVerify bool
	}
}

// currentContext is where the chosen Docker context leads; no options when it
// is the default one.
func currentContext(getenv func(string) string) ([]client.Opt, error) {
	dir := dockerConfigDir(getenv)
	name := getenv("DOCKER_CONTEXT")
	if name == "" {
		name = readDockerConfig(dir).CurrentContext
	}
	if name == "" || name == "default" {
		return nil, nil
	}
	id := fmt.Sprintf("%x", sha256.Sum256([]byte(name)))
	data, err := os.ReadFile(filepath.Join(dir, "contexts", "meta", id, "meta.json"))
	if err != nil {
		return nil, errdefs.New(errdefs.ClassUsage, "ENGINE-SETTINGS", "read Docker context %q: %w", name, err).
			WithHint("List contexts with docker context ls, or unset DOCKER_CONTEXT.")
	}
	var meta contextMeta
	if err := json.Unmarshal(data, &meta); err != nil {
		return nil, errdefs.New(errdefs.ClassUsage, "ENGINE-SETTINGS", "read Docker context %q: %w", name, err)
	}
	host := meta.Endpoints["docker"].Host
	if strings.HasPrefix(host, "ssh://") {
		return nil, errdefs.New(errdefs.ClassUsage, "ENGINE-SETTINGS", "Docker context %q connects by ssh, which is not supported", name).
			WithHint("Forward the socket (ssh -L) and set DOCKER_HOST to it.")
	}
	opts := []client.Opt{client.WithHost(host)}
	tls := filepath.Join(dir, "contexts", "tls", id, "docker")
	if _, err := os.Stat(filepath.Join(tls, "ca.pem")); err == nil {
		opts = append([]client.Opt{client.WithTLSClientConfig(
			filepath.Join(tls, "ca.pem"), filepath.Join(tls, "cert.pem"), filepath.Join(tls, "key.pem"))}, opts...)
	}
	return opts, nil
}

// dockerConfig is the part of Docker's own config.json that is used.
type dockerConfig struct {
	CurrentContext string `json:"currentContext"`
	Auths          map[string]struct {
		Auth          string `json:"auth"` // base64 of "user:password"
		IdentityToken string `json:"identitytoken"`
	} `json:"auths"`
}

func dockerConfigDir(getenv func(string) string) string {
	if dir := getenv("DOCKER_CONFIG"); dir != "" {
		return dir
	}
	return filepath.Join(getenv("HOME"), ".docker")
}

// readDockerConfig reads config.json. One that is missing or broken is empty:
// it is the engine's own tools that should complain.
func readDockerConfig(dir string) dockerConfig {
	var config dockerConfig
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil || json.Unmarshal(data, &config) != nil {
		return dockerConfig{}
	}
	return config
}
