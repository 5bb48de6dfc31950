"""Exercises of the chapter `memory`: what is kept for the way back, and what need not be."""

import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.study.exercises.checking import Case, Exercise, Mistake, Wrong, case
from minigrad.study.exercises.words import both

# -------------------------------------------------------------------------- what_to_keep

# Of each op: what the gradient of its first and of its second input is computed from.
READS: dict[str, tuple[set[str], ...]] = {
    "add": (set(), set()),
    "subtract": (set(), set()),
    "multiply": ({"y"}, {"x"}),
    "matmul": ({"y"}, {"x"}),
    "exp": ({"out"},),
    "tanh": ({"out"},),
    "sin": ({"x"},),
    "log": ({"x"},),
    "sum": (set(),),
}


def _calls() -> list[Case]:
    notes = {
        (True, True): both("both inputs want a gradient", "両方の入力に勾配が要る"),
        (True, False): both("only x wants a gradient", "x だけに勾配が要る"),
        (False, True): both("only y wants a gradient", "y だけに勾配が要る"),
        (False, False): both("nobody wants a gradient", "どちらにも勾配が要らない"),
        (True,): both("an op of one input", "入力が 1 つの演算"),
        (False,): both("an op of one input, which wants no gradient", "入力が 1 つで、勾配は不要"),
    }
    return [
        Case(note, {"op": op, "tracked": tracked})
        for op, reads in READS.items()
        for tracked, note in notes.items()
        if len(tracked) == len(reads)
    ]


def _kept(op, tracked, reads=READS):
    return set().union(*(r for r, wanted in zip(reads[op], tracked, strict=True) if wanted))


def _everything(op, tracked):
    return {"x", "y", "out"} if len(tracked) == 2 else {"x", "out"}


def _inputs(op, tracked):
    return set(("x", "y")[: len(tracked)])


def _own_input(op, tracked):
    other = {"x": "y", "y": "x"}
    kept = _kept(op, tracked)
    return {other[name] for name in kept} if op in ("multiply", "matmul") else kept


def _recomputing(op, tracked):
    return {"x"} if _kept(op, tracked) == {"out"} else _kept(op, tracked)


what_to_keep = Exercise(
    name="what_to_keep",
    chapter="memory",
    title=both("What a rule needs", "規則に必要なもの"),
    task=both(
        """After an op has been computed, the engine keeps only what the rules will read. Say what
        that
        is: a set of the names "x", "y" (the inputs) and "out" (the output). `tracked` says for each
        input whether its gradient is wanted. The ops are add, subtract, multiply, matmul (of x and
        y), and exp, tanh, sin, log, sum (of x). Keep as little as there is, but compute no op again
        on the way back: so exp keeps its output. Shapes are always kept, and do not count.""",
        """演算の計算が終わると、エンジンは規則が読むものだけを残します。残すものを、
        名前 "x"、"y"（入力）、"out"（出力）の集合で答えましょう。`tracked` は、
        各入力の勾配が必要かどうかです。
        演算は、2 入力（x と y）の add、subtract、multiply、matmul と、1 入力（x）の exp、tanh、
        sin、log、
        sum です。残すのは必要最小限にしますが、逆伝播で同じ演算を計算し直してはいけません。
        たとえば exp は出力を残します。形はいつも残るので、数えません。""",
    ),
    signature="def what_to_keep(op, tracked):",
    doc=both(
        "A set of 'x', 'y', 'out'; op is a name, tracked a tuple of True or False per input.",
        "'x'、'y'、'out' の集合。op は名前、tracked は入力ごとの True か False のタプル。",
    ),
    answer=_kept,
    cases=_calls,
    imports="",
    mistakes=(
        Mistake(
            "everything",
            _everything,
            both(
                """You keep everything. That is never wrong, and never affordable: a sum passes its
                gradient on without a look at x, and would keep it alive for nothing.""",
                """すべてを残しています。間違った結果にはなりませんが、メモリが足りなくなります。
                たとえば sum は x を見ずに勾配を渡すので、残しておくのは無駄です。""",
            ),
        ),
        Mistake(
            "all_inputs",
            _inputs,
            both(
                """You keep all inputs, whatever the op. The rule of a sum or of add reads none of
                them, and that of exp reads its output.""",
                """どの演算でも入力をすべて残しています。sum や add の規則は入力を読みませんし、
                exp の規則が読むのは出力です。""",
            ),
        ),
        Mistake(
            "tracked_ignored",
            lambda op, tracked: _kept(op, (True,) * len(tracked)),
            both(
                """You keep what the rules for all inputs read, though some of the gradients are not
                wanted. If y is a constant, nobody will ask for its gradient, and x need not be
                kept for it.""",
                """勾配が不要な入力の分まで残しています。y が定数なら、y の勾配は求められないので、
                そのために x を残す必要はありません。""",
            ),
        ),
        Mistake(
            "own_input",
            _own_input,
            both(
                """For a product you keep the input whose gradient is wanted. The gradient of x is
                g * y: it is the *other* one that its rule reads.""",
                """積では、勾配の必要な入力そのものを残しています。x の勾配は g * y なので、
                規則が読むのは *もう一方* の入力です。""",
            ),
        ),
        Mistake(
            "recomputes",
            _recomputing,
            both(
                """exp and tanh would have to be computed again from x. Their derivatives are told
                by
                their outputs alone: out, and 1 - out**2.""",
                """これでは exp や tanh を x から計算し直すことになります。どちらの微分も、
                出力だけから out、1 - out**2 と求まります。""",
            ),
        ),
    ),
)

