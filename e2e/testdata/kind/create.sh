#!/usr/bin/env bash
# A cluster from a configuration on standard input: waited for, looked at and
# deleted.
set -euo pipefail
kind create cluster --name "$CLUSTER" --image "$NODE_IMAGE" --wait 120s --config=- <<EOF
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
networking:
  podSubnet: 10.130.0.0/16
  serviceSubnet: 10.131.0.0/16
nodes:
- role: control-plane
  labels: {tier: script}
EOF
kubectl config current-context
kubectl wait --for=condition=Ready node --all --timeout=60s
kubectl get nodes -l tier=script -o name
kubectl get service kubernetes -o jsonpath='{.spec.clusterIP}{"\n"}'
kubectl get node -o jsonpath='{.items[0].spec.podCIDR}{"\n"}'
kind get clusters | grep -x "$CLUSTER"
kind get nodes --name "$CLUSTER"
if kind create cluster --name "$CLUSTER" --image "$NODE_IMAGE" 2>message; then echo "made twice"; fi
grep -o "node(s) already exist for a cluster with the name" message
kind get kubeconfig --name "$CLUSTER" | grep -c 'current-context: kind-'
kind delete cluster --name "$CLUSTER"
kind get clusters 2>/dev/null | grep -cx "$CLUSTER" || true
kubectl config get-contexts -o name
