"""Ids: of Japanese symbols and sign tags in one space, or of two open vocabularies.

    0            PAD         fills the short sequences of a batch
    1            BOUNDARY    starts a sequence and ends it: SOS and EOS are one id
    2 .. 87      symbols     `jsl.text.SYMBOLS`, always the same 86
    88 ..        tags        those of the corpus

With 80 tags the size is 168. It follows from the tags and is never configured.

Where the source is not of kana or the target not of tags (`jsl.tokens`), source and target have an
id space each: PAD, BOUNDARY and UNK, which stands for all that is unknown, then their tokens.
"""

import difflib
import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

from jsl import tokens
from jsl.errors import CorpusError, TextError, VocabularyError
from jsl.messages import listed, say
from jsl.text import SYMBOLS, check

PAD = 0
BOUNDARY = 1
UNK = 2
SPECIAL = ("PAD", "SOS/EOS")

# Lone surrogates, which JSON can hold, have no UTF-8 and so could not be hashed.
_TAG = re.compile(r"<[^\s<>\ud800-\udfff]+>")


def is_tag(text: str) -> bool:
    """Whether `text` is one tag: <, then characters that show other than < or >, then >; in NFC."""
    well_formed = _TAG.fullmatch(text) is not None and text.isprintable()
    return well_formed and unicodedata.is_normalized("NFC", text)


def _is_token(text: str, kind: str) -> bool:
    """Whether a text can be a token of this kind."""
    if kind == "tag":
        return is_tag(text)
    sound = not any("\ud800" <= c <= "\udfff" for c in text) and text != ""
    return sound and (len(text) == 1 if kind == "char" else not any(map(str.isspace, text)))


