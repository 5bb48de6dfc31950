"""Every op of the table as a model of its own: onnxruntime gives what the op gives, or the op is
refused by its name.

A wrong attribute in a translation would be a wrong answer without a word. What can be exported,
and what cannot, is written down here.
"""

import numpy as np
import pytest
from cases import CASES
from hypothesis import HealthCheck, given, settings

import minigrad as mg
from minigrad.backend import is_array
from minigrad.errors import ExportError, MinigradError
from minigrad.export.exporting import graph_of
from minigrad.export.translations import TRANSLATIONS

GROUPS: dict[str, list] = {}
for _case in CASES:
    GROUPS.setdefault(_case.op.__name__, []).append(_case)

# Of these no call can be exported ...
NEVER = {
    "_cofactors", "_dft", "_exponent", "_extreme_at", "_first_largest", "_max_windows_grad",
    "_put_back", "_ranks", "_recurrence", "_relu_grad", "_running_ids", "_scatter_add",
    "_sum_windows", "argwhere", "array_equal", "bincount", "cholesky_inverse", "cholesky_of",
    "cholesky_solve", "compress", "cond", "cond_one", "cummax", "cummin", "cumprod",
    "cumulative_prod", "det", "diagflat", "digamma", "digitize", "dropout", "eigh_of",
    "eigh_parts", "eigvalsh_of", "embedding_grad", "erfc", "erfcx", "erfinv", "extract",
    "fft", "fft2_of_pairs", "fft_of_pairs", "fftn_of_pairs", "flatnonzero", "fold", "frexp",
    "gcd", "hidden", "histogram", "histogram_weighted", "i0", "i0e", "i1", "i1e",
    "ifft2_of_pairs", "ifft_of_pairs", "ifftn_of_pairs", "interp", "inv", "irfft2_of_pairs",
    "irfft_of_pairs", "irfftn_of_pairs", "isin", "lcm", "left_shift", "lgamma", "log_ndtr",
    "logdet", "lstsq", "masked_select", "matrix_exp", "matrix_rank_of", "max_unpool1d",
    "max_unpool2d", "max_unpool3d", "mode", "multigammaln", "multilabel_margin_loss",
    "nancumprod", "nanmax", "nanmin", "ndtr", "ndtri", "nextafter", "nonzero", "pinv",
    "pinv_hermitian", "pinv_of", "polygamma", "positive_qr", "put_at", "ravel_multi_index",
    "reorder_rows", "rfft", "rfft2", "rfftn", "right_shift", "searchsorted",
    "searchsorted_by", "shown", "slogdet", "solve", "solve_triangular", "spread", "summed",
    "svd_filled", "svd_of", "svd_parts", "svdvals_of", "tensorinv", "tensorsolve",
    "tril_indices", "triu_indices", "unique", "unique_along", "unique_consecutive",
    "unravel_from_the_front", "unravel_index",
}  # fmt: skip

# ... and of these, calls with a mask, a number of classes that hangs on values, dropout, indices of
# what is largest, a size 0, or the like cannot.
SOMETIMES = {
    "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "attention",
    "attention_grad", "attention_mask_grad", "broadcast_arrays", "broadcast_to",
    "cartesian_prod", "conv_transpose2d", "conv_transpose3d", "ctc_loss", "diag",
    "diff_with_ends", "getitem", "index_put", "index_reduce", "insert", "interpolate",
    "masked_scatter", "matrix_power", "max_pool1d", "max_pool2d", "max_pool3d", "meshgrid",
    "norm", "one_hot", "put_along_axis", "repeat", "scaled_dot_product_attention",
    "scatter_reduce", "take_along_axis", "tile", "where",
}  # fmt: skip


@pytest.fixture(scope="module")
def session():
    onnxruntime = pytest.importorskip("onnxruntime")
    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return lambda model: onnxruntime.InferenceSession(model.SerializeToString(), options)


@pytest.mark.parametrize("name", GROUPS)
def test_op(name, session):
    found = counted(name, session, examples=8)
    assert not found["exported"] if name in NEVER else not found["refused"] or name in SOMETIMES


@pytest.mark.slow
@pytest.mark.parametrize("name", GROUPS)
def test_op_with_many_arguments(name, session):
    found = counted(name, session, examples=25)
    if name in NEVER:
        assert not found["exported"]
    else:
        assert found["exported"]
        assert bool(found["refused"]) == (name in SOMETIMES)


def counted(name, session, examples):
    """How many calls were exported and compared, and how many refused."""
    found = {"exported": 0, "refused": 0}
    for case in GROUPS[name]:
        count(case, found, session, examples)
    return found


def count(case, found, session, examples):
    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case.calls)
    def each(call):
        if done := compared(case.op, call, session):
            found[done] += 1

    each()


def compared(op, call, session):
    """Export one call in float32, and compare; what was done with it."""
    inputs = [narrow(x) for x in call.inputs]
    arrays = {f"x{i}": x for i, x in enumerate(inputs) if is_array(x)}

    def model(*tensors):
        tensors = iter(tensors)
        return op(*(next(tensors) if is_array(x) else x for x in inputs), **call.params)

    if not arrays:
        return None
    with np.errstate(all="ignore"):
        try:
            expected = leaves(model(*map(mg.Tensor, arrays.values())))
        except MinigradError:  # float32 may be outside of the domain
            return None
        try:
            file, _ = graph_of(model, tuple(arrays.values()), list(arrays), dynamic_axes={})
        except ExportError as error:
            assert names_the_op(str(error)), str(error)  # noqa: PT017
            return "refused"
    feeds = {k: np.array(v, order="C") for k, v in arrays.items()}
    got = session(file).run(None, feeds)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-4, atol=2e-5)
    return "exported"


def narrow(x):
    if is_array(x) and x.dtype == np.float64:
        return x.astype(np.float32)
    return float(x) if type(x) is np.float64 else x


def leaves(y):
    if isinstance(y, dict):
        y = list(y.values())
    return [v for part in y for v in leaves(part)] if isinstance(y, tuple | list) else [y]


def names_the_op(message):
    known = ("cannot be exported: ", "asks for a value", "depends on values", "by the values of")
    known += ("that no op describes", "it must give Tensors")
    return any(part in message for part in known) or "cannot be recorded with" in message


def test_every_translation_is_of_an_op():
    assert TRANSLATIONS.keys() <= mg.autodiff.REGISTRY.keys()
