"""The grammar of generated corpora: its words, its rules, and that kana determine tags."""

import csv
import itertools
import re
import unicodedata
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import pytest

import jsl
from jsl import grammar
from jsl.corpus import load_corpus, starter_corpus_path
from jsl.frames import WEIGHTS, capacity, strata
from jsl.generate import generate
from jsl.grammar import GROUPS, SIGN, SIGNED, counters, inflected, lexicon, named, sentence
from jsl.text import SYMBOLS, check
from jsl.vocabulary import is_tag

HERE = Path(jsl.__file__).parent
PAGE = (HERE / "GRAMMAR.md").read_text(encoding="utf-8")
PHRASES = {word.kana for word in lexicon() if word.pos == "phrase"}
TAGS_OF_QUESTIONS = {"<何>", "<誰>", "<どこ>", "<いつ>", "<なぜ>", "<いくつ>", "<どう>"}


@pytest.fixture(scope="module")
def sentences():
    return generate(16_000, seed=5)


@cache
def bare(kana):
    """Without the marks that a sentence has or has not."""
    return re.sub("[。、 ]", "", kana).replace("か？", "か")


def derivations(kana, frame=None):
    """All sentences of the grammar that are spelled so but for marks."""
    wanted = bare(kana)
    for stratum in strata():
        if frame in (None, stratum.frame):
            slots = []
            for options in sorted(stratum.slots, key=len):
                slots.append([o for o in options if all(bare(p.kana) in wanted for p in o)])
                if not slots[-1]:
                    break
            for options in itertools.product(*slots):
                found = sentence(stratum.frame, [p for option in options for p in option])
                if bare(found.kana) == wanted:
                    yield found


# -------------------------------------------------------------------------------------- the lexicon


def test_the_lexicon_is_large_and_covers_its_fields():
    words = [word for word in lexicon() if word.pos != "phrase"]
    assert len(words) >= 350
    fields = Counter(word.field for word in lexicon())
    assert set(fields) == {"greeting", "daily", "school", "medical", "disaster"}
    assert min(fields.values()) >= 25


def test_words_are_well_formed():
    for word in lexicon():
        well_formed(word)


def well_formed(word):
    assert word.kana == check(word.kana)
    assert word.pos in ("noun", "verb", "adjective", "time", "phrase")
    assert word.signed
    assert word.jsl or word.kana in ("ふる", "でる")
    assert all(map(is_tag, (*word.jsl, *word.signed)))
    match word.pos:
        case "verb":
            assert word.classes[0] in ("godan", "ichidan", "suru", "kuru")
            assert word.classes[0] != "suru" or word.kana.endswith("する")
            assert (
                word.classes[0] != "ichidan"
                or word.kana[-2:-1] in "いきしちにひみりえけげせてでねべめれ"
            )
            assert set(word.use) <= set("vdeona1kx")
        case "adjective":
            assert word.classes[0] in ("i", "na")
            assert word.classes[0] == "na" or word.kana.endswith("い")
        case "time":
            assert word.classes[0] in ("past", "future", "any", "habit")
        case "noun":
            assert set(word.takes.get("", ())) <= set(counters())


def test_no_two_words_are_spelled_alike():
    counted = Counter(word.kana for word in lexicon())
    assert [kana for kana, n in counted.items() if n > 1] == []


def test_what_words_take_is_there():
    classes = {name for word in lexicon() if word.pos in ("noun", "time") for name in word.classes}
    for word in lexicon():
        for particle, names in word.takes.items():
            if particle and word.pos in ("verb", "adjective"):
                assert set(names) <= classes | {"person"}, word


def test_the_lexicon_is_a_table_that_editors_keep():
    for name in ("lexicon.tsv", "counters.tsv"):
        data = (HERE / "corpora" / name).read_bytes()
        assert b"\r" not in data
        assert data.endswith(b"\n")
        text = data.decode()
        assert unicodedata.is_normalized("NFC", text)
        rows = list(csv.reader(text.splitlines(), delimiter="\t", strict=True))
        assert {len(row) for row in rows} == {len(rows[0])}


READINGS = {
    "人": "ひとり ふたり さんにん よにん ごにん ろくにん ななにん はちにん きゅうにん じゅうにん",
    "冊": (
        "いっさつ にさつ さんさつ よんさつ ごさつ ろくさつ ななさつ はっさつ きゅうさつ じゅっさつ"
    ),
    "時": "いちじ にじ さんじ よじ ごじ ろくじ しちじ はちじ くじ じゅうじ じゅういちじ じゅうにじ",
    "つ": "ひとつ ふたつ みっつ よっつ いつつ むっつ ななつ やっつ ここのつ とお",
}


