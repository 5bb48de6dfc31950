"""Exercises of the chapter `vmap`: a function of one example, for many at once."""

from typing import Any

import numpy as np

from minigrad.study.exercises.checking import Case, Exercise, Mistake, case
from minigrad.study.exercises.words import both


def _normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


# ------------------------------------------------------------------------ batch_in_front


def _axes() -> list[Case]:
    return [
        case("the axis is in front already", "すでに先頭にある",
             x=_normal(2, 3), in_axis=0, size=2),
        case("the last axis of a matrix", "行列の最後の軸",
             x=np.arange(6.0).reshape(2, 3), in_axis=1,
             size=3),
        case("the last of three axes", "3 つの軸の最後", x=_normal(2, 3, 4), in_axis=2, size=4),
        case("a negative axis", "負の軸", x=_normal(2, 3, 4), in_axis=-1, size=4),
        case("the axis in the middle", "間の軸", x=_normal(2, 3, 4), in_axis=1, size=3),
        case("no axis: the same for every example", "軸なし：どの例にも同じ",
             x=np.array([1.0, 2.0]), in_axis=None, size=3),
        case("no axis, and a number", "軸なしの数", x=np.asarray(5.0), in_axis=None, size=2),
        case("no axis, and as many rows as examples", "軸なしで、行数が例の数と同じ",
             x=_normal(2, 2), in_axis=None, size=2),
        case("all lengths are the same", "長さがすべて同じ", x=_normal(2, 2, 2), in_axis=2, size=2),
    ]  # fmt: skip


def _in_front(x, in_axis, size):
    if in_axis is None:
        return np.broadcast_to(x, (size, *x.shape))
    return np.moveaxis(x, in_axis, 0)


def _or_none(move):
    return lambda x, in_axis, size: (
        _in_front(x, None, size) if in_axis is None else move(x, in_axis, size)
    )


batch_in_front = Exercise(
    name="batch_in_front",
    chapter="vmap",
    title=both("The axis of the examples", "例の軸"),
    task=both(
        """`in_axis` says which axis of x counts the examples; vmap wants it in front. Move it there
        and leave the others in their order. None says that x is the same for every example: then
        give it an axis of length `size` in front.""",
        """`in_axis` は、x のどの軸が例（データ）を数えるかを表します。vmap では、
        それを先頭に置きます。
        その軸を先頭に移し、ほかの軸の順序は変えないでください。None は、
        どの例でも同じ x を使うという意味で、
        そのときは先頭に長さ `size` の軸を付けます。""",
    ),
    signature="def batch_in_front(x, in_axis, size):",
    doc=both(
        "An array (size, ...) whose element i is what example i sees.",
        "配列 (size, ...)。i 番目の要素が、例 i の見るもの。",
    ),
    answer=_in_front,
    cases=_axes,
    mistakes=(
        Mistake(
            "swapped",
            _or_none(lambda x, axis, size: np.swapaxes(x, axis, 0)),
            both(
                """You exchange two axes, and the first one lands where the other was: with three
                axes the order of the rest is changed. np.moveaxis leaves it.""",
                """2 つの軸を入れ替えているので、軸が 3 つあると残りの順序が変わります。
                np.moveaxis なら順序が保たれます。""",
            ),
        ),
        Mistake(
            "reshaped",
            _or_none(lambda x, axis, size: x.reshape(size, *np.delete(x.shape, axis))),
            both(
                """reshape gives the right shape, but does not move an element: the examples get
                mixed up. Move the axis.""",
                """reshape では形は合っても要素が動かないので、例が混ざってしまいます。
                軸を移しましょう。""",
            ),
        ),
        Mistake(
            "wrong_way",
            _or_none(lambda x, axis, size: np.moveaxis(x, 0, axis)),
            both(
                "You move the first axis to where the examples are; it goes the other way.",
                "先頭の軸を、例の軸のところへ移しています。向きが逆です。",
            ),
        ),
        Mistake(
            "none_ignored",
            lambda x, in_axis, size: x if in_axis is None else _in_front(x, in_axis, size),
            both(
                """With None you give x as it is. It has no axis for the examples yet: put one in
                front (np.broadcast_to copies nothing).""",
                """None のとき x をそのまま返しています。まだ例の軸がないので、先頭に付けましょう
                （np.broadcast_to ならコピーは起こりません）。""",
            ),
        ),
        Mistake(
            "only_one",
            lambda x, in_axis, size: x[None] if in_axis is None else _in_front(x, in_axis, size),
            both(
                "With None the new axis has length 1; there are `size` examples.",
                "None のとき、新しい軸の長さが 1 です。例は `size` 個あります。",
            ),
        ),
    ),
)

