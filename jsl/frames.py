"""The frames of generated sentences: which phrases stand together, with which words.

A frame is named by its parts, in the order of Japanese: T time, S subject, P place, W with whom,
M by what, F from where, G to where, R to whom, N a number, A an adjective, O object, V verb; a
word in kana stands for itself, and ? ends a question that is answered by yes or no. Its function
yields heads, each with slots of options (see `Stratum`): any option of a slot goes with any of the
others, so that sentences can be counted and numbered.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from jsl.grammar import (
    ALONE,
    ASKED,
    IS,
    LAST,
    ORDER,
    PLAIN,
    PLAIN_WHETHER,
    PREDICATE,
    SAID,
    SAID_WHAT,
    SAID_WHETHER,
    WHAT,
    WHETHER,
    Mode,
    Option,
    Phrase,
    Sentence,
    Word,
    alone,
    asking,
    counters,
    inflected,
    lexicon,
    named,
    nouns,
    part,
    predicates,
    sentence,
    timed,
)

Slots = tuple[Sequence[Option], ...]
Heads = Iterator[tuple[str, Slots]]


@dataclass(frozen=True)
class Stratum:
    """The sentences of a frame that have one word in common, its head.

    `slots` are lists of options: a sentence takes one of each, so that there are as many sentences
    as the product of their lengths.
    """

    frame: str
    head: str
    slots: tuple[tuple[Option, ...], ...]

    @property
    def capacity(self) -> int:
        """How many sentences there are."""
        return math.prod(map(len, self.slots))

    def sentence(self, index: int) -> Sentence:
        """The sentence of that number, from 0."""
        phrases: list[Phrase] = []
        for options in self.slots:
            index, digit = divmod(index, len(options))
            phrases += options[digit]
        return sentence(self.frame, phrases)


WEIGHTS: dict[str, int] = {}
_MAKERS: list[tuple[str, Callable[[], Iterator[tuple[str, tuple]]]]] = []


def frame(name: str, weight: int) -> Callable:
    """Registers the function that yields (head, slots) of a frame, which is drawn so often."""

    def register(maker: Callable) -> Callable:
        WEIGHTS[name] = weight
        _MAKERS.append((name, maker))
        return maker

    return register


@cache
def strata() -> tuple[Stratum, ...]:
    """All strata that have sentences, frame by frame."""
    found = []
    for name, maker in _MAKERS:
        for head, slots in maker():
            stratum = Stratum(name, head, tuple(tuple(options) for options in slots))
            if stratum.capacity:
                found.append(stratum)
    return tuple(found)


@cache
def capacity() -> int:
    """How many sentences there are."""
    return sum(stratum.capacity for stratum in strata())


# ------------------------------------------------------------------------------- what slots hold

KNOWN = ("kin", "friend", "job")  # whom one has to do with


def words_of(pos: str) -> tuple[Word, ...]:
    return tuple(word for word in lexicon() if word.pos == pos)


def times(*tenses: str) -> tuple[Word, ...]:
    """The time words, or those of some tenses."""
    return tuple(w for w in words_of("time") if not tenses or w.classes[0] in tenses)


def subjects(*classes: str, copied: bool = False, particle: str = "は") -> list[Option]:
    """Who it is about; `copied` if 日本手話 says a pronoun again at the end."""
    found: list[Option] = []
    for word in nouns(*classes):
        again = copied and {"me", "you", "he"} & set(word.classes)
        copy = (Phrase(0, LAST, "", word.jsl, ()),) if again else ()
        found.append((part("subject", word, particle), *copy))
    return found


def tell(verb: Word | None = None, copied: bool = False) -> list[Option]:
    """Subjects of statements."""
    return subjects("me", "he", *others(verb, KNOWN), copied=copied)


def ask(verb: Word | None = None, copied: bool = False) -> list[Option]:
    """Subjects of questions: not oneself."""
    return subjects("you", "he", *others(verb, KNOWN), copied=copied)


def few(verb: Word | None = None) -> list[Option]:
    """Subjects of sentences with many parts."""
    return subjects("me", "he", *others(verb, ("core",)))


def others(verb: Word | None, classes: tuple[str, ...]) -> tuple[str, ...]:
    """`classes` of people, or none if the verb is done to people: nobody helps himself."""
    return () if verb and {"people", "helper"} & {*verb.takes.get("を", ())} else classes


def pronouns(*others: str) -> list[Option]:
    """Subjects of sentences where someone else takes part."""
    return subjects("me", "he", *others)


def objects(verb: Word, particle: str = "を") -> list[Option]:
    return [(part("object", noun, particle),) for noun in taken(verb, particle)]


def taken(word: Word, particle: str) -> tuple[Word, ...]:
    """The nouns that a word takes with a particle."""
    return nouns(*word.takes.get(particle, ()))


def places(verb: Word) -> list[Option]:
    return [(part("place", noun, "で"),) for noun in taken(verb, "で")]


def receivers(verb: Word | None = None) -> list[Option]:
    """To whom, or with whom."""
    if verb is None:
        return [(part("to", noun, "に"),) for noun in nouns(*KNOWN)]
    whom = [c for c in verb.takes["と"] if c != "person"] or KNOWN
    return [(part("with", noun, "と", ("<と>",)),) for noun in nouns(*whom)]


def goals(verb: Word) -> list[Option]:
    found: list[Option] = []
    for particles in ("へに", "へ", "に", "まで"):
        for noun in taken(verb, particles):
            for p in ("へ", "に") if particles == "へに" else (particles,):
                found.append((part("to", noun, p, ("<まで>",) if p == "まで" else ()),))
    return found


def is_goal(verb: Word) -> bool:
    return any(p in verb.takes for p in ("へに", "へ", "まで")) or (
        "に" in verb.takes and "person" not in verb.takes["に"]
    )


def clock() -> list[Option]:
    return [(counted("when", "時", n, "に"),) for n in range(1, 13)]


def counted(role: str, name: str, n: int, particle: str = "") -> Phrase:
    """So many, with the right reading."""
    counter = counters()[name]
    jsl, signed = counter.number(n)
    kana = counter.readings[n - 1]
    return Phrase(*ORDER[role], kana + particle, jsl, signed, (kana,))


def counted_objects(words: Sequence[Word], particle: str, most: int = 10) -> list[Option]:
    """Nouns with a number of them after the particle; in 日本手話 after the noun."""
    found: list[Option] = []
    for noun in words:
        if name := "".join(noun.takes.get("", ())):
            for n in range(1, most + 1):
                number = replace(counted("object", name, n), sign_at=ORDER["object"][1])
                found.append((part("object", noun, particle), number))
    return found


def by_counter(words: Sequence[Word]) -> Iterator[tuple[str, list[Word]]]:
    """Those nouns that are counted, with their counters: each of these is drawn as often."""
    for name in counters():
        if found := [noun for noun in words if name in noun.takes.get("", ())]:
            yield name, found


def described(words: Sequence[Word], particle: str = "を") -> list[Option]:
    """Nouns with an adjective before them; in 日本手話 after them."""
    found: list[Option] = []
    for noun in words:
        for adjective in words_of("adjective"):
            if "p" in adjective.use or "body" in noun.classes or not adjective.takes_any("", noun):
                continue
            link = "な" if adjective.classes[0] == "na" else ""
            at, sign_at = ORDER["object"]
            found.append(
                (
                    Phrase(
                        at,
                        sign_at,
                        f"{adjective.kana}{link}{noun.kana}{particle}",
                        (*noun.jsl, *adjective.jsl),
                        (*adjective.signed, *noun.signed),
                        (adjective.kana, noun.kana),
                    ),
                )
            )
    return found


def owned(words: Sequence[Word], particle: str = "を") -> list[Option]:
    """Someone's things; 日本手話 has no の."""
    return [
        (
            Phrase(
                *ORDER["object"],
                f"{owner.kana}の{noun.kana}{particle}",
                (*owner.jsl, *noun.jsl),
                (*owner.signed, "<の>", *noun.signed),
                (owner.kana, noun.kana),
            ),
        )
        for noun in words
        for owner in nouns("me", "he", "kin", "friend")
    ]


