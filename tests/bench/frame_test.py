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
from benchmarks import figures, history, machine  # noqa: E402: the path above

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
