"""The array module behind `vmap`, function by function: each against a loop over the examples.

The table `CASES` has a line or more for every function; a test sees to it. Each line is run with
every choice of which arguments are batched, at which of two levels, and for batches of no, one and
several examples. What is expected is always NumPy's result for one example after the other.
"""

import ast
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad import backend, batched
from minigrad.backend import array_module, to_device, to_numpy
from minigrad.batched import as_output, hide, levels_of, show

EXAMPLES = 300  # of Hypothesis; `few_examples` makes it less


@pytest.fixture(autouse=True)
def silent():
    """Logarithms of negative numbers are as good as others here."""
    with np.errstate(all="ignore"):
        yield


# ----------------------------------------------------------------------- arguments and a loop


class Draw(NamedTuple):
    """An argument: `make(rng, shape)` gives it for one example, or for many with a longer shape."""

    make: Callable
    shape: tuple[int, ...]


def F(*shape):
    """Floats in float32."""
    return Draw(lambda rng, s: rng.uniform(-2, 2, s).astype("float32"), shape)


def N(*shape, below=3):
    """Integers from 0 on."""
    return Draw(lambda rng, s: rng.integers(0, below, s), shape)


def M(*shape):
    """Booleans."""
    return Draw(lambda rng, s: rng.random(s) < 0.5, shape)


def Sorted(n):
    """Sorted numbers, some of them equal."""
    return Draw(lambda rng, s: np.sort(rng.integers(0, 5, s) / 2, -1).astype("float32"), (n,))


def Positive(*shape):
    """Positive definite symmetric matrices."""

    def make(rng, s):
        x = rng.uniform(-1, 1, s).astype("float32")
        return x @ x.swapaxes(-1, -2) + np.eye(s[-1], dtype="float32") * (1 + np.arange(s[-1]))

    return Draw(lambda rng, s: make(rng, s).astype("float32"), shape)


LEVELS = (), (1,), (2,), (1, 2)
DEEP_LEVELS = *LEVELS, (3,), (1, 3), (2, 3), (1, 2, 3)
LENGTHS = {1: 2, 2: 3, 3: 2}


def hidden(x, levels):
    """An array, its first axes hidden."""
    x = to_device(x)
    for level in levels:
        x = hide(x, 0, level)
    return x


def shown(y, lengths):
    """A result with the axes of all levels in front, on the host."""
    y = as_output(y)
    for level in sorted(lengths, reverse=True):
        y = show(y, level, lengths[level], 0)
    assert not levels_of(y)
    return to_numpy(y)


def examples(lengths):
    """Each example: which one it is at each level."""
    for at in np.ndindex(*lengths.values()):
        yield dict(zip(lengths, at, strict=True))


def parts(y):
    """One result or several, as a tuple."""
    return tuple(y) if isinstance(y, tuple) else (y,)


