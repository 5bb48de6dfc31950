"""Exercises of the chapter `attention`: softmax, its rule, masks, and one pass over the keys."""

import math
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from minigrad import ops
from minigrad.study.exercises.checking import Case, Exercise, Mistake, Slopes, Wrong, case
from minigrad.study.exercises.words import both


def _normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


# ------------------------------------------------------------------------ stable_softmax


def _scores() -> list[Case]:
    return [
        case("a vector", "ベクトル", x=np.array([0.0, 1.0, 2.0]), axis=0),
        case("rows of a matrix", "行列の行",
             x=np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 5.0]]), axis=1),
        case("columns of a matrix", "行列の列",
             x=np.array([[1.0, 2.0], [3.0, 0.0], [1.0, 1.0]]), axis=0),
        case("a square matrix", "正方行列", x=np.array([[1.0, 2.0], [3.0, 0.0]]), axis=1),
        case("a negative axis", "負の軸", x=_normal(2, 3, 4), axis=-2),
        case("large numbers, whose exp overflows", "exp があふれる大きな数",
             x=np.array([1000.0, 1001.0, 999.0]), axis=0),
        case("a row of large numbers, one of small ones", "大きな数の行と小さな数の行",
             x=np.array([[1000.0, 1001.0], [-1000.0, -1002.0]]), axis=1),
        case("some are minus infinity", "マイナス無限大がある",
             x=np.array([[0.0, -np.inf, 1.0], [-np.inf, 2.0, -np.inf]]), axis=1),
        case("all are equal", "すべて等しい", x=np.full((2, 4), -3.0), axis=1),
    ]  # fmt: skip


def _softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _plain_softmax(x, axis):
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


def _global_maximum(x, axis):
    e = np.exp(x - x.max())
    return e / e.sum(axis=axis, keepdims=True)


def _lost_axis(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis)


stable_softmax = Exercise(
    name="stable_softmax",
    chapter="attention",
    title=both("A softmax that does not overflow", "あふれない softmax"),
    task=both(
        """Give the softmax of x along an axis: exp(x), divided by its sum along the axis. x may
        hold
        numbers whose exp overflows, and -inf, but not in all places along the axis. Subtracting the
        same number from all along the axis changes nothing of the result.""",
        """x の、ある軸に沿った softmax、つまり exp(x) を軸に沿った和で割ったものを求めましょう。
        x には、exp があふれる大きな数や -inf が含まれることがあります
        （軸に沿って全部が -inf にはなりません）。
        軸に沿ったすべてから同じ数を引いても、結果は変わりません。""",
    ),
    signature="def stable_softmax(x, axis):",
    doc=both(
        "Weights that sum to 1 along the axis, a number.", "軸に沿った和が 1 の重み。axis は数。"
    ),
    answer=_softmax,
    cases=_scores,
    mistakes=(
        Mistake(
            "overflows",
            _plain_softmax,
            both(
                """exp(1000) is infinite, and inf / inf is NaN. Subtract the largest number along
                the
                axis first: then the largest exp is 1, and the result is the same.""",
                """exp(1000) は無限大で、inf / inf は NaN です。先に、
                軸に沿った最大の数を引きましょう。
                最大の exp が 1 になり、結果は変わりません。""",
            ),
        ),
        Mistake(
            "global_maximum",
            _global_maximum,
            both(
                """You subtract the largest of *all* numbers. A row far below it becomes 0
                everywhere,
                and 0 / 0. Each row has a maximum of its own: x.max(axis, keepdims=True).""",
                """*全体* の最大を引いています。それよりずっと小さい行は、すべて 0 になり、
                0 / 0 となります。
                行ごとの最大 x.max(axis, keepdims=True) を引きましょう。""",
            ),
        ),
        Mistake(
            "sum_of_all",
            lambda x, axis: np.exp(x - x.max()) / np.exp(x - x.max()).sum(),
            both(
                "You divide by the sum of all elements. Each row along the axis sums to 1.",
                "全要素の和で割っています。軸に沿って、それぞれの和が 1 になります。",
            ),
        ),
        Mistake(
            "axis_ignored",
            lambda x, axis: _softmax(x, -1),
            both(
                "You always take the last axis; `axis` says which.",
                "いつも最後の軸を使っています。`axis` で指定された軸を使いましょう。",
            ),
        ),
        Mistake(
            "lost_axis",
            _lost_axis,
            both(
                """The sum has lost its axis, and NumPy lines it up with the wrong one: a square
                matrix does not even complain. keepdims=True keeps it.""",
                """和を取った軸が消え、NumPy が別の軸と揃えてしまいます。
                正方行列ではエラーにもなりません。
                keepdims=True で軸を残しましょう。""",
            ),
        ),
    ),
)

