#!/usr/bin/env bash
# Several nodes, of which one is kept for some pods by a taint of its own
# kubeadm patch, and labelled; what tolerates the taint runs there.
set -euo pipefail
cat > cluster.yaml <<EOF
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
- role: control-plane
- role: worker
- role: worker
  kubeadmConfigPatches:
  - |
    kind: JoinConfiguration
    nodeRegistration:
      taints:
      - key: dedicated
        value: gpu
        effect: NoSchedule
      kubeletExtraArgs:
        node-labels: "hardware=gpu"
EOF
KIND_CLUSTER_NAME=$CLUSTER kind create cluster --image "$NODE_IMAGE" --config cluster.yaml
kubectl wait --for=condition=Ready nodes --all --timeout=120s | sort
KIND_CLUSTER_NAME=$CLUSTER kind get nodes | sort
kubectl get nodes -l hardware=gpu -o jsonpath='{range .items[*]}{.metadata.name} {.spec.taints[?(@.key=="dedicated")].value}{"\n"}{end}'
kubectl taint nodes "$CLUSTER-worker" team=a:NoExecute
kubectl apply -f - <<EOF
apiVersion: v1
kind: Pod
metadata: {name: job}
spec:
  restartPolicy: Never
  tolerations: [{key: dedicated, operator: Exists}]
  containers:
  - name: job
    image: $POD_IMAGE
    command: [/usr/bin/busybox, "true"]
EOF
kubectl wait --for=jsonpath='{.status.phase}'=Succeeded pod/job --timeout=90s
kubectl get pod job -o jsonpath='{.spec.nodeName}{"\n"}'
KIND_CLUSTER_NAME=$CLUSTER kind delete cluster
