"""`scripts/bench http`: HTTP/1.1 beside the floor and its peers."""

import os
import time

from benchmarks.tools import (
    BIN, Held, Server, medians, say, start_go, start_nginx, start_vigil, table, verdict, wrk, wrk_in_turns)


FLOOR = "floor (raw epoll)"


def bench_get(options, folder):
    cores = os.cpu_count()
    servers = [
        Server(FLOOR, [BIN / "bench-floor", "@PORT@"]),
        Server(f"floor, {cores} threads", [BIN / "bench-floor", "@PORT@", cores]),
        start_vigil(),
        start_vigil("--pollers=1", name="vigil, 1 poller"),
        start_go(folder),
        Server("cpp-httplib", [BIN / "bench-httplib", "@PORT@"]),
        start_nginx(folder),
    ]
    say(f"Kept-alive GET: {options['rounds']} rounds of {options['seconds']} s for each of {len(servers)} servers …")
    result = wrk_in_turns(options, servers, "/hello")
    print("\nGET /hello, 32 kept-alive connections, wrk -t1, medians of", options["rounds"])
    floor = result[FLOOR]
    rows = [("", "requests/s", "CPU us/request", "x floor", "p50 us", "p99 us", "")]
    for name, r in result.items():
        rows.append((name, f"{r['requests_per_second']:.0f}", f"{r['cpu_us']:.2f}",
                     f"{r['cpu_us'] / floor['cpu_us']:.2f}", f"{r['p50_us']:.0f}", f"{r['p99_us']:.0f}", r["errors"]))
    table(rows)
    ours, go = result["vigil"], result["Go net/http"]
    figures = [
        verdict("CPU a request / the floor's", ours["cpu_us"] / floor["cpu_us"], 1.25),
        verdict("the same with --pollers=1", result["vigil, 1 poller"]["cpu_us"] / floor["cpu_us"], 1.25),
        verdict("CPU a request / Go's", ours["cpu_us"] / go["cpu_us"], 0.5),
        verdict("requests a second / Go's", ours["requests_per_second"] / go["requests_per_second"], 1.5, at_most=False),
    ]
    return {"servers": result, "figures": figures}


def bench_idle(_options, folder):
    count = 10_000
    print(f"\nMemory of {count} idle kept-alive connections")
    rows, result = [("", "bytes a connection")], {}
    for server in (start_vigil("--idle-timeout=10m"), start_go(folder)):
        wrk(server, "/hello", 32, 1)
        before = server.resident_bytes()
        with Held("idle", server, count):
            time.sleep(2)
            result[server.name] = (server.resident_bytes() - before) / count
        rows.append((server.name, f"{result[server.name]:.0f}"))
        server.stop()
    table(rows)
    return {"bytes": result, "figures": [verdict("bytes an idle connection", result["vigil"], 1024)]}


def bench_sleep(options, folder):
    print("\nGET /sleep?ms=50, 256 connections")
    rows, result = [("", "requests/s", "of 5120", "p99 ms")], {}
    for server in (start_vigil(), start_go(folder)):
        wrk(server, "/sleep?ms=50", 256, 2)
        r = medians([wrk(server, "/sleep?ms=50", 256, 2 * options["seconds"]) for _ in range(options["rounds"])])
        result[server.name] = r
        rows.append((server.name, f"{r['requests_per_second']:.0f}", f"{r['requests_per_second'] / 5120:.3f}",
                     f"{r['p99_us'] / 1000:.1f}"))
        server.stop()
    table(rows)
    ours = result["vigil"]
    return {"servers": result, "figures": [
        verdict("p99 in ms", ours["p99_us"] / 1000, 60),
        verdict("throughput / 256 in 50 ms", ours["requests_per_second"] / 5120, 0.97, at_most=False)]}


def bench_drip(options, _folder):
    count = 5_000
    print(f"\nGET /hello beside {count} connections that drip a byte a second")
    server = start_vigil("--read-header-timeout=10m", "--read-timeout=10m")
    wrk(server, "/hello", 32, 1)
    alone, beside = [], []
    for _ in range(options["rounds"]):
        alone.append(wrk(server, "/hello", 32, options["seconds"]))
        with Held("drip", server, count):
            time.sleep(1)
            beside.append(wrk(server, "/hello", 32, options["seconds"]))
    server.stop()
    a, b = medians(alone), medians(beside)
    table([("", "requests/s", "p99 us"), ("alone", f"{a['requests_per_second']:.0f}", f"{a['p99_us']:.0f}"),
           ("beside", f"{b['requests_per_second']:.0f}", f"{b['p99_us']:.0f}")])
    ratio = b["requests_per_second"] / a["requests_per_second"]
    return {"alone": a, "beside": b, "figures": [verdict("throughput that is left", ratio, 0.95, at_most=False)]}


def bench_spread(options, _folder):
    path = "/churn?n=1000"
    print(f"\nGET {path}, 32 kept-alive connections: a handler of some 15 us, so wrk leaves most of a processor idle")
    servers = [start_vigil(), start_vigil("--pollers=1", name="vigil, 1 poller")]
    result = wrk_in_turns(options, servers, path)
    rows = [("", "requests/s", "CPU us/request", "p50 us", "p99 us", "")]
    for name, r in result.items():
        rows.append((name, f"{r['requests_per_second']:.0f}", f"{r['cpu_us']:.2f}", f"{r['p50_us']:.0f}",
                     f"{r['p99_us']:.0f}", r["errors"]))
    table(rows)
    gain = result["vigil"]["requests_per_second"] / result["vigil, 1 poller"]["requests_per_second"]
    # With one processor there is nothing to gain.
    least = 1.3 if os.cpu_count() > 1 else 0.95
    return {"servers": result, "figures": [verdict("requests a second / one poller's", gain, least, at_most=False)]}

