"""Numbers in Japanese text, and how they are read: 3本 さんぼん, 7:30 しちじさんじゅっぷん.

    find("あと3日です")      where numbers stand, with the counters behind them, and their readings
    spelled(1234)            "せんにひゃくさんじゅうよん"
    counted(3, "本")         ("さんぼん",)

A number may be written in digits (1,000, 3.5, -5, 2024/3/11, 7:30, 090-1234-5678), in kanji (三百,
二〇二四) or in both (3万5千). Several readings of one number come with the usual one first. What
is not surely a number is left alone: 3/11 can be a date or a fraction, 1,00 is neither.

A counter changes with the number before it, and the number with it. How a word begins decides how:

    k   いっこ, ろっこ, はっこ, じゅっこ, ひゃっこ
    s   いっさい, はっさい, じゅっさい; t is the same
    h   いっぽん, さんぼん, ろっぽん, はっぽん, じゅっぽん, ひゃっぽん, せんぼん, なんぼん
    p   じゅっぱーせんと

No more than the standard library is needed here.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from itertools import pairwise

# --- numbers ----------------------------------------------------------------------------------

DIGITS = ("ぜろ", "いち", "に", "さん", "よん", "ご", "ろく", "なな", "はち", "きゅう")
_HUNDREDS = {1: "ひゃく", 3: "さんびゃく", 6: "ろっぴゃく", 8: "はっぴゃく"}
_THOUSANDS = {1: "せん", 3: "さんぜん", 8: "はっせん"}
# Units of 10,000, and how they begin: いっちょう, ろっけい.
_GROUPS = (("", ""), ("まん", ""), ("おく", ""), ("ちょう", "t"), ("けい", "k"))
LARGEST = 10**20 - 1
"""The largest number that is read as one; longer ones are read digit by digit."""

# Which ends of a number are cut short before a counter that begins so.
_SHORT = {"k": "168十百", "h": "168十百", "s": "18十", "t": "18十", "p": "十", "": ""}

_Piece = tuple[str, str]  # how it is read, and its kind: a digit, 十 百 千 万 億 兆 京, or 何


def _pieces(n: int) -> list[_Piece]:
    """The pieces of a number that is not 0, the last of which meets a counter: 十 in 20."""
    found: list[_Piece] = []
    for place in range(len(_GROUPS) - 1, -1, -1):
        part = n // 10 ** (4 * place) % 10_000
        if not part:
            continue
        name, sound = _GROUPS[place]
        group = _below_10_000(part)
        if place and group[0] == ("せん", "千") and len(group) == 1:
            group = [("いっせん", "千")]  # before a unit: いっせんまん
        if place:
            text, kind = group[-1]
            if kind in _SHORT[sound]:
                group[-1] = _cut(text), kind
            group.append((name, "万億兆京"[place - 1]))
        found += group
    return found


def _below_10_000(n: int) -> list[_Piece]:
    found: list[_Piece] = []
    thousands, hundreds, tens, ones = n // 1000, n // 100 % 10, n // 10 % 10, n % 10
    if thousands:
        found.append((_THOUSANDS.get(thousands, DIGITS[thousands] + "せん"), "千"))
    if hundreds:
        found.append((_HUNDREDS.get(hundreds, DIGITS[hundreds] + "ひゃく"), "百"))
    if tens:
        found.append(((DIGITS[tens] if tens > 1 else "") + "じゅう", "十"))
    if ones:
        found.append((DIGITS[ones], str(ones)))
    return found


def _cut(text: str) -> str:
    return text[:-1] + "っ"  # いち いっ, ろく ろっ, じゅう じゅっ, びゃく びゃっ


def spelled(n: int) -> str:
    """How a number from 0 to `LARGEST` is read: 300 is さんびゃく, 10,000 いちまん.

    Raises ValueError if it is not one of these.
    """
    if not 0 <= n <= LARGEST:
        raise ValueError(f"spelled: expected a number from 0 to {LARGEST}, got {n}")
    return "".join(text for text, _ in _pieces(n)) or DIGITS[0]


# --- counters ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counter:
    """A word that counts, or a unit.

    Attributes:
        kana: how it is read.
        sound: how it begins, which cuts the number short: k, s, t, h, p or nothing.
        voiced: the ends of numbers after which its first sound is voiced (さんぼん).
        burst: those after which it is a p though nothing is cut short (さんぷん).
        last: for a last digit, other readings of it: {"4": "よ", "7": "なな しち"}.
        ends: for a last digit (or 十), the readings of it with the counter.
        whole: for a number, the readings of it with the counter.
        typed: whether it is known in kana, too: 3にん.
    """

    kana: str
    sound: str = ""
    voiced: str = ""
    burst: str = ""
    last: Mapping[str, str] = field(default_factory=dict)
    ends: Mapping[str, str] = field(default_factory=dict)
    whole: Mapping[int, str] = field(default_factory=dict)
    typed: bool = True

    @cached_property
    def irregular(self) -> dict[str, str]:
        """`whole`, by the number as it is written in digits."""
        return {str(n): readings for n, readings in self.whole.items()}

    @property
    def forms(self) -> tuple[str, ...]:
        """The counter with each sound that it begins with: ほん, ぼん, ぽん."""
        found = [self.kana]
        if self.voiced:
            found.append(_marked(self.kana, "\u3099"))
        if self.sound == "h":
            found.append(_marked(self.kana, "\u309a"))
        return tuple(found)


def _marked(kana: str, mark: str) -> str:
    return unicodedata.normalize("NFC", kana[0] + mark) + kana[1:]


_H = "3千万何"


def _japanese(kana: str, sound: str = "") -> Counter:
    """A counter of things that are counted ひと, ふた, and さん or み."""
    whole = {1: f"ひと{kana}", 2: f"ふた{kana}", 3: f"さん{kana} み{kana}"}
    return Counter(kana, sound, whole=whole, typed=False)


_NEN = {"4": "よ", "7": "なな しち", "9": "きゅう く"}
_DAYS = {
    1: "ついたち いちにち", 2: "ふつか", 3: "みっか", 4: "よっか", 5: "いつか", 6: "むいか",
    7: "なのか", 8: "ようか", 9: "ここのか", 10: "とおか", 14: "じゅうよっか",
    17: "じゅうしちにち じゅうななにち", 19: "じゅうくにち じゅうきゅうにち", 20: "はつか",
    24: "にじゅうよっか", 27: "にじゅうしちにち にじゅうななにち",
    29: "にじゅうくにち にじゅうきゅうにち",
}  # fmt: skip
_DAYS_LONG = {
    n: " ".join(r + "かん" for r in readings.split() if r != "ついたち")
    for n, readings in _DAYS.items()
} | {20: "はつかかん にじゅうにちかん"}
_THINGS = {
    1: "ひとつ", 2: "ふたつ", 3: "みっつ", 4: "よっつ", 5: "いつつ", 6: "むっつ", 7: "ななつ",
    8: "やっつ", 9: "ここのつ",
}  # fmt: skip

COUNTERS: dict[str, Counter] = {
    # people
    "人": Counter("にん", last={"4": "よ よん", "7": "しち なな", "9": "きゅう く"},
                 whole={1: "ひとり", 2: "ふたり", 4: "よにん"}),
    "人前": Counter("にんまえ", last={"4": "よ", "7": "なな しち", "9": "きゅう く"}),
    "名": Counter("めい", last={"7": "なな しち"}),
    "人称": Counter("にんしょう"),
    # things
    "つ": Counter("つ", whole=_THINGS),
    "個": Counter("こ", "k"),
    "箇": Counter("こ", "k", typed=False),
    "本": Counter("ほん", "h", voiced=_H),
    "匹": Counter("ひき", "h", voiced=_H),
    "杯": Counter("はい", "h", voiced=_H, typed=False),
    "枚": Counter("まい"),
    "冊": Counter("さつ", "s"),
    "台": Counter("だい"),
    "頭": Counter("とう", "t"),
    "羽": Counter("わ", ends={"3": "さんば さんわ", "6": "ろくわ ろっぱ", "8": "はちわ はっぱ",
                             "十": "じゅうわ じゅっぱ", "千": "せんば", "万": "まんば",
                             "何": "なんわ なんば"}, typed=False),
    "軒": Counter("けん", "k", voiced="3何"),
    "戸": Counter("こ", "k", typed=False),
    "足": Counter("そく", "s", voiced="3千何"),
    "着": Counter("ちゃく", "t", typed=False),
    "通": Counter("つう", "t", typed=False),
    "件": Counter("けん", "k", typed=False),
    "曲": Counter("きょく", "k"),
    "席": Counter("せき", "s", typed=False),
    "隻": Counter("せき", "s", typed=False),
    "巻": Counter("かん", "k", typed=False),
    "缶": Counter("かん", "k", typed=False),
    "膳": Counter("ぜん"),
    "票": Counter("ひょう", "h", voiced=_H, typed=False),
    "種類": Counter("しゅるい", "s"),
    "組": Counter("くみ", "k", whole={1: "ひとくみ いちくみ", 2: "ふたくみ にくみ"}, typed=False),
    "部屋": Counter("へや", whole={1: "ひとへや", 2: "ふたへや"}, typed=False),
    "皿": _japanese("さら", "s"),
    "晩": _japanese("ばん"),
    "文字": Counter("もじ", whole={1: "ひともじ いちもじ", 2: "ふたもじ にもじ"}),
    "語": Counter("ご", typed=False),
    "部": Counter("ぶ", typed=False),
    "問": Counter("もん", typed=False),
    "章": Counter("しょう", "s", typed=False),
    "課": Counter("か", "k", typed=False),
    "話": Counter("わ", typed=False),
    "ぺーじ": Counter("ぺーじ", "p"),
    # age, order, rank
    "歳": Counter("さい", "s", whole={20: "はたち にじゅっさい にじっさい"}),
    "才": Counter("さい", "s", whole={20: "はたち にじゅっさい にじっさい"}),
    "番": Counter("ばん", last={"4": "よん よ", "7": "なな しち", "9": "きゅう く"}),
    "番線": Counter("ばんせん"),
    "号": Counter("ごう", typed=False),
    "号室": Counter("ごうしつ"),
    "位": Counter("い", typed=False),
    "級": Counter("きゅう", "k", typed=False),
    "等": Counter("とう", "t", typed=False),
    "段": Counter("だん", typed=False),
    "代": Counter("だい", typed=False),
    "丁目": Counter("ちょうめ", "t"),
    "年生": Counter("ねんせい", last=_NEN),
    # times and places
    "回": Counter("かい", "k"),
    "階": Counter("かい", "k", voiced="3何", ends={"3": "さんがい さんかい"}),
    "度": Counter("ど", last={"0": "れい ぜろ", "7": "なな しち", "9": "きゅう く"}),
    "°C": Counter("ど", last={"0": "れい ぜろ", "7": "なな しち", "9": "きゅう く"}),
    "倍": Counter("ばい"),
    "泊": Counter("はく", "h", burst="3何", ends={"4": "よんはく よんぱく"}, typed=False),
    "歩": Counter("ほ", "h", burst="3何", typed=False),
    "発": Counter("はつ", "h", burst="3何", typed=False),
    "か国": Counter("かこく", "k"),
    "か国語": Counter("かこくご", "k"),
    "か所": Counter("かしょ", "k"),
    "箇所": Counter("かしょ", "k"),
    "周": Counter("しゅう", "s", typed=False),
    "点": Counter("てん", "t", last={"0": "れい ぜろ"}),
    "割": Counter("わり", typed=False),
    # dates and time
    "年": Counter("ねん", last=_NEN),
    "年間": Counter("ねんかん", last=_NEN),
    "周年": Counter("しゅうねん", "s"),
    "世紀": Counter("せいき", "s"),
    "月": Counter("がつ", last={"4": "し", "7": "しち", "9": "く"}),
    "か月": Counter("かげつ", "k"),
    "か月間": Counter("かげつかん", "k"),
    "週": Counter("しゅう", "s"),
    "週間": Counter("しゅうかん", "s"),
    "日": Counter("にち", whole=_DAYS),
    "日間": Counter("にちかん", whole=_DAYS_LONG),
    "日目": Counter("にちめ", whole={
        n: " ".join(r + "め" for r in readings.split() if r != "ついたち")
        for n, readings in _DAYS.items()}),
    "曜日": Counter("ようび", typed=False),
    "時": Counter("じ", last={"0": "れい", "4": "よ", "7": "しち なな", "9": "く"}),
    "時間": Counter("じかん", last={"0": "れい ぜろ", "4": "よ", "7": "なな しち", "9": "く"}),
    "分": Counter("ふん", "h", burst="34千万何", last={"0": "れい ぜろ", "7": "なな しち"}),
    "秒": Counter("びょう", last={"0": "れい ぜろ", "7": "なな しち"}),
    "分の": Counter("ぶんの"),
    # money and measures
    "円": Counter("えん", last={"4": "よ よん", "7": "なな しち", "0": "ぜろ れい"}),
    "どる": Counter("どる"),
    "せんと": Counter("せんと", "s"),
    "きろ": Counter("きろ", "k"),
    "km": Counter("きろめーとる", "k"),
    "kg": Counter("きろぐらむ", "k"),
    "kcal": Counter("きろかろりー", "k"),
    "かろりー": Counter("かろりー", "k", ends={"1": "いちかろりー いっかろりー"}),
    "せんち": Counter("せんち", "s"),
    "cm": Counter("せんちめーとる", "s"),
    "みり": Counter("みり"),
    "mm": Counter("みりめーとる"),
    "めーとる": Counter("めーとる"),
    "m": Counter("めーとる"),
    "m2": Counter("へいほうめーとる"),
    "km2": Counter("へいほうきろめーとる"),
    "cm2": Counter("へいほうせんちめーとる"),
    "cm3": Counter("りっぽうせんちめーとる"),
    "m3": Counter("りっぽうめーとる"),
    "ぐらむ": Counter("ぐらむ"),
    "g": Counter("ぐらむ"),
    "mg": Counter("みりぐらむ"),
    "とん": Counter("とん", "t"),
    "t": Counter("とん", "t"),
    "りっとる": Counter("りっとる"),
    "l": Counter("りっとる"),
    "L": Counter("りっとる"),
    "ml": Counter("みりりっとる"),
    "mL": Counter("みりりっとる"),
    "dl": Counter("でしりっとる"),
    "dL": Counter("でしりっとる"),
    "ぱーせんと": Counter("ぱーせんと", "p", ends={"1": "いちぱーせんと いっぱーせんと",
                                             "8": "はちぱーせんと はっぱーせんと"}),
    "%": Counter("ぱーせんと", "p", ends={"1": "いちぱーせんと いっぱーせんと",
                                       "8": "はちぱーせんと はっぱーせんと"}),
}  # fmt: skip
"""The counters that are known, as they are written (katakana folded, as in `jsl.text`)."""

# What may follow a number with its counter, and how it is read there.
_AFTER = {
    "半": "はん", "間": "かん", "目": "め", "前": "まえ", "後": "ご", "頃": "ごろ",
    "以上": "いじょう", "以下": "いか", "以内": "いない", "未満": "みまん",
    "中": "じゅう", "分": "ぶん", "組": "ぐみ",
}  # fmt: skip
# Of these, what goes with some counters only; what is not named here goes with all.
_AFTER_ONLY = {
    "半": "年 時 時間 か月 週間 分 倍 個",
    "間": "年 分 秒 週 か月 泊",
    "中": "日 年",
    "分": "人 人前 個 杯 年 日 か月 週間 時間 回",
    "組": "人",
}
_AFTER_ALONE = ("以上", "以下", "以内", "未満")  # without a counter, too
_BEFORE = {"第": "だい", "午前": "ごぜん", "午後": "ごご", "約": "やく", "¥": "", "$": ""}
_TENTHS = Counter("ぶ")  # 38度5分, 3割5分
_MONEY = {"¥": COUNTERS["円"], "$": COUNTERS["どる"]}


def counted(n: int, counter: str) -> tuple[str, ...]:
    """The readings of a number with a counter of `COUNTERS`, the usual one first."""
    return _counted(str(n), COUNTERS[counter])


def _counted(number: str, counter: Counter | None) -> tuple[str, ...]:
    """The readings of a number: "12", "3.5", "何", "1.5万", or digits that begin with 0."""
    if counter and number in counter.irregular:
        return tuple(counter.irregular[number].split())
    before, (text, kind) = _split(number)
    if counter is None:
        return tuple(before + reading for reading in (text, *_OTHERS.get(kind, ())))
    if kind in counter.ends:
        return tuple(before + reading for reading in counter.ends[kind].split())
    stems = counter.last.get(kind, text).split()
    kana = counter.kana
    if kind and kind in _SHORT[counter.sound]:
        stems = [_cut(text)] + (["じっ"] if text == "じゅう" else [])
        kana = counter.forms[-1] if counter.sound == "h" else kana
    elif kind and kind in counter.voiced:
        kana = _marked(kana, "\u3099")
    elif kind and kind in counter.burst:
        kana = _marked(kana, "\u309a")
    return tuple(before + stem + kana for stem in stems)


# How a number that nothing counts can end as well.
_OTHERS = {"0": ("れい",), "4": ("し",), "7": ("しち",), "9": ("く",)}


def _split(number: str) -> tuple[str, _Piece]:
    """How all of a number but its last piece is read, and that piece."""
    if number == "何":
        return "", ("なん", "何")
    if found := re.fullmatch(r"(\d+)\.(\d+)([万億兆]?)", number):
        whole, fraction, unit = found.groups()
        before = _before_the_point(whole) + "てん"
        before += "".join(DIGITS[int(d)] for d in fraction[:-1])
        last = fraction[-1]
        piece = DIGITS[int(last)], last
        if not unit:
            return before, piece
        name, sound = _GROUPS["万億兆".index(unit) + 1]
        text = _cut(piece[0]) if last in _SHORT[sound] else piece[0]
        return before + text, (name, unit)
    if (number[0] == "0" and len(number) > 1) or len(number) > len(str(LARGEST)):
        digits = [DIGITS[int(d)] for d in number]
        return "".join(digits[:-1]), (digits[-1], "")
    n = int(number)
    if not n:
        return "", (DIGITS[0], "0")
    *pieces, last_piece = _pieces(n)
    before = "".join(text for text, _ in pieces)
    text, kind = last_piece
    if kind == "十" and text != "じゅう":
        before, text = before + text.removesuffix("じゅう"), "じゅう"
    return before, (text, kind)


def _before_the_point(number: str) -> str:
    """いってんご, はってんご, じゅってんご; れいてんご."""
    if number == "0":
        return "れい"
    before, (text, kind) = _split(number)
    return before + (_cut(text) if kind in ("1", "8", "十") else text)


# --- in a text --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """A number in a text, with what counts.

    Attributes:
        start, end: where it stands.
        readings: the usual one first.
        digits: where the number itself stands, without what counts or comes before.
        kanji: whether it is written in kanji, so that it could be part of a word.
    """

    start: int
    end: int
    readings: tuple[str, ...]
    digits: tuple[int, int]
    kanji: bool = False


_KANJI_DIGITS = {c: n for n, c in enumerate("〇一二三四五六七八九")} | {"零": 0}
_UNITS = {"十": 10, "百": 100, "千": 1000}
_BIG = {"京": 10**16, "兆": 10**12, "億": 10**8, "万": 10**4}
NUMERALS = "".join([*_KANJI_DIGITS, *_UNITS, *_BIG])

# 1,000 is not in 1,0000, nor is 3.5.2 a number; what joins such digits stays.
_PLAIN = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?"
_RUN = re.compile(
    rf"(?:{_PLAIN}|[〇零一二三四五六七八九十百千])(?:[{NUMERALS}]|(?<=[{NUMERALS}]){_PLAIN})*|何"
)
_ARABIC = re.compile(r"([0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(\.[0-9]+)?([万億兆]?)")
_DIGIT = "[1-9一二三四五六七八九]"
_SECTION = re.compile(
    rf"(?:({_DIGIT}?)千)?(?:({_DIGIT}?)百)?(?:({_DIGIT}?)十)?([1-9][0-9]{{0,2}}|{_DIGIT}?)"
)
_TIME = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])(?::([0-5][0-9]))?(?![0-9:.,])")
_DATE = re.compile(r"([0-9]{4})([-/.])([0-9]{1,2})\2([0-9]{1,2})(?![-/.]?[0-9])")
_CALL = re.compile(r"(?:0[0-9]+(?:-[0-9]+)+|[0-9]{3}-[0-9]{4})(?![-0-9])")

# か月 is written ヶ月, ヵ月, カ月, ケ月 and 箇月, too.
_ONE_KA = str.maketrans("ゕゖ", "かか")
_SPELLINGS = COUNTERS | {
    ka + name[1:]: counter
    for name, counter in COUNTERS.items()
    if name.startswith("か") and len(name) > 1 and ord(name[1]) > 0x3100
    for ka in "け箇"
}
_TYPED: dict[str, Counter] = {}
for _counter in COUNTERS.values():
    if _counter.typed:
        for _form in _counter.forms:
            _TYPED.setdefault(_form, _counter)
# By their first characters, the longest first.
_KNOWN: dict[str, list[tuple[str, Counter]]] = {}
for _item in sorted((_TYPED | _SPELLINGS).items(), key=lambda item: -len(item[0])):
    _KNOWN.setdefault(_item[0][0], []).append(_item)
# Where a counter is the beginning of another word: 3日本, 2人間.
_NOT_BEFORE = {
    "日": "本曜", "月": "曜", "人": "間気生口類", "分": "野類解担割", "本": "当物人社日店",
    "番": "組号", "台": "所風", "回": "転復収答線路", "時": "々代期計差", "名": "前字所",
    "話": "題", "部": "屋品長署", "代": "表理金", "通": "信り", "着": "物", "点": "字滅",
    "度": "々", "語": "学", "足": "音", "年": "齢",
}  # fmt: skip
_SMALL = "ぁぃぅぇぉゃゅょー"


def find(text: str) -> list[Found]:
    """The numbers in a text, from left to right, and what stands between two of them for から.

    `text` is as `jsl.text.normalise` gives it. What is written in kanji is found wherever it
    could be a number; whether it is part of a word, as in 一般, is for others to say.

    1,00 and 3/11 and 3-5 can be several things: what joins their digits is in no number, and stays.
    """
    found = list(_numbers(text.translate(_ONE_KA)))
    ranges = [
        Found(a.end, b.start, ("から",), (a.end, b.start))
        for a, b in pairwise(found)
        if text[a.end : b.start] in ("~", "〜")
    ]
    return sorted([*found, *ranges], key=lambda f: f.start)


def _numbers(text: str) -> Iterator[Found]:
    at = 0
    while match := _RUN.search(text, at):
        start = match.start()
        if special := _special(text, start):
            end, readings = special
            yield Found(*_extended(text, start, end, readings, None), (start, end))
            at = end
            continue
        run, number = _longest(match.group())
        after = start + len(run)
        found = _one(text, start, after, run, number) if number is not None else None
        at = found.end if found else match.end()
        if found:
            yield found


def _one(text: str, start: int, after: int, run: str, number: str) -> Found | None:
    """A number that ends at `after`, with its counter and with what belongs to it."""
    name, counter = _counter_at(text, after, number)
    if not counter and text.startswith(" ", after):
        name, counter = _counter_at(text, after + 1, number)
        if counter and ("ぁ" <= name[0] <= "ー"):  # then the space parts words
            name, counter = "", None
        after += bool(counter)
    if number == "何" and counter is None:
        return None
    money = None if counter else _MONEY.get(text[start - 1 : start])
    if name in ("月", "日", "時", "分", "秒", "年") and re.fullmatch("0[0-9]", number):
        number = number[1]
    readings = _counted(number, counter or money)
    if run[:2] in ("1千", "一千"):
        readings = tuple("いっ" + r if r.startswith("せん") else r for r in readings)
    end = after + len(name)
    if name == "分" and text[start - 1 : start] in ("度", "割"):
        readings = _counted(number, _TENTHS)
    if name == "組" and text.endswith("年", 0, start):  # of a school
        readings = tuple(reversed(readings))
    if name == "日" and number == "1":
        readings = _first_day(text, start, end)
    if name in ("分", "ぷん", "ふん") and number == "10" and text[start] == "十":
        readings += ("じゅうぶん",)
    digits = start, after
    start, end, readings = _extended(text, start, end, readings, name)
    return Found(start, end, readings, digits, run[0] not in "0123456789")


def _first_day(text: str, start: int, end: int) -> tuple[str, ...]:
    """1日: the first of a month, or how long something takes."""
    if text.endswith("月", 0, start):
        return ("ついたち",)
    if text.startswith((*"間後前中分以半", "おき", "ごと"), end):
        return ("いちにち",)
    if re.match("[に、]?[0-9一二三四五六七八九十何]", text[end : end + 2]):  # 1日3回
        return ("いちにち", "ついたち")
    if text.startswith("一", start):
        return ("いちにち", "ついたち")
    return ("ついたち", "いちにち")


def _counter_at(text: str, at: int, number: str) -> tuple[str, Counter | None]:
    """The longest counter that stands there, as it is written."""
    for name, counter in _KNOWN.get(text[at : at + 1], ()):
        if not text.startswith(name, at):
            continue
        following = text[at + len(name) : at + len(name) + 1]
        if following and following in _NOT_BEFORE.get(name, ""):
            continue
        if name.isascii() and name != "%" and re.match("[0-9A-Za-z]", following):
            continue
        kana = "ぁ" <= name[0] <= "ゖ" and "ぁ" <= name[-1] <= "ー"
        if kana and following and following in _SMALL:
            continue
        if number == "何" and max(name) < "\u3400":  # 何か, but 何か月
            continue
        if name == "曜日" and number != "何":
            continue
        if name == "つ" and number not in counter.irregular:
            continue
        return name, counter
    return "", None


def _extended(
    text: str, start: int, end: int, readings: tuple[str, ...], name: str | None
) -> tuple[int, int, tuple[str, ...]]:
    """A number with what belongs to it before and behind: 約, -, 半, 以上."""
    while word := _word_after(text, end, name):
        readings = tuple(r + _AFTER[word] for r in readings)
        end += len(word)
        name = word
    sign = re.search("(?<![0-9A-Za-z])[-−+]$", text[max(0, start - 2) : start])
    if sign and text[start] in "0123456789":
        word = "ぷらす" if sign.group() == "+" else "まいなす"
        readings = tuple(word + r for r in readings)
        start -= 1
    for word, kana in _BEFORE.items():
        if text.endswith(word, 0, start):
            readings = tuple(kana + r for r in readings)
            start -= len(word)
    return start, end, readings


def _word_after(text: str, at: int, name: str | None) -> str | None:
    """What of `_AFTER` stands there, behind a number with a counter `name`."""
    for word in _AFTER:
        goes_with = _AFTER_ONLY.get(word, name).split() if name else _AFTER_ALONE
        if text.startswith(word, at) and (name or word) in goes_with:
            return word
    return None


def _special(text: str, start: int) -> tuple[int, tuple[str, ...]] | None:
    """A date, a time or a number that one calls, which begins there."""
    if start and text[start - 1] in "0123456789":
        return None
    if match := _DATE.match(text, start):
        year, _, month, day = match.groups()
        try:
            date(int(year), int(month), int(day))
        except ValueError:
            return None
        parts = [(year, "年"), (month, "月"), (day, "日")]
        return match.end(), _joined(parts)
    if match := _TIME.match(text, start):
        hours, minutes, seconds = match.groups()
        parts = [(hours, "時")]
        if int(minutes) or seconds:
            parts.append((minutes, "分"))
        if seconds:
            parts.append((seconds, "秒"))
        return match.end(), _joined(parts)
    if match := _CALL.match(text, start):
        digits = ["".join(DIGITS[int(d)] for d in part) for part in match.group().split("-")]
        return match.end(), ("の".join(digits),)
    return None


def _joined(parts: list[tuple[str, str]]) -> tuple[str, ...]:
    found = [""]
    for number, name in parts:
        more = ("ついたち",) if (int(number), name) == (1, "日") else counted(int(number), name)
        found = [a + b for a in found for b in more]
    return tuple(found)


def _longest(run: str) -> tuple[str, str | None]:
    """The longest beginning of `run` that is a number, and which one."""
    for end in range(len(run), 0, -1):
        rest = run[end:]
        if rest and (rest[0].isascii() or not run[end - 1].isascii()):
            continue  # it ends where digits do and kanji begin, as in 5一般, or nowhere
        number = _value(run[:end])
        if number is not None:
            return run[:end], number
    return run, None


def _value(run: str) -> str | None:
    """What a run of digits and kanji stands for, in digits, or as "3.5", "1.5万"; None: nothing."""
    if run == "何":
        return run
    if match := _ARABIC.fullmatch(run):
        whole, fraction, unit = match.groups()
        if fraction:
            return whole.replace(",", "") + fraction + unit
        if not unit:
            return whole.replace(",", "")
    if all(c in _KANJI_DIGITS for c in run):
        digits = [_KANJI_DIGITS[c] for c in run]
        if len(run) == 2 and 0 not in digits and digits[1] == digits[0] + 1:
            return None  # 二三 is two or three
        return "".join(map(str, digits))
    total, rest = 0, run
    for unit, size in _BIG.items():
        head, there, tail = rest.partition(unit)
        if not there:
            continue
        part = _section(head)
        if not part:
            return None
        total, rest = total + part * size, tail
    part = _section(rest) if rest else 0
    return None if part is None else str(total + part)


def _section(text: str) -> int | None:
    """A number below 10,000, as it stands before 万: 1,500, 5千, 三百二十."""
    if re.fullmatch("[1-9][0-9]{0,3}|[1-9],[0-9]{3}", text):
        return int(text.replace(",", ""))
    match = _SECTION.fullmatch(text)
    if not text or not match:
        return None
    total, smallest = 0, 10_000
    for digit, (unit, size) in zip(match.groups(), reversed(_UNITS.items()), strict=False):
        if digit is None:
            continue
        if digit in ("1", "一") and unit != "千":
            return None
        total, smallest = total + (_KANJI_DIGITS.get(digit) or int(digit or 1)) * size, size
    ones = match.group(4)
    value = _KANJI_DIGITS.get(ones) or int(ones or 0)
    return total + value if value < smallest else None
