"""From source ids to tags."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jsl.config import SLOTS
from jsl.errors import UsageError
from jsl.messages import say
from jsl.vocabulary import BOUNDARY, Vocabulary
from minigrad import nn, no_grad
from minigrad.backend import to_device, to_numpy


def generator(
    model: Any, vocabulary: Vocabulary, max_seq_len: int, int8: bool = False
) -> "nn.Generator | Slots":
    """What finds tags with the weights of `model`: tag after tag, or all at once.

    Args:
        max_seq_len: of a sequence with its end mark.
        int8: whether weights are rounded to bytes.

    Raises:
        UsageError: the model says all tags at once, which is not done with rounded weights.
    """
    if not isinstance(model, nn.Seq2Seq):
        if int8:
            raise UsageError(say("decode.slots"))
        return Slots(model, vocabulary)
    return nn.Generator(
        model,
        start_id=BOUNDARY,
        end_id=BOUNDARY,
        allowed=vocabulary.output_ids,
        max_length=max_seq_len - 1,
        weights="int8" if int8 else "float32",
    )


class Slots:
    """The tags of a `jsl.model.DecoderOnly`: in each place the most probable one, up to the end.

    It has the methods of `nn.Generator` that a translation needs.
    """

    def __init__(self, model: Any, vocabulary: Vocabulary):
        self.model, self.allowed = model, np.array(vocabulary.output_ids)

    def greedy(self, src: np.ndarray) -> list[list[int]]:
        """src: (B, S) ids -> the ids of each row, its end left out."""
        return [found[0].ids for found in self.search(src)]

    def search(
        self,
        src: np.ndarray,
        beam: int = 1,
        length_penalty: float = 1.0,
        nbest: int = 1,
        attention: bool = False,
    ) -> list[Sequence[nn.Hypothesis]]:
        """The one hypothesis for each row; see `nn.Generator.search`.

        Raises:
            UsageError: several sequences are to be kept, or attention is asked for.
        """
        if beam > 1 or attention:
            raise UsageError(say("decode.slots"))
        with no_grad():
            logits = to_numpy(self.model(to_device(src)).data)[:, :, self.allowed]
        logs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
        found: list[Sequence[nn.Hypothesis]] = []
        for row in logs:
            best = row.argmax(axis=-1)  # the smaller id of two that are equal
            ids = self.allowed[best]
            length = int(np.argmax(ids == BOUNDARY)) if BOUNDARY in ids else SLOTS
            said = min(length + 1, SLOTS)
            probabilities = [float(row[i, best[i]]) for i in range(said)]
            score = sum(probabilities) / said**length_penalty
            found.append([nn.Hypothesis(ids[:length].tolist(), score, probabilities, None)])
        return found
