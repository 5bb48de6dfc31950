"""Slow, obvious loops: the values that the ops are compared with.

One element at a time, with Python's numbers and the `math` module. Nothing here is clever, so that
a mistake in an op is not made twice. Arguments and results are those of the op of the same name.
"""

import math
import operator

import numpy as np

from minigrad import random

# -------------------------------------------------------------------------------- the loops


def table(shape, entry):
    """The array of `shape` whose element at each index `at` is `entry(at)`."""
    y = np.empty(shape, dtype=object)
    for at in np.ndindex(*shape):
        y[at] = entry(at)
    return y.astype(float)


def lengths_together(*shapes):
    """The shape that `shapes` broadcast to: axes are matched from the last one."""
    ndim = sorted(map(len, shapes))[-1]
    padded = [(1,) * (ndim - len(s)) + tuple(s) for s in shapes]
    return tuple(next((n for n in column if n != 1), 1) for column in zip(*padded, strict=True))


def element(x, at):
    """What a broadcast `x`, an array or a scalar, has at index `at`."""
    if np.ndim(x) == 0:
        return np.asarray(x).item()
    at = at[len(at) - x.ndim :]
    return x[tuple(0 if n == 1 else i for i, n in zip(at, x.shape, strict=True))].item()


def each(function):
    """The loop that calls `function` with the elements of its broadcast operands."""

    def loop(*operands, **params):
        shape = lengths_together(*map(np.shape, operands))
        return table(shape, lambda at: function(*(element(x, at) for x in operands), **params))

    return loop


def reduction(function):
    """The loop that calls `function` with the list of elements that go into one of the result."""

    def loop(x, *, axis=None, keepdims=False, **params):
        axes = axes_of(axis, x.ndim)
        short = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
        lists = {at: [] for at in np.ndindex(*short)}
        for at in np.ndindex(*x.shape):
            lists[tuple(0 if a in axes else i for a, i in enumerate(at))].append(x[at].item())
        y = table(short, lambda at: function(lists[at], **params))
        return y if keepdims else y.reshape([n for a, n in enumerate(x.shape) if a not in axes])

    return loop


def along(function):
    """The loop that replaces each line along `axis` by the list that `function` makes of it.

    With several arrays of one shape, `function` is called with a line of each.
    """

    def loop(*xs, axis=-1, **params):
        shape, axis = xs[0].shape, axis % xs[0].ndim
        y = np.zeros(shape)
        for at in np.ndindex(*(1 if a == axis else n for a, n in enumerate(shape))):
            places = [(*at[:axis], i, *at[axis + 1 :]) for i in range(shape[axis])]
            line = function(*([x[p].item() for p in places] for x in xs), **params)
            for place, value in zip(places, line, strict=True):
                y[place] = value
        return y

    return loop


def axes_of(axis, ndim):
    if axis is None:
        return set(range(ndim))
    return {a % ndim for a in (axis if isinstance(axis, tuple) else (axis,))}


# ----------------------------------------------------------------------------- elementwise

