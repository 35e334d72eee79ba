"""Real servers under their own load, profiled, dumped and watched by the preloaded agent all the time.

usage: servers_test.py LIBRARY SERVER SECONDS

Same answers as without the agent, no failed request, no crash, the same end; and the profiles show the server's own
functions. Exits 0 when all of it holds, 1 with what did not.
"""
import concurrent.futures
import pathlib
import subprocess
import sys
import tempfile

import servers
import watching

# What a CPU profile of a minute's load cannot be without.
FUNCTIONS = {
    "nginx": ("ngx_",),
    "redis": ("processCommand", "aeMain"),
    "mariadb": ("mysql_execute_command", "dispatch_command", "do_command"),
    "dnsdist": ("processQuery",),
    "node": ("uv_", "node::", "v8::"),
}


def bare_run(kind):
    server = kind()
    try:
        server.start({})
        return server.answers(), server.stop()
    finally:
        server.remove()


def top(address, page):
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["go", "tool", "pprof", "-top", "-cum", "-nodecount=400", f"http://{address}{page}"],
                              capture_output=True, text=True, env={"PPROF_TMPDIR": folder, "HOME": folder,
                                                                    "PATH": "/usr/local/bin:/usr/bin:/bin"})
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return done.stdout


def watched_run(kind, library, seconds, wanted):
    answers, status = wanted
    wrong = []
    server = kind()
    log = server.folder / "agent.log"
    try:
        server.start(servers.preloaded(library, log, **kind.extra))
        servers.wait_until(lambda: server.profiled() in servers.agent_addresses(log), "the agent does not say where it serves")
        address = servers.agent_addresses(log)[server.profiled()]
        watch = watching.Watching(address, seconds)
        load = server.load(seconds)
        if server.answers() != answers:
            wrong.append(f"answers differ:\n{server.answers()}\n{answers}")
        watch.end()
        wrong += watch.wrong
        if load.failed or not load.requests:
            wrong.append(f"{load.failed} of {load.requests} requests failed")
        wrong += missing_functions(server, address)
        if server.process.poll() is not None:
            wrong.append(f"it ended with {server.process.returncode}")
        ended = server.stop()
        if ended != status:
            wrong.append(f"SIGTERM: status {ended}, without the agent {status}")
        print(f"{kind.name}: {load.requests} requests, {load.rate:.0f} a second, pages {watch.seen}")
        return wrong, server.said() + (log.read_text() if log.exists() else "")
    finally:
        server.remove()


def missing_functions(server, address):
    """Profiles of its own, with load until each is there: which of the functions that must be there are not. A longer one is
    taken before that is said: beside a load that leaves the server little of the machine, two seconds may be four samples."""
    for seconds in (2, 8, 24):
        text = profile_under_load(server, address, seconds)
        missing = [name for name in FUNCTIONS[server.name] if name not in text]
        if not missing:
            return []
    return [f"no {name} in a profile of {seconds} s:\n{text[:3000]}" for name in missing]


def profile_under_load(server, address, seconds):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        text = pool.submit(top, address, f"/debug/pprof/profile?seconds={seconds}")
        while not text.done():  # pprof may take longer to start than a load does
            server.load(1)
        return text.result()


def main(library, name, seconds):
    kind = servers.SERVERS[name]
    wrong, said = watched_run(kind, pathlib.Path(library), float(seconds), bare_run(kind))
    for problem in wrong:
        print(f"{name}: {problem}", file=sys.stderr)
    if wrong:
        print(said, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
