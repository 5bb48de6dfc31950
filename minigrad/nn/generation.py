"""Writing sequences with an encoder-decoder transformer, one id after the other.

Three ways to the same ids, and `Generator` takes the quickest that serves:

    kernels   `minigrad.kernels.decoding`: one compiled call for all sentences of a thread
    arrays    NumPy with kept keys and values; needs no Numba, so that it starts at once
    model     the model itself on all ids so far, again and again: anything, on any backend

Letters: B sentences, R hypotheses in progress, S source, T target, D model, H heads, A ids that
compete.
"""

import math
import operator
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minigrad import kernels, ops, writes
from minigrad.arguments import count
from minigrad.autodiff import no_grad
from minigrad.backend import array_module, to_numpy
from minigrad.errors import OutOfRangeError, ShapeError
from minigrad.nn.attention import MultiheadAttention
from minigrad.nn.dropout import Dropout
from minigrad.nn.embedding import Embedding
from minigrad.nn.linear import Linear
from minigrad.nn.maps import Attention, attention_maps
from minigrad.nn.norm import LayerNorm
from minigrad.nn.positions import SinusoidalPositions, sinusoids
from minigrad.nn.transformer import (
    Decoder,
    Encoder,
    Seq2Seq,
    TransformerDecoderLayer,
    TransformerEncoderLayer,
)

Array = np.ndarray
Pair = tuple[Array, Array]  # a matrix (n_in, n_out) and a bias (n_out,)

# Seconds that it takes to import Numba and to load a compiled kernel from disk.
NUMBA_STARTS = 0.4


class Hypothesis(NamedTuple):
    """A sequence that a search found.

    Attributes:
        ids: without start and end.
        score: the sum of `log_probabilities` over (their number)**length_penalty; 0 of none.
        log_probabilities: one for each id and one for the end, among the allowed ids. That of the
            end is absent where the sequence was cut at `max_length`.
        attention: if it was asked for, the maps of a full pass; row t of those of the decoder is
            the step that gave `ids[t]`, and the last row that after all ids.
    """

    ids: list[int]
    score: float
    log_probabilities: list[float]
    attention: Attention | None = None


# What a search gives for each sentence, best first: ids and log probabilities.
Found = list[list[tuple[list[int], list[float]]]]


