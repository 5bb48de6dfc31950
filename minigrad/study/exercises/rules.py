"""Exercises of the chapter `rules`: rules for one op, and derivatives of derivatives."""

from typing import Any

import numpy as np

import minigrad as mg
from minigrad import ops
from minigrad.autodiff import Tensor
from minigrad.study.exercises.checking import Case, Exercise, Mistake, Slopes, Wrong, case
from minigrad.study.exercises.words import both
from minigrad.testing import check_gradients
from minigrad.transforms import custom_vjp


def _normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


# -------------------------------------------------------------------------- sigmoid_rule


def _sigmoids() -> list[Case]:
    def at(en, ja, g, x):
        x = np.asarray(x)
        return case(en, ja, g=np.asarray(g), y=1 / (1 + np.exp(-x)), given={"x": x})

    return [
        at("three numbers", "3 つの数", [1.0, -2.0, 0.5], [0.0, 1.0, -2.0]),
        at("a matrix", "行列", _normal(2, 3), _normal(2, 3, seed=1)),
        at("far out, where y is almost 0 or 1", "y がほぼ 0 か 1", [3.0, -1.0], [-6.0, 7.0]),
        at("g is 0", "g が 0", [0.0, 0.0], [0.3, -0.4]),
        at("a number", "1 つの数", 2.0, 0.5),
    ]


sigmoid_rule = Exercise(
    name="sigmoid_rule",
    chapter="rules",
    title=both("A rule that reads the output", "出力を使う規則"),
    task=both(
        """y = 1 / (1 + exp(-x)) was computed, and x was not kept. Its derivative can be told by y
        alone: y * (1 - y). Give the gradient of x from g, the gradient of y.""",
        """y = 1 / (1 + exp(-x)) を計算しましたが、x は残してありません。
        その微分は y だけから y * (1 - y) と求まります。y の勾配 g から、x の勾配を求めましょう。
        """,
    ),
    signature="def sigmoid_rule(g, y):",
    doc=both(
        "The gradient of x, where y is the sigmoid of x and g the gradient of y.",
        "x の勾配。y は x のシグモイド、g は y の勾配。",
    ),
    answer=lambda g, y: g * y * (1 - y),
    cases=_sigmoids,
    slopes=Slopes(("x",), lambda x: ops.sigmoid(x)),
    mistakes=(
        Mistake(
            "no_outer",
            lambda g, y: y * (1 - y),
            both(
                """That is the derivative of the sigmoid alone. What comes before it wants the
                gradient of the loss: multiply with g.""",
                """これはシグモイドだけの微分です。その前の計算が必要とするのは損失の勾配なので、
                g を掛けましょう。""",
            ),
        ),
        Mistake(
            "taken_for_input",
            lambda g, y: g * (s := 1 / (1 + np.exp(-y))) * (1 - s),
            both(
                """You compute the sigmoid of y once more. y is the sigmoid already, the output:
                that is why it was kept.""",
                """y のシグモイドをもう一度計算しています。y は入力ではなく、
                すでに計算された出力です。
                そのために残してあるのです。""",
            ),
        ),
        Mistake(
            "one_factor",
            lambda g, y: g * (1 - y),
            both(
                "The factor y is missing: the derivative is y * (1 - y).",
                "因子 y が抜けています。微分は y * (1 - y) です。",
            ),
        ),
        Mistake(
            "rule_of_tanh",
            lambda g, y: g * (1 - y * y),
            both(
                "1 - y**2 belongs to tanh. For the sigmoid it is y * (1 - y).",
                "1 - y**2 は tanh の規則です。シグモイドでは y * (1 - y) です。",
            ),
        ),
        Mistake(
            "rule_of_exp",
            lambda g, y: g * y,
            both(
                "g * y is the rule of exp. For the sigmoid the factor 1 - y belongs to it.",
                "g * y は exp の規則です。シグモイドでは、さらに 1 - y を掛けます。",
            ),
        ),
    ),
)

# ----------------------------------------------------------------------------- tanh_rule


def _tanhs() -> list[Case]:
    return [
        case(
            "three numbers", "3 つの数", g=np.array([1.0, -2.0, 0.5]), y=np.tanh([0.0, 1.0, -0.5])
        ),
        case("a matrix", "行列", g=_normal(2, 2), y=np.tanh(_normal(2, 2, seed=1))),
        case("a number", "1 つの数", g=np.asarray(3.0), y=np.asarray(np.tanh(0.7))),
    ]


