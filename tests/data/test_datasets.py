"""Data sets, transforms, samplers, collating and splits: what they give, and what they refuse."""

import json
from collections import Counter, namedtuple
from enum import Enum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import data, random
from minigrad.data import DataLoader
from minigrad.errors import DataError, DtypeError, OutOfRangeError, ShapeError, StateError


class Square:
    def __call__(self, sample):
        return sample**2


class MyDataset(data.Dataset):
    """The data set of the PyTorch notes."""

    def __init__(self, data_num, transform=None):
        self.transform = transform
        self.data_num = data_num
        self.data = list(range(data_num))
        self.label = [x % 2 == 0 for x in self.data]

    def __len__(self):
        return self.data_num

    def __getitem__(self, idx):
        out_data = self.data[idx]
        out_label = self.label[idx]
        if self.transform:
            out_data = self.transform(out_data)
        return out_data, out_label


class Counting(data.Dataset):
    """Items are their indices; it remembers which were asked for."""

    def __init__(self, n):
        self.n, self.asked = n, []

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        self.asked.append(index)
        return index


def noise(x, key):
    return x + random.normal(key, (), dtype="float64").item()


def lists(loader):
    """The batches of an epoch as nested lists."""
    return [b.tolist() for b in loader.as_numpy_iterator()]


# ----------------------------------------------------------------------------- as in the notes


def test_the_transform_of_the_notes():
    transform = Square()
    assert [transform(x) for x in (1, 2, 3, 4)] == [1, 4, 9, 16]


def test_the_data_set_of_the_notes():
    plain = MyDataset(10, transform=None)
    assert [plain[i] for i in range(5)] == [(0, True), (1, False), (2, True), (3, False), (4, True)]
    squared = MyDataset(10, transform=Square())
    expected = [(0, True), (1, False), (4, True), (9, False), (16, True)]
    assert [squared[i] for i in range(5)] == expected


def test_the_loader_of_the_notes():
    loader = DataLoader(MyDataset(10, transform=Square()), batch_size=2, shuffle=True)
    seen = []
    for x, y in loader:
        assert type(x) is mg.Tensor
        assert not x.requires_grad
        assert (x.dtype, y.dtype, x.shape) == (np.int64, bool, (2,))
        seen += zip(x.tolist(), y.tolist(), strict=True)
    assert sorted(seen) == [(i * i, i % 2 == 0) for i in range(10)]
    assert seen != sorted(seen)


# -------------------------------------------------------------------------------- transforms


def test_compose_goes_from_left_to_right_and_hands_out_keys():
    steps = data.Compose([lambda x: x + 1, Square(), noise])
    with random.stream(0):
        found = steps(2.0)
    with random.stream(0):
        assert found == noise(9.0, random.next_key())
    assert found != 9
    assert data.Compose([])(5) == 5
    assert "Square" in repr(steps)


def test_transforms_of_every_kind_can_take_a_key():
    class Noisy:
        def __call__(self, x, key):
            return noise(x, key)

        def method(self, x, *, key):
            return noise(x, key)

    for transform in (Noisy(), Noisy().method, noise):
        [found] = DataLoader(data.MapDataset([1.0], transform), as_arrays=True)
        assert found[0] == pytest.approx(found[0])
        assert found[0] != 1
    assert data.Compose([float, str])("1") == "1.0"  # classes and built-in functions


def test_normalize():
    image = np.full((2, 3, 3), 5, np.uint8)
    found = data.Normalize([1, 3], [2, 4])(image)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, 0, 0], [2, 0.5])
    np.testing.assert_array_equal(data.Normalize(5, 1)(image), 0)
    with pytest.raises(ValueError, match="std > 0"):
        data.Normalize(0, 0)


def test_random_crop_and_flip():
    image = np.arange(25.0).reshape(1, 5, 5)
    key = random.key(1)
    crop = data.RandomCrop(3)
    corners = {crop(image, random.fold(key, i))[0, 0, 0] for i in range(200)}
    assert corners == {5.0 * i + j for i in range(3) for j in range(3)}
    assert data.RandomCrop((5, 4), padding=2)(image, key).shape == (1, 5, 4)
    with pytest.raises(ShapeError, match=r"at least \(6, 6\), got \(1, 5, 5\)"):
        data.RandomCrop(6)(image, key)
    flips = [data.RandomHorizontalFlip()(image, random.fold(key, i))[0, 0, 0] for i in range(200)]
    assert 60 < flips.count(4.0) < 140
    np.testing.assert_array_equal(data.RandomHorizontalFlip(1)(image, key), image[..., ::-1])
    np.testing.assert_array_equal(data.RandomHorizontalFlip(0)(image, key), image)
    with random.stream(0):
        data.RandomCrop(3)(image)  # outside of loaders, from the current stream


