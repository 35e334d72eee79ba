"""What the suites share: building, starting servers and stopping them, loading them."""

import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import time

from benchmarks.figures import figure, table, verdict  # noqa: F401: for the suites, with the rest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = ROOT / "build" / "release" / "bin"
AGENT = ROOT / "build" / "release" / "lib" / "libvigil_agent.so"


class BenchError(RuntimeError):
    """A part cannot be measured; the others go on."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def die(message):
    raise BenchError(message)


# --- Building and starting


def prepare():
    packages = '"${build_packages[@]}" "${server_packages[@]}" "${bench_packages[@]}"'
    say("Building …")
    done = subprocess.run(["bash", "-c", f"source scripts/lib.sh; install_packages {packages}; build release bench"],
                          cwd=ROOT, stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        die("the build failed")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_accepting(port, process):
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None:
                die(f"{process.args[0]} ended at start")
            time.sleep(0.05)
    die(f"{process.args[0]} does not accept on {port}")


_running = []


def stop_all():
    """What a part that failed has left behind."""
    for server in list(_running):
        server.stop()


class Server:
    """A server process on a port of its own."""

    scheme = "http"

    def __init__(self, name, command, environment=None):
        self.port = free_port()
        command = [str(part).replace("@PORT@", str(self.port)) for part in command]
        self.adopt(name, subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **(environment or {})}))
        wait_until_accepting(self.port, self.process)

    def adopt(self, name, process):
        """For one that is started in another way (Server.__new__), and has its port set."""
        self.name, self.process = name, process
        _running.append(self)

    def pids(self):
        """The process and its children (nginx's workers)."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [self.process.pid] + [int(pid) for pid in children.split()]

    def cpu_seconds(self):
        """CPU time of all its threads, dead ones included, by the scheduler's tick-free account."""
        total = 0.0
        for pid in self.pids():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return total

    def resident_bytes(self):
        total = 0
        for pid in self.pids():
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss:\s+(\d+) kB", text, re.M)[1]) * 1024
        return total

    def stop(self):
        _running.remove(self)
        if self.process.poll() is not None:
            return  # it ended by itself
        # nginx's master first, or it would start new workers for those that are gone.
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


def start_vigil(*flags, name="vigil"):
    # Of two flags of one name the last counts: --debug in `flags` replaces ours.
    return Server(name, [BIN / "vigil-demo", "--listen=127.0.0.1:@PORT@", "--debug=127.0.0.1:0", *flags])


def certificate(folder):
    """A certificate and its key, self-signed, made once in `folder`."""
    chain, key = f"{folder}/cert.pem", f"{folder}/key.pem"
    if not pathlib.Path(chain).exists():
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", chain],
            check=True, stderr=subprocess.DEVNULL)
    return chain, key


def start_go(folder, *arguments, peer="nethttp"):
    binary = pathlib.Path(folder) / peer
    if not binary.exists():
        environment = {
            **os.environ, "GOCACHE": f"{folder}/gocache", "GO111MODULE": "off", "HOME": folder,
            "GOPATH": "/usr/share/gocode"}
        subprocess.run(["go", "build", "-o", binary, ROOT / f"tests/bench/peers/{peer}.go"], check=True, env=environment)
    return Server("Go net/http", [binary, "@PORT@", *arguments])


def start_nginx(folder, tls=None, listen_options=""):
    port = free_port()
    text = (ROOT / "tests/bench/peers/nginx.conf").read_text().replace(" backlog=", f"{listen_options} backlog=")
    if tls:
        chain, key = tls
        text = text.replace("backlog=4096;", f"backlog=4096 ssl;\n    ssl_certificate {chain};\n    ssl_certificate_key {key};")
    configuration = pathlib.Path(folder) / "nginx.conf"
    configuration.write_text(text.replace("@PORT@", str(port)).replace("@DIR@", folder))
    server = Server.__new__(Server)
    server.port = port
    server.adopt("nginx", subprocess.Popen(["nginx", "-c", configuration, "-p", folder], stderr=subprocess.DEVNULL))
    wait_until_accepting(port, server.process)
    return server


# --- Measuring


def to_seconds(text):
    value, unit = re.fullmatch(r"([0-9.]+)(us|ms|s|m)", text).groups()
    return float(value) * {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60}[unit]


def wrk(server, path, connections, seconds, threads=1):
    """One run of wrk: requests, requests a second, latencies, CPU seconds of the server meanwhile."""
    before = server.cpu_seconds()
    out = subprocess.run(
        ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--latency", f"{server.scheme}://127.0.0.1:{server.port}{path}"],
        capture_output=True, text=True, check=True).stdout
    cpu = server.cpu_seconds() - before
    requests = int(re.search(r"(\d+) requests in", out)[1])
    if requests == 0:
        die(f"{server.name} answered nothing on {path}")
    bad = re.search(r"(Non-2xx.*|Socket errors.*)", out)
    return {
        "requests": requests,
        "requests_per_second": float(re.search(r"Requests/sec:\s+([0-9.]+)", out)[1]),
        "cpu_us": cpu / requests * 1e6,
        "p50_us": to_seconds(re.search(r"^\s+50%\s+(\S+)", out, re.M)[1]) * 1e6,
        "p99_us": to_seconds(re.search(r"^\s+99%\s+(\S+)", out, re.M)[1]) * 1e6,
        "errors": bad[1] if bad else "",
    }


def medians(rounds):
    result = {key: statistics.median(r[key] for r in rounds) for key in rounds[0] if key != "errors"}
    result["errors"] = "; ".join(sorted({r["errors"] for r in rounds if r["errors"]}))
    return result


def in_turns(options, servers, measure):
    """What measure(server) gives in each round, by the server's name. They take turns, and are stopped then."""
    runs = {server.name: [] for server in servers}
    for _ in range(options["rounds"]):
        for server in servers:
            runs[server.name].append(measure(server))
    for server in servers:
        server.stop()
    return runs


def wrk_in_turns(options, servers, path):
    """Medians of 32 kept-alive connections' GETs, warmed up, by the server's name. The servers are stopped then."""
    for server in servers:
        wrk(server, path, 32, 1)
    runs = in_turns(options, servers, lambda server: wrk(server, path, 32, options["seconds"]))
    return {name: medians(rounds) for name, rounds in runs.items()}


class Held:
    """bench-held with its connections, until the block ends."""

    def __init__(self, mode, server, count):
        self.process = subprocess.Popen([BIN / "bench-held", mode, str(server.port), str(count)], stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != f"holding {count}\n":
            die(f"{server.name} does not hold {count} connections")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
