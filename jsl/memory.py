"""How much memory a command will take at least, and whether this machine has it.

A system may promise more than it has and end the program without a word when it is used, so what
cannot work is refused before.
"""

import os
from contextlib import suppress
from pathlib import Path

from jsl.config import ModelConfig
from jsl.errors import UsageError
from jsl.messages import Said, say


def installed() -> float:
    """Bytes of memory that this process may have; infinite where that cannot be found out."""
    found = [float("inf")]
    with suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf, and refuses
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with suppress(ValueError, OSError):  # that of a container; "max" if it has no limit
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found)


def require(needed: float, options: str) -> None:
    """UsageError, naming the options to lower, if there is less memory than `needed` bytes."""
    if needed > (there := installed()):
        gib = 2**30
        raise UsageError(
            say("memory.short", needed=needed / gib, there=there / gib, options=Said(options))
        )


def for_training(model: ModelConfig, vocabulary: int, groups: int, rows: int) -> int:
    """Bytes for weights, gradients and the two moments, and for what a step keeps of `rows`."""
    d, layers = model.d_model, model.n_layers
    a_layer = 12 * d * d + 4 * d * model.d_ff  # of encoder and decoder
    weights = groups * (3 * vocabulary * d + layers * a_layer)
    kept = rows * model.max_seq_len * (vocabulary + layers * (8 * d + 2 * model.d_ff))
    return 4 * (4 * weights + kept)


def for_search(model: ModelConfig, vocabulary: int, beam: int) -> int:
    """Bytes for the scores, keys and values of the sequences of one sentence."""
    return 4 * beam * (vocabulary + 4 * model.n_layers * model.max_seq_len * model.d_model)
