"""Parameters that are computed from others: weights of norm 1 and the like.

PyTorch has this in `nn.utils.parametrize` and `nn.utils.parametrizations`, and so have we. Names in
states are PyTorch's, such as `parametrizations.weight.original0`.

    layer = parametrizations.weight_norm(nn.Linear(3, 4))
    layer.weight  # computed anew at each use, from its length and its direction
"""

import functools
from typing import Any

import numpy as np

from minigrad import ops, random
from minigrad.autodiff import Tensor, no_grad
from minigrad.backend import array_module
from minigrad.errors import ShapeError, StateError
from minigrad.nn import functional as F
from minigrad.nn.containers import ModuleDict, ModuleList
from minigrad.nn.module import Buffer, Module, Parameter

__all__ = [
    "ParametrizationList", "is_parametrized", "register_parametrization",
    "remove_parametrizations", "spectral_norm", "weight_norm",
]  # fmt: skip


class ParametrizationList(ModuleList):
    """The modules that a parameter is computed by, and what it is computed from.

    Attributes:
        original: what is trained; or original0, original1, ... if the first module's
            `right_inverse` gives several.
    """

    def __init__(self, module: Module, value: Tensor):
        inverse = getattr(module, "right_inverse", None)
        with no_grad():
            found = value if inverse is None else inverse(value)
        several = isinstance(found, tuple | list)
        for i, x in enumerate(found if several else [found]):
            array = array_module(x.data).array(x.data)
            setattr(self, f"original{i}" if several else "original", Parameter(array))
        super().__init__([module])

    def originals(self) -> list[Tensor]:
        """What the parameter is computed from."""
        if (one := vars(self).get("original")) is not None:
            return [one]
        names = [k for k in vars(self) if k.startswith("original")]
        return [getattr(self, name) for name in names]

    def forward(self) -> Tensor:
        """The parameter."""
        first, *others = self
        x = first(*self.originals())
        for module in others:
            x = module(x)
        return x


@functools.cache
def _parametrized(kind: type, names: tuple[str, ...]) -> type:
    """The class of modules of this kind in which the attributes `names` are computed."""

    def computed(name: str) -> property:
        return property(lambda self: self.parametrizations[name]())

    attributes = {"__doc__": kind.__doc__, "plain": kind, "computed": names}
    return type(
        f"Parametrized{kind.__name__}", (kind,), attributes | {n: computed(n) for n in names}
    )


