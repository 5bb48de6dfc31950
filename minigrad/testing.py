"""The one mechanism that tests every op: `check_op(op, *inputs, naive=slow_loop, **params)`.

For one call it compares

    the value           with a slow obvious loop, and over memory layouts
    the kernel          with the formula, in float64 and float32
    the rule            with the derivative of the formula itself
    first derivatives   with finite differences
    second derivatives  with finite differences of the first
    float32             with float64: it stays float32 and is close
    vmap                with a loop over the examples, values and first derivatives

and raises AssertionError naming the op, the check and the worst element. It is public, for people
who add ops; draw the inputs with Hypothesis to cover shapes, axes and broadcasting.

`compare_backends(model, batch)` compares NumPy and CuPy, op by op, in a whole model.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad import kernels, ops
from minigrad.autodiff import Op, Tensor, gradients
from minigrad.backend import array_module, describe, is_array, to_device, to_numpy
from minigrad.comparing import compare_backends
from minigrad.errors import MinigradError, ShapeError
from minigrad.random import Key
from minigrad.transforms import vmap

__all__ = ["Report", "check_gradients", "check_op", "compare_backends"]

# Central differences over two steps are extrapolated to a step of none. For functions that are
# smooth over a step what is left is rounding, which each move estimates from its own outputs; a
# rule that is wrong by 0.1 % misses the relative bound by a factor of a thousand. ATOL is for
# numbers of size 1 that cancel on the way to a small output: a slope below it counts as none.
STEP = 1e-4
RTOL = 1e-6
ATOL = 1e-10
ROUNDING = 8 * np.finfo(np.float64).eps
LARGEST = 1e8  # of the inputs: further out a step is lost in rounding
MOST_COORDINATES = 48
DIRECTIONS = 2  # in which all inputs move together


@dataclass(frozen=True)
class Report:
    """What `check_op` did, for tests that must be sure that something was checked.

    Attributes:
        kernel: 'ran', 'declined', or 'none' if the op has no kernel or kernels are off.
        order: the highest order of derivatives that was compared.
        takes_floats: whether an input is an array of floats.
        dtypes: the floating-point dtypes that were taken and given back.
        vmap: 'batched'; 'refused' if the shape of the result depends on values, 'floats only' if
            it does on those of ids or lengths; 'draws' if each example draws numbers of its own,
            which no loop repeats; 'none' if no input is an array.
    """

    kernel: str
    order: int
    takes_floats: bool = False
    dtypes: tuple[str, ...] = ()
    vmap: str = "none"


def check_op(
    op: Op | Callable,
    *inputs: Any,
    naive: Callable | None = None,
    order: int = 2,
    quick: bool = False,
    **params: Any,
) -> Report:
    """Check one call of `op`; see the module for what is compared.

    Args:
        op: an op, or a function composed of ops.
        inputs: float64 arrays are differentiated; other arrays, scalars, None and keys are
            constants; Tensors and lists of floats are refused. Keep away from kinks: a finite
            difference across one means nothing.
        naive: `naive(*inputs, **params)` gives the value the slow way; None if there is none.
        order: 0 for values only, 1 or 2 for derivatives. Without floats that come in and floats
            that come out there are values only.
        quick: compare derivatives along two directions in which all inputs move, not along every
            axis of each: a small wrong slope can hide behind large ones there.
        params: static parameters of the op.

    Raises:
        AssertionError: a comparison failed.
        TypeError: derivatives are wanted, and no float array is float64; or an input is refused.
        ValueError: derivatives are wanted where a number is infinite, NaN or above 1e8.
    """
    check = _Check(op, inputs, params)
    order = order if check.differentiable else 0
    if order >= 1:
        check.refuse_the_incomparable()
    check.value(naive)
    check.layouts()
    kernel = check.kernel()
    check.float32(order > 0)
    if order >= 1:
        check.rule_against_formula()
        check.first_order(quick)
        check.each_input_alone()
        check.each_output_alone()
    if order >= 2:
        check.second_order(quick)
    takes_floats = any(map(_is_float, check.inputs))
    return Report(kernel, order, takes_floats, check.dtypes(), check.vmapped(order > 0))


def check_gradients(function: Callable, *inputs: Any, order: int = 2) -> None:
    """Compare the derivatives of any function of float64 arrays with finite differences.

    Inputs and errors are those of `check_op`; TypeError too if there is nothing to compare.
    """
    check = _Check(function, inputs, {})
    check.refuse_the_incomparable()
    check.first_order()
    if order >= 2:
        check.second_order()


class _Check:
    def __init__(self, op, inputs, params):
        self.op, self.params = op, {k: _moved(v, to_device) for k, v in params.items()}
        self.name = getattr(op, "__name__", repr(op))
        for i, x in enumerate(inputs):
            if type(x) is Tensor or (isinstance(x, list | tuple) and _holds_floats(x)):
                raise TypeError(
                    f"{self.name}: inputs are float64 arrays and constants, and input {i} is a "
                    f"{type(x).__name__}; give float64 arrays"
                )
        inputs = [np.asarray(x) if isinstance(x, np.generic) else x for x in inputs]
        self.inputs = [_moved(x, to_device) for x in inputs]
        self.tracked = [
            i for i, x in enumerate(self.inputs) if is_array(x) and x.dtype == np.float64
        ]
        self.before = [x.copy() if is_array(x) else x for x in self.inputs]
        self.outputs = self.values(self.inputs)
        self.floating = [i for i, y in enumerate(self.outputs) if y.dtype.kind == "f"]
        self.differentiable = bool(self.floating) and any(
            is_array(x) and _holds_floats(x) for x in self.inputs
        )
        # Fixed weights make one number of all outputs, whose derivatives are compared.
        self.weights = [_spread_out(self.outputs[i].shape, seed=i + 1) for i in self.floating]

    # -- calls

    def values(self, inputs) -> list:
        found = self.op(*inputs, **self.params)
        return list(found) if isinstance(found, tuple | list) else [found]

    def tensors(self, inputs, which=None) -> list:
        which = self.tracked if which is None else which
        return [Tensor(x, requires_grad=True) if i in which else x for i, x in enumerate(inputs)]

    def gradient(self, function, xs, weights, **options) -> list:
        """Gradients of the weighted sum of the floating outputs by all tracked `xs`."""
        outputs = function(xs)
        pairs = [
            (y, to_device(w) if is_array(w) else w)
            for y, w in zip([outputs[i] for i in self.floating], weights, strict=True)
            if type(y) is Tensor and y.requires_grad
        ]
        wanted = [x for x in xs if type(x) is Tensor]
        if not pairs:
            return [None] * len(wanted)
        ys, ws = zip(*pairs, strict=True)
        return gradients(ys, wanted, ws, **options)

    def compare(self, what: str, got, expected, rtol: float, atol: float = 0.0) -> None:
        got, expected = (to_numpy(x.data if type(x) is Tensor else x) for x in (got, expected))
        scale = np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected))
        np.testing.assert_allclose(
            got,
            expected,
            rtol=rtol,
            atol=atol + rtol * 0.1 * scale,
            err_msg=f"{self.name}{self.shapes()}: {what}",
        )

    def shapes(self) -> str:
        shown = [str(x.shape) if is_array(x) else repr(x) for x in self.inputs]
        shown += [f"{k}={v!r}" for k, v in self.params.items()]
        return f"({', '.join(shown)})"

    # -- checks

    def refuse_the_incomparable(self) -> None:
        """Raise where derivatives are wanted and a comparison would pass without a look at them."""
        if not self.floating or not self.tracked:
            came = ", ".join(map(describe, self.inputs))
            raise TypeError(
                f"{self.name}: derivatives are compared for float64 arrays that give floats; "
                f"give float64 arrays, or compare values only, by check_op with order=0 "
                f"(inputs: {came})"
            )
        for i in self.tracked:
            if not np.all(np.abs(to_numpy(self.inputs[i])) <= LARGEST):
                raise ValueError(
                    f"{self.name}{self.shapes()}: finite differences need finite numbers up to "
                    f"{LARGEST:g}, and input {i} has others; change them, or compare values "
                    f"only, by check_op with order=0"
                )

    def value(self, naive) -> None:
        again = self.values(self.inputs)
        for x, old in zip(self.inputs, self.before, strict=True):
            if is_array(x):
                np.testing.assert_array_equal(
                    to_numpy(x), to_numpy(old), err_msg=f"{self.name}: changed its input"
                )
        for y, z in zip(self.outputs, again, strict=True):
            assert is_array(y), f"{self.name}: arrays in must give arrays out, got {type(y)}"
            if isinstance(y, np.ndarray):
                np.testing.assert_array_equal(y, z, err_msg=f"{self.name}: two calls differ")
            else:  # on a device `add.at` adds in any order
                self.compare("two calls", y, z, 1e-12, 1e-14)
        for y in self.values([Tensor(x) if is_array(x) else x for x in self.inputs]):
            assert type(y) is Tensor, f"{self.name}: a Tensor in must give Tensors out"
            assert not y.requires_grad, f"{self.name}: untracked in, tracked out"
        if naive is not None:
            on_host = {k: _moved(v, to_numpy) for k, v in self.params.items()}
            expected = naive(*(_moved(x, to_numpy) for x in self.inputs), **on_host)
            expected = expected if isinstance(expected, tuple | list) else [expected]
            assert len(expected) == len(self.outputs), f"{self.name}: number of outputs"
            for y, z in zip(self.outputs, expected, strict=True):
                assert y.shape == np.shape(z), (
                    f"{self.name}{self.shapes()}: shape {y.shape}, the loop gives {np.shape(z)}"
                )
                self.compare("value against the slow loop", y, np.asarray(z), 1e-9, 1e-12)

    def layouts(self) -> None:
        """The same values from other strides, and from memory that must not be written."""
        for change in (_fortran, _backwards, _every_second, _read_only):
            found = self.values([change(x) if is_array(x) else x for x in self.inputs])
            for y, z in zip(found, self.outputs, strict=True):
                self.compare(f"value for {change.__name__[1:]} memory", y, z, 1e-11, 1e-13)

    def kernel(self) -> str:
        module = array_module(*self.inputs)
        known = isinstance(self.op, Op) and module.__name__ in self.op.kernel
        if not known or not kernels.enabled():
            return "none"
        ran = False
        # `atol` is what is left where numbers of size 1 cancel.
        for dtype, rtol, atol in ((np.float64, 1e-11, 1e-14), (np.float32, 1e-5, 4e-6)):
            for change in (_contiguous, _fortran, _every_second):
                xs = tuple(
                    change(x.astype(dtype) if x.dtype.kind == "f" else x) if is_array(x) else x
                    for x in self.inputs
                )
                xs, params = self.op.bind(xs, dict(self.params))
                found = self.op.compute_by_kernel(module, xs, params)
                if found is NotImplemented:
                    continue
                ran = True
                expected = self.op.formula(module, *xs, **params)
                if not isinstance(found, tuple):
                    found, expected = (found,), (expected,)
                for y, z in zip(found, expected, strict=True):
                    assert y.dtype == z.dtype, f"{self.name}: the kernel gave {y.dtype}"
                    assert y.shape == z.shape, f"{self.name}: the kernel gave {y.shape}"
                    what = f"kernel against formula in {dtype.__name__}"
                    self.compare(what, y, z, rtol, atol)
        return "ran" if ran else "declined"

    def float32(self, derivatives: bool) -> None:
        def narrow(x):
            return x.astype(np.float32) if is_array(x) and x.dtype == np.float64 else x

        if not any(is_array(x) and x.dtype in (np.float32, np.float64) for x in self.inputs):
            return
        single = [narrow(x) for x in self.inputs]
        for y, z in zip(self.values(single), self.outputs, strict=True):
            if z.dtype == np.float64:
                assert y.dtype == np.float32, f"{self.name}: float32 became {y.dtype}"
            self.compare("float32 against float64", y.astype(z.dtype), z, 1e-3, 1e-5)
        if derivatives:
            narrow_weights = [narrow(w) for w in self.weights]
            low = self.gradient(self.values, self.tensors(single), narrow_weights)
            high = self.gradient(self.values, self.tensors(self.inputs), self.weights)
            for g, h in zip(low, high, strict=True):
                if h is not None:
                    assert g.dtype == np.float32, f"{self.name}: the gradient became {g.dtype}"
                    self.compare("float32 gradient", g.data.astype(np.float64), h, 1e-2, 1e-4)

    def dtypes(self) -> tuple[str, ...]:
        """The floating-point dtypes that come out as they went in."""
        if not any(_is_float(x) for x in self.inputs):
            return ()
        found = []
        for dtype in _float_dtypes():
            try:
                with np.errstate(all="ignore"):
                    ys = self.values([x.astype(dtype) if _is_float(x) else x for x in self.inputs])
            except (TypeError, MinigradError):
                continue
            if all(y.dtype == dtype for y, z in zip(ys, self.outputs, strict=True) if _is_float(z)):
                found.append(dtype.name)
        return tuple(found)

    def vmapped(self, derivatives: bool) -> str:
        """`vmap` against a loop over three examples: all inputs batched, and some of them."""
        arrays = [i for i, x in enumerate(self.inputs) if is_array(x)]
        if not arrays:
            return "none"
        if any(type(x) is Key for x in (*self.inputs, *self.params.values())):
            return "draws"
        floats = [i for i in arrays if i in self.tracked]
        some = {tuple(arrays), tuple(floats[:1]), tuple(i for i in arrays if i not in floats[:1])}
        refused = set()
        for which in sorted(filter(None, some)):
            try:
                self._vmapped(which, derivatives)
            except ShapeError as error:
                if "depends on values" not in str(error):
                    raise
                refused.add(which)
        if not refused:
            return "batched"
        return "refused" if len(refused) == len(some - {()}) else "floats only"

    def _vmapped(self, which: tuple[int, ...], derivatives: bool) -> None:
        examples = [self._variant(which, scale) for scale in (1.0, 0.9995, 0.999)]
        outputs = [self.values(xs) for xs in examples]
        axes = tuple(0 if i in which else None for i in range(len(self.inputs)))
        xs = [
            _stacked([e[i] for e in examples]) if i in which else x
            for i, x in enumerate(self.inputs)
        ]
        what = f"vmap over inputs {which}"
        with np.errstate(all="ignore"):
            found = vmap(self.op_of_tensors, axes)(*xs)
        found = list(found) if isinstance(found, tuple | list) else [found]
        for y, zs in zip(found, zip(*outputs, strict=True), strict=True):
            self.compare(what, y, _stacked(zs), 1e-9, 1e-11)
            assert y.dtype == zs[0].dtype, f"{self.name}: {what} gave {y.dtype}"
        tracked = [i for i in which if i in self.tracked]
        if not derivatives or not tracked:
            return
        tensors = [Tensor(x, requires_grad=True) if i in tracked else x for i, x in enumerate(xs)]
        ys = vmap(self.op_of_tensors, axes)(*tensors)
        ys = list(ys) if isinstance(ys, tuple | list) else [ys]
        pairs = [
            (ys[i], _stacked([to_device(w)] * 3))
            for i, w in zip(self.floating, self.weights, strict=True)
            if type(ys[i]) is Tensor and ys[i].requires_grad
        ]
        wanted = [tensors[i] for i in tracked]
        together = [None] * len(wanted)
        if pairs:
            together = gradients([y for y, _ in pairs], wanted, [w for _, w in pairs])
        for i, g in zip(tracked, together, strict=True):
            each = [self._first(e, which=[i])[0] for e in examples]
            g = np.zeros(xs[i].shape) if g is None else g
            self.compare(f"gradient of input {i} through {what}", g, np.stack(each), 1e-8, 1e-10)

    def op_of_tensors(self, *inputs):
        found = self.op(*inputs, **self.params)
        return tuple(found) if isinstance(found, list) else found

    def _variant(self, which: tuple[int, ...], scale: float) -> list:
        """The inputs a little changed: floats scaled, others in reverse where that is allowed."""
        scaled = [
            _array(x * scale, x) if i in which and _is_float(x) else x
            for i, x in enumerate(self.inputs)
        ]
        turned = [
            x[::-1] if i in which and is_array(x) and x.ndim and not _is_float(x) else x
            for i, x in enumerate(scaled)
        ]
        if scale == 1.0:
            return scaled
        try:
            same = all(
                y.shape == z.shape for y, z in zip(self.values(turned), self.outputs, strict=True)
            )
        except (ValueError, IndexError):
            return scaled
        return turned if same else scaled

    def rule_against_formula(self) -> None:
        if not isinstance(self.op, Op) or self.op.primitive or not self.op.has_rule:
            return

        def formula(xs):
            found = self.op.formula(ops, *xs, **self.params)
            return list(found) if isinstance(found, tuple) else [found]

        by_rule = self.gradient(self.values, self.tensors(self.inputs), self.weights)
        by_formula = self.gradient(formula, self.tensors(self.inputs), self.weights)
        for i, g, h in zip(self.tracked, by_rule, by_formula, strict=True):
            assert (g is None) == (h is None), f"{self.name}: gradient of input {i} is absent"
            if g is not None:
                self.compare(f"rule against formula, input {i}", g, h, 1e-8, 1e-12)

    def first_order(self, quick: bool = False) -> None:
        def function(xs):
            ys = self.values(xs)
            return [ys[i] for i in self.floating]

        found = self._first(self.inputs)
        self.differences("first", function, self.weights, self.tracked, self.inputs, found, quick)

    def _first(self, inputs, weights=None, which=None) -> list:
        """First-order gradients of the tracked inputs, zeros where absent."""
        xs = self.tensors(inputs, which)
        found = self.gradient(self.values, xs, self.weights if weights is None else weights)
        wanted = [x for x in xs if type(x) is Tensor]
        return [
            np.zeros(x.shape) if g is None else to_numpy(g.data)
            for g, x in zip(found, wanted, strict=True)
        ]

    def each_input_alone(self) -> None:
        """An input tracked alone gets what it gets among others: what is kept depends on that."""
        together = self._first(self.inputs)
        for i, g in zip(self.tracked, together, strict=True):
            (alone,) = self._first(self.inputs, which=[i])
            self.compare(f"gradient of input {i} tracked alone", alone, g, 1e-9, 1e-12)

    def each_output_alone(self) -> None:
        """A rule of several outputs gets None for those that nobody used."""
        if len(self.floating) < 2:
            return
        together = self.gradient(self.values, self.tensors(self.inputs), self.weights)
        sums: list = [None] * len(together)
        for i, w in zip(self.floating, self.weights, strict=True):
            xs = self.tensors(self.inputs)
            y = self.values(xs)[i]
            if type(y) is Tensor and y.requires_grad:
                parts = gradients(y, [x for x in xs if type(x) is Tensor], to_device(w))
                sums = [
                    s if g is None else g if s is None else s + g
                    for s, g in zip(sums, parts, strict=True)
                ]
        for g, s in zip(together, sums, strict=True):
            if g is not None:
                s = 0 * g.data if s is None else s
                self.compare("gradients of each output alone, in sum", s, g, 1e-8, 1e-10)

    def second_order(self, quick: bool = False) -> None:
        """Gradients of <v, gradient(x, w)> by the inputs x and by the output weights w."""
        n = len(self.inputs)
        everything = [*self.inputs, *map(to_device, self.weights)]
        which = [*self.tracked, *range(n, n + len(self.weights))]
        first = self._first(self.inputs)
        directions = [_spread_out(g.shape, seed=i + 11) for i, g in enumerate(first)]

        def function(xs):
            return self._first(xs[:n], xs[n:])

        tensors = self.tensors(everything, which)
        by_graph = self.gradient(self.values, tensors[:n], tensors[n:], create_graph=True)
        for g, h in zip(by_graph, first, strict=True):
            if g is not None:
                self.compare("gradient with create_graph", g, h, 1e-9, 1e-12)
        pairs = [
            (g, to_device(d))
            for g, d in zip(by_graph, directions, strict=True)
            if g is not None and g.requires_grad
        ]
        wanted = [tensors[i] for i in which]
        found: list[Any] = [None] * len(wanted)
        if pairs:
            found = gradients([g for g, _ in pairs], wanted, [d for _, d in pairs])
        found = [
            np.zeros(x.shape) if g is None else to_numpy(g.data)
            for g, x in zip(found, wanted, strict=True)
        ]
        self.differences("second", function, directions, which, everything, found, quick)

    def differences(
        self, order: str, function, weights, which, inputs, found, together: bool = False
    ) -> None:
        """Compare gradients with central differences along axes or random directions.

        `found` are the gradients, by the inputs `which`, of the sum of what `function` gives, each
        array weighted with its `weights`. All inputs may move `together`; if that fails, each is
        moved alone, which decides: one that chooses between formulas may not move with the others.
        """
        call = f"{self.name}{self.shapes()}: {order} derivative against finite differences"
        inputs = [to_numpy(x) if is_array(x) else x for x in inputs]
        along_axes = sum(inputs[i].size for i in which) <= MOST_COORDINATES
        directions = max(2, MOST_COORDINATES // (2 * len(which)))
        by_input = dict(zip(which, found, strict=True))

        def compare(by: str, place: str, moves: dict[int, np.ndarray]) -> None:
            (wide, noise), (narrow, more_noise) = (
                _miss(function, weights, inputs, by_input, moves, step) for step in (STEP, STEP / 2)
            )
            assert np.isfinite([wide, narrow]).all(), (
                f"{call}, by {by} {place}: the difference is not finite"
            )
            miss = (4 * narrow - wide) / 3  # what a step adds goes with its square
            given = sum(float(np.sum(by_input[i] * move)) for i, move in moves.items())
            expected = given - miss
            assert abs(miss) <= RTOL * abs(expected) + noise + more_noise + ATOL, (
                f"{call}, by {by} {place}: {given:.12g}, expected {expected:.12g}"
            )

        for i, gradient in by_input.items():
            assert np.all(np.isfinite(gradient)), (
                f"{call}, by {self._called(i)}: the gradient is not finite"
            )
        if together:
            with contextlib.suppress(AssertionError):
                for seed in range(201, 201 + DIRECTIONS):
                    shapes = {i: g.shape for i, g in by_input.items()}
                    moves = {i: _spread_out(shape, seed + 7 * i) for i, shape in shapes.items()}
                    compare("all inputs", f"in direction {seed}", moves)
                return
        for i, gradient in by_input.items():
            shape = gradient.shape
            if along_axes:
                alone = {f"at {at}": _unit(shape, at) for at in np.ndindex(shape)}
            else:
                seeds = range(101, 101 + directions)
                alone = {f"in direction {k}": _spread_out(shape, seed=k) for k in seeds}
            for place, move in alone.items():
                compare(self._called(i), place, {i: move})

    def _called(self, i: int) -> str:
        """How an input, or the weights of an output behind them, are called in a report."""
        if i < len(self.inputs):
            return f"input {i}"
        return f"the weights of output {self.floating[i - len(self.inputs)]}"


# ------------------------------------------------------------------------------- numbers


def _spread_out(shape, seed: int) -> np.ndarray:
    """Numbers in [-1.5, 1.5], none near 0, the same every time."""
    n = int(np.prod(shape))
    size = np.linspace(0.5, 1.5, n) if n > 1 else np.full(n, 0.75)
    generator = np.random.default_rng(seed)
    return (generator.permutation(size) * generator.choice([-1.0, 1.0], n)).reshape(shape)


def _is_float(x) -> bool:
    return is_array(x) and x.dtype.kind in "fV"


def _float_dtypes() -> list[np.dtype]:
    """The floating-point dtypes there are; bfloat16 where ml_dtypes is installed."""
    found: list[np.dtype] = [np.dtype(name) for name in ("float16", "float32", "float64")]
    try:
        import ml_dtypes
    except ImportError:
        return found
    bfloat16: np.dtype = np.dtype(ml_dtypes.bfloat16)
    return [bfloat16, *found]


def _array(x, like):
    """`x` as an array where `like` is: arithmetic with 0-d arrays gives NumPy scalars."""
    return array_module(like).asarray(x)


def _stacked(examples):
    """Arrays of one shape along a new first axis."""
    return array_module(examples[0]).stack(list(examples))


def _unit(shape, at) -> np.ndarray:
    x = np.zeros(shape)
    x[at] = 1.0
    return x


def _holds_floats(x) -> bool:
    """Whether `x` is a float, an array or Tensor of them, or a list with one in it."""
    if isinstance(x, list | tuple):
        return any(map(_holds_floats, x))
    return isinstance(x, float) or getattr(x, "dtype", np.dtype(int)).kind in "fV"


def _miss(function, weights, inputs, gradients, moves, step) -> tuple[float, float]:
    """By how much gradients miss the slope along `moves` of inputs; the rounding in that.

    Both are by input.
    """
    ends, values = [], []
    for s in (step, -step):
        moved = {i: np.asarray(inputs[i] + s * move) for i, move in moves.items()}
        ends.append(moved)
        values.append(function([_moved(moved.get(i, v), to_device) for i, v in enumerate(inputs)]))
    # The moves as they were rounded.
    miss = sum(np.sum(gradients[i] * (ends[0][i] - ends[1][i])) for i in moves)
    noise = 0.0
    for y, z, w in zip(map(to_numpy, values[0]), map(to_numpy, values[1]), weights, strict=True):
        changed = y != z  # the others cancel, however large they are
        y, z, w = y[changed], z[changed], w[changed]
        miss -= np.sum(w * (y - z))
        noise += ROUNDING * np.sum(np.abs(w) * (np.abs(y) + np.abs(z)))
    return miss / (2 * step), noise / (2 * step)


# ------------------------------------------------------------------------ memory layouts


def _contiguous(x):
    # np.ascontiguousarray would give a 0-d array an axis.
    return array_module(x).asarray(x, order="C")


def _moved(x, move):
    """`x` with `move` applied to it if it is an array, or to the arrays in it if it is a tuple."""
    if type(x) is tuple:
        return tuple(_moved(part, move) for part in x)
    return move(x) if is_array(x) else x


def _fortran(x):
    return array_module(x).asarray(x, order="F")


def _backwards(x):
    """A view with negative strides."""
    flip = (..., *[slice(None, None, -1)] * x.ndim)  # with `...` a 0-d array stays one
    return x[flip].copy()[flip]


def _every_second(x):
    """A view with gaps."""
    wide = array_module(x).zeros(tuple(2 * n for n in x.shape), x.dtype)
    view = wide[(..., *[slice(None, None, 2)] * x.ndim)]
    view[...] = x
    return view


def _read_only(x):
    if isinstance(x, np.ndarray):
        x = x.copy()
        x.flags.writeable = False
    return x


def main() -> None:
    """Print the table of ops, or write the reference page; see `minigrad.reference`."""
    import argparse

    from minigrad import reference

    parser = argparse.ArgumentParser(
        prog="python -m minigrad.testing", description="A table of all ops: what is tested of each."
    )
    parser.add_argument("--docs", metavar="DIR", help="write a reference page into DIR instead")
    options = parser.parse_args()
    if options.docs is None:
        print(reference.table())
    else:
        try:
            print(reference.write_docs(options.docs))
        except MinigradError as error:
            parser.error(str(error))


if __name__ == "__main__":
    main()
