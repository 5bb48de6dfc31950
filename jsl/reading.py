"""How a Japanese text is read: 私は3人家族です is わたしはさんにんかぞくです.

Numbers are read by `jsl.numerals`. Kanji are read by SudachiPy and its dictionary, which are the
extra `kanji`; nothing of either is loaded before a text needs it. (Beside fugashi with unidic-lite,
whose dictionary is of 2013, it has a dictionary that is renewed several times a year, wheels for
every platform and version of Python, one licence (Apache 2.0), and looks up all the readings
of a word, which is what marking the ambiguous ones takes.)

    text ──prepare──> one character for each that the message of an error may point to
         ──numbers──> さんにん                 `jsl.numerals.find`
         ──words────> わたし (わたくし、あたし)   SudachiPy; kana stay as they are: は, を
         ──known────> of several readings the one that is familiar, else the usual one

What has no sure reading is never guessed: it is reported with its position, as `jsl.text.check`
reports it.
"""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from jsl import numerals
from jsl.errors import TextError
from jsl.messages import reason_of, say
from jsl.text import composed, folded, normalise, refusal, unknown


@dataclass(frozen=True)
class Part:
    """A stretch of a text, and how it is read.

    Attributes:
        surface: as it is written, in NFKC.
        reading: in symbols of `jsl.text`.
        alternatives: other readings that it can have there; empty if there is one only.
    """

    surface: str
    reading: str
    alternatives: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """A text brought to kana; its parts follow one another without a gap."""

    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """All of it, in symbols of `jsl.text`."""
        return "".join(part.reading for part in self.parts)

    @property
    def surface(self) -> str:
        """All of it, as it was written."""
        return "".join(part.surface for part in self.parts)

    @property
    def ambiguous(self) -> tuple[Part, ...]:
        """The parts that can be read in several ways."""
        return tuple(part for part in self.parts if part.alternatives)


def read(text: str, known: Container[str] = ()) -> Reading | None:
    """How `text` is read; None if it needs no reading, as it is in kana already, or empty.

    Args:
        known: trigrams, as `jsl.checkpoint.trigrams` gives them, of texts that one would expect.
            Where a part can be read in several ways, that of which more is known is taken, if it
            is most of it; else the usual one.

    Raises:
        TextError: characters have no reading; or the extra `kanji`, which would read them, is
            absent or broken.
    """
    if not unknown(normalise(text)):
        return None
    shown = _prepared(text)
    kana = folded(shown)
    numbers = numerals.find(kana)
    read_already = {i for n in numbers for i in range(n.start, n.end) if not n.kanji}
    letters = [
        c
        for n, c in unknown(kana)
        if n - 1 not in read_already and unicodedata.category(c)[0] == "L"
    ]
    tagger = _tagger() if letters else None
    if tagger:
        parts = _parts(shown, kana, *_together(kana, numbers, tagger.words(shown), tagger, shown))
    else:
        alone = [n for n in numbers if not n.kanji or _alone(kana, n)]
        parts = _parts(shown, kana, alone, [])
    found, at = list[tuple[int, str]](), 0
    for part in parts:
        if unknown(part.reading):
            found += [(at + n, c) for n, c in unknown(folded(part.surface))]
        at += len(part.surface)
    if found:
        way_out = "" if tagger or not letters else say("reading.install")
        raise refusal(kana, found, way_out)
    return Reading(_preferred(parts, known) if known else tuple(parts))


# --- signs for numbers --------------------------------------------------------------------------

