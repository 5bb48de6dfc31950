"""The encoder-decoder transformer (Vaswani et al., arXiv 1706.03762) with normalisation first.

Letters: B batch, S source length, T target length, D = d_model, V vocabulary.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

from minigrad import ops
from minigrad.autodiff import Tensor
from minigrad.backend import xp
from minigrad.errors import ShapeError
from minigrad.nn import init
from minigrad.nn.attention import MultiheadAttention
from minigrad.nn.dropout import Dropout
from minigrad.nn.embedding import Embedding, as_ids
from minigrad.nn.linear import Linear
from minigrad.nn.module import Module
from minigrad.nn.norm import LayerNorm
from minigrad.nn.positions import RotaryPositions, SinusoidalPositions

ACTIVATIONS = {"relu": ops.relu, "gelu": ops.gelu}


class _Layer(Module):
    """What encoder and decoder layers share: residual branches and the feed-forward network.

    Raises:
        ValueError: there is no such `activation`.
    """

    def __init__(self, d_model, dim_feedforward, dropout, activation, norm_first, dtype, bias):
        if not callable(activation) and activation not in ACTIVATIONS:
            raise ValueError(
                f"{type(self).__name__}: activation must be one of {sorted(ACTIVATIONS)} or a "
                f"function, got {activation!r}"
            )
        self.activation, self.norm_first = activation, norm_first
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype)
        self.dropout = Dropout(dropout)

    def _feed_forward(self, x):
        """Position by position: (B, T, D) -> (B, T, dim_feedforward) -> (B, T, D)."""
        activation = ACTIVATIONS.get(self.activation, self.activation)
        return self.linear2(self.dropout(activation(self.linear1(x))))

    def _residual(self, x, norm, branch):
        """`x` plus a branch of it; the norm stands before the branch, or after the sum."""
        if self.norm_first:
            return x + self.dropout(branch(norm(x)))
        return norm(x + self.dropout(branch(x)))


class TransformerEncoderLayer(_Layer):
    """Self-attention, then a feed-forward network, each normalised first and added to its input.

    Args:
        d_model: D.
        nhead: heads of the attention.
        dim_feedforward: features between the two linear layers.
        dropout: in training, on attention weights, on the inner features and on both branches.
        activation: 'relu', 'gelu' or a function.
        norm_first: Pre-LN (Xiong et al., arXiv 2002.04745), our default; False for Post-LN, which
            is PyTorch's.
        layer_norm_eps: of the norms.
        bias: whether linear layers and norms have one.
        batch_first: False for (S, B, D) in place of (B, S, D), as PyTorch has it by default.
        rotary: what turns queries and keys of the self-attention by their positions.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable = "relu",
        norm_first: bool = True,
        dtype: str = "float32",
        *,
        layer_norm_eps: float = 1e-5,
        bias: bool = True,
        batch_first: bool = True,
        rotary: RotaryPositions | None = None,
    ):
        shared: dict[str, Any] = {"bias": bias, "dtype": dtype, "batch_first": batch_first}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, rotary=rotary, **shared)
        super().__init__(d_model, dim_feedforward, dropout, activation, norm_first, dtype, bias)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)

    def forward(
        self,
        src: Tensor,
        src_key_padding_mask: Any = None,
        src_mask: Any = None,
        is_causal: bool = False,
    ) -> Tensor:
        """src: (B, S, D), mask (B, S) True at padding -> (B, S, D).

        Args:
            src_mask: (S, S), True where a position must not see another; or floats to add.
            is_causal: position i sees 0..i only.
        """
        x = self._residual(
            src,
            self.norm1,
            lambda x: self.self_attn(x, x, x, src_key_padding_mask, src_mask, is_causal),
        )
        return self._residual(x, self.norm2, self._feed_forward)


