"""`scripts/bench curves`: how costs grow, from one to many.

A curve is a list of points (how many, cost) and the growth that its algorithm explains. The verdict is on the factor by which
the cost grows from one decade to the next: 1 for what does not depend on the number, 10 for what looks at each. Costs are CPU
times: they hold on a machine that others use too.
"""

import math
import re
import statistics
import subprocess
import time

from benchmarks import big_library, micro
from benchmarks.sampler import cpu_ms, debug_get
from benchmarks.tools import BIN, ROOT, Held, die, medians, say, start_vigil, table, verdict, wrk

# The factor a decade that may be. FLAT leaves room for what leaves a processor's caches; a binary search has 1.6 from 10 to
# 10,000, a list 10. LINEAR leaves room for sorting (12.5 from 10,000 to 100,000) and for caches; what compares each with each
# has 100.
FLAT, LINEAR = 1.2, 16


def growth(points):
    """The factor a decade between the first point and the last."""
    (first, cost), (last, cost_then) = points[0], points[-1]
    return (cost_then / cost) ** (1 / math.log10(last / first))


def last_decade(points):
    """The points from the last one that is a decade below the end: what a constant part hides before."""
    far = [point for point in points if point[0] * 9.99 <= points[-1][0]]
    return [far[-1], points[-1]] if far else points


def curve(name, unit, points, limit):
    """Prints the curve; its figure. A linear one is judged by its last decade, a flat one from end to end."""
    rows = [(name, unit, "for each" if limit == LINEAR else "", "a decade")]
    for position, (count, cost) in enumerate(points):
        rows.append((f"{count:,}", f"{cost:.4g}", f"{cost / count:.3g}" if limit == LINEAR else "",
                     f"× {growth(points[position - 1:position + 1]):.2f}" if position else ""))
    table(rows)
    print()
    judged = points if limit == FLAT else last_decade(points)
    kind = "flat" if limit == FLAT else "linear"
    return verdict(f"{name}: {kind}, growth a decade", growth(judged), limit, unit="×")


def result(figures_and_points):
    return {"figures": [f for f, _ in figures_and_points], "points": {f["figure"]: p for f, p in figures_and_points}}


def curves(*described):
    return result([(curve(name, unit, points, limit), points) for name, unit, points, limit in described])


def micro_points(pattern, rounds):
    """Of "name/1", "name/10", …"""
    return [(int(name.rsplit("/", 1)[1]), ns) for name, ns in micro.measure(pattern, rounds).items()]


# --- connections, routes, tasks


def bench_connections(options, _folder):
    counts = (1, 10, 100, 1000, 10_000, 15_000)
    server = start_vigil("--idle-timeout=1h")
    wrk(server, "/hello", 32, 1)
    runs = {count: [] for count in counts}
    for _ in range(options["rounds"]):
        for count in counts:
            with Held("idle", server, count):
                runs[count].append(wrk(server, "/hello", 32, options["seconds"]))
    server.stop()
    points = [(count, medians(rounds)["cpu_us"]) for count, rounds in runs.items()]
    return curves(("idle connections", "CPU us a request of 32 others", points, FLAT))


def bench_routes(options, _folder):
    return curves(
        ("routes", "ns a request in the router", micro_points("^route/", options["rounds"]), FLAT),
        ("timed connections", "ns to arm and disarm", micro_points("^timer_wheel_arm/", options["rounds"]), FLAT),
        ("timed connections, one of which is due", "ns to find it and arm it again",
         micro_points("^timer_wheel_turn/", options["rounds"]), FLAT))


def bench_tasks(options, _folder):
    counts = (1, 10, 100, 1000, 10_000, 100_000)
    pages = []
    for count in counts:
        with CurveHost(tasks=count) as host:
            pages.append((count, host.page_ms("/debug/tasks?format=json", options["rounds"])))
    return curves(
        ("live tasks", "ns to begin and end one more", micro_points("^task/[1-9]", options["rounds"]), FLAT),
        ("tasks in a pass", "ns of the watchdog", micro_points("^watchdog_pass/", options["rounds"]), LINEAR),
        ("tasks in a list", "CPU ms of /debug/tasks", pages, LINEAR))


# --- threads, depth