def _lists(module: Module) -> Any:
    """What computes each parameter of a module that has such: ParametrizationLists by name."""
    return module.parametrizations  # type: ignore[attr-defined]


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Have parameter `tensor_name` computed by `parametrization`; returns `module`.

    What is trained is `module.parametrizations[tensor_name].original`. A second one is applied to
    what the first gives. Make optimizers afterwards.

    Args:
        parametrization: a module from one parameter to one of the same shape. If it has
            `right_inverse`, the first value is what that gives for the parameter so far: one, or a
            tuple of several, which `forward` then takes.
        unsafe: do not ask for the same shape and dtype.

    Raises:
        StateError: there is no such parameter.
        ShapeError: shape or dtype change.
    """
    name, kind = tensor_name, type(module)
    known = getattr(kind, "computed", ())
    value = getattr(module, name, None) if hasattr(module, name) else None
    if type(value) is not Tensor or (name not in known and value.name is None):
        raise StateError(
            f"register_parametrization: {kind.__name__} has no parameter '{name}'; it has "
            f"{[k for k, v in vars(module).items() if type(v) is Tensor and v.name]}"
        )
    if name in known:
        with no_grad():
            new = parametrization(value.detach())
        steps = None
    else:
        steps = ParametrizationList(parametrization, value)
        with no_grad():
            new = steps()
    if not unsafe and (new.shape != value.shape or new.dtype != value.dtype):
        raise ShapeError(
            f"register_parametrization: '{name}' is {value.dtype} {value.shape}, and "
            f"{type(parametrization).__name__} makes {new.dtype} {new.shape} of it; unsafe=True "
            f"allows that"
        )
    if steps is None:
        _lists(module)[name].append(parametrization)
        return module
    for p in steps.originals():
        p.requires_grad_(value.requires_grad)
    delattr(module, name)
    if not known:
        module.parametrizations = ModuleDict()  # type: ignore[attr-defined]
    _lists(module)[name] = steps
    module.__class__ = _parametrized(getattr(kind, "plain", kind), (*known, name))  # type: ignore
    return module


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether any parameter of `module`, or that of this name, is computed."""
    known = getattr(type(module), "computed", ())
    return bool(known) if tensor_name is None else tensor_name in known


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Make a plain parameter again of one that is computed; returns `module`.

    Args:
        leave_parametrized: with the value that it has now; else with that of the original.

    Raises:
        StateError: it is not computed; or there are several originals, and none of them is it.
    """
    if not is_parametrized(module, tensor_name):
        raise StateError(f"remove_parametrizations: '{tensor_name}' is not parametrized")
    steps = _lists(module)[tensor_name]
    originals = steps.originals()
    if not leave_parametrized and len(originals) != 1:
        raise StateError(
            f"remove_parametrizations: '{tensor_name}' has {len(originals)} originals; use "
            f"leave_parametrized=True"
        )
    with no_grad():
        value = steps() if leave_parametrized else originals[0]
    array = array_module(value.data).array(value.data)
    kind = type(module)
    rest = tuple(name for name in kind.computed if name != tensor_name)  # type: ignore[attr-defined]
    del _lists(module)[tensor_name]
    if not rest:
        del module.parametrizations  # type: ignore[attr-defined]
    plain = kind.plain  # type: ignore[attr-defined]
    module.__class__ = _parametrized(plain, rest) if rest else plain
    setattr(module, tensor_name, Parameter(array, originals[0].requires_grad))
    return module


# ----------------------------------------------------------------------------------- weight norm


def _norms(x: Tensor, dim: int | None) -> Tensor:
    """The norm of each part of `x` along axis `dim`, with its other axes kept; or of all."""
    if dim is None:
        return ops.sqrt(ops.sum(x * x))
    others = tuple(i for i in range(x.ndim) if i != dim % x.ndim)
    return ops.sqrt(ops.sum(x * x, axis=others, keepdims=True))


class _WeightNorm(Module):
    """Lengths `g` and directions `v` as one weight."""

    def __init__(self, dim: int | None):
        self.dim = dim

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        """g: the lengths, v: the shape of the weight -> that shape."""
        return v * (g / _norms(v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The lengths and the weight."""
        return _norms(weight, self.dim), weight

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Train lengths and directions of a weight apart; returns `module`.

    (Salimans and Kingma, "Weight normalization", arXiv 1602.07868.)

    Args:
        dim: the axis along which each part has its own length; None for one length of all.
    """
    return register_parametrization(module, name, _WeightNorm(dim), unsafe=True)


# --------------------------------------------------------------------------------- spectral norm


class _SpectralNorm(Module):
    _u: Tensor
    _v: Tensor

    """A weight over its largest singular value, which power iterations follow."""

    def __init__(self, weight: Tensor, n_power_iterations: int, dim: int, eps: float):
        if n_power_iterations < 1:
            raise ValueError(
                f"spectral_norm: n_power_iterations must be positive, got {n_power_iterations}"
            )
        if not -weight.ndim <= dim < weight.ndim:
            raise ShapeError(f"spectral_norm: there is no axis {dim} in {weight.shape}")
        self.dim, self.eps, self.n_power_iterations = dim % weight.ndim, eps, n_power_iterations
        if weight.ndim > 1:
            rows, columns = self._matrix(weight).shape
            for name, n in (("_u", rows), ("_v", columns)):
                start = random.normal(random.next_key(), (n,), dtype="float64")
                start = (start / np.linalg.norm(start)).astype(weight.dtype)
                setattr(self, name, Buffer(start))
            self.follow(weight, 15)

    def _matrix(self, weight: Tensor) -> Tensor:
        rows = ops.moveaxis(weight, source=self.dim, destination=0)
        return ops.reshape(rows, shape=(rows.shape[0], -1))

    def follow(self, weight: Tensor, count: int | None = None) -> None:
        """Iterate, and keep the singular vectors."""
        if weight.ndim < 2:
            return
        with no_grad():
            w, u, v = self._matrix(weight.detach()), self._u, self._v
            for _ in range(count or self.n_power_iterations):
                u = F.normalize(ops.matmul(w, v), axis=0, eps=self.eps)
                v = F.normalize(ops.matmul(u, w), axis=0, eps=self.eps)
            F.write(self._u, u)
            F.write(self._v, v)

    def forward(self, weight: Tensor) -> Tensor:
        """weight -> the same shape."""
        if weight.ndim < 2:
            return F.normalize(weight, axis=0, eps=self.eps)
        u, v = (x.detach() * 1 for x in (self._u, self._v))  # those will be written to
        return weight / ops.sum(u * ops.matmul(self._matrix(weight), v))

    def extra_repr(self) -> str:
        return f"dim={self.dim}, n_power_iterations={self.n_power_iterations}, eps={self.eps}"


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divide a weight by its largest singular value; returns `module`.

    (Miyato et al., "Spectral normalization for generative adversarial networks", arXiv 1802.05957.)
    The singular vectors are buffers; in training each call of `module` moves them on.

    Args:
        n_power_iterations: at each call in training.
        eps: against a division by 0.
        dim: the axis of the rows of the matrix; 0, or 1 for transposed convolutions.

    Raises:
        StateError: `module` has no parameter `name`.
    """
    weight = getattr(module, name, None)
    if type(weight) is not Tensor:
        raise StateError(f"spectral_norm: {type(module).__name__} has no parameter '{name}'")
    if dim is None:
        dim = 1 if "ConvTranspose" in type(module).__name__ else 0
    norm = _SpectralNorm(weight, n_power_iterations, dim, eps)
    register_parametrization(module, name, norm)

    def move_on(module: Module, _: Any) -> None:
        if module.training and is_parametrized(module, name):
            steps = _lists(module)[name]
            x = steps.originals()[0]
            for step in steps:
                if type(step) is _SpectralNorm:
                    step.follow(x)
                x = step(x)

    module.register_forward_pre_hook(move_on)
    return module
