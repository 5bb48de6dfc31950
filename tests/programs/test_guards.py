"""What `mg.jit` reads beside the arguments is compared before each run: no call goes on with an old
value. A value that cannot be compared makes the function run as it is.
"""

import abc
import argparse
import builtins
import collections
import contextvars
import ctypes
import dataclasses
import enum
import functools
import itertools
import json
import os
import random as python_random
import re
import subprocess
import sys
import threading
import time
import types
import warnings
import weakref

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.programs.guards import LIBRARY, OURS, USERS, names_in, owner_of

GLOBAL = [2.0]
NUMBER = 2.0
CACHED = [types.SimpleNamespace()]
CALLS = 3


def value_of(f, x=1.0):
    return f(mg.tensor([x])).item()


def check(f, change, *, expected=(2.0, 5.0)):
    """`f` gives what it gives without jit, before and after `change`; it is never told twice."""
    before, after = expected
    fast = mg.jit(f)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert [value_of(fast) for _ in range(CALLS)] == [before] * CALLS
        change()
        assert [value_of(fast) for _ in range(CALLS)] == [after] * CALLS
    assert value_of(f) == after
    assert len(told) <= 1, [str(w.message) for w in told]
    return fast


class Plain:
    scale = 2.0

    def __init__(self, value=2.0):
        self.value = value
        self.nested = {"a": [value]}

    @property
    def doubled(self):
        return self.value * 1

    def method(self, x):
        return x * self.value

    def of_the_class(self, x):
        return x * self.scale

    def __call__(self, x):
        return x * self.value


class Slots:
    __slots__ = ("value",)

    def __init__(self):
        self.value = 2.0


class Lazy:
    """Attributes that are looked up by hand."""

    def __init__(self):
        self.found = {"value": 2.0}

    def __getattr__(self, name):
        return self.__dict__["found"][name]


class Colour(enum.Enum):
    RED = [2.0]  # noqa: RUF012 (what is tested)


class Heavy(float):
    """A number with attributes."""


class Positional:
    __match_args__ = ("value",)

    def __init__(self, value=2.0):
        self.value = value


@dataclasses.dataclass
class Options:
    value: float = 2.0
    other: int = 1


class Weighted(nn.Module):
    def __init__(self):
        self.weights = {"a": [2.0]}
        self.listed = [2.0]
        self._private = 2.0
        self.options = Options()


def helper(x):
    return x * GLOBAL[0]


def with_default(x, scale=[2.0]):  # noqa: B006 (what is tested)
    return x * scale[0]


def factory(box):
    def inner(x):
        return x * box[0]

    return inner


def setter(container, key, value=5.0):
    return functools.partial(container.__setitem__, key, value)


