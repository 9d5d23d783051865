#!/bin/bash
# Makes OSD maps and asks osdmaptool where it places their placement groups.
#
#   make.sh OUT_DIR [OSDMAPTOOL20 CRUSHTOOL20]
#
# Uses osdmaptool and crushtool of the PATH (Ceph 16.2), and for the maps that need them those of
# Ceph 20.2 if they are given. CRUSH maps come from ../../../crush/testdata.
set -e
here=$(cd "$(dirname "$0")" && pwd)
crush=$here/../../../crush/testdata
out=$1 tool20=$2 crushtool20=$3
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

# dump TOOL NAME: `PG UP PRIMARY [ACTING PRIMARY]` for each placement group, the last two only if
# they differ from those before.
dump() {
    "$1" "$out/$2.osdmap" --test-map-pgs-dump-all 2>/dev/null | sed -nE \
        -e 's/^([0-9]+\.[0-9a-f]+) raw .* up \(\[(.*)\], p(-?[0-9]+)\) acting \(\[(.*)\], p(-?[0-9]+)\)$/\1 \2 \3 \4 \5/p' \
        | sed -E 's/^(\S+) (\S*) (\S+) \2 \3$/\1 \2 \3/' >"$out/$2.pgs"
    # It counts as it prints, and dies if it cannot.
    "$1" "$out/$2.osdmap" --test-map-pgs-dump-all >/dev/null 2>&1
    echo "$2: $(wc -l <"$out/$2.pgs") placement groups"
}

# simple TOOL NAME OSDS SEED [options of edit.py]
simple() {
    local tool=$1 name=$2 osds=$3 seed=$4
    shift 4
    "$tool" "$work/base" --createsimple "$osds" --with-default-pool --clobber \
        --osd_crush_chooseleaf_type=0 >/dev/null 2>&1
    "$here/edit.py" "$work/base" "$out/$name.osdmap" "$seed" "$@"
    dump "$tool" "$name"
}

pools="--pool 1:1:3:0:256:256 --pool 2:3:6:1:96:96 --pool 3:1:4:2:100:60 --pool 7:3:4:3:64:64
    --pool 9:1:2:6:64:64:nohash"

simple osdmaptool three 3 1 --plain --pool 1:1:3:0:128:128
simple osdmaptool three-edited 3 2 --pool 1:1:3:0:128:128 --pool 4:1:2:0:96:32:nohash
simple osdmaptool twelve 12 3 --pool 1:1:3:0:512:512
seed=10
for alg in uniform list tree straw straw2; do
    for profile in argonaut bobtail firefly hammer jewel; do
        case $alg-$profile in
        straw2-* | *-argonaut | uniform-jewel | straw-hammer) ;;
        *) continue ;;
        esac
        seed=$((seed + 1))
        simple osdmaptool $alg-$profile 48 $seed --crush "$crush/$alg-$profile.crush" $pools
    done
done
simple osdmaptool choose-args 48 40 --crush "$crush/choose-args.crush" \
    --pool 0:1:3:0:256:256 --pool 5:1:3:0:64:64

crushtool -o "$work/big" --build --num_osds 200 host straw2 8 rack straw2 5 root straw2 0 \
    >/dev/null 2>&1
crushtool -i "$work/big" -o "$work/big" --create-simple-rule wide root host indep >/dev/null 2>&1
crushtool -d "$work/big" | sed '/^rule wide/,/}/s/type replicated/type erasure/' >"$work/big.txt"
crushtool -c "$work/big.txt" -o "$work/big"
simple osdmaptool two-hundred 200 50 --crush "$work/big" --pool 1:1:3:0:2048:2048 \
    --pool 2:3:11:1:512:512

# Full maps of live clusters, from live.sh.
for map in "$out"/live/pacific-*.osdmap; do
    [ -e "$map" ] || continue
    mv "$map" "$out"
    dump osdmaptool "$(basename "$map" .osdmap)"
done

[ -n "$tool20" ] || exit 0
for map in "$out"/live/tentacle-*.osdmap; do
    [ -e "$map" ] || continue
    mv "$map" "$out"
    dump "$tool20" "$(basename "$map" .osdmap)"
done
simple "$tool20" upmap-primaries 48 60 --primaries --crush "$crush/straw2-jewel.crush" \
    --pool 1:1:3:0:256:256 --pool 2:3:6:1:96:96
# Shards 1 and 2 of six, and 1 to 3, cannot be primary.
simple "$tool20" nonprimary-shards 48 61 --crush "$crush/straw2-jewel.crush" \
    --pool 1:3:6:1:256:256:6 --pool 2:3:6:5:128:128:14
for kind in even uneven; do
    simple "$tool20" msr-$kind 36 62 --crush "$crush/msr-$kind.crush" --pool 1:1:3:0:128:128 \
        --pool 2:3:8:1:128:128 --pool 3:3:6:2:64:64 --pool 4:1:4:3:64:64 --pool 5:3:5:4:64:64
done
