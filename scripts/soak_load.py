"""The clients of scripts/soak: each a thread that does one thing over and over and checks what comes back."""

import base64
import collections
import http.client
import itertools
import os
import re
import socket
import struct
import subprocess
import threading
import time

LIMIT_S = 30
SHORT_ROUTES = [
    ("/hello", b"hello, world\n"), ("/work?ms=1", None), ("/churn?n=200", None), ("/lock?ms=1", None),
    ("/sleep?ms=20", b"slept 20 ms\n"), ("/slow?ms=5", b"slept 5 ms\n"), ("/stream?n=3&ms=1", None), ("/trailers?n=5", None)]
CAPTURES = [
    "/debug/pprof/profile?seconds=1", "/debug/pprof/goroutine", "/debug/pprof/heap", "/debug/pprof/wall?seconds=1",
    "/debug/pprof/goroutine?debug=2", "/debug/pprof/mutex", "/debug/pprof/trace?seconds=1", "/debug/pprof/allocs",
    "/debug/pprof/block", "/debug/pprof/threadcreate", "/debug/tasks", "/debug/leakwatch", "/debug/vars"]


class Wrong(Exception):
    """An answer that is not what it should be."""


def expect(holds, what):
    if not holds:
        raise Wrong(what)


def read_exactly(stream, size):
    data = stream.read(size)
    expect(len(data) == size, f"{len(data)} of {size} bytes came")
    return data


