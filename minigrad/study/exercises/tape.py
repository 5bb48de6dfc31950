"""Exercises of the chapter `tape`: in which order one goes back, and what is added up on the
way."""

import heapq
from typing import Any

from minigrad.study.exercises.checking import Case, Exercise, Mistake, Wrong, case
from minigrad.study.exercises.words import both

RECURSION = both(
    """Your function calls itself once for each step of the graph, and Python allows about a
    thousand
    such calls. A network is deeper than that: keep a list of what is still to be done, and take
    from
    it in a loop.""",
    """関数がグラフの 1 段ごとに自分自身を呼んでいます。
    Python ではおよそ 1000 段までしか呼べませんが、
    実際の計算グラフはもっと深くなります。これから処理するものをリストに入れ、
    ループで取り出しましょう。""",
)

# --------------------------------------------------------------------- topological_order


def _graphs() -> list[Case]:
    deep: dict[str, list[str]] = {"n0": []}
    deep |= {f"n{i}": [f"n{i - 1}"] for i in range(1, 3000)}
    return [
        case("a chain", "一本道", parents={"x": [], "y": ["x"], "z": ["y"]}, output="z"),
        case("y is used twice", "y が 2 回使われる",
             parents={"x": [], "y": ["x"], "a": ["y"], "b": ["y"], "z": ["a", "b"]}, output="z"),
        case("a short way and a long one", "近道と遠回り",
             parents={"x": [], "y": ["x"], "z": ["x", "y"]}, output="z"),
        case("the same, inputs the other way round", "同じもので入力の順が逆",
             parents={"x": [], "y": ["x"], "z": ["y", "x"]}, output="z"),
        case("a node that the output does not depend on", "出力と関係のないノードがある",
             parents={"x": [], "y": ["x"], "w": ["y"], "z": ["x"]}, output="z"),
        case("a node used twice by one op", "1 つの演算が同じノードを 2 回使う",
             parents={"x": [], "y": ["x", "x"]}, output="y"),
        case("listed in another order", "順不同に並んだグラフ",
             parents={"z": ["a", "c"], "c": ["a", "b"], "b": ["a", "x"], "a": ["x"], "x": []},
             output="z"),
        case("an input by itself", "入力だけ", parents={"x": []}, output="x"),
        case("a chain of 3000", "3000 段の一本道", parents=deep, output="n2999"),
    ]  # fmt: skip


def _judged_order(function: Any, args: dict[str, Any]) -> bool:
    parents, output = args["parents"], args["output"]
    try:
        found = function(parents, output)
    except RecursionError as error:
        raise Wrong("recursion", RECURSION) from error
    if not isinstance(found, list | tuple):
        raise Wrong(
            "type",
            both("Give a list of names.", "名前のリストを返してください。"),
        )
    reached, waiting = set(), [output]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += parents[name]
    if len(set(found)) < len(found):
        twice = next(name for i, name in enumerate(found) if name in found[:i])
        raise Wrong(
            "repeated",
            both(
                f"""{twice} stands in your list twice. A node passes its gradient on once, when all
                parts of it have arrived; on a second visit it would pass them on again.""",
                f"""リストに {twice} が 2 回現れます。ノードは、勾配がすべて届いてから一度だけ、
                先へ渡します。
                2 回訪れると、同じ勾配をもう一度渡してしまいます。""",
            ),
        )
    if extra := [name for name in found if name not in reached]:
        raise Wrong(
            "unreached",
            both(
                f"""{extra[0]} is in your list, and {output} does not depend on it. Begin at the
                output and go to its parents, rather than through all nodes there are.""",
                f"""リストに {extra[0]} がありますが、{output} はそれに依存していません。
                すべてのノードを並べるのではなく、出力から始めて親をたどりましょう。""",
            ),
        )
    if missing := sorted(reached - set(found)):
        raise Wrong(
            "missing",
            both(
                f"{missing[0]} is missing: {output} depends on it, over several steps perhaps.",
                f"{missing[0]} が抜けています。{output} は、何段か隔ててそれに依存しています。",
            ),
        )
    place = {name: i for i, name in enumerate(found)}
    early = [(p, n) for n in found for p in parents[n] if place[p] < place[n]]
    edges = sum(len(parents[n]) for n in found)
    if early and len(early) == edges:
        raise Wrong(
            "wrong_way",
            both(
                """Your list goes from the inputs to the output, the order in which the values were
                computed. The backward pass goes the other way.""",
                """入力から出力へ並んでいます。これは値を計算した順です。逆伝播は、
                その逆に進みます。""",
            ),
        )
    if early:
        parent, node = early[0]
        raise Wrong(
            "too_early",
            both(
                f"""{parent} comes before {node}, which uses it. At {parent} the gradient would not
                be complete yet: a node may only be visited after *every* node that uses it, on the
                longest way too.""",
                f"""{parent} が、それを使っている {node} より前にあります。
                これでは {parent} の勾配がまだ
                そろっていません。ノードを訪れてよいのは、それを使う *すべての* ノードの後です。
                いちばん長い道も忘れないでください。""",
            ),
        )
    return True


