"""A grammar of Japanese sentences in kana, with their sign tags in two groups.

A sentence is made of phrases, each with its kana, its tags in both groups and its words. The words
are in `corpora/lexicon.tsv`, the counters with their readings in `corpora/counters.tsv`; what may
stand together follows from the classes there (one eats food and goes to places). A pattern of
phrases is a frame, "T S O V" for time, subject, object and verb. GRAMMAR.md describes the rules of
both groups and says what they leave out; in short:

- 日本手話 (Japanese Sign Language): time, subject or topic, place, other parts, predicate; then
  negation or aspect; at the very end the question word, or the one who is asked. Adjectives,
  classifiers and numbers follow their noun. There are no particles, no copula and no politeness.
  The past is a time word, or else <終わる> after what was done.
- 日本語対応手話 (signed Japanese): the order of Japanese; です, た, ない, か and some particles are
  signed, the others are not.

Rules made it, and no native signer reviewed it. Every kana sentence has one derivation, so that it
determines its tags; `capacity` counts sentences by that, and a slow test lists all of them.
"""

import csv
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

SIGN, SIGNED = "日本手話", "日本語対応手話"
GROUPS = (SIGN, SIGNED)

Tags = tuple[str, ...]


# ------------------------------------------------------------------------------------- the words


@dataclass(frozen=True)
class Word:
    """A line of the lexicon.

    Attributes:
        kana: as it stands in a sentence; verbs and い adjectives in their dictionary form.
        pos: noun, verb, adjective, time or phrase.
        classes: of a noun what it is, of a verb or an adjective how it inflects, of a time word
            its tense (past, future, habit or any).
        takes: of verbs and adjectives, for each particle the classes of nouns; of a noun, under
            "", its counter.
        use: of a verb: v can be willed (wished, asked, allowed ...), d goes on for a while, e can
            be an experience, o can leave out its object, n is done to a number of things, a is an
            accident, 1 is done once in a while, k is to know and x to be there; of an adjective:
            p does not stand before a noun.
        jsl, signed: its tags in the two groups.
        field: greeting, daily, school, medical or disaster.
    """

    kana: str
    pos: str
    classes: tuple[str, ...]
    takes: dict[str, tuple[str, ...]] = field(hash=False)
    use: str
    jsl: Tags
    signed: Tags
    field: str

    def takes_any(self, particle: str, noun: "Word") -> bool:
        """Whether `noun` can stand with this word and that particle."""
        return not set(self.takes.get(particle, ())).isdisjoint(noun.classes)


@dataclass(frozen=True)
class Counter:
    """How things of a kind are counted; `readings[n - 1]` is n of them in kana."""

    name: str
    jsl: str
    signed: str
    question: str
    readings: tuple[str, ...]

    def number(self, n: int) -> tuple[Tags, Tags]:
        """The tags of n such things in the two groups."""
        return tags_of(self.jsl.replace("#", str(n))), tags_of(self.signed.replace("#", str(n)))


def tags_of(text: str) -> Tags:
    """The tags of a cell; a hyphen is none."""
    return () if text.strip() == "-" else tuple(text.split())


def _cells(name: str) -> Iterator[dict[str, str]]:
    path = Path(__file__).parent / "corpora" / name
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file, delimiter="\t", strict=True)


@cache
def lexicon() -> tuple[Word, ...]:
    """All words, in the order of the file."""
    words = []
    for cells in _cells("lexicon.tsv"):
        takes: dict[str, tuple[str, ...]] = {}
        for item in cells["takes"].split():
            particle, _, classes = item.rpartition(":")
            found = tuple(classes.split(","))
            takes[particle] = (*takes.get(particle, ()), *found)
        jsl, _, signed = cells["tags"].partition(" | ")
        words.append(
            Word(
                cells["kana"],
                cells["pos"],
                tuple(cells["class"].split()),
                takes,
                cells["use"],
                tags_of(jsl),
                tags_of(signed or jsl),
                cells["field"],
            )
        )
    return tuple(words)


@cache
def counters() -> dict[str, Counter]:
    """The counters by their names."""
    found = {}
    for cells in _cells("counters.tsv"):
        readings = tuple(cells[str(n)] for n in range(1, 13) if cells[str(n)])
        name = cells["counter"]
        found[name] = Counter(name, cells["jsl"], cells["signed"], cells["question"], readings)
    return found


@cache
def nouns(*classes: str) -> tuple[Word, ...]:
    """The nouns that are in any of these classes."""
    wanted = set(classes)
    return tuple(w for w in lexicon() if w.pos == "noun" and wanted & set(w.classes))