# ------------------------------------------------------------------------------- spoiled


def _histories() -> list[Case]:
    def history(en, ja, *events):
        return case(en, ja, events=list(events))

    return [
        history("nothing is written", "書き換えなし",
                ("op", "mul", ["a", "b"]), ("op", "exp", ["c"])),
        history("written after it was kept", "残した後で書き換えた",
                ("op", "mul", ["a", "b"]), ("write", "b")),
        history("written before it was kept", "残す前に書き換えた",
                ("write", "b"), ("op", "mul", ["a", "b"])),
        history("an array that nobody keeps is written", "誰も残していない配列を書き換えた",
                ("op", "mul", ["a", "b"]), ("write", "c")),
        history("written between two ops that keep it", "残す 2 つの演算の間に書き換えた",
                ("op", "first", ["a"]), ("write", "a"), ("op", "second", ["a"])),
        history("two are spoiled", "2 つがだめになる",
                ("op", "first", ["a"]), ("op", "second", ["a", "b"]), ("op", "third", ["b"]),
                ("write", "a")),
        history("written twice", "2 回書き換えた",
                ("op", "first", ["a"]), ("write", "a"), ("op", "second", ["a"]), ("write", "a")),
        history("an op that keeps nothing", "何も残さない演算",
                ("op", "sum", []), ("write", "a")),
        history("nothing happens", "何も起こらない"),
    ]  # fmt: skip


def _spoiled(events):
    found = []
    for i, event in enumerate(events):
        if event[0] == "op":
            written = {name for kind, name, *_ in events[i + 1 :] if kind == "write"}
            if written & set(event[2]):
                found.append(event[1])
    return found[::-1]


def _whenever_written(events):
    written = {name for kind, name, *_ in events if kind == "write"}
    return [e[1] for e in reversed(events) if e[0] == "op" and written & set(e[2])]


def _written_before(events):
    written, found = set(), []
    for event in events:
        if event[0] == "write":
            written.add(event[1])
        elif written & set(event[2]):
            found.append(event[1])
    return found[::-1]


def _first_input_only(events):
    return _spoiled([(*e[:2], e[2][:1]) if e[0] == "op" else e for e in events])