def question(kana: str, jsl: tuple[str, ...] = (), signed: tuple[str, ...] = ()) -> list[Option]:
    """The ends of a question that has no verb: polite, and plain."""
    polite = Phrase(*PREDICATE, f"{kana}ですか", jsl, (*signed, IS, ASKED))
    return [(polite,), (Phrase(*PREDICATE, f"{kana}？", jsl, signed),)]


def affirmed(word: Word, kinds: str, past: bool = True) -> list[Option]:
    """The predicates of some kinds that do not deny; without those of the past if it says so."""
    return [
        (phrase,)
        for phrase in predicates(word, Mode(kinds, subject=True))
        if "<ない>" not in phrase.signed and (past or "<た>" not in phrase.signed)
    ]


def fixed(*phrases: Phrase) -> list[Option]:
    """The one option of these phrases."""
    return [phrases]


def verbs_with(particle: str) -> Iterator[Word]:
    """The verbs of people that take nouns with a particle."""
    for verb in words_of("verb"):
        if particle in verb.takes and "が" not in verb.takes and "x" not in verb.use:
            yield verb


def transitive() -> Iterator[Word]:
    """The verbs with an object and nobody who gets it."""
    return (verb for verb in verbs_with("を") if "に" not in verb.takes)


def to_person() -> Iterator[Word]:
    return (verb for verb in verbs_with("に") if "person" in verb.takes["に"])


def going() -> Iterator[Word]:
    return (v for v in words_of("verb") if is_goal(v))


def by_oneself() -> Iterator[Word]:
    """The verbs of people that need nothing else, or may leave out what they are done to."""
    for verb in words_of("verb"):
        needs = {"を", "が", "に", "へ", "へに", "まで"} & set(verb.takes)
        if "o" in verb.use or not (needs or list(verb.takes) == ["と"] or "x" in verb.use):
            yield verb


# ------------------------------------------------------------------------------- things are done


@frame("O V", 10)
def _() -> Heads:
    for verb in transitive():
        yield verb.kana, (objects(verb), alone(verb, ALONE))


@frame("O V ?", 6)
def _() -> Heads:
    for verb in transitive():
        yield verb.kana, (objects(verb), alone(verb, WHETHER))


@frame("T O V", 10)
def _() -> Heads:
    for verb in transitive():
        yield verb.kana, (objects(verb), timed(verb, ALONE, times()))


@frame("T O V ?", 4)
def _() -> Heads:
    for verb in transitive():
        yield verb.kana, (objects(verb), timed(verb, WHETHER, times()))


@frame("S O V", 10)
def _() -> Heads:
    for verb in transitive():
        yield verb.kana, (tell(verb), objects(verb), alone(verb, SAID))


@frame("S O V ?", 4)
def _() -> Heads:
    for verb in transitive():
        yield verb.kana, (ask(verb), objects(verb), alone(verb, SAID_WHETHER))


@frame("T S O V", 8)
def _() -> Heads:
    for verb in transitive():
        yield verb.kana, (few(verb), objects(verb), timed(verb, PLAIN, times()))


@frame("P O V", 6)
def _() -> Heads:
    for verb in transitive():
        yield verb.kana, (places(verb), objects(verb), alone(verb, ALONE))


@frame("T S P O V", 5)
def _() -> Heads:
    for verb in transitive():
        yield verb.kana, (few(verb), places(verb), objects(verb), timed(verb, PLAIN, times("past")))


@frame("A O V", 10)
def _() -> Heads:
    for verb in transitive():
        yield verb.kana, (described(taken(verb, "を")), alone(verb, ALONE))


@frame("S A O V", 4)
def _() -> Heads:
    for verb in transitive():
        yield verb.kana, (few(verb), described(taken(verb, "を")), alone(verb, PLAIN))


@frame("O N V", 54)
def _() -> Heads:
    for verb in transitive():
        if "n" in verb.use:
            ends = affirmed(verb, "say want ask must done let")
            for name, words in by_counter(taken(verb, "を")):
                yield name, (counted_objects(words, "を"), ends)


@frame("S の O V", 4)
def _() -> Heads:
    for verb in transitive():
        things = [
            n for n in taken(verb, "を") if {"carry", "clothes", "shoes", "car"} & {*n.classes}
        ]
        yield verb.kana, (owned(things), alone(verb, ALONE))


def finished(verb: Word, mode: Mode) -> list[Option]:
    """What a verb says after もう."""
    found = predicates(verb, replace(mode, kinds="say"))
    return [(p,) for p in found if "<た>" in p.signed and "<ない>" not in p.signed]


@frame("もう O V", 4)
def _() -> Heads:
    already = fixed(Phrase(*ORDER["when"], "もう", (), ("<もう>",)))
    for verb in transitive():
        for mode in (PLAIN, WHETHER):
            yield verb.kana, (already, objects(verb), finished(verb, mode))


