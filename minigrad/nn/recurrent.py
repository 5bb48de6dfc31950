"""Recurrent layers: a state that goes along a sequence.

Letters: B batch, T steps, H = hidden_size; P = proj_size, or H without projections; K = 2 with
layers that run both ways, else 1.
"""

import math
from collections.abc import Callable
from operator import index
from typing import Any

from minigrad import ops
from minigrad.arguments import count
from minigrad.autodiff import Tensor
from minigrad.errors import ShapeError
from minigrad.nn import functional as F
from minigrad.nn import init
from minigrad.nn.module import Module
from minigrad.nn.packing import PackedSequence, packed_parts

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"]

State = tuple[Tensor, ...]

# ------------------------------------------------------------------------- one step of each kind


def _rnn_step(activation: Callable) -> Callable:
    def step(a: Tensor, h: Tensor, weight: Tensor, bias: Any) -> State:
        """h' = activation(a + W h + b)."""
        return (activation(a + ops.linear(h, weight, bias)),)

    return step


def _gru_step(a: Tensor, h: Tensor, weight: Tensor, bias: Any) -> State:
    """Reset gate r, update gate z, candidate n; the new state is between n and h.

    (Cho et al., arXiv 1406.1078; with PyTorch, r acts after the product with the weight.)
    """
    r, z, n = _parts(a, 3)
    hr, hz, hn = _parts(ops.linear(h, weight, bias), 3)
    r, z = ops.sigmoid(r + hr), ops.sigmoid(z + hz)
    n = ops.tanh(n + r * hn)
    return (n + z * (h - n),)


def _lstm_step(
    a: Tensor, h: Tensor, c: Tensor, weight: Tensor, bias: Any, projection: Any = None
) -> State:
    """Input gate i, forget gate f, candidate g, output gate o; the memory is c.

    (Hochreiter and Schmidhuber, 1997; Gers et al., 2000.)
    """
    i, f, g, o = _parts(a + ops.linear(h, weight, bias), 4)
    c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
    h = ops.sigmoid(o) * ops.tanh(c)
    return (h if projection is None else ops.linear(h, projection)), c


def _parts(x: Tensor, n: int) -> list[Tensor]:
    H = x.shape[-1] // n
    return [x[..., i * H : (i + 1) * H] for i in range(n)]


