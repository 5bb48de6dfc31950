"""How numbers and counters are read, against tables written by hand and a slower way to spell."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jsl.errors import TextError
from jsl.numerals import COUNTERS, DIGITS, LARGEST, counted, find, spelled
from jsl.reading import read
from jsl.text import check, normalise

# ruff: noqa: E501, as rows of tables
# For 1 to 10, then others.
TABLE = """
人 ひとり ふたり さんにん よにん ごにん ろくにん しちにん はちにん きゅうにん じゅうにん
人 11=じゅういちにん 14=じゅうよにん 20=にじゅうにん 100=ひゃくにん 1000=せんにん
名 いちめい にめい さんめい よんめい ごめい ろくめい ななめい はちめい きゅうめい じゅうめい
人前 いちにんまえ ににんまえ さんにんまえ よにんまえ ごにんまえ
つ ひとつ ふたつ みっつ よっつ いつつ むっつ ななつ やっつ ここのつ
個 いっこ にこ さんこ よんこ ごこ ろっこ ななこ はっこ きゅうこ じゅっこ
個 20=にじゅっこ 30=さんじゅっこ 100=ひゃっこ 300=さんびゃっこ 600=ろっぴゃっこ 1000=せんこ
本 いっぽん にほん さんぼん よんほん ごほん ろっぽん ななほん はっぽん きゅうほん じゅっぽん
本 13=じゅうさんぼん 16=じゅうろっぽん 100=ひゃっぽん 1000=せんぼん 3000=さんぜんぼん 10000=いちまんぼん
匹 いっぴき にひき さんびき よんひき ごひき ろっぴき ななひき はっぴき きゅうひき じゅっぴき
杯 いっぱい にはい さんばい よんはい ごはい ろっぱい ななはい はっぱい きゅうはい じゅっぱい
枚 いちまい にまい さんまい よんまい ごまい ろくまい ななまい はちまい きゅうまい じゅうまい
冊 いっさつ にさつ さんさつ よんさつ ごさつ ろくさつ ななさつ はっさつ きゅうさつ じゅっさつ
台 いちだい にだい さんだい よんだい ごだい ろくだい ななだい はちだい きゅうだい じゅうだい
頭 いっとう にとう さんとう よんとう ごとう ろくとう ななとう はっとう きゅうとう じゅっとう
羽 いちわ にわ さんば よんわ ごわ ろくわ ななわ はちわ きゅうわ じゅうわ
軒 いっけん にけん さんげん よんけん ごけん ろっけん ななけん はっけん きゅうけん じゅっけん
足 いっそく にそく さんぞく よんそく ごそく ろくそく ななそく はっそく きゅうそく じゅっそく
着 いっちゃく にちゃく さんちゃく よんちゃく ごちゃく ろくちゃく ななちゃく はっちゃく きゅうちゃく じゅっちゃく
歳 いっさい にさい さんさい よんさい ごさい ろくさい ななさい はっさい きゅうさい じゅっさい
歳 18=じゅうはっさい 20=はたち 21=にじゅういっさい 30=さんじゅっさい 100=ひゃくさい
回 いっかい にかい さんかい よんかい ごかい ろっかい ななかい はっかい きゅうかい じゅっかい
階 いっかい にかい さんがい よんかい ごかい ろっかい ななかい はっかい きゅうかい じゅっかい
円 いちえん にえん さんえん よえん ごえん ろくえん ななえん はちえん きゅうえん じゅうえん
円 100=ひゃくえん 300=さんびゃくえん 1000=せんえん 10000=いちまんえん
年 いちねん にねん さんねん よねん ごねん ろくねん ななねん はちねん きゅうねん じゅうねん
年 2024=にせんにじゅうよねん 1999=せんきゅうひゃくきゅうじゅうきゅうねん
年生 いちねんせい にねんせい さんねんせい よねんせい ごねんせい ろくねんせい
月 いちがつ にがつ さんがつ しがつ ごがつ ろくがつ しちがつ はちがつ くがつ じゅうがつ
月 11=じゅういちがつ 12=じゅうにがつ
日 ついたち ふつか みっか よっか いつか むいか なのか ようか ここのか とおか
日 11=じゅういちにち 12=じゅうににち 13=じゅうさんにち 14=じゅうよっか 15=じゅうごにち
日 16=じゅうろくにち 17=じゅうしちにち 18=じゅうはちにち 19=じゅうくにち 20=はつか
日 21=にじゅういちにち 23=にじゅうさんにち 24=にじゅうよっか 27=にじゅうしちにち 28=にじゅうはちにち
日 29=にじゅうくにち 30=さんじゅうにち 31=さんじゅういちにち 100=ひゃくにち
日間 いちにちかん ふつかかん みっかかん よっかかん いつかかん むいかかん なのかかん ようかかん ここのかかん とおかかん
日目 いちにちめ ふつかめ みっかめ よっかめ いつかめ むいかめ なのかめ ようかめ ここのかめ とおかめ
週間 いっしゅうかん にしゅうかん さんしゅうかん よんしゅうかん ごしゅうかん ろくしゅうかん ななしゅうかん はっしゅうかん きゅうしゅうかん じゅっしゅうかん
か月 いっかげつ にかげつ さんかげつ よんかげつ ごかげつ ろっかげつ ななかげつ はっかげつ きゅうかげつ じゅっかげつ
時 いちじ にじ さんじ よじ ごじ ろくじ しちじ はちじ くじ じゅうじ
時 0=れいじ 11=じゅういちじ 12=じゅうにじ 14=じゅうよじ 17=じゅうしちじ 19=じゅうくじ 20=にじゅうじ 24=にじゅうよじ
時間 いちじかん にじかん さんじかん よじかん ごじかん ろくじかん ななじかん はちじかん くじかん じゅうじかん
分 いっぷん にふん さんぷん よんぷん ごふん ろっぷん ななふん はっぷん きゅうふん じゅっぷん
分 11=じゅういっぷん 15=じゅうごふん 20=にじゅっぷん 30=さんじゅっぷん 45=よんじゅうごふん 100=ひゃっぷん
秒 いちびょう にびょう さんびょう よんびょう ごびょう ろくびょう ななびょう はちびょう きゅうびょう じゅうびょう
泊 いっぱく にはく さんぱく よんはく ごはく ろっぱく ななはく はっぱく きゅうはく じゅっぱく
番 いちばん にばん さんばん よんばん ごばん ろくばん ななばん はちばん きゅうばん じゅうばん
番 110=ひゃくじゅうばん 119=ひゃくじゅうきゅうばん
度 いちど にど さんど よんど ごど ろくど ななど はちど きゅうど じゅうど
度 0=れいど 38=さんじゅうはちど
倍 いちばい にばい さんばい よんばい ごばい ろくばい ななばい はちばい きゅうばい じゅうばい
点 いってん にてん さんてん よんてん ごてん ろくてん ななてん はってん きゅうてん じゅってん
点 0=れいてん 100=ひゃくてん
件 いっけん にけん さんけん よんけん ごけん ろっけん ななけん はっけん きゅうけん じゅっけん
曲 いっきょく にきょく さんきょく
か国 いっかこく にかこく 6=ろっかこく 10=じゅっかこく
丁目 いっちょうめ にちょうめ さんちょうめ よんちょうめ ごちょうめ ろくちょうめ ななちょうめ はっちょうめ
組 ひとくみ ふたくみ さんくみ よんくみ ごくみ ろっくみ ななくみ はっくみ
世紀 いっせいき 19=じゅうきゅうせいき 20=にじゅっせいき 21=にじゅういっせいき
ページ いちぺーじ にぺーじ さんぺーじ よんぺーじ ごぺーじ ろくぺーじ ななぺーじ はちぺーじ きゅうぺーじ じゅっぺーじ
% いちぱーせんと にぱーせんと 5=ごぱーせんと 10=じゅっぱーせんと 50=ごじゅっぱーせんと 100=ひゃくぱーせんと
キロ いっきろ にきろ さんきろ よんきろ ごきろ ろっきろ ななきろ はっきろ きゅうきろ じゅっきろ
km いっきろめーとる 10=じゅっきろめーとる 42=よんじゅうにきろめーとる
kg いっきろぐらむ 60=ろくじゅっきろぐらむ
cm いっせんちめーとる 8=はっせんちめーとる 170=ひゃくななじゅっせんちめーとる
メートル いちめーとる にめーとる 10=じゅうめーとる 100=ひゃくめーとる
グラム いちぐらむ 100=ひゃくぐらむ 500=ごひゃくぐらむ
リットル いちりっとる にりっとる 10=じゅうりっとる
トン いっとん にとん 8=はっとん 10=じゅっとん
ドル いちどる 10=じゅうどる 100=ひゃくどる
""".strip()


def cases():
    for line in TABLE.splitlines():
        counter, *readings = line.split()
        n = 0
        for reading in readings:
            number, _, expected = reading.rpartition("=")
            n = int(number) if number.isdigit() else n + 1
            yield n, counter, expected


CASES = list(cases())
KANJI_DIGITS = "〇一二三四五六七八九"


def test_the_table_is_long():
    assert len(CASES) > 400


def test_counters():
    """All in one test, as there are hundreds; with digits of both widths."""
    wrong = {}
    for n, counter, expected in CASES:
        for text in (f"{n}{counter}", "".join(chr(ord(c) + 0xFEE0) for c in str(n)) + counter):
            found = read(text).text
            if found != expected:
                wrong[text] = found, expected
    assert wrong == {}


def test_counters_in_kana():
    """What a counter sounds like may be written behind the digits: 3ぼん, 3ほん."""
    wrong = {}
    for n, counter, expected in CASES:
        known = COUNTERS[normalise(counter)]
        for form in known.forms if known.typed else ():
            if (counter, form) == ("階", "かい"):  # it is 回, too
                continue
            found = read(f"{n}{form}").text
            if found != expected:
                wrong[f"{n}{form}"] = found, expected
    assert wrong == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", "ぜろ"),
        ("1,000", "せん"),
        ("12,345", "いちまんにせんさんびゃくよんじゅうご"),
        ("10000", "いちまん"),
        ("100000", "じゅうまん"),
        ("10000000", "いっせんまん"),
        ("100000000", "いちおく"),
        ("1000000000000", "いっちょう"),
        ("10000000000000", "じゅっちょう"),
        ("8兆", "はっちょう"),
        ("10000000000000000", "いっけい"),
        ("３．５", "さんてんご"),
        ("3.14", "さんてんいちよん"),
        ("0.5", "れいてんご"),
        ("1.5", "いってんご"),
        ("10.5%", "じゅってんごぱーせんと"),
        ("1.5万円", "いってんごまんえん"),
        ("3万5千円", "さんまんごせんえん"),
        ("1億2000万人", "いちおくにせんまんにん"),
        ("1千円", "いっせんえん"),
        ("-5度", "まいなすごど"),
        ("−5℃", "まいなすごど"),
        ("¥1,000", "せんえん"),
        ("￥300", "さんびゃくえん"),
        ("$5", "ごどる"),
        ("二十", "にじゅう"),
        ("三百五十円", "さんびゃくごじゅうえん"),
        ("二〇二四年", "にせんにじゅうよねん"),
        ("三人", "さんにん"),
        ("一人", "ひとり"),
        ("二十日", "はつか"),
        ("三つ", "みっつ"),
        ("7:30", "しちじさんじゅっぷん"),
        ("７：０５", "しちじごふん"),
        ("07:00", "しちじ"),
        ("9:15:30", "くじじゅうごふんさんじゅうびょう"),
        ("2024/3/11", "にせんにじゅうよねんさんがつじゅういちにち"),
        ("2024-01-01", "にせんにじゅうよねんいちがつついたち"),
        ("12月25日", "じゅうにがつにじゅうごにち"),
        ("1月1日", "いちがつついたち"),
        ("1日3回", "いちにちさんかい"),
        ("1日目", "いちにちめ"),
        ("1日中", "いちにちじゅう"),
        ("090-1234-5678", "ぜろきゅうぜろのいちにさんよんのごろくななはち"),
        ("007", "ぜろぜろなな"),
        ("01", "ぜろいち"),
        ("07時", "しちじ"),
        ("1" * 21, "いち" * 21),
        ("3〜5人", "さんからごにん"),
        ("10～20", "じゅうからにじゅう"),
        ("第3回", "だいさんかい"),
        ("午前7時半", "ごぜんしちじはん"),
        ("約10分後", "やくじゅっぷんご"),
        ("3人目", "さんにんめ"),
        ("20歳以上", "はたちいじょう"),
        ("3分の1", "さんぶんのいち"),
        ("3ヶ月", "さんかげつ"),
        ("3ヵ月", "さんかげつ"),
        ("3カ月", "さんかげつ"),
        ("3ケ月", "さんかげつ"),
        ("3箇月間", "さんかげつかん"),
        ("5m²", "ごへいほうめーとる"),
        ("5㎡", "ごへいほうめーとる"),
        ("何人", "なんにん"),
        ("何匹", "なんびき"),
        ("何本", "なんぼん"),
        ("何階", "なんがい"),
        ("何歳", "なんさい"),
        ("何分", "なんぷん"),
        ("何か月", "なんかげつ"),
        ("8コーヒー", "はちこーひー"),
        ("1日おき", "いちにちおき"),
        ("1週間分", "いっしゅうかんぶん"),
        ("①", "いち"),
        ("⑳", "にじゅう"),
        ("❸", "さん"),
        ("③人", "さんにん"),
        ("①②", "いち に"),
        ("2①", "に いち"),
        ("Ⅲ", "さん"),
        ("ⅻ", "じゅうに"),
        ("ⅩⅡ", "じゅうに"),
        ("ⅠⅡⅢ", "いち に さん"),
        ("あと３かいです。", "あとさんかいです。"),
        ("10じ10ぷんに、3にんで", "じゅうじじゅっぷんに、さんにんで"),
        ("りんごを3こ、みかんを8つ", "りんごをさんこ、みかんをやっつ"),
        ("38度5分", "さんじゅうはちどごぶ"),
        ("3割5分", "さんわりごぶ"),
        ("3年2組", "さんねんにくみ"),
        ("1組", "ひとくみ"),
        ("一日", "いちにち"),
        ("10 km", "じゅっきろめーとる"),
        ("3 本", "さんぼん"),
        ("3 にん", "さん にん"),
        ("7:30〜9:00", "しちじさんじゅっぷんからくじ"),
        ("3しゅうかん", "さんしゅうかん"),
    ],
)
def test_what_is_written_in_many_ways(text, expected):
    assert check(read(text).text) == expected


@pytest.mark.parametrize(
    ("text", "usual", "others"),
    [
        ("7", "なな", ["しち"]),
        ("4", "よん", ["し"]),
        ("9", "きゅう", ["く"]),
        ("0", "ぜろ", ["れい"]),
        ("14", "じゅうよん", ["じゅうし"]),
        ("7人", "しちにん", ["ななにん"]),
        ("9年", "きゅうねん", ["くねん"]),
        ("1日", "ついたち", ["いちにち"]),
        ("10分", "じゅっぷん", ["じっぷん"]),
        ("十分", "じゅっぷん", ["じっぷん", "じゅうぶん"]),
        ("20歳", "はたち", ["にじゅっさい", "にじっさい"]),
        ("5", "ご", []),
        ("40", "よんじゅう", []),
        ("4月", "しがつ", []),
        ("3人", "さんにん", []),
    ],
)
def test_readings_that_are_all_in_use(text, usual, others):
    [part] = read(text).parts
    assert (part.reading, list(part.alternatives)) == (usual, others)


def slowly(n):
    """The same as `spelled`, digit by digit from the right, with the changes of sound at the end."""
    if n == 0:
        return "ぜろ"
    words = []
    for place, digit in enumerate(reversed(str(n))):
        group, unit = divmod(place, 4)
        four = str(n)[::-1][4 * group : 4 * group + 4]
        if unit == 0 and four.strip("0"):
            words.append(["", "まん", "おく", "ちょう", "けい"][group])
        if digit == "0":
            continue
        name = "" if digit == "1" and unit else DIGITS[int(digit)]
        if digit == "1" and unit == 3 and group and four == "0001":
            name = "いち"
        words.append(name + ["", "じゅう", "ひゃく", "せん"][unit])
    text = "|".join(reversed(words))
    for sound, change in (
        ("さんひゃく", "さんびゃく"), ("ろくひゃく", "ろっぴゃく"), ("はちひゃく", "はっぴゃく"),
        ("さんせん", "さんぜん"), ("はちせん", "はっせん"), ("いちせん", "いっせん"),
        ("いち|ちょう", "いっちょう"), ("はち|ちょう", "はっちょう"), ("じゅう|ちょう", "じゅっちょう"),
        ("いち|けい", "いっけい"), ("ろく|けい", "ろっけい"), ("はち|けい", "はっけい"),
        ("じゅう|けい", "じゅっけい"), ("ひゃく|けい", "ひゃっけい"), ("びゃく|けい", "びゃっけい"),
        ("ぴゃく|けい", "ぴゃっけい"),
    ):  # fmt: skip
        text = text.replace(sound, change)
    return text.replace("|", "")


NUMBERS = st.integers(0, LARGEST) | st.integers(0, 20).flatmap(
    lambda digits: st.integers(0, min(LARGEST, 10**digits))
)


@given(NUMBERS)
@example(10_000_000)
@example(110_000_000)
@example(1_111_111_111_111_111)
def test_numbers_are_spelled_as_slowly(n):
    assert spelled(n) == slowly(n)
    for text in (str(n), f"{n:,}"):
        [found] = find(text)
        assert (found.start, found.end) == (0, len(text))
        assert found.readings[0] == slowly(n)


def in_kanji(n):
    """A number from 1 as one writes it in kanji."""
    text = ""
    for place, unit in ((4, "京"), (3, "兆"), (2, "億"), (1, "万"), (0, "")):
        part = n // 10 ** (4 * place) % 10_000
        if not part:
            continue
        for size, name in ((1000, "千"), (100, "百"), (10, "十")):
            digit = part // size % 10
            # 一千万 is the way to write it, 一百 and 一十 are not.
            one = "一" if size == 1000 and place and part == 1000 else ""
            text += (one if digit == 1 else KANJI_DIGITS[digit]) + name if digit else ""
        text += (KANJI_DIGITS[part % 10] if part % 10 else "") + unit
    return text


@given(NUMBERS.filter(bool))
@example(1000)
@example(11_000)
def test_numbers_in_kanji_are_the_same_numbers(n):
    [found] = find(in_kanji(n))
    assert found.readings[0] == spelled(n)
    assert found.kanji


@given(st.integers(10_000, 10**16 - 1))
def test_numbers_with_units_are_the_same_numbers(n):
    """123億4567万89 is 1,234,567,890-odd, wherever zeros are left out."""
    text = ""
    for place, unit in ((3, "兆"), (2, "億"), (1, "万"), (0, "")):
        part = n // 10 ** (4 * place) % 10_000
        text += f"{part}{unit}" if part else ""
    assert read(text).text == spelled(n)


@given(NUMBERS, st.sampled_from(sorted(COUNTERS)))
def test_everything_that_is_counted_is_in_kana_and_begins_with_its_number(n, counter):
    readings = counted(n, counter)
    assert len(set(readings)) == len(readings)
    for reading in readings:
        assert check(reading) == reading
        assert not re.search("っっ|っ[あいうえおなにぬねのん]|っ$", reading)


@pytest.mark.parametrize("n", [-1, LARGEST + 1])
def test_what_cannot_be_spelled(n):
    with pytest.raises(ValueError, match="expected a number from 0"):
        spelled(n)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("3/11", "/"),
        ("5-3", "-"),
        ("1,00", ","),
        ("1,0000", ","),
        ("3.5.2", "."),  # 3.5 would do
        ("25:00", ":"),
        ("3:2", ":"),
        ("2024/2/30", "//"),
        ("10²", "²"),
        ("½", "⁄"),
        ("x3", "x"),
        ("３kmh", "kmh"),
        ("一般", "一般"),
        ("二三日", "二三日"),
        ("千葉", "千葉"),
        ("12三", "三"),
        ("三百120", "三百120"),
        ("万一", "万一"),
        ("何か", "何"),
        ("IV", "IV"),
    ],
)
def test_what_is_not_surely_a_number_is_not_guessed(text, left):
    with pytest.raises(TextError) as caught:
        read(text)
    assert "".join(c for _, c in caught.value.unknown) == left
