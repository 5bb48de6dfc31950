"""Exercises of the chapter `kernels`: one loop, few buffers, and results written over inputs."""

import tracemalloc
from typing import Any

import numpy as np

from minigrad.study.exercises.checking import Case, Exercise, Mistake, Wrong, case
from minigrad.study.exercises.words import both, several


def _normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


# -------------------------------------------------------------------- fused_multiply_add

LONG = 4096  # elements: of a temporary array of so many it is seen that it was made


def _fused() -> list[Case]:
    x, y = np.array([1.0, -2.0, 3.0]), np.array([10.0, 20.0, 30.0])
    return [
        case("three numbers", "3 つの数", a=2.0, x=x, y=y, out=np.full(3, np.nan)),
        case("a is negative", "a が負", a=-0.5, x=x, y=y, out=np.zeros(3)),
        case("one number", "1 つの数", a=3.0, x=x[:1].copy(), y=y[:1].copy(), out=np.zeros(1)),
        case("no numbers", "数が 1 つもない", a=3.0, x=np.zeros(0), y=np.zeros(0), out=np.zeros(0)),
        case("out is x itself", "out が x そのもの", a=2.0, x=x, y=y, out=x, float32=False),
        case("out is y itself", "out が y そのもの", a=2.0, x=x, y=y, out=y, float32=False),
        case("x and y are the same", "x と y が同じ配列",
             a=4.0, x=x, y=x, out=np.zeros(3), float32=False),
        case("all three are the same", "3 つとも同じ配列", a=4.0, x=x, y=x, out=x, float32=False),
        case("long arrays", "長い配列", float32=False, a=1.5, x=_normal(LONG),
             y=_normal(LONG, seed=1), out=np.zeros(LONG)),
    ]  # fmt: skip


def _into_out(function: Any, args: dict[str, Any]) -> Any:
    long = args["x"].size == LONG
    traced = tracemalloc.is_tracing()
    if long:
        if not traced:
            tracemalloc.start()
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
    try:
        found = function(*args.values())
        peak = tracemalloc.get_traced_memory()[1] - before if long else 0
    finally:
        if long and not traced:
            tracemalloc.stop()
    out = args["out"]
    if found is None:
        raise Wrong(
            "not_returned",
            both(
                "Give `out` back: then the call can stand inside a larger expression.",
                "`out` を返してください。そうすれば、この呼び出しを式の中で使えます。",
            ),
        )
    if found is not out:
        raise Wrong(
            "not_into_out",
            both(
                """You give another array than `out`. The caller has given you the memory for the
                result, and will look there: write to out[i] (or out[...]), and return out. `out =`
                only gives the name to something else.""",
                """`out` とは別の配列を返しています。呼び出した側は、結果を入れるメモリを渡し、
                そこを見ます。
                out[i]（または out[...]）に書き込み、out を返しましょう。
                `out =` では、名前が別のものを指すだけです。""",
            ),
        )
    if peak > args["x"].nbytes // 4:
        raise Wrong(
            "temporaries",
            both(
                f"""The numbers are right, but {peak} bytes were taken for temporary arrays, for an
                output of {args["x"].nbytes}. `a * x + y` first makes an array for a * x, writes it
                to memory and reads it back. Go through the elements in one loop: what a kernel
                saves is exactly that way to the memory.""",
                f"""数は合っていますが、{args["x"].nbytes} バイトの出力のために、
                一時配列に {peak} バイトを使いました。
                `a * x + y` は、まず a * x の配列を作ってメモリに書き、また読み込みます。
                1 つのループで要素を順に計算しましょう。カーネルが省くのは、
                まさにこのメモリの往復です。""",
            ),
        )
    return out


def _fma(a, x, y, out):
    for i in range(x.size):
        out[i] = a * x[i] + y[i]
    return out


def _two_passes(a, x, y, out):
    np.multiply(x, a, out=out)
    return np.add(out, y, out=out)