spoiled = Exercise(
    name="spoiled",
    chapter="memory",
    title=both("Overwritten too soon", "早すぎる上書き"),
    task=both(
        """`events` tells in order what happened in the forward pass: ("op", name, arrays), an op
        that
        keeps these arrays for the way back; and ("write", array), something that overwrites an
        array
        in place. Which ops would get wrong values in the backward pass? Give their names in the
        order
        in which the backward pass meets them.""",
        """`events` は順伝播で起きたことを順に表します。("op", 名前, 配列のリスト) は、
        それらの配列を逆伝播のために残す演算、("write", 配列) は配列の上書きです。
        逆伝播で間違った値を読むことになる演算はどれでしょうか。逆伝播で出会う順に、
        名前を並べましょう。""",
    ),
    signature="def spoiled(events):",
    doc=both(
        "A list of names of ops; arrays and ops are named by strings.",
        "演算の名前のリスト。配列も演算も、名前は文字列。",
    ),
    answer=_spoiled,
    cases=_histories,
    imports="",
    mistakes=(
        Mistake(
            "forward_order",
            lambda events: _spoiled(events)[::-1],
            both(
                "The ops are right, the order is not: the backward pass meets the latest op first.",
                "演算は合っていますが、順序が逆です。逆伝播は、最後の演算から始まります。",
            ),
        ),
        Mistake(
            "whenever_written",
            _whenever_written,
            both(
                """You name every op that keeps an array which is written at any time. A write
                *before* the op does no harm: the op was computed with the new values already.""",
                """いつか上書きされる配列を残す演算を、すべて挙げています。
                演算より *前* の上書きは無害です。
                その演算は、新しい値で計算されているからです。""",
            ),
        ),
        Mistake(
            "written_before",
            _written_before,
            both(
                """You name the ops that come *after* a write. These saw the new values; spoiled are
                those that kept the array before.""",
                """上書きの *後* にある演算を挙げています。それらは新しい値を見ています。
                だめになるのは、上書きの前に配列を残した演算です。""",
            ),
        ),
        Mistake(
            "first_input_only",
            _first_input_only,
            both(
                "You look at the first array that an op keeps only. Any of them may be "
                "overwritten.",
                "演算が残す最初の配列しか見ていません。どれが上書きされても、だめになります。",
            ),
        ),
    ),
)

# ----------------------------------------------------------------- checkpointed_backward


def _chains() -> list[Case]:
    def chain(n: int) -> tuple[list[Callable], list[Callable]]:
        # They mix the elements, so that the order of the rules can be seen.
        def f(i):
            def forward(x):
                return np.sin(np.roll(x, i) * (1 + i / 8)).astype(x.dtype)

            forward.__doc__ = f"x -> sin({1 + i / 8:g} * roll(x, {i}))"
            return forward

        def rule(i):
            def backward(g, x):
                c = 1 + i / 8
                return np.roll(g * np.cos(np.roll(x, i) * c) * c, -i).astype(x.dtype)

            backward.__doc__ = f"the rule of sin({1 + i / 8:g} * roll(x, {i}))"
            return backward

        return [f(i) for i in range(n)], [rule(i) for i in range(n)]

    def at(en, ja, n, every, **options):
        fs, rules = chain(n)
        x = np.linspace(-1, 1, 3)
        g = np.array([1.0, -2.0, 0.5])
        return case(en, ja, fs=fs, rules=rules, x=x, g=g, every=every, **options)

    return [
        at("two functions", "関数が 2 つ", 2, 2),
        at("one function", "関数が 1 つ", 1, 1),
        at("four functions, every second kept", "関数 4 つ、2 つおきに残す", 4, 2),
        at("`every` does not divide their number", "every で割り切れない個数", 7, 3),
        at("fewer functions than `every`", "every より少ない関数", 3, 5),
        at("sixteen functions", "関数が 16", 16, 4),
        at("thirty functions", "関数が 30", 30, 6),
    ]


def _metered(function: Any, args: dict[str, Any]) -> Any:
    """The result; raises where too many values were alive at once, or too many computed."""
    fs, rules, x, g, every = args.values()
    n, living, most, calls = len(fs), set[int](), [0], [0]

    def counted(f):
        def forward(x):
            y = f(x)
            calls[0] += 1
            mark = calls[0]
            living.add(mark)
            weakref.finalize(y, living.discard, mark)
            most[0] = max(most[0], len(living))
            return y

        return forward

    found = function([counted(f) for f in fs], rules, x, g, every)
    allowed = math.ceil(n / every) + every + 3
    if most[0] > allowed:
        raise Wrong(
            "kept_too_much",
            both(
                f"""The gradient may be right, but {most[0]} values of {n} functions were alive at
                once; with every={every}, {allowed} are plenty. Going forward, keep only each
                `every`-th value and forget the others; going back, compute one section again,
                use it, and forget it.""",
                f"""勾配はともかく、関数 {n} 個に対して、
                同時に {most[0]} 個の値がメモリに残っていました。
                every={every} なら {allowed} 個で足ります。順伝播では `every` 個ごとの値だけを残し、
                ほかは忘れます。逆伝播では、区間を 1 つずつ計算し直して使い、また忘れましょう。""",
            ),
        )
    if calls[0] > 2 * n:
        raise Wrong(
            "from_the_start",
            both(
                f"""{calls[0]} calls were made for {n} functions; twice as many as there are
                functions are enough. Begin again at the nearest value that you kept, not at x, and
                compute each section once.""",
                f"""関数 {n} 個に対して {calls[0]} 回の計算をしています。
                関数の個数の 2 倍で足ります。
                x からではなく、残してある最も近い値から、各区間を一度だけ計算し直しましょう。""",
            ),
        )
    return found