def drawn(draws, levels, lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [
        draw.make(rng, (*(lengths[i] for i in own), *draw.shape))
        for draw, own in zip(draws, levels, strict=True)
    ]


def one(x, own, at):
    """The example `at` of an argument."""
    return np.asarray(x[tuple(at[i] for i in own)])


def compare(function, xs, levels, lengths, rtol=1e-5, atol=1e-6):
    """`function(xp, *xs)` on batched arrays and on one example after the other."""
    given_xs = list(map(hidden, xs, levels))
    found = parts(function(array_module(*given_xs), *given_xs))
    wanted = set().union(*levels)
    for y in found:
        assert {level for level, _ in levels_of(y)} <= wanted
    found = [shown(y, lengths) for y in found]
    for at in examples(lengths):
        expected = function(np, *(one(x, own, at) for x, own in zip(xs, levels, strict=True)))
        for y, z in zip(found, parts(expected), strict=True):
            y, z = y[tuple(at.values())], np.asarray(z)
            assert y.shape == z.shape
            assert y.dtype == z.dtype
            np.testing.assert_allclose(y, z, rtol, atol)
    return found


# ---------------------------------------------------------------------------------- the table


class Case(NamedTuple):
    name: str
    function: Callable
    draws: tuple[Draw, ...]


def case(name, *draws, **options):
    """The function itself, with arrays and options."""

    def function(xp, *xs):
        for part in name.split("."):
            xp = getattr(xp, part)
        return xp(*xs, **options)

    return Case(name, function, draws)


def of(name, function, *draws):
    """A formula that uses it."""
    return Case(name, function, draws)


ONE_FLOAT = """
    abs absolute arccos arccosh arcsin arcsinh arctan arctanh cbrt ceil cos cosh deg2rad exp exp2
    expm1 floor isfinite isinf isnan log log10 log1p log2 nan_to_num negative positive rad2deg
    reciprocal rint round sign signbit sin sinc sinh sqrt square tan tanh trunc zeros_like ones_like
"""
TWO_FLOATS = """
    add arctan2 copysign divide equal floor_divide fmax fmin fmod greater greater_equal hypot
    isclose less less_equal logaddexp logaddexp2 maximum minimum mod multiply nextafter not_equal
    power remainder subtract true_divide
"""
TWO_INTEGERS = "bitwise_and bitwise_or bitwise_xor gcd lcm left_shift right_shift"
TWO_TRUTHS = "logical_and logical_or logical_xor"

CASES = [
    *(case(name, F(2, 3)) for name in ONE_FLOAT.split()),
    *(case(name, *xs) for name in TWO_FLOATS.split() for xs in [(F(3), F(2, 3)), (F(2, 1), F())]),
    *(case(name, N(3), N(2, 3)) for name in TWO_INTEGERS.split()),
    *(case(name, M(3), M(2, 1)) for name in TWO_TRUTHS.split()),
    case("logical_not", M(2)),
    of("frexp", lambda xp, x: xp.frexp(x)[1], F(2, 3)),
    case("invert", N(2)),
    of("add", lambda xp, x: xp.add(x, 1.5), F(3)),
    of("add", lambda xp, x: xp.subtract(1, x), F(3)),
    of("multiply", lambda xp, x, y: xp.multiply(x, y), F(1), F(4, 2, 3)),
    of("clip", lambda xp, x: xp.clip(x, -1, 1), F(4)),
    of("clip", lambda xp, x: xp.clip(x, None, 0.5), F(4)),
    case("clip", F(2, 3), F(3), F(2, 1)),
    of("round", lambda xp, x: xp.round(x, 1), F(3)),
    case("where", M(2, 1), F(3), F()),
    of("where", lambda xp, c, x: xp.where(c, x, 0.0), M(3), F(2, 3)),
    of("where", lambda xp, c: xp.where(c, 1, 0), M(3)),
    of("full_like", lambda xp, x: xp.full_like(x, 3), F(2, 3)),
    of("empty_like", lambda xp, x: x + xp.empty_like(x) * 0, N(2, 3)),
    *(
        of(name, lambda xp, x, n=name, o=o: getattr(xp, n)(x, **o), F(2, 3, 4))
        for name in ["amax", "amin", "max", "mean", "min", "prod", "std", "sum", "var"]
        for o in [{}, {"axis": 0}, {"axis": (-1, 0)}, {"axis": 1, "keepdims": True},
                  {"keepdims": True}]
    ),
    *(
        of(name, lambda xp, x, n=name, o=o: getattr(xp, n)(x, **o), M(2, 3))
        for name in ["all", "any"]
        for o in [{}, {"axis": 0}, {"axis": -1, "keepdims": True}]
    ),
    of("sum", lambda xp, x: xp.sum(x, axis=0, dtype="float64"), F(2, 3)),
    of("sum", lambda xp, x: xp.sum(x, 1), F(2, 3)),
    of("sum", lambda xp, x: xp.sum(x), F()),
    of("sum", lambda xp, x: xp.sum(x, axis=()), F(2)),
    *(
        of(name, lambda xp, x, n=name, o=o: getattr(xp, n)(x, **o), F(2, 3, 4))
        for name in ["argmax", "argmin", "argsort", "cumprod", "cumsum", "sort"]
        for o in [{}, {"axis": 0}, {"axis": -2}, {"axis": None}]
    ),
    *(
        of(name, lambda xp, x, n=name, o=o: getattr(xp, n)(x, keepdims=True, **o), F(2, 3))
        for name in ["argmax", "argmin"]
        for o in [{}, {"axis": 1}]
    ),
    of("argsort", lambda xp, x: xp.argsort(x, axis=0, kind="stable"), N(4, 2)),
    *(
        of(name, lambda xp, x, n=name, k=k: getattr(xp, n)(x, k), F(2, 3, 4))
        for name in ["tril", "triu"]
        for k in (0, 1, -1)
    ),
    *(case(f"linalg.{n}", F(2, 3, 3)) for n in ["det", "inv", "pinv", "slogdet", "svdvals"]),
    *(case(f"linalg.{n}", Positive(2, 3, 3)) for n in ["cholesky", "eigvalsh"]),
    of("linalg.eigh", lambda xp, x: abs(xp.linalg.eigh(x)[1]), Positive(3, 3)),
    of("linalg.eigh", lambda xp, x: xp.linalg.eigh(x).eigenvalues, Positive(3, 3)),
    of("linalg.qr", lambda xp, x: abs(xp.linalg.qr(x)[1]), F(4, 3)),
    of("linalg.qr", lambda xp, x: xp.matmul(*xp.linalg.qr(x, mode="complete")), F(4, 3)),
    of("linalg.svd", lambda xp, x: xp.linalg.svd(x, full_matrices=False)[1], F(4, 3)),
    of("linalg.matrix_power", lambda xp, x: xp.linalg.matrix_power(x, 3), F(3, 3)),
    case("linalg.solve", Positive(3, 3), F(3, 2)),
    case("linalg.solve", Positive(2, 3, 3), F(3, 2)),
    case("linalg.solve", Positive(3, 3), F(2, 3, 2)),
    case("reshape", F(2, 6), shape=(3, 4)),
    case("reshape", F(2, 6), shape=(4, -1)),
    case("reshape", F(2, 6), shape=12),
    case("reshape", F(1), shape=()),
    case("ravel", F(2, 3)),
    case("transpose", F(2, 3, 4)),
    case("transpose", F(2, 3, 4), axes=(1, -1, 0)),
    case("swapaxes", F(2, 3, 4), axis1=0, axis2=-1),
    case("moveaxis", F(2, 3, 4), source=0, destination=-1),
    case("moveaxis", F(2, 3, 4), source=(0, 1), destination=(2, 0)),
    case("expand_dims", F(2, 3), axis=0),
    case("expand_dims", F(2, 3), axis=-1),
    case("expand_dims", F(2, 3), axis=(0, -1)),
    case("squeeze", F(1, 2, 1)),
    case("squeeze", F(1, 2, 1), axis=-1),
    case("squeeze", F(1, 2, 1), axis=(0, 2)),
    case("broadcast_to", F(3), shape=(2, 3)),
    case("broadcast_to", F(2, 1), shape=(4, 2, 3)),
    case("broadcast_to", F(), shape=(2,)),
    of("concatenate", lambda xp, x, y: xp.concatenate([x, y], axis=-1), F(2, 3), F(2, 1)),
    of("concatenate", lambda xp, x, y, z: xp.concatenate((x, y, z)), F(2), F(0), F(3)),
    of("concatenate", lambda xp, x, y: xp.concatenate([x, y], axis=None), F(2, 3), F(2)),
    of("stack", lambda xp, x, y: xp.stack([x, y]), F(2, 3), F(2, 3)),
    of("stack", lambda xp, x, y: xp.stack([x, y], axis=-1), F(2, 3), F(2, 3)),
    of("stack", lambda xp, x, y: xp.stack([x, y], axis=1), F(2), F(2)),
    case("flip", F(2, 3)),
    case("flip", F(2, 3), axis=-1),
    case("flip", F(2, 3), axis=(0, 1)),
    of("roll", lambda xp, x: xp.roll(x, 2), F(2, 3)),
    of("roll", lambda xp, x: xp.roll(x, 1, axis=-1), F(2, 3)),
    of("roll", lambda xp, x: xp.roll(x, (1, 2), axis=(0, 1)), F(2, 3)),
    case("diagonal", F(2, 3)),
    of("diagonal", lambda xp, x: xp.diagonal(x, 1, 0, 2), F(3, 2, 4)),
    of("diagonal", lambda xp, x: xp.diagonal(x, offset=-1, axis1=-2, axis2=-1), F(2, 3, 3)),
    *(
        case("matmul", F(*a), F(*b))
        for a, b in [((2, 3), (3, 4)), ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)),
                     ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((5, 1, 2, 3), (2, 3, 4)),
                     ((3,), (5, 3, 4)), ((5, 2, 3), (3,)), ((0, 3), (3, 4)), ((2, 0), (0, 4))]
    ),
    case("dot", F(2, 3), F(3)),
    case("dot", F(2, 3), F(3, 2)),
    case("dot", F(), F(3)),
    of("take", lambda xp, x, i: xp.take(x, i, axis=0), F(4, 2), N(3)),
    of("take", lambda xp, x, i: xp.take(x, i, axis=-1), F(2, 3, 4), N(2, 2)),
    of("take", lambda xp, x, i: xp.take(x, i, axis=1), F(2, 3, 4), N()),
    of("take", lambda xp, x, i: xp.take(x, i), F(2, 3), N(5, below=6)),
    of("take", lambda xp, x: xp.take(x, 1, axis=1), F(2, 3)),
    of("take_along_axis", lambda xp, x, i: xp.take_along_axis(x, i, axis=-1), F(2, 3), N(2, 4)),
    of("take_along_axis", lambda xp, x, i: xp.take_along_axis(x, i, axis=0), F(3, 2), N(4, 2)),
    of("take_along_axis", lambda xp, x, i: xp.take_along_axis(x, i, axis=1), F(2, 3), N(1, 2)),
    of("take_along_axis", lambda xp, x, i: xp.take_along_axis(x, i, axis=1), F(1, 3), N(2, 2)),
    of("searchsorted", lambda xp, a, v: xp.searchsorted(a, v), Sorted(5), Sorted(3)),
    of("searchsorted", lambda xp, a, v: xp.searchsorted(a, v, side="right"), Sorted(5), F(2, 3)),
    of("asarray", lambda xp, x: xp.asarray(x, dtype="float64"), F(3)),
    of("asarray", lambda xp, x: x + xp.asarray(2, dtype=x.dtype), F(3)),
    case("ascontiguousarray", F(2, 3)),
    # Of the array makers, which no argument makes batched.
    of("zeros", lambda xp, x: x + xp.zeros((2, 1), x.dtype), F(3)),
    of("zeros", lambda xp, x: xp.zeros(3, dtype="float32") * x, F(3)),
    of("ones", lambda xp, x: xp.where(x > 0, x, xp.ones(3, x.dtype)), F(3)),
    of("full", lambda xp, x: x * xp.full((2, 3), 2, dtype=x.dtype), F(2, 3)),
    of("empty", lambda xp, x: xp.concatenate([x, xp.empty((0,), x.dtype)]), F(3)),
    of("arange", lambda xp, x: x[xp.arange(3) % 2] + xp.arange(3, dtype=x.dtype), F(3)),
    of("eye", lambda xp, x: x @ xp.eye(3, dtype=x.dtype), F(2, 3)),
    of("tri", lambda xp, x: x * xp.tri(3, dtype=x.dtype), F(3)),
    of("linspace", lambda xp, x: x * xp.linspace(0, 1, 3, dtype=x.dtype), F(3)),
    of("result_type", lambda xp, x, y: x.astype(xp.result_type(x, y)), F(3), N(2)),
    of("finfo", lambda xp, x: x * float(xp.finfo(x.dtype).eps) + xp.float32(2), F(3)),
]  # fmt: skip

