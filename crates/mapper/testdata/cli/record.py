#!/usr/bin/env python3
"""Records what upstream's `rbd` prints.

Usage: CEPH_CONF=.../ceph.conf ./record.py [GROUP...]

Wants an empty cluster of one OSD with `mon allow pool delete`, and writes GROUP.json next to itself:
a list of {"name", "args", "stdin", "stdout", "stderr", "code", "facts"}. Lines of librbd's own log
are taken out of stderr; nothing else is changed. Times are in UTC. "facts" holds, for the images a
command speaks of, what the cluster itself stores about them.
"""

import json
import os
import re
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+[+-]\d{4} [0-9a-f]+ +-?\d+ .*\n(?:\n)?")
ENV = {**os.environ, "TZ": "UTC", "LC_ALL": "C"}
SCRATCH = "/tmp/orbd-record"


def run(args, stdin=None, env=None):
    done = subprocess.run(args, input=stdin, capture_output=True, env=env or ENV)
    return done


def sh(line):
    done = subprocess.run(line, shell=True, capture_output=True, env=ENV)
    if done.returncode:
        sys.exit(f"{line}: {done.stderr.decode()}")
    return done.stdout


def header_facts(pool, image, namespace=None):
    """What the image's header says: its id and its times in seconds."""
    ns = ["-N", namespace] if namespace else []
    image_id = run(["rados", "-p", pool, *ns, "get", f"rbd_id.{image}", "-"]).stdout[4:].decode()
    facts = {"id": image_id}
    for key in ("create_timestamp", "access_timestamp", "modify_timestamp"):
        path = f"{SCRATCH}/omapval"
        if os.path.exists(path):
            os.unlink(path)
        run(["rados", "-p", pool, *ns, "getomapval", f"rbd_header.{image_id}", key, path])
        if os.path.exists(path):
            with open(path, "rb") as f:
                facts[key] = struct.unpack("<I", f.read()[:4])[0]
    return facts


def snapshot_times(pool, image_id):
    """When the image's snapshots were made, in seconds, in the order of their numbers."""
    times = []
    header = f"rbd_header.{image_id}"
    keys = run(["rados", "-p", pool, "listomapkeys", header]).stdout.decode().split()
    for key in sorted(key for key in keys if key.startswith("snapshot_")):
        path = f"{SCRATCH}/omapval"
        run(["rados", "-p", pool, "getomapval", header, key, path])
        with open(path, "rb") as f:
            times.append(snapshot_time(f.read()))
    return times


def snapshot_time(value):
    """The time in a cls_rbd_snap: the only eight bytes in it that are a time of the last hour."""
    now = run(["date", "+%s"]).stdout
    for at in range(len(value) - 8):
        seconds, nanoseconds = struct.unpack_from("<II", value, at)
        if abs(seconds - int(now)) < 3600 and nanoseconds < 10**9:
            return seconds
    raise ValueError(value)


class Group:
    def __init__(self, name):
        self.name = name
        self.cases = []

    def case(self, name, args, stdin=None, facts=None, env=None):
        if isinstance(args, str):
            args = args.split()
        done = run(["rbd", *args], stdin, env)
        self.cases.append(
            {
                "name": name,
                "args": args,
                **({"stdin": stdin.decode("latin-1")} if stdin is not None else {}),
                "stdout": done.stdout.decode("latin-1"),
                "stderr": LOG_LINE.sub("", done.stderr.decode("latin-1")),
                "code": done.returncode,
                **({"facts": facts} if facts else {}),
            }
        )
        return self.cases[-1]

    def formats(self, name, args, facts=None):
        """The case in every output format."""
        self.case(name, args, facts=facts)
        for kind in ("json", "xml"):
            self.case(f"{name} {kind}", f"{args} --format {kind}", facts=facts)
            self.case(f"{name} {kind} pretty", f"{args} --format {kind} --pretty-format", facts=facts)

    def save(self):
        with open(f"{HERE}/{self.name}.json", "w") as f:
            json.dump(self.cases, f, indent=1)
            f.write("\n")


def fresh():
    """Empty pools `rbd`, `data` and `other`."""
    for pool in ("rbd", "data", "other"):
        subprocess.run(
            f"ceph osd pool delete {pool} {pool} --yes-i-really-really-mean-it",
            shell=True, capture_output=True, env=ENV)
        sh(f"ceph osd pool create {pool} 8")
        sh(f"ceph osd pool application enable {pool} rbd")
        sh(f"rbd pool init {pool}")