class Generator:
    """Finds the ids that follow a source, with the weights of a `Seq2Seq` as they are at the call.

    Sequences come without their end. Of equal scores the smaller id wins. Dropout never drops.

    With kernels, weights are laid out anew for each set of values: a copy of them is kept until an
    optimizer, `load_state_dict` or an assignment changes something. What NumPy writes into a
    parameter behind all these is seen after `refresh()`.

    Args:
        model: what generates.
        start_id: stands before the first id.
        end_id: ends a sequence.
        max_length: ids that a sequence may have.
        allowed: the ids that compete; all by default. Those of others count as impossible.
        weights: 'float32', the weights as they are; or 'int8', rounded to 255 steps for each row of
            a matrix, which is quicker where weights do not fit into the cache.
        activations: 'float32'; or with int8 weights 'int8': what is multiplied with them is rounded
            as well, to 255 steps for each position of a sentence. Large batches are quicker then on
            processors with AVX-512 VNNI, and a few more ids become others; other processors compute
            the same, without kernels.
        use_kernels: True for compiled kernels, which compile at the first use (some ten seconds);
            False for none. By default they are used where they are on disk already, so that nothing
            compiles, and once the work of this process is worth the start of Numba;
            `MINIGRAD_KERNELS=0` forbids it.
        threads: between which the sentences of a batch are split; as many as cores by default.

    Raises:
        OutOfRangeError: an id is none of the model's.
        ValueError: `weights` or `max_length` is wrong.
    """

    def __init__(
        self,
        model: Seq2Seq,
        *,
        start_id: int,
        end_id: int,
        max_length: int,
        allowed: Sequence[int] | None = None,
        weights: str = "float32",
        use_kernels: bool | None = None,
        threads: int | None = None,
        activations: str = "float32",
    ):
        if weights not in ("float32", "int8"):
            raise ValueError(f"Generator: weights must be 'float32' or 'int8', got {weights!r}")
        if activations not in ("float32", weights):
            raise ValueError(
                f"Generator: activations must be 'float32', or 'int8' with weights of int8; got "
                f"{activations!r} with {weights!r}"
            )
        if max_length < 0:
            raise ValueError(f"Generator: max_length must not be negative, got {max_length}")
        size = model.decoder.output_projection.weight.shape[0]
        ids = np.arange(size) if allowed is None else np.unique(np.asarray(allowed, np.int64))
        if not len(ids) or ids[0] < 0 or ids[-1] >= size or not 0 <= start_id < size:
            raise OutOfRangeError(
                f"Generator: allowed ids and start_id must be in [0, {size}) and at least one must "
                f"be allowed, got {ids.tolist()[:10]} and {start_id}"
            )
        self.model, self.ids, self.max_length = model, ids, int(max_length)
        self.start_id, self.end_id = int(start_id), int(end_id)
        self.kind, self.use_kernels = weights, use_kernels
        self.in_bytes = activations == "int8"
        if threads is not None:
            threads = count("Generator", "threads", threads, 1, kernels.MOST_THREADS)
        self.threads = threads or kernels.get_num_threads()
        self.refresh()

    def greedy(self, src: Any) -> list[list[int]]:
        """The most probable id, again and again, until the end; for each row of `src` (B, S)."""
        return [best[0] for [best] in self._find(src, 1, 0.0, scored=False)]

    def beam(self, src: Any, width: int, length_penalty: float = 1.0) -> list[list[int]]:
        """The best sequence of a beam search, for each row of `src` (B, S).

        A beam holds the `width` best sequences. In each step all that are not ended get all ids,
        and the best `width` of these and of the ended ones stay, until all are ended. The score of
        a sequence is the sum of its log probabilities (among the allowed ids) over
        `length**length_penalty`, its end counted; of equal scores the older sequence, then the
        smaller id wins. `width` 1 is greedy search.

        Raises:
            ValueError: `width` is less than 1.
        """
        if width == 1:
            return self.greedy(src)
        return [best.ids for [best] in self.search(src, width, length_penalty)]

    def search(
        self,
        src: Any,
        width: int = 1,
        length_penalty: float = 1.0,
        nbest: int = 1,
        attention: bool = False,
    ) -> list[list[Hypothesis]]:
        """The best sequences with their scores, the best first, for each row of `src` (B, S).

        Args:
            width: of the beam, see `beam`; 1 is greedy search.
            length_penalty: see `beam`.
            nbest: how many sequences of a beam are given; fewer where there are no more.
            attention: whether their attention maps are given, too: of a full pass for each
                sequence, with the model's own weights (not those rounded to int8).

        Raises:
            ValueError: `width` is less than 1, or `nbest` is not in 1..width.
        """
        if width < 1:
            raise ValueError(f"Generator: width must be at least 1, got {width}")
        if not 1 <= nbest <= width:
            raise ValueError(
                f"Generator.search: nbest must be in [1, {width}], the width of the beam, got "
                f"{nbest}; a wider beam holds more"
            )
        src, penalty = _source(src), float(length_penalty)
        return [
            [
                Hypothesis(
                    ids,
                    math.fsum(logs) / float(len(logs)) ** penalty if logs else 0.0,
                    logs,
                    attention_maps(self.model, row, [self.start_id, *ids]) if attention else None,
                )
                for ids, logs in found
            ]
            for row, found in zip(
                src, self._find(src, int(width), penalty, int(nbest)), strict=True
            )
        ]

    def refresh(self) -> None:
        """Forget the copies of the weights."""
        self._parameters: list = []
        self._arrays: list = []
        self._latest = -1
        self._weights: Any = None  # `Weights`, where they can be read
        self._packed: Any = None  # and what the kernels make of them
        self._table: Array = np.zeros((0, 0))
        self._flat: Any = None

    def explain(self, src: Any) -> str:
        """Which of 'kernels', 'arrays' and 'model' would serve `src` now."""
        return self._way(_source(src), 1)

    def _way(self, src: Array, width: int) -> str:
        if self._current() is None:
            return "model"
        if self._weights.dtype != np.float32:
            return "arrays"
        wanted = self.use_kernels
        if wanted is None and os.environ.get("MINIGRAD_KERNELS") != "0":
            worth = self._packed is not None or _spent + self._estimate(src, width) > NUMBA_STARTS
            wanted = worth and on_disk("uint8" if self.in_bytes else self.kind)
        if wanted and self.in_bytes:
            from minigrad.kernels.decoding import has_bytes

            wanted = has_bytes()
        return "kernels" if wanted else "arrays"

    def _estimate(self, src: Array, width: int) -> float:
        """Seconds that NumPy would take: 1.5 us a call, and products at 20 GFLOP/s."""
        w = self._weights
        calls = 40 * self.max_length * len(w.decoder) + 20 * len(w.encoder)
        rows = len(src) * (src.shape[1] + self.max_length * width)
        return calls * 1.5e-6 + rows * w.size * 1e-10

    def _current(self) -> "Weights | None":
        """The model's weights, read again if something was written since; None: not to be read."""
        if self._latest != writes.latest or not all(
            map(operator.is_, map(_data, self._parameters), self._arrays)
        ):
            self._parameters = [p for _, p in self.model.named_parameters()]
            self._arrays = [p.data for p in self._parameters]
            self._latest, self._packed = writes.latest, None
            self._weights = read(self.model, self.ids, self.kind == "int8", self.in_bytes)
        return self._weights

    def _find(
        self, src: Any, width: int, length_penalty: float, nbest: int = 1, scored: bool = True
    ) -> Found:
        global _spent
        src = _source(src)
        if not len(src):
            return []
        way = self._way(src, width)
        vocabulary = self.model.encoder.embed.weight.shape[0]
        if way != "kernels" and src.size and not (src.min() >= 0 and src.max() < vocabulary):
            raise OutOfRangeError(
                f"Generator: ids of src must be in [0, {vocabulary}), got {src.min()}..{src.max()}"
            )
        if way == "model":
            past: Any = _Model(self.model, src, self.ids)
        else:
            longest = max(src.shape[1], self.max_length)
            if len(self._table) < longest:
                w = self._weights
                self._table = sinusoids(longest, w.encoder_embed.shape[1], w.dtype)
                self._flat = None
            if way == "kernels":
                return self._by_kernels(src, width, length_penalty, nbest, scored)
            past = _Arrays(self._weights, src, self.model.padding_idx, self._table, self.max_length)
        began = time.perf_counter()
        if width == 1:
            found = self._greedy(past, len(src), scored)
        else:
            found = self._beam(past, len(src), width, length_penalty, nbest)
        _spent += time.perf_counter() - began
        return found

    def _by_kernels(
        self, src: Array, width: int, length_penalty: float, nbest: int, scored: bool
    ) -> Found:
        from minigrad.kernels import decoding

        if self._packed is None:
            self._packed = decoding.Packed(self._weights, self.kind == "int8", self.in_bytes)
        if self._flat is None:
            self._flat = decoding.flat(self._table)
        return decoding.search(
            self._packed,
            src,
            self.model.padding_idx,
            self._flat,
            start_id=self.start_id,
            end_id=self.end_id,
            max_length=self.max_length,
            width=width,
            length_penalty=length_penalty,
            nbest=nbest,
            scored=scored,
            threads=self.threads,
        )

    def _greedy(self, past: Any, count: int, scored: bool) -> Found:
        found: list[list[int]] = [[] for _ in range(count)]
        steps: list[list[float]] = [[] for _ in range(count)]
        rows, last = np.arange(count), np.full(count, self.start_id)
        for _ in range(self.max_length):
            scores = past.step(last)
            places = scores.argmax(axis=1)
            if scored:
                logs = _log_softmax(scores)[np.arange(len(rows)), places]
                for row, log in zip(rows.tolist(), logs.tolist(), strict=True):
                    steps[row].append(log)
            best = self.ids[places]
            going = best != self.end_id
            rows, last = rows[going], best[going]
            for row, i in zip(rows.tolist(), last.tolist(), strict=True):
                found[row].append(i)
            if not len(rows):
                break
            if not going.all():
                past.take(np.flatnonzero(going))
        return [[pair] for pair in zip(found, steps, strict=True)]

    def _beam(self, past: Any, count: int, width: int, length_penalty: float, nbest: int) -> Found:
        # A hypothesis: log probability, ids, whether it is ended, its row in `past`, and the log
        # probability of each step.
        beams: list = [[(0.0, [], False, row, [])] for row in range(count)]
        last = np.full(count, self.start_id)
        for t in range(1, self.max_length + 1):
            logs = _log_softmax(past.step(last))
            rows: list[int] = []
            ids: list[int] = []
            for b, beam in enumerate(beams):
                if all(ended for _, _, ended, _, _ in beam):
                    continue
                totals, power = [], []
                for log, found, ended, row, _ in beam:
                    totals.append([log] if ended else log + logs[row])
                    n = len(found) + 1 if ended else t
                    power.append(np.full(len(totals[-1]), float(n) ** length_penalty))
                owners = np.repeat(np.arange(len(beam)), [len(x) for x in totals])
                begins = np.cumsum([0, *(len(x) for x in totals)])
                total = np.concatenate(totals)
                order = np.argsort(-(total / np.concatenate(power)), kind="stable")[:width]
                new = []
                for i in order.tolist():
                    log, found, ended, row, steps = beam[owners[i]]
                    choice = int(self.ids[i - begins[owners[i]]])
                    further = [*steps, float(total[i] - log)]
                    if ended:
                        new.append(beam[owners[i]])
                    elif choice == self.end_id:
                        new.append((total[i], found, True, -1, further))
                    else:
                        new.append((total[i], [*found, choice], False, len(rows), further))
                        rows.append(row)
                        ids.append(choice)
                beams[b] = new
            if not rows:
                break
            # What belongs to beams that are over is still among the rows; a step on it is harmless.
            past.take(np.array(rows))
            last = np.array(ids)
        return [[(found, steps) for _, found, _, _, steps in beam[:nbest]] for beam in beams]


