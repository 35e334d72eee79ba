"""`scripts/bench callgrind`: where the microseconds of a kept-alive GET go.

Three instruments. perf says which system call, or the program, the processor was in (samples of time), and counts calls.
valgrind's callgrind counts the program's own instructions by source file: exact, and the same on a loaded machine. The
scheduler's account says what each thread took. One poller, so that what the figures are about is one thread's work.
"""

import pathlib
import re
import signal
import statistics
import subprocess
import tempfile
import time

from benchmarks.callgrind_file import self_costs
from benchmarks.tools import BIN, Server, die, figure, in_turns, start_vigil, table, verdict, wrk

# Whose instructions they are, by source file; the first that fits. Of inlined code the file that it was written in counts, but
# for the standard library's and fmt's, which count for the function that they are in.
GROUPS = (
    ("parser: bytes of the head", r"llhttp|server-core/(head_rules|request_parser)"),
    ("header fields, target, query", r"server-core/(headers|url|request)\."),
    ("router", r"server-core/router"),
    ("handler", r"agent/demo/"),
    ("response: head, body, date", r"server-core/(response_\w+|date)\."),
    ("task registry", r"leakwatch/(task_registry|task_request|scope)|sampler/(sigsafe/)?thread_work|base/thread_id"),
    ("metrics: route counters, histogram", r"server-core/(handler_metrics|handler_profile|server_stats|counters)"),
    ("connection: read, deadlines, poll", r"server-core/(?!monitor)"),
    ("watchdog, monitor, collectors (by time, not by request)", r"leakwatch/|sampler/|endpoints/|agent/|server-core/monitor|dwarf/"),
    ("clock", r"base/.*clock|clock_gettime|vdso"),
    ("C and C++ library", r"\.so|nptl|sysdeps|/usr/"),
)
BY_TIME = GROUPS[8][0]


def group_of(where):
    obj, own, _, inlined = where
    for name, pattern in GROUPS:
        if re.search(pattern, inlined.replace(str(BIN.parent.parent.parent), "")) and not inlined.startswith("/usr/include"):
            return name
    for name, pattern in GROUPS:
        if re.search(pattern, own) or re.search(pattern, obj):
            return name
    return "other"


def start_under_callgrind(out):
    server = Server.__new__(Server)
    log = pathlib.Path(f"{out}.log")
    with log.open("w") as stdout:
        server.adopt("vigil under callgrind", subprocess.Popen(
            ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}", BIN / "vigil-demo",
             "--listen=127.0.0.1:0", "--debug=127.0.0.1:0", "--pollers=1"], stdout=stdout, stderr=subprocess.DEVNULL))
    for _ in range(600):
        listening = re.search(r":(\d+)", log.read_text())
        if listening:
            server.port = int(listening[1])
            return server
        time.sleep(0.1)
    die("valgrind did not start the demo")


def instructions(seconds, folder):
    """Group: instructions a request."""
    out = f"{folder}/callgrind.out"
    server = start_under_callgrind(out)
    wrk(server, "/hello", 32, seconds)
    control(server, "on")
    requests = wrk(server, "/hello", 32, 2 * seconds)["requests"]
    control(server, "off")
    server.process.terminate()
    server.process.wait(60)
    server.stop()
    groups = {name: 0.0 for name, _ in GROUPS}
    for where, count in self_costs(pathlib.Path(out).read_text()).items():
        group = group_of(where)
        groups[group] = groups.get(group, 0.0) + count / requests
    return groups


def control(server, state):
    done = subprocess.run(["callgrind_control", "-i", state, str(server.process.pid)], capture_output=True, text=True, timeout=60)
    if "OK" not in done.stdout:
        die(f"callgrind_control: {done.stdout} {done.stderr}")


# --- time


CALL = re.compile(r"__x64_sys_(\w+)")
SHORT = {"sendto": "send", "recvfrom": "recv"}
OWN, REGISTRY = "in the program", "in the program's task registry"
REGISTRY_FUNCTION = re.compile(r"leakwatch::(Task|TaskRegistry)::|sampler::(enter_task|leave_task)")


def place_of(sample):
    """Of a sample of perf script, with the frames' symbols, innermost first: the system call, or where else it is."""
    for line in sample:
        call = CALL.search(line)
        if call:
            return SHORT.get(call[1], call[1])
    if sample and sample[0].split()[0].startswith("ffff"):
        return "kernel, other"
    return REGISTRY if sample and REGISTRY_FUNCTION.search(sample[0]) else OWN


def shares(script):
    """Place: part of the samples, of a whole perf script."""
    counts = {}
    for sample in script.strip().split("\n\n"):
        place = place_of(sample.split("\n")[1:])  # the first line is the thread's name
        counts[place] = counts.get(place, 0) + 1
    total = sum(counts.values())
    return {place: count / total for place, count in counts.items()}


def times(server, seconds, folder):
    """Place: CPU microseconds a request, from perf's samples of a run under load."""
    wrk(server, "/hello", 32, 1)
    data = f"{folder}/perf.data"
    with subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", "1999", "-g", "-p", str(server.process.pid), "-o", data],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as recorder:
        time.sleep(0.5)
        run = wrk(server, "/hello", 32, seconds)
        recorder.send_signal(signal.SIGINT)
    script = subprocess.run(["perf", "script", "-i", data, "-F", "comm,ip,sym"], capture_output=True, text=True).stdout
    if not script.strip():
        die("perf recorded nothing: linux-perf, and the right to profile, are needed")
    return {place: share * run["cpu_us"] for place, share in shares(script).items()}


