"""Exercises of the chapter `gpu`: one text for two array modules, transfers and launches.

No GPU is needed: a `Device` stands in for one. Its arrays are NumPy's inside, refuse to meet those
of NumPy, and count what would be costly.
"""

import operator
from typing import Any, NoReturn

import numpy as np

from minigrad.study.exercises.checking import Case, Exercise, Mistake, Wrong, case
from minigrad.study.exercises.words import both


def _normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


# -------------------------------------------------------------------------------- Device

MIXED = both(
    """An array of the device met NumPy. np.sqrt, np.mean and the like know arrays in the host's
    memory
    only: use the functions of `xp`, the module the arrays belong to, or methods of the arrays.""",
    """GPU の配列と NumPy が混ざりました。np.sqrt や np.mean などは、
    CPU のメモリにある配列しか扱えません。
    配列が属するモジュール `xp` の関数か、配列のメソッドを使いましょう。""",
)


class Device:
    """a stand-in for CuPy

    An array module, which counts transfers to the host.
    """

    __name__ = "device"

    def __init__(self) -> None:
        self.transfers = 0

    def array(self, x: Any) -> "DeviceArray":
        return DeviceArray(np.asarray(x), self)

    def asnumpy(self, x: "DeviceArray") -> np.ndarray:
        self.transfers += 1
        return x.inside.copy()

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        if isinstance(found, type) or not callable(found):
            return found  # a dtype, or a number as pi

        def call(*args: Any, **options: Any) -> Any:
            return self.wrapped(found(*map(self.inner, args), **options))

        return call

    def inner(self, x: Any) -> Any:
        """The NumPy array in one of ours; lists of ours too.

        Raises:
            Wrong: it is an array of NumPy.
        """
        if isinstance(x, DeviceArray):
            return x.inside
        if isinstance(x, np.ndarray):
            raise Wrong("mixed", MIXED)
        return [self.inner(part) for part in x] if isinstance(x, list | tuple) else x

    def wrapped(self, x: Any) -> Any:
        return DeviceArray(np.asarray(x), self) if isinstance(x, np.ndarray | np.generic) else x


class DeviceArray:
    """An array in the device's memory."""

    def __init__(self, inside: np.ndarray, device: Device):
        self.inside, self.device = inside, device

    shape = property(lambda self: self.inside.shape)
    ndim = property(lambda self: self.inside.ndim)
    size = property(lambda self: self.inside.size)
    dtype = property(lambda self: self.inside.dtype)
    T = property(lambda self: self.device.wrapped(self.inside.T))

    def __len__(self) -> int:
        return len(self.inside)

    def __getitem__(self, at: Any) -> Any:
        return self.device.wrapped(self.inside[at])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in (
            "sum", "mean", "max", "min", "var", "std", "reshape", "astype", "transpose", "copy",
            "ravel", "squeeze",
        ):  # fmt: skip
            raise AttributeError(f"an array of the device has no attribute {name!r}")
        method = getattr(self.inside, name)
        return lambda *args, **options: self.device.wrapped(method(*args, **options))

    def _fetched(self) -> np.ndarray:
        self.device.transfers += 1
        return self.inside

    def __float__(self) -> float:
        return float(self._fetched())

    def __bool__(self) -> bool:
        return bool(self._fetched())

    def item(self) -> Any:
        return self._fetched().item()

    def get(self) -> np.ndarray:
        return self._fetched().copy()

    def tolist(self) -> Any:
        return self._fetched().tolist()

    def _mixed(self, *args: Any, **options: Any) -> NoReturn:
        raise Wrong("mixed", MIXED)

    __array__ = __array_ufunc__ = __array_function__ = _mixed

    def __neg__(self) -> "DeviceArray":
        return self.device.wrapped(-self.inside)

    def __repr__(self) -> str:
        return f"device array{self.shape}"


