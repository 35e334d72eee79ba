"""`scripts/bench agent`: what libvigil_agent.so costs real servers (tests/integration/agent/servers.py)."""

import contextlib
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "tests" / "integration" / "agent"))
import servers  # noqa: E402: the path above
import watching  # noqa: E402

from benchmarks.tools import AGENT, figure, table, verdict  # noqa: E402

# What issue 7 asks for.
IDLE_PERCENT_MAX, WATCHED_PERCENT_MAX, RESIDENT_MIB_MAX, START_MS_MAX = 0.5, 5.0, 8.0, 20.0
STARTS = 40
EVERYTHING = ("/debug/pprof/profile?seconds={seconds}&hz=250",)


def resident_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])


def cpu_ns(pid):
    """Of all threads of a process, the agent's included."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in pathlib.Path(f"/proc/{pid}/task").iterdir())


class Pair:
    """The same server twice, bare and preloaded."""

    def __init__(self, kind):
        self.bare, self.preloaded = kind(), kind()
        self.log = self.preloaded.folder / "agent.log"
        self.bare.start({})
        self.preloaded.start(servers.preloaded(AGENT, self.log, **kind.extra))
        servers.wait_until(self.bare.profiled, "no process that does the work")
        servers.wait_until(lambda: self.preloaded.profiled() in servers.agent_addresses(self.log), "no agent")

    def address(self):
        return servers.agent_addresses(self.log)[self.preloaded.profiled()]

    def close(self):
        for server in (self.bare, self.preloaded):
            server.stop()
            server.remove()


@contextlib.contextmanager
def on_processors(chosen):
    """What is started within, and this program, runs on these only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, chosen)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def processors_apart():
    """One for the server, the others for its load; the same one where there is no other."""
    first, *others = sorted(os.sched_getaffinity(0))
    return {first}, set(others) or {first}


class Turn:
    """A new process of a server on a processor of its own, loaded once for its caches and its memory, and then measured.

    A new one each time: where a process happens to lie in memory makes 1 % of its CPU time, for as long as it lives.
    """

    def __init__(self, kind, has_agent, seconds):
        server, (its_own, the_others) = kind(), processors_apart()
        log = server.folder / "agent.log"
        try:
            with on_processors(its_own):
                server.start(servers.preloaded(AGENT, log, **kind.extra) if has_agent else {})
            servers.wait_until(server.profiled, "no process that does the work")
            if has_agent:
                servers.wait_until(lambda: server.profiled() in servers.agent_addresses(log), "no agent")
            self.kib_at_start = resident_kib(server.profiled())
            with on_processors(the_others):
                server.load(0.1)
                self.kib = resident_kib(server.profiled())
                before = cpu_ns(server.profiled())
                load = server.load(seconds)
                self.cpu_ns = (cpu_ns(server.profiled()) - before) / load.requests
            self.rate, self.failed = load.rate, load.failed
            server.stop()
        finally:
            server.remove()


# The bare server twice: what two of the same program differ by is the noise.
IDLE = {"bare": False, "bare again": False, "preloaded": True}


def idle_turns(kind, rounds, seconds):
    """For each of IDLE its turns, in an order that changes from round to round."""
    turns, names = {name: [] for name in IDLE}, list(IDLE)
    for number in range(rounds):
        for name in names[number % len(names):] + names[:number % len(names)]:
            turns[name].append(Turn(kind, IDLE[name], seconds))
    return turns


def beside_bare(turns, name, value):
    """What `value` of each turn is more than the bare one's of the same round, in percent: the median, and its standard error."""
    percents = [100 * (value(turn) / value(bare) - 1) for turn, bare in zip(turns[name], turns["bare"])]
    if len(percents) < 2:
        return percents[0], float("nan")
    low, _, high = statistics.quantiles(percents, n=4)
    return statistics.median(percents), 1.25 * (high - low) / 1.35 / len(percents) ** 0.5


def mib_more(turns, value):
    return max(value(turn) - value(bare) for turn, bare in zip(turns["preloaded"], turns["bare"])) / 1024


