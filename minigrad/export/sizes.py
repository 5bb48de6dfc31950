"""Lengths that differ from call to call, and numbers that follow from them.

A model is recorded at several sizes of its inputs. A number that is not the same in all recordings
is taken for a formula of the sizes, such as `2*batch*length` or `length + 1`; one that fits some
recordings but not the others is none.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from minigrad.errors import ExportError

Sizes = Mapping[str, int]  # the length that each name has in one recording


class Size:
    """A sum of products of named lengths, with whole factors; it is no constant.

    Args:
        terms: {names that are multiplied, sorted: factor}; () is the constant.
    """

    def __init__(self, terms: Mapping[tuple[str, ...], int]):
        longest_first = sorted(terms.items(), key=lambda term: (-len(term[0]), term[0]))
        self.terms = {names: n for names, n in longest_first if n}

    @property
    def names(self) -> set[str]:
        return {name for names in self.terms for name in names}

    def at(self, sizes: Sizes) -> int:
        """Its value for given lengths."""
        return sum(n * math.prod(sizes[name] for name in names) for names, n in self.terms.items())

    def __eq__(self, other: object) -> bool:
        return type(other) is Size and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(tuple(self.terms.items()))

    def __str__(self) -> str:
        parts = []
        for names, n in self.terms.items():
            factors = [str(n)] if abs(n) != 1 or not names else ["-"] * (n < 0)
            parts.append("*".join([*factors, *names]).replace("-*", "-"))
        return " + ".join(parts).replace("+ -", "- ")

    __repr__ = __str__


class Root:
    """A real number that follows from sizes: `factor * size**power`."""

    def __init__(self, factor: float, size: Size, power: float):
        self.factor, self.size, self.power = factor, size, power


class Unfit:
    """What follows from sizes in a way that is no formula here, such as `length // 2`.

    Args:
        why: the sentence that says so.
    """

    def __init__(self, why: str):
        self.why = why


def fit(values: Sequence[int], sizes: Sequence[Sizes]) -> int | Size | None:
    """The formula that gives `values[i]` for `sizes[i]`, or the constant; None if none does."""
    if len(set(values)) == 1:
        return values[0]
    names = sorted({name for s in sizes for name in s if len({t[name] for t in sizes}) > 1})
    for chosen in _subsets(names):
        products = [math.prod(s[name] for name in chosen) for s in sizes]
        if any(v % p for v, p in zip(values, products, strict=True)):
            continue
        rest = [v // p for v, p in zip(values, products, strict=True)]
        others = [name for name in names if name not in chosen]
        terms = _straight(rest, others, sizes)
        if terms is not None:
            found = {tuple(sorted((*chosen, *more))): n for more, n in terms.items()}
            return Size(found)
    return None


def _subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for n in range(len(names), -1, -1):  # the more is taken out, the less is left to be fitted
        yield from combinations(names, n)


def _straight(values, names, sizes) -> dict[tuple[str, ...], int] | None:
    """Factors of the names, and a constant, that give all `values` exactly; None if none do."""
    if len(set(values)) == 1:
        return {(): values[0]}
    if len(sizes) < len(names) + 2:  # nothing would be left to tell whether it is true
        return None
    table = np.array([[1, *(s[name] for name in names)] for s in sizes], np.float64)
    found = np.linalg.lstsq(table, np.array(values, np.float64), rcond=None)[0]
    whole = [round(float(x)) for x in found]
    terms = {(): whole[0], **{(name,): n for name, n in zip(names, whole[1:], strict=True)}}
    guess = Size(terms)
    return terms if all(guess.at(s) == v for s, v in zip(sizes, values, strict=True)) else None


def fit_real(values: Sequence[float], sizes: Sequence[Sizes]) -> float | Root | None:
    """The same of real numbers: a constant, or a factor times a power of a product of sizes."""
    if len(set(values)) == 1:
        return values[0]
    if not all(map(math.isfinite, values)) or 0 in values:
        return None
    names = sorted(sizes[0])
    for chosen in _subsets(names):
        products = [math.prod(s[name] for name in chosen) for s in sizes]
        if len(set(products)) < 3:  # two points fit too much
            continue
        for power in (1.0, -1.0, 0.5, -0.5):
            factors = [v / p**power for v, p in zip(values, products, strict=True)]
            if all(math.isclose(f, factors[0], rel_tol=1e-12) for f in factors):
                return Root(factors[0], Size({chosen: 1}), power)
    return None


SPREAD = 12  # recordings are at lengths up to this much above those of the example


def choose(example: Sizes, most: Sizes) -> list[dict[str, int]]:
    """Sizes to record a model at: no shorter than the example's, and the last ones the largest.

    Args:
        example: the lengths that the example has.
        most: the largest that a length may have, where that is known.

    Raises:
        ExportError: a length may have too few values to tell what depends on it.
    """
    count = max(4, len(example) + 3)
    columns = {}
    for i, (name, n) in enumerate(example.items()):
        low = max(n, 2)  # a length of 1 would broadcast
        top = most.get(name, low + SPREAD + 2 * i)
        low = max(2, min(low, top - count))
        if top - low + 1 < 3:
            raise ExportError(
                f"export.onnx: '{name}' may be at most {top}, which leaves too few lengths to tell "
                f"what depends on it; make it larger, or leave '{name}' out of dynamic_axes"
            )
        between = [*range(low, min(top, low + SPREAD + 2 * i))]
        random.Random(i).shuffle(between)
        columns[name] = [*(between * count)[: count - 1], top]
    return [{name: column[j] for name, column in columns.items()} for j in range(count)]
