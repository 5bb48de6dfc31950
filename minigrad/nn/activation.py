"""Activations as layers, for `Sequential`. Each is the function of its name, see there.

Where PyTorch has `inplace`, it is taken and makes no difference: nothing is overwritten.
"""

from minigrad.autodiff import Tensor
from minigrad.nn import functional as F
from minigrad.nn import init
from minigrad.nn.module import FunctionLayer, Module

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "RReLU",
    "ReLU",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
]  # fmt: skip


class _Activation(FunctionLayer):
    def forward(self, x: Tensor) -> Tensor:
        """x: any shape -> the same shape."""
        return super().forward(x)


class _Rectifier(_Activation):
    """An activation without settings that PyTorch can do in place."""

    def __init__(self, inplace: bool = False):
        pass


# ------------------------------------------------------------------------------- straight lines


class ReLU(_Rectifier):
    """`max(x, 0)`."""

    function = staticmethod(F.relu)


class ReLU6(_Rectifier):
    """`min(max(x, 0), 6)`."""

    function = staticmethod(F.relu6)


class LeakyReLU(_Activation):
    """`x` where it is positive, `negative_slope * x` elsewhere."""

    function = staticmethod(F.leaky_relu)
    settings = ("negative_slope",)

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False):
        self.negative_slope = negative_slope


class PReLU(Module):
    """`x` where it is positive, `weight * x` elsewhere, with a learned weight (arXiv 1502.01852).

    Args:
        num_parameters: 1, or one for each channel (axis 1).
        init: the first value of all.

    Attributes:
        weight: (num_parameters,).
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, dtype: str = "float32"):
        self.weight = _constant((num_parameters,), init, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, ...) -> the same shape."""
        return F.prelu(x, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.weight.size}"


_constant = init.constant  # `init` is an argument there


class RReLU(_Activation):
    """`x` where it is positive, a random slope times `x` elsewhere (arXiv 1505.00853).

    In training each element draws its own slope between `lower` and `upper`, in use it is the
    middle between the two.

    Raises:
        ValueError: `lower` is above `upper`.
    """

    settings = ("lower", "upper")

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, inplace: bool = False):
        if not lower <= upper:
            raise ValueError(f"RReLU: lower must be at most upper, got {lower} and {upper}")
        self.lower, self.upper = lower, upper

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape -> the same shape."""
        return F.rrelu(x, self.lower, self.upper, self.training)


class Hardtanh(_Activation):
    """`x` between `min_val` and `max_val`, these beyond.

    Raises:
        ValueError: `min_val` is not below `max_val`.
    """

    function = staticmethod(F.hardtanh)
    settings = ("min_val", "max_val")

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False):
        if not min_val < max_val:
            raise ValueError(f"Hardtanh: min_val must be below max_val, got {min_val}, {max_val}")
        self.min_val, self.max_val = min_val, max_val


class Hardsigmoid(_Rectifier):
    """`x / 6 + 1/2` between 0 and 1."""

    function = staticmethod(F.hardsigmoid)


class Hardswish(_Rectifier):
    """`x` times its hard sigmoid (arXiv 1905.02244)."""

    function = staticmethod(F.hardswish)


class Threshold(_Activation):
    """`x` where it is above `threshold`, `value` elsewhere."""

    function = staticmethod(F.threshold)
    settings = ("threshold", "value")

    def __init__(self, threshold: float, value: float, inplace: bool = False):
        self.threshold, self.value = threshold, value


class Hardshrink(_Activation):
    """`x` where it is beyond `lambd` on either side, 0 between."""

    function = staticmethod(F.hardshrink)
    settings = ("lambd",)

    def __init__(self, lambd: float = 0.5):
        self.lambd = lambd


class Softshrink(_Activation):
    """`x`, nearer to 0 by `lambd`, and 0 where it is within."""

    function = staticmethod(F.softshrink)
    settings = ("lambd",)

    def __init__(self, lambd: float = 0.5):
        self.lambd = lambd


# ---------------------------------------------------------------------------------------- curves


class Sigmoid(_Activation):
    """`1 / (1 + exp(-x))`."""

    function = staticmethod(F.sigmoid)


class LogSigmoid(_Activation):
    """The logarithm of `Sigmoid`."""

    function = staticmethod(F.logsigmoid)


class Tanh(_Activation):
    """The hyperbolic tangent."""

    function = staticmethod(F.tanh)


class Tanhshrink(_Activation):
    """`x - tanh(x)`."""

    function = staticmethod(F.tanhshrink)


class Softsign(_Activation):
    """`x / (1 + |x|)`."""

    function = staticmethod(F.softsign)


class Softplus(_Activation):
    """`log(1 + exp(beta x)) / beta`, which is `x` where `beta x` is above `threshold`."""

    function = staticmethod(F.softplus)
    settings = ("beta", "threshold")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0):
        self.beta, self.threshold = beta, threshold


class GELU(_Activation):
    """`x` times the normal distribution function of `x` (arXiv 1606.08415).

    Args:
        approximate: 'tanh' for the formula with tanh, 'none' for the exact one.
    """

    function = staticmethod(F.gelu)
    settings = ("approximate",)

    def __init__(self, approximate: str = "none"):
        self.approximate = approximate


class SiLU(_Rectifier):
    """`x sigmoid(x)`, also known as swish."""

    function = staticmethod(F.silu)


class Mish(_Rectifier):
    """`x tanh(softplus(x))` (arXiv 1908.08681)."""

    function = staticmethod(F.mish)


class ELU(_Activation):
    """`x` where it is positive, `alpha (exp(x) - 1)` elsewhere (arXiv 1511.07289)."""

    function = staticmethod(F.elu)
    settings = ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        self.alpha = alpha


class CELU(_Activation):
    """`x` where it is positive, `alpha (exp(x / alpha) - 1)` elsewhere (arXiv 1704.07483)."""

    function = staticmethod(F.celu)
    settings = ("alpha",)

    def __init__(self, alpha: float = 1.0, inplace: bool = False):
        self.alpha = alpha


class SELU(_Rectifier):
    """An `ELU` that keeps mean 0 and variance 1 from layer to layer (arXiv 1706.02515)."""

    function = staticmethod(F.selu)


# --------------------------------------------------------------------------------- along an axis


class _Along(_Activation):
    """An activation along one axis, which PyTorch's layers call `dim`."""

    def __init__(self, dim: int | None = None):
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape -> the same shape."""
        return type(self).function(x, axis=self.dim)

    settings = ("dim",)


class Softmax(_Along):
    """Probabilities along axis `dim`; see `nn.functional.softmax` for None."""

    function = staticmethod(F.softmax)


class LogSoftmax(_Along):
    """Logarithms of the probabilities along axis `dim`; see `nn.functional.softmax` for None."""

    function = staticmethod(F.log_softmax)


class Softmin(_Along):
    """`Softmax` of `-x`."""

    function = staticmethod(F.softmin)


class Softmax2d(_Activation):
    """Probabilities over the channels at each place of (N, C, H, W) or (C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, H, W) or (C, H, W) -> the same shape."""
        return F.softmax(x, axis=-3)


class GLU(_Along):
    """The first half along axis `dim`, times the sigmoid of the second (arXiv 1612.08083)."""

    function = staticmethod(F.glu)

    def __init__(self, dim: int = -1):
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., 2 n, ...) -> (..., n, ...)."""
        return F.glu(x, axis=self.dim)
