"""Losses."""

import naive
import numpy as np
import strategies as draws
from hypothesis import assume
from hypothesis import strategies as st
from naive import losses as slow
from strategies import Call

import minigrad as mg
from cases.case import Case
from cases.layers import options
from minigrad.ops.losses import _bce, _bce_of_logits, _count_of, _softplus

REDUCTIONS = ["mean", "sum", "none"]


@st.composite
def counted(draw):
    (like,) = draw(draws.floats(draw(draws.shapes())))
    ids = draw(st.lists(st.integers(-1, 2), max_size=5))
    return Call((like, np.array(ids, np.int64)), {"ignore_index": draw(st.sampled_from([-1, 2]))})


def count(like, ids, *, ignore_index):
    return np.array(float(len([i for i in ids.tolist() if i != ignore_index]) or 1))


@st.composite
def drawn(draw, call, **choices):
    """The inputs of `call` with keyword parameters drawn from `choices`, and a `reduction`."""
    choices = {"reduction": REDUCTIONS} | choices
    return Call(draw(call).inputs, draw(options(**choices)))


@st.composite
def alike(draw, count=2, least=0, **values):
    """`count` arrays of one shape."""
    shape = draw(draws.shapes(least, 3, draws.SOME))
    return Call(tuple(draw(draws.floats(*[shape] * count, **values))), {})


@st.composite
def on_grids(draw, count=2, signs=False, low=-15):
    """Arrays of one shape whose values and differences stay away from the multiples of 0.1.

    With `signs` another array holds 1 and -1.
    """
    shape, numbers = draw(draws.shapes(0, 3, draws.SOME)), draws.generator(draw)
    xs = [0.1 * numbers.integers(low, 15, shape) + offset for offset in (0.01, 0.04)[:count]]
    if signs:
        xs.append(numbers.choice([-1, 1], shape).astype(draw(st.sampled_from(["f8", "i8"]))))
        count += 1
    return Call(tuple([draw(draws.laid_out(x)) for x in xs]), {})


@st.composite
def weighed(draw, names=("weight",), **values):
    """Two arrays in (0, 1) or logits, and perhaps weights that broadcast to them."""
    x, target = draw(alike(**values)).inputs
    target = np.abs(target) / 2.5
    weights = {
        name: draw(draws.floats(draw(draws.narrower(x.shape)), signed=False))[0]
        for name in names
        if draw(draws.half_the_time)
    }
    inputs = (x, target, *(weights.get(name) for name in names))
    return Call(inputs, draw(options(reduction=REDUCTIONS)))


@st.composite
def spread_wide(draw):
    """x, target and the variance: a number, or one a row, one an element, or what broadcasts."""
    x_shape, target_shape = draw(draws.broadcastable(2, most=3, lengths=draws.SOME))
    x, target = draw(draws.floats(x_shape, target_shape))
    shapes = [x.shape, x.shape[:-1] + (1,) * (x.ndim > 0)]
    shapes.append(tuple(draw(st.sampled_from([n, 1])) for n in x.shape))
    if x.ndim > 1:
        shapes.append(x.shape[:-1])
    (var,) = draw(draws.floats(draw(st.sampled_from(shapes)), signed=False))
    if draw(st.integers(0, 4)) == 0:
        var = 0.6
    return Call((x, target, var), draw(options(reduction=REDUCTIONS, full=[True, False])))


@st.composite
def of_classes(draw, axis=False, probabilities=False, smooth=False, **values):
    """Numbers for classes along an axis, targets and perhaps weights of the classes."""
    (x,) = draw(draws.floats(draw(draws.shapes(1, 3, (2, 1, 3, 5))), **values))
    params = {"axis": draw(st.integers(-x.ndim, x.ndim - 1))} if axis else {}
    a = params.get("axis", -1) % x.ndim
    (weight,) = draw(draws.floats(x.shape[a : a + 1], signed=False))
    weight = () if draw(draws.half_the_time) else (weight,)
    params |= draw(options(reduction=REDUCTIONS))
    if smooth:
        params |= draw(options(label_smoothing=[0.1, 1.0]))
    if probabilities:
        (target,) = draw(draws.floats(x.shape, signed=False))
        return Call((x, target, *weight), params)
    params["ignore_index"] = draw(st.sampled_from([-100, 0]))
    shape = tuple(n for b, n in enumerate(x.shape) if b != a)
    return Call(
        (x, draw(draws.targets(shape, x.shape[a], params["ignore_index"])), *weight), params
    )