@frame("もう V", 3)
def _() -> Heads:
    already = fixed(Phrase(*ORDER["when"], "もう", (), ("<もう>",)))
    for verb in by_oneself():
        for mode in (PLAIN, WHETHER):
            yield verb.kana, (already, finished(verb, mode))


@frame("まだ O V", 3)
def _() -> Heads:
    still = fixed(Phrase(*ORDER["when"], "まだ", (), ("<まだ>",)))
    for verb in transitive():
        yield verb.kana, (still, objects(verb), alone(verb, Mode("yet")))


@frame("まだ V", 3)
def _() -> Heads:
    still = fixed(Phrase(*ORDER["when"], "まだ", (), ("<まだ>",)))
    for verb in by_oneself():
        yield verb.kana, (still, alone(verb, Mode("yet")))


@frame("R O V", 5)
def _() -> Heads:
    for verb in to_person():
        if "を" in verb.takes:
            yield verb.kana, (receivers(), objects(verb), alone(verb, ALONE))


@frame("S R O V", 5)
def _() -> Heads:
    for verb in to_person():
        if "を" in verb.takes:
            yield verb.kana, (pronouns(), receivers(), objects(verb), alone(verb, SAID))


@frame("T R O V", 4)
def _() -> Heads:
    for verb in to_person():
        if "を" in verb.takes:
            slots = receivers(), objects(verb), timed(verb, PLAIN, times("past", "future"))
            yield verb.kana, slots


@frame("R V", 4)
def _() -> Heads:
    for verb in to_person():
        if "を" not in verb.takes:
            yield verb.kana, (receivers(), alone(verb, ALONE))


@frame("T R V", 4)
def _() -> Heads:
    for verb in to_person():
        if "を" not in verb.takes:
            yield verb.kana, (receivers(), timed(verb, ALONE, times()))


@frame("S R V", 4)
def _() -> Heads:
    for verb in to_person():
        if "を" not in verb.takes:
            yield verb.kana, (pronouns(), receivers(), alone(verb, SAID))


@frame("R V ?", 2)
def _() -> Heads:
    for verb in to_person():
        if "を" not in verb.takes:
            yield verb.kana, (receivers(), alone(verb, WHETHER))


# ------------------------------------------------------------------------------ coming and going


@frame("G V", 6)
def _() -> Heads:
    for verb in going():
        yield verb.kana, (goals(verb), alone(verb, ALONE))


@frame("G V ?", 4)
def _() -> Heads:
    for verb in going():
        yield verb.kana, (goals(verb), alone(verb, WHETHER))


@frame("T G V", 8)
def _() -> Heads:
    for verb in going():
        yield verb.kana, (goals(verb), timed(verb, ALONE, times()))


@frame("T G V ?", 4)
def _() -> Heads:
    for verb in going():
        yield verb.kana, (goals(verb), timed(verb, WHETHER, times()))


@frame("S G V", 7)
def _() -> Heads:
    for verb in going():
        yield verb.kana, (tell(), goals(verb), alone(verb, SAID))


@frame("T S G V", 6)
def _() -> Heads:
    for verb in going():
        yield verb.kana, (few(), goals(verb), timed(verb, PLAIN, times()))


@frame("C S G V", 4)
def _() -> Heads:
    for verb in going():
        yield verb.kana, (clock(), few(), goals(verb), alone(verb, PLAIN))


def rides(verb: Word) -> list[Option]:
    """By what one goes where: nobody takes a bus overseas, or an aeroplane to school."""
    found: list[Option] = []
    for vehicle in nouns("short", "near", "far"):
        for goal in goals(verb):
            place = named(goal[0].words[0]).classes
            far, across = "town" in place, "town" in place and "mainland" not in place
            kind = "far" if across else "near far" if far else "short near"
            if {*kind.split()} & {*vehicle.classes}:
                found.append((part("means", vehicle, "で"), *goal))
    return found


@frame("M G V", 4)
def _() -> Heads:
    for verb in (named("いく"), named("くる"), named("かえる")):
        yield verb.kana, (rides(verb), alone(verb, ALONE))


@frame("T S M G V", 4)
def _() -> Heads:
    for verb in (named("いく"), named("くる"), named("かえる")):
        yield verb.kana, (few(), rides(verb), timed(verb, PLAIN, times("past")))


@frame("G N V", 8)
def _() -> Heads:
    often = [(replace(counted("often", "回", n), at=8, sign_at=8),) for n in range(1, 11)]
    for kana in ("いく", "のぼる", "ひなんする", "さんかする"):
        ends = affirmed(named(kana), "say done")
        ends = [end for end in ends if "<た>" in end[0].signed]
        yield kana, (goals(named(kana)), often, ends)


@frame("W G V", 4)
def _() -> Heads:
    company = [(part("with", noun, "と", ("<と>",)),) for noun in nouns(*KNOWN)]
    for verb in going():
        yield verb.kana, (company, goals(verb), alone(verb, ALONE))


@frame("F G V", 3)
def _() -> Heads:
    def ways(*classes: str) -> list[Option]:
        return [
            (part("from", a, "から", ("<から>",)), part("to", b, "まで", ("<まで>",)))
            for a in nouns(*classes)
            for b in nouns(*classes)
            if a is not b
        ]

    near = ways("station", "school", "hotel", "work", "hospital", "shelter")
    for verb in (named("あるく"), named("はしる")):
        yield verb.kana, (near, alone(verb, ALONE))
    yield "いく", (ways("town"), alone(named("いく"), ALONE))


# --------------------------------------------------------------------------- people by themselves


@frame("V", 6)
def _() -> Heads:
    for verb in by_oneself():
        yield verb.kana, (alone(verb, ALONE),)


@frame("V ?", 4)
def _() -> Heads:
    for verb in by_oneself():
        yield verb.kana, (alone(verb, WHETHER),)


@frame("T V", 10)
def _() -> Heads:
    for verb in by_oneself():
        yield verb.kana, (timed(verb, ALONE, times()),)


@frame("S V", 10)
def _() -> Heads:
    for verb in by_oneself():
        yield verb.kana, (tell(), alone(verb, SAID))


@frame("S V ?", 3)
def _() -> Heads:
    for verb in by_oneself():
        yield verb.kana, (ask(), alone(verb, SAID_WHETHER))