def _product_only(a, x, y, out):
    for i in range(x.size):
        out[i] = a * x[i]
    return out


def _added_to_out(a, x, y, out):
    for i in range(x.size):
        out[i] += a * x[i] + y[i]
    return out


def _first_missing(a, x, y, out):
    for i in range(1, x.size):
        out[i] = a * x[i] + y[i]
    return out


fused_multiply_add = Exercise(
    name="fused_multiply_add",
    chapter="kernels",
    title=both("One loop in place of two passes", "2 回の往復を 1 つのループに"),
    task=both(
        """Write a * x + y into `out`, and return it: a is a number, the others are vectors of one
        length. Do it as a kernel does, in one Python loop over the elements, without a temporary
        array. (Numba makes machine code of just such a loop.) `out` may be x or y itself.""",
        """a * x + y を `out` に書き込み、out を返しましょう。a は数、ほかは同じ長さのベクトルです。
        カーネルと同じように、要素についての 1 つのループで、一時配列を作らずに計算してください
        （Numba は、まさにこのようなループを機械語にします）。
        `out` は x や y そのものかもしれません。""",
    ),
    signature="def fused_multiply_add(a, x, y, out):",
    doc=both("out, with a * x + y in it.", "a * x + y を書き込んだ out。"),
    answer=_fma,
    cases=_fused,
    run=_into_out,
    writes=("out",),
    mistakes=(
        Mistake(
            "destroyed",
            _two_passes,
            both(
                """You write a * x to out first, and add y after that. Where out is y itself, y is
                gone
                by then. Compute an element in full, a * x[i] + y[i], before you write it.""",
                """先に a * x を out に書き、その後で y を足しています。out が y そのものだと、
                そのときにはもう y が消えています。要素ごとに a * x[i] + y[i] を計算し終えてから、
                書き込みましょう。""",
            ),
        ),
        Mistake(
            "product_only",
            _product_only,
            both("y is not added.", "y が足されていません。"),
        ),
        Mistake(
            "added_to_out",
            _added_to_out,
            both(
                """You add to what stood in out before. It may be anything there (np.empty): write
                with =, not +=.""",
                """out に前から入っていた値に足しています。
                そこには何が入っているかわかりません（np.empty など）。
                += ではなく = で書き込みましょう。""",
            ),
        ),
        Mistake(
            "first_missing",
            _first_missing,
            both(
                "Your loop begins at 1: element 0 is never written.",
                "ループが 1 から始まっていて、0 番目の要素が書き込まれていません。",
            ),
        ),
    ),
)

# ------------------------------------------------------------------------- share_buffers


def _programs() -> list[Case]:
    def program(en, ja, outputs, *instructions):
        return case(en, ja, instructions=list(instructions), outputs=outputs)

    chain = [("v0", ["x"]), *((f"v{i}", [f"v{i - 1}"]) for i in range(1, 8))]
    return [
        program("one instruction", "命令が 1 つ", ["y"], ("y", ["x"])),
        program("a chain", "一本道", ["v7"], *chain),
        program("a value that is read again later", "後でまた読まれる値", ["d"],
                ("a", ["x"]), ("b", ["a"]), ("c", ["b"]), ("d", ["c", "a"])),
        program("two outputs, one of them early", "出力が 2 つ、1 つは早くできる", ["a", "d"],
                ("a", ["x"]), ("b", ["a"]), ("c", ["b"]), ("d", ["c"])),
        program("an output that is read on the way", "途中で読まれる出力", ["b", "e"],
                ("a", ["x"]), ("b", ["a"]), ("c", ["b"]), ("d", ["c"]), ("e", ["d"])),
        program("a value that nobody reads", "誰も読まない値", ["c"],
                ("a", ["x"]), ("b", ["a"]), ("unread", ["a"]), ("c", ["b"])),
        program("many are read at the end", "最後にまとめて読まれる", ["z"],
                ("a", ["x"]), ("b", ["x"]), ("c", ["x"]), ("z", ["a", "b", "c"])),
        program("a value that is read twice by one", "1 つの命令が 2 回読む", ["c"],
                ("a", ["x"]), ("b", ["a", "a"]), ("c", ["b"])),
        program("several are freed at once, and needed again", "一度に空いて、また要る", ["h"],
                ("a", ["x"]), ("b", ["x"]), ("c", ["x"]), ("z", ["a", "b", "c"]),
                ("d", ["z"]), ("e", ["z"]), ("f", ["z"]), ("h", ["d", "e", "f"])),
        program("lives that cross", "寿命が交差する", ["f"],
                ("a", ["x"]), ("b", ["x"]), ("c", ["a"]), ("d", ["b"]), ("e", ["c"]),
                ("f", ["d", "e"])),
    ]  # fmt: skip