def _steps(x: Tensor) -> list[Tensor]:
    """x[0], x[1], ...: cut in halves, as the gradient of each cut is as long as what was cut."""
    n = x.shape[0]
    return [x[0]] if n == 1 else _steps(x[: n // 2]) + _steps(x[n // 2 :])


# ------------------------------------------------------------------------------------------ layers


class _Recurrent(Module):
    """What the layers share: parameters, directions, and the way along the sequence."""

    gates = 1

    def _prepare(
        self, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
        proj_size, dtype,
    ):  # fmt: skip
        name = type(self).__name__
        self.input_size = count(name, "input_size", input_size, least=0)
        self.hidden_size = count(name, "hidden_size", hidden_size)
        self.num_layers = count(name, "num_layers", num_layers)
        if not 0 <= dropout <= 1:
            raise ValueError(f"{name}: dropout must be in [0, 1], got {dropout}")
        if not 0 <= proj_size < hidden_size:
            raise ShapeError(f"{name}: proj_size must be below hidden_size, got {proj_size}")
        self.bias, self.batch_first = bias, batch_first
        self.dropout, self.bidirectional = dropout, bidirectional
        self.proj_size = index(proj_size)
        out, bound = proj_size or hidden_size, 1 / math.sqrt(hidden_size)
        rows = type(self).gates * self.hidden_size
        for layer in range(num_layers):
            width = input_size if layer == 0 else out * (1 + bidirectional)
            for end in self._ends(layer):
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (rows, width), "weight_hh": (rows, out)
                }  # fmt: skip
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                if proj_size:
                    shapes |= {"weight_hr": (proj_size, hidden_size)}
                for kind, shape in shapes.items():
                    setattr(self, kind + end, init.uniform(shape, bound, dtype))

    def _ends(self, layer: int) -> list[str]:
        """What the names of a layer's parameters end with, for each direction."""
        return [f"_l{layer}", f"_l{layer}_reverse"][: 1 + self.bidirectional]

    def _first_state(self, x: Tensor, B: int, given: Any) -> list[Tensor]:
        """The states of all layers, (layers x K, B, ...) each: those given, or zeros beside `x`."""
        sizes = [self.proj_size or self.hidden_size]
        sizes += [self.hidden_size] * isinstance(self, LSTM)
        n = self.num_layers * (1 + self.bidirectional)
        if given is None:
            return [_zeros(x, (n, B, size)) for size in sizes]
        given = given if isinstance(given, tuple | list) else (given,)
        wanted = [(n, B, size) for size in sizes]
        if [tuple(v.shape) for v in given] != wanted:
            raise ShapeError(
                f"{type(self).__name__}: the first state must have shape "
                f"{' and '.join(map(str, wanted))}, got {' and '.join(str(v.shape) for v in given)}"
            )
        return list(given)

    def _along(self, x: Any, hx: Any) -> tuple[Any, list[Tensor]]:
        """The outputs, and the last state; see the subclasses."""
        if isinstance(x, PackedSequence):
            return self._along_packed(x, hx)
        name = type(self).__name__
        alone = x.ndim == 2
        T = x.shape[1 if self.batch_first and not alone else 0] if x.ndim else 0
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size or not T:
            order = "(B, T, {0})" if self.batch_first else "(T, B, {0})"
            raise ShapeError(
                f"{name}: x must be {order.format(self.input_size)} or (T, {self.input_size}), of "
                f"one step at least, got {x.shape}"
            )
        if alone:
            x = x[:, None]
            if hx is not None:
                hx = [v[:, None] for v in (hx if isinstance(hx, tuple | list) else (hx,))]
        elif self.batch_first:
            x = ops.swapaxes(x, axis1=0, axis2=1)
        first = self._first_state(x, x.shape[1], hx)
        x, ends = self._layers(x, first, _steps, ops.stack)
        if alone:
            return x[:, 0], [v[:, 0] for v in ends]
        return (ops.swapaxes(x, axis1=0, axis2=1) if self.batch_first else x), ends

    def _along_packed(self, packed: PackedSequence, hx: Any) -> tuple[PackedSequence, list[Tensor]]:
        """As `_along`, of sequences that end one after the other, the longest first."""
        x, sizes, order, back = packed
        if x.ndim != 2 or x.shape[-1] != self.input_size or not sizes:
            raise ShapeError(
                f"{type(self).__name__}: the data of a PackedSequence must be (steps, "
                f"{self.input_size}), of one step at least, got {x.shape}"
            )
        first = self._first_state(x, sizes[0], hx)
        if order is not None and hx is not None:
            first = [ops.take(v, order, axis=1) for v in first]
        x, ends = self._layers(x, first, lambda a: packed_parts(a, sizes), ops.concatenate)
        if back is not None:
            ends = [ops.take(v, back, axis=1) for v in ends]
        return PackedSequence(x, sizes, order, back), ends

    def _layers(
        self, x: Tensor, first: list[Tensor], cut: Callable, join: Callable
    ) -> tuple[Tensor, list[Tensor]]:
        """All layers, one after the other; `cut` makes an array the steps that `join` joins."""
        last: list[State] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = F.dropout(x, self.dropout, self.training)
            ways = []
            for end in self._ends(layer):
                state = tuple(v[len(last)] for v in first)
                bias = getattr(self, "bias_ih" + end, None)
                steps = cut(ops.linear(x, getattr(self, "weight_ih" + end), bias))
                if end.endswith("reverse"):
                    outputs, state = self._backwards(steps, state, end)
                else:
                    outputs, state = self._forwards(steps, state, end)
                ways.append(join(outputs))
                last.append(state)
            x = ways[0] if len(ways) == 1 else ops.concatenate(ways, axis=-1)
        return x, [ops.stack(list(parts)) for parts in zip(*last, strict=True)]

    def _forwards(self, steps: list[Tensor], state: State, end: str) -> tuple[list[Tensor], State]:
        """The outputs of each step, and the last states: of those that end early, their own."""
        outputs, ended = [], []
        for a in steps:
            if (n := a.shape[0]) < state[0].shape[0]:
                ended.append(tuple(v[n:] for v in state))
                state = tuple(v[:n] for v in state)
            state = self._step(a, state, end)
            outputs.append(state[0])
        if ended:
            parts = zip(state, *reversed(ended), strict=True)
            state = tuple(ops.concatenate(list(several)) for several in parts)
        return outputs, state

    def _backwards(self, steps: list[Tensor], first: State, end: str) -> tuple[list[Tensor], State]:
        """The same from the last step on, where shorter sequences come in later."""
        outputs, here = [], steps[-1].shape[0]
        state = first if here == first[0].shape[0] else tuple(v[:here] for v in first)
        for a in reversed(steps):
            if (n := a.shape[0]) > here:
                new = tuple(v[here:n] for v in first)
                pairs = zip(state, new, strict=True)
                state, here = tuple(ops.concatenate(list(pair)) for pair in pairs), n
            state = self._step(a, state, end)
            outputs.append(state[0])
        return outputs[::-1], state

    def _step(self, a: Tensor, state: State, end: str) -> State:
        """The state after one more step, of which `a` is what came in times the weight."""
        bias = getattr(self, "bias_hh" + end, None)
        return self._cell(a, *state, getattr(self, "weight_hh" + end), bias)

    _cell: Callable

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        usual = {
            "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0,
            "bidirectional": False, "proj_size": 0,
        }  # fmt: skip
        parts += [f"{k}={getattr(self, k)}" for k, v in usual.items() if getattr(self, k) != v]
        return ", ".join(parts)


def _zeros(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    one = x[:1, :1, :1] if x.ndim == 3 else x[:1, None, :1]
    return ops.broadcast_to(ops.zeros_like(one), shape=shape)


class RNN(_Recurrent):
    """The plain recurrent layer: h' = tanh(W x + b + W' h + b').

    Args:
        nonlinearity: 'tanh' or 'relu'.

    The others, and what it gives, as for `GRU`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: str = "float32",
    ):
        self.nonlinearity = _known(type(self).__name__, nonlinearity)
        self._prepare(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, dtype
        )

    def _cell(self, *args: Any) -> State:
        return _RNN_STEPS[self.nonlinearity](*args)

    def forward(self, x: Any, hx: Any = None) -> tuple[Any, Tensor]:
        """As `GRU`."""
        y, (h,) = self._along(x, hx)
        return y, h


_RNN_STEPS = {"tanh": _rnn_step(ops.tanh), "relu": _rnn_step(ops.relu)}


def _known(name: str, nonlinearity: str) -> str:
    if nonlinearity not in _RNN_STEPS:
        raise ValueError(f"{name}: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
    return nonlinearity


class GRU(_Recurrent):
    """The recurrent layer with a reset and an update gate (Cho et al., arXiv 1406.1078).

    Args:
        input_size: the features of a step.
        hidden_size: H.
        num_layers: how many layers stand on each other.
        bias: whether there are the two of each layer.
        batch_first: whether x and the outputs are (B, T, ...), not (T, B, ...).
        dropout: in training, between the layers.
        bidirectional: whether each layer runs backwards, too; outputs are put side by side.

    Attributes:
        weight_ih_l0, weight_hh_l0: (3 H, features) and (3 H, H) of the first layer, in the order
            reset, update, candidate. Then l1 and so on, and l0_reverse for the way back.
        bias_ih_l0, bias_hh_l0: (3 H,). All are uniform within 1/sqrt(H).
    """

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: str = "float32",
    ):
        self._prepare(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, dtype
        )

    _cell = staticmethod(_gru_step)

    def forward(self, x: Any, hx: Any = None) -> tuple[Any, Tensor]:
        """The outputs of the last layer at each step, and the last state of every layer.

        Args:
            x: (T, B, input_size), or (T, input_size) of one sequence; or a `PackedSequence` of
                several, each of which has its own length and last state.
            hx: (layers x K, B, H), the first state, zeros by default; without B for one sequence.

        Returns:
            (T, B, K H), packed if x is, and (layers x K, B, H).
        """
        y, (h,) = self._along(x, hx)
        return y, h


class LSTM(_Recurrent):
    """Long short-term memory: a recurrent layer with gates and a memory (Hochreiter, 1997).

    Args:
        proj_size: P, to which outputs are projected; 0 for no projection.

    The others as for `GRU`.

    Attributes:
        weight_ih_l0, weight_hh_l0: (4 H, features) and (4 H, P) of the first layer, in the order
            input, forget, candidate, output. Then l1 and so on, and l0_reverse for the way back.
        bias_ih_l0, bias_hh_l0: (4 H,).
        weight_hr_l0: (P, H), with projections. All are uniform within 1/sqrt(H).
    """

    gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        dtype: str = "float32",
    ):
        self._prepare(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            proj_size, dtype,
        )  # fmt: skip

    def _step(self, a: Tensor, state: State, end: str) -> State:
        bias = getattr(self, "bias_hh" + end, None)
        projection = getattr(self, "weight_hr" + end, None)
        h, c = state
        return _lstm_step(a, h, c, getattr(self, "weight_hh" + end), bias, projection)

    def forward(self, x: Any, hx: Any = None) -> tuple[Any, tuple[Tensor, Tensor]]:
        """The outputs of the last layer at each step, and the last state of every layer.

        Args:
            x: (T, B, input_size), or (T, input_size) of one sequence; or a `PackedSequence`.
            hx: the first state (h, c), (layers x K, B, P) and (layers x K, B, H), zeros by default;
                without B for one sequence.

        Returns:
            (T, B, K P), packed if x is, and the pair of (layers x K, B, P) and (layers x K, B, H).
        """
        y, (h, c) = self._along(x, hx)
        return y, (h, c)


# ------------------------------------------------------------------------------------------- cells


class _Cell(Module):
    """One step of a layer, for loops of one's own."""

    gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, dtype: str = "float32"
    ):
        name = type(self).__name__
        self.input_size = count(name, "input_size", input_size, least=0)
        self.hidden_size = count(name, "hidden_size", hidden_size)
        bound, rows = 1 / math.sqrt(hidden_size), type(self).gates * self.hidden_size
        self.weight_ih = init.uniform((rows, self.input_size), bound, dtype)
        self.weight_hh = init.uniform((rows, self.hidden_size), bound, dtype)
        self.bias_ih = init.uniform((rows,), bound, dtype) if bias else None
        self.bias_hh = init.uniform((rows,), bound, dtype) if bias else None

    def _next(self, step: Callable, x: Tensor, state: Any, count: int) -> State:
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__}: x must be (B, {self.input_size}) or "
                f"({self.input_size},), got {x.shape}"
            )
        wanted = (*x.shape[:-1], self.hidden_size)
        if state is None:
            state = [ops.broadcast_to(ops.zeros_like(x[..., :1]), shape=wanted)] * count
        state = state if isinstance(state, tuple | list) else (state,)
        if [tuple(v.shape) for v in state] != [wanted] * count:
            raise ShapeError(
                f"{type(self).__name__}: the state must have shape {wanted}, got "
                f"{' and '.join(str(v.shape) for v in state)}"
            )
        a = ops.linear(x, self.weight_ih, self.bias_ih)
        return step(a, *state, self.weight_hh, self.bias_hh)

    def extra_repr(self) -> str:
        bias = "" if self.bias_ih is not None else ", bias=False"
        return f"{self.input_size}, {self.hidden_size}{bias}"


class RNNCell(_Cell):
    """One step of `RNN`: h' = tanh(W x + b + W' h + b')."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        dtype: str = "float32",
    ):
        super().__init__(input_size, hidden_size, bias, dtype)
        self.nonlinearity = _known(type(self).__name__, nonlinearity)

    def forward(self, x: Tensor, hx: Any = None) -> Tensor:
        """x: (B, input_size), hx: (B, H) or None for zeros -> (B, H)."""
        return self._next(_RNN_STEPS[self.nonlinearity], x, hx, 1)[0]


class GRUCell(_Cell):
    """One step of `GRU`."""

    gates = 3

    def forward(self, x: Tensor, hx: Any = None) -> Tensor:
        """x: (B, input_size), hx: (B, H) or None for zeros -> (B, H)."""
        return self._next(_gru_step, x, hx, 1)[0]


class LSTMCell(_Cell):
    """One step of `LSTM`."""

    gates = 4

    def forward(self, x: Any, hx: Any = None) -> tuple[Any, Tensor]:
        """x: (B, input_size), hx: a pair (h, c) of (B, H) or None for zeros -> such a pair."""
        h, c = self._next(_lstm_step, x, hx, 2)
        return h, c
