"""Verify, warm up, then time side by side: medians, and the median of the ratios.

Machines are noisy, and noise comes in spells. So the candidates take turns within one run, and the
figure to quote is the median over the rounds of the ratio within a round.

A benchmark is a module with a `main` that reads `parser`, verifies, measures, and ends in `finish`.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import minigrad
from benchmarks import summary

RESULTS = Path(__file__).parent / "results"
TABLES = Path(__file__).parent / "README.md"
README = Path(__file__).parent.parent / "README.md"  # has the summary only


@dataclass(frozen=True)
class Timing:
    """Seconds a call, one number for each round."""

    name: str
    rounds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    def ratio(self, other: "Timing") -> float:
        """How many times as long `self` takes as `other`: the median over the rounds."""
        return statistics.median(a / b for a, b in zip(self.rounds, other.rounds, strict=True))


def measure(
    candidates: dict[str, Callable[[], Any]],
    *,
    rounds: int = 15,
    seconds: float = 0.2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time each candidate in turn, `rounds` times, each for about `seconds` of `clock`.

    The candidates must have been verified to do the same work.
    """
    calls = {}
    for name, call in candidates.items():
        call()
        began = clock()
        call()
        calls[name] = max(1, int(seconds / max(clock() - began, 1e-9)))
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, call in candidates.items():
            began = clock()
            for _ in range(calls[name]):
                call()
            found[name].append((clock() - began) / calls[name])
    return {name: Timing(name, times) for name, times in found.items()}


def machine() -> dict[str, Any]:
    """What the figures were measured on and with."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "minigrad": minigrad.__version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def on_the_host() -> None:
    """Measure on the processor, also where there is a GPU, and in the processes that are started.

    So do the peers beside it. `benchmarks.gpu` is what measures a GPU.
    """
    if os.environ.get("MINIGRAD_BACKEND") != "numpy":
        backend = minigrad.backend.choice().name
        os.environ["MINIGRAD_BACKEND"] = "numpy"
        if backend != "numpy":
            print(
                f"On the processor; there is {backend}, which `python -m benchmarks.gpu` measures"
            )
    os.environ.setdefault("JAX_PLATFORMS", "cpu")


def no_device() -> str:
    """Why there is nothing that `benchmarks.gpu` could measure; "" where there is a GPU."""
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed (pip install -e '.[cuda13]' or '.[cuda12]')"
    try:
        cupy.cuda.runtime.getDeviceProperties(0)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy finds no CUDA device ({error})"
    return ""


def parser(
    doc: str, *, rounds: int, threads: int | None = None, host: bool = True
) -> argparse.ArgumentParser:
    """The options that benchmarks share; `doc` is the module's docstring.

    Args:
        rounds: how many by default.
        threads: how many by default; None for a benchmark where that is no question.
        host: whether it measures the processor, see `on_the_host`.
    """
    if host:
        on_the_host()
    found = argparse.ArgumentParser(description=doc.splitlines()[0])
    found.add_argument("--rounds", type=int, default=rounds, help=f"(default {rounds})")
    if threads is not None:
        found.add_argument("--threads", type=int, default=threads, help=f"(default {threads})")
    found.add_argument("--save", action="store_true", help="write results/ and README.md's tables")
    found.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    return found


def finish(
    name: str,
    rows: list[dict[str, Any]],
    options: argparse.Namespace,
    notes: list[str] | None = None,
    **more: Any,
) -> None:
    """Print the rows, and keep them where the options say.

    Args:
        notes: sentences that belong under the table.
        more: what else to keep beside the rows, such as versions of peers.
    """
    print("\n\n".join([table(rows), *(notes or [])]), flush=True)
    if notes:
        more["notes"] = notes
    if options.json:
        keep(options.json, name, rows, **more)
    if options.save:
        print(f"\nwritten: {write(name, rows, **more)}")


def keep(path: Path, name: str, rows: list[dict[str, Any]], **more: Any) -> None:
    """Write rows to a file, with the machine's description."""
    _save_json(path, _described(name, rows, more))


def _described(name: str, rows: list[dict[str, Any]], more: dict[str, Any]) -> dict[str, Any]:
    return {"benchmark": name, "machine": machine(), **more, "rows": rows}


def write(name: str, rows: list[dict[str, Any]], **more: Any) -> Path:
    """Save rows as `results/<name>.json` with the machine's description, and in the tables."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    value = _described(name, rows, more)
    _save_json(path, value)
    _replace(TABLES, name, shown(value))
    if name in {line.benchmark for line in summary.LINES}:
        _replace(README, "summary", summed_up())
    return path


def shown(value: dict[str, Any]) -> str:
    """What `benchmarks/README.md` shows of a file of results."""
    place = summary.place(value["machine"])
    if "device" in value:
        place = f"{value['device']}; {place}"
    return "\n\n".join([table(value["rows"]), *value.get("notes", []), f"({place})"])


def summed_up() -> str:
    """What `README.md` shows of all files of results."""
    files = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(RESULTS.glob("*.json"))]
    rows, where = summary.summary({value["benchmark"]: value for value in files})
    return f"{table(rows)}\n\n({where})" if rows else "(No peer was installed.)"


def _replace(page: Path, name: str, content: str) -> None:
    """Put `content` where a page has the table of that name."""
    text = page.read_text(encoding="utf-8")
    begin, end = f"<!-- table: {name} -->\n", "<!-- end -->"
    before, after = text.split(begin)
    _save_text(page, f"{before}{begin}{content}\n{after[after.index(end) :]}")


def _save_json(path: Path, value: Any) -> None:
    _save_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _save_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def table(rows: list[dict[str, Any]]) -> str:
    """Rows of figures as a Markdown table; without rows, nothing."""
    if not rows:
        return ""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([_cell(row[k]) for k in head] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
