"""Slow loops for losses, from their definitions."""

import itertools
import math

import numpy as np

from naive import each, lengths_together, softmax_line, table
from naive.norms import norm


def reduced(losses, reduction, examples=None):
    """All losses, their sum or their mean."""
    losses = np.asarray(losses)
    if reduction == "none":
        return losses
    total = math.fsum(losses.ravel().tolist())
    if reduction == "batchmean":
        return total / losses.shape[0] if losses.ndim else total
    return total if reduction == "sum" else total / losses.size if losses.size else math.nan


def elementwise(function):
    """The loss whose element is `function` of the elements of the inputs."""

    def loop(*xs, reduction="mean", **params):
        return reduced(each(lambda *values: function(*values, **params))(*xs), reduction)

    return loop


def positive(x):
    return x if x > 0 else 0.0


def huber(x, target, delta=1.0):
    d = abs(x - target)
    return d * d / 2 if d <= delta else delta * (d - delta / 2)


def smooth_l1(x, target, beta=1.0):
    return huber(x, target, beta) / beta if beta else abs(x - target)


def gaussian(x, target, var, full=False, eps=1e-6):
    var = var if var > eps else eps
    density = math.exp(-((x - target) ** 2) / (2 * var)) / math.sqrt(var)
    return -math.log(density / math.sqrt(2 * math.pi) if full else density)


def poisson(x, target, log_input=True, full=False, eps=1e-8):
    loss = math.exp(x) - target * x if log_input else x - target * math.log(x + eps)
    if full and target > 1:
        loss += math.log(math.sqrt(2 * math.pi * target) * (target / math.e) ** target)
    return loss


def entropy(x, target, weight=1.0):
    return -weight * (target * math.log(x) + (1 - target) * math.log(1 - x))


def logistic(x):
    return 1 / (1 + math.exp(-x))


def logit_entropy(x, target, weight=1.0, pos_weight=1.0):
    yes, no = math.log(logistic(x)), math.log(logistic(-x))
    return -weight * (pos_weight * target * yes + (1 - target) * no)


def kl(x, target, log_target=False):
    t = math.exp(target) if log_target else target
    return t * (math.log(t) - x) if t else 0.0


def hinge_embedding(x, target, margin=1.0):
    return x if target == 1 else positive(margin - x)


mse_loss = elementwise(lambda x, target: (x - target) ** 2)
l1_loss = elementwise(lambda x, target: abs(x - target))
huber_loss = elementwise(huber)
smooth_l1_loss = elementwise(smooth_l1)
poisson_nll_loss = elementwise(poisson)
kl_div = elementwise(kl)
soft_margin_loss = elementwise(lambda x, target: math.log(1 + math.exp(-target * x)))
hinge_embedding_loss = elementwise(hinge_embedding)
margin_ranking_loss = elementwise(
    lambda x1, x2, target, margin=0.0: positive(margin - target * (x1 - x2))
)
bce = each(entropy)
softplus = each(lambda x: math.log(1 + math.exp(x)))


def gaussian_nll_loss(x, target, var, *, reduction="mean", **params):
    var = np.asarray(var)
    if var.shape == x.shape[:-1] and x.ndim > 1:
        var = var.reshape(*var.shape, 1)
    return reduced(each(lambda *v: gaussian(*v, **params))(x, target, var), reduction)


def binary_cross_entropy(x, target, weight=None, *, reduction="mean"):
    return reduced(each(entropy)(x, target, 1.0 if weight is None else weight), reduction)


def bce_of_logits(x, target):
    return binary_cross_entropy_with_logits(x, target, reduction="none")


def binary_cross_entropy_with_logits(x, target, weight=None, pos_weight=None, *, reduction="mean"):
    weight, pos_weight = (1.0 if w is None else w for w in (weight, pos_weight))
    return reduced(each(logit_entropy)(x, target, weight, pos_weight), reduction)


def multilabel_soft_margin_loss(x, target, weight=None, *, reduction="mean"):
    losses = binary_cross_entropy_with_logits(x, target, weight, reduction="none")
    rows = table(x.shape[:-1], lambda at: math.fsum(losses[at]) / x.shape[-1])
    return reduced(rows, reduction)


# -------------------------------------------------------------------------------- classes


def of_classes(loss):
    """A loss of rows `loss(row, target, weight) -> (value, weight in the mean)`, over `axis`."""

    def loop(x, target, weight=None, *, axis=-1, reduction="mean", ignore_index=-100, **params):
        axis %= x.ndim
        shape = tuple(n for a, n in enumerate(x.shape) if a != axis)
        weight = [1.0] * x.shape[axis] if weight is None else weight.tolist()
        losses, total = np.zeros(shape), 0.0
        for at in np.ndindex(*shape):
            line = (*at[:axis], slice(None), *at[axis:])
            own = target[line].tolist() if target.shape == x.shape else target[at].item()
            if own != ignore_index:
                losses[at], counts = loss(x[line].tolist(), own, weight, **params)
                total += counts
        if reduction != "mean":
            return reduced(losses, reduction)
        return math.fsum(losses.ravel().tolist()) / total if total else 0.0

    return loop


@of_classes
def cross_entropy(row, target, weight, label_smoothing=0.0):
    C = len(row)
    wanted = [float(c == target) for c in range(C)] if isinstance(target, int) else target
    wanted = [(1 - label_smoothing) * q + label_smoothing / C for q in wanted]
    parts = zip(weight, wanted, softmax_line(row), strict=True)
    value = -math.fsum(w * q * math.log(p) for w, q, p in parts)
    return value, weight[target] if isinstance(target, int) else 1.0