def cases():
    """Pairs of a function and what makes it give 5 in place of 2."""
    box = [2.0]
    yield "list", lambda x: x * box[0], setter(box, 0)
    named = {"a": 2.0}
    yield "dict", lambda x: x * named["a"], setter(named, "a")
    looked_up = {"a": 2.0}
    yield "dict.get", lambda x: x * looked_up.get("a", 1.0), setter(looked_up, "a")
    absent = {}
    yield "absent key", lambda x: x * absent.get("a", 2.0), setter(absent, "a")
    members = {1, 2}
    yield "set", lambda x: x * (2.0 if 1 in members else 5.0), lambda: members.discard(1)
    length = [0, 0]
    yield "length", lambda x: x * float(len(length)), lambda: length.extend([0] * 3)
    deep = {"a": [({"b": 2.0},)]}
    yield "nested", lambda x: x * deep["a"][0][0]["b"], lambda: deep["a"][0][0].update(b=5.0)
    ordered = collections.OrderedDict(a=2.0)
    yield "OrderedDict", lambda x: x * next(iter(ordered.values())), setter(ordered, "a")
    counted = collections.defaultdict(float, a=2.0)
    yield "defaultdict", lambda x: x * counted["a"], setter(counted, "a")
    queue = collections.deque([2.0])
    yield "deque", lambda x: x * queue[-1], lambda: queue.append(5.0)
    chain = collections.ChainMap({}, {"a": 2.0})
    yield "ChainMap", lambda x: x * chain["a"], setter(chain, "a")
    user_dict = collections.UserDict(a=2.0)
    yield "UserDict", lambda x: x * user_dict["a"], setter(user_dict, "a")
    view = types.MappingProxyType(proxied := {"a": 2.0})
    yield "MappingProxyType", lambda x: x * view["a"], setter(proxied, "a")
    raw = bytearray(b"\x02")
    yield "bytearray", lambda x: x * float(raw[0]), setter(raw, 0, 5)

    yield "global", helper, setter(GLOBAL, 0)
    yield "helper", lambda x: helper(x), setter(GLOBAL, 0)
    yield "rebound global", lambda x: x * NUMBER, setter(globals(), "NUMBER")
    yield "rebound helper", lambda x: helper(x), setter(globals(), "helper", lambda x: x * 5.0)
    closed = [2.0]
    yield "closure of a helper", factory(closed), setter(closed, 0)
    yield "default", with_default, lambda: with_default.__defaults__[0].__setitem__(0, 5.0)
    part = functools.partial(lambda s, x: x * s[0], part_box := [2.0])
    yield "partial", part, setter(part_box, 0)
    keywords = functools.partial(lambda x, s: x * s, s=2.0)
    yield "keyword of a partial", keywords, lambda: keywords.keywords.update(s=5.0)

    def attributed(x):
        return x * attributed.scale

    attributed.scale = 2.0
    yield "attribute of a function", attributed, lambda: setattr(attributed, "scale", 5.0)

    o = Plain()
    yield "attribute", lambda x: x * o.value, lambda: setattr(o, "value", 5.0)
    o2 = Plain()
    yield "property", lambda x: x * o2.doubled, lambda: setattr(o2, "value", 5.0)
    o3 = Plain()
    yield "bound method", o3.method, lambda: setattr(o3, "value", 5.0)
    o4 = Plain()
    yield "callable object", o4, lambda: setattr(o4, "value", 5.0)
    o5 = Plain()
    yield "nested attribute", lambda x: x * o5.nested["a"][0], lambda: setter(o5.nested["a"], 0)()
    yield "class", lambda x: x * Plain.scale, lambda: setattr(Plain, "scale", 5.0)
    yield "class by an object", Plain().of_the_class, lambda: setattr(Plain, "scale", 5.0)
    shadowed = Plain()
    yield "shadowed class", shadowed.of_the_class, lambda: setattr(shadowed, "scale", 5.0)
    slots = Slots()
    yield "slots", lambda x: x * slots.value, lambda: setattr(slots, "value", 5.0)
    options = Options()
    yield "dataclass", lambda x: x * options.value, lambda: setattr(options, "value", 5.0)
    shown = Options()
    yield (
        "asdict",
        lambda x: x * dataclasses.asdict(shown)["value"],
        lambda: setattr(shown, "value", 5.0),
    )
    computed = Plain()
    yield (
        "getattr",
        lambda x: x * getattr(computed, "".join(["val", "ue"])),
        lambda: setattr(computed, "value", 5.0),
    )
    named_attribute = types.SimpleNamespace()
    yield (
        "absent attribute",
        lambda x: x * getattr(named_attribute, "scale", 2.0),
        lambda: setattr(named_attribute, "scale", 5.0),
    )
    spread = Plain()
    yield "vars", lambda x: x * vars(spread)["value"], lambda: setattr(spread, "value", 5.0)
    arguments = argparse.Namespace(scale=2.0)
    yield "Namespace", lambda x: x * arguments.scale, lambda: setattr(arguments, "scale", 5.0)
    lazy = Lazy()
    yield "__getattr__", lambda x: x * lazy.value, setter(lazy.found, "value")
    local = threading.local()
    local.value = 2.0
    yield "threading.local", lambda x: x * local.value, lambda: setattr(local, "value", 5.0)
    variable = contextvars.ContextVar("variable", default=2.0)
    yield "ContextVar", lambda x: x * variable.get(), lambda: variable.set(5.0)
    target = Plain()
    reference = weakref.ref(target)
    yield "weakref", lambda x: x * reference().value, lambda: setattr(target, "value", 5.0)
    module = types.ModuleType("other_settings")
    module.scale = 2.0
    yield "module", lambda x: x * module.scale, lambda: setattr(module, "scale", 5.0)
    imported = types.ModuleType("settings_of_a_test")
    imported.scale = 2.0
    sys.modules[imported.__name__] = imported

    def imports(x):
        from settings_of_a_test import scale

        return x * scale

    yield "import", imports, lambda: setattr(imported, "scale", 5.0)

    numbers = np.array([2.0, 3.0])
    yield "array", lambda x: x * numbers[0], setter(numbers, 0)
    whole = np.array([2.0], "float32")
    yield "array for an op", lambda x: x * whole, setter(whole, 0)
    both = np.array([1.0, 2.0], "float32")
    yield "array for both", lambda x: (x * both).sum() * 0 + both[1], setter(both, 1)
    flag = np.array(2.0)
    yield "0-d array", lambda x: x * float(flag), lambda: flag.fill(5.0)
    listed = np.array([2.0])
    yield "tolist", lambda x: x * listed.tolist()[0], setter(listed, 0)

    m = Weighted()
    yield "module's dict", lambda x: x * m.weights["a"][0], setter(m.weights["a"], 0)
    m2 = Weighted()
    yield "module's list", lambda x: x * m2.listed[0], setter(m2.listed, 0)
    m3 = Weighted()
    yield "module's private", lambda x: x * m3._private, lambda: setattr(m3, "_private", 5.0)
    m4 = Weighted()
    yield (
        "module's object",
        lambda x: x * m4.options.value,
        lambda: setattr(m4.options, "value", 5.0),
    )
    os.environ["MINIGRAD_TEST"] = "2"
    yield (
        "os.environ",
        lambda x: x * float(os.environ["MINIGRAD_TEST"]),
        setter(os.environ, "MINIGRAD_TEST", "5"),
    )
    yield (
        "os.getenv",
        lambda x: x * float(os.getenv("MINIGRAD_TEST", "0")),
        setter(os.environ, "MINIGRAD_TEST", "5"),
    )

    @functools.cache
    def kept():
        return GLOBAL[0]

    yield "cached function", lambda x: x * kept(), lambda: (setter(GLOBAL, 0)(), kept.cache_clear())
    adam = optim.Adam(nn.Linear(2, 2), lr=2.0)
    yield "learning rate as a number", lambda x: x * adam.lr, lambda: setattr(adam, "lr", 5.0)
    groups = optim.Adam(nn.Linear(2, 2), lr=2.0)
    yield (
        "param_groups",
        lambda x: x * groups.param_groups[0]["lr"],
        setter(groups.param_groups[0], "lr"),
    )

    yield from cases_of_python()


