"""A line through samples by least squares, and whether it rises. Used by scripts/soak.

The samples of one process are not independent: memory that was high a moment ago is high now. Taken as independent they
would make a wandering figure look like growth, so the error is widened by the correlation of neighbouring residuals: n
samples with correlation r are worth n (1 - r) / (1 + r) independent ones.
"""

import math
import typing

SIGNIFICANT_ERRORS = 3.0


class Line(typing.NamedTuple):
    slope: float  # a second
    error: float  # standard error of the slope
    span: float  # seconds between the first and the last sample


def fit(points):
    """The line through `points`, (seconds, value) pairs in order of time; at least four."""
    count = len(points)
    if count < 4:
        raise ValueError("four samples are needed for a line and its error")
    mean_at = sum(at for at, _ in points) / count
    mean_value = sum(value for _, value in points) / count
    spread = sum((at - mean_at) ** 2 for at, _ in points)
    slope = sum((at - mean_at) * (value - mean_value) for at, value in points) / spread
    residuals = [value - mean_value - slope * (at - mean_at) for at, value in points]
    squares = sum(residual**2 for residual in residuals)
    neighbours = sum(before * after for before, after in zip(residuals, residuals[1:]))
    correlation = min(0.95, max(0.0, neighbours / squares)) if squares > 0 else 0.0
    worth = (1 + correlation) / (1 - correlation)
    error = math.sqrt(squares / (count - 2) / spread * worth)
    return Line(slope, error, points[-1][0] - points[0][0])


def grows(line, matters):
    """Whether `line` certainly rises, and by at least `matters` over its span."""
    return line.slope - SIGNIFICANT_ERRORS * line.error > 0 and line.slope * line.span >= matters
