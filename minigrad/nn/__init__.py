"""Layers, with PyTorch's names, arguments and parameter layouts."""

from typing import TYPE_CHECKING, Any

from minigrad.nn import (
    activation,
    containers,
    conv,
    distance,
    dropout,
    functional,
    init,
    lazy,
    loss,
    norm,
    padding,
    pool,
    rearranging,
    recurrent,
    utils,
)
from minigrad.nn.activation import *
from minigrad.nn.attention import MultiheadAttention
from minigrad.nn.containers import *
from minigrad.nn.conv import *
from minigrad.nn.distance import *
from minigrad.nn.dropout import *
from minigrad.nn.embedding import Embedding, EmbeddingBag, EntityEmbedding
from minigrad.nn.group import Grouped
from minigrad.nn.lazy import *
from minigrad.nn.linear import Bilinear, Linear
from minigrad.nn.loss import *
from minigrad.nn.module import Buffer, Module, Parameter
from minigrad.nn.norm import *
from minigrad.nn.overview import shapes, summary
from minigrad.nn.padding import *
from minigrad.nn.pool import *
from minigrad.nn.positions import (
    LearnedPositions,
    RotaryPositions,
    SinusoidalPositions,
    sinusoids,
)
from minigrad.nn.rearranging import *
from minigrad.nn.recurrent import *
from minigrad.nn.transformer import (
    Decoder,
    Encoder,
    Seq2Seq,
    Transformer,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)

__all__ = [
    "Attention", "Bilinear", "Buffer", "Decoder", "Embedding", "EmbeddingBag", "Encoder",
    "EntityEmbedding", "Generator", "Grouped", "Hypothesis", "LearnedPositions", "Linear", "Module",
    "MultiheadAttention", "Parameter", "RotaryPositions", "Seq2Seq", "SinusoidalPositions",
    "Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder",
    "TransformerEncoderLayer", "attention_maps", "functional", "init", "shapes", "sinusoids",
    "summary", "utils",
]  # fmt: skip
__all__ += activation.__all__
__all__ += containers.__all__
__all__ += conv.__all__
__all__ += distance.__all__
__all__ += dropout.__all__
__all__ += lazy.__all__
__all__ += loss.__all__
__all__ += norm.__all__
__all__ += padding.__all__
__all__ += pool.__all__
__all__ += rearranging.__all__
__all__ += recurrent.__all__

if TYPE_CHECKING:
    from minigrad.nn.generation import Generator, Hypothesis
    from minigrad.nn.maps import Attention, attention_maps


def __getattr__(name: str) -> Any:
    if name in ("Generator", "Hypothesis"):  # loaded when asked for: not everybody writes sequences
        from minigrad.nn import generation

        return getattr(generation, name)
    if name in ("Attention", "attention_maps"):
        from minigrad.nn import maps

        return getattr(maps, name)
    if name.startswith("__"):  # asked for by Python's machinery
        raise AttributeError(f"module 'minigrad.nn' has no attribute '{name}'")
    from minigrad.elsewhere import missing

    raise AttributeError(missing("minigrad.nn", name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
