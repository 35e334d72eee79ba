#!/usr/bin/env python3
"""The frame of scripts/bench: its command line, its figures, its history. Measures nothing."""

import contextlib
import io
import pathlib
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
from benchmarks import callgrind, curves, figures, history, machine  # noqa: E402: the path above

BENCH = ROOT / "scripts" / "bench"


def bench(*arguments):
    return subprocess.run([sys.executable, BENCH, *arguments], capture_output=True, text=True, timeout=60)


def program():
    """The names of scripts/bench: by loading it, which runs nothing."""
    source = BENCH.read_text()
    scope = {"__name__": "bench", "__file__": str(BENCH)}
    exec(compile(source, BENCH, "exec"), scope)  # no .py behind its name
    return scope


class CommandLine(unittest.TestCase):
    def test_help_names_every_suite_and_part(self):
        done = bench("--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for suite, parts in program()["SUITES"].items():
            self.assertRegex(done.stdout, rf"(?m)^  {suite}\b", suite)
            section = done.stdout.split(f"\n  {suite}", 1)[1].split("parts:", 1)[1].split("\n\n")[0]
            for part in parts:
                self.assertRegex(section, rf"\b{part}\b", f"{suite}.{part}")

    def test_usage_errors_are_one_line_and_2(self):
        for arguments in ([], ["htp"], ["http", "--only=nothing"], ["http", "--only="], ["http", "--only=get,"],
                          ["all", "--only=http.nothing"], ["all", "--only=get"], ["http", "--only=http.get"],
                          ["http", "--rounds=0"], ["http", "--rounds=100"], ["http", "--rounds=x"], ["http", "--seconds=-1"],
                          ["http", "--rounds"], ["http", "--json"], ["http", "--json="], ["http", "--record=yes"],
                          ["http", "get"], ["http", "--loud"]):
            done = bench(*arguments)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (2, "", 1), f"{arguments}: {done}")

    def test_only_takes_parts_and_of_all_whole_suites_in_its_order(self):
        scope = program()
        self.assertEqual(list(scope["chosen"]("http", "", "sleep,get")), ["http.sleep", "http.get"])
        curves = [f"curves.{part}" for part in scope["SUITES"]["curves"]]
        self.assertEqual(list(scope["chosen"]("all", "", "curves,http.get")), [*curves, "http.get"])

    def test_a_part_that_fails_does_not_end_the_run(self):
        scope = program()

        def fails(_options, _folder):
            scope["tools"].die("cannot")

        def works(_options, _folder):
            return {"figures": [figures.verdict("a", 1, 2)]}

        options = {"parts": {"x.fails": fails, "x.works": works}, "record": None, "rounds": 1, "seconds": 1}
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
            results, _, failed = scope["run"](options)
        self.assertEqual((list(results), failed), (["x.works"], ["x.fails"]))
        self.assertIn("x.fails failed: BenchError: cannot", errors.getvalue())

    def test_a_loaded_machine_is_not_recorded_unless_told(self):
        refusal = program()["refusal"]
        limit = machine.BUSY_MAX
        for record, busy, refused in ((None, 1.0, False), ("quiet", limit, False), ("quiet", limit + 0.01, True),
                                      ("loaded", 1.0, False)):
            self.assertEqual(bool(refusal({"record": record}, busy)), refused, (record, busy))


class Figures(unittest.TestCase):
    def test_target_is_at_most_or_at_least(self):
        for value, at_most, reached in ((1, True, True), (2, True, True), (3, True, False),
                                        (1, False, False), (2, False, True), (3, False, True)):
            self.assertIs(figures.verdict("f", value, 2, at_most)["reached"], reached, (value, at_most))
        self.assertIsNone(figures.figure("f", 1)["reached"])

    def test_table_has_ratio_and_target(self):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            figures.figures_table([figures.verdict("dump", 25, 20, unit="ms"), figures.verdict("left", 0.96, 0.95, at_most=False),
                                   figures.figure("size", 105e6, "bytes")])
        rows = [line.split() for line in out.getvalue().splitlines()]
        self.assertEqual(rows[2:], [["dump", "25", "ms", "≤", "20", "1.25", "MISSED"],
                                    ["left", "0.96", "≥", "0.95", "1.01", "reached"], ["size", "105,000,000", "bytes"]])

    def test_numbers_keep_what_counts(self):
        for value, text in ((0, "0"), (0.0123, "0.012"), (1.234, "1.23"), (37, "37"), (151234.5, "151,234"), (2e7, "20,000,000")):
            self.assertEqual(figures.number(value), text)


CALLGRIND = """\
# callgrind format
positions: line
events: Ir
ob=(1) /bin/demo
fl=(1) /src/server-core/router.cc
fn=(1) route
10 5
fi=(2) /src/server-core/headers.cc
20 7
fe=(1)
+3 1
cfn=(2) memchr
calls=4 30
* 400
11 2

ob=(2) /lib/libc.so.6
fl=(3) memchr.S
fn=(2)
30 100
fn=(1)
31 1
"""