add = each(operator.add)
subtract = each(operator.sub)
multiply = each(operator.mul)
divide = each(operator.truediv)
power = each(operator.pow)
negative = each(operator.neg)
reciprocal = each(lambda x: 1 / x)
square = each(lambda x: x * x)
same = each(lambda x: x)
zeros_like = each(lambda x: 0)
ones_like = each(lambda x: 1)
absolute = each(lambda x: x if x >= 0 else -x)
sign = each(lambda x: 1 if x > 0 else -1 if x < 0 else 0)
maximum = each(lambda a, b: a if a > b else b)
minimum = each(lambda a, b: a if a < b else b)
where = each(lambda condition, a, b: a if condition else b)
masked_fill = each(lambda x, mask, value: value if mask else x)
exp = each(math.exp)
expm1 = each(math.expm1)
log = each(math.log)
log1p = each(math.log1p)
sqrt = each(math.sqrt)
sin = each(math.sin)
cos = each(math.cos)
tanh = each(math.tanh)
sigmoid = each(lambda x: 1 / (1 + math.exp(-x)))
erf = each(math.erf)
relu = each(lambda x: x if x > 0 else 0.0)
equal = each(operator.eq)
not_equal = each(operator.ne)
less = each(operator.lt)
less_equal = each(operator.le)
greater = each(operator.gt)
greater_equal = each(operator.ge)
logical_and = each(lambda a, b: bool(a) and bool(b))
logical_or = each(lambda a, b: bool(a) or bool(b))
logical_not = each(lambda x: not x)
bitwise_and = each(operator.and_)
bitwise_or = each(operator.or_)
bitwise_xor = each(operator.xor)
invert = each(lambda x: not x if x is True or x is False else ~x)
isnan = each(math.isnan)
isfinite = each(math.isfinite)


@each
def clip(x, min=None, max=None):
    if min is not None and x < min:
        return min
    return max if max is not None and x > max else x


@each
def gelu(x, *, approximate="none"):
    if approximate == "tanh":
        return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


def dropout(x, key, *, p):
    keep = random.bernoulli(key, 1 - p, x.shape)
    return table(x.shape, lambda at: x[at] / (1 - p) if keep[at] else 0.0)


# ------------------------------------------------------------------------------ reductions

sum = reduction(math.fsum)
mean = reduction(lambda xs: math.fsum(xs) / len(xs) if xs else math.nan)
max = reduction(lambda xs: sorted(xs)[-1])
min = reduction(lambda xs: sorted(xs)[0])
argmax = reduction(lambda xs: xs.index(sorted(xs)[-1]))
argmin = reduction(lambda xs: xs.index(sorted(xs)[0]))
any = reduction(lambda xs: True in map(bool, xs))
all = reduction(lambda xs: False not in map(bool, xs))
logsumexp = reduction(lambda xs: math.log(math.fsum(map(math.exp, xs))))


def variance(xs, correction=0):
    n = len(xs) - correction
    if n <= 0:
        return math.nan
    middle = math.fsum(xs) / len(xs)
    return math.fsum((x - middle) ** 2 for x in xs) / n


var = reduction(variance)
std = reduction(lambda xs, **correction: math.sqrt(variance(xs, **correction)))

# ----------------------------------------------------------------------------------- shapes


