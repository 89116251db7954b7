package bench

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/petri-cluster/petri/pkg/kube"
)

// appManifest is the app of time-to-k8s: a Deployment that answers on port
// 8080, and its Service. NAME and IMAGE are put in.
//
//go:embed app.yaml
var appManifest string

// appNamespace is where the app runs; its ServiceAccount must be there.
const appNamespace = "default"

// helperReference finds the image that a node image carries for the helpers
// of its storage: the only one of them with a shell.
var helperReference = regexp.MustCompile(`[\w./-]*local-path-helper[\w.:-]*`)

// helperImage is the name of an image that every node has and that has a
// shell, so that nothing is pulled and nothing is loaded.
func (p *place) helperImage(ctx context.Context, image string) (string, error) {
	manifest, err := p.docker(ctx, "run", "--rm", "--network", "none", "--entrypoint", "/bin/cat", image, "/kind/manifests/default-storage.yaml")
	if err != nil {
		return "", fmt.Errorf("look for an image with a shell in %s: %w", image, err)
	}
	found := helperReference.FindString(manifest)
	if found == "" {
		return "", errors.New("no image with a shell is named by the default StorageClass of " + image)
	}
	return found, nil
}

// app is the app in one cluster.
type app struct {
	client *kube.Client
	name   string
	pod    string
}

// run applies the app and returns when it answers inside of its pod.
func (a *app) run(ctx context.Context, image string) error {
	manifest := strings.NewReplacer("NAME", a.name, "IMAGE", image).Replace(appManifest)
	if err := a.client.Apply(ctx, []byte(manifest)); err != nil {
		return err
	}
	var err error
	if a.pod, err = a.client.WaitPodReady(ctx, appNamespace, map[string]string{"app": a.name}); err != nil {
		return err
	}
	return a.exec(ctx, "nc", "-w", "5", "localhost", "8080")
}

// resolve returns when a lookup of the app's Service in its pod is answered.
func (a *app) resolve(ctx context.Context) error {
	return a.exec(ctx, "nslookup", "-type=a", "-timeout=1", "-retry=1", a.name+"."+appNamespace+".svc.cluster.local.")
}

// exec runs a program of busybox in the app's pod until it succeeds.
func (a *app) exec(ctx context.Context, args ...string) error {
	return again(ctx, func() error {
		_, err := a.client.Exec(ctx, appNamespace, a.pod, append([]string{"/usr/bin/busybox"}, args...)...)
		return err
	})
}

// timeToK8s takes the six phases of time-to-k8s, one after the other.
func (t *trial) timeToK8s(ctx context.Context) error {
	args, err := t.create(t.target)
	if err != nil {
		return err
	}
	begin := time.Now()
	start := begin
	var client *kube.Client
	served := &app{name: "netcat"}
	for _, phase := range []struct {
		figure string
		do     func() error
	}{
		{figureCommand, func() error { return t.run(ctx, args) }},
		{"apiserver", func() (err error) {
			client, err = t.observer.serving(ctx)
			served.client = client
			return err
		}},
		{"kubernetes-svc", func() error { return client.WaitService(ctx, "default", "kubernetes") }},
		{"dns-svc", func() error { return client.WaitService(ctx, "kube-system", "kube-dns") }},
		{"app", func() error { return served.run(ctx, t.helper) }},
		{"dns", func() error { return served.resolve(ctx) }},
	} {
		if err := phase.do(); err != nil {
			return fmt.Errorf("%s: %w", phase.figure, err)
		}
		t.mark(start, phase.figure)
		start = time.Now()
	}
	t.mark(begin, figureTotal)
	return nil
}

// stopStart stops a cluster that runs the app and starts it again. Old states
// are still in the API then: the cluster is started when it runs another app.
func (t *trial) stopStart(ctx context.Context) error {
	if err := t.makeUsable(ctx); err != nil {
		return err
	}
	if err := t.runApp(ctx, "before"); err != nil {
		return err
	}
	begin := time.Now()
	if err := t.run(ctx, t.stop(t.target)); err != nil {
		return err
	}
	t.mark(begin, "stop")
	running, err := t.place.containers(ctx, t.target.name)
	if err == nil && len(running) > 0 {
		err = fmt.Errorf("%d nodes still run when the command to stop them has returned", len(running))
	}
	if err != nil {
		return err
	}
	begin = time.Now()
	if err := t.run(ctx, t.start(t.target)); err != nil {
		return err
	}
	t.mark(begin, "start-command")
	if err := t.runApp(ctx, "after"); err != nil {
		return err
	}
	t.mark(begin, "start")
	return nil
}

func (t *trial) runApp(ctx context.Context, name string) error {
	client, err := t.observer.serving(ctx)
	if err != nil {
		return err
	}
	a := &app{client: client, name: name}
	if err := a.run(ctx, t.helper); err != nil {
		return err
	}
	return a.resolve(ctx)
}

// join adds a worker to a running cluster.
func (t *trial) join(ctx context.Context) error {
	if t.launcher.join == nil {
		return &notMeasured{t.launcher.name + " has no command that adds a node to a cluster"}
	}
	if err := t.makeUsable(ctx); err != nil {
		return err
	}
	client, err := t.observer.serving(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := t.run(ctx, t.launcher.join(t.target)); err != nil {
		return err
	}
	t.mark(start, figureCommand)
	all := nodeNames(t.target.name, t.target.controlPlanes, t.target.workers+1)
	return client.Wait(ctx, []kube.Condition{kube.NodesReady(all)}, func(string) { t.mark(start, "ready") })
}
