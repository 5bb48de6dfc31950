"""Exercises of the chapter `numbers`: derivatives of numbers, by hand and by the chain rule."""

import math

from minigrad import ops
from minigrad.study.exercises.checking import Case, Exercise, Mistake, Slopes, case
from minigrad.study.exercises.words import both

# ------------------------------------------------------------------------- product_rule


def _products() -> list[Case]:
    return [
        case("ordinary numbers", "ふつうの数", g=2.0, x=3.0, y=5.0),
        case("negative numbers", "負の数", g=-1.5, x=-4.0, y=0.5),
        case("one of them is 0", "片方が 0", g=3.0, x=0.0, y=-7.0),
        case("both are the same", "両方が同じ数", g=0.25, x=6.0, y=6.0),
        case("g is 0", "g が 0", g=0.0, x=2.0, y=9.0),
        case("the first is 1", "最初の数が 1", g=4.0, x=1.0, y=-2.0),
    ]


product_rule = Exercise(
    name="product_rule",
    chapter="numbers",
    title=both("The derivative of a product", "積の微分"),
    task=both(
        """Somewhere on the way to a loss L there is a product p = x * y. You know g, the derivative
        of L by p. Give the derivatives of L by x and by y.""",
        """損失 L を求める計算の途中に、積 p = x * y があります。
        L を p で微分した値 g がわかっています。
        L を x と y で微分した値を求めましょう。""",
    ),
    signature="def product_rule(g, x, y):",
    doc=both(
        "The derivatives (dx, dy) of L, where g is its derivative by x * y. All are numbers.",
        "L の微分の組 (dx, dy)。g は L を x * y で微分した値。すべて数。",
    ),
    answer=lambda g, x, y: (g * y, g * x),
    cases=_products,
    slopes=Slopes(("x", "y"), lambda x, y: ops.multiply(x, y)),
    mistakes=(
        Mistake(
            "swapped",
            lambda g, x, y: (g * x, g * y),
            both(
                """dx and dy have changed places. If x grows by a little, x * y grows by y times as
                much: the derivative by x is the *other* factor.""",
                """dx と dy が入れ替わっています。x が少し増えると x * y はその y 倍だけ増えます。
                x についての微分は、*もう一方* の因子です。""",
            ),
        ),
        Mistake(
            "no_outer",
            lambda g, x, y: (y, x),
            both(
                """These are the derivatives of the product alone. L changes g times as much as the
                product does: the chain rule multiplies both with g.""",
                """これは積だけの微分です。積が変わると、L はその g 倍だけ変わります。
                連鎖律では、両方に g を掛けます。""",
            ),
        ),
        Mistake(
            "as_sum",
            lambda g, x, y: (g, g),
            both(
                """That is the rule of a sum, x + y, which passes g on to both. In a product, the
                other factor says how strongly x counts.""",
                """それは和 x + y の規則です。和は g をそのまま両方に渡します。
                積では、もう一方の因子の分だけ強く効きます。""",
            ),
        ),
    ),
)

# --------------------------------------------------------------------------- chain_rule


def _square(x):
    """x**2"""
    return x * x


def _twice(x):
    """2 * x"""
    return 2 * x


def _chains() -> list[Case]:
    sin, exp, square, triple = (
        (math.sin, math.cos),
        (math.exp, math.exp),
        (_square, _twice),
        (lambda x: 3 * x + 1, lambda x: 3.0),
    )

    def chain(en, ja, x, *pairs):
        return case(en, ja, fs=[f for f, _ in pairs], slopes=[d for _, d in pairs], x=x)

    return [
        chain("one function", "関数が 1 つ", 3.0, square),
        chain("sin of the square", "2 乗の sin", 1.5, square, sin),
        chain("the square of sin", "sin の 2 乗", 1.5, sin, square),
        chain("three functions", "関数が 3 つ", -0.7, square, triple, sin),
        chain("three others", "別の 3 つ", 0.4, sin, exp, square),
        chain("the same function three times", "同じ関数が 3 回", 1.1, square, square, square),
        chain("no function at all", "関数が 1 つもない", 2.0),
    ]


def _chained(fs, slopes, x):
    slope = 1.0
    for f, of in zip(fs, slopes, strict=True):
        slope *= of(x)
        x = f(x)
    return slope


def _all_at_x(fs, slopes, x):
    return math.prod(of(x) for of in slopes)


def _added(fs, slopes, x):
    slope = 0.0
    for f, of in zip(fs, slopes, strict=True):
        slope += of(x)
        x = f(x)
    return slope


def _one_late(fs, slopes, x):
    slope = 1.0
    for f, of in zip(fs, slopes, strict=True):
        x = f(x)
        slope *= of(x)
    return slope


