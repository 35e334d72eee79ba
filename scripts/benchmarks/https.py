"""`scripts/bench https`: the same over TLS."""

import socket
import ssl
import time

from benchmarks.tools import (
    certificate, die, say, start_go, start_nginx, start_vigil, table, verdict, wrk,
    wrk_in_turns)


def tls_servers(folder, *flags, listen_options=""):
    chain, key = certificate(folder)
    servers = [
        start_vigil(f"--tls-cert={chain}", f"--tls-key={key}", *flags),
        start_go(folder, chain, key),
        start_nginx(folder, (chain, key), listen_options),
    ]
    for server in servers:
        server.scheme = "https"
    return servers


def bench_tls_get(options, folder):
    servers = tls_servers(folder)
    say(f"Kept-alive GET over TLS: {options['rounds']} rounds of {options['seconds']} s for each of {len(servers)} servers …")
    result = wrk_in_turns(options, servers, "/hello")
    print("\nGET /hello, 32 kept-alive TLS connections, wrk -t1, medians of", options["rounds"])
    rows = [("", "requests/s", "CPU us/request", "p50 us", "p99 us", "")]
    for name, r in result.items():
        rows.append((name, f"{r['requests_per_second']:.0f}", f"{r['cpu_us']:.2f}", f"{r['p50_us']:.0f}",
                     f"{r['p99_us']:.0f}", r["errors"]))
    table(rows)
    ours, go = result["vigil"], result["Go net/http"]
    figures = [verdict("requests a second / Go's", ours["requests_per_second"] / go["requests_per_second"], 1.5, at_most=False)]
    return {"servers": result, "figures": figures}


def hold_tls(server, count):
    """`count` idle TLS connections, each after one answered request."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    held = []
    for _ in range(count):
        connection = context.wrap_socket(socket.create_connection(("127.0.0.1", server.port)))
        connection.sendall(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
        if not connection.recv(4096).startswith(b"HTTP/1.1 200"):
            die(f"{server.name} does not answer over TLS")
        held.append(connection)
    return held


def bench_tls_idle(_options, folder):
    count = 2_000
    print(f"\nMemory of {count} idle kept-alive TLS connections")
    rows, result = [("", "bytes a connection")], {}
    for server in tls_servers(folder, "--idle-timeout=10m"):
        wrk(server, "/hello", 32, 1)
        before = server.resident_bytes()
        held = hold_tls(server, count)
        time.sleep(2)
        result[server.name] = (server.resident_bytes() - before) / count
        for connection in held:
            connection.close()
        rows.append((server.name, f"{result[server.name]:.0f}"))
        server.stop()
    table(rows)
    return {"bytes": result, "figures": [
        verdict("bytes an idle TLS connection / Go's", result["vigil"] / result["Go net/http"], 0.5)]}

