package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/petri-cluster/petri/pkg/errdefs"
	"github.com/petri-cluster/petri/pkg/exec"
	"github.com/petri-cluster/petri/pkg/kube"
	"github.com/petri-cluster/petri/pkg/kubeadm"
	"github.com/petri-cluster/petri/pkg/node"
	"github.com/petri-cluster/petri/pkg/nodeimage"
	"github.com/petri-cluster/petri/pkg/progress"
)

// upgradeNode takes one node to the new version. A step that has begun is
// brought to its end, also when ctx ends meanwhile: a control plane is not left
// half exchanged.
func (u *upgrade) upgradeNode(ctx context.Context, n node.Node) error {
	task := progress.Start(u.reporter, "upgrade", "Upgrading "+n.Name, "")
	err := u.hold(ctx, n)
	if err == nil {
		err = u.exchange(ctx, task, n)
	}
	if err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), u.opts.Wait)
		defer cancel()
		return task.Done(errors.Join(err, u.free(undo, n)))
	}
	return task.Done(u.finish(context.WithoutCancel(ctx), n))
}

// finish makes the version of a node that runs it the node's own. When that
// fails the mark of an upgrade stays: by its kubelet alone the node would pass
// for one that is done.
func (u *upgrade) finish(ctx context.Context, n node.Node) error {
	if err := errors.Join(u.reopen(ctx, n), script(ctx, n, settle, nil, u.plan.To)); err != nil {
		return err
	}
	return u.mark(ctx, n, map[string]string{nodeimage.AnnotationUpgrading: "", nodeimage.AnnotationImage: u.opts.Image})
}

func (u *upgrade) exchange(ctx context.Context, task *progress.Task, n node.Node) error {
	task.Update("kubeadm")
	if err := u.upgradeConfiguration(ctx, n); err != nil {
		return err
	}
	if u.vacates(n) {
		task.Update("drain")
		if err := u.vacate(ctx, task, n); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	task.Update("kubelet")
	return u.switchKubelet(context.WithoutCancel(ctx), n)
}

// wasCordoned ends the annotation of a node that takes no pods by somebody
// else's wish.
const wasCordoned = ",cordoned"

// hold writes down at the node that it is being upgraded.
func (u *upgrade) hold(ctx context.Context, n node.Node) error {
	mark := u.plan.To
	if info := u.known[n.Name]; strings.HasSuffix(info.Upgrading, wasCordoned) || info.Upgrading == "" && info.Cordoned {
		mark += wasCordoned
	}
	info := u.known[n.Name]
	info.Upgrading = mark
	u.known[n.Name] = info
	return u.mark(ctx, n, map[string]string{nodeimage.AnnotationUpgrading: mark})
}

// free lets pods come to a node again, and takes back what hold wrote, after an
// attempt that failed. The mark stays on a node whose kubelet an earlier attempt
// has exchanged, see finish.
func (u *upgrade) free(ctx context.Context, n node.Node) error {
	if err := u.reopen(ctx, n); err != nil || u.known[n.Name].Version == u.plan.To {
		return err
	}
	return u.mark(ctx, n, map[string]string{nodeimage.AnnotationUpgrading: ""})
}

// reopen lets pods come to a node again, unless somebody else did not.
func (u *upgrade) reopen(ctx context.Context, n node.Node) error {
	if strings.HasSuffix(u.known[n.Name].Upgrading, wasCordoned) {
		return nil
	}
	return u.insist(ctx, func() error { return u.api.Cordon(ctx, n.Name, false) })
}

func (u *upgrade) mark(ctx context.Context, n node.Node, marks map[string]string) error {
	return u.insist(ctx, func() error { return u.api.Annotate(ctx, n.Name, marks) })
}

// insistInterval is how soon an API that did not answer is asked again.
const insistInterval = 200 * time.Millisecond

// permission is how long an API server that has just started may forbid what is
// allowed: it answers before it has read who may do what. The kubelet of another
// minor version starts it once more.
const permission = time.Minute

// insist calls do until the API answers: it may be exchanged at the moment.
func (u *upgrade) insist(ctx context.Context, do func() error) error {
	begin := time.Now()
	for {
		err := do()
		limit := u.opts.Wait
		if kube.Forbidden(err) {
			limit = min(limit, permission)
		} else if err == nil || !kube.Unsettled(err) {
			return err
		}
		if time.Since(begin) >= limit {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(insistInterval):
		}
	}
}

// vacate moves the pods of a node away. What nobody would make again stays, and
// goes on running.
func (u *upgrade) vacate(ctx context.Context, task *progress.Task, n node.Node) error {
	err := u.insist(ctx, func() error { return u.api.Cordon(ctx, n.Name, true) })
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, u.opts.DrainTimeout, errDrain)
	defer cancel()
	err = u.insist(ctx, func() error {
		return u.api.Vacate(ctx, n.Name, func(pods int) { task.Update(fmt.Sprintf("drain: %d pods left", pods)) })
	})
	if !errors.Is(err, errDrain) {
		return err
	}
	if u.opts.Force {
		return nil
	}
	return errdefs.New(errdefs.ClassTimeout, "DRAIN-TIMEOUT", "node %s: waited %s: %w", n.Name, u.opts.DrainTimeout, err).
		WithHint("give it longer with --drain-timeout, or use --force")
}