# -------------------------------------------------------------------------- softmax_rule


def _weights() -> list[Case]:
    def at(en, ja, g, x, axis):
        x = np.asarray(x)
        return case(en, ja, g=np.asarray(g), y=_softmax(x, axis), axis=axis, given={"x": x})

    return [
        at("a vector", "ベクトル", [1.0, -2.0, 4.0], [0.0, 1.0, 0.5], 0),
        at("rows of a matrix", "行列の行", _normal(2, 3), _normal(2, 3, seed=1), 1),
        at("columns of a matrix", "行列の列", _normal(2, 3), _normal(2, 3, seed=1), 0),
        at("a square matrix", "正方行列", _normal(2, 2), _normal(2, 2, seed=1), 1),
        at("a negative axis", "負の軸", _normal(2, 3, 2), _normal(2, 3, 2, seed=1), -2),
        at("the same g everywhere, so that nothing is left", "g がすべて等しい（結果は 0）",
           np.full((2, 3), 5.0), _normal(2, 3, seed=2), 1),
        at("one weight is almost 1", "重みの 1 つがほぼ 1", [1.0, 2.0, 3.0], [9.0, 0.0, 1.0], 0),
    ]  # fmt: skip


def _softmax_rule(g, y, axis):
    return y * (g - (g * y).sum(axis=axis, keepdims=True))


softmax_rule = Exercise(
    name="softmax_rule",
    chapter="attention",
    title=both("The rule of softmax", "softmax の規則"),
    task=both(
        """y is the softmax of x along an axis. Give the gradient of x from g, the gradient of y,
        and y
        itself. Every weight depends on every number along the axis: if one grows, the others
        shrink.
        No matrix of derivatives is needed: a sum along the axis will do.""",
        """y は、ある軸に沿った x の softmax です。y の勾配 g と y から、x の勾配を求めましょう。
        どの重みも、軸に沿ったすべての数に依存し、1 つが増えるとほかは減ります。
        微分の行列を作る必要はありません。軸に沿った和が 1 つあれば足ります。""",
    ),
    signature="def softmax_rule(g, y, axis):",
    doc=both("The gradient of x, with the shape of y.", "x の勾配。形は y と同じ。"),
    answer=_softmax_rule,
    cases=_weights,
    slopes=Slopes(("x",), lambda x, axis: ops.softmax(x, axis=axis)),
    mistakes=(
        Mistake(
            "diagonal_only",
            lambda g, y, axis: g * y * (1 - y),
            both(
                """y * (1 - y) is how y[i] changes with x[i] alone. But x[i] moves all other
                weights,
                too: by -y[i] * y[j]. Together: y * (g - sum of g * y).""",
                """y * (1 - y) は、y[i] が x[i] だけでどう変わるかです。x[i] は、
                ほかの重みも -y[i] * y[j] だけ
                動かします。合わせると y * (g - (g * y の和)) になります。""",
            ),
        ),
        Mistake(
            "no_normaliser",
            lambda g, y, axis: g * y,
            both(
                """That is the rule of exp: the sum that you divided by depends on x as well. Take
                the
                sum of g * y along the axis off g first.""",
                """それは exp の規則です。割った和も x に依存しています。
                まず g から、軸に沿った g * y の和を引きましょう。""",
            ),
        ),
        Mistake(
            "sum_of_all",
            lambda g, y, axis: y * (g - (g * y).sum()),
            both(
                "You sum over all axes. Each row has its own sum, along the axis.",
                "すべての軸について和を取っています。和は、指定の軸に沿って行ごとに取ります。",
            ),
        ),
        Mistake(
            "sum_of_g",
            lambda g, y, axis: y * (g - g.sum(axis=axis, keepdims=True)),
            both(
                "You take off the sum of g. It is weighted: the sum of g * y.",
                "g の和を引いています。引くのは重み付きの和、つまり g * y の和です。",
            ),
        ),
        Mistake(
            "mean_of_g",
            lambda g, y, axis: y * (g - g.mean(axis=axis, keepdims=True)),
            both(
                "You take off the plain mean of g. It is weighted with y: the sum of g * y.",
                "g の単純な平均を引いています。y で重み付けした和（g * y の和）を引きましょう。",
            ),
        ),
        Mistake(
            "no_outer_y",
            lambda g, y, axis: g - (g * y).sum(axis=axis, keepdims=True),
            both(
                "The factor y in front is missing: a weight of almost 0 hardly moves.",
                "全体に掛かる y が抜けています。ほぼ 0 の重みは、ほとんど動きません。",
            ),
        ),
    ),
)

