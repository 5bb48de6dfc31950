"""The README's six lines, taken from the results of the benchmarks.

Some are lines where ours is behind: a table of nothing but victories says little.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """One line.

    Attributes:
        what: was measured, in words.
        benchmark: whose results have it.
        found: from their rows: our time, the peer's, and the peer's over ours; None if they have
            none of the peer, which was not installed.
        unit: of the times.
        peer: its name.
    """

    what: str
    benchmark: str
    found: Callable[[list[Row]], tuple[float, float, float] | None]
    unit: str
    peer: str


def pair(case: str, theirs: str, ours: str = "minigrad") -> Callable:
    """From a table with a row for each library: those two rows of a case."""

    def found(rows: list[Row]) -> tuple[float, float, float] | None:
        cases = [tuple(row.values()) for row in rows]
        at = {library: values for name, library, *values in cases if name == case}
        return (at[ours][0], *at[theirs][:2]) if theirs in at else None

    return found


def chain(name: str) -> Callable:
    """From the table of what an op costs, which has both libraries in a row."""

    def found(rows: list[Row]) -> tuple[float, float, float] | None:
        [row] = [row for row in rows if row["chain of"] == name]
        return row["forward, us an op"], row["PyTorch"], 1 / row["ratio"]

    return found


FUSED = "PyTorch, fused Adam"
LINES = (
    Line("training step, the translator", "train_step", pair("as trained", FUSED), "ms", "PyTorch"),
    Line("training step, a large translator", "train_step", pair("large", FUSED), "ms", "PyTorch"),
    Line("training step, a network for MNIST", "images", pair("MNIST", FUSED), "ms", "PyTorch"),
    Line(
        "translating a sentence, large", "decode",
        pair("large, one sentence", "CTranslate2"), "ms", "CTranslate2",
    ),
    Line(
        "translating 32 sentences, large, int8", "decode",
        pair("large, 32 sentences", "CTranslate2, int8, split", "minigrad, int8"),
        "ms", "CTranslate2",
    ),
    Line("one small op by itself, `relu(x)`", "overhead", chain("relu(x)"), "us", "PyTorch"),
)  # fmt: skip


def summary(results: dict[str, Any]) -> tuple[list[Row], str]:
    """Rows of the table, and what they were measured on.

    Args:
        results: the files of results by the names of benchmarks; what is missing has no rows.
    """
    rows: list[Row] = []
    places: dict[str, list[int]] = {}
    for line in LINES:
        if line.benchmark not in results:
            continue
        result = results[line.benchmark]
        if (times := line.found(result["rows"])) is None:
            continue
        ours, theirs, ratio = times
        rows.append(
            {
                "what": line.what,
                "minigrad": f"{ours:.3g} {line.unit}",
                "beside": f"{theirs:.3g} {line.unit}, {line.peer}",
                "times ours": ratio,
            }
        )
        places.setdefault(place(result["machine"]), []).append(len(rows))
    if len(places) < 2:
        return rows, "".join(places)
    numbered = (f"{_lines(numbers)}: {where}" for where, numbers in places.items())
    return rows, "; ".join(numbered)


def _lines(numbers: list[int]) -> str:
    """'line 6', 'lines 1, 3', 'lines 1 to 5'"""
    if len(numbers) > 2 and numbers == [*range(numbers[0], numbers[-1] + 1)]:
        return f"lines {numbers[0]} to {numbers[-1]}"
    return f"line{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def place(machine: dict[str, Any]) -> str:
    return f"{machine['processor']}, {machine['cores']} cores"