class WhereTimeGoes(unittest.TestCase):
    def test_instructions_are_those_of_the_line_and_not_of_what_it_calls(self):
        router, headers = "/src/server-core/router.cc", "/src/server-core/headers.cc"
        self.assertEqual(callgrind.self_costs(CALLGRIND), {
            ("/bin/demo", router, "route", router): 8, ("/bin/demo", router, "route", headers): 7,
            ("/lib/libc.so.6", "memchr.S", "memchr", "memchr.S"): 100, ("/lib/libc.so.6", "memchr.S", "route", "memchr.S"): 1})

    def test_inlined_code_counts_for_its_own_file_but_the_standard_librarys_for_the_function(self):
        for where, group in (
                (("/demo", "server-core/serve.cc", "f", "leakwatch/task_registry.cc"), "task registry"),
                (("/demo", "server-core/url.cc", "f", "/usr/include/c++/12/bits/stl_algo.h"), "header fields, target, query"),
                (("/demo", "/usr/share/llhttp/llhttp.c", "f", "/usr/share/llhttp/llhttp.c"), "parser: bytes of the head"),
                (("/demo", "server-core/monitor.cc", "f", "server-core/monitor.cc"), callgrind.BY_TIME),
                (("/lib/libc.so.6", "???", "f", "???"), "C and C++ library")):
            self.assertEqual(callgrind.group_of(where), group, where)

    def test_samples_by_system_call_or_program(self):
        script = ("poll\n\tffffffff81 tcp_sendmsg\n\tffffffff82 __x64_sys_sendto\n\tffffffff83 do_syscall_64\n\t1 send\n\n"
                  "poll\n\tffffffff81 irq\n\t2 f\n\npoll\n\t2 vigil::leakwatch::Task::~Task\n\npoll\n\t2 parse\n\t3 x\n\n")
        self.assertEqual(callgrind.shares(script), {
            "send": 0.25, "kernel, other": 0.25, callgrind.REGISTRY: 0.25, callgrind.OWN: 0.25})


class Curves(unittest.TestCase):
    def test_growth_is_the_factor_a_decade(self):
        self.assertAlmostEqual(curves.growth([(1, 3), (100, 3)]), 1)
        self.assertAlmostEqual(curves.growth([(10, 5), (1000, 500)]), 10)
        self.assertAlmostEqual(curves.growth([(5, 1), (50, 4), (500, 100)]), 10)

    def test_a_linear_curve_is_judged_where_its_constant_part_does_not_hide_it(self):
        points = [(1, 100), (10, 101), (100, 110), (1000, 200), (10_000, 1100)]
        self.assertEqual(curves.last_decade(points), [(1000, 200), (10_000, 1100)])
        self.assertEqual(curves.last_decade([(1, 1), (2000, 9), (10_000, 9), (20_000, 9)]), [(2000, 9), (20_000, 9)])


RUN = {"date": "2026-01-02", "commit": "abc", "machine": "2 × CPU; g++ 12", "busy": 0.02, "loaded": False}
PARTS = {"http.get": [figures.verdict("CPU / floor", 1.2, 1.25), figures.verdict("requests / Go's", 1.4, 1.5, at_most=False)]}


class History(unittest.TestCase):
    def test_a_run_appends_a_row_a_figure(self):
        text = history.append("", RUN, PARTS)
        self.assertIn("| m1 | 2 × CPU; g++ 12 |\n", text)
        self.assertTrue(text.endswith(
            "| 2026-01-02 | abc | m1 | http.get | CPU / floor | 1.20 | ≤ 1.25 | reached |\n"
            "| 2026-01-02 | abc | m1 | http.get | requests / Go's | 1.40 | ≥ 1.50 | **missed** |\n"), text)

    def test_what_was_there_stays_and_another_machine_gets_its_key(self):
        first = history.append("", RUN, PARTS) + "\nA note below.\n"
        again = history.append(first, {**RUN, "commit": "def"}, PARTS)
        self.assertEqual(again.count("| m1 | 2 × CPU"), 1)
        text = history.append(again, {**RUN, "machine": "64 × CPU", "busy": 0.5, "loaded": True}, PARTS)
        self.assertIn("| m2 | 64 × CPU |\n", text)
        self.assertIn("| m2 (50% busy) | http.get |", text)
        self.assertTrue(text.endswith("\nA note below.\n"))
        rows = [line.split(" | ")[1] for line in text.splitlines() if "CPU / floor" in line]
        self.assertEqual(rows, ["abc", "def", "abc"])

    def test_shown_by_words(self):
        text = history.append(history.append("", RUN, PARTS), {**RUN, "commit": "def"}, PARTS)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            history.show(text, ["http", "floor"])
        self.assertEqual([line.split()[-5] for line in out.getvalue().splitlines()[2:]], ["abc", "def"])
        self.assertNotIn("Go's", out.getvalue())

    def test_the_projects_own_file_is_one(self):
        path = ROOT / "docs" / "performance-history.md"
        text = path.read_text()
        self.assertGreater(len(history.append(text, RUN, PARTS)), len(text))


class Machine(unittest.TestCase):
    def test_busy_ticks_leave_out_idle_and_waiting_for_disks(self):
        self.assertEqual(machine.parse_stat("cpu  10 1 20 600 300 4 5 60 7 8\ncpu0 1 1 1\n"), (100, 1000))

    def test_description_names_what_figures_depend_on(self):
        text = machine.describe()
        self.assertRegex(text, r"^\d+ × .+, Linux \S+; g\+\+ \d+\.\d+")
        self.assertNotIn("|", text)


if __name__ == "__main__":
    unittest.main()
