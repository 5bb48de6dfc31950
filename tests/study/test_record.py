"""Questions to a record, and records in files."""

import copy
import dataclasses
import gc
import hashlib
import json
import re
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from watching import is_same, state_of

import minigrad as mg
from minigrad import nn, optim
from minigrad.autodiff import Tensor
from minigrad.errors import DataError, RunError
from minigrad.study import Record, load
from minigrad.study.answers import MOST_PATHS
from minigrad.study.record import VERSION
from minigrad.study.steps import KINDS, Call, Leaf, Pull
from minigrad.study.values import FIGURES, SIDE


def numbers(*shape, seed=0, dtype="float32"):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def tracked(*shape, name=None, **options):
    return Tensor(numbers(*shape, **options), requires_grad=True, name=name)


def step_record(**options):
    """A training step, its model, and the line of its loss."""
    with mg.random.stream(0):
        model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3))
    optimizer = optim.Adam(model)

    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    record = mg.study(mg.jit(step) if options.get("jit") else step, numbers(5, 4), np.arange(5) % 3)
    return record, model


# ---------------------------------------------------------------------------------- an op


def test_an_op_is_asked_for_by_name_and_number():
    x = tracked(3)
    record = mg.study(lambda x: (mg.exp(x) * 2.0 + mg.exp(x * 3)).sum().backward(), x)
    first, second = record.op("exp"), record.op("exp", 1)
    assert first.step < second.step
    assert record.op("exp", -1).step == second.step
    assert record.op("exp", -2).step == first.step
    multiply = record.op("multiply")
    assert is_same(multiply.inputs[0], np.exp(x.data))
    assert multiply.inputs[1] == "2.0"
    assert is_same(multiply.output, np.exp(x.data) * np.float32(2))
    assert len(multiply.outputs) == 1
    assert is_same(multiply.gradient, np.ones(3, np.float32))
    assert is_same(multiply.gradients[0], np.full(3, 2, np.float32))
    assert multiply.gradients[1] is None
    assert multiply.line.file == "tests/study/test_record.py"
    assert multiply.line.text.startswith("record = mg.study(lambda x: (mg.exp(x) * 2.0")
    assert str(multiply.line) == f"{multiply.line.file}:{multiply.line.line}"
    assert multiply.formula.name == "multiply"
    assert multiply.formula.file.startswith("minigrad/ops/")
    assert multiply.rule.text.startswith("lambda g")
    assert multiply.by == "formula"
    assert type(multiply.pull) is Pull
    assert repr(multiply).startswith(f"<step {multiply.step}: multiply(float32[3], 2.0)")
    assert record.line_of(multiply.step) == multiply.line
    (pull,) = record.pulls[multiply.step]
    assert record.line_of(pull) == multiply.line
    assert record.line_of(next(i for i, s in enumerate(record.steps) if s.kind == "seed")) is None


def test_an_op_without_a_walk_back():
    record = mg.study(mg.exp, numbers(3))
    seen = record.op("exp")
    assert (seen.pull, seen.gradient, seen.gradients, seen.rule) == (None, None, [None], None)


def test_an_op_that_was_not_called():
    record = mg.study(mg.exp, numbers(3))
    with pytest.raises(DataError, match=r"'tanh' was not called; there are exp"):
        record.op("tanh")
    for number in (1, -2, 100):
        with pytest.raises(DataError, match=f"'exp' was called once, and number {number} was"):
            record.op("exp", number)
    with pytest.raises(DataError, match="there are no calls at all"):
        mg.study(lambda: None).op("exp")


def test_the_gradient_of_the_output_that_got_one():
    x = tracked(3, 2)
    record = mg.study(lambda x: mg.linalg.svd(x, full_matrices=False)[1].sum().backward(), x)
    seen = record.op(next(s.op for s in record.steps if type(s) is Call and len(s.outputs) == 3))
    assert [v is None for v in seen.pull.came] == [True, False, True]
    assert is_same(seen.gradient, np.ones(2, np.float32))
    assert len(seen.outputs) == 3


# ----------------------------------------------------------------------------- parameters