@dataclass(frozen=True)
class Vocabulary:
    """The symbols and the `tags` of a model, with their ids, in the order given.

    Args:
        tags: tokens of the target: tags, words or characters.
        symbols: tokens of the source: the symbols of Japanese, words or characters.
        source_kind, target_kind: which, of `jsl.tokens`.

    Raises VocabularyError if there are no tags, or malformed or repeated ones.
    """

    tags: tuple[str, ...]
    symbols: tuple[str, ...] = SYMBOLS
    source_kind: str = "kana"
    target_kind: str = "tag"

    def __post_init__(self):
        if not self.tags:
            raise VocabularyError(say("vocabulary.no_tags"))
        for found, kind in ((self.tags, self.target_kind), (self.symbols, self.source_kind)):
            if malformed := [t for t in found if kind != "kana" and not _is_token(t, kind)]:
                key = "vocabulary.malformed_" + ("tags" if kind == "tag" else "tokens")
                raise VocabularyError(say(key, tags=listed(malformed)))
            if repeated := [token for token, count in Counter(found).items() if count > 1]:
                raise VocabularyError(say("vocabulary.repeated_tags", tags=listed(repeated)))
        if self.source_kind == "kana" and self.symbols != SYMBOLS:
            raise VocabularyError(say("vocabulary.other_tokens", entry="symbols"))

    @classmethod
    def from_tags(cls, tags: Iterable[str]) -> Self:
        """The vocabulary of the distinct `tags`, sorted by code point.

        Sorted, so that the ids depend on what a corpus says and not on the order of its rows.
        Raises VocabularyError as the class does.
        """
        return cls(tuple(sorted({unicodedata.normalize("NFC", tag) for tag in tags})))

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[Any],
        source_kind: str = "kana",
        target_kind: str = "tag",
        min_count: int = 1,
    ) -> Self:
        """The vocabulary of the rows of a corpus, sorted by code point.

        Args:
            min_count: how often words and characters must occur; tags are all taken.
        """
        rows = list(rows)

        def often(sequences: Iterable[Iterable[str]], least: int) -> tuple[str, ...]:
            counts = Counter(token for sequence in sequences for token in sequence)
            return tuple(sorted(token for token, n in counts.items() if n >= least))

        return cls(
            often((row.tags for row in rows), 1 if target_kind == "tag" else min_count),
            SYMBOLS if source_kind == "kana" else often((r.symbols for r in rows), min_count),
            source_kind,
            target_kind,
        )

    def with_tags(self, tags: Iterable[str]) -> Self:
        """This vocabulary, and behind its tags those of `tags` that it lacks, sorted."""
        return replace(self, tags=(*self.tags, *sorted(set(tags) - set(self.tags))))

    @property
    def shared(self) -> bool:
        """Whether source and target have one id space."""
        return (self.source_kind, self.target_kind) == ("kana", "tag")

    @property
    def special(self) -> tuple[str, ...]:
        """What the first ids stand for."""
        return SPECIAL if self.shared else (*SPECIAL, "UNK")

    @property
    def source_tokens(self) -> tuple[str, ...]:
        """What each id of a source stands for."""
        return (*self.special, *self.symbols, *(self.tags if self.shared else ()))

    @property
    def target_tokens(self) -> tuple[str, ...]:
        """What each id of a target stands for."""
        return (*self.special, *(self.symbols if self.shared else ()), *self.tags)

    @property
    def source_size(self) -> int:
        """The number of ids of the source."""
        return len(self.special) + len(self.symbols) + (len(self.tags) if self.shared else 0)

    @property
    def target_size(self) -> int:
        """The number of ids of the target; `source_size` if they are the same."""
        return self._first_tag + len(self.tags)

    @property
    def _first_tag(self) -> int:
        return len(self.special) + (len(self.symbols) if self.shared else 0)

    @property
    def tag_ids(self) -> tuple[int, ...]:
        """The ids of the tags, ascending."""
        return tuple(range(self._first_tag, self.target_size))

    @property
    def output_ids(self) -> tuple[int, ...]:
        """The ids that decoding may emit, ascending: the end of the sequence and the tags."""
        return (BOUNDARY, *self.tag_ids)

    @property
    def hash(self) -> str:
        """SHA-256, in hex, of the tokens in order as compact JSON in UTF-8 and NFC.

        With two id spaces it is that of what `to_json` gives.
        """
        found: Any = self.source_tokens if self.shared else self.to_json()
        canonical = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @cached_property
    def _ids(self) -> dict[str, int]:
        return dict(zip(self.tags, self.tag_ids, strict=True))

    @cached_property
    def _symbol_ids(self) -> dict[str, int]:
        return {symbol: i for i, symbol in enumerate(self.symbols, len(self.special))}

    def spelled(self, text: str) -> str:
        """A text as the source of this vocabulary spells it."""
        return tokens.spelled(text, self.source_kind)

    def symbols_of(self, text: str) -> tuple[str, ...]:
        """The tokens of a text.

        Raises TextError if the text is empty, or holds characters that are unknown where the source
        is of kana.
        """
        if self.source_kind == "kana":
            return tuple(check(text))
        text = self.spelled(text)
        if not text:
            raise TextError(say("text.nothing"))
        return tokens.source_tokens(text, self.source_kind)

    def unknown_in(self, text: str) -> list[tuple[int, str]]:
        """The tokens of a text that it has no id for, with their places from 1 on."""
        if self.source_kind == "kana":  # whose unknown characters are an error
            return []
        found = enumerate(self.symbols_of(text), 1)
        return [(n, symbol) for n, symbol in found if symbol not in self._symbol_ids]

    def encode_text(self, text: str) -> list[int]:
        """The ids of `text` once normalised, and the end; raises as `symbols_of` does."""
        return self.encode_symbols(self.symbols_of(text))

    def encode_symbols(self, symbols: Iterable[str]) -> list[int]:
        """The ids of tokens of the source, and the end; UNK for those that have none."""
        return [*(self._symbol_ids.get(symbol, UNK) for symbol in symbols), BOUNDARY]

    def encode_tags(self, tags: Iterable[str]) -> list[int]:
        """The ids of `tags`, and the end; UNK for words and characters that have none.

        Raises CorpusError if tags are unknown: it lists them, each with the nearest known one.
        """
        tags = [unicodedata.normalize("NFC", tag) for tag in tags]
        if unknown := self.unknown_tags(tags):
            found = listed(map(self._with_nearest, unknown))
            raise CorpusError(say("vocabulary.unknown_tags", found=found))
        return [*(self._ids.get(tag, UNK) for tag in tags), BOUNDARY]

    def unknown_tags(self, tags: Iterable[str]) -> list[str]:
        """Those of `tags` that no id stands for, each once; none if there is UNK for them."""
        if self.target_kind != "tag":
            return []
        return [tag for tag in dict.fromkeys(tags) if tag not in self._ids]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The tags of `ids`, up to the first end if there is one.

        `ids` come without the BOUNDARY that starts a sequence. Raises ValueError if an id before
        the end is not a tag's, since decoding emits `output_ids` only.
        """
        tags, first = list[str](), self._first_tag
        for i in ids:
            if i == BOUNDARY:
                break
            if not first <= i < self.target_size:
                raise ValueError(
                    f"decode_tags: expected {BOUNDARY} or ids from {first} to "
                    f"{self.target_size - 1}, got {i}; decode with `output_ids` only"
                )
            tags.append(self.tags[i - first])
        return tags

    def decode_tags(self, ids: Iterable[int]) -> str:
        """What `decode` gives, as a text: tags and words with a space between them."""
        return tokens.joined(self.decode(ids), self.target_kind)

    def target_tokens_of(self, text: str) -> tuple[str, ...]:
        """The tags, words or characters that a translation consists of."""
        return tokens.target_tokens(text, self.target_kind)

    def to_json(self) -> dict[str, Any]:
        """The vocabulary as JSON values, from which `from_json` makes it again."""
        return {
            "source_tokens": self.source_kind,
            "target_tokens": self.target_kind,
            "special": list(self.special),
            "symbols": list(self.symbols),
            "tags": list(self.tags),
        }

    @classmethod
    def from_json(cls, data: object) -> Self:
        """The vocabulary that `to_json` gave as `data`.

        Raises VocabularyError if `data` has another structure, if its special tokens or symbols
        are not this program's, or if its tags are not fit for a vocabulary.
        """
        entries = ("source_tokens", "target_tokens", "special", "symbols", "tags")
        if not isinstance(data, dict):
            raise VocabularyError(say("vocabulary.not_an_object"))
        if set(data) != set(entries):
            found = listed(map(str, data)) or "{}"
            raise VocabularyError(say("vocabulary.keys", expected=listed(entries), found=found))
        for entry in entries[2:]:
            there = data[entry]
            if not isinstance(there, list) or not all(isinstance(t, str) for t in there):
                raise VocabularyError(say("vocabulary.not_strings", entry=entry))
        for entry, known in (("source_tokens", tokens.SOURCES), ("target_tokens", tokens.TARGETS)):
            if data[entry] not in known:
                raise VocabularyError(say("vocabulary.other_tokens", entry=entry))
        vocabulary = cls(
            tuple(data["tags"]),
            tuple(data["symbols"]),
            data["source_tokens"],
            data["target_tokens"],
        )
        if tuple(data["special"]) != vocabulary.special:
            raise VocabularyError(say("vocabulary.other_tokens", entry="special"))
        return vocabulary

    def _with_nearest(self, tag: str) -> str:
        # Without their brackets, which every two tags share and which would make all alike.
        known = {tag.strip("<>"): tag for tag in self.tags}
        near = difflib.get_close_matches(tag.strip("<>"), known, n=1, cutoff=0.5)
        return say("vocabulary.nearest", tag=tag, nearest=known[near[0]]) if near else tag