@cache
def _by_kana() -> dict[str, Word]:
    return {word.kana: word for word in lexicon()}


def named(kana: str) -> Word:
    """The word of the lexicon with this kana; KeyError if there is none."""
    return _by_kana()[kana]


# -------------------------------------------------------------------------------------- inflection

# For each last kana of a 五段 verb: before ない, before ます, potential, volitional, た.
_GODAN = {
    "う": "わいえおった",
    "く": "かきけこいた",
    "ぐ": "がぎげごいだ",
    "す": "さしせそした",
    "つ": "たちてとった",
    "ぬ": "なにねのんだ",
    "ぶ": "ばびべぼんだ",
    "む": "まみめもんだ",
    "る": "らりれろった",
}


def inflected(verb: Word, form: str) -> str:
    """A form of a verb in kana.

    `form` is d (the dictionary form), i (before ます), a (before ない), e (potential, without its
    る), o (volitional), ta or te.
    """
    kana, kind = verb.kana, verb.classes[0]
    if form == "d":
        return kana
    if form == "te":
        past = inflected(verb, "ta")
        return past[:-1] + ("て" if past[-1] == "た" else "で")
    if kind == "ichidan":
        stem = kana[:-1]
        return stem + {"i": "", "a": "", "e": "られ", "o": "よう", "ta": "た"}[form]
    if kind == "suru":
        stem = kana[:-2]
        return stem + {"i": "し", "a": "し", "e": "でき", "o": "しよう", "ta": "した"}[form]
    if kind == "kuru":
        return kana[:-2] + {"i": "き", "a": "こ", "e": "こられ", "o": "こよう", "ta": "きた"}[form]
    stem, row = kana[:-1], _GODAN[kana[-1]]
    if form == "ta" and kana == "いく":
        return "いった"
    if form == "a" and kana == "ある":
        return ""
    ending = {"a": row[0], "i": row[1], "e": row[2], "o": row[3] + "う", "ta": row[4:]}[form]
    return stem + ending


NOT, PAST, IS, ASKED, END, CAN = "<ない>", "<た>", "<です>", "<か>", "<終わる>", "<できる>"
WISH, PLEASE, MAY, BAR, MUST = "<たい>", "<お願い>", "<かまわない>", "<だめ>", "<必要>"


@dataclass(frozen=True)
class Ending:
    """What follows a form of a predicate, and is signed after it.

    Attributes:
        kind: say, want, ask, can, may, bar (must not), must, doing, done (has once), let, yet.
        form: see `inflected`.
        past: whether it is of the past.
    """

    kind: str
    form: str
    kana: str
    jsl: Tags
    signed: Tags
    past: bool = False

    @property
    def polite(self) -> bool:
        """Whether か makes a question of it; else a question mark does."""
        return self.kana.endswith(("す", "せん", "した"))

    @property
    def negative(self) -> bool:
        """Whether it denies."""
        return NOT in self.signed


def _endings(table: str) -> tuple[Ending, ...]:
    found = []
    for line in table.strip().splitlines():
        kind, form, kana, jsl, signed, *past = line.split()
        texts = [() if cell == "-" else tuple(f"<{t}>" for t in cell.split("+"))
                 for cell in (jsl, signed)]  # fmt: skip
        kana = "" if kana == "-" else kana
        found.append(Ending(kind, form, kana, texts[0], texts[1], bool(past)))
    return tuple(found)


VERB = _endings("""
say   d  -                -         -
say   i  ます             -         -
say   a  ない             ない      ない
say   i  ません           ない      ない
say   ta -                終わる    た        past
say   i  ました           終わる    た        past
say   a  なかった         ない      ない+た   past
say   i  ませんでした     ない      ない+た   past
want  i  たい             たい      たい
want  i  たいです         たい      たい+です
want  i  たくない         たい+ない たい+ない
want  i  たくないです     たい+ない たい+ない+です
ask   te ください         お願い    お願い
ask   a  ないでください   ない+お願い ない+お願い
can   e  る               できる    できる
can   e  ます             できる    できる
can   e  ない             できない  できる+ない
can   e  ません           できない  できる+ない
may   te もいい           かまわない よい
may   te もいいです       かまわない よい+です
bar   te はいけない       だめ      だめ
bar   te はいけません     だめ      だめ
must  a  なければならない   必要      必要
must  a  なければなりません 必要      必要
doing te いる             中        いる
doing te います           中        いる
done  ta ことがある       経験+ある た+こと+ある
done  ta ことがあります   経験+ある た+こと+ある
done  ta ことがない       経験+ない た+こと+ない
done  ta ことがありません 経験+ない た+こと+ない
let   o  -                -         ましょう
let   i  ましょう         -         ましょう
yet   te いない           まだ      ない
yet   te いません         まだ      ない
""")
I_ADJECTIVE = _endings("""
say   -  い               -         -
say   -  いです           -         です
say   -  くない           ない      ない
say   -  くないです       ない      ない+です
say   -  かった           -         た        past
say   -  かったです       -         た+です   past
say   -  くなかった       ない      ない+た   past
say   -  くなかったです   ない      ない+た+です past
""")
NA_ADJECTIVE = _endings("""
say   -  だ               -         です
say   -  です             -         です
say   -  ではない         ない      ない
say   -  ではありません   ない      ない
say   -  だった           -         です+た   past
say   -  でした           -         です+た   past
say   -  ではなかった     ない      ない+た   past
say   -  ではありませんでした ない  ない+た   past
""")
# A noun is not denied by <ない>, which would say that it is not there.
NOMINAL = tuple(
    replace(e, jsl=tuple("<違う>" if tag == NOT else tag for tag in e.jsl)) for e in NA_ADJECTIVE
)