@st.composite
def off_margin(draw):
    x = draw(on_grids(1)).inputs[0]
    x = x.reshape(x.shape or (1,))
    target = draw(draws.integers(x.shape[:-1], 0, x.shape[-1]))
    params = draw(options(reduction=REDUCTIONS, p=[1, 2]))
    (weight,) = draw(draws.floats(x.shape[-1:], signed=False))
    weight = draw(st.sampled_from([None, weight]))
    return Call((x, target, weight), params | {"margin": draw(st.sampled_from([0.73, 1.33]))})


@st.composite
def off_margin_alone(draw):
    """Without the axis of examples, or without any."""
    x = draw(on_grids(1)).inputs[0].ravel()[:3]
    x = x if x.size and draw(st.booleans()) else np.array(0.4)
    target = draw(draws.integers(draw(st.sampled_from([(), (1,)])), 0, max(x.size, 1)))
    return Call((x, target), draw(options(reduction=REDUCTIONS, p=[1, 2])) | {"margin": 0.73})


@st.composite
def of_several(draw):
    (x,) = draw(draws.floats(draw(draws.shapes(0, 2, (3, 1, 2, 4)))))
    gaps = 1 - np.subtract.outer(x, x)
    assume(np.all(np.abs(gaps) > 0.01))
    target = np.array(draw(draws.integers(x.shape, -1, x.shape[-1] if x.ndim else 1)))
    return Call((x, target), draw(options(reduction=REDUCTIONS)))


@st.composite
def two_directions(draw):
    x1, x2 = draw(draws.floats(*draw(draws.broadcastable(2, least=1, most=3, lengths=draws.SOME))))
    ndim = max(x1.ndim, x2.ndim)
    return Call((x1, x2), {"axis": draw(st.integers(-ndim, ndim - 1))} | draw(options(eps=[3.0])))


@st.composite
def two_points(draw):
    x1, x2 = draw(draws.floats(*draw(draws.broadcastable(2, least=1, most=3, lengths=draws.SOME))))
    assume(x1.ndim and x2.ndim)
    return Call((x1, x2), draw(options(p=[1, 2, 3, 1.5], keepdims=[True], eps=[0.001])))


@st.composite
def near_or_far(draw):
    shape = draw(draws.shapes(1, 2, draws.SEVERAL))
    x1, x2 = draw(draws.floats(shape, shape))
    target = draws.generator(draw).choice([-1, 1], shape[:-1])
    params = draw(options(reduction=REDUCTIONS, margin=[0.5]))
    found = slow.cosine_similarity(x1, x2, axis=-1)
    assume(np.all(np.abs(found - params.get("margin", 0.0)) > 0.01))
    return Call((x1, x2, np.asarray(target)), params)


@st.composite
def triplets(draw):
    shape = draw(draws.shapes(1, 2, draws.SEVERAL))
    a, b, c = draw(draws.floats(shape, shape, shape))
    params = draw(options(reduction=REDUCTIONS, margin=[0.5], p=[1, 3], swap=[True]))
    own = {"p": params.get("p", 2)}
    near, far, other = (slow.pairwise_distance(x, y, **own) for x, y in ((a, b), (a, c), (b, c)))
    margin = params.get("margin", 1.0)
    for gap in (far - other, margin + near - far, margin + near - other):
        assume(np.all(np.abs(gap) > 0.01))
    return Call((a, b, c), params)