def cases_of_python():
    """Places of the language itself that a step can read."""
    record = np.array([(2.0, 1)], dtype=[("a", "f8"), ("b", "i4")])[0]
    yield "row of a structured array", lambda x: x * record["a"], setter(record, "a")
    yield "member of an Enum", lambda x: x * Colour.RED.value[0], setter(Colour.RED.value, 0)
    Colour.RED.scale = 2.0
    yield (
        "attribute of a member",
        lambda x: x * Colour.RED.scale,
        lambda: setattr(Colour.RED, "scale", 5.0),
    )
    heavy = Heavy(1.0)
    heavy.value = 2.0
    yield "number with attributes", lambda x: x * heavy.value, lambda: setattr(heavy, "value", 5.0)
    heavies = (Heavy(1.0),)
    heavies[0].value = [2.0]
    yield "in a tuple", lambda x: x * heavies[0].value[0], setter(heavies[0].value, 0)
    patched = factory([2.0])
    other = factory([2.0])
    other.__code__ = (lambda box: lambda x: x * box[0] * 2.5)([1]).__code__

    def by(x):
        return patched(x)

    yield "code of a function", by, lambda: setattr(patched, "__code__", other.__code__)

    def only_named(x, *, scale=2.0):
        return x * scale

    yield (
        "keyword default",
        lambda x: only_named(x),
        lambda: setattr(only_named, "__kwdefaults__", {"scale": 5.0}),
    )
    late = None

    def set_late():
        nonlocal late
        late = 5.0

    def reads_late(x):
        try:
            return x * late
        except NameError:
            return x * 2.0

    del late
    yield "closure that is empty", reads_late, set_late
    partials = type("Partials", (), {"of": functools.partialmethod(lambda _, s, x: x * s[0], [2])})
    yield "partialmethod", lambda x: partials().of(x), setter(vars(partials)["of"].args[0], 0)
    space = {"o": types.SimpleNamespace(seen_by_eval=2.0)}
    yield (
        "eval",
        lambda x: x * eval("o.seen_by_eval", space),
        lambda: setattr(space["o"], "seen_by_eval", 5.0),
    )
    variables = {"v": 2.0}
    yield "variables of eval", lambda x: x * eval("v", {}, variables), setter(variables, "v")

    @functools.singledispatch
    def dispatched(kind):
        return 2.0

    yield (
        "singledispatch",
        lambda x: x * dispatched(""),
        lambda: dispatched.register(str, lambda kind: 5.0),
    )
    matched = Positional()

    def matches(x):
        match matched:
            case Positional(value):
                return x * value

    yield "match", matches, lambda: setattr(matched, "value", 5.0)
    becomes = type("Two", (), {"value": 2.0})()
    yield (
        "class of an object",
        lambda x: x * becomes.value,
        lambda: setattr(becomes, "__class__", type("Five", (), {"value": 5.0})),
    )
    bases = type("Zero", (), {}), type("Two", (), {"v": 2.0}), type("Five", (), {"v": 5.0})
    two, five = (type("Base", (bases[0],), {"scale": b.v}) for b in bases[1:])
    derived = type("Derived", (two,), {})
    yield (
        "bases of a class",
        lambda x: x * derived.scale,
        lambda: setattr(derived, "__bases__", (five,)),
    )
    true = type("Truth", (), {})
    yield (
        "special method that is added",
        lambda x: x * (2.0 if true() else 5.0),
        lambda: setattr(true, "__bool__", lambda _: False),
    )

    class Registry(abc.ABC):  # noqa: B024 (what is tested)
        pass

    yield (
        "class that is registered",
        lambda x: x * (5.0 if isinstance(matched, Registry) else 2.0),
        lambda: Registry.register(Positional),
    )
    answering = types.ModuleType("module_that_answers")
    answering.found = {"value": 2.0}
    answering.__getattr__ = lambda name: answering.found["value"]
    yield "__getattr__ of a module", lambda x: x * answering.value, setter(answering.found, "value")
    number = ctypes.c_double(2.0)
    yield "number of ctypes", lambda x: x * number.value, lambda: setattr(number, "value", 5.0)
    made_by = collections.defaultdict(lambda: 2.0)
    yield (
        "factory of a defaultdict",
        lambda x: x * (made_by[0], made_by.clear())[0],
        lambda: setattr(made_by, "default_factory", lambda: 5.0),
    )
    formed = np.zeros((2, 5))
    yield (
        "shape of an array",
        lambda x: x * formed.shape[0],
        lambda: setattr(formed, "shape", (5, 2)),
    )
    told = np.zeros(2).view(type("Told", (np.ndarray,), {}))
    told.value = 2.0
    yield "attribute of an array", lambda x: x * told.value, lambda: setattr(told, "value", 5.0)
    held = mg.tensor([1.0], requires_grad=True)
    yield (
        "gradient that is there",
        lambda x: x * (2.0 if held.grad is None else 5.0),
        lambda: setattr(held, "grad", mg.tensor([1.0])),
    )
    formatted, template = Plain(), "{0.value}"
    yield (
        "str.format",
        lambda x: x * float(template.format(formatted)),
        lambda: setattr(formatted, "value", 5.0),
    )
    called = type("Called", (), {})
    yield (
        "name of a class",
        lambda x: x * (2.0 if called.__name__ == "Called" else 5.0),
        lambda: setattr(called, "__name__", "Other"),
    )

    def inner():
        return CACHED[0].of_a_kept_result

    @functools.lru_cache
    def outer(key):
        return inner()

    CACHED[0].of_a_kept_result = 2.0
    outer(1)  # so that `inner` does not run under jit
    yield (
        "what a kept result was made of",
        lambda x: x * outer(1),
        lambda: (setattr(CACHED[0], "of_a_kept_result", 5.0), outer.cache_clear()),
    )
    sys.argv_of_a_test = ["2"]
    yield (
        "list in a library's module",
        lambda x: x * float(sys.argv_of_a_test[0]),
        setter(sys.argv_of_a_test, 0, "5"),
    )

    def imports_by_another_name(x):
        import json as j

        return x * j.value_of_a_test

    json.value_of_a_test = 2.0
    yield (
        "name in a library's module",
        imports_by_another_name,
        lambda: setattr(json, "value_of_a_test", 5.0),
    )
    nn.functional.op_of_a_test = lambda x: x * 2
    yield (
        "function that was put into ours",
        lambda x: mg.nn.functional.op_of_a_test(x),
        lambda: setattr(nn.functional, "op_of_a_test", lambda x: x * 5),
    )
    yield (
        "builtin",
        lambda x: x * (2.0 if callable(x) is False else 5.0),
        lambda: setattr(builtins, "callable", lambda x: True),
    )


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setitem(globals(), "GLOBAL", GLOBAL)
    monkeypatch.setattr(builtins, "callable", callable)
    GLOBAL[0] = 2.0
    globals().update(NUMBER=2.0, helper=HELPER)
    Plain.scale = 2.0
    with_default.__defaults__[0][0] = 2.0
    monkeypatch.setenv("MINIGRAD_TEST", "2")


