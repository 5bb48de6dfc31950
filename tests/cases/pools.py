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
    mode = draw(st.sampled_from((linear, "nearest", linear, "nearest-exact", "area")))
    params = {} if mode == "nearest" else {"mode": mode}
    if mode == linear and draw(half_the_time):
        params["align_corners"] = draw(half_the_time)
    if draw(half_the_time):
        params["size"], _ = draw(per_axis(n, (3, 1, 2, 5, 4, 6), short=False))
    else:
        factors = [f for f in (2, 3, 1.5, 1.7, 0.5, 1) if f * min(lengths) >= 1]
        params["scale_factor"], _ = draw(per_axis(n, factors, short=False))
        if draw(half_the_time):
            params["recompute_scale_factor"] = draw(half_the_time)
    return Call((x,), params)


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
    Case(mg.interpolate, loops.interpolate, resized()),
    Case(mg.pixel_shuffle, loops.pixel_shuffle, pixels()),
    Case(mg.pixel_unshuffle, loops.pixel_unshuffle, pixels(grow=False)),
]  # fmt: skip

# What the table names under another name.
ALIASES: dict[str, str] = {}
