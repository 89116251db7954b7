# How this node is: sections that begin with a line "== NAME", which parseReport
# reads. What hangs is given up, for it may be what is broken, and so is what
# there is no time left for: what was found is of use without it.
section() { echo "== $*"; }
end=$(($(date +%s) + 6))
left() { echo $((end - $(date +%s))); }
within() {
  limit=$(left)
  [ "$limit" -le "$1" ] || limit=$1
  shift
  [ "$limit" -gt 0 ] && timeout "$limit" "$@"
}

units="kubelet.service containerd.service"
if [ -e /var/lib/petri/haproxy.cfg ]; then units="$units petri-balancer.service"; fi
if [ -e /etc/systemd/system/multi-user.target.wants/petri-approver.service ]; then units="$units petri-approver.service"; fi
section clock
date +%s
section units
# an age by its monotonic time would not count what the machine slept
shown=$(within 2 env TZ=UTC systemctl show $units -p Id -p ActiveState -p SubState -p NRestarts -p ConditionResult -p ActiveEnterTimestamp)
echo "$shown"
# astray names the units whose logs are of interest. Their properties come in
# systemd's own order, and an empty line ends those of a unit.
astray() {
  id='' state='' restarts=0
  while IFS='=' read -r key value; do
    case $key in
      Id) id=${value%.service} ;;
      ActiveState) state=$value ;;
      NRestarts) restarts=$value ;;
      '')
        if [ -n "$id" ] && { [ "$state" != active ] || [ "$restarts" -ge 3 ]; }; then echo "$id"; fi
        id='' state='' restarts=0
        ;;
    esac
  done
}
for unit in $(printf '%s\n\n' "$shown" | astray); do
  section "log $unit"
  within 2 journalctl -u "$unit" -n 12 -o cat --no-pager
done

section disks
# the first number is the same for all directories of a file system; some have none
within 2 sh -c 'for dir; do
  [ -d "$dir" ] || continue
  id=$(stat -f -c %i "$dir")
  [ "$id" != 0 ] || id=device-$(stat -c %d "$dir")
  stat -f -c "$dir $id %a %S %d %c" "$dir"
done' sh / /var /var/lib/containerd /var/lib/kubelet /var/lib/etcd /var/log /var/log/pods

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
sed -n 's/.*--node-ip=\([^ "]*\).*/\1/p' /var/lib/kubelet/kubeadm-flags.env 2>/dev/null
server=$(sed -n 's|^ *server: *https://||p' /etc/kubernetes/kubelet.conf 2>/dev/null)
# too little time would tell nothing of the network
if [ -n "$server" ] && [ "$(left)" -ge 2 ]; then
  section "server $server"
  host=${server%:*} host=${host#[} host=${host%]}
  # its exit code is 124 when the time is up
  within 2 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$host" "${server##*:}" 2>&1 && echo reached
fi

[ -d /etc/kubernetes/manifests ] || exit 0
section containers
within 3 crictl ps --all --output json 2>/dev/null
for manifest in /etc/kubernetes/manifests/*.yaml; do
  [ -e "$manifest" ] || continue
  name=$(basename "$manifest" .yaml)
  section "static $name"
  newest=$(ls -t /var/log/pods/kube-system_"$name"-*/"$name"/*.log 2>/dev/null | head -n 1)
  if [ -n "$newest" ]; then tail -n 8 "$newest" | cut -d' ' -f4-; fi
done
section manifests
within 2 journalctl -u kubelet -n 200 -o cat --no-pager | grep -F /etc/kubernetes/manifests/ | tail -n 2
exit 0