def _operator(name: str, backward: bool) -> Any:
    def apply(self: DeviceArray, other: Any) -> DeviceArray:
        pair = (self.inside, self.device.inner(other))
        return self.device.wrapped(getattr(operator, name)(*(pair[::-1] if backward else pair)))

    return apply


for _name in ("add", "sub", "mul", "truediv", "pow", "matmul"):
    setattr(DeviceArray, f"__{_name}__", _operator(_name, False))
    setattr(DeviceArray, f"__r{_name}__", _operator(_name, True))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(DeviceArray, f"__{_name}__", _operator(_name, False))


def _never_to_host(device: Device, allowed: int) -> None:
    if device.transfers > allowed:
        raise Wrong(
            "transfers",
            both(
                f"""Transfers from the device to the host (float(), .item(), `if`, asnumpy): there
                are
                {device.transfers}, and {allowed} would do. At each of them the host waits for all
                work before it. Go on computing with arrays of the device, also with those that hold
                one number.""",
                f"""GPU から CPU への転送（float()、.item()、if、asnumpy）
                が {device.transfers} 回あります。
                {allowed} 回で足ります。転送のたびに、CPU はそれまでの計算をすべて待ちます。
                数が 1 つの配列でも、GPU の配列のまま計算を続けましょう。""",
            ),
        )


# --------------------------------------------------------------------------- normalise


def _rows() -> list[Case]:
    return [
        case("two rows", "2 行", xp=np, x=np.array([[1.0, 2.0, 3.0], [-4.0, 0.0, 10.0]]), eps=1e-5),
        case("a vector", "ベクトル", xp=np, x=np.array([1.0, -1.0, 4.0]), eps=1e-5),
        case("a square matrix", "正方行列", xp=np, x=_normal(3, 3), eps=1e-5),
        case("three axes", "軸が 3 つ", xp=np, x=_normal(2, 3, 4), eps=1e-5),
        case("a large eps", "大きな eps", xp=np, x=_normal(2, 3), eps=2.0),
        case("a row of equal numbers", "すべて等しい行", xp=np,
             x=np.array([[5.0, 5.0, 5.0], [1.0, 2.0, 4.0]]), eps=1e-2),
        case("arrays of the device", "GPU の配列", xp=Device, float32=False,
             x=np.array([[1.0, 2.0, 3.0], [-4.0, 0.0, 10.0]]), eps=1e-5),
        case("three axes, on the device", "GPU の、軸が 3 つの配列", xp=Device, float32=False,
             x=_normal(2, 3, 4), eps=1e-5),
    ]  # fmt: skip


def _on_either(function: Any, args: dict[str, Any]) -> Any:
    if args["xp"] is np:
        return function(*args.values())
    device = Device()
    x = device.array(args["x"])
    found = function(device, x, args["eps"])
    _never_to_host(device, allowed=0)
    if isinstance(found, np.ndarray):
        raise Wrong("mixed", MIXED)
    return found.inside if isinstance(found, DeviceArray) else found


def _normalised(xp, x, eps, *, inside=True, axis=-1, keep=True, ddof=0, root=True):
    mean = xp.mean(x, axis=axis, keepdims=True)
    centred = x - mean
    var = xp.sum(centred * centred, axis=axis, keepdims=keep) / (
        (x.size if axis is None else x.shape[axis]) - ddof
    )
    if not root:
        return centred / (var + eps)
    return centred / (xp.sqrt(var + eps) if inside else xp.sqrt(var) + eps)


def _normalised_with(**options):
    return lambda xp, x, eps: _normalised(xp, x, eps, **options)


