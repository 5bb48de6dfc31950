"""Random numbers are functions of key and index; streams hand out keys by context."""

import asyncio
import contextvars
import threading
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad import random
from minigrad.errors import DtypeError, ShapeError

K = random.key(2026)

# Each draw takes a key, a shape, and perhaps xp.
DRAWS = {
    "bits": random.bits,
    "uniform float32": partial(random.uniform, low=-3.0, high=5.0),
    "uniform float64": partial(random.uniform, dtype="float64"),
    "normal float32": partial(random.normal, mean=1.0, std=2.0),
    "normal float64": partial(random.normal, dtype=np.float64),
    "bernoulli": lambda key, shape, **xp: random.bernoulli(key, 0.3, shape, **xp),
    "never": lambda key, shape, **xp: random.bernoulli(key, 0.0, shape, **xp),
    "integers": lambda key, shape, **xp: random.integers(key, -5, 12, shape, **xp),
}
every_draw = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


@pytest.fixture(autouse=True)
def fresh_context():
    """A test starts without a seed, and its seeds end with it."""
    blocks = random._blocks.set(())
    default = random._default.set(None)
    yield
    random._default.reset(default)
    random._blocks.reset(blocks)


# --------------------------------------------------------------------------------------- words

# kat_vectors of Random123, the authors' own implementation.
KNOWN = [
    ("00000000 00000000", "0 0 0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    (
        "ffffffff ffffffff",
        "ffffffff ffffffff ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "a4093822 299f31d0",
        "243f6a88 85a308d3 13198a2e 03707344",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def words(text):
    return tuple(int(word, 16) for word in text.split())


@pytest.mark.parametrize(("key", "counter", "expected"), KNOWN)
def test_philox_known_answers(key, counter, expected):
    assert random.philox(words(key), words(counter)) == words(expected)


def test_philox_is_the_same_on_integers_and_arrays():
    keys, counters, expected = (
        np.array([words(row[i]) for row in KNOWN], np.uint64).T for i in range(3)
    )
    result = random.philox(keys, counters)
    assert all(word.dtype == np.uint64 for word in result)
    np.testing.assert_array_equal(np.stack(result), expected)


def test_bits_are_the_lanes_of_consecutive_blocks():
    expected = [random.philox(K, (block, 0, 0, 0)) for block in range(3)]
    np.testing.assert_array_equal(random.bits(K, 10), np.ravel(expected)[:10])


# ---------------------------------------------------------------------------------------- keys


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**64 - 1, np.int64(7), np.uint64(2**63)])
def test_key_holds_the_seed(seed):
    low, high = random.key(seed)
    assert low + 2**32 * high == int(seed)


@pytest.mark.parametrize("seed", [-1, 2**64, np.int32(-5)])
def test_key_refuses_seeds_out_of_range(seed):
    with pytest.raises(ValueError, match=r"2\*\*64 - 1, got"):
        random.key(seed)


@pytest.mark.parametrize("seed", [1.0, "1", None, np.zeros(2)])
def test_key_refuses_what_is_no_integer(seed):
    with pytest.raises(TypeError, match="integer seed"):
        random.key(seed)


@pytest.mark.parametrize("words", [(-1, 0), (0, 2**32), (0.5, 0), ("a", "b")])
def test_key_words_are_checked(words):
    with pytest.raises(ValueError, match="32 bits"):
        random.Key(*words)


def test_keys_are_hashable_values():
    assert random.key(5) == random.Key(5, 0)
    assert len({random.key(5), random.Key(5, 0), random.key(6)}) == 2
    with pytest.raises(AttributeError):
        random.key(5).low = 6


def test_fold_is_stable():
    """Literal values: a change would silently change every model trained from a seed."""
    assert random.fold(K) == K
    assert random.fold(K, 1) == random.Key(2269223744, 4285604668)
    assert random.fold(K, "1") == random.Key(2297139510, 562418892)
    assert random.fold(K, -1, "エンコーダ") == random.Key(2079510186, 4049686555)
    assert random.Stream(0).next_key() == random.Key(2398908793, 3372421720)


