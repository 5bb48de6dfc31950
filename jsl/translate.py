"""Translating with a saved run. Nothing here knows training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jsl import checkpoint
from jsl.batching import padded
from jsl.decode import generator
from jsl.errors import TextError
from jsl.messages import say
from jsl.model import build_model
from jsl.text import normalise

# A text is far from all that was trained on if more than half of its trigrams never occurred there.
FAR = 0.5


@dataclass(frozen=True)
class Translation:
    """The tags of one text in one group, or the error that kept it from being translated.

    Attributes:
        text: as it was given.
        group: whose tags these are.
        tags: '<私> <食べる>'; empty if there is an error.
        familiarity: the share of the text's trigrams that occur in the training corpus, 0 to 1.
        error: None, or what is wrong with the text.
    """

    text: str
    group: str
    tags: str
    familiarity: float
    error: TextError | None = None

    @property
    def far(self) -> bool:
        """Whether the text is far from anything in training, so that the tags mean little."""
        return self.error is None and self.familiarity < FAR


class Translator:
    """A saved run, ready to translate.

    Args:
        directory: of the run, or its URI in an object store.
        beam: how many sequences a beam search keeps; 1 takes the best tag each time.
        int8: whether to round weights to bytes: quicker with large models, almost as good.

    Raises:
        RunDirError: the directory does not hold an intact run.
    """

    def __init__(self, directory: str | Path, beam: int = 1, int8: bool = False):
        self.run = checkpoint.load(directory)
        self.vocabulary = self.run.vocabulary
        self.model = build_model(
            self.run.model, self.vocabulary, self.run.groups, self.run.training.seed
        )
        checkpoint.restore(self.model, self.run)
        self.model.eval()
        self.beam = beam
        limit = self.run.model.max_seq_len
        self.generators = {
            group: generator(self.model[group], self.vocabulary, limit, int8)
            for group in self.run.groups
        }

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that the run was trained on."""
        return self.run.groups

    def translate(
        self, texts: Sequence[str], group: str, batch_size: int = 64
    ) -> list[Translation]:
        """One translation a text, in order; texts with an error are marked, not raised.

        Raises:
            GroupError: the run does not know `group`; the message lists those that it knows.
        """
        if group not in self.generators:
            self.model[group]  # raises
        search = self.generators[group].beam
        found: dict[int, Translation] = {}
        encoded: list[tuple[int, list[int]]] = []
        for i, text in enumerate(texts):
            try:
                encoded.append((i, self.encode(text)))
            except TextError as error:
                found[i] = Translation(text, group, "", 0.0, error)
        # Neighbours of similar length are padded little.
        encoded.sort(key=lambda pair: len(pair[1]))
        for start in range(0, len(encoded), batch_size):
            part = encoded[start : start + batch_size]
            src = padded([ids for _, ids in part])
            decoded = search(src, self.beam)
            for (i, _), ids in zip(part, decoded, strict=True):
                found[i] = Translation(
                    texts[i], group, self.vocabulary.decode_tags(ids), self.familiarity(texts[i])
                )
        return [found[i] for i in range(len(texts))]

    def encode(self, text: str) -> list[int]:
        """The ids of a text; TextError if it is empty, too long, or has unknown characters."""
        ids = self.vocabulary.encode_text(text)
        limit = self.run.model.max_seq_len
        if len(ids) > limit:
            raise TextError(say("text.too_long", length=len(ids) - 1, limit=limit - 1))
        return ids

    def familiarity(self, text: str) -> float:
        """The share of the trigrams of a text that occur in the training corpus, 0 to 1."""
        own = checkpoint.trigrams(normalise(text))
        return len(own & self.run.trigrams) / len(own)