@pytest.mark.parametrize("name", READINGS)
def test_counters_are_read_as_japanese_reads_them(name):
    assert counters()[name].readings == tuple(READINGS[name].split())


@pytest.mark.parametrize("name", ["本", "匹", "杯"])
def test_some_counters_change_their_first_sound(name):
    counter = counters()[name]
    first = counter.readings[1][1]  # as に is before it
    b, p = {"ほ": "ぼぽ", "ひ": "びぴ", "は": "ばぱ"}[first]
    assert [n for n, r in enumerate(counter.readings, 1) if p in r] == [1, 6, 8, 10]
    assert [n for n, r in enumerate(counter.readings, 1) if b in r] == [3]


def test_every_counter_has_readings_and_tags():
    for counter in counters().values():
        assert len(counter.readings) >= 9
        assert len(set(counter.readings)) == len(counter.readings)
        for n, reading in enumerate(counter.readings, 1):
            assert reading == check(reading)
            jsl, signed = counter.number(n)
            assert all(map(is_tag, (*jsl, *signed)))
            assert f"<{n}>" in jsl
            assert f"<{n}>" in signed


# -------------------------------------------------------------------------------------- inflection

FORMS = [  # dictionary form, before ます, before ない, potential, volitional, た, て
    "かう かい かわ かえ かおう かった かって",
    "かく かき かか かけ かこう かいた かいて",
    "いく いき いか いけ いこう いった いって",
    "けす けし けさ けせ けそう けした けして",
    "まつ まち また まて まとう まった まって",
    "あそぶ あそび あそば あそべ あそぼう あそんだ あそんで",
    "よむ よみ よま よめ よもう よんだ よんで",
    "のる のり のら のれ のろう のった のって",
    "たべる たべ たべ たべられ たべよう たべた たべて",
    "みる み み みられ みよう みた みて",
    "くる き こ こられ こよう きた きて",
    "そうじする そうじし そうじし そうじでき そうじしよう そうじした そうじして",
]


@pytest.mark.parametrize("forms", FORMS, ids=lambda forms: forms.split()[0])
def test_verbs_inflect(forms):
    verb = named(forms.split()[0])
    assert [inflected(verb, f) for f in ("d", "i", "a", "e", "o", "ta", "te")] == forms.split()


@pytest.mark.parametrize(("last", "past"), [("ぐ", "いだ"), ("ぬ", "んだ")])
def test_endings_that_no_verb_here_has_inflect_as_well(last, past):
    verb = grammar.Word("し" + last, "verb", ("godan",), {}, "", (), ("<x>",), "daily")
    assert inflected(verb, "ta") == "し" + past
    assert inflected(verb, "te") == "し" + past[:-1] + "で"


@pytest.mark.parametrize(
    ("frame", "kana"),
    [
        ("O V", "みずをのみませんでした"),
        ("O V", "みずをのまなかった"),
        ("O V", "みずをのんではいけません"),
        ("O V", "みずをのまなければならない"),
        ("O V", "りんごをたべてください"),
        ("O V", "りんごをたべたくないです"),
        ("T G V", "あしたがっこうへこなければなりません"),
        ("S X ある", "わたしはねつがない"),
        ("X A", "ほんはやすくないです"),
        ("T X A", "きのうしあいはたのしかったです"),
        ("X A ?", "びょういんはしずか？"),
        ("A O V", "きれいなへやをそうじする"),
        ("まだ V", "まだおきていません"),
    ],
)
def test_what_japanese_says_is_derived(frame, kana):
    assert len(set(derivations(kana, frame))) == 1


@pytest.mark.parametrize(
    "kana",
    [
        "あんぱんへたべます",  # not a word
        "がっこうをたべます",  # not food
        "りんごへいきます",  # not a place
        "きのうたべます",  # not the tense of yesterday
        "あしたたべました",
        "わたしはたべますか",  # nobody asks what he does himself
        "たべましょうか",
        "ちちはちちにあいます",
    ],
)
def test_what_makes_no_sense_is_not_derived(kana):
    assert list(derivations(kana)) == []


# ----------------------------------------------------------------------------------------- frames


def test_every_word_is_reached():
    reached = {
        word
        for stratum in strata()
        for options in stratum.slots
        for option in options
        for phrase in option
        for word in phrase.words
    }
    assert {word.kana for word in lexicon()} <= reached
    for counter in counters().values():
        assert set(counter.readings) <= reached


