"""How texts with kanji are read: with a dictionary of a few words, and with the real one."""

import json
import re
import sys
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import Result

import jsl.messages
import jsl.reading
from jsl.checkpoint import trigrams
from jsl.config import ModelConfig, TrainingConfig
from jsl.corpus import load_corpus
from jsl.errors import TextError
from jsl.reading import MOST, Part, read
from jsl.text import SYMBOLS, check, normalise
from jsl.train import Trainer
from jsl.translate import Translator

REAL = jsl.reading._dictionary
NOUN, VERB = (
    ("名詞", "普通名詞", "一般", "*", "*", "*"),
    ("動詞", "一般", "*", "*", "五段", "終止形"),
)
NUMBER = ("名詞", "数詞", "*", "*", "*", "*")
MARK = ("補助記号", "一般", "*", "*", "*", "*")
WORDS = {
    "私": [("ワタクシ", NOUN), ("ワタシ", NOUN)],
    "食べ": [("タベ", VERB)],
    "食べる": [("タベル", VERB)],
    "明日": [("アス", NOUN), ("アシタ", NOUN), ("ミョウニチ", NOUN)],
    "金": [("キン", NOUN), ("カネ", NOUN), ("ガネ", NOUN), ("コン", ("接頭辞", *NOUN[1:]))],
    "何": [("ナン", NOUN), ("ナニ", NOUN), ("カ", ("名詞", "固有名詞", "人名", "姓", "*", "*"))],
    "人": [("ヒト", NOUN), ("ニン", ("接尾辞", *NOUN[1:]))],
    "一般": [("イッパン", NOUN)],
    "十分": [("ジュウブン", NOUN)],
    "人気": [("ニンキ", NOUN), ("ヒトケ", NOUN)],
    "年生": [("ネンセイ", NOUN)],
    "三": [("サン", NUMBER)],
    "十": [("ジュウ", NUMBER)],
    "年": [("ネン", NOUN)],
    "私立": [("シリツ", NOUN), ("ワタクシリツ", NOUN)],
    "OK": [("オーケー", NOUN)],
    "3D": [("スリーディー", NOUN)],
    "恵": [("エ", NOUN), ("ヱ", NOUN), ("メグミ", NOUN)],
    "コーヒー": [("コーヒー", NOUN)],
    "は": [("ハ", ("助詞", "係助詞", "*", "*", "*", "*"))],
    "、": [("、", MARK)],
    "「": [("キゴウ", MARK)],
}


class Morpheme:
    def __init__(self, surface, begin, reading=None, kind=NOUN):
        self.values = surface, begin, reading, kind

    surface = property(lambda self: lambda: self.values[0])
    begin = property(lambda self: lambda: self.values[1])
    end = property(lambda self: lambda: self.values[1] + len(self.values[0]))
    reading_form = property(lambda self: lambda: self.values[2] or self.values[0])
    part_of_speech = property(lambda self: lambda: self.values[3])
    is_oov = property(lambda self: lambda: self.values[2] is None)


class Dictionary:
    """What SudachiPy's does, with `WORDS`: the longest of them, letter by letter what is left."""

    def tokenizer(self):
        return self

    def tokenize(self, text):
        found, at = [], 0
        while at < len(text):
            fitting = [w for w in WORDS if text.startswith(w, at)]
            word = max(fitting, key=len, default=text[at])
            found.append(Morpheme(word, at, *WORDS.get(word, [(None, NOUN)])[0]))
            at += len(word)
        return found

    def lookup(self, surface):
        return [Morpheme(surface, 0, *entry) for entry in WORDS.get(surface, [])]


@pytest.fixture
def words(monkeypatch):
    """The small dictionary in place of the extra."""
    monkeypatch.setattr(jsl.reading, "_dictionary", Dictionary)


def readings(text, known=()):
    return [(p.surface, p.reading, *p.alternatives) for p in read(text, known).parts]