METHODS = {
    "+": lambda xp, x, y: 1 + (x + y) + 1,
    "-": lambda xp, x, y: 1 - (x - y) - 1,
    "*": lambda xp, x, y: 2 * (x * y) * 2,
    "/": lambda xp, x, y: 1 / ((x / y) / 2),
    "//": lambda xp, x, y: 2 // ((x // y) // 2),
    "%": lambda xp, x, y: 2 % ((x % y) % 3),
    "**": lambda xp, x, y: 2 ** (x**2 + y**2),
    "<": lambda xp, x, y: (x < y) | (x <= 1.0),
    ">": lambda xp, x, y: (x > y) & (x <= 1.0),
    "==": lambda xp, x, y: (x == y) ^ (x != 1.0),
    "<<": lambda xp, x, y: (1 << (x > y)) >> (y > 0),
    "~": lambda xp, x, y: ~(x > y),
    "sign": lambda xp, x, y: -x + abs(y),
    "@": lambda xp, x, y: y @ y.T,
    "r@": lambda xp, x, y: np.ones((2, 2), "float32") @ y if xp is np else hidden_ones() @ y,
    "reshape": lambda xp, x, y: y.reshape(3, 2).reshape((6,)).reshape(-1, 1).reshape([2, 3]),
    "transpose": lambda xp, x, y: y.transpose(1, 0).transpose().transpose([1, 0]).transpose(None),
    "swapaxes": lambda xp, x, y: y.swapaxes(0, -1),
    "astype": lambda xp, x, y: y.astype("float64", copy=False) + y.astype(int, copy=True),
    "copy": lambda xp, x, y: y.copy(),
    "sum": lambda xp, x, y: y.sum() + y.sum(axis=0) + y.sum(1, keepdims=True) + y.sum(axis=(0, 1)),
    "max": lambda xp, x, y: y.max(axis=-1) - y.min(axis=-1) + y.max() - y.min(keepdims=True),
    "mean": lambda xp, x, y: y.mean(axis=0) + y.prod(),
    "all": lambda xp, x, y: (y > 0).all(axis=0) ^ (y > 0).any(),
    "arg": lambda xp, x, y: y.argmax(axis=0) + y.argmin(),
    "cumulative": lambda xp, x, y: y.cumsum(axis=1) + y.cumprod(axis=0),
    "argsort": lambda xp, x, y: y.argsort() + y.argsort(axis=0)[:, ::-1],
    "flat": lambda xp, x, y: y.ravel() + y.flatten(),
    "squeeze": lambda xp, x, y: y[:1].squeeze() + y[:, :1].squeeze(axis=1)[0],
    "clip": lambda xp, x, y: y.clip(-1, 1) + y.clip(min=0),
    "round": lambda xp, x, y: y.round() + y.round(1),
    "take": lambda xp, x, y: y.take(1, axis=1),
    "diagonal": lambda xp, x, y: y.diagonal() + y.diagonal(0, 1, 0),
    "iter": lambda xp, x, y: sum(row for row in y) + len(y),
    "shape": lambda xp, x, y: y * y.size + y.ndim + y.shape[1],
    "T": lambda xp, x, y: y.T,
}


