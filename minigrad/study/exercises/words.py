"""What the checker says of any exercise, in English and Japanese."""

import inspect
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Text = dict[str, str]  # by language: "en", "ja"


def both(en: str, ja: str) -> Text:
    """A text in both languages: paragraphs of lines, which are joined; lists and code stay."""
    return {"en": _joined(en, lambda before, after: " "), "ja": _joined(ja, _between)}


def _joined(text: str, between: Callable[[str, str], str]) -> str:
    # A line goes on where neither it nor the next is empty, in a list or indented.
    return re.sub(
        r"(\S)\n(?!\s|- )(?=(.))",
        lambda found: found[1] + between(found[1], found[2]),
        inspect.cleandoc(text).strip(),
    )


def _between(before: str, after: str) -> str:
    """What stands between two letters of Japanese: a space between a wide and a narrow one."""
    if before in "、。（）「」：" or after in "、。（）「」：":
        return ""
    return "" if before.isascii() == after.isascii() else " "


def several(things: Sequence[Any], lang: str) -> str:
    """'a, b and c' in a language."""
    shown = [str(thing) for thing in things]
    if lang == "ja" or len(shown) < 2:
        return "、".join(shown)
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def filled(text: str, lang: str, indent: int) -> str:
    """`text` with its paragraphs broken into lines; code keeps its own."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("    "):
            lines.append(line)
        else:
            hang = "  " if line.startswith("- ") else ""
            lines += _broken(line, 92 - indent, hang)
    return "\n".join([lines[0], *(" " * indent + line if line else "" for line in lines[1:])])


def _broken(line: str, width: int, hang: str) -> list[str]:
    """A line in several: broken at spaces and after wide characters, best where a clause ends."""
    used, last, clause = 0, 0, 0
    for i, c in enumerate(line):
        wide = unicodedata.east_asian_width(c) in "WF"
        used += 1 + wide
        if used > width and last and c != " ":
            at = clause if 3 * clause > 2 * i else last
            return [line[:at].rstrip(), *_broken(hang + line[at:].lstrip(), width, hang)]
        ends = line[i + 1 : i + 2] not in (*"、。）」：", "")
        if i >= len(hang) and (c == " " or (wide and ends)):
            last = i + 1
            clause = last if c in "、。" else clause
    return [line]


NAMES: dict[Any, Text] = {
    type(None): both("None", "None"),
    (bool, np.bool_): both("a truth value", "真偽値"),
    (int, float, np.number): both("a number", "数"),
    str: both("a text", "文字列"),
    np.ndarray: both("an array", "配列"),
    tuple: both("a tuple", "タプル"),
    list: both("a list", "リスト"),
    dict: both("a dictionary", "辞書"),
    (set, frozenset): both("a set", "集合"),
}

WORDS: dict[str, Text] = {
    "right": both(
        "{name}: right. It gave what it should on all of {count} inputs.",
        "{name}: 正解です。{count} 通りの入力すべてで正しい結果になりました。",
    ),
    "wrong": both("{name}: not right yet.", "{name}: まだ正しくありません。"),
    "answer": both("Your answer", "あなたの答え"),
    "with": {
        "en": "Seen on this input ({note}):\n\n{args}",
        "ja": "次の入力で確かめました（{note}）：\n\n{args}",
    },
    "both": {
        "en": "{part}\n    yours: {yours}\n    right: {right}",
        "ja": "{part}\n    あなた: {yours}\n    正しい値: {right}",
    },
    "at": both(
        "First at {part}{at}: yours is {yours}, right is {right}.",
        "最初に違うのは {part}{at} です。あなたの値は {yours}、正しい値は {right} です。",
    ),
    "difference": both(
        "A finite difference shows it: moving {name} by {step} to either side changes the result "
        "with slope {slope}.",
        "差分でも確かめられます。{name} を前後に {step} だけ動かすと、"
        "結果は傾き {slope} で変わります。",
    ),
    "no_function": both(
        "What goes by the name {name} is {came}, not a function.",
        "{name} という名前のものは {came} で、関数ではありません。",
    ),
    "absent": both(
        "There is no function {name} in the file. Write one, or see the stub with "
        "`python -m minigrad.study exercise {name}`.",
        "ファイルに関数 {name} がありません。書き始めるには "
        "`python -m minigrad.study exercise {name}` でひな形を見てください。",
    ),
    "unwritten": both(
        "It is not written yet: the function has no body of its own. Replace "
        "`raise NotImplementedError` with yours.",
        "まだ書かれていません。`raise NotImplementedError` の行を消して、"
        "関数の中身を書いてください。",
    ),
    "signature": both(
        "The function cannot be called as it should ({error}). Its first line is to be "
        "`{signature}`.",
        "決められた引数で呼び出せません（{error}）。最初の行は `{signature}` としてください。",
    ),
    "exception": {
        "en": "Your function stopped with an error:\n\n    {error}",
        "ja": "関数がエラーで止まりました。\n\n    {error}",
    },
    "nothing": both(
        "Your function gives None. Is the `return` missing?",
        "関数が None を返しています。`return` を忘れていませんか。",
    ),
    "type": both(
        "The kind of result is not the right one: it is {yours}, and should be {right}.",
        "結果の種類が違います。{yours} になっていますが、{right} を返してください。",
    ),
    "length": both(
        "You give {yours} things where {right} are wanted.",
        "返すものの個数が違います。{yours} 個ありますが、{right} 個必要です。",
    ),
    "keys": both(
        "{part} does not hold the right things. {told}",
        "{part} に含まれているものが違います。{told}",
    ),
    "missing": both("Missing: {names}.", "足りないもの: {names}。"),
    "extra": both("Too many: {names}.", "余分なもの: {names}。"),
    "plain": both(
        "You give {yours}; right is {right}.",
        "あなたの答えは {yours} ですが、正しくは {right} です。",
    ),
    "dtype": both(
        "The numbers are right, but their dtype is {yours} where {right} came in and should come "
        "out. Twice the memory is a high price: look for what makes them wider (np.zeros without a "
        "dtype, or an array of float64) and give it the dtype of the input.",
        "数は合っていますが、dtype が {yours} です。入力と同じ {right} で返してください。"
        "メモリが倍になってしまいます。dtype を指定しない np.zeros や float64 の配列など、"
        "幅を広げているものを探し、入力の dtype に合わせましょう。",
    ),
    "overwrites": both(
        "Your function writes to its input {name}. The caller still needs it, and so may the "
        "backward pass: compute into a new array, without `+=` or `x[...] =` on an input.",
        "関数が入力 {name} を書き換えています。呼び出した側も、逆伝播も、まだその値を使います。"
        "入力に `+=` や `x[...] =` をせず、新しい配列に計算してください。",
    ),
    "slope": both(
        "Finite differences disagree with your gradient: {message}",
        "差分で求めた傾きと、あなたの勾配が合いません: {message}",
    ),
    "transposed": both(
        "{part} is transposed: rows and columns have changed places. Look at the shapes, and use "
        "`.T` (or swapaxes) on the other factor, or change the order of the product.",
        "{part} が転置されています。行と列が入れ替わっています。形をよく見て、"
        "もう一方に `.T` を付けるか、"
        "積の順序を変えてください。",
    ),
    "axes": both(
        "The numbers of {part} are right, but the shape is {yours} and should be {right}: an axis "
        "of length 1 is there or missing (see keepdims).",
        "{part} の数は合っていますが、形が {yours} です。{right} にしてください。"
        "長さ 1 の軸が余分か、足りないかです（keepdims を見直しましょう）。",
    ),
    "not_summed": both(
        "{part} has the shape {yours}, and should have {right}: sum over the axes that were added. "
        "What was copied along an axis gets the sum of the gradients of all copies.",
        "{part} の形が {yours} ですが、{right} になるはずです。増えた軸について和を取りましょう。"
        "ある軸に沿ってコピーされたものの勾配は、すべてのコピーの勾配の和です。",
    ),
    "not_averaged": both(
        "{part} has the shape {yours}, and should have {right}: take the mean over the other axes.",
        "{part} の形が {yours} ですが、{right} になるはずです。"
        "残りの軸について平均を取りましょう。",
    ),
    "over_summed": both(
        "{part} was summed too far: it has the shape {yours}, and should have {right}.",
        "{part} は和を取りすぎています。形が {yours} ですが、{right} になるはずです。",
    ),
    "shape": both(
        "{part} has the shape {yours}, and should have {right}.",
        "{part} の形が {yours} ですが、{right} になるはずです。",
    ),
    "shape_here": both(
        "On {passed} of {all} inputs your answer is right. On this one the shape is {yours}, and "
        "should be {right}. What is special here: {note}.",
        "{all} 通りの入力のうち {passed} 通りでは正解です。この入力では形が {yours} ですが、"
        "{right} になるはずです。この入力の特徴：{note}。",
    ),
    "nan": both(
        "There is a NaN where there should be a number. It comes from 0 / 0, inf - inf or "
        "inf * 0: find which, and keep it from happening rather than replacing it afterwards.",
        "数であるべきところが NaN になっています。0 / 0、inf - inf、inf * 0 のどれかが原因です。"
        "後から置き換えるのではなく、起こらないようにしましょう。",
    ),
    "infinite": both(
        "A number has become infinite: something overflows, or is divided by 0.",
        "無限大になった数があります。桁あふれか、0 での割り算が起きています。",
    ),
    "zeros": both(
        "{part} is 0 everywhere. Is what you computed ever put in?",
        "{part} がすべて 0 です。計算した値は、きちんと入れられていますか。",
    ),
    "integers": both(
        "Your numbers are cut down to integers: an array of ints was made to hold them. Give it "
        "the dtype of the floats.",
        "小数点以下が切り捨てられています。整数の配列に入れたためです。"
        "配列の dtype を小数に合わせましょう。",
    ),
    "sign": both(
        "{part} has the wrong sign everywhere: it is minus the right one.",
        "{part} の符号がすべて逆です。正しい値に -1 を掛けたものになっています。",
    ),
    "absolute": both(
        "{part} has lost its sign: it is right but for negative numbers, which came out positive.",
        "{part} から符号が失われています。負になるべき数が正になっています。",
    ),
    "reversed": both(
        "{part} is in reverse order: the right numbers, from the last to the first.",
        "{part} の順序が逆です。数は合っていますが、後ろから前に並んでいます。",
    ),
    "first_only": both(
        "In {part} only the first element along an axis is there, and 0 in all others. Is there a "
        "`return` inside the loop, or an index 0?",
        "{part} は、軸に沿って最初の要素だけが正しく、残りは 0 です。"
        "ループの中に `return` があるか、添字が 0 のままではありませんか。",
    ),
    "last_only": both(
        "In {part} only the last element along an axis is there, and 0 in all others. Does the "
        "loop overwrite what it should add to?",
        "{part} は、軸に沿って最後の要素だけが正しく、残りは 0 です。"
        "ループの中で、足すべきところを上書きしていませんか。",
    ),
    "squared": both(
        "{part} is the square of the right one: a factor is multiplied in twice.",
        "{part} が正しい値の 2 乗になっています。同じ因子を 2 度掛けています。",
    ),
    "inverse": both(
        "{part} is 1 over the right one: a division stands where a product should, or upside down.",
        "{part} が正しい値の逆数になっています。割り算の上下が逆か、掛けるところで割っています。",
    ),
    "offset": both(
        "{part} misses the right one by the same amount everywhere: a term is missing or too much.",
        "{part} は、どこでも同じだけずれています。足す項が足りないか、余分です。",
    ),
    "imprecise": both(
        "{part} is near the right one, but not near enough to be rounding: something is only "
        "approximated, or a small constant stands where it should not.",
        "{part} は正しい値に近いのですが、丸め誤差にしては離れすぎています。"
        "近似になっているところか、小さな定数の置き場所の間違いがあります。",
    ),
    "outer": both(
        "{part} is the derivative of the function alone. The chain rule multiplies it with `g`, "
        "the gradient that comes from further on.",
        "{part} は、この関数だけの微分になっています。連鎖律では、"
        "先の方から来る勾配 `g` をこれに掛けます。",
    ),
    "factor": both(
        "{part} is {times} the right one, on every input where it is wrong. Look for a constant "
        "factor: something is counted too often, or divided once too much.",
        "{part} が、間違っている入力ではいつも正しい値の{times}になっています。"
        "定数の因子を見直しましょう。何かを数えすぎたか、余分に割っています。",
    ),
    "times_n": both(
        "{part} is {n} times the right one, and on other inputs as many times as an axis has "
        "elements. Either a mean must divide by that number, or a sum was taken once too often.",
        "{part} が正しい値の {n} 倍です。ほかの入力でも、軸の要素の数だけ倍になっています。"
        "平均ならその数で割る必要がありますし、和を 1 度余分に取ったのかもしれません。",
    ),
    "over_n": both(
        "{part} is the right one divided by {n}, and on other inputs by as many as an axis has "
        "elements: is there a mean where a sum should be?",
        "{part} が正しい値の {n} 分の 1 です。ほかの入力でも、軸の要素の数で割られています。"
        "和を取るべきところで平均を取っていませんか。",
    ),
    "value": both("{part} is not right.", "{part} の値が違います。"),
    "value_here": both(
        "On {passed} of {all} inputs your answer is right, but not on this one. What is special "
        "here: {note}.",
        "{all} 通りの入力のうち {passed} 通りでは正解ですが、この入力では違います。"
        "この入力の特徴：{note}。",
    ),
    "command": both(
        "`python -m minigrad.study check FILE` says whether it is right.",
        "`python -m minigrad.study check FILE` で答え合わせができます。",
    ),
    "elsewhere": both(
        "On {passed} of {all} inputs your answer is right. What is special here: {note}.",
        "{all} 通りの入力のうち {passed} 通りでは正解です。この入力の特徴：{note}。",
    ),
}
