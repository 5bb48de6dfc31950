"""Generating: compiled kernels, NumPy with kept keys and the model itself find the same ids.

Where they may differ: the two best scores differ by less than NEAR. Such cases are counted.
"""

import functools
import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn, optim, random
from minigrad.backend import get_backend, modes, to_device, to_numpy
from minigrad.errors import OutOfRangeError, ShapeError
from minigrad.nn import generation

NEAR = 1e-5
PAD, BOUNDARY = 0, 1

# vocabulary, d_model, heads, d_ff, encoder and decoder layers; then options
MODELS = {
    "tiny": ((40, 16, 2, 32, 2, 2), {}),
    "norms last": ((40, 16, 2, 32, 2, 2), {"norm_first": False}),
    "gelu": ((40, 16, 4, 24, 1, 2), {"activation": "gelu"}),
    "norms last, gelu": ((23, 12, 3, 7, 2, 1), {"norm_first": False, "activation": "gelu"}),
    "odd": ((33, 21, 3, 45, 2, 3), {}),
    "one channel a head": ((12, 5, 5, 3, 1, 1), {}),
    "one": ((9, 1, 1, 1, 1, 1), {}),
    "wide": ((130, 96, 3, 160, 1, 2), {}),
    "heads of 40": ((70, 80, 2, 64, 1, 1), {"norm_first": False}),
    "other padding": ((40, 32, 2, 32, 2, 2), {"padding_idx": 7}),
}
numpy_only = pytest.mark.skipif(get_backend() != "numpy", reason="kernels are for NumPy")


def build(name, seed=0, dtype="float32"):
    """A model with opinions: its scores are far apart, and many sentences end early."""
    sizes, options = MODELS[name]
    with random.stream(random.key(seed)):
        model = nn.Seq2Seq(*sizes, dtype=dtype, **options)
    rng = np.random.default_rng(seed)
    for p in model.parameters():
        values = rng.normal(size=p.shape) * (1.5 / math.sqrt(p.shape[-1]) if p.ndim == 2 else 0.3)
        p.data[...] = to_device((values + (p.ndim == 1 and "norm" in p.name)).astype(dtype))
    model.decoder.output_projection.weight.data[...] *= 3
    model.decoder.output_projection.bias.data[BOUNDARY] += 3 + 3 * (seed % 4)
    return model


def sources(model, count, length, seed=0):
    """Ids with padding behind, some of it between, and one row of nothing else."""
    rng = np.random.default_rng(seed)
    src = rng.integers(0, len(model.encoder.embed.weight.data), (count, length))
    for row in src:
        row[rng.integers(1, length + 1) :] = model.padding_idx
    if count > 2:
        src[1] = model.padding_idx
        src[2, 0] = model.padding_idx
    return src


def ways(model, **options):
    """The three ways, and the third as the reference."""
    options = {"start_id": BOUNDARY, "end_id": BOUNDARY, "max_length": 12, **options}
    kernels = nn.Generator(model, use_kernels=True, **options)
    arrays = nn.Generator(model, use_kernels=False, **options)
    reference = nn.Generator(model, use_kernels=False, **options)
    reference._current = lambda: None  # so that it cannot read the weights
    if get_backend() == "numpy":
        assert [g.explain([[0]]) for g in (kernels, arrays, reference)] == [
            "kernels",
            "arrays",
            "model",
        ]
    return kernels, arrays, reference


def scores_of(model, row, ids):
    """(1 + number of `ids`, V) scores by the model itself."""
    tgt = np.array([[BOUNDARY, *ids]])
    with mg.no_grad():
        return to_numpy(model.eval()(to_device(row[None]), to_device(tgt)).data[0])


def near_ties(model, src, found, expected, ids):
    """How many rows differ; AssertionError if one does where scores are not near."""
    count = 0
    for row, a, b in zip(src, found, expected, strict=True):
        if a != b:
            same = [
                x
                for x, _ in itertools.takewhile(
                    lambda pair: pair[0] == pair[1], zip(a, b, strict=False)
                )
            ]
            best = np.sort(scores_of(model, row, same)[-1][ids])
            assert best[-1] - best[-2] < NEAR, (a, b)
            count += 1
    return count