def test_a_text_in_parts(words):
    assert readings("私は3人です。") == [
        ("私", "わたし", "わたくし"),
        ("は", "は"),
        ("3人", "さんにん"),
        ("です。", "です。"),
    ]
    found = read(" ｺｰﾋｰを私はﾉﾑ ")
    assert (found.surface, found.text) == ("コーヒーを私はノム", "こーひーをわたしはのむ")
    assert found.ambiguous == (Part("私", "わたし", ("わたくし",)),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("明日", [("明日", "あした", "あす", "みょうにち")]),
        ("金", [("金", "かね", "きん")]),  # がね is what かね becomes in a word, こん begins one
        ("何は", [("何", "なに", "なん"), ("は", "は")]),
        ("何です", [("何", "なん", "なに"), ("です", "です")]),
        ("何人", [("何人", "なんにん")]),
        ("人", [("人", "ひと")]),  # 人 that counts is another word
        ("一般", [("一般", "いっぱん")]),
        ("十分は", [("十分", "じゅうぶん", "じゅっぷん", "じっぷん"), ("は", "は")]),
        ("三十分", [("三十分", "さんじゅっぷん", "さんじっぷん")]),
        ("三年", [("三年", "さんねん")]),
        ("3人気", [("3", "さん"), ("人気", "にんき", "ひとけ")]),
        ("OK", [("OK", "おーけー")]),
        ("3D", [("3D", "すりーでぃー")]),
        ("恵", [("恵", "え", "めぐみ")]),  # ゑ is no symbol
        ("A4", [("A", "えー"), ("4", "よん", "し")]),
    ],
)
def test_words_and_numbers(words, text, expected):
    assert readings(text) == expected


@pytest.mark.parametrize(
    ("text", "left", "shown"),
    [
        ("  ﾀﾞﾒな「私」", [(4, "「"), (6, "」")], "だめな「私」"),
        ("私は犬", [(3, "犬")], "私は犬"),
        ("3人の犬と①②と🙂", [(4, "犬"), (10, "🙂")], "3人の犬と1 2と🙂"),
        ("㌔と犬", [(4, "犬")], "きろと犬"),
        ("Gはg", [(3, "g")], "Gはg"),  # a letter, but not a gram
    ],
)
def test_what_has_no_reading_is_listed_with_its_position_in_the_text_that_is_shown(
    words, english, text, left, shown
):
    with pytest.raises(TextError) as caught:
        read(text)
    assert list(caught.value.unknown) == left
    assert f"“{shown}”" in str(caught.value)
    assert "minigrad[kanji]" not in str(caught.value)
    for position, character in left:
        assert shown[position - 1] == character


def test_without_the_extra_the_way_out_is_said(english):
    with pytest.raises(TextError) as caught:
        read("私は3人")
    assert caught.value.unknown == ((1, "私"),)
    assert str(caught.value).endswith("extra:  pip install 'minigrad[kanji]'")
    with pytest.raises(TextError) as caught:
        read("3人🙂")  # which no dictionary would know
    assert caught.value.unknown == ((3, "🙂"),)
    assert "minigrad[kanji]" not in str(caught.value)


def test_without_the_extra_numbers_are_read_still():
    assert readings("あと3人です") == [("あと", "あと"), ("3人", "さんにん"), ("です", "です")]
    assert readings("三人") == [("三人", "さんにん")]
    with pytest.raises(TextError) as caught:
        read("三人組長")  # a part of a word, for all that is known
    assert [c for _, c in caught.value.unknown] == list("三人組長")


def test_the_reading_that_is_known_is_taken(words):
    assert read("明日は", trigrams("あすはやすみ")).text == "あすは"
    assert read("明日は", trigrams("あしたはやすみ")).text == "あしたは"
    known = trigrams("きんはある") | trigrams("わたくしはろうです")
    assert readings("金は", known)[0] == ("金", "きん", "かね")
    assert read("私は金", known).text == "わたくしはかね"
    assert read("私、金", known).text == "わたしをかね".replace("を", "、")  # too little is known
    assert 0.5 < MOST < 1


def test_numbers_are_taken_as_they_are_known(words):
    assert read("7人です").text == "しちにんです"
    assert read("7人です", trigrams("ななにんです")).text == "ななにんです"


@given(st.text(st.sampled_from(SYMBOLS)) | st.text(st.sampled_from("ｱｶパー!?　 ヴゔ")))
def test_kana_need_no_reading(text):
    assert read(text) is None


def tried(text):
    """The reading of a text, and the error that there is instead."""
    try:
        return read(text), None
    except TextError as error:
        return None, error


ALPHABET = "".join(WORDS) + "0123456789,.:/-%①Ⅲ²〇二百万円本日時〜 犬🙂゛Aa"


