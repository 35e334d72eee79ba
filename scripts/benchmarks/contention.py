"""`scripts/bench sampler --only=contention`: the interposed lock functions."""

import json
import subprocess

from benchmarks.tools import BIN, say, table, verdict


def bench_contention(options, _folder):
    turns = 10 * options["rounds"]
    say(f"Locks: {turns} turns for each way …")
    out = subprocess.run([BIN / "bench-contention", str(turns)], capture_output=True, text=True, check=True).stdout
    result = json.loads(out)
    print("\nLocking a mutex: the C library's function (bare), interposed and off, on at the default rate; medians of",
          turns, "turns")
    names = {
        "uncontended_ns": "a lock and an unlock, ns",
        "two_threads_5us": "2 threads, 5 us held and 5 us not: locks/s",
        "eight_threads_5us": "8 threads, the same: locks/s",
        "eight_threads_100ns": "8 threads, 0.1 us held and 0.1 us not: locks/s",
    }
    rows = [("", "bare", "off", "on", "off/bare", "on/bare", "by CPU time: off", "on")]
    for key, name in names.items():
        r = result[key]
        digits = 2 if key.endswith("_ns") else 0
        rows.append((name, *(f"{r[way]:.{digits}f}" for way in ("bare", "off", "on")),
                     f"{r['off_ratio']:.3f}", f"{r['on_ratio']:.3f}",
                     f"{r['off_cpu_ratio']:.3f}", f"{r['on_cpu_ratio']:.3f}"))
    table(rows)
    uncontended = result["uncontended_ns"]
    return {"locks": result, "figures": [
        verdict("off: ns more for a lock and an unlock", uncontended["off"] - uncontended["bare"], 2),
        verdict("on: throughput of 8 contending threads that is left", result["eight_threads_5us"]["on_ratio"], 0.98,
                at_most=False),
        verdict("on: the same with 0.1 us holds", result["eight_threads_100ns"]["on_ratio"], 0.98, at_most=False)]}