def test_every_frame_has_sentences():
    frames = {stratum.frame for stratum in strata()}
    assert frames == set(WEIGHTS)
    assert all(weight > 0 for weight in WEIGHTS.values())


def test_there_are_enough_sentences():
    assert capacity() == sum(stratum.capacity for stratum in strata()) > 1_000_000


def test_no_sentence_is_longer_than_the_preset_takes():
    longest = 0
    for stratum in strata():
        # A comma and a full stop may come to the kana.
        kana = sum(max(sum(len(p.kana) for p in o) for o in slot) for slot in stratum.slots) + 2
        for tags in ("jsl", "signed"):
            most = sum(
                max(sum(len(getattr(p, tags)) for p in o) for o in slot) for slot in stratum.slots
            )
            assert most <= 49
        longest = max(longest, kana)
    assert 30 <= longest <= 49


def test_the_tags_are_moderate_in_number_and_are_those_of_the_bundled_corpus():
    tags = {
        tag
        for stratum in strata()
        for options in stratum.slots
        for option in options
        for phrase in option
        for tag in (*phrase.jsl, *phrase.signed)
    }
    assert all(map(is_tag, tags))
    assert 350 <= len(tags) <= 520
    bundled = set(load_corpus(starter_corpus_path()).tags)
    assert len(bundled & tags) >= len(bundled) - 3


def test_sentences_of_the_bundled_corpus_have_its_tags():
    expected = defaultdict(dict)
    for row in load_corpus(starter_corpus_path()).rows:
        expected[row.japanese][row.group] = row.tags
    derived = 0
    for kana, tags in expected.items():
        for found in derivations(kana):
            assert {group: found.tags(group) for group in GROUPS} == tags
            derived += 1
    assert derived >= 35


# ------------------------------------------------------------------------------------------ rules


def examples():
    group = None
    for line in PAGE.splitlines():
        if line.startswith("## "):
            group = next((g for g in GROUPS if line.startswith(f"## {g} ")), None)
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if group and len(cells) == 4 and cells[3].startswith("<"):
            yield group, *cells[1:]


@pytest.mark.parametrize(("group", "frame", "kana", "tags"), [*examples()])
def test_the_examples_of_the_page_are_what_the_grammar_says(group, frame, kana, tags):
    assert {" ".join(found.tags(group)) for found in derivations(kana, frame)} == {tags}


def test_the_page_has_examples_of_both_groups():
    assert Counter(group for group, *_ in examples()).keys() == set(GROUPS)
    assert "no native signer has\nreviewed them" in PAGE


def words_of(pos):
    return {word.kana: word for word in lexicon() if word.pos == pos}


def test_the_time_comes_first(sentences):
    times = words_of("time")
    seen = 0
    for s in sentences:
        time = [times[word] for word in s.words if word in times]
        if time and s.frame != "T A":
            assert s.jsl[: len(time[0].jsl)] == time[0].jsl, s
            seen += 1
    assert seen > 1000


def test_question_words_come_last(sentences):
    seen = 0
    for s in sentences:
        asked = TAGS_OF_QUESTIONS & set(s.jsl)
        if asked and s.kana.rstrip("。").endswith(("か", "？")) and not PHRASES & set(s.words):
            assert s.jsl[-1] in asked, s
            assert (
                s.jsl[-1] == "<いくつ>"
                or s.signed[-1] not in asked
                or "です" in s.kana
                or ("？" in s.kana)
            ), s
            seen += 1
    assert seen > 500


def test_negation_follows_the_predicate(sentences):
    after = {"<ない>", "<お願い>", "<あなた>", "<私>", "<彼>", "<彼女>"}
    seen = 0
    for s in sentences:
        if s.frame.startswith(("から", "T から")) or PHRASES & set(s.words):
            continue
        if "<ない>" in s.jsl:
            assert set(s.jsl[s.jsl.index("<ない>") :]) <= after, s
            seen += 1
    assert seen > 500


def test_what_is_done_ends_in_finish_unless_a_time_says_so(sentences):
    past = {kana for kana, word in words_of("time").items() if word.classes[0] == "past"}
    seen = Counter()
    for s in sentences:
        if s.frame.startswith(("てから", "T S てから")) or "おわる" in s.words:
            continue
        if past & set(s.words):
            assert "<終わる>" not in s.jsl, s
            seen["said"] += 1
        elif s.signed[-1] == "<た>" and not {"<ない>", *TAGS_OF_QUESTIONS} & set(s.signed):
            assert "<終わる>" in s.jsl or PHRASES & set(s.words), s
            seen["finished"] += 1
    assert min(seen.values()) > 200


