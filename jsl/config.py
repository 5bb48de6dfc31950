"""The numbers that make a run what it is, as `config.json` keeps them."""

from dataclasses import asdict, dataclass
from typing import Any, Self

from jsl.errors import RunDirError, UsageError
from jsl.messages import listed, say

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


KINDS = ("seq2seq", "decoder-only")
LAYER_NORMS = ("pre", "post")
SHARED = ("encoder", "decoder", "embeddings")
WEIGHTINGS = ("batch", "group")
SLOTS = 5  # tags that a decoder-only model says at most


@dataclass(frozen=True)
class ModelConfig(_Config):
    """The size and the make of one group's transformer.

    Attributes:
        d_model: features of a position, a multiple of `n_heads`.
        n_heads: attention heads.
        d_ff: inner features of the feed-forward networks.
        n_layers: encoder layers, and as many decoder layers.
        max_seq_len: the longest sequence, the end mark counted.
        dropout: share of what is left out in training, from 0 to below 1.
        layer_norm: "pre", before attention and feed-forward networks; or "post", after the sum.
        tie_embeddings: whether the output projection has the weights of the target's embedding.
        share: what all groups have in common, of `SHARED`: layers of the encoder; layers of the
            decoder with the output projection; or the embeddings, with what is tied to them.
        kind: "seq2seq", an encoder and a decoder; or "decoder-only", the baseline of phase 15a, one
            stack that says at most `SLOTS` tags, all at once.

    Raises:
        UsageError: a size is not positive, `d_model` is no multiple of `n_heads`, or another value
            is out of its range.
    """

    d_model: int = 16
    n_heads: int = 2
    d_ff: int = 32
    n_layers: int = 4
    max_seq_len: int = 10
    dropout: float = 0.0
    layer_norm: str = "pre"
    tie_embeddings: bool = False
    share: tuple[str, ...] = ()
    kind: str = "seq2seq"

    def __post_init__(self):
        object.__setattr__(self, "share", tuple(name for name in SHARED if name in self.share))
        for name in ("d_model", "n_heads", "d_ff", "n_layers", "max_seq_len"):
            if getattr(self, name) < 1:
                raise UsageError(say("config.positive", name=name, value=getattr(self, name)))
        if self.d_model % self.n_heads:
            raise UsageError(say("config.heads", d_model=self.d_model, n_heads=self.n_heads))
        _from_0_below_1(self, "dropout")
        _one_of(self, "kind", KINDS)
        _one_of(self, "layer_norm", LAYER_NORMS)
        if self.kind == "decoder-only" and (self.tie_embeddings or "decoder" in self.share):
            raise UsageError(say("config.decoder_only"))

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "share": list(self.share)}


@dataclass(frozen=True)
class TrainingConfig(_Config):
    """How a run is trained: by Adam, over shuffled batches.

    Attributes:
        learning_rate: of every step; with `warmup` the highest.
        epochs: passes over the corpus, all continued runs counted.
        batch_size: sentences a step; with `batch_tokens` it has no say.
        seed: of the initial weights and of the order of the batches.
        warmup: steps in which the rate rises to `learning_rate` in a straight line; after them it
            falls with the square root of the step (arXiv 1706.03762, section 5.3). 0: it is
            constant.
        clip_norm: what the norm of all gradients is scaled down to where it is more; 0: nothing is.
        label_smoothing: share of a target's weight that is spread over all tokens, in training.
        buckets: whether sentences of about the same length make a batch.
        batch_tokens: positions of a batch, padding counted, of the longer of source and target; 0:
            batches have `batch_size` sentences.
        min_count: how often a word or a character must occur to be in the vocabulary.
        loss_weighting: "batch", every token counts alike; or "group", every group of a batch does.

    Raises:
        UsageError: a value is out of its range.
    """

    learning_rate: float = 0.001
    epochs: int = 200
    batch_size: int = 8
    optimizer: str = "Adam"
    seed: int = 0
    warmup: int = 0
    clip_norm: float = 0.0
    label_smoothing: float = 0.0
    buckets: bool = False
    batch_tokens: int = 0
    min_count: int = 1
    loss_weighting: str = "batch"

    def __post_init__(self):
        # No epoch: it was interrupted.
        for name, least in (
            *(("epochs", 0), ("batch_size", 1), ("warmup", 0), ("clip_norm", 0)),
            *(("batch_tokens", 0), ("min_count", 1)),
        ):
            if not least <= getattr(self, name) < float("inf"):
                key = "config.positive" if least else "config.not_negative"
                raise UsageError(say(key, name=name, value=getattr(self, name)))
        if not 0 < self.learning_rate < float("inf"):
            raise UsageError(say("config.positive", name="learning_rate", value=self.learning_rate))
        if self.optimizer != "Adam":
            raise UsageError(say("config.optimizer", value=self.optimizer))
        if not 0 <= self.seed < 2**64:
            raise UsageError(say("config.seed", value=self.seed))
        _from_0_below_1(self, "label_smoothing")
        _one_of(self, "loss_weighting", WEIGHTINGS)


def _from_0_below_1(config: Any, name: str) -> None:
    if not 0 <= getattr(config, name) < 1:
        raise UsageError(say("config.share", name=name, value=getattr(config, name)))


def _one_of(config: Any, name: str, known: tuple[str, ...]) -> None:
    if getattr(config, name) not in known:
        value = getattr(config, name)
        raise UsageError(say("config.one_of", name=name, value=value, known=listed(known)))


PRESETS: dict[str, tuple[ModelConfig, TrainingConfig]] = {
    "tiny": (ModelConfig(), TrainingConfig()),
    "long": (
        ModelConfig(64, 4, 256, max_seq_len=50, dropout=0.2, share=("encoder", "embeddings")),
        TrainingConfig(
            *(0.004, 60, 32), warmup=1000, clip_norm=1.0, label_smoothing=0.1, buckets=True
        ),
    ),
    "large": (
        ModelConfig(256, 8, 1024, 6, 50, dropout=0.1, share=("encoder", "embeddings")),
        TrainingConfig(
            *(0.0005, 20, 32), warmup=1000, clip_norm=1.0, label_smoothing=0.1, buckets=True
        ),
    ),
}
