"""Layers, with PyTorch's names, arguments and parameter layouts."""

from typing import TYPE_CHECKING, Any

from minigrad.nn import functional, init
from minigrad.nn.attention import MultiheadAttention
from minigrad.nn.dropout import Dropout
from minigrad.nn.embedding import Embedding, SinusoidalPositions, sinusoids
from minigrad.nn.group import Grouped
from minigrad.nn.linear import Linear
from minigrad.nn.module import Module, Parameter
from minigrad.nn.norm import LayerNorm
from minigrad.nn.transformer import (
    Decoder,
    Encoder,
    Seq2Seq,
    TransformerDecoderLayer,
    TransformerEncoderLayer,
)

__all__ = [
    "Decoder", "Dropout", "Embedding", "Encoder", "Generator", "Grouped", "LayerNorm", "Linear",
    "Module", "MultiheadAttention", "Parameter", "Seq2Seq", "SinusoidalPositions",
    "TransformerDecoderLayer", "TransformerEncoderLayer", "functional", "init", "sinusoids",
]  # fmt: skip

if TYPE_CHECKING:
    from minigrad.nn.generation import Generator


def __getattr__(name: str) -> Any:
    if name == "Generator":  # loaded when asked for: not everybody writes sequences
        from minigrad.nn.generation import Generator

        return Generator
    raise AttributeError(f"module 'minigrad.nn' has no attribute '{name}'")