def _log_softmax(scores: Array) -> Array:
    """In float64, along the last axis."""
    scores = scores.astype(np.float64)
    top = scores.max(axis=1, keepdims=True)
    return scores - (top + np.log(np.exp(scores - top).sum(axis=1, keepdims=True)))


_data = operator.attrgetter("_data")  # `data` without the call of a property
_spent = 0.0  # seconds in this process for which kernels would have been of use


def on_disk(kind: str) -> bool:
    """Whether Numba's cache has the search for weights of a kind, found out without Numba.

    Then a file of that name is younger than the source that it was made from.
    """
    source = Path(kernels.__file__).parent / "decoding.py"
    given = os.environ.get("NUMBA_CACHE_DIR")
    folders = [Path(given), *Path(given).glob("*")] if given else [source.parent / "__pycache__"]
    changed = source.stat().st_mtime
    return any(
        path.stat().st_mtime >= changed
        for folder in folders
        for path in folder.glob(f"decoding.search_{kind}-*.nbi")
    )


def _source(src: Any) -> Array:
    src = to_numpy(getattr(src, "data", src)) if hasattr(src, "dtype") else np.asarray(src)
    if src.ndim != 2 or (src.size and src.dtype.kind not in "iu"):
        raise ShapeError(f"Generator: src must be (B, S) ids, got {src.shape} {src.dtype}")
    return src.astype(np.int64, copy=False)


