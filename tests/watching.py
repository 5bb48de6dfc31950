"""An observer of the tests' own, and what it has seen compared with a record, bit for bit."""

import json

import numpy as np

import minigrad as mg
from minigrad import nn, optim, random
from minigrad.autodiff import Tensor
from minigrad.backend import Observer, is_array, watched
from minigrad.batched import base
from minigrad.sparse import SparseRows
from minigrad.study import Record
from minigrad.study.checked import check_record
from minigrad.trees import leaves_of


def copied(x):
    """The numbers that a Tensor or array has now; None stays None, and what is no array a text."""
    if x is None:
        return None
    x = base(x._data if type(x) is Tensor else x)
    if type(x) is SparseRows:
        return x.to_dense()
    return np.array(x, order="C") if is_array(x) else repr(x)


def is_same(a, b):
    """Whether two arrays have the same bits, shape and dtype."""
    if a is None or b is None or isinstance(a, str) or isinstance(b, str):
        return a is b or (isinstance(a, str) and a == b)
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


class Watcher(Observer):
    """Copies what the engine tells, at once and in order: (kind, name, ...)."""

    def __init__(self):
        self.events = []
        self.undone, self.around = [], []

    def called(self, op, arrays, params, y, seconds, by_kernel):
        outputs = y if type(y) is tuple else (y,)
        self.events.append(
            (
                "call",
                op.__name__,
                [repr(x) if x is None else copied(x) for x in arrays],
                list(map(copied, outputs)),
                by_kernel,
            )
        )

    def walks_back(self, found):
        self.around.append(self.undone)
        self.undone = []
        self.events.append(("seed", [copied(g) for _, g in found]))

    def walked_back(self):
        self.undone = self.around.pop()

    def unbroadcast(self, shape, g):
        self.undone.append((g, list(shape)))

    def pulled_back(self, node, g, found, seconds):
        came = list(map(copied, g if type(g) is tuple else (g,)))
        gave = [copied(v) for _, v in found]
        undone = [next((s for g, s in self.undone if g is v), None) for _, v in found]
        self.undone.clear()
        kept = [is_array(x) for x in node.saved]
        self.events.append(("pull", node.op.__name__, came, gave, undone, kept, [], []))

    def frees(self, node):
        outputs = node.output if type(node.output) is tuple else (node.output,)
        arrays = {id(x): x for x in (*node.saved, *outputs) if type(x) is np.ndarray}
        pulls = [e for e in self.events if e[0] == "pull"]
        pulls[-1][-2].append(sum(x.nbytes for x in arrays.values()))

    def added_up(self, target, g, total):
        pulls = [e for e in self.events if e[0] == "pull"]
        if pulls:
            pulls[-1][-1].append(copied(total))

    def updated(self, optimizer, gradients, skip=None):
        self.before = {name: copied(p) for name, p in optimizer.parameters.items()}
        self.moments = moments_of(optimizer)
        self.given = {name: copied(g) for name, g in gradients.items()}

    def stepped(self, optimizer):
        after = moments_of(optimizer)
        for flat in optimizer.flats:
            for name, p in flat.parameters.items():
                moments = {m: [v, after[name][m]] for m, v in self.moments[name].items()}
                states = self.before[name], copied(p), self.given[name], moments
                self.events.append(("update", name, *states))


def moments_of(optimizer):
    return {
        name: {m: copied(v) for m in flat.moments if (v := flat.moment(m, i)) is not None}
        for flat in optimizer.flats
        for i, name in enumerate(flat.parameters)
    }


def compare(record, events):
    """That a record has what was seen: each step, in order, with each array's bits."""
    values = record.values

    def check(number, expected, what):
        got = None if number is None else values[number].numbers()
        assert is_same(got, expected), f"{what}: {got!r} is recorded, it was {expected!r}"
        if number is not None:
            assert values[number].shape == got.shape, what
            assert values[number].dtype == got.dtype.name, what

    steps = [s for s in record.steps if s.kind != "write"]
    assert [s.kind for s in steps] == [e[0] for e in events]
    for i, (s, e) in enumerate(zip(steps, events, strict=True)):
        what = f"step {i}, {s.kind} {getattr(s, 'op', '')}"
        if s.kind == "call":
            _, name, inputs, outputs, by_kernel = e
            assert s.op == name
            assert s.by == ("kernel" if by_kernel else "formula"), what
            assert len(s.inputs) == len(inputs), what
            assert len(s.outputs) == len(outputs), what
            for x, expected in zip(s.inputs, inputs, strict=True):
                if "text" in x:
                    assert x["text"] == expected or x["text"][:100] == expected[:100]
                else:
                    check(x["value"], expected, f"{what}, an input")
            for y, expected in zip(s.outputs, outputs, strict=True):
                check(y, expected, f"{what}, an output")
        elif s.kind == "seed":
            for g, expected in zip(s.gradients, e[1], strict=True):
                check(g["value"], expected, what)
        elif s.kind == "pull":
            _, name, came, gave, undone, kept, freed, totals = e
            assert s.kept == kept, what
            assert s.freed == (freed[0] if freed else None), what
            assert s.op == name
            for v, expected in zip(s.came, came, strict=True):
                check(v, expected, f"{what}, what came")
            for g, expected in zip(s.gave, gave, strict=True):
                check(g["value"], expected, f"{what}, what it gave")
            assert [g["unbroadcast"] for g in s.gave] == undone, what
            added = [g["total"] for g in s.gave if g["total"] is not None]
            for v, expected in zip(added, totals, strict=True):
                check(v, expected, f"{what}, a sum")
        else:
            _, name, before, after, given, moments = e
            what = f"{what} {name}"
            assert s.parameter == name, what
            check(s.before, before, f"{what}, before")
            check(s.after, after, f"{what}, after")
            check(s.gradient, given, f"{what}, the gradient")
            assert s.moments.keys() == moments.keys(), what
            for m, (old, new) in moments.items():
                check(s.moments[m][0], old, f"{what}, {m} before")
                check(s.moments[m][1], new, f"{what}, {m} after")


