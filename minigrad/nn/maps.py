"""What attention looks at: the weights of one full pass, captured beside it."""

from typing import Any, NamedTuple

import numpy as np

from minigrad import ops
from minigrad.autodiff import no_grad
from minigrad.backend import (
    Observer,
    array_module,
    refuse_while_capturing,
    switched,
    to_numpy,
    watched,
)
from minigrad.errors import ShapeError
from minigrad.nn.transformer import Seq2Seq
from minigrad.ops.attentions import weights_of

Array = np.ndarray


class Attention(NamedTuple):
    """The softmax weights of one sentence: for each layer an array (H, queries, keys) in float32.

    Each row sums to 1. There is no padding: a side is as long as the sentence.

    Attributes:
        encoder: (H, S, S), source to source.
        decoder: (H, T, T), target to target, zeros above the diagonal.
        cross: (H, T, S), target to source.
    """

    encoder: list[Array]
    decoder: list[Array]
    cross: list[Array]


class _Weights(Observer):
    """Computes the weights of each attention that is called, beside it: what it gives stays."""

    def __init__(self) -> None:
        self.found: list[Array] = []

    def called(
        self, op: Any, arrays: list, params: dict, y: Any, seconds: float, by_kernel: bool
    ) -> None:
        if op is ops.attention:
            q, k, _, *rest = arrays
            options = {
                name: params[name] for name in ("heads", "causal", "scale") if name in params
            }
            with switched(observers=()):
                weights = weights_of(array_module(q), q, k, rest[0] if rest else None, **options)
            self.found.append(to_numpy(weights)[0].astype(np.float32, copy=False))


def attention_maps(model: Seq2Seq, src: Any, tgt: Any) -> Attention:
    """All attention weights of a full pass of one sentence, without dropout.

    Args:
        model: any `Seq2Seq`; of a `Grouped`, one of its members.
        src: (S,) ids; columns and rows of padding are left out of the maps.
        tgt: (T,) ids as `model` takes them, from the start symbol on: row t is the step that gives
            what follows `tgt[t]`.

    Raises:
        TypeError: the model has no `encode` and `decode`, or attends in another way than one call
            for each encoder layer and two for each decoder layer.
        ShapeError: `src` or `tgt` is not one sentence.
    """
    refuse_while_capturing("attention_maps")
    if not isinstance(model, Seq2Seq):
        raise TypeError(
            f"attention_maps: model must be a Seq2Seq, got {type(model).__name__}; give one of its "
            f"members if it is Grouped: model[group]"
        )
    source, target = _sentence("src", src), _sentence("tgt", tgt)
    xp = array_module(model.decoder.output_projection.weight.data)
    encoder, decoder = _Weights(), _Weights()
    with model.in_mode(training=False), no_grad():
        with watched(encoder):
            memory, padding = model.encode(xp.asarray(source[None]))
        with watched(decoder):
            model.decode(xp.asarray(target[None]), memory, padding)
    layers = len(model.encoder.layers), 2 * len(model.decoder.layers)
    if (len(encoder.found), len(decoder.found)) != layers:
        raise TypeError(
            f"attention_maps: expected {layers[0]} attentions in the encoder, {layers[1]} in the "
            f"decoder, this model has {len(encoder.found)} and {len(decoder.found)}"
        )
    own = np.flatnonzero(source != model.padding_idx)
    return Attention(
        [x[:, own[:, None], own] for x in encoder.found],
        decoder.found[0::2],
        [x[:, :, own] for x in decoder.found[1::2]],
    )


def _sentence(name: str, ids: Any) -> Array:
    ids = to_numpy(getattr(ids, "data", ids)) if hasattr(ids, "dtype") else np.asarray(ids)
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise ShapeError(
            f"attention_maps: {name} must be the ids of one sentence, 1-D, got {ids.shape} "
            f"{ids.dtype}; of a batch, give one row after the other"
        )
    return ids.astype(np.int64, copy=False)
