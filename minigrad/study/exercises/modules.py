"""Exercises of the chapter `modules`: parameters by name, and the steps of optimizers."""

from typing import Any

import numpy as np

from minigrad.study.exercises.checking import Case, Exercise, Mistake, Wrong, case
from minigrad.study.exercises.words import both


def _normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


# ---------------------------------------------------------------------- named_parameters


def _modules() -> list[Case]:
    shared = _normal(2)
    return [
        case("one layer", "層が 1 つ", module={"weight": _normal(2, 2), "bias": _normal(2)}),
        case("layers in layers", "層の中に層",
             module={"first": {"weight": _normal(2)}, "second": {"inner": {"bias": _normal(1)}}}),
        case("a list of layers", "層のリスト",
             module={"layers": [{"w": _normal(2)}, {"w": _normal(3)}], "bias": _normal(1)}),
        case("lists in a list", "リストの中のリスト",
             module={"blocks": [[_normal(1), _normal(2)]]}),
        case("things that are no parameters", "パラメーターでないもの",
             module={"weight": _normal(2), "rate": 0.1, "name": "a", "bias": None, "inner": {}}),
        case("one array under two names", "同じ配列に名前が 2 つ", float32=False,
             module={"embedding": {"weight": shared}, "head": {"weight": shared}}),
        case("one array under two names side by side", "並んだ 2 つの名前が同じ配列", float32=False,
             module={"first": shared, "second": shared, "third": _normal(3)}),
        case("two arrays with equal numbers", "数が同じ別の配列",
             module={"a": np.ones(2), "b": np.ones(2)}),
        case("nothing at all", "何もない", module={}),
    ]  # fmt: skip


def _names(module, prefix="", dot=".", lists=True, deep=True, dicts=True):
    found: dict[str, Any] = {}
    pairs = module.items() if isinstance(module, dict) else enumerate(module)
    for name, part in pairs:
        full = f"{prefix}{name}"
        if isinstance(part, np.ndarray):
            if not any(part is other for other in found.values()):
                found[full] = part
        elif (dicts and deep and isinstance(part, dict)) or (lists and isinstance(part, list)):
            inner = _names(part, full + dot, dot, lists, deep, dicts)
            for key, array in inner.items():
                if not any(array is other for other in found.values()):
                    found[key] = array
    return found


def _last_names(module):
    return {name.rpartition(".")[2]: array for name, array in _names(module).items()}


def _with_shared(module, prefix=""):
    found = {}
    for name, part in module.items() if isinstance(module, dict) else enumerate(module):
        if isinstance(part, np.ndarray):
            found[f"{prefix}{name}"] = part
        elif isinstance(part, dict | list):
            found |= _with_shared(part, f"{prefix}{name}.")
    return found


def _by_value(module):
    found: dict[str, Any] = {}
    for name, array in _names(module).items():
        if not any(np.array_equal(array, other) for other in found.values()):
            found[name] = array
    return found


def _the_arrays_themselves(function: Any, args: dict[str, Any]) -> Any:
    found = function(args["module"])
    if isinstance(found, dict):
        theirs = {id(array) for array in _with_shared(args["module"]).values()}
        if any(isinstance(v, np.ndarray) and id(v) not in theirs for v in found.values()):
            raise Wrong(
                "copied",
                both(
                    """You give copies of the arrays. An optimizer that changes these changes
                    nothing
                    in the module: give the arrays themselves.""",
                    """配列のコピーを返しています。オプティマイザがそれを変えても、
                    モジュールは変わりません。
                    配列そのものを返しましょう。""",
                ),
            )
    return found