def state_of(*things):
    """Copies of what modules, optimizers, tensors and arrays have."""
    found = {}
    for i, x in enumerate(things):
        if isinstance(x, nn.Module):
            for name, p in x.named_parameters():
                found[f"{i}.{name}"] = copied(p)
                found[f"{i}.{name}.grad"] = copied(p.grad)
            for name, b in x.named_buffers():
                found[f"{i}.{name}"] = copied(b)
        elif isinstance(x, optim.Optimizer):
            found |= {f"{i}.{name}": np.array(v) for name, v in x.state_dict().items()}
            found |= {f"{i}.steps {j}": f.steps.copy() for j, f in enumerate(x.flats)}
        else:
            found[f"{i}"] = copied(x)
            found[f"{i}.grad"] = copied(x.grad) if type(x) is Tensor else None
    return found


def same_states(got, expected, what):
    assert got.keys() == expected.keys()
    for name, x in expected.items():
        assert is_same(got[name], x), f"{what}: {name} is {got[name]!r}, expected {x!r}"


def arrays_in(result):
    return [copied(x) for x in leaves_of(result) if type(x) is Tensor or is_array(x)]


def studied(make, seed=3):
    """The record of a run, compared with a plain run and with one that is watched.

    `make()` gives a function, its arguments, and what has a state; the same in every call.
    """

    def run(how):
        with random.stream(99):
            f, args, *things = make()
        with random.stream(seed):
            result = how(f, *args)
            drawn = random.next_key()
        return result, drawn, state_of(*things)

    def watch(f, *args):
        with mg.disable_jit(), watched(watcher):
            return f(*args)

    watcher = Watcher()

    def plainly(f, *args):
        with mg.disable_jit():
            return f(*args)

    result, drawn, state = run(plainly)
    run(watch)
    record, then, after = run(lambda f, *args: mg.study(f, *args))
    assert type(record) is Record
    same_states(after, state, "the state after the run")
    assert tuple(then) == tuple(drawn), "random numbers go on elsewhere"
    assert not mg.backend.modes.get().observers
    expected, got = arrays_in(result), arrays_in(record.result)
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert is_same(a, b), f"the result is {a!r}, expected {b!r}"
    assert [values_of(record, v) for v in record.outputs] == [x.tobytes() for x in expected]
    compare(record, watcher.events)
    check_places(record)
    check_record(json.loads(json.dumps(record.to_json(full=8), allow_nan=False)))
    return record


def values_of(record, number):
    return record.values[number].numbers().tobytes()


def check_places(record):
    """That the numbers in a record lead somewhere, and say what is so."""
    steps, values, leaves = record.steps, record.values, record.leaves
    plain = not any(getattr(s, "op", "") in ("_hide", "_show") for s in steps)
    for number, leaf in enumerate(leaves):
        own = values[leaf.value].leaf
        assert own in (number, None) or leaves[own].value == leaf.value
    for i, s in enumerate(steps):
        if s.kind == "call":
            assert all(values[v].made == i for v in s.outputs if values[v].made is not None) or any(
                v in [x.get("value") for x in s.inputs] for v in s.outputs
            )
            assert record.lines[s.line].line > 0
        elif s.kind == "pull" and s.call is not None:
            call = steps[s.call]
            assert call.op == s.op
            assert call.tracked
            assert len(s.kept) == len(call.inputs)
            for g in s.gave:
                x = values[call.inputs[g["input"]]["value"]]
                assert values[g["value"]].shape == x.shape or not plain, (s, g)
                if "leaf" in g["to"]:
                    to = g["to"]["leaf"]
                    assert (
                        x.made is not None
                        or x.leaf == to
                        or leaves[x.leaf].value == leaves[to].value
                    )
                elif g["to"]["call"] is not None:
                    made = steps[g["to"]["call"]]
                    assert call.inputs[g["input"]]["value"] in made.outputs