chain_rule = Exercise(
    name="chain_rule",
    chapter="numbers",
    title=both("A chain of functions", "関数の鎖"),
    task=both(
        """The functions in `fs` are applied one after the other, `fs[0]` first, to the number x.
        `slopes[i]` is the derivative of `fs[i]`, a function too. Give the derivative of the whole
        chain at x. For three functions that is the derivative of fs[2](fs[1](fs[0](x))).""",
        """数 x に、リスト `fs` の関数を `fs[0]` から順に施します。
        `slopes[i]` は `fs[i]` の導関数で、
        これも関数です。鎖全体の x での微分を求めましょう。関数が 3 つなら、
        fs[2](fs[1](fs[0](x))) の微分です。""",
    ),
    signature="def chain_rule(fs, slopes, x):",
    doc=both(
        "The derivative at the number x of applying all functions in fs, the first one first.",
        "fs の関数を先頭から順に施したものの、x での微分（数）。",
    ),
    answer=_chained,
    cases=_chains,
    imports="import math",
    mistakes=(
        Mistake(
            "all_at_x",
            _all_at_x,
            both(
                """You take every derivative at x. Only the first function sees x; the second sees
                what the first gave, and its derivative must be taken there. Keep a running value
                and apply each function to it.""",
                """どの導関数にも x を入れています。x を受け取るのは最初の関数だけです。
                2 番目の関数は最初の関数の結果を受け取るので、導関数もそこで計算します。
                途中の値を持ち、関数を 1 つずつ施していきましょう。""",
            ),
        ),
        Mistake(
            "added",
            _added,
            both(
                """You add the derivatives. In a chain each function stretches what the one before
                has stretched already: the slopes are multiplied.""",
                """微分を足しています。鎖では、
                前の関数が引き伸ばしたものを次の関数がさらに引き伸ばすので、
                傾きは掛け合わせます。""",
            ),
        ),
        Mistake(
            "one_late",
            _one_late,
            both(
                """You apply a function first and take its derivative at what it gave. The
                derivative belongs to what went *in*: ask for the slope before you move on.""",
                """関数を施してから、その結果のところで微分を計算しています。微分は、
                関数に *入る* 値で計算します。
                先に傾きを求め、それから値を進めましょう。""",
            ),
        ),
        Mistake(
            "backwards",
            lambda fs, slopes, x: _chained(fs[::-1], slopes[::-1], x),
            both(
                "You apply the functions from the last to the first. `fs[0]` is the innermost one.",
                "関数を後ろから順に施しています。いちばん内側で最初に施すのは `fs[0]` です。",
            ),
        ),
        Mistake(
            "last_only",
            lambda fs, slopes, x: (
                [1.0] + [of(v) for of, v in zip(slopes, _values(fs, x), strict=False)]
            )[-1],
            both(
                """Only the last function's slope is there: in the loop the slope is overwritten
                where it should be multiplied.""",
                """最後の関数の傾きしか入っていません。ループの中で、
                掛けるべきところを上書きしています。""",
            ),
        ),
    ),
)


def _values(fs, x):
    values = [x]
    for f in fs:
        values.append(f(values[-1]))
    return values


# ------------------------------------------------------------------- central_difference


def _slopes_by_steps() -> list[Case]:
    def cube(x):
        """x**3"""
        return x**3

    def line(x):
        """5 * x - 1"""
        return 5 * x - 1

    def kinked(x):
        """abs(x)"""
        return abs(x)

    return [
        case("a line", "直線", f=line, x=2.0, h=0.5),
        case("a square", "2 次関数", f=_square, x=3.0, h=0.1),
        case("a cube", "3 次関数", f=cube, x=-1.5, h=0.1),
        case("sin", "sin", f=math.sin, x=1.0, h=0.01),
        case("exp, at a negative number", "負の数での exp", f=math.exp, x=-2.0, h=0.001),
        case("a kink at x", "x で折れ曲がる関数", f=kinked, x=0.0, h=0.25),
    ]


