"""The numbers that make a run what it is, as `config.json` keeps them."""

from dataclasses import asdict, dataclass
from typing import Any, Self

from jsl.errors import RunDirError, UsageError
from jsl.messages import say

MAX_SEQ_LEN = 10_000  # of a sequence, its end mark counted


@dataclass(frozen=True)
class _Config:
    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any], place: str) -> Self:
        """From a section of config.json, whose entries were checked one by one (`jsl.schema`).

        Raises:
            RunDirError: they do not go together.
        """
        try:
            return cls(**data)
        except UsageError as error:  # it is the file that is wrong, not the command line
            raise RunDirError(say("config.value", place=place, reason=error)) from error


@dataclass(frozen=True)
class ModelConfig(_Config):
    """The size of one group's transformer.

    Attributes:
        d_model: features of a position, a multiple of `n_heads`.
        n_heads: attention heads.
        d_ff: inner features of the feed-forward networks.
        n_layers: encoder layers, and as many decoder layers.
        max_seq_len: the longest sequence, the end mark counted.

    Raises:
        UsageError: a size is not positive, or `d_model` is no multiple of `n_heads`.
    """

    d_model: int = 16
    n_heads: int = 2
    d_ff: int = 32
    n_layers: int = 4
    max_seq_len: int = 10

    def __post_init__(self):
        for name, value in asdict(self).items():
            if value < 1:
                raise UsageError(say("config.positive", name=name, value=value))
        if self.d_model % self.n_heads:
            raise UsageError(say("config.heads", d_model=self.d_model, n_heads=self.n_heads))


@dataclass(frozen=True)
class TrainingConfig(_Config):
    """How a run is trained: Adam with a constant learning rate, over shuffled batches.

    Attributes:
        epochs: passes over the corpus, all continued runs counted.
        seed: of the initial weights and of the order of the batches.

    Raises:
        UsageError: a value is out of its range.
    """

    learning_rate: float = 0.001
    epochs: int = 200
    batch_size: int = 8
    optimizer: str = "Adam"
    seed: int = 0

    def __post_init__(self):
        for name, least in (("epochs", 0), ("batch_size", 1)):  # no epoch: it was interrupted
            if getattr(self, name) < least:
                raise UsageError(say("config.positive", name=name, value=getattr(self, name)))
        if not 0 < self.learning_rate < float("inf"):
            raise UsageError(say("config.positive", name="learning_rate", value=self.learning_rate))
        if self.optimizer != "Adam":
            raise UsageError(say("config.optimizer", value=self.optimizer))
        if not 0 <= self.seed < 2**64:
            raise UsageError(say("config.seed", value=self.seed))


PRESETS: dict[str, tuple[ModelConfig, TrainingConfig]] = {
    "tiny": (ModelConfig(), TrainingConfig()),
}
