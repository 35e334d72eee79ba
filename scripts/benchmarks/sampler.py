"""Parts of `scripts/bench sampler`: what profiles cost a server, a dump of 1,000 handlers, a huge binary."""

import concurrent.futures
import http.client
import json
import pathlib
import re
import socket
import statistics
import subprocess
import threading
import time

from benchmarks import big_library, tools

MILLI = 1e3


def debug_get(port, path, timeout=120):
    """The body, and the seconds that it took from the connection's begin to the last byte."""
    begin = time.monotonic()
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    client.request("GET", path)
    answer = client.getresponse()
    body = answer.read()
    client.close()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {body[:200]}")
    return body, time.monotonic() - begin


# --- cost: what a running profile takes from a server under load


TURNS = 5  # of a second each, for each round that is asked for


def bench_cost(options, _folder):
    """Each turn has every way once, one after the other; the server without hooks is another process. "idle again" is what two
    turns of the same thing differ by: no ratio means more than that."""
    turns = TURNS * options["rounds"]
    debug = tools.free_port()
    full = tools.start_vigil(f"--debug=127.0.0.1:{debug}", name="vigil")
    bare = tools.start_vigil("--heap-sample=0", "--contention-rate=0", "--stuck-after=0", name="all switched off")
    ways = {"idle": None, "idle again": None, "100 Hz": 100, "1,000 Hz": 1000, "all switched off": None}
    runs = {way: [] for way in ways}
    for server in (full, bare):
        tools.wrk(server, "/hello", 32, 1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for number in range(turns):
            order = list(ways)
            for way in order[number % len(order):] + order[:number % len(order)]:
                server, profile = bare if way == "all switched off" else full, None
                if ways[way]:
                    profile = pool.submit(debug_get, debug, f"/debug/pprof/profile?seconds=2&hz={ways[way]}")
                time.sleep(0.3)  # it has begun, and does not end before the load does
                collector_ms = cpu_ms(server.process.pid, "vgdbg")
                runs[way].append(tools.wrk(server, "/hello", 32, 1))
                runs[way][-1]["collector_ms"] = cpu_ms(server.process.pid, "vgdbg") - collector_ms
                if profile:
                    profile.result()
    for server in (full, bare):
        server.stop()
    print("\nGET /hello, 32 kept-alive connections, wrk -t1, while its CPU is profiled; medians of", turns, "turns of 1 s")
    medians = {way: tools.medians(rounds) for way, rounds in runs.items()}

    def ratios(way, base, field="requests_per_second"):
        return sorted(a[field] / b[field] for a, b in zip(runs[way], runs[base]))

    def ratio(way, base, field="requests_per_second"):
        """The median of the turns' ratios."""
        return statistics.median(ratios(way, base, field))

    def middle(way):
        """The half of the turns around the median."""
        all_of_them = ratios(way, "idle")
        return f"{all_of_them[turns // 4]:.3f} to {all_of_them[-1 - turns // 4]:.3f}"

    tools.table([("", "requests/s", "CPU us/request", "requests/s: of idle", "half of the turns", "CPU a request: of idle",
                  "collector, ms/s")] + [
        (way, f"{r['requests_per_second']:.0f}", f"{r['cpu_us']:.2f}", f"{ratio(way, 'idle'):.3f}", middle(way),
         f"{ratio(way, 'idle', 'cpu_us'):.3f}", f"{r['collector_ms']:.1f}") for way, r in medians.items()])
    return {"ways": medians, "figures": [
        tools.verdict("throughput that 100 Hz leave", ratio("100 Hz", "idle"), 0.99, at_most=False),
        tools.verdict("throughput that 1,000 Hz leave", ratio("1,000 Hz", "idle"), 0.95, at_most=False),
        tools.verdict("registered but idle: of the throughput with all switched off",
                      ratio("idle", "all switched off"), 0.99, at_most=False)]}


# --- sample: the signal handler, how long threads are held, and the collector


def bench_sample(_options, _folder):
    print("\nA sample: how long it holds a thread with 16 KiB of stack, then the collector's CPU for one 30 frames deep")
    done = subprocess.run([tools.BIN / "bench-sampler"], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        tools.die("bench-sampler failed")
    result = json.loads(done.stdout)
    times = [("us", "p50", "p99", "p99.9", "longest")]
    for name, key in {"in the signal handler": "handler_us", "the thread's own pause": "held_us",
                      "its pauses without a capture": "without_us"}.items():
        times.append((name, *(f"{result[f'{key}_{part}']:.2f}" for part in ("p50", "p99", "p999", "max"))))
    tools.table(times)
    rest = {name: value for name, value in result.items() if not re.search("_us_(p50|p99|p999|max)$", name)}
    tools.table([("", "measured")] + [(name.replace("_", " "), str(value)) for name, value in rest.items()])
    return {"measured": result, "figures": [
        tools.verdict("us in the signal handler, p99", result["handler_us_p99"], 5),
        tools.verdict("us that a running thread with 16 KiB of stack is held, p99", result["held_us_p99"], 10),
        tools.verdict("us in the signal handler, longest", result["handler_us_max"], 50),
        tools.verdict("us that a blocked thread is held, longest", result["blocked_us_max"], 0),
        tools.verdict("times that a blocked thread ran, captured 2,000 times", result["blocked_runs"], 0),
        tools.verdict("us of the collector a sample, stacks seen before", result["collector_us_same_stack"], 15),
        tools.verdict("us of the collector a sample, all stacks new", result["collector_us_new_stacks"], 15)]}


# --- dump: a thousand stuck handlers


def bench_dump(options, _folder):
    count, debug = 1000, tools.free_port()
    server = tools.start_vigil(f"--debug=127.0.0.1:{debug}", "--stuck-after=10m")
    clients = []
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", server.port))
        client.sendall(b"GET /stuck HTTP/1.1\r\nHost: localhost\r\n\r\n")
        clients.append(client)
    for _ in range(200):
        if f"tasks: {count} live" in debug_get(debug, "/debug/tasks")[0].decode():
            break
        time.sleep(0.05)
    else:
        tools.die("the handlers did not all start")
    print(f"\n{count} stuck handlers: each page as text, from the request to its last byte")
    rows, result = [("", "first ms", "median ms", "CPU ms", "bytes")], {}
    for page in ("goroutine?debug=2", "goroutine?debug=1", "goroutine"):
        times, bodies, cpu = [], b"", []
        for _ in range(1 + 10 * options["rounds"]):
            before = cpu_ms(server.process.pid)
            bodies, took = debug_get(debug, f"/debug/pprof/{page}")
            cpu.append(cpu_ms(server.process.pid) - before)
            times.append(took * MILLI)
        result[page] = {"first_ms": times[0], "median_ms": statistics.median(times[1:]),
                        "cpu_ms": statistics.median(cpu[1:]), "bytes": len(bodies)}
        r = result[page]
        rows.append((page, f"{r['first_ms']:.1f}", f"{r['median_ms']:.1f}", f"{r['cpu_ms']:.1f}", str(r["bytes"])))
    tools.table(rows)
    for client in clients:
        client.close()
    server.stop()
    return {"pages": result, "figures": [
        tools.verdict("ms for the dump, warm", result["goroutine?debug=2"]["median_ms"], 20)]}


def cpu_ms(pid, name=""):
    """CPU time of its live threads whose names begin so, by the scheduler's count: the ticks of /proc/PID/stat are 10 ms."""
    total = 0
    for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            if (thread / "comm").read_text().startswith(name):
                total += int((thread / "schedstat").read_text().split()[0])
        except OSError:
            pass  # it has ended
    return total / 1e6


# --- big: the first profile of a binary of 100 MB


def bench_big(options, _folder):
    library = big_library.library(tools.ROOT / "build" / "bench-big", tools.say)
    megabytes = library.stat().st_size / 1e6
    first, warm, grown, cpu = [], [], [], []
    for _ in range(min(options["rounds"], 3)):
        host = subprocess.Popen([tools.BIN / "bench-big-host", library], stdout=subprocess.PIPE, text=True)
        port = int(host.stdout.readline())
        time.sleep(1)
        before = private_megabytes(host.pid)
        peak = Peak(host.pid)
        cpu_before = cpu_ms(host.pid, "vgdbg")
        for times in (first, warm):
            _, took = debug_get(port, "/debug/pprof/profile?seconds=2&hz=1000")
            times.append(took - 2)
            if times is first:
                cpu.append((cpu_ms(host.pid, "vgdbg") - cpu_before) / MILLI)
        grown.append(peak.stop() - before)
        host.kill()
        host.wait()
    print(f"\nA program of {megabytes:.0f} MB with debug information, a profile of 2 s at 1,000 Hz")
    tools.table([("", "after the capture's end, s"), ("first", f"{statistics.median(first):.2f}"),
                 ("second", f"{statistics.median(warm):.2f}")])
    # Its two busy threads take the processors from the collector: on a machine with no more than two, half of the time is
    # spent waiting for one.
    return {"megabytes": megabytes, "first_s": first, "warm_s": warm, "first_cpu_s": cpu, "grown_mb": grown, "figures": [
        tools.verdict("s of CPU for the first profile, capture and symbols", statistics.median(cpu), 1),
        tools.verdict("s for the first profile, from its capture's end", statistics.median(first), 1),
        tools.verdict("MiB of memory that it took, at its peak", max(grown), 64)]}


def private_megabytes(pid):
    """Memory that is the process's own: pages of mapped files can be dropped at any time."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^RssAnon:\s+(\d+) kB", text, re.M)[1]) / 1024


class Peak:
    """The most of private_megabytes, looked at every 5 ms."""

    def __init__(self, pid):
        self.pid, self.most, self.ended = pid, 0, threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def watch(self):
        while not self.ended.wait(0.005):
            self.most = max(self.most, private_megabytes(self.pid))

    def stop(self):
        self.ended.set()
        self.thread.join()
        return self.most