# ---------------------------------------------------------------------- masked_attention


def _attended() -> list[Case]:
    everything = np.ones((2, 3), bool)
    causal = np.tril(np.ones((3, 3), bool))
    none = np.array([[True, False, True], [False, False, False]])

    def at(en, ja, mask, T=2, S=3, D=4, E=2, lead=(), seed=0, size=1.0):
        return case(
            en, ja, q=size * _normal(*lead, T, D, seed=seed), k=_normal(*lead, S, D, seed=seed + 1),
            v=_normal(*lead, S, E, seed=seed + 2), mask=mask,
        )  # fmt: skip

    return [
        at("everything may be seen", "すべて見てよい", everything),
        at("no query sees later keys", "後ろのキーは見ない", causal, T=3),
        at("a query that sees nothing", "何も見られないクエリ", none),
        at("one key is hidden from all", "誰からも見えないキー",
           np.array([[True, False, True], [True, False, True]])),
        at("large scores", "大きなスコア", everything, size=900.0),
        at("all lengths are the same", "長さがすべて同じ", causal, T=3, S=3, D=3, E=3),
        at("several sentences", "複数の文", none, lead=(2,)),
        at("vectors of 16", "16 次元のベクトル", everything, D=16, seed=5),
    ]  # fmt: skip


def _attention(
    q, k, v, mask, *, scale="root", hidden=-np.inf, invert=False, after=False, multiply=False,
    guard=True, axis=-1,
):  # fmt: skip
    D = q.shape[-1]
    scores = q @ np.swapaxes(k, -1, -2)
    if scale:
        scores = scores / (math.sqrt(D) if scale == "root" else D)
    mask = ~mask if invert else mask
    if multiply:
        scores = scores * mask
    elif not after:
        scores = np.where(mask, scores, q.dtype.type(hidden))
    m = scores.max(axis=axis, keepdims=True)
    e = np.exp(scores - np.where(np.isinf(m) & guard, q.dtype.type(0), m))
    s = e.sum(axis=axis, keepdims=True)
    p = e / np.where((s == 0) & guard, q.dtype.type(1), s)
    return (p * mask if after else p) @ v


def _attention_with(**options):
    return lambda q, k, v, mask: _attention(q, k, v, mask, **options)


