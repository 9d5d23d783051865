#!/bin/bash
# Starts a cluster, changes its OSD map in all kinds of ways, and takes all epochs out of the
# monitor's store.
#
#   live.sh OUT_DIR nautilus|pacific|tentacle [EPOCH]...
#
# Writes OUT_DIR/CLUSTER.incrementals, OUT_DIR/CLUSTER.fulls and, for the epochs named,
# OUT_DIR/live/CLUSTER-EPOCH.osdmap for make.sh. Uses ceph-mon, ceph-osd, monmaptool, ceph, rbd and
# ceph-kvstore-tool of the PATH; `nautilus` wants monitor and OSDs of Ceph 14.2, `tentacle` of 20.2.
# Commands that the cluster refuses are reported and passed over: what counts is what the monitor
# stores.
set -e
out=$(realpath "$1") cluster=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
cd "$work"
case $cluster in
nautilus) osds=3 port=21050 ;;
pacific) osds=5 port=17100 ;;
tentacle) osds=4 port=17150 ;;
esac
fsid=11111111-2222-3333-4444-5555555$port
cat >ceph.conf <<CONF
[global]
fsid = $fsid
mon host = [v2:127.0.0.1:$port]
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
ms bind port min = $((port + 10))
ms bind port max = $((port + 49))
public addr = 127.0.0.1
cluster addr = 127.0.0.1
osd crush chooseleaf type = 0
mon allow pool delete = true
mon data avail crit = 1
mon osd down out interval = 100000
osd objectstore = memstore
osd pool default pg autoscale mode = off
run dir = $work
admin socket = $work/\$name.\$pid.asok
log file = $work/\$name.log
pid file = $work/\$name.pid
mon data = $work/mon.\$id
osd data = $work/osd.\$id
CONF
# Encodes maps as Luminous did, until it is told that all OSDs are newer.
[ "$cluster" != nautilus ] || cat >>ceph.conf <<CONF
mon debug no require mimic = true
mon debug no require nautilus = true
CONF
export CEPH_CONF=$work/ceph.conf
trap 'kill $(cat "$work"/*.pid) 2>/dev/null; sleep 3; rm -r "$work"' EXIT

monmaptool --create --fsid $fsid --addv a "[v2:127.0.0.1:$port]" monmap >/dev/null
mkdir mon.a
ceph-mon -i a --mkfs --monmap monmap --setuser root --setgroup root
ceph-mon -i a
for osd in $(seq 0 $((osds - 1))); do
    uuid=$(cat /proc/sys/kernel/random/uuid)
    mkdir "osd.$osd"
    timeout 60 ceph osd new "$uuid" >/dev/null
    ceph-osd -i "$osd" --mkfs --osd-uuid "$uuid" >/dev/null 2>&1
    ceph-osd -i "$osd"
done

c() { timeout 30 "$@" >/dev/null 2>&1 || echo "refused: $*"; }
o() { c ceph osd "$@"; }
yes=--yes-i-really-really-mean-it

pacific() {
    o set-require-min-compat-client luminous --yes-i-really-mean-it
    o pool create rep 32 32
    o pool create wide 24 12 replicated
    o erasure-code-profile set k2m1 k=2 m=1 crush-failure-domain=osd
    o erasure-code-profile set gone k=2 m=2 crush-failure-domain=osd
    o pool create ec 16 16 erasure k2m1
    o pool create doomed 8
    o pool application enable rep rbd
    o pool rename wide broad
    o pool set-quota rep max_objects 1000
    o pool set-quota broad max_bytes 1000000000
    o pool set rep min_size 1
    o pool mksnap broad snap1
    o pool mksnap broad snap2
    o pool rmsnap broad snap1
    o pool delete doomed doomed $yes
    o erasure-code-profile rm gone
    o set noup
    o set noout
    o unset noup
    o primary-affinity osd.1 0.3
    o primary-affinity osd.2 0
    o reweight 3 0.6
    for pg in 0 1 2 3 4 5 6 7; do o pg-upmap-items 1.$pg 0 4; done
    o rm-pg-upmap-items 1.3
    o pg-upmap 2.5 4 3 2
    o pg-upmap 3.2 4 1 0
    o pg-upmap 2.6 1 0 2
    o rm-pg-upmap 2.6
    for pg in 1 2 3; do
        o pg-temp 2.$pg 0 3 1
        o primary-temp 2.$pg 3
    done
    o pg-temp 3.1 2 3 4
    o primary-temp 1.9 2
    o pg-temp 2.1
    o blocklist add 10.1.2.3:0/77
    o blocklist add 10.1.2.4
    o blocklist add '[fd00::1]:0/5'
    o blocklist add 10.1.2.3:0/77 90000
    o blocklist rm 10.1.2.4
    o set-nearfull-ratio 0.8
    o set-full-ratio 0.97
    o set-backfillfull-ratio 0.91
    o crush weight-set create-compat
    o crush weight-set reweight-compat osd.2 0.0001
    o crush tunables firefly
    o crush tunables optimal
    o crush add-bucket rack1 rack
    o crush move rack1 root=default
    o out 0
    o down 1
    sleep 4
    o in 0
    o setmaxosd 9
    o new "$(cat /proc/sys/kernel/random/uuid)"
    o pool set rep pg_num 64
    o pool set rep pgp_num 64
    o stop 4
    sleep 3
    o primary-affinity osd.3 0.5
    o set-require-min-compat-client pacific --yes-i-really-mean-it
    o pool delete rep rep $yes
    o pool create rep 8
    o setmaxosd 7
    o unset noout
    o pause
    o unpause
    o rm 4
    o rm 5
    o crush rm osd.4
    o new "$(cat /proc/sys/kernel/random/uuid)"
    c rbd create rep/img --size 8M
    c rbd snap create rep/img@s1
    c rbd snap rm rep/img@s1
    o pg-temp 5.1 3 0 2
    o set-require-min-compat-client luminous --yes-i-really-mean-it
}