@given(st.text(st.sampled_from(ALPHABET), max_size=20) | st.text(max_size=8))
def test_a_text_is_read_or_what_cannot_be_is_pointed_at(text):
    """With and without words; parts leave no gaps, and positions are right."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsl.messages, "_chosen", "en")
        for dictionary in (Dictionary, lambda: None):
            patch.setattr(jsl.reading, "_dictionary", dictionary)
            found, error = tried(text)
            if error:
                assert error.unknown
                shown = re.search("“(.*)”", str(error), re.DOTALL)[1]
                for position, c in error.unknown:
                    plain = c.isprintable() and not unicodedata.combining(c)
                    assert shown[position - 1] == (c if plain else "\ufffd")
                continue
            if found is None:
                assert not set(normalise(text)) - set(SYMBOLS)
                continue
            assert set(found.text) <= set(SYMBOLS)
            assert found.text.strip() == check(found.text)
            for part in found.parts:
                assert part.surface
                assert part.reading
                assert part.reading not in part.alternatives
                assert all(set(other) <= set(SYMBOLS) for other in part.alternatives)
            assert read(found.text) is None


LONG = [
    "1,00,",
    "あと3人、7時半に",
    "三",
    "1",
    "0",
    "1:2/",
    "十一",
    "0,",
    "3.",
    "私は3人で",
    "明日",
    "①",
]


@pytest.mark.parametrize("piece", LONG)
def test_a_very_long_text_takes_no_time(words, piece):
    begun = time.process_time()
    found, error = tried(piece * (10_000 // len(piece)) + "。")
    assert found or error
    assert time.process_time() - begun < 5


# ---------------------------------------------------------------- a dictionary that is broken


def test_a_library_without_its_dictionary_is_an_error(monkeypatch, english):
    class Broken:
        def __init__(self, dict):
            raise ModuleNotFoundError(f"Package `sudachidict_{dict}` does not exist.")

    fake = type("sudachipy", (), {"Dictionary": Broken})
    monkeypatch.setitem(sys.modules, "sudachipy", fake)
    monkeypatch.setattr(jsl.reading, "_dictionary", REAL)
    REAL.cache_clear()
    try:
        with pytest.raises(TextError, match=r"(?s)sudachidict_core.*minigrad\[kanji\]"):
            read("犬")
        assert read("3人").text == "さんにん"
    finally:
        REAL.cache_clear()


def test_a_library_that_fails_is_an_error(monkeypatch, english):
    class Failing(Dictionary):
        def tokenize(self, text):
            raise RuntimeError("Input is too long")

    monkeypatch.setattr(jsl.reading, "_dictionary", Failing)
    with pytest.raises(TextError, match="Input is too long"):
        read("犬")


# ------------------------------------------------------------------------------- translating


def test_a_translator_reads(words, learned):
    translator = Translator(learned)
    read_, plain = translator.translate(["私は食べます", "わたしはたべます"], "甲")
    assert read_.reading.text == plain.text
    assert (read_.tags, read_.ids) == (plain.tags, plain.ids)
    assert read_.familiarity == plain.familiarity == 1.0
    assert plain.reading is None
    assert translator.encode("私は食べます") == translator.encode("わたしはたべます")


def test_a_text_that_is_too_long_once_read(words, learned, english):
    [found] = Translator(learned).translate(["私は金は金は金"], "甲")
    assert "has 12 characters" in str(found.error)
    assert found.reading.text == "わたしはかねはかねはかね"


def test_a_translator_can_be_told_not_to(words, learned):
    [found] = Translator(learned, reading=False).translate(["私は食べます"], "甲")
    assert [c for _, c in found.error.unknown] == ["私", "食"]
    assert found.reading is None


def test_a_model_of_other_tokens_gets_the_text_as_it_is(words, corpus_path, tmp_path):
    sizes = ModelConfig(d_model=8, n_heads=2, d_ff=8, n_layers=1, max_seq_len=10)
    corpus = load_corpus(corpus_path, 10, source_kind="char")
    trainer = Trainer(corpus, sizes, TrainingConfig(epochs=1, batch_size=8))
    trainer.run()
    trainer.save_run(tmp_path / "char", trainer.exact_matches())
    [found] = Translator(tmp_path / "char").translate(["私はい"], "甲")
    assert (found.reading, found.error) == (None, None)
    assert [token for _, token in found.unknown] == ["私"]


def test_predict_shows_the_reading(words, run, learned):
    found = run("predict", "--load", learned, "--group", "甲", "私は食べます")
    assert found == Result(
        0,
        "<私> <食べる>\n",
        "reading: “私は食べます” → “わたしはたべます” (it could be read otherwise: 私 わたし or "
        "わたくし)\n",
    )
    assert run("predict", "--load", learned, "--group", "甲", "--quiet", "私は食べます").err == ""
    japanese = run("--lang", "ja", "predict", "--load", learned, "--group", "甲", "私は食べます")
    assert japanese.err == (
        "読み: 「私は食べます」→「わたしはたべます」"
        "（ほかの読みもあります: 私はわたし、またはわたくし）\n"
    )


def test_predict_has_the_reading_in_json(words, run, learned):
    options = ["--json", "--attention", "--group", "甲"]
    found = run("predict", "--load", learned, *options, "私は食べます", "わたしはたべます")
    first, second = map(json.loads, found.lines)
    assert first["reading"] == {
        "text": "わたしはたべます",
        "parts": [
            {"surface": "私", "reading": "わたし", "alternatives": ["わたくし"]},
            {"surface": "は", "reading": "は", "alternatives": []},
            {"surface": "食べ", "reading": "たべ", "alternatives": []},
            {"surface": "ます", "reading": "ます", "alternatives": []},
        ],
    }
    assert (first["text"], second["reading"]) == ("私は食べます", None)
    assert first["translations"] == second["translations"]
    assert first["translations"][0]["attention"]["encoder"]["rows"][:3] == list("わたし")


def test_predict_without_reading(words, run, learned):
    found = run("predict", "--load", learned, "--reading", "off", "--group", "甲", "3人")
    assert found.code == 1
    assert "「3」(U+0033) at position 1, 「人」" in found.err
    assert run("predict", "--load", learned, "--reading", "on", "あ").code == 2


def test_predict_without_the_extra(run, learned):
    found = run("predict", "--load", learned, "--group", "甲", "犬", "3にん")
    assert found.code == 1
    assert "「犬」(U+72AC) at position 1" in found.err
    assert "pip install 'minigrad[kanji]'" in found.err
    assert "“3にん” → “さんにん”" in found.err


# ---------------------------------------------------------------- the real dictionary


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("私は3人家族です。", "わたしはさんにんかぞくです。"),
        ("明日学校へ行きます", "あしたがっこうへいきます"),
        ("今日は何を食べますか？", "きょうはなにをたべますか？"),
        ("お名前は何ですか", "おなまえはなんですか"),
        ("12月25日7時30分に", "じゅうにがつにじゅうごにちしちじさんじゅっぷんに"),
        ("パソコンを２台買った", "ぱそこんをにだいかった"),
        ("第三者と三人で", "だいさんしゃとさんにんで"),
        ("一般の人が八百屋へ", "いっぱんのひとがやおやへ"),
        ("十分です", "じゅうぶんです"),
        ("三十分です", "さんじゅっぷんです"),
        ("二十歳の大学生", "はたちのだいがくせい"),
        ("一昨日は雨でした", "おとといはあめでした"),
        ("救急車を呼んでください！", "きゅうきゅうしゃをよんでください！"),
        ("日本へようこそ", "にほんへようこそ"),
        ("何曜日ですか", "なんようびですか"),
        ("今何時ですか", "いまなんじですか"),
        ("高校三年生です", "こうこうさんねんせいです"),
        ("手話通訳をお願いします", "しゅわつうやくをおねがいします"),
        ("彼はそう言う", "かれはそういう"),
        ("Bさん", "びーさん"),
    ],
)
def test_sentences(sudachi, text, expected):
    assert read(text).text == expected


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("今日", {"きょう", "こんにち"}),
        ("明日", {"あした", "あす", "みょうにち"}),
        ("私", {"わたし", "わたくし"}),
        ("市場", {"いちば", "しじょう"}),
        ("人気", {"にんき", "ひとけ"}),
        ("日本", {"にほん", "にっぽん"}),
        ("学校", {"がっこう"}),
    ],
)
def test_ambiguous_words(sudachi, text, known):
    [part] = read(text).parts
    found = {part.reading, *part.alternatives}
    assert found >= known
    assert (len(found) > 1) == (len(known) > 1)


def test_other_forms_of_a_verb_are_no_readings_of_it(sudachi):
    assert read("来た").parts[0] == Part("来", "き")  # く and こ are before others


@pytest.mark.parametrize("text", ["龘", "「犬」", "犬🙂", "qzxqv", "3/11犬", "二三日"])
def test_what_the_real_dictionary_does_not_know(sudachi, text):
    with pytest.raises(TextError):
        read(text)


def test_a_text_that_is_too_long_for_sudachi(sudachi, english):
    with pytest.raises(TextError, match="too long"):
        read("犬" * 30_000)


@given(st.text(st.sampled_from(ALPHABET + "日本学校行来食飲今明昨時間上下人大小々ゐ"), max_size=15))
def test_the_real_dictionary_reads_or_refuses(text):
    pytest.importorskip("sudachipy", reason="minigrad[kanji] is not installed")
    pytest.importorskip("sudachidict_core", reason="minigrad[kanji] is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsl.reading, "_dictionary", REAL)
        found, error = tried(text)
        if error:
            assert error.unknown
        assert found is None or set(found.text) <= set(SYMBOLS)