masked_attention = Exercise(
    name="masked_attention",
    chapter="attention",
    title=both("Attention with a mask", "マスク付きのアテンション"),
    task=both(
        """The scores are q @ k transposed, divided by the square root of D, the length of the
        vectors.
        Their softmax over the keys weights the rows of v. `mask` is True where a query (row) may
        see
        a key (column): a hidden key counts as if it were not there. A query that sees no key at all
        gets 0. q is (..., T, D), k is (..., S, D), v is (..., S, E), the mask (T, S).""",
        """スコアは、q と k の転置の積を、ベクトルの長さ D の平方根で割ったものです。
        キーについての softmax を重みとして、v の行の重み付き和を取ります。`mask` は、クエリ（行）が
        キー（列）を見てよいところで True です。見えないキーは、ないものとして扱います。
        キーが 1 つも見えないクエリの結果は 0 です。形は q が (..., T, D)、k が (..., S, D)、
        v が (..., S, E)、mask が (T, S) です。""",
    ),
    signature="def masked_attention(q, k, v, mask):",
    doc=both(
        "(..., T, E): for each query a mean of the rows of v.",
        "(..., T, E)。クエリごとの、v の行の平均。",
    ),
    answer=_attention_with(),
    cases=_attended,
    mistakes=(
        Mistake(
            "unscaled",
            _attention_with(scale=None),
            both(
                """The scores are not divided by sqrt(D). Products of long vectors are large, and
                without it the softmax sees one key only.""",
                """スコアを sqrt(D) で割っていません。長いベクトルの積は大きくなるので、
                そのままでは softmax が 1 つのキーしか見なくなります。""",
            ),
        ),
        Mistake(
            "scaled_by_length",
            _attention_with(scale="length"),
            both(
                "You divide by D; it is the square root of D.",
                "D で割っています。割るのは D の平方根です。",
            ),
        ),
        Mistake(
            "inverted",
            _attention_with(invert=True),
            both(
                "You use the mask the wrong way round: True is what may be seen.",
                "マスクの意味が逆です。True は、見てよいところです。",
            ),
        ),
        Mistake(
            "nan_row",
            _attention_with(guard=False),
            both(
                """Right, but for a query that sees nothing: all its scores are -inf, -inf - -inf is
                NaN, and one NaN spoils the whole training. Take care of such rows: no weights, so
                the result is 0.""",
                """正しいのですが、何も見られないクエリで NaN になります。スコアがすべて -inf で、
                -inf - -inf が NaN になるからです。NaN が 1 つあると、学習全体がだめになります。
                そのような行では重みを 0 とし、結果を 0 にしましょう。""",
            ),
        ),
        Mistake(
            "mean_of_hidden",
            _attention_with(hidden=-1e9),
            both(
                """With -1e9 (or another large number) instead of -inf, a query that sees nothing
                gets the mean of all that it must not see. It should get 0.""",
                """-inf の代わりに -1e9 のような数を使うと、何も見られないクエリが、
                見てはいけないもの全部の平均を受け取ってしまいます。結果は 0 にしましょう。""",
            ),
        ),
        Mistake(
            "masked_afterwards",
            _attention_with(after=True),
            both(
                """You hide the keys after the softmax: what is left does not sum to 1, as the
                hidden
                keys have had their share. Hide the scores before it (with -inf).""",
                """softmax の後で隠しています。隠したキーの分が抜け、
                残りの重みの和が 1 になりません。
                softmax の前に、スコアを -inf にして隠しましょう。""",
            ),
        ),
        Mistake(
            "zero_scores",
            _attention_with(multiply=True),
            both(
                """You multiply the scores with the mask. A score of 0 is not hidden: exp(0) is 1.
                Hidden is -inf, whose exp is 0.""",
                """スコアにマスクを掛けています。スコアが 0 でも隠れません。exp(0) は 1 です。
                隠すには、exp が 0 になる -inf を使います。""",
            ),
        ),
        Mistake(
            "over_queries",
            _attention_with(axis=-2),
            both(
                "Your softmax goes over the queries. Each query shares its weights among the "
                "*keys*.",
                "softmax がクエリについて取られています。各クエリが、"
                "重みを *キー* の間で分けます。",
            ),
        ),
    ),
)

# -------------------------------------------------------------------- streamed_attention