def _checkpointed(fs, rules, x, g, every, at=lambda before, after: before):
    kept = {}
    for i, f in enumerate(fs):
        if i % every == 0:
            kept[i] = x
        x = f(x)
    for start in reversed(range(0, len(fs), every)):
        section = range(start, min(start + every, len(fs)))
        values = [kept.pop(start)]
        for i in section:
            values.append(fs[i](values[-1]))
        for i in reversed(section):
            after = values.pop()
            g = rules[i](g, at(values[-1], after))
    return g


def _rules_forward(fs, rules, x, g, every):
    for f, rule in zip(fs, rules, strict=True):
        g = rule(g, x)
        x = f(x)
    return g


def _without_g(fs, rules, x, g, every):
    return _checkpointed(fs, rules, x, np.ones_like(g), every)


def _last_section_lost(fs, rules, x, g, every):
    whole = len(fs) // every * every
    return _checkpointed(fs[:whole], rules[:whole], x, g, every)


checkpointed_backward = Exercise(
    name="checkpointed_backward",
    chapter="memory",
    title=both("Computing again instead of keeping", "残さずに計算し直す"),
    task=both(
        """The functions `fs` are applied to x one after the other. rules[i](g, x) gives the
        gradient
        of what went into fs[i], from g, the gradient of what came out, and x, what went *in*. Give
        the gradient of x from g, the gradient of the end, but do not keep all values: only each
        `every`-th one. On the way back compute each section again from there. Calls of functions
        and
        values that are alive are counted.""",
        """x に関数 `fs` を順に施します。rules[i](g, x) は、fs[i] の結果の勾配 g と、
        fs[i] に *入った* 値 x から、
        入った値の勾配を求めます。最後の結果の勾配 g から、はじめの x の勾配を求めましょう。
        ただし、途中の値をすべて残すのではなく、`every` 個ごとに 1 つだけ残し、
        逆伝播では各区間をそこから計算し直します。関数を呼んだ回数と、
        同時に残っている値の数を数えています。""",
    ),
    signature="def checkpointed_backward(fs, rules, x, g, every):",
    doc=both(
        "The gradient of x; fs and rules are lists of functions, as long as each other.",
        "x の勾配。fs と rules は、同じ長さの関数のリスト。",
    ),
    answer=_checkpointed,
    cases=_chains,
    run=_metered,
    mistakes=(
        Mistake(
            "at_the_output",
            lambda fs, rules, x, g, every: _checkpointed(
                fs, rules, x, g, every, at=lambda before, after: after
            ),
            both(
                """You hand the rules what came *out* of their function. They want what went in.""",
                """規則に、関数から *出た* 値を渡しています。必要なのは、関数に入った値です。""",
            ),
        ),
        Mistake(
            "rules_forward",
            _rules_forward,
            both(
                """You apply the rules from the first to the last. The gradient that you are given
                belongs to the end: begin with the rule of the last function.""",
                """規則を最初の関数から順に使っています。与えられた勾配は最後の結果のものなので、
                最後の関数の規則から始めましょう。""",
            ),
        ),
        Mistake(
            "without_g",
            _without_g,
            both(
                "You begin with ones. The gradient of the end is g: begin with it.",
                "1 から始めています。最後の結果の勾配は g なので、そこから始めましょう。",
            ),
        ),
        Mistake(
            "rest_lost",
            _last_section_lost,
            both(
                """The last section is lost where `every` does not divide the number of functions:
                it is shorter than the others, and still counts.""",
                """関数の個数が `every` で割り切れないとき、最後の区間が抜けています。
                ほかより短くても、必要な区間です。""",
            ),
        ),
    ),
)

EXERCISES = (what_to_keep, spoiled, checkpointed_backward)