# The changes that each way of encoding them is to have seen: $1 tells them apart.
nautilus_changes() {
    o pool create "rep$1" 8 8
    o pool application enable "rep$1" rbd
    o erasure-code-profile set "k2m1$1" k=2 m=1 crush-failure-domain=osd
    o pool create "ec$1" 4 4 erasure "k2m1$1"
    o pool mksnap "ec$1" snap1
    o pool mksnap "ec$1" snap2
    o pool rmsnap "ec$1" snap1
    o pg-upmap-items 1.1 0 2
    o rm-pg-upmap-items 1.1
    o pg-upmap 1.2 2 1 0
    o rm-pg-upmap 1.2
    o pg-temp 1.3 1 2
    o primary-temp 1.4 2
    o blacklist add "10.1.2.$1:0/77"
    o blacklist add "[fd00::$1]:0/5"
    o blacklist rm "[fd00::$1]:0/5"
    o primary-affinity osd.1 "0.$1"
    o reweight 2 "0.$1"
    o set-nearfull-ratio "0.8$1"
    o set noout
    o unset noout
    o down 1
    o setmaxosd $((3 + $1))
    # A snapshot that a client removes; the first command waits for the placement groups.
    c rados -p "rep$1" put object ceph.conf
    c rbd create "rep$1/img" --size 8M
    c rbd snap create "rep$1/img@s1"
    c rbd snap rm "rep$1/img@s1"
    o pool delete "ec$1" "ec$1" $yes
    o erasure-code-profile rm "k2m1$1"
    sleep 2
}

nautilus() {
    o set-require-min-compat-client luminous --yes-i-really-mean-it
    nautilus_changes 1
    o require-osd-release mimic
    nautilus_changes 2
    o require-osd-release nautilus
    nautilus_changes 3
}

tentacle() {
    o set-require-min-compat-client reef --yes-i-really-mean-it
    o pool create rep 32 32
    o erasure-code-profile set k2m1 k=2 m=1 plugin=isa technique=reed_sol_van \
        crush-failure-domain=osd
    o pool create ec 16 16 erasure k2m1
    o pool create doomed 8
    o pool set ec allow_ec_optimizations true
    o pool application enable rep rbd
    o blocklist range add 10.8.0.0/16
    o blocklist range add 'fd00::/64'
    o blocklist add 10.9.0.1:0/5
    o blocklist range rm 10.8.0.0/16
    # Only a member of the placement group is taken.
    for pg in 0 1 2 3 4 5 6 7 8 9 a b; do
        for osd in 3 2 1 0; do
            timeout 10 ceph osd pg-upmap-primary 1.$pg $osd >/dev/null 2>&1 && break
        done
    done
    o rm-pg-upmap-primary 1.2
    o pg-upmap-items 1.11 0 3
    o pg-temp 2.1 3 1 0
    o pg-temp 2.2 3 0 1
    o pg-temp 1.5 2 1 0
    o primary-temp 2.3 2
    o primary-affinity osd.0 0.5
    o reweight 2 0.7
    o down 1
    sleep 3
    o stop 3
    sleep 3
    o rm 3
    o crush weight-set create-compat
    c rbd create rep/img --size 8M
    c rbd snap create rep/img@s1
    c rbd snap rm rep/img@s1
    o pool delete doomed doomed $yes
    o set noscrub
}

$cluster
sleep 2
kill "$(cat mon.a.pid)"
sleep 3
"$here/extract.py" mon.a/store.db "$cluster" "$out" "$@"
