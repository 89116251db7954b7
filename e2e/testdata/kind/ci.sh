#!/usr/bin/env bash
# A job of CI: tests fail, the logs are kept, the cluster goes, and the job fails.
set -uo pipefail
finish() {
  code=$?
  if [ "$code" -ne 0 ]; then
    dir=$(kind export logs --name "$CLUSTER" ./logs 2>/dev/null)
    echo "logs are in $dir"
    for file in kubelet.log containerd.log journal.log serial.log inspect.json images.log kubernetes-version.txt; do
      [ -s "$dir/$CLUSTER-control-plane/$file" ] && echo "has $file"
    done
    ls "$dir/$CLUSTER-control-plane/pods" | grep -c kube-apiserver
  fi
  kind delete cluster --name "$CLUSTER" --quiet
  exit "$code"
}
trap finish EXIT
kind create cluster --name "$CLUSTER" --image "$NODE_IMAGE" --wait 2m --quiet || exit 9
kind version | cut -d ' ' -f 1,2
kind version --quiet
kubectl run broken --image="$POD_IMAGE" --restart=Never --command -- /usr/bin/busybox false
kubectl wait --for=jsonpath='{.status.phase}'=Failed pod/broken --timeout=90s
kubectl get pod broken -o jsonpath='{.status.containerStatuses[0].state.terminated.exitCode}{"\n"}'
exit 3