@of_classes
def nll_loss(row, target, weight):
    return -weight[target] * row[target], weight[target]


def multilabel_margin_loss(x, target, *, reduction="mean"):
    if not x.ndim:
        return multilabel_margin_loss(x.reshape(1), target.reshape(1), reduction=reduction)

    def entry(at):
        row, wanted = x[at].tolist(), []
        for y in target[at].tolist():
            if y == -1:
                break
            wanted.append(y)
        others = [v for c, v in enumerate(row) if c not in wanted]
        return math.fsum(positive(1 - row[y] + v) for y in wanted for v in others) / len(row)

    return reduced(table(x.shape[:-1], entry), reduction)


def multi_margin_loss(x, target, weight=None, *, p=1, margin=1.0, reduction="mean"):
    if x.ndim < 2 and target.ndim <= 1 and target.size == 1:
        rows = multi_margin_loss_of_rows(
            x.reshape(1, -1), target.reshape(1), weight, p, margin, "none"
        )
        return reduced(rows.reshape(target.shape), reduction)
    return multi_margin_loss_of_rows(x, target, weight, p, margin, reduction)


def multi_margin_loss_of_rows(x, target, weight, p, margin, reduction):
    def entry(at):
        own, row = target[at].item(), x[at].tolist()
        over = [positive(margin - row[own] + v) ** p for c, v in enumerate(row) if c != own]
        return math.fsum(over) / len(row) * (1.0 if weight is None else weight[own])

    return reduced(table(x.shape[:-1], entry), reduction)


# ------------------------------------------------------------------------------- distances


def cosine(xs, ys, eps=1e-8):
    dot = math.fsum(x * y for x, y in zip(xs, ys, strict=True))
    sizes = [size if size > eps else eps for size in (norm(xs, 2), norm(ys, 2))]
    return dot / (sizes[0] * sizes[1])


def lines(x1, x2, axis):
    """Where each line along `axis` is in the result, and the line in both, broadcast."""
    shape = lengths_together(x1.shape, x2.shape)
    x1, x2 = (np.broadcast_to(x, shape) for x in (x1, x2))
    axis %= len(shape)
    for at in np.ndindex(*(n for a, n in enumerate(shape) if a != axis)):
        line = (*at[:axis], slice(None), *at[axis:])
        yield at, x1[line].tolist(), x2[line].tolist()


def over_lines(x1, x2, axis, function):
    shape = list(lengths_together(x1.shape, x2.shape))
    del shape[axis]
    y = np.zeros(shape)
    for at, xs, ys in lines(x1, x2, axis):
        y[at] = function(xs, ys)
    return y


def cosine_similarity(x1, x2, *, axis=1, eps=1e-8):
    return over_lines(x1, x2, axis, lambda xs, ys: cosine(xs, ys, eps))


def pairwise_distance(x1, x2, *, p=2.0, eps=1e-6, keepdims=False):
    y = over_lines(
        x1, x2, -1, lambda xs, ys: norm([x - y + eps for x, y in zip(xs, ys, strict=True)], p)
    )
    return y[..., None] if keepdims else y


def cosine_embedding_loss(x1, x2, target, *, margin=0.0, reduction="mean"):
    def entry(at):
        value = cosine(x1[at].tolist(), x2[at].tolist())
        return 1 - value if target[at] == 1 else positive(value - margin)

    return reduced(table(x1.shape[:-1], entry), reduction)


def triplet_margin_loss(
    anchor, positive_, negative, *, margin=1.0, p=2.0, eps=1e-6, swap=False, reduction="mean"
):
    def distance(a, b):
        return norm([x - y + eps for x, y in zip(a.tolist(), b.tolist(), strict=True)], p)

    def entry(at):
        a, b, c = anchor[at], positive_[at], negative[at]
        far = distance(a, c)
        if swap and distance(b, c) < far:
            far = distance(b, c)
        return positive(margin + distance(a, b) - far)

    return reduced(table(anchor.shape[:-1], entry), reduction)


# ------------------------------------------------------------------------------- sequences


def said(way, blank):
    """What a way says: repeated classes once, blanks not at all."""
    return [c for c, _ in itertools.groupby(way) if c != blank]


def ctc_loss(
    log_probs,
    targets,
    input_lengths,
    target_lengths,
    *,
    blank=0,
    reduction="mean",
    zero_infinity=False,
):
    """Every way of naming a class at each time is looked at."""
    x = log_probs if log_probs.ndim == 3 else log_probs[:, None]
    losses, begin = [], 0
    for n, (T, S) in enumerate(zip(input_lengths, target_lengths, strict=True)):
        if targets.ndim == 2:
            wanted = targets[n, :S].tolist()
        else:
            wanted, begin = targets[begin : begin + S].tolist(), begin + S
        chances = [
            math.exp(math.fsum(x[t, n, c] for t, c in enumerate(way)))
            for way in itertools.product(range(x.shape[2]), repeat=T)
            if said(way, blank) == wanted
        ]
        loss = -math.log(math.fsum(chances)) if chances else 0.0 if zero_infinity else math.inf
        losses.append(loss / (S or 1) if reduction == "mean" else loss)
    if log_probs.ndim == 2:
        losses = losses[0]
    return reduced(losses, reduction)
