"""`scripts/bench agent`: what libvigil_agent.so costs real servers (tests/integration/agent/servers.py)."""

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

from benchmarks.tools import AGENT, table, verdict  # noqa: E402

# What issue 7 asks for.
IDLE_PERCENT_MAX, WATCHED_PERCENT_MAX, RESIDENT_MIB_MAX, START_MS_MAX = 0.5, 5.0, 8.0, 20.0
STARTS = 40
EVERYTHING = ("/debug/pprof/profile?seconds={seconds}&hz=250",)


def resident_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1])


def cpu_seconds(pid):
    """Of all threads of a process, the agent's included."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Pair:
    """The same server twice, bare and preloaded, loaded in turns."""

    def __init__(self, kind):
        self.bare, self.preloaded = kind(), kind()
        self.log = self.preloaded.folder / "agent.log"
        self.bare.start({})
        self.preloaded.start(servers.preloaded(AGENT, self.log, **kind.extra))
        servers.wait_until(self.bare.profiled, "no process that does the work")
        servers.wait_until(lambda: self.preloaded.profiled() in servers.agent_addresses(self.log), "no agent")

    def address(self):
        return servers.agent_addresses(self.log)[self.preloaded.profiled()]

    def turns(self, rounds, seconds):
        """For each round, percent of throughput that the preloaded one has less, and of its CPU time a request that it has
        more (which other programs on the machine disturb less); failed requests of both."""
        lost, more_cpu, failed = [], [], 0
        for number in range(rounds):
            order = [self.bare, self.preloaded] if number % 2 == 0 else [self.preloaded, self.bare]
            loads, cpu = {}, {}
            for server in order:
                before = cpu_seconds(server.profiled())
                loads[server] = server.load(seconds)
                cpu[server] = (cpu_seconds(server.profiled()) - before) / loads[server].requests
            failed += sum(load.failed for load in loads.values())
            lost.append(100 * (1 - loads[self.preloaded].rate / loads[self.bare].rate))
            more_cpu.append(100 * (cpu[self.preloaded] / cpu[self.bare] - 1))
        return lost, more_cpu, failed

    def close(self):
        for server in (self.bare, self.preloaded):
            server.stop()
            server.remove()


def bench_idle_servers(options, _folder):
    rows, figures, results = ([("", "throughput lost, median %", "of rounds", "CPU a request, median % more", "resident, MiB more")],
                              [], {})
    for name in ("nginx", "redis"):
        pair = Pair(servers.SERVERS[name])
        try:
            more = (resident_kib(pair.preloaded.profiled()) - resident_kib(pair.bare.profiled())) / 1024
            pair.turns(1, 2)
            lost, more_cpu, failed = pair.turns(options["rounds"] * 5, options["seconds"])
        finally:
            pair.close()
        median = statistics.median(lost)
        results[name] = {"lost_percent": lost, "more_cpu_percent": more_cpu, "resident_mib": more, "failed": failed}
        rows.append((name, f"{median:+.2f}", f"{min(lost):+.1f} to {max(lost):+.1f}",
                     f"{statistics.median(more_cpu):+.1f}", f"{more:.1f}"))
        figures += [verdict(f"{name}, preloaded and idle: % of throughput", median, IDLE_PERCENT_MAX),
                    verdict(f"{name}: MiB of resident memory", more, RESIDENT_MIB_MAX),
                    verdict(f"{name}: failed requests", failed, 0)]
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
            pair.turns(1, 2)
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
