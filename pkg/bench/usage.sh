#!/usr/bin/env bash
# usage.sh SECONDS: what this node takes, as the numbers that parseUsage reads.
set -eu
group=/sys/fs/cgroup
if [ -e $group/cgroup.controllers ]; then
  echo "$(cat $group/memory.current) $(sed -n 's/^inactive_file //p' $group/memory.stat)"
  cpu() { echo "$(sed -n 's/^usage_usec //p' $group/cpu.stat)000"; }
else
  echo "$(cat $group/memory/memory.usage_in_bytes) $(sed -n 's/^total_inactive_file //p' $group/memory/memory.stat)"
  cpu() { cat $group/cpuacct/cpuacct.usage; }
fi
echo "$(cpu) $(date +%s%N)"
sleep "$1"
echo "$(cpu) $(date +%s%N)"
etcd=0
[ ! -d /var/lib/etcd ] || etcd=$(du -skx /var/lib/etcd | cut -f1)
echo "$(du -skx /var | cut -f1) $etcd"
