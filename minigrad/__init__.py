"""minigrad: reverse-mode automatic differentiation on NumPy and CuPy, written to be read.

Floors; a file imports only from the floors below its own.

    5  jsl           the application
    3  nn  optim  testing          layers, optimizers, the checker of ops
    2  ops                         one formula an op
    1  autodiff                    Tensor, Op, gradients: the heart
    0  backend  kernels  random  runs  errors
"""

__version__ = "0.1.0"

from minigrad import autodiff, backend, errors, kernels, random, runs
from minigrad.autodiff import Op, Tensor, enable_grad, gradients, no_grad, op, primitive
from minigrad.ops import *  # noqa: F403
from minigrad.ops import __all__ as _ops

from minigrad import nn, optim, testing  # isort: skip  (they stand on the ops)

__all__ = [
    "Op", "Tensor", "autodiff", "backend", "enable_grad", "errors", "gradients", "kernels", "nn",
    "no_grad", "op", "optim", "primitive", "random", "runs", "testing", *_ops,
]  # fmt: skip