def _order(parents, output):
    uses = {output: 0}
    waiting = [output]
    while waiting:
        for parent in parents[waiting.pop()]:
            if parent not in uses:
                uses[parent] = 0
                waiting.append(parent)
            uses[parent] += 1
    found = [output]
    for name in found:
        for parent in parents[name]:
            uses[parent] -= 1
            if not uses[parent]:
                found.append(parent)
    return found


topological_order = Exercise(
    name="topological_order",
    chapter="tape",
    title=both("The order of the way back", "逆にたどる順序"),
    task=both(
        """`parents` says of each node of a graph which nodes it was computed from. List the nodes
        that `output` depends on, itself first, in an order for the backward pass: each node once,
        and only after all nodes that use it. There may be several such orders; any is right. The
        graph may be thousands of steps deep.""",
        """`parents` は、グラフの各ノードがどのノードから計算されたかを表します。
        `output` が依存するノードを、
        `output` 自身を先頭にして、逆伝播の順に並べましょう。どのノードも一度だけ、
        それを使うすべてのノードより後に
        置きます。正しい順序がいくつもあるときは、どれでもかまいません。
        グラフは何千段も深いことがあります。""",
    ),
    signature="def topological_order(parents, output):",
    doc=both(
        "Names of the nodes that output depends on; parents is {name: [name, ...]}.",
        "output が依存するノードの名前のリスト。parents は {名前: [名前, ...]}。",
    ),
    answer=_order,
    cases=_graphs,
    run=_judged_order,
    imports="",
)

# ------------------------------------------------------------------------- backward_tape


def _tapes() -> list[Case]:
    return [
        case("a chain", "一本道", tape=[("y", [("x", 3.0)]), ("z", [("y", 5.0)])], output="z"),
        case("an op with two inputs", "入力が 2 つの演算",
             tape=[("p", [("x", 4.0), ("y", -2.0)]), ("z", [("p", 0.5)])], output="z"),
        case("x is used twice", "x が 2 回使われる",
             tape=[("a", [("x", 2.0)]), ("b", [("x", 3.0)]), ("z", [("a", 10.0), ("b", 100.0)])],
             output="z"),
        case("x * x: used twice by one op", "x * x：1 つの演算が 2 回使う",
             tape=[("y", [("x", 3.0), ("x", 3.0)]), ("z", [("y", 2.0)])], output="z"),
        case("a result that is used twice", "途中の結果が 2 回使われる",
             tape=[("y", [("x", 2.0)]), ("a", [("y", 3.0)]), ("z", [("y", 5.0), ("a", 7.0)])],
             output="z"),
        case("what is not used for the output", "出力に使われないものがある",
             tape=[("y", [("x", 2.0)]), ("w", [("y", 9.0), ("u", 4.0)]), ("z", [("y", 3.0)])],
             output="z"),
        case("the output is not the last", "出力が最後ではない",
             tape=[("y", [("x", 2.0)]), ("z", [("y", 3.0)])], output="y"),
        case("a slope of 0", "傾きが 0", tape=[("y", [("x", 0.0), ("u", 1.0)])], output="y"),
    ]  # fmt: skip