def test_fold_depends_on_order_kind_and_grouping():
    fold = random.fold
    assert fold(K, "a", "b") == fold(fold(K, "a"), "b")
    assert fold(K, np.int32(7), np.uint64(9)) == fold(K, 7, 9)
    different = [
        K,
        fold(random.key(0), "a"),
        *(fold(K, x) for x in ("", "a", "b", "ab", 0, 1, -1, 2**32, 2**64, 2**100, "0", "1")),
        *(fold(K, *x) for x in (("a", "b"), ("b", "a"), (0, 1), (1, 0), ("", "ab"), ("ab", ""))),
    ]
    assert len(set(different)) == len(different)


@pytest.mark.parametrize("item", [1.0, b"a", None, (1, 2), np.zeros(1, int)])
def test_fold_refuses_other_data(item):
    with pytest.raises(TypeError, match="integers and strings"):
        random.fold(K, "a", item)


# --------------------------------------------------------------------------------------- draws


@every_draw
@given(short=st.integers(0, 40), more=st.integers(0, 40))
def test_a_longer_draw_begins_with_the_shorter(draw, short, more):
    np.testing.assert_array_equal(draw(K, short + more)[:short], draw(K, short))


@every_draw
def test_a_shape_only_reshapes(draw):
    flat = draw(K, 24)
    for shape in [(24,), [24], (2, 3, 4), (1, 24, 1), (np.int64(4), 6)]:
        np.testing.assert_array_equal(draw(K, shape), flat.reshape(shape))


@every_draw
@pytest.mark.parametrize("shape", [(), 0, (0,), (3, 0, 2), 1, 5])
def test_draws_are_arrays_of_their_shape(draw, shape):
    x = draw(K, shape)
    assert type(x) is np.ndarray
    assert x.shape == (shape if isinstance(shape, tuple) else (shape,))
    assert x.flags.c_contiguous
    assert x.flags.writeable


@every_draw
def test_keys_give_different_numbers(draw):
    if draw is not DRAWS["never"]:
        draws = [draw(key, 200) for key in (K, random.key(0), random.fold(K, 0))]
        assert not any(np.array_equal(draws[i], draws[i - 1]) for i in range(3))


@every_draw
@pytest.mark.parametrize("shape", [-1, (2, -3), 2.0, (1, 2.0), "ab", None])
def test_bad_shapes_are_refused(draw, shape):
    with pytest.raises(ShapeError, match="non-negative integers"):
        draw(K, shape)


def test_dtypes():
    assert random.bits(K, 3).dtype == np.uint32
    assert random.bernoulli(K, 0.5, 3).dtype == bool
    assert random.integers(K, 0, 9, 3).dtype == np.int64
    assert random.permutation(K, 3).dtype == np.int64
    for draw in (random.uniform, random.normal):
        assert draw(K, 3).dtype == np.float32
        # NumPy scalars as parameters must not lift float32 to float64.
        assert draw(K, 3, np.float64(1.0), np.float64(2.0)).dtype == np.float32
        assert draw(K, 3, dtype=np.float64).dtype == np.float64
        for dtype in ("float16", "int32", "complex64", object):
            with pytest.raises(DtypeError, match="float32 or float64"):
                draw(K, 3, dtype=dtype)


def test_uniform_float32_is_the_word_shifted():
    u = random.uniform(K, 1000)
    np.testing.assert_array_equal(u * 2.0**24, random.bits(K, 1000) >> 8)