// upgradeConfiguration has the kubeadm of the new version change what it keeps
// on a node: on a control plane the static pods, on any the configuration of
// the kubelet. When it fails, what ran before runs on; when it succeeds, what it
// made is what a later failure goes back to.
//
// Balancers are not told of a control plane whose turn it is. They find out by
// their checks when its etcd is away, and end the connections to it; had they
// been told, those that are there would go on, unchecked, and hang.
func (u *upgrade) upgradeConfiguration(ctx context.Context, n node.Node) error {
	if err := script(ctx, n, keepBefore, nil, u.plan.To); err != nil {
		return err
	}
	if err := u.writeDocument(ctx, n); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), u.patience(), errKubeadm)
	defer cancel()
	var err error
	if n.Name != u.order[0].Name {
		err = u.kubeadm(ctx, n, "node")
	} else if err = u.kubeadm(ctx, n, "plan", u.plan.To); err == nil {
		err = u.kubeadm(ctx, n, "apply", u.plan.To, "--yes")
	}
	if err != nil {
		return errors.Join(err, u.takeBack(context.WithoutCancel(ctx), n))
	}
	return script(context.WithoutCancel(ctx), n, keepManifests, nil, u.plan.To)
}

// patience bounds a command of kubeadm's. It exchanges four parts of a control
// plane, each in the time of --wait, and takes back four if it must; before that
// it checks the cluster.
func (u *upgrade) patience() time.Duration { return 8*u.opts.Wait + 5*time.Minute }

var errKubeadm = errors.New("kubeadm did not end in time")

// writeDocument writes what kubeadm reads.
func (u *upgrade) writeDocument(ctx context.Context, n node.Node) error {
	told, err := plan(ctx, n)
	if err != nil {
		return err
	}
	in := kubeadm.UpgradeInput{Version: u.plan.To, IgnorePreflight: told.IgnorePreflight, Patience: u.opts.Wait}
	if n.Role == nodeimage.RoleControlPlane {
		conf, err := n.ReadFile(ctx, nodeimage.KubeadmConfigPath)
		if err != nil {
			return err
		}
		in.PatchesDir = kubeadm.PatchesDir(conf)
	}
	document, err := kubeadm.Upgrade(in)
	if err != nil {
		return err
	}
	return n.WriteFile(ctx, u.document(), document)
}

func (u *upgrade) document() string { return u.directory() + "/upgrade.yaml" }

// Where the output of kubeadm goes, and what keeps a second one from starting
// while one that was left alone still works.
const (
	upgradeLog  = "/var/log/petri-upgrade.log"
	upgradeLock = "/run/petri-upgrade.lock"
)

// kubeadm runs a command of the new kubeadm's "upgrade". It writes to a file: it
// goes on when the connection to it breaks.
func (u *upgrade) kubeadm(ctx context.Context, n node.Node, verb string, args ...string) error {
	command := append([]string{
		"flock", upgradeLock, "sh", "-c", `exec "$0" "$@" >` + upgradeLog + ` 2>&1`,
		u.directory() + nodeimage.ImageProgramsDir + "/kubeadm", "upgrade", verb,
	}, args...)
	err := exec.Run(ctx, n, append(command, "--config="+u.document())...)
	failed, ok := errors.AsType[*exec.Error](err)
	if !ok {
		return err
	}
	log, logErr := n.ReadFile(ctx, upgradeLog)
	if logErr != nil {
		return errors.Join(err, logErr)
	}
	if failed.Err != nil {
		return err
	}
	return errdefs.New(errdefs.ClassFailed, "KUBEADM-FAILED", "node %s: kubeadm upgrade %s: exit code %d", n.Name, verb, failed.Code).
		WithLog(lastLines(string(log), 30))
}

func lastLines(text string, count int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}

// takeBackTimeout is how long the old API server may take to serve again, at
// least: it is not what --wait is about.
const takeBackTimeout = 3 * time.Minute

// takeBack puts back what kubeadm has not put back itself, and waits until the
// API serves and everybody uses it.
func (u *upgrade) takeBack(ctx context.Context, n node.Node) error {
	task := progress.Start(u.reporter, "undo", "Taking "+n.Name+" back", "")
	err := script(ctx, n, restoreManifests, nil, u.plan.To)
	if err == nil {
		serving, cancel := context.WithTimeoutCause(ctx, max(u.opts.Wait, takeBackTimeout), errUpgraded)
		defer cancel()
		err = u.api.WaitServing(serving)
	}
	if err == nil {
		err = script(ctx, n, restartControllers, nil, u.plan.To)
	}
	return task.Done(err)
}

// switchKubelet makes the new programs those of the node. When the new kubelet
// does not get Ready, the old one comes back.
func (u *upgrade) switchKubelet(ctx context.Context, n node.Node) error {
	err := script(ctx, n, switchPrograms, nil, u.plan.To)
	if err == nil {
		err = u.waitKubelet(ctx, n, u.plan.To)
	}
	if err == nil {
		return nil
	}
	task := progress.Start(u.reporter, "undo", "Putting back the kubelet of "+n.Name, "")
	back := script(ctx, n, restorePrograms, nil, u.plan.To)
	if back == nil {
		back = u.waitKubelet(ctx, n, u.known[n.Name].Version)
	}
	return errors.Join(err, task.Done(back))
}

func (u *upgrade) waitKubelet(ctx context.Context, n node.Node, version string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, u.opts.Wait, errUpgraded)
	defer cancel()
	condition := kube.NodeRuns(n.Name, version, u.config.Networking.CNI != "none")
	return u.timedOut(u.api.Wait(ctx, []kube.Condition{condition}, nil))
}
