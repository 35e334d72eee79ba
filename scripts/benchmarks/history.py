"""docs/performance-history.md: what `scripts/bench … --record` has measured, a row a figure, newest last.

The file has two tables. "Machines": a key, and the line of machine.describe(). "Figures": a row for each figure of each
recorded run, with the machine's key. Both grow at their end only; what is not a row of theirs is kept as it is.
"""

import re

from benchmarks import figures

START = """\
# Performance: what was measured when

Rows are appended by `scripts/bench SUITE --record`, which refuses to on a machine that others use (`--record=loaded` does it all
the same, and says so in the row). `scripts/bench history [WORD…]` shows how a figure went. What the figures mean, and why some
are missed, is in [performance.md](performance.md).

## Machines

| machine | what it is |
|---|---|

## Figures

| date | commit | machine | part | figure | measured | to reach | |
|---|---|---|---|---|---:|---:|---|
"""


def rows_of(lines, heading):
    """First and last + 1 of the rows of the table below `heading`, by line number."""
    at = lines.index(f"## {heading}")
    while not lines[at].startswith("|---"):
        at += 1
    end = at + 1
    while end < len(lines) and lines[end].startswith("|"):
        end += 1
    return at + 1, end


def cells(row):
    return [cell.strip() for cell in row.strip().strip("|").split("|")]


def machine_key(lines, description):
    """The key of the machine, whose row is added if it is new."""
    first, end = rows_of(lines, "Machines")
    for row in lines[first:end]:
        key, known = cells(row)
        if known == description:
            return key
    key = f"m{end - first + 1}"
    lines.insert(end, f"| {key} | {description} |")
    return key


def figure_row(run, key, part, entry):
    outcome = {"reached": "reached", "MISSED": "**missed**", "": ""}[figures.outcome_text(entry)]
    measured = f"{figures.number(entry['value'])} {entry['unit']}".strip()
    load = f" ({run['busy']:.0%} busy)" if run["loaded"] else ""
    name = entry["figure"].replace("|", "/")
    return (f"| {run['date']} | {run['commit']} | {key}{load} | {part} | {name} | {measured} "
            f"| {figures.target_text(entry)} | {outcome} |")


def append(text, run, parts):
    """The file's text with the figures of `parts` (name: list of figures) behind what it had. `run`: date, commit,
    machine (a description), busy (of all processors, by others), loaded (more than may be)."""
    lines = (text or START).rstrip("\n").split("\n")
    key = machine_key(lines, run["machine"])
    _, end = rows_of(lines, "Figures")
    lines[end:end] = [figure_row(run, key, part, entry) for part, entries in parts.items() for entry in entries]
    return "\n".join(lines) + "\n"


def show(text, words):
    """How each figure went whose part or name has all the words: one row a figure, the runs in their order."""
    lines = (text or START).split("\n")
    first, end = rows_of(lines, "Figures")
    found = {}
    for row in lines[first:end]:
        date, commit, machine, part, name, measured, target, _ = cells(row)
        if all(re.search(re.escape(word), f"{part} {name}", re.I) for word in words):
            found.setdefault((part, name), []).append((date, commit, machine, measured, target))
    rows = [("part", "figure", "date", "commit", "machine", "measured", "to reach")]
    for (part, name), runs in found.items():
        for position, (date, commit, machine, measured, target) in enumerate(runs):
            rows.append((*((part, name) if position == 0 else ("", "")), date, commit, machine, measured, target))
    figures.table(rows)