def _backward(tape, output, seed=1.0):
    grads = {output: seed}
    for name, inputs in reversed(tape):
        if name in grads:
            for x, slope in inputs:
                grads[x] = grads.get(x, 0.0) + grads[name] * slope
    return grads


def _overwrites(tape, output):
    grads = {output: 1.0}
    for name, inputs in reversed(tape):
        if name in grads:
            for x, slope in inputs:
                grads[x] = grads[name] * slope
    return grads


def _forward_order(tape, output):
    return _backward(list(reversed(tape)), output)


def _no_outer(tape, output):
    grads = {output: 1.0}
    for name, inputs in reversed(tape):
        if name in grads:
            for x, slope in inputs:
                grads[x] = grads.get(x, 0.0) + slope
    return grads


def _with_zeros(tape, output):
    grads = {x: 0.0 for name, inputs in tape for x in (name, *(v for v, _ in inputs))}
    return grads | _backward(tape, output)


backward_tape = Exercise(
    name="backward_tape",
    chapter="tape",
    title=both("A backward pass along a tape", "テープに沿った逆伝播"),
    task=both(
        """The tape lists what was computed, in order: (name of the result, [(name of an input,
        slope
        of the result by that input), ...]). Walk it back and give the derivatives of `output` by
        itself and by all names it depends on. Names that it does not depend on are left out: no
        gradient is something else than 0. All are numbers.""",
        """テープには、計算したものが順に記録されています。各記録は
        (結果の名前, [(入力の名前, その入力についての傾き), ...]) です。テープを逆にたどり、
        `output` を、
        自分自身と、依存するすべての名前で微分した値を求めましょう。依存しない名前は含めません。
        勾配がないことと、勾配が 0 であることは違います。値はすべて数です。""",
    ),
    signature="def backward_tape(tape, output):",
    doc=both(
        "{name: derivative of output by it}, for output and all that it depends on.",
        "{名前: output をそれで微分した値}。output と、それが依存するすべてについて。",
    ),
    answer=_backward,
    cases=_tapes,
    imports="",
    mistakes=(
        Mistake(
            "overwritten",
            _overwrites,
            both(
                """Where a value is used twice, your second contribution overwrites the first. All
                ways to the output count: add to what is there already.""",
                """値が 2 回使われているとき、2 つ目の寄与が 1 つ目を上書きしています。
                出力へのすべての道が効くので、すでにある値に足しましょう。""",
            ),
        ),
        Mistake(
            "forward_order",
            _forward_order,
            both(
                """You go through the tape from its beginning. There the gradients are not known
                yet:
                begin at its end (reversed(tape)).""",
                """テープを先頭からたどっています。そこではまだ勾配がわかりません。
                末尾から始めましょう（reversed(tape)）。""",
            ),
        ),
        Mistake(
            "no_outer",
            _no_outer,
            both(
                """You add up the slopes alone. What goes to an input is the slope *times* the
                gradient that has arrived at the result.""",
                """傾きだけを足しています。入力に渡すのは、傾きに、
                結果に届いた勾配を *掛けた* ものです。""",
            ),
        ),
        Mistake(
            "zeros",
            _with_zeros,
            both(
                """You give 0 for names that the output does not depend on. Leave them out: an
                optimizer leaves a parameter without a gradient as it is, but moves on (by momentum)
                one whose gradient is 0.""",
                """出力が依存しない名前に 0 を入れています。含めないでください。オプティマイザは、
                勾配のないパラメーターには触れませんが、
                勾配が 0 のものはモーメンタムで動かし続けます。""",
            ),
        ),
        Mistake(
            "output_missing",
            lambda tape, output: {
                name: g for name, g in _backward(tape, output).items() if name != output
            },
            both(
                "The output itself is missing: its derivative by itself is 1, where all begins.",
                "output 自身が抜けています。自分自身での微分は 1 で、すべてはそこから始まります。",
            ),
        ),
    ),
)

# -------------------------------------------------------------------- backward_by_serial


