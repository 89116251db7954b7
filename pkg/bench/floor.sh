#!/usr/bin/env bash
# floor.sh prepare|clean|start|stop: the processes of this node's control plane
# and its kubelet, without kubeadm, static pods and containers.
set -eu
dir=/var/lib/petri-bench
programs="etcd kube-apiserver kube-controller-manager kube-scheduler kubelet"

# prepare keeps each program with the arguments that kubeadm gave it, and stops
# everything.
prepare() {
  mkdir -p $dir
  for program in $programs; do
    pid=$(pgrep -x "${program:0:15}") # the kernel keeps 15 characters of a name
    cp "/proc/$pid/exe" "$dir/$program"
    cp "/proc/$pid/cmdline" "$dir/$program.args"
  done
  systemctl stop kubelet
  mv /etc/kubernetes/manifests $dir/
  mkdir /etc/kubernetes/manifests
  crictl pods --quiet | xargs --no-run-if-empty crictl rmp --force
}

# clean leaves an empty store and a kubelet that knows no pods.
clean() {
  findmnt --list --noheadings --output TARGET | grep ^/var/lib/kubelet/pods/ | xargs --no-run-if-empty umount
  rm -rf /var/lib/etcd /var/lib/kubelet/pods /var/lib/kubelet/*_manager_state
  mkdir -m 700 /var/lib/etcd
}

start() {
  for program in $programs; do
    mapfile -d '' -t args <"$dir/$program.args"
    "$dir/$program" "${args[@]:1}" </dev/null >"$dir/$program.log" 2>&1 &
    echo $! >>$dir/pids
  done
}

# stop is at once: what they wrote is wiped.
stop() {
  [ -e $dir/pids ] || return 0
  xargs kill -KILL <$dir/pids || true # those that ended by themselves are gone
  while xargs ps --no-headers --pid <$dir/pids >/dev/null; do sleep 0.05; done
  rm $dir/pids
}

"$1"
