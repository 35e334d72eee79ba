#!/usr/bin/env python3
"""vigil as its user runs it: against the demo, on programs that were not built for it, on a terminal.

usage: command_test.py VIGIL DEMO
"""

import contextlib
import gzip
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest
import urllib.request

VIGIL, DEMO = (str(pathlib.Path(argument).resolve()) for argument in sys.argv[1:3])
WAIT_SECONDS = 30
# A program whose children and variables are its own.
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("VIGIL_", "LD_PRELOAD"))}


def vigil(*arguments, **options):
    return subprocess.run((VIGIL,) + arguments, capture_output=True, text=True, timeout=60, env=CLEAN, **options)


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, *command):
        self.shown = b""
        self.terminal, inside = pty.openpty()
        self.settings = termios.tcgetattr(self.terminal)
        self.process = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, env=CLEAN)
        os.close(inside)

    def until(self, text):
        deadline = time.monotonic() + WAIT_SECONDS
        while not re.search(text, self.shown):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.terminal], [], [], left)[0]:
                raise AssertionError(f"{text} is not shown: {self.shown!r}")
            try:
                self.shown += os.read(self.terminal, 65536)
            except OSError:  # the program has ended
                if not re.search(text, self.shown):
                    raise AssertionError(f"{text} is not shown: {self.shown!r}") from None

    def type(self, keys):
        os.write(self.terminal, keys)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)