named_parameters = Exercise(
    name="named_parameters",
    chapter="modules",
    title=both("Parameters by name", "名前の付いたパラメーター"),
    task=both(
        """A module is a dictionary: its values are arrays (the parameters), modules, lists of
        arrays
        or modules, and anything else, which is ignored. Give all arrays under their full names,
        such
        as "encoder.layers.0.weight". An array that is used in two places stands there once, under
        its first name. Give the arrays themselves, no copies.""",
        """モジュールは辞書で、値は、配列（パラメーター）、モジュール、配列やモジュールのリスト、
        そのほか（無視します）のどれかです。すべての配列を、
        "encoder.layers.0.weight" のような完全な名前で
        返しましょう。2 か所で使われている配列は、最初の名前で一度だけ載せます。
        コピーではなく、配列そのものを返してください。""",
    ),
    signature="def named_parameters(module):",
    doc=both("A dictionary {full name: array}.", "辞書 {完全な名前: 配列}。"),
    answer=_names,
    cases=_modules,
    run=_the_arrays_themselves,
    mistakes=(
        Mistake(
            "no_prefix",
            _last_names,
            both(
                """You give each array its last name only. Two layers both have a "weight", and the
                second takes the place of the first: put the names of the modules around it in
                front.""",
                """最後の名前しか使っていません。どの層にも "weight" があるので、
                後のものが前のものを消してしまいます。
                外側のモジュールの名前を前に付けましょう。""",
            ),
        ),
        Mistake(
            "lists_ignored",
            lambda module: _names(module, lists=False),
            both(
                """You go into dictionaries, but not into lists: their layers would never be
                trained.
                Their names are their numbers.""",
                """辞書の中は見ていますが、リストの中を見ていません。
                これではリストの層が学習されません。
                リストの要素の名前は番号です。""",
            ),
        ),
        Mistake(
            "one_level",
            lambda module: {n: a for n, a in module.items() if isinstance(a, np.ndarray)},
            both(
                "You look at the outermost level only. Modules hold modules: call yourself on "
                "them.",
                "いちばん外側しか見ていません。モジュールの中のモジュールには、"
                "自分自身を呼び出しましょう。",
            ),
        ),
        Mistake(
            "leading_dot",
            lambda module: {f".{name}": array for name, array in _names(module).items()},
            both(
                "Your names begin with a dot: at the outermost level there is nothing before it.",
                "名前が点で始まっています。いちばん外側では、前に何も付きません。",
            ),
        ),
        Mistake(
            "shared_twice",
            _with_shared,
            both(
                """An array that is used in two places stands in your dictionary twice: an optimizer
                would make two steps with it. Remember which arrays were seen, by identity
                (`is`).""",
                """2 か所で使われている配列が、2 回載っています。
                これではオプティマイザが 2 歩進めてしまいます。
                すでに見た配列を、同一性（`is`）で覚えておきましょう。""",
            ),
        ),
        Mistake(
            "equal_taken_for_same",
            _by_value,
            both(
                """You leave out an array that has the same numbers as another. They are equal now,
                and will not be after a step: only the same object is the same parameter (`is`).""",
                """別の配列と数が同じだけの配列を省いています。今は等しくても、
                1 歩進めば変わります。
                同じパラメーターといえるのは、同じオブジェクト（`is`）のときだけです。""",
            ),
        ),
    ),
)

# ------------------------------------------------------------------------- momentum_step


def _momenta() -> list[Case]:
    return [
        case("a step", "ふつうの 1 歩", w=np.array([1.0, -2.0]), g=np.array([0.5, 3.0]),
             v=np.array([2.0, -1.0]), lr=0.1, momentum=0.9),
        case("the first step: there is no v yet", "最初の 1 歩：v がまだない",
             w=np.array([1.0, -2.0]), g=np.array([0.5, 3.0]), v=None, lr=0.1, momentum=0.9),
        case("no gradient", "勾配がない",
             w=np.array([1.0, -2.0]), g=None, v=np.array([2.0, -1.0]), lr=0.1, momentum=0.9),
        case("no gradient, and no v", "勾配も v もない",
             w=np.array([1.0]), g=None, v=None, lr=0.1, momentum=0.5),
        case("a gradient of 0", "勾配が 0",
             w=np.array([1.0, 4.0]), g=np.zeros(2), v=np.array([2.0, -1.0]), lr=0.5, momentum=0.5),
        case("without momentum", "モーメンタムなし",
             w=_normal(2, 3), g=_normal(2, 3, seed=1), v=_normal(2, 3, seed=2), lr=0.3,
             momentum=0.0),
        case("a matrix", "行列", w=_normal(3, 2), g=_normal(3, 2, seed=1), v=_normal(3, 2, seed=2),
             lr=0.01, momentum=0.99),
    ]  # fmt: skip


def _momentum(w, g, v, lr, momentum):
    if g is None:
        return w, v
    v = g if v is None else momentum * v + g
    return w - lr * v, v


def _rate_in_v(w, g, v, lr, momentum):
    if g is None:
        return w, v
    v = lr * g if v is None else momentum * v + lr * g
    return w - v, v


def _averaging(w, g, v, lr, momentum):
    if g is None:
        return w, v
    v = (1 - momentum) * g + (0 if v is None else momentum * v)
    return w - lr * v, v


def _with_old_v(w, g, v, lr, momentum):
    if g is None:
        return w, v
    old = np.zeros_like(w) if v is None else v
    return w - lr * old, momentum * old + g