def create():
    g = Group("create")
    g.case("plain", "create --size 10 a")
    g.case("exists", "create --size 10 a")
    g.case("no size", "create b")
    g.case("no image", "create --size 10")
    g.case("no pool", "create --size 10 nopool/b")
    g.case("snapshot in spec", "create --size 10 b@s")
    g.case("bad size", "create --size ten b")
    g.case("bad size suffix", "create --size 10Q b")
    g.case("negative size", "create --size -1 b")
    g.case("size fraction", "create --size 1.5G b")
    g.case("empty name", ["create", "--size", "10", ""])
    g.case("bad spec slash", "create --size 10 rbd//b")
    g.case("bad order low", "create --size 10 --order 11 b")
    g.case("bad order high", "create --size 10 --order 26 b")
    g.case("bad order text", "create --size 10 --order x b")
    g.case("bad object size low", "create --size 10 --object-size 2K b")
    g.case("bad object size high", "create --size 10 --object-size 64M b")
    g.case("object size not a power of two", "create --size 10 --object-size 3M b0")
    g.case("info of it", "info b0 --format json")
    g.case("order and object size", "create --size 10 --order 20 --object-size 8M b1")
    g.case("info of that", "info b1 --format json")
    g.case("bad feature", "create --size 10 --image-feature nosuch b")
    g.case("features comma", "create --size 10 --image-feature layering,exclusive-lock b2")
    g.case("features repeated", "create --size 10 --image-feature layering --image-feature exclusive-lock b3")
    g.case("object map without lock", "create --size 10 --image-feature object-map b4")
    g.case("journaling without lock", "create --size 10 --image-feature journaling b5")
    g.case("fast diff alone", "create --size 10 --image-feature fast-diff b6")
    g.case("striping feature alone", "create --size 10 --image-feature striping b7")
    g.case("data pool feature alone", "create --size 10 --image-feature data-pool b8")
    g.case("operations feature", "create --size 10 --image-feature operations b9")
    g.case("stripe unit alone", "create --size 10 --stripe-unit 64K b10")
    g.case("stripe count alone", "create --size 10 --stripe-count 4 b11")
    g.case("stripe unit does not divide", "create --size 10 --stripe-unit 3000 --stripe-count 4 b12")
    g.case("stripe unit above object", "create --size 10 --stripe-unit 8M --stripe-count 4 b13")
    g.case("stripe unit zero", "create --size 10 --stripe-unit 0 --stripe-count 4 b14")
    g.case("stripe of object size", "create --size 10 --stripe-unit 4M --stripe-count 1 b15")
    g.case("striped", "create --size 10 --stripe-unit 64K --stripe-count 5 b16")
    g.case("data pool", "create --size 10 --data-pool data b17")
    g.case("data pool missing", "create --size 10 --data-pool nodata b18")
    g.case("data pool same", "create --size 10 --data-pool rbd b19")
    g.case("shared", "create --size 10 --image-shared b20")
    g.case("shared with features", "create --size 10 --image-shared --image-feature layering,exclusive-lock,object-map b20b")
    g.case("format 1", "create --size 10 --image-format 1 b21")
    g.case("format 3", "create --size 10 --image-format 3 b22")
    g.case("new format", "create --size 10 --new-format b23")
    g.case("thick", "create --size 10 --thick-provision b24")
    g.case("thick quiet", "create --size 10 --thick-provision --no-progress b25")
    g.case("size zero", "create --size 0 b26")
    g.case("size bytes", "create --size 1000B b27")
    g.case("sizes lower case", "create --size 1g b28")
    g.case("size iB", "create --size 1GiB b29")
    g.case("size short", "create -s 5 b30")
    g.case("size joined", "create -s5 b31")
    g.case("size equals", "create --size=5 b32")
    g.case("pool option", "create -p other --size 10 b33")
    g.case("image option", "create --pool other --image b34 --size 10")
    g.case("image option with spec", "create --image other/b35 --size 10")
    g.case("unknown option", "create --size 10 --bogus b36")
    g.case("too many positionals", "create --size 10 b37 b38")
    g.case("size twice", "create --size 10 --size 11 b39")
    g.case("namespace missing", "create --size 10 rbd/nons/b40")
    g.case("default features option", "create --size 10 --rbd-default-features 1 b41")
    g.case("default features underscore", "create --size 10 --rbd_default_features=3 b42")
    g.case("default features names", "create --size 10 --rbd_default_features layering,deep-flatten b43")
    g.case("option before command", "-p rbd create --size 10 b44")
    g.case("abbreviated option", "create --siz 10 b45")
    g.case("size missing value", "create b46 --size")
    g.case("journal pool", "create --size 10 --image-feature layering,exclusive-lock,journaling --journal-pool data b47")
    g.case("at in name", "create --size 10 b@")
    g.case("space in name", ["create", "--size", "10", "b 48"])
    g.case("huge", "create --size 100E b49")
    g.case("order short", "create --size 10 -o 20 b50")
    g.case("listing", "ls -l rbd --format json --pretty-format")
    for n in ("b15", "b20", "b20b", "b27", "b28", "b41", "b42", "b43", "b10", "b5"):
        g.case(f"info {n}", f"info {n} --format json")
    g.save()


