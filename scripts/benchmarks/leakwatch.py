"""`scripts/bench leakwatch`: the task registry and its watchdog."""

import json
import subprocess

from benchmarks.tools import BIN, Held, die, medians, start_vigil, table, verdict, wrk


def bench_registry(_options, _folder):
    print("\nTask registry and watchdog: 10,000 live tasks on 32 threads; then 5,000 stuck at once, a thread each")
    done = subprocess.run([BIN / "bench-leakwatch"], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        die("bench-leakwatch failed")
    result = json.loads(done.stdout)
    table([("", "measured")] + [(name.replace("_", " "), str(value)) for name, value in result.items()])
    return {"measured": result, "figures": [
        verdict("ns of CPU a begin and end, one thread", result["pair_ns_one_thread"], 40),
        verdict("ns of CPU a begin and end, four threads", result["pair_ns_four_threads"], 60),
        verdict("ms a pass over 10,000 live tasks", result["pass_ms"], 1),
        verdict("ms for the storm", result["storm_ms"], 2000),
        verdict("KiB for the storm", result["storm_kib"], 32 * 1024)]}


STORM_TASKS = 5_000
STORM_SECONDS = 6


def wrk_in_storm(stuck_after):
    """GET /hello beside handlers that are all stuck, while they pass the threshold; zero: nobody flags them."""
    server = start_vigil(f"--stuck-after={stuck_after}")
    wrk(server, "/hello", 32, 1)
    with Held("stuck", server, STORM_TASKS):
        result = wrk(server, "/hello", 32, STORM_SECONDS)
    server.stop()
    return result


def bench_storm(options, _folder):
    print(f"\nGET /hello beside {STORM_TASKS} stuck handlers, for {STORM_SECONDS} s in which all pass the threshold")
    unwatched, watched = [], []
    for _ in range(options["rounds"]):
        unwatched.append(wrk_in_storm("0"))
        watched.append(wrk_in_storm("3s"))
    a, b = medians(unwatched), medians(watched)
    table([("", "requests/s", "p99 us"), ("watchdog off", f"{a['requests_per_second']:.0f}", f"{a['p99_us']:.0f}"),
           ("in the storm", f"{b['requests_per_second']:.0f}", f"{b['p99_us']:.0f}")])
    ratio = b["requests_per_second"] / a["requests_per_second"]
    return {"watchdog_off": a, "in_the_storm": b, "figures": [
        verdict("throughput of /hello that is left in the storm", ratio, 0.95, at_most=False)]}