def _lives(instructions, outputs):
    """{name: (instruction that makes it, last one during which it must be there)}."""
    lives = {name: [i, i] for i, (name, _) in enumerate(instructions)}
    for i, (_, inputs) in enumerate(instructions):
        for name in inputs:
            if name in lives:
                lives[name][1] = i
    for name in outputs:
        lives[name][1] = len(instructions)
    return lives


def _judged_plan(function: Any, args: dict[str, Any]) -> bool:
    instructions, outputs = args["instructions"], args["outputs"]
    found = function(instructions, outputs)
    names = [name for name, _ in instructions]
    if not isinstance(found, dict):
        raise Wrong(
            "type",
            both("Give a dictionary {name: number}.", "辞書 {名前: 番号} を返してください。"),
        )
    if found.keys() != set(names):
        wrong = sorted(map(str, found.keys() ^ set(names)))
        raise Wrong(
            "keys",
            both(
                f"""Each value that an instruction makes gets a number, and nothing else does
                (inputs
                of the program have their memory already). Look at {several(wrong, "en")}.""",
                f"""番号を付けるのは、命令が作る値だけです（プログラムの入力には、
                すでにメモリがあります）。
                {several(wrong, "ja")} を見直しましょう。""",
            ),
        )
    lives = _lives(instructions, outputs)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            if found[a] != found[b] or lives[a][1] < lives[b][0]:
                continue
            if lives[a][1] == lives[b][0]:
                raise Wrong(
                    "read_and_written",
                    both(
                        f"""{b} is written to the buffer of {a}, and {b} is computed from {a}. The
                        instruction would overwrite what it still reads. A buffer is free *after*
                        the last instruction that reads it.""",
                        f"""{b} が {a} と同じバッファに書き込まれますが、
                        {b} は {a} から計算されます。
                        読んでいる途中のものを上書きしてしまいます。バッファが空くのは、
                        それを読む最後の命令の *後* です。""",
                    ),
                )
            if a in outputs and lives[a][1] == len(instructions):
                raise Wrong(
                    "output_lost",
                    both(
                        f"""{b} overwrites {a}, which is an output of the program: an output lives
                        to
                        the end, whoever reads it before.""",
                        f"""{b} が、プログラムの出力である {a} を上書きします。
                        出力は、途中で読まれるかどうかによらず、最後まで残します。""",
                    ),
                )
            reader = names[lives[a][1]]
            raise Wrong(
                "still_needed",
                both(
                    f"""{b} overwrites {a}, which {reader} reads later. A value lives until the
                    *last*
                    instruction that reads it.""",
                    f"""{b} が {a} を上書きしますが、{a} は後で {reader} が読みます。
                    値は、それを読む *最後の* 命令まで残します。""",
                ),
            )
    count, fewest = len(set(found.values())), len(set(_plan(instructions, outputs).values()))
    if count > fewest:
        raise Wrong(
            "too_many",
            both(
                f"""The plan is safe, but takes {count} buffers where {fewest} will do: use a free
                one
                again before you take a new one.""",
                f"""安全な計画ですが、
                {fewest} 個で足りるところに {count} 個のバッファを使っています。
                新しいものを取る前に、空いたものを使い回しましょう。""",
            ),
        )
    return True