def _uphill(w, g, v, lr, momentum):
    _, new = _momentum(w, g, v, lr, momentum)
    return (w if g is None else w + lr * new), new


def _as_zero(w, g, v, lr, momentum):
    return _momentum(w, np.zeros_like(w) if g is None else g, v, lr, momentum)


momentum_step = Exercise(
    name="momentum_step",
    chapter="modules",
    title=both("A step with momentum", "モーメンタム付きの 1 歩"),
    task=both(
        """Make one step of gradient descent with momentum. The new v is momentum times the old one,
        plus the gradient; the new w is w minus lr times the *new* v. v is None before the first
        step, and then becomes the gradient. g is None if w took no part in the loss: then nothing
        changes.""",
        """モーメンタム付きの勾配降下法で 1 歩進めましょう。新しい v は、
        古い v の momentum 倍に勾配を足したもの、
        新しい w は、w から *新しい* v の lr 倍を引いたものです。最初の 1 歩の前は v が None で、
        そのときは勾配が新しい v になります。w が損失に関わらなかったときは g が None で、
        何も変えません。""",
    ),
    signature="def momentum_step(w, g, v, lr, momentum):",
    doc=both(
        "The new (w, v); the arrays that came in are not written to.",
        "新しい (w, v)。渡された配列は書き換えない。",
    ),
    answer=_momentum,
    cases=_momenta,
    parts=("w", "v"),
    mistakes=(
        Mistake(
            "rate_in_v",
            _rate_in_v,
            both(
                """You multiply the gradient with lr before it goes into v. While lr stays the same,
                w is the same; when a schedule changes lr, the past was taken with the old one. Here
                (as in PyTorch) v holds gradients, and lr multiplies v.""",
                """v に入れる前の勾配に lr を掛けています。lr が一定なら w は同じですが、
                学習率を途中で変えると、過去の分が古い lr のまま残ります。
                ここでは（PyTorch と同じく）v は勾配だけをため、lr は v に掛けます。""",
            ),
        ),
        Mistake(
            "averaging",
            _averaging,
            both(
                """You weight the gradient with 1 - momentum, which makes an average of v, as in
                Adam. Here it is a running sum: the gradient enters in full.""",
                """勾配に 1 - momentum を掛けて、Adam のような平均にしています。
                ここでは和なので、勾配はそのまま足します。""",
            ),
        ),
        Mistake(
            "old_v",
            _with_old_v,
            both(
                "w moves by the old v. Compute the new v first, and move by that.",
                "w を古い v で動かしています。先に新しい v を求め、それで動かしましょう。",
            ),
        ),
        Mistake(
            "uphill",
            _uphill,
            both(
                "You add the step: the loss grows. The gradient points uphill, so subtract.",
                "足しているので、損失が増えます。勾配は上りの方向を指すので、引きましょう。",
            ),
        ),
        Mistake(
            "absent_as_zero",
            _as_zero,
            both(
                """You treat an absent gradient (None) as 0: then w still moves, by its momentum. A
                parameter that took no part is left alone, and so is its v.""",
                """勾配がない（None）ことを、勾配が 0 と同じに扱っています。
                それでは w がモーメンタムで動いてしまいます。
                損失に関わらなかったパラメーターは、v も含めてそのままにします。""",
            ),
        ),
    ),
)

# ----------------------------------------------------------------------------- adam_step


def _adams() -> list[Case]:
    def at(en, ja, n, t, seed=0, **options):
        v = np.abs(_normal(n, seed=seed + 2)) * (t > 1)
        given = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-3} | options
        return case(en, ja, w=_normal(n, seed=seed), g=_normal(n, seed=seed + 1),
                    m=_normal(n, seed=seed + 3) * (t > 1), v=v, t=t, **given)  # fmt: skip

    return [
        at("the first step", "最初の 1 歩", 2, 1),
        at("the second step", "2 歩目", 3, 2),
        at("after many steps", "何歩も進んだ後", 3, 500),
        at("other betas", "別の beta", 2, 3, beta1=0.5, beta2=0.9, lr=0.01),
        at("a large eps", "大きな eps", 2, 5, eps=0.5),
        case("a gradient of 0 at the first step", "最初の 1 歩で勾配が 0", w=np.ones(2),
             g=np.array([0.0, 1.0]), m=np.zeros(2), v=np.zeros(2), t=1, lr=0.1, beta1=0.9,
             beta2=0.999, eps=1e-8),
    ]  # fmt: skip