class Node:
    """One step of a computation: a serial number, and pairs (node it came from, slope)."""

    def __init__(self, serial: int, inputs: list[tuple["Node", float]], budget: list[int]):
        self.serial, self._inputs, self._budget = serial, inputs, budget

    @property
    def inputs(self) -> list[tuple["Node", float]]:
        self._budget[0] -= 1
        if self._budget[0] < 0:
            raise Wrong(
                "every_path",
                both(
                    """Your function visits the same nodes again and again, once for each path that
                    leads there. A graph of 40 nodes can have a million paths. Visit each node once,
                    when its gradient is complete.""",
                    """同じノードを、そこに至る道の数だけ何度も訪れています。
                    ノードが 40 個のグラフにも、道は百万通りあり得ます。
                    勾配がそろってから、どのノードも一度だけ訪れましょう。""",
                ),
            )
        return self._inputs

    def __repr__(self) -> str:
        return f"Node {self.serial}"


def _by_serial(function: Any, args: dict[str, Any]) -> Any:
    budget, nodes = [20 * len(args["output"])], dict[int, Node]()
    for serial, inputs in args["output"]:
        nodes[serial] = Node(serial, [(nodes[s], slope) for s, slope in inputs], budget)
    try:
        return function(nodes[serial])
    except RecursionError as error:
        raise Wrong("recursion", RECURSION) from error


def _nodes() -> list[Case]:
    ladder: list[tuple[int, list[tuple[int, float]]]] = [(1, [])]
    for i in range(20):
        n = 2 * i + 1
        ladder += [(n + 1, [(n, 0.5)]), (n + 2, [(n, 0.25), (n + 1, 0.5)])]
    deep: list[Any] = [(1, []), *((i, [(i - 1, 1.0)]) for i in range(2, 3001))]
    return [
        case("a chain", "一本道", output=[(1, []), (2, [(1, 3.0)]), (3, [(2, 5.0)])]),
        case("two inputs", "入力が 2 つ", output=[(1, []), (2, []), (7, [(1, 4.0), (2, -2.0)])]),
        case("node 1 is used twice", "ノード 1 が 2 回使われる",
             output=[(1, []), (2, [(1, 2.0)]), (3, [(1, 3.0)]), (4, [(2, 10.0), (3, 100.0)])]),
        case("a short way and a long one", "近道と遠回り",
             output=[(1, []), (2, [(1, 2.0)]), (3, [(2, 3.0)]), (4, [(2, 5.0), (3, 7.0)])]),
        case("the same, the other way round", "同じもので順が逆",
             output=[(1, []), (2, [(1, 2.0)]), (3, [(2, 3.0)]), (4, [(3, 7.0), (2, 5.0)])]),
        case("twice the same input", "同じ入力が 2 回",
             output=[(3, []), (5, [(3, 3.0), (3, 3.0)]), (6, [(5, 2.0)])]),
        case("a ladder with a million paths", "道が百万通りあるはしご", output=ladder),
        case("a chain of 3000", "3000 段の一本道", output=deep),
    ]  # fmt: skip


def _heap_pass(output):
    grads, heap, nodes = {output.serial: 1.0}, [-output.serial], {output.serial: output}
    while heap:
        node = nodes[-heapq.heappop(heap)]
        for parent, slope in node.inputs:
            if parent.serial not in grads:
                grads[parent.serial] = 0.0
                nodes[parent.serial] = parent
                heapq.heappush(heap, -parent.serial)
            grads[parent.serial] += grads[node.serial] * slope
    return grads


def _on_arrival(output, last):
    """Each node passes its gradient on as soon as it is reached; the newest or oldest first."""
    grads, waiting = {output.serial: 1.0}, [output]
    while waiting:
        node = waiting.pop(-1 if last else 0)
        for parent, slope in node.inputs:
            if parent.serial not in grads:
                grads[parent.serial] = 0.0
                waiting.append(parent)
            grads[parent.serial] += grads[node.serial] * slope
    return grads


def _oldest_first(output):
    grads, heap, nodes = {output.serial: 1.0}, [output.serial], {output.serial: output}
    while heap:
        node = nodes[heapq.heappop(heap)]
        for parent, slope in node.inputs:
            if parent.serial not in grads:
                grads[parent.serial] = 0.0
                nodes[parent.serial] = parent
                heapq.heappush(heap, parent.serial)
            grads[parent.serial] += grads[node.serial] * slope
    return grads


