"""On what a benchmark ran: the machine, the versions of compiler and peers, the commit; and whether others load it."""

import datetime
import os
import pathlib
import platform
import re
import subprocess
import time

# Of all processors, by others, before a part: more than this and the figures say more about them than about us.
BUSY_MAX = 0.10

# What a figure can depend on, and how each says its version.
VERSIONS = {
    "g++": (["g++", "--version"], r"(\d+\.\d+\.\d+)"),
    "go": (["go", "version"], r"go(\d+\.\d+(?:\.\d+)?)"),
    "nginx": (["nginx", "-v"], r"nginx/(\S+)"),
    "cpp-httplib": (["dpkg-query", "-W", "-f", "${Version}", "libcpp-httplib-dev"], r"([0-9.]+)"),
    "OpenSSL": (["openssl", "version"], r"OpenSSL (\S+)"),
    "gperftools": (["dpkg-query", "-W", "-f", "${Version}", "libgoogle-perftools-dev"], r"([0-9.]+)"),
    "wrk": (["dpkg-query", "-W", "-f", "${Version}", "wrk"], r"([0-9.]+)"),
    "h2load": (["h2load", "--version"], r"nghttp2/(\S+)"),
}


def output(command, folder=None):
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout + done.stderr if done.returncode == 0 else ""


def version(command, pattern):
    found = re.search(pattern, output(command))
    return found[1] if found else "none"


def processor():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    found = re.search(r"^model name\s*: (.+)$", text, re.M)
    return found[1].strip() if found else platform.machine()


def describe():
    """One line, equal for two runs whose figures can be compared."""
    versions = ", ".join(f"{name} {version(*how)}" for name, how in VERSIONS.items())
    hypervisor = " (virtual)" if " hypervisor" in pathlib.Path("/proc/cpuinfo").read_text() else ""
    return f"{os.cpu_count()} × {processor()}{hypervisor}, Linux {platform.release()}; {versions}"


def commit(root):
    """Of the tree in `root`; with a + if files that git knows differ from it."""
    name = output(["git", "rev-parse", "--short=9", "HEAD"], root).strip() or "unknown"
    changed = output(["git", "status", "--porcelain", "--untracked-files=no"], root).strip()
    return name + ("+" if changed else "")


def today():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")


def parse_stat(text):
    """Ticks that all processors were busy, and all ticks, of a /proc/stat."""
    ticks = [int(field) for field in text.split("\n", 1)[0].split()[1:9]]  # guest times are in user already
    idle = ticks[3] + ticks[4]
    return sum(ticks) - idle, sum(ticks)


def busy_share(seconds=1.0):
    """The part of all processors that is used, by whomever, in the next `seconds`; time that the hypervisor took is used."""
    busy, total = parse_stat(pathlib.Path("/proc/stat").read_text())
    time.sleep(seconds)
    busy_then, total_then = parse_stat(pathlib.Path("/proc/stat").read_text())
    return (busy_then - busy) / max(total_then - total, 1)