def _adam(
    w, g, m, v, t, lr, beta1, beta2, eps, *, correct=True, inside=False, square=True, root=True,
    late=0, swapped=False,
):  # fmt: skip
    b1, b2 = (beta2, beta1) if swapped else (beta1, beta2)
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * (g * g if square else g)
    t = t + late
    mean = m / (1 - b1**t) if correct else m
    spread = v / (1 - b2**t) if correct else v
    if inside:
        step = mean / np.sqrt(spread + eps)
    else:
        step = mean / ((np.sqrt(spread) if root else spread) + eps)
    return w - lr * step, m, v


def _adam_with(**options):
    return lambda *args: _adam(*args, **options)


adam_step = Exercise(
    name="adam_step",
    chapter="modules",
    title=both("A step of Adam", "Adam の 1 歩"),
    task=both(
        """Make step number t (the first is 1) of Adam. m and v are running averages of the gradient
        and of its square: m = beta1 * m + (1 - beta1) * g, and v alike with beta2. Both begin at 0
        and are too small at first, so they are divided by 1 - beta1**t and 1 - beta2**t for the
        step (but returned without that). w moves by lr * mean / (sqrt(spread) + eps).""",
        """Adam の t 番目（最初は 1）の 1 歩を進めましょう。m と v は、勾配とその 2 乗の移動平均で、
        m = beta1 * m + (1 - beta1) * g、v も beta2 で同様に更新します。どちらも 0 から始まり、
        はじめは小さすぎるので、1 - beta1**t と 1 - beta2**t で割った mean と spread を使います
        （返す m と v は、割る前の値です）。w は lr * mean / (sqrt(spread) + eps) だけ動きます。""",
    ),
    signature="def adam_step(w, g, m, v, t, lr, beta1, beta2, eps):",
    doc=both(
        "The new (w, m, v); the arrays that came in are not written to.",
        "新しい (w, m, v)。渡された配列は書き換えない。",
    ),
    answer=_adam_with(),
    cases=_adams,
    parts=("w", "m", "v"),
    mistakes=(
        Mistake(
            "uncorrected",
            _adam_with(correct=False),
            both(
                """The bias correction is missing. After many steps nobody sees it, but m and v
                begin
                at 0: at the first step m is a tenth of the gradient. Divide by 1 - beta**t.""",
                """バイアス補正が抜けています。何歩も進んだ後では目立ちませんが、
                m と v は 0 から始まるので、
                最初の 1 歩では m が勾配の 10 分の 1 ほどしかありません。
                1 - beta**t で割りましょう。""",
            ),
        ),
        Mistake(
            "eps_inside",
            _adam_with(inside=True),
            both(
                """eps stands under the square root, where it counts as sqrt(eps), far more than
                meant. It is added after the root.""",
                """eps が平方根の中にあります。そこでは sqrt(eps) として効くので、
                意図よりずっと大きくなります。
                平方根の後で足しましょう。""",
            ),
        ),
        Mistake(
            "t_from_0",
            _adam_with(late=-1),
            both(
                "You count the steps from 0, and at the first step divide by 0. t is 1 there.",
                "歩数を 0 から数えているので、最初の 1 歩で 0 で割っています。"
                "t は 1 から始まります。",
            ),
        ),
        Mistake(
            "t_from_2",
            _adam_with(late=1),
            both(
                "You use t + 1, but t counts from 1 already.",
                "t + 1 を使っていますが、t はすでに 1 から数えてあります。",
            ),
        ),
        Mistake(
            "swapped_betas",
            _adam_with(swapped=True),
            both(
                "The betas have changed places: beta1 is for m, beta2 for v.",
                "beta が入れ替わっています。m には beta1、v には beta2 を使います。",
            ),
        ),
        Mistake(
            "not_squared",
            _adam_with(square=False),
            both(
                "v is an average of the gradient's *square*; the square is missing.",
                "v は勾配の *2 乗* の平均です。2 乗が抜けています。",
            ),
        ),
        Mistake(
            "no_root",
            _adam_with(root=False),
            both(
                """The square root is missing: mean / spread is large where gradients are small.
                With
                the root the step has the size of lr, whatever the gradient's.""",
                """平方根が抜けています。mean / spread では、
                勾配が小さいほど歩幅が大きくなってしまいます。
                平方根を取れば、歩幅は勾配の大きさによらず lr ほどになります。""",
            ),
        ),
    ),
)

# -------------------------------------------------------------------- clip_by_global_norm


