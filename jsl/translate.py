"""Translating with a saved run. Nothing here knows training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from jsl import checkpoint
from jsl.batching import padded
from jsl.decode import generator
from jsl.errors import TextError
from jsl.messages import say
from jsl.model import build_model
from jsl.text import normalise, unknown

if TYPE_CHECKING:
    from jsl.reading import Reading
    from minigrad import nn

# A text is far from all that was trained on if more than half of its trigrams never occurred there.
FAR = 0.5


@dataclass(frozen=True)
class Candidate:
    """One of the sequences that a search found for a text.

    Attributes:
        tags: '<私> <食べる>'.
        ids: of the tags.
        score: the sum of the logarithms of `probabilities` over (their number)**length_penalty.
        probabilities: of each tag and of the end, given what stands before; that of the end is
            absent where the sequence was cut at the model's length.
        attention: maps of the pass that gives these tags, if they were asked for.
    """

    tags: str
    ids: tuple[int, ...]
    score: float
    probabilities: tuple[float, ...]
    attention: "nn.Attention | None" = None


@dataclass(frozen=True)
class Translation:
    """The tags of one text in one group, or the error that kept it from being translated.

    Attributes:
        text: as it was given.
        group: whose tags these are.
        tags: '<私> <食べる>'; empty if there is an error.
        familiarity: the share of the text's trigrams that occur in the training corpus, 0 to 1.
        error: None, or what is wrong with the text.
        unknown: words or characters of the text that the vocabulary lacks, with their places from 1
            on.
        reading: how kanji and numbers in the text were read; None if it has none.
        candidates: what the search found, the best first, whose tags these are; empty if there is
            an error. Translations are compared without them, as their numbers are rounded in other
            places in another batch.
    """

    text: str
    group: str
    tags: str
    familiarity: float
    error: TextError | None = None
    unknown: tuple[tuple[int, str], ...] = ()
    candidates: tuple[Candidate, ...] = field(default=(), compare=False, repr=False)
    reading: "Reading | None" = None

    @property
    def ids(self) -> tuple[int, ...]:
        """Those of the best candidate."""
        return self.candidates[0].ids if self.candidates else ()

    @property
    def score(self) -> float | None:
        """That of the best candidate; None if there is an error."""
        return self.candidates[0].score if self.candidates else None

    @property
    def probabilities(self) -> tuple[float, ...]:
        """Those of the best candidate."""
        return self.candidates[0].probabilities if self.candidates else ()

    @property
    def attention(self) -> "nn.Attention | None":
        """That of the best candidate, if it was asked for."""
        return self.candidates[0].attention if self.candidates else None

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
        reading: whether kanji and numbers are turned into kana, for a run that was trained on kana.

    Raises:
        RunDirError: the directory does not hold an intact run.
    """

    def __init__(
        self, directory: str | Path, beam: int = 1, int8: bool = False, reading: bool = True
    ):
        self.run = checkpoint.load(directory)
        self.vocabulary = self.run.vocabulary
        self.model = build_model(
            self.run.model, self.vocabulary, self.run.groups, self.run.training.seed
        )
        checkpoint.restore(self.model, self.run)
        self.model.eval()
        self.beam = beam
        self.reading = reading and self.vocabulary.source_kind == "kana"
        self.read = lru_cache(maxsize=1024)(self._read)  # each group asks again
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
        self,
        texts: Sequence[str],
        group: str,
        batch_size: int = 64,
        *,
        beam: int | None = None,
        length_penalty: float = 1.0,
        nbest: int = 1,
        attention: bool = False,
    ) -> list[Translation]:
        """One translation a text, in order; texts with an error are marked, not raised.

        Args:
            batch_size: texts that are translated together.
            beam: instead of the translator's.
            length_penalty, nbest, attention: see `nn.Generator.search`.

        Raises:
            ValueError: `nbest` is more than `beam`.
            GroupError: the run does not know `group`; the message lists those that it knows.
        """
        if group not in self.generators:
            self.model[group]  # raises
        search = self.generators[group].search
        width = self.beam if beam is None else beam
        found: dict[int, Translation] = {}
        encoded: list[tuple[int, list[int]]] = []
        for i, text in enumerate(texts):
            try:
                encoded.append((i, self.encode(text)))
            except TextError as error:
                found[i] = Translation(text, group, "", 0.0, error, reading=self._read_or_not(text))
        # Neighbours of similar length are padded little.
        encoded.sort(key=lambda pair: len(pair[1]))
        for start in range(0, len(encoded), batch_size):
            part = encoded[start : start + batch_size]
            src = padded([ids for _, ids in part])
            decoded = search(src, width, length_penalty, nbest, attention)
            for (i, _), hypotheses in zip(part, decoded, strict=True):
                candidates = tuple(map(self._candidate, hypotheses))
                found[i] = Translation(
                    texts[i],
                    group,
                    candidates[0].tags,
                    self.familiarity(texts[i]),
                    unknown=tuple(self.vocabulary.unknown_in(texts[i])),
                    candidates=candidates,
                    reading=self.read(texts[i]),
                )
        return [found[i] for i in range(len(texts))]

    def _candidate(self, found: "nn.Hypothesis") -> Candidate:
        return Candidate(
            self.vocabulary.decode_tags(found.ids),
            tuple(found.ids),
            found.score,
            tuple(map(math.exp, found.log_probabilities)),
            found.attention,
        )

    def _read(self, text: str) -> "Reading | None":
        """How the kanji and numbers of a text are read; None if it needs no reading.

        Of several readings of a word, that which is most familiar to the run is taken, else the
        usual one. `read` is this, with a memory.

        Raises:
            TextError: characters have no reading.
        """
        if not self.reading or not unknown(normalise(text)):
            return None
        from jsl.reading import read

        return read(text, self.run.trigrams)

    def _read_or_not(self, text: str) -> "Reading | None":
        try:
            return self.read(text)
        except TextError:
            return None

    def symbols_of(self, text: str) -> tuple[str, ...]:
        """The tokens of a text as it is read.

        Raises TextError if it is empty, or has unknown characters.
        """
        reading = self.read(text)
        return self.vocabulary.symbols_of(reading.text if reading else text)

    def encode(self, text: str) -> list[int]:
        """The ids of a text as it is read.

        Raises TextError if it is empty, too long, or has unknown characters.
        """
        ids = self.vocabulary.encode_symbols(self.symbols_of(text))
        limit = self.run.model.max_seq_len
        if len(ids) > limit:
            raise TextError(say("text.too_long", length=len(ids) - 1, limit=limit - 1))
        return ids

    def familiarity(self, text: str) -> float:
        """The share of the trigrams of a text, as it is read, that occur in the training corpus."""
        reading = self._read_or_not(text)
        own = checkpoint.trigrams(reading.text if reading else self.vocabulary.spelled(text))
        return len(own & self.run.trigrams) / len(own)