# ------------------------------------------------------------------------ hidden_matmul


def _products() -> list[Case]:
    def at(en, ja, x, w, x_batched, w_batched, **options):
        x, w = _normal(*x), _normal(*w, seed=1)
        return case(en, ja, x=x, w=w, x_batched=x_batched, w_batched=w_batched, **options)

    return [
        at("nothing is batched", "どちらにも例の軸がない", (2, 3), (3, 2), False, False),
        at("many vectors, one matrix", "多くのベクトルと 1 つの行列", (4, 3), (3, 2), True, False),
        at("many matrices, one matrix", "多くの行列と 1 つの行列", (4, 2, 3), (3, 2), True, False),
        at("many vectors, many matrices", "多くのベクトルと多くの行列",
           (4, 3), (4, 3, 2), True, True),
        at("as many examples as numbers in each", "例の数とベクトルの長さが同じ",
           (3, 3), (3, 3, 2), True, True),
        at("one vector, many matrices", "1 つのベクトルと多くの行列", (3,), (4, 3, 2), False, True),
        at("many vectors, many vectors", "多くのベクトルと多くのベクトル",
           (4, 3), (4, 3), True, True),
        at("one vector, many vectors", "1 つのベクトルと多くのベクトル", (3,), (4, 3), False, True),
        at("as many vectors as each is long", "ベクトルの数と長さが同じ",
           (3, 3), (3, 3), True, True),
        at("one matrix, many vectors", "1 つの行列と多くのベクトル", (2, 3), (4, 3), False, True),
        at("many matrices, many matrices", "多くの行列と多くの行列",
           (4, 2, 3), (4, 3, 2), True, True),
    ]  # fmt: skip


def _hidden_matmul(x, w, x_batched, w_batched):
    x_vector, w_vector = x.ndim - x_batched == 1, w.ndim - w_batched == 1
    x = x[..., None, :] if x_vector else x
    w = w[..., :, None] if w_vector else w
    y = x @ w
    if w_vector:
        y = y[..., 0]
    return y[..., 0] if x_vector and w_vector else y[..., 0, :] if x_vector else y


def _every_pair(x, w, x_batched, w_batched):
    if not (x_batched and w_batched):
        return _hidden_matmul(x, w, x_batched, w_batched)
    return np.stack([[a @ b for b in w] for a in x])


def _axis_left(x, w, x_batched, w_batched):
    x = x[..., None, :] if x.ndim - x_batched == 1 else x
    return x @ (w[..., :, None] if w.ndim - w_batched == 1 else w)


def _first_w(x, w, x_batched, w_batched):
    return _hidden_matmul(x, w[0] if w_batched else w, x_batched, False)