def _gradients() -> list[Case]:
    return [
        case("too long: the norm is 13", "長すぎる：ノルムは 13",
             grads=[np.array([3.0, 4.0]), np.array([[12.0]])], max_norm=6.5),
        case("short enough", "十分に短い", grads=[np.array([0.3, 0.4]), np.zeros(2)], max_norm=1.0),
        case("one is absent", "1 つは勾配がない",
             grads=[np.array([6.0, 8.0]), None, np.zeros((2, 2))], max_norm=5.0),
        case("all are 0", "すべて 0", grads=[np.zeros(3), np.zeros((1, 2))], max_norm=1.0),
        case("each is short, together they are long", "1 つずつは短く、合わせると長い",
             grads=[np.full(4, 0.5), np.full((2, 2), -0.5), np.full(4, 0.5), np.full(4, 0.5)],
             max_norm=1.0),
        case("one element is large, and negative", "大きな負の要素",
             grads=[np.array([-50.0, 1.0]), np.array([2.0])], max_norm=2.0),
        case("no gradient at all", "勾配が 1 つもない", grads=[None, None], max_norm=1.0),
    ]  # fmt: skip


def _norm(grads):
    return np.sqrt(sum(float((g * g).sum()) for g in grads if g is not None))


def _scaled(grads, scale):
    return [None if g is None else g * scale for g in grads]


def _clipped(grads, max_norm):
    norm = float(_norm(grads))
    return _scaled(grads, max_norm / norm if norm > max_norm else 1.0)


clip_by_global_norm = Exercise(
    name="clip_by_global_norm",
    chapter="modules",
    title=both("Gradients kept within bounds", "勾配の長さを抑える"),
    task=both(
        """Seen as one long vector, the gradients have a norm: the root of the sum of all squares.
        If
        it is above max_norm, scale all by the same number, so that it becomes max_norm; if not,
        leave them. A gradient may be absent (None), and stays so.""",
        """すべての勾配を 1 本の長いベクトルと見ると、そのノルムは、全要素の 2 乗の和の平方根です。
        これが max_norm を超えるときは、ノルムが max_norm になるように、すべてに同じ数を掛けます。
        超えないときは変えません。勾配がない（None）ものは、そのままにします。""",
    ),
    signature="def clip_by_global_norm(grads, max_norm):",
    doc=both(
        "A list of new arrays, with None where there was None.",
        "新しい配列のリスト。None だったところは None。",
    ),
    answer=_clipped,
    cases=_gradients,
    mistakes=(
        Mistake(
            "each_alone",
            lambda grads, max_norm: [
                None if g is None else _clipped([g], max_norm)[0] for g in grads
            ],
            both(
                """You clip each gradient by itself. That turns the direction of the whole step, and
                leaves a long one if there are many. There is one norm for all.""",
                """勾配を 1 つずつ抑えています。それでは全体の向きが変わりますし、
                数が多ければ長いままです。
                ノルムは全体で 1 つです。""",
            ),
        ),
        Mistake(
            "always_scaled",
            lambda grads, max_norm: _scaled(grads, max_norm / (float(_norm(grads)) or 1.0)),
            both(
                "You scale short gradients up as well. Only what is too long is changed.",
                "短い勾配まで引き伸ばしています。変えるのは、長すぎるときだけです。",
            ),
        ),
        Mistake(
            "by_element",
            lambda grads, max_norm: [
                None if g is None else np.clip(g, -max_norm, max_norm) for g in grads
            ],
            both(
                """You cut each *element* to the bound. That changes the direction; the norm of all
                together is to be bounded, by one common factor.""",
                """*要素* ごとに切り詰めています。それでは向きが変わります。
                抑えるのは全体のノルムで、共通の数を掛けます。""",
            ),
        ),
        Mistake(
            "no_root",
            lambda grads, max_norm: _scaled(
                grads, max_norm / s if (s := float(_norm(grads)) ** 2) > max_norm else 1.0
            ),
            both(
                "You compare the sum of squares with max_norm: the square root is missing.",
                "2 乗の和を max_norm と比べています。平方根が抜けています。",
            ),
        ),
        Mistake(
            "absent_as_zero",
            lambda grads, max_norm: [
                np.zeros(1) if g is None else c
                for g, c in zip(grads, _clipped(grads, max_norm), strict=True)
            ],
            both(
                "You make an array of an absent gradient. It stays None: the optimizer skips it.",
                "勾配がないところに配列を入れています。None のままにします。"
                "オプティマイザはそれを飛ばします。",
            ),
        ),
    ),
)

EXERCISES = (named_parameters, momentum_step, adam_step, clip_by_global_norm)
