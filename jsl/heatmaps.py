"""Maps of attention as labelled pictures, by matplotlib: the extra `plot`."""

import io
import os
import warnings
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np

from jsl.errors import UsageError
from jsl.messages import Said, say

# Where Japanese is well drawn, the first that is installed; then whatever has the characters.
FONTS = (
    *("Noto Sans CJK JP", "Noto Sans JP", "Source Han Sans JP", "BIZ UDGothic", "Yu Gothic"),
    *("Meiryo", "MS Gothic", "Hiragino Sans", "Hiragino Kaku Gothic ProN", "IPAexGothic"),
    *("IPAGothic", "TakaoGothic", "VL Gothic", "Droid Sans Fallback"),
)
PLAIN = "DejaVu Sans"  # comes with matplotlib
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


def picture(
    weights: np.ndarray,
    labels: tuple[list[str], list[str]],
    about: Mapping[str, Any],
    ending: str,
) -> bytes:
    """One map as a picture; white is 0 and dark is 1.

    Args:
        weights: (rows, columns).
        labels: of its rows and of its columns.
        about: kind, layer, head, text and group.
        ending: 'png' or 'svg'. In SVG text stays text, for programs that have the fonts.
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
    wide = 1.8 + 0.42 * len(columns) + 0.12 * max(map(len, rows), default=0)
    high = 1.6 + 0.36 * len(rows) + 0.12 * max(map(len, columns), default=0)
    with warnings.catch_warnings(), matplotlib.rc_context():
        warnings.simplefilter("ignore")  # of glyphs that are missing `undrawn` tells
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        figure = Figure(figsize=(max(wide, 4.5), max(high, 3)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        mesh = axes.pcolormesh(weights, vmin=0, vmax=1, cmap="Blues", edgecolors="#dddddd",
                               linewidth=0.5)  # fmt: skip
        # (A $ in a label begins no formula.)
        axes.set_xticks(np.arange(len(columns)) + 0.5, columns, parse_math=False)
        for label in axes.get_xticklabels():
            label.set_rotation(90 if len(label.get_text()) > 2 else 0)
        axes.set_yticks(np.arange(len(rows)) + 0.5, rows, parse_math=False)
        axes.tick_params(length=0)
        axes.invert_yaxis()
        axes.xaxis.tick_top()
        axes.set_title(f"{title}\n{second}", fontsize=10, parse_math=False)
        figure.colorbar(mesh, ax=axes)
        out = io.BytesIO()
        made = {"Date": None} if ending == "svg" else {"Software": None}
        figure.savefig(out, format=ending, dpi=120, metadata=made)
    return out.getvalue().replace(os.linesep.encode(), b"\n") if ending == "svg" else out.getvalue()
