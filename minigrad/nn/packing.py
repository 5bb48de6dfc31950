"""Sequences of different lengths in one array: padded, or packed without padding.

PyTorch has these functions in `nn.utils.rnn`, and so have we.

Letters: B sequences, T steps of the longest.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from minigrad import ops
from minigrad.autodiff import Tensor, on_device_of
from minigrad.backend import is_array, refuse_while_capturing, to_numpy
from minigrad.errors import DtypeError, ShapeError

__all__ = [
    "PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence",
    "pad_packed_sequence", "pad_sequence", "unpack_sequence", "unpad_sequence",
]  # fmt: skip


class BatchSizes(tuple[int, ...]):
    """How many sequences have each step. They are integers on the host, as they decide shapes, and
    so are part of a program under `jit`.
    """

    __slots__ = ()

    @property
    def shape(self) -> tuple[int]:
        return (len(self),)

    def tolist(self) -> list[int]:
        """As a list."""
        return list(self)

    def numpy(self) -> np.ndarray:
        """As an array, int64."""
        return np.array(self, "int64")


class _Fields(NamedTuple):
    data: Any
    batch_sizes: Any
    sorted_indices: Any
    unsorted_indices: Any


class PackedSequence(_Fields):
    """The steps of several sequences, of the longest first, without padding.

    Made by `pack_padded_sequence` and `pack_sequence`; `RNN`, `GRU` and `LSTM` take one and give
    one. Its fields, in order:

    Attributes:
        data: (total, ...): step 0 of all sequences, then step 1 of those that have one, ...
        batch_sizes: how many sequences have each step: integers on the host.
        sorted_indices: (B,) int64, the places of the sequences in the order of their lengths; None
            if they are in that order as they came.
        unsorted_indices: the way back, found from `sorted_indices` if it is not given.

    Raises:
        ShapeError: the batch sizes rise, or do not add up to the length of `data`.
    """

    __slots__ = ()

    def __new__(
        cls,
        data: Any,
        batch_sizes: Any,
        sorted_indices: Any = None,
        unsorted_indices: Any = None,
    ):
        if is_array(data) or isinstance(data, list):
            data = Tensor(data)
        sizes = BatchSizes(_integers("PackedSequence", "batch_sizes", batch_sizes).tolist())
        if list(sizes) != sorted(sizes, reverse=True) or (sizes and sizes[-1] < 1):
            raise ShapeError(
                f"PackedSequence: batch_sizes must be positive and not rise, got {_short(sizes)}"
            )
        if type(data) is Tensor and data.shape[:1] != (sum(sizes),):
            raise ShapeError(
                f"PackedSequence: data of shape {data.shape} must have as many steps as "
                f"batch_sizes adds up to, {sum(sizes)}"
            )
        order, back = (_index(x) for x in (sorted_indices, unsorted_indices))
        if back is None:
            back = invert_permutation(order)
        elif order is None:
            order = invert_permutation(back)
        return super().__new__(cls, data, sizes, order, back)


def _index(x: Any) -> Any:
    return Tensor(x) if is_array(x) or isinstance(x, list) else x


def invert_permutation(permutation: Any) -> Any:
    """The permutation that undoes this one, (B,) integers; None for None."""
    return None if permutation is None else ops.argsort(_index(permutation))


def _integers(name: str, what: str, values: Any) -> np.ndarray:
    """(n,) integers on the host."""
    if type(values) is Tensor or is_array(values):
        if type(values) is Tensor:
            refuse_while_capturing(f"{name} (for its {what}; as a list they are part of a program)")
            values = values.data
        if hasattr(values, "levels"):
            raise ShapeError(f"{name}: under vmap {what} must not differ from example to example")
        values = to_numpy(values)
    found = np.asarray(values if hasattr(values, "dtype") else list(map(_plain, values)))
    if found.size == 0:
        found = found.astype("int64")
    if found.dtype.kind not in "iu" or found.ndim != 1:
        raise DtypeError(f"{name}: {what} must be integers in one axis, got {_short(values)}")
    return found.astype("int64")


def _plain(x: Any) -> Any:
    return x.item() if type(x) is Tensor else x


def _short(values: Any) -> str:
    text = str(values)
    return text if len(text) < 80 else f"{text[:80]}..."


# ------------------------------------------------------------------------------------- packing


def pack_padded_sequence(
    input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """The steps of padded sequences without the padding.

    Args:
        input: (T, B, ...), or with `batch_first` (B, T, ...).
        lengths: (B,) of the sequences, positive: a list, an array or a Tensor.
        enforce_sorted: raise unless the lengths fall; with False the sequences are sorted here,
            and what comes out of a layer is brought back into the order in which they came.

    Raises:
        ShapeError: lengths do not fit `input`, or are not sorted although they should be.
    """
    name = "pack_padded_sequence"
    x = input if type(input) is Tensor else Tensor(input)
    if x.ndim < 2:
        axes = "(B, T, ...)" if batch_first else "(T, B, ...)"
        raise ShapeError(f"{name}: input must be {axes}, got {x.shape}")
    if batch_first:
        x = ops.swapaxes(x, axis1=0, axis2=1)
    T, B = x.shape[:2]
    lengths = _integers(name, "lengths", lengths)
    if lengths.shape != (B,):
        hint = f"; with batch_first={not batch_first} there are {T}" if len(lengths) == T else ""
        raise ShapeError(f"{name}: there are {B} sequences and {len(lengths)} lengths{hint}")
    if not B or lengths.min() < 1 or lengths.max() > T:
        raise ShapeError(f"{name}: lengths must be from 1 to {T}, got {_short(lengths)}")
    order = None
    if not enforce_sorted:
        order = np.argsort(-lengths, kind="stable")
        lengths = lengths[order]
    elif (np.diff(lengths) > 0).any():
        raise ShapeError(
            f"{name}: with enforce_sorted, lengths must fall, got {_short(lengths)}; "
            f"enforce_sorted=False sorts the sequences, and brings results back into their order"
        )
    sizes = (lengths > np.arange(lengths[0])[:, None]).sum(axis=1)
    columns = np.arange(B) if order is None else order
    at = np.concatenate([t * B + columns[:n] for t, n in enumerate(sizes)])
    data = ops.take(ops.reshape(x, shape=(T * B, *x.shape[2:])), on_device_of([x], at), axis=0)
    return PackedSequence(data, sizes, None if order is None else Tensor(on_device_of([x], order)))


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The way back: sequences in one array, in the order in which they came, and their lengths.

    Args:
        sequence: packed.
        batch_first: give (B, T, ...) in place of (T, B, ...).
        padding_value: what stands behind the end of a sequence.
        total_length: T, if it shall be more than the longest has.

    Returns:
        (T, B, ...) and the lengths, (B,) int64.

    Raises:
        ShapeError: `total_length` is less than the longest sequence has.
    """
    name = "pad_packed_sequence"
    data, sizes, _, back = _packed(name, sequence)
    T, B = len(sizes), sizes[0] if sizes else 0
    if total_length is not None:
        if total_length < T:
            raise ShapeError(f"{name}: total_length {total_length} is less than the longest, {T}")
        T = total_length
    # Step t of sequence b in the order of the packing stands at starts[t] + b; beyond its end there
    # is one row of padding, behind all others.
    counts = np.array([*sizes, *[0] * (T - len(sizes))], "int64")
    starts, b = np.cumsum(counts) - counts, np.arange(B)
    there = b < counts[:, None]
    at = on_device_of([data], np.where(there, starts[:, None] + b, len(data)))
    padding = ops.full_like(data[:1], fill_value=padding_value)
    x = ops.take(ops.concatenate([data, padding]), at, axis=0)
    lengths = Tensor(on_device_of([data], there.sum(axis=0)))
    if back is not None:
        x, lengths = (ops.take(v, back, axis=a) for v, a in ((x, 1), (lengths, 0)))
    return (ops.swapaxes(x, axis1=0, axis2=1) if batch_first else x), lengths