class CurveHost:
    """bench-curve-host, until the block ends."""

    def __init__(self, tasks=0, blocked=0, busy=0, depth=1):
        arguments = [str(number) for number in (tasks, blocked, busy, depth)]
        self.process = subprocess.Popen([BIN / "bench-curve-host", *arguments], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            die(f"bench-curve-host {' '.join(arguments)} ended at start")
        self.port = int(line)

    def cpu_ms(self, name=""):
        return cpu_ms(self.process.pid, name)

    def one_page_ms(self, path):
        before = self.cpu_ms()
        debug_get(self.port, path)
        return self.cpu_ms() - before

    def page_ms(self, path, rounds):
        """CPU time of the process for a page that it has shown before."""
        self.one_page_ms(path)
        return statistics.median(self.one_page_ms(path) for _ in range(2 * rounds + 1))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


DUMP = "/debug/pprof/goroutine?debug=2"
WALL_HZ, PROFILE_SECONDS = 20, 2


def bench_threads(options, _folder):
    counts = (1, 10, 100, 1000, 2000)
    first, again, wall, profile, watchdog = [], [], [], [], []
    for count in counts:
        say(f"{count} threads …")
        with CurveHost(blocked=count, depth=20) as host:
            first.append((count, host.one_page_ms(DUMP)))
            again.append((count, host.page_ms(DUMP, options["rounds"])))
            took = host.one_page_ms(f"/debug/pprof/wall?seconds={PROFILE_SECONDS}&hz={WALL_HZ}")
            wall.append((count, took / PROFILE_SECONDS / WALL_HZ))
            took = host.one_page_ms(f"/debug/pprof/profile?seconds={PROFILE_SECONDS}&hz=100")
            profile.append((count, took / PROFILE_SECONDS))
            before = host.cpu_ms("vigil-watchdog")
            time.sleep(5)
            watchdog.append((count, (host.cpu_ms("vigil-watchdog") - before) / 5))
    return curves(
        ("threads, dumped for the first time", "CPU ms", first, LINEAR),
        ("threads that have not run since", "CPU ms of the next dump", again, LINEAR),
        ("blocked threads in a wall profile", "CPU ms a round", wall, LINEAR),
        ("blocked threads in a CPU profile", "CPU ms a second", profile, LINEAR),
        ("blocked threads, each in a task", "CPU ms of the watchdog a second", watchdog, LINEAR))


def bench_depth(options, _folder):
    counts = (5, 50, 500)
    threads, again, sample = 100, [], []
    for depth in counts:
        with CurveHost(blocked=threads, depth=depth) as host:
            again.append((depth, host.page_ms(DUMP, options["rounds"]) * 1e3 / threads))
        with CurveHost(busy=1, depth=depth) as host:
            sample.append((depth, statistics.median(collector_ms(host) for _ in range(options["rounds"]))))
    rounds = options["rounds"]
    return curves(
        ("frames of a stack that is new", "ns to walk them", micro_points("^unwind_new/", rounds), LINEAR),
        ("frames of a stack seen before", "ns to recognize them", micro_points("^unwind_known/", rounds), LINEAR),
        ("frames of a sample", "ns to count it", micro_points("^sample_count/", rounds), LINEAR),
        ("frames of a busy thread", "CPU ms of the collector a second at 200 Hz", sample, LINEAR),
        ("frames of a blocked thread", "CPU us a thread, as text", again, LINEAR))


def collector_ms(host):
    """Of the collector, for a second of a profile of one busy thread at 200 Hz: its rounds, and the samples."""
    path = f"/debug/pprof/profile?seconds={PROFILE_SECONDS}&hz=200&debug=1&symbolize=0"
    text = debug_get(host.port, path)[0].decode()
    return int(re.search(r"collector_cpu_ns=(\d+)", text)[1]) / 1e6 / PROFILE_SECONDS


# --- binary


def debug_megabytes(library):
    """Of its .debug_info: what must be read to know which function an address is in. It grows by its functions, as a file does
    not: equal strings, and inline functions, are in it once."""
    sections = subprocess.run(["readelf", "-SW", library], capture_output=True, text=True, check=True).stdout
    return int(re.search(r"\.debug_info\s+PROGBITS\s+\S+\s+\S+\s+(\S+)", sections)[1], 16) / 1e6


def bench_binary(options, _folder):
    points, rows = [], [("file, MB", ".debug_info, MB", "CPU s", "after the capture's end, s")]
    for megabytes in big_library.SIZES:
        library = big_library.library(ROOT / "build" / "bench-big", say, megabytes)
        debug = round(debug_megabytes(library), 1)
        cpu, waited = zip(*(first_profile(library) for _ in range(min(options["rounds"], 3))))
        points.append((debug, statistics.median(cpu)))
        rows.append((f"{library.stat().st_size / 1e6:.1f}", debug, f"{statistics.median(cpu):.3f}", f"{statistics.median(waited):.2f}"))
    table(rows)
    print()
    return curves(("megabytes of debug information", "CPU s for the first profile", points, LINEAR))


def first_profile(library):
    """CPU seconds of vigil's threads for it, and seconds from the capture's end to the last byte."""
    host = subprocess.Popen([BIN / "bench-big-host", library], stdout=subprocess.PIPE, text=True)
    try:
        port = int(host.stdout.readline())
        time.sleep(1)
        before = cpu_ms(host.pid, "vgdbg")
        _, took = debug_get(port, f"/debug/pprof/profile?seconds={PROFILE_SECONDS}&hz=1000")
        return (cpu_ms(host.pid, "vgdbg") - before) / 1e3, took - PROFILE_SECONDS
    finally:
        host.kill()
        host.wait()
