"""Exercises of the chapter `broadcasting`: gradients of arrays, and of what NumPy copied."""

import numpy as np

from minigrad import ops
from minigrad.study.exercises.checking import Case, Exercise, Mistake, Slopes, case
from minigrad.study.exercises.words import both


def _normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


# --------------------------------------------------------------------------- unbroadcast


def _broadcast() -> list[Case]:
    return [
        case("a row was added to a matrix", "行列に行を足した",
             g=np.arange(6.0).reshape(2, 3), shape=(3,)),
        case("nothing was broadcast", "ブロードキャストなし",
             g=np.arange(1.0, 7.0).reshape(2, 3), shape=(2, 3)),
        case("a column was added to a matrix", "行列に列を足した",
             g=np.arange(6.0).reshape(2, 3), shape=(2, 1)),
        case("a row with both its axes", "軸が 2 つある行", g=_normal(4, 3), shape=(1, 3)),
        case("a number was added", "数を足した", g=_normal(2, 3), shape=()),
        case("an array of one element", "要素が 1 つの配列", g=_normal(3, 2), shape=(1,)),
        case("a square matrix", "正方行列", g=_normal(3, 3), shape=(3,)),
        case("axes in front and in between", "前と間の軸", g=_normal(2, 4, 3), shape=(4, 1)),
        case("axes of length 1 that were not stretched", "伸ばされていない長さ 1 の軸",
             g=_normal(2, 1, 3), shape=(1, 3)),
        case("an axis of length 0", "長さ 0 の軸", g=np.zeros((0, 3)), shape=(3,)),
    ]  # fmt: skip


def _unbroadcast(g, shape):
    lead = g.ndim - len(shape)
    axes = [i for i in range(g.ndim) if i < lead or shape[i - lead] == 1]
    return g.sum(axis=tuple(axes)).reshape(shape)


def _leading_only(g, shape):
    return g.sum(axis=tuple(range(g.ndim - len(shape))))


def _ones_only(g, shape):
    axes = tuple(i for i, n in enumerate(shape) if n == 1)
    return g.sum(axis=axes, keepdims=True) if axes else g


def _mean(g, shape):
    return _unbroadcast(g, shape) * (max(1, np.prod(shape, dtype=int)) / max(1, g.size))


def _first_copy(g, shape):
    lead = g.ndim - len(shape)
    at = tuple(0 if i < lead else slice(0, shape[i - lead]) for i in range(g.ndim))
    return g[at]


unbroadcast = Exercise(
    name="unbroadcast",
    chapter="broadcasting",
    title=both("Broadcasting, backwards", "ブロードキャストの逆"),
    task=both(
        """An array of shape `shape` was broadcast to the shape of g on its way through `+`. Give
        the
        gradient of the array from g, the gradient of the result. NumPy adds axes in front, and
        stretches axes of length 1.""",
        """形が `shape` の配列が、`+` の計算の中で g の形にブロードキャストされました。
        結果の勾配 g から、もとの配列の勾配を求めましょう。NumPy は前に軸を足し、
        長さ 1 の軸を引き伸ばします。""",
    ),
    signature="def unbroadcast(g, shape):",
    doc=both(
        "The gradient of an array of that shape, which was broadcast to the shape of g.",
        "g の形にブロードキャストされた、形が shape の配列の勾配。",
    ),
    answer=_unbroadcast,
    cases=_broadcast,
    mistakes=(
        Mistake(
            "not_summed",
            lambda g, shape: g,
            both(
                """You give g as it came, in the shape of the result. Where the array was copied
                along an axis, each copy has a gradient of its own, and the array gets their sum:
                sum over the axes that were added or stretched.""",
                """g をそのまま、結果の形で返しています。ある軸に沿って配列がコピーされたとき、
                コピーの 1 つ 1 つに勾配があり、もとの配列の勾配はその和です。
                足された軸と引き伸ばされた軸について、和を取りましょう。""",
            ),
        ),
        Mistake(
            "leading_only",
            _leading_only,
            both(
                """You sum over the axes that were added in front, but not over those of length 1
                that were stretched: (2, 1) becomes (2, 3) by copying its one column three
                times.""",
                """前に足された軸については和を取っていますが、
                引き伸ばされた長さ 1 の軸が残っています。
                (2, 1) が (2, 3) になるときは、1 つの列が 3 回コピーされています。""",
            ),
        ),
        Mistake(
            "ones_only",
            _ones_only,
            both(
                """You sum over the axes of length 1, but not over those that NumPy added in front:
                (3,) becomes (2, 3) by copying the row twice.""",
                """長さ 1 の軸については和を取っていますが、NumPy が前に足した軸が残っています。
                (3,) が (2, 3) になるときは、行が 2 回コピーされています。""",
            ),
        ),
        Mistake(
            "mean",
            _mean,
            both(
                """You take the mean over the copies. Each copy acts on the result with its full
                weight, so their gradients are summed, not averaged.""",
                """コピーについて平均を取っています。どのコピーもそのままの重みで結果に効くので、
                平均ではなく和を取ります。""",
            ),
        ),
        Mistake(
            "first_copy",
            _first_copy,
            both(
                "You take the gradient of the first copy only. All copies count: sum over them.",
                "最初のコピーの勾配だけを取っています。すべてのコピーが効くので、"
                "和を取りましょう。",
            ),
        ),
    ),
)