def _packed(name: str, sequence: Any) -> PackedSequence:
    if not isinstance(sequence, PackedSequence):
        raise TypeError(f"{name}: expected a PackedSequence, got {type(sequence).__name__}")
    return sequence


def pack_sequence(sequences: Iterable[Any], enforce_sorted: bool = True) -> PackedSequence:
    """Several sequences (length, ...) packed; see `pack_padded_sequence`."""
    xs = _sequences("pack_sequence", sequences)
    return pack_padded_sequence(pad_sequence(xs), [len(x) for x in xs], False, enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences (length, ...) of a packed one, each for itself, in the order they came."""
    _packed("unpack_sequence", packed_sequences)
    x, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    counts = np.array(packed_sequences.batch_sizes)
    if packed_sequences.unsorted_indices is not None:
        return unpad_sequence(x, lengths, batch_first=True)
    return unpad_sequence(x, (counts[:, None] > np.arange(len(x))).sum(axis=0), batch_first=True)


# ------------------------------------------------------------------------------------- padding


def pad_sequence(
    sequences: Iterable[Any],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences (length, ...) side by side: (T, B, ...), or with `batch_first` (B, T, ...).

    Args:
        padding_value: what stands where a sequence has no step.
        padding_side: 'right' for behind its end, 'left' for before its beginning.

    Raises:
        ShapeError: there are no sequences, or they differ beyond the first axis.
        ValueError: `padding_side` is neither.
    """
    name = "pad_sequence"
    if padding_side not in ("left", "right"):
        raise ValueError(f"{name}: padding_side must be 'left' or 'right', got {padding_side!r}")
    xs = _sequences(name, sequences)
    T = max(map(len, xs))
    rows = []
    for x in xs:
        gap = (T - len(x), 0) if padding_side == "left" else (0, T - len(x))
        widths = (gap, *[(0, 0)] * (x.ndim - 1))
        rows.append(ops.pad(x, pad_width=widths, constant_values=padding_value) if any(gap) else x)
    return ops.stack(rows, axis=0 if batch_first else 1)


def _sequences(name: str, sequences: Any) -> list[Tensor]:
    xs = [x if type(x) is Tensor else Tensor(x) for x in sequences]
    if not xs:
        raise ShapeError(f"{name}: there are no sequences")
    if any(not x.ndim or x.shape[1:] != xs[0].shape[1:] for x in xs):
        shapes = _short([x.shape for x in xs])
        raise ShapeError(f"{name}: sequences must be (length, ...), alike beyond, got {shapes}")
    return xs


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The sequences of (T, B, ...), or with `batch_first` (B, T, ...), without their padding.

    Raises:
        ShapeError: lengths do not fit.
    """
    name = "unpad_sequence"
    x = padded_sequences if type(padded_sequences) is Tensor else Tensor(padded_sequences)
    if x.ndim < 2:
        raise ShapeError(f"{name}: expected (T, B, ...) or (B, T, ...), got {x.shape}")
    lengths = _integers(name, "lengths", lengths)
    T, B = x.shape[1::-1] if batch_first else x.shape[:2]
    if lengths.shape != (B,) or (B and not 0 <= lengths.min() <= lengths.max() <= T):
        raise ShapeError(
            f"{name}: expected {B} lengths from 0 to {T}, got {_short(lengths.tolist())}"
        )
    return [(x[b] if batch_first else x[:, b])[:n] for b, n in enumerate(lengths.tolist())]


def packed_parts(x: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """The rows of each step; cut in halves, as the gradient of each cut is as long as its array."""
    if len(sizes) == 1:
        return [x]
    half = len(sizes) // 2
    n = sum(sizes[:half])
    return packed_parts(x[:n], sizes[:half]) + packed_parts(x[n:], sizes[half:])
