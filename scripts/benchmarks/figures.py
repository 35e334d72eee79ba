"""What a benchmark gives: figures, each with what is to be reached beside it; and tables.

A part of a suite returns {"figures": [figure, …], …}: what else is in it goes into the JSON file as it is.
"""


def figure(name, value, unit="", target=None, at_most=True):
    """`target`: what `value` is to be at most, or with at_most=False at least; None: nothing is asked of it."""
    reached = None if target is None else (value <= target if at_most else value >= target)
    return {"figure": name, "value": value, "unit": unit, "target": target, "at_most": at_most, "reached": reached}


def verdict(name, value, target, at_most=True, unit=""):
    """A figure of which something is asked."""
    return figure(name, value, unit, target, at_most)


def number(value):
    """For reading: three digits that count, none of them behind the point of a large number."""
    if value == 0 or value == int(value) and abs(value) < 1e6:
        return f"{value:.0f}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


def target_text(entry):
    return "" if entry["target"] is None else f"{'≤' if entry['at_most'] else '≥'} {number(entry['target'])}"


def ratio_text(entry):
    """The value in parts of its target."""
    return f"{entry['value'] / entry['target']:.2f}" if entry["target"] else ""


def outcome_text(entry):
    return {None: "", True: "reached", False: "MISSED"}[entry["reached"]]


def table(rows, file=None):
    """Prints rows of equal length, of which the first is the heading."""
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    for position, row in enumerate(rows):
        cells = [str(cell).ljust(w) if i == 0 else str(cell).rjust(w) for i, (cell, w) in enumerate(zip(row, widths))]
        print("  ".join(cells).rstrip(), file=file)
        if position == 0:
            print("  ".join("-" * w for w in widths), file=file)


def figures_table(figures):
    table([("figure", "measured", "unit", "to reach", "of it", "")] + [
        (f["figure"], number(f["value"]), f["unit"], target_text(f), ratio_text(f), outcome_text(f)) for f in figures])
