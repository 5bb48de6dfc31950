"""The 86 symbols that a Japanese text is made of, and how a text is brought to them."""

import unicodedata
from collections.abc import Sequence

from jsl.errors import TextError
from jsl.messages import Said, listed, say

SYMBOLS: tuple[str, ...] = (
    *"ぁあぃいぅうぇえぉお",
    *"かがきぎくぐけげこご",
    *"さざしじすずせぜそぞ",
    *"ただちぢっつづてでとど",
    *"なにぬねの",
    *"はばぱひびぴふぶぷへべぺほぼぽ",
    *"まみむめも",
    *"ゃやゅゆょよ",
    *"らりるれろ",
    *"わをん",
    *"ー、。？！ ",
)
"""80 hiragana in the order of Unicode (without ゎ ゐ ゑ), five marks and the space."""

_KNOWN = frozenset(SYMBOLS)

# NFKC would tear these spacing marks into a space and a combining mark: か゛ is meant as が.
_COMBINING = str.maketrans("゛゜", "\u3099\u309a")

_HIRAGANA = {code: code - 0x60 for code in range(ord("ァ"), ord("ヶ") + 1)}
_FOLDED = _HIRAGANA | str.maketrans("ヴゔ?!", "ぶぶ？！")

# What takes no place where it stands: Unicode's "default ignorable" characters, those that
# annotate, and control characters, save those that are white space.
_INVISIBLE = {
    code: None
    for first, last in (
        (0x00, 0x08), (0x0E, 0x1F), (0x7F, 0x84), (0x86, 0x9F), (0xAD, 0xAD), (0x034F, 0x034F),
        (0x061C, 0x061C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x200B, 0x200F),
        (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
        (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A),
        (0xE0000, 0xE0FFF),
    )
    for code in range(first, last + 1)
}  # fmt: skip
_VISIBLE = _INVISIBLE | dict.fromkeys((*range(0x09, 0x0E), 0x85, 0x2028, 0x2029), " ")

MAX_SHOWN = 100  # characters of a text that one error shows


def visible(text: str) -> str:
    """`text` without what does not show; tabs and line ends become spaces.

    Byte order marks, zero-width and soft hyphens, marks of direction, variation selectors and
    control characters come in by copying, and nobody can see that they are there.
    """
    return text.translate(_VISIBLE)


def normalise(text: str) -> str:
    """`text` in the one spelling that the model reads: NFKC, hiragana, trimmed.

    Half-width and full-width forms become one, katakana becomes hiragana, ヴ becomes ぶ, and
    ? and ! become ？ and ！. Nothing is dropped but what does not show and white space at the ends,
    so what is unknown stays, to be reported by `check`. Normalising twice changes nothing more.
    """
    return folded(composed(text))


def composed(text: str) -> str:
    """`text` in NFKC, trimmed, without what does not show; katakana stays."""
    return unicodedata.normalize("NFKC", visible(text).translate(_COMBINING)).strip()


def folded(text: str) -> str:
    """Katakana as hiragana, one character for one, and ? and ! as the symbols have them."""
    return text.translate(_FOLDED)


def unknown(text: str) -> list[tuple[int, str]]:
    """What in a normalised text is not one of `SYMBOLS`, with positions that count from 1."""
    return [(n, c) for n, c in enumerate(text, 1) if c not in _KNOWN]


def check(text: str) -> str:
    """The normalised `text`, made of `SYMBOLS` only and not empty.

    Raises TextError if nothing is left after trimming, or if characters are unknown: it lists
    them (of many, the first). Their positions count from 1 in the normalised text, which the
    message shows, because normalising can join characters (ｶﾞ is が) or part them (㌔ is きろ).
    """
    text = normalise(text)
    if not text:
        raise TextError(say("text.empty"))
    if found := unknown(text):
        raise refusal(text, found)
    return text


def refusal(text: str, found: Sequence[tuple[int, str]], way_out: str = "") -> TextError:
    """The error of a normalised text in which `found` is unknown; the message ends in `way_out`."""
    # One sign for each character that would not show, so that positions can be counted.
    shown = "".join(c if _shows(c) else "\ufffd" for c in text[:MAX_SHOWN])
    shown += "…" if len(text) > MAX_SHOWN else ""
    places = listed(say("text.unknown_at", position=n, character=_named(c)) for n, c in found)
    error = TextError(say("text.unknown", found=places, text=Said(shown)) + way_out)
    error.unknown = tuple(found)
    return error


def _named(character: str) -> str:
    code = f"U+{ord(character):04X}"
    return Said(f"「{character}」({code})" if _shows(character) else code)


def _shows(character: str) -> bool:
    return character.isprintable() and not unicodedata.combining(character)