def test_a_parameter_by_name_by_its_end_and_by_itself():
    record, model = step_record()
    for which in ("0.weight", model[0].weight):
        found = record.parameter(which)
        assert found.leaf.name == "0.weight"
        assert found.value.shape == (3, 4)
        assert found.gradient.shape == (3, 4)
        assert found.update.parameter == "0.weight"
        assert repr(found) == "<parameter 0.weight float32[3, 4]>"
    with pytest.raises(DataError, match=r"'weight' is several of the leaves .* 0.weight"):
        record.parameter("weight")
    for which in ("nothing", "", "eight", 3, None, numbers(2)):
        with pytest.raises(DataError, match="is none of the leaves that took part"):
            record.parameter(which)
    with pytest.raises(DataError, match="a tensor without a name is none"):
        record.parameter(Tensor(numbers(3)))
    argument = record.parameter("x")
    assert argument.leaf.kind == "argument"
    assert argument.gradient is None
    assert argument.update is None


def test_a_tensor_or_an_array_without_a_name():
    holder = {"x": Tensor(numbers(3)), "a": numbers(3, seed=1), "w": tracked(3)}

    def run():
        (holder["x"] * holder["w"] + mg.exp(holder["a"])).sum().backward()

    record = mg.study(run)
    assert is_same(record.parameter(holder["x"]).value, numbers(3))
    assert is_same(record.parameter(holder["a"]).value, numbers(3, seed=1))
    assert is_same(record.parameter(holder["w"]).gradient, numbers(3))
    assert "as a constant" in record.why(holder["x"]).reason


def test_a_record_keeps_no_arrays_alive_that_nobody_has():
    x = numbers(1000)
    record = mg.study(mg.exp, x)
    assert record.parameter(x).leaf.name == "x"
    reach = weakref.ref(x)
    del x
    gc.collect()
    assert reach() is None
    assert record.op("exp").inputs[0].shape == (1000,)


def test_the_end_of_a_name():
    class Net(nn.Module):
        def __init__(self):
            self.inner = nn.Linear(3, 2, bias=False)
            self.weight = nn.Parameter(numbers(2))

        def __call__(self, x):
            return self.inner(x) + self.weight

    net = Net()
    record = mg.study(net, numbers(4, 3))
    assert record.parameter("weight").leaf.name == "weight", "the whole name comes first"
    assert record.parameter("inner.weight").value.shape == (2, 3)


# ------------------------------------------------------------------------------------ why


def test_paths_and_their_sizes():
    w = tracked(3, name="w")
    record = mg.study(lambda: (mg.exp(w) * 2 + w * 5).sum().backward())
    why = record.why("w")
    assert why.count == 2
    assert why.reason == ""
    assert {path.ops for path in why.paths} == {
        ("sum", "add", "multiply", "exp"), ("sum", "add", "multiply"),
    }  # fmt: skip
    for path in why.paths:
        for i, size in zip(path.steps, path.sizes, strict=True):
            pull = record.steps[i]
            norms = [np.linalg.norm(record.values[g["value"]].numbers()) for g in pull.gave]
            assert min(abs(size - n) for n in norms) < 1e-5
        assert path.size == path.sizes[-1]
    sizes = {path.ops[-1]: path.size for path in why.paths}
    np.testing.assert_allclose(sizes["multiply"], 5 * np.sqrt(3), rtol=1e-6)
    np.testing.assert_allclose(sizes["exp"], np.linalg.norm(2 * np.exp(numbers(3))), rtol=1e-5)
    total = np.linalg.norm(2 * np.exp(numbers(3)) + 5)
    np.testing.assert_allclose(why.gradient, total, rtol=1e-5)
    assert str(why).splitlines()[0] == f"w reached the loss by 2 paths, in all {total:.3g}"
    assert repr(why) == str(why)
    assert "  loss <- sum (1.73) <- add (1.73) <- multiply (8.66)" in str(why)
    one = mg.study(lambda: mg.exp(w).sum().backward()).why(w)
    assert "w reached the loss by 1 path, in all" in str(one)


def test_a_leaf_that_is_the_loss():
    w = tracked(name="w")
    why = mg.study(lambda: w.backward()).why(w)
    assert why.count == 1
    assert (why.paths[0].steps, why.paths[0].ops, why.paths[0].size) == ((), ("itself",), 1.0)


