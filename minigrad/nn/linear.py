"""Linear layers, of one input and of two."""

from minigrad import ops
from minigrad.arguments import count
from minigrad.autodiff import Tensor
from minigrad.nn import init
from minigrad.nn.module import Module


class Linear(Module):
    """`x @ weight.T + bias` over the last axis.

    Attributes:
        weight: (out_features, in_features), uniform within 1/sqrt(in_features) as in PyTorch.
        bias: (out_features,), likewise, or None.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, dtype: str = "float32"
    ):
        in_features = count("Linear", "in_features", in_features, least=0)
        out_features = count("Linear", "out_features", out_features, least=0)
        bound = init.fan_in_bound(in_features)
        self.weight = init.uniform((out_features, in_features), bound, dtype)
        self.bias = init.uniform((out_features,), bound, dtype) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., in_features) -> (..., out_features)."""
        return ops.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        n_out, n_in = self.weight.shape
        return f"in_features={n_in}, out_features={n_out}, bias={self.bias is not None}"


class Bilinear(Module):
    """`sum over i, j of x1[i] weight[o, i, j] x2[j]`, plus `bias[o]`, over the last axes.

    Attributes:
        weight: (out_features, in1_features, in2_features), uniform within 1/sqrt(in1_features).
        bias: (out_features,), likewise, or None.
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        dtype: str = "float32",
    ):
        in1_features = count("Bilinear", "in1_features", in1_features, least=0)
        bound = init.fan_in_bound(in1_features)
        self.weight = init.uniform((out_features, in1_features, in2_features), bound, dtype)
        self.bias = init.uniform((out_features,), bound, dtype) if bias else None

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """x1: (..., in1_features), x2: (..., in2_features) -> (..., out_features)."""
        return ops.bilinear(x1, x2, self.weight, self.bias)

    def extra_repr(self) -> str:
        n_out, n1, n2 = self.weight.shape
        bias = self.bias is not None
        return f"in1_features={n1}, in2_features={n2}, out_features={n_out}, bias={bias}"
