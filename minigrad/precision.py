"""In which precision ops compute: `autocast`, and TF32.

Parameters stay float32, and so do optimizers: a step of 1e-3 of a weight is less than bfloat16 can
tell apart. Inside `autocast` matrix products, which take most of the time and sum in float32 in any
case, get their operands in 16 bits (Micikevicius et al., "Mixed precision training",
arXiv 1710.03740). What stays in float32, and why:

    | ops                          | compute in | because |
    | ---------------------------- | ---------- | ------- |
    | matmul linear conv attention, and what is made of them (einsum, recurrent layers) | 16 bits | they are most of the work, and round a number once before it is multiplied |
    | sum mean var norm cumsum prod ... | float32 | in bfloat16 256 + 1 is 256; in float16 a sum overflows beyond 65504 |
    | exp log power reciprocal ...  | float32 | they magnify what rounding has done to their input, and overflow |
    | softmax log_softmax           | float32 | exponentials, and a sum of them |
    | layer_norm rms_norm batch_norm ... | float32 | sums of squares; a mean is taken off that may be large beside what is left |
    | losses                        | float32 | a mean over all; small differences of large numbers |
    | inv solve svd ...             | float32 | there is no 16-bit version, and errors would add up |
    | parameters, their gradients, moments of optimizers, running statistics | float32 | small changes are added to them many times |
    | add multiply relu where ...   | as they come | they round once; beside float32 the result is float32 |

float64 is left alone everywhere.
"""  # noqa: E501 (a table)

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from minigrad.backend import switched
from minigrad.errors import DtypeError

__all__ = [
    "autocast", "cast_to", "float32_matmul_precision", "get_float32_matmul_precision", "governed",
    "half", "is_half", "set_float32_matmul_precision",
]  # fmt: skip

HALVES = ("bfloat16", "float16")

# Whose first inputs are cast to 16 bits, and how many of them: a mask stays as it is.
NARROW = {
    "matmul": 2, "linear": 3, "attention": 3,
    "conv1d": 3, "conv2d": 3, "conv3d": 3,
    "conv_transpose1d": 3, "conv_transpose2d": 3, "conv_transpose3d": 3,
}  # fmt: skip

# Whose inputs of 16 bits are cast to float32.
WIDE = frozenset({
    "sum", "mean", "var", "std", "nansum", "nanmean", "nanvar", "nanstd", "logsumexp", "cumsum",
    "prod", "cumprod", "nanprod", "nancumsum", "nancumprod", "trace", "norm", "cond",
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "power", "float_power", "square",
    "reciprocal", "rsqrt", "logaddexp", "logaddexp2", "xlogy", "xlog1py", "entr", "logit",
    "softplus", "logsigmoid", "sinh", "cosh", "tan", "arcsin", "arccos", "erfinv",
    "softmax", "softmin", "log_softmax",
    "layer_norm", "rms_norm", "batch_norm", "_batch_norm_train", "batch_norm_stats",
    "_standardise",
    "mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss", "gaussian_nll_loss",
    "poisson_nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "kl_div",
    "cross_entropy", "cross_entropy_rows", "nll_loss", "multi_margin_loss",
    "multilabel_margin_loss", "soft_margin_loss", "multilabel_soft_margin_loss",
    "hinge_embedding_loss", "margin_ranking_loss", "cosine_similarity", "pairwise_distance",
    "cosine_embedding_loss", "triplet_margin_loss", "ctc_loss",
    "_inv", "_solve", "_det", "_slogdet", "_matrix_exp", "_cholesky", "_qr", "_svd", "_svdvals",
    "_eigh", "_eigvalsh", "_pinv",
})  # fmt: skip


def autocast(dtype: Any = "bfloat16", enabled: bool = True) -> AbstractContextManager[None]:
    """Inside the block, or the function that it decorates, products compute in 16 bits.

    As PyTorch's: float32 inputs of matrix products, convolutions and attention are cast to `dtype`,
    16-bit inputs of sums, exponentials, norms, softmax and losses to float32; the table in
    `minigrad.precision` says what and why. Gradients return through the casts: those of float32
    parameters are float32. The backward pass computes in the dtypes of the forward pass, inside the
    block or behind it. With 'float16' small gradients vanish unless the loss is scaled, see
    `optim.LossScaler`; 'bfloat16' has the range of float32 and needs none.

    Args:
        dtype: 'bfloat16' or 'float16'.
        enabled: False: inside the block everything computes as it comes, as without autocast.

    Raises:
        ValueError: `dtype` is neither.
        DtypeError: bfloat16 needs `ml_dtypes`, which is not installed.
    """
    return switched(autocast=half(dtype) if enabled else None)


def half(dtype: Any) -> np.dtype:
    """A dtype of 16 bits, by its name or as NumPy's.

    Raises:
        ValueError, DtypeError: as `autocast`.
    """
    name = dtype if isinstance(dtype, str) else getattr(dtype, "name", None)
    name = getattr(dtype, "__name__", None) if name is None else name  # a class of scalars
    if name not in HALVES:
        raise ValueError(
            f"autocast: dtype must be 'bfloat16' or 'float16', got {dtype!r}; the arrays "
            f"tell which device computes"
        )
    if name == "bfloat16":
        try:
            import ml_dtypes
        except ImportError:
            raise DtypeError(
                "bfloat16 needs the package ml_dtypes, which is not installed: pip install "
                "ml_dtypes; or take 'float16', with optim.LossScaler"
            ) from None
        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def is_half(dtype: np.dtype) -> bool:
    """Whether it is float16 or bfloat16, of which sums and squares need more digits."""
    return dtype.itemsize == 2 and dtype.kind in "fV"


def governed(op: str) -> int:
    """What `autocast` does with the op of that name: casts so many inputs to 16 bits; -1: all of
    16 bits to float32; 0: nothing.
    """
    return -1 if op in WIDE else NARROW.get(op, 0)


def cast_to(x: Any, policy: int, dtype: np.dtype) -> np.dtype | None:
    """The dtype that an input is cast to by its op's policy, see `governed`; None for its own."""
    own = getattr(x, "dtype", None)
    if own is None or own.kind not in "fV" or own.itemsize > 4:
        return None
    if policy > 0:
        return dtype if own != dtype else None
    return np.dtype(np.float32) if is_half(own) else None


_matmul_precision = "highest"


def set_float32_matmul_precision(precision: str) -> None:
    """How exactly products of float32 matrices are computed on a device, in this process.

    Args:
        precision: 'highest', the default: in float32. 'high': in TF32, whose operands have 10 bits
            behind the leading one in place of 23 and the range of float32; sums are float32. On an
            H100 that is about nine times as fast. On the CPU, and for other dtypes, it has no
            effect.

    Raises:
        ValueError: it is neither.
    """
    global _matmul_precision
    if precision == "medium":
        raise ValueError(
            "set_float32_matmul_precision: there is no 'medium', in which products of float32 are "
            "computed in bfloat16; use mg.autocast('bfloat16')"
        )
    if precision not in ("highest", "high"):
        raise ValueError(
            f"set_float32_matmul_precision: expected 'highest' or 'high', got {precision!r}"
        )
    _matmul_precision = precision


def get_float32_matmul_precision() -> str:
    """'highest', or 'high' for TF32; see `set_float32_matmul_precision`."""
    return _matmul_precision


@contextmanager
def float32_matmul_precision(precision: str) -> Iterator[None]:
    """`set_float32_matmul_precision` for the length of a `with` block."""
    before = _matmul_precision
    set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        set_float32_matmul_precision(before)
