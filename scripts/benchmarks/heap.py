"""The heap part of `scripts/bench sampler`: what sampling costs a malloc/free pair."""

import json
import statistics
import subprocess

from benchmarks.tools import BIN, table, verdict

# Allocator: program, and by how many ns a pair may grow when sampling is on.
ALLOCATORS = {
    "tcmalloc": ("bench-heap-tcmalloc", 2),
    "glibc, interposed": ("bench-heap-interposed", 8),
}


def measure(program, rounds):
    runs = [json.loads(subprocess.run([program], capture_output=True, text=True, check=True).stdout) for _ in range(rounds)]
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def bench_heap(options, _folder):
    results = {"glibc": measure(BIN / "bench-heap-glibc", options["rounds"])}
    for name, (program, _) in ALLOCATORS.items():
        results[name] = measure(BIN / program, options["rounds"])
    print("\nHeap sampling, one in 512 KiB: CPU ns for a malloc/free pair of 16 to 1,024 bytes (249 on average)")
    table([("", "off", "on", "on, with the collector's thread")] +
          [(name, *(f"{r[key]:.2f}" for key in ("off_ns", "on_ns", "on_with_collector_ns"))) for name, r in results.items()])
    figures = []
    for name, (_, limit) in ALLOCATORS.items():
        # tcmalloc's own pair is the program's with sampling off; an interposed one is compared with glibc's alone.
        before = results[name if name == "tcmalloc" else "glibc"]["off_ns"]
        figures.append(verdict(f"{name}: ns more for a pair", results[name]["on_ns"] - before, limit))
    return {"pairs": results, "figures": figures}