@st.composite
def spoken(draw):
    """What `ctc_loss` takes; where no way says the targets, the loss counts as 0."""
    T, N, C = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.sampled_from([2, 3]))
    zero = draw(draws.half_the_time)
    T = T if zero else 4
    blank, numbers = draw(st.integers(0, C - 1)), draws.generator(draw)
    inputs = numbers.integers(0 if zero else 3, T + 1, N)
    said = numbers.integers(0, 4 if zero else 3, N)
    targets = numbers.choice([c for c in range(C) if c != blank], (N, 4))
    (x,) = draw(draws.floats((T, N, C)))
    if draw(draws.half_the_time):
        targets = np.concatenate([targets[n, : said[n]] for n in range(N)])
    elif N == 1 and draw(draws.half_the_time):
        x, targets = x[:, 0], targets[0, : said[0]]
    if draw(draws.half_the_time):
        inputs, said = tuple(inputs.tolist()), tuple(said.tolist())
    params = {"blank": blank, "zero_infinity": zero} | draw(options(reduction=REDUCTIONS))
    return Call((x, targets, inputs, said), params)


PROBABLE = {"signed": False, "low": 0.1, "high": 0.9}

CASES = [
    # regression
    Case(mg.mse_loss, slow.mse_loss, drawn(alike())),
    Case(mg.l1_loss, slow.l1_loss, drawn(on_grids())),
    Case(mg.huber_loss, slow.huber_loss, drawn(on_grids(), delta=[0.5, 2.0])),
    Case(mg.smooth_l1_loss, slow.smooth_l1_loss, drawn(on_grids(), beta=[0.5, 2.0, 0, 0.0])),
    Case(mg.gaussian_nll_loss, slow.gaussian_nll_loss, spread_wide()),
    Case(mg.poisson_nll_loss, slow.poisson_nll_loss,
         drawn(on_grids(low=1), log_input=[False], full=[True], eps=[0.1])),
    # probabilities
    Case(_softplus, slow.softplus, draws.one()),
    Case(_bce, slow.bce, alike(**PROBABLE)),
    Case(_bce_of_logits, slow.bce_of_logits, alike()),
    Case(mg.binary_cross_entropy, slow.binary_cross_entropy, weighed(**PROBABLE)),
    Case(mg.binary_cross_entropy_with_logits, slow.binary_cross_entropy_with_logits,
         weighed(("weight", "pos_weight"))),
    Case(mg.multilabel_soft_margin_loss, slow.multilabel_soft_margin_loss, weighed(least=1)),
    Case(mg.kl_div, slow.kl_div,
         drawn(alike(signed=False), log_target=[True], reduction=[*REDUCTIONS, "batchmean"])),
    # classes
    Case(mg.cross_entropy_rows, naive.cross_entropy_rows, draws.classified()),
    Case(mg.cross_entropy_rows_grad, naive.cross_entropy_rows_grad, draws.classified(True)),
    Case(_count_of, count, counted()),
    Case(mg.cross_entropy, naive.cross_entropy, draws.classified_anywhere()),
    Case(mg.cross_entropy, slow.cross_entropy, of_classes(axis=True, smooth=True)),
    Case(mg.cross_entropy, slow.cross_entropy, of_classes(True, probabilities=True, smooth=True)),
    Case(mg.nll_loss, slow.nll_loss, of_classes(axis=True)),
    Case(mg.multi_margin_loss, slow.multi_margin_loss, off_margin()),
    Case(mg.multi_margin_loss, slow.multi_margin_loss, off_margin_alone()),
    Case(mg.multilabel_margin_loss, slow.multilabel_margin_loss, of_several()),
    # targets 1 and -1
    Case(mg.soft_margin_loss, slow.soft_margin_loss, drawn(on_grids(1, signs=True))),
    Case(mg.hinge_embedding_loss, slow.hinge_embedding_loss,
         drawn(on_grids(1, signs=True), margin=[0.5, 0.0])),
    Case(mg.margin_ranking_loss, slow.margin_ranking_loss,
         drawn(on_grids(2, signs=True), margin=[0.5, -0.2])),
    # distances
    Case(mg.cosine_similarity, slow.cosine_similarity, two_directions()),
    Case(mg.pairwise_distance, slow.pairwise_distance, two_points()),
    Case(mg.cosine_embedding_loss, slow.cosine_embedding_loss, near_or_far()),
    Case(mg.triplet_margin_loss, slow.triplet_margin_loss, triplets()),
    # sequences
    Case(mg.ctc_loss, slow.ctc_loss, spoken()),
]  # fmt: skip

# What the table names under another name.
ALIASES: dict[str, str] = {}