def _at_two_speeds(rule: Any, args: dict[str, Any]) -> Any:
    """The rule on arrays; and then as the rule of an op, which is differentiated twice."""
    found = rule(args["g"], args["y"])
    right = args["g"] * (1 - args["y"] ** 2)
    if not isinstance(found, np.ndarray | np.generic) or not np.allclose(found, right, 1e-4):
        return found  # what is wrong with it is said of the numbers
    tensors = Tensor(args["g"], requires_grad=True), Tensor(args["y"], requires_grad=True)
    recorded = rule(*tensors)
    if type(recorded) is not Tensor or not recorded.requires_grad:
        raise Wrong(
            "no_history",
            both(
                """On arrays your rule is right. Called with Tensors, as for a second derivative, it
                gives something without a history: it left the engine, by NumPy's functions or by
                `.data`. Write it with operators (`*`, `-`, `**`), which arrays and Tensors
                share.""",
                """配列に対しては正しい規則です。ところが、2 階微分のために Tensor で呼び出すと、
                履歴のないものが返ります。NumPy の関数や `.data` を使って、
                エンジンの外に出ています。
                配列と Tensor に共通の演算子（`*`、`-`、`**`）で書きましょう。""",
            ),
        )
    y = args["y"].astype(np.float64)

    def tanh(x):
        return mg.tanh(x)

    ours = custom_vjp(tanh)
    ours.defvjp(lambda x: ((out := mg.tanh(x)), out), lambda out, g: (rule(g, out),))
    try:
        check_gradients(ours, np.arctanh(y))
    except AssertionError as error:
        message = str(error)
        raise Wrong(
            "second_derivative",
            both(
                f"""The first derivative is right, the second is not: a part of your rule is taken
                for a constant. Both g and y depend on x. (check_gradients says: {message})""",
                f"""1 階微分は正しいのですが、2 階微分が合いません。
                規則の一部が定数として扱われています。
                g も y も x に依存します。（check_gradients によると: {message}）""",
            ),
        ) from error
    return found


tanh_rule = Exercise(
    name="tanh_rule",
    chapter="rules",
    title=both("A rule at two speeds", "2 つの速さで動く規則"),
    task=both(
        """Write the rule of tanh, from g, the gradient of y = tanh(x), and y itself. The engine
        calls
        it with arrays for a first derivative and with Tensors if the gradient is to be
        differentiated again. It must serve for both: write it with operators.""",
        """y = tanh(x) の勾配 g と y から x の勾配を求める、tanh の規則を書きましょう。エンジンは、
        1 階微分では配列で、勾配をさらに微分するときは Tensor で規則を呼び出します。
        どちらにも使えるように、演算子で書いてください。""",
    ),
    signature="def tanh_rule(g, y):",
    doc=both(
        "The gradient of x, where y = tanh(x): arrays for arrays, a Tensor for Tensors.",
        "y = tanh(x) の x の勾配。配列からは配列、Tensor からは Tensor。",
    ),
    answer=lambda g, y: g * (1 - y * y),
    cases=_tanhs,
    run=_at_two_speeds,
    imports="import minigrad as mg",
    mistakes=(
        Mistake(
            "no_square",
            lambda g, y: g * (1 - y),
            both(
                "The derivative of tanh is 1 - y**2; the square is missing.",
                "tanh の微分は 1 - y**2 です。2 乗が抜けています。",
            ),
        ),
        Mistake(
            "no_outer",
            lambda g, y: 1 - y * y,
            both(
                "g is missing: that is the derivative of tanh alone.",
                "g が抜けています。これは tanh だけの微分です。",
            ),
        ),
        Mistake(
            "taken_for_input",
            lambda g, y: g * (1 - mg.tanh(y) * mg.tanh(y)),
            both(
                "You compute tanh of y. y is tanh(x) already.",
                "y の tanh を計算しています。y はすでに tanh(x) です。",
            ),
        ),
        Mistake(
            "rule_of_sigmoid",
            lambda g, y: g * y * (1 - y),
            both(
                "y * (1 - y) belongs to the sigmoid. For tanh it is 1 - y**2.",
                "y * (1 - y) はシグモイドの規則です。tanh では 1 - y**2 です。",
            ),
        ),
    ),
)

# ------------------------------------------------------------------------------ max_rule


def _maxima() -> list[Case]:
    x = np.array([[1.0, 5.0, 2.0], [7.0, -3.0, 0.0]])
    return [
        case("each row has one largest", "各行に最大が 1 つ",
             g=np.array([10.0, -2.0]), x=x, axis=1),
        case("over the columns", "列について", g=np.array([1.0, 2.0, 3.0]), x=x, axis=0),
        case("two equal largest ones", "最大が 2 つある", smooth=False, g=np.array([6.0, 1.0]),
             x=np.array([[4.0, 4.0, 0.0], [1.0, 2.0, 3.0]]), axis=1),
        case("all are equal", "すべて等しい", smooth=False,
             g=np.array([9.0, -3.0]), x=np.zeros((3, 2)), axis=0),
        case("negative numbers only", "負の数だけ", g=np.array([2.0, 4.0]),
             x=np.array([[-1.0, -5.0], [-4.0, -3.0]]), axis=1),
        case("a square matrix, over axis 1", "正方行列の軸 1",
             g=_normal(3), x=_normal(3, 3), axis=1),
        case("the axis in the middle", "間の軸", g=_normal(2, 3), x=_normal(2, 4, 3), axis=1),
        case("the largest of a row is in other rows, too", "ある行の最大がほかの行にもある",
             g=np.array([1.0, 2.0]), x=np.array([[3.0, 1.0], [3.0, 8.0]]), axis=1),
    ]  # fmt: skip


