"""Every text that the application shows a person, in Japanese and in English.

    say("text.empty")                     the text in the language of the moment
    say("corpus.more", count=3)           with its fields filled in, as by `str.format`
    use_language("ja")                    chooses; until then the environment decides

To add a text, add one entry to `TEXTS`: a key named after the module that says it, then the
Japanese and the English, both with the same fields.
"""

import os

LANGUAGES = ("ja", "en")

TEXTS: dict[str, tuple[str, str]] = {
    "list.separator": ("、", ", "),
    "text.empty": (
        "文が空です。かなで入力してください。",
        "The text is empty. Write it in kana.",
    ),
    "text.unknown": (
        "使えない文字があります: {found}。位置は正規化後の文「{text}」で数えています。"
        "使えるのは、ひらがな、カタカナ、「ー、。？！」と空白です。",
        "There are unknown characters: {found}. Positions count in the normalised text “{text}”. "
        "Hiragana, katakana, “ー、。？！” and the space can be used.",
    ),
    "text.more": ("ほか{count}文字", "{count} more"),
    "text.unknown_at": ("{position}文字目の{character}", "{character} at position {position}"),
    "vocabulary.unknown_tags": (
        "語彙にないタグがあります: {found}。",
        "There are tags that the vocabulary lacks: {found}.",
    ),
    "vocabulary.nearest": ("{tag}（近いタグは{nearest}）", "{tag} (the nearest is {nearest})"),
    "vocabulary.no_tags": ("語彙にタグが一つもありません。", "The vocabulary has no tags."),
    "vocabulary.malformed_tags": (
        "語彙のタグの形が正しくありません: {tags}。<食べる> のように書き、NFCで正規化します。",
        "The vocabulary has malformed tags: {tags}. A tag looks like <食べる> and is in NFC.",
    ),
    "vocabulary.repeated_tags": (
        "語彙に同じタグが二度あります: {tags}。",
        "The vocabulary has the same tag twice: {tags}.",
    ),
    "vocabulary.not_an_object": (
        "保存された語彙がJSONのオブジェクトではありません。",
        "The stored vocabulary is not a JSON object.",
    ),
    "vocabulary.keys": (
        "保存された語彙の項目は {expected} のはずですが、{found} でした。",
        "The stored vocabulary should have the entries {expected}, but has {found}.",
    ),
    "vocabulary.not_strings": (
        "保存された語彙の {entry} が文字列のリストではありません。",
        "The entry {entry} of the stored vocabulary is not a list of strings.",
    ),
    "vocabulary.other_tokens": (
        "保存された語彙の {entry} がこのプログラムと違います。"
        "語彙を作ったプログラムの版を使うか、学習し直してください。",
        "The entry {entry} of the stored vocabulary differs from this program's. "
        "Use the version that wrote it, or train again.",
    ),
    "corpus.missing_file": (
        "コーパス {path} が見つかりません。",
        "There is no corpus {path}.",
    ),
    "corpus.directory": (
        "コーパス {path} はフォルダーです。TSVファイルを指定してください。",
        "The corpus {path} is a directory. Name a TSV file.",
    ),
    "corpus.unreadable": (
        "コーパス {path} を読めません: {reason}",
        "The corpus {path} cannot be read: {reason}",
    ),
    "corpus.not_utf8": (
        "UTF-8ではありません（先頭から{offset}バイトの次）。UTF-8で保存し直してください。",
        "This is not UTF-8 (after {offset} bytes of the file). Save the file as UTF-8.",
    ),
    "corpus.empty": (
        "コーパス {path} が空です。1行目に見出し {columns} をタブ区切りで書いてください。",
        "The corpus {path} is empty. Begin it with the header {columns}, separated by tabs.",
    ),
    "corpus.problems": (
        "コーパス {path} に{count}件の問題があります。",
        "Problems in the corpus {path}: {count}.",
    ),
    "corpus.more": ("ほかに{count}件あります。", "And {count} more."),
    "corpus.missing_column": ("列「{column}」がありません。", "The column “{column}” is missing."),
    "corpus.unknown_column": (
        "知らない列「{column}」があります。使えるのは {columns} です。",
        "The column “{column}” is unknown. The columns are {columns}.",
    ),
    "corpus.repeated_column": (
        "列「{column}」が二度以上あります。",
        "The column “{column}” is there more than once.",
    ),
    "corpus.no_rows": (
        "見出しの後に行がありません。",
        "There are no rows after the header.",
    ),
    "corpus.fields": (
        "タブ区切りの項目が{found}個あります。{expected}個にしてください。",
        "There are {found} fields between tabs; there should be {expected}.",
    ),
    "corpus.empty_field": ("列「{column}」が空です。", "The column “{column}” is empty."),
    "corpus.group": (
        "グループ名「{group}」に使えない文字（. や / や表示できない文字）があります。",
        "The group name “{group}” holds a “.”, a “/” or a character that does not show.",
    ),
    "corpus.tag": (
        "タグ「{tag}」の形が正しくありません。<私> <食べる> のように空白で区切ります。",
        "The tag “{tag}” is malformed. Write tags as <私> <食べる>, separated by spaces.",
    ),
    "corpus.too_long": (
        "長すぎます。終端を含めて、文は{source}、タグは{target}、上限は{limit}（--max-length）です。",
        "This is too long. With the end mark, the text takes {source} and the tags {target}; "
        "the limit is {limit} (--max-length).",
    ),
    "corpus.repeated_row": (
        "{first}行目と同じ行です。どちらかを消してください。",
        "This is the same row as line {first}. Delete one of them.",
    ),
    "corpus.conflict": (
        "文「{japanese}」のタグが{first}行目と違います（グループ「{group}」）。",
        "The text “{japanese}” has other tags in line {first} (group “{group}”).",
    ),
    "text.too_long": (
        "長すぎます。文は{length}文字ですが、このモデルで訳せるのは{limit}文字までです。",
        "The text is too long: it has {length} characters, this model takes up to {limit}.",
    ),
    "config.section": (
        "config.json の {place} の項目は {expected} のはずですが、{found} でした。",
        "The section {place} of config.json should have {expected}, but has {found}.",
    ),
    "config.type": (
        "config.json の {place} は {expected} 型のはずですが、{found} でした。",
        "The entry {place} of config.json should be of type {expected}, but is {found}.",
    ),
    "config.positive": (
        "{name} は正の数にしてください（{value} でした）。",
        "{name} must be positive; it is {value}.",
    ),
    "config.value": (
        "config.json の {place} が正しくありません。{reason}",
        "The section {place} of config.json is wrong. {reason}",
    ),
    "config.optimizer": (
        "optimizer は Adam だけです（{value} でした）。",
        "optimizer can only be Adam; it is {value}.",
    ),
    "config.heads": (
        "d_model（{d_model}）はヘッド数（{n_heads}）の倍数にしてください。",
        "d_model ({d_model}) must be a multiple of the number of heads ({n_heads}).",
    ),
    "config.seed": (
        "シードは0以上、2の64乗未満にしてください（{value} でした）。",
        "The seed must be at least 0 and less than 2**64; it is {value}.",
    ),
    "checkpoint.not_empty": (
        "フォルダー {path} は空ではありません。別の場所を --save で指定するか、"
        "--overwrite を付けてください。",
        "The directory {path} is not empty. Name another one with --save, or add --overwrite.",
    ),
    "checkpoint.no_directory": (
        "学習済みモデルのフォルダー {path} がありません。jsl train で作れます。",
        "There is no run directory {path}. Make one with: jsl train",
    ),
    "checkpoint.absent": (
        "フォルダー {path} に {names} がありません。学習済みモデルではないか、保存が途中です。",
        "The directory {path} lacks {names}. It is not a run, or was not saved to the end.",
    ),
    "checkpoint.unwritable": (
        "フォルダー {path} に書けません。別の場所を --save で指定してください。（{reason}）",
        "The directory {path} cannot be written to. Name another one with --save. ({reason})",
    ),
    "checkpoint.damaged": (
        "フォルダー {path} のファイルが壊れているか、一度に保存されたものではありません。"
        "元のファイルに戻すか、学習し直してください。（{reason}）",
        "The files in {path} are damaged, or were not saved together. "
        "Restore them, or train again. ({reason})",
    ),
    "checkpoint.manifest": (
        "フォルダー {path} の manifest.json に全部のファイルが載っていません。",
        "The manifest.json of {path} does not list all files of a run.",
    ),
    "checkpoint.format": (
        "{path} の config.json の形式は {found} ですが、"
        "このプログラムが読めるのは {expected} です。",
        "The config.json of {path} has format {found}; this program reads format {expected}.",
    ),
    "checkpoint.sections": (
        "{path} に {names} がないか、形が違います。",
        "{path} lacks {names}, or has them in another form.",
    ),
    "checkpoint.vocabulary": (
        "{path} の語彙が、記録された大きさやハッシュと合いません。",
        "The vocabulary of {path} does not have the size or the hash that were recorded.",
    ),
    "train.unknown_groups": (
        "続きから学習するモデルにないグループです: {found}。あるのは {known} です。",
        "The run to continue does not know these groups: {found}. It has: {known}.",
    ),
    "train.unknown_tags": (
        "続きから学習するモデルの語彙にないタグです: {found}。",
        "The run to continue does not have these tags in its vocabulary: {found}.",
    ),
    "train.fixed": (
        "{options} は続きから学習するときには変えられません（--load の設定を使います）。",
        "{options} cannot be changed when a run is continued; it keeps those of --load.",
    ),
    "train.which_corpus": (
        "{path} は別のコーパス {name} で学習したものです。続きに使うコーパスを --corpus で"
        "指定してください。",
        "{path} was trained on another corpus, {name}. Name the corpus to go on with: --corpus",
    ),
    "train.other_corpus": (
        "注意: 前回とは違うコーパスで続けます。",
        "Note: this is not the corpus that the run was trained on before.",
    ),
    "train.backend": ("計算: {explanation}", "{explanation}"),
    "train.diverged": (
        "エポック{epoch}で損失が{loss}になりました。学習率{rate}を下げてください（--learning-rate）。"
        "何も保存していません。",
        "The loss became {loss} in epoch {epoch}. Lower the learning rate, which is {rate} "
        "(--learning-rate). Nothing was saved.",
    ),
    "train.start": (
        "{rows}行（グループ {groups}）、語彙{vocabulary}、"
        "パラメーター{parameters:,}個で学習します。",
        "Training on {rows} rows (groups: {groups}), vocabulary {vocabulary}, "
        "{parameters:,} parameters.",
    ),
    "train.compiled": (
        "カーネルの準備が{seconds:.1f}秒で終わりました。",
        "The kernels were ready after {seconds:.1f} s.",
    ),
    "train.compiling": ("カーネルを準備しています", "Preparing the kernels"),
    "warmup.kernel": ("{seconds:6.2f}秒  {name}", "{seconds:6.2f} s  {name}"),
    "train.epoch": (
        "エポック {epoch}/{epochs}  損失 {token:.4f}/トークン {sentence:.4f}/文  "
        "{speed:,.0f}トークン/秒  残り {left}",
        "epoch {epoch}/{epochs}  loss {token:.4f} per token {sentence:.4f} per sentence  "
        "{speed:,.0f} tokens/s  {left} left",
    ),
    "train.stopping": (
        "このエポックの終わりで止めて保存します。もう一度 Ctrl-C を押すと、保存せずに終わります。",
        "Stopping at the end of this epoch, then saving. Press Ctrl-C again to leave without "
        "saving.",
    ),
    "train.matches": (
        "{group}: {rows}行のうち{right}行を正しく訳せます。",
        "{group}: {right} of {rows} rows are translated exactly.",
    ),
    "train.saved": ("{path} に保存しました。", "Saved to {path}."),
    "train.resume": ("続きは次のコマンドで:  {command}", "To go on:  {command}"),
    "predict.far": (
        "注意: 「{text}」は学習した文とかなり違うので、タグは当てになりません。",
        "Note: “{text}” is far from everything in training, so its tags mean little.",
    ),
    "predict.line": ("{number}行目: {error}", "line {number}: {error}"),
    "predict.text": ("{number}番目の文: {error}", "text {number}: {error}"),
    "predict.nothing": (
        "訳す文を書いてください。標準入力から読むには - とします。",
        "Give a text to translate, or - to read lines from standard input.",
    ),
    "predict.dash": (
        "- はほかの文と一緒には使えません。",
        "- cannot be combined with texts.",
    ),
    "predict.not_utf8": (
        "UTF-8ではありません。UTF-8に変換してください。",
        "This is not UTF-8. Convert it to UTF-8.",
    ),
    "predict.unknown_group": (
        "グループ「{group}」はありません。あるのは {known} です。",
        "There is no group “{group}”. The run has: {known}.",
    ),
    "cli.memory": (
        "メモリが足りません: {error}。モデルやバッチを小さくしてください。",
        "There is not enough memory: {error}. Make the model or the batch smaller.",
    ),
    "cli.error": ("エラー: {error}", "Error: {error}"),
    "cli.interrupted": ("中断しました。", "Interrupted."),
    "cli.backend": (
        "計算に使うものを選べません。--backend numpy ならどこでも動きます。（{reason}）",
        "This cannot be computed with here; --backend numpy works everywhere. ({reason})",
    ),
    "usage.help": ("使い方は次のコマンドで:  {command}", "For help:  {command}"),
    "usage.command": (
        "{name} というコマンドはありません。あるのは {known} です。",
        "There is no command {name}. The commands: {known}.",
    ),
    "usage.option": ("{name} というオプションはありません。", "There is no option {name}."),
    "usage.option_near": (
        "{name} というオプションはありません。近いのは {near} です。",
        "There is no option {name}. The nearest: {near}.",
    ),
    "usage.option_value": (
        "{name} の後に値が足りないか、余分です。",
        "After {name} a value is missing, or there is one too many.",
    ),
    "usage.missing": ("{name} を指定してください。", "{name} is missing."),
    "usage.value": ("{name}: {reason}", "{name}: {reason}"),
    "usage.integer": (
        "{value} ではなく、{low}以上の整数にしてください。",
        "expected an integer of at least {low}, got {value}.",
    ),
    "usage.integers": (
        "{value} ではなく、{low}以上{high}以下の整数にしてください。",
        "expected an integer from {low} to {high}, got {value}.",
    ),
    "usage.number": ("{value} ではなく、数にしてください。", "expected a number, got {value}."),
    "usage.choice": (
        "{value} ではなく、{choices} のどれかにしてください。",
        "expected one of {choices}, got {value}.",
    ),
    "cli.unexpected": (
        "予期しないエラーです: {error}（--debug で詳しく表示します）",
        "Unexpected error: {error} (--debug shows where)",
    ),
}

_chosen: str | None = None


def say(key: str, /, **fields: object) -> str:
    """The text called `key` in the language of the moment, with its `fields` filled in.

    Raises KeyError for a key that is not in `TEXTS` and for a field that is not given.
    """
    return TEXTS[key][LANGUAGES.index(language())].format(**fields)


def language() -> str:
    """The language of the moment: the one last chosen, or else the default one."""
    return _chosen or default_language()


def use_language(name: str) -> None:
    """Chooses the language of everything said from now on.

    Raises ValueError if `name` is not one of `LANGUAGES`.
    """
    global _chosen
    if name not in LANGUAGES:
        raise ValueError(f"use_language: expected one of {LANGUAGES}, got {name!r}")
    _chosen = name


def default_language() -> str:
    """The language that the environment asks for: "ja" if it asks for Japanese, else "en".

    As POSIX has it, the first of LC_ALL, LC_MESSAGES and LANG that is not empty decides.
    """
    settings = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    setting = next(filter(None, settings), "")
    return "ja" if setting.lower().startswith("ja") else "en"
