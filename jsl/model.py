"""The translator: one complete transformer per group, over one vocabulary."""

from collections.abc import Sequence
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


def arrays_of(model: nn.Grouped, batch: Batch) -> tuple[np.ndarray, ...]:
    """A batch as `loss_of` takes it: the groups by number, src, tgt_in, tgt_out."""
    ids = model.group_ids(batch.groups)
    return ids, *map(to_device, (batch.src, batch.tgt_in, batch.tgt_out))


def loss_of(model: nn.Grouped, groups: Any, src: Any, tgt_in: Any, tgt_out: Any) -> Tensor:
    """The cross entropy per target token of a batch, all groups in one mean."""
    logits = model(groups, src, tgt_in)
    return cross_entropy(logits, tgt_out, ignore_index=PAD)