def bench_request(options, folder):
    servers = [start_vigil("--pollers=1", name="vigil, 1 poller"), Server("floor (raw epoll)", [BIN / "bench-floor", "@PORT@"])]

    def measure(server):
        with tempfile.TemporaryDirectory() as place:
            return times(server, options["seconds"], place)

    runs = in_turns(options, servers, measure)
    places = sorted({place for rounds in runs.values() for run in rounds for place in run})
    ours, floor = ({place: statistics.median(run.get(place, 0.0) for run in rounds) for place in places}
                   for rounds in runs.values())
    places.sort(key=lambda place: -ours[place])
    shown = [place for place in places if max(ours[place], floor[place]) >= 0.005]
    print("CPU us a request, GET /hello, 32 kept-alive connections, one thread each, by perf; medians of", options["rounds"])
    table([("", *runs)] + [(place, f"{ours[place]:.2f}", f"{floor[place]:.2f}") for place in shown] +
          [("all", f"{sum(ours[p] for p in places):.2f}", f"{sum(floor[p] for p in places):.2f}")])

    counted = instructions(options["seconds"], folder)
    instructions_all = sum(count for name, count in counted.items() if name != BY_TIME)
    own, whole = ours[OWN] + ours.get(REGISTRY, 0), sum(ours.values())
    print("\nThe program's own part, by callgrind's count; the microseconds are its part of", f"{own:.2f}")
    table([("", "instructions", "%", "us")] + [
        (name, f"{count:,.0f}", f"{100 * count / instructions_all:.1f}", f"{own * count / instructions_all:.3f}")
        for name, count in sorted(counted.items(), key=lambda item: -item[1]) if name != BY_TIME])
    return {"us": {"vigil": ours, "floor": floor}, "instructions": counted, "figures": [
        figure("instructions a request, the C library's among them", instructions_all),
        figure("CPU a request outside the system calls", own, "us"),
        verdict("task registry, of a GET's CPU, by perf", 100 * ours.get(REGISTRY, 0) / whole, 1, unit="%")]}


# --- system calls, threads


CALLS = ("sendto", "sendmsg", "recvfrom", "read", "write", "epoll_wait", "epoll_ctl", "futex", "clock_gettime", "accept4")


def bench_calls(options, _folder):
    """By the kernel's own tracepoints: strace makes each call so slow that handlers look as if they blocked."""
    server = start_vigil("--pollers=1")
    wrk(server, "/hello", 32, 1)
    events = ",".join(["raw_syscalls:sys_enter", *(f"syscalls:sys_enter_{name}" for name in CALLS)])
    with subprocess.Popen(["perf", "stat", "-x", ";", "-e", events, "-p", str(server.process.pid)],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as counter:
        time.sleep(0.5)
        requests = wrk(server, "/hello", 32, options["seconds"])["requests"]
        counter.send_signal(signal.SIGINT)
        rows = [line.split(";") for line in counter.stderr.read().splitlines() if line.count(";") > 3]
    server.stop()
    counts = {row[2].replace("syscalls:sys_enter_", ""): int(row[0]) / requests for row in rows if row[0].isdigit()}
    if "raw_syscalls:sys_enter" not in counts:
        die("perf counted nothing: linux-perf, and the right to trace, are needed")
    every = counts.pop("raw_syscalls:sys_enter")
    counts["others"] = every - sum(counts.values())
    print("System calls a request, GET /hello, 32 kept-alive connections, one poller")
    table([("", "a request")] + [(name, f"{count:.4f}") for name, count in counts.items() if count >= 0.0005])
    return {"calls": counts, "figures": [
        verdict("system calls a request beside recv and send", every - counts["sendto"] - counts["recvfrom"], 0.1)]}


def thread_ms(pid):
    """Thread's name: milliseconds of CPU so far."""
    result = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        result[name] = result.get(name, 0) + int((task / "schedstat").read_text().split()[0]) / 1e6
    return result


def bench_threads(options, _folder):
    server = start_vigil("--pollers=1")
    wrk(server, "/hello", 32, 1)
    runs = []
    for _ in range(options["rounds"]):
        before = thread_ms(server.process.pid)
        wrk(server, "/hello", 32, options["seconds"])
        runs.append({name: ms - before.get(name, 0) for name, ms in thread_ms(server.process.pid).items()})
    server.stop()
    total = sum(ms for run in runs for ms in run.values())
    names = sorted({name for run in runs for name in run})
    percent = {name: 100 * sum(run.get(name, 0) for run in runs) / total for name in names}
    print("CPU time by thread, GET /hello, 32 kept-alive connections, one poller")
    table([("", "% of the process")] + [
        (name, f"{share:.3f}") for name, share in sorted(percent.items(), key=lambda item: -item[1]) if share >= 0.0005])
    others = ("vigil-watchdog", "vigil-heap", "vglock", "vgdbg-monitor", "vgdbg-poll-0")
    return {"percent": percent, "figures": [
        figure("monitor's thread: % of the CPU beside GET /hello", percent.get("vigil-monitor", 0), "%"),
        verdict("watchdog's thread: % of the CPU beside GET /hello", percent.get("vigil-watchdog", 0), 1, unit="%"),
        verdict("all threads of the agent: % of the CPU beside GET /hello", sum(percent.get(n, 0) for n in others), 1, unit="%")]}