@st.composite
def graphs(draw):
    """For each node, which earlier ones it reads: 0 and 1 are the leaves."""
    count = draw(st.integers(1, 8))
    return [draw(st.lists(st.integers(0, i + 1), min_size=1, max_size=3)) for i in range(count)]


@settings(max_examples=60, deadline=None)
@given(graphs(), st.integers(1, 3), st.booleans())
def test_paths_against_brute_force(graph, walks, within_one_step):
    w, v = tracked(2, name="w"), tracked(2, name="v", seed=1)

    def build():
        made = [w, v]
        for reads in graph:
            total = made[reads[0]] * 0.5
            for i in reads[1:]:
                total = total + made[i] * 0.25
            made.append(total)
        return made[-1].sum()

    def run():
        if within_one_step:
            loss = build()
            for _ in range(walks):
                loss.backward(retain_graph=True)
            return
        for _ in range(walks):
            build().backward()

    def brute(node, leaf):
        if node < 2:
            return int(node == leaf)
        return sum(brute(i, leaf) for i in graph[node - 2])

    record = mg.study(run)
    for leaf, name in enumerate("wv"):
        expected = walks * brute(len(graph) + 1, leaf)
        if expected == 0:
            if name in {x.name for x in record.leaves}:
                assert record.why(name).reason
            continue
        why = record.why(name)
        assert why.count == expected
        assert len(why.paths) == min(expected, MOST_PATHS)
        for path in why.paths:
            assert list(path.steps) == sorted(path.steps), "the loss first"
        if expected <= MOST_PATHS and walks == 1:
            assert len({path.steps for path in why.paths}) == expected
        if expected > MOST_PATHS:
            assert f"... {expected - MOST_PATHS} more" in str(why)


def test_the_larger_gradient_comes_first():
    w = tracked(2, name="w")
    record = mg.study(lambda: (w * 2 + w * 9 + w * 5).sum().backward())
    sizes = [path.size for path in record.why("w").paths]
    np.testing.assert_allclose(sizes, np.sqrt(2) * np.array([9, 5, 2]), rtol=1e-6)


def test_tied_weights():
    with mg.random.stream(0):
        net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Tanh(), nn.Linear(3, 3, bias=False))
    net[2].weight = net[0].weight
    record = mg.study(lambda x: net(x).sum().backward(), numbers(4, 3))
    assert [leaf.name for leaf in record.leaves if leaf.tracked] == ["0.weight"]
    assert record.why("0.weight").count == 2
    assert is_same(record.parameter("0.weight").gradient, net[0].weight.grad.data)


@pytest.mark.parametrize("length", [2_000])
def test_long_chains_answer_at_once(length):
    x = tracked(2, name="x")

    def run():
        y = x
        for _ in range(length):
            y = y * 1.0
        y.sum().backward()

    record = mg.study(run)
    why = record.why("x")
    assert why.count == 1
    assert len(why.paths[0].ops) == length + 1
    assert "... 1977 more ..." in str(why)
    assert len(str(record).splitlines()) > 2 * length


def test_two_to_the_fifty_paths():
    x = tracked(2, name="x")

    def run():
        y = x
        for _ in range(50):
            y = (y + y) * 0.5
        y.sum().backward()

    why = mg.study(run).why("x")
    assert why.count == 2**50
    assert len(why.paths) == MOST_PATHS
    assert f"... {2**50 - MOST_PATHS} more" in str(why)


def test_a_graph_from_before_the_record():
    w = tracked(3, name="w")
    y = mg.exp(w) * 2
    loss = (y + mg.tanh(y)).sum()
    record = mg.study(loss.backward)
    why = record.why("w")
    assert why.count == 2
    assert {path.ops for path in why.paths} == {
        ("sum", "add", "multiply", "exp"), ("sum", "add", "tanh", "multiply", "exp"),
    }  # fmt: skip
    assert "what was computed before the record" in str(record)
    assert is_same(record.parameter(w).value, numbers(3))
    pulls = [s for s in record.steps if type(s) is Pull]
    assert [s.call for s in pulls] == [None] * 5
    assert len({s.before for s in pulls}) == 5