class TransformerDecoderLayer(_Layer):
    """Causal self-attention, attention to the encoder's output, then a feed-forward network.

    Arguments are those of `TransformerEncoderLayer`.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable = "relu",
        norm_first: bool = True,
        dtype: str = "float32",
        *,
        layer_norm_eps: float = 1e-5,
        bias: bool = True,
        batch_first: bool = True,
        rotary: RotaryPositions | None = None,
    ):
        shared: dict[str, Any] = {"bias": bias, "dtype": dtype, "batch_first": batch_first}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, rotary=rotary, **shared)
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, **shared)
        super().__init__(d_model, dim_feedforward, dropout, activation, norm_first, dtype, bias)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm3 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_is_causal: bool = True,
    ) -> Tensor:
        """tgt: (B, T, D), memory: (B, S, D), masks True at padding -> (B, T, D).

        Args:
            tgt_mask, memory_mask: (T, T) and (T, S), True where a position must not see another;
                or floats to add.
            tgt_is_causal: position i of the target sees 0..i only.
        """
        x = self._residual(
            tgt,
            self.norm1,
            lambda x: self.self_attn(x, x, x, tgt_key_padding_mask, tgt_mask, tgt_is_causal),
        )
        x = self._residual(
            x,
            self.norm2,
            lambda x: self.multihead_attn(x, memory, memory, memory_key_padding_mask, memory_mask),
        )
        return self._residual(x, self.norm3, self._feed_forward)


class _Stack(Module):
    """Copies of one layer, one after the other, and perhaps a norm."""

    def __init__(self, layer: Module, num_layers: int, norm: Module | None = None):
        self.layers = [copy.deepcopy(layer) for _ in range(num_layers)]
        self.num_layers, self.norm = num_layers, norm

    def _through(self, x: Tensor, *others: Any, **masks: Any) -> Tensor:
        for layer in self.layers:
            x = layer(x, *others, **masks)
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """Encoder layers, one after the other, as PyTorch has it: without embedding and positions.

    Args:
        encoder_layer: what `num_layers` copies are made of, with the same first values.
        num_layers: how many.
        norm: of the result; or None.
        enable_nested_tensor, mask_check: for code written for PyTorch; they change nothing.
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ):
        super().__init__(encoder_layer, num_layers, norm)

    def forward(
        self,
        src: Tensor,
        mask: Any = None,
        src_key_padding_mask: Any = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """src: as for the layers -> the same shape; masks True where nothing is to be seen."""
        return self._through(
            src, src_mask=mask, src_key_padding_mask=src_key_padding_mask,
            is_causal=bool(is_causal),
        )  # fmt: skip


class TransformerDecoder(_Stack):
    """Decoder layers, one after the other, as PyTorch has it: without embedding and positions.

    Args:
        decoder_layer: what `num_layers` copies are made of, with the same first values.
        num_layers: how many.
        norm: of the result; or None.
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None):
        super().__init__(decoder_layer, num_layers, norm)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool | None = None,
    ) -> Tensor:
        """tgt, memory: as for the layers -> the shape of tgt; masks True where nothing is seen.

        As in PyTorch a target sees all of itself unless a mask or `tgt_is_causal` forbids it.
        """
        return self._through(
            tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=bool(tgt_is_causal),
        )  # fmt: skip


class Transformer(Module):
    """Encoder and decoder as PyTorch has them, with its arguments and defaults.

    That is Post-LN and (T, B, D); there are no embedding, no positions and no projection to a
    vocabulary, which `Seq2Seq` has, and nothing is causal without a mask.

    Args:
        custom_encoder, custom_decoder: what is taken in place of `TransformerEncoder` and
            `TransformerDecoder` with a last norm.

    The others as for `TransformerEncoderLayer`.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable = "relu",
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        dtype: str = "float32",
    ):
        layer: dict[str, Any] = {
            "dim_feedforward": dim_feedforward, "dropout": dropout, "activation": activation,
            "norm_first": norm_first, "dtype": dtype, "layer_norm_eps": layer_norm_eps,
            "bias": bias, "batch_first": batch_first,
        }  # fmt: skip

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)

        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(d_model, nhead, **layer), num_encoder_layers, norm()
        )
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(d_model, nhead, **layer), num_decoder_layers, norm()
        )
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first
        for p in self.parameters():
            if p.ndim > 1:
                init.xavier_uniform_(p)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Any = None,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        src_key_padding_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
    ) -> Tensor:
        """src: (S, B, D), tgt: (T, B, D), or B first with `batch_first` -> the shape of tgt."""
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(
            tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
            tgt_is_causal,
        )  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(sz: int, dtype: str = "float32") -> Tensor:
        """(sz, sz): minus infinity above the diagonal, which is to be added to scores, 0 below."""
        return Tensor(xp().triu(xp().full((sz, sz), -math.inf, dtype), 1))


class Encoder(Module):
    """Embedding, positions, encoder layers, and the last norm."""

    def __init__(
        self, vocab_size: int, d_model: int, num_layers: int, padding_idx: int, **layer: Any
    ):
        dtype = layer.get("dtype", "float32")
        self.embed = Embedding(vocab_size, d_model, padding_idx, dtype=dtype)
        self.positions = SinusoidalPositions()
        self.dropout = Dropout(layer["dropout"])
        self.layers = [TransformerEncoderLayer(d_model, **layer) for _ in range(num_layers)]
        self.norm = LayerNorm(d_model, dtype=dtype)

    def forward(self, src: Tensor, src_padding: Any = None) -> Tensor:
        """src: (B, S) ids, src_padding (B, S) True at padding -> (B, S, D)."""
        x = self.dropout(self.positions(self.embed(src)))
        for layer in self.layers:
            x = layer(x, src_padding)
        return self.norm(x)