def info():
    g = Group("info")
    sh("rbd create --size 10 --image-feature layering plain")
    g.formats("plain", "info plain", header_facts("rbd", "plain"))
    sh("rbd create --size 10G all")
    g.formats("default features", "info all", header_facts("rbd", "all"))
    sh("rbd create --size 1T --image-feature layering,striping --stripe-unit 64K --stripe-count 5 --data-pool data striped")
    g.formats("striped", "info striped", header_facts("rbd", "striped"))
    sh("rbd create --size 1000B --image-feature '' odd; rbd create --size 5000000000B --object-size 64K --image-feature layering odd2; "
       "rbd create --size 0 --image-feature layering zero")
    g.formats("odd", "info odd", header_facts("rbd", "odd"))
    g.formats("odd2", "info odd2", header_facts("rbd", "odd2"))
    g.formats("zero", "info zero", header_facts("rbd", "zero"))
    sh("rbd snap create --no-progress plain@s1; rbd snap create --no-progress plain@s2; rbd snap protect plain@s2")
    f = header_facts("rbd", "plain")
    g.formats("with snapshots", "info plain", f)
    g.formats("snapshot", "info plain@s1", f)
    g.formats("protected snapshot", "info plain@s2", f)
    g.case("snapshot option", "info plain --snap s1", facts=f)
    g.case("snapshot missing", "info plain@nosuch")
    sh("rbd snap limit set --limit 7 plain")
    g.formats("limit", "info plain", header_facts("rbd", "plain"))
    sh("rbd clone plain@s2 child")
    g.formats("clone", "info child", header_facts("rbd", "child"))
    sh("rbd namespace create rbd/ns; rbd create --size 10 --image-feature layering rbd/ns/inner")
    g.formats("namespace", "info rbd/ns/inner", header_facts("rbd", "inner", "ns"))
    g.case("namespace option", "info --namespace ns inner", facts=header_facts("rbd", "inner", "ns"))
    g.case("by id", f"info --image-id {f['id']}", facts=f)
    g.case("by id json", f"info --image-id {f['id']} --format json", facts=f)
    g.case("by id and name", f"info --image-id {f['id']} plain")
    g.case("by id missing", "info --image-id 1234")
    sh("rbd create --size 10 --image-feature layering,exclusive-lock,journaling jr")
    g.formats("journaling", "info jr", header_facts("rbd", "jr"))
    sh("rbd create --size 10 odd3; rbd object-map rebuild --no-progress odd3; rbd feature disable odd3 object-map; rbd feature enable odd3 object-map")
    g.formats("flags", "info odd3", header_facts("rbd", "odd3"))
    sh("rbd group create grp; rbd group image add grp plain")
    g.formats("group", "info plain", header_facts("rbd", "plain"))
    sh("rbd group create rbd/ns/grp; rbd group image add rbd/ns/grp rbd/ns/inner")
    g.formats("group in namespace", "info rbd/ns/inner", header_facts("rbd", "inner", "ns"))
    sh("rbd snap unprotect plain@s2 || true; rbd create --size 10 --image-feature '' 'name<&>\"x'")
    for kind in ("plain", "json", "xml"):
        g.case(f"escapes {kind}", ["info", 'name<&>"x', "--format", kind], facts=header_facts("rbd", 'name<&>"x'))
    g.case("local time", "info zero", facts=header_facts("rbd", "zero"), env={**ENV, "TZ": "America/New_York"})
    g.case("missing image", "info nosuch")
    g.case("missing pool", "info nopool/x")
    g.case("missing namespace", "info rbd/nons/x")
    g.case("no image", "info")
    g.case("bad format", "info plain --format yaml")
    g.case("pretty without format", "info plain --pretty-format")
    g.case("unknown option", "info plain --bogus")
    g.case("unknown short option", "info plain -Z")
    g.case("unknown command", "bogus plain")
    g.case("spec with empty snap", "info plain@")
    g.case("spec with empty image", "info rbd/")
    g.case("spec with many slashes", "info a/b/c/d")
    g.case("spec with two ats", "info plain@a@b")
    g.case("image and positional", "info --image plain all")
    g.case("two positionals", "info plain all")
    g.case("pool given twice", "info -p rbd -p other plain")
    g.case("pool option and spec", "info -p other rbd/plain", facts=header_facts("rbd", "plain"))
    g.save()