def hidden_ones():
    return to_device(np.ones((2, 2), "float32"))


CASES += [of(f"method {name}", f, F(3), F(2, 3)) for name, f in METHODS.items()]


def names(cases):
    count = itertools.count()
    return [f"{next(count)} {c.name}" for c in cases]


def there(xp, name):
    """Whether the module below has that function: the stand-in for CuPy lacks some."""
    for part in name.split("."):
        if not hasattr(xp, part):
            return False
        xp = getattr(xp, part)
    return True


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_a_function_does_for_all_examples_what_numpy_does_for_one(case):
    if " " not in case.name and not there(backend.xp(), case.name):
        pytest.skip(f"{backend.get_backend()} has no {case.name}")
    for levels in itertools.product(LEVELS, repeat=len(case.draws)):
        if any(levels):
            lengths = {1: 2, 2: 3}
            compare(case.function, drawn(case.draws, levels, lengths), levels, lengths)


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
@pytest.mark.parametrize("length", [0, 1])
def test_batches_of_no_and_of_one_example(case, length):
    if " " not in case.name and not there(backend.xp(), case.name):
        pytest.skip(f"{backend.get_backend()} has no {case.name}")
    for levels in [((1,),) * len(case.draws), ((1,), *((),) * (len(case.draws) - 1)),
                   ((1, 2),) * len(case.draws)]:  # fmt: skip
        lengths = {1: length, 2: 2}
        found = compare(case.function, drawn(case.draws, levels, lengths), levels, lengths)
        ones = drawn(case.draws, levels, {1: 1, 2: 2})
        expected = compare(case.function, ones, levels, {1: 1, 2: 2})
        for y, z in zip(found, expected, strict=True):
            assert y.dtype == z.dtype
            assert y.shape == (length, *z.shape[1:])


