"""Products: matmul, linear, einsum."""

import math

from minigrad.autodiff import op, primitive
from minigrad.errors import ShapeError
from minigrad.ops.elementwise import _match, astype
from minigrad.ops.shaping import broadcast_to, expand_dims, reshape, transpose

__all__ = [
    "einsum", "linear", "matmul",
]  # fmt: skip


@primitive
def matmul(xp, a, b):
    """The matrix product over the last two axes, batched over the others, as NumPy's `@`."""
    a, b = _match(a, b)
    if a.ndim > 2 and b.ndim == 2:  # one large product instead of one per batch element
        y = xp.matmul(a.reshape(-1, a.shape[-1]) if a.size else a, b)
        return y.reshape(*a.shape[:-1], b.shape[-1])
    return xp.matmul(a, b)


def _matmul_a(g, _y, _a, b):
    if b.ndim == 1:
        return expand_dims(g, axis=-1) * b
    if _a.ndim == 1:
        return matmul(b, expand_dims(g, axis=-1))[..., 0]
    if b.ndim == 2 and g.ndim > 2:
        return (_rows(g) @ b.swapaxes(0, 1)).reshape(*g.shape[:-1], b.shape[0])
    return g @ b.swapaxes(-1, -2)


def _matmul_b(g, _y, a, _b):
    if a.ndim == 1:
        return expand_dims(a, axis=-1) * expand_dims(g, axis=-2) if _b.ndim > 1 else a * g
    if _b.ndim == 1:
        return matmul(a.swapaxes(-1, -2), expand_dims(g, axis=-1))[..., 0]
    if _b.ndim == 2:
        a, g = _rows(a), _rows(g)
    return a.swapaxes(-1, -2) @ g


def _rows(x):
    """`x` as a matrix: all axes but the last in one."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


matmul.vjps(_matmul_a, _matmul_b)


@op
def linear(xp, x, weight, bias=None):
    """`x @ weight.T + bias` over the last axis.

    Args:
        x: (..., in_features).
        weight: (out_features, in_features).
        bias: (out_features,) or None.
    """
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"linear: x must be (..., in_features) and weight (out_features, in_features), got "
            f"{x.shape} and {weight.shape}"
        )
    if x.dtype.kind in "iub":
        x = astype(x, dtype=weight.dtype)  # as everywhere, integers take the dtype of the floats
    y = _rows(x) @ weight.swapaxes(0, 1)
    y = y if bias is None else y + bias
    return y.reshape(*x.shape[:-1], weight.shape[0])


@linear.vjp
def _(g, _y, x, weight, _bias):
    rows = _rows(g)
    return (
        (rows @ weight).reshape(x.shape),
        rows.swapaxes(0, 1) @ _rows(x),
        None if _bias is None else rows.sum(axis=0),
    )


# -------------------------------------------------------------------------------- einsum


@primitive
def _einsum(xp, *xs, subscripts):
    """einsum without ellipses and without an index that is repeated within an operand."""
    return xp.einsum(subscripts, *_match(*xs))


@_einsum.vjp
def _(g, _y, *xs, subscripts):
    terms, output = subscripts.split("->")
    terms = terms.split(",")
    found = []
    for i, (x, term) in enumerate(zip(xs, terms, strict=True)):
        others = [t for j, t in enumerate(terms) if j != i]
        operands = [x for j, x in enumerate(xs) if j != i]
        # An index that only this operand has was summed: its gradient is the same all along it.
        known = "".join(c for c in term if c in output or any(c in t for t in others))
        part = _einsum(g, *operands, subscripts=f"{','.join([output, *others])}->{known}")
        lengths = iter(part.shape)
        part = reshape(part, shape=tuple(next(lengths) if c in known else 1 for c in term))
        full = tuple(n if m == 1 else m for m, n in zip(part.shape, x.shape, strict=True))
        found.append(broadcast_to(part, shape=full))
    return tuple(found)


def einsum(subscripts: str, *operands):
    """Einstein summation, `einsum("ij,jk->ik", a, b)`: NumPy's notation, with implicit output,
    ellipses, and indices that are repeated within an operand (its diagonal) or left out (summed).

    Raises:
        ShapeError: the subscripts do not fit the operands.
    """
    terms, output = _explicit(subscripts.replace(" ", ""), operands)
    xs = []
    for i, (x, term) in enumerate(zip(operands, terms, strict=True)):
        for c in dict.fromkeys(term):
            while term.count(c) > 1:
                x, term = _diagonal(x, term, c)
        terms[i] = term
        xs.append(x)
    return _einsum(*xs, subscripts=f"{','.join(terms)}->{output}")


def _explicit(subscripts: str, operands) -> tuple[list[str], str]:
    """Terms and output with ellipses spelled out in letters."""
    left, arrow, output = subscripts.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise ShapeError(
            f"einsum: '{subscripts}' has {len(terms)} terms for {len(operands)} operands"
        )
    if not arrow:  # as NumPy: what appears once, in alphabetical order, after the ellipsis
        letters = left.replace(",", "").replace("...", "")
        output = "..." if "..." in left else ""
        output += "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    hidden = [x.ndim - len(t.replace("...", "")) for x, t in zip(operands, terms, strict=True)]
    for x, term, n in zip(operands, terms, hidden, strict=True):
        if n < 0 or (n > 0 and "..." not in term):
            raise ShapeError(
                f"einsum: term '{term}' of '{subscripts}' does not fit an operand of shape "
                f"{x.shape}"
            )
    spare = [c for c in map(chr, range(ord("A"), ord("z") + 1)) if c.isalpha()]
    spare = [c for c in spare if c not in subscripts][: max(hidden, default=0)]
    dots = "".join(spare)
    terms = [t.replace("...", dots[len(dots) - n :]) for t, n in zip(terms, hidden, strict=True)]
    return terms, output.replace("...", dots)


def _diagonal(x, term: str, c: str):
    """`x` with the last two axes named `c` replaced by one, at the end: their diagonal."""
    j = term.rindex(c)
    i = term.rindex(c, 0, j)
    if x.shape[i] != x.shape[j]:
        raise ShapeError(
            f"einsum: index '{c}' has two lengths, {x.shape[i]} and {x.shape[j]}, in an operand "
            f"of shape {x.shape}"
        )
    rest = [a for a in range(x.ndim) if a not in (i, j)]
    n = x.shape[i]
    x = reshape(transpose(x, axes=(*rest, i, j)), shape=(*(x.shape[a] for a in rest), n * n))
    return x[..., :: n + 1] if n else x, "".join(term[a] for a in rest) + c
