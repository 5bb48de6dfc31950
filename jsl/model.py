"""The translator: one complete transformer per group, over one vocabulary."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jsl.batching import Batch
from jsl.config import ModelConfig
from jsl.vocabulary import BOUNDARY, PAD, Vocabulary
from minigrad import Tensor, cross_entropy, nn, random
from minigrad.backend import to_device


def build_model(
    config: ModelConfig, vocabulary: Vocabulary, groups: Sequence[str], seed: int
) -> nn.Grouped:
    """A `nn.Seq2Seq` for each group.

    A group's initial weights depend on `seed` and on its name only, not on the other groups.
    """
    models = {}
    for group in groups:
        with random.stream(random.fold(random.key(seed), "weights", group)):
            models[group] = nn.Seq2Seq(
                vocab_size=vocabulary.size,
                d_model=config.d_model,
                nhead=config.n_heads,
                dim_feedforward=config.d_ff,
                num_encoder_layers=config.n_layers,
                num_decoder_layers=config.n_layers,
                padding_idx=PAD,
            )
    example = to_device(np.array([[BOUNDARY]]))
    return nn.Grouped(models, example=(example, example))


def shapes_of(
    config: ModelConfig, vocabulary_size: int, groups: Sequence[str]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the weights of `build_model`, one after the other, without building it.

    So that sizes which a file claims can be compared with the weights that it has.
    """
    d, inner = (config.d_model,), (config.d_ff,)

    def linear(name: str, ins: tuple[int, ...], outs: tuple[int, ...]) -> Iterator[Any]:
        yield f"{name}.weight", outs + ins
        yield f"{name}.bias", outs

    def norm(name: str) -> Iterator[Any]:
        yield f"{name}.weight", d
        yield f"{name}.bias", d

    for group in groups:
        for half, attentions in (("encoder", ["self"]), ("decoder", ["self", "multihead"])):
            start = f"models.{group}.{half}"
            yield f"{start}.embed.weight", (vocabulary_size, *d)
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
        yield from linear(f"models.{group}.decoder.output_projection", d, (vocabulary_size,))


def arrays_of(model: nn.Grouped, batch: Batch) -> tuple[np.ndarray, ...]:
    """A batch as `loss_of` takes it: the groups by number, src, tgt_in, tgt_out."""
    ids = model.group_ids(batch.groups)
    return ids, *map(to_device, (batch.src, batch.tgt_in, batch.tgt_out))


def loss_of(model: nn.Grouped, groups: Any, src: Any, tgt_in: Any, tgt_out: Any) -> Tensor:
    """The cross entropy per target token of a batch, all groups in one mean."""
    logits = model(groups, src, tgt_in)
    return cross_entropy(logits, tgt_out, ignore_index=PAD)