def public(module):
    return {name for name in vars(module) if not name.startswith("_")}


def test_every_function_is_in_the_table():
    imported = {name for name, x in vars(batched).items() if type(x) is type(ast)}
    helpers = {
        "ALONG", "Any", "BLANK", "Batched", "Callable", "DECOMPOSITIONS", "ELEMENTWISE",
        "REDUCTIONS", "SAME", "SIZED_BY_VALUES", "Sequence", "ShapeError", "SimpleNamespace",
        "UNCHANGED", "add_levels", "array_module", "as_output", "base", "hide", "is_array",
        "levels_of", "linalg", "ModuleType", "normalize_axis_index", "normalize_axis_tuple", "show",
        "sum_levels",
    }  # fmt: skip
    same = {*batched.SAME.split(), *batched.SIZED_BY_VALUES.split()}
    functions = public(batched) - imported - helpers - same
    functions |= {f"linalg.{name}" for name in vars(batched.linalg)}
    assert functions <= {c.name for c in CASES}, "a function without a test"


def test_every_function_that_an_op_calls_is_there():
    package = Path(mg.__file__).parent
    for path in [*package.glob("ops/*.py"), *package.glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Attribute):
                continue
            name, base = node.attr, node.value
            if isinstance(base, ast.Attribute) and base.attr == "linalg":
                name, base = f"linalg.{name}", base.value
            if isinstance(base, ast.Name) and base.id == "xp" and name != "cuda":
                assert there(batched, name), f"{path.name} calls xp.{name}"