def lists():
    g = Group("list")
    g.formats("empty", "ls other")
    g.formats("empty long", "ls -l other")
    sh("rbd create --size 10 --image-feature layering one; rbd create --size 10G two; rbd create --size 1536 three3three; "
       "rbd snap create --no-progress one@snap; rbd snap create --no-progress one@snap2; rbd snap protect one@snap2; rbd clone one@snap2 four; "
       "rbd lock add one me; rbd lock add --shared sh two me; rbd namespace create rbd/ns; rbd create --size 1 rbd/ns/in")
    facts = {n: header_facts("rbd", n) for n in ("one", "two", "three3three", "four")}
    facts["one"]["snapshots"] = snapshot_times("rbd", facts["one"]["id"])
    g.formats("short", "ls", facts)
    g.formats("long", "ls -l", facts)
    g.formats("long namespace", "ls -l rbd/ns", {"in": header_facts("rbd", "in", "ns")})
    g.case("long option", "list --long rbd", facts=facts)
    g.case("pool option", "ls -p rbd", facts=facts)
    g.case("pool and namespace option", "ls -p rbd --namespace ns")
    g.case("missing pool", "ls nopool")
    g.case("missing namespace", "ls rbd/nons")
    g.case("long missing namespace", "ls -l rbd/nons")
    g.case("bad namespace", "ls rbd/a/b")
    g.case("two pools", "ls rbd other")
    g.formats("snap ls none", "snap ls two")
    g.formats("snap ls", "snap ls one", facts)
    g.formats("snap ls all", "snap ls one --all", facts)
    sh("rbd snap rm --no-progress one@snap")
    g.case("snap list", "snap list one")
    sh("rbd create --size 10 --image-feature layering ns1; rbd group create grp; rbd group image add grp ns1; rbd group snap create grp@gs; "
       "rbd snap create --no-progress ns1@old; rbd snap protect ns1@old; rbd clone --rbd-default-clone-format 2 ns1@old ns2; "
       "rbd snap unprotect ns1@old; rbd snap rm --no-progress ns1@old")
    g.formats("snap ls namespaces", "snap ls --all ns1")
    g.case("snap ls missing image", "snap ls nosuch")
    g.case("snap ls with snapshot", "snap ls one@snap")
    g.case("snap ls no image", "snap ls")
    g.case("snap ls missing pool", "snap ls nopool/x")
    g.case("local time", "snap ls one", env={**ENV, "TZ": "America/New_York"})
    g.save()


