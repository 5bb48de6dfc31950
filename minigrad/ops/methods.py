"""The only place where Tensor learns its operators, its methods, and to answer NumPy itself."""

import copy
import operator
import weakref
from collections.abc import Callable
from numbers import Integral
from typing import Any, Self

import numpy as np

from minigrad import devices, ops, writes
from minigrad.autodiff import Op, Tensor, backward, joined, wrap
from minigrad.backend import arrived, modes, number, refuse_while_capturing, to_numpy
from minigrad.errors import GradientError, ShapeError
from minigrad.ops import moving

__all__: list[str] = []


def _lengths(lengths: tuple) -> tuple[int, ...]:
    """`x.reshape(2, 3)` as well as `x.reshape((2, 3))`."""
    if len(lengths) == 1 and not isinstance(lengths[0], Integral):
        lengths = lengths[0]
    return tuple(map(operator.index, lengths))


def _operator(function: Callable) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """The methods for `x + other` and for `other + x`."""
    return lambda x, other: function(x, other), lambda x, other: function(other, x)


def _equality(function: Callable) -> Callable[..., Any]:
    """The method for `==` or `!=`; None and text, which no number equals, are left to Python."""

    def method(x, other):
        return NotImplemented if other is None or isinstance(other, str) else function(x, other)

    return method