def _streams() -> list[Case]:
    def at(en, ja, *scores):
        blocks = [
            (np.array(s, dtype=float), _normal(len(s), 2, seed=i)) for i, s in enumerate(scores)
        ]
        return case(en, ja, blocks=blocks)

    return [
        at("one block", "ブロックが 1 つ", [0.0, 1.0, 2.0]),
        at("two blocks, the larger score first", "2 つ、大きいスコアが先", [2.0, 1.0], [0.0, 0.5]),
        at("two blocks, the larger score later", "2 つ、大きいスコアが後", [0.0, 0.5], [2.0, 1.0]),
        at("blocks of different lengths", "長さの違うブロック",
           [1.0], [0.0, 2.0, -1.0], [0.5, 0.5]),
        at("scores whose exp overflows", "exp があふれるスコア", [1000.0, 1001.0], [1002.0], [3.0]),
        at("an ordinary score first, a huge one later", "ふつうのスコアの後に巨大なスコア",
           [0.0, 1.0], [1000.0]),
        at("scores far below 0", "0 よりずっと小さいスコア", [-1000.0], [-1001.0, -999.0]),
        at("the first block is hidden (-inf)", "最初のブロックが隠れている（-inf）",
           [-np.inf, -np.inf], [1.0, 2.0]),
        at("a hidden block later", "後のブロックが隠れている", [1.0, 2.0], [-np.inf], [0.0]),
        at("twelve blocks", "ブロックが 12", *([float(i % 5), 0.3 * i] for i in range(12))),
    ]  # fmt: skip


class _Stream:
    """Blocks that are handed out once, and counted while they live."""

    def __init__(self, blocks: list[tuple[np.ndarray, np.ndarray]]):
        self.blocks, self.living, self.most, self.next = blocks, 0, 0, 0

    def __iter__(self) -> Iterator[Any]:
        if self.next:
            raise Wrong(
                "second_pass",
                both(
                    """You go over the blocks a second time. They come once, as they do in a kernel
                    that cannot afford to read them twice: carry the maximum, the sum and the
                    weighted sum along, and correct the sums whenever the maximum grows.""",
                    """ブロックを 2 度たどっています。2 度読む余裕のないカーネルと同じく、
                    ブロックは一度しか来ません。
                    最大値、和、重み付き和を持ち歩き、最大値が増えるたびに 2 つの和を直しましょう。
                    """,
                ),
            )
        return self

    def __next__(self) -> tuple[np.ndarray, np.ndarray]:
        if self.next == len(self.blocks):
            self.next += 1
            raise StopIteration
        self.next += 1
        scores, values = (a.copy() for a in self.blocks[self.next - 1])
        self.living += 1
        self.most = max(self.most, self.living)
        weakref.finalize(values, self._died)
        return scores, values

    def _died(self) -> None:
        self.living -= 1


def _streamed(function: Any, args: dict[str, Any]) -> Any:
    stream = _Stream(args["blocks"])
    found = function(stream)
    if stream.most > 4:
        raise Wrong(
            "kept_all",
            both(
                f"""{stream.most} blocks were alive at once. The point is to need one at a time: put
                each into the running sums and forget it.""",
                f"""同時に {stream.most} 個のブロックが残っていました。
                一度に 1 つで済ませることが目的です。
                来たブロックを和に入れたら、忘れましょう。""",
            ),
        )
    return found


def _online(blocks, *, rescale=(True, True), shift=True, guard=True):
    m, s, total = -np.inf, 0.0, 0.0
    for scores, values in blocks:
        new = max(m, scores.max()) if shift else 0.0
        if guard and new == -np.inf:
            continue
        e = np.exp(scores - scores.dtype.type(new))
        c = np.exp(scores.dtype.type(m - new)) if shift else 1.0
        s = s * (c if rescale[0] else 1.0) + e.sum()
        total = total * (c if rescale[1] else 1.0) + e @ values
        m = new
    return total / s


def _softmax_per_block(blocks):
    found, count = 0.0, 0
    for scores, values in blocks:
        found, count = found + _softmax(scores, 0) @ values, count + 1
    return found / values.dtype.type(count)