normalise = Exercise(
    name="normalise",
    chapter="gpu",
    title=both("One text for two array modules", "2 つの配列モジュールで動くコード"),
    task=both(
        """Normalise x along its last axis: take its mean off, and divide by the square root of its
        variance plus eps. The variance is the plain mean of the squares (no n - 1). `xp` is the
        array
        module that x belongs to: NumPy, or that of a GPU, whose arrays must never meet NumPy's, nor
        be fetched to the host. Write one text for both.""",
        """x を最後の軸に沿って正規化しましょう。平均を引き、
        分散に eps を足したものの平方根で割ります。
        分散は 2 乗の単純な平均です（n - 1 では割りません）。`xp` は x の属する配列モジュールで、
        NumPy か、GPU のものです。GPU の配列を NumPy と混ぜたり、CPU に転送したりしてはいけません。
        どちらでも動く 1 つのコードを書いてください。""",
    ),
    signature="def normalise(xp, x, eps):",
    doc=both(
        "An array of xp, with the shape and dtype of x.",
        "xp の配列。形と dtype は x と同じ。",
    ),
    answer=_normalised,
    cases=_rows,
    run=_on_either,
    imports="",
    mistakes=(
        Mistake(
            "eps_outside",
            _normalised_with(inside=False),
            both(
                """eps is added after the root; it belongs to the variance, under the root. (With
                Adam it is the other way round.)""",
                """eps を平方根の後で足しています。分散に足してから平方根を取ります
                （Adam では逆です）。""",
            ),
        ),
        Mistake(
            "n_minus_1",
            _normalised_with(ddof=1),
            both(
                "You divide by n - 1. The variance here is the plain mean of the squares.",
                "n - 1 で割っています。ここでの分散は、2 乗の単純な平均です。",
            ),
        ),
        Mistake(
            "over_everything",
            _normalised_with(axis=None),
            both(
                "You take one mean of all elements. Each row along the last axis has its own.",
                "全要素で 1 つの平均を取っています。最後の軸に沿って、行ごとに取りましょう。",
            ),
        ),
        Mistake(
            "first_axis",
            _normalised_with(axis=0),
            both(
                "You go along the first axis; the last one is meant (axis=-1).",
                "先頭の軸に沿っています。最後の軸（axis=-1）に沿って正規化しましょう。",
            ),
        ),
        Mistake(
            "lost_axis",
            _normalised_with(keep=False),
            both(
                """The variance has lost its axis, and lines up with the wrong one: keepdims=True
                keeps it.""",
                """分散を取った軸が消え、別の軸と揃えられています。keepdims=True で残しましょう。
                """,
            ),
        ),
        Mistake(
            "no_root",
            _normalised_with(root=False),
            both(
                "You divide by the variance itself: the square root is missing.",
                "分散そのもので割っています。平方根が抜けています。",
            ),
        ),
    ),
)

# --------------------------------------------------------------------------- mean_loss


def _batches() -> list[Case]:
    def at(en, ja, *sizes, seed=0):
        predictions = [_normal(n, seed=seed + i) for i, n in enumerate(sizes)]
        targets = [_normal(n, seed=seed + i + 50) for i, n in enumerate(sizes)]
        return case(en, ja, xp=Device, predictions=predictions, targets=targets)

    return [
        case("one batch", "バッチが 1 つ", xp=Device, predictions=[np.array([1.0, 2.0])],
             targets=[np.array([0.0, 4.0])]),
        at("two batches", "バッチが 2 つ", 3, 3),
        at("batches of different sizes", "大きさの違うバッチ", 4, 1, 2),
        at("ten batches", "バッチが 10", *[2] * 10),
        at("batches of one", "1 つずつのバッチ", 1, 1, 1, seed=7),
    ]  # fmt: skip


def _on_device(function: Any, args: dict[str, Any]) -> Any:
    device = Device()
    pairs = [[device.array(a) for a in args[name]] for name in ("predictions", "targets")]
    found = function(device, *pairs)
    if isinstance(found, DeviceArray):
        raise Wrong(
            "not_fetched",
            both(
                """Your result is still an array of the device. A number is wanted for the log:
                fetch it once, at the end, with float().""",
                """結果がまだ GPU の配列です。記録のために数が必要なので、最後に一度だけ
                float() で取り出しましょう。""",
            ),
        )
    _never_to_host(device, allowed=1)
    return found