# ----------------------------------------------------------------------------- mean_rule


def _means() -> list[Case]:
    return [
        case("over the rows of a matrix", "行列の行について",
             g=np.array([1.0, -2.0, 3.0]), x=np.arange(6.0).reshape(2, 3), axis=0),
        case("over its columns", "行列の列について",
             g=np.array([1.0, 10.0]), x=np.arange(6.0).reshape(2, 3), axis=1),
        case("over everything", "すべての要素について",
             g=np.asarray(2.0), x=np.arange(6.0).reshape(2, 3), axis=None),
        case("a negative axis", "負の軸", g=_normal(4, 2), x=_normal(4, 2, 3), axis=-1),
        case("an axis in the middle", "間の軸", g=_normal(4, 3), x=_normal(4, 2, 3), axis=1),
        case("a square matrix, axis 1", "正方行列の軸 1", g=_normal(3), x=_normal(3, 3), axis=1),
        case("a vector", "ベクトル", g=np.asarray(-1.0), x=_normal(5), axis=0),
    ]  # fmt: skip


def _mean_rule(g, x, axis):
    if axis is None:
        return np.full_like(x, g / x.size)
    return np.broadcast_to(np.expand_dims(g, axis) / x.shape[axis], x.shape).astype(x.dtype)


def _spread(g, x, axis):
    return _mean_rule(g, x, axis) * (x.size if axis is None else x.shape[axis])


mean_rule = Exercise(
    name="mean_rule",
    chapter="broadcasting",
    title=both("The gradient of a mean", "平均の勾配"),
    task=both(
        """Given g, the gradient of `x.mean(axis)`, give the gradient of x. `axis` is a number,
        which
        may be negative, or None for the mean of all elements.""",
        """`x.mean(axis)` の勾配 g から、x の勾配を求めましょう。`axis` は数で、負のこともあります。
        None なら全要素の平均です。""",
    ),
    signature="def mean_rule(g, x, axis):",
    doc=both(
        "The gradient of x, with its shape and dtype; g is that of x.mean(axis).",
        "x の勾配。形と dtype は x と同じ。g は x.mean(axis) の勾配。",
    ),
    answer=_mean_rule,
    cases=_means,
    slopes=Slopes(("x",), lambda x, axis: ops.mean(x, axis=axis)),
    parts=("dx",),
    mistakes=(
        Mistake(
            "sum_rule",
            _spread,
            both(
                """That is the gradient of a *sum*. Each element counts for 1/n of the mean, where n
                is the number of elements along the axis: divide by it.""",
                """これは *和* の勾配です。平均には、各要素が 1/n だけ効きます。
                n（その軸に沿った要素の数）で割りましょう。""",
            ),
        ),
        Mistake(
            "divided_by_all",
            lambda g, x, axis: _spread(g, x, axis) / x.dtype.type(x.size),
            both(
                """You divide by the number of all elements. With an axis, a mean is over that many
                only: x.shape[axis].""",
                """全要素の数で割っています。軸を指定した平均で割るのは、その軸の要素の数
                x.shape[axis] です。""",
            ),
        ),
        Mistake(
            "no_outer",
            lambda g, x, axis: np.full_like(x, 1 / (x.size if axis is None else x.shape[axis])),
            both(
                """You give 1/n everywhere, the derivative of the mean alone. Multiply with g, which
                may be another number for each mean.""",
                """どこも 1/n になっています。これは平均だけの微分です。g を掛けましょう。
                g は平均ごとに違う値かもしれません。""",
            ),
        ),
        Mistake(
            "not_spread",
            lambda g, x, axis: g / x.dtype.type(x.size if axis is None else x.shape[axis]),
            both(
                """Your gradient has the shape of the mean. Every element of x took part, so each
                gets its share: put the lost axis back (np.expand_dims) and broadcast to
                x.shape.""",
                """勾配の形が平均の形のままです。x のどの要素も平均に加わったので、
                それぞれに分け前があります。
                消えた軸を np.expand_dims で戻し、x.shape にブロードキャストしましょう。""",
            ),
        ),
    ),
)

# --------------------------------------------------------------------------- affine_rule


