"""`scripts/bench http2`: HTTP/2 by h2load."""

import re
import socket
import subprocess
import time

from benchmarks.https import tls_servers
from benchmarks.tools import die, in_turns, medians, say, start_go, start_nginx, start_vigil, table, verdict


def h2load(server, path, connections, streams, seconds):
    """One run of h2load: requests a second, CPU seconds of the server meanwhile."""
    before = server.cpu_seconds()
    out = subprocess.run(
        ["h2load", "-t1", f"-c{connections}", f"-m{streams}", "-D", str(seconds), "--warm-up-time=1",
         f"{server.scheme}://127.0.0.1:{server.port}{path}"], capture_output=True, text=True, check=True).stdout
    cpu = server.cpu_seconds() - before
    done = re.search(r"requests: .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", out)
    if not done or int(done[2]) == 0:
        die(f"{server.name} answered nothing on {path}")
    if server.scheme == "https" and "Application protocol: h2" not in out:
        die(f"{server.name} does not speak HTTP/2 over TLS")
    rate = float(re.search(r"finished in .*, ([0-9.]+) req/s", out)[1])
    return {
        "requests_per_second": rate,
        "cpu_us": cpu / (rate * (seconds + 1)) * 1e6,
        "errors": "" if done[3] == done[4] == "0" else f"{done[3]} failed, {done[4]} errored",
    }


def h2load_rounds(options, servers, what):
    say(f"h2load: {options['rounds']} rounds of {options['seconds']} s for each of {len(servers)} servers …")
    rounds = in_turns(options, servers, lambda server: h2load(server, "/hello", 16, 32, options["seconds"]))
    result = {name: medians(runs) for name, runs in rounds.items()}
    print(f"\nGET /hello over HTTP/2 {what}, h2load -t1 -c16 -m32, medians of", options["rounds"])
    table([("", "requests/s", "CPU us/request", "")] + [
        (name, f"{r['requests_per_second']:.0f}", f"{r['cpu_us']:.2f}", r["errors"]) for name, r in result.items()])
    ours, go = result["vigil"], result["Go net/http"]
    return {"servers": result, "figures": [
        verdict("requests a second / Go's", ours["requests_per_second"] / go["requests_per_second"], 1.5, at_most=False)]}


def bench_http2_load(options, folder):
    servers = [start_vigil("--h2c"), start_go(folder, peer="h2c"), start_nginx(folder, listen_options=" http2")]
    return h2load_rounds(options, servers, "in clear text")


def bench_http2_tls_load(options, folder):
    return h2load_rounds(options, tls_servers(folder, listen_options=" http2"), "over TLS")


def h2_request(port, path):
    """A connection with one GET on it, of which nothing will be read beyond its first windows."""
    def frame(kind, flags, stream, payload=b""):
        return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

    def text(value):
        return bytes([len(value)]) + value.encode()

    fields = {":method": "GET", ":scheme": "http", ":path": path, ":authority": "localhost"}
    block = b"".join(b"\0" + text(name) + text(value) for name, value in fields.items())
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(1, 5, 1, block))
    return client


def bench_http2_stall(_options, folder):
    count, window = 200, 64 * 1024
    print(f"\nMemory of {count} connections whose reader has stalled in a response of 100 MB")
    rows, result = [("", "bytes a reader")], {}
    for server in (start_vigil("--h2c", "--write-timeout=10m"), start_go(folder, peer="h2c")):
        h2load(server, "/hello", 16, 32, 1)
        before = server.resident_bytes()
        clients = [h2_request(server.port, "/big?n=100000000") for _ in range(count)]
        time.sleep(3)
        result[server.name] = (server.resident_bytes() - before) / count
        rows.append((server.name, f"{result[server.name]:.0f}"))
        for client in clients:
            client.close()
        server.stop()
    table(rows)
    # The window is what a client has by default, and what a request's body has here; in the figure is all that the
    # connection costs, and the handler's thread.
    return {"bytes": result, "figures": [
        verdict("bytes a stalled reader / window, its thread included", result["vigil"] / window, 1)]}