# ------------------------------------------------------------------------------------- indices


class At(NamedTuple):
    """An array in an index: its values for each example, and which levels they differ at."""

    levels: tuple[int, ...]
    values: np.ndarray


@st.composite
def indices(draw, shape, masks=True):
    """An index into an array of `shape`: a tuple, in which an `At` stands for an array."""
    kinds = ["int", "slice", "array", "mask"] if masks else ["int", "slice", "array"]
    block = draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=1, max_side=3))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    index, axis, arrays = [], 0, 0
    while axis < len(shape):
        kind = draw(st.sampled_from([*kinds, "new", "rest"]))
        n = shape[axis]
        if kind == "new":
            if len(index) < 6:
                index.append(None)
            continue
        if kind == "rest":
            break
        axis += 1
        if kind == "slice":
            index.append(draw(st.slices(n)))
        elif kind == "int":
            index.append(draw(st.integers(-n, n - 1)))
        elif kind == "mask" and not arrays:
            arrays += 1
            length = (n,)
            if axis < len(shape) and draw(st.booleans()):
                length, axis = shape[axis - 1 : axis + 1], axis + 1
            mask = np.arange(np.prod(length)) < (block[-1] if block else 1)
            index.append(At((), rng.permutation(mask).reshape(length)))
        else:
            arrays += 1
            own = draw(st.sampled_from(DEEP_LEVELS))
            s = tuple(draw(st.sampled_from([m, m, 1])) for m in block[draw(st.integers(0, 2)) :])
            own_shape = (*(LENGTHS[i] for i in own), *s)
            index.append(At(own, rng.integers(-n, n, own_shape)))
    if draw(st.booleans()):
        index.insert(draw(st.integers(0, len(index))) if axis == len(shape) else len(index), ...)
    return tuple(index)