@pytest.mark.parametrize("name", MODELS)
def test_all_ways_find_the_same_ids(name):
    ties, lengths = 0, set()
    for seed in range(5):
        model = build(name, seed)
        if seed == 4:  # whatever the size, some sentences end
            model.decoder.output_projection.bias.data[BOUNDARY] = 25
        kernels, arrays, reference = ways(model)
        for count, length in ((1, 1), (1, 9), (11, 14)):
            src = sources(model, count, length, seed)
            expected = reference.greedy(src)
            lengths |= set(map(len, expected))
            for other in (kernels, arrays):
                ties += near_ties(model, src, other.greedy(src), expected, other.ids)
    assert ties <= 1
    assert len(lengths) > 1 or name == "one"


@pytest.mark.parametrize("name", ["tiny", "odd"])
def test_only_allowed_ids_compete(name):
    model = build(name, 1)
    allowed = [9, 5, BOUNDARY, 20, 11]
    kernels, arrays, reference = ways(model, allowed=allowed)
    src = sources(model, 9, 12)
    expected = reference.greedy(src)
    assert kernels.greedy(src) == arrays.greedy(src) == expected
    assert {i for ids in expected for i in ids} <= set(allowed) - {BOUNDARY}
    ends = ways(model, allowed=[5, 9], max_length=70)  # the end cannot come
    assert [list(map(len, g.greedy(src))) for g in ends] == [[70] * 9] * 3
    assert ends[0].greedy(src) == ends[1].greedy(src) == ends[2].greedy(src)


def test_of_equal_scores_the_smaller_id_wins():
    model = build("tiny")
    model.decoder.output_projection.weight.data[...] = 0
    model.decoder.output_projection.bias.data[...] = 0
    for generator in ways(model, allowed=[30, 17, 4], max_length=3):
        assert generator.greedy([[5, 6]]) == [[4, 4, 4]]
        assert generator.beam([[5, 6]], 2) == [[4, 4, 4]]
    for generator in ways(model, max_length=3):
        model.decoder.output_projection.bias.data[0] = -1
        generator.refresh()
        assert generator.greedy([[5, 6]]) == [[]]  # the end has the smallest id left


@numpy_only
def test_a_sentence_does_not_depend_on_its_batch_or_on_threads():
    model = build("wide", 3)
    src = sources(model, 40, 10)  # more than go at once
    options = {"start_id": BOUNDARY, "end_id": BOUNDARY, "max_length": 30, "use_kernels": True}
    one = nn.Generator(model, threads=1, **options)
    expected = [one.greedy(row[None])[0] for row in src]
    assert len(set(map(tuple, expected))) > 10
    for threads in (1, 2, 3):
        generator = nn.Generator(model, threads=threads, **options)
        assert generator.greedy(src) == expected
        assert generator.beam(src[:9], 3) == [one.beam(row[None], 3)[0] for row in src[:9]]


# ------------------------------------------------------------------------------------------ beams


def slow_beam(model, row, ids, max_length, width, penalty):
    """The definition, with the whole model anew for each hypothesis."""
    beam = [(0.0, [])]  # an ended one has its end

    def ended(h):
        return h[1][-1:] == [BOUNDARY]

    for _ in range(max_length):
        candidates = []
        for log, found in beam:
            if ended((log, found)):
                candidates.append((log, found))
                continue
            scores = scores_of(model, row, found)[-1].astype(float)[ids]
            norm = math.log(sum(math.exp(s - max(scores)) for s in scores)) + max(scores)
            candidates += [
                (log + s - norm, [*found, int(i)]) for s, i in zip(scores, ids, strict=True)
            ]
        candidates.sort(key=lambda h: -h[0] / len(h[1]) ** penalty)
        beam = candidates[:width]
        if all(map(ended, beam)):
            break
    best = beam[0][1]
    return best[:-1] if best[-1] == BOUNDARY else best


@pytest.mark.parametrize("name", ["tiny", "norms last, gelu", "odd"])
@pytest.mark.parametrize(("width", "penalty"), [(2, 1.0), (4, 0.0), (7, 0.6)])
def test_beams_are_what_the_definition_says(name, width, penalty):
    model = build(name, width)
    src = sources(model, 5, 6)
    kernels, arrays, reference = ways(model, max_length=6)
    expected = [slow_beam(model, row, kernels.ids, 6, width, penalty) for row in src]
    for generator in (kernels, arrays, reference):
        assert generator.beam(src, width, penalty) == expected


