"""How figures are printed: ratios with their goals first, then what they were computed from."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil


def judged(value: float, *, least: float | None = None, most: float | None = None, unit: str = "") -> str:
    """A figure beside its goal: `ok`, or `MISSED`. Without a goal the figure alone."""
    shown = f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    if least is not None:
        return f"{shown}{unit} (goal: at least {least:g}{unit}, {'ok' if value >= least else 'MISSED'})"
    if most is not None:
        return f"{shown}{unit} (goal: at most {most:g}{unit}, {'ok' if value <= most else 'MISSED'})"
    return f"{shown}{unit}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under their names: the first to the left, the others to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed: the nearest rank, so always one that was measured."""
    # Rounded first: 200 times 0.99 is a little more than 198.
    rank = ceil(round(len(values) * share, 6))
    return sorted(values)[max(rank, 1) - 1]


def median(values: Sequence[float]) -> float:
    return percentile(values, 0.5)
