"""What wrong numbers have in common with the right ones: a sign, a factor, a sum that is
missing."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from minigrad.study.exercises.comparing import arrays, near


class Pair(NamedTuple):
    """Numbers that are wrong and what they should be; whether in float32; the arguments."""

    yours: np.ndarray
    right: np.ndarray
    narrow: bool
    args: dict[str, Any]


Test = Callable[[np.ndarray, np.ndarray, Pair], Any]  # of what is yours and what is right


def relation(pairs: Sequence[Pair]) -> tuple[str, dict[str, Any]]:
    """The key of what all wrong numbers have in common with the right ones, and its fields."""

    def every(test: Test) -> bool:
        return all(bool(test(pair.yours, pair.right, pair)) for pair in pairs)

    if every(_transposed):
        return "transposed", {}
    if any(pair.yours.shape != pair.right.shape for pair in pairs):
        return next((key for key, test in SHAPES.items() if every(test)), "shape"), {}
    for key, test in NUMBERS.items():
        if every(test):
            return key, {}
    if every(lambda y, r, pair: "g" in pair.args and _outer(y, r, pair)):
        return "outer", {}
    ratios = [_ratio(pair.yours, pair.right, pair.narrow) for pair in pairs]
    if all(ratio is not None for ratio in ratios):
        found = [float(ratio) for ratio in ratios if ratio is not None]
        if max(found) - min(found) <= 1e-3 * abs(found[0]):
            return "factor", {"times": found[0]}
        whole = [c if abs(c) > 1 else 1 / c for c in found]
        if all(round(c) in _lengths(pair) for c, pair in zip(whole, pairs, strict=True)):
            return ("times_n" if abs(found[0]) > 1 else "over_n"), {"n": round(whole[0])}
    return "value", {}


def times(c: float, lang: str) -> str:
    """'twice', 'half' or '1.5 times', in a language."""
    for number, text in (
        (2.0, {"en": "twice", "ja": " 2 倍"}),
        (0.5, {"en": "half", "ja": "半分"}),
    ):
        if abs(c - number) < 1e-3:
            return text[lang]
    return f"{c:.4g} times" if lang == "en" else f" {c:.4g} 倍"


def _transposed(y: np.ndarray, r: np.ndarray, pair: Pair) -> bool:
    return y.ndim > 1 and any(near(t, r, pair.narrow) for t in (y.swapaxes(-1, -2), y.T))


def _ratio(y: np.ndarray, r: np.ndarray, narrow: bool) -> float | None:
    """The number that `r` is to be multiplied with to give `y`, if there is one."""
    y, r = y.astype(np.float64), r.astype(np.float64)
    size = float((r * r).sum())
    c = float((y * r).sum()) / size if size and np.isfinite(y).all() else 0.0
    return c if c and near(y, c * r, narrow) else None


def _lengths(pair: Pair) -> set[int]:
    """The lengths of axes, and the sizes, of the arrays that came in."""
    return {n for a in arrays(pair.args) for n in (a.size, *a.shape)}


def _outer(y: np.ndarray, r: np.ndarray, pair: Pair) -> bool:
    g = np.asarray(pair.args["g"])
    try:
        return near(np.asarray(y * g), r, pair.narrow)
    except ValueError:
        return False


def _summed(g: np.ndarray, shape: tuple[int, ...], mean: bool = False) -> np.ndarray | None:
    """`g` summed to `shape`, to which it was broadcast; None if it was not."""
    lead = g.ndim - len(shape)
    if lead < 0 or any(n not in (1, m) for n, m in zip(shape, g.shape[lead:], strict=True)):
        return None
    axes = tuple(i for i in range(g.ndim) if i < lead or shape[i - lead] != g.shape[i])
    return (g.mean(axes) if mean else g.sum(axes)).reshape(shape)


def _is_summed(y: np.ndarray, r: np.ndarray, pair: Pair, mean: bool = False) -> bool:
    summed = _summed(y, r.shape, mean)
    return summed is not None and near(summed, r, pair.narrow)


def _only(i: int) -> Test:
    """A test whether only the first, or the last, elements along an axis are there."""

    def test(y, r, pair):
        for axis in range(r.ndim):
            rest = np.delete(y, i, axis)
            kept = near(np.take(y, i, axis), np.take(r, i, axis), pair.narrow)
            if rest.size and not rest.any() and kept:
                return True
        return False

    return test


SHAPES: dict[str, Test] = {
    "axes": lambda y, r, pair: (
        y.size == r.size
        and [n for n in y.shape if n > 1] == [n for n in r.shape if n > 1]
        and near(y.reshape(r.shape), r, pair.narrow)
    ),
    "not_summed": _is_summed,
    "not_averaged": lambda y, r, pair: _is_summed(y, r, pair, mean=True),
    "over_summed": lambda y, r, pair: (
        (summed := _summed(r, y.shape)) is not None and near(y, summed, pair.narrow)
    ),
}

NUMBERS: dict[str, Test] = {
    "nan": lambda y, r, pair: (np.isnan(y) & ~np.isnan(r)).any(),
    "infinite": lambda y, r, pair: (np.isinf(y) & np.isfinite(r)).any(),
    "zeros": lambda y, r, pair: not y.any(),
    "integers": lambda y, r, pair: (
        y.dtype.kind in "iu" and near(y, np.trunc(r).astype(int), pair.narrow)
    ),
    "sign": lambda y, r, pair: near(y, -r, pair.narrow),
    "absolute": lambda y, r, pair: near(y, np.abs(r), pair.narrow),
    "reversed": lambda y, r, pair: r.ndim == 1 and near(y[::-1], r, pair.narrow),
    "first_only": _only(0),
    "last_only": _only(-1),
    "squared": lambda y, r, pair: near(y, r * r, pair.narrow),
    "inverse": lambda y, r, pair: r.all() and near(y, 1 / r, pair.narrow),
    "offset": lambda y, r, pair: (
        r.size > 1 and np.ptp(y - r) <= 1e-6 * np.abs(y - r).max() and np.isfinite(y).all()
    ),
    "imprecise": lambda y, r, pair: np.allclose(y, r, 1e-3, 1e-3 * np.abs(r).max(initial=0)),
}
