"""Everything the debug pages can do to a process, at once and again and again, as an engineer on call would."""
import concurrent.futures
import threading
import time
import urllib.error
import urllib.request

# Path, seconds between two. {seconds} is the rest of the time.
PAGES = (
    ("/debug/pprof/goroutine?debug=2", 1.0),  # the dump
    ("/debug/pprof/goroutine", 3.0),
    ("/debug/pprof/heap", 2.0),
    ("/debug/pprof/allocs", 3.0),
    ("/debug/pprof/mutex", 2.0),
    ("/debug/pprof/block", 2.0),
    ("/debug/pprof/threadcreate", 3.0),
    ("/debug/leakwatch", 1.0),
    ("/metrics", 1.0),
)
PROFILES = ("/debug/pprof/profile?seconds={seconds}&hz=250", "/debug/pprof/wall?seconds={seconds}")


class Watching:
    """Watches `address` until end(). `wrong` says what did not answer 200 with a body, `seen` how often each page did."""

    def __init__(self, address, seconds, profiles=PROFILES, pages=PAGES):
        self.address, self.wrong, self.seen = address, [], {}
        self.stopped = threading.Event()
        self.pool = concurrent.futures.ThreadPoolExecutor(len(profiles) + len(pages))
        for path in profiles:
            self.pool.submit(self.once, path.format(seconds=max(1, int(seconds))))
        for path, every in pages:
            self.pool.submit(self.repeatedly, path, every)

    def once(self, path):
        try:
            with urllib.request.urlopen(f"http://{self.address}{path}", timeout=400) as answer:
                body = answer.read()
            if not body:
                self.wrong.append(f"{path}: empty")
            self.seen[path] = self.seen.get(path, 0) + 1
            return body
        except (OSError, urllib.error.URLError) as error:
            self.wrong.append(f"{path}: {error}")
            return b""

    def repeatedly(self, path, every):
        while not self.stopped.is_set():
            began = time.monotonic()
            self.once(path)
            self.stopped.wait(max(0.0, every - (time.monotonic() - began)))

    def end(self):
        self.stopped.set()
        self.pool.shutdown(wait=True)