def test_walks_to_inner_tensors_and_on():
    w = tracked(3, name="w")

    def run():
        y = mg.exp(w)
        loss = (y * 2).sum()
        mg.gradients(loss, [y], retain_graph=True)
        loss.backward()

    assert mg.study(run).why("w").count == 1


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (lambda w, v: v.sum().backward(), "took part|no op of this run has read it"),
        (lambda w, v: (w.detach() * v).sum().backward(), "read by multiply at .*as a constant"),
        (lambda w, v: mg.exp(w).sum(), "there was no backward pass in this record"),
        (lambda w, v: (mg.exp(w), v.sum().backward()), "read by exp at .*no way leads to"),
        (lambda w, v: ((w > 0) * v).sum().backward(), "read by greater at .*as a constant"),
        (
            lambda w, v: mg.gradients((mg.exp(w) * v).sum(), [v]),
            "read by exp at .*no way leads to",
        ),
        (lambda w, v: (w.requires_grad_(False) * v).sum().backward(), "does not require grad"),
    ],
    ids=["unused", "detached", "no walk", "beside", "compared", "not asked for", "frozen"],
)  # fmt: skip
def test_reasons_when_there_is_no_gradient(run, reason):
    w, v = tracked(3, name="w"), tracked(3, name="v", seed=1)
    record = mg.study(run, w, v)
    try:
        why = record.why("w")
    except DataError as error:
        assert re.search(reason, str(error))  # noqa: PT017 (either will do)
        return
    assert why.count == 0
    assert why.paths == []
    assert re.search(reason, why.reason), why.reason
    assert str(why) == f"w got no gradient: {why.reason}"


def test_a_rule_that_gives_nothing():
    @mg.primitive
    def stopped(xp, x):
        return x * 1

    stopped.vjps(lambda g, _y, _x: None)
    w = tracked(3, name="w")
    record = mg.study(lambda: stopped(w).sum().backward())
    assert "and the rules gave no gradient for it" in record.why("w").reason


# -------------------------------------------------------------------------------- as text


def test_a_record_as_text():
    record, _ = step_record()
    lines = str(record).splitlines()
    assert "step_record.step: " in lines[0]
    assert len(lines) == len(record.steps) + 1
    text = "\n".join(lines)
    assert "backward begins at " in text
    assert re.search(r"linear\(float32\[5, 4\], float32\[3, 4\], float32\[3\]\) -> ", text)
    assert re.search(r"rule of linear: .*0\.weight = float32\[3, 4\]", text)
    assert re.search(r"Adam 0\.weight: float32\[3, 4\]", text)
    assert "tests/study/test_record.py:" in text
    w = tracked(3, name="w")

    def run():
        w.data = np.ones(3, np.float32)
        return (w + w).sum().backward()

    text = str(mg.study(run))
    assert re.search(r"written w float32\[3\]  tests/study/test_record\.py:\d+", text)
    assert "w = float32[3], w += float32[3]" in text


# ---------------------------------------------------------------------------------- files


def same_records(a, b):
    assert str(a) == str(b)
    assert (a.title, a.truncated, a.seconds) == (b.title, b.truncated, b.seconds)
    assert [vars(s) for s in a.steps] == [vars(s) for s in b.steps]
    assert [type(s) for s in a.steps] == [type(s) for s in b.steps]
    assert a.leaves == b.leaves
    assert list(a.lines) == list(b.lines)
    assert list(a.sources) == list(b.sources)
    assert a.outputs == b.outputs
    assert (a.program, a.program_note) == (b.program, b.program_note)
    assert len(a.values) == len(b.values)
    for v, w in zip(a.values, b.values, strict=True):
        assert (v.shape, v.dtype, v.made, v.leaf) == (w.shape, w.dtype, w.made, w.leaf)
        if w.array is None:
            assert v.described() == w.figures
        else:
            x, y = v.numbers(), w.numbers()
            assert x.tobytes() == y.tobytes() or x.dtype.byteorder == ">"
            assert y.dtype.name == v.dtype
            assert y.flags.writeable


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("full", [4096, 5, 0])
def test_a_record_comes_back_as_it_was(tmp_path, full, jit):
    record, _ = step_record(jit=jit)
    record.save(tmp_path / "a.json", full=full)
    again = load(tmp_path / "a.json")
    assert type(again) is Record
    assert again.result is None
    if full == 4096:
        same_records(record, again)
    assert (again.program is not None) == jit
    again.save(tmp_path / "b.json", full=full)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert str(again) == str(record)
    got, expected = again.why("0.weight"), record.why("0.weight")
    assert got.count == expected.count
    for a, b in zip(got.paths, expected.paths, strict=True):
        assert a.steps == b.steps
        np.testing.assert_allclose(a.sizes, b.sizes, rtol=1e-4)
    if full == 0:
        with pytest.raises(DataError, match="statistics and a picture only"):
            print(again.op("tanh").output)
        assert again.values[0].figures["low"] is not None