def bench_idle_servers(options, _folder):
    rows, figures, results = [("", "CPU a request, % more", "requests a second, % more", "MiB more, at start",
                               "after load")], [], {}
    for name in ("nginx", "redis"):
        turns = idle_turns(servers.SERVERS[name], options["rounds"] * 5, options["seconds"])
        start, loaded = mib_more(turns, lambda turn: turn.kib_at_start), mib_more(turns, lambda turn: turn.kib)
        for variant in ("bare again", "preloaded"):
            cpu, cpu_error = beside_bare(turns, variant, lambda turn: turn.cpu_ns)
            rate, rate_error = beside_bare(turns, variant, lambda turn: turn.rate)
            memory = (f"{start:.1f}", f"{loaded:.1f}") if IDLE[variant] else ("", "")
            rows.append((f"{name}, {variant}", f"{cpu:+.2f} ± {cpu_error:.2f}", f"{rate:+.2f} ± {rate_error:.2f}", *memory))
        results[name] = {variant: [vars(turn) for turn in those] for variant, those in turns.items()}
        figures += [verdict(f"{name}, preloaded and idle: % of the CPU of a request", cpu, IDLE_PERCENT_MAX),
                    figure(f"{name}, preloaded and idle: % of throughput", -rate),
                    verdict(f"{name}: MiB of resident memory at start, the most of a turn", start, RESIDENT_MIB_MAX),
                    verdict(f"{name}: MiB of resident memory after load, the most of a turn", loaded, RESIDENT_MIB_MAX),
                    verdict(f"{name}: failed requests", sum(turn.failed for those in turns.values() for turn in those), 0)]
    table(rows)
    return {"results": results, "figures": figures}


def bench_watched(options, _folder):
    """Everything at once for `seconds` a turn: CPU at 250 Hz, heap, contention, a dump a second."""
    rows, figures, results = [("", "throughput lost, median %", "of rounds")], [], {}
    seconds = max(options["seconds"], 5)
    for name in servers.SERVERS:
        pair = Pair(servers.SERVERS[name])
        lost, failed, wrong = [], 0, []
        try:
            for server in (pair.bare, pair.preloaded):
                server.load(2)
            for _ in range(options["rounds"]):
                bare = pair.bare.load(seconds)
                watch = watching.Watching(pair.address(), seconds, EVERYTHING)
                watched = pair.preloaded.load(seconds)
                watch.end()
                wrong += watch.wrong
                failed += bare.failed + watched.failed
                lost.append(100 * (1 - watched.rate / bare.rate))
        finally:
            pair.close()
        median = statistics.median(lost)
        results[name] = {"lost_percent": lost, "failed": failed, "wrong": wrong}
        rows.append((name, f"{median:+.1f}", f"{min(lost):+.1f} to {max(lost):+.1f}"))
        figures += [verdict(f"{name}, everything at once: % of throughput", median, WATCHED_PERCENT_MAX),
                    verdict(f"{name}: failed requests and pages", failed + len(wrong), 0)]
    table(rows)
    return {"results": results, "figures": figures}


def least_start_ms(environment):
    least = float("inf")
    for _ in range(STARTS):
        began = time.perf_counter()
        subprocess.run(["/bin/true"], env=environment, check=True, stderr=subprocess.DEVNULL)
        least = min(least, time.perf_counter() - began)
    return 1000 * least


def bench_start(_options, _folder):
    bare = least_start_ms({})
    unarmed = least_start_ms({"LD_PRELOAD": str(AGENT)}) - bare
    armed = least_start_ms(servers.preloaded(AGENT, "off")) - bare
    table([("start of /bin/true", "ms"), ("bare", f"{bare:.2f}"), ("the library in it", f"+{unarmed:.2f}"),
           ("with an agent that serves", f"+{armed:.2f}")])
    return {"results": {"bare_ms": bare, "unarmed_ms": unarmed, "armed_ms": armed},
            "figures": [verdict("start-up without VIGIL_LISTEN, ms more", unarmed, START_MS_MAX),
                        verdict("start-up with an agent, ms more", armed, START_MS_MAX)]}