def _shares(g, x, axis):
    hit = x == x.max(axis=axis, keepdims=True)
    return np.expand_dims(g, axis) * hit / hit.sum(axis=axis, keepdims=True).astype(x.dtype)


def _all_of_them(g, x, axis):
    return np.expand_dims(g, axis) * (x == x.max(axis=axis, keepdims=True))


def _first_of_them(g, x, axis):
    found = np.zeros_like(x)
    np.put_along_axis(
        found, np.expand_dims(x.argmax(axis), axis), np.expand_dims(g, axis), axis=axis
    )
    return found


max_rule = Exercise(
    name="max_rule",
    chapter="rules",
    title=both("The gradient of a maximum", "最大値の勾配"),
    task=both(
        """Given g, the gradient of `x.max(axis)`, give the gradient of x. Only the largest elements
        along the axis get something; where several are equal, they share the gradient evenly.""",
        """`x.max(axis)` の勾配 g から、x の勾配を求めましょう。勾配を受け取るのは、
        軸に沿って最大の要素だけです。
        最大の要素がいくつかあるときは、等分します。""",
    ),
    signature="def max_rule(g, x, axis):",
    doc=both(
        "The gradient of x, with its shape and dtype; axis is a number.",
        "x の勾配。形と dtype は x と同じ。axis は数。",
    ),
    answer=_shares,
    cases=_maxima,
    slopes=Slopes(("x",), lambda x, axis: ops.max(x, axis=axis)),
    mistakes=(
        Mistake(
            "ties_get_all",
            _all_of_them,
            both(
                """Where two are equally large, each gets the whole gradient, and the sum is twice
                what came. If both grow by a little, the maximum grows by that only once: divide by
                their number.""",
                """最大の要素が 2 つあるとき、どちらにも勾配をまるごと渡していて、
                合計が 2 倍になります。
                両方が少し増えても、最大値はその分だけしか増えません。最大の要素の数で割りましょう。
                """,
            ),
        ),
        Mistake(
            "first_gets_all",
            _first_of_them,
            both(
                """Where several are equally large, your gradient goes to the first alone (argmax
                gives one place only). They share it evenly: compare x with the maximum.""",
                """最大の要素がいくつかあるとき、
                最初の 1 つだけに渡しています（argmax は場所を 1 つしか返しません）。
                x を最大値と比べて、等分しましょう。""",
            ),
        ),
        Mistake(
            "no_outer",
            lambda g, x, axis: _shares(np.ones_like(g), x, axis),
            both(
                """The places are right, but each gets 1 (or its share of it): multiply with the g
                of
                its row.""",
                """場所は合っていますが、渡しているのが 1（またはその等分）です。
                それぞれの g を掛けましょう。""",
            ),
        ),
        Mistake(
            "all_elements",
            lambda g, x, axis: np.expand_dims(g, axis) * np.ones_like(x),
            both(
                "All elements get the gradient, as in a sum. Those that are not largest get 0.",
                "和のように、すべての要素に渡しています。最大でない要素の勾配は 0 です。",
            ),
        ),
        Mistake(
            "largest_of_all",
            lambda g, x, axis: np.expand_dims(g, axis) * (x == x.max()),
            both(
                """You look for the largest of all elements. There is one in each row along the
                axis: x.max(axis, keepdims=True).""",
                """全体の最大を探しています。最大の要素は、軸に沿ってそれぞれにあります。
                x.max(axis, keepdims=True) と比べましょう。""",
            ),
        ),
    ),
)

# ------------------------------------------------------------------------ hessian_vector


