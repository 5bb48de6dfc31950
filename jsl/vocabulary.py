"""The one id space that Japanese symbols and sign tags share.

    0            PAD         fills the short sequences of a batch
    1            BOUNDARY    starts a sequence and ends it: SOS and EOS are one id
    2 .. 87      symbols     `jsl.text.SYMBOLS`, always the same 86
    88 ..        tags        those of the corpus

With 80 tags the size is 168. It follows from the tags and is never configured.
"""

import difflib
import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from jsl.errors import CorpusError, VocabularyError
from jsl.messages import listed, say
from jsl.text import SYMBOLS, check

PAD = 0
BOUNDARY = 1
SPECIAL = ("PAD", "SOS/EOS")

_FIRST_SYMBOL = len(SPECIAL)
_FIRST_TAG = _FIRST_SYMBOL + len(SYMBOLS)
_SYMBOL_IDS = {symbol: i for i, symbol in enumerate(SYMBOLS, _FIRST_SYMBOL)}
# Lone surrogates, which JSON can hold, have no UTF-8 and so could not be hashed.
_TAG = re.compile(r"<[^\s<>\ud800-\udfff]+>")


def is_tag(text: str) -> bool:
    """Whether `text` is one tag: <, then characters that show other than < or >, then >; in NFC."""
    well_formed = _TAG.fullmatch(text) is not None and text.isprintable()
    return well_formed and unicodedata.is_normalized("NFC", text)


@dataclass(frozen=True)
class Vocabulary:
    """The symbols and the given `tags`, with their ids, in the order given.

    Raises VocabularyError if there are no tags, or malformed or repeated ones.
    """

    tags: tuple[str, ...]

    def __post_init__(self):
        if not self.tags:
            raise VocabularyError(say("vocabulary.no_tags"))
        if malformed := [tag for tag in self.tags if not is_tag(tag)]:
            raise VocabularyError(say("vocabulary.malformed_tags", tags=listed(malformed)))
        if repeated := [tag for tag, count in Counter(self.tags).items() if count > 1]:
            raise VocabularyError(say("vocabulary.repeated_tags", tags=listed(repeated)))

    @classmethod
    def from_tags(cls, tags: Iterable[str]) -> Self:
        """The vocabulary of the distinct `tags`, sorted by code point.

        Sorted, so that the ids depend on what a corpus says and not on the order of its rows.
        Raises VocabularyError as the class does.
        """
        return cls(tuple(sorted({unicodedata.normalize("NFC", tag) for tag in tags})))

    @property
    def tokens(self) -> tuple[str, ...]:
        """What each id stands for, in the order of the ids."""
        return (*SPECIAL, *SYMBOLS, *self.tags)

    @property
    def size(self) -> int:
        """The number of ids."""
        return _FIRST_TAG + len(self.tags)

    @property
    def tag_ids(self) -> tuple[int, ...]:
        """The ids of the tags, ascending."""
        return tuple(range(_FIRST_TAG, self.size))

    @property
    def output_ids(self) -> tuple[int, ...]:
        """The ids that decoding may emit, ascending: the end of the sequence and the tags."""
        return (BOUNDARY, *self.tag_ids)

    @property
    def hash(self) -> str:
        """SHA-256, in hex, of the tokens in order as compact JSON in UTF-8 and NFC."""
        canonical = json.dumps(self.tokens, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @cached_property
    def _ids(self) -> dict[str, int]:
        return dict(zip(self.tags, self.tag_ids, strict=True))

    def encode_text(self, text: str) -> list[int]:
        """The ids of `text` once normalised, and the end.

        Raises TextError if the text is empty or holds unknown characters.
        """
        return [*(_SYMBOL_IDS[symbol] for symbol in check(text)), BOUNDARY]

    def encode_tags(self, tags: Iterable[str]) -> list[int]:
        """The ids of `tags`, and the end.

        Raises CorpusError if tags are unknown: it lists them, each with the nearest known one.
        """
        tags = [unicodedata.normalize("NFC", tag) for tag in tags]
        if unknown := [tag for tag in dict.fromkeys(tags) if tag not in self._ids]:
            found = listed(map(self._with_nearest, unknown))
            raise CorpusError(say("vocabulary.unknown_tags", found=found))
        return [*(self._ids[tag] for tag in tags), BOUNDARY]

    def decode_tags(self, ids: Iterable[int]) -> str:
        """The tags of `ids`, up to the first end if there is one, with a space between them.

        `ids` come without the BOUNDARY that starts a sequence. Raises ValueError if an id before
        the end is not a tag's, since decoding emits `output_ids` only.
        """
        tags = []
        for i in ids:
            if i == BOUNDARY:
                break
            if not _FIRST_TAG <= i < self.size:
                raise ValueError(
                    f"decode_tags: expected {BOUNDARY} or ids from {_FIRST_TAG} to "
                    f"{self.size - 1}, got {i}; decode with `output_ids` only"
                )
            tags.append(self.tags[i - _FIRST_TAG])
        return " ".join(tags)

    def to_json(self) -> dict[str, list[str]]:
        """The vocabulary as JSON values, from which `from_json` makes it again."""
        return {"special": list(SPECIAL), "symbols": list(SYMBOLS), "tags": list(self.tags)}

    @classmethod
    def from_json(cls, data: object) -> Self:
        """The vocabulary that `to_json` gave as `data`.

        Raises VocabularyError if `data` has another structure, if its special tokens or symbols
        are not this program's, or if its tags are not fit for a vocabulary.
        """
        entries = ("special", "symbols", "tags")
        if not isinstance(data, dict):
            raise VocabularyError(say("vocabulary.not_an_object"))
        if set(data) != set(entries):
            found = listed(map(str, data)) or "{}"
            raise VocabularyError(say("vocabulary.keys", expected=listed(entries), found=found))
        for entry in entries:
            tokens = data[entry]
            if not isinstance(tokens, list) or not all(isinstance(t, str) for t in tokens):
                raise VocabularyError(say("vocabulary.not_strings", entry=entry))
        for entry, ours in (("special", SPECIAL), ("symbols", SYMBOLS)):
            if tuple(data[entry]) != ours:
                raise VocabularyError(say("vocabulary.other_tokens", entry=entry))
        return cls(tuple(data["tags"]))

    def _with_nearest(self, tag: str) -> str:
        # Without their brackets, which every two tags share and which would make all alike.
        known = {tag.strip("<>"): tag for tag in self.tags}
        near = difflib.get_close_matches(tag.strip("<>"), known, n=1, cutoff=0.5)
        return say("vocabulary.nearest", tag=tag, nearest=known[near[0]]) if near else tag
