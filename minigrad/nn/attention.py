"""Multi-head attention."""

import math
from typing import Any

import numpy as np

from minigrad import ops, random
from minigrad.arguments import count
from minigrad.autodiff import Tensor
from minigrad.errors import DtypeError, ShapeError, StateError
from minigrad.nn import init
from minigrad.nn.linear import Linear
from minigrad.nn.module import Module
from minigrad.nn.positions import RotaryPositions


class MultiheadAttention(Module):
    """Attention over several heads at once (Vaswani et al., arXiv 1706.03762); batch first.

    Self-attention is `attention(x, x, x)`, cross-attention `attention(x, memory, memory)`. Masks
    mean what they mean in PyTorch's layer of this name: True is *not* to be seen. A query that may
    see nothing gets zeros (before the output projection), and no gradient flows through it.

    Its weights load from PyTorch's packed layout too (`in_proj_weight`, `in_proj_bias`), and
    `state_dict(layout="torch")` writes it.

    Args:
        embed_dim: features of queries and of the result, a multiple of `num_heads`.
        num_heads: H.
        dropout: the probability that an attention weight is dropped in training.
        bias: whether the four projections have one.
        kdim, vdim: features of keys and values, `embed_dim` by default.
        rotary: what turns queries and keys by their positions, with the features of a head.
        batch_first: False for (T, B, features) in place of (B, T, features), as PyTorch has it by
            default.

    Raises:
        ValueError: `dropout` is no probability.
        ShapeError: `embed_dim` is no multiple of `num_heads`, or `rotary` has other features than a
            head.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        dtype: str = "float32",
        *,
        rotary: RotaryPositions | None = None,
        batch_first: bool = True,
    ):
        if not 0 <= dropout <= 1:
            raise ValueError(f"MultiheadAttention: dropout must be in [0, 1], got {dropout}")
        embed_dim = count("MultiheadAttention", "embed_dim", embed_dim)
        num_heads = count("MultiheadAttention", "num_heads", num_heads)
        if embed_dim % num_heads:
            raise ShapeError(
                f"MultiheadAttention: embed_dim must be a multiple of num_heads, got {embed_dim} "
                f"and {num_heads}"
            )
        kdim, vdim = kdim or embed_dim, vdim or embed_dim
        packed = kdim == vdim == embed_dim
        self.num_heads, self.dropout = num_heads, dropout
        if rotary is not None and rotary.features != embed_dim // self.num_heads:
            raise ShapeError(
                f"MultiheadAttention: rotary must have the {embed_dim // self.num_heads} features "
                f"of a head, it has {rotary.features}"
            )
        self.rotary, self.batch_first = rotary, batch_first
        self.q_proj = _projection(embed_dim, embed_dim, packed, bias, dtype)
        self.k_proj = _projection(kdim, embed_dim, packed, bias, dtype)
        self.v_proj = _projection(vdim, embed_dim, packed, bias, dtype)
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype)
        if self.out_proj.bias is not None:
            self.out_proj.bias.data[...] = 0

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Any = None,
        attn_mask: Any = None,
        is_causal: bool = False,
    ) -> Tensor:
        """What each query gathers from the values.

        Args:
            query: (B, T, embed_dim).
            key: (B, S, kdim).
            value: (B, S, vdim).
            key_padding_mask: (B, S) booleans, True at keys that are padding.
            attn_mask: (T, S), (B, T, S) or (B, H, T, S); booleans, True where a query must not see
                a key, or floats that are added to the scores.
            is_causal: query i sees the keys 0..i only.

        Returns:
            (B, T, embed_dim).
        """
        if not self.batch_first:
            query, key, value = (ops.swapaxes(x, axis1=0, axis2=1) for x in (query, key, value))
        mask = _seen(query, key, key_padding_mask, attn_mask)
        p = self.dropout if self.training else 0.0
        q, k = self.q_proj(query), self.k_proj(key)
        if self.rotary is not None:
            q, k = self.rotary(q), self.rotary(k)
        y = ops.attention(
            q,
            k,
            self.v_proj(value),
            mask,
            random.next_key() if p else None,
            heads=self.num_heads,
            causal=is_causal,
            dropout=p,
        )
        y = self.out_proj(y)
        return y if self.batch_first else ops.swapaxes(y, axis1=0, axis2=1)

    def extra_repr(self) -> str:
        return f"num_heads={self.num_heads}, dropout={self.dropout}"

    def pack_state(self, state: dict[str, np.ndarray], prefix: str) -> None:
        """Put the three projections into PyTorch's packed entries of `state`, in their place.

        Raises:
            StateError: one of them is not there, as another module has its name.
        """
        names = [f"{prefix}{name}_proj" for name in "qkv"]
        kinds = ("weight",) if self.q_proj.bias is None else ("weight", "bias")
        if any(f"{name}.{kind}" not in state for name in names for kind in kinds):
            raise StateError(
                f"state_dict: {prefix}q_proj, k_proj and v_proj cannot be packed for PyTorch, as "
                f"another module has the name of one; rename an attribute or key"
            )
        weights = [state[f"{name}.weight"] for name in names]
        if len({w.shape for w in weights}) == 1:
            packed = {f"{prefix}in_proj_weight": np.concatenate(weights)}
        else:  # PyTorch keeps them apart if keys or values have features of their own
            packed = {f"{name}_weight": w for name, w in zip(names, weights, strict=True)}
        if self.q_proj.bias is not None:
            biases = [state[f"{name}.bias"] for name in names]
            packed[f"{prefix}in_proj_bias"] = np.concatenate(biases)
        entries = list(state.items())
        state.clear()  # so that what is packed stands where its parts stood
        for key, value in entries:
            if key == f"{names[0]}.weight":
                state.update(packed)
            elif key.rpartition(".")[0] not in names:
                state[key] = value

    def unpack_state(self, state: dict[str, Any], prefix: str) -> None:
        n = len(self.q_proj.weight.data)
        for kind in ("weight", "bias"):
            packed: Any = state.get(f"{prefix}in_proj_{kind}")
            ours = [f"{prefix}{name}_proj.{kind}" for name in "qkv"]
            # What stands in both layouts stays as it is, to be reported.
            if getattr(packed, "shape", ())[:1] == (3 * n,) and state.keys().isdisjoint(ours):
                del state[f"{prefix}in_proj_{kind}"]
                for i, name in enumerate(ours):
                    state[name] = packed[i * n : (i + 1) * n]
        for name in "qkv":
            own, theirs = f"{prefix}{name}_proj.weight", f"{prefix}{name}_proj_weight"
            if theirs in state and own not in state:
                state[own] = state.pop(theirs)


def _projection(n_in: int, n_out: int, packed: bool, bias: bool, dtype: str) -> Linear:
    """A projection as PyTorch initialises it: Glorot-uniform, as a third of a `packed` matrix."""
    layer = Linear(n_in, n_out, bias, dtype)
    layer.weight = init.glorot_uniform(n_out, n_in, 3 * n_out if packed else n_out, dtype)
    if bias:
        layer.bias = init.constant((n_out,), 0.0, dtype)
    return layer


def _seen(query: Tensor, key: Tensor, padding: Any, attn_mask: Any) -> Any:
    """The masks of a layer, where True hides, as the mask of the op, where True shows."""
    B, T = query.shape[:2]
    S = key.shape[1]
    seen = None
    if padding is not None:
        if padding.shape != (B, S) or padding.dtype != bool:
            raise ShapeError(
                f"MultiheadAttention: key_padding_mask must be ({B}, {S}) booleans, got "
                f"{padding.shape} {padding.dtype}"
            )
        seen = ops.logical_not(padding)[:, None, None, :]
    if attn_mask is None:
        return seen
    if attn_mask.ndim == 3:
        attn_mask = attn_mask[:, None]
    if attn_mask.shape[-2:] != (T, S) or attn_mask.ndim not in (2, 4):
        raise ShapeError(
            f"MultiheadAttention: attn_mask must be ({T}, {S}), or with (B,) or (B, H) before, got "
            f"{attn_mask.shape}"
        )
    if attn_mask.dtype == bool:
        shown = ops.logical_not(attn_mask)
        return shown if seen is None else ops.logical_and(seen, shown)
    if attn_mask.dtype.kind != "f":
        raise DtypeError(
            f"MultiheadAttention: attn_mask must be booleans or floats, got {attn_mask.dtype}"
        )
    attn_mask = ops.astype(attn_mask, dtype=query.dtype)  # a float64 mask must not lift float32
    return attn_mask if seen is None else ops.where(seen, attn_mask, -math.inf)
