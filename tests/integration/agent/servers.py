"""Real servers, each under its own load: what the agent is tried on (servers_test.py) and measured with (scripts/bench agent).

A Server starts a program in a temporary folder on a port of its own, says what its clients get (answers), and loads it
for some seconds. `environment` is added to ours: {} for the bare program, preloaded(...) for one with the agent.
"""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

START_SECONDS = 30


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def preloaded(library, log, **settings):
    """The variables of a program with the agent, which says where it serves in the file `log`."""
    variables = {"LD_PRELOAD": str(library), "VIGIL_LISTEN": "127.0.0.1:0", "VIGIL_LOG": str(log)}
    return variables | {f"VIGIL_{name.upper()}": value for name, value in settings.items()}


def agent_addresses(log):
    """{process: "127.0.0.1:port"} of the agents that have said so in `log`."""
    text = pathlib.Path(log).read_text() if os.path.exists(log) else ""
    return {int(pid): address for pid, address in re.findall(r"\[(\d+)\]: debug pages at http://([^/]+)/", text)}


def wait_until(condition, what, seconds=START_SECONDS):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)


class Load:
    """What clients saw: requests answered, requests that failed, seconds."""

    def __init__(self, requests, failed, seconds):
        self.requests, self.failed, self.seconds = requests, failed, seconds

    @property
    def rate(self):
        return self.requests / self.seconds