def _online_with(**options):
    return lambda blocks: _online(blocks, **options)


streamed_attention = Exercise(
    name="streamed_attention",
    chapter="attention",
    title=both("Attention in one pass", "一度だけ読むアテンション"),
    task=both(
        """The keys of one query come in blocks, each a pair (scores (S,), values (S, D)), from an
        iterator that can be gone through once. Give the mean of all values, weighted with the
        softmax
        of all scores, without keeping the blocks: carry the largest score so far, the sum of
        exp(score - largest), and the weighted sum of the values. When a larger score comes, what
        was
        summed before must be brought to the new scale. Scores may be -inf, but not all of them.""",
        """1 つのクエリに対するキーが、ブロックごとに、(スコア (S,), 値 (S, D)) の組として、
        一度しかたどれないイテレータから来ます。全スコアの softmax を重みとした、全部の値の平均を、
        ブロックを残さずに求めましょう。これまでの最大のスコア、exp(スコア - 最大) の和、
        値の重み付き和を持ち歩きます。より大きなスコアが来たら、それまでの和を新しい尺度に直します。
        スコアには -inf もありますが、全部が -inf にはなりません。""",
    ),
    signature="def streamed_attention(blocks):",
    doc=both("(D,): the weighted mean of all values.", "(D,)。すべての値の重み付き平均。"),
    answer=_online,
    cases=_streams,
    run=_streamed,
    mistakes=(
        Mistake(
            "not_rescaled",
            _online_with(rescale=(False, False)),
            both(
                """When a larger score comes, your sums stay as they are: they were computed with
                the
                old maximum, and the new terms with the new one. Multiply both sums with
                exp(old - new) first.""",
                """より大きなスコアが来ても、和がそのままです。これまでの和は古い最大値で、
                新しい項は新しい最大値で計算されています。先に、
                両方の和に exp(古い最大 - 新しい最大) を掛けましょう。""",
            ),
        ),
        Mistake(
            "values_not_rescaled",
            _online_with(rescale=(True, False)),
            both(
                """You bring the sum of the weights to the new scale, but not the weighted sum of
                the
                values. Both were made with the old maximum.""",
                """重みの和は新しい尺度に直していますが、値の重み付き和を直していません。
                どちらも古い最大値で計算されています。""",
            ),
        ),
        Mistake(
            "sum_not_rescaled",
            _online_with(rescale=(False, True)),
            both(
                """You bring the weighted sum of the values to the new scale, but not the sum of the
                weights. Both were made with the old maximum.""",
                """値の重み付き和は新しい尺度に直していますが、重みの和を直していません。
                どちらも古い最大値で計算されています。""",
            ),
        ),
        Mistake(
            "overflows",
            _online_with(shift=False),
            both(
                """Without a maximum taken off, exp(1000) is infinite (and exp(-1000) is 0 for all).
                Subtract the largest score so far.""",
                """最大値を引いていないので、
                exp(1000) が無限大になります（-1000 なら全部が 0 になります）。
                これまでの最大のスコアを引きましょう。""",
            ),
        ),
        Mistake(
            "hidden_first",
            _online_with(guard=False),
            both(
                """If all scores so far are -inf, the maximum is -inf, and -inf - -inf is NaN. Such
                a
                block adds nothing: leave it out.""",
                """これまでのスコアがすべて -inf だと、最大値も -inf で、
                -inf - -inf が NaN になります。
                そのようなブロックは何も加えないので、飛ばしましょう。""",
            ),
        ),
        Mistake(
            "softmax_per_block",
            _softmax_per_block,
            both(
                """You take a softmax of each block and the mean of the results. A block with small
                scores must count for little: the weights share one sum over all blocks.""",
                """ブロックごとに softmax を取り、結果を平均しています。スコアの小さいブロックは、
                少ししか効かないはずです。重みの和は、全ブロックで 1 つです。""",
            ),
        ),
    ),
)

EXERCISES = (stable_softmax, softmax_rule, masked_attention, streamed_attention)
