"""Greedy decoding with the whole decoder anew for each tag: what `nn.Generator` must equal."""

import numpy as np

from jsl.vocabulary import BOUNDARY, Vocabulary
from minigrad import nn, no_grad
from minigrad.backend import to_device, to_numpy


def greedy(
    model: nn.Seq2Seq, src: np.ndarray, vocabulary: Vocabulary, max_seq_len: int
) -> list[list[int]]:
    """The most probable next tag, again and again, until the end mark.

    Only tags and the end mark compete. Of equal scores the smaller id wins.

    Args:
        src: (B, S) ids, padded.
        max_seq_len: of a sequence with its end mark, so there are at most `max_seq_len - 1` tags.

    Returns:
        The tag ids of each row, without start and end marks.
    """
    allowed = np.array(vocabulary.output_ids)
    tgt = np.full((len(src), 1), BOUNDARY, np.int64)
    open_rows = np.ones(len(src), bool)
    model.eval()
    with no_grad():
        memory, padding = model.encode(to_device(src))
        for _ in range(max_seq_len - 1):
            logits = model.decode(to_device(tgt), memory, padding)
            scores = to_numpy(logits.data[:, -1])[:, allowed]
            best = np.where(open_rows, allowed[scores.argmax(axis=1)], BOUNDARY)
            tgt = np.concatenate([tgt, best[:, None]], axis=1)
            open_rows &= best != BOUNDARY
            if not open_rows.any():
                break
    return [ids[: _end(ids)].tolist() for ids in tgt[:, 1:]]


def _end(ids: np.ndarray) -> int:
    ends = np.flatnonzero(ids == BOUNDARY)
    return int(ends[0]) if len(ends) else len(ids)