class Server:
    name = ""
    extra = {}  # settings of the agent that this server needs
    ends_with = 0  # exit status after SIGTERM

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"vigil-{self.name}-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self.process = None

    def command(self):
        raise NotImplementedError

    def prepare(self):
        pass

    def is_ready(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def start(self, environment):
        self.prepare()
        self.output = open(self.folder / "output", "ab")
        self.process = subprocess.Popen(self.command(), env=os.environ | environment, cwd=self.folder,
                                        stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output)
        wait_until(lambda: self.is_ready() or self.process.poll() is not None, f"{self.name} does not start")
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n" + self.said())

    def said(self):
        return (self.folder / "output").read_text(errors="replace")[-4000:]

    def profiled(self):
        """The process that does the work; 0 before there is one."""
        return self.process.pid

    def stop(self):
        """Its exit status, negative for a signal."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(START_SECONDS)
        finally:
            self.process.kill()
            self.output.close()

    def remove(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def wrk(url, seconds, connections=16, headers=()):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
    for header in headers:
        command += ["-H", header]
    began = time.monotonic()
    text = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    seconds = time.monotonic() - began
    requests = int(re.search(r"(\d+) requests in", text)[1])
    failed = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    if errors := re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text):
        failed += sum(int(n) for n in errors.groups())
    return Load(requests, failed, seconds)


def fetch(url, headers=None):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=30) as answer:
        return answer.status, answer.read()


class Nginx(Server):
    name = "nginx"
    extra = {"follow_fork": "1"}  # the requests are served by its children

    def prepare(self):
        (self.folder / "html").mkdir(exist_ok=True)
        (self.folder / "html" / "lines.txt").write_text("".join(f"line {i} of a file\n" for i in range(500)))
        # Root's workers would be another user's, who may not read the folder.
        user = "user root;" if os.getuid() == 0 else ""
        paths = "".join(f"{kind}_temp_path {self.folder}/{kind};"
                        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (self.folder / "nginx.conf").write_text(f"""
            {user} daemon off; worker_processes 1; pid {self.folder}/pid; error_log {self.folder}/error.log;
            events {{ worker_connections 512; }}
            http {{ {paths} access_log off; gzip on; gzip_types text/plain; keepalive_requests 100000000;
                    server {{ listen 127.0.0.1:{self.port}; root {self.folder}/html; }} }}""")

    def command(self):
        return ["nginx", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"),
                "-e", str(self.folder / "error.log")]

    def profiled(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def answers(self):
        url = f"http://127.0.0.1:{self.port}/lines.txt"
        return [fetch(url), fetch(url, {"Accept-Encoding": "gzip"}), fetch(url, {"Range": "bytes=5-99"})]

    def load(self, seconds):
        return wrk(f"http://127.0.0.1:{self.port}/lines.txt", seconds, headers=["Accept-Encoding: gzip"])


class Redis(Server):
    name = "redis"
    extra = {}
    REQUESTS = 10_000

    def command(self):
        return ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]

    def ask(self, *words):
        return subprocess.run(["redis-cli", "-p", str(self.port), *words], check=True, capture_output=True).stdout

    def answers(self):
        script = "local t = 0 for i = 1, 1000 do t = t + i end return t"
        return [self.ask("SET", "key", "value"), self.ask("GET", "key"), self.ask("EVAL", script, "0"),
                self.ask("SORT", "nothing"), self.ask("DEL", "key"), self.ask("NO-SUCH-COMMAND")]

    def load(self, seconds):
        began, requests, failed = time.monotonic(), 0, 0
        while time.monotonic() - began < seconds:
            done = subprocess.run(["redis-benchmark", "-p", str(self.port), "-n", str(self.REQUESTS), "-c", "16", "-P", "4",
                                   "-d", "100", "-t", "set,get,lpush,lrange_100,mset", "--csv"], capture_output=True, text=True)
            rows = [line for line in done.stdout.splitlines()[1:] if line.startswith('"')]
            requests += self.REQUESTS * len(rows)
            failed += done.returncode != 0 or len(rows) < 5 or "rror" in done.stderr
        return Load(requests, failed, time.monotonic() - began)


class Mariadb(Server):
    name = "mariadb"
    QUERIES = 2_000

    def prepare(self):
        self.socket = self.folder / "socket"
        subprocess.run(["mariadb-install-db", "--no-defaults", f"--datadir={self.folder}/data", "--skip-test-db",
                        "--auth-root-authentication-method=normal", *self.user()], check=True, capture_output=True)

    def user(self):
        return ["--user=root"] if os.getuid() == 0 else []

    def command(self):
        return ["mariadbd", "--no-defaults", f"--datadir={self.folder}/data", f"--socket={self.socket}", "--skip-networking",
                f"--pid-file={self.folder}/pid", *self.user()]

    def client(self, program, *arguments):
        return subprocess.run([program, "--no-defaults", f"--socket={self.socket}", "-uroot", *arguments],
                              capture_output=True)

    def is_ready(self):
        return self.client("mariadb-admin", "ping").returncode == 0

    def answers(self):
        query = "SELECT SHA2(GROUP_CONCAT(seq), 256), COUNT(*), AVG(seq) FROM seq_1_to_500; SELECT 1/0; SELECT nothing"
        done = self.client("mariadb", "-e", query)
        return [done.returncode, done.stdout, done.stderr]

    def load(self, seconds):
        began, requests, failed = time.monotonic(), 0, 0
        while time.monotonic() - began < seconds:
            done = self.client("mariadb-slap", "--auto-generate-sql", "--auto-generate-sql-load-type=mixed", "--concurrency=8",
                               f"--number-of-queries={self.QUERIES}")
            requests += self.QUERIES
            failed += done.returncode != 0
        return Load(requests, failed, time.monotonic() - began)


class Dnsdist(Server):
    name = "dnsdist"

    def prepare(self):
        (self.folder / "dnsdist.conf").write_text(
            f"setLocal('127.0.0.1:{self.port}')\n"
            "addAction(QNameRule('refused.example'), RCodeAction(DNSRCode.REFUSED))\n"
            "addAction(AllRule(), SpoofAction({'192.0.2.1', '192.0.2.2'}))\n")

    def command(self):
        return ["dnsdist", "--supervised", "--disable-syslog", "-C", str(self.folder / "dnsdist.conf")]

    @staticmethod
    def query(number, name):
        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
        return number.to_bytes(2, "big") + b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\x00\x00\x01\x00\x01"

    def answers(self):
        found = []
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.connect(("127.0.0.1", self.port))
            for name in ("refused.example", "www.example", "x." * 40 + "example"):
                client.send(self.query(7, name))
                answer = client.recv(4096)
                # Two addresses come in any order.
                found.append((len(answer), answer[:12], answer[3] & 15))
        return found

    def load(self, seconds):
        began, answered, failed = time.monotonic(), 0, 0
        window = 32
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            client.connect(("127.0.0.1", self.port))
            while time.monotonic() - began < seconds:
                for number in range(window):
                    client.send(self.query(number, f"host{number}.example"))
                try:
                    seen = {client.recv(4096)[1] for _ in range(window)}
                    failed += window - len(seen)
                except TimeoutError:
                    failed += 1
                answered += window
        return Load(answered, failed, time.monotonic() - began)


class Node(Server):
    name = "node"
    ends_with = -signal.SIGTERM  # no handler

    def prepare(self):
        (self.folder / "server.js").write_text("""
            const http = require('http'), crypto = require('crypto'), zlib = require('zlib');
            http.createServer((request, response) => {
              if (request.url === '/hash')  // on a thread of its pool
                crypto.pbkdf2('word', 'salt', 500, 32, 'sha256', (error, key) => response.end(key.toString('hex')));
              else if (request.url === '/gzip')
                zlib.gzip('x'.repeat(5000), (error, bytes) => response.end(bytes));
              else
                response.end(JSON.stringify({url: request.url, sorted: [...request.url].sort()}));
            }).listen(%d, '127.0.0.1');""" % self.port)

    def command(self):
        return ["node", str(self.folder / "server.js")]

    def answers(self):
        return [fetch(f"http://127.0.0.1:{self.port}/{path}") for path in ("hash", "gzip", "any?thing=1")]

    def load(self, seconds):
        return wrk(f"http://127.0.0.1:{self.port}/hash", seconds)


SERVERS = {server.name: server for server in (Nginx, Redis, Mariadb, Dnsdist, Node)}
