#!/usr/bin/env python3
"""Makes CRUSH maps and asks crushtool where it places things.

    make.py CRUSHTOOL OUT_DIR [msr]

Writes NAME.crush (compiled by crushtool) and NAME.mappings:

    rule R replicas N weights DEV=W,...
    DEVICES of x = 0
    DEVICES of x = 1
    ...

where 2147483647 stands for a hole. With `msr`, maps with multi-step-retry rules, which crushtool
knows since Squid.
"""
import random
import re
import subprocess
import sys

TOOL, OUT = sys.argv[1:3]
MSR = sys.argv[3:] == ["msr"]
XS = 48

PROFILES = {
    "argonaut": (2, 5, 19, 0, 0, 0),
    "bobtail": (0, 0, 50, 1, 0, 0),
    "firefly": (0, 0, 50, 1, 1, 0),
    "hammer": (0, 0, 50, 1, 1, 0),
    "jewel": (0, 0, 50, 1, 1, 1),
    "odd": (3, 0, 7, 0, 3, 0),
}
ALGS = ["uniform", "list", "tree", "straw", "straw2"]


def tunables(profile):
    local, fallback, total, once, vary, stable = PROFILES[profile]
    return f"""tunable choose_local_tries {local}
tunable choose_local_fallback_tries {fallback}
tunable choose_total_tries {total}
tunable chooseleaf_descend_once {once}
tunable chooseleaf_vary_r {vary}
tunable chooseleaf_stable {stable}
tunable straw_calc_version 1
tunable allowed_bucket_algs 54
"""


TYPES = "type 0 osd\ntype 1 host\ntype 2 rack\ntype 10 root\n"


def hierarchy(rng, alg, racks, hosts, osds, uneven):
    """Buckets from the leaves up; uniform buckets need items of one weight."""
    text, osd, number = "", 0, -1
    rack_lines = []
    for rack in range(racks):
        host_lines = []
        for host in range(hosts):
            name = f"host{rack}-{host}"
            items, total = [], 0.0
            count = osds if alg == "uniform" or not uneven else rng.randint(1, osds)
            for _ in range(count):
                weight = rng.choice([0.5, 1.0, 2.0, 3.5]) if uneven and alg != "uniform" else 1.0
                if uneven and alg != "uniform" and rng.random() < 0.06:
                    weight = 0.0
                items.append(f" item osd.{osd} weight {weight:.5f}\n")
                total += weight
                osd += 1
            text += f"host {name} {{\n id {number}\n alg {alg}\n hash 0\n{''.join(items)}}}\n"
            number -= 1
            host_lines.append(f" item {name} weight {total:.5f}\n")
        text += f"rack rack{rack} {{\n id {number}\n alg {alg}\n hash 0\n{''.join(host_lines)}}}\n"
        number -= 1
        total = sum(float(line.split()[3]) for line in host_lines)
        rack_lines.append(f" item rack{rack} weight {total:.5f}\n")
    text += f"root default {{\n id {number}\n alg {alg}\n hash 0\n{''.join(rack_lines)}}}\n"
    devices = "".join(f"device {i} osd.{i}\n" for i in range(osd))
    return devices, text, osd


def rules(bodies):
    text = ""
    for number, (kind, body) in enumerate(bodies):
        steps = "".join(f" step {step}\n" for step in body)
        size = "" if MSR else " min_size 1\n max_size 20\n"
        text += f"rule rule{number} {{\n id {number}\n type {kind}\n{size}{steps}}}\n"
    return text


CLASSIC = [
    ("replicated", ["take default", "chooseleaf firstn 0 type host", "emit"]),
    ("erasure", ["set_chooseleaf_tries 5", "set_choose_tries 100", "take default",
                 "chooseleaf indep 0 type host", "emit"]),
    ("replicated", ["take default", "choose firstn 0 type rack", "chooseleaf firstn 2 type host",
                    "emit"]),
    ("erasure", ["take default", "choose indep 2 type rack", "choose indep 2 type host",
                 "choose indep 1 type osd", "emit"]),
    ("replicated", ["take rack0", "chooseleaf firstn 1 type host", "emit", "take default",
                    "chooseleaf firstn -1 type osd", "emit"]),
    ("erasure", ["take default", "chooseleaf indep 0 type rack", "emit"]),
    ("replicated", ["set_choose_local_tries 2", "set_choose_local_fallback_tries 3",
                    "set_choose_tries 30", "set_chooseleaf_vary_r 2", "set_chooseleaf_stable 1",
                    "take default", "chooseleaf firstn 0 type rack", "emit"]),
    ("replicated", ["take osd.1", "emit", "take default", "choose firstn 0 type osd", "emit"]),
]
MSR_RULES = [
    ("msr_firstn", ["take default", "choosemsr 0 type host", "choosemsr 1 type osd", "emit"]),
    ("msr_indep", ["take default", "choosemsr 4 type host", "choosemsr 2 type osd", "emit"]),
    ("msr_indep", ["set_msr_descents 30", "set_msr_collision_tries 7", "take default",
                   "choosemsr 2 type rack", "choosemsr 2 type host", "choosemsr 2 type osd",
                   "emit"]),
    ("msr_firstn", ["take rack0", "choosemsr 2 type host", "choosemsr 1 type osd", "emit",
                    "take rack1", "choosemsr 2 type host", "choosemsr 1 type osd", "emit"]),
    ("msr_indep", ["take default", "choosemsr 8 type osd", "emit"]),
]