def change():
    g = Group("change")
    sh("rbd create --size 10 --image-feature layering a; rbd create --size 10 --image-feature layering b")
    g.case("mv", "mv a c")
    g.case("rename", "rename c a")
    g.case("mv missing", "mv nosuch c")
    g.case("mv existing", "mv a b")
    g.case("mv itself", "mv a a")
    g.case("mv other pool", "mv a other/a")
    g.case("mv dest options", "mv a --dest a2")
    g.case("mv dest pool same", "mv a2 --dest-pool rbd --dest a")
    g.case("mv dest with pool", "mv --pool rbd --image a2 --dest-pool rbd --dest a")
    g.case("mv dest pool other", "mv a --dest-pool other --dest a")
    g.case("mv no dest", "mv a")
    g.case("mv nothing", "mv")
    g.case("mv missing pool", "mv nopool/a nopool/b")
    g.case("mv snap", "mv a@s b")
    g.case("mv dest snap", "mv a b@s")
    g.case("mv pool option", "mv -p rbd a z")
    g.case("mv pool option both", "mv -p rbd a --dest-pool rbd --dest z")
    g.case("mv back", "mv z a")
    g.case("mv other pool implied", "mv other/a b")
    g.case("resize", "resize --size 20 a")
    g.case("resize quiet", "resize --size 30 a --no-progress")
    g.case("resize shrink refused", "resize --size 10 a")
    g.case("resize shrink", "resize --size 10 --allow-shrink a")
    g.case("resize same", "resize --size 10 a")
    g.case("resize unit", "resize -s 1G a")
    g.case("resize missing image", "resize --size 10 nosuch")
    g.case("resize missing size", "resize a")
    g.case("resize bad size", "resize --size x a")
    g.case("resize no image", "resize --size 10")
    g.case("resize snapshot", "resize --size 10 a@s")
    g.case("feature disable absent", "feature disable a exclusive-lock")
    g.case("feature enable", "feature enable a exclusive-lock")
    g.case("feature enable again", "feature enable a exclusive-lock")
    g.case("feature enable comma", "feature enable a object-map,fast-diff")
    g.case("feature disable dependency", "feature disable a exclusive-lock")
    g.case("feature disable several", "feature disable a object-map fast-diff")
    g.case("feature disable lock", "feature disable a exclusive-lock")
    g.case("feature enable dependency", "feature enable a object-map")
    g.case("feature enable immutable", "feature enable a layering")
    g.case("feature disable immutable", "feature disable a layering")
    g.case("feature enable deep-flatten", "feature enable a deep-flatten")
    g.case("feature enable striping", "feature enable a striping")
    g.case("feature enable unknown", "feature enable a bogus")
    g.case("feature enable none", "feature enable a")
    g.case("feature enable nothing", "feature enable")
    g.case("feature enable missing image", "feature enable nosuch exclusive-lock")
    g.case("feature enable image option", "feature enable --image a exclusive-lock")
    g.case("feature enable snap", "feature enable a@s exclusive-lock")
    g.case("feature bogus", "feature bogus a")
    g.case("feature alone", "feature")
    g.formats("image-meta list none", "image-meta list a")
    g.case("image-meta get none", "image-meta get a k")
    g.case("image-meta set", "image-meta set a k v")
    g.case("image-meta set conf", "image-meta set a conf_rbd_cache false")
    g.case("image-meta set long", ["image-meta", "set", "a", "longer key", "a longer value"])
    g.case("image-meta set numeric", "image-meta set a n 12")
    g.case("image-meta get", "image-meta get a k")
    g.formats("image-meta list", "image-meta list a")
    g.case("image-meta ls", "image-meta ls a")
    g.case("image-meta get missing", "image-meta get a nosuch")
    g.case("image-meta get no key", "image-meta get a")
    g.case("image-meta set no value", "image-meta set a k2")
    g.case("image-meta set no key", "image-meta set a")
    g.case("image-meta set empty value", ["image-meta", "set", "a", "k3", ""])
    g.case("image-meta remove", "image-meta remove a k")
    g.case("image-meta remove again", "image-meta remove a k")
    g.case("image-meta rm no key", "image-meta rm a")
    g.formats("image-meta list one", "image-meta list a")
    g.case("image-meta list missing image", "image-meta list nosuch")
    g.case("image-meta get missing image", "image-meta get nosuch k")
    sh("rbd create --size 10 other/m; rbd image-meta set other/m k v; true")
    g.formats("image-meta list single", "image-meta list other/m")
    g.case("image-meta set escapes", ["image-meta", "set", "other/m", "k", "v<&>\"'/\\\x01\x7f\t\nx"])
    g.formats("image-meta list escapes", "image-meta list other/m")
    sh("rbd create --size 40 --image-feature layering big; rbd bench --io-type write --io-total 40M --io-size 4M big; rbd snap create --no-progress big@s")
    g.case("rm with snapshots", "rm big")
    sh("rbd snap rm --no-progress big@s; rbd snap create --no-progress big@p; rbd snap protect big@p")
    g.case("rm with protected snapshot", "rm big")
    sh("rbd snap unprotect big@p; rbd snap rm --no-progress big@p")
    g.case("rm data", "rm big")
    g.case("rm quiet", "rm --no-progress b")
    g.case("rm missing", "rm nosuch")
    g.case("rm missing quiet", "rm --no-progress nosuch")
    g.case("rm missing pool", "rm nopool/x")
    g.case("rm no image", "rm")
    g.case("rm snap", "rm a@s")
    watcher = subprocess.Popen(["rbd", "watch", "a"], stdout=subprocess.PIPE, stdin=subprocess.PIPE, env=ENV)
    watcher.stdout.read(1)
    g.case("rm watched", "rm a")
    image_id = header_facts("rbd", "a")["id"]
    listed = run(["rados", "-p", "rbd", "listwatchers", f"rbd_header.{image_id}"]).stdout.decode()
    g.formats("status watched", "status a", {"watchers": listed})
    watcher.communicate(b"\n")
    watcher.wait()
    sh("ceph osd blocklist clear || true")
    sh("rbd create --size 1 quiet")
    g.formats("status", "status quiet")
    g.case("status missing", "status nosuch")
    g.case("status no image", "status")
    g.case("status snap", "status quiet@s")
    g.case("pool init", "pool init other")
    g.case("pool init missing", "pool init nopool")
    g.case("device list", "device list")
    g.case("showmapped", "showmapped")
    g.case("device list json", "device list --format json")
    g.case("device list xml", "device list --format xml")
    g.case("device ls", "device ls")
    g.case("device list nbd", "device list -t nbd")
    g.case("device list bad type", "device list -t bogus")
    g.case("map missing image", "map nosuch")
    g.case("map no image", "map")
    g.case("unmap nothing", "unmap")
    g.case("unmap not mapped", "unmap rbd/nosuch")
    g.case("unmap not a device", "unmap /dev/null")
    g.case("version", "--version")
    g.case("version short", "-v")
    g.case("help unknown", "help bogus")
    g.case("connect no conf", "-c /nonexistent/ceph.conf ls")
    g.case("connect bad keyring", "--keyring /nonexistent/keyring ls")
    g.case("connect bad user", "--id nobody ls")
    g.case("option without value", "ls --id")
    g.save()