def test_a_beam_of_one_is_greedy_search():
    model = build("tiny", 2)
    src = sources(model, 6, 8)
    for generator in ways(model):
        assert generator.beam(src, 1, 0.3) == generator.greedy(src)


def test_a_beam_that_holds_everything_finds_the_best_of_all():
    model = build("tiny", 5)
    kernels, arrays, _ = ways(model, allowed=[BOUNDARY, 4, 5], max_length=4)
    src = sources(model, 4, 5)
    assert kernels.beam(src, 200, 0.0) == arrays.beam(src, 200, 0.0)

    def log_of(row, ids):
        scores = scores_of(model, row, ids).astype(float)[:, kernels.ids]
        logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        ends = [*ids, BOUNDARY][: kernels.max_length]
        return sum(logs[t, list(kernels.ids).index(i)] for t, i in enumerate(ends))

    everything = [[]]
    for _ in range(4):
        everything += [
            [*ids, i] for ids in everything for i in (4, 5) if [*ids, i] not in everything
        ]
    for row, found in zip(src, kernels.beam(src, 200, 0.0), strict=True):
        best = max(log_of(row, ids) for ids in everything if len(ids) <= 4)
        assert log_of(row, found) == pytest.approx(best, abs=1e-5)


def test_wider_beams_differ_from_greedy_search():
    """So that the tests above are tests."""
    model = build("tiny", 4)
    src = sources(model, 12, 8)
    kernels, _, _ = ways(model)
    assert kernels.beam(src, 4) != kernels.greedy(src)


@functools.cache
def log_sum():
    """The kernels' own, on an array; a function, as there may be no Numba."""
    from minigrad.kernels.compiling import compiled
    from minigrad.kernels.decoding import log_sum
    from minigrad.kernels.vectors import data

    @compiled
    def of_array(scores, start, n):
        return log_sum(data(scores), start, n)

    return of_array


@numpy_only
@pytest.mark.parametrize("n", [1, 15, 16, 17, 1023, 1025, 50_000])
def test_the_log_of_a_sum_of_exponentials(n):
    scores = np.random.default_rng(n).normal(size=n + 40).astype(np.float32) * 4 + 1e3
    scores[5 + n :] = np.inf  # what lies behind
    scores[5 : 5 + n : 3] = -np.inf if n > 1 else 0
    x = scores[5 : 5 + n].astype(float)
    expected = x.max() + math.log(math.fsum(np.exp(x - x.max())))
    assert abs(log_sum()(scores, 5, n) - expected) < 2e-6