def reshape(x, *, shape):
    elements = iter([x[at] for at in np.ndindex(*x.shape)])
    rest = math.prod(n for n in shape if n != -1)
    shape = tuple(x.size // rest if n == -1 else n for n in shape)
    return table(shape, lambda at: next(elements))


def ravel(x):
    return reshape(x, shape=(x.size,))


def transpose(x, *, axes=None):
    axes = range(x.ndim)[::-1] if axes is None else [a % x.ndim for a in axes]
    y = np.zeros([x.shape[a] for a in axes])
    for at in np.ndindex(*x.shape):
        y[tuple(at[a] for a in axes)] = x[at]
    return y


def swapaxes(x, *, axis1, axis2):
    order = list(range(x.ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return transpose(x, axes=tuple(order))


def moveaxis(x, source, destination):
    order = [a for a in range(x.ndim) if a != source % x.ndim]
    order.insert(destination % x.ndim, source)
    return transpose(x, axes=tuple(order))


def expand_dims(x, *, axis):
    ndim = x.ndim + (len(axis) if isinstance(axis, tuple) else 1)
    lengths = iter(x.shape)
    new = axes_of(axis, ndim)
    return reshape(x, shape=tuple(1 if a in new else next(lengths) for a in range(ndim)))


def squeeze(x, *, axis=None):
    gone = [a for a in axes_of(axis, x.ndim) if x.shape[a] == 1]
    return reshape(x, shape=tuple(n for a, n in enumerate(x.shape) if a not in gone))


def broadcast_to(x, *, shape):
    return table(shape, lambda at: element(x, at))


def concatenate(*xs, axis=0):
    if axis is None:
        xs, axis = [ravel(x) for x in xs], 0
    axis %= xs[0].ndim
    shape = list(xs[0].shape)
    shape[axis] = int(math.fsum(x.shape[axis] for x in xs))
    y = np.zeros(shape)
    start = 0
    for x in xs:
        for at in np.ndindex(*x.shape):
            y[(*at[:axis], start + at[axis], *at[axis + 1 :])] = x[at]
        start += x.shape[axis]
    return y


def stack(*xs, axis=0):
    return concatenate(*(expand_dims(x, axis=axis) for x in xs), axis=axis)


def split(x, indices_or_sections, axis=0):
    n, cuts = x.shape[axis], indices_or_sections
    if isinstance(cuts, int):
        cuts = [n // cuts * i for i in range(1, cuts)]
    pieces = []
    for start, stop in zip([0, *cuts], [*cuts, n], strict=True):
        shape = [stop - start if a == axis % x.ndim else m for a, m in enumerate(x.shape)]
        piece = np.zeros(shape)
        for at in np.ndindex(*shape):
            from_ = list(at)
            from_[axis] += start
            piece[at] = x[tuple(from_)]
        pieces.append(piece)
    return pieces


def tril(x, *, k=0):
    return table(x.shape, lambda at: x[at] if at[-1] - at[-2] <= k else 0.0)


def triu(x, *, k=0):
    return table(x.shape, lambda at: x[at] if at[-1] - at[-2] >= k else 0.0)


# --------------------------------------------------------------------------------- products


def matmul(a, b):
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    (n, inner), m = left.shape[-2:], right.shape[-1]
    batch = lengths_together(left.shape[:-2], right.shape[:-2])

    def entry(at):
        *at, i, j = at
        return math.fsum(
            element(left, (*at, i, l)) * element(right, (*at, l, j)) for l in range(inner)
        )

    y = table((*batch, n, m), entry)
    y = y[..., 0, :] if a.ndim == 1 else y
    return y[..., 0] if b.ndim == 1 else y


def linear(x, weight, bias=None):
    def entry(at):
        *row, j = at
        start = 0.0 if bias is None else bias[j]
        return start + math.fsum(x[(*row, i)] * weight[j, i] for i in range(x.shape[-1]))

    return table((*x.shape[:-1], weight.shape[0]), entry)


def einsum(*xs, subscripts):
    """Every letter takes all its values; an ellipsis stands for the letters "Z", "YZ", ..."""
    left, arrow, output = subscripts.partition("->")
    terms = left.split(",")
    if not arrow:
        once = sorted(c for c in set(left) - {",", "."} if left.count(c) == 1)
        output = "..." * ("..." in left) + "".join(once)
    hidden = [x.ndim - len(t.replace("...", "")) for x, t in zip(xs, terms, strict=True)]
    terms = [t.replace("...", "WXYZ"[4 - n :]) for t, n in zip(terms, hidden, strict=True)]
    output = output.replace("...", "WXYZ"[4 - sorted(hidden)[-1] :])
    size = {}
    for x, term in zip(xs, terms, strict=True):
        for c, n in zip(term, x.shape, strict=True):
            size[c] = n if size.get(c, 1) == 1 else size[c]
    y = np.zeros([size[c] for c in output])
    for values in np.ndindex(*size.values()):
        at = dict(zip(size, values, strict=True))
        product = 1.0
        for x, term in zip(xs, terms, strict=True):
            product *= element(x, tuple(at[c] for c in term))
        y[tuple(at[c] for c in output)] += product
    return y


# --------------------------------------------------------------------------------- indexing


def places(shape, index):
    """Flat positions in an array of `shape` that NumPy's own indexing finds at `index`."""
    return np.asarray(np.arange(math.prod(shape)).reshape(shape)[index])


def getitem(x, index):
    found, elements = places(x.shape, index), [x[at] for at in np.ndindex(*x.shape)]
    return table(found.shape, lambda at: elements[found[at]])


def spread(g, *, index, shape):
    found, sums = places(shape, index), [0.0] * math.prod(shape)
    for at in np.ndindex(*found.shape):
        sums[found[at]] += g[at]
    return np.asarray(sums).reshape(shape)


def take(x, ids, *, axis=None):
    if axis is None:
        x, axis = ravel(x), 0
    axis %= x.ndim
    y = np.zeros((*x.shape[:axis], *ids.shape, *x.shape[axis + 1 :]))
    for at in np.ndindex(*y.shape):
        id_at = at[axis : axis + ids.ndim]
        y[at] = x[(*at[:axis], ids[id_at], *at[axis + ids.ndim :])]
    return y


def index_select(x, ids, *, axis=0):
    return take(x, ids, axis=axis)


def embedding(ids, weight, *, padding_idx=None):
    return table((*ids.shape, weight.shape[1]), lambda at: weight[ids[at[:-1]], at[-1]])


def embedding_grad(g, ids, *, rows):
    y = np.zeros((rows, *g.shape[ids.ndim :]))
    for at in np.ndindex(*g.shape):
        y[(ids[at[: ids.ndim]], *at[ids.ndim :])] += g[at]
    return y


def index_add(x, ids, values, *, axis=0):
    y = x.copy()
    for at in np.ndindex(*values.shape):
        to = list(at)
        to[axis] = ids[at[axis]]
        y[tuple(to)] += values[at]
    return y


def index_set(x, ids, values, *, axis=0):
    y = x.copy()
    for at in np.ndindex(*values.shape):
        to = list(at)
        to[axis] = ids[at[axis]]
        y[tuple(to)] = values[at]
    return y


def gather(x, ids, *, axis):
    y = np.zeros(ids.shape)
    for at in np.ndindex(*ids.shape):
        from_ = list(at)
        from_[axis] = ids[at]
        y[at] = x[tuple(from_)]
    return y


def take_along_axis(x, ids, *, axis):
    axis %= x.ndim
    pairs = zip(x.shape, ids.shape, strict=True)
    shape = [m if a == axis or m != 1 else n for a, (n, m) in enumerate(pairs)]
    y = np.zeros(shape)
    for at in np.ndindex(*shape):
        from_ = [0 if n == 1 else i for i, n in zip(at, x.shape, strict=True)]
        from_[axis] = element(ids, at)
        y[at] = x[tuple(from_)]
    return y


def scatter_add(g, ids, *, axis, shape):
    y = np.zeros(shape)
    for at in np.ndindex(*g.shape):
        to = list(at)
        to[axis] = element(ids, at)
        y[tuple(to)] += g[at]
    return y


def scatter(x, ids, values, *, axis):
    y = x.copy()
    for at in np.ndindex(*ids.shape):
        to = list(at)
        to[axis] = ids[at]
        y[tuple(to)] = values[at]
    return y


def one_hot(ids, *, num_classes):
    return table((*ids.shape, num_classes), lambda at: ids[at[:-1]] % num_classes == at[-1])


# ------------------------------------------------------ softmax, normalisation, losses


def softmax_line(xs):
    total = math.fsum(map(math.exp, xs))
    return [math.exp(x) / total if total else 0.0 for x in xs]


def softmax_grad_line(gs, ys):
    """Through the Jacobian dy_i / dx_j = y_i ([i = j] - y_j)."""
    n = range(len(gs))
    return [math.fsum(gs[i] * ys[i] * ((i == j) - ys[j]) for i in n) for j in n]


def log_softmax_grad_line(gs, ys):
    """Through the Jacobian dy_i / dx_j = [i = j] - exp(y_j)."""
    n = range(len(gs))
    return [math.fsum(gs[i] * ((i == j) - math.exp(ys[j])) for i in n) for j in n]


softmax = along(softmax_line)
softmax_grad = along(softmax_grad_line)
log_softmax = along(lambda xs: [math.log(p) for p in softmax_line(xs)])
log_softmax_grad = along(log_softmax_grad_line)


def standardised(xs, eps):
    """The numbers less their mean over their standard deviation; and that deviation."""
    n = len(xs)
    middle = math.fsum(xs) / n if n else math.nan
    deviation = math.sqrt(variance(xs) + eps) if n else math.nan
    return [(x - middle) / deviation for x in xs], deviation


def layer_norm(x, weight=None, bias=None, *, eps=1e-5):
    def line(xs):
        hs, _ = standardised(xs, eps)
        w = [1.0] * len(xs) if weight is None else weight
        b = [0.0] * len(xs) if bias is None else bias
        return [h * w[i] + b[i] for i, h in enumerate(hs)]

    return along(line)(x)


def layer_norm_grad(g, x, weight, *, eps=1e-5):
    """Through the Jacobian dh_i / dx_j = ([i = j] - 1/n - h_i h_j / n) / deviation."""
    n = x.shape[-1]
    dweight, dbias = np.zeros(n), np.zeros(n)

    def line(gs, xs):
        hs, deviation = standardised(xs, eps)
        w = [1.0] * n if weight is None else weight
        for i in range(n):
            dweight[i] += gs[i] * hs[i]
            dbias[i] += gs[i]
        return [
            math.fsum(
                gs[i] * w[i] * ((i == j) - 1 / n - hs[i] * hs[j] / n) / deviation for i in range(n)
            )
            for j in range(n)
        ]

    return along(line)(g, x), dweight, dbias


def target_weights(target, C, label_smoothing):
    """What a smoothed target asks of each class."""
    return [(1 - label_smoothing) * (c == target) + label_smoothing / C for c in range(C)]


def cross_entropy_rows(x, target, *, ignore_index=-100, label_smoothing=0.0):
    loss = np.zeros(len(target))
    for i, t in enumerate(target):
        if t != ignore_index:
            p = softmax_line(x[i].tolist())
            wanted = target_weights(t, len(p), label_smoothing)
            loss[i] = -math.fsum(w * math.log(q) for w, q in zip(wanted, p, strict=True))
    return loss


def cross_entropy_rows_grad(g, x, target, *, ignore_index=-100, label_smoothing=0.0):
    dx = np.zeros(x.shape)
    for i, t in enumerate(target):
        if t != ignore_index:
            p = softmax_line(x[i].tolist())
            for c, wanted in enumerate(target_weights(t, len(p), label_smoothing)):
                dx[i, c] = g[i] * (p[c] - wanted)
    return dx


def cross_entropy(x, target, *, axis=-1, reduction="mean", ignore_index=-100, label_smoothing=0.0):
    losses = np.zeros(target.shape)
    for at in np.ndindex(*target.shape):
        row = x[(*at[: axis % x.ndim], slice(None), *at[axis % x.ndim :])]
        options = {"ignore_index": ignore_index, "label_smoothing": label_smoothing}
        losses[at] = cross_entropy_rows(row[None], [target[at]], **options)[0]
    counted = [at for at in np.ndindex(*target.shape) if target[at] != ignore_index]
    total = math.fsum(losses[at] for at in counted)
    if reduction == "none":
        return losses
    return total if reduction == "sum" else total / len(counted) if counted else 0.0


# -------------------------------------------------------------------------------- attention


def attention_row(q, ks, mask, allowed, scale):
    """The weights that one query gives to all keys; zeros where it may see none."""
    seen = [s for s in range(len(ks)) if allowed(s)]
    scores = [scale * math.fsum(a * b for a, b in zip(q, ks[s], strict=True)) for s in seen]
    found = softmax_line([score + mask(s) for score, s in zip(scores, seen, strict=True)])
    p = [0.0] * len(ks)
    for s, value in zip(seen, found, strict=True):
        p[s] = value
    return p


def attention_rows(q, k, v, mask, key, heads, causal, scale, dropout):
    """For each (b, h, t): weights, dropout's factors, and the slices of the head's features."""
    (B, T, _), S, D = q.shape, k.shape[1], q.shape[2] // heads
    Dv = v.shape[2] // heads
    scale = 1 / math.sqrt(D) if scale is None else scale
    factors = np.ones((B, heads, T, S))
    if key is not None:
        factors = random.bernoulli(key, 1 - dropout, factors.shape) / (1 - dropout)
    boolean = mask is not None and mask.dtype == bool
    for b, h, t in np.ndindex(B, heads, T):
        qs, vs = slice(h * D, (h + 1) * D), slice(h * Dv, (h + 1) * Dv)

        def allowed(s, at=(b, h, t)):
            return (s <= at[2] or not causal) and (not boolean or element(mask, (*at, s)))

        def added(s, at=(b, h, t)):
            return 0.0 if mask is None or boolean else element(mask, (*at, s))

        p = attention_row(q[b, t, qs], k[b, :, qs], added, allowed, scale)
        yield (b, h, t), p, factors[b, h, t], qs, vs, scale


def attention(q, k, v, mask=None, key=None, *, heads=1, causal=False, scale=None, dropout=0.0):
    y = np.zeros((*q.shape[:2], v.shape[2]))
    rows = attention_rows(q, k, v, mask, key, heads, causal, scale, dropout)
    for (b, _, t), p, factors, _, vs, _ in rows:
        for s, weight in enumerate(p):
            y[b, t, vs] += weight * factors[s] * v[b, s, vs]
    return y


def attention_grad(
    g, q, k, v, mask=None, key=None, *, heads=1, causal=False, scale=None, dropout=0.0
):
    dq, dk, dv = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
    rows = attention_rows(q, k, v, mask, key, heads, causal, scale, dropout)
    for (b, _, t), p, factors, qs, vs, scale_ in rows:
        dp = [factors[s] * math.fsum(g[b, t, vs] * v[b, s, vs]) for s in range(len(p))]
        for s, ds in enumerate(softmax_grad_line(dp, p)):
            dq[b, t, qs] += scale_ * ds * k[b, s, qs]
            dk[b, s, qs] += scale_ * ds * q[b, t, qs]
            dv[b, s, vs] += p[s] * factors[s] * g[b, t, vs]
    return dq, dk, dv


def attention_mask_grad(
    g, q, k, v, mask, key=None, *, heads=1, causal=False, scale=None, dropout=0.0
):
    y = np.zeros((q.shape[0], heads, q.shape[1], k.shape[1]))
    for (b, h, t), p, factors, _, vs, _ in attention_rows(
        q, k, v, mask, key, heads, causal, scale, dropout
    ):
        dp = [factors[s] * math.fsum(g[b, t, vs] * v[b, s, vs]) for s in range(len(p))]
        y[b, h, t] = list(softmax_grad_line(dp, p))
    return y


def scaled_dot_product_attention(q, k, v, mask=None, *, is_causal=False, scale=None):
    batch, (T, S) = q.shape[:-2], (q.shape[-2], k.shape[-2])
    y = np.zeros((*batch, T, v.shape[-1]))
    for at in np.ndindex(*batch):
        own = None
        if mask is not None:
            own = [[element(mask, (*at, t, s)) for s in range(S)] for t in range(T)]
            own = np.asarray(own, dtype=mask.dtype).reshape(T, S)
        q1, k1, v1 = (x[at][None] for x in (q, k, v))
        y[at] = attention(q1, k1, v1, own, causal=is_causal, scale=scale)[0]
    return y