def _plan(instructions, outputs):
    lives, plan, free = _lives(instructions, outputs), {}, []
    for i, (name, _) in enumerate(instructions):
        free += [plan[n] for n, (_, end) in lives.items() if n in plan and end == i - 1]
        plan[name] = free.pop() if free else len(set(plan.values()))
    return plan


share_buffers = Exercise(
    name="share_buffers",
    chapter="kernels",
    title=both("Few buffers for many values", "少ないバッファで多くの値を"),
    task=both(
        """A program is a list of instructions (name of the value it makes, names of what it reads).
        All values are of one size. Give each value the number of a buffer, so that two values share
        one only if the first is never needed again when the second is written; an instruction may
        not write to a buffer that it reads. `outputs` are needed after the end. Names that no
        instruction makes are inputs, and get none. Take as few buffers as possible.""",
        """プログラムは、命令 (作る値の名前, 読むものの名前のリスト) のリストで、
        値の大きさはすべて同じです。
        それぞれの値に、バッファの番号を割り当てましょう。2 つの値が同じバッファを使えるのは、
        後の値を書き込むときに、前の値がもう要らない場合だけです。命令は、
        自分が読むバッファには書き込めません。
        `outputs` は終わった後も必要です。どの命令も作らない名前は入力で、番号を付けません。
        バッファはできるだけ少なくしてください。""",
    ),
    signature="def share_buffers(instructions, outputs):",
    doc=both("{name of a value: number of its buffer}.", "{値の名前: バッファの番号}。"),
    answer=_plan,
    cases=_programs,
    run=_judged_plan,
    imports="",
)

# ------------------------------------------------------------------------- can_overwrite

ELEMENTWISE = ("add", "multiply", "exp", "tanh")


def _overwrites() -> list[Case]:
    program = [
        ("a", "add", ["x", "w"]),
        ("b", "exp", ["a"]),
        ("c", "tanh", ["b"]),
        ("d", "matmul", ["c", "c"]),
        ("e", "multiply", ["d", "a"]),
        ("f", "sum", ["e"]),
        ("h", "exp", ["f"]),
    ]

    short = [("a", "add", ["x", "x"]), ("b", "exp", ["a"]), ("c", "tanh", ["a"])]
    late = [("a", "exp", ["w"]), ("b", "tanh", ["w"]), ("c", "multiply", ["a", "x"])]

    def asked(en, ja, i, name, kept=(), program=program):
        return case(en, ja, instructions=program, i=i, name=name, kept=list(kept))

    return [
        asked("nobody reads it later", "後で誰も読まない", 2, "b"),
        asked("it is read later", "後で読まれる", 1, "a"),
        asked("the next instruction reads it", "すぐ次の命令が読む", 1, "a", program=short),
        asked("the one before read it", "すぐ前の命令が読んだ", 2, "a", program=short),
        asked("its last reader", "最後に読む命令", 4, "a"),
        asked("it is kept for the way back", "逆伝播のために残す", 2, "b", ["b"]),
        asked("another one is kept", "別のものを残す", 2, "b", ["a", "c"]),
        asked("it is an input of the caller", "呼び出した側の入力", 0, "x"),
        asked(
            "an input of the caller, read late",
            "後で読まれる呼び出し側の入力",
            2,
            "x",
            program=late,
        ),
        asked("beside an input of the caller", "呼び出し側の入力と並ぶもの", 2, "a", program=late),
        asked("a matrix product", "行列積", 3, "c"),
        asked("a sum", "和", 5, "e"),
        asked("the other input of a product of elements", "要素ごとの積のもう一方の入力", 4, "d"),
        asked("the last instruction", "最後の命令", 6, "f"),
        asked("what the instruction does not read", "その命令が読まないもの", 4, "b"),
        asked("kept, and elementwise at the end", "最後の命令で、残すもの", 6, "f", ["f"]),
    ]