def test_every_kind_of_array_comes_back(tmp_path):
    import ml_dtypes

    arrays = [
        np.array([np.nan, -0.0, np.inf, -np.inf, 1e-45], np.float32), np.zeros((0, 3)),
        np.array(2.5, np.float16), numbers(3).astype(ml_dtypes.bfloat16), np.array([True, False]),
        np.array([-(2**63), 2**63 - 1]), np.array([2**64 - 1], np.uint64),
        np.arange(3, dtype="int8"), numbers(3).astype(">f8"), numbers(4, 4).T[::2],
        np.array(5e-324), np.array([np.nan], np.float32).view(np.uint32).view(np.float32) * -1,
    ]  # fmt: skip
    record = mg.study(lambda *xs: [mg.reshape(x, (-1,)) for x in xs], *arrays)
    record.save(tmp_path / "a.json")
    same_records(record, load(tmp_path / "a.json"))


def test_a_file_is_json_and_whole(tmp_path):
    record, _ = step_record()
    path = tmp_path / "a.json"
    path.write_bytes(b"before")
    record.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    found = json.loads(path.read_text(encoding="utf-8"))
    assert (found["format"], found["version"]) == ("minigrad.study", VERSION)
    assert path.read_bytes().isascii()
    with pytest.raises(RunError):
        record.save(tmp_path / "nowhere" / "a.json")
    with pytest.raises(OSError, match="nothing"):
        load(tmp_path / "nothing.json")
    with pytest.raises(OSError, match=re.escape(tmp_path.name)):
        load(tmp_path)


def small(tmp_path):
    record = mg.study(lambda x: (mg.exp(x) * 2.0).sum().backward(), tracked(2, name="ü"))
    record.program_note = "ü"
    path = tmp_path / "a.json"
    record.save(path)
    return record, path


def loaded(path, raw):
    path.write_bytes(raw)
    try:
        return load(path)
    except (DataError, OSError):
        return None


def test_every_truncation_is_noticed(tmp_path):
    record, path = small(tmp_path)
    raw = path.read_bytes()
    for n in range(len(raw) - 1):
        if n % 7 == 0 or n < 300 or n > len(raw) - 200:
            assert loaded(path, raw[:n]) is None, n
    same_records(record, loaded(path, raw[:-1]))  # the last newline says nothing


def test_every_byte_that_is_another_is_noticed(tmp_path):
    record, path = small(tmp_path)
    raw = path.read_bytes()
    generator = np.random.default_rng(0)
    places = {*range(200), *range(len(raw) - 200, len(raw)), *range(0, len(raw), 9)}
    for i in sorted(places):
        for byte in {raw[i] ^ 1, raw[i] ^ 0x20, raw[i] ^ 0x80, int(generator.integers(256))}:
            if byte == raw[i]:
                continue
            found = loaded(path, raw[:i] + bytes([byte]) + raw[i + 1 :])
            if found is not None:  # white space, or a letter of the same number
                same_records(record, found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f | {"version": 2}, "has version 2 of the format, expected 1; record it again"),
        (lambda f: f | {"version": True}, "has version True"),
        (lambda f: f | {"version": "1"}, "has version '1'"),
        (lambda f: f | {"version": None}, "has version None"),
        (lambda f: f | {"format": "other"}, r"no record of minigrad\.study; write one by"),
        (lambda f: {"record": f["record"]}, r"no record of minigrad\.study"),
        (lambda f: [f], r"no record of minigrad\.study"),
        (lambda f: 3, r"no record of minigrad\.study"),
        (lambda f: f | {"sha256": "0" * 64}, "does not have the checksum that it names"),
        (lambda f: {k: v for k, v in f.items() if k != "sha256"}, "checksum"),
        (lambda f: {k: v for k, v in f.items() if k != "record"}, "checksum"),
    ],
)
def test_other_files_are_refused(tmp_path, change, message):
    _, path = small(tmp_path)
    found = change(json.loads(path.read_bytes()))
    path.write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(DataError, match=message) as e:
        load(path)
    assert str(path) in str(e.value)


