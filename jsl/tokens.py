"""What sentences are cut into, and translations.

source   kana   the 86 symbols of `jsl.text`, nothing else
         char   characters
         word   what stands between white space
target   tag    sign tags like <食べる>
         word   what stands between white space
         char   characters
"""

import unicodedata

from jsl.text import normalise, visible

SOURCES = ("kana", "char", "word")
TARGETS = ("tag", "word", "char")


def spelled(text: str, kind: str) -> str:
    """A sentence in the one spelling that a model reads: of kana, or NFKC with single spaces."""
    if kind == "kana":
        return normalise(text)
    return " ".join(unicodedata.normalize("NFKC", visible(text)).split())


def source_tokens(text: str, kind: str) -> tuple[str, ...]:
    """The tokens of a sentence that is `spelled`."""
    return tuple(text.split()) if kind == "word" else tuple(text)


def target_tokens(text: str, kind: str) -> tuple[str, ...]:
    """The tokens of a translation; NFC."""
    text = unicodedata.normalize("NFC", visible(text))
    return tuple(" ".join(text.split())) if kind == "char" else tuple(text.split())


def joined(tokens: tuple[str, ...] | list[str], kind: str) -> str:
    """The translation that consists of these tokens."""
    return ("" if kind == "char" else " ").join(tokens)
