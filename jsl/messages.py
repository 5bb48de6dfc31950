"""Every text that the application shows a person, in Japanese and in English.

    say("text.empty")                     the text in the language of the moment
    say("corpus.more", count=3)           with its fields filled in, as by `str.format`
    use_language("ja")                    chooses; until then the environment decides
    listed(names)                         "a, b, c, 12 more"

A message fits a screen, whatever comes into it: what is quoted is shortened in the middle, lists
are cut, and what does not show is written as its code. That is done here and nowhere else.

To add a text, add one entry to `TEXTS`: a key named after the module that says it, then the
Japanese and the English, both with the same fields. Those of `--help` are in `jsl.helptexts`.
"""

import os
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import islice

from jsl.errors import JslError
from jsl.helptexts import HELP

LANGUAGES = ("ja", "en")

TEXTS: dict[str, tuple[str, str]] = HELP | {
    "list.separator": ("、", ", "),
    "list.more": ("ほか{count}件", "{count} more"),
    "messages.cut": (" …（{count}文字略）… ", " … ({count} characters left out) … "),
    "text.empty": (
        "文が空です。かなで入力してください。",
        "The text is empty. Write it in kana.",
    ),
    "text.nothing": ("文が空です。", "The text is empty."),
    "decode.slots": (
        "decoder-only のモデルはタグを一度に出すため、--beam、--nbest、--int8 と注意の重みは"
        "使えません。",
        "A decoder-only model says all its tags at once: --beam, --nbest, --int8 and attention "
        "cannot be used with it.",
    ),
    "text.unknown": (
        "使えない文字があります: {found}。位置は正規化後の文「{text}」で数えています。"
        "使えるのは、ひらがな、カタカナ、「ー、。？！」と空白です。",
        "There are unknown characters: {found}. Positions count in the normalised text “{text}”. "
        "Hiragana, katakana, “ー、。？！” and the space can be used.",
    ),
    "reading.install": (
        "漢字の読みには追加の機能が要ります:  pip install 'minigrad[kanji]'",
        " To have kanji read, add an extra:  pip install 'minigrad[kanji]'",
    ),
    "reading.broken": (
        "漢字の読みを調べられません: {reason}。pip install 'minigrad[kanji]' で入れ直すか、"
        "かなで入力してください。",
        "Kanji cannot be read: {reason}. Install again with: pip install 'minigrad[kanji]', or "
        "write the text in kana.",
    ),
    "reading.shown": (
        "読み: 「{surface}」→「{text}」",
        "reading: “{surface}” → “{text}”",
    ),
    "reading.ambiguous": (
        "（ほかの読みもあります: {parts}）",
        " (it could be read otherwise: {parts})",
    ),
    "reading.part": (
        "{surface}は{reading}、または{others}",
        "{surface} {reading} or {others}",
    ),
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
    "vocabulary.malformed_tokens": (
        "語彙に、一つの単語または文字でないものがあります: {tags}。",
        "The vocabulary has entries that are not one word, or one character: {tags}.",
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
    "corpus.one_group": (
        "group の列がないので、すべての行をグループ {group} にします。",
        "There is no column group, so all rows are in the group {group}.",
    ),
    "corpus.lines": (
        "{source} は{source_lines}行、{target} は{target_lines}行です。"
        "同じ行どうしが対訳になるように、行数をそろえてください。",
        "{source} has {source_lines} lines and {target} {target_lines}. Line by line they should "
        "be translations of each other, so they need as many lines.",
    ),
    "corpus.empty_lines": (
        "原文か訳文が空の{count}行を除きました（{lines}）。",
        "{count} lines that are empty on one side were left out ({lines}).",
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
        "UTF-8ではありません（先頭から{offset}バイトの次）。UTF-8で保存し直すか、--encoding "
        "で文字コードを指定してください。",
        "This is not UTF-8 (after {offset} bytes of the file). Save the file as UTF-8, or name "
        "its encoding with --encoding.",
    ),
    "corpus.not_encoding": (
        "{encoding} ではありません（先頭から{offset}バイトの次）。",
        "This is not {encoding} (after {offset} bytes of the file).",
    ),
    "corpus.unknown_encoding": (
        "--encoding: {name} という文字コードはありません。utf-8、cp932（Shift-JIS）、utf-16 "
        "などと書きます。",
        "--encoding: there is no encoding {name}; utf-8, cp932 (Shift-JIS) and utf-16 are some.",
    ),
    "corpus.looks_like": (
        "コーパス {path} はUTF-8ではなく、{kind}のようです。UTF-8で保存し直す（Excelでは「CSV "
        "UTF-8」）か、--encoding {encoding} を付けてください。",
        "The corpus {path} is not UTF-8. It looks like {kind}. Save it as UTF-8 (“CSV UTF-8” "
        "in Excel), or add: --encoding {encoding}",
    ),
    "encoding.utf16": (
        "Excelの「Unicode テキスト」（UTF-16）",
        "Unicode text as Excel saves it (UTF-16)",
    ),
    "encoding.utf32": (
        "UTF-32",
        "UTF-32",
    ),
    "encoding.cp932": (
        "日本語Windowsの標準のShift-JIS（CP932）",
        "Shift-JIS (CP932), in which Excel on Japanese Windows saves text",
    ),
    "encoding.eucjp": (
        "EUC-JP",
        "EUC-JP",
    ),
    "encoding.jis": (
        "JIS（ISO-2022-JP）",
        "JIS (ISO-2022-JP)",
    ),
    "corpus.workbook": (
        "コーパスがExcelのブックか圧縮ファイルです。Excelで「CSV UTF-8」として保存してください。",
        "The corpus is an Excel workbook or an archive. Save it as text: “CSV UTF-8” in Excel.",
    ),
    "corpus.empty": (
        "コーパス {path} が空です。1行目に見出し {columns} をタブ区切りで書いてください。",
        "The corpus {path} is empty. Begin it with the header {columns}, separated by tabs.",
    ),
    "corpus.problems": (
        "コーパス {path} に{count}件の問題があります。",
        "Problems in the corpus {path}: {count}.",
    ),
    "corpus.problem": (
        "{path}:{line}: {cause}",
        "{path}:{line}: {cause}",
    ),
    "corpus.also": (
        "同じ問題のある行: {lines}。",
        " Lines with the same problem: {lines}.",
    ),
    "corpus.more": (
        "ほかに{count}種類あります。",
        "And problems of {count} more kinds.",
    ),
    "corpus.missing_column": (
        "見出しに {columns} がありません。あるのは {found} です。",
        "The header lacks {columns}. It has: {found}.",
    ),
    "corpus.no_header": (
        "1行目が見出しではありません: 「{found}」。先頭に見出し {columns} "
        "をタブ区切りで書いてください。",
        "The first line is not a header: “{found}”. Begin the file with the header {columns}, "
        "separated by tabs.",
    ),
    "corpus.spaces": (
        "見出しが空白で区切られています。タブで区切ってください。",
        "The header is separated by spaces. Separate the columns by tabs.",
    ),
    "corpus.delimiter": (
        "注意: {path} はCSVとして読みました（区切りは「{delimiter}」）。",
        "Note: {path} was read as CSV, with “{delimiter}” between the fields.",
    ),
    "corpus.ignored": (
        "注意: 使わない列があります: {columns}。",
        "Note: these columns are not used: {columns}.",
    ),
    "corpus.dropped": (
        "注意: 前と同じ行を{count}行省きました: {lines}行目。",
        "Note: {count} rows that repeat earlier ones were dropped, in lines {lines}.",
    ),
    "corpus.repeated_column": (
        "列「{column}」が二度以上あります。",
        "The column “{column}” is there more than once.",
    ),
    "corpus.no_rows": (
        "見出しの後に行がありません。",
        "There are no rows after the header.",
    ),
    "corpus.quotes": (
        'この行から始まる項目の引用符 " が正しく閉じていません。引用符の中の " は "" と書きます。',
        'A field that begins here has quotes (") that are not closed, or text after them. '
        'Write " inside quotes as "".',
    ),
    "corpus.fields": (
        "項目が{found}個あります。{expected}個にしてください。",
        "There are {found} fields; there should be {expected}.",
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
        "{rows}行が長すぎます。終端を含めた上限は{limit}です。いちばん長いのは{line}行目で、"
        "新しく学習するなら --max-seq-len {fit}（または auto）で入ります。",
        "Rows that are too long: {rows}; with its end mark, a sequence may have {limit}. "
        "The longest is in line {line}; for a new run, --max-seq-len {fit} (or auto) would do.",
    ),
    "corpus.much_too_long": (
        "{rows}行が長すぎます。終端を含めた上限は{limit}です。"
        "いちばん長いのは{line}行目で{fit}です。"
        "短い文に分けてください。",
        "Rows that are too long: {rows}; with its end mark, a sequence may have {limit}. "
        "The longest is in line {line} and has {fit}. Split it into shorter ones.",
    ),
    "corpus.conflict": (
        "文「{japanese}」のタグが{first}行目と違います（グループ「{group}」）。",
        "The text “{japanese}” has other tags in line {first} (group “{group}”).",
    ),
    "generate.too_many": (
        "--size {size}: 文法から作れるのは{most}行までです。",
        "--size {size}: the grammar can make {most} rows.",
    ),
    "generate.valid_out": (
        "--split と --valid-share には、検証用のファイルを --valid-out で指定してください。",
        "--split and --valid-share need a file for validation: --valid-out",
    ),
    "generate.same_file": (
        "--out と --valid-out が同じファイル {path} です。",
        "--out and --valid-out are the same file, {path}.",
    ),
    "generate.nothing_held": (
        "{count}文では、学習にも出てくる単語と文型だけの文を検証用に分けられません。"
        "--size を大きくしてください。",
        "Of {count} sentences none can be held out so that its words and its pattern are still "
        "trained. Make --size larger.",
    ),
    "generate.share": (
        "{value} ではなく、0より大きく1より小さい数にしてください。",
        "expected a number above 0 and below 1, got {value}.",
    ),
    "generate.unwritable": (
        "{path} に書き込めません: {reason}",
        "Cannot write {path}: {reason}",
    ),
    "generate.written": ("{path}: {rows}行", "{path}: {rows} rows"),
    "survey.file": (
        "{path}: {rows:,}行、{sentences:,}文、タグ{tags:,}種類",
        "{path}: rows {rows:,}, sentences {sentences:,}, tags {tags:,}",
    ),
    "survey.name": ("{name}", "{name}"),
    "survey.head.group": ("グループ", "group"),
    "survey.head.rows": ("行", "rows"),
    "survey.head.tags": ("タグ", "tags"),
    "survey.head.symbols": ("文の長さ（最小/中央/最大）", "sentence length (min/median/max)"),
    "survey.head.signs": ("タグ列の長さ", "length in tags"),
    "survey.longest": (
        "終端を含めた最大の長さ: {length}。プリセットに入らない行: {presets}。",
        "Longest, its end counted: {length}. Rows too long for a preset: {presets}.",
    ),
    "survey.preset": ("{name} {rows:,}行", "{name} {rows:,}"),
    "survey.histogram": (
        "出てくる回数: タグの種類  {bins}",
        "Times that a tag is there: how many such tags  {bins}",
    ),
    "survey.frequent": ("多いタグ: {tags}", "Most frequent: {tags}"),
    "survey.rare": ("少ないタグ: {tags}", "Rarest: {tags}"),
    "survey.character": (
        "「{character}」({code}) {lines}行目",
        "“{character}” ({code}) in lines {lines}",
    ),
    "survey.unknown": ("使えない文字: {characters}", "Unknown characters: {characters}"),
    "survey.problem": (
        "問題のある行: {count}行（{lines}行目）。{cause}",
        "Rows with a problem: {count}, in lines {lines}. {cause}",
    ),
    "survey.clashes": (
        "矛盾: 同じ文に違うタグが付いています（{count}文）。",
        "Contradictions: sentences with several tags: {count}.",
    ),
    "survey.clash": (
        "{group}「{japanese}」: {places}",
        "{group} “{japanese}”: {places}",
    ),
    "survey.place": ("{path}:{line} {tags}", "{path}:{line} {tags}"),
    "survey.leaks": (
        "重なり: 学習用と検証用の両方にある文（{count}件）。",
        "Leakage: sentences that are trained and validated: {count}.",
    ),
    "survey.leaks_across": (
        "重なり: 検証用の文が、学習用の別のグループにあります（{count}件）。",
        "Leakage: sentences that are validated, and trained in another group: {count}.",
    ),
    "survey.alike": (
        "注意: 記号や空白だけが違う文が、学習用と検証用にあります（{count}件）。",
        "Note: sentences of both sides that differ in marks and spaces only: {count}.",
    ),
    "survey.leak": (
        "「{japanese}」: {path} {lines}行目（{group}）、{valid_path} {valid_lines}行目"
        "（{valid_group}）",
        "“{japanese}”: {path}, lines {lines} ({group}); {valid_path}, lines {valid_lines} "
        "({valid_group})",
    ),
    "survey.unseen": (
        "注意: {group}の検証用に、学習に出てこないタグが{count}種類あります: {tags}。",
        "Note: in {group}, validation has tags that training has not: {count}; {tags}.",
    ),
    "survey.shared": (
        "注意: 同じ行が二つ以上のファイルにあります（{count}件）。",
        "Note: rows that are in several files: {count}.",
    ),
    "survey.apart": (
        "検証用の文は学習に出てきません。",
        "No sentence is trained and validated.",
    ),
    "survey.well": ("問題はありません。", "Nothing is wrong."),
    "survey.wrong": ("問題があります。", "Something is wrong."),
    "text.too_long": (
        "長すぎます。文は{length}文字ですが、このモデルで訳せるのは{limit}文字までです。",
        "The text is too long: it has {length} characters, this model takes up to {limit}.",
    ),
    "schema.value": (
        "{path} の {place} は {expected} のはずですが、{found} でした。",
        "The entry {place} of {path} should be: {expected}; it is {found}.",
    ),
    "schema.twice": (
        "{path} の {place} に {found} が二度以上あります。",
        "The entry {place} of {path} has {found} more than once.",
    ),
    "schema.unknown": (
        "{path} に知らない項目 {place} があります。{nearest}",
        "{path} has the entry {place}, which is not known.{nearest}",
    ),
    "schema.nearest": ("近い項目は {name} です。", " The nearest one is {name}."),
    "config.not_negative": (
        "{name} は0以上にしてください（{value} でした）。",
        "{name} should be 0 or more, got {value}.",
    ),
    "config.share": (
        "{name} は0以上1未満にしてください（{value} でした）。",
        "{name} should be from 0 to below 1, got {value}.",
    ),
    "config.one_of": (
        "{name} は {known} のどれかにしてください（{value} でした）。",
        "{name} should be one of {known}, got {value}.",
    ),
    "config.decoder_only": (
        "decoder-only のモデルにはデコーダーの埋め込みも層もないため、"
        "--tie-embeddings と --share decoder は使えません。",
        "A decoder-only model has no other embedding and no other layers, so --tie-embeddings and "
        "--share decoder cannot be used with it.",
    ),
    "config.all_shared": (
        "すべてを共有すると、グループ {groups} の区別がなくなります。"
        "--share から一つ外すか、コーパスの group を一つにしてください。",
        "With everything shared the groups {groups} would be one. Leave something out of --share, "
        "or give the corpus a single group.",
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
        "このプログラムが読めるのは {expected} までです。",
        "The config.json of {path} has format {found}; this program reads up to {expected}.",
    ),
    "checkpoint.sections": (
        "{path} に {names} がないか、形が違います。",
        "{path} lacks {names}, or has them in another form.",
    ),
    "checkpoint.vocabulary": (
        "{path} の語彙が、記録された大きさやハッシュと合いません。",
        "The vocabulary of {path} does not have the size or the hash that were recorded.",
    ),
    "checkpoint.sizes": (
        "{path} の重みが config.json の大きさと合いません（{reason}）。",
        "The weights in {path} are not of the sizes in its config.json ({reason}).",
    ),
    "checkpoint.lost": (
        "{path} の {name} に有限でない数があります。学習に失敗したモデルで、使えません。",
        "{path} has numbers in {name} that are not finite. Its training has failed; it is of no "
        "use.",
    ),
    "checkpoint.unequal": (
        "{path} の training.json が config.json や metrics.json と合いません（{names}）。",
        "The training.json of {path} does not say what its config.json and metrics.json do "
        "({names}).",
    ),
    "checkpoint.problem": ("{path}: {problem}", "{path}: {problem}"),
    "checkpoint.whole": (
        "{path}: {count}個のファイルはどれも無事です。",
        "{path}: all {count} files are whole.",
    ),
    "checkpoint.busy": (
        "フォルダー {path} には別のプロセスが書き込んでいます。"
        "別の場所を --save で指定してください。",
        "Another process is writing into {path}. Name another directory with --save.",
    ),
    "checkpoint.no_optimizer": (
        "注意: {path} に optimizer.safetensors がないので、オプティマイザーは初めから始めます。",
        "Note: {path} has no optimizer.safetensors; the optimizer begins anew.",
    ),
    "train.nothing_left": (
        "{path} の学習は最後まで終わっています。続けるには --load と --epochs を使ってください。",
        "The training of {path} has come to its end. To add epochs, use --load and --epochs.",
    ),
    "train.resume_alone": (
        "--resume は {options} と一緒には使えません（保存した設定のまま続けます）。",
        "--resume goes on with all as it was; it does not go with {options}.",
    ),
    "train.resume_corpus": (
        "{path} の学習に使ったコーパスではありません。同じ {name} を --corpus で指定してください。",
        "This is not the corpus that {path} was being trained on. Name the same {name}: --corpus",
    ),
    "train.lost": (
        "学習のあとの損失が{loss}です。学習率{rate}を下げてください（--learning-rate）。"
        "この重みは保存していません。",
        "After the training the loss is {loss}. Lower the learning rate, which is {rate} "
        "(--learning-rate). These weights were not saved.",
    ),
    "train.not_begun": (
        "学習を始める前に中断しました。保存するものはありません。",
        "Interrupted before the training had begun; there is nothing to save.",
    ),
    "train.cut": (
        "ステップの途中で終わりました。{saved}",
        "Left in the midst of a step. {saved}",
    ),
    "train.last_saved": (
        "最後に保存したのは {path} です。",
        "The last state that was saved is {path}.",
    ),
    "train.none_saved": ("保存したものはありません。", "Nothing had been saved."),
    "train.encoding": (
        "--encoding は --corpus と一緒に使ってください。",
        "--encoding goes with --corpus.",
    ),
    "train.other_tokens": (
        "このコーパスは {found} に分けますが、続けるモデルは {known} → {target} です。"
        "--source-tokens と --target-tokens をモデルに合わせてください。",
        "This corpus is cut into {found}, but the run to continue knows {known} → {target}. Give "
        "--source-tokens and --target-tokens as the run has them.",
    ),
    "train.slots": (
        "decoder-only のモデルが出すタグは{slots}個までですが、{path} の{line}行目には"
        "{found}個あります。",
        "A decoder-only model says at most {slots} tags, but line {line} of {path} has {found}.",
    ),
    "train.grown": (
        "続ける実行にないものを加えます: {found}。オプティマイザーの状態は新しく始めます。",
        "The run to continue learns what it does not know yet: {found}. The state of the optimizer "
        "begins anew.",
    ),
    "train.left_out": (
        "検証用コーパスの{count}行は、学習用にないグループかタグを含むため、損失に数えません。",
        "{count} rows of the corpus for validation have groups or tags that the other lacks; they "
        "are left out of the loss.",
    ),
    "train.which_valid": (
        "{path} は検証用コーパス {name} を使っていました。同じものを --valid"
        "（または --valid-source と --valid-target）で指定してください。",
        "{path} was trained with {name} for validation. Name it with --valid, or with "
        "--valid-source and --valid-target.",
    ),
    "train.shorter": (
        "--max-seq-len は、続ける実行の {least} 以上にしてください。",
        "--max-seq-len should be at least {least}, that of the run to continue.",
    ),
    "train.valid": ("  検証 {loss:.4f}", "  valid {loss:.4f}"),
    "train.valid_matches": (
        "{group}: 検証用の{rows:,}文のうち{right:,}文が完全に一致しました。",
        "{group}: {right:,} of {rows:,} sentences for validation are translated exactly.",
    ),
    "corpora.both": (
        "{one} と {source}/{target} は、どちらか一方を指定してください。",
        "Give either {one}, or {source} and {target}.",
    ),
    "corpora.half": (
        "{there} には {absent} も必要です。",
        "{there} needs {absent} as well.",
    ),
    "predict.unknown_at": ("{position}番目の「{token}」", "“{token}” at {position}"),
    "predict.unknown": (
        "語彙にない語があります: {found}。",
        "The vocabulary lacks: {found}.",
    ),
    "usage.share": (
        "{value} は0以上1未満の数ではありません。",
        "{value} is not a number from 0 to below 1.",
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
    "backend.asked": (
        "CPUで計算します（NumPy、{source} の指定どおり）。",
        "Computing on the CPU with NumPy, as {source} asks for.",
    ),
    "backend.computes": (
        "GPUで計算します（CuPy、{detail}）。",
        "Computing on a GPU with CuPy: {detail}.",
    ),
    "backend.absent": (
        "CPUで計算します（NumPy）。CuPyを読み込めないため、GPUは使えません（{detail}）。"
        "使うには minigrad[cuda13] か minigrad[cuda12] を入れてください。",
        "Computing on the CPU with NumPy: CuPy cannot be imported ({detail}). For a GPU install "
        "minigrad[cuda13] or minigrad[cuda12].",
    ),
    "backend.no_device": (
        "CPUで計算します（NumPy）。CuPyはありますが、GPUが応答しません（{detail}）。",
        "Computing on the CPU with NumPy: CuPy is installed, but no GPU answers ({detail}).",
    ),
    "backend.wrong": (
        "CPUで計算します（NumPy）。CuPyはありますが、GPUの計算結果が正しくありません。",
        "Computing on the CPU with NumPy: CuPy is installed, but its GPU computes wrong numbers.",
    ),
    "train.measured": (
        "1ステップの時間は、NumPyで{numpy:.1f}ミリ秒、CuPyで{cupy:.1f}ミリ秒です。"
        "{name} で学習します（--backend で選べます）。",
        "A step takes {numpy:.1f} ms with NumPy and {cupy:.1f} ms with CuPy: training with {name} "
        "(--backend chooses).",
    ),
    "train.step_failed": (
        "試しの1ステップが {backend} で失敗しました（{reason}）。もう一方で学習します。",
        "A step on trial failed with {backend} ({reason}); training with the other one.",
    ),
    "train.diverged": (
        "エポック{epoch}で損失が{loss}になりました。"
        "学習率{rate}を下げてください（--learning-rate）。"
        "この重みは保存していません。",
        "The loss became {loss} in epoch {epoch}. Lower the learning rate, which is {rate} "
        "(--learning-rate). These weights were not saved.",
    ),
    "train.processes": (
        "{count}個のプロセスで分担します。保存と表示はランク0が行います。",
        "{count} processes share the work; rank 0 writes.",
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
    "train.compiling": (
        "カーネルを準備しています {done}/{total}: {names}",
        "Preparing the kernels, {done} of {total}: {names}",
    ),
    "train.compiling_once": (
        "カーネルを{total}個コンパイルします（このマシンで最初の一度だけ）。",
        "Compiling {total} kernels, for the first time on this machine; they are kept.",
    ),
    "train.compile": (
        "  {done}/{total}  {name} をコンパイルしています",
        "  {done} of {total} ready, compiling {name}",
    ),
    "warmup.kernel": ("{seconds:6.2f}秒  {name}", "{seconds:6.2f} s  {name}"),
    "train.epoch": (
        "エポック {epoch}/{epochs}  損失 {token:.4f}/トークン {sentence:.4f}/文{valid}  "
        "{speed:,.0f}トークン/秒{left}",
        "epoch {epoch}/{epochs}  loss {token:.4f} per token {sentence:.4f} per sentence{valid}  "
        "{speed:,.0f} tokens/s{left}",
    ),
    "train.left": ("  残り {time}", "  {time} left"),
    "train.stopping": (
        "このステップが終わったら保存して止まります。"
        "あと{times}回 Ctrl-C を押すと、保存せずに終わります。",
        "Saving after this step, then stopping. To leave without saving, press Ctrl-C {times} more "
        "times.",
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
    "usage.number": (
        "{value} ではなく、正の数にしてください。",
        "expected a positive number, got {value}.",
    ),
    "usage.or": ("{reason}または {word} とします。", "{reason} {word} will do as well."),
    "usage.path": (
        "「{value}」はファイルやフォルダーの名前になりません。",
        "“{value}” cannot be the name of a file or directory.",
    ),
    "usage.extra": ("余分な引数があります: {words}。", "There are arguments too many: {words}."),
    "memory.short": (
        "少なくとも{needed:,.1f} GiBのメモリが要りますが、このマシンには{there:,.1f} "
        "GiBしかありません。"
        "{options} を小さくしてください。",
        "This takes at least {needed:,.1f} GiB of memory, and this machine has {there:,.1f} GiB. "
        "Lower {options}.",
    ),
    "usage.choice": (
        "{value} ではなく、{choices} のどれかにしてください。",
        "expected one of {choices}, got {value}.",
    ),
    "cli.unexpected": (
        "予期しないエラーです: {error}（--debug で詳しく表示します）",
        "Unexpected error: {error} (--debug shows where)",
    ),
    "study.written": ("{path} に書きました。", "Written to {path}."),
    "inspect.run": (
        "{path}: パラメーター{parameters:,}個",
        "{path}: {parameters:,} parameters",
    ),
    "inspect.parameters": ("パラメーター（名前、形、個数）", "parameters (name, shape, count)"),
    "inspect.list": ("{count}個: {first}", "{count}: {first}"),
    "doctor.broken": ("{name} が使えません: {reason}", "{name} is broken: {reason}"),
    "doctor.environment": (
        "環境変数の指定が使えません: {reason}",
        "What the environment asks for cannot be: {reason}",
    ),
    "doctor.problem": ("問題: {problem}", "Problem: {problem}"),
    "doctor.well": (
        "必要なものはすべて揃っています。",
        "Everything that is needed is there.",
    ),
    "doctor.absent": ("なし", "absent"),
    "doctor.platform": ("システム", "platform"),
    "doctor.backend": ("auto が選ぶもの", "auto takes"),
    "doctor.kernels": ("カーネル", "kernels"),
    "doctor.compiled": (
        "{total}個のうち{count}個をコンパイル済み",
        "{count} of {total} are compiled",
    ),
    "doctor.warmup": ("（jsl warmup で残りも）", " (jsl warmup compiles the others)"),
    "doctor.off": ("切ってあります（MINIGRAD_KERNELS）", "switched off (MINIGRAD_KERNELS)"),
    "doctor.writable": ("書き込めます", "can be written to"),
    "doctor.unwritable": (
        "書き込めないので、毎回コンパイルします（NUMBA_CACHE_DIR で別の場所を指定できます）",
        "cannot be written to, so every process compiles (NUMBA_CACHE_DIR names another place)",
    ),
    "doctor.threads": ("スレッド", "threads"),
    "doctor.memory": ("メモリ", "memory"),
    "doctor.encoding": ("文字コード", "encoding"),
    "doctor.terminal": ("端末", "a terminal"),
    "doctor.no_terminal": ("端末ではありません", "no terminal"),
    "doctor.language": ("言語", "language"),
    "doctor.extras": (
        "追加できるもの（入っていないものにはコマンドを付けます）",
        "What can be added (with the command, if it is absent)",
    ),
    "doctor.extra.cuda12": ("CUDA 12のGPUで計算", "computing on a GPU with CUDA 12"),
    "doctor.extra.cuda13": ("CUDA 13のGPUで計算", "computing on a GPU with CUDA 13"),
    "doctor.extra.plot": ("図", "pictures"),
    "doctor.extra.tensorboard": ("TensorBoardの記録", "records for TensorBoard"),
    "doctor.extra.onnx": ("ONNXへの書き出し", "export to ONNX"),
    "doctor.extra.data": ("表とデータセット", "tables and data sets"),
    "doctor.extra.stores": ("オブジェクトストアの実行", "runs in object stores"),
    "doctor.extra.s3": ("S3の実行", "runs in S3"),
    "doctor.extra.kanji": ("漢字の読み", "reading kanji"),
    "doctor.extra.mpi": ("複数のプロセスでの学習", "training in several processes"),
    "doctor.extra.evaluate": (
        "sacrebleuによるBLEUとchrF",
        "BLEU and chrF from sacrebleu",
    ),
    "settings.problem": ("{path}: {reason}", "{path}: {reason}"),
    "settings.two": (
        "--config は一つだけ指定してください。",
        "Give --config once, before the command's name or after it.",
    ),
    "settings.unreadable": (
        "設定ファイル {path} を読めません: {reason}",
        "The settings {path} cannot be read: {reason}",
    ),
    "settings.not_utf8": (
        "設定ファイル {path} がUTF-8ではありません（先頭から{offset}バイトの次）。"
        "UTF-8で保存し直してください。",
        "The settings {path} are not UTF-8 (after {offset} bytes). Save them as UTF-8.",
    ),
    "settings.not_toml": (
        "設定ファイル {path} がTOMLとして正しくありません: {reason}",
        "The settings {path} are not TOML: {reason}",
    ),
    "settings.unknown": (
        "{name} というオプションはありません。{nearest}",
        "There is no option {name}.{nearest}",
    ),
    "settings.known": ("あるのは {names} です。", " There are: {names}."),
    "settings.twice": (
        "{names} は同じオプションです。一つだけ書いてください。",
        "{names} are the same option. Write one of them.",
    ),
    "settings.table": (
        "{name} はコマンドなので、表 [{name}] にしてください。",
        "{name} is a command; make it a table, [{name}].",
    ),
    "settings.value": (
        "{name} は{expected}にしてください（{found} でした）。",
        "{name} should be {expected}; it is {found}.",
    ),
    "settings.integer": ("整数", "an integer"),
    "settings.integer_or": ("整数か文字列", "an integer or a string"),
    "settings.number": ("数", "a number"),
    "settings.flag": (" true か false ", "true or false"),
    "settings.text": ("文字列（引用符で囲む）", "a string (in quotes)"),
    "settings.list": ("[ ] で囲んだ{of}の並び", "a list, in [ ], of this: {of}"),
    # deployed models
    "deploy.measured": (
        "{texts}の{sentences}文、{translations}訳で測った損失:",
        "Losses, measured on {sentences} sentences ({translations} translations) of {texts}:",
    ),
    "deploy.random": ("ランダムな記号列", "random symbols"),
    "deploy.dtype": ("精度", "dtype"),
    "deploy.bytes": ("重みのバイト数", "bytes of weights"),
    "deploy.error": ("ロジットの最大相対誤差", "largest error of logits"),
    "deploy.changed": ("float32と違う訳", "other translations"),
    "deploy.unfit": ("範囲外", "out of range"),
    "deploy.saved": (
        "{path} に書きました: {dtype}、{groups}、{bytes:,}バイト"
        "（もとの実行は{before:,}バイト、その{share:.1%}）。",
        "Written to {path}: {dtype}, {groups}, {bytes:,} bytes "
        "({share:.1%} of the run, which has {before:,}).",
    ),
    "deploy.rounded": (
        "{path} の重みはもう {dtype} に丸めてあります。もとの実行か float32 のものから書き出して"
        "ください。",
        "The weights of {path} are rounded to {dtype} already. Export from the run that it was "
        "made of, or from float32.",
    ),
    "deploy.same": (
        "{path} は読み込む実行そのものです。--deploy には別の場所を指定してください。",
        "{path} is the run that is exported. Give another place with --deploy.",
    ),
    "deploy.kind": (
        "{path} があります。.zip で終わる名前はファイル、そのほかはフォルダーにします。"
        "別の名前を指定してください。",
        "{path} is there already, but a name that ends in .zip is for a file, and any other for "
        "a directory. Give another name.",
    ),
    "deploy.exists": (
        "{path} はもうあります。別の名前にするか、--overwrite を付けてください。",
        "{path} is there already. Give another name, or add --overwrite.",
    ),
    "deploy.run": (
        "{path} には学習を続けられる実行があります。--overwrite でも置き換えません。"
        "別の場所を指定してください。",
        "{path} holds a run that can be trained further, which not even --overwrite replaces. "
        "Give another place.",
    ),
    "deploy.no_texts": (
        "{path} には、この実行が読める文がありません。",
        "{path} has no sentence that this run can read.",
    ),
    "deployed.normalisation": (
        "{path} は、文の正規化がこのプログラムと違います。minigrad {version} を使うか、"
        "もとの実行から書き出し直してください。",
        "{path} is for texts that are normalised in another way than by this program. Use "
        "minigrad {version}, or export the run again.",
    ),
    "deployed.range": (
        "{name} の {value:.6g} は {dtype} で表せません。--dtype で別の精度を指定してください。",
        "{name} has {value:.6g}, which {dtype} does not reach. Give another --dtype.",
    ),
    "deployed.training": (
        "{path} は配布用のモデルで、学習の状態を持ちません。もとの実行から続けてください。",
        "{path} is a model for deployment, without the state of a training. Go on from the run "
        "that it was made of.",
    ),
    "archive.training": (
        "{path} の学習を続けるには、先に展開してください。",
        "To train {path} further, unpack it first.",
    ),
    "archive.damaged": (
        "{path} は正しいzipファイルではないか、壊れています: {reason}",
        "{path} is no whole zip file: {reason}",
    ),
    "archive.no_run": (
        "{path} に実行がありません。{name} が、先頭か1つのフォルダーの中に要ります。",
        "{path} holds no run: {name} should be at its top, or in one folder.",
    ),
    "archive.several": (
        "{path} に実行がいくつもあります: {names}。1つだけを入れてください。",
        "{path} holds several runs: {names}. Pack one of them.",
    ),
    "archive.twice": (
        "{path} に {name} が二度あります。作り直してください。",
        "{path} has {name} twice. Pack it again.",
    ),
    "archive.encrypted": (
        "{path} は暗号化されています。パスワードなしで作り直すか、展開してください。",
        "{path} is encrypted. Pack it without a password, or unpack it.",
    ),
    "archive.method": (
        "{path} の {name} は、ここでは読めない方式で圧縮されています。標準のzip（Deflate）で"
        "作り直すか、展開してください。",
        "In {path}, {name} is packed by a method that cannot be read here. Pack it as a usual zip "
        "(Deflate), or unpack it.",
    ),
    "archive.bomb": (
        "{path} の {name} は、{packed:,}バイトから{size:,}バイトになると書かれています。"
        "重みはこれほど縮みません。出所を確かめてください。",
        "In {path}, {name} claims to be {size:,} bytes out of {packed:,}. Weights do not shrink "
        "like that; find out where it is from.",
    ),
    "archive.large": (
        "{path} を展開すると{size:.1f} GiBになりますが、メモリは{room:.1f} GiBです。",
        "{path} is {size:.1f} GiB unpacked, and there are {room:.1f} GiB of memory.",
    ),
    # exports, and pictures of them
    "exports.nothing": (
        "何を書き出すか指定してください: --deploy、--export-weights、--export-attn、"
        "--list-layers。",
        "Say what to export: --deploy, --export-weights, --export-attn or --list-layers.",
    ),
    "exports.only_with": (
        "{options} は {needed} とともに指定してください。",
        "Give {options} with {needed} only.",
    ),
    "exports.no_layer": (
        "「{pattern}」に当てはまる層はありません。{nearest}名前は --list-layers で見られます。",
        "No layer is called “{pattern}”. {nearest}--list-layers shows the names.",
    ),
    "exports.nearest": ("もしかして: {names}。", "Did you mean {names}? "),
    "exports.not_encodable": (
        "{file}: 文字コード{encoding}に {character} がありません。--csv-encoding utf-8-sig なら"
        "どの文字も書けて、Excelでも開けます。",
        "{file}: {encoding} has no {character}. --csv-encoding utf-8-sig has all characters, and "
        "opens in Excel.",
    ),
    "exports.too_long": (
        "{kind}: 一辺が{length}で、上限の{limit}を超えています（--attn-max-len で変えられます）",
        "{kind}: a side is {length} long, more than {limit} (--attn-max-len)",
    ),
    "exports.left_out": (
        "注意: 「{text}」（{group}）の注意を書き出していません: {reasons}。",
        "Note: attention of “{text}” ({group}) is left out: {reasons}.",
    ),
    "exports.map_shape": (
        "{name}: 注意の形が {found} で、トークンの数 {expected} と合いません。書き出しません。",
        "{name}: its shape is {found}, but there are {expected} tokens. Nothing is exported.",
    ),
    "exports.map_range": (
        "{name}: 0から1でない値があります。書き出しません。",
        "{name}: there are numbers that are not from 0 to 1. Nothing is exported.",
    ),
    "exports.map_sum": (
        "{name}: 行の和が1から{worst:.2g}ずれています。書き出しません。",
        "{name}: the sum of a row is {worst:.2g} off 1. Nothing is exported.",
    ),
    "exports.where": (
        "{path} はフォルダーではないので、書き出す先を --out で指定してください。",
        "{path} is no directory: say with --out where to export to.",
    ),
    "exports.large": (
        "書き出すとおよそ{size}になり、{limit}を超えます。それでも {path} に書くには --force を、"
        "減らすには層やグループを指定してください。",
        "This would be about {size}, which is more than {limit}. To write it into {path} all the "
        "same, give --force; to write less, name layers or a group.",
    ),
    "exports.large_after": (
        "書き出すとおよそ{size}になり、{limit}を超えます。学習の後で jsl export --force を使うか、"
        "層を絞ってください。",
        "This would be about {size}, which is more than {limit}. Name fewer layers, or call "
        "jsl export --force after the training.",
    ),
    "exports.full": (
        "{path}に{size}ほど必要ですが、空きは{free}です。--out で別の場所を指定してください。",
        "About {size} are needed in {path}, and {free} are free. Name another place with --out.",
    ),
    "exports.unwritable": (
        "{path}に書き出せません: {reason}。何も変えていません。ほかのプログラムで開いていれば"
        "閉じるか、--out で別の場所を指定してください。",
        "Cannot export into {path}: {reason}. Nothing was changed. Close files that another "
        "program has open, or name another place with --out.",
    ),
    "exports.index": (
        "{path}は書き出しの目録ではありません。--out で別の場所を指定するか、これを移して"
        "ください。",
        "{path} is no index of exports. Name another place with --out, or move it away.",
    ),
    "exports.estimate": (
        "{count}ファイル、およそ{size}を {path} に書き出します。",
        "Exporting {count} files, about {size}, into {path}.",
    ),
    "exports.written": (
        "書き出しました: {path}（目録は {index}）",
        "Exported into {path}; {index} lists all.",
    ),
    "exports.output_of": (
        "decoder_output_weight.csv はグループ「{group}」のものです。ほかは名前にグループが"
        "付きます。",
        "decoder_output_weight.csv is of group “{group}”; those of others have theirs in the name.",
    ),
    "exports.replaced": (
        "前に書き出した{count}ファイルを置き換えました: {names}",
        "{count} files of an earlier export were replaced: {names}",
    ),
    "exports.others": (
        "注意: {path} には、別の学習結果から書き出したものが{count}ファイルあります。",
        "Note: {path} has {count} files of another training, exported before.",
    ),
    "heatmaps.extra": (
        "図を描くにはmatplotlibが必要です: {command}",
        "Pictures need matplotlib: {command}",
    ),
    "heatmaps.undrawn": (
        "注意: 入っているフォントに {characters} がないので、図では四角になります。"
        "Noto Sans CJK JPやIPAexゴシックなどを入れてください（例: apt install fonts-noto-cjk）。"
        "SVGの文字は、フォントのある環境で開けば読めます。",
        "Note: no installed font has {characters}, so pictures show boxes there. Install one such "
        "as Noto Sans CJK JP or IPAexGothic (apt install fonts-noto-cjk). The text in SVG files "
        "shows where there is a font.",
    ),
    "heatmaps.enc": (
        "エンコーダーの自己注意 層{layer} ヘッド{head}",
        "encoder self-attention, layer {layer}, head {head}",
    ),
    "heatmaps.dec": (
        "デコーダーの自己注意 層{layer} ヘッド{head}",
        "decoder self-attention, layer {layer}, head {head}",
    ),
    "heatmaps.cross": (
        "デコーダーからエンコーダーへの注意 層{layer} ヘッド{head}",
        "cross-attention, layer {layer}, head {head}",
    ),
    "heatmaps.of": ("{text}（{group}）", "{text} ({group})"),
    # the README.md of a run
    "notes.mark": (
        "自動で作った記録です。この1行を消すと、次の保存でも書き換えません。",
        "made by this command. Without this line it is not replaced by the next save.",
    ),
    "notes.title": ("学習の記録", "Notes on a training"),
    "notes.about": (
        "このフォルダーの翻訳モデルについて、学習の終わりに自動で書いた記録です。",
        "About the translator in this directory, written at the end of its training.",
    ),
    "notes.settings": ("設定", "Settings"),
    "notes.results": ("結果", "Results"),
    "notes.curve": ("学習曲線", "Learning curve"),
    "notes.examples": ("訳の例", "Examples"),
    "notes.failures": ("正しく訳せなかった文", "What it does not translate rightly"),
    "notes.commands": ("コマンド", "Commands"),
    "notes.provenance": ("由来", "Where it comes from"),
    "notes.limits": ("限界", "Limits"),
    "notes.entry": ("項目", "Entry"),
    "notes.value": ("値", "Value"),
    "notes.group": ("グループ", "Group"),
    "notes.text": ("文", "Text"),
    "notes.expected": ("正解", "Expected"),
    "notes.got": ("訳", "Got"),
    "notes.right": ("一致", "Same"),
    "notes.yes": ("はい", "yes"),
    "notes.no": ("いいえ", "no"),
    "notes.epoch": ("エポック", "Epoch"),
    "notes.matches": ("学習文の完全一致", "Training rows translated exactly"),
    "notes.valid_matches": ("検証文の完全一致", "Validation rows translated exactly"),
    "notes.first_step_loss_per_token": (
        "最初のステップ前の損失（トークンあたり）",
        "Loss per token before the first step",
    ),
    "notes.loss_per_token": ("損失（トークンあたり）", "Loss per token"),
    "notes.loss_per_sentence": ("損失（文あたり）", "Loss per sentence"),
    "notes.valid_loss_per_token": (
        "検証の損失（トークンあたり）",
        "Validation loss per token",
    ),
    "notes.unfinished": (
        "学習は途中で中断しています。下のコマンドで続けられます。",
        "The training was interrupted; a command below goes on.",
    ),
    "notes.curve_of": (
        "トークンあたりの損失は {first} から {last} へ（対数目盛り）: {bars}",
        "The loss per token went from {first} to {last} (logarithmic): {bars}",
    ),
    "notes.not_looked": (
        "学習の途中なので、まだ調べていません。",
        "Nobody has looked yet, as the training was interrupted.",
    ),
    "notes.failed": (
        "学習した{rows}文のうち、{failed}文の訳が正解と一致しません。",
        "Of {rows} rows of the training corpus, {failed} are not translated exactly.",
    ),
    "notes.failed_valid": (
        "検証用の{rows}文のうち、{failed}文の訳が正解と一致しません。",
        "Of {rows} rows of the validation corpus, {failed} are not translated exactly.",
    ),
    "notes.none_failed": (
        "学習した{rows}文は、すべて正解と一致しました。",
        "All {rows} rows of the training corpus are translated exactly.",
    ),
    "notes.none_failed_valid": (
        "検証用の{rows}文は、すべて正解と一致しました。",
        "All {rows} rows of the validation corpus are translated exactly.",
    ),
    "notes.first": ("はじめの{count}文です。", "These are {count} of them."),
    "notes.from_here": (
        "パスは、学習したときにいたフォルダーからのものです。",
        "Paths are from where it was trained.",
    ),
    "notes.trained": ("学習したコマンド:", "By this it was trained:"),
    "notes.predict": ("訳す:", "To translate:"),
    "notes.attention": ("注意の重みをCSVに書き出す:", "To write attention as CSV:"),
    "notes.verify": ("ファイルを確かめる:", "To verify the files:"),
    "notes.evaluate": ("評価する:", "To evaluate:"),
    "notes.more": ("さらに学習する:", "To train on:"),
    "notes.resume": ("中断した学習を続ける:", "To go on to its end:"),
    "notes.kana": (
        "読めるのは、ひらがな、カタカナと「ー、。？！」と空白だけです。",
        "It reads hiragana, katakana, “ー、。？！” and the space, and nothing else.",
    ),
    "notes.vocabulary": (
        "出力できるのは、学習したコーパスにある{count}種類のタグや語だけです。ほかの語は訳せません。",
        "It says the {count} tags or words of its corpus, and no others.",
    ),
    "notes.longest": (
        "一文は{count}トークンまでです。",
        "A sentence may have {count} tokens at most.",
    ),
    "notes.data": (
        "学習したのは{rows}文だけです。それと違う言い方の文の訳は当てになりません。",
        "It has seen {rows} sentences; its translations of others, unlike them, mean little.",
    ),
    "notes.only_trained": (
        "上の一致の数は学習した文でのものです。知らない文での正しさは測っていません。",
        "What matches exactly was counted on sentences that it was trained on; how good it is on "
        "others was not measured.",
    ),
    "notes.gloss": (
        "タグは手の単語とその順序だけを表します。表情、視線、口の形、頭や体の動き、空間や速さの使い方"
        "は含みません。疑問や否定がそれだけで示されることもあります。",
        "Tags are the manual signs and their order. They have no face, gaze, mouth, head or body, "
        "no space and no speed; whether a sentence asks or denies can hang on these alone.",
    ),
    "notes.unreviewed": (
        "付属のコーパスは試すためのもので、手話の母語話者の確認を受けていません。",
        "The bundled corpus is to try the program with; no native signer has reviewed it.",
    ),
    "notes.review": (
        "コーパスの訳が正しいかは、このプログラムには分かりません。手話の母語話者など、その言語を"
        "使う人に確かめてください。",
        "Whether the corpus is right this program cannot tell. Have it reviewed by people whose "
        "language it is, such as native signers.",
    ),
    "notes.purpose": (
        "人と人との通訳には使わないでください。",
        "It is not to be used to interpret for people.",
    ),
    "notes.kept": (
        "{path} はほかで書かれたものなので、そのままにしました。",
        "{path} was written by somebody else, and stays.",
    ),
    # searching, for predict
    "usage.not_negative": (
        "{value}は0以上の数ではありません。",
        "{value} is not a number from 0 up.",
    ),
    "predict.nbest": (
        "--nbest {nbest} は --beam {beam} より大きくできません。--beam を {nbest} 以上に"
        "してください。",
        "--nbest {nbest} is more than --beam {beam} holds. Give --beam {nbest} or more.",
    ),
    "predict.attention_json": (
        "--attention は --json とともに指定してください。",
        "--attention is given with --json.",
    ),
    "predict.texts_and_input": (
        "文と --input のどちらかだけを指定してください。",
        "Give either texts or --input, not both.",
    ),
    "predict.input": (
        "{path}を読み込めません: {reason}",
        "Cannot read {path}: {reason}",
    ),
    "predict.output": (
        "{path}に書き込めません: {reason}",
        "Cannot write {path}: {reason}",
    ),
    # evaluate
    "evaluate.translating": ("翻訳しています", "Translating"),
    "evaluate.nothing": (
        "何で測るかを --corpus か、--source と --target で指定してください。",
        "Name what to measure with: --corpus, or --source and --target.",
    ),
    "evaluate.kind": (
        "{option} {given} は使えません。このモデルは {own} で学習しています。",
        "{option} {given} does not go with this run, which was trained with {own}.",
    ),
    "evaluate.which_group": (
        "コーパスにグループがありません。--group で訳すグループを指定してください: {known}",
        "The corpus has no groups. Name the one to translate in with --group: {known}",
    ),
    "evaluate.unknown_groups": (
        "コーパスに、このモデルが知らないグループがあります: {found}。"
        "知っているのは {known} です。--group でその中から一つを選べます。",
        "The corpus has groups that the run does not know: {found}. The run has: {known}. "
        "--group takes the rows of one of these.",
    ),
    "evaluate.no_rows": (
        "コーパスにグループ「{group}」の行がありません。あるのは {found} です。",
        "The corpus has no rows of the group “{group}”. It has: {found}.",
    ),
    "evaluate.no_sacrebleu": (
        "注意: sacrebleu がないので、BLEUとchrFは同じ式で自前で計算します。"
        "sacrebleu の値にするには: pip install 'minigrad[evaluate]'",
        "Note: sacrebleu is absent, so BLEU and chrF are computed here by its formulas. To have "
        "them from sacrebleu itself: pip install 'minigrad[evaluate]'",
    ),
    "evaluate.untranslated": (
        "警告: 翻訳できない行が{count}行あり、誤りとして数えました（{lines}行目）。"
        "最初の理由: {error}",
        "Warning: rows that could not be translated count as wrong: {count}, in lines {lines}. The "
        "first: {error}",
    ),
    "evaluate.unknown_tags": (
        "警告: モデルの語彙にないものが正解にあり（{count}種類）、それを含む行は正しく訳せません: "
        "{tags}",
        "Warning: the references have what is not in the run's vocabulary ({count}), so such rows "
        "cannot be right: {tags}",
    ),
    "evaluate.undefined": (
        "警告: {group}: 訳がどれも短すぎるので0です: {figures}",
        "Warning: {group}: 0 because no translation is long enough: {figures}",
    ),
    "evaluate.few": (
        "警告: {group}: 文が{texts}では少なすぎて、はっきりしません"
        "（{enough}未満では区間も狭すぎます）。{wide}",
        "Warning: {group}: {texts} texts are too few to tell; below {enough}, the intervals are "
        "too narrow themselves.{wide}",
    ),
    "evaluate.also_wide": ("特に不確か: {figures}", " Unsure above all: {figures}"),
    "evaluate.wide": (
        "警告: {group}: 文が{texts}では少なすぎて、はっきりしない値があります: {figures}",
        "Warning: {group}: {texts} texts are too few to tell: {figures}",
    ),
    "evaluate.unsure": ("{figure} {value:.1f}（{ends}）", "{figure} {value:.1f} ({ends})"),
    "evaluate.all": ("全体", "all"),
    "evaluate.run": ("モデル", "run"),
    "evaluate.identity": (
        "（語彙 {vocabulary}、コミット {commit}）",
        "(vocabulary {vocabulary}, commit {commit})",
    ),
    "evaluate.corpus": ("コーパス", "corpus"),
    "evaluate.search": ("探索", "search"),
    "evaluate.greedy": ("貪欲（ビーム1）", "greedy (beam 1)"),
    "evaluate.beam": (
        "ビーム{beam}（長さの指数 {penalty}）",
        "beam {beam} (length penalty {penalty})",
    ),
    "evaluate.group": ("グループ", "group"),
    "evaluate.figure": ("指標", "figure"),
    "evaluate.value": ("値", "value"),
    "evaluate.interval": ("{percent}%区間", "{percent} % interval"),
    "evaluate.rows": ("行数（文の数）", "rows (texts)"),
    "evaluate.exact_match": ("完全一致 %", "exact match %"),
    "evaluate.tag_error_rate": ("タグ誤り率 %", "tag error rate %"),
    "evaluate.word_error_rate": ("単語誤り率 %", "word error rate %"),
    "evaluate.char_error_rate": ("文字誤り率 %", "character error rate %"),
    "evaluate.bleu_1": ("BLEU-1", "BLEU-1"),
    "evaluate.bleu_2": ("BLEU-2", "BLEU-2"),
    "evaluate.bleu_3": ("BLEU-3", "BLEU-3"),
    "evaluate.bleu_4": ("BLEU-4", "BLEU-4"),
    "evaluate.chrf": ("chrF", "chrF"),
    "evaluate.wrong": (
        "{rows}行のうち{wrong}行が誤りです（--failures で{shown}行を表示）。",
        "{wrong} of {rows} rows are wrong ({shown} shown, see --failures).",
    ),
    "evaluate.expected": ("正解", "expected"),
    "evaluate.got": ("訳", "got"),
}

_chosen: str | None = None


# In columns of a terminal, of which あ takes two.
SCREEN, LINES = 1600, 20  # a message: 80 times 20
REASON = 480  # what the system or the library says of itself
QUOTED = 160  # a name, a text, a value
ITEM, ITEMS = 50, 10  # an element of a list, and how many of them


class Said(str):
    """Text that is fit to be shown, and comes into another as it is."""

    __slots__ = ()


def say(key: str, /, **fields: object) -> Said:
    """The text called `key` in the language of the moment, with its `fields` filled in.

    Fields are shortened, unless they were made by `say` or `listed` or are numbers.

    Raises KeyError for a key that is not in `TEXTS` and for a field that is not given.
    """
    text = TEXTS[key][LANGUAGES.index(language())]
    return Said(_short(text.format(**{k: _field(v) for k, v in fields.items()}), SCREEN, LINES))


def listed(items: Iterable[object]) -> Said:
    """`items` one after the other; of many the first, and how many more there are."""
    rest = iter(items)
    shown = [x if isinstance(x, Said) else _short(str(x), ITEM) for x in islice(rest, ITEMS)]
    if more := sum(1 for _ in rest):
        shown.append(say("list.more", count=more))
    return Said(say("list.separator").join(shown))


def reason_of(error: BaseException) -> Said:
    """The first line of what an error says."""
    return Said(_short(str(error).partition("\n")[0], REASON))


def ranges(numbers: Iterable[int]) -> Said:
    """Ascending numbers as a list of ranges: "2-4, 7"."""
    found: list[list[int]] = []
    for n in numbers:
        if found and n == found[-1][1] + 1:
            found[-1][1] = n
        else:
            found.append([n, n])
    return listed(str(a) if a == b else f"{a}-{b}" for a, b in found)


def _field(value: object) -> object:
    if isinstance(value, Said | int | float):
        return value
    if isinstance(value, JslError):  # its message was said
        return _short(str(value), SCREEN, LINES)
    if isinstance(value, BaseException):
        return _short(str(value), REASON, LINES)
    return _short(str(value), QUOTED)


def _short(text: str, width: int, lines: int = 1) -> str:
    """`text` in `width` columns and so many lines: its beginning, and a third of it its end.

    Line ends stay if there may be several.
    """
    if len(text) <= width // 2 and text.isascii() and text.isprintable():
        return text
    if lines > 1 and text.count("\n") >= lines:
        first, last = text.split("\n", lines - 4)[:-1], text.rsplit("\n", 3)[1:]
        text = "\n".join([*first, "…", *last])
    whole = _taken(_shown(text, lines > 1), width)
    if len(whole) == len(text):
        return "".join(whole)
    head = _taken(whole, width // 2)
    tail = _taken(_shown(reversed(text), lines > 1), width // 4)
    cut = "…" if width <= ITEM else TEXTS["messages.cut"][LANGUAGES.index(language())]
    left = len(text) - len(head) - len(tail)
    return "".join([*head, cut.format(count=f"{left:,}"), *reversed(tail)])


def _taken(characters: Iterable[str], width: int) -> list[str]:
    """As many of `characters` as go into `width` columns."""
    found, taken = list[str](), 0
    for c in characters:
        taken += columns(c)
        if taken > width:
            break
        found.append(c)
    return found


def _shown(text: Iterable[str], newline: bool) -> Iterator[str]:
    """The characters of `text`; for one that does not show its code, as "\\x1b"."""
    for c in text:
        shows = c.isprintable() or unicodedata.category(c) == "Zs" or (newline and c == "\n")
        yield c if shows else ascii(c)[1:-1]


def columns(text: str) -> int:
    """How wide a text is in a terminal, where あ takes two columns."""
    return sum(1 + (unicodedata.east_asian_width(x) in "WF") for x in text)


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
