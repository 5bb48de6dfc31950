"""Maps of attention as labelled pictures, by matplotlib: the extra `plot`."""

import io
import warnings
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np

from jsl.errors import UsageError
from jsl.messages import Said, say
from jsl.messages import columns as width

# Where Japanese is well drawn, the first that is installed; then whatever has the characters.
FONTS = (
    *("Noto Sans CJK JP", "Noto Sans JP", "Source Han Sans JP", "BIZ UDGothic", "Yu Gothic"),
    *("Meiryo", "MS Gothic", "Hiragino Sans", "Hiragino Kaku Gothic ProN", "IPAexGothic"),
    *("IPAGothic", "TakaoGothic", "VL Gothic", "Droid Sans Fallback"),
)
PLAIN = "DejaVu Sans"  # comes with matplotlib
CELL, COLUMN = 0.36, 0.078  # inches of a square, and of a column of text, of which あ takes two
SPACE = "␣"


def require() -> None:
    """UsageError, naming the extra, if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError(say("heatmaps.extra", command=Said("pip install 'minigrad[plot]'"))) \
            from error  # fmt: skip


def undrawn(texts: Iterable[str]) -> str:
    """The characters of `texts` that no installed font has: they would be drawn as boxes."""
    needed = frozenset("".join(texts))
    return "".join(sorted(needed - _covered(_families(needed))))


@cache
def _paths() -> dict[str, str]:
    """The files of fonts by their family's name, the preferred ones first."""
    from matplotlib import font_manager

    found: dict[str, str] = {}
    for entry in font_manager.fontManager.ttflist:
        if entry.name.startswith("Last Resort"):  # it has a box for every character
            continue
        if entry.style == "normal" and (entry.name not in found or entry.weight in (400, "normal")):
            found[entry.name] = entry.fname
    order = [PLAIN, *(name for name in FONTS if name in found), *sorted(found)]
    return {name: found[name] for name in order if name in found}


@cache
def _characters(path: str) -> frozenset[str]:
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):  # a file that is gone, or broken
        return frozenset()


def _covered(families: Iterable[str]) -> frozenset[str]:
    return frozenset().union(*(_characters(_paths()[name]) for name in families))


@cache
def _families(needed: frozenset[str]) -> tuple[str, ...]:
    """Fonts that have all the characters together, as far as they are installed."""
    chosen: list[str] = []
    for name, path in _paths().items():
        if not (missing := needed - _covered(chosen)):
            break
        if missing & _characters(path):
            chosen.append(name)
    return tuple(chosen)


def pictures(
    weights: np.ndarray, labels: tuple[list[str], list[str]], about: Mapping[str, Any]
) -> dict[str, bytes]:
    """One map as PNG and SVG, by these endings; white is 0 and dark is 1.

    In SVG text stays text, for programs that have the fonts.

    Args:
        weights: (rows, columns).
        labels: of its rows and of its columns.
        about: kind, layer, head, text and group.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = ([SPACE if x == " " else x for x in side] for side in labels)
    title = say(f"heatmaps.{about['kind']}", layer=about["layer"], head=about["head"])
    second = say("heatmaps.of", text=about["text"], group=about["group"])
    families = [*_families(frozenset("".join([*rows, *columns, title, second]))), "sans-serif"]
    # Not the settings that a person may have: pictures are the same for all, to the byte.
    settings: Any = {"font.family": families, "svg.fonttype": "none", "svg.hashsalt": "jsl"}
    upright = all(width(label) <= 2 for label in columns)
    left = 0.25 + COLUMN * max(map(width, rows), default=0)
    above = 0.8 + (2 * COLUMN if upright else COLUMN * max(map(width, columns), default=0))
    wide, high = max(CELL * len(columns), 2.0), max(CELL * len(rows), 0.6)
    across, along = max(left + wide + 0.9, 4.5), above + high + 0.2  # inches
    out: dict[str, bytes] = {}
    with warnings.catch_warnings(), matplotlib.rc_context():
        warnings.simplefilter("ignore")  # of glyphs that are missing `undrawn` tells
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        figure = Figure(figsize=(across, along))
        FigureCanvasAgg(figure)

        def place(x: float, width: float) -> Any:
            return figure.add_axes((x / across, 0.2 / along, width / across, high / along))

        axes, bar = place(left, wide), place(left + wide + 0.2, 0.15)
        mesh = axes.pcolormesh(weights, vmin=0, vmax=1, cmap="Blues", edgecolors="#dddddd",
                               linewidth=0.5)  # fmt: skip
        # (A $ in a label begins no formula.)
        axes.set_xticks(np.arange(len(columns)) + 0.5, columns, parse_math=False)
        axes.set_yticks(np.arange(len(rows)) + 0.5, rows, parse_math=False)
        axes.tick_params(length=0, labelsize=10)
        axes.invert_yaxis()
        axes.xaxis.tick_top()
        for label, name in zip(axes.get_xticklabels(), columns, strict=True):
            label.set_rotation(0 if width(name) <= 2 else 90)
        for n, line in enumerate((title, second)):
            y = 1 - (0.25 + 0.22 * n) / along
            figure.text(0.1 / across, y, line, fontsize=10, parse_math=False)
        figure.colorbar(mesh, cax=bar)
        for ending, made in (("png", {"Software": None}), ("svg", {"Date": None})):
            file = io.BytesIO()
            figure.savefig(file, format=ending, dpi=120, metadata=made)
            out[ending] = file.getvalue()
    return out
