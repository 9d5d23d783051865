#!/bin/sh
# Makes the monitor and the OSD of the cluster of ceph.conf $1 say one of each message at least.
rados="rados -c $1 -k ${1%ceph.conf}ceph.client.admin.keyring -p rbd"
ceph="ceph -c $1 -k ${1%ceph.conf}ceph.client.admin.keyring"
$ceph fsid
$rados put watched /etc/hostname
sleep 16 | $rados watch watched > /dev/null &
sleep 2
$rados notify watched hello
$rados listwatchers watched
$rados stat watched
$rados stat missing
$rados ls
$ceph osd pool create stuck 1 1
$ceph osd pool set stuck size 2
$ceph osd pool set stuck min_size 2
sleep 2
timeout 4 $rados -p stuck put x /etc/hostname
$rados -p missing ls
wait
