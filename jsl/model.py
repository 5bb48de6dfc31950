"""The translator: one transformer per group, over one vocabulary."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jsl.batching import Batch
from jsl.config import SHARED, SLOTS, ModelConfig
from jsl.errors import UsageError
from jsl.messages import listed, say
from jsl.vocabulary import BOUNDARY, PAD, Vocabulary
from minigrad import Tensor, concatenate, cross_entropy, nn, random, zeros
from minigrad.backend import to_device


class DecoderOnly(nn.Module):
    """The baseline of phase 15a: one stack that sees a whole sentence, and says all tags at once.

    `SLOTS` places, with the start mark in each, stand before the sentence, so that how long it is
    filled up changes nothing; what the stack makes of them are the tags and the end.

    Args:
        vocab_size, tgt_vocab_size: ids of source and target.
        layer: as for `nn.Encoder`.
    """

    def __init__(
        self, vocab_size: int, tgt_vocab_size: int, d_model: int, num_layers: int, **layer: Any
    ):
        self.padding_idx = PAD
        self.encoder = nn.Encoder(vocab_size, d_model, num_layers, PAD, **layer)
        self.output_projection = nn.Linear(d_model, tgt_vocab_size)

    def forward(self, src: Any, tgt: Any = None) -> Tensor:
        """src: (B, S) ids -> logits (B, SLOTS, V); `tgt` is what other models take, and unused."""
        src = src if isinstance(src, Tensor) else Tensor(src)
        slots = zeros((src.shape[0], SLOTS), dtype=src.dtype) + BOUNDARY
        ids = concatenate([slots, src], axis=1)
        return self.output_projection(self.encoder(ids, ids == PAD)[:, :SLOTS])


def build_model(
    config: ModelConfig, vocabulary: Vocabulary, groups: Sequence[str], seed: int
) -> nn.Grouped:
    """A transformer for each group.

    A group's initial weights depend on `seed` and on its name only, not on the other groups; what
    is shared is that of the first.

    Raises:
        UsageError: several groups share everything, so that they would be one.
    """
    if len(groups) > 1 and set(config.share) == set(SHARED):
        raise UsageError(say("config.all_shared", groups=listed(groups)))
    sizes: dict[str, Any] = {
        "d_model": config.d_model,
        "nhead": config.n_heads,
        "dim_feedforward": config.d_ff,
        "dropout": config.dropout,
        "norm_first": config.layer_norm == "pre",
    }
    models = dict[str, Any]()
    for group in groups:
        with random.stream(random.fold(random.key(seed), "weights", group)):
            if config.kind == "decoder-only":
                models[group] = DecoderOnly(
                    vocabulary.source_size,
                    vocabulary.target_size,
                    num_layers=config.n_layers,
                    activation="relu",
                    **sizes,
                )
            else:
                models[group] = nn.Seq2Seq(
                    vocab_size=vocabulary.source_size,
                    num_encoder_layers=config.n_layers,
                    num_decoder_layers=config.n_layers,
                    padding_idx=PAD,
                    tgt_vocab_size=vocabulary.target_size,
                    tie_embeddings=config.tie_embeddings,
                    **sizes,
                )
        _share(models[groups[0]], models[group], config)
    example = to_device(np.array([[BOUNDARY]]))
    return nn.Grouped(models, example=(example, example))


def _share(first: Any, model: Any, config: ModelConfig) -> None:
    """Give a model what it has in common with the first."""
    halves = [half for half in ("encoder", "decoder") if hasattr(model, half)]
    for half in halves:
        ours, its = getattr(first, half), getattr(model, half)
        if half in config.share:
            its.layers, its.norm = ours.layers, ours.norm
        if "embeddings" in config.share:
            its.embed = ours.embed
    if "decoder" in config.share:
        model.decoder.output_projection.bias = first.decoder.output_projection.bias
    if ("embeddings" if config.tie_embeddings else "decoder") in config.share:
        model.decoder.output_projection.weight = first.decoder.output_projection.weight


def shapes_of(
    config: ModelConfig, source_size: int, target_size: int, groups: Sequence[str]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the weights of `build_model`, one after the other, without building it.

    So that sizes which a file claims can be compared with the weights that it has. What is shared
    or tied is there once, under the first of its names.
    """
    d, inner = (config.d_model,), (config.d_ff,)

    def linear(name: str, ins: tuple[int, ...], outs: tuple[int, ...]) -> Iterator[Any]:
        yield f"{name}.weight", outs + ins
        yield f"{name}.bias", outs

    def norm(name: str) -> Iterator[Any]:
        yield f"{name}.weight", d
        yield f"{name}.bias", d

    halves = [("encoder", ["self"], source_size), ("decoder", ["self", "multihead"], target_size)]
    for group in groups:
        known = set(config.share) if group != groups[0] else set()  # what the first has for all
        for half, attentions, size in halves[:1] if config.kind == "decoder-only" else halves:
            start = f"models.{group}.{half}"
            if "embeddings" not in known:
                yield f"{start}.embed.weight", (size, *d)
            if half in known:
                continue
            for i in range(config.n_layers):
                layer = f"{start}.layers.{i}"
                for attention in attentions:
                    for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                        yield from linear(f"{layer}.{attention}_attn.{part}", d, d)
                yield from linear(f"{layer}.linear1", d, inner)
                yield from linear(f"{layer}.linear2", inner, d)
                for n in range(len(attentions) + 1):
                    yield from norm(f"{layer}.norm{n + 1}")
            yield from norm(f"{start}.norm")
        if "decoder" not in known:
            half = "" if config.kind == "decoder-only" else ".decoder"
            weight, bias = linear(f"models.{group}{half}.output_projection", d, (target_size,))
            yield from [bias] if config.tie_embeddings else [weight, bias]


def arrays_of(model: nn.Grouped, batch: Batch) -> tuple[np.ndarray, ...]:
    """A batch as `loss_of` takes it: the groups by number, src, tgt_in, tgt_out."""
    ids = model.group_ids(batch.groups)
    return ids, *map(to_device, (batch.src, batch.tgt_in, batch.tgt_out))


def loss_of(
    model: nn.Grouped,
    groups: Any,
    src: Any,
    tgt_in: Any,
    tgt_out: Any,
    weights: Any = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """The cross entropy per target token of a batch, all groups in one mean.

    Args:
        weights: (B, T) of the tokens, whose sum is 1, in place of a mean; see `group_weights`.
        label_smoothing: share of a target's weight that is spread over all ids.
    """
    logits = model(groups, src, tgt_in)
    options = {"ignore_index": PAD, "label_smoothing": label_smoothing}
    if weights is None:
        return cross_entropy(logits, tgt_out, **options)
    return (cross_entropy(logits, tgt_out, **options, reduction="none") * weights).sum()


def group_weights(batch: Batch) -> np.ndarray:
    """(B, T) weights with which every group of a batch has the same say, and in it every token."""
    counted = batch.tgt_out != PAD
    groups = np.unique(batch.groups, return_inverse=True)[1]
    tokens = np.bincount(groups, counted.sum(axis=1))
    present = np.count_nonzero(tokens)
    return (counted / (present * np.maximum(tokens, 1))[groups][:, None]).astype(np.float32)