def _layers() -> list[Case]:
    return [
        case("two examples", "データが 2 つ", g=np.array([[1.0, 2.0], [-3.0, 0.5]]),
             x=np.array([[1.0, 0.0, 2.0], [-1.0, 3.0, 1.0]]),
             w=np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), b=np.array([0.5, -0.5])),
        case("one example", "データが 1 つ",
             g=_normal(1, 2), x=_normal(1, 3), w=_normal(3, 2), b=_normal(2)),
        case("all lengths are the same", "長さがすべて同じ",
             g=_normal(3, 3, seed=1), x=_normal(3, 3), w=_normal(3, 3, seed=2), b=_normal(3)),
        case("one feature in and out", "特徴が 1 つ",
             g=_normal(4, 1), x=_normal(4, 1, seed=1), w=_normal(1, 1), b=_normal(1)),
        case("two axes in front: sentences of words", "前に軸が 2 つ（文と単語）",
             g=_normal(2, 4, 5), x=_normal(2, 4, 2), w=_normal(2, 5), b=_normal(5)),
        case("one example without an axis for examples", "データの軸がない 1 つのデータ",
             g=_normal(2), x=_normal(4), w=_normal(4, 2), b=_normal(2, seed=1)),
    ]  # fmt: skip


def _affine_rule(g, x, w, b):
    rows, gs = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
    return g @ w.T, rows.T @ gs, gs.sum(axis=0)


def _dw_per_example(g, x, w, b):
    dx, _, db = _affine_rule(g, x, w, b)
    return dx, x[..., :, None] * g[..., None, :], db


affine_rule = Exercise(
    name="affine_rule",
    chapter="broadcasting",
    title=both("The gradients of a layer", "全結合層の勾配"),
    task=both(
        """Given g, the gradient of `x @ w + b`, give the gradients of x, w and b. The shapes are
        (..., D) for x, (D, M) for w, (M,) for b and (..., M) for g: there may be any number of axes
        in front. Let the shapes lead you.""",
        """`x @ w + b` の勾配 g から、x、w、b の勾配を求めましょう。形は、x が (..., D)、
        w が (D, M)、
        b が (M,)、g が (..., M) です。前の軸はいくつあるかわかりません。形を手がかりにしましょう。
        """,
    ),
    signature="def affine_rule(g, x, w, b):",
    doc=both(
        "The gradients (dx, dw, db), each with the shape of its array.",
        "勾配の組 (dx, dw, db)。形はそれぞれの配列と同じ。",
    ),
    answer=_affine_rule,
    cases=_layers,
    slopes=Slopes(("x", "w", "b"), lambda x, w, b: ops.matmul(x, w) + b),
    mistakes=(
        Mistake(
            "b_not_summed",
            lambda g, x, w, b: (*_affine_rule(g, x, w, b)[:2], g),
            both(
                """db is right for one example, but b was added to every one of them: sum g over all
                axes but the last.""",
                """db は、データ 1 つ分なら正しいのですが、b はすべてのデータに足されました。
                最後の軸を除くすべての軸について g の和を取りましょう。""",
            ),
        ),
        Mistake(
            "b_mean",
            lambda g, x, w, b: (
                *_affine_rule(g, x, w, b)[:2],
                g.reshape(-1, g.shape[-1]).mean(axis=0),
            ),
            both(
                """db is a mean over the examples. b acts on each of them in full: it is their sum.
                (If the loss is a mean, that is in g already.)""",
                """db がデータについての平均になっています。b はどのデータにもそのまま効くので、
                和にします。
                （損失が平均なら、その分は g にすでに入っています。）""",
            ),
        ),
        Mistake(
            "w_transposed",
            lambda g, x, w, b: (
                g @ w.T,
                _affine_rule(g, x, w, b)[1].T,
                _affine_rule(g, x, w, b)[2],
            ),
            both(
                "dw is transposed: it must have the shape of w, (D, M), as x.T @ g has.",
                "dw が転置されています。w と同じ形 (D, M) になるように、x.T @ g としましょう。",
            ),
        ),
        Mistake(
            "w_per_example",
            _dw_per_example,
            both(
                """dw has an axis for the examples: you have one gradient for each of them. The same
                w is used for all, so they are summed, which `x.T @ g` does at once.""",
                """dw にデータの軸が残っています。データごとの勾配になっています。
                同じ w をすべてのデータで使うので、
                和を取ります。`x.T @ g` なら一度にできます。""",
            ),
        ),
        Mistake(
            "x_untransposed",
            lambda g, x, w, b: (g @ w, *_affine_rule(g, x, w, b)[1:]),
            both(
                """dx is g @ w, and should be g @ w.T: w[i, j] leads from x[i] to output j, and back
                from output j to x[i]. With a square w the shapes do not tell.""",
                """dx が g @ w になっていますが、正しくは g @ w.T です。
                w[i, j] は x[i] から出力 j へ、
                逆向きには出力 j から x[i] へつながります。w が正方行列だと形では気づけません。""",
            ),
        ),
    ),
)

EXERCISES = (unbroadcast, mean_rule, affine_rule)