def _queued_twice(output):
    grads, heap, nodes = {output.serial: 1.0}, [-output.serial], {output.serial: output}
    while heap:
        node = nodes[-heapq.heappop(heap)]
        for parent, slope in node.inputs:
            nodes[parent.serial] = parent
            heapq.heappush(heap, -parent.serial)
            grads[parent.serial] = grads.get(parent.serial, 0.0) + grads[node.serial] * slope
    return grads


def _heap_overwrites(output):
    grads, heap, nodes = {output.serial: 1.0}, [-output.serial], {output.serial: output}
    while heap:
        node = nodes[-heapq.heappop(heap)]
        for parent, slope in node.inputs:
            if parent.serial not in grads:
                nodes[parent.serial] = parent
                heapq.heappush(heap, -parent.serial)
            grads[parent.serial] = grads[node.serial] * slope
    return grads


TOO_SOON = both(
    """A node passes its gradient on as soon as it is reached, and what arrives there later, along a
    longer way, never goes further. Always take the node with the *highest* serial number next: all
    that use another node were made after it.""",
    """ノードが、届いた勾配をすぐに先へ渡しています。そのため、
    遠回りの道を通って後から届いた分が先へ進みません。
    いつも、番号が *いちばん大きい* ノードを次に取り出しましょう。あるノードを使うノードは、
    必ず後に作られています。""",
)

backward_by_serial = Exercise(
    name="backward_by_serial",
    chapter="tape",
    title=both("A backward pass with a heap", "ヒープを使った逆伝播"),
    task=both(
        """There is no tape now, only nodes that know where they came from: node.serial is a number,
        node.inputs is a list of pairs (node, slope). A node made later has a higher serial number.
        Begin at `output`, and give the derivatives of output by all nodes it depends on. `heapq`
        gives the smallest of numbers fast; of which numbers is for you to find. The graph may be
        thousands of steps deep, and have millions of paths.""",
        """今度はテープがなく、どこから来たかを知っているノードだけがあります。node.serial は番号、
        node.inputs は
        (ノード, 傾き) の組のリストです。後に作られたノードほど番号が大きくなります。
        `output` から始めて、
        output を、それが依存するすべてのノードで微分した値を求めましょう。`heapq` は、
        いちばん小さい数を速く取り出します。
        どんな数を入れるかは、考えてみてください。グラフは何千段も深く、
        道は何百万通りもあるかもしれません。""",
    ),
    signature="def backward_by_serial(output):",
    doc=both(
        "{serial: derivative of output by that node}, for output and all that it depends on.",
        "{番号: output をそのノードで微分した値}。output と、それが依存するすべてについて。",
    ),
    answer=_heap_pass,
    cases=_nodes,
    run=_by_serial,
    imports="import heapq",
    mistakes=(
        Mistake("too_soon", lambda output: _on_arrival(output, last=True), TOO_SOON),
        Mistake("too_soon", lambda output: _on_arrival(output, last=False), TOO_SOON),
        Mistake(
            "oldest_first",
            _oldest_first,
            both(
                """You take the node with the lowest serial number, the oldest, first. It may be
                used by nodes that are still waiting. heapq gives the smallest: push *minus* the
                serial number.""",
                """番号がいちばん小さい、つまりいちばん古いノードを先に取り出しています。
                それを使うノードが、まだ待っているかもしれません。heapq は最小のものを返すので、
                番号に *マイナス* を付けて入れましょう。""",
            ),
        ),
        Mistake(
            "queued_twice",
            _queued_twice,
            both(
                """A node that is reached along two ways lies in your heap twice, and passes its
                gradient on twice. Push it only when it is reached for the first time.""",
                """2 つの道から届いたノードがヒープに 2 回入り、勾配を 2 回渡しています。
                ヒープに入れるのは、初めて届いたときだけにしましょう。""",
            ),
        ),
        Mistake(
            "overwritten",
            _heap_overwrites,
            both(
                """The second contribution that arrives at a node overwrites the first: add
                them.""",
                """同じノードに届いた 2 つ目の勾配が、1 つ目を上書きしています。足し合わせましょう。
                """,
            ),
        ),
    ),
)

EXERCISES = (topological_order, backward_tape, backward_by_serial)