@frame("T S V", 8)
def _() -> Heads:
    for verb in by_oneself():
        yield verb.kana, (tell(), timed(verb, PLAIN, times()))


@frame("P V", 3)
def _() -> Heads:
    for verb in by_oneself():
        yield verb.kana, (places(verb), alone(verb, ALONE))


@frame("T P V", 4)
def _() -> Heads:
    for verb in by_oneself():
        yield verb.kana, (places(verb), timed(verb, ALONE, times()))


@frame("C V", 4)
def _() -> Heads:
    for verb in by_oneself():
        if "時" in verb.takes.get("", ()):
            yield verb.kana, (clock(), alone(verb, ALONE))


@frame("T C V", 3)
def _() -> Heads:
    for verb in by_oneself():
        if "時" in verb.takes.get("", ()):
            hours = [(counted("place", "時", n, "に"),) for n in range(1, 13)]
            days = [time for time in times() if "day" in time.classes]
            yield verb.kana, (hours, timed(verb, PLAIN, days))


@frame("W V", 4)
def _() -> Heads:
    for verb in verbs_with("と"):
        yield verb.kana, (receivers(verb), alone(verb, ALONE))


@frame("T W V", 4)
def _() -> Heads:
    for verb in verbs_with("と"):
        yield verb.kana, (receivers(verb), timed(verb, ALONE, times()))


# -------------------------------------------------------------------------- things, and what is so


def happening() -> Iterator[Word]:
    return (v for v in words_of("verb") if "が" in v.takes and "k" not in v.use)


def things(verb: Word) -> list[Option]:
    return [(part("object", noun, "が"),) for noun in taken(verb, "が")]


@frame("X V", 10)
def _() -> Heads:
    for verb in happening():
        yield verb.kana, (things(verb), alone(verb, PLAIN))


@frame("X V ?", 6)
def _() -> Heads:
    for verb in happening():
        yield verb.kana, (things(verb), alone(verb, PLAIN_WHETHER))


@frame("T X V", 10)
def _() -> Heads:
    for verb in happening():
        yield verb.kana, (things(verb), timed(verb, PLAIN, times("past", "any", "future")))


@frame("P X V", 4)
def _() -> Heads:
    for verb in happening():
        yield verb.kana, (places(verb), things(verb), alone(verb, PLAIN))


@frame("C X V", 3)
def _() -> Heads:
    for verb in happening():
        if "時" in verb.takes.get("", ()):
            yield verb.kana, (clock(), things(verb), alone(verb, PLAIN))


@frame("X できる", 3)
def _() -> Heads:
    for verb in (named("わかる"), named("できる")):
        yield verb.kana, (objects(verb, "が"), alone(verb, PLAIN))


@frame("X できる ?", 3)
def _() -> Heads:
    for verb in (named("わかる"), named("できる")):
        yield verb.kana, (objects(verb, "が"), alone(verb, WHETHER))


@frame("S X できる", 4)
def _() -> Heads:
    for verb in (named("わかる"), named("できる")):
        yield verb.kana, (tell(), objects(verb, "が"), alone(verb, PLAIN))


def there(particle: str = "が") -> Iterator[tuple[Word, list[Option], list[Option]]]:
    """ある and いる, the places where, and what is there."""

    def at(*classes: str) -> list[Option]:
        return [(part("subject", noun, "に"),) for noun in nouns(*classes)]

    def what(*classes: str) -> list[Option]:
        return [(part("object", noun, particle),) for noun in nouns(*classes)]

    yield named("ある"), at("home"), what("goods", "furniture", "machine", "food")
    yield named("ある"), at("school", "work"), what("furniture", "machine", "supply")
    refuges = [o for o in at("refuge", "hospital") if o not in at("school")]
    yield named("ある"), refuges, what("supply", "furniture")
    public: list[Option] = [
        (part("object", noun, particle),)
        for noun in nouns("school", "work", "station", "hospital", "hotel", "shop")
        if "place" in noun.classes
    ]
    yield named("ある"), at("town"), public
    yield named("いる"), at("school", "hospital", "station", "shelter"), what("job", "people")
    yield named("いる"), at("home", "outdoor"), what("animal", "kin")


@frame("P X ある", 10)
def _() -> Heads:
    for verb, where, what in there():
        yield verb.kana, (where, what, alone(verb, PLAIN))


@frame("P X ある ?", 6)
def _() -> Heads:
    for verb, where, what in there():
        yield verb.kana, (where, what, alone(verb, PLAIN_WHETHER))


@frame("P X N ある", 16)
def _() -> Heads:
    for verb, classes, where in (
        ("ある", ("furniture", "machine", "supply"), ("school", "refuge", "work")),
        ("いる", ("people", "animal"), ("school", "shelter", "hospital")),
    ):
        rooms = [(part("subject", noun, "に"),) for noun in nouns(*where)]
        for name, words in by_counter(nouns(*classes)):
            yield (
                name,
                (rooms, counted_objects(words, "が"), affirmed(named(verb), "say")),
            )


@frame("S X ある", 5)
def _() -> Heads:
    verb = named("ある")
    what = [(part("object", noun, "が"),) for noun in nouns("symptom", "meeting", "task")]
    yield verb.kana, (tell(), what, alone(verb, PLAIN))


@frame("T X ある", 4)
def _() -> Heads:
    verb = named("ある")
    what = [(part("object", noun, "が"),) for noun in nouns("event", "task", "trip")]
    yield verb.kana, (what, timed(verb, PLAIN, times("past", "any", "future")))


@frame("X が A", 5)
def _() -> Heads:
    for adjective in words_of("adjective"):
        topic = [(part("subject", n, "が"),) for n in taken(adjective, "") if "body" in n.classes]
        yield adjective.kana, (topic, alone(adjective, PLAIN))


@frame("S X が A", 10)
def _() -> Heads:
    for adjective in words_of("adjective"):
        what = [n for n in taken(adjective, "") if "body" in n.classes]
        what += taken(adjective, "want")
        liked = [(part("object", noun, "が"),) for noun in what]
        who = subjects("me", copied=True) if adjective.kana == "ほしい" else tell(copied=True)
        yield adjective.kana, (who, liked, alone(adjective, PLAIN))


@frame("S X が A ?", 6)
def _() -> Heads:
    for adjective in words_of("adjective"):
        what = [n for n in taken(adjective, "") if "body" in n.classes]
        what += taken(adjective, "want")
        liked = [(part("object", noun, "が"),) for noun in what]
        who = subjects("you", copied=True) if adjective.kana == "ほしい" else ask(copied=True)
        yield adjective.kana, (who, liked, alone(adjective, PLAIN_WHETHER))


