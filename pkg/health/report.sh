# How this node is: sections that begin with a line "== NAME", which parseReport
# reads. What hangs is given up: it may be what is broken.
section() { echo "== $*"; }
strays() { [ "$(timeout 2 systemctl is-active "$1")" != active ] || [ "$(timeout 2 systemctl show "$1" -p NRestarts --value)" -ge 3 ]; }

section clock
cut -d' ' -f1 /proc/uptime
for unit in kubelet containerd; do
  section "unit $unit"
  timeout 2 systemctl show "$unit.service" -p ActiveState -p SubState -p NRestarts -p ActiveEnterTimestampMonotonic
  section "log $unit"
  if strays "$unit.service"; then timeout 2 journalctl -u "$unit" -n 12 -o cat --no-pager; fi
done

section disks
for dir in / /var /var/lib/containerd /var/lib/kubelet /var/lib/etcd /var/log /var/log/pods; do
  if [ -d "$dir" ]; then timeout 2 stat -f -c "$dir %a %S %d %c" "$dir"; fi
done

section link
# an engine that takes a node off its network and puts it back gives another name
state=gone
for link in /sys/class/net/eth*; do
  [ -e "$link" ] || continue
  state=$(cat "$link/operstate")
  [ "$state" = up ] && break
done
echo "$state"
section address
sed -n 's/.*--node-ip=\([^ ",]*\).*/\1/p' /var/lib/kubelet/kubeadm-flags.env 2>/dev/null
server=$(sed -n 's|^ *server: *https://||p' /etc/kubernetes/kubelet.conf 2>/dev/null)
if [ -n "$server" ]; then
  section "server $server"
  host=${server%:*} host=${host#[} host=${host%]}
  # its exit code is 124 when the time is up
  timeout 2 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$host" "${server##*:}" 2>&1 && echo reached
fi

[ -d /etc/kubernetes/manifests ] || exit 0
section containers
timeout 3 crictl ps --all --output json 2>/dev/null
for manifest in /etc/kubernetes/manifests/*.yaml; do
  [ -e "$manifest" ] || continue
  name=$(basename "$manifest" .yaml)
  section "static $name"
  newest=$(ls -t /var/log/pods/kube-system_"$name"-*/"$name"/*.log 2>/dev/null | head -n 1)
  if [ -n "$newest" ]; then tail -n 8 "$newest" | cut -d' ' -f4-; fi
done
section manifests
timeout 2 journalctl -u kubelet -n 200 -o cat --no-pager | grep -F /etc/kubernetes/manifests/ | tail -n 2
exit 0
