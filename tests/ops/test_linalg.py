"""Products and linear algebra: what no finite difference sees."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import linalg
from minigrad.autodiff import Tensor
from minigrad.backend import get_backend, to_device, to_numpy
from minigrad.errors import DtypeError, GradientError, MinigradError, ShapeError

SINGULAR = np.ones((2, 2))
on_the_host = pytest.mark.skipif(
    get_backend() != "numpy", reason="a device does not tell that a matrix is singular"
)


def tracked(x):
    return Tensor(to_device(np.array(x, float)), requires_grad=True)


def gradient_of(function, x):
    x = tracked(x)
    return mg.gradients(mg.sum(function(x)), x).numpy()


def symmetric(n, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, n))
    return x @ x.T + np.eye(n)


# -------------------------------------------------------------------------------- products


def test_einsum_takes_numpys_word_for_its_order():
    xs = [tracked(np.ones(shape)) for shape in ((2, 3), (3, 4), (4, 2))]
    for optimize in (True, False, "greedy"):
        y = mg.einsum("ij,jk,kl->il", *xs, optimize=optimize)
        np.testing.assert_allclose(y.detach().numpy(), 12.0)


def test_tensordot_refuses_a_negative_number_of_axes():
    with pytest.raises(ShapeError, match=r"tensordot.*-1"):
        mg.tensordot(tracked(np.ones((2, 3))), np.ones((3, 2)), -1)


def test_einsum_of_a_long_chain_costs_no_more_than_its_products():
    xs = [np.ones((30, 30))] * 8  # all indices at once would be 30^9 terms
    y = mg.einsum("ab,bc,cd,de,ef,fg,gh,hi->ai", *xs)
    np.testing.assert_allclose(y, 30.0**7)


def test_einsum_takes_spaces_and_numbers():
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(mg.einsum(" i j , j k -> i k ", x, x.T), x @ x.T)
    np.testing.assert_array_equal(mg.einsum(",ij->ji", 2.5, x), 2.5 * x.T)
    np.testing.assert_array_equal(mg.einsum("ij,j", x, [1.0, 0.0, 2.0]), x @ [1, 0, 2])


def test_half_precision_is_multiplied_in_single():
    x = to_device(np.ones((2, 5000), np.float16))  # summed in float16 it would stop at 2048
    for y in (mg.matmul(x, x.T), mg.linear(x, x), mg.einsum("ij,kj->ik", x, x), mg.inner(x, x)):
        assert y.dtype == np.float16
        assert y.tolist() == [[5000, 5000]] * 2
    w = Tensor(x, requires_grad=True)
    g = mg.gradients(mg.sum(mg.linear(w, Tensor(x)) * 0.5), w)
    assert (g.dtype, g[0, 0].item()) == (np.float16, 1)


@pytest.mark.parametrize(
    ("product", "expected"),
    [
        (lambda x: mg.dot(2.1, x), np.float64),
        (lambda x: mg.dot(x.astype("float32"), 2.1), np.float32),
        (lambda x: mg.outer([1, 2], x.astype("float32")), np.float32),
        (lambda x: mg.kron(x.astype("float32"), to_device(np.arange(2))), np.float32),
        (lambda x: mg.matmul(x.astype("int64"), x.astype("int64")), np.int64),
        (lambda x: mg.tensordot(x.astype("float32"), x.astype("int32"), 1), np.float32),
        (lambda x: mg.cross(x.astype("float32"), [1.0, 2.0, 3.0]), np.float32),
    ],
)
def test_the_dtype_of_a_product(product, expected):
    assert product(to_device(np.ones(3))).dtype == expected


# ----------------------------------------------------------------- linear algebra: gradients


@pytest.mark.parametrize("rank", [0, 1, 2, 3, 4])
def test_the_gradient_of_the_determinant_is_right_at_any_rank(rank):
    generator = np.random.default_rng(rank)
    a = generator.standard_normal((4, rank)) @ generator.standard_normal((rank, 4))
    cofactors = np.empty((4, 4))
    for i, j in np.ndindex(4, 4):
        rest = np.delete(np.delete(a, i, 0), j, 1)
        cofactors[i, j] = (-1) ** (i + j) * np.linalg.det(rest)
    np.testing.assert_allclose(gradient_of(linalg.det, a), cofactors, atol=1e-12)


def with_values(values):
    """A symmetric matrix with these eigenvalues."""
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    return (q * values) @ q.T


def differences(f, x, symmetric=False, h=1e-6):
    """The gradient of the number `f(x)`, by central differences."""
    g = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        d = np.zeros_like(x)
        d[at] = h
        d = (d + d.T) / 2 if symmetric else d
        g[at] = (float(f(to_device(x + d))) - float(f(to_device(x - d)))) / (2 * h)
    return g


WEIGHTS = np.random.default_rng(1).standard_normal((3, 3))


def of_projection(x):
    """The space of the two smallest eigenvalues."""
    v = linalg.eigh(x)[1][:, :2]
    return (mg.matmul(v, v.T) * to_device(WEIGHTS)).sum()


def of_sums(x):
    return linalg.eigh(x)[0].sum() + (linalg.eigvalsh(x) ** 2).sum()


def of_exponential(x):
    w, v = linalg.eigh(x)
    return (mg.matmul(v * mg.exp(w), v.T) * to_device(WEIGHTS)).sum()


@pytest.mark.parametrize("values", [(1.0, 2.0, 3.0), (1.0, 1.0, 3.0)])
@pytest.mark.parametrize("f", [of_projection, of_sums, of_exponential])
def test_gradients_by_differences_also_where_eigenvalues_coincide(f, values):
    x = with_values(np.array(values))
    g = gradient_of(f, x)
    if f is of_exponential and values[0] == values[1]:
        assert np.isnan(g).all()  # no rule can know it
    else:
        np.testing.assert_allclose(g, differences(f, x, symmetric=True), atol=1e-6)


def test_coinciding_eigenvalues_are_refused_where_nothing_can_be_known():
    def again(x):
        w, v = linalg.eigh(x)
        return mg.matmul(v * w, v.T)

    for x in (np.eye(3), np.diag([1.0, 1.0, 2.0]), np.zeros((3, 3))):
        assert np.isnan(gradient_of(again, x)).any()
        first = mg.jit(mg.grad(lambda x: again(x).sum()))(Tensor(to_device(x)))
        assert np.isnan(to_numpy(first.data)).any()
        np.testing.assert_allclose(gradient_of(linalg.eigvalsh, x), np.eye(3), atol=1e-12)
        second = mg.hessian(lambda x: (linalg.eigvalsh(x) ** 2).sum())(Tensor(to_device(x)))
        assert np.isnan(to_numpy(second.data)).any()
    # Numbers that only rounding keeps apart count as equal.
    g = gradient_of(lambda x: linalg.eigh(x)[1], with_values(np.array([1.0, 1.0, 2.0])))
    assert np.abs(g).max() < 1e3


def factor(x):
    """The orthonormal factor of the polar decomposition."""
    u, _, vh = linalg.svd(x, full_matrices=False)
    return mg.matmul(u, vh)


def cubed(x):
    u, s, vh = linalg.svd(x, full_matrices=False)
    return mg.matmul(u * s**3, vh)


@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (3, 4)])
@pytest.mark.parametrize("values", [(3.0, 2.0, 1.0), (2.0, 1.0, 1.0), (2.0, 2.0, 2.0)])
@pytest.mark.parametrize("f", [factor, cubed, linalg.svdvals])
def test_gradients_by_differences_also_where_singular_values_coincide(f, values, shape):
    rng = np.random.default_rng(2)
    u, v = (np.linalg.qr(rng.standard_normal((n, 3)))[0] for n in shape)
    x, weights = (u * values) @ v.T, rng.standard_normal(shape)

    def number(x):
        y = f(x)
        return (y * to_device(weights)).sum() if y.ndim == 2 else (y * y).sum()

    g = gradient_of(number, x)
    if f is cubed and values[1] == values[2]:
        assert np.isnan(g).any()
    else:
        np.testing.assert_allclose(g, differences(number, x), atol=1e-6)


def test_a_singular_value_of_zero_is_refused_where_nothing_can_be_known():
    x = np.zeros((3, 2))
    x[0, 0] = 1.0
    assert np.isnan(gradient_of(cubed, x)).any()
    np.testing.assert_allclose(gradient_of(cubed, x[:2]), [[3.0, 1.0], [1.0, 0.0]], atol=1e-12)
    np.testing.assert_allclose(gradient_of(linalg.svdvals, 2 * np.eye(3)), np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    "function", [linalg.cholesky, linalg.eigvalsh, lambda x: linalg.eigh(x)[0]]
)
def test_of_symmetric_matrices_the_gradient_is_symmetric(function):
    x = symmetric(3)
    g = gradient_of(function, x)
    np.testing.assert_allclose(g, g.T, atol=1e-12)
    move = symmetric(3, seed=1)
    ends = [np.sum(np.asarray(mg.backend.to_numpy(function(to_device(x + s * move)))))
            for s in (1e-5, -1e-5)]  # fmt: skip
    np.testing.assert_allclose(np.sum(g * move), (ends[0] - ends[1]) / 2e-5, rtol=1e-6)


def test_which_triangle_is_read():
    x = to_device(np.array([[2.0, 9.0], [1.0, 3.0]]))
    lower, upper = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[2.0, 9.0], [9.0, 3.0]])
    to_numpy = mg.backend.to_numpy
    np.testing.assert_allclose(to_numpy(linalg.eigvalsh(x)), np.linalg.eigvalsh(lower))
    np.testing.assert_allclose(to_numpy(linalg.eigh(x, "U")[0]), np.linalg.eigvalsh(upper))
    np.testing.assert_allclose(to_numpy(linalg.cholesky(x)), np.linalg.cholesky(lower))
    y = to_numpy(linalg.cholesky(x.T, upper=True))
    np.testing.assert_allclose(y, np.linalg.cholesky(lower).T)


def test_what_full_matrices_and_complete_add_has_no_gradient():
    x = tracked(np.arange(6.0).reshape(3, 2) ** 2)
    u, s, vh = linalg.svd(x)
    assert (u.shape, s.shape, vh.shape) == ((3, 3), (2,), (2, 2))
    mg.gradients(mg.sum(s), x, retain_graph=True)
    with pytest.raises(GradientError, match="full_matrices=False"):
        mg.gradients(mg.sum(u), x)
    q, r = linalg.qr(x, "complete")
    assert (q.shape, r.shape) == ((3, 3), (3, 2))
    with pytest.raises(GradientError, match="mode 'reduced'"):
        mg.gradients(mg.sum(r), x)
    q, r = linalg.qr(x.T, "complete")
    assert (q.shape, r.shape) == ((2, 2), (2, 3))
    mg.gradients(mg.sum(q) + mg.sum(r), x)


def test_the_power_zero_has_a_gradient_of_zeros():
    assert not gradient_of(lambda x: linalg.matrix_power(x, 0), SINGULAR).any()


# --------------------------------------------------------------- linear algebra: conventions


def test_results_have_names_as_in_numpy():
    x = symmetric(2)
    assert linalg.svd(x).S.shape == linalg.eigh(x).eigenvalues.shape == (2,)
    assert linalg.qr(x).R.shape == linalg.eigh(x).eigenvectors.shape == (2, 2)
    assert linalg.slogdet(x).logabsdet.shape == ()


@pytest.mark.parametrize(
    "function",
    [
        *(linalg.inv, linalg.det, linalg.cholesky, linalg.pinv, linalg.svdvals, linalg.eigvalsh),
        *(lambda x: linalg.svd(x)[0], lambda x: linalg.qr(x)[1], lambda x: linalg.eigh(x)[1]),
        *(lambda x: linalg.solve(x, x), lambda x: linalg.slogdet(x)[1], linalg.cond),
        *(lambda x: linalg.matrix_power(x, -2), lambda x: linalg.lstsq(x, x)[0]),
    ],
)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_dtype_stays(function, dtype):
    x = Tensor(to_device(symmetric(3).astype(dtype)), requires_grad=True)
    y = function(x)
    assert y.dtype == dtype
    assert mg.gradients(mg.sum(y), x).dtype == dtype


def test_integers_become_floats():
    x = to_device(np.array([[2, 1], [1, 3]]))
    assert linalg.inv(x).dtype == linalg.det(x).dtype == np.float64
    assert linalg.matrix_power(x, 3).tolist() == [[15, 20], [20, 35]]
    assert linalg.solve(x, to_device(np.ones(2, "float32"))).dtype == np.float32
    assert linalg.inv([[2.0, 1.0], [1.0, 3.0]]).dtype == np.float32


def test_least_squares_without_full_rank_is_the_shortest():
    a, b = np.array([[1.0, 1.0], [2.0, 2.0], [0.0, 0.0]]), np.array([1.0, 2.0, 5.0])
    x, residuals, rank, s = (mg.backend.to_numpy(y) for y in linalg.lstsq(*map(to_device, (a, b))))
    np.testing.assert_allclose(x, [0.5, 0.5])
    assert (residuals.shape, rank, s.shape) == ((0,), 1, (2,))
    assert linalg.matrix_rank(to_device(a)) == 1
    assert linalg.matrix_rank(to_device(a), tol=100.0) == 0
    assert linalg.matrix_rank(to_device(b)) == 1


# ------------------------------------------------------------------------------------ errors

X, V = np.ones((2, 3)), np.ones(3)


@pytest.mark.parametrize(
    ("call", "error", "fragments"),
    [
        (lambda: mg.matmul(2.0, X), ShapeError, "matmul|()|(2, 3)|multiply"),
        (lambda: mg.dot(X, X), ShapeError, "matmul|(2, 3)"),
        (lambda: mg.inner(X, np.ones(2)), ShapeError, "(2, 3)|(2,)"),
        (lambda: mg.vdot(X, V), ShapeError, "(6,)|(3,)"),
        (lambda: mg.vecdot(X, np.ones(2)), ShapeError, "vecdot|-1|(2, 3)|(2,)"),
        (lambda: mg.tensordot(X, X.T), ShapeError, "tensordot|[-2, -1]|(3, 2)"),
        (lambda: mg.tensordot(X, X.T, 3), ShapeError, "tensordot|-3|(2, 3)"),
        (lambda: mg.tensordot(X, X, ([0, 0], [0, 0])), ShapeError, "tensordot|repeated"),
        (lambda: mg.cross(np.ones(4), V), ShapeError, "cross|4 and 3"),
        (lambda: mg.cross(X, X, axis=2), ShapeError, "cross|2|(2, 3)"),
        (lambda: mg.bilinear(X, X, X), ShapeError, "bilinear|in1|(2, 3)"),
        (lambda: mg.einsum("ij->ik", X), ShapeError, "einsum|'k'|no operand"),
        (lambda: mg.einsum("ij->ii", X), ShapeError, "einsum|'i'|twice"),
        (lambda: mg.einsum("...j->j", X), ShapeError, "einsum|ellipsis"),
        (lambda: mg.einsum("i.j", X), ShapeError, "einsum|'i.j'|'...'"),
        (lambda: mg.einsum("ij,jk", X, X), ShapeError, "einsum|'j'|3 and 2"),
        (lambda: linalg.inv(X), ShapeError, "inv|square|(2, 3)"),
        (lambda: linalg.det(V), ShapeError, "det|square|(3,)"),
        (lambda: linalg.svd(V), ShapeError, "svd|(3,)"),
        (lambda: linalg.solve(SINGULAR, V), ShapeError, "solve|(3,)|(2, 2)"),
        (lambda: linalg.solve(np.ones((3, 2, 2)), np.ones((2, 2, 1))), ShapeError, "solve|differ"),
        (lambda: linalg.lstsq(X, V), ShapeError, "lstsq|(m, n)|(3,)"),
        (lambda: linalg.multi_dot([X]), ShapeError, "multi_dot|1"),
        (lambda: linalg.multi_dot([X, X]), ShapeError, "multi_dot|(2, 3)"),
        (lambda: linalg.matrix_power(SINGULAR, 0.5), TypeError, "matrix_power|integer|0.5"),
        (lambda: linalg.qr(X, "raw"), ValueError, "qr|'complete'|'raw'"),
        (lambda: linalg.eigh(SINGULAR, "X"), ValueError, "UPLO|'X'"),
        (lambda: linalg.inv(SINGULAR * 1j), DtypeError, "inv|real|complex128"),
    ],
)  # fmt: skip
def test_errors_say_what_was_expected_and_what_came(call, error, fragments):
    with pytest.raises(error) as caught:
        call()
    for fragment in fragments.split("|"):
        assert fragment in str(caught.value)


BATCH = np.stack([np.eye(2), -SINGULAR])


@on_the_host
@pytest.mark.parametrize(
    ("call", "fragments"),
    [
        (lambda: linalg.inv(SINGULAR), "inv|Singular|(2, 2)"),
        (lambda: linalg.inv(BATCH), "inv|Singular|index (1,)"),
        (lambda: linalg.solve(BATCH, np.ones(2)), "solve|Singular|index (1,)"),
        (lambda: linalg.cholesky(BATCH), "cholesky|positive definite|index (1,)"),
        (lambda: linalg.matrix_power(SINGULAR, -1), "matrix_power|Singular"),
        (lambda: gradient_of(lambda x: linalg.slogdet(x)[1], SINGULAR), "slogdet|Singular"),
        (lambda: gradient_of(lambda x: linalg.qr(x)[0], [[1.0, 0], [0, 0], [0, 0]]), "qr|Singular"),
    ],
)  # fmt: skip
def test_a_singular_matrix_is_named(call, fragments):
    with pytest.raises(np.linalg.LinAlgError) as caught:
        call()
    assert isinstance(caught.value, linalg.LinAlgError)
    assert isinstance(caught.value, MinigradError)
    for fragment in fragments.split("|"):
        assert fragment in str(caught.value)


def test_the_determinant_of_a_singular_matrix_is_no_error():
    x = to_device(SINGULAR)
    assert linalg.det(x) == 0
    assert [y.item() for y in linalg.slogdet(x)] == [0, -np.inf]