@frame("T X が A", 5)
def _() -> Heads:
    for adjective in words_of("adjective"):
        topic = [(part("subject", n, "が"),) for n in taken(adjective, "") if "body" in n.classes]
        yield (
            adjective.kana,
            (topic, timed(adjective, PLAIN, [*times("past", "habit"), named("きょう")])),
        )


def topics(adjective: Word) -> list[Option]:
    found = [n for n in taken(adjective, "") if "body" not in n.classes]
    return [
        (part("subject", noun, "は"), *copy)
        for noun in found
        for copy in [(Phrase(0, LAST, "", noun.jsl, ()),) if "he" in noun.classes else ()]
    ]


@frame("X A", 24)
def _() -> Heads:
    for adjective in words_of("adjective"):
        yield adjective.kana, (topics(adjective), alone(adjective, PLAIN))


@frame("X A ?", 14)
def _() -> Heads:
    for adjective in words_of("adjective"):
        yield adjective.kana, (topics(adjective), alone(adjective, PLAIN_WHETHER))


@frame("T X A", 14)
def _() -> Heads:
    for adjective in words_of("adjective"):
        yield adjective.kana, (topics(adjective), timed(adjective, PLAIN, times("past")))


@frame("T A", 8)
def _() -> Heads:
    for adjective in words_of("adjective"):
        if "day" in adjective.takes.get("", ()):
            yield adjective.kana, (timed(adjective, PLAIN, times("past")),)
            suits = {*adjective.takes[""]} - {"day"}
            season = [t for t in times("any") if suits & {*t.classes}]
            now = [(part("subject", t, "は"),) for t in (*season, named("きょう"), named("あした"))]
            yield adjective.kana, (now, alone(adjective, PLAIN))


@frame("X より X A", 10)
def _() -> Heads:
    for adjective in words_of("adjective"):
        if adjective.kana in ("いたい", "かゆい", "うれしい", "だいじょうぶ", "しんぱい"):
            continue
        found = [n for n in taken(adjective, "") if not {"body", "me", "he", "job"} & {*n.classes}]
        pairs = [
            (part("subject", a, "は"), part("place", b, "より", ("<より>",)))
            for a in found
            for b in found
            if a is not b and set(a.classes[:1]) & set(b.classes)
        ]
        more = [(replace(p[1], jsl=(*p[1].jsl, "<比べる>"), sign_at=0),) for p in pairs]
        slots = [(p[0], *m) for p, m in zip(pairs, more, strict=True)]
        ends = [(p,) for p in predicates(adjective, PLAIN) if "<ない>" not in p.signed]
        yield adjective.kana, (slots, ends)


@frame("S N", 10)
def _() -> Heads:
    for noun in nouns("job", "identity"):
        people = subjects("me", "he", "kin", "friend", copied=True)
        yield noun.kana, ([p for p in people if p[0].words != (noun.kana,)], alone(noun, PLAIN))


@frame("S N ?", 8)
def _() -> Heads:
    for noun in nouns("job", "identity"):
        people = subjects("you", "he", "kin", "friend", copied=True)
        yield noun.kana, (people, alone(noun, PLAIN_WHETHER))


@frame("T S N", 5)
def _() -> Heads:
    past = [named("きょねん"), named("せんげつ")]
    for noun in nouns("job"):
        people = subjects("me", "he", "kin", "friend", copied=True)
        ends = [o for o in timed(noun, PLAIN, past) if "<た>" in o[1].signed]
        yield noun.kana, (people, ends)


# ------------------------------------------------------------------------------------- questions


def wh(frame_role: str, kana: str, tag: str) -> list[Option]:
    return fixed(asking(frame_role, kana, tag))


def of_things() -> Iterator[Word]:
    """The transitive verbs that one asks with なに: よぶ and よむ have the same past."""
    return (verb for verb in transitive() if not {"people", "helper"} & {*verb.takes["を"]})


@frame("だれを V", 2)
def _() -> Heads:
    for verb in transitive():
        if {"people", "helper"} & {*verb.takes["を"]}:
            yield (
                verb.kana,
                ([(), *ask(verb)], wh("object", "だれを", "<誰>"), alone(verb, SAID_WHAT)),
            )


@frame("なに V", 4)
def _() -> Heads:
    for verb in of_things():
        yield verb.kana, (wh("object", "なにを", "<何>"), alone(verb, WHAT))


@frame("S なに V", 4)
def _() -> Heads:
    for verb in of_things():
        yield verb.kana, (ask(), wh("object", "なにを", "<何>"), alone(verb, SAID_WHAT))


@frame("T なに V", 3)
def _() -> Heads:
    for verb in of_things():
        yield verb.kana, (wh("object", "なにを", "<何>"), timed(verb, WHAT, times()))


@frame("P なに V", 3)
def _() -> Heads:
    for verb in of_things():
        yield verb.kana, (places(verb), wh("object", "なにを", "<何>"), alone(verb, WHAT))


@frame("だれ O V", 4)
def _() -> Heads:
    for verb in transitive():
        yield verb.kana, (wh("subject", "だれが", "<誰>"), objects(verb), alone(verb, SAID_WHAT))


@frame("だれ G V", 3)
def _() -> Heads:
    for verb in going():
        yield verb.kana, (wh("subject", "だれが", "<誰>"), goals(verb), alone(verb, SAID_WHAT))


@frame("だれ V", 3)
def _() -> Heads:
    for verb in by_oneself():
        yield verb.kana, (wh("subject", "だれが", "<誰>"), alone(verb, SAID_WHAT))


@frame("どこで O V", 3)
def _() -> Heads:
    for verb in transitive():
        yield verb.kana, (wh("place", "どこで", "<どこ>"), objects(verb), alone(verb, WHAT))


@frame("どこで V", 2)
def _() -> Heads:
    for verb in by_oneself():
        if not is_goal(verb):
            yield verb.kana, (wh("place", "どこで", "<どこ>"), alone(verb, WHAT))


@frame("どこ V", 3)
def _() -> Heads:
    for verb in going():
        for particle in ("へに", "へ", "に", "まで"):
            if particle in verb.takes:
                kana, tag = "どこ", "<どこ>"
                if {"ride", "meeting"} & {*verb.takes[particle]}:
                    kana, tag = "なに", "<何>"
                signed = (tag, "<まで>") if particle == "まで" else (tag,)
                particle = "へ" if particle == "へに" else particle
                where = fixed(asking("to", kana + particle, tag, signed))
                yield verb.kana, ([(), *ask()], where, alone(verb, SAID_WHAT))


