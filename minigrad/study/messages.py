"""Every text that `minigrad.study` itself shows a person, in Japanese and in English.

    language("ja")                the language that was asked for, else what the environment says
    say("book.next", "ja", ...)   a text with its fields filled in, as by `str.format`

To add a text, add an entry to `TEXTS`: the Japanese, then the English, both with the same fields.
The book's texts are in its chapters, those of the exercises in theirs.
"""

import os

LANGUAGES = ("ja", "en")

TEXTS: dict[str, tuple[str, str]] = {
    # ------------------------------------------------------------------------------- contents
    "contents.title": ("minigrad を学ぶ", "Study minigrad"),
    "contents.about": (
        "自動微分エンジンを、実際に学習に使われているコードそのもので学びます。"
        "NumPy と高校の微分がわかれば読めます。",
        "How automatic differentiation works, on the very code that trains models. You need NumPy "
        "and the derivatives of high school.",
    ),
    "contents.language": (
        "日本語で読むには、どのコマンドにも `--lang ja` を付けるか、環境変数 LANG を ja にします。",
        "In English: add `--lang en` to any command, or set LANG to en.",
    ),
    "contents.book": ("本を読む", "The book"),
    "contents.begin": (
        "第 1 章から始めましょう:  `{command}`",
        "Begin with chapter 1:  `{command}`",
    ),
    "contents.chapter": (
        "章は番号でも名前でも開けます。`--html FILE` を付けるとブラウザー用のページになります。",
        "A chapter is opened by its number or its name; `--html FILE` makes a page for a browser.",
    ),
    "contents.exercises": ("演習", "Exercises"),
    "contents.exercises_about": (
        "演習は {count} 問あります。一覧は `{list}`、問題は `{show}`、答え合わせは `{check}` "
        "です。",
        "There are {count}. `{list}` lists them, `{show}` shows one, and `{check}` says what is "
        "right in your answer and what is wrong.",
    ),
    "contents.stepper": ("エンジンを 1 ステップずつ見る", "Walk through the engine"),
    "contents.stepper_about": (
        "学習の 1 ステップを記録し、すべての演算を順伝播から逆伝播までたどれます。",
        "One training step is recorded, and you go through all its ops, forward and backward.",
    ),
    "contents.example": (
        "例題の 1 ステップをブラウザーで見る",
        "a step of an example, in a browser",
    ),
    "contents.terminal": ("同じものを端末で見る", "the same in the terminal"),
    "contents.own": ("自分の関数を見る", "of a function of your own"),
    "contents.examples": ("例題: {names}", "Examples: {names}"),
    # ------------------------------------------------------------------------------- chapters
    "book.exercises": ("演習", "Exercises"),
    "book.next": ("次の章", "The next chapter"),
    "book.next_chapter": ("第 {number} 章「{title}」:", "Chapter {number}, {title}:"),
    "book.last": (
        "これが最後の章です。目次に戻る:",
        "This was the last chapter. Back to the contents:",
    ),
    "book.output": ("出力", "output"),
    "book.written": ("書き出しました: {path}", "written: {path}"),
    # ------------------------------------------------------------------------------ exercises
    "exercise.title": ("演習", "Exercises"),
    "exercise.begin": (
        "ひな形をファイルに書き出す: `{write}`。答え合わせ: `{check}`",
        "Write the stub to a file: `{write}`. Have your answer checked: `{check}`",
    ),
    "exercise.of_chapter": ("第 {number} 章「{title}」", "Chapter {number}, {title}"),
    "exercise.unknown": (
        "「{name}」という演習はありません。{nearest}一覧は {command} で見られます。",
        "there is no exercise '{name}'; {nearest}{command} lists them",
    ),
    "cli.near": ("近い名前: {names}。", "near it: {names}; "),
    "exercise.none_in": (
        "{path} には演習の関数が一つもありません。{command} でひな形を書き出せます。",
        "{path} defines no function of an exercise; {command} writes a stub",
    ),
    "cli.nothing": ("（なし）", "none"),
    "exercise.not_python": (
        "{path} は Python のファイルではありません。"
        "答えは、名前が .py で終わるファイルに書いてください。",
        "{path} is no Python file; write answers to one whose name ends in .py",
    ),
    "exercise.exists": (
        "{path} はすでにあります。別の名前を指定してください。",
        "{path} is there already, and would be lost; name another file",
    ),
    "exercise.score": ("{right} / {count} 問正解", "{right} of {count} right"),
    # -------------------------------------------------------------------------------- terminal
    "walk.step": ("ステップ {at} / {last}", "step {at} of {last}"),
    "walk.forward": ("順伝播", "forward"),
    "walk.backward": ("逆伝播", "backward"),
    "walk.update": ("更新", "update"),
    "walk.write": ("書き換え", "written"),
    "walk.seed": ("逆伝播の始まり", "the walk back begins"),
    "walk.rule": ("{op} の微分規則", "the rule of {op}"),
    "walk.within": ("{op} の微分規則の中で", "inside the rule of {op}"),
    "walk.inside": ("{op} の式の中で", "inside the formula of {op}"),
    "walk.kernel": ("カーネルで計算", "computed by a kernel"),
    "walk.formula": ("式で計算", "computed by its formula"),
    "walk.freed": ("{count} バイトを解放", "{count} bytes freed"),
    "walk.steps": ("{count} ステップ目", "its step {count}"),
    "walk.site": ("層の中: {line}", "in the layer: {line}"),
    "walk.input": ("入力", "input"),
    "walk.output": ("出力", "output"),
    "walk.came": ("届いた勾配", "gradient in"),
    "walk.gave": ("渡した勾配", "gradient out"),
    "walk.total": ("足し合わせた勾配", "added up"),
    "walk.before": ("前", "before"),
    "walk.after": ("後", "after"),
    "walk.gradient": ("勾配", "gradient"),
    "walk.from": ("{op}（ステップ {step}）から", "from {op}, step {step}"),
    "walk.to": ("{name} へ", "to {name}"),
    "walk.summed": ("{shape} から和を取った", "summed from {shape}"),
    "walk.left_alone": ("勾配がないので、そのまま", "left alone: it has no gradient"),
    "walk.outside": ("記録の外から", "from outside"),
    "walk.constant": ("定数", "a constant"),
    "walk.no_source": ("ソースがありません", "there is no source"),
    "walk.nothing": ("値がありません", "there is no array"),
    "walk.source_formula": ("式", "formula"),
    "walk.source_rule": ("微分規則", "rule"),
    "walk.figures": (
        "最小 {low}  最大 {high}  平均 {mean}  標準偏差 {std}\n0 が {zeros}  NaN が {nan}  "
        "無限大が {infinite}",
        "low {low}  high {high}  mean {mean}  std {std}\n{zeros} zero  {nan} NaN  "
        "{infinite} infinite",
    ),
    "walk.keys": (
        "← → 前後  ↑ ↓ 値を選ぶ  Home End 端へ  Enter 演算と規則を行き来  / 検索  q 終わる",
        "left right: step   up down: choose   Home End   Enter: op or rule   / search   q leave",
    ),
    "walk.search": ("演算名か行を検索: {text}", "search an op or a line: {text}"),
    "walk.not_found": ("「{text}」は見つかりません", "'{text}' is nowhere"),
    "walk.no_terminal": (
        "端末ではないので、ステップの一覧を出します。",
        "This is no terminal; here are the steps.",
    ),
    # -------------------------------------------------------------------------------- commands
    "help.study": (
        "WHAT は、章の番号か名前、例題の名前、FILE[:FUNCTION]、保存した記録 RECORD.json、または次の"
        "コマンドです。何も付けなければ目次を出します。",
        "WHAT is a chapter's number or name, an example's name, FILE[:FUNCTION], a saved "
        "RECORD.json, or one of the commands below. Without it, the contents.",
    ),
    "help.lang": (
        "言語。指定がなければ LC_ALL、LANG に従います。",
        "The language; else that of LC_ALL or LANG.",
    ),
    "help.chapter": ("本の章を読みます。", "Read a chapter of the book."),
    "help.html": (
        "章を 1 つの HTML ファイルに書き出します。",
        "Write the chapter as one HTML file.",
    ),
    "help.exercises": ("演習の一覧を出します。", "List the exercises."),
    "help.exercise": ("演習の問題とひな形を出します。", "Show an exercise: its task and stub."),
    "help.write": ("ひな形を FILE に書き出します。", "Write the stub to FILE."),
    "help.check": (
        "FILE の答えを調べ、正しいところと間違っているところを示します。",
        "Say what is right and what is wrong in the answers of FILE.",
    ),
    "help.record": (
        "実行を 1 回記録し、それを見せるページを書き出します。",
        "Record a run, and write the page that shows it.",
    ),
    "help.out": (
        "ページを書き出すファイル。指定がなければ NAME.study.html です。",
        "Where the page goes; else to NAME.study.html.",
    ),
    "help.json": ("記録を FILE に保存します。", "Save the record to FILE."),
    "help.terminal": ("端末で見ます。", "Walk through it in the terminal."),
    "help.open": ("ブラウザーで開きます。", "Open the page in a browser."),
    "cli.unknown": (
        "「{name}」は章でも例題でもファイルでもありません。{nearest}"
        "目次は {command} で見られます。",
        "'{name}' is no chapter, no example and no file; {nearest}{command} lists what there is",
    ),
    "cli.no_file": ("{path} というファイルはありません。", "there is no file {path}"),
    "cli.not_python": (
        "{path} は Python のファイルでも記録でもありません。",
        "{path} is neither a Python file nor a record",
    ),
    "cli.no_function": (
        "{path} に関数 {name} はありません。引数なしで呼べる関数: {there}",
        "{path} has no function {name}; those that can be called without arguments: {there}",
    ),
    "cli.needs_arguments": (
        "{path} の {name} には引数 {arguments} が必要です。"
        "それを呼ぶ引数なしの関数を書いて、その名前を指定してください。",
        "{name} of {path} needs arguments ({arguments}); call it in a function without any, and "
        "name that",
    ),
    "cli.record": (
        "{path} は記録として読めません: {error}",
        "{path} cannot be read as a record: {error}",
    ),
    "cli.example": (
        "例題 {name} を動かせません: {error}",
        "the example {name} cannot run: {error}",
    ),
    "cli.unwritten": ("{path} に書き出せません: {error}", "cannot write {path}: {error}"),
    "cli.empty": (
        "{name} はエンジンの演算を一つも呼びませんでした。記録するものがありません。",
        "{name} called no op of the engine; there is nothing to show",
    ),
    "cli.truncated": (
        "記録がいっぱいになり、最初の {count} ステップだけを記録しました。"
        "1 ステップだけの関数を FILE:FUNCTION で指定してください。",
        "the record was full, and holds the first {count} steps only; name a function of one "
        "training step, as FILE:FUNCTION",
    ),
    "cli.saved": ("記録を保存しました: {path}", "record saved: {path}"),
    "cli.page": ("ページを書き出しました: {path}", "page written: {path}"),
}


def language(wish: str | None = None) -> str:
    """`wish`, or where that is None what LC_ALL or LANG begins with: "ja", else "en".

    Raises:
        ValueError: it is neither of the two.
    """
    if wish is not None:
        if wish not in LANGUAGES:
            raise ValueError(f"lang must be one of {', '.join(LANGUAGES)}, and came as {wish!r}")
        return wish
    told = os.environ.get("LC_ALL") or os.environ.get("LANG") or ""
    return "ja" if told.startswith("ja") else "en"


def say(key: str, lang: str, **fields: object) -> str:
    """The text `key` in `lang`, "ja" or "en"."""
    return TEXTS[key][LANGUAGES.index(lang)].format(**fields)
