"""Greedy decoding in PyTorch with kept keys and values."""

import math

import torch
from torch import nn
from torch.nn import functional as F


class Decoder:
    """The weights of a `torch_seq2seq.Seq2Seq`, for decoding to a given length.

    Projections of queries, keys and values are one product; keys and values of the source are
    computed once; the cache is allocated once per call.
    """

    def __init__(self, model: nn.Module, start_id: int, banned: list[int], length: int):
        self.model, self.start_id, self.length = model, start_id, length
        self.heads = model.encoder.layers[0].self_attn.num_heads
        self.ban = torch.zeros(model.decoder.output_projection.out_features)
        self.ban[banned] = -math.inf

    @torch.inference_mode()
    def greedy(self, src: torch.Tensor) -> torch.Tensor:
        """(B, S) ids without padding -> (B, length) ids."""
        memory = self.encode(src)
        layers, decoder, B = self.model.decoder.layers, self.model.decoder, len(src)
        d = memory.shape[-1]
        shape = (len(layers), 2, B, self.heads, self.length, d // self.heads)
        past = torch.empty(shape)
        cross = []
        for layer in layers:
            w, b = layer.multihead_attn.in_proj_weight[d:], layer.multihead_attn.in_proj_bias[d:]
            cross.append([self.split(x) for x in F.linear(memory, w, b).chunk(2, dim=-1)])
        last = torch.full((B,), self.start_id)
        found = torch.empty((B, self.length), dtype=torch.long)
        for t in range(self.length):
            x = (decoder.embed.weight[last] + decoder.positions[t])[:, None]
            for i, layer in enumerate(layers):
                q, k, v = self.project(layer.self_attn, layer.norm1(x))
                past[i, 0, :, :, t], past[i, 1, :, :, t] = k[:, :, 0], v[:, :, 0]
                keys, values = past[i, 0, :, :, : t + 1], past[i, 1, :, :, : t + 1]
                x = x + self.attend(layer.self_attn, q, keys, values)
                attention = layer.multihead_attn
                h = layer.norm2(x)
                q = F.linear(h, attention.in_proj_weight[:d], attention.in_proj_bias[:d])
                x = x + self.attend(attention, self.split(q), *cross[i])
                x = x + layer.linear2(F.relu(layer.linear1(layer.norm3(x))))
            scores = decoder.output_projection(decoder.norm(x[:, 0])) + self.ban
            last = found[:, t] = scores.argmax(dim=-1)
        return found

    def encode(self, src: torch.Tensor) -> torch.Tensor:
        x = self.model.encoder.start(src)
        for layer in self.model.encoder.layers:
            x = x + self.attend(layer.self_attn, *self.project(layer.self_attn, layer.norm1(x)))
            x = x + layer.linear2(F.relu(layer.linear1(layer.norm2(x))))
        return self.model.encoder.norm(x)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, D) -> (B, heads, T, D / heads)"""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def project(self, attention: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
        parts = F.linear(x, attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)
        return [self.split(part) for part in parts]

    def attend(self, attention: nn.Module, q, k, v) -> torch.Tensor:
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return attention.out_proj(y)