hidden_matmul = Exercise(
    name="hidden_matmul",
    chapter="vmap",
    title=both("A matrix product with a hidden axis", "隠れた軸のある行列積"),
    task=both(
        """Inside vmap somebody writes `x @ w` for one example: of a vector or a matrix with a
        vector
        or a matrix. In truth x has an axis of examples in front if `x_batched`, and w if
        `w_batched`;
        whoever wrote `x @ w` does not see it. Give the products of all examples, with their axis in
        front; without any batched, just the product. No loop is needed: give vectors an axis of
        length 1, and take it away afterwards.""",
        """vmap の中では、1 つの例のつもりで `x @ w` と書きます。x も w も、ベクトルか行列です。
        実際には、`x_batched` なら x の、`w_batched` なら w の先頭に例の軸がありますが、
        `x @ w` と書いた人には見えません。すべての例の積を、例の軸を先頭にして返しましょう。
        どちらにも例の軸がなければ、ただの積です。ループは要りません。
        ベクトルに長さ 1 の軸を付け、後で取り除きましょう。""",
    ),
    signature="def hidden_matmul(x, w, x_batched, w_batched):",
    doc=both(
        "x[i] @ w[i] for all examples i, where what is not batched is the same for all.",
        "すべての例 i の x[i] @ w[i]。例の軸がないものは、どの例でも同じ。",
    ),
    answer=_hidden_matmul,
    cases=_products,
    mistakes=(
        Mistake(
            "taken_for_visible",
            lambda x, w, x_batched, w_batched: x @ w,
            both(
                """You write x @ w as if all axes were visible. To NumPy a batch of vectors is a
                matrix: its axis of examples is then multiplied as if it were rows, or summed
                over.""",
                """すべての軸が見えているかのように x @ w としています。NumPy から見ると、
                ベクトルの束は行列です。例の軸が行として掛けられたり、和を取られたりしてしまいます。
                """,
            ),
        ),
        Mistake(
            "every_pair",
            _every_pair,
            both(
                "You multiply every x with every w. Example i has x[i] and w[i] only.",
                "すべての x とすべての w を掛けています。例 i が使うのは x[i] と w[i] だけです。",
            ),
        ),
        Mistake(
            "axis_left",
            _axis_left,
            both(
                """The axis of length 1 that you gave the vectors is still there: take it away from
                the result.""",
                """ベクトルに付けた長さ 1 の軸が残っています。結果から取り除きましょう。""",
            ),
        ),
        Mistake(
            "first_w",
            _first_w,
            both(
                "You use the w of the first example for all. Each has its own where w is batched.",
                "最初の例の w をすべてに使っています。w に例の軸があれば、例ごとに別の w です。",
            ),
        ),
    ),
)

# ----------------------------------------------------------------------------- loop_vmap


def _mapped() -> list[Case]:
    def total(x):
        """x -> (x**2).sum()"""
        return (x**2).sum()

    def product(x, w):
        """x, w -> x @ w"""
        return x @ w

    def scaled(a, x):
        """a, x -> a * x"""
        return a * x

    def both_ends(x):
        """x -> (x.min(), x[::-1])"""
        return x.min(), x[::-1]

    return [
        case("rows of a matrix", "行列の行", f=total, in_axes=(0,), args=(_normal(3, 2),)),
        case("columns of a matrix", "行列の列", f=total, in_axes=(1,), args=(_normal(3, 2),)),
        case("many vectors, one matrix", "多くのベクトルと 1 つの行列",
             f=product, in_axes=(0, None), args=(_normal(4, 3), _normal(3, 2, seed=1))),
        case("one vector, many matrices", "1 つのベクトルと多くの行列",
             f=product, in_axes=(None, 0), args=(_normal(3), _normal(4, 3, 2, seed=1))),
        case("as many rows as examples in what is not mapped", "写さない方の行数が例の数と同じ",
             f=product, in_axes=(0, None), args=(_normal(3, 3), _normal(3, 3, seed=1))),
        case("the last axis, by a negative number", "負の数で表した最後の軸",
             f=scaled, in_axes=(0, -1), args=(_normal(3), _normal(2, 3, seed=1))),
        case("a number for each example", "例ごとに 1 つの数",
             f=scaled, in_axes=(0, 0), args=(_normal(3), _normal(3, seed=1))),
        case("two results", "結果が 2 つ", f=both_ends, in_axes=(0,), args=(_normal(3, 2),)),
        case("one example with two results", "結果が 2 つの例が 1 つ",
             f=both_ends, in_axes=(1,), args=(_normal(3, 1),)),
        case("one example", "例が 1 つ", f=scaled, in_axes=(0, None),
             args=(_normal(1), _normal(2, seed=1))),
    ]  # fmt: skip