def _mean_loss(xp, predictions, targets, *, squared=True, total=False, per_batch=False):
    losses, count = 0.0, 0
    for y, t in zip(predictions, targets, strict=True):
        e = (y - t) ** 2 if squared else xp.abs(y - t)
        losses = losses + (xp.mean(e) if per_batch else xp.sum(e))
        count += 1 if per_batch else len(y)
    return float(losses) / (1 if total else count)  # type: ignore[arg-type]


def _mean_loss_with(**options):
    return lambda xp, predictions, targets: _mean_loss(xp, predictions, targets, **options)


def _last_batch(xp, predictions, targets):
    return _mean_loss(xp, predictions[-1:], targets[-1:])


mean_loss = Exercise(
    name="mean_loss",
    chapter="gpu",
    title=both("One transfer for an epoch", "1 エポックに 1 回の転送"),
    task=both(
        """`predictions` and `targets` are lists of vectors, a pair for each batch, in the memory
        of a
        GPU; `xp` is their array module. Give the mean of all squared errors, as a Python float.
        Every
        float() of an array makes the host wait for the device: do it once, at the end. The batches
        may differ in size.""",
        """`predictions` と `targets` は、バッチごとのベクトルのリストで、GPU のメモリにあります。
        `xp` はその配列モジュールです。すべての 2 乗誤差の平均を、Python の float で返しましょう。
        配列に float() を使うたびに CPU が GPU を待つので、最後に一度だけにしてください。
        バッチの大きさは違うことがあります。""",
    ),
    signature="def mean_loss(xp, predictions, targets):",
    doc=both(
        "The mean squared error over all elements, a float.",
        "全要素の 2 乗誤差の平均（float）。",
    ),
    answer=_mean_loss,
    cases=_batches,
    run=_on_device,
    imports="",
    mistakes=(
        Mistake(
            "mean_of_means",
            _mean_loss_with(per_batch=True),
            both(
                """You take the mean of the batches' means. A small batch then counts as much as a
                large one: sum up all errors, and divide by their number.""",
                """バッチの平均の平均を取っています。
                それでは小さなバッチが大きなバッチと同じだけ効きます。
                誤差をすべて足し、その個数で割りましょう。""",
            ),
        ),
        Mistake(
            "not_divided",
            _mean_loss_with(total=True),
            both(
                "That is the sum of all squared errors. Divide by their number.",
                "これは 2 乗誤差の和です。個数で割りましょう。",
            ),
        ),
        Mistake(
            "not_squared",
            _mean_loss_with(squared=False),
            both(
                "You take absolute errors; squared ones are meant.",
                "絶対誤差になっています。2 乗誤差を使いましょう。",
            ),
        ),
        Mistake(
            "last_batch",
            _last_batch,
            both(
                "Only the last batch counts: the sum is overwritten in the loop.",
                "最後のバッチしか入っていません。ループの中で和を上書きしています。",
            ),
        ),
    ),
)

# ---------------------------------------------------------------------- count_launches


def _works() -> list[Case]:
    def work(en, ja, text):
        kinds = {"e": "elementwise", "r": "reduce", "m": "matmul", "v": "view"}
        return case(en, ja, kinds=[kinds[letter] for letter in text])

    return [
        work("one op", "演算が 1 つ", "e"),
        work("three elementwise ops", "要素ごとの演算が 3 つ", "eee"),
        work("a matrix product and what follows", "行列積とその後", "mee"),
        work("a softmax", "softmax", "reere"),
        work("elementwise ops before a reduction", "縮約の前の要素ごとの演算", "eer"),
        work("two reductions", "縮約が 2 つ", "rr"),
        work("a view by itself", "ビューだけ", "v"),
        work("a view before the first op", "最初の演算の前のビュー", "ve"),
        work("a view after a matrix product", "行列積の後のビュー", "mve"),
        work("a view between elementwise ops", "要素ごとの演算の間のビュー", "eve"),
        work("a view before a reduction", "縮約の前のビュー", "evr"),
        work("elementwise ops before a matrix product", "行列積の前の要素ごとの演算", "eem"),
        work("a layer and its loss", "層と損失", "vmevemevreer"),
        work("nothing", "何もない", ""),
    ]