def transfer():
    g = Group("transfer")
    sh(f"rm -rf {SCRATCH}; mkdir -p {SCRATCH}; rbd create --size 16 --image-feature layering a; "
       f"rbd bench --io-type write --io-total 8M --io-size 1M a; rbd snap create --no-progress a@s; rbd create --size 0 z")
    os.chdir(SCRATCH)
    g.case("export", "export a a.img")
    g.case("export quiet", "export --no-progress a b.img")
    g.case("export exists", "export a a.img")
    g.case("export default path", "export a")
    g.case("export path option", "export a --path c.img")
    g.case("export snap", "export a@s d.img")
    g.case("export snap option", "export a --snap s e.img")
    g.case("export snap default path", "export a@s")
    g.case("export empty", "export z z.img")
    g.case("export missing image", "export nosuch x.img")
    g.case("export missing dir", "export a nodir/x.img")
    g.case("export missing snap", "export a@nosuch x.img")
    g.case("export no image", "export")
    g.case("export format 3", "export --export-format 3 a f3")
    out = run(["rbd", "export", "z", "-"])
    g.cases.append({"name": "export stdout empty", "args": "export z -".split(), "stdout": out.stdout.decode("latin-1"),
                    "stderr": out.stderr.decode(), "code": out.returncode})
    with open("src.img", "wb") as f:
        f.write(b"x" * 5000000)
    open("empty.img", "wb").close()
    g.case("import", "import src.img i1")
    g.case("import exists", "import src.img i1")
    g.case("import quiet", "import --no-progress src.img i2")
    g.case("import default name", "import src.img")
    g.case("import stdin", "import - i3", stdin=b"y" * 100000)
    g.case("import stdin no name", "import -", stdin=b"y")
    g.case("import stdin empty", "import - i4", stdin=b"")
    g.case("import empty", "import empty.img i5")
    g.case("import dest", "import src.img --dest i6 --dest-pool other")
    g.case("import dest spec", "import src.img other/i7")
    g.case("import path option", "import --path src.img i8")
    g.case("import pool option", "import -p other src.img i9")
    g.case("import image option", "import --image i9b src.img")
    g.case("import missing file", "import nofile i10")
    g.case("import directory", "import . i11")
    g.case("import no path", "import")
    g.case("import missing pool", "import src.img nopool/i")
    g.case("import snap", "import src.img i12@s")
    g.case("import options", "import src.img i13 --object-size 1M --image-feature layering --stripe-unit 64K --stripe-count 4 --data-pool data --sparse-size 64K")
    g.case("import bad sparse size", "import src.img i14 --sparse-size 1000")
    g.case("import bad sparse size 2", "import src.img i15 --sparse-size x")
    g.case("import small sparse size", "import src.img i16 --sparse-size 512")
    for n in ("i1", "i3", "i4", "i5", "i13"):
        g.case(f"info {n}", f"info {n} --format json")
    g.case("info default", "info src.img --format json")
    g.save()