def _loop_vmap(f, in_axes, args, stack=np.stack):
    fronts = [
        x if axis is None else np.moveaxis(x, axis, 0)
        for x, axis in zip(args, in_axes, strict=True)
    ]
    size = next(len(x) for x, axis in zip(fronts, in_axes, strict=True) if axis is not None)
    outputs = [
        f(*(x if axis is None else x[i] for x, axis in zip(fronts, in_axes, strict=True)))
        for i in range(size)
    ]
    if isinstance(outputs[0], tuple):
        return tuple(stack(list(part)) for part in zip(*outputs, strict=True))
    return stack(outputs)


def _last_axis(arrays):
    return np.stack(arrays, axis=-1)


def _none_as_0(f, in_axes, args):
    return _loop_vmap(f, tuple(0 if axis is None else axis for axis in in_axes), args)


def _always_first(f, in_axes, args):
    return _loop_vmap(f, tuple(None if axis is None else 0 for axis in in_axes), args)


def _summed(f, in_axes, args):
    found: Any = _loop_vmap(f, in_axes, args)
    return tuple(x.sum(0) for x in found) if isinstance(found, tuple) else found.sum(0)


loop_vmap = Exercise(
    name="loop_vmap",
    chapter="vmap",
    title=both("vmap by a loop", "ループによる vmap"),
    task=both(
        """What must vmap give? Write it the slow way, with a loop. f is a function of one example;
        `in_axes` says for each of `args` which axis counts the examples, or None if all see the
        same.
        Call f for each example, and stack the results along a new first axis. If f gives a tuple,
        give a tuple of such stacks.""",
        """vmap は何を返すべきでしょうか。遅くてもよいので、ループで書きましょう。
        f は 1 つの例の関数です。
        `in_axes` は、`args` のそれぞれについて、どの軸が例を数えるかを表し、None なら、
        どの例でも同じものを使います。
        例ごとに f を呼び、結果を新しい先頭の軸に沿って積み重ねます。
        f がタプルを返すときは、積み重ねたもののタプルを返してください。""",
    ),
    signature="def loop_vmap(f, in_axes, args):",
    doc=both(
        "The results of f for all examples, stacked along a new first axis.",
        "すべての例に対する f の結果を、新しい先頭の軸に沿って積み重ねたもの。",
    ),
    answer=_loop_vmap,
    cases=_mapped,
    mistakes=(
        Mistake(
            "none_as_0",
            _none_as_0,
            both(
                """You take a part of what all examples see in full: None is no axis, and no index
                belongs there.""",
                """どの例でも同じものを使うはずの引数から、一部を取り出しています。
                None は軸がないという意味なので、添字を付けません。""",
            ),
        ),
        Mistake(
            "always_first",
            _always_first,
            both(
                "You always take the first axis; in_axes may name another one (np.take, moveaxis).",
                "いつも先頭の軸を使っています。"
                "in_axes はほかの軸も指定します（np.take や moveaxis）。",
            ),
        ),
        Mistake(
            "stacked_last",
            lambda f, in_axes, args: _loop_vmap(f, in_axes, args, stack=_last_axis),
            both(
                "You stack along the last axis; the examples are counted by the first.",
                "最後の軸に沿って積み重ねています。例は先頭の軸で数えます。",
            ),
        ),
        Mistake(
            "not_stacked",
            lambda f, in_axes, args: _loop_vmap(f, in_axes, args, stack=list),
            both(
                "You give a list of results; stack them to an array (np.stack).",
                "結果のリストを返しています。np.stack で 1 つの配列にしましょう。",
            ),
        ),
        Mistake(
            "concatenated",
            lambda f, in_axes, args: _loop_vmap(
                f, in_axes, args, stack=lambda parts: np.concatenate(parts)
            ),
            both(
                """np.concatenate joins the results along an axis that they have already. The axis
                of
                the examples is a new one: np.stack.""",
                """np.concatenate は、すでにある軸に沿ってつなぎます。例の軸は新しい軸なので、
                np.stack を使いましょう。""",
            ),
        ),
        Mistake(
            "summed",
            _summed,
            both(
                "You add the results up; each example's is wanted by itself.",
                "結果を足し合わせています。例ごとの結果を、別々に残しましょう。",
            ),
        ),
    ),
)

EXERCISES = (batch_in_front, hidden_matmul, loop_vmap)