def run(name, text, count, rule_count, rng, replicas):
    source = f"{OUT}/{name}.txt"
    with open(source, "w") as file:
        file.write(text)
    binary = f"{OUT}/{name}.crush"
    subprocess.run([TOOL, "-c", source, "-o", binary, "--enable-unsafe-tunables"], check=True,
                   capture_output=True)
    subprocess.run(["rm", source], check=True)
    out = []
    for rule in range(rule_count):
        for weighted in (False, True):
            weights = {}
            if weighted:
                for device in rng.sample(range(count), count // 3):
                    weights[device] = rng.choice([0, 0, 0.25, 0.5, 0.9])
            n = replicas[(rule + weighted) % len(replicas)]
            command = [TOOL, "-i", binary, "--test", "--show-mappings", "--rule", str(rule),
                       "--num-rep", str(n), "--min-x", "0", "--max-x", str(XS - 1)]
            for device, weight in weights.items():
                command += ["--weight", str(device), str(weight)]
            shown = subprocess.run(command, check=True, capture_output=True, text=True)
            shown = shown.stdout + shown.stderr
            listed = ",".join(f"{d}={int(w * 0x10000)}" for d, w in sorted(weights.items()))
            out.append(f"rule {rule} replicas {n} weights {listed}")
            found = re.findall(r"rule %d x (\d+) \[(.*)\]" % rule, shown)
            assert [int(x) for x, _ in found] == list(range(XS)), (name, rule, shown[:500])
            out += [devices for _, devices in found]
    with open(f"{OUT}/{name}.mappings", "w") as file:
        file.write("\n".join(out) + "\n")


def choose_args(rng, text):
    """Alternative weights for all pools that have no own, and ids."""
    args = ""
    for match in re.finditer(r"(?:host|rack|root) \S+ \{\n id (-\d+)\n.*?\n\}", text, re.S):
        items = re.findall(r"item (\S+) weight (\S+)", match.group(0))
        sets = ""
        for _ in range(2):
            weights = " ".join(f"{float(w) * rng.choice([0.2, 0.7, 1, 1.4]):.3f}" for _, w in items)
            sets += f"      [ {weights} ]\n"
        ids = ""
        if rng.random() < 0.5:
            ids = "    ids [ " + " ".join(str(-100 - i) for i in range(len(items))) + " ]\n"
        args += f"  {{\n    bucket_id {match.group(1)}\n    weight_set [\n{sets}    ]\n{ids}  }}\n"
    return f"choose_args 0 {{\n{args}}}\n"


def main():
    rng = random.Random(20)
    if MSR:
        for uneven in (False, True):
            devices, buckets, count = hierarchy(rng, "straw2", 3, 4, 3, uneven)
            run(f"msr-{'uneven' if uneven else 'even'}",
                tunables("jewel") + devices + TYPES + buckets + rules(MSR_RULES), count,
                len(MSR_RULES), rng, [4, 8, 6])
        return
    for alg in ALGS:
        for profile in PROFILES:
            devices, buckets, count = hierarchy(rng, alg, 4, 3, 4, True)
            run(f"{alg}-{profile}",
                tunables(profile) + devices + TYPES + buckets + rules(CLASSIC), count,
                len(CLASSIC), rng, [3, 4, 6])
    devices, buckets, count = hierarchy(rng, "straw2", 4, 3, 4, True)
    run("choose-args", tunables("jewel") + devices + TYPES + buckets + rules(CLASSIC)
        + choose_args(rng, buckets), count, len(CLASSIC), rng, [3, 4])
    # Weights at the upper end, where Ceph takes them for signed.
    hosts = "".join(f"host h{i} {{\n id -{i + 1}\n alg straw2\n hash 0\n item osd.{i} weight 1.0\n}}\n"
                    for i in range(3))
    root = ("root default {\n id -9\n alg straw2\n hash 0\n item h0 weight 40000.0\n"
            " item h1 weight 20000.0\n item h2 weight 100.0\n}\n")
    devices = "".join(f"device {i} osd.{i}\n" for i in range(3))
    run("heavy", tunables("jewel") + devices + TYPES + hosts + root + rules(CLASSIC[:2]), 3, 2,
        rng, [2, 3])


main()
