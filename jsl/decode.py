"""From source ids to tags, one at a time."""

from jsl.vocabulary import BOUNDARY, Vocabulary
from minigrad import nn


def generator(
    model: nn.Seq2Seq, vocabulary: Vocabulary, max_seq_len: int, int8: bool = False
) -> nn.Generator:
    """What finds tags with the weights of `model`, tag after tag.

    Args:
        max_seq_len: of a sequence with its end mark.
        int8: whether weights are rounded to bytes.
    """
    return nn.Generator(
        model,
        start_id=BOUNDARY,
        end_id=BOUNDARY,
        allowed=vocabulary.output_ids,
        max_length=max_seq_len - 1,
        weights="int8" if int8 else "float32",
    )