def batched_index(index):
    index = tuple(hidden(p.values, p.levels) if type(p) is At else p for p in index)
    return index[0] if len(index) == 1 else index


def index_of_one(index, at):
    index = tuple(one(p.values, p.levels, at) if type(p) is At else p for p in index)
    return index[0] if len(index) == 1 else index


def numpy_result(x, own, index, at):
    try:
        return one(x, own, at)[index_of_one(index, at)]
    except IndexError:  # the arrays do not broadcast
        return None


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_reading_what_an_index_selects(data):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4))
    own = data.draw(st.sampled_from(DEEP_LEVELS))
    index = data.draw(indices(shape))
    assume(own or any(type(p) is At and p.levels for p in index))
    x = np.random.default_rng(0).random((*(LENGTHS[i] for i in own), *shape))
    expected = [numpy_result(x, own, index, at) for at in examples(LENGTHS)]
    assume(all(e is not None for e in expected))
    y = hidden(x, own)
    y = y[batched_index(index)] if own else batched._read(y, batched_index(index))
    y = shown(y, LENGTHS)
    for at, e in zip(examples(LENGTHS), expected, strict=True):
        np.testing.assert_array_equal(y[tuple(at.values())], e)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_writing_where_an_index_selects(data):
    """As formulas do: into an array of their own, blank or a copy, by `=` or by `add.at`."""
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    index = data.draw(indices(shape))
    own = data.draw(st.sampled_from([None, *DEEP_LEVELS[1:]]))  # None: blank
    of_v = data.draw(st.sampled_from(DEEP_LEVELS))
    add = data.draw(st.booleans())
    rng = np.random.default_rng(0)
    x = rng.random((*(LENGTHS[i] for i in own or ()), *shape))
    expected = [numpy_result(x, own or (), index, at) for at in examples(LENGTHS)]
    assume(all(e is not None for e in expected))
    v_shape = tuple(data.draw(st.sampled_from([n, n, n, 1])) for n in np.shape(expected[0]))
    v_shape = v_shape[data.draw(st.sampled_from([0, 0, 1])) :]
    v = rng.random((*(LENGTHS[i] for i in of_v), *v_shape))
    for at in examples(LENGTHS):  # which of two values stays, nobody says
        count = np.zeros(shape, int)
        np.add.at(count, index_of_one(index, at), 1)
        assume(add or count.max(initial=0) <= 1)

    def write(xp, y, at, v):
        if add and xp is np:  # NumPy 2.4 reads too far in a 1-d `v` for a 2-d index: broadcast it
            np.add.at(y, at, np.broadcast_to(v, y[at].shape))
        elif add:
            xp.add.at(y, at, v)
        else:
            y[at] = v
        return y

    given_x, given_v = hidden(x, own or ()), hidden(v, of_v)
    start = batched_zeros(shape) if own is None else given_x.copy()
    xp = array_module(start)
    y = shown(write(xp, start, batched_index(index), given_v), LENGTHS)
    for at in examples(LENGTHS):
        e = np.zeros(shape) if own is None else one(x, own, at).copy()
        write(np, e, index_of_one(index, at), one(v, of_v, at))
        np.testing.assert_allclose(y[tuple(at.values())], e, rtol=1e-12)
    assert levels_of(given_x) == tuple((i, LENGTHS[i]) for i in own or ()), "a copy was written to"
    np.testing.assert_array_equal(shown(given_x, {i: LENGTHS[i] for i in own or ()}), x)


def batched_zeros(shape):
    """Zeros as a formula makes them."""
    return array_module(hidden(np.zeros(1), (1,))).zeros(shape)