def test_uniform_float64_has_53_bits_of_two_words():
    low, high = (int(word) for word in random.bits(K, 2))
    assert random.uniform(K, 1, dtype="float64")[0] == ((low + 2**32 * high) >> 11) / 2**53


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_moments(dtype):
    u = random.uniform(K, 100_000, dtype=dtype)
    assert 0 <= u.min() < u.max() < 1
    assert abs(u.mean() - 1 / 2) < 0.005
    assert abs(u.var() - 1 / 12) < 0.002
    v = random.uniform(K, 100_000, -3, 5, dtype=dtype)
    np.testing.assert_allclose(v, u * 8 - 3, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_moments(dtype):
    z = random.normal(K, 100_000, dtype=dtype).astype(np.float64)
    assert abs(z.mean()) < 0.01
    assert abs(z.var() - 1) < 0.02
    assert abs((z**3).mean()) < 0.05
    assert abs((z**4).mean() - 3) < 0.1
    assert abs((z[0::2] * z[1::2]).mean()) < 0.01  # the two numbers of a pair
    y = random.normal(K, 100_000, 10.0, 0.5, dtype=dtype)
    np.testing.assert_allclose(y, z * 0.5 + 10, rtol=1e-6)


def test_normal_float32_is_float64_rounded():
    exact = random.normal(K, 999, 1.5, 0.3, dtype="float64")
    np.testing.assert_array_equal(random.normal(K, 999, 1.5, 0.3), exact.astype(np.float32))


def test_normal_without_spread_is_the_mean():
    np.testing.assert_array_equal(random.normal(K, 5, mean=3.0, std=0.0), np.full(5, 3.0))


def test_bernoulli():
    for p in (0.01, 0.5, 0.9):
        assert abs(random.bernoulli(K, p, 100_000).mean() - p) < 0.005
    assert not random.bernoulli(K, 0, 10_000).any()
    assert random.bernoulli(K, 1, 10_000).all()
    np.testing.assert_array_equal(random.bernoulli(K, 0.25, 999), random.bits(K, 999) < 2**30)


def test_integers():
    x = random.integers(K, -3, 4, 70_000)
    values, counts = np.unique(x, return_counts=True)
    np.testing.assert_array_equal(values, np.arange(-3, 4))
    assert np.abs(counts - 10_000).max() < 400
    assert (random.integers(K, 5, 6, 100) == 5).all()


@given(
    low=st.integers(-(2**63), 2**63 - 1),
    span=st.integers(1, 2**32),
    seed=st.integers(0, 2**64 - 1),
)
def test_integers_are_the_high_half_of_a_product(low, span, seed):
    high = min(low + span, 2**63)
    key = random.key(seed)
    pairs = random.bits(key, (8, 2)).tolist()
    expected = [low + ((a + 2**32 * b) * (high - low) >> 64) for a, b in pairs]
    assert random.integers(key, low, high, 8).tolist() == expected


@pytest.mark.parametrize(
    "call",
    [
        lambda: random.uniform(K, 1, 2.0, 1.0),
        lambda: random.uniform(K, 1, 0.0, float("inf")),
        lambda: random.uniform(K, 1, float("nan"), 1.0),
        lambda: random.normal(K, 1, 0.0, -1.0),
        lambda: random.normal(K, 1, float("nan"), 1.0),
        lambda: random.bernoulli(K, -0.1, 1),
        lambda: random.bernoulli(K, 1.1, 1),
        lambda: random.bernoulli(K, float("nan"), 1),
        lambda: random.integers(K, 3, 3, 1),
        lambda: random.integers(K, 0, 2**32 + 1, 1),
        lambda: random.integers(K, 2**63 - 1, 2**63 + 1, 1),
        lambda: random.integers(K, -(2**63) - 1, -(2**63), 1),
    ],
)
def test_bad_parameters_are_refused(call):
    with pytest.raises(ValueError, match=": expects "):
        call()


@given(seed=st.integers(0, 2**64 - 1), n=st.integers(0, 300))
def test_permutation_is_a_permutation(seed, n):
    order = random.permutation(random.key(seed), n)
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    np.testing.assert_array_equal(order, random.permutation(random.key(seed), n))


def test_permutations_are_equally_likely():
    orders = [tuple(random.permutation(random.fold(K, i), 3).tolist()) for i in range(3000)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6
    assert max(abs(count - 500) for count in counts) < 80


def test_permutation_refuses_negative_lengths():
    with pytest.raises(ShapeError):
        random.permutation(K, -1)


@pytest.mark.gpu
@every_draw
def test_draws_agree_on_cupy(draw):
    cupy = pytest.importorskip("cupy")
    if not cupy.is_available():
        pytest.skip("no CUDA device")
    # Words and all that integers and powers of two give are equal; log, cos and sin are not.
    rounding = draw in (DRAWS["normal float32"], DRAWS["normal float64"])
    for shape in ((), 0, 1, 7, (3, 0, 2), (40, 25)):
        host, device = draw(K, shape), draw(K, shape, xp=cupy)
        assert isinstance(device, cupy.ndarray)
        assert (device.dtype, device.shape) == (host.dtype, host.shape)
        tolerance = 4 * np.finfo(host.dtype).eps if rounding else 0
        np.testing.assert_allclose(cupy.asnumpy(device), host, rtol=tolerance, atol=tolerance)


# -------------------------------------------------------------------------------------- streams


def take(n=3):
    return [random.next_key() for _ in range(n)]


def keys_of(source, n=3):
    own = random.Stream(source)
    return [own.next_key() for _ in range(n)]


def test_a_stream_gives_new_keys_and_repeats_from_its_seed():
    keys = keys_of(7, 100)
    assert len(set(keys)) == 100
    assert keys == keys_of(random.key(7), 100)
    assert not {random.fold(random.key(7), i) for i in range(100)} & set(keys)


def test_the_default_stream_starts_from_seed_zero():
    assert take() == keys_of(0)


def test_seed_restarts_the_default_stream():
    take()
    random.seed(9)
    assert take() == keys_of(9)
    random.seed(9)
    assert take() == keys_of(9)


def test_blocks_nest_and_give_back():
    random.seed(9)
    outer, inner, default = keys_of(1, 4), keys_of(2, 4), keys_of(9, 4)
    assert random.next_key() == default[0]
    with random.stream(1) as own:
        assert random.next_key() == outer[0]
        with random.stream(random.key(2)):
            assert take(2) == inner[:2]
        assert own.next_key() == outer[1]
        assert random.next_key() == outer[2]
    assert random.next_key() == default[1]


def test_a_block_ends_with_an_exception():
    default = keys_of(0)
    with pytest.raises(KeyError), random.stream(1), random.stream(2):
        raise KeyError
    assert take() == default


def test_seed_inside_a_block_leaves_the_block_alone():
    with random.stream(1):
        random.seed(9)
        assert take() == keys_of(1)
    assert take() == keys_of(9)


def test_a_bad_source_changes_nothing():
    for source in (-1, 2**64):
        with pytest.raises(ValueError, match="seed"), random.stream(source):
            pass
        with pytest.raises(ValueError, match="seed"):
            random.seed(source)
    assert take() == keys_of(0)


def test_a_block_decorates_a_function():
    draw = random.stream(5)(take)
    assert draw() == draw() == keys_of(5)
    assert take() == keys_of(0)


def test_blocks_in_generators_end_in_any_order():
    def steps(seed):
        with random.stream(seed) as own:
            while True:
                yield own.next_key()

    first, second = steps(1), steps(2)
    next(first), next(second)
    first.close()
    assert random.next_key() == keys_of(2)[1]  # the second block is still open
    second.close()
    assert take() == keys_of(0)


def test_a_generator_may_end_in_another_context():
    def steps():
        with random.stream(1):
            yield

    generator = steps()
    contextvars.copy_context().run(next, generator)
    generator.close()
    assert take() == keys_of(0)


def test_threads_are_isolated():
    random.seed(9)
    seen = {}

    def work(seed):
        random.seed(seed)
        with random.stream(seed + 100):
            take()
        seen[seed] = take()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {seed: keys_of(seed) for seed in range(4)}
    assert take() == keys_of(9)


def test_tasks_are_isolated():
    async def work(seed):
        with random.stream(seed):
            first = random.next_key()
            await asyncio.sleep(0)
            return [first, *take(2)]

    async def main():
        return await asyncio.gather(*map(work, range(4)))

    assert asyncio.run(main()) == [keys_of(seed) for seed in range(4)]
    assert take() == keys_of(0)


def test_one_stream_serves_several_threads():
    own = random.Stream(3)
    keys = []
    threads = [
        threading.Thread(target=lambda: keys.extend(own.next_key() for _ in range(500)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(keys) == set(keys_of(3, 2000))
    assert len(keys) == 2000