@numpy_only
@settings(max_examples=200, deadline=None)
@given(
    held=st.integers(1, 5),
    n=st.sampled_from([1, 2, 15, 16, 17, 33, 100]),
    width=st.integers(1, 6),
    penalty=st.sampled_from([1.0, 0.0, 0.6, -2.0, 100.0, -100.0]),
    t=st.integers(0, 6),
    seed=st.integers(0, 2**20),
)
def test_the_best_continuations_are_those_of_a_stable_sort(held, n, width, penalty, t, seed):
    """Scores of a few values, so that many are equal; some are impossible."""
    from minigrad.kernels.decoding import best_continuations

    rng = np.random.default_rng(seed)
    step = -(-n // 32) * 32
    scores = (rng.integers(-2, 3, (held, step)) * rng.choice([0.5, 1e-4, 30])).astype(np.float32)
    scores[:, 1:][rng.random((held, step - 1)) < 0.1] = -np.inf
    scores[:, n:] = 99
    logs = -rng.integers(0, 4, held).astype(float)
    ends = np.where(rng.random(held) < 0.3, rng.integers(1, t + 2, held), -1)
    expected = []
    for i in range(held):
        power = float(ends[i] if ends[i] >= 0 else t + 1) ** penalty
        if ends[i] >= 0:
            expected.append((logs[i] / power, logs[i], i, 0))
            continue
        shift = logs[i] - log_sum()(scores.reshape(-1), i * step, n)
        found = [(float(scores[i, c]) + shift, c) for c in range(n)]
        expected += [(log / power, log, i, c) for log, c in found]
    expected.sort(key=lambda one: -one[0])
    parents, choices = np.zeros((2, width), np.int64)
    ranks, new_logs = np.zeros((2, width))
    count = best_continuations(
        parents, choices, ranks, new_logs, logs, ends, np.arange(held), 0, held,
        scores.reshape(-1), step, n, t, penalty,
    )  # fmt: skip
    actual = zip(*(x.tolist() for x in (ranks, new_logs, parents, choices)), strict=True)
    assert list(actual)[:count] == expected[:width]


# ----------------------------------------------------------------------------------- int8 weights


@pytest.mark.parametrize("name", ["tiny", "norms last, gelu", "wide"])
def test_int8_is_the_rounded_model(name):
    model, equal, total = build(name, 6), 0, 0
    kernels, arrays, _ = ways(model, weights="int8")
    exact = ways(model)[0]
    src = sources(model, 12, 10)
    found, expected = kernels.greedy(src), exact.greedy(src)
    if get_backend() == "numpy":
        assert found == arrays.greedy(src)
        assert kernels.beam(src, 3) == arrays.beam(src, 3)
    for a, b in zip(found, expected, strict=True):
        equal += sum(x == y for x, y in zip(a, b, strict=False))
        total += max(len(a), len(b))
    assert equal >= 0.7 * total  # after one other id, all that follow may be others


@functools.cache
def product():
    """That of the search, on arrays."""
    from minigrad.kernels import decoding
    from minigrad.kernels.compiling import compiled
    from minigrad.kernels.vectors import data

    inside, then = decoding.product, decoding.SET

    @compiled
    def of_arrays(y, x, rows, w, m, places, n_in, n_out, tile):
        inside(
            data(y), 0, y.size // rows, data(x), 0, x.size // rows, rows, data(w), data(m),
            data(places), 0, n_in, n_out, then, data(tile),
        )  # fmt: skip

    return of_arrays


def bytes_only():
    if get_backend() != "numpy":
        pytest.skip("kernels are for NumPy")
    from minigrad.kernels import decoding

    if not decoding.has_bytes():
        pytest.skip("the processor adds up no products of bytes")
    return decoding


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 20),
    n_in=st.sampled_from([1, 4, 21, 64, 1030]),
    n_out=st.sampled_from([1, 32, 50]),
    seed=st.integers(0, 2**20),
)
def test_products_of_bytes_are_exact(rows, n_in, n_out, seed):
    """Of integers whose largest is 127 nothing is rounded, so that sums are those of integers."""
    decoding = bytes_only()
    rng = np.random.default_rng(seed)
    x, w = rng.integers(-127, 128, (rows, n_in)), rng.integers(-127, 128, (n_in, n_out))
    x[:, 0], w[0] = 127, rng.choice([-127, 127], n_out)
    if seed % 3 == 0:
        x[:, :], w[:, :] = 127, -127  # the largest sums
    packed = decoding.Packed.__new__(decoding.Packed)
    packed.int8 = packed.in_bytes = True
    packed._numbers, packed._matrices, packed._counts = [], [], [0, 0]
    bias = rng.integers(-9, 9, n_out).astype(np.float32)
    places = np.array([packed._matrix(w.astype(np.float32), bias)])
    m = decoding.joined(packed._matrices, np.int8).view(np.uint8)
    numbers = decoding.joined(packed._numbers, np.float32)
    flat = decoding.flat(x.astype(np.float32))
    y = np.zeros(rows * -(-n_out // 32) * 32, np.float32)
    tile = np.empty(256 + rows * (len(flat) // rows + 64), np.float32)
    product()(y, flat, rows, numbers, m, places, n_in, n_out, tile)
    expected = (x @ w).astype(np.float32) + bias
    np.testing.assert_array_equal(y.reshape(rows, -1)[:, :n_out], expected)


def test_rounded_activations_are_what_the_formula_says():
    bytes_only()
    model, equal, total = build("wide", 6), 0, 0
    options = {"weights": "int8", "activations": "int8"}
    kernels, arrays, _ = ways(model, **options)
    src = sources(model, 12, 10)
    found = kernels.search(src)
    for row, [a], [b] in zip(src, found, arrays.search(src), strict=True):
        equal += a.ids == b.ids
        total += 1
        # What lies half-way between two steps is rounded to either, as its last bit says.
        assert abs(a.log_probabilities[0] - b.log_probabilities[0]) < 0.05
        assert kernels.search(row[None])[0][0].ids == a.ids  # whatever else is in the batch
    assert equal >= 0.7 * total
    assert found != ways(model, weights="int8")[0].search(src)  # so that this is a test


def test_activations_that_are_refused():
    for options in ({"activations": "int8"}, {"weights": "int8", "activations": "int4"}):
        with pytest.raises(ValueError, match="activations must be 'float32', or 'int8' with"):
            ways(build("tiny"), **options)


def test_rounding_is_at_most_half_a_step():
    w = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    w[:, 3] = 0
    step = np.abs(w).max(axis=0) / 127
    assert (np.abs(generation.rounded(w) - w) <= step * 0.501).all()


# ------------------------------------------------------------------------- which way, which weights


@numpy_only
def test_what_the_kernels_do_not_cover():
    src = [[3, 4, 5]]
    options = {"start_id": BOUNDARY, "end_id": BOUNDARY, "max_length": 5, "use_kernels": True}
    model = build("tiny", dtype="float64")
    generator = nn.Generator(model, **options)
    assert generator.explain(src) == "arrays"
    assert generator.greedy(src) == ways(build("tiny"), max_length=5)[2].greedy(src)

    model = build("tiny")
    remove = model.decoder.register_forward_hook(lambda module, args, out: out)
    generator = nn.Generator(model, **options)
    assert generator.explain(src) == "model"
    before = generator.greedy(src)
    assert generator.beam(src, 2)
    remove()
    model.encoder.layers[0].linear1.bias = None
    assert nn.Generator(model, **options).explain(src) == "model"
    model = build("tiny")
    assert nn.Generator(model, **options).greedy(src) == before


@numpy_only
def test_by_default_nothing_compiles_and_small_work_stays_with_numpy(monkeypatch, tmp_path):
    src = np.full((1, 5), 3)
    options = {"start_id": BOUNDARY, "end_id": BOUNDARY, "max_length": 5}
    monkeypatch.delenv("MINIGRAD_KERNELS", raising=False)
    monkeypatch.setattr(generation, "_spent", 0.0)
    monkeypatch.setattr(generation, "on_disk", lambda kind: True)
    generator = nn.Generator(build("tiny"), **options)
    assert generator.explain(src) == "arrays"
    assert generator.explain(np.full((100_000, 5), 3)) == "kernels"
    monkeypatch.setattr(generation, "_spent", 1.0)  # of all that this process has decoded
    assert generator.explain(src) == "kernels"
    monkeypatch.setenv("MINIGRAD_KERNELS", "0")
    assert generator.explain(src) == "arrays"
    monkeypatch.delenv("MINIGRAD_KERNELS")
    monkeypatch.undo()
    monkeypatch.setattr(generation, "_spent", 1.0)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert generator.explain(src) == "arrays"


@numpy_only
def test_compiled_kernels_are_found_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert not generation.on_disk("float32")
    folder = tmp_path / "kernels_0123"
    folder.mkdir()
    file = folder / "decoding.search_float32-1.py311.nbi"
    file.write_bytes(b"")
    assert generation.on_disk("float32")
    assert not generation.on_disk("int8")
    os.utime(file, (0, 0))  # older than the source
    assert not generation.on_disk("float32")


def test_small_work_does_not_import_numba():
    code = (
        "import sys; from minigrad import nn; import minigrad as mg; mg.kernels.use(False); "
        "m = nn.Seq2Seq(20, 8, 2, 8, 1, 1); "
        "g = nn.Generator(m, start_id=1, end_id=1, max_length=5); g.greedy([[3, 4]]); "
        "sys.exit('numba' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(mg.__file__).parents[1])


def changed_by_adam(model):
    adam = optim.Adam(model, lr=0.5)
    model.train()
    model(*map(to_device, (np.array([[3, 4]]), np.array([[1, 5]])))).sum().backward()
    adam.step()


def changed_by_loading(model):
    model.load_state_dict(build("tiny", 9).state_dict())


def changed_in_place(model):
    model.decoder.output_projection.weight.data *= -1


def changed_by_assignment(model):
    model.decoder.embed.weight.data = model.decoder.embed.weight.data * -1


@pytest.mark.parametrize(
    "change", [changed_by_adam, changed_by_loading, changed_in_place, changed_by_assignment]
)
def test_new_weights_are_used(change):
    model = build("tiny", 8)
    src = sources(model, 12, 9)
    generators = ways(model)
    before = [g.greedy(src) for g in generators]
    change(model)
    after = [g.greedy(src) for g in generators]
    assert after[0] == after[1] == after[2] != before[0]


def test_what_numpy_writes_is_used_after_a_refresh():
    model = build("tiny", 8)
    kernels, arrays, reference = ways(model, max_length=4, allowed=[4, 5])
    src = [[3, 4]]
    for g in (kernels, arrays):
        g.greedy(src)
    model.decoder.output_projection.bias.data[4] = 1e6
    for g in (kernels, arrays):
        g.refresh()
    assert kernels.greedy(src) == arrays.greedy(src) == reference.greedy(src) == [[4] * 4]


def test_the_mode_of_the_model_stays_and_dropout_never_drops():
    with random.stream(random.key(0)):
        model = nn.Seq2Seq(40, 16, 2, 32, 1, 1, dropout=0.5)
    assert model.training
    src = sources(model, 3, 4)
    found = [g.greedy(src) for g in ways(model) for _ in range(2)]
    assert all(ids == found[0] for ids in found)
    assert all(m.training for _, m in model.named_modules())


def test_degenerate_input():
    model = build("tiny")
    for g in ways(model):
        assert g.greedy(np.zeros((0, 3), int)) == []
        [nothing, padding] = g.greedy(np.zeros((1, 0), int)), g.greedy([[0, 0]])
        assert nothing == padding
    for g in ways(model, max_length=0):
        assert g.greedy([[3, 4]]) == [[]]


def test_errors_say_what_is_wrong():
    model = build("tiny")
    options = {"start_id": BOUNDARY, "end_id": BOUNDARY, "max_length": 5}
    with pytest.raises(OutOfRangeError, match=r"\[0, 40\)"):
        nn.Generator(model, **options, allowed=[40])
    with pytest.raises(ValueError, match="'float32' or 'int8', got 'int4'"):
        nn.Generator(model, **options, weights="int4")
    with pytest.raises(ValueError, match="negative"):
        nn.Generator(model, **{**options, "max_length": -1})
    for g in ways(model):
        with pytest.raises(ShapeError, match="src must be"):
            g.greedy([3, 4])
        with pytest.raises(ValueError, match="width"):
            g.beam([[3, 4]], 0)
        with pytest.raises(OutOfRangeError):
            g.greedy([[40]])
        with pytest.raises(OutOfRangeError):
            g.greedy([[3], [-1]])


# -------------------------------------------------------------------- scores, n-best, attention


@functools.cache
def calm(seed):
    """A model whose scores are a little apart, so that a beam has much to choose from."""
    model = build("tiny", seed)
    model.decoder.output_projection.weight.data[...] /= 6
    model.decoder.output_projection.bias.data[BOUNDARY] = 1
    return model


@functools.cache
def calm_ways(seed, max_length):
    return ways(calm(seed), max_length=max_length)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 3), st.integers(0, 99), st.integers(1, 5), st.integers(0, 4), st.data())
def test_a_result_depends_on_its_sentence_alone(seed, of_sources, width, padding, data):
    """Not on the batch, on padding, or on what is kept: all ways, alone and together."""
    nbest, penalty = data.draw(st.integers(1, width)), data.draw(st.sampled_from([0.0, 0.7, 1.0]))
    model = calm(seed)
    src = sources(model, 4, 7, of_sources)
    src = np.pad(src, ((0, 0), (0, padding)), constant_values=model.padding_idx)
    kernels, arrays, reference = calm_ways(seed, 6)
    expected = reference.search(src, width, penalty, nbest)
    alone = []
    for row in src:
        length = max(np.flatnonzero(row != model.padding_idx), default=0) + 1
        alone.append(kernels.search(row[None, :length], width, penalty, nbest)[0])
    for found in (kernels.search(src, width, penalty, nbest), alone, arrays.search(
        src, width, penalty, nbest
    )):  # fmt: skip
        for ours, theirs in zip(found, expected, strict=True):
            assert len(ours) == len(theirs) <= nbest
            for a, b in zip(ours, theirs, strict=True):
                assert a.score == pytest.approx(b.score, abs=1e-5)  # so others are ties
                if a.ids == b.ids:
                    assert a.log_probabilities == pytest.approx(b.log_probabilities, abs=1e-5)


@pytest.mark.parametrize(("width", "penalty"), [(1, 0.7), (4, 1.0), (5, 0.0)])
def test_scores_are_log_probabilities_among_the_allowed_ids(width, penalty):
    model = calm(2)
    src = sources(model, 6, 8)
    allowed = [BOUNDARY, *range(5, 30)]
    cut, counts = 0, set()
    for generator in ways(model, allowed=allowed, max_length=5):
        for row, found in zip(src, generator.search(src, width, penalty, width), strict=True):
            counts.add(len(found))
            scores = [h.score for h in found]
            assert scores == pytest.approx(sorted(scores, reverse=True), abs=1e-12)
            assert len({tuple(h.ids) for h in found}) == len(found)
            for h in found:
                steps = [*h.ids, BOUNDARY][:5]
                logits = scores_of(model, row, h.ids).astype(float)[:, allowed]
                logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
                logs = [logs[t, allowed.index(i)] for t, i in enumerate(steps)]
                assert h.log_probabilities == pytest.approx(logs, abs=1e-5)
                assert h.score == pytest.approx(sum(logs) / len(steps) ** penalty, abs=1e-5)
                assert h.attention is None
                cut += len(h.ids) == 5
    assert cut
    assert counts == {width}


def test_there_may_be_fewer_than_n_best():
    for generator in ways(calm(1), allowed=[BOUNDARY, 4], max_length=1):
        found = generator.search([[5, 6]], 7, nbest=6)[0]
        assert sorted(h.ids for h in found) == [[], [4]]
    for generator in ways(calm(1), max_length=0):
        assert generator.search([[5]], 3, nbest=2) == [[nn.Hypothesis([], 0.0, [])]]
        assert generator.search(np.zeros((0, 2), int), 3) == []
        with pytest.raises(ValueError, match=r"nbest must be in \[1, 2\].*got 3"):
            generator.search([[5]], 2, nbest=3)
        with pytest.raises(ValueError, match="width"):
            generator.search([[5]], 0)


@pytest.mark.parametrize("width", [1, 4])
def test_attention_is_that_of_the_steps(width):
    """Row t is the step that gave id t: a pass of the ids up to there has it as its last row."""
    model = calm(3)
    src = sources(model, 4, 7)
    for generator in ways(model, max_length=4):
        found = generator.search(src, width, nbest=width, attention=True)
        for row, hypotheses in zip(src, found, strict=True):
            own = row[row != PAD]
            for h in hypotheses:
                S, T = len(own), len(h.ids) + 1
                assert {x.shape for x in h.attention.encoder} == {(2, S, S)}
                assert {x.shape for x in h.attention.decoder} == {(2, T, T)}
                assert {x.shape for x in h.attention.cross} == {(2, T, S)}
                for t in range(T):
                    step = nn.attention_maps(model, row, [BOUNDARY, *h.ids[:t]])
                    for a, b in zip(h.attention.decoder, step.decoder, strict=True):
                        np.testing.assert_allclose(a[:, t, : t + 1], b[:, -1], atol=1e-5)
                        assert not a[:, t, t + 1 :].any()
                    for a, b in zip(h.attention.cross, step.cross, strict=True):
                        np.testing.assert_allclose(a[:, t], b[:, -1], atol=1e-5)


def test_attention_is_the_softmax_of_queries_and_keys():
    model = nn.Grouped({"a": build("norms last, gelu"), "b": build("odd")})["b"]
    src, tgt = np.array([5, 0, 6, 7, 0, 0]), np.array([BOUNDARY, 9, 8])
    found = nn.attention_maps(model, src, tgt)
    own = [0, 2, 3]

    def number(x):
        return to_numpy(x.data)

    def by_hand(attention, queries, keys, causal=False):
        q, k = number(attention.q_proj(queries))[0], number(attention.k_proj(keys))[0]
        maps = []
        for h in range(3):
            s = q[:, 7 * h : 7 * h + 7] @ k[:, 7 * h : 7 * h + 7].T / math.sqrt(7)
            if causal:
                s[np.triu_indices(len(s), 1)] = -np.inf
            e = np.exp(s - s.max(axis=1, keepdims=True))
            maps.append(e / e.sum(axis=1, keepdims=True))
        return np.array(maps)

    with mg.no_grad():
        x = model.encoder.positions(model.encoder.embed(to_device(src[None])))[:, to_device(own)]
        layer = model.encoder.layers[0]
        x = layer.norm1(x)
        expected = by_hand(layer.self_attn, x, x)
        np.testing.assert_allclose(found.encoder[0], expected, atol=1e-5)
        y = model.decoder.positions(model.decoder.embed(to_device(tgt[None])))
        layer = model.decoder.layers[0]
        z = layer.norm1(y)
        np.testing.assert_allclose(
            found.decoder[0], by_hand(layer.self_attn, z, z, causal=True), atol=1e-5
        )
        memory, _ = model.encode(to_device(src[None]))
        y = y + layer.self_attn(z, z, z, is_causal=True)
        expected = by_hand(layer.multihead_attn, layer.norm2(y), memory[:, to_device(own)])
        np.testing.assert_allclose(found.cross[0], expected, atol=1e-5)
    assert all(x.dtype == np.float32 for maps in found for x in maps)


def test_capturing_changes_nothing_and_is_off_afterwards():
    model = build("tiny").train()
    src, tgt = to_device(np.array([[5, 6]])), to_device(np.array([[BOUNDARY, 9]]))
    before = to_numpy(model(src, tgt).data)
    generator = ways(model)[0]
    way = generator.explain([[5, 6]])
    nn.attention_maps(model, [5, 6], [BOUNDARY, 9])
    assert modes.get().observers == ()
    assert all(m.training and m._hooks is None for m in model.modules())
    assert generator.explain([[5, 6]]) == way
    np.testing.assert_array_equal(to_numpy(model(src, tgt).data), before)


def test_what_attention_maps_refuses():
    model = build("tiny")
    with pytest.raises(TypeError, match=r"got Grouped.*model\[group\]"):
        nn.attention_maps(nn.Grouped({"a": model}), [5], [1])
    with pytest.raises(ShapeError, match="one sentence"):
        nn.attention_maps(model, [[5]], [1])
    with pytest.raises(ShapeError, match="tgt"):
        nn.attention_maps(model, [5], [1.5])


def test_shared_and_tied_weights_and_other_target_ids():
    model, other = build("tiny", 1), build("tiny", 2)
    layer = {"nhead": 2, "dim_feedforward": 32, "dropout": 0.0}
    with random.stream(random.key(5)):
        model.decoder = nn.Decoder(23, 16, 2, 0, **layer)
    projection, embed = model.decoder.output_projection, model.decoder.embed
    embed.weight.data[...] = to_device(np.random.default_rng(0).normal(size=(23, 16)))
    projection.weight = embed.weight
    other.encoder = model.encoder
    src = sources(model, 6, 8)
    for m, size in ((model, 23), (other, 40)):
        for weights in ("float32", "int8"):
            kernels, arrays, reference = ways(m, max_length=6, weights=weights)
            assert len(kernels.ids) == size
            for ids in (kernels.beam(src, 3), kernels.greedy(src)):
                assert {i for row in ids for i in row} <= set(range(size))
            assert kernels.beam(src, 3) == arrays.beam(src, 3)
            if weights == "float32":
                assert kernels.greedy(src) == reference.greedy(src)
    before = ways(model)[0].search(src)
    optim.SGD(model, lr=1e-9)  # takes the shared weight once
    embed.weight.data = embed.weight.data * 2
    for generator in ways(model):
        assert [h.score for [h] in generator.search(src)] != [h.score for [h] in before]
