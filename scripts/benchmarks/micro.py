"""`scripts/bench micro`: one function at a time, by Google Benchmark (tests/bench/micro)."""

import json
import subprocess

from benchmarks.tools import BIN, die, figure, table

NANOSECONDS = {"ns": 1, "us": 1e3, "ms": 1e6}


def measure(pattern, rounds, seconds=0.1):
    """Name: CPU nanoseconds of one call, the median of `rounds` of `seconds` each; of those whose name has the pattern."""
    done = subprocess.run(
        [BIN / "bench-micro", f"--benchmark_filter={pattern}", f"--benchmark_min_time={seconds}",
         f"--benchmark_repetitions={max(rounds, 2)}", "--benchmark_report_aggregates_only=true", "--benchmark_format=json"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if done.returncode != 0:
        die("bench-micro failed")
    result = {}
    for run in json.loads(done.stdout)["benchmarks"]:
        if run.get("error_occurred"):
            die(f"bench-micro: {run['name']}: {run['error_message']}")
        if run["aggregate_name"] == "median":
            result[run["run_name"]] = run["cpu_time"] * NANOSECONDS[run["time_unit"]]
    return result


def bench_functions(options, _folder):
    result = measure(".", options["rounds"])
    print("CPU time of one call, medians of", max(options["rounds"], 2))
    table([("", "ns")] + [(name, f"{ns:,.1f}") for name, ns in result.items()])
    return {"figures": [figure(name, ns, "ns") for name, ns in result.items()]}