# Two signs that are one in 日本手話.
_MERGED: dict[Tags, Tags] = {
    ("<ある>", NOT): (NOT,),
    ("<いる>", NOT): (NOT,),
    ("<わかる>", NOT): ("<わからない>",),
    ("<できる>", NOT): ("<できない>",),
    (END, END): (END,),
}


def _merged(tags: Tags) -> Tags:
    return (*tags[:-2], *_MERGED.get(tags[-2:], tags[-2:]))


# ----------------------------------------------------------------------------------------- phrases

# Where a part stands in Japanese and in 日本手話.
ORDER = {
    "call": (0, 0),
    "when": (1, 1),  # a time, or a condition
    "subject": (2, 2),
    "place": (3, 3),
    "with": (4, 4),
    "means": (5, 5),
    "from": (6, 6),
    "often": (7, 9),
    "to": (7, 7),
    "object": (8, 8),
    "predicate": (10, 10),
}
PREDICATE = ORDER["predicate"]
LAST = 12  # of question words and of pronouns that come again, in 日本手話


@dataclass(frozen=True)
class Phrase:
    """A part of a sentence, and where it stands in Japanese (`at`) and in 日本手話 (`sign_at`)."""

    at: int
    sign_at: int
    kana: str
    jsl: Tags
    signed: Tags
    words: tuple[str, ...] = ()


Option = tuple[Phrase, ...]


@dataclass(frozen=True)
class Sentence:
    """A sentence in kana with its tags in the two groups, its frame, and its words as listed."""

    kana: str
    jsl: Tags
    signed: Tags
    frame: str
    words: tuple[str, ...]

    def tags(self, group: str) -> Tags:
        """Its tags in a group."""
        return self.jsl if group == SIGN else self.signed


def part(role: str, word: Word, particle: str, signed: Tags = (), asked: bool = False) -> Phrase:
    """A word and its particle; `signed` are the tags of that, `asked` whether it is asked for."""
    at, sign_at = ORDER[role]
    sign_at = LAST if asked else sign_at
    return Phrase(
        at, sign_at, word.kana + particle, word.jsl, (*word.signed, *signed), (word.kana,)
    )


def asking(role: str, kana: str, tag: str, signed: Tags | None = None, jsl: Tags = ()) -> Phrase:
    """A question word; `jsl` are tags that stay before it."""
    at, _ = ORDER[role]
    return Phrase(at, LAST, kana, (*jsl, tag), (tag,) if signed is None else signed)


