"""The texts of `--help`, for `jsl.messages`: the key, then the Japanese and the English.

A command's text is "help.<name>"; its first sentence stands in the list of commands. An option's is
"help.<command>.<option>", or "help.<option>" where several commands have it. Paragraphs have an
empty line between them; the lines themselves are broken where they are shown.
"""

HELP: dict[str, tuple[str, str]] = {
    # What click says in English.
    "help.usage": ("使い方:", "Usage:"),
    "help.options": ("オプション", "Options"),
    "help.commands": ("コマンド", "Commands"),
    "help.help": ("この説明を表示して終わります。", "Show this message and exit."),
    "help.version": ("版を表示して終わります。", "Show the version and exit."),
    "help.default": ("既定値: {value}", "default: {value}"),
    "help.required": ("必須", "required"),
    "help.exit_codes": (
        "終了コード: 0は正常終了、2はコマンドの書き方の誤り、141は標準出力が読み手に閉じられた"
        "とき、143は信号SIGTERM、129は信号SIGHUPで学習が終わったとき、1はそのほかです。",
        "Exit codes: 0 all went well, 2 the command line is wrong, 141 standard output was closed "
        "by its reader, 143 the signal SIGTERM ended a training, 129 the signal SIGHUP did, 1 "
        "everything else.",
    ),
    # Of all commands, or of several.
    "help.lang": (
        "メッセージの言語。指定がなければ環境の言語です。",
        "Language of messages; that of the environment by default.",
    ),
    "help.config": (
        "オプションを書いたTOMLファイル。コマンドごとの表（[train] など）に長い名前で書きます。"
        "表の外に書いたものは、そのオプションのあるすべてのコマンドに効きます。"
        "コマンドラインの指定が優先です。",
        "TOML file of options, under their long names, in a table for each command ([train], ...); "
        "those above all tables are for every command that has them. The command line wins.",
    ),
    "help.debug": (
        "失敗したときにトレースバックを表示します。",
        "Show a traceback when something fails.",
    ),
    "help.backend": (
        "計算に使うもの: CuPyはGPU、NumPyはCPU。autoはGPUが使えればCuPyにします。"
        "学習では両方で数ステップ試し、速いほうにします。"
        "指定がなければ環境変数MINIGRAD_BACKEND、それもなければ学習はauto、翻訳はnumpyです。",
        "What computes: CuPy on a GPU, NumPy on the CPU. auto takes CuPy where a GPU answers; "
        "training tries a few steps on both, and takes the faster. "
        "Default: MINIGRAD_BACKEND, else auto for training and numpy for prediction.",
    ),
    "help.jsl": (
        "日本語を日本手話のタグに翻訳します。自作のトランスフォーマーを使います。",
        "Translate Japanese into tags of Japanese Sign Language, with a transformer of our own.",
    ),
    # train
    "help.train": (
        "コーパスで翻訳モデルを学習し、保存します。\n\n"
        "--load では、保存した実行からさらに --epochs 回学習します。--save "
        "で別の場所に保存してください。"
        "--resume では、中断した学習を、最後に保存した状態から同じフォルダーで最後まで続けます。"
        "結果は中断しなかった場合と同じです。\n\n"
        "Ctrl-C、または信号SIGTERMかSIGHUPを受けると、そのステップの後で止まって保存し、"
        "続けるためのコマンドを表示します。標準出力が閉じられたときも、エポックの終わりに同じように"
        "止まります。気づくのは次に1行書くとき、つまり全エポックのおよそ20分の1ごとです。"
        "最初のステップの前なら、何も保存せずに終わります。",
        "Train a translator on a corpus, and save it.\n\n"
        "With --load, training goes on from a saved run for --epochs more passes; save it "
        "elsewhere with --save. With --resume, a training that was interrupted goes on to its "
        "end, in its own directory, from the last state that was saved, as if nothing had "
        "happened.\n\n"
        "After Ctrl-C, or the signals SIGTERM and SIGHUP, training stops after the step and is "
        "saved; what to call to go on is said. So it does at the end of an epoch when standard "
        "output is closed, which is noticed at the next line that is written, after about every "
        "twentieth part of the epochs. Before the first step they end it, and nothing is saved.",
    ),
    "help.corpora.corpus": (
        "TSVファイル。列は group、japanese、tags で、group はなくても構いません。"
        "指定がなければ付属のコーパスです。",
        "TSV file of the columns group, japanese and tags; group may be absent. The bundled one by "
        "default.",
    ),
    "help.corpora.source": (
        "TSVの代わりに、1行に1文の原文のファイル。--target の同じ行が訳文です。",
        "In place of a TSV file, one of sentences, a line each; the same line of --target is its "
        "translation.",
    ),
    "help.corpora.target": ("訳文のファイル。--source を参照。", "Translations; see --source."),
    "help.corpora.valid": (
        "検証用のTSVファイル。学習には使わず、エポックごとに損失を測ります。",
        "TSV file for validation: not learned, but its loss is measured after each epoch.",
    ),
    "help.corpora.valid_source": (
        "検証用の原文のファイル。--valid-target と対になります。",
        "Sentences for validation, with --valid-target.",
    ),
    "help.corpora.valid_target": (
        "検証用の訳文のファイル。",
        "Translations for validation, see --valid-source.",
    ),
    "help.corpora.encoding": (
        "コーパスの文字コード: utf-8（既定）、cp932、utf-16 など。",
        "Of the corpus: utf-8 (the default), cp932, utf-16, ...",
    ),
    "help.corpora.source_tokens": (
        "原文を分ける単位: kana（かな。既定）、char（文字）、word（空白で区切った語）。"
        "kana以外では、語彙にないものはUNKになります。",
        "What sentences are cut into: kana (the default), characters, or words between spaces. "
        "Unless it is kana, what the vocabulary lacks becomes UNK.",
    ),
    "help.corpora.target_tokens": (
        "訳文を分ける単位: tag（<食べる> のようなタグ。既定）、word（語）、char（文字）。",
        "What translations are cut into: tags like <eat> (the default), words, or characters.",
    ),
    "help.train.preset": (
        "もとにする大きさと学習の設定。tiny（既定）、long（長さ50、64次元、4層）、"
        "large（長さ50、256次元、6層）。",
        "Sizes and schedule to start from: tiny (the default), long (length 50, 64 features, 4 "
        "layers), large (length 50, 256 features, 6 layers).",
    ),
    "help.train.epochs": (
        "コーパスを学習する回数（tiny: 200、long: 60、large: 20）。",
        "Passes over the corpus (tiny: 200, long: 60, large: 20).",
    ),
    "help.train.batch-size": (
        "1ステップの文の数（tiny: 8、ほかは32）。",
        "Sentences a step (tiny: 8, others: 32).",
    ),
    "help.train.learning-rate": (
        "Adamの学習率（tiny: 0.001、long: 0.004、large: 0.0005）。"
        "--warmup があるときはその最大値です。",
        "Of Adam (tiny: 0.001, long: 0.004, large: 0.0005); with --warmup the highest.",
    ),
    "help.train.seed": (
        "重みと順序を決める乱数の種（既定は0）。",
        "Of weights and order (default 0).",
    ),
    "help.train.d-model": (
        "1位置の特徴の数（tiny: 16、long: 64、large: 256）。",
        "Features of a position (tiny: 16, long: 64, large: 256).",
    ),
    "help.train.n-heads": (
        "アテンションのヘッドの数（tiny: 2、long: 4、large: 8）。",
        "Attention heads (tiny: 2, long: 4, large: 8).",
    ),
    "help.train.d-ff": (
        "内側の特徴の数（tiny: 32、long: 256、large: 1024）。",
        "Inner features (tiny: 32, long: 256, large: 1024).",
    ),
    "help.train.n-layers": (
        "エンコーダーとデコーダー、それぞれの層の数（tiny、long: 4、large: 6）。",
        "Encoder, and decoder, layers (tiny, long: 4; large: 6).",
    ),
    "help.train.max-seq-len": (
        "終端を含めた系列の最大の長さ（tiny: 10、ほかは50）。auto は、それより長い文があれば"
        "コーパスに必要な長さにします。自分のコーパスでは auto が既定です。--load "
        "では長くすることもできます。",
        "Longest sequence, its end counted (tiny: 10, others: 50). auto, the default for a corpus "
        "of your own, makes it longer where that needs it. With --load it can be raised.",
    ),
    "help.train.kind": (
        "モデルの種類: seq2seq（既定）、または decoder-only（基準となる小さなモデルで、"
        "タグを5個まで一度に出します）。",
        "Kind of model: seq2seq (the default), or decoder-only, a baseline that says at most five "
        "tags, all at once.",
    ),
    "help.train.dropout": (
        "学習中に落とす割合（tiny: 0、long: 0.2、large: 0.1）。",
        "Share of what is left out in training (tiny: 0, long: 0.2, large: 0.1).",
    ),
    "help.train.layer-norm": (
        "正規化の位置: 注意などの前（pre、既定）か、和の後（post）。",
        "Normalise before attention and the like (pre, the default) or after the sum (post).",
    ),
    "help.train.tie-embeddings": (
        "出力の重みを、訳文の埋め込みと同じにします（既定はしません）。",
        "Use the embedding of the target as weights of the output, too (not by default).",
    ),
    "help.train.share": (
        "すべてのグループで共有するもの: encoder、decoder、embeddings をコンマで区切って。"
        "none（tinyの既定）ではグループごとに別です。ほかの既定は encoder,embeddings です。",
        "What all groups have in common: of encoder, decoder, embeddings, with commas between "
        "them; none: each group has its own (tiny: none, others: encoder,embeddings).",
    ),
    "help.train.label-smoothing": (
        "正解の重みのうち、すべてのトークンに分ける割合（tiny: 0、ほかは0.1）。",
        "Share of a target that is spread over all tokens (tiny: 0, others: 0.1).",
    ),
    "help.train.warmup": (
        "学習率を最大値まで上げるステップ数。その後はステップ数の平方根に反比例して下げます"
        "（tiny: 0、ほかは1000、0では一定）。",
        "Steps in which the rate rises; then it falls with the inverse square root of the step "
        "(tiny: 0, others: 1000; 0: it is constant).",
    ),
    "help.train.clip-norm": (
        "勾配のノルムの上限（long、large: 1）。0では制限しません。",
        "Scale gradients down to this norm (long, large: 1; 0: never).",
    ),
    "help.train.min-count": (
        "語彙に入れる語や文字の最小の出現回数（既定は1）。タグはすべて入れます。",
        "How often a word or a character must occur to be in the vocabulary (default 1); tags all "
        "are.",
    ),
    "help.train.buckets": (
        "同じくらいの長さの文でバッチを作ります（long と large の既定）。",
        "Make batches of sentences of about the same length (default of long and large).",
    ),
    "help.train.batch-tokens": (
        "1ステップを文の数ではなく、原文と訳文の長いほうの位置の数（埋め草を含む）で決めます。"
        "0では --batch-size です。",
        "Measure a batch by positions of its longer side, padding counted, in place of sentences. "
        "0: by --batch-size.",
    ),
    "help.train.loss-weighting": (
        "損失の重み: batch（既定）はどのトークンも同じ、group はバッチの中のどのグループも同じ。",
        "What counts alike in the loss: every token (batch, the default), or every group of a "
        "batch (group).",
    ),
    "help.train.save": (
        "保存先。指定がなければ models/jsl-seq2seq/<時刻> です。",
        "Where to save; models/jsl-seq2seq/<time> by default.",
    ),
    "help.train.load": ("続きを学習する、保存した実行。", "A run to continue."),
    "help.train.resume": (
        "最後まで続ける、中断した学習。",
        "An interrupted training, to go on to its end.",
    ),
    "help.train.save-every-steps": (
        "途中でも、このステップ数ごとに保存します。",
        "Save on the way, too, so often.",
    ),
    "help.train.save-every-minutes": (
        "途中でも、この分数ごとに保存します。",
        "Save on the way, too, so often.",
    ),
    "help.train.keep": (
        "残しておく最近の状態の数。ほかに、途中で保存したうち損失が最小のものも残します。",
        "How many of the last states stay; beside them the one of the lowest loss of those saved "
        "on the way.",
    ),
    "help.train.overwrite": (
        "空でないフォルダーにも保存します。",
        "Save into a directory that holds something.",
    ),
    "help.train.no-jit": (
        "どのステップも演算を一つずつ実行します。遅くなりますが、調べやすくなります。",
        "Run every step op by op: slower, easier to debug.",
    ),
    "help.train.precision": (
        "計算の精度。tf32はGPUでの行列積を速くし、bfloat16とfloat16は行列積を16ビットで計算します"
        "（重みはfloat32のまま。再開するときにも指定します）。",
        "What steps compute in: tf32 makes products faster on a GPU, bfloat16 and float16 compute "
        "them in 16 bits. Weights stay float32. Give it again to resume.",
    ),
    "help.train.distributed": (
        "mpiexecが起動したプロセスで一つのモデルを学習するかどうか。"
        "指定がなければ、mpiexecから起動したときだけ分担します。",
        "Whether the processes that mpiexec started train one model together. By default they do, "
        "and a process that was started alone trains alone.",
    ),
    # corpus
    "help.corpus": (
        "コーパスを作り、調べます。",
        "Make a corpus, and look one over.",
    ),
    "help.corpus.generate": (
        "かなの文とそのタグを文法から作り、TSV（列は group、japanese、tags）で出力します。\n\n"
        "グループは日本手話と日本語対応手話で、1文が各グループの1行ずつになります。"
        "同じ --size と --seed からはどこでも同じファイルができ、大きい --size は小さい --size "
        "の行の続きになります。文法は jsl/GRAMMAR.md に書いてあります。規則で作ったもので、"
        "手話の母語話者は確認していません。\n\n"
        "--valid-out で学習用と検証用に分けます。random は文を無作為に分け、同じ文の両グループの行"
        "は同じ側に入ります。compositional は単語と文型の組を選び、"
        "その組を含む文を検証用に回します。"
        "単語も文型も学習に出てきますが、その組は出てきません。",
        "Make sentences in kana with their tags by a grammar, as TSV with the columns group, "
        "japanese and tags.\n\n"
        "The groups are Japanese Sign Language and signed Japanese; a sentence is a row of each. "
        "The same --size and --seed give the same file everywhere, and a larger --size begins "
        "with the rows of a smaller one. jsl/GRAMMAR.md describes the grammar. Rules made it, and "
        "no native signer reviewed it.\n\n"
        "--valid-out parts the rows into those for training and those for validation. random does "
        "so by lot, with both rows of a sentence on the same side. compositional chooses pairs of "
        "a word and a sentence pattern, and holds out the sentences that have one of them: the "
        "word and the pattern are in training, and never together.",
    ),
    "help.corpus.generate.size": (
        "行の数。両方のグループなら、文の数はその半分です。",
        "How many rows; with both groups, there are half as many sentences.",
    ),
    "help.corpus.generate.seed": ("文を選ぶ乱数の種。", "Chooses the sentences."),
    "help.corpus.generate.out": (
        "出力するファイル。指定がなければ標準出力です。",
        "The file; standard output by default.",
    ),
    "help.corpus.generate.group": (
        "このグループの行だけを作ります。",
        "Make the rows of this group only, by its Japanese name; a wrong one lists both.",
    ),
    "help.corpus.generate.split": (
        "学習用と検証用の分け方（既定はrandom）。",
        "How to part training from validation (default: random).",
    ),
    "help.corpus.generate.valid-out": (
        "検証用の行を出力するファイル。残りが --out に入ります。",
        "The file of the rows for validation; the others go to --out.",
    ),
    "help.corpus.generate.valid-share": (
        "検証用の割合（既定は0.1）。",
        "The share of validation (default: 0.1).",
    ),
    "help.corpus.generate.annotate": (
        "文型と単語の列（frame、words）を付けます。学習では使いません。",
        "Add the columns frame and words: the pattern of a sentence, and its words. Training "
        "does not use them.",
    ),
    "help.corpus.check": (
        "コーパスを調べます。\n\n"
        "同じ行、同じ文に違うタグが付いた矛盾、長すぎる行、使えない文字、タグの頻度、長さ、"
        "検証用ファイルとの文の重なりを示します。矛盾、形の正しくない行、--max-length "
        "を超える行、重なりがあれば、終了コードは1です。",
        "Look a corpus over.\n\n"
        "It reports rows that are there twice, contradictions (one sentence with several tags), "
        "rows that are too long, unknown characters, how often tags are there, lengths, and "
        "sentences that are trained and validated. The exit code is 1 if there are "
        "contradictions, malformed rows, rows longer than --max-length, or sentences of both "
        "sides.",
    ),
    "help.corpus.check.valid": (
        "検証用のファイル。文の重なりと、学習に出てこないタグを調べます。何度でも指定できます。",
        "A file for validation, of which no sentence should be trained; tags that only it has "
        "are listed. May be given several times.",
    ),
    "help.corpus.check.max-length": (
        "終端を含めた系列の最大の長さ。指定がなければ、プリセットごとに入らない行を数えるだけです。",
        "Longest sequence, its end counted; without it, rows that are too long for a preset are "
        "only counted.",
    ),
    "help.corpus.check.encoding": (
        "ファイルの文字コード: utf-8（既定）、cp932、utf-16 など。",
        "Of the files: utf-8 (the default), cp932, utf-16, ...",
    ),
    "help.corpus.check.json": (
        "結果をJSONで出力します。",
        "Print it as JSON.",
    ),
    # predict
    "help.predict": (
        "文をタグに翻訳します。1文が1行になります。\n\n"
        "TEXTを - だけにすると、標準入力から行を読み、1行ごとにすぐ答えます。空の行にはタグが"
        "付きません。グループが複数あり --group を指定しないときは、文ごとに各グループの行を"
        "「グループ名、タブ、タグ」の形で出力します。翻訳できない文にもタグが付かず、標準エラー"
        "出力に理由を示します。そのときの終了コードは1です。",
        "Translate texts into tags, one line a text.\n\n"
        "With - as the only TEXT, lines are read from standard input, and each is answered as "
        "soon as it is there; one that is empty gives no tags. For a run of several groups, and "
        "without --group, each text gets one line a group: its name, a tab, the tags. A text that "
        "cannot be translated gives no tags either, and a message on standard error; the exit "
        "code is then 1.",
    ),
    "help.predict.load": (
        "フォルダーか .zip の、保存した実行。jsl export --deploy の出力も読みます。",
        "A saved run, or what `jsl export --deploy` wrote; a directory or a .zip.",
    ),
    "help.predict.group": (
        "このグループだけで翻訳します。指定がなければすべてのグループです。",
        "Translate for this group only; for all groups by default.",
    ),
    "help.predict.json": (
        "プログラム向けに、1文につき1つのJSONを出力します。",
        "One JSON object a text, for programs.",
    ),
    "help.predict.beam": (
        "探索で残す系列の数（1から1000）。",
        "Keep so many sequences in the search (1 to 1000).",
    ),
    "help.predict.length_penalty": (
        "スコアを、確率の対数の和を長さの何乗で割ったものにするか（0以上、既定は1）。大きいほど"
        "長い系列が選ばれます。",
        "The score is the sum of log probabilities over the length to this power (0 or more; 1 by "
        "default). More of it favours longer sequences.",
    ),
    "help.predict.nbest": (
        "よいものから順にこの数だけ出力します（--beam 以下）。2以上では、行は順位、スコア、タグを"
        "タブで区切ったものになります。",
        "Print the best so many, at most as many as --beam. With more than 1, a line is rank, "
        "score and tags, separated by tabs.",
    ),
    "help.predict.attention": (
        "--json に、すべての層とヘッドの注意の重みと、その行と列のラベルを加えます。",
        "Add to --json the attention weights of all layers and heads, with labels of rows and "
        "columns.",
    ),
    "help.predict.batch_size": (
        "一度に翻訳する文の数（既定は64）。結果は変わりません。",
        "Translate so many texts at once (64 by default). Results stay the same.",
    ),
    "help.predict.input": (
        "このファイルの行を翻訳します。- は標準入力です。",
        "Translate the lines of this file; - is standard input.",
    ),
    "help.predict.output": (
        "標準出力の代わりに、このファイルに書きます。すべて終わってから、途中のない形で置かれます。",
        "Write to this file in place of standard output: whole, once all is done.",
    ),
    "help.predict.int8": (
        "重みを1バイトに丸めます。大きなモデルで速くなります。",
        "Round weights to bytes: quicker with large models.",
    ),
    "help.predict.reading": (
        "auto（既定）は、かなで学習したモデルのために、漢字と数字をかなに直し、その読みを標準エラー"
        "出力と --json に示します。漢字には追加の機能 minigrad[kanji] が要ります。"
        "off では直しません。",
        "auto (the default) turns kanji and numbers into kana, for a model that was trained on "
        "kana, and shows the reading on standard error and in --json; for kanji it takes the extra "
        "minigrad[kanji]. off leaves them.",
    ),
    "help.predict.quiet": (
        "注意書きを標準エラー出力に出しません。エラーは出します。",
        "Leave out notes on standard error; errors stay.",
    ),
    # resume
    "help.resume": (
        "中断した学習を最後まで続けます。\n\n"
        "DIRで最後に保存した状態から、同じフォルダーで、もとの設定のまま続けます。結果は中断しなかった"
        "場合と同じです。付属のコーパス以外で学習していたときは、同じものを --corpus などで"
        "指定してください。",
        "Go on with an interrupted training, to its end.\n\n"
        "It goes on from the last state that was saved in DIR, in the same directory and with the "
        "settings that it had, as if nothing had happened. Name its corpora as they were named "
        "for it (--corpus and so on), unless it was the bundled one.",
    ),
    # export
    "help.export.deploy": (
        "配布用のモデルを書くフォルダー。.zip で終わる名前なら1つのファイルにします。",
        "Write the model for deployment into this directory; as one file if it ends in .zip.",
    ),
    "help.export.dtype": (
        "重みの精度（既定は float32）。int8 は行列の行ごとに1つの倍率を持ちます。",
        "How weights are kept (float32 by default). int8 has a scale for each row of a matrix.",
    ),
    "help.export.corpus": (
        "失われるものを、このコーパスの文で測ります。指定がなければ付属のコーパスの文です。",
        "Measure losses on the sentences of this corpus; on those of the bundled one by default.",
    ),
    "help.export.overwrite": (
        "すでにある配布用のモデルを置き換えます。",
        "Replace a deployed model that is there.",
    ),
    # study
    "help.study": (
        "学習の1ステップを記録して、1歩ずつたどれるページにします。\n\n"
        "最初のバッチで順伝播、逆伝播、更新を1回だけ行い、どの演算がどの値から何を計算し、勾配がどこを"
        "通って戻り、各パラメーターがどう変わったかを、ブラウザーで見られるHTMLファイルに"
        "します。ネットワークは使いません。実行は何も保存されません。",
        "Record one step of the training, as a page to walk through.\n\n"
        "The first batch goes forward, back, and into one update. What each op made of which "
        "values, by which way the gradients came back, and what became of every parameter is "
        "written as one HTML file, to be seen step by step in a browser, without a network. "
        "Nothing of the run is saved.",
    ),
    "help.study.preset": (
        "モデルの大きさと学習の設定（既定は tiny）。",
        "Sizes and schedule (default: tiny).",
    ),
    "help.study.out": (
        "ページの書き出し先（既定は jsl.study.html）。",
        "Where the page goes (default: jsl.study.html).",
    ),
    "help.study.json": (
        "記録をJSONとして書き出します。python -m minigrad.study で開けます。",
        "Write the record as JSON; python -m minigrad.study opens it.",
    ),
    "help.study.terminal": (
        "端末の中で、矢印キーで1歩ずつ進みます。",
        "Walk through it in the terminal, by the arrow keys.",
    ),
    # inspect
    "help.inspect": (
        "保存した実行の中身を表示します。\n\n"
        "モデルの大きさ、学習の設定と経過、グループ、語彙、コーパス、版、成績、そしてすべての"
        "パラメーターの名前と形と個数です。ファイルはまず検証します。",
        "Show what a saved run is.\n\n"
        "Sizes, schedule and progress, groups, vocabulary, corpus, versions, figures, and every "
        "parameter by its full name, with its shape and count. The files are verified first.",
    ),
    "help.inspect.json": (
        "プログラム向けに、すべてを1つのJSONで出力します。",
        "Everything as one JSON object, for programs.",
    ),
    # export
    "help.export": (
        "保存した実行から、配布用のモデルや、分析のためのファイルを書き出します。\n\n"
        "--deploy は、翻訳に必要なものだけを書きます。jsl predict --load でそのまま使えます。"
        "float32、float16、int8 のそれぞれで失われるものを、先に測って表にします。\n\n"
        "重みは weights_<名前>.csv に、注意は attn_{{enc,dec,cross}}_layer<層>_head<ヘッド>.csv に"
        "なります。層とヘッドは0から数えます。行は訳の各段階、列は見ている先で、各行の和は1です。"
        "文やグループが複数のときは、それぞれのフォルダーに分けます。書いたものと省いたものは "
        "index.json にあります。学習結果そのものは変えません。",
        "Write a saved run for deployment, or files to look at.\n\n"
        "--deploy writes what translating needs and nothing more; `jsl predict --load` takes it. "
        "What float32, float16 and int8 lose is measured before, and shown as a table.\n\n"
        "Weights go into weights_<name>.csv, attention into "
        "attn_{{enc,dec,cross}}_layer<L>_head<H>.csv, with layers and heads counted from 0. A row "
        "is a step, its columns are what is looked at, and its sum is 1. Of several texts or "
        "groups, each has its folder. index.json lists what was written and what was left out. "
        "The run itself stays as it is.",
    ),
    "help.export.load": ("保存した実行。", "A saved run."),
    "help.export.group": (
        "このグループだけを書き出します。何度でも指定できます。指定がなければすべてです。",
        "Export of this group only; may be given several times. All by default.",
    ),
    "help.export.list-layers": (
        "パラメーターの名前、形、個数を表示します。",
        "Show the names of all parameters, their shapes and counts.",
    ),
    "help.export_weights": (
        "この層かパラメーターの重みをCSVに書き出します。* ? [ ] も使え、何度でも指定できます。"
        "models.<グループ>. を付けなければ、すべてのグループのものです。",
        "Write the weights of this layer or parameter as CSV; * ? [ ] may be used, and the option "
        "may be repeated. Without models.<group>. before, it means every group.",
    ),
    "help.export.export-attn": (
        "この文を訳すときの注意をCSVに書き出します。何度でも指定できます。",
        "Translate this text and write its attention as CSV; may be repeated.",
    ),
    "help.predict.export-attn": (
        "訳すときの注意を、すべての層とヘッドについてCSVに書き出します。",
        "Write the attention of all layers and heads as CSV.",
    ),
    "help.attn_plot": (
        "注意をPNGとSVGの図にも描きます（minigrad[plot] が必要です）。",
        "Draw attention as PNG and SVG, too (needs minigrad[plot]).",
    ),
    "help.attn_max_len": (
        "一辺がこれより長い注意は省きます（既定は20）。",
        "Leave out attention with a side longer than this (20 by default).",
    ),
    "help.csv_layout": (
        "matrixは見出し付きの行列、longは「行、列、値」を1行ずつにします（既定はmatrix）。",
        "matrix, with labels, or long: a line of row, col and value for each number (default: "
        "matrix).",
    ),
    "help.csv_encoding": (
        "CSVの文字コード。日本語版のExcelで開くなら utf-8-sig にします（既定は utf-8）。",
        "Of CSV files; utf-8-sig opens in a Japanese Excel (default: utf-8).",
    ),
    "help.export_out": (
        "書き出す先。指定がなければ、学習結果のフォルダーの中の exports です。",
        "Where to export to; by default exports in the directory of the run.",
    ),
    "help.export_force": (
        "100 MBを超えても書き出します。",
        "Export more than 100 MB, too.",
    ),
    "help.export.json": (
        "プログラム向けに、結果を1つのJSONで出力します。",
        "What was done as one JSON object, for programs.",
    ),
    # evaluate
    "help.evaluate": (
        "保存した実行が、コーパスをどれだけ正しく訳すかを測ります。\n\n"
        "グループごとと全体について、完全一致、タグ誤り率、BLEU-1から4、chrFを、ブートストラップ"
        "（1000回、同じ文の行はまとめて）による95%区間とともに表にします。"
        "完全一致とタグ誤り率は百分率で、誤り率は100を超えることもあります。BLEUとchrFは、"
        "sacrebleu（minigrad[evaluate]）があればその値で、設定を表す文字列も示します。"
        "BLEUはタグ、語、文字の並びをそのまま比べ（sacrebleuの none と char）、一致のない次数は"
        "sacrebleuの既定（exp）で平滑化します。"
        "行はそれぞれ自分のグループで訳します。翻訳できない行は誤りとして数え、標準エラー出力に"
        "理由を示します。文が100より少ないときや、区間の片側が5を超えるときは警告します。",
        "Measure how well a saved run translates a corpus.\n\n"
        "A table has, for each group and for all, the exact match, the tag error rate, BLEU-1 to "
        "BLEU-4 and chrF, with 95 % intervals by bootstrap (1000 samples; rows of the same text "
        "together). Exact match and error rate are in percent; the latter can be more than 100. "
        "BLEU and chrF come from sacrebleu (minigrad[evaluate]) where it is installed, with its "
        "signatures: BLEU compares tags, words or characters as they are (tokenisers none and "
        "char of sacrebleu), and orders without a match are smoothed by its default (exp). Each "
        "row is translated in its own group. Rows that cannot be translated count as wrong, and "
        "standard error says why. There is a warning if there "
        "are fewer than 100 texts, or an interval reaches further than 5 to a side.",
    ),
    "help.evaluate.corpus": (
        "正解のあるTSVファイル。列は group、japanese、tags で、group はなくても構いません。"
        "これか、--source と --target を指定します。",
        "TSV file with the references: columns group, japanese and tags; group may be absent. "
        "Either this, or --source and --target.",
    ),
    "help.evaluate.source_tokens": (
        "原文を分ける単位。実行のものに決まっていて、違うものを指定するとエラーになります。",
        "What sentences are cut into: as the run does it; another is refused.",
    ),
    "help.evaluate.target_tokens": (
        "訳文を分ける単位。実行のものに決まっていて、違うものを指定するとエラーになります。",
        "What translations are cut into: as the run does it; another is refused.",
    ),
    "help.evaluate.group": (
        "このグループの行だけで測ります。グループのないコーパスなら、すべての行をこのグループで"
        "訳します。",
        "Measure with the rows of this group only; a corpus without groups is translated in it.",
    ),
    "help.evaluate.failures": (
        "誤った訳を、正解と並べてこの数まで表示します。",
        "Show so many wrong translations, beside what was expected.",
    ),
    "help.evaluate.json": (
        "プログラム向けに、すべてを1つのJSONで出力します。",
        "Everything as one JSON object, for programs.",
    ),
    # completion
    "help.completion": (
        "シェルがコマンドとオプションを補完するためのスクリプトを出力します。\n\n"
        "SHELLは bash、zsh、fish のどれかです。"
        'bashとzshでは、設定ファイルに eval "$(jsl completion bash)" と書きます（zshならzsh）。'
        "fishでは、出力を ~/.config/fish/completions/jsl.fish に保存します。",
        "Print the script with which a shell completes commands and options.\n\n"
        "SHELL is bash, zsh or fish. For bash and zsh, write "
        'eval "$(jsl completion bash)" (or zsh) into the shell\'s settings. '
        "For fish, save it as ~/.config/fish/completions/jsl.fish.",
    ),
    # doctor
    "help.doctor": (
        "このマシンで使えるものを調べます。\n\n"
        "Pythonとライブラリの版、auto で選ばれるバックエンドとその理由、カーネル、スレッド、"
        "メモリ、追加できる機能、端末を表示します。必要なものが壊れていれば、終了コードは1です。",
        "Look at what this machine has for jsl.\n\n"
        "Versions of Python and of libraries, which backend auto takes and why, kernels, threads, "
        "memory, what can be added, and the terminal. If something that is needed is broken, the "
        "exit code is 1.",
    ),
    "help.doctor.json": (
        "プログラム向けに、すべてを1つのJSONで出力します。",
        "Everything as one JSON object, for programs.",
    ),
    # verify
    "help.verify": (
        "保存した実行のファイルを、ハッシュと、また互いの内容と照らし合わせます。\n\n"
        "途中で保存したもの（checkpoints と best）も調べます。"
        "壊れているものを示します。そのときの終了コードは1です。",
        "Compare the files of saved runs with their hashes, and what they say with one another."
        "\n\nThose saved on the way (in checkpoints and best) are looked at as well. What is "
        "damaged is named; the exit code is then 1.",
    ),
    # warmup
    "help.warmup": (
        "学習と翻訳を速くするカーネルを、このマシンでの今後のすべての実行のためにコンパイルします。"
        "\n\nこれをしなくても、jsl train は必要なものをコンパイルし、jsl predict "
        "はNumPyで済ませます。",
        "Compile what makes training and translating quick, for all runs to come on this machine."
        "\n\nWithout it, `jsl train` compiles what it needs, and `jsl predict` gets along with "
        "NumPy.",
    ),
}