HELPER = helper
CASES = list(cases())


@pytest.mark.parametrize(("f", "change"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_what_is_read_outside_may_change(f, change):
    check(f, change)


def moving():
    """Functions that read what nobody can compare: they run as they are."""
    counter = itertools.count()
    yield "iterator", lambda x: x + next(counter)
    state = {"n": 0}

    def counts(x):
        state["n"] += 1
        return x + state["n"]

    yield "counter", counts
    o = Plain(0.0)

    def moves(x):
        o.value = o.value + 1
        return x + o.value

    yield "attribute", moves
    yield "time", lambda x: x + time.perf_counter_ns() % 1_000_000
    yield "random", lambda x: x + python_random.random()
    yield "numpy.random", lambda x: x + float(np.random.rand())
    generator = np.random.default_rng(0)
    yield "Generator", lambda x: x + float(generator.random())
    dice = python_random.Random(0)
    yield "Random", lambda x: x + dice.random()
    numbers = np.zeros(1)

    def in_an_array(x):
        numbers[0] += 1
        return x + float(numbers[0])

    yield "array", in_an_array
    history = []

    def keeps(x):
        history.append(1)
        return x + float(len(history))

    yield "list", keeps
    memory = types.SimpleNamespace(last=None)

    def carries(x):
        y = x if memory.last is None else x + memory.last
        memory.last = y
        return y

    yield "state in a tensor", carries


@pytest.mark.parametrize("f", [c[1] for c in moving()], ids=[c[0] for c in moving()])
def test_what_cannot_be_compared_runs_as_it_is(f):
    fast = mg.jit(f)
    with pytest.warns(UserWarning, match="runs as it is") as told:
        found = [value_of(fast) for _ in range(5)]
    assert len(told) == 1
    assert len(set(found)) == 5
    with pytest.raises(mg.errors.CaptureError, match="runs as it is"):
        fast.program()


def test_a_file_that_is_read_makes_it_run_as_it_is(tmp_path):
    path = tmp_path / "scale.txt"
    path.write_text("2")

    def f(x):
        with open(path) as file:
            return x * float(file.read())

    check(f, lambda: path.write_text("5"))
    path.write_text("2")
    check(lambda x: x * float(path.read_text()), lambda: path.write_text("5"))


def test_an_object_among_the_arguments():
    f = mg.jit(lambda x, o, names: x * o.value * names["a"][0])
    x, o, names = mg.tensor([1.0]), Plain(), {"a": [1.0]}
    assert [f(x, o, names).item() for _ in range(3)] == [2.0] * 3
    o.value = 5.0
    assert f(x, o, names).item() == 5.0
    names["a"][0] = 2.0
    assert f(x, o, names).item() == 10.0
    assert f(x, Plain(3.0), names).item() == 6.0
    assert f(x, o, names).item() == 10.0
    del o
    assert [f(x, Plain(float(i)), {"a": [1.0]}).item() for i in range(4)] == [0.0, 1.0, 2.0, 3.0]


def test_the_form_of_the_arguments_is_part_of_the_program():
    f = mg.jit(lambda tree, y=None: sum(tree.values()) if isinstance(tree, dict) else tree[0] - y)
    a, b = mg.tensor([1.0]), mg.tensor([2.0])
    g = mg.jit(lambda d: d["a"] * 10 + d["b"])
    assert g({"a": a, "b": b}).item() == 12
    assert g({"b": b, "a": a}).item() == 12
    h = mg.jit(lambda p, q: 1.0 * p if q is None else 2.0 * q)
    assert (h(a, None).item(), h(None, a).item(), h(a, None).item()) == (1.0, 2.0, 1.0)
    assert f({"a": a}).item() == 1
    assert f([b], a).item() == 1


def test_numbers_that_are_equal_and_not_the_same():
    f = mg.jit(lambda x, s: x * s)
    ids = np.array([3])
    assert f(ids, 1).dtype == "int64"
    assert f(ids, 1.0).dtype == "float32"
    assert f(ids, True).dtype == "int64"
    x = mg.tensor([1.0])
    assert [bool(np.signbit(f(x, s).data[0])) for s in (-0.0, 0.0, -0.0)] == [True, False, True]
    for _ in range(3):
        assert np.isnan(f(x, float("nan")).item())
    assert [f(x, np.float32(v)).item() for v in (1, 2, 3, 2)] == [1, 2, 3, 2]
    assert len(f.steps) < 12


def test_a_loss_weight_in_a_list_steers_the_weights():
    def trained(jit):
        with mg.random.stream(0):
            model = nn.Linear(3, 1)
        sgd, weight = optim.SGD(model, lr=0.1), [1.0]

        def step(x):
            loss = (model(x) ** 2).mean() * weight[0]
            loss.backward()
            sgd.step()
            sgd.zero_grad()
            return loss

        step = mg.jit(step) if jit else step
        x = mg.Tensor(np.ones((4, 3), "float32"))
        for i in range(9):
            weight[0] = float(i // 3)
            step(x)
        return model.weight.data

    np.testing.assert_allclose(trained(True), trained(False), rtol=1e-5)


def test_values_that_come_again_are_not_captured_again():
    mode = ["a"]

    def f(x):
        return x * (2.0 if mode[0] == "a" else 3.0)

    fast = mg.jit(f)
    for name in "aabbababab":
        mode[0] = name
        assert value_of(fast) == (2.0 if name == "a" else 3.0)
    assert len(fast.steps) == 2


def test_what_changes_in_every_call_ends_in_running_as_it_is():
    box = [0.0]
    fast = mg.jit(lambda x: x * box[0])

    def called(i):
        box[0] = float(i)
        return value_of(fast)

    with pytest.warns(UserWarning, match=r"again and again with another 'box'.*argument") as told:
        assert [called(i) for i in range(20)] == list(range(20))
    assert len(told) == 1


def test_what_a_step_leaves_behind_does_not_end_its_program():
    class Remembers(nn.Module):
        def forward(self, x):
            self.last = mg.tanh(x)
            return self.last * 2

    model = Remembers()
    holder = types.SimpleNamespace(loss=None)

    def step(x):
        y = model(x).sum()
        holder.loss = y
        return y + model.last.sum()

    fast = mg.jit(step)
    for i in range(5):
        x = mg.tensor([float(i)])
        assert fast(x).item() == pytest.approx(step(x).item(), rel=1e-6)
    assert fast.program()


def test_what_is_computed_once_and_kept_is_captured_the_second_time():
    class Masked(nn.Module):
        mask = None

        def forward(self, x):
            if self.mask is None:
                self.mask = mg.tril(mg.ones((3, 3)))
            return x * self.mask

    model = Masked()
    fast = mg.jit(model)
    for i in range(5):
        x = np.full((3, 3), i + 1, "float32")
        np.testing.assert_array_equal(fast(x).data, x * np.tril(np.ones((3, 3))))
    assert len(fast.steps) == 1
    model.mask = mg.ones((3, 3))
    np.testing.assert_array_equal(fast(x).data, x)


def test_a_frozen_parameter_is_noticed():
    model = nn.Linear(2, 1, bias=False)
    before = model.weight.data.copy()
    sgd = optim.SGD(model, lr=0.1)

    @mg.jit
    def step(x):
        loss = model(x).sum()
        if loss.requires_grad:
            loss.backward()
        sgd.step()
        sgd.zero_grad()
        return loss

    x = mg.Tensor(np.ones((1, 2), "float32"))
    for _ in range(3):
        step(x)
    moved = model.weight.data.copy()
    assert (moved != before).all()
    model.weight.requires_grad = False
    step(x)
    np.testing.assert_array_equal(model.weight.data, moved)
    model.requires_grad_(True)
    step(x)
    assert (model.weight.data != moved).all()


def test_a_hook_and_a_deleted_attribute_are_noticed():
    model = nn.Linear(1, 1, bias=False)
    model.weight.data = np.ones((1, 1), "float32")
    fast = mg.jit(model)
    assert [value_of(fast) for _ in range(3)] == [1, 1, 1]
    remove = model.register_forward_hook(lambda m, args, y: y * 2)
    assert [value_of(fast) for _ in range(3)] == [2, 2, 2]
    model.register_forward_hook(lambda m, args, y: y * 5)
    assert value_of(fast) == 10
    remove()
    assert value_of(fast) == 5

    class Scaled(nn.Module):
        scale = 2.0

        def forward(self, x):
            return x * self.scale

    scaled = Scaled()
    scaled.scale = 5.0
    fast = mg.jit(scaled)
    assert [value_of(fast) for _ in range(3)] == [5, 5, 5]
    del scaled.scale
    assert value_of(fast) == 2


OPTIMIZERS = [
    x for name in optim.__all__ if isinstance(x := getattr(optim, name), type)
    and issubclass(x, optim.Optimizer) and x not in (optim.Optimizer, optim.SparseAdam)
]  # fmt: skip


@pytest.mark.parametrize("make", OPTIMIZERS)
@pytest.mark.parametrize("when", ["before", "between", "both"])
@pytest.mark.parametrize("layout", ["C", "F", "view"])
def test_weights_that_are_set_by_hand(make, when, layout):
    def given(seed):
        array = np.random.default_rng(seed).standard_normal((3, 4)).astype("float32")
        if layout == "view":
            return np.concatenate([array, array])[::2].repeat(1, axis=0)[:3]
        return np.asarray(array, order=layout)

    def trained(jit):
        with mg.random.stream(1):
            model = nn.Linear(4, 3)
        optimizer = make(model, lr=0.1)

        def step(x):
            loss = (model(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        step = mg.jit(step) if jit else step
        x = mg.Tensor(np.random.default_rng(5).standard_normal((2, 4)).astype("float32"))
        losses = []
        for i in range(6):
            if (i == 0 and when != "between") or (i in (1, 4) and when != "before"):
                model.weight.data = given(i)
            losses.append(step(x).item())
        return losses, model.weight.data, step

    (mine, weights, step), (theirs, expected, _) = trained(True), trained(False)
    np.testing.assert_allclose(mine, theirs, rtol=1e-4)
    np.testing.assert_allclose(weights, expected, rtol=1e-3, atol=1e-5)
    assert len(step.steps) == 1


def test_objects_that_answer_any_name_do_no_harm():
    class Holder:
        lazy, value = Lazy(), 2.0

        @functools.lru_cache  # noqa: B019 (what is tested)
        def kept(self, key):
            return self.lazy.value * self.value / 2

    holder = Holder()
    check(
        lambda x: x * holder.kept(1),
        lambda: (setattr(holder, "value", 5.0), Holder.kept.cache_clear()),
    )


def test_much_memory_of_others_is_not_compared():
    big = bytearray(1 << 21)
    big[0] = 2
    fast = mg.jit(lambda x: x * float(big[0]))
    with pytest.warns(UserWarning, match="'big' has 2 MB, which are not compared"):
        assert value_of(fast) == 2
    big[0] = 5
    assert value_of(fast) == 5


def _changed(layer, attribute, value):
    return lambda: setattr(layer, attribute, value)


def containers():
    """Modules that hold others in attributes which no code names, and how to change them."""

    class Both(nn.Module):
        def __init__(self):
            self.a, self.b = nn.LeakyReLU(0.5), nn.LeakyReLU(0.5)

        def forward(self, x):
            for child in self.children():
                x = child(x)
            return x

    class Dicts(nn.Module):
        def __init__(self):
            self.parts = nn.ModuleDict({"a": nn.LeakyReLU(0.5)})
            self.scales = nn.ParameterDict({"a": nn.Parameter([2.0])})
            self.more = nn.ParameterList([nn.Parameter([1.0])])

        def forward(self, x):
            return self.parts["a"](x) * self.scales["a"] * self.more[0]

    def five():
        return nn.Parameter(np.float32([5.0]))

    m = nn.Sequential(nn.LeakyReLU(0.5), nn.Tanh())
    yield m, _changed(m[0], "negative_slope", 0.1)
    yield m, lambda m=m: m.append(nn.LeakyReLU(0.1))
    yield m, lambda m=m: m.pop()
    yield m, lambda m=m: m.__setitem__(0, nn.LeakyReLU(0.9))
    yield m, lambda m=m: m[1].register_forward_hook(lambda module, args, y: y * 3)
    deep = nn.Sequential(nn.Sequential(nn.Linear(1, 1)))
    yield deep, lambda: setattr(deep[0][0], "weight", five().reshape(1, 1))
    both = Both()
    yield both, _changed(both, "c", nn.LeakyReLU(0.1))
    yield both, _changed(both.b, "negative_slope", 0.1)
    dicts = Dicts()
    yield dicts, lambda: dicts.parts.update({"a": nn.LeakyReLU(0.1)})
    yield dicts, lambda: dicts.scales.update({"a": five()})
    yield dicts, lambda: dicts.more.__setitem__(0, five())


def test_what_modules_hold_without_a_name_is_noticed():
    for i, (module, change) in enumerate(containers()):
        fast = mg.jit(module)
        before = [value_of(fast, -1.0) for _ in range(CALLS)]
        change()
        after = value_of(module, -1.0)
        assert before[0] != after, i
        assert [value_of(fast, -1.0) for _ in range(CALLS)] == pytest.approx([after] * CALLS), i
        assert not fast.as_it_is


def options():
    """Layers and losses with an option, another value of it, and arguments."""
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype("float32")
    y, ids = x[::-1].copy(), np.array([1, 2])
    yield nn.LeakyReLU(0.1), "negative_slope", 0.7, (x,)
    yield nn.ELU(), "alpha", 0.3, (x,)
    yield nn.Softplus(), "beta", 3.0, (x,)
    yield nn.Softmax(1), "dim", 2, (x,)
    yield nn.MaxPool2d(2), "stride", 1, (x,)
    yield nn.AvgPool2d(2), "padding", 1, (x,)
    yield nn.Unfold(2), "stride", 2, (x,)
    yield nn.MSELoss(), "reduction", "sum", (x, y)
    yield nn.SmoothL1Loss(), "beta", 0.1, (x, y)
    yield nn.CrossEntropyLoss(), "label_smoothing", 0.3, (x[:, :, 0, 0], ids)
    yield nn.NLLLoss(), "ignore_index", 2, (x[:, :, 0, 0], ids)
    yield nn.TripletMarginLoss(), "margin", 3.0, (x, y, x * 2)
    yield nn.LayerNorm(8), "eps", 1.0, (x,)
    yield nn.BatchNorm2d(3), "momentum", 0.9, (x,)
    yield nn.Conv2d(3, 3, 3), "padding", 1, (x,)
    yield nn.Dropout(0.0), "p", 1.0, (x,)


@pytest.mark.parametrize(
    ("layer", "name", "value", "args"),
    list(options()),
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else None,
)
def test_an_option_of_a_layer_is_noticed(layer, name, value, args):
    def numbers(f):
        before = {k: np.array(b.data) for k, b in layer.named_buffers()}
        found = [f(*args).data, *(np.array(b.data) for b in layer.buffers())]
        for k, b in layer.named_buffers():
            b[...] = before[k]
        return found

    fast = mg.jit(layer)
    for _ in range(CALLS):
        old = numbers(fast)
    setattr(layer, name, value)
    expected = numbers(layer)
    assert any(a.shape != b.shape or (a != b).any() for a, b in zip(old, expected, strict=True))
    for _ in range(CALLS):
        for a, b in zip(numbers(fast), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_lr_changes_are_read_without_another_capture():
    model = nn.Linear(2, 1)
    sgd = optim.SGD(model, lr=0.1)

    @mg.jit
    def step(x):
        loss = model(x).sum()
        loss.backward()
        sgd.step()
        sgd.zero_grad()
        return loss

    for i in range(6):
        sgd.lr = 0.1 / (i + 1)
        step(mg.Tensor(np.ones((1, 2), "float32")))
    assert len(step.steps) == 1


# ---------------------------------------------------------------------------- what it stands on


def test_whose_code_it_is():
    assert owner_of(mg.backend.__file__) == OURS
    assert owner_of(os.__file__) == LIBRARY
    assert owner_of(np.__file__) == LIBRARY
    assert owner_of(pytest.__file__) == USERS
    assert owner_of(__file__) == USERS
    assert owner_of("<stdin>") == USERS


def test_the_names_in_a_code():
    def f(o):
        import os.path as p

        return getattr(o, "told", None), o.read, p.join, NUMBER

    found = names_in(f.__code__)
    assert {"getattr", "NUMBER"} <= found.globals
    assert {"told", "read", "join"} <= found.attributes
    assert found.imports == {"os.path"}
    assert not found.all
    assert names_in((lambda o, n: getattr(o, n)).__code__).all
    assert names_in((lambda o: getattr(o, f"w{1}")).__code__).all
    assert names_in((lambda o: vars(o)).__code__).all


ROW = re.compile(r"^ +`([^`]+)` +\| `([^`]+)` +\| (\w[\w ]*)$", re.M)


def rows():
    found = ROW.findall(mg.jit.__doc__)
    assert len(found) > 15
    return found


@pytest.mark.parametrize(("read", "change", "what"), rows(), ids=lambda v: str(v)[:40])
def test_the_table_in_the_docstring(read, change, what, tmp_path, monkeypatch):
    big = np.ones(1 << 18)
    space = {
        "mg": mg, "np": np, "os": os, "time": time, "a": 2.0, "d": {"k": 2.0}, "o": Plain(2.0),
        "C": type("C", (), {"a": 2.0}), "array": np.array([2.0]), "big": big, "module": Weighted(),
        "p": mg.tensor([2.0], requires_grad=True), "rng": np.random.default_rng(0),
        "file": tmp_path / "a", "partial": functools.partial(lambda x, s: x * s, s=2.0),
        "adam": optim.Adam(nn.Linear(1, 1), lr=2.0), "layers": nn.Sequential(nn.LeakyReLU(2.0)),
        "sys": sys,
    }  # fmt: skip
    big[0] = 2.0
    space["o"].a = space["module"].a = 2.0
    space["helper"] = eval("lambda x: x * a", space)
    space["file"].write_text("2")
    os.environ["A"] = "2"
    monkeypatch.setattr(sys, "argv", ["2"])
    f = eval(f"lambda x: {read}", space)
    fast = mg.jit(f)
    try:
        if what == "refused":
            with pytest.raises(mg.errors.CaptureError):
                value_of(fast)
            return
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            before = [value_of(fast) for _ in range(3)]
            exec(change, space)
            after = [value_of(fast) for _ in range(3)]
        assert bool(told) == (what == "runs as it is")
        if what == "not seen":
            assert after == before
            return
        if what == "noticed":
            assert (before, after) == ([2.0] * 3, [5.0] * 3)
    finally:
        del os.environ["A"]


def test_functions_of_cython_are_no_trouble():
    class WithoutAModule:
        """As the class of Cython's functions: its module is a descriptor."""

        def __call__(self, x):
            return x * 2

    WithoutAModule.__module__ = type(len).__dict__["__module__"]
    box = [WithoutAModule()]
    fast = mg.jit(lambda x: box[0](x))
    assert [value_of(fast) for _ in range(3)] == [2, 2, 2]


def test_a_profiler_of_pythons_is_left_alone():
    seen = []

    def profiler(frame, event, x):
        seen.append(event)

    box = [2.0]
    fast = mg.jit(lambda x: x * box[0])
    sys.setprofile(profiler)
    try:
        assert value_of(fast) == 2
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)
    assert not fast.steps
    assert seen
    assert value_of(fast) == 2
    assert len(fast.steps) == 1


def test_what_an_import_runs_meanwhile_is_not_compared(tmp_path, monkeypatch):
    (tmp_path / "imported_by_a_step.py").write_text(
        "import collections, dataclasses\n"
        "def wrapped(f):\n    return lambda *args: f(*args)\n"
        "for i in range(50):\n"
        "    collections.namedtuple(f'N{i}', 'a b')\n"
        "    dataclasses.make_dataclass(f'D{i}', ['a', 'b'])(1, 2)\n"
        "    exec('def g(): return i\\nwrapped(g)()')\n"
        "scale = 2.0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def imports(x):
        import imported_by_a_step

        return x * imported_by_a_step.scale

    fast = check(imports, lambda: setattr(sys.modules["imported_by_a_step"], "scale", 5.0))
    assert all(len(step.guard._items) < 10 for step in fast.steps)


def test_what_is_noted_outside_under_names_that_the_engine_has():
    class Counts(nn.Module):
        def __init__(self):
            self.layer, self.calls, self.updates = nn.Linear(1, 1), [], 0

        def forward(self, x):
            return self.layer(x)

    module = Counts()
    fast = mg.jit(module)
    for i in range(6):
        value_of(fast)
        module.calls.append(i)
        module.updates += 1
    assert sum(v.captures for v in fast._variants.values()) == 1


# ------------------------------------------------------------------------- threads and processes


def hammered(call, threads=8, times=40):
    """What `call(thread, i)` says is wrong, from several threads at once."""
    wrong, start = [], threading.Barrier(threads)

    def work(thread):
        start.wait()
        try:
            for i in range(times):
                if (found := call(thread, i)) is not None:
                    wrong.append(found)
        except BaseException as error:
            wrong.append(error)

    workers = [threading.Thread(target=work, args=(t,)) for t in range(threads)]
    for w in workers:
        w.start()
    for w in workers:
        w.join(120)
        assert not w.is_alive()
    return wrong


@pytest.mark.parametrize("size", [3, 300])
def test_one_program_from_many_threads(size):
    w = np.random.default_rng(0).random((size, size), "float32") / size

    def plain(x):
        return mg.tanh(x @ w).sum(axis=1) * 2 + x[:, 0]

    fast = mg.jit(plain)
    before = mg.get_num_threads()

    def call(thread, i):
        if i % 10 == 9:
            mg.set_num_threads(1 + (thread + i) % 3)
        rows = 4 + (thread + i) % 3
        x = np.full((rows, size), 0.01 * (thread + 1) + 0.001 * i, "float32")
        y = fast(x).data
        expected = plain(mg.Tensor(x)).data
        return None if np.allclose(y, expected, rtol=1e-4, atol=1e-5) else (thread, i)

    try:
        assert hammered(call) == []
    finally:
        mg.set_num_threads(0)
    assert len(fast.steps) == 3
    assert before == mg.get_num_threads()


def test_two_programs_of_one_model_from_many_threads():
    with mg.random.stream(0):
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    f, g = mg.jit(model), mg.jit(lambda x: model(x).sum())

    def call(thread, i):
        x = np.full((3, 6), thread + 0.1 * i, "float32")
        y = model(mg.Tensor(x))
        fine = np.allclose(f(x).data, y.data, rtol=1e-4) and np.allclose(
            g(x).item(), y.sum().item(), rtol=1e-4
        )
        return None if fine else (thread, i)

    assert hammered(call, times=20) == []


def test_a_learner_predicts_from_many_threads():
    with mg.random.stream(0):
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    learner = mg.Learner(model, loss=nn.functional.mse_loss, verbose=0)

    def call(thread, i):
        x = np.full((3 + i % 2, 6), thread + 0.1 * i, "float32")
        y = learner.predict(x)
        expected = model(mg.Tensor(x)).data
        return None if np.allclose(y, expected, rtol=1e-4) else (thread, i)

    assert hammered(call, times=10) == []


def test_a_call_inside_its_own_call_runs_as_it_is():
    @mg.jit
    def f(x, n):
        return x if n == 0 else f(x, n - 1) * 2

    for i in range(4):
        assert f(mg.tensor([float(i)]), 3).item() == 8 * i


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on this system")
@pytest.mark.parametrize("size", [4, 400])
def test_a_program_runs_in_a_forked_child(size, tmp_path):
    code = f"""
import os, sys
import numpy as np
import minigrad as mg
from minigrad.kernels import machine
machine.SHORTEST = machine.LONGEST = 0.0  # threads are used whether they pay or not
mg.set_num_threads(2)
w = np.ones(({size}, {size}), "float32") / {size}
f = mg.jit(lambda x: (mg.tanh(x @ w) @ w).sum())
x = np.ones(({size}, {size}), "float32")
expected = [f(x * i).item() for i in range(6)]
child = os.fork()
if child == 0:
    same = all(np.isclose(f(x * i).item(), expected[i], rtol=1e-5) for i in range(6))
    f(x * 100)  # in memory of its own
    os._exit(0 if same else 3)
for _ in range(50):
    assert all(np.isclose(f(x * i).item(), expected[i], rtol=1e-5) for i in range(6))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
