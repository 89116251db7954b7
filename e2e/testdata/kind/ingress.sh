#!/usr/bin/env bash
# The recipe for ingress: a label on the node by a kubeadm patch, ports of the
# host that lead to it, and a controller (here a web server) on its host ports.
set -euo pipefail
kind create cluster --name "$CLUSTER" --image "$NODE_IMAGE" --wait 120s --config - <<EOF
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
- role: control-plane
  kubeadmConfigPatches:
  - |
    kind: InitConfiguration
    nodeRegistration:
      kubeletExtraArgs:
        node-labels: "ingress-ready=true"
  extraPortMappings:
  - containerPort: 80
    hostPort: $PORT
    protocol: TCP
EOF
kubectl get nodes -l ingress-ready=true -o name
kubectl apply -f - <<EOF
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: ingress}
spec:
  selector: {matchLabels: {app: ingress}}
  template:
    metadata: {labels: {app: ingress}}
    spec:
      nodeSelector: {ingress-ready: "true"}
      containers:
      - name: web
        image: $POD_IMAGE
        command: [/usr/bin/busybox, sh, -c, "mkdir -p /tmp/www && echo behind the ingress > /tmp/www/index.html && exec busybox httpd -f -p 8080 -h /tmp/www"]
        ports: [{containerPort: 8080, hostPort: 80}]
EOF
kubectl rollout status daemonset/ingress --timeout=90s | tail -n 1
curl --silent --show-error --retry 20 --retry-delay 1 --retry-all-errors --noproxy '*' "http://localhost:$PORT/"
kind delete cluster --name "$CLUSTER"
