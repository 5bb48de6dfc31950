"""The 86 symbols that a Japanese text is made of, and how a text is brought to them."""

import unicodedata

from jsl.errors import TextError
from jsl.messages import say

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

MAX_SHOWN = 100  # unknown characters, and characters of a text, that one error shows


def normalise(text: str) -> str:
    """`text` in the one spelling that the model reads: NFKC, hiragana, trimmed.

    Half-width and full-width forms become one, katakana becomes hiragana, ヴ becomes ぶ, and
    ? and ! become ？ and ！. Nothing is dropped but white space at the ends, so what is unknown
    stays, to be reported by `check`. Normalising twice changes nothing more.
    """
    composed = unicodedata.normalize("NFKC", text.translate(_COMBINING))
    return composed.translate(_FOLDED).strip()


def check(text: str) -> str:
    """The normalised `text`, made of `SYMBOLS` only and not empty.

    Raises TextError if nothing is left after trimming, or if characters are unknown: it lists
    them (of very many, the first). Their positions count from 1 in the normalised text, which the
    message shows, because normalising can join characters (ｶﾞ is が) or part them (㌔ is きろ).
    """
    text = normalise(text)
    if not text:
        raise TextError(say("text.empty"))
    found = [
        say("text.unknown_at", position=position, character=_named(character))
        for position, character in enumerate(text, 1)
        if character not in _KNOWN
    ]
    if found:
        if len(found) > MAX_SHOWN:
            found[MAX_SHOWN:] = [say("text.more", count=len(found) - MAX_SHOWN)]
        # One sign for each character that would not show, so that positions can be counted.
        shown = "".join(c if _shows(c) else "\ufffd" for c in text[:MAX_SHOWN])
        shown += "…" if len(text) > MAX_SHOWN else ""
        raise TextError(say("text.unknown", found=say("list.separator").join(found), text=shown))
    return text


def _named(character: str) -> str:
    code = f"U+{ord(character):04X}"
    return f"「{character}」({code})" if _shows(character) else code


def _shows(character: str) -> bool:
    return character.isprintable() and not unicodedata.combining(character)