@frame("いつ O V", 3)
def _() -> Heads:
    for verb in transitive():
        yield verb.kana, (wh("when", "いつ", "<いつ>"), objects(verb), alone(verb, WHAT))


@frame("いつ G V", 3)
def _() -> Heads:
    for verb in going():
        yield verb.kana, (wh("when", "いつ", "<いつ>"), goals(verb), alone(verb, WHAT))


@frame("いつ V", 2)
def _() -> Heads:
    for verb in by_oneself():
        yield verb.kana, (wh("when", "いつ", "<いつ>"), alone(verb, WHAT))


@frame("なぜ O V", 3)
def _() -> Heads:
    for verb in transitive():
        yield verb.kana, (wh("when", "なぜ", "<なぜ>"), objects(verb), alone(verb, SAID_WHAT))


@frame("なぜ V", 2)
def _() -> Heads:
    for verb in by_oneself():
        yield verb.kana, (wh("when", "なぜ", "<なぜ>"), alone(verb, SAID_WHAT))


@frame("だれに O V", 3)
def _() -> Heads:
    for verb in to_person():
        if "を" in verb.takes:
            yield verb.kana, (wh("to", "だれに", "<誰>"), objects(verb), alone(verb, WHAT))


@frame("だれと V", 2)
def _() -> Heads:
    who = fixed(asking("with", "だれと", "<誰>", ("<誰>", "<と>")))
    for verb in verbs_with("と"):
        yield verb.kana, (who, alone(verb, WHAT))


@frame("O いくつ V", 4)
def _() -> Heads:
    for verb in transitive():
        many: list[Option] = []
        if "n" not in verb.use:
            continue
        for noun in taken(verb, "を"):
            if name := "".join(noun.takes.get("", ())):
                many.append((part("object", noun, "を"), how_many(name)))
        yield verb.kana, (many, alone(verb, WHAT))


def how_many(name: str, role: str = "object") -> Phrase:
    """なんぼん, いくつ ...: 日本手話 has one sign for all."""
    counter = counters()[name]
    _, signed = counter.number(0)
    signed = tuple(tag for tag in signed if tag != "<0>")
    signed = ("<何>", *signed) if counter.question.startswith("なん") else ("<いくつ>",)
    return Phrase(ORDER[role][0], LAST, counter.question, ("<いくつ>",), signed)


@frame("X どこ", 4)
def _() -> Heads:
    where = fixed(asking("object", "どこ", "<どこ>"))
    for noun in nouns("place", "room", "carry", "kin", "job", "supply"):
        yield noun.kana, (fixed(part("subject", noun, "は")), where, question(""))


@frame("X どこ ある", 3)
def _() -> Heads:
    where = fixed(asking("object", "どこに", "<どこ>"))
    for verb, classes in (
        ("ある", ("place", "carry", "supply")),
        ("いる", ("kin", "job", "animal")),
    ):
        ends = [
            (p,) for p in predicates(named(verb), Mode("say", "what")) if "<た>" not in p.signed
        ]
        yield verb, ([(part("subject", n, "は"),) for n in nouns(*classes)], where, ends)


@frame("P だれ いる", 2)
def _() -> Heads:
    rooms = [(part("subject", n, "に"),) for n in nouns("school", "home", "hospital", "shelter")]
    who = wh("object", "だれが", "<誰>")
    yield "いる", (rooms, who, alone(named("いる"), SAID_WHAT))


@frame("P なに ある", 2)
def _() -> Heads:
    rooms = [
        (part("subject", n, "に"),) for n in nouns("room", "school", "home", "shelter", "shop")
    ]
    what = wh("object", "なにが", "<何>")
    yield "ある", (rooms, what, alone(named("ある"), SAID_WHAT))


@frame("X いつ", 3)
def _() -> Heads:
    for noun in nouns("event", "trip"):
        time = fixed(asking("object", "いつ", "<いつ>"))
        yield noun.kana, (fixed(part("subject", noun, "は")), time, question(""))


@frame("X T", 3)
def _() -> Heads:
    # The time comes first in 日本手話, wherever Japanese has it.
    for noun in nouns("event", "trip"):
        ends: list[Option] = []
        for time in times("future", "any"):
            if time.kana == "あとで" or not {"day", "future"} & {*time.classes}:
                continue
            for kana in ("です", "だ"):
                ends.append((replace(part("object", time, kana, (IS,)), sign_at=1),))
        yield noun.kana, (fixed(part("subject", noun, "は")), ends)


@frame("X なんじ", 3)
def _() -> Heads:
    asked = fixed(asking("object", "なんじ", "<いくつ>", ("<何>", "<時間>"), ("<時間>",)))
    asked = fixed(*asked[0])
    for noun in nouns("event"):
        yield noun.kana, (fixed(part("subject", noun, "は")), asked, question(""))


@frame("X C", 6)
def _() -> Heads:
    for noun in nouns("event"):
        ends: list[Option] = []
        for n in range(1, 13):
            for start, begin in (("", ()), ("から", ("<から>",))):
                hour = counted("predicate", "時", n)
                for kana in ("です", "だ"):
                    signed = (*hour.signed, *begin, IS)
                    jsl = (*hour.jsl, "<始まる>") if begin else hour.jsl
                    ends.append(
                        (replace(hour, kana=hour.kana + start + kana, jsl=jsl, signed=signed),)
                    )
        yield noun.kana, (fixed(part("subject", noun, "は")), ends)


@frame("いま C", 2)
def _() -> Heads:
    now = Phrase(*ORDER["when"], "いま", ("<今>",), ("<今>",))
    hours = [counted("predicate", "時", n) for n in range(1, 13)]
    ends = [
        (replace(hour, kana=hour.kana + kana, signed=(*hour.signed, IS)),)
        for hour in hours
        for kana in ("です", "だ")
    ]
    yield "いま", (fixed(now), ends)


@frame("S 歳", 8)
def _() -> Heads:
    people = subjects("young")
    ages = [counted("predicate", "歳", n) for n in range(1, 11)]
    ends = [
        (replace(age, kana=age.kana + kana, signed=(*age.signed, IS)),)
        for age in ages
        for kana in ("です", "だ")
    ]
    yield "歳", (people, ends)