class Load:
    """All clients. failures() holds what went wrong, "<client>: <what>"; nothing is tried again.

    tls: the ssl.SSLContext that they speak through, but for the debug listener's; None: in clear text.
    """

    def __init__(self, port, debug_port, kept_alive, tls=None):
        self._port = port
        self._tls = tls
        self._debug_port = debug_port
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._counts = collections.Counter()
        self._failures = []
        clients = [self._kept_alive] * kept_alive + [
            self._fresh, self._upload, self._websocket, self._slow_reader, self._slow_sender, self._vanishing, self._http2,
            self._captures]
        self._threads = [threading.Thread(target=self._run, args=(client,), daemon=True) for client in clients]

    def start(self):
        for thread in self._threads:
            thread.start()

    def stop(self):
        """Asks all to end after what they are doing, and waits for them."""
        self._stop.set()
        for thread in self._threads:
            thread.join(LIMIT_S)
            if thread.is_alive():
                self._failed("a client", "did not come back")

    def ask(self, path):
        """One request besides, on the caller's thread."""
        connection = self._http()
        self._get(connection, path)
        connection.close()

    def counts(self):
        with self._lock:
            return dict(self._counts)

    def requests(self):
        return sum(self.counts().values())

    def failures(self):
        with self._lock:
            return list(self._failures)

    def _failed(self, who, what):
        with self._lock:
            self._failures.append(f"{who}: {what}")

    def _did(self, what, count=1):
        with self._lock:
            self._counts[what] += count

    def _run(self, client):
        """Repeats `client`, a generator that yields after each thing that was done, until stop()."""
        name = client.__name__.strip("_")
        try:
            for done in client():
                self._did(name.replace("_", " "), done)
                if self._stop.is_set():
                    return
        except (OSError, http.client.HTTPException, ValueError, Wrong) as error:
            self._failed(name, f"{type(error).__name__}: {error}")

    def _connect(self, receive_buffer=0):
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(LIMIT_S)
        connection.connect(("127.0.0.1", self._port))
        return connection if self._tls is None else self._tls.wrap_socket(connection)

    def _http(self):
        if self._tls is None:
            return http.client.HTTPConnection("127.0.0.1", self._port, timeout=LIMIT_S)
        return http.client.HTTPSConnection("127.0.0.1", self._port, timeout=LIMIT_S, context=self._tls)

    @staticmethod
    def _get(connection, path, body=None):
        connection.request("GET", path)
        response = connection.getresponse()
        data = response.read()
        expect(response.status == 200, f"{path}: status {response.status}")
        expect(body is None or data == body, f"{path}: the body is {data[:80]!r}")

    def _kept_alive(self):
        connection = self._http()
        for path, body in itertools.cycle(SHORT_ROUTES):
            self._get(connection, path, body)
            yield 1
            time.sleep(0.002)

    def _fresh(self):
        while True:
            connection = self._http()
            self._get(connection, "/hello", b"hello, world\n")
            connection.close()
            yield 1
            time.sleep(0.01)

    def _upload(self):
        body = os.urandom(300_000)
        while True:
            connection = self._http()
            # In chunks every other time.
            for chunked in (False, True):
                source = (body[at:at + 7777] for at in range(0, len(body), 7777)) if chunked else body
                connection.request("POST", "/echo", body=source, encode_chunked=chunked,
                                   headers={"Transfer-Encoding": "chunked"} if chunked else {})
                response = connection.getresponse()
                expect(response.status == 200 and response.read() == body, "another body came back")
                yield 1
                time.sleep(0.05)
            connection.close()

    def _websocket(self):
        while True:
            with self._connect() as connection, connection.makefile("rb") as stream:
                key = base64.b64encode(os.urandom(16)).decode()
                connection.sendall((
                    "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n").encode())
                expect(stream.readline().startswith(b"HTTP/1.1 101"), "no upgrade")
                while stream.readline() != b"\r\n":
                    pass
                for number in range(50):
                    message = os.urandom(8) * (number + 1)
                    connection.sendall(self._frame(0x82, message))
                    opcode, size = read_exactly(stream, 2)
                    if size == 126:
                        size, = struct.unpack("!H", read_exactly(stream, 2))
                    expect(opcode == 0x82 and read_exactly(stream, size) == message, "another message came back")
                    yield 1
                    time.sleep(0.01)
                connection.sendall(self._frame(0x88, struct.pack("!H", 1000)))
                expect(read_exactly(stream, 2)[0] == 0x88, "no goodbye")

    @staticmethod
    def _frame(opcode, payload):
        """A client's frame, masked with zeros."""
        length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack("!H", len(payload))
        return bytes([opcode]) + length + bytes(4) + payload

    def _slow_reader(self):
        size = 3_000_000
        while True:
            with self._connect(receive_buffer=16384) as connection, connection.makefile("rb") as stream:
                connection.sendall(f"GET /big?n={size} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
                expect(stream.readline().split()[1] == b"200", "no 200")
                while stream.readline() != b"\r\n":
                    pass
                left = size
                while left > 0 and not self._stop.is_set():
                    left -= len(read_exactly(stream, min(left, 65536)))
                    time.sleep(0.02)
                expect(self._stop.is_set() or stream.read() == b"", "more than was announced")
            yield 1

    def _slow_sender(self):
        pieces = [os.urandom(100) for _ in range(20)]
        while True:
            with self._connect() as connection, connection.makefile("rb") as stream:
                head = f"POST /echo HTTP/1.0\r\nHost: localhost\r\nContent-Length: {100 * len(pieces)}\r\n\r\n".encode()
                for at in range(0, len(head), 10):
                    connection.sendall(head[at:at + 10])
                    time.sleep(0.02)
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(0.05)
                expect(stream.readline().split()[1] == b"200", "no 200")
                while stream.readline() != b"\r\n":
                    pass
                expect(stream.read() == b"".join(pieces), "another body came back")
            yield 1

    def _vanishing(self):
        """Resets its connections wherever they are; nothing is expected but that others do not notice."""
        beginnings = [
            b"", b"GET /he", b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nsome",
            b"GET /big?n=10000000 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /sleep?ms=50 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\nsome",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"]
        for beginning in itertools.cycle(beginnings):
            with self._connect() as connection:
                connection.sendall(beginning)
                time.sleep(0.02)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            yield 1

    def _http2(self):
        while True:
            done = subprocess.run(
                ["h2load", "-n400", "-c2", "-m8", "--rps=50",
                 f"http{'' if self._tls is None else 's'}://127.0.0.1:{self._port}/hello"],
                capture_output=True, text=True, timeout=LIMIT_S)
            found = re.search(r"^requests: 400 total, 400 started, 400 done, 400 succeeded", done.stdout, re.M)
            expect(found, f"h2load says: {done.stdout[-400:]}{done.stderr[-200:]}")
            yield 400

    def _captures(self):
        for path in itertools.cycle(CAPTURES):
            connection = http.client.HTTPConnection("127.0.0.1", self._debug_port, timeout=LIMIT_S)
            self._get(connection, path)
            connection.close()
            yield 1
            time.sleep(0.2)
