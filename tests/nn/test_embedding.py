"""Look-ups: embeddings and their options, bags, sparse gradients, positions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import close, host, refuses, same

import minigrad as mg
from minigrad import nn, optim, random
from minigrad.autodiff import Tensor, gradients
from minigrad.backend import to_device, to_numpy
from minigrad.errors import CaptureError, GradientError, OutOfRangeError, ShapeError
from minigrad.sparse import SparseRows

WEIGHT = np.array(
    [[1.0, -2.0], [3.0, 4.0], [0.5, 0.25], [-6.0, 8.0], [2.0, 2.0]]
)  # of norms sqrt(5), 5, 0.559, 10, 2.83


def device(x, dtype="int64"):
    return to_device(np.array(x, dtype))


def embedding(cls=nn.Embedding, **options):
    return cls.from_pretrained(to_device(WEIGHT), freeze=False, **options)


def dense(g):
    return to_numpy(g.to_dense() if type(g) is SparseRows else g.data)


# ------------------------------------------------------------------------------------ looking up


def test_the_example_of_the_documentation():
    weight = Tensor([[1, 2.3, 3], [4, 5.1, 6.3]])
    table = nn.Embedding.from_pretrained(weight)
    y = table(Tensor([1]))
    assert y.data.tolist() == np.array([[4.0, 5.1, 6.3]], "float32").tolist()
    assert not table.weight.requires_grad
    assert nn.Embedding.from_pretrained(weight, freeze=False).weight.requires_grad
    assert (table.num_embeddings, table.embedding_dim) == (2, 3)


@given(shape=st.lists(st.integers(0, 3), max_size=4), features=st.integers(0, 4))
def test_ids_may_have_any_shape(shape, features):
    table = nn.Embedding(7, features)
    ids = np.random.default_rng(0).integers(0, 7, shape)
    y = table(to_device(ids))
    assert y.shape == (*shape, features)
    same(y.data, host(table.weight)[ids])


def test_weights_are_standard_normal():
    w = to_numpy(nn.Embedding(200, 100).weight.data)
    assert abs(w.mean()) < 0.03
    assert abs(w.std() - 1) < 0.03


def test_an_id_out_of_range_is_named_with_its_position():
    with refuses(OutOfRangeError, match=r"index 5 at position \(1, 0\) is out of range"):
        embedding()(device([[0, 1], [5, 2]]))
    with refuses(OutOfRangeError, match="index -1 at position 2 is out of range"):
        embedding()(device([0, 1, -1]))


@pytest.mark.parametrize("shape", [(3,), (3, 2, 2), ()])
def test_a_table_has_two_axes(shape):
    table, ids = mg.zeros(shape), device([[0, 1]])
    for look_up in (
        mg.embedding,
        nn.functional.embedding,
        nn.functional.embedding_bag,
        lambda ids, table: nn.functional.embedding(ids, table, sparse=True),
    ):
        with pytest.raises(ShapeError, match=r"weight must be \(rows, features\), got shape"):
            look_up(ids, table)


@pytest.mark.parametrize("padding_idx", [1, -4])
@pytest.mark.parametrize("sparse", [False, True])
def test_the_padding_is_zero_and_stays_so(padding_idx, sparse):
    table = embedding(padding_idx=padding_idx, sparse=sparse)
    assert table.padding_idx == 1
    assert table.weight.data[1].tolist() == [0, 0]
    assert WEIGHT[1].tolist() == [3, 4]  # a copy was taken
    (table(device([0, 1, 1])) + 1).sum().backward()
    assert dense(table.weight.grad)[:2].tolist() == [[1, 1], [0, 0]]
    table.load_state_dict({"weight": WEIGHT})
    assert table.weight.data[1].tolist() == [0, 0]
    assert table.weight.data[0].tolist() == [1, -2]


def test_the_padding_survives_training_and_loading_into_a_model():
    model = nn.Sequential(nn.Embedding(5, 3, padding_idx=-1), nn.Flatten(), nn.Linear(6, 2))
    optimizer = optim.AdamW(model, 0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (model(device([[0, 4], [4, 2]])) ** 2).sum().backward()
        optimizer.step()
    assert model[0].weight.data[4].tolist() == [0, 0, 0]
    state = model.state_dict()
    state["0.weight"][4] = 7
    model.load_state_dict(state)
    assert model[0].weight.data[4].tolist() == [0, 0, 0]


@pytest.mark.parametrize("sparse", [False, True])
def test_gradients_may_be_divided_by_the_frequency(sparse):
    table = embedding(scale_grad_by_freq=True, sparse=sparse)
    g = device([[1, 2], [3, 4], [5, 7], [7, 8]], "float64")
    table(device([3, 1, 3, 3])).backward(g)
    mean = (g[0] + g[2] + g[3]) / 3
    close(dense(table.weight.grad)[3], mean)
    close(dense(table.weight.grad)[1], [3, 4])


@pytest.mark.parametrize(
    ("norm_type", "expected"),
    [  # PyTorch's
        (2.0, [[0.89442715, -1.7888543], [1.19999998, 1.59999997], [0.5, 0.25]]),
        (1.0, [[0.66666664, -1.33333329], [0.85714284, 1.14285713], [0.5, 0.25]]),
        (float("inf"), [[1.0, -2.0], [1.49999996, 1.99999995], [0.5, 0.25]]),
    ],
)
def test_long_vectors_are_scaled_on_their_way_out(norm_type, expected):
    table = embedding(max_norm=2.0, norm_type=norm_type)
    y = table(device([0, 1, 2]))
    close(y.data, expected, rtol=1e-7)
    same(table.weight.data, WEIGHT)  # other than in PyTorch


def test_the_scaling_is_part_of_the_graph():
    table = embedding(max_norm=2.0)
    weights = np.array([[1.0, 0.5], [-1.0, 2.0], [0.3, 0.7]])
    ids = device([1, 2, 3])
    (table(ids) * to_device(weights)).sum().backward()
    g = to_numpy(table.weight.grad.data)
    for row in range(5):
        for column in range(2):
            ends = []
            for step in (1e-6, -1e-6):
                moved = WEIGHT.copy()
                moved[row, column] += step
                other = nn.Embedding.from_pretrained(to_device(moved), max_norm=2.0)
                ends.append((other(ids) * to_device(weights)).sum().item())
            assert g[row, column] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)
    zero = nn.Embedding.from_pretrained(np.zeros((2, 3)), freeze=False, max_norm=1.0)
    zero(device([0])).sum().backward()
    assert to_numpy(zero.weight.grad.data)[0].tolist() == [1, 1, 1]


# --------------------------------------------------------------------------------------- sparse


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_a_sparse_gradient_is_the_dense_one(ids):
    tables = [embedding(sparse=sparse) for sparse in (False, True)]
    g = np.random.default_rng(1).normal(size=(len(ids), 2))
    for table in tables:
        table(device(ids)).backward(to_device(g))
    found = tables[1].weight.grad
    assert type(found) is SparseRows
    assert found.rows.tolist() == sorted(set(ids))
    assert found.rows.dtype == np.int64
    assert found.shape == (5, 2)
    close(dense(found), dense(tables[0].weight.grad), atol=1e-12)


@pytest.mark.parametrize("order", range(6))
def test_sparse_and_dense_contributions_add_up(order):
    table = embedding(sparse=True)
    parts = [
        lambda: table(device([1, 2])).sum(),
        lambda: (table.weight * 2.0).sum(),
        lambda: table(device([2, 2])).sum(),
        lambda: (table.weight * 3.0).sum(),
    ]
    parts = [parts[(order * k + i) % 4] for i, k in enumerate((1, 1, 1, 1))]
    sum(part() for part in parts).backward()
    expected = [[5.0, 5.0], [6.0, 6.0], [8.0, 8.0], [5.0, 5.0], [5.0, 5.0]]
    assert dense(table.weight.grad).tolist() == expected


def test_sparse_gradients_of_several_walks_add_up():
    table = embedding(sparse=True)
    table(device([1, 3])).sum().backward()
    table(device([3, 0])).sum().backward()
    assert table.weight.grad.rows.tolist() == [0, 1, 3]
    assert table.weight.grad.values.tolist() == [[1, 1], [1, 1], [2, 2]]
    assert repr(table.weight.grad) == "<SparseRows float64 (5, 2), 3 rows>"
    table.weight.sum().backward()
    assert dense(table.weight.grad).tolist() == [[2, 2], [2, 2], [1, 1], [3, 3], [1, 1]]
    assert type(gradients(table(device([1])).sum(), table.weight)) is SparseRows


def test_second_derivatives_and_vmap_are_dense():
    table = embedding(sparse=True)
    g = gradients((table(device([1, 1])) ** 2).sum(), table.weight, create_graph=True)
    assert type(g) is Tensor
    gg = gradients(g.sum(), table.weight, create_graph=True)
    assert to_numpy(gg.data).tolist() == [[0, 0], [4, 4], [0, 0], [0, 0], [0, 0]]


def test_sparse_gradients_pass_the_check_for_bad_numbers():
    table = embedding(sparse=True)
    with mg.detect_anomaly():
        table(device([1, 3])).sum().backward()
    assert table.weight.grad.rows.tolist() == [1, 3]


def test_sparse_gradients_stop_at_a_leaf():
    weight = Tensor(to_device(WEIGHT), requires_grad=True)
    with pytest.raises(GradientError, match="must be a leaf, and this one was computed by"):
        nn.functional.embedding(device([1]), weight * 2, sparse=True)


def test_sparse_gradients_are_not_captured():
    with pytest.raises(CaptureError, match="sparse=False"):
        mg.jit(lambda ids: embedding(sparse=True)(ids))(device([1]))


def test_sparse_rows_are_checked():
    with pytest.raises(ShapeError, match="expected"):
        SparseRows(device([1, 2]), np.zeros((3, 2)), (5, 2))
    with pytest.raises(ShapeError, match="cannot add"):
        SparseRows(device([1]), np.zeros((1, 2)), (5, 2)) + np.zeros((4, 2))


# ------------------------------------------------------------------------------------------ bags

IDS, OFFSETS = [1, 2, 2, 0, 3], [0, 2, 2]  # the bags (1, 2), () and (2, 0, 3)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("sum", [[3.5, 4.25], [0, 0], [-4.5, 6.25]]),
        ("mean", [[1.75, 2.125], [0, 0], [-1.5, 6.25 / 3]]),
        ("max", [[3, 4], [0, 0], [1, 8]]),
    ],
)
def test_bags(mode, expected):
    bag = embedding(nn.EmbeddingBag, mode=mode)
    close(bag(device(IDS), device(OFFSETS)).data, expected)
    rows = bag(device([[2, 0, 3]]))
    close(rows.data, expected[2:])
    last = embedding(nn.EmbeddingBag, mode=mode, include_last_offset=True)
    close(last(device(IDS), device([*OFFSETS, 5])).data, expected)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [  # without the 2s
        ("sum", [[3, 4], [0, 0], [-5, 6]]),
        ("mean", [[3, 4], [0, 0], [-2.5, 3]]),
        ("max", [[3, 4], [0, 0], [1, 8]]),
    ],
)
def test_padding_is_not_in_a_bag(mode, expected):
    bag = embedding(nn.EmbeddingBag, mode=mode, padding_idx=2)
    close(bag(device(IDS), device(OFFSETS)).data, expected)
    assert bag(device([[2, 2]])).data.tolist() == [[0, 0]]


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding_idx", [None, 2])
def test_the_gradient_of_bags_is_that_of_a_loop(mode, padding_idx):
    bag, table = embedding(nn.EmbeddingBag, mode=mode, padding_idx=padding_idx), embedding()
    weights = to_device(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    (bag(device(IDS), device(OFFSETS)) * weights).sum().backward()
    total = 0.0
    for ids, w in (([1, 2], weights[0]), ([2, 0, 3], weights[2])):
        rows = table(device([i for i in ids if i != padding_idx]))
        total = total + (getattr(rows, mode)(axis=0) * w).sum()
    total.backward()
    close(dense(bag.weight.grad), dense(table.weight.grad))


def test_samples_in_a_bag_may_have_weights():
    bag = embedding(nn.EmbeddingBag, mode="sum")
    weights = Tensor(to_device(np.array([2.0, 0.0, 1.0, -1.0, 0.5])), requires_grad=True)
    y = bag(device(IDS), device(OFFSETS), weights)
    close(y.data, [[6, 8], [0, 0], [-3.5, 6.25]])
    y.sum().backward()
    close(weights.grad.data, WEIGHT.sum(axis=1)[IDS])


def test_of_equal_elements_of_a_bag_the_first_gets_the_gradient():
    bag = nn.EmbeddingBag.from_pretrained(np.ones((3, 2)), freeze=False, mode="max")
    bag(device([[2, 0, 1]])).sum().backward()
    assert dense(bag.weight.grad).tolist() == [[0, 0], [0, 0], [1, 1]]


def test_bags_have_the_other_options_too():
    bag = embedding(nn.EmbeddingBag, max_norm=2.0, mode="sum", sparse=True, scale_grad_by_freq=True)
    y = bag(device([[2, 1, 1]]))
    close(y.data, [[2.9, 3.45]], rtol=1e-6)
    y.sum().backward()
    assert bag.weight.grad.rows.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.EmbeddingBag(3, 2, mode="min"), ValueError, "'sum', 'mean' or 'max'"),
        (lambda: nn.EmbeddingBag(3, 2)(device([1, 2])), ShapeError, r"ids \(n,\) with offsets"),
        (lambda: nn.EmbeddingBag(3, 2)(device([1]), device([1])), OutOfRangeError, "from 0"),
        (lambda: nn.EmbeddingBag(3, 2)(device([1]), device([0, 2])), OutOfRangeError, "most 1"),
        (lambda: nn.EmbeddingBag(3, 2)(device([3]), device([0])), OutOfRangeError, "index 3"),
        (
            lambda: nn.EmbeddingBag(3, 2, mode="max", sparse=True)(device([[1]])),
            ValueError,
            "no sparse gradients",
        ),
        (
            lambda: nn.EmbeddingBag(3, 2)(device([[1]]), None, device([[1.0]], "float32")),
            ValueError,
            "for mode 'sum'",
        ),
        (lambda: nn.Embedding(3, 2, padding_idx=-4), OutOfRangeError, r"in \[-3, 3\), got -4"),
        (lambda: nn.Embedding.from_pretrained([1.0, 2.0]), ShapeError, "embeddings must be"),
    ],
)
def test_errors_say_what_is_wrong(call, error, message):
    with refuses(error, match=message):
        call()


# -------------------------------------------------------------------------------------- entities


def test_categories_and_continuous_features_side_by_side():
    entities = nn.EntityEmbedding({"sex": 2, "job": 22}, 8, continuous=3)
    assert entities.features == 19
    ids = {"sex": device([0, 1, 1, 0]), "job": device([3, 12, 7, 5])}
    x = to_device(np.arange(12.0).reshape(4, 3))
    y = entities(ids, x)
    assert y.shape == (4, 19)
    assert str(y.dtype) == "float32"
    same(y.data[:, :8], host(entities.tables["sex"].weight)[[0, 1, 1, 0]])
    same(y.data[:, 16:], x)
    rows = device([[0, 3], [1, 12], [1, 7], [0, 5]])
    same(entities(rows, x).data, y.data)
    assert list(entities.state_dict()) == ["tables.sex.weight", "tables.job.weight"]
    apart = nn.EntityEmbedding({"sex": 2, "job": 22}, {"sex": 1, "job": 5})
    assert apart(rows).shape == (4, 6)
    with pytest.raises(ShapeError, match=r"the names \['sex', 'job'\]"):
        entities({"sex": ids["sex"]}, x)
    with pytest.raises(ShapeError, match="3 continuous features, got none"):
        entities(ids)
    with pytest.raises(ShapeError, match="ids must be"):
        entities(rows[:, :1], x)


# ------------------------------------------------------------------------------------- positions


def test_learned_positions():
    positions = nn.LearnedPositions(6, 4)
    x = to_device(np.zeros((2, 5, 4), "float32"))
    same(positions(x).data[1], positions.weight.data[:5])
    same(positions(x, start=1).data[0], positions.weight.data[1:])
    with pytest.raises(OutOfRangeError, match=r"6 positions, position 6 .* extended\(7\)"):
        positions(x, start=2)
    longer = positions.extended(10)
    same(longer.weight.data[:6], positions.weight.data)
    assert longer(x, start=5).shape == x.shape
    assert abs(to_numpy(nn.LearnedPositions(200, 50).weight.data).std() - 0.02) < 1e-3


def test_rotary_positions_turn_pairs():
    rotary = nn.RotaryPositions(4)
    x = np.random.default_rng(0).normal(size=(3, 5, 8))  # two heads
    y = to_numpy(rotary(to_device(x)).data)
    pairs = x.reshape(3, 5, 2, 2, 2)
    z = pairs[..., 0] + 1j * pairs[..., 1]
    angles = np.arange(5)[:, None] / 10000.0 ** (np.arange(2) / 2)
    z = z * np.exp(1j * angles)[:, None]
    expected = np.stack([z.real, z.imag], axis=-1).reshape(x.shape)
    close(y, expected, atol=1e-12)
    close(rotary(to_device(x[:, 2:]), start=2).data, y[:, 2:], atol=1e-12)
    with pytest.raises(ShapeError, match="even"):
        nn.RotaryPositions(3)
    with pytest.raises(ShapeError, match="heads of 4 features"):
        rotary(to_device(x[..., :6]))


def test_rotary_products_depend_on_the_distance_alone():
    rotary = nn.RotaryPositions(6)
    q, k = (to_device(np.random.default_rng(i).normal(size=(1, 6))) for i in range(2))
    products = [(rotary(q, start=s + 3) * rotary(k, start=s)).sum().item() for s in (0, 1, 7, 40)]
    close(products, products[0])


def test_attention_may_be_rotary():
    with random.stream(1):
        attention = nn.MultiheadAttention(8, 2, dtype="float64", rotary=nn.RotaryPositions(4))
    x = to_device(np.random.default_rng(0).normal(size=(2, 5, 8)))
    q, k, v = (getattr(attention, f"{n}_proj")(x) for n in "qkv")
    y = mg.attention(attention.rotary(q), attention.rotary(k), v, heads=2)
    close(attention(x, x, x).data, attention.out_proj(y).data, atol=1e-12)
    with pytest.raises(ShapeError, match="rotary must have the 4 features of a head"):
        nn.MultiheadAttention(8, 2, rotary=nn.RotaryPositions(8))