@frame("S なんさい", 2)
def _() -> Heads:
    asked = asking("object", "なんさい", "<いくつ>", ("<何>", "<歳>"), ("<年齢>",))
    people = subjects("he", "kin", "friend", "animal")
    yield "歳", (people, fixed(asked), question(""))


@frame("X 円", 8)
def _() -> Heads:
    for noun in nouns("goods", "bought"):
        prices = [counted("predicate", "百円", n) for n in range(1, 10)]
        ends = [
            (replace(price, kana=price.kana + kana, signed=(*price.signed, IS)),)
            for price in prices
            for kana in ("です", "だ")
        ]
        yield noun.kana, (fixed(part("subject", noun, "は")), ends)


@frame("X いくら", 3)
def _() -> Heads:
    asked = asking("object", "いくら", "<いくつ>", ("<いくら>",), ("<お金>",))
    for noun in nouns("goods", "bought", "dish"):
        yield noun.kana, (fixed(part("subject", noun, "は")), fixed(asked), question(""))


@frame("X どう", 4)
def _() -> Heads:
    asked = asking("object", "どう", "<どう>")
    for noun in nouns("event", "trip", "look", "body", "injury", "exam", "dish"):
        yield noun.kana, (fixed(part("subject", noun, "は")), fixed(asked), question(""))


@frame("X だれ", 2)
def _() -> Heads:
    asked = asking("object", "だれ", "<誰>")
    for noun in (*nouns("job"), named("かんじゃ")):
        yield noun.kana, (fixed(part("subject", noun, "は")), fixed(asked), question(""))


# --------------------------------------------------------------------- longer ones, and set phrases


@frame("often O V", 3)
def _() -> Heads:
    day = Phrase(ORDER["often"][0], ORDER["when"][1], "いちにちに", ("<1日>",), ("<1日>",))
    often = [(day, replace(counted("often", "回", n), at=8 - 1)) for n in range(1, 6)]
    verb = named("のむ")
    medicine = [(part("object", n, "を"),) for n in nouns("medicine")]
    yield verb.kana, (often, medicine, affirmed(verb, "say ask must", past=False))
    verb = named("はかる")
    yield verb.kana, (often, objects(verb), affirmed(verb, "say ask must", past=False))


@frame("とき G V", 6)
def _() -> Heads:
    high = ("たかだい", "ひなんじょ")
    for verb in going():
        if not {"shelter", "exit", "place"} & {*goal_classes(verb)} or verb.kana == "くる":
            continue
        found = [o for o in goals(verb) if {"shelter", "exit"} & {*named(o[0].words[0]).classes}]
        ends = affirmed(verb, "say ask must", past=False)
        yield verb.kana, (in_case("じしん", "かじ", "たいふう"), found, ends)
        found = [o for o in found if o[0].words[0] in high]
        yield verb.kana, (in_case("つなみ", "こうずい"), found, ends)


def goal_classes(verb: Word) -> tuple[str, ...]:
    return tuple(c for p in ("へに", "へ", "に", "まで") for c in verb.takes.get(p, ()))


@frame("とき O V", 6)
def _() -> Heads:
    for kana in ("じゅんびする", "もつ", "しらべる", "かくにんする", "きく"):
        verb = named(kana)
        what = [o for o in objects(verb) if named(o[0].words[0]).kana not in ("おんがく", "めがね")]
        ends = affirmed(verb, "say ask must", past=False)
        yield kana, (in_case(*(noun.kana for noun in nouns("quake"))), what, ends)
    for kana in ("よぶ", "たすける", "けす", "あける"):
        verb = named(kana)
        ends = affirmed(verb, "say ask must", past=False)
        yield kana, (in_case("じしん", "かじ"), objects(verb), ends)
    lift = fixed(part("object", named("えれべーたー"), "を"))
    ends = [(p,) for p in predicates(named("つかう"), Mode("ask bar can", subject=True))]
    ends = [end for end in ends if {"<ない>", "<だめ>"} & {*end[0].signed}]
    yield "つかう", (in_case("じしん", "かじ", "ていでん"), lift, ends)


def in_case(*disasters: str) -> list[Option]:
    """In case of one of these."""
    found = [replace(named(kana), jsl=(*named(kana).jsl, "<時>")) for kana in disasters]
    return [(part("when", noun, "のときは、", ("<時>",)),) for noun in found]


def reasons(*clauses: Sequence[Phrase]) -> list[Option]:
    """Why; in 日本手話 it comes last, after <なぜ>, as if one had asked oneself."""
    why = Phrase(-5, 20, "から、", ("<なぜ>",), ("<から>",))
    return [
        (*(replace(p, at=p.at - 20, sign_at=p.sign_at + 30) for p in phrases), why)
        for phrases in clauses
    ]


def unwell() -> list[Option]:
    found = [(part("subject", noun, "が"), plain("いたい")) for noun in nouns("body")]
    found += [(part("subject", noun, "が"), plain("ある")) for noun in nouns("symptom")]
    return reasons(*found, (part("subject", named("せき"), "が"), plain("でる")))


def weather() -> list[Option]:
    found = [(part("subject", noun, "が"), plain("ふる")) for noun in nouns("rain")]
    return reasons(*found, (part("subject", named("かぜ"), "が"), plain("ふく")))


def homes() -> list[Option]:
    """To one's own place."""
    return [(part("to", noun, p),) for noun in nouns("own") for p in ("へ", "に")]


def hindered() -> list[Option]:
    trains = [(part("subject", named(k), "が"), plain("とまる")) for k in ("でんしゃ", "ばす")]
    return [*weather(), *reasons(*trains, (plain("いそがしい"),), (plain("あぶない"),))]


def plain(kana: str) -> Phrase:
    """The plain form of a word that is not of the past."""
    return next(predicates(named(kana), PLAIN))


def denied(word: Word) -> list[Option]:
    """What one does not do, cannot do or must not do."""
    found = predicates(word, Mode("say can bar", subject=True))
    return [(p,) for p in found if {"<ない>", "<だめ>"} & {*p.signed}]


@frame("から V", 4)
def _() -> Heads:
    for kana in ("やすむ", "ねる"):
        yield kana, ([*unwell(), *weather()], affirmed(named(kana), "say want must"))
    for kana in ("はたらく", "およぐ", "あそぶ", "でかける", "うんどうする"):
        yield kana, ([*unwell(), *hindered()], denied(named(kana)))