def _launches(
    kinds, *, views=False, fuse=True, through_views=True, into_reduce=True, into_matmul=False
):
    count, running = 0, False
    for kind in kinds:
        if kind == "view":
            count += views
            running = running and through_views
        elif kind == "elementwise":
            count += not (running and fuse)
            running = True
        else:
            takes = into_reduce if kind == "reduce" else into_matmul
            count += not (running and takes)
            running = False
    return count


def _launches_with(**options):
    return lambda kinds: _launches(kinds, **options)


count_launches = Exercise(
    name="count_launches",
    chapter="gpu",
    title=both("How many kernels are launched", "カーネルの起動を数える"),
    task=both(
        """A program is a list of kinds of ops, in order, each working on the result of the one
        before.
        How many kernels does it launch?

        - Elementwise ops in a row become one kernel.
        - A reduction takes the run of elementwise ops right before it into its own kernel; what
          follows begins another.
        - A matmul is a kernel by itself, which takes in nothing.
        - A view (reshape, transpose) launches nothing, and does not end a run.""",
        """プログラムは演算の種類のリストで、それぞれが前の演算の結果を使います。
        カーネルは何回起動されるでしょうか。

        - 続いた要素ごとの演算（elementwise）は、1 つのカーネルになります。
        - 縮約（reduce）は、直前に続く要素ごとの演算を自分のカーネルに取り込みます。
        後に続くものは別です。
        - 行列積（matmul）は単独のカーネルで、何も取り込みません。
        - ビュー（view：reshape や transpose）は何も起動せず、演算の続きも切りません。""",
    ),
    signature="def count_launches(kinds):",
    doc=both(
        "The number of launches; kinds are 'elementwise', 'reduce', 'matmul' and 'view'.",
        "起動の回数。kinds の要素は 'elementwise'、'reduce'、'matmul'、'view'。",
    ),
    answer=_launches,
    cases=_works,
    imports="",
    mistakes=(
        Mistake(
            "each_op",
            len,
            both(
                "You count every op. Some share a kernel, and a view needs none.",
                "すべての演算を数えています。カーネルを共有する演算もあり、ビューには要りません。",
            ),
        ),
        Mistake(
            "not_fused",
            _launches_with(fuse=False, into_reduce=False),
            both(
                "You fuse nothing: elementwise ops in a row are one kernel.",
                "融合していません。続いた要素ごとの演算は、1 つのカーネルになります。",
            ),
        ),
        Mistake(
            "views_counted",
            _launches_with(views=True),
            both(
                """You count views. A view changes how the same memory is looked at: nothing is
                launched.""",
                """ビューを数えています。ビューは同じメモリの見方を変えるだけで、何も起動しません。
                """,
            ),
        ),
        Mistake(
            "ended_by_view",
            _launches_with(through_views=False),
            both(
                "You let a view end a run of elementwise ops. It moves nothing, so the run goes "
                "on.",
                "ビューで続きが切れると数えています。ビューは何も動かさないので、"
                "続きは切れません。",
            ),
        ),
        Mistake(
            "reduce_alone",
            _launches_with(into_reduce=False),
            both(
                """You count a reduction by itself. It reads each element once, and can compute the
                elementwise ops right before it while it does.""",
                """縮約を単独で数えています。縮約は各要素を一度ずつ読むので、
                直前の要素ごとの演算を、読みながら計算できます。""",
            ),
        ),
        Mistake(
            "into_matmul",
            _launches_with(into_matmul=True),
            both(
                """You let a matmul take in what is before it. It reads each element many times, and
                would compute it anew each time: it is a kernel by itself.""",
                """行列積に、直前の演算を取り込ませています。行列積は各要素を何度も読むので、
                そのたびに計算し直すことになります。単独のカーネルとして数えましょう。""",
            ),
        ),
    ),
)

EXERCISES = (normalise, mean_loss, count_launches)
