#!/usr/bin/env python3
"""Uses vigil as another project does, in one of its ways, and runs what that project has built.

usage: packaging_test.py CASE SOURCE BUILD WORK README_SERVER
CASE: find_package, pkg_config, debian, add_subdirectory, fetch_content.
SOURCE, BUILD: vigil's sources and its finished build. WORK: a folder that is made and removed.
README_SERVER: the program of README.md.
"""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

WAYS = pathlib.Path(__file__).resolve().parent
START_SECONDS = 20


def run(*command, **options):
    """Runs a command; its output is shown only if it fails."""
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout[-4000:]}")
    return done.stdout


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def get_when_up(process, url):
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return get(url)
        except (urllib.error.URLError, ConnectionError):
            if process.poll() is not None:
                sys.exit(f"the consumer's server has ended with {process.returncode}")
            if time.monotonic() > deadline:
                sys.exit(f"{url} does not answer within {START_SECONDS} s")
            time.sleep(0.05)


class Case:
    def __init__(self, source, build, work, readme_server):
        self.source, self.build, self.work = map(pathlib.Path, (source, build, work))
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.app, self.debug = free_ports(2)
        # The program as README.md has it, but for its two ports, which may be taken here.
        program = pathlib.Path(readme_server).read_text()
        for port, free in (("8080", self.app), ("6060", self.debug)):
            if program.count(f'"127.0.0.1", {port}') != 1:
                sys.exit(f"README.md's server does not listen on port {port} any more")
            program = program.replace(f'"127.0.0.1", {port}', f'"127.0.0.1", {free}')
        self.program = self.work / "readme_server.cc"
        self.program.write_text(program)

    def configure(self, way, *options):
        run("cmake", "-G", "Unix Makefiles", "-S", WAYS / way, "-B", self.work / "build",
            "-DCMAKE_BUILD_TYPE=Release", f"-DREADME_SERVER={self.program}", *options)

    def build_consumer(self, *targets):
        run("cmake", "--build", self.work / "build", "-j2", *(("--target",) + targets if targets else ()))

    def check_server(self, server):
        process = subprocess.Popen([server])
        try:
            hello = get_when_up(process, f"http://127.0.0.1:{self.app}/hello")
            assert hello == "hello, world\n", hello
            dump = get(f"http://127.0.0.1:{self.debug}/debug/pprof/goroutine?debug=2")
            # Stacks are unwound and symbolized in the consumer's program too.
            assert "\nmain(" in dump, dump
        finally:
            process.kill()
            process.wait()

    def check_package(self, prefix):
        """find_package in a prefix, every program of the consumer run."""
        self.configure("find_package", f"-DCMAKE_PREFIX_PATH={prefix}")
        self.build_consumer()
        self.check_server(self.work / "build/readme-server")
        for program in ("everything", "tasks"):
            run(self.work / "build" / program)
        self.check_leaks(self.work / "build/leaks")

    def check_leaks(self, program):
        done = subprocess.run([program], stdout=subprocess.PIPE, text=True)
        assert done.returncode == 1, done
        for text in ("[       OK ] Leaks.closed", "[  FAILED  ] Leaks.left", "leaked: descriptor", "Leaks_left_Test::TestBody(...)"):
            assert text in done.stdout, done.stdout

    def install(self):
        run("cmake", "--install", self.build, "--prefix", self.work / "prefix")
        return self.work / "prefix"

    def find_package(self):
        prefix = self.install()
        # The installed files work where they are moved to.
        moved = self.work / "moved"
        prefix.rename(moved)
        for text in list(moved.rglob("*.cmake")) + list(moved.rglob("*.pc")):
            for path in (self.source, self.build, prefix):
                assert f"{path}/" not in text.read_text(), f"{text} names {path}"
        self.check_package(moved)

    def pkg_config(self):
        prefix = self.install()
        folders = [str(folder.parent) for folder in prefix.rglob("vigil-agent.pc")]
        environment = {**os.environ, "PKG_CONFIG_PATH": folders[0]}

        def compile_with(package, source, program):
            flags = run("pkg-config", "--cflags", "--libs", package, env=environment).split()
            run("g++", source, "-o", program, *flags)

        compile_with("vigil-agent", self.program, self.work / "readme-server")
        self.check_server(self.work / "readme-server")
        compile_with("vigil-leakwatch", WAYS / "tasks.cc", self.work / "tasks")
        run(self.work / "tasks")
        # What a program without the agent links.
        compile_with("vigil-server", WAYS / "tasks.cc", self.work / "tasks")

    def debian(self):
        run("cpack", "--config", self.build / "CPackConfig.cmake", "-B", self.work / "packages")
        packages = {}
        for package in (self.work / "packages").glob("*.deb"):
            packages[run("dpkg-deb", "-f", package, "Package").strip()] = package
            run("dpkg-deb", "-x", package, self.work / "root")
        assert set(packages) == {"vigil-agent", "libvigil-dev"}, packages
        depends = run("dpkg-deb", "-f", packages["vigil-agent"], "Depends")
        for needed in ("libc6", "libdw1", "libunwind8"):
            assert needed in depends, depends
        self.check_agent(self.work / "root/usr")
        self.check_package(self.work / "root/usr")

    def check_agent(self, prefix):
        """A program that was never built for vigil, started by the packaged command with the packaged agent."""
        process = subprocess.Popen(
            [prefix / "bin/vigil", "run", f"--listen=127.0.0.1:{self.debug}", "--log=off", "--", "sleep", "60"])
        try:
            dump = get_when_up(process, f"http://127.0.0.1:{self.debug}/debug/pprof/goroutine?debug=2")
            assert "nanosleep" in dump, dump
        finally:
            process.kill()
            process.wait()

    def add_subdirectory(self):
        self.configure("add_subdirectory", f"-DVIGIL_SOURCE={self.source}")
        self.build_consumer("readme-server")
        self.check_server(self.work / "build/readme-server")

    def fetch_content(self):
        self.configure("fetch_content", f"-DFETCHCONTENT_SOURCE_DIR_VIGIL={self.source}")
        # The server's target is configured; that it is compiled is seen by add_subdirectory.
        self.build_consumer("tasks")
        run(self.work / "build/tasks")


def main():
    case = Case(*sys.argv[2:])
    getattr(case, sys.argv[1])()
    shutil.rmtree(case.work)


main()