def test_a_random_transform_depends_on_seed_epoch_and_index_only():
    dataset = data.MapDataset([0.0] * 12, noise)

    def by_index(batch_size, seed=0, shuffle=False):
        loader = DataLoader(dataset, batch_size, shuffle, seed=seed)
        order = data.RandomSampler(dataset, seed=seed)
        epochs = []
        for epoch in range(2):
            values = np.concatenate(list(loader.as_numpy_iterator()))
            order.set_epoch(epoch)
            indices = order.order() if shuffle else np.arange(12)
            epochs.append(dict(zip(indices.tolist(), values.tolist(), strict=True)))
        return epochs

    reference = by_index(4)
    assert len({v for epoch in reference for v in epoch.values()}) == 24
    assert by_index(5) == by_index(12, shuffle=True) == reference
    assert by_index(4, seed=1) != reference


def test_draws_inside_a_data_set_are_keyed_too():
    class Drawing(data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return random.uniform(random.next_key(), (2,))

    a, b = (np.concatenate(lists(DataLoader(Drawing(), n))) for n in (1, 3))
    np.testing.assert_array_equal(a, b)
    before = random.next_key()
    lists(DataLoader(Drawing()))
    assert random.next_key() != before  # the stream outside goes on as if nothing had been


# --------------------------------------------------------------------------------- data sets


def test_tensor_dataset():
    x, y = np.arange(12.0).reshape(6, 2), np.arange(6)
    dataset = data.TensorDataset(mg.Tensor(x), y)
    assert len(dataset) == 6
    row, label = dataset[2]
    assert type(row) is mg.Tensor
    assert (row.tolist(), label.item()) == ([4, 5], 2)
    assert dataset[-1][1].item() == 5
    assert dataset[1:3][0].shape == (2, 2)
    [only] = data.TensorDataset(x)[0]
    assert only.tolist() == [0, 1]
    assert len(data.TensorDataset([[1.0], [2.0]], [0, 1])) == 2
    with pytest.raises(ShapeError, match=r"shapes \[\(6, 2\), \(5,\)\]"):
        data.TensorDataset(x, y[:5])
    with pytest.raises(ShapeError, match="TensorDataset"):
        data.TensorDataset()
    with pytest.raises(ShapeError, match="TensorDataset"):
        data.TensorDataset(np.float32(1))
    with pytest.raises(OutOfRangeError):
        DataLoader(dataset, sampler=[6]).__iter__().__next__()


def test_a_tracked_tensor_gives_untracked_batches():
    dataset = data.TensorDataset(mg.ones((4, 2), requires_grad=True))
    [(batch,)] = DataLoader(dataset, 4)
    assert not batch.requires_grad
    assert not dataset[0][0].requires_grad


def test_subsets_and_chains():
    base = Counting(10)
    assert [data.Subset(base, [3, 1])[i] for i in range(2)] == [3, 1]
    both = data.Subset(base, [9, 8]) + data.Subset(base, [0])
    assert [both[i] for i in range(len(both))] == [9, 8, 0]
    assert both[-1] == 0
    assert both[-3] == 9
    for index in (3, -4):
        with pytest.raises(IndexError, match="of 3 items"):
            both[index]
    chain = data.ConcatDataset([[], [1], [], [2, 3]])
    assert [chain[i] for i in range(3)] == [1, 2, 3]
    with pytest.raises(ShapeError, match="at least one"):
        data.ConcatDataset([])
    pairs = data.StackDataset([1, 2], "ab")
    assert pairs[1] == (2, "b")
    assert data.StackDataset(x=[1, 2], y="ab")[0] == {"x": 1, "y": "a"}
    with pytest.raises(ShapeError, match=r"\[2, 1\]"):
        data.StackDataset([1, 2], "a")


def test_a_class_without_a_method_says_which():
    with pytest.raises(NotImplementedError, match="__getitem__"):
        data.Dataset()[0]
    with pytest.raises(TypeError, match="__len__ and __getitem__"):
        DataLoader(iter([1, 2]))
    with pytest.raises(NotImplementedError, match="__iter__ or shard"):
        list(data.IterableDataset())


def test_anything_with_items_is_a_data_set():
    assert lists(DataLoader([1, 2, 3], 2)) == [[1, 2], [3]]
    assert lists(DataLoader(np.arange(4.0), 4)) == [[0, 1, 2, 3]]
    assert lists(DataLoader(range(3), 3)) == [[0, 1, 2]]
    assert lists(DataLoader([], 3, shuffle=True)) == []
    assert list(DataLoader("abc", 2)) == [["a", "b"], ["c"]]
    names = {"a": 1, "b": 2}
    assert lists(DataLoader(names, 2, sampler=["b", "a"])) == [[2, 1]]


def test_getitems_gives_items_or_a_whole_batch():
    class Items(Counting):
        def __getitems__(self, indices):
            return [10 * i for i in indices]

    class Whole(Counting):
        def __getitems__(self, indices):
            return {"x": 10 * np.array(indices)}

    assert lists(DataLoader(Items(4), 3)) == [[0, 10, 20], [30]]
    assert lists(DataLoader(Items(4), 3, collate_fn=lambda items: np.array(sum(items)))) == [30, 30]
    assert [b["x"].tolist() for b in DataLoader(Whole(4), 3)] == [[0, 10, 20], [30]]
    assert [b["x"].tolist() for b in DataLoader(data.Subset(Whole(4), [3, 1]), 2)] == [[30, 10]]
    # a collate_fn wants items
    whole = DataLoader(Whole(4), 3, collate_fn=lambda items: np.array(items))
    assert lists(whole) == [[0, 1, 2], [3]]
    assert not hasattr(data.Subset(Counting(4), [1]), "__getitems__")


def test_a_gather_equals_items():
    x = np.arange(30).reshape(10, 3)
    dataset = data.TensorDataset(x, x[:, 0])
    items = [dataset[i] for i in range(10)]
    for a, b in zip(DataLoader(dataset, 4, True), DataLoader(items, 4, True), strict=True):
        assert [t.tolist() for t in a] == [t.tolist() for t in b]


# ------------------------------------------------------------------------------------ streams


class Stream(data.IterableDataset):
    def __iter__(self):
        for i in range(10):
            yield i + 0 * random.bits(random.next_key(), ()).item()


class Shards(data.IterableDataset):
    num_shards = 3

    def shard(self, i):
        for k in range([5, 2, 9][i]):
            yield 100 * i + k


STREAMED = [[0, 1], [100, 101], [200, 201], [2, 3], [202, 203], [4], [204, 205], [206, 207], [208]]


def test_streams():
    assert lists(DataLoader(Stream(), 4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert lists(DataLoader(Stream(), 4, drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert lists(DataLoader(Shards(), 2)) == STREAMED
    assert list(Shards()) == [*range(5), 100, 101, *range(200, 209)]
    assert list(DataLoader(Stream(), None)) == list(range(10))
    with pytest.raises(TypeError, match="len"):
        len(DataLoader(Stream(), 4))
    with pytest.raises(ValueError, match="its own order"):
        DataLoader(Stream(), shuffle=True)
    with pytest.raises(TypeError, match="stream"):
        DataLoader(Stream()).plan()


def test_a_stream_goes_on_where_it_was():
    loader = DataLoader(Shards(), 2)
    batches = loader.as_numpy_iterator()
    assert [next(batches).tolist() for _ in range(4)] == STREAMED[:4]
    other = DataLoader(Shards(), 2, num_workers=2, worker_type="thread")
    other.load_state_dict(loader.state_dict())
    assert lists(other) == STREAMED[4:]
    assert lists(other) == STREAMED


def test_shards_need_a_method():
    class Wrong(data.IterableDataset):
        num_shards = 2

        def __iter__(self):
            yield 1

    with pytest.raises(NotImplementedError, match="must define shard"):
        lists(DataLoader(Wrong()))


# ---------------------------------------------------------------------------------- collating


class Colour(Enum):
    RED = 1


Point = namedtuple("Point", "x y")


def test_collate_goes_into_structures():
    items = [
        {"a": (i, [float(i), "s"]), "b": Point(np.full(2, i, np.int8), True), "c": Colour.RED}
        for i in range(3)
    ]
    found = data.default_collate(items)
    assert found["a"][0].dtype == np.int64
    assert found["a"][1][0].dtype == np.float32
    assert found["a"][1][1] == ["s"] * 3
    assert type(found["a"][1]) is list
    assert type(found["b"]) is Point
    assert (found["b"].x.dtype, found["b"].x.shape) == (np.int8, (3, 2))
    assert found["b"].y.dtype == bool
    assert found["c"] == [Colour.RED] * 3
    [batch] = DataLoader(items, 3)
    assert type(batch["b"].x) is mg.Tensor
    assert batch["a"][1][1] == ["s"] * 3


@pytest.mark.parametrize(
    ("items", "dtype"),
    [
        ([1, 2], np.int64),
        ([1.0, 2.0], np.float32),
        ([1, 2.5], np.float32),
        ([True, False], bool),
        ([1j, 2j], np.complex128),
        ([np.float64(1), np.float64(2)], np.float64),
        ([np.uint8(1), np.uint8(2)], np.uint8),
        ([np.zeros(2, np.float16)] * 2, np.float16),
        ([mg.ones(2), mg.ones(2)], np.float32),
        ([np.zeros(()), np.zeros(())], np.float64),
        ([mg.Tensor(3), 4], np.int64),
    ],
)
def test_dtypes_of_batches(items, dtype):
    found = data.default_collate(items)
    assert found.dtype == dtype
    assert len(found) == len(items)


def test_collate_refuses_what_does_not_fit():
    with pytest.raises(
        ShapeError, match=r"item 1 of the batch at \[0\] has the shape \(3,\), item 0"
    ):
        data.default_collate([(np.ones(2), 1), (np.ones(3), 1)])
    with pytest.raises(ShapeError, match="PaddedCollate"):
        data.default_collate([[1], [1, 2]])
    with pytest.raises(ShapeError, match=r"keys \['b'\]"):
        data.default_collate([{"a": 1}, {"b": 1}])
    with pytest.raises(DtypeError, match=r"item 1 of the batch at \['a'\] is a NoneType"):
        data.default_collate([{"a": 1}, {"a": None}])
    with pytest.raises(DtypeError, match="collate_fn"):
        data.default_collate([object()])
    with pytest.raises(ShapeError, match="at least one"):
        data.default_collate([])
    with pytest.raises(ShapeError, match="item 1") as raised:
        lists(DataLoader([np.ones(2), np.ones(2), np.ones(2), np.ones(3)], 2))
    assert "items [2, 3]" in raised.value.__notes__[0]


def test_padding():
    items = [([1, 2, 3], 0), ([4], 1), ([], 2)]
    x, y = data.PaddedCollate(value=-1)(items)
    assert x.tolist() == [[1, 2, 3], [4, -1, -1], [-1, -1, -1]]
    assert y.tolist() == [0, 1, 2]
    found = data.PaddedCollate(multiple=4)([{"a": np.ones((5, 2))}, {"a": mg.ones((1, 2))}])
    assert found["a"].shape == (2, 8, 2)
    [(x, y)] = DataLoader(items, 3, collate_fn=data.PaddedCollate())
    assert x.shape == (3, 3)


# ------------------------------------------------------------------------------------ samplers


@given(st.integers(0, 40), st.integers(1, 9), st.booleans(), st.booleans(), st.integers(0, 3))
def test_every_item_comes_once_an_epoch(n, batch_size, shuffle, drop_last, epoch):
    loader = DataLoader(np.arange(n), batch_size, shuffle, drop_last=drop_last, seed=7)
    loader.set_epoch(epoch)
    batches = lists(loader)
    assert len(batches) == len(loader)
    seen = [i for b in batches for i in b]
    kept = n - n % batch_size if drop_last else n
    assert len(seen) == kept == len(set(seen))
    assert all(len(b) == batch_size for b in batches[:-1])
    loader.set_epoch(epoch)
    assert lists(loader) == batches


def test_orders():
    assert list(data.SequentialSampler("abc")) == [0, 1, 2]
    sampler = data.RandomSampler(range(50), seed=3)
    first = list(sampler)
    assert sorted(first) == list(range(50))
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert sorted(sampler) == list(range(50))
    assert list(sampler) != first
    assert list(data.RandomSampler(range(50), seed=4)) != first
    assert lists(DataLoader(range(50), 50, True, seed=3)) == [first]
    drawn = list(data.RandomSampler(range(5), replacement=True, num_samples=100))
    assert len(drawn) == 100
    assert set(drawn) == set(range(5))
    assert Counter(data.RandomSampler(range(5), num_samples=10)) == dict.fromkeys(range(5), 2)
    with pytest.raises(ValueError, match="num_samples"):
        data.RandomSampler([1], num_samples=0)
    subset = data.SubsetRandomSampler([4, 9, 2], seed=1)
    assert sorted(subset) == [2, 4, 9]
    assert list(data.BatchSampler(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(data.BatchSampler(range(5), 2, drop_last=True)) == [[0, 1], [2, 3]]
    assert len(data.BatchSampler(range(5), 2)) == 3


def test_weights():
    weights = [0, 1, 3, 0]
    drawn = Counter(data.WeightedRandomSampler(weights, 4000))
    assert set(drawn) == {1, 2}
    assert 2850 < drawn[2] < 3150
    assert sorted(data.WeightedRandomSampler(weights, 2, replacement=False)) == [1, 2]
    firsts = [
        data.WeightedRandomSampler(weights, 1, replacement=False, seed=i).order()[0]
        for i in range(400)
    ]
    assert 260 < firsts.count(2) < 340
    for bad, n in (([], 1), ([-1, 2], 1), ([0, 0], 1), ([np.nan], 1), ([[1]], 1), ([1], 0)):
        with pytest.raises(ValueError, match="WeightedRandomSampler"):
            data.WeightedRandomSampler(bad, n)
    with pytest.raises(ValueError, match="replacement=True"):
        data.WeightedRandomSampler(weights, 3, replacement=False)


groups_of_items = st.lists(st.sampled_from("abc"), max_size=40)


@given(groups_of_items, st.integers(1, 7), st.booleans(), st.booleans())
def test_homogeneous_batches(groups, size, shuffle, drop_last):
    sampler = data.GroupBatchSampler(groups, size, "homogeneous", shuffle, drop_last)
    batches = list(sampler)
    assert len(sampler) == len(batches)
    assert all(len({groups[i] for i in b}) == 1 for b in batches)
    seen = Counter(groups[i] for b in batches for i in b)
    if drop_last:
        assert all(len(b) == size for b in batches)
        assert seen == Counter({g: n - n % size for g, n in Counter(groups).items()})
    else:
        assert sorted(i for b in batches for i in b) == list(range(len(groups)))
    assert sampler.counts == Counter(groups)


@given(groups_of_items, st.integers(1, 7), st.booleans())
def test_balanced_batches(groups, size, shuffle):
    sampler = data.GroupBatchSampler(groups, size, "balanced", shuffle)
    batches = list(sampler)
    assert len(sampler) == len(batches) == -(-len(groups) // size)
    assert sum(map(len, batches)) == len(groups)
    for batch in batches:
        counts = [sum(groups[i] == g for i in batch) for g in set(groups)]
        assert max(counts) - min(counts) <= 1
    for group, n in Counter(groups).items():  # nobody twice before everybody once
        times = Counter(i for b in batches for i in b if groups[i] == group)
        assert max(times.values(), default=0) - min(times.values(), default=0) <= 1 or n > len(
            times
        )


@given(groups_of_items, st.integers(1, 7))
def test_mixed_batches(groups, size):
    sampler = data.GroupBatchSampler(groups, size)
    assert sorted(i for b in sampler for i in b) == list(range(len(groups)))
    assert len(sampler) == len(list(sampler))


def test_groups_of_every_kind_and_epoch():
    groups = [Colour.RED, 3, "x", Colour.RED] * 5
    sampler = data.GroupBatchSampler(groups, 4, "homogeneous", seed=1)
    loader = DataLoader([{"x": i, "group": g} for i, g in enumerate(groups)], batch_sampler=sampler)
    first = [(b["x"].tolist(), b["group"]) for b in loader]
    second = [(b["x"].tolist(), b["group"]) for b in loader]
    assert first != second
    assert len(loader) == len(first) == 7
    arrays = data.GroupBatchSampler(np.array([0, 1, 0]), 2, "homogeneous", shuffle=False)
    assert list(arrays) == [[0, 2], [1]]
    with pytest.raises(ValueError, match="'balanced', got 'even'"):
        data.GroupBatchSampler(groups, 4, "even")
    with pytest.raises(ValueError, match="batch_size"):
        data.GroupBatchSampler(groups, 0)


lengths_of_items = st.lists(st.integers(0, 30), max_size=60)


@given(lengths_of_items, st.integers(1, 7), st.booleans(), st.integers(1, 5))
def test_buckets(lengths, size, shuffle, pool):
    sampler = data.BucketBatchSampler(lengths, size, pool=pool, shuffle=shuffle)
    batches = list(sampler)
    assert len(sampler) == len(batches)
    assert sorted(i for b in batches for i in b) == list(range(len(lengths)))
    assert all(len(b) <= size for b in batches)
    if not shuffle:
        flat = [lengths[i] for b in batches for i in b]
        assert flat == sorted(flat)
    bounded = data.BucketBatchSampler(lengths, size, boundaries=[20, 10], shuffle=shuffle)
    assert sorted(i for b in bounded for i in b) == list(range(len(lengths)))
    for batch in bounded:
        assert len({(lengths[i] > 10) + (lengths[i] > 20) for i in batch}) == 1


@given(lengths_of_items, st.integers(30, 90), st.booleans(), st.sampled_from([None, 3]))
def test_token_budgets(lengths, budget, shuffle, most):
    sampler = data.TokenBatchSampler(lengths, budget, most, pool=20, shuffle=shuffle, seed=2)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(sampler) == len(batches)
        assert sorted(i for b in batches for i in b) == list(range(len(lengths)))
        assert all(len(b) * max(lengths[i] for i in b) <= budget for b in batches)
        assert all(len(b) <= (most or len(lengths)) for b in batches)


def test_similar_lengths_come_together():
    lengths = np.random.default_rng(0).integers(1, 100, 2000)
    padded = lambda batches: sum(len(b) * max(lengths[b]) for b in batches)  # noqa: E731
    plain = padded(list(data.BatchSampler(data.RandomSampler(lengths), 20)))
    assert padded(list(data.BucketBatchSampler(lengths, 20))) < 0.6 * plain
    tokens = list(data.TokenBatchSampler(lengths, 1000))
    assert padded(tokens) < 1.1 * lengths.sum()
    with pytest.raises(ShapeError, match="item 2 has 9 tokens, more than max_tokens=5"):
        data.TokenBatchSampler([1, 2, 9], 5)
    with pytest.raises(ValueError, match="lengths >= 0"):
        data.BucketBatchSampler([-1], 5)


def test_a_sampler_of_ones_own():
    class Backwards(data.Sampler):
        def __len__(self):
            return 4

        def __iter__(self):
            return iter([(3 + self.epoch) % 4, 2, 1, 0])

    loader = DataLoader(range(10), 2, sampler=Backwards())
    assert lists(loader) == [[3, 2], [1, 0]]
    assert lists(loader) == [[0, 2], [1, 0]]
    assert lists(DataLoader(range(10), batch_sampler=[[1], [2, 3]])) == [[1], [2, 3]]
    with pytest.raises(NotImplementedError, match="must define __iter__"):
        list(data.Sampler())


@pytest.mark.parametrize(
    "options",
    [
        {"batch_sampler": [[0]], "shuffle": True},
        {"batch_sampler": [[0]], "batch_size": 2},
        {"batch_sampler": [[0]], "drop_last": True},
        {"batch_sampler": [[0]], "sampler": [0]},
        {"sampler": [0], "shuffle": True},
        {"batch_size": None, "drop_last": True},
        {"batch_size": 0},
        {"batch_size": 2.5},
        {"num_workers": -1},
        {"prefetch_factor": 0},
        {"persistent_workers": True},
        {"worker_type": "fibre"},
        {"timeout": -1},
    ],
)
def test_arguments_that_do_not_fit(options):
    with pytest.raises(ValueError, match="DataLoader"):
        DataLoader([1], **options)


# ------------------------------------------------------------------------- states and epochs


@given(st.integers(0, 13), st.booleans(), st.booleans(), st.sampled_from([0, 2]))
def test_a_loader_goes_on_at_the_next_batch(taken, shuffle, drop_last, workers):
    def make(dataset, num_workers=0):
        return DataLoader(
            dataset, 3, shuffle, drop_last=drop_last, seed=5, as_arrays=True,
            num_workers=num_workers, worker_type="thread",
        )  # fmt: skip

    def endless(loader):
        while True:
            yield from loader

    reference = make(Counting(14))
    whole = [b.tolist() for _ in range(6) for b in reference]
    first = make(Counting(14))
    batches = endless(first)
    assert [next(batches).tolist() for _ in range(taken)] == whole[:taken]
    state = json.loads(json.dumps(first.state_dict()))
    dataset = Counting(14)
    second = make(dataset, workers)
    second.load_state_dict(state)
    assert second.epoch == first.epoch
    batches = endless(second)
    rest = [next(batches).tolist() for _ in range(5)]
    assert rest == whole[taken : taken + 5]
    if not workers:
        assert dataset.asked == [i for b in rest for i in b]  # nothing before, nothing ahead
    batches.close()


def test_resuming_loads_and_numbers_nothing_before():
    dataset = Counting(10_000)
    loader = DataLoader(dataset, 10, True)
    loader.load_state_dict({**loader.state_dict(), "batch": 900})
    next(iter(loader))
    assert len(dataset.asked) == 10
    for sampler in (
        data.BatchSampler(data.RandomSampler(dataset), 10),
        data.GroupBatchSampler([0] * 10_000, 10),
    ):
        dataset.asked.clear()
        loader = DataLoader(dataset, batch_sampler=sampler)
        loader.load_state_dict({**loader.state_dict(), "epoch": 2, "batch": 999})
        assert len(list(loader)) == 1
        assert len(dataset.asked) == 10


def test_where_a_loader_is():
    loader = DataLoader(range(6), 2, True)
    at = lambda: (loader.state_dict()["epoch"], loader.state_dict()["batch"])  # noqa: E731
    assert at() == (0, 0)
    places = []
    for _ in loader:
        places.append(at())
    assert places == [(0, 1), (0, 2), (0, 3)]
    assert at() == (1, 0)
    for _ in loader:
        break
    assert at() == (1, 1)  # left early: the state is still of that place
    whole = lists(loader)
    assert at() == (3, 0)  # while the next loop is the next epoch
    loader.set_epoch(2)
    assert lists(loader) == whole
    loader.set_epoch(2)
    loader.load_state_dict({**loader.state_dict(), "epoch": 2, "batch": 1})
    loader.set_epoch(2)  # as a training loop does that resumes
    assert lists(loader) == whole[1:]
    loader.load_state_dict({**loader.state_dict(), "epoch": 2, "batch": 3})
    assert lists(loader) == []
    assert at() == (3, 0)


def test_states_of_other_loaders_are_refused():
    state = DataLoader(range(6), 2, True).state_dict()
    for other, name in (
        (DataLoader(range(6), 3, True), "batch_size"),
        (DataLoader(range(6), 2), "shuffle"),
        (DataLoader(range(7), 2, True), "samples"),
        (DataLoader(range(6), 2, True, seed=1), "seed"),
        (DataLoader(range(6), 2, True, drop_last=True), "drop_last"),
    ):
        with pytest.raises(StateError, match=name):
            other.load_state_dict(state)
    with pytest.raises(StateError, match="lacks"):
        DataLoader(range(6)).load_state_dict({"epoch": 1})


def test_two_loops_at_once_are_two_epochs():
    loader = DataLoader(range(6), 6, True, as_arrays=True)
    [(a, b)] = zip(loader, loader, strict=True)
    loader.set_epoch(0)
    assert [a.tolist(), b.tolist()] == lists(loader) + lists(loader)


def test_single_items_and_own_collating():
    assert lists(DataLoader([np.ones(2), np.ones(3)], None)) == [[1, 1], [1, 1, 1]]
    assert list(DataLoader([1, 2], None)) == [1, 2]
    assert list(DataLoader([1, 2], None, collate_fn=lambda x: -x)) == [-1, -2]
    assert list(DataLoader([1, 2], 2, collate_fn=sum)) == [3]


def test_the_plan_of_the_notes():
    dataset = data.TensorDataset(np.zeros((1000, 8), np.float32), np.zeros(1000, np.int64))
    assert DataLoader(dataset, prefetch_factor=None).prefetch_factor == 2  # as PyTorch's users say
    loader = DataLoader(dataset, 32, True, num_workers=4, prefetch_factor=4, pin_memory=True)
    assert loader.plan() == (16, 512, 512 * (32 + 8))
    assert str(loader.plan()) == "16 batches in flight, 512 samples, 0.0 MiB"
    assert DataLoader([], num_workers=1).plan() == (2, 0, 0)
    lengths = data.TokenBatchSampler([3, 4], 8)
    assert DataLoader(range(2), batch_sampler=lengths, num_workers=1).plan() == (2, 4, 32)


# ------------------------------------------------------------------------------- other styles


def test_the_way_of_tf_data():
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10)
    batches = data.from_tensor_slices((x, y)).shuffle(buffer_size=10).batch(batch_size=4)
    assert len(batches) == 3
    seen = []
    for xs, ys in batches.as_numpy_iterator():
        assert type(xs) is np.ndarray
        np.testing.assert_array_equal(xs, x[ys])
        seen += ys.tolist()
    assert sorted(seen) == list(range(10))
    assert seen != [i for b in batches for i in b[1].tolist()]  # another epoch
    [first, *_] = data.from_tensor_slices(x).batch(3)
    assert first.tolist() == x[:3].tolist()
    assert len(data.from_tensor_slices(x).batch(3, drop_remainder=True)) == 3
    doubled = data.from_tensor_slices([1, 2, 3]).map(lambda v: v * 2).batch(3)
    assert lists(doubled) == [[2, 4, 6]]
    [named] = data.from_tensor_slices({"a": x, "b": y}).batch(10)
    assert named["b"].tolist() == y.tolist()
    with pytest.raises(ShapeError):
        data.from_tensor_slices((x, y[:3]))


def test_the_way_of_burn():
    builder = data.DataLoaderBuilder(lambda items: np.array(items) * 10)
    loader = builder.batch_size(2).shuffle(3).num_workers(0).build(range(4))
    assert [b.tolist() for b in loader] == (
        10 * data.RandomSampler(range(4), seed=3).order()
    ).reshape(2, 2).tolist()
    assert [len(b) for b in data.DataLoaderBuilder().batch_size(3).build(range(4))] == [3, 1]


# ---------------------------------------------------------------------------------- columns


def test_columns_of_a_dictionary():
    table = {"x0": np.arange(4.0), "x1": -np.arange(4.0), "y": [0, 1, 0, 1], "name": list("abcd")}
    rows = data.ColumnDataset(table)
    assert len(rows) == 4
    assert rows[2] == {"x0": 2.0, "x1": -2.0, "y": 0, "name": "c"}
    pairs = data.ColumnDataset(table, (["x0", "x1"], "y"), dtype="float32")
    x, y = pairs[1]
    assert (x.tolist(), y, x.dtype) == ([1, -1], 1, np.float32)
    [(x, y), _] = DataLoader(pairs, 3)
    assert (x.shape, x.dtype, y.tolist()) == ((3, 2), np.float32, [0, 1, 0])
    named = data.ColumnDataset(table, {"x": ["x0"], "who": "name"})
    [batch] = DataLoader(named, 4)
    assert batch["x"].shape == (4, 1)
    assert batch["who"] == list("abcd")
    assert lists(DataLoader(data.ColumnDataset(table, "y"), 4)) == [[0, 1, 0, 1]]
    items = [named[i] for i in range(4)]
    [collated] = DataLoader(items, 4)
    assert collated["x"].tolist() == batch["x"].tolist()
    with pytest.raises(DataError, match=r"no column 'z'; there are \['x0', 'x1', 'y', 'name'\]"):
        data.ColumnDataset(table, ["x0", "z"])
    with pytest.raises(DtypeError, match=r"\['name'\] are not numbers"):
        data.ColumnDataset(table, [["x0", "name"]])
    for fields in (None, [["a", "b"]]):
        with pytest.raises(ShapeError):
            data.ColumnDataset({"a": [1], "b": [1, 2]}, fields)


def test_columns_of_polars_and_arrow():
    polars = pytest.importorskip("polars", reason="polars is not installed (extra 'data')")
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra 'data')")
    table = {"x": [1.0, 2.0, 3.0], "g": ["a", "b", "a"], "y": [True, False, True]}
    for frame in (polars.DataFrame(table), pyarrow.table(table)):
        [batch] = DataLoader(data.ColumnDataset(frame), 3, sampler=[2, 0, 1])
        assert batch["x"].tolist() == [3, 1, 2]
        assert batch["g"] == ["a", "a", "b"]
        assert batch["y"].tolist() == [True, True, False]
    gap = {"x": [1.0, None]}
    for frame in (polars.DataFrame(gap), pyarrow.table(gap)):
        with pytest.raises(DataError, match="'x' has 1 missing values"):
            data.ColumnDataset(frame)


# ----------------------------------------------------------------------------------- splits


def test_random_split():
    parts = data.random_split(range(10), [7, 3], seed=1)
    assert [len(p) for p in parts] == [7, 3]
    assert sorted(x for p in parts for x in p) == list(range(10))
    assert list(parts[0]) != list(range(7))
    again = data.random_split(range(10), [7, 3], seed=random.key(1))
    assert [list(p) for p in again] == [list(p) for p in parts]
    assert [list(p) for p in data.random_split(range(10), [7, 3])] != [list(p) for p in parts]


@pytest.mark.parametrize(
    ("n", "shares", "lengths"),  # as torch.utils.data.random_split
    [
        (10, [0.3, 0.3, 0.4], [3, 3, 4]),
        (10, [0.33, 0.33, 0.34], [4, 3, 3]),
        (11, [0.5, 0.5], [6, 5]),
        (100, [0.7, 0.2, 0.1], [70, 20, 10]),
        (3, [0.25] * 4, [1, 1, 1, 0]),
        (5, [1.0], [5]),
    ],
)
def test_random_split_by_shares(n, shares, lengths):
    assert [len(p) for p in data.random_split(range(n), shares)] == lengths


@pytest.mark.parametrize("lengths", [[7, 4], [0.5, 0.4], [11, -1]])
def test_random_split_refuses(lengths):
    with pytest.raises(ShapeError, match="random_split"):
        data.random_split(range(10), lengths)


def test_train_test_split():
    x, y = np.arange(20).reshape(10, 2), np.arange(10)
    x_train, x_test, y_train, y_test = data.train_test_split(x, y, test_size=0.2, random_state=1)
    # as scikit-learn 1.7
    assert y_test.tolist() == [2, 9]
    assert y_train.tolist() == [6, 4, 0, 3, 1, 7, 8, 5]
    np.testing.assert_array_equal(x_train, x[y_train])
    np.testing.assert_array_equal(x_test, x[y_test])
    a, b = data.train_test_split(mg.Tensor(y), shuffle=False)
    assert (a.tolist(), b.tolist()) == ([0, 1, 2, 3, 4, 5, 6], [7, 8, 9])


@pytest.mark.parametrize(
    ("n", "options", "sizes"),  # as scikit-learn
    [
        (1797, {"test_size": 0.2}, (1437, 360)),
        (10, {}, (7, 3)),
        (10, {"test_size": 4}, (6, 4)),
        (10, {"train_size": 0.55}, (5, 5)),
        (10, {"train_size": 3, "test_size": 3}, (3, 3)),
        (11, {"train_size": 0.5, "test_size": 0.25}, (5, 3)),
    ],
)
def test_sizes_of_splits(n, options, sizes):
    assert tuple(map(len, data.train_test_split(np.arange(n), **options))) == sizes


def test_train_test_split_refuses():
    for n, options in ((1, {}), (10, {"test_size": 10}), (10, {"train_size": 8, "test_size": 3})):
        with pytest.raises(ShapeError, match="cannot be split"):
            data.train_test_split(np.arange(n), **options)
    with pytest.raises(ShapeError, match=r"\[3, 2\]"):
        data.train_test_split(np.arange(3), np.arange(2))


def test_splits_by_hash_are_stable():
    x = np.random.default_rng(0).normal(size=(1000, 3))
    n = np.arange(1000)
    sides = [set(s.tolist()) for s in data.train_test_split(x, n, test_size=0.3, by_hash=True)[2:]]
    assert 260 < len(sides[1]) < 340
    fewer = data.train_test_split(x[:500], n[:500], test_size=0.3, by_hash=True)[2:]
    assert [
        set(s.tolist()) == {i for i in side if i < 500}
        for s, side in zip(fewer, sides, strict=True)
    ]
    other = data.train_test_split(x, n, test_size=0.3, by_hash=True, random_state=1)[3]
    assert set(other.tolist()) != sides[1]
    with pytest.raises(ShapeError, match="every row"):
        data.train_test_split(x, train_size=1, test_size=1, by_hash=True)


def test_public_names():
    assert [name for name in data.__all__ if not getattr(data, name).__doc__] == []
    assert mg.data is data


@pytest.mark.parametrize("mask", [np.array([True, False, True]), [True, False, True]])
def test_a_mask_is_no_list_of_indices(mask):
    items = data.TensorDataset(np.arange(3.0))
    for take in (lambda: data.Subset(items, mask), lambda: data.SubsetRandomSampler(mask)):
        with pytest.raises(TypeError, match="flatnonzero"):
            take()
    with pytest.raises(TypeError, match="float64"):
        data.SubsetRandomSampler([0.5])
    assert len(data.Subset(items, [])) == len(data.SubsetRandomSampler([])) == 0


@pytest.mark.parametrize("size", [True, float("nan"), float("inf"), 0, -1, 1.0])
def test_sizes_of_splits_that_are_none(size):
    for name in ("test_size", "train_size"):
        with pytest.raises(ShapeError, match="cannot be split"):
            data.train_test_split(np.arange(10), **{name: size})
