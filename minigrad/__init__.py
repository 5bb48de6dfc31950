"""minigrad: reverse-mode automatic differentiation on NumPy and CuPy, written to be read.

Floors; a file imports only from the floors below its own, and in no circle.

    8  jsl  examples: the application, and smaller ones
    7  study: the stepper, the book and its exercises
    6  comparing  reference  testing: the page of all ops, and two checkers; they read these names
    5  learner  export: the training loop; models as files of other formats
    4  nn  optim  data: layers, optimizers, data loaders
       transforms  programs  observers: grad and vmap, jit, profiles
    3  ops: one formula an op
       distributed: several processes that train one model
    2  graph  operations  autodiff: Tensor, Op, gradients: the heart, in three chapters
    1  kernels  configuration: fast versions of formulas, and on how many threads
    0  abstract  arguments  backend  batched  devices  elsewhere  errors  memory: the ground,
       precision  random  runs  sparse  trees  writes: which knows of no Tensor
"""

__version__ = "0.1.0"

from typing import TYPE_CHECKING, Any

from minigrad import autodiff, backend, errors, kernels, memory, observers, ops, random
from minigrad.autodiff import Op, Tensor, enable_grad, gradients, no_grad, op, primitive
from minigrad.configuration import get_num_threads, set_num_threads, show_config
from minigrad.devices import Device as device
from minigrad.observers import detect_anomaly, explain, explain_grad, profile, track_memory
from minigrad.ops import fft, linalg, special
from minigrad.ops.activations import *
from minigrad.ops.arithmetic import *
from minigrad.ops.assembling import *
from minigrad.ops.attentions import *
from minigrad.ops.convs import *
from minigrad.ops.creation import *
from minigrad.ops.differences import *
from minigrad.ops.dtypes import *
from minigrad.ops.elementwise import *
from minigrad.ops.indexing import *
from minigrad.ops.linalg import matrix_transpose, norm
from minigrad.ops.losses import *
from minigrad.ops.noise import *
from minigrad.ops.norms import *
from minigrad.ops.pools import *
from minigrad.ops.products import *
from minigrad.ops.reductions import *
from minigrad.ops.selecting import *
from minigrad.ops.shaping import *
from minigrad.ops.softmaxes import *
from minigrad.ops.sorting import *
from minigrad.ops.special import *
from minigrad.ops.statistics import *
from minigrad.precision import autocast, get_float32_matmul_precision, set_float32_matmul_precision

from minigrad.ops import methods as _methods  # isort: skip  (gives Tensor the ops above)
from minigrad import nn, transforms  # isort: skip  (they stand on the ops)
from minigrad.transforms import (  # isort: skip
    checkpoint, custom_vjp, grad, hessian, hvp, jacfwd, jacrev, jvp, value_and_grad, vjp, vmap,
)  # fmt: skip

__all__ = [
    "Op", "Tensor", "autocast", "autodiff", "backend", "checkpoint", "custom_vjp", "detect_anomaly",
    "device", "disable_jit", "distributed", "enable_grad", "errors", "explain", "explain_grad",
    "get_float32_matmul_precision", "get_num_threads", "grad", "gradients", "hessian", "hvp",
    "jacfwd", "jacrev", "jit", "jvp", "kernels", "memory", "nn", "no_grad", "observers", "op",
    "ops", "optim", "primitive", "profile", "random", "runs", "set_float32_matmul_precision",
    "set_num_threads", "show_config", "special", "track_memory", "transforms", "value_and_grad",
    "vjp", "vmap",
]  # fmt: skip
__all__ += ops.__all__


if TYPE_CHECKING:
    from minigrad import data, distributed, export, learner, optim, runs
    from minigrad.learner import Learner
    from minigrad.programs import disable_jit, jit
    from minigrad.study.recording import study


# Loaded when asked for.
_LATER = (
    "Learner", "data", "distributed", "export", "learner", "optim", "reference", "runs", "study",
    "testing",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in ("jit", "disable_jit"):  # loaded when asked for, too
        from minigrad import programs

        return getattr(programs, name)
    if name == "Learner":
        from minigrad.learner import Learner

        return Learner
    if name in _LATER:
        import importlib

        return importlib.import_module(f"minigrad.{name}")
    if name.startswith("__"):  # asked for by Python's machinery
        raise AttributeError(f"module 'minigrad' has no attribute '{name}'")
    from minigrad.elsewhere import missing

    raise AttributeError(missing("minigrad", name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_LATER})