# ---------------------------------------------------------------------------------- the weights


class Layer(NamedTuple):
    """The arrays of an encoder layer or, with the last four, of a decoder layer."""

    norm1: tuple[Array, Array, float]
    qkv: Pair  # three projections side by side
    out: Pair
    norm2: tuple[Array, Array, float]
    up: Pair
    down: Pair
    query: Any = None  # a Pair
    kv: Any = None  # one of the memory
    cross_out: Any = None  # a Pair
    norm3: Any = None


class Weights(NamedTuple):
    """All of a `Seq2Seq` that generating needs; `output` has the columns of `ids` only."""

    encoder_embed: Array
    decoder_embed: Array
    encoder: list[Layer]
    decoder: list[Layer]
    encoder_norm: tuple[Array, Array, float]
    decoder_norm: tuple[Array, Array, float]
    output: Pair
    ids: Array
    heads: int
    norm_first: bool
    activation: str
    dtype: np.dtype
    size: int
    in_bytes: bool  # whether activations are rounded


USUAL = (
    Decoder, Dropout, Embedding, Encoder, LayerNorm, Linear, MultiheadAttention, Seq2Seq,
    SinusoidalPositions, TransformerDecoderLayer, TransformerEncoderLayer,
)  # fmt: skip


def read(model: Seq2Seq, ids: Array, int8: bool, in_bytes: bool = False) -> Weights | None:
    """The weights of a model that is as `Seq2Seq` makes it, on NumPy; None for any other."""
    modules = [m for _, m in model.named_modules()]
    parameters = [p.data for p in model.parameters()]
    dtypes = {p.dtype for p in parameters}
    layers = [*model.encoder.layers, *model.decoder.layers]
    kinds = {(m.activation, m.norm_first, m.linear1.weight.shape) for m in layers}
    heads = {m.num_heads for m in modules if type(m) is MultiheadAttention}
    if (
        any(type(m) not in USUAL or m._hooks is not None for m in modules)
        or any(m.bias is None for m in modules if isinstance(m, Linear | LayerNorm))
        or any(array_module(x) is not np for x in parameters)
        or len(dtypes) != 1
        or next(iter(dtypes)).kind != "f"
        or next(iter(dtypes)).itemsize < 4
        or not len(kinds) == len(heads) == 1
        or any("forward" in vars(m) for m in modules)
    ):
        return None

    def pair(*linears: Any) -> Pair:  # they all have a bias, see above
        w = np.concatenate([m.weight.data for m in linears]).T
        return (rounded(w) if int8 else w), np.concatenate([m.bias.data for m in linears])

    def norm(m: Any) -> tuple[Array, Array, float]:
        return m.weight.data, m.bias.data, m.eps

    def layer(m: Any) -> Layer:
        own, cross = m.self_attn, getattr(m, "multihead_attn", None)
        of_decoder: dict[str, Any] = {}
        if cross is not None:
            of_decoder = {
                "query": pair(cross.q_proj),
                "kv": pair(cross.k_proj, cross.v_proj),
                "cross_out": pair(cross.out_proj),
                "norm3": norm(m.norm3),
            }
        return Layer(
            norm1=norm(m.norm1),
            qkv=pair(own.q_proj, own.k_proj, own.v_proj),
            out=pair(own.out_proj),
            norm2=norm(m.norm2),
            up=pair(m.linear1),
            down=pair(m.linear2),
            **of_decoder,
        )

    [(activation, norm_first, _)] = kinds
    w, b = pair(model.decoder.output_projection)
    return Weights(
        encoder_embed=model.encoder.embed.weight.data,
        decoder_embed=model.decoder.embed.weight.data,
        encoder=[layer(m) for m in model.encoder.layers],
        decoder=[layer(m) for m in model.decoder.layers],
        encoder_norm=norm(model.encoder.norm),
        decoder_norm=norm(model.decoder.norm),
        output=(w[:, ids], b[ids]),
        ids=ids,
        heads=heads.pop(),
        norm_first=norm_first,
        activation=activation,
        dtype=dtypes.pop(),
        size=sum(x.size for x in parameters),
        in_bytes=in_bytes,
    )