def test_politeness_is_not_signed_in_jsl(sentences):
    polite = {"<です>", "<た>", "<か>", "<ます>", "<の>", "<と>", "<から>", "<まで>", "<もう>"}
    for s in sentences:
        assert not polite & set(s.jsl), s
        assert "<ます>" not in s.signed


def test_signed_japanese_has_the_signs_of_japanese(sentences):
    verbs = words_of("verb")
    seen = Counter()
    for s in sentences:
        kana = s.kana.rstrip("。？")
        if PHRASES & set(s.words):
            continue
        asks = kana.endswith("か") and not kana.endswith(("にぎやか", "しずか"))
        assert asks == (s.signed[-1] == "<か>"), s
        seen["か"] += asks
        if kana.endswith(("ました", "ませんでした")):
            assert s.signed[-1] == "<た>", s
            seen["た"] += 1
        if kana.endswith(("ません", "ない")) and s.words[-1] in verbs:
            tail = {"<ない>", "<だめ>", "<必要>"}
            assert tail & set(s.signed[-1:]), s
            seen["ない"] += 1
    assert min(seen.values()) > 300


def test_signed_japanese_has_the_words_in_the_order_of_japanese(sentences):
    known = {word.kana: word for word in lexicon()}
    for s in sentences:
        place = 0
        for word in s.words:
            for tag in known[word].signed if word in known else ():
                assert tag in s.signed[place:], s
                place = s.signed.index(tag, place)


def test_adjectives_classifiers_and_numbers_follow_their_noun_in_jsl(sentences):
    known, seen = {word.kana: word for word in lexicon()}, 0
    for s in sentences:
        if s.frame in ("A O V", "S A O V"):
            adjective, noun = [known[word] for word in s.words[-3:-1]]
            assert adjective.pos == "adjective"
            text, pair = " ".join(s.jsl), " ".join((*noun.jsl, *adjective.jsl))
            assert pair in text
            assert " ".join((*adjective.signed, *noun.signed)) in " ".join(s.signed)
            seen += 1
        if s.frame in ("O N V", "P X N ある"):
            noun = known[s.words[-3]]
            counter = counters()[noun.takes[""][0]]
            jsl, signed = counter.number(counter.readings.index(s.words[-2]) + 1)
            assert " ".join((*noun.jsl, *jsl)) in " ".join(s.jsl)
            assert " ".join((*noun.signed, *signed)) in " ".join(s.signed)
            seen += 1
    assert seen > 300


def test_reasons_come_last_in_jsl(sentences):
    seen = 0
    for s in sentences:
        if s.frame.startswith(("から", "T から")):
            reason = s.jsl[s.jsl.index("<なぜ>") + 1 :]
            assert reason
            assert s.signed[: s.signed.index("<から>")][-len(reason) :][0] in reason + s.signed
            seen += 1
    assert seen > 100


def test_verbs_take_what_makes_sense(sentences):
    """Food is eaten, places are gone to, clothes are put on: read from the sentences alone."""
    known = {word.kana: word for word in lexicon()}
    for s in sentences:
        if s.frame in ("O V", "T O V", "S O V", "T S O V", "O V ?"):
            verb, noun = known[s.words[-1]], known[s.words[-2]]
            assert verb.takes_any("を", noun), s


# --------------------------------------------------------------- what a sentence is and determines


def test_sentences_are_of_the_symbols_of_the_model(sentences):
    for s in sentences:
        assert check(s.kana) == s.kana
        assert set(s.kana) <= set(SYMBOLS)
        assert 2 <= len(s.kana) <= 45
        assert s.jsl
        assert s.signed
        assert set(map(type, s.words)) == {str}


def test_kana_determine_tags_whatever_the_seed(sentences):
    found = {}
    for s in (*sentences, *generate(16_000, seed=6)):
        assert found.setdefault(bare(s.kana), (s.jsl, s.signed, s.kana)) == (
            s.jsl,
            s.signed,
            s.kana,
        )


def test_the_groups_differ(sentences):
    assert sum(s.jsl != s.signed for s in sentences) > len(sentences) / 2
    assert load_corpus(starter_corpus_path()).groups == (SIGN, SIGNED)


@pytest.mark.slow
def test_no_sentence_of_all_comes_twice():
    """All of the millions: each has one derivation, and so determines its tags."""
    seen = set()
    for stratum in strata():
        for index in range(stratum.capacity):
            kana = stratum.sentence(index).kana
            assert len(kana) <= 49
            seen.add(bare(kana))
    assert len(seen) == capacity()