@pytest.mark.parametrize(
    "raw", [b"", b"\xff\xfe", b"{", b"[" * 100_000, b"null", b'"' + b"9" * 5000, b"9" * 5000]
)
def test_what_is_no_json_is_refused(tmp_path, raw):
    path = tmp_path / "a.json"
    path.write_bytes(raw)
    with pytest.raises(DataError, match="is no record"):
        load(path)


def written(path, body):
    """A file with this body and the checksum that it has."""
    text = json.dumps(body, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(
        f'{{"format":"minigrad.study","version":1,"sha256":"{digest}","record":{text}}}',
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module")
def body():
    with mg.random.stream(0):
        model = nn.Linear(2, 2)
    optimizer = optim.SGD(model, lr=0.1, momentum=0.9)

    @mg.jit
    def step(x):
        loss = (model(x) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    def run(x):
        y = mg.exp(x)
        x.data = np.zeros((3, 2), np.float32)
        return y

    first = mg.study(step, numbers(3, 2)).to_json()
    other = mg.study(run, Tensor(numbers(3, 2))).to_json(full=0)
    assert first["program"]
    return {"step": first, "figures": other}


def parts_of(x, path=()):
    """Every place in a tree of JSON."""
    yield path
    if isinstance(x, dict):
        for key, part in x.items():
            yield from parts_of(part, (*path, key))
    elif isinstance(x, list):
        for i, part in enumerate(x):
            yield from parts_of(part, (*path, i))


def changed(body, path, new):
    body = copy.deepcopy(body)
    if not path:
        return new
    at = body
    for key in path[:-1]:
        at = at[key]
    if new is GONE:
        del at[path[-1]]
    else:
        at[path[-1]] = new
    return body


GONE = object()
ODD = [None, True, -1, 10**30, 1.5, "odd", [], {}, [1], {"a": 1}, GONE, 1e308, [[-5]], [10**9] * 8]


@pytest.mark.parametrize("which", ["step", "figures"])
def test_files_made_by_hand_raise_nothing_but_data_errors(tmp_path, body, which):
    """What is let in can be shown and asked: no number leads nowhere."""
    path, generator = tmp_path / "a.json", np.random.default_rng(0)
    places = list(parts_of(body[which]))
    refused, messages = 0, set()
    for i in generator.permutation(len(places))[:260]:
        for new in (ODD[k] for k in generator.permutation(len(ODD))[:4]):
            written(path, changed(body[which], places[i], new))
            try:
                record = load(path)
            except DataError as error:
                refused += 1
                messages.add(str(error))
                continue
            str(record)
            for k, s in enumerate(record.steps):
                record.told(k), record.line_of(k)
                if s.kind == "call":
                    seen = record.op(s.op) if s.within is None else None
                    assert seen is None or seen.line is not None
            for leaf in record.leaves:
                if sum(x.name == leaf.name for x in record.leaves) == 1 and leaf.name:
                    str(record.why(leaf.name))
            record.to_json(), record.to_json(full=0)
    assert refused > 400
    assert all(message.startswith(f"load: {path} is no record: ") for message in messages)


@pytest.mark.parametrize(
    ("path", "new", "message"),
    [
        (("steps", 0, "outputs", 0), 10**6, r"steps\[0\]\.outputs\[0\] is 1000000, expected the"),
        (("steps", 0, "inputs", 0, "value"), -1, r"steps\[0\]\.inputs\[0\]\.value is -1"),
        (("steps", 0, "line"), 99, r"line is 99, expected the number of a line"),
        (("steps", 0, "formula"), 99, "expected the number of a source"),
        (("steps", 0, "within"), 999, "expected the number of a step"),
        (("leaves", 0, "value"), 999, r"leaves\[0\]\.value is 999, expected the number of a value"),
        (("outputs",), [999], r"outputs\[0\] is 999"),
        (("values", 0, "made"), 999, r"values\[0\]\.made is 999, expected the number of a step"),
        (("values", 0, "leaf"), True, r"values\[0\]\.leaf is True"),
        (("values", 0, "shape"), [10**12, 10**12], "bytes, expected 4000000000000"),
        (("values", 0, "shape"), [-1, 2], r"shape\[0\] is -1, expected a whole number"),
        (("values", 0, "dtype"), "object", "dtype is 'object', expected one of bool, int8"),
        (("values", 0, "data"), "AAA", "is no base64"),
        (("values", 0, "data"), "", "has 0 bytes, expected"),
        (("steps", 0, "kind"), "walk", "kind is 'walk', expected one of call, seed, pull"),
        (("steps", 0, "extra"), 1, r"wrong fields: missing are \[\], and unknown are \['extra'\]"),
        (("seconds",), float("nan"), "seconds is nan, expected a finite number"),
        (("program", "instructions", 0, "reads"), [999], "expected the number of a place"),
        (("program", "places", 0, "last"), 999, "last is 999"),
        (("values",), {}, "expected a list"),
        ((), None, "record is None, expected an object"),
    ],
)
def test_what_leads_nowhere_is_refused_by_name(tmp_path, body, path, new, message):
    with pytest.raises(DataError, match=message) as e:
        load(written(tmp_path / "a.json", changed(body["step"], path, new)))
    assert "is no record" in str(e.value)


def test_calls_and_gradients_must_fit(tmp_path, body):
    steps = body["step"]["steps"]
    pull = next(i for i, s in enumerate(steps) if s["kind"] == "pull" and s["gave"])
    seed = next(i for i, s in enumerate(steps) if s["kind"] == "seed")
    for path, new, message in [
        (("steps", pull, "call"), pull, "expected the number of a call, and that is a pull"),
        (("steps", pull, "call"), None, "either a call, or a number before the record"),
        (("steps", pull, "before"), 0, "either a call, or a number before the record"),
        (("steps", pull, "came"), [], "expected one for each of 1"),
        (("steps", pull, "gave", 0, "input"), 99, "expected the number of a input|an input"),
        (("steps", seed, "gradients", 0, "to", "output"), 9, "expected the number of a output|an"),
        (("steps", seed, "gradients", 0, "to", "call"), seed, "that is a seed"),
        (("steps", seed, "gradients", 0, "to"), {"leaf": 99}, "expected the number of a leaf"),
    ]:
        with pytest.raises(DataError, match=message):
            load(written(tmp_path / "a.json", changed(body["step"], path, new)))


def test_a_huge_shape_allocates_nothing(tmp_path, body):
    value = body["figures"]["values"][0]
    for shape in ([2**40, 2**40], [2**62], [1] * 1000, [10**200, 10**200]):
        found = changed(body["figures"], ("values", 0), value | {"shape": shape})
        record = load(written(tmp_path / "a.json", found))
        assert record.values[0].shape == tuple(shape)
        assert str(record)
        assert record.values[0].norm() >= 0 or np.isnan(record.values[0].norm())
    for picture in ({"shape": [2**40, 1]}, {"shape": [25, 1]}, {"data": "AAAA"}):
        new = value["picture"] | picture
        found = changed(body["figures"], ("values", 0, "picture"), new)
        with pytest.raises(DataError, match="picture"):
            load(written(tmp_path / "a.json", found))


def test_saving_changes_nothing(tmp_path):
    record, model = step_record()
    before, text = state_of(model), str(record)
    record.save(tmp_path / "a.json", full=0)
    assert str(record) == text
    after = state_of(model)
    assert all(is_same(after[k], before[k]) for k in before)
    assert record.values[0].array is not None


def test_the_format_names_every_field():
    text = (Path(mg.study.__file__).parent / "FORMAT.md").read_text(encoding="utf-8")
    named = set(re.findall(r"[`\"](\w+)[`\"]", text))
    fields = {f.name for kind in (*KINDS.values(), Leaf) for f in dataclasses.fields(kind)}
    assert fields | set(mg.study(mg.exp, 1.0).to_json()) | set(FIGURES) <= named
    assert f"{SIDE} each way" in text