# Circled, in brackets and with a full stop.
_ENCLOSED = re.compile(
    "[\u2460-\u249b\u24ea-\u24ff\u2776-\u2793\u3220-\u3229\u3248-\u324f\u3251-\u325f"
    "\u3280-\u3289\u32b1-\u32bf]"
)
_ROMAN = re.compile("[\u2160-\u217f]+")  # Ⅰ to Ⅿ, ⅰ to ⅿ
_DATED = re.compile("[\u32c0-\u32cb\u3358-\u3370\u33e0-\u33fe]")  # ㋀ is 1月
_SIGN = re.compile(f"{_ENCLOSED.pattern}|{_ROMAN.pattern}|{_DATED.pattern}")
_LETTERS = {
    1000: "M", 900: "CM", 500: "D", 400: "CD", 100: "C", 90: "XC", 50: "L", 40: "XL", 10: "X",
    9: "IX", 5: "V", 4: "IV", 1: "I",
}  # fmt: skip
# 10² is not 102: these stay what they are, as non-characters, while NFKC is made.
_RAISED = {c: chr(0xFDD0 + i) for i, c in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉")}
_RAISE = str.maketrans(_RAISED)
_LOWER = str.maketrans({held: c for c, held in _RAISED.items()})


def _prepared(text: str) -> str:
    """`text` composed, its signs for numbers as digits: Ⅲ and ③ are 3, ①② is 1 2."""
    text = re.sub("(?<=[0-9０-９])([ck]?m)([²³])", lambda m: m[1] + str("²³".index(m[2]) + 2), text)
    pieces = [""]
    for piece in re.split(f"({_SIGN.pattern})", text.translate(_RAISE)):
        for number in filter(None, _numbers_of(piece)):
            # Two signs side by side are two numbers.
            if _composed(pieces[-1])[-1:].isdigit() and _composed(number)[:1].isdigit():
                pieces.append(" ")
            pieces.append(number)
    return composed("".join(pieces)).translate(_LOWER)


def _composed(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _numbers_of(piece: str) -> list[str]:
    """The numbers that signs stand for; what is no sign stays as it is."""
    if _ENCLOSED.fullmatch(piece):
        return [str(int(unicodedata.numeric(piece)))]
    if not _ROMAN.fullmatch(piece):
        return [piece]
    values = [int(unicodedata.numeric(sign)) for sign in piece]
    # ⅩⅡ is 12, but ⅠⅡⅢ are three numbers.
    if all(v >= 10 for v in values[:-1]) and _composed(piece).upper() == _roman(sum(values)):
        return [str(sum(values))]
    return list(map(str, values))


def _roman(n: int) -> str:
    found = ""
    for value, name in _LETTERS.items():
        found += name * (n // value)
        n %= value
    return found


# --- words --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Word:
    """A word in a text: where it stands, and how it is read.

    Attributes:
        readings: the likeliest first; empty if nobody knows.
        number: whether it is (a part of) a number.
    """

    start: int
    end: int
    readings: tuple[str, ...]
    number: bool = False


# The dictionary's first choice is another one, which one would write less often.
_USUAL = {
    "私": "わたし", "明日": "あした", "明後日": "あさって", "日本": "にほん", "言う": "いう",
    "金": "かね",
}  # fmt: skip
# It has no such word.
_MORE = {
    "一昨日": ("おととい", "いっさくじつ"),
    "一昨年": ("おととし", "いっさくねん"),
    "三日月": ("みかづき",),
}
_ALPHABET = {
    "A": "えー", "B": "びー", "C": "しー", "D": "でぃー", "E": "いー", "F": "えふ", "G": "じー",
    "H": "えいち", "I": "あい", "J": "じぇい", "K": "けー", "L": "える", "M": "えむ", "N": "えぬ",
    "O": "おー", "P": "ぴー", "Q": "きゅー", "R": "あーる", "S": "えす", "T": "てぃー", "U": "ゆー",
    "V": "ぶい", "W": "だぶりゅー", "X": "えっくす", "Y": "わい", "Z": "ぜっと",
}  # fmt: skip
_NAN = tuple("たちつてとだぢづでどなぬねの")  # before these 何 is なん: なんです, なんの


@lru_cache(maxsize=1)
def _dictionary() -> Any:
    """SudachiPy's dictionary; None if SudachiPy is absent.

    Raises:
        TextError: it is there, but broken, or has no dictionary.
    """
    try:
        from sudachipy import Dictionary
    except ModuleNotFoundError as error:
        if error.name == "sudachipy":
            return None
        raise TextError(say("reading.broken", reason=reason_of(error))) from error
    except ImportError as error:
        raise TextError(say("reading.broken", reason=reason_of(error))) from error
    try:
        return Dictionary(dict="core")
    except Exception as error:  # it has errors of several kinds, some of them in Rust
        raise TextError(say("reading.broken", reason=reason_of(error))) from error


class _Tagger:
    """Takes a text apart into words, and knows their readings."""

    def __init__(self, dictionary: Any):
        self.dictionary = dictionary
        self.tokenizer = dictionary.tokenizer()

    def words(self, text: str, at: int = 0) -> list[Word]:
        """The words of `text`, which stands at `at` in another.

        Raises:
            TextError: SudachiPy cannot (a text may have 49,149 bytes).
        """
        try:
            found = list(self.tokenizer.tokenize(text))  # into long words, if not told otherwise
        except Exception as error:
            raise TextError(say("reading.broken", reason=reason_of(error))) from error
        after = [m.surface() for m in found[1:]] + [""]
        words = [
            Word(
                at + m.begin(),
                at + m.end(),
                self.readings(m, following),
                m.part_of_speech()[1] == "数詞",
            )
            for m, following in zip(found, after, strict=True)
        ]
        for more in re.finditer("|".join(_MORE), text):
            start, end = at + more.start(), at + more.end()
            inside = [w for w in words if w.start >= start and w.end <= end]
            if sum(w.end - w.start for w in inside) == end - start:
                place = words.index(inside[0])
                words[place : place + len(inside)] = [Word(start, end, _MORE[more.group()])]
        return words

    def readings(self, word: Any, following: str) -> tuple[str, ...]:
        """Those that the dictionary has for a word where it stands, the usual one first."""
        surface, kind = word.surface(), word.part_of_speech()
        if not unknown(folded(surface)):
            return (folded(surface),)  # は and を stay what they are
        if surface in _ALPHABET:
            return (_ALPHABET[surface],)
        if kind[0] in ("補助記号", "空白", "記号") or word.is_oov():
            return ()
        same = [m for m in self.dictionary.lookup(surface) if _alike(kind, m.part_of_speech())]
        if surface.isascii() and (not same or len(surface) == 1):
            return ()  # letter by letter is no reading of a word, nor is gram one of g
        first = normalise(word.reading_form())
        if surface == "何":
            first = "なん" if following.startswith(_NAN) else "なに"
            same = [m for m in same if normalise(m.reading_form()) in ("なに", "なん")]
        if surface.startswith("数"):
            first = first.replace("すー", "すう")  # すうひゃく
        others = [normalise(m.reading_form()) for m in same]
        if _USUAL.get(surface) in others:
            first = _USUAL[surface]
        if surface == "言う":
            others = []  # ゆう is how いう sounds
        readings = _distinct(r for r in (first, *others) if r and not unknown(r))
        # What is voiced is so in the midst of a word: がね of かね.
        return tuple(
            r
            for r in readings
            if r == readings[0] or _unvoiced(r) not in readings or _unvoiced(r) == r
        )


def _tagger() -> _Tagger | None:
    dictionary = _dictionary()
    return _Tagger(dictionary) if dictionary is not None else None


def _alike(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether words of these kinds can stand in one place: nouns for nouns, and so on."""
    if one[0] in ("動詞", "形容詞", "助動詞"):  # in the same form, of today's language
        return one[0] == other[0] and one[5] == other[5] and not other[4].startswith("文語")
    return one[:2] == other[:2] and (one[1] != "固有名詞" or one[2:4] == other[2:4])


def _unvoiced(kana: str) -> str:
    return unicodedata.normalize("NFD", kana[:1])[:1] + kana[1:]


def _distinct(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


# --- together -----------------------------------------------------------------------------------


def _alone(text: str, number: numerals.Found) -> bool:
    """Whether a number in kanji stands between kana, so that it is no part of something else."""
    around = text[max(0, number.start - 1) : number.start] + text[number.end : number.end + 1]
    return not re.search("[0-9\u3005\u3400-\u9fff\uf900-\ufaff]", around)


def _together(
    kana: str,
    numbers: list[numerals.Found],
    words: list[Word],
    tagger: _Tagger,
    shown: str,
) -> tuple[list[numerals.Found], list[Word]]:
    """The numbers that are numbers, and the words, or what is left of them, beside these."""
    taken: list[numerals.Found] = []
    starts = [word.start for word in words]
    for number in numbers:
        start, end = number.digits
        across = words[bisect_right(starts, start) - 1 : bisect_left(starts, end)]
        whole = len(across) == 1 and not across[0].number and across[0].readings
        if whole and (across[0].start, across[0].end) == (number.start, number.end):
            if number.kanji and kana[start] != "何":  # 十分 is じゅうぶん rather than じゅっぷん
                readings = _distinct([*across[0].readings, *number.readings])
                number = replace(number, readings=readings)
        elif number.kanji and kana[start] != "何":
            if not across[0].number or across[0].start < start or across[-1].end > number.end:
                continue  # 一般, 八百屋; but 三十分, though 十分 is a word
        elif whole and across[0].end > number.end:
            continue
        taken.append(number)
    left: list[Word] = []
    waiting = deque(taken)
    for word in words:
        at = word.start
        while waiting and waiting[0].start < word.end:
            hole = waiting[0]
            if at < hole.start:
                left += tagger.words(shown[at : hole.start], at)
            at = max(at, hole.end)
            if hole.end > word.end:
                break  # it goes on in the next word
            waiting.popleft()
        if at == word.start:
            left.append(word)
        elif at < word.end:
            left += tagger.words(shown[at : word.end], at)
    return taken, left


def _parts(shown: str, kana: str, numbers: list[numerals.Found], words: list[Word]) -> list[Part]:
    """The whole text in parts; what is in kana already, or unknown, is one as far as it goes."""
    known = [(n.start, n.end, n.readings) for n in numbers]
    known += [(w.start, w.end, w.readings) for w in words]
    known = [x for x in known if x[2] and x[2] != (kana[x[0] : x[1]],)]
    parts: list[Part] = []
    at = 0
    for start, end, readings in sorted(known):
        if at < start:
            parts.append(Part(shown[at:start], kana[at:start]))
        parts.append(Part(shown[start:end], readings[0], readings[1:]))
        at = end
    if at < len(shown):
        parts.append(Part(shown[at:], kana[at:]))
    return parts


MOST = 2 / 3


def _preferred(parts: list[Part], known: Container[str]) -> tuple[Part, ...]:
    """The parts, each with the reading that is best known where it stands."""
    chosen = list(parts)
    for i, part in enumerate(parts):
        before = "".join(["^", *(p.reading for p in chosen[max(0, i - 2) : i])])
        after = "".join([*(p.reading for p in chosen[i + 1 : i + 3]), "$"])
        readings = (part.reading, *part.alternatives)
        shares = [_share(before, reading, after, known) for reading in readings]
        best = shares.index(max(shares))  # the first of equals
        if best and shares[best] >= MOST:
            others = (r for r in readings if r != readings[best])
            chosen[i] = Part(part.surface, readings[best], tuple(others))
    return tuple(chosen)


def _share(before: str, reading: str, after: str, known: Container[str]) -> float:
    """Of the trigrams that `reading` has a part in, between the two, the share that is known."""
    text = before[-2:] + reading + after[:2]
    own = {text[i : i + 3] for i in range(len(text) - 2)}
    return sum(trigram in known for trigram in own) / len(own)
