#!/bin/busybox sh
# The guest's only script. Options come on the kernel command line:
#   dyad.ip=ADDRESS/PREFIX  dyad.gw=ADDRESS  dyad.tick=SECONDS  dyad.dirty=KIB (rewritten again and again, for tests without a network)
#   dyad.disk=DEVICE (with ext4: Redis writes its append-only file there, flushed before each reply; a program "run" on it is started)
/bin/busybox mkdir -p /dev /proc /sys /tmp
/bin/busybox --install -s /bin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
mount -t tmpfs none /tmp

ip_address=10.0.2.15/24
gateway=
tick=1
dirty=
disk=
for word in $(cat /proc/cmdline); do
  case $word in
    dyad.ip=*) ip_address=${word#*=} ;;
    dyad.gw=*) gateway=${word#*=} ;;
    dyad.tick=*) tick=${word#*=} ;;
    dyad.dirty=*) dirty=${word#*=} ;;
    dyad.disk=*) disk=${word#*=} ;;
  esac
done

while read -r module; do insmod "/modules/$module"; done < /modules/order

ip link set lo up
if [ -d /sys/class/net/eth0 ]; then
  ip address add "$ip_address" dev eth0
  ip link set eth0 up
  [ -z "$gateway" ] || ip route add default via "$gateway"
fi

ulimit -n 8192
echo 4096 > /proc/sys/net/core/somaxconn
echo 1 > /proc/sys/vm/overcommit_memory
persistence="--appendonly no"
if [ -n "$disk" ]; then
  mkdir -p /data
  mount -t ext4 "/dev/$disk" /data
  persistence="--dir /data --appendonly yes --appendfsync always --auto-aof-rewrite-percentage 0"
  # Its output goes to the disk as well: the console is for the kernel and the ticks.
  [ ! -x /data/run ] || /data/run > /data/run.log 2>&1 &
fi
# shellcheck disable=SC2086
/usr/bin/redis-server --save '' $persistence --protected-mode no --tcp-backlog 4096 --daemonize yes --logfile /tmp/redis.log

if [ -n "$dirty" ]; then
  while :; do
    dd if=/dev/urandom of=/tmp/dirty bs=1k count="$dirty" conv=notrunc 2> /dev/null
    sleep 0.02
  done &
fi

# From here on every line of the kernel log shows: a console with nothing but our own lines is a clean log.
echo 8 > /proc/sys/kernel/printk
echo "dyad-guest ready"
count=0
while :; do
  read -r uptime rest < /proc/uptime
  echo "dyad-guest tick $count uptime $uptime"
  count=$((count + 1))
  sleep "$tick"
done