central_difference = Exercise(
    name="central_difference",
    chapter="numbers",
    title=both("A derivative by trying", "試して求める微分"),
    task=both(
        """Give the slope of f at the number x without knowing its formula: try f a step h to the
        right and a step h to the left (the central difference). Every gradient in this book is
        checked with it.""",
        """関数 f の式を知らなくても、x での傾きは求められます。x から右に h、
        左に h だけ動いたところで
        f を試しましょう（中心差分）。この本の勾配は、すべてこれで確かめています。""",
    ),
    signature="def central_difference(f, x, h):",
    doc=both(
        "The slope of the line through f at x - h and at x + h. x and h are numbers.",
        "x - h と x + h での f の値を結ぶ直線の傾き。x と h は数。",
    ),
    answer=lambda f, x, h: (f(x + h) - f(x - h)) / (2 * h),
    cases=_slopes_by_steps,
    imports="",
    mistakes=(
        Mistake(
            "forward",
            lambda f, x, h: (f(x + h) - f(x)) / h,
            both(
                """You go a step to the right only. That is right for a line, but where f bends the
                error goes with h; with a step to both sides it goes with h * h.""",
                """右にしか動いていません。直線なら合いますが、
                f が曲がっていると誤差は h に比例します。
                左右に動けば、誤差は h の 2 乗に比例してずっと小さくなります。""",
            ),
        ),
        Mistake(
            "backward",
            lambda f, x, h: (f(x) - f(x - h)) / h,
            both(
                """You go a step to the left only. Where f bends, the error goes with h; with a step
                to both sides it goes with h * h.""",
                """左にしか動いていません。f が曲がっていると誤差は h に比例します。
                左右に動けば、誤差は h の 2 乗に比例してずっと小さくなります。""",
            ),
        ),
        Mistake(
            "half_the_step",
            lambda f, x, h: (f(x + h) - f(x - h)) / h,
            both(
                """Your slope is twice the right one: from x - h to x + h it is 2 * h, and you
                divide by h.""",
                """傾きがちょうど 2 倍です。x - h から x + h までの幅は 2 * h ですが、
                h で割っています。""",
            ),
        ),
        Mistake(
            "not_divided",
            lambda f, x, h: f(x + h) - f(x - h),
            both(
                "That is how much f changes, not its slope: divide by the length of the way.",
                "これは f の変化の大きさで、傾きではありません。動いた幅で割りましょう。",
            ),
        ),
        Mistake(
            "precedence",
            lambda f, x, h: (f(x + h) - f(x - h)) / 2 * h,
            both(
                """`a / 2 * h` divides by 2 and then *multiplies* by h. Put the denominator in
                parentheses: `a / (2 * h)`.""",
                """`a / 2 * h` は、2 で割ってから h を *掛け* ます。
                分母をかっこに入れて `a / (2 * h)` としましょう。""",
            ),
        ),
    ),
)

# ------------------------------------------------------------------ expression_backward


def _expressions() -> list[Case]:
    return [
        case("ordinary numbers", "ふつうの数", x=1.0, y=2.0),
        case("y is 0", "y が 0", x=0.5, y=0.0),
        case("x is 0", "x が 0", x=0.0, y=3.0),
        case("negative numbers", "負の数", x=-2.0, y=-0.7),
        case("cos(x) is negative", "cos(x) が負になる x", x=2.5, y=1.25),
    ]


expression_backward = Exercise(
    name="expression_backward",
    chapter="numbers",
    title=both("Back through an expression", "式を逆にたどる"),
    task=both(
        """The value z = (x + y) * sin(x) is computed in three steps: s = x + y, t = sin(x),
        z = s * t. Go back through them, from z to x and y, with one line for each step, and give
        the derivatives of z by x and by y. Note that x is used twice.""",
        """z = (x + y) * sin(x) は、s = x + y、t = sin(x)、z = s * t の 3 段階で計算されます。
        z から x と y へ、1 段階に 1 行ずつ逆にたどり、z を x と y で微分した値を求めましょう。
        x が 2 回使われていることに注意してください。""",
    ),
    signature="def expression_backward(x, y):",
    doc=both(
        "The derivatives (dx, dy) of (x + y) * sin(x), for numbers x and y.",
        "(x + y) * sin(x) の微分の組 (dx, dy)。x と y は数。",
    ),
    answer=lambda x, y: (math.sin(x) + (x + y) * math.cos(x), math.sin(x)),
    cases=_expressions,
    slopes=Slopes(("x", "y"), lambda x, y: (x + y) * ops.sin(x)),
    imports="import math",
    mistakes=(
        Mistake(
            "overwritten",
            lambda x, y: ((x + y) * math.cos(x), math.sin(x)),
            both(
                """x reaches z along two ways: through s and through t. What comes back along the
                second way is *added* to what came along the first; yours overwrites it, and only
                the part through t is left.""",
                """x から z へは、s を通る道と t を通る道の 2 つがあります。
                2 つ目の道から戻ってきた勾配は、
                1 つ目の勾配に *足し* ます。上書きしているので、t を通る分しか残っていません。""",
            ),
        ),
        Mistake(
            "through_s_only",
            lambda x, y: (math.sin(x), math.sin(x)),
            both(
                "The way of x through t = sin(x) is missing: x is used there a second time.",
                "x から t = sin(x) を通る道が抜けています。x はそこでもう一度使われています。",
            ),
        ),
        Mistake(
            "no_outer",
            lambda x, y: (math.sin(x) + math.cos(x), math.sin(x)),
            both(
                """Through t, the derivative is that of sin(x), cos(x), *times* what z makes of t:
                z = s * t, so the gradient that arrives at t is s.""",
                """t を通る分は、sin(x) の微分 cos(x) に、t に届いた勾配を *掛けた* ものです。
                z = s * t なので、t に届く勾配は s です。""",
            ),
        ),
        Mistake(
            "sign_of_cos",
            lambda x, y: (math.sin(x) - (x + y) * math.cos(x), math.sin(x)),
            both(
                "The derivative of sin is cos; it is cos whose derivative has a minus, -sin.",
                "sin の微分は cos です。マイナスが付くのは cos の微分（-sin）です。",
            ),
        ),
    ),
)

EXERCISES = (product_rule, chain_rule, central_difference, expression_backward)
