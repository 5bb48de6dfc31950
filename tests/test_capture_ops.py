"""Every op of the table in a program: what it gives, and its first derivatives."""

import numpy as np
import pytest
from cases import CASES
from hypothesis import HealthCheck, given, settings

import minigrad as mg
from minigrad.backend import is_array
from minigrad.errors import CaptureError, MinigradError
from minigrad.random import Key

# The shape of what they give depends on values, or what they draw on a key that is no argument.
GROUPS = {}
for _case in CASES:
    GROUPS.setdefault(_case.op.__name__, []).append(_case)


@pytest.mark.parametrize("name", GROUPS)
def test_op(name):
    for case in GROUPS[name]:
        check(case)


def check(case):
    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case.calls)
    def each(call):
        if any(type(x) is Key for x in (*call.inputs, *call.params.values())):
            return

        def values(*inputs):
            y = case.op(*inputs, **call.params)
            return list(y) if isinstance(y, tuple | list) else [y]

        def gradients(*inputs):
            floats = [
                x.requires_grad_()
                for x in inputs
                if type(x) is mg.Tensor and x.dtype in ("float32", "float64")
            ]
            ys = [y for y in values(*inputs) if type(y) is mg.Tensor and y.requires_grad]
            if not ys or not floats:
                return []
            found = mg.gradients([(y * y).sum() for y in ys], floats)
            return [g for g in found if g is not None]

        for function in (values, gradients) if case.order else (values,):
            fast = mg.jit(function)
            for scale in (1.0, 0.9995):
                inputs = [
                    x * np.asarray(scale, x.dtype) if is_array(x) and x.dtype.kind == "f" else x
                    for x in call.inputs
                ]
                tensors = [mg.Tensor(x) if is_array(x) else x for x in inputs]
                try:
                    expected = function(*tensors)
                except MinigradError:
                    return  # a scaled input may leave the domain
                try:
                    with np.errstate(all="ignore"):
                        got = fast(*inputs)
                except (CaptureError, MinigradError) as error:
                    if "depends on values" in str(error) or "asks for a value" in str(error):
                        return
                    raise
                for a, b in zip(got, expected, strict=True):
                    a, b = (t.data if type(t) is mg.Tensor else t for t in (a, b))
                    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)

    each()
