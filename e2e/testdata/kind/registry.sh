#!/usr/bin/env bash
# The script of kind's users for a local registry: containerd reads hosts from a
# directory, each node learns where localhost's registry is, and KEP-1755's
# ConfigMap says so. Then an image is pushed, and a pod runs it.
set -euo pipefail
kind create cluster --name "$CLUSTER" --image "$NODE_IMAGE" --wait 120s --config=- <<EOF
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
containerdConfigPatches:
- |-
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"
EOF
registry=$CLUSTER-registry
docker run --detach --restart=always --publish "127.0.0.1:$PORT:5000" --network kind --name "$registry" "$REGISTRY_IMAGE" >/dev/null
trap 'docker rm --force --volumes "$registry" >/dev/null' EXIT
dir=/etc/containerd/certs.d/localhost:$PORT
for node in $(kind get nodes --name "$CLUSTER"); do
  docker exec "$node" mkdir -p "$dir"
  printf '[host."http://%s:5000"]\n' "$registry" | docker exec -i "$node" cp /dev/stdin "$dir/hosts.toml"
done
kubectl apply -f - <<EOF
apiVersion: v1
kind: ConfigMap
metadata: {name: local-registry-hosting, namespace: kube-public}
data:
  localRegistryHosting.v1: |
    host: "localhost:$PORT"
EOF
docker tag "$REGISTRY_IMAGE" "localhost:$PORT/app:1"
docker push --quiet "localhost:$PORT/app:1" >/dev/null
kubectl create deployment app --image="localhost:$PORT/app:1"
kubectl rollout status deployment/app --timeout=90s | tail -n 1
kind delete cluster --name "$CLUSTER"