def rounded(w: Array) -> Array:
    """`w` (n_in, n_out) with the values that int8 and a scale for each output can have."""
    return _rounded_along(w, 0)


def _rounded_along(x: Array, axis: int) -> Array:
    """`x` to 255 steps of its largest magnitude along an axis."""
    scale = np.abs(x).max(axis=axis, initial=0, keepdims=True) / x.dtype.type(127)
    scale[scale == 0] = 1
    return np.rint(x / scale) * scale


# ----------------------------------------------------------------------- one step after the other


class _Model:
    """All ids so far through the model in each step."""

    def __init__(self, model: Seq2Seq, src: Array, ids: Array):
        self.model, self.ids = model, ids
        self.xp = array_module(model.decoder.output_projection.weight.data)
        self.tgt = np.zeros((len(src), 0), np.int64)
        with model.in_mode(training=False), no_grad():
            self.memory, self.padding = model.encode(self.xp.asarray(src))

    def step(self, last: Array) -> Array:
        """(R,) ids -> scores (R, A) of the next."""
        self.tgt = np.concatenate([self.tgt, last[:, None]], axis=1)
        with self.model.in_mode(training=False), no_grad():
            scores = self.model.decode(self.xp.asarray(self.tgt), self.memory, self.padding)
        return to_numpy(scores.data[:, -1])[:, self.ids]

    def take(self, rows: Array) -> None:
        """Go on with these rows only, some of them perhaps twice."""
        self.tgt = self.tgt[rows]
        place = self.xp.asarray(rows)
        with no_grad():
            self.memory = ops.take(self.memory, place, axis=0)
            self.padding = ops.take(self.padding, place, axis=0)


