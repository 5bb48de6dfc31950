"""Pictures of numbers, for chapters: text in a terminal, SVG in a page.

    heat(matrix)        a matrix as shades
    lines({name: ys})   curves
    graph(edges)        boxes, and arrows between them

Called in a program they print the picture as text. While the book runs a chapter they are handed to
it instead (`handed_to`).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

__all__ = ["Graph", "Heat", "Lines", "Picture", "blocks", "graph", "handed_to", "heat", "lines"]

SHADES = " .:-=+*#%@"  # plain characters, whose width is one in every font
MARKS = "*o+x#@"
COLORS = ("#4477aa", "#ee6677", "#228833", "#b8860b", "#aa3377", "#008b9b")  # Paul Tol's, darker
MOST = 64  # rows and columns that are drawn of a matrix; of more, means of blocks


@dataclass(frozen=True)
class Picture:
    """Something that can be shown as text and as SVG."""

    title: str

    def text(self) -> str:
        """Lines of plain characters, at most 80 wide unless names are long."""
        raise NotImplementedError

    def svg(self) -> str:
        """An <svg> element; what is not data has the color of the text around it."""
        raise NotImplementedError

    def __rich_console__(self, console: Any, _options: Any) -> Iterator[Any]:
        """What rich prints of it: the text, or something with colors."""
        from rich.text import Text

        yield Text(self.text())


_receiver: ContextVar[Callable[[Picture], Any] | None] = ContextVar("receiver", default=None)


@contextmanager
def handed_to(receiver: Callable[[Picture], Any]) -> Iterator[None]:
    """Inside the `with` block, give pictures to `receiver` and print nothing."""
    token = _receiver.set(receiver)
    try:
        yield
    finally:
        _receiver.reset(token)


def _show(picture: Picture) -> None:
    receiver = _receiver.get()
    if receiver is None:
        print(picture.text())
    else:
        receiver(picture)


# ------------------------------------------------------------------------------------------ heat


@dataclass(frozen=True)
class Heat(Picture):
    """A matrix as shades, the smallest number lightest; signs have colors in SVG."""

    matrix: np.ndarray

    def range(self) -> tuple[float, float]:
        finite = self.matrix[np.isfinite(self.matrix)]
        return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)

    def text(self) -> str:
        rows = blocks(self.matrix, 32, 38)
        low, high = self.range()
        lines = [self.title] if self.title else []
        for row in rows:
            lines.append("|" + "".join(2 * _shade(x, low, high) for x in row) + "|")
        scale = f"{low:.4g}" if low == high else f"{low:.4g} {SHADES.strip()} {high:.4g}"
        return "\n".join([*lines, scale])

    def __rich_console__(self, console: Any, _options: Any) -> Iterator[Any]:
        from rich.text import Text

        if console.color_system is None:
            yield Text(self.text())
            return
        low, high = self.range()
        shown = Text(f"{self.title}\n" if self.title else "")
        for row in blocks(self.matrix, 32, 36):
            for x in row:
                shown.append("  ", style=f"on {color(x, low, high)}")
            shown.append("\n")
        yield shown.append(f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}")

    def svg(self) -> str:
        rows = blocks(self.matrix, MOST, MOST)
        low, high = self.range()
        size = max(6, min(28, 560 // max(1, rows.shape[1])))
        top, parts = 20 if self.title else 2, []
        for i, row in enumerate(rows):
            for j, x in enumerate(row):
                said = f"<title>[{i}, {j}] {x:.4g}</title>" if rows.size <= 1024 else ""
                parts.append(
                    f'<rect x="{2 + j * size}" y="{top + i * size}" width="{size}" height="{size}" '
                    f'fill="{color(x, low, high)}">{said}</rect>'
                )
        height = top + len(rows) * size
        scale = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
        parts.append(_svg_text(2, height + 16, scale, 12))
        width = max(4 + rows.shape[1] * size, 8 * max(len(self.title), len(scale)))
        return _svg(self, width, height + 24, parts)


def heat(matrix: Any, title: str = "") -> None:
    """Show a matrix (R, C), or a vector as one row, as shades between its least and its greatest.

    Raises:
        ValueError: it has no elements, or more than two axes.
    """
    found = np.asarray(matrix)
    if found.ndim == 1:
        found = found[None]
    if found.ndim != 2 or not found.size:
        raise ValueError(
            f"heat: expected a matrix with numbers in it, got shape {found.shape}; show one matrix "
            f"of it, as x[0]"
        )
    _show(Heat(title, found.astype(float)))


def blocks(matrix: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The matrix, or where it is larger the means of blocks, `rows` and `columns` at most."""
    down, across = (-(-n // most) for n, most in zip(matrix.shape, (rows, columns), strict=True))
    if down == across == 1:
        return matrix
    return np.array(
        [
            [matrix[i : i + down, j : j + across].mean() for j in range(0, matrix.shape[1], across)]
            for i in range(0, matrix.shape[0], down)
        ]
    )


def _shade(x: float, low: float, high: float) -> str:
    if not math.isfinite(x):
        return "?"
    if low == high:
        return SHADES[len(SHADES) // 2]
    return SHADES[round((x - low) / (high - low) * (len(SHADES) - 1))]


def color(x: float, low: float, high: float) -> str:
    """Blue above zero, red below, white at zero, black where it is no number.

    Between numbers of one sign, as pale as the smallest and as strong as the greatest in size.
    """
    if not math.isfinite(x):
        return "#000000"
    most = max(abs(low), abs(high))
    least = 0.0 if low <= 0 <= high else min(abs(low), abs(high)) * 0.9
    share = 0.0 if most == 0 else min(1.0, (abs(x) - least) / (most - least))
    strong = (33, 102, 172) if x >= 0 else (178, 24, 43)
    return "#" + "".join(f"{round(255 + (c - 255) * share):02x}" for c in strong)


# ----------------------------------------------------------------------------------------- lines


@dataclass(frozen=True)
class Lines(Picture):
    """Curves over 0, 1, 2 ..., and a legend."""

    series: dict[str, list[float]]

    def range(self) -> tuple[float, float]:
        finite = [y for ys in self.series.values() for y in ys if math.isfinite(y)]
        low, high = min(finite, default=0.0), max(finite, default=1.0)
        return (low, high) if low < high else (low - 0.5, high + 0.5)

    def text(self) -> str:
        width, height = 60, 12
        low, high = self.range()
        longest = max(map(len, self.series.values()))
        field = [[" "] * width for _ in range(height)]
        for mark, ys in zip(_cycle(MARKS), self.series.values(), strict=False):
            for i, y in _points(ys, width, longest):
                field[round((high - y) / (high - low) * (height - 1))][i] = mark
        ends = {0: f"{high:.4g}", height - 1: f"{low:.4g}"}
        pad = max(map(len, ends.values()))
        lines = [self.title] if self.title else []
        lines += [
            f"{ends.get(i, ''):>{pad}} |{''.join(row)}".rstrip() for i, row in enumerate(field)
        ]
        lines.append(f"{'':{pad}} +{'-' * width}")
        lines.append(f"{'':{pad}}  0{longest - 1:>{width - 1}}")
        named = zip(_cycle(MARKS), self.series, strict=False)
        return "\n".join([*lines, "  ".join(f"{mark} {name}" for mark, name in named)])

    def svg(self) -> str:
        low, high = self.range()
        longest = max(map(len, self.series.values()))
        left, top, width, height = 76, 24 if self.title else 8, 480, 200
        parts = [
            f'<path d="M{left} {top}v{height}h{width}" fill="none" stroke="currentColor"/>',
            _svg_text(left - 6, top + 10, f"{high:.4g}", 12, "end"),
            _svg_text(left - 6, top + height, f"{low:.4g}", 12, "end"),
            _svg_text(left, top + height + 16, "0", 12),
            _svg_text(left + width, top + height + 16, str(longest - 1), 12, "end"),
        ]
        at = left
        for hue, (name, ys) in zip(_cycle(COLORS), self.series.items(), strict=False):
            points = [
                (left + width * i / max(1, longest - 1), top + height * (high - y) / (high - low))
                for i, y in enumerate(ys)
                if math.isfinite(y)
            ]
            drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(
                f'<polyline points="{drawn}" fill="none" stroke="{hue}" stroke-width="2"/>'
            )
            if len(points) <= 20:
                parts += [
                    f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{hue}"/>' for x, y in points
                ]
            y = top + height + 38
            parts.append(f'<path d="M{at} {y - 4}h18" stroke="{hue}" stroke-width="3"/>')
            parts.append(_svg_text(at + 24, y, name, 13))
            at += 44 + 8 * len(name)
        return _svg(self, max(left + width + 10, at), top + height + 48, parts)


def lines(series: Mapping[str, Iterable[float]], title: str = "") -> None:
    """Show curves {name: [y, ...]}; what is not finite is left out.

    Raises:
        ValueError: there is nothing to draw.
    """
    found = {str(name): [float(y) for y in ys] for name, ys in series.items()}
    if not any(found.values()):
        raise ValueError("lines: expected {name: [y, ...]} with numbers in it, got none")
    _show(Lines(title, found))


def _points(ys: Sequence[float], width: int, longest: int) -> Iterator[tuple[int, float]]:
    """(column, y) for each number of a curve, spread over `width` columns."""
    for i, y in enumerate(ys):
        if math.isfinite(y):
            yield (round(i / (longest - 1) * (width - 1)) if longest > 1 else 0), y


def _cycle(items: Sequence[str]) -> Iterator[str]:
    while True:
        yield from items


# ----------------------------------------------------------------------------------------- graph


@dataclass(frozen=True)
class Graph(Picture):
    """Boxes in layers from left to right, an arrow for each edge."""

    edges: list[tuple[str, str]]
    layers: list[list[str]] = field(compare=False)

    def text(self) -> str:
        into: dict[str, list[str]] = {}
        for a, b in self.edges:
            into.setdefault(b, []).append(a)
        order = [name for layer in self.layers for name in layer if name in into]
        rows = [(", ".join(into[name]), name) for name in order]
        width = max(len(row[0]) for row in rows)
        return "\n".join(
            [*([self.title] if self.title else []), *(f"{a:>{width}} -> {b}" for a, b in rows)]
        )

    def svg(self) -> str:
        top, gap, tall = 28 if self.title else 8, 56, 28
        # An edge past layers has a place in each of them, so that it crosses no box.
        layers: list[list[Any]] = [list(layer) for layer in self.layers]
        depth = {name: i for i, layer in enumerate(layers) for name in layer}
        ways: list[list[Any]] = []
        for k, (a, b) in enumerate(self.edges):
            between = range(depth[a] + 1, depth[b])
            for i in between:
                layers[i].append((k, i))
            ways.append([a, *((k, i) for i in between), b])
        rows = max(map(len, layers))
        boxes: dict[Any, tuple[float, float, float]] = {}  # left, middle, width
        left = 8.0
        for layer in layers:
            wide = max(8.0 * len(name) + 20 for name in layer if isinstance(name, str))
            for i, name in enumerate(layer):
                middle = top + (i + (rows - len(layer)) / 2) * 44 + tall / 2
                boxes[name] = (left, middle, wide)
            left += wide + gap
        parts = [
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="currentColor"/>'
            "</marker></defs>"
        ]
        for k, way in enumerate(ways):
            twin = self.edges[:k].count(self.edges[k]) * 8  # the same edge again lies beside it
            x, y, wide = boxes[way[0]]
            drawn = f"M{x + wide:.0f} {y + twin:.0f}"
            for place in way[1:]:
                (to, end, next_wide), start = boxes[place], x + wide
                bend = (to - start) / 2
                drawn += (
                    f"C{start + bend:.0f} {y + twin:.0f} {to - bend:.0f} {end + twin:.0f} "
                    f"{to:.0f} {end + twin:.0f}"
                )
                if not isinstance(place, str):
                    drawn += f"H{to + next_wide:.0f}"
                x, y, wide = to, end, next_wide
            parts.append(
                f'<path d="{drawn}" fill="none" stroke="currentColor" marker-end="url(#arrow)"/>'
            )
        for name, (x, y, wide) in boxes.items():
            if isinstance(name, str):
                parts.append(
                    f'<rect x="{x:.0f}" y="{y - tall / 2:.0f}" width="{wide:.0f}" '
                    f'height="{tall}" rx="6" fill="{COLORS[0]}" fill-opacity="0.18" '
                    f'stroke="{COLORS[0]}"/>'
                )
                parts.append(_svg_text(x + wide / 2, y + 5, name, 14, "middle"))
        return _svg(self, left - gap + 8, top + rows * 44, parts)


def graph(edges: Iterable[tuple[str, str]], title: str = "") -> None:
    """Show edges [(from, to), ...] as boxes in layers, each behind all that lead to it.

    Raises:
        ValueError: there are no edges, or they run in a circle.
    """
    found = [(str(a), str(b)) for a, b in edges]
    if not found:
        raise ValueError("graph: expected edges [(from, to), ...], got none")
    _show(Graph(title, found, _layers(found)))


def _layers(edges: list[tuple[str, str]]) -> list[list[str]]:
    """The names by the length of the longest path that leads to them."""
    names = list(dict.fromkeys(name for edge in edges for name in edge))
    depth = dict.fromkeys(names, 0)
    for _ in names:
        before = dict(depth)
        for a, b in edges:
            depth[b] = max(depth[b], depth[a] + 1)
        if depth == before:
            return [[n for n in names if depth[n] == k] for k in range(max(depth.values()) + 1)]
    raise ValueError("graph: the edges run in a circle; a graph of computations has none")


# ------------------------------------------------------------------------------------------- svg


def _svg_text(x: float, y: float, text: str, size: int, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="currentColor">{escape(text)}</text>'
    )


def _svg(picture: Picture, width: float, height: float, parts: list[str]) -> str:
    label = escape(picture.title or type(picture).__name__.lower())
    title = [_svg_text(2, 14, picture.title, 14)] if picture.title else []
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{label}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'font-family="system-ui, sans-serif">{"".join([*title, *parts])}</svg>'
    )