def sentence(frame: str, phrases: Sequence[Phrase]) -> Sentence:
    """The sentence of these phrases, with its marks.

    A full stop, a question mark after か and a comma after a time are there or not as the kana
    have it, so that no two sentences differ by their marks alone.
    """
    spoken = sorted((p for p in phrases), key=lambda p: p.at)
    kana = "".join(p.kana for p in spoken)
    chance = zlib.crc32(kana.encode())
    when = [p for p in spoken if p.at == ORDER["when"][0] and p.kana]
    if when and chance % 5 == 0 and "、" not in when[-1].kana:
        before = "".join(p.kana for p in spoken if p.at <= when[-1].at)
        kana = f"{before}、{kana[len(before) :]}"
    if kana.endswith("か"):
        kana += ("", "", "。", "？")[chance // 5 % 4]
    elif not kana.endswith(("？", "！")):
        kana += ("", "", "。")[chance // 5 % 3]
    signs = sorted((p for p in phrases), key=lambda p: p.sign_at)
    return Sentence(
        kana,
        tuple(tag for p in signs for tag in p.jsl),
        tuple(tag for p in spoken for tag in p.signed),
        frame,
        tuple(word for p in spoken for word in p.words),
    )


# -------------------------------------------------------------------------------------- predicates


@dataclass(frozen=True)
class Mode:
    """What a sentence asks of its predicate.

    Attributes:
        kinds: those of endings that it may have.
        question: "" for a statement, "whether", or "what" if it has a question word.
        subject: whether it says who.
    """

    kinds: str
    question: str = ""
    subject: bool = False


ALONE = Mode("say want ask can may bar must doing done let")
SAID = Mode("say can must doing done", subject=True)
PLAIN = Mode("say", subject=True)
WHETHER = Mode("say want can doing done may", "whether")
SAID_WHETHER = Mode("say can doing done", "whether", subject=True)
PLAIN_WHETHER = Mode("say", "whether", subject=True)
WHAT = Mode("say want", "what")
SAID_WHAT = Mode("say", "what", subject=True)

_NEEDED = {"want": "v", "ask": "v", "can": "v", "may": "v", "bar": "v", "must": "v", "let": "v",
           "doing": "d", "done": "e", "yet": "v"}  # fmt: skip
TENSES = {"past": {"past"}, "future": {"now"}, "habit": {"now"}, "any": {"now", "past"}}
WITH_TIME = {"say", "want", "can", "must", "let", "ask"}


def predicates(word: Word, mode: Mode, tense: str = "") -> Iterator[Phrase]:
    """All that a verb or an adjective can be as the predicate of a sentence.

    Args:
        tense: of the time word: past, future, habit or any; "" without one.
    """
    verb = word.pos == "verb"
    endings = VERB if verb else NOMINAL if word.pos == "noun" else NA_ADJECTIVE
    if word.classes[0] == "i" and not verb:
        endings = I_ADJECTIVE
    kinds = set(mode.kinds.split())
    for ending in endings:
        if ending.kind not in kinds or _NEEDED.get(ending.kind, "") not in word.use:
            continue
        if tense and (
            ending.kind not in WITH_TIME
            or ("past" if ending.past else "now") not in TENSES[tense]
            or (tense == "habit" and ending.kind in ("let", "want"))
        ):
            continue
        state = not verb or "k" in word.use or "x" in word.use
        if state and ending.past and tense != "past":
            continue  # what was so is said by a time word
        if "a" in word.use and not (ending.past or ending.kind == "done"):
            continue  # nobody plans it
        if "1" in word.use and tense == "habit":
            continue  # nobody does it every day
        if mode.question and (ending.negative or (ending.kind == "may" and not ending.polite)):
            continue  # たべませんか would be an invitation
        yield _predicate(word, ending, mode, tense)


def _predicate(word: Word, ending: Ending, mode: Mode, tense: str) -> Phrase:
    stem = inflected(word, ending.form) if word.pos == "verb" else word.kana
    if word.pos == "adjective" and word.classes[0] == "i":
        stem = stem[:-1]
    kana, jsl, signed = stem + ending.kana, ending.jsl, ending.signed
    if END in jsl and (tense == "past" or mode.question == "what"):
        jsl = ()  # the time word has said it, or the question leaves it out
    if mode.question:
        if ending.polite:
            kana, signed = kana + "か", (*signed, ASKED)
        else:
            kana = (kana.removesuffix("だ") if word.pos != "verb" else kana) + "？"
            signed = tuple(t for t in signed if t != IS) if kana == word.kana + "？" else signed
    jsl = _merged((*word.jsl, *jsl)) if word.pos == "verb" else (*word.jsl, *jsl)
    asked = mode.question == "whether" and not mode.subject and ending.kind != "may"
    if asked and word.pos == "verb" and "x" not in word.use:
        jsl = (*jsl, "<あなた>")
    return Phrase(*PREDICATE, kana, jsl, (*word.signed, *signed), (word.kana,))


def timed(word: Word, mode: Mode, times: Sequence[Word]) -> tuple[Option, ...]:
    """All pairs of a time word and a predicate whose tenses agree."""
    tenses = dict.fromkeys(time.classes[0] for time in times)
    found = {tense: tuple(predicates(word, mode, tense)) for tense in tenses}
    return tuple((when(time), phrase) for time in times for phrase in found[time.classes[0]])


@cache
def when(time: Word) -> Phrase:
    """A time word as it stands in a sentence."""
    return part("when", time, "に" if "に" in time.classes else "")


def alone(word: Word, mode: Mode) -> tuple[Option, ...]:
    """All predicates of a word without a time."""
    return tuple((p,) for p in predicates(word, mode))