class Decoder(Module):
    """Embedding, positions, decoder layers, the last norm, and the projection to the vocabulary.

    Args:
        tie_embeddings: whether the projection's weight is that of the embedding (Press and Wolf,
            arXiv 1608.05859). The embedding is then as small at first as the projection, and
            padding, at which nobody looks, has a vector like any other id.
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        num_layers: int,
        padding_idx: int,
        tie_embeddings: bool = False,
        **layer: Any,
    ):
        dtype = layer.get("dtype", "float32")
        padding = None if tie_embeddings else padding_idx
        self.embed = Embedding(vocab_size, d_model, padding, dtype=dtype)
        self.positions = SinusoidalPositions()
        self.dropout = Dropout(layer["dropout"])
        self.layers = [TransformerDecoderLayer(d_model, **layer) for _ in range(num_layers)]
        self.norm = LayerNorm(d_model, dtype=dtype)
        self.output_projection = Linear(d_model, vocab_size, dtype=dtype)
        # Small logits: at first every word is about equally probable.
        self.output_projection.weight = init.glorot_uniform(vocab_size, d_model, dtype=dtype)
        if tie_embeddings:
            self.embed.weight = self.output_projection.weight

    def forward(self, tgt: Tensor, memory: Tensor, src_padding: Any = None) -> Tensor:
        """tgt: (B, T) ids, memory: (B, S, D) -> logits (B, T, V).

        Padding stands at the end of a target, where causal attention does not look back at it.
        """
        x = self.dropout(self.positions(self.embed(tgt)))
        for layer in self.layers:
            x = layer(x, memory, memory_key_padding_mask=src_padding)
        return self.output_projection(self.norm(x))


class Seq2Seq(Module):
    """From source ids and the target so far to the logits of each next target id.

    Args:
        vocab_size: of the source; of source and target together if nothing else is said.
        d_model: D.
        nhead: attention heads.
        dim_feedforward: inner features of the feed-forward networks.
        num_encoder_layers, num_decoder_layers: depth.
        dropout: in training.
        padding_idx: the id of padding; its keys are not seen, its embedding is zero.
        activation, norm_first: as for `TransformerEncoderLayer`.
        tgt_vocab_size: V, of the target; that of the source by default.
        tie_embeddings: as for `Decoder`.
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        nhead: int,
        dim_feedforward: int,
        num_encoder_layers: int,
        num_decoder_layers: int,
        dropout: float = 0.0,
        padding_idx: int = 0,
        activation: str = "relu",
        norm_first: bool = True,
        dtype: str = "float32",
        tgt_vocab_size: int | None = None,
        tie_embeddings: bool = False,
    ):
        layer = {
            "nhead": nhead,
            "dim_feedforward": dim_feedforward,
            "dropout": dropout,
            "activation": activation,
            "norm_first": norm_first,
            "dtype": dtype,
        }
        self.padding_idx = padding_idx
        self.encoder = Encoder(vocab_size, d_model, num_encoder_layers, padding_idx, **layer)
        self.decoder = Decoder(
            vocab_size if tgt_vocab_size is None else tgt_vocab_size,
            d_model,
            num_decoder_layers,
            padding_idx,
            tie_embeddings,
            **layer,
        )

    def encode(self, src: Tensor) -> tuple[Tensor, Tensor]:
        """src: (B, S) ids -> memory (B, S, D) and the mask of its padding (B, S)."""
        src = as_ids(src)
        padding = src == self.padding_idx
        return self.encoder(src, padding), padding

    def decode(self, tgt: Tensor, memory: Tensor, src_padding: Any = None) -> Tensor:
        """tgt: (B, T) ids so far, from the start symbol on -> logits (B, T, V)."""
        return self.decoder(tgt, memory, src_padding)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        """src: (B, S) ids, tgt: (B, T) ids, shifted right by the start symbol -> (B, T, V).

        Raises:
            ShapeError: they are not two batches of as many rows.
        """
        src, tgt = as_ids(src), as_ids(tgt)
        if src.ndim != 2 or tgt.ndim != 2 or len(src) != len(tgt):
            raise ShapeError(
                f"Seq2Seq: src must be (B, S) and tgt (B, T), got {src.shape} and {tgt.shape}"
            )
        memory, padding = self.encode(src)
        return self.decode(tgt, memory, padding)