def _functions() -> list[Case]:
    def cubes(x):
        """x -> (x**3).sum()"""
        return (x * x * x).sum()

    def coupled(x):
        """x -> (x[0] * x[1]**2 + mg.sin(x[2]) * x[0])"""
        return x[0] * x[1] * x[1] + mg.sin(x[2]) * x[0]

    def of_product(x):
        """x -> mg.exp(x.sum())"""
        return mg.exp(x.sum())

    def energy(x):
        """x -> ((x @ x.T)**2).sum()"""
        return ((x @ x.T) ** 2).sum()

    return [
        case("each element by itself", "要素ごとに独立", f=cubes,
             x=np.array([1.0, -2.0, 0.5]), v=np.array([1.0, 1.0, 1.0])),
        case("a direction that is not all ones", "1 だけではない方向", f=cubes,
             x=np.array([1.0, -2.0, 0.5]), v=np.array([2.0, 0.0, -1.0])),
        case("elements that act on each other", "要素どうしが影響し合う", f=coupled,
             x=np.array([1.0, 2.0, 0.3]), v=np.array([0.5, -1.0, 2.0])),
        case("a full matrix of second derivatives", "2 階微分の行列が密", f=of_product,
             x=np.array([0.1, -0.3]), v=np.array([1.0, 3.0])),
        case("x is a matrix", "x が行列", f=energy, x=_normal(2, 3), v=_normal(2, 3, seed=1)),
    ]  # fmt: skip


def _hvp(f, x, v):
    x = Tensor(x, requires_grad=True)
    g = mg.gradients(f(x), x, create_graph=True)
    return mg.gradients((g * v).sum(), x)


def _hvp_with(f, x, v, second):
    x = Tensor(x, requires_grad=True)
    return second(mg.gradients(f(x), x, create_graph=True), x, v)


def _not_recorded(f, x, v):
    x = Tensor(x, requires_grad=True)
    g = mg.gradients(f(x), x)
    return mg.gradients((g * v).sum(), x)


def _as_an_array(function: Any, args: dict[str, Any]) -> Any:
    found = function(*args.values())
    return np.asarray(found.data) if type(found) is Tensor else found


hessian_vector = Exercise(
    name="hessian_vector",
    chapter="rules",
    title=both("A second derivative in two passes", "2 回の逆伝播で 2 階微分"),
    task=both(
        """f is a function of ops that makes one number of a Tensor. H is the matrix of its second
        derivatives at x, too large to be written down. Give H times v, by two backward passes: the
        gradient of f, and then the gradient of the sum of gradient times v. (mg.Tensor(x,
        requires_grad=True), and mg.gradients(y, x, create_graph=True), which records the way
        back.)""",
        """f は、Tensor から 1 つの数を作る関数です。x での 2 階微分の行列を H としますが、
        大きくて書き下せません。
        H と v の積を、2 回の逆伝播で求めましょう。まず f の勾配、次に、
        勾配と v の積の和の勾配です。
        （mg.Tensor(x, requires_grad=True) と、逆伝播そのものを記録する
        mg.gradients(y, x, create_graph=True) を使います。）""",
    ),
    signature="def hessian_vector(f, x, v):",
    doc=both(
        "H @ v, with the shape of x; x and v are arrays, the result an array or a Tensor.",
        "H @ v。形は x と同じ。x と v は配列、結果は配列か Tensor。",
    ),
    answer=_hvp,
    cases=_functions,
    run=_as_an_array,
    imports="import minigrad as mg",
    mistakes=(
        Mistake(
            "not_recorded",
            _not_recorded,
            both(
                """The first pass was not recorded, so there is nothing to walk back a second time:
                its result is a plain number to the engine. Ask for it with create_graph=True.""",
                """1 回目の逆伝播が記録されていないので、2 回目にたどるものがありません。
                エンジンから見ると、その結果はただの数です。create_graph=True を付けましょう。""",
            ),
        ),
        Mistake(
            "without_v",
            lambda f, x, v: _hvp_with(f, x, v, lambda g, x, v: mg.gradients(g.sum(), x)),
            both(
                """You differentiate the sum of the gradient: that is H times a vector of ones.
                Multiply the gradient with v before you sum.""",
                """勾配の和を微分しています。これは、H と、すべて 1 のベクトルの積です。
                和を取る前に、勾配に v を掛けましょう。""",
            ),
        ),
        Mistake(
            "v_afterwards",
            lambda f, x, v: _hvp_with(f, x, v, lambda g, x, v: mg.gradients(g.sum(), x) * v),
            both(
                """You multiply with v after the second pass. H times v mixes the elements of v, and
                only for a diagonal H is that the same: v goes in between the passes.""",
                """2 回目の逆伝播の後で v を掛けています。H と v の積では v の要素が混ざり合うので、
                H が対角行列のときしか合いません。v は 2 回の逆伝播の間に掛けます。""",
            ),
        ),
        Mistake(
            "first_only",
            lambda f, x, v: _hvp_with(f, x, v, lambda g, x, v: g * v),
            both(
                "That is the gradient times v, a first derivative: the second pass is missing.",
                "これは勾配と v の積で、まだ 1 階微分です。2 回目の逆伝播が抜けています。",
            ),
        ),
    ),
)

EXERCISES = (sigmoid_rule, tanh_rule, max_rule, hessian_vector)