class _Arrays:
    """NumPy with kept keys and values, (R, H, D of a head, T) and (R, H, T, D of a head)."""

    def __init__(self, weights: Weights, src: Array, padding: int, table: Array, steps: int):
        self.w, self.table, self.t = weights, table, 0
        self.seen = (src != padding)[:, None, None, :]
        if self.seen.all():
            self.seen = None
        x = weights.encoder_embed[src] + table[: src.shape[1]]
        for layer in weights.encoder:

            def look(x, layer=layer):
                q, k, v = np.split(self._affine(x, layer.qkv), 3, axis=-1)
                k = self._heads(k).swapaxes(-1, -2)
                return self._affine(self._gather(q, k, self._heads(v), self.seen), layer.out)

            x = self._branch(x, layer.norm1, look)
            x = self._branch(x, layer.norm2, lambda x, layer=layer: self._feed_forward(x, layer))
        memory = _norm(x, *weights.encoder_norm)
        self.cross, self.past = [], []
        d = memory.shape[-1]
        shape = (len(src), weights.heads, d // weights.heads, steps)
        for layer in weights.decoder:
            k, v = np.split(self._affine(memory, layer.kv), 2, axis=-1)
            k = np.ascontiguousarray(self._heads(k).swapaxes(-1, -2))
            self.cross.append((k, np.ascontiguousarray(self._heads(v))))
            self.past.append((np.empty(shape, k.dtype), np.empty(shape, k.dtype).swapaxes(2, 3)))

    def _affine(self, x: Array, pair: Pair) -> Array:
        return _affine(x, pair, self.w.in_bytes)

    def _heads(self, x: Array) -> Array:
        """(R, T, D) -> (R, H, T, D/H)"""
        R, T, d = x.shape
        return x.reshape(R, T, self.w.heads, d // self.w.heads).swapaxes(1, 2)

    def _gather(self, q: Array, k: Array, v: Array, seen: Array | None) -> Array:
        """Attention of q (R, T, D) to k (R, H, D/H, S) and v (R, H, S, D/H); zeros where none."""
        p = (self._heads(q) @ k) * (1 / math.sqrt(k.shape[2]))
        if seen is not None:
            p = np.where(seen, p, -np.inf)
            top = p.max(axis=-1, keepdims=True, initial=-np.inf)
            p -= np.where(np.isfinite(top), top, 0)
        else:
            p -= p.max(axis=-1, keepdims=True, initial=-np.inf)
        np.exp(p, out=p)
        total = p.sum(axis=-1, keepdims=True)
        y = (p @ v) / np.where(total == 0, 1, total)
        return y.swapaxes(1, 2).reshape(q.shape)

    def _branch(self, x: Array, norm: tuple, branch: Any) -> Array:
        return x + branch(_norm(x, *norm)) if self.w.norm_first else _norm(x + branch(x), *norm)

    def _feed_forward(self, x: Array, layer: Layer) -> Array:
        h: Any = self._affine(x, layer.up)
        h = ops.gelu(h) if self.w.activation == "gelu" else np.maximum(h, 0)
        return self._affine(h, layer.down)

    def step(self, last: Array) -> Array:
        """(R,) ids -> scores (R, A) of the next."""
        w, t = self.w, self.t
        x = w.decoder_embed[last[:, None]] + self.table[t]
        for layer, (keys, values), (k, v) in zip(w.decoder, self.past, self.cross, strict=True):

            def look_back(x, layer=layer, keys=keys, values=values):
                q, new_k, new_v = np.split(self._affine(x, layer.qkv), 3, axis=-1)
                keys[..., t] = self._heads(new_k)[:, :, 0]
                values[:, :, t] = self._heads(new_v)[:, :, 0]
                y = self._gather(q, keys[..., : t + 1], values[:, :, : t + 1], None)
                return self._affine(y, layer.out)

            def look_across(x, layer=layer, k=k, v=v):
                y = self._gather(self._affine(x, layer.query), k, v, self.seen)
                return self._affine(y, layer.cross_out)

            x = self._branch(x, layer.norm1, look_back)
            x = self._branch(x, layer.norm2, look_across)
            x = self._branch(x, layer.norm3, lambda x, layer=layer: self._feed_forward(x, layer))
        self.t += 1
        return self._affine(_norm(x, *w.decoder_norm), w.output)[:, 0]

    def take(self, rows: Array) -> None:
        """Go on with these rows only, some of them perhaps twice."""
        self.past = [(k[rows], v[rows]) for k, v in self.past]
        self.cross = [(k[rows], v[rows]) for k, v in self.cross]
        if self.seen is not None:
            self.seen = self.seen[rows]


def _affine(x: Array, pair: Pair, in_bytes: bool) -> Array:
    return (_rounded_along(x, -1) if in_bytes else x) @ pair[0] + pair[1]


def _norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * weight + bias
