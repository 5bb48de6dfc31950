"""Pooling, interpolation, what rearranges pixels."""

import numpy as np
from hypothesis import strategies as st
from naive import pools as loops
from strategies import Call, floats, half_the_time

import minigrad as mg
from cases.case import Case
from cases.convs import batch, per_axis, some_of
from minigrad.ops import pools

DEFAULTS = {
    "stride": None, "padding": 0, "dilation": 1, "ceil_mode": False, "return_indices": False,
    "count_include_pad": True, "divisor_override": None,
}  # fmt: skip


@st.composite
def pooled(draw, n, mean=False):
    """x and the arguments of a pooling, none of whose windows is all padding."""
    kernel, meant = draw(per_axis(n, (2, 1, 3) if n < 3 else (2, 1)))
    params = {"kernel_size": kernel, "ceil_mode": draw(half_the_time)}
    params["stride"] = draw(st.sampled_from([None, 1, 2, 3, (2,) * n, (1, 2, 3)[:n]]))
    padding = tuple(draw(st.integers(0, k // 2)) for k in meant)
    dilation, steps = 1, (1,) * n
    if mean:
        params["count_include_pad"] = draw(half_the_time)
        if n > 1:
            params["divisor_override"] = draw(st.sampled_from((None, 3)))
    else:
        dilation, steps = draw(per_axis(n, (1, 2)))
        params |= {"dilation": dilation, "return_indices": draw(half_the_time)}
    if any(d > 1 for d in steps):
        padding = (0,) * n
    params["padding"] = 0 if not any(padding) else padding
    reach = [(k - 1) * d + 1 for k, d in zip(meant, steps, strict=True)]
    spare = st.sampled_from((0, 1, 2, 3) if n < 3 else (0, 1))
    lengths = [max(1, r - 2 * p) + draw(spare) for r, p in zip(reach, padding, strict=True)]
    (x,) = draw(floats((*batch(draw, n), draw(st.sampled_from((1, 2))), *lengths)))
    return Call((x,), some_of(draw, params, DEFAULTS | {"kernel_size": 0}))


@st.composite
def shared_out(draw, n, largest=False):
    """x and the arguments of an adaptive pooling."""
    lengths = tuple(draw(st.sampled_from((4, 1, 2, 3, 5, 7) if n < 3 else (2, 1, 3)))
                    for _ in range(n))  # fmt: skip
    one = st.sampled_from((2, 1, 3, 5, None))
    size = draw(st.sampled_from((draw(one), tuple(draw(one) for _ in range(n)))))
    params = {"output_size": size}
    if largest:
        params |= some_of(draw, {"return_indices": draw(half_the_time)}, DEFAULTS)
    (x,) = draw(floats((*batch(draw, n), draw(st.sampled_from((1, 2))), *lengths)))
    return Call((x,), params)


@st.composite
def resized(draw):
    """x and the arguments of an interpolation."""
    n = draw(st.sampled_from((2, 1, 3)))
    lengths = tuple(draw(st.integers(1, 4 if n < 3 else 2)) for _ in range(n))
    (x,) = draw(floats((draw(st.sampled_from((1, 2, 0))), draw(st.integers(1, 2)), *lengths)))
    linear = ("linear", "bilinear", "trilinear")[n - 1]
    modes = (linear, "nearest", linear, "nearest-exact", "area") + ("bicubic",) * 2 * (n == 2)
    mode = draw(st.sampled_from(modes))
    params = {} if mode == "nearest" else {"mode": mode}
    if mode in (linear, "bicubic") and draw(half_the_time):
        params["align_corners"] = draw(half_the_time)
    if mode in ("bilinear", "bicubic") and draw(half_the_time):
        params["antialias"] = True
    if draw(half_the_time):
        params["size"], _ = draw(per_axis(n, (3, 1, 2, 5, 4, 6), short=False))
    else:
        factors = [f for f in (2, 3, 1.5, 1.7, 0.5, 1) if f * min(lengths) >= 1]
        params["scale_factor"], _ = draw(per_axis(n, factors, short=False))
        if draw(half_the_time):
            params["recompute_scale_factor"] = draw(half_the_time)
    return Call((x,), params)


@st.composite
def normed(draw, n):
    call = draw(pooled(n, mean=True))
    params = {k: v for k, v in call.params.items() if k in ("kernel_size", "stride", "ceil_mode")}
    kernel = params["kernel_size"]
    kernels = kernel if isinstance(kernel, tuple) else (kernel,) * n
    lengths = tuple(max(m, k) for m, k in zip(call.inputs[0].shape[-n:], kernels * n, strict=False))
    (x,) = draw(floats((*call.inputs[0].shape[:-n], *lengths), signed=False))
    return Call((x,), params | {"norm_type": draw(st.sampled_from((2, 3.0, 1, 1.5)))})


@st.composite
def found_again(draw, n):
    """What a pooling without overlaps gave, and the lengths that it came from."""
    call = draw(pooled(n))
    (x,), params = call.inputs, dict(call.params)
    kept = {k: params[k] for k in ("kernel_size", "stride", "padding") if k in params}
    kept.pop("stride", None)
    values, ids = loops.max_pool(n)(x, return_indices=True, **kept)
    params = dict(kept, output_size=x.shape[-n:] if draw(half_the_time) else x.shape)
    if x.ndim == n + 1:
        params["output_size"] = x.shape[-n:]
    return Call((values, ids), params)


@st.composite
def places_of(draw):
    (x,) = draw(floats((draw(st.integers(0, 3)), draw(st.integers(0, 4)))))
    order = np.argsort(np.random.default_rng(x.size).random((x.shape[0], 5)), axis=1)
    return Call((x, order[:, : x.shape[1]]), {"size": 5})


@st.composite
def pixels(draw, grow=True):
    r = draw(st.sampled_from((2, 1, 3)))
    lead = draw(st.sampled_from(((), (2,), (1, 2), (0,))))
    channels, height, width = (draw(st.integers(1, 2)) for _ in range(3))
    if grow:
        (x,) = draw(floats((*lead, channels * r * r, height, width)))
        return Call((x,), {"upscale_factor": r})
    (x,) = draw(floats((*lead, channels, height * r, width * r)))
    return Call((x,), {"downscale_factor": r})


@st.composite
def compared_windows(draw, with_largest=False):
    lengths = draw(st.sampled_from(((2,), (3, 2))))
    (x,) = draw(floats((draw(st.integers(0, 2)), 2, draw(st.integers(1, 3)), *lengths)))
    if not with_largest:
        return Call((x,), {})
    x = np.floor(x * 2)  # with ties
    return Call((x, loops.of_windows(x)), {})


@st.composite
def in_windows(draw, with_gradient=False):
    """x, perhaps a gradient before it, and windows over its last axes."""
    n = draw(st.sampled_from((2, 1, 3)))
    sizes = st.sampled_from((2, 1, 3) if n < 3 else (2, 1))
    params = {key: tuple(draw(sizes) for _ in range(n)) for key in ("kernel", "stride", "dilation")}
    if draw(half_the_time):
        params |= {"kernel": (2,) * n, "stride": (2,) * n, "dilation": (1,) * n}
    counts = params["counts"] = tuple(draw(st.integers(1, 5 if n < 3 else 2)) for _ in range(n))
    lengths = [
        (c - 1) * s + (k - 1) * d + 1 + draw(st.integers(0, 1))
        for k, s, d, c in zip(*params.values(), strict=True)
    ]
    lead = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    g, x = draw(floats((*lead, *counts), (*lead, *lengths)))
    return Call((g, x) if with_gradient else (x,), params)


CASES = [
    Case(mg.max_pool1d, loops.max_pool(1), pooled(1)),
    Case(mg.max_pool2d, loops.max_pool(2), pooled(2)),
    Case(mg.max_pool3d, loops.max_pool(3), pooled(3)),
    Case(pools._max_windows, loops.max_windows, in_windows()),
    Case(pools._max_windows_grad, loops.max_windows_grad, in_windows(with_gradient=True)),
    Case(pools._largest, loops.of_windows, compared_windows()),
    Case(pools._first_largest, loops.first_of_windows, compared_windows(with_largest=True)),
    Case(mg.avg_pool1d, loops.avg_pool(1), pooled(1, mean=True)),
    Case(mg.avg_pool2d, loops.avg_pool(2), pooled(2, mean=True)),
    Case(mg.avg_pool3d, loops.avg_pool(3), pooled(3, mean=True)),
    Case(mg.adaptive_avg_pool1d, loops.adaptive_avg_pool(1), shared_out(1)),
    Case(mg.adaptive_avg_pool2d, loops.adaptive_avg_pool(2), shared_out(2)),
    Case(mg.adaptive_avg_pool3d, loops.adaptive_avg_pool(3), shared_out(3)),
    Case(mg.adaptive_max_pool1d, loops.adaptive_max_pool(1), shared_out(1, largest=True)),
    Case(mg.adaptive_max_pool2d, loops.adaptive_max_pool(2), shared_out(2, largest=True)),
    Case(mg.adaptive_max_pool3d, loops.adaptive_max_pool(3), shared_out(3, largest=True)),
    Case(mg.lp_pool1d, loops.lp_pool(1), normed(1)),
    Case(mg.lp_pool2d, loops.lp_pool(2), normed(2)),
    Case(mg.lp_pool3d, loops.lp_pool(3), normed(3)),
    Case(mg.max_unpool1d, loops.max_unpool(1), found_again(1)),
    Case(mg.max_unpool2d, loops.max_unpool(2), found_again(2)),
    Case(mg.max_unpool3d, loops.max_unpool(3), found_again(3)),
    Case(pools._put_back, loops.put_back, places_of()),
    Case(mg.interpolate, loops.interpolate, resized()),
    Case(mg.pixel_shuffle, loops.pixel_shuffle, pixels()),
    Case(mg.pixel_unshuffle, loops.pixel_unshuffle, pixels(grow=False)),
]  # fmt: skip

# What the table names under another name.
ALIASES: dict[str, str] = {}