def _can(
    instructions, i, name, kept, *, later=True, made=True, keeps=True, elementwise=True, reads=True
):
    _, op, inputs = instructions[i]
    return not (
        (reads and name not in inputs)
        or (elementwise and op not in ELEMENTWISE)
        or (later and any(name in other for _, _, other in instructions[i + 1 :]))
        or (keeps and name in kept)
        or (made and all(name != result for result, _, _ in instructions[:i]))
    )


def _can_with(**options):
    return lambda *args: _can(*args, **options)


can_overwrite = Exercise(
    name="can_overwrite",
    chapter="kernels",
    title=both("Safe in place?", "上書きしても安全か"),
    task=both(
        """Instructions are (result, op, [inputs]). May instruction i write its result over its
        input
        `name`, and so save a buffer? Only if it does read `name`; if nobody reads it later; if it
        is
        not in `kept` (for the way back, or an output); if an earlier instruction made it, as inputs
        of the program belong to the caller; and if the op needs only element j for element j of its
        result: add, multiply, exp and tanh do, matmul and sum do not. All arrays are of one shape
        where that matters.""",
        """命令は (結果, 演算, [入力]) です。命令 i は、結果を入力 `name` の上に書き込んで、
        バッファを節約できるでしょうか。条件は次のとおりです。命令 i が `name` を読むこと。
        後で誰も読まないこと。
        `kept`（逆伝播のために残すもの、出力）に入っていないこと。前の命令が作ったものであること
        （プログラムの入力は、呼び出した側のものです）。結果の要素 j を求めるのに、
        要素 j だけを読む演算であること。
        add、multiply、exp、tanh はそうですが、matmul と sum は違います。""",
    ),
    signature="def can_overwrite(instructions, i, name, kept):",
    doc=both("True or False.", "True か False。"),
    answer=_can,
    cases=_overwrites,
    imports="",
    mistakes=(
        Mistake(
            "always",
            lambda *args: True,
            both("You always say yes.", "いつも True と答えています。"),
        ),
        Mistake(
            "never",
            lambda *args: False,
            both(
                "You always say no: safe, but nothing is saved.",
                "いつも False と答えています。安全ですが、何も節約できません。",
            ),
        ),
        Mistake(
            "later_reads",
            _can_with(later=False),
            both(
                """You do not look at the instructions after i. If one of them reads `name`, it
                would
                find the new values.""",
                """命令 i より後を見ていません。`name` を読む命令が後にあると、
                新しい値を読んでしまいます。""",
            ),
        ),
        Mistake(
            "kept_forgotten",
            _can_with(keeps=False),
            both(
                """You do not look at `kept`. No instruction reads it any more, but the backward
                pass
                will.""",
                """`kept` を見ていません。もう読む命令がなくても、逆伝播が読みます。""",
            ),
        ),
        Mistake(
            "callers_input",
            _can_with(made=False),
            both(
                """You would write over an input of the program. It is the caller's: only what an
                earlier instruction made is yours.""",
                """プログラムの入力を上書きしています。それは呼び出した側のものです。
                上書きしてよいのは、前の命令が作ったものだけです。""",
            ),
        ),
        Mistake(
            "not_elementwise",
            _can_with(elementwise=False),
            both(
                """You do not look at the op. A matmul still reads a whole row when it has written
                the
                first element: what it reads would be gone.""",
                """演算の種類を見ていません。matmul は、最初の要素を書いた後も行全体を読みます。
                読むはずの値が消えてしまいます。""",
            ),
        ),
        Mistake(
            "not_read",
            _can_with(reads=False),
            both(
                "You do not ask whether the instruction reads `name` at all.",
                "その命令が `name` を読むかどうかを確かめていません。",
            ),
        ),
    ),
)

EXERCISES = (fused_multiply_add, share_buffers, can_overwrite)