class Command(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.demo = subprocess.Popen(
            (DEMO, "--listen=127.0.0.1:0", "--debug=127.0.0.1:0", "--stuck-after=500ms"),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=CLEAN)
        cls.app, cls.debug = (cls.demo.stdout.readline().split()[-1] for _ in range(2))

        def end():
            cls.demo.kill()
            cls.demo.wait()
            cls.demo.stdout.close()

        cls.addClassCleanup(end)

    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="vigil-command-"))
        self.addCleanup(shutil.rmtree, self.work)

    def post(self, path):
        urllib.request.urlopen(urllib.request.Request(f"http://{self.app}{path}", method="POST"), timeout=20).close()

    @contextlib.contextmanager
    def stuck_request(self):
        def ask():
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{self.app}/stuck", timeout=60) as answer:
                answer.read()

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield
        finally:
            # Again until it has been there to be released.
            while thread.is_alive():
                self.post("/release")
                thread.join(0.1)

    # --- The command line.

    def test_help_and_version(self):
        for words in (["--help"], ["run", "--help"], ["profile", "--help"], ["dump", "--help"], ["bundle", "--help"],
                      ["top", "--help"]):
            done = vigil(*words)
            self.assertEqual((done.returncode, done.stderr), (0, ""), words)
            self.assertIn("usage: vigil", done.stdout)
        self.assertRegex(vigil("--version").stdout, r"^vigil \d+\.\d+\.\d+\n$")

    def test_a_mistake_is_one_line_that_names_it_and_status_2(self):
        for words, culprit in (([], "no command"), (["walk"], "walk"), (["run"], "no program"),
                               (["run", "--stuck-after=soon", "--", "true"], "VIGIL_STUCK_AFTER=soon"),
                               (["profile", "--seconds=0"], "--seconds=0"), (["profile", "--seconds=301"], "301"),
                               (["profile", "--kind=taste"], "taste"), (["profile", "--kind=heap", "--hz=9"], "--hz"),
                               (["profile", "-o"], "-o"), (["dump", "nowhere"], "nowhere"), (["dump", "1", "2"], "2"),
                               (["top", "--fast"], "--fast"), (["bundle", "--seconds=0"], "--seconds=0"),
                               (["run", "--expose=yes", "true"], "VIGIL_EXPOSE=yes"),
                               (["run", "--token-file=here", "true"], "VIGIL_TOKEN_FILE=here")):
            done = vigil(*words)
            self.assertEqual((done.returncode, done.stdout), (2, ""), words)
            self.assertIn(culprit, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

    def test_a_server_that_is_not_there_is_named_and_status_1(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
        for command in ("profile", "dump", "bundle", "top"):
            done = vigil(command, port, cwd=self.work)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn(f"127.0.0.1:{port}", done.stderr)
            self.assertIn("Connection refused", done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertEqual(list(self.work.iterdir()), [])

    def test_a_server_that_is_no_debug_listener_is_named(self):
        done = vigil("top", self.app)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn(f"http://{self.app}/debug/tasks?format=json: status 404", done.stderr)

    # --- profile and dump.

    def pprof(self, file):
        return subprocess.run(("go", "tool", "pprof", "-top", "-nodecount=10", file), capture_output=True, text=True,
                              env={**CLEAN, "PPROF_TMPDIR": str(self.work)}, timeout=60)

    def test_a_cpu_profile_is_saved_under_a_name_of_its_own(self):
        busy = threading.Thread(target=lambda: urllib.request.urlopen(f"http://{self.app}/work?ms=1500").close())
        busy.start()
        done = vigil("profile", "--seconds=1", "--hz=250", self.debug, cwd=self.work)
        busy.join()
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        (file,) = self.work.glob("*.pb.gz")
        self.assertRegex(file.name, r"^cpu-\d{8}-\d{6}\.pb\.gz$")
        self.assertIn(file.name, done.stdout)
        shown = self.pprof(str(file))
        # Above both phases of /work: on a loaded machine a second may hold only one of them.
        self.assertIn("demo::burn", shown.stdout, shown.stderr)
        # The command that was printed reads it.
        self.assertEqual(done.stdout.splitlines()[1], f"go tool pprof -top {file.name}")

    def test_every_kind_of_profile_is_fetched(self):
        for kind in ("wall", "heap", "allocs", "mutex", "block", "goroutine"):
            file = self.work / kind
            seconds = ["--seconds=1"] if kind == "wall" else []
            done = vigil("profile", f"--kind={kind}", *seconds, "-o", str(file), self.debug)
            self.assertEqual((done.returncode, done.stderr), (0, ""), kind)
            self.assertTrue(gzip.decompress(file.read_bytes()), kind)

    def test_to_standard_output_comes_the_profile_alone(self):
        done = subprocess.run((VIGIL, "profile", "--kind=heap", "-o", "-", self.debug), capture_output=True, env=CLEAN)
        self.assertEqual(done.returncode, 0)
        self.assertTrue(gzip.decompress(done.stdout))

    def test_what_cannot_be_written_is_named(self):
        done = vigil("dump", "-o", "/nowhere/x", self.debug)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, "vigil dump: /nowhere/x: No such file or directory\n")
        with open("/dev/full", "w") as full:
            done = subprocess.run((VIGIL, "dump", self.debug), stdout=full, stderr=subprocess.PIPE, env=CLEAN)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"No space left", done.stderr)

    def test_a_dump_has_the_tasks(self):
        with self.stuck_request():
            deadline = time.monotonic() + WAIT_SECONDS
            while "GET /stuck" not in (dump := vigil("dump", self.debug)).stdout:
                self.assertLess(time.monotonic(), deadline, dump.stdout[-2000:])
        self.assertIn("demo::wait_forever(", dump.stdout)

    def test_a_terminal_that_waits_is_told_after_two_seconds(self):
        terminal = Terminal(VIGIL, "profile", "--seconds=4", "-o", str(self.work / "p"), self.debug)
        self.addCleanup(terminal.close)
        terminal.until(rb"vigil profile, 2 s: CPU profile of 4 s at 127\.0\.0\.1:\d+")
        terminal.until(rb"go tool pprof")
        self.assertEqual(terminal.process.wait(WAIT_SECONDS), 0)

    def test_a_bundle_is_saved_whole_and_read_by_the_command_that_is_printed(self):
        done = vigil("bundle", "--seconds=1", self.debug, cwd=self.work)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        (file,) = self.work.glob("*.tar.gz")
        self.assertRegex(file.name, r"^bundle-\d{8}-\d{6}\.tar\.gz$")
        self.assertEqual(done.stdout, f"bundle of 1 s of {self.debug}: {file.name}\ntar xzf {file.name}\n")
        subprocess.run(done.stdout.splitlines()[1].split(), cwd=self.work, check=True)
        names = {path.name for path in self.work.rglob("*") if path.is_file()}
        for name in ("cpu.pb.gz", "heap.pb.gz", "tasks.json", "stacks.txt", "buildinfo.txt", "metrics.prom"):
            self.assertIn(name, names)

    def test_a_bundle_that_is_cut_off_leaves_no_file(self):
        def answer_half(listening):
            client, _ = listening.accept()
            with client:
                while b"\r\n\r\n" not in client.recv(65536):
                    pass
                client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbytes\r\n")

        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = threading.Thread(target=answer_half, args=(listening,))
            server.start()
            address = f"127.0.0.1:{listening.getsockname()[1]}"
            done = vigil("bundle", "--seconds=1", address, cwd=self.work)
            server.join()
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr,
                         f"vigil bundle: GET http://{address}/debug/bundle?seconds=1: no answer, or cut off\n")
        self.assertEqual(list(self.work.iterdir()), [])

    # --- top.

    def test_top_without_a_terminal_is_one_table(self):
        with self.stuck_request():
            deadline = time.monotonic() + WAIT_SECONDS
            while not re.search(r"^GET /stuck +1 +1 ", (top := vigil("top", self.debug)).stdout, re.MULTILINE):
                self.assertLess(time.monotonic(), deadline, top.stdout)
        self.assertNotIn("\033", top.stdout)
        self.assertRegex(top.stdout.splitlines()[2], r"^ROUTE +LIVE +STUCK .* >=10s$")

    def test_top_is_live_until_q_and_leaves_the_terminal_as_it_was(self):
        terminal = Terminal(VIGIL, "top", self.debug)
        self.addCleanup(terminal.close)
        terminal.until(rb"Nothing runs\.")
        with self.stuck_request():
            terminal.until(rb"\x1b\[31mGET /stuck +1 +1 ")
            terminal.until(rb"started/s, 1 stuck \(over 500ms\)")
        terminal.shown = b""
        terminal.until(rb"Nothing runs\.")
        terminal.type(b"xq")
        self.assertEqual(terminal.process.wait(WAIT_SECONDS), 0)
        terminal.until(rb"\x1b\[\?1049l")
        self.assertEqual(termios.tcgetattr(terminal.terminal), terminal.settings)

    def test_top_gives_the_terminal_back_on_a_signal(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            terminal = Terminal(VIGIL, "top", self.debug)
            self.addCleanup(terminal.close)
            terminal.until(rb"Nothing runs\.")
            terminal.process.send_signal(number)
            self.assertEqual(terminal.process.wait(WAIT_SECONDS), 0)
            self.assertEqual(termios.tcgetattr(terminal.terminal), terminal.settings)

    def test_top_goes_on_when_the_server_comes_back(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]

        def demo():
            started = subprocess.Popen((DEMO, "--listen=127.0.0.1:0", f"--debug=127.0.0.1:{port}"),
                                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=CLEAN)
            started.stdout.readline()
            started.stdout.readline()
            return started

        def end(process):
            process.kill()
            process.wait()
            process.stdout.close()

        first = demo()
        terminal = Terminal(VIGIL, "top", str(port))
        self.addCleanup(terminal.close)
        terminal.until(rb": 0 live")
        end(first)
        terminal.until(rb"Connection refused")
        self.addCleanup(end, demo())
        terminal.shown = b""
        terminal.until(rb": 0 live")

    # --- run.

    def test_run_puts_the_agent_into_a_program_that_was_not_built_for_it(self):
        process = subprocess.Popen((VIGIL, "run", "--listen=127.0.0.1:0", "--", "sleep", "60"), stderr=subprocess.PIPE,
                                   text=True, env=CLEAN)
        try:
            address = re.search(r"http://(127\.0\.0\.1:\d+)/", process.stderr.readline()).group(1)
            self.assertIn("nanosleep", vigil("dump", address).stdout)
            self.assertIn("has marked no task yet", vigil("top", address).stdout)
            # It is the program itself, not a parent of it.
            self.assertEqual(pathlib.Path(f"/proc/{process.pid}/comm").read_text(), "sleep\n")
        finally:
            process.kill()
            process.wait()
            process.stderr.close()

    def test_run_has_an_option_for_each_variable_and_the_documentation_a_row(self):
        options = re.findall(r"^ +--([a-z-]+)", vigil("run", "--help").stdout, re.MULTILINE)
        others = {"agent", "help", "version"}
        variables = {"VIGIL_" + option.upper().replace("-", "_") for option in set(options) - others}
        self.assertIn("VIGIL_LISTEN", variables)
        page = (pathlib.Path(__file__).resolve().parents[3] / "docs" / "companion.md").read_text()
        rows = set(re.findall(r"^\| `(VIGIL_[A-Z_]+)` \|", page, re.MULTILINE))
        self.assertEqual(rows - {"VIGIL_OWNER"}, variables)

    def test_run_asks_for_the_token_of_a_file(self):
        token = self.work / "token"
        token.write_text("0123456789abcdef\n")
        wrong = self.work / "wrong"
        wrong.write_text("fedcba9876543210\n")
        process = subprocess.Popen((VIGIL, "run", "--listen=127.0.0.1:0", f"--token-file={token}", "--", "sleep", "60"),
                                   stderr=subprocess.PIPE, text=True, env=CLEAN)
        try:
            said = process.stderr.readline()
            address = re.search(r"http://(127\.0\.0\.1:\d+)/", said).group(1)
            self.assertNotIn("0123456789abcdef", said)
            for words in ([], [f"--token-file={wrong}"]):
                done = vigil("dump", *words, address)
                self.assertEqual(done.returncode, 1)
                self.assertIn("status 401", done.stderr)
            done = vigil("dump", f"--token-file={token}", address)
            self.assertIn("nanosleep", done.stdout)
        finally:
            process.kill()
            process.wait()
            process.stderr.close()

    def test_a_program_whose_token_cannot_be_read_runs_without_the_agent(self):
        done = vigil("run", "--listen=127.0.0.1:0", f"--token-file={self.work}/nothing", "--", "echo", "out")
        self.assertEqual((done.returncode, done.stdout), (0, "out\n"))
        self.assertRegex(done.stderr, rf"^vigil: echo\[\d+\]: runs without the agent: {self.work}/nothing: cannot be read\n$")

    def test_run_ends_as_the_program_does(self):
        run = ("run", "--listen=127.0.0.1:0", "--log=off", "--")
        done = vigil(*run, "sh", "-c", "echo out; exit 7")
        self.assertEqual((done.returncode, done.stdout), (7, "out\n"))
        self.assertEqual(vigil(*run, "sh", "-c", "kill -9 $$").returncode, -signal.SIGKILL)
        done = vigil(*run, "/nowhere/server")
        self.assertEqual((done.returncode, done.stderr),
                         (127, "vigil run: cannot start /nowhere/server: No such file or directory\n"))
        self.assertEqual(vigil(*run, "/etc/passwd").returncode, 126)

    def test_run_says_where_it_has_looked_for_the_agent(self):
        alone = self.work / "vigil"
        shutil.copy(VIGIL, alone)
        done = subprocess.run((alone, "run", "true"), capture_output=True, text=True, env=CLEAN)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, f"vigil run: no libvigil_agent.so in {self.work} or beside it in lib; "
                                      "--agent=FILE says where it is\n")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