def bench():
    g = Group("bench")
    sh("rbd create --size 64 --image-feature layering a; rbd snap create --no-progress a@s")
    g.case("write", "bench --io-type write --io-total 4M a")
    g.case("read", "bench --io-type read --io-total 4M a")
    g.case("readwrite", "bench --io-type readwrite --io-total 4M --rw-mix-read 30 a")
    g.case("rw", "bench --io-type rw --io-total 4M --io-size 64K --io-threads 4 --io-pattern rand a")
    g.case("full-seq", "bench --io-type write --io-total 4M --io-pattern full-seq a")
    g.case("seconds", "bench --io-type write --io-total 3G --io-size 256K --io-threads 1 a")
    g.case("no type", "bench a")
    g.case("bad type", "bench --io-type x a")
    g.case("bad pattern", "bench --io-type read --io-pattern x a")
    g.case("bad size", "bench --io-type read --io-size x a")
    g.case("size zero", "bench --io-type read --io-size 0 a")
    g.case("size huge", "bench --io-type read --io-size 1G a")
    g.case("size 4G", "bench --io-type read --io-size 8G a")
    g.case("threads zero", "bench --io-type read --io-threads 0 --io-total 1M a")
    g.case("threads bad", "bench --io-type read --io-threads x a")
    g.case("mix too much", "bench --io-type rw --rw-mix-read 101 --io-total 1M a")
    g.case("mix without rw", "bench --io-type read --rw-mix-read 10 --io-total 1M a")
    g.case("total below size", "bench --io-type read --io-total 1K a")
    g.case("write snapshot", "bench --io-type write --io-total 1M a@s")
    g.case("read snapshot", "bench --io-type read --io-total 1M a@s")
    g.case("missing image", "bench --io-type read nosuch")
    g.case("no image", "bench --io-type read")
    g.save()


def sizes():
    g = Group("sizes")
    typed = ("1 10 1024 +5 007 1K 10Ki 10MB 10Mx 3M 4G 1T 2Ti 1P 1E 7E 16E 15E 8E 5B 5Bi 5iB B K 10MiB '' -5K 1e3 0x10 10K5 5b "
             "1023B 1024B 1025B 1500B 10239B 10240B 102400B 1048575B 1048577B 1500000B 15000000B 150000000B 1500000000B "
             "1023K 1025K 1536K 10241K 99999K 1023M 1025M 1535M 9999M 10241M 104857M 1023G 1025G 1500G 20000G 1023T 1999T").split()
    for size in typed:
        size = size.replace("''", "")
        if g.case(size, ["create", "--image-feature", "layering", "--size", size, "s"])["code"] == 0:
            g.case(f"{size} info", "info s")
            g.case(f"{size} bytes", "info s --format json")
            image_id = header_facts("rbd", "s")["id"]
            for line in (f"rados -p rbd rm rbd_header.{image_id}", "rados -p rbd rm rbd_id.s", "rados -p rbd rm rbd_directory"):
                sh(line)
    g.save()


GROUPS = {"sizes": sizes, "create": create, "info": info, "list": lists, "change": change, "transfer": transfer, "bench": bench}

if __name__ == "__main__":
    os.makedirs(SCRATCH, exist_ok=True)
    for name in sys.argv[1:] or GROUPS:
        fresh()
        GROUPS[name]()
        print(name)