@frame("から G V", 5)
def _() -> Heads:
    hospitals = [(part("to", noun, p),) for noun in nouns("hospital") for p in ("へ", "に")]
    yield "いく", (unwell(), hospitals, affirmed(named("いく"), "say want must ask"))
    why = [*unwell(), *weather()]
    yield "かえる", (why, homes(), affirmed(named("かえる"), "say want must"))
    for verb in (named("いく"), named("くる")):
        yield verb.kana, (hindered(), goals(verb), denied(verb))
    for verb in (named("にげる"), named("ひなんする")):
        yield verb.kana, (weather(), goals(verb), affirmed(verb, "say must ask"))


@frame("から O V", 4)
def _() -> Heads:
    def what(verb: str, why: list[Option], words: Sequence[Word]) -> tuple[str, Slots]:
        found = [(part("object", noun, "を"),) for noun in words]
        return verb, (why, found, affirmed(named(verb), "say want must ask"))

    yield what("のむ", unwell(), nouns("medicine"))
    yield what("よぶ", unwell(), [named("きゅうきゅうしゃ"), named("たくしー"), named("いしゃ")])
    yield what("うける", unwell(), [named("けんさ"), named("ちゅうしゃ")])
    yield what("はかる", unwell(), nouns("measure"))
    yield what("もつ", weather(), [named("かさ"), named("にもつ")])
    yield what("きる", weather(), nouns("clothes"))
    yield what("しめる", weather(), nouns("open"))
    yield what("みる", weather(), [named("てれび"), named("にゅーす")])
    yield what("じゅんびする", weather(), nouns("supply"))


def firsts() -> list[Option]:
    """What is done before something else."""
    found: list[Option] = []
    for kana in (
        "たべる",
        "あらう",
        "そうじする",
        "べんきょうする",
        "よむ",
        "かく",
        "けす",
        "しめる",
        "かう",
    ):
        verb = named(kana)
        for noun in taken(verb, "を")[:6]:
            te = Phrase(
                -10,
                -10,
                inflected(verb, "te") + "から、",
                (*verb.jsl, "<終わる>"),
                (*verb.signed, "<から>"),
                (verb.kana,),
            )
            found.append((replace(part("object", noun, "を"), at=-12, sign_at=-12), te))
    return found


@frame("てから O V", 4)
def _() -> Heads:
    for kana in ("のむ", "みる", "つくる", "きく", "つかう", "はく", "きる"):
        verb = named(kana)
        yield kana, (firsts(), objects(verb), affirmed(verb, "say want ask let"))


@frame("てから G V", 4)
def _() -> Heads:
    for verb in (named("いく"), named("かえる")):
        yield verb.kana, (firsts(), goals(verb), affirmed(verb, "say want ask let"))


@frame("T S てから W G V", 6)
def _() -> Heads:
    company = [
        (part("with", noun, "と", ("<と>",)),)
        for noun in [n for n in nouns("kin") if "core" not in n.classes]
    ]
    for verb in (named("いく"), named("くる"), named("かえる")):
        before = [
            (replace(o, at=3, sign_at=3), replace(te, at=3, sign_at=3)) for o, te in firsts()[::6]
        ]
        days = [named("きのう"), named("あした"), named("らいしゅう")]
        ends = [end for end in timed(verb, PLAIN, days) if "<ない>" not in end[1].signed]
        yield verb.kana, (few()[1::2], before, company, goals(verb)[::3], ends)


@frame("T から W G V", 6)
def _() -> Heads:
    company = [(part("with", noun, "と", ("<と>",)),) for noun in nouns("friend", "kin")]
    days = [named("きょう"), named("きのう"), named("けさ")]
    hospitals = [(part("to", noun, p),) for noun in nouns("hospital") for p in ("へ", "に")]
    for verb, why, where in (
        ("いく", unwell(), hospitals),
        ("かえる", weather(), homes()),
    ):
        ends: list[Option] = []
        for time, end in timed(named(verb), replace(PLAIN, kinds="say want must"), days):
            if "<ない>" not in end.signed:
                ends.append((replace(time, at=-30), end))
        yield verb, (why, company, where, ends)


@frame("S X が A が X は A", 6)
def _() -> Heads:
    but = Phrase(15, 15, "が、", ("<しかし>",), ("<しかし>",))
    for good, bad in (("すき", "きらい"), ("とくい", "へた"), ("じょうず", "へた")):
        both = taken(named(bad), "want")
        known = [noun for noun in taken(named(good), "want") if noun in both]
        for first, second in ((good, bad), (bad, good)):
            ends = [(p,) for p in predicates(named(first), PLAIN) if p.kana == first + "です"]
            last = [
                (replace(p, at=30, sign_at=30),)
                for p in predicates(named(second), PLAIN)
                if p.kana == second + "です"
            ]
            pairs = [
                (part("object", a, "が"), but, replace(part("object", b, "は"), at=20, sign_at=20))
                for a in known
                for b in known
                if a is not b and set(a.classes[:1]) & set(b.classes)
            ]
            yield first, (tell(), pairs, ends, last)


@frame("T S W M G V", 6)
def _() -> Heads:
    company = [(part("with", noun, "と", ("<と>",)),) for noun in nouns("friend", "young")]
    company = [option for option in company if option[0].words[0] not in ("いぬ", "ねこ")]
    days = [time for time in times("past", "future") if "day" in time.classes]
    for verb in (named("いく"), named("かえる")):
        ends = [end for end in timed(verb, PLAIN, days) if "<ない>" not in end[1].signed]
        yield verb.kana, (subjects("me", "he", "job")[:6], company, rides(verb)[::3], ends)


@frame("phrase", 2)
def _() -> Heads:
    for phrase in words_of("phrase"):
        yield phrase.kana, (fixed(part("predicate", phrase, "")),)


@frame("call phrase", 20)
def _() -> Heads:
    called = [
        (replace(part("call", noun, "、"), kana=noun.kana + "、"),)
        for noun in nouns("job", "friend")
    ]
    for phrase in words_of("phrase"):
        yield phrase.kana, (called, fixed(part("predicate", phrase, "")))


@frame("phrase phrase", 12)
def _() -> Heads:
    first = [named(kana) for kana in ("すみません", "はい", "いいえ", "ごめんなさい", "ありがとう")]
    before = [(part("call", phrase, "、"),) for phrase in first]
    for phrase in words_of("phrase"):
        if phrase not in first:
            yield phrase.kana, (before, fixed(part("predicate", phrase, "")))