class TensorMethods:
    """What Python and NumPy expect of an array; copied onto Tensor below."""

    # -- what it is

    is_leaf = property(
        lambda x: x.edge is None,
        doc="Whether it was made by hand and not by a recorded op: only leaves get a `.grad`.",
    )
    T = property(lambda x: ops.transpose(x), doc="The axes in reverse.")
    mT = property(lambda x: ops.swapaxes(x, axis1=-1, axis2=-2), doc="The last two axes exchanged.")

    @property
    def device(self) -> devices.Device:
        """Where it is: 'cpu', or 'cuda:0' and so on; a text, with its `type` and `index`."""
        return devices.device_of(self.data)

    def __repr__(self) -> str:
        if hasattr(self.data, "levels"):
            return f"tensor({self.data!r})"  # under vmap
        text = np.array2string(to_numpy(self.data), separator=", ", prefix="tensor(")
        parts = [text]
        if self.dtype not in (np.float32, np.int64, np.bool_):
            parts.append(f"dtype={self.dtype}")
        if self.device != "cpu":
            parts.append(f"device='{self.device}'")
        if self.edge is not None:
            parts.append(f"op={self.edge.node.op.__name__}")
        elif self.requires_grad:
            parts.append("requires_grad=True")
        return f"tensor({', '.join(parts)})"

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __iter__(self):
        if self.ndim == 0:
            raise TypeError("a 0-d tensor has nothing to iterate over; x.item() is its number")
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        return bool(ops.any(self == value))

    # -- as a number

    def item(self) -> float | int | bool:
        """The only element as a Python number; ShapeError unless there is exactly one."""
        if self.size != 1:
            raise ShapeError(f"item(): the tensor has {self.size} elements, shape {self.shape}")
        refuse_while_capturing("item()")
        return number(self.data)

    def tolist(self) -> Any:
        """The elements as (nested) lists of Python numbers."""
        refuse_while_capturing("tolist()")
        return to_numpy(self.data).tolist()

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                f"the truth value of a tensor of shape {self.shape} is ambiguous; use .any() or "
                f".all()"
            )
        refuse_while_capturing("a truth value")
        return bool(number(self.data))

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu" or self.ndim:
            raise TypeError(
                f"only 0-d integer tensors can be an index, this one is {self.dtype} {self.shape}"
            )
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    # -- arithmetic

    __add__, __radd__ = _operator(ops.add)
    __sub__, __rsub__ = _operator(ops.subtract)
    __mul__, __rmul__ = _operator(ops.multiply)
    __truediv__, __rtruediv__ = _operator(ops.divide)
    __floordiv__, __rfloordiv__ = _operator(ops.floor_divide)
    __mod__, __rmod__ = _operator(ops.mod)
    __divmod__, __rdivmod__ = _operator(lambda a, b: (ops.floor_divide(a, b), ops.mod(a, b)))
    __pow__, __rpow__ = _operator(ops.power)
    __matmul__, __rmatmul__ = _operator(ops.matmul)
    __and__, __rand__ = _operator(ops.bitwise_and)
    __or__, __ror__ = _operator(ops.bitwise_or)
    __xor__, __rxor__ = _operator(ops.bitwise_xor)
    __lshift__, __rlshift__ = _operator(ops.left_shift)
    __rshift__, __rrshift__ = _operator(ops.right_shift)

    def __neg__(self) -> Tensor:
        return ops.negative(self)

    def __pos__(self) -> Self:
        return self

    def __abs__(self) -> Tensor:
        return ops.absolute(self)

    def __invert__(self) -> Tensor:
        return ops.invert(self)

    def __round__(self, decimals: int = 0) -> Tensor:
        return ops.round(self, decimals=decimals)

    # -- comparisons: booleans without history; a tensor is hashed by identity all the same

    __eq__, __ne__ = _equality(ops.equal), _equality(ops.not_equal)
    __lt__, _ = _operator(ops.less)
    __le__, _ = _operator(ops.less_equal)
    __gt__, _ = _operator(ops.greater)
    __ge__, _ = _operator(ops.greater_equal)
    __hash__ = object.__hash__

    # -- indices

    def __getitem__(self, index: Any) -> Tensor:
        return ops.getitem(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        """Write into an untracked tensor, or into a leaf under `no_grad`.

        Raises:
            TypeError: the tensor or the value is tracked, so its history would no longer be true.
        """
        _refuse_write(self, value)
        mode = modes.get()
        if index is not Ellipsis or not mode.capturing:
            for observer in mode.observers:
                observer.overwrites(self._data)
        if mode.capturing:
            value = value if type(value) is Tensor else Tensor(value)
            self.data = (ops.zeros_like(self) + value).data
            return
        if isinstance(index, tuple):
            index = tuple(_plain_index(i) for i in index)
        else:
            index = _plain_index(index)
        value = joined(value)
        self.data[index] = value.data if type(value) is Tensor else value
        writes.wrote(self.data)

    def copy_(self, source: Any) -> Self:
        """Overwrite with the values of `source`, which broadcast; returns itself. As `x[...] =`."""
        self[...] = source
        return self

    def __getattr__(self, name: str) -> Any:
        """Raise for a name that is not there, and say what to use instead."""
        if name.startswith("_"):
            raise AttributeError(f"a Tensor has no '{name}'")
        from minigrad.elsewhere import missing  # not at the top: read when a name is missing

        raise AttributeError(missing("minigrad.Tensor", name))

    # -- NumPy's methods, which are ops

    def reshape(self, *shape: Any) -> Tensor:
        return ops.reshape(self, shape=_lengths(shape))

    def transpose(self, *axes: Any) -> Tensor:
        """The axes in a new order, as NumPy's method has it; without arguments in reverse.

        Raises:
            ShapeError: it is `transpose(0, 1)`, which NumPy and PyTorch read differently; or the
                axes do not fit.
        """
        if axes == (0, 1) and self.ndim == 2:
            raise ShapeError(
                "transpose(0, 1) of a matrix leaves it as it is in NumPy, and exchanges its axes "
                "in PyTorch; write x.T, or x.swapaxes(0, 1)"
            )
        return ops.transpose(self, axes=_lengths(axes) or None)

    def permute(self, *axes: Any) -> Tensor:
        """The axes in a new order (PyTorch's `permute`)."""
        return ops.transpose(self, axes=_lengths(axes) or None)

    def astype(self, dtype: Any) -> Tensor:
        return ops.astype(self, dtype=dtype)

    # -- where it is

    def to(
        self,
        target: Any = None,
        dtype: Any = None,
        *,
        device: str | None = None,
        non_blocking: bool = False,
    ) -> Tensor:
        """The same numbers on a device, or in a dtype, with their history; itself if it is so.

            x.to("cuda:0")    x.to("cpu", "float64")    x.to(np.float16)    x.to(other)

        The gradient goes the way back: it arrives where this tensor is, and in its dtype.

        Args:
            target: a device, a dtype, or a tensor that is where, and of the dtype, that is wanted.
            non_blocking: accepted for the sake of PyTorch's users: the host waits for what comes
                to it, and for nothing else, in any case.

        Raises:
            BackendError: there is no such device, or `target` is none of these.
            CaptureError: it would have to move, in a step of `mg.jit`.
        """
        return moving.to(self, *devices.target_of("to", target, dtype, device))

    def cpu(self) -> Tensor:
        """The same numbers on the host, with their history."""
        return moving.to(self, devices.CPU, None)

    def cuda(self, device: int | None = None) -> Tensor:
        """The same numbers on a device of CUDA, by default the present one, with their history."""
        name = "cuda" if device is None else f"cuda:{device}"
        return moving.to(self, devices.Device(name), None)

    # ... and PyTorch's, where they are functions of the same name. Some that NumPy has too mean
    # something else in PyTorch: `minigrad.elsewhere.UNLIKE_TORCH` names them all.

    all = ops.all
    any = ops.any
    argmax = ops.argmax
    argmin = ops.argmin
    argsort = ops.argsort
    broadcast_to = ops.broadcast_to
    ceil = ops.ceil
    chunk = ops.chunk
    clip = ops.clip
    clone = ops.clone
    cos = ops.cos
    cosh = ops.cosh
    count_nonzero = ops.count_nonzero
    cummax = ops.cummax
    cummin = ops.cummin
    cumprod = ops.cumprod
    cumsum = ops.cumsum
    diag_embed = ops.diag_embed
    diagonal = ops.diagonal
    dot = ops.dot
    erf = ops.erf
    exp = ops.exp
    expand_dims = ops.expand_dims
    expm1 = ops.expm1
    flatten = ops.flatten
    flip = ops.flip
    floor = ops.floor
    gather = ops.gather
    index_fill = ops.index_fill
    index_put = ops.index_put
    index_reduce = ops.index_reduce
    index_select = ops.index_select
    inner = ops.inner
    isfinite = ops.isfinite
    isinf = ops.isinf
    isnan = ops.isnan
    kthvalue = ops.kthvalue
    log = ops.log
    log10 = ops.log10
    log1p = ops.log1p
    log2 = ops.log2
    log_softmax = ops.log_softmax
    logcumsumexp = ops.logcumsumexp
    logsumexp = ops.logsumexp
    masked_fill = ops.masked_fill
    masked_select = ops.masked_select
    max = ops.max
    maximum = ops.maximum
    mean = ops.mean
    median = ops.median
    min = ops.min
    minimum = ops.minimum
    moveaxis = ops.moveaxis
    nansum = ops.nansum
    nonzero = ops.nonzero
    norm = ops.norm
    outer = ops.outer
    prod = ops.prod
    ptp = ops.ptp
    quantile = ops.quantile
    ravel = ops.ravel
    reciprocal = ops.reciprocal
    relu = ops.relu
    repeat = ops.repeat
    roll = ops.roll
    round = ops.round
    rsqrt = ops.rsqrt
    scatter = ops.scatter
    scatter_add = ops.scatter_add
    scatter_reduce = ops.scatter_reduce
    searchsorted = ops.searchsorted
    sigmoid = ops.sigmoid
    sign = ops.sign
    sin = ops.sin
    sinh = ops.sinh
    softmax = ops.softmax
    sort = ops.sort
    split = ops.split
    sqrt = ops.sqrt
    square = ops.square
    squeeze = ops.squeeze
    std = ops.std
    sum = ops.sum
    swapaxes = ops.swapaxes
    take = ops.take
    take_along_axis = ops.take_along_axis
    tan = ops.tan
    tanh = ops.tanh
    tile = ops.tile
    topk = ops.topk
    trace = ops.trace
    tril = ops.tril
    triu = ops.triu
    unique = ops.unique
    unstack = ops.unstack
    var = ops.var

    def unfold(self, axis: int, size: int, step: int) -> Tensor:
        """The windows of `size` elements, every `step`, along `axis`; elements in a new last axis.

        It is PyTorch's `Tensor.unfold`; `minigrad.unfold` is that of `nn.functional`.

        Raises:
            ShapeError: there is no window.
        """
        return ops.shaping.windows(self, axis, size, step)

    def copy(self) -> "Tensor":
        """The same values in an array of its own, without the history, which `clone` keeps."""
        return ops.astype(self.detach(), dtype=self.dtype)

    # -- history

    backward = backward

    def detach(self) -> "Tensor":
        """The same array without the history."""
        return Tensor(self.data)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Callable[[], None]:
        """Have `hook(gradient)` called when the gradient of this tensor is complete.

        What it returns, unless None, takes the gradient's place on the way back. In a backward pass
        that ends at a leaf, before the gradient is added to `.grad`.

        Returns:
            A function that removes the hook.

        Raises:
            GradientError: the tensor is not tracked.
        """
        if not self.requires_grad:
            raise GradientError("register_hook: the tensor is not tracked, so it has no gradient")
        if self.edge is None:
            hooks: list[Any] | None = getattr(self, "_hooks", None)
            if hooks is None:
                hooks = []
                self._hooks = hooks
        else:
            node = self.edge.node
            node.hooks = node.hooks or {}
            hooks = node.hooks.setdefault(getattr(self.edge, "index", 0), [])
        hooks.append(hook)
        return lambda: hooks.remove(hook)

    def retain_grad(self) -> None:
        """Keep the gradient in `.grad` after a backward pass, although this is no leaf."""
        if self.edge is None:
            return
        # The node must not hold the tensor: that would be a cycle.
        ref: weakref.ref[Any] = weakref.ref(self)

        def keep(g: Tensor) -> None:
            if (x := ref()) is not None:
                x.grad = g if x.grad is None else x.grad + g

        self.register_hook(keep)

    # -- copies and exchange

    def __copy__(self) -> Tensor:
        """Another tensor of the same array, with the same history."""
        if self.edge is not None:
            return wrap(self.data, self.edge)
        self._refuse_a_lost_gradient("copy")
        x = Tensor(self.data, self.requires_grad, self.name)
        x.grad = self.grad
        return x

    def __deepcopy__(self, memo: dict) -> Tensor:
        """A leaf with an array and a gradient of its own; a model is copied with all it holds.

        Its hooks are those of the original.

        Raises:
            GradientError: the tensor was computed, and a copy of it would be without its history;
                or gradients are being taken, and none would come through a copy.
            CaptureError: while a step is captured.
        """
        if self.edge is not None:
            raise GradientError(
                f"deepcopy: this tensor was computed by '{self.edge.node.op.__name__}', and a copy "
                f"would lose that; copy x.detach()"
            )
        self._refuse_a_lost_gradient("deepcopy")
        refuse_while_capturing("copy.deepcopy")
        array = self.data
        if id(array) not in memo:  # tensors that share an array do so afterwards
            memo[id(array)] = array.copy()
        x = memo[id(self)] = Tensor(memo[id(array)], self.requires_grad, self.name)
        x.grad = copy.deepcopy(self.grad, memo)
        if hooks := getattr(self, "_hooks", None):
            x._hooks = [copy.deepcopy(hook, memo) for hook in hooks]
        return x

    def _refuse_a_lost_gradient(self, what: str) -> None:
        """Raise if a copy of this leaf would give zeros for the gradient that is being taken."""
        mode = modes.get()
        if mode.differentiating and mode.recording and self.requires_grad:
            raise GradientError(
                f"{what}: no gradient comes back through the copy of a leaf, and gradients are "
                f"being taken (mg.grad and the like); use the tensor itself, or copy x.detach()"
            )

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("tensors are not pickled; save them with minigrad.runs.save_arrays")

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array, shared if they are on the host.

        Raises:
            GradientError: the tensor is tracked, so a change to the array would go unnoticed.
        """
        if self.requires_grad:
            raise GradientError(
                "numpy(): the tensor is tracked for gradients; write x.detach().numpy()"
            )
        refuse_while_capturing("numpy()")
        return to_numpy(self.data)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if hasattr(self.data, "levels"):
            return self.data.item()  # which says why there is no array
        if not isinstance(self.data, np.ndarray):
            raise TypeError("the tensor is on a device; write x.detach().numpy()")
        if self.requires_grad:
            raise GradientError(
                "NumPy was given a tensor that is tracked for gradients, alone or in a list; call "
                "minigrad's function of that name, minigrad.stack for a list of tensors, or give "
                "NumPy x.detach().numpy()"
            )
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Shared with whoever takes it (NumPy, PyTorch, CuPy), without a copy.

        Args:
            stream: that the taker computes on, which waits for ours; for arrays on a device.
            max_version: of DLPack, that the taker knows.
            dl_device: where it wants the array. From a device to the host (1, 0) it is copied.
            copy: whether it must be a copy, or must not.
            (https://data-apis.org/array-api/latest/API_specification/array_object.html)

        Raises:
            GradientError: the tensor is tracked; a consumer would not see its history.
            BufferError: it cannot be had in that way.
        """
        if self.requires_grad:
            raise GradientError("__dlpack__: the tensor is tracked; hand over x.detach()")
        refuse_while_capturing("__dlpack__")
        options = {"stream": stream, "max_version": max_version, "dl_device": dl_device}
        given = {k: v for k, v in {**options, "copy": copy}.items() if v is not None}
        capsule = self.data.__dlpack__(**given)
        copied = dl_device is not None and tuple(dl_device) != self.__dlpack_device__()
        return arrived(capsule) if copied else capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, number = self.data.__dlpack_device__()
        return int(kind), int(number)

    # np.exp(tensor) and the like go through the op of that name: nothing is detached in silence.

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if method != "__call__" or options:
            raise TypeError(
                f"np.{ufunc.__name__}: on tensors only the plain call works, without "
                f"{', '.join(options) or method}; use minigrad's ops"
            )
        return _op_named(ufunc)(*inputs)

    def __array_function__(self, function, types, args, kwargs):
        if function in (np.shape, np.ndim, np.size) and len(args) == 1 and not kwargs:
            return getattr(args[0], function.__name__)  # what an array is needs no derivative
        return _op_named(function)(*args, **kwargs)


def _plain_index(index: Any) -> Any:
    """An index as NumPy takes it; lists with Tensors in them become arrays."""
    index = joined(index)
    return index.data if type(index) is Tensor else index


def _refuse_write(x: Any, value: Any) -> None:
    """Raise unless writing `value` into `x` leaves every history true."""
    if value is None:
        raise TypeError("x[...] = None: expected numbers, an array or a Tensor")
    tracked = x.edge is not None or (x.requires_grad and modes.get().recording)
    if tracked or (type(value) is Tensor and value.requires_grad):
        raise TypeError(
            "a tracked tensor is not changed in place, as its history would no longer be true; use "
            "index_set(x, ids, values), index_add(x, ids, values) or where(mask, values, x); or "
            "write under no_grad() into a leaf"
        )


def _op_named(function) -> Op:
    """Our op for a function of NumPy."""
    name = _RENAMED.get(function.__name__, function.__name__)
    module: Any = getattr(function, "__module__", None)  # SciPy's ufuncs have none
    homes = {"numpy.linalg": ops.linalg, "numpy.fft": ops.fft}
    home = homes.get(module, ops)
    if name not in home.__all__:
        raise TypeError(
            f"minigrad has no op for np.{function.__name__}; use the ops there are, or "
            f"x.detach().numpy() to leave the graph on purpose"
        )
    return getattr(home, name)


_RENAMED = {"true_divide": "divide", "abs": "absolute", "remainder": "mod"}


for _name, _method in vars(TensorMethods).items():
    if _name not in ("__module__", "__doc__", "__dict__", "__weakref__", "_"):
        setattr(Tensor, _name, _method)
Tensor.abs = Tensor.__abs__  # type: ignore[attr-defined]
