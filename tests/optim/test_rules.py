"""Optimizers against literal values of PyTorch and optax, and what holds for every one of them."""

import math

import numpy as np
import pytest
from support import EVERY, host, host_normal, parameter, set_gradient

from minigrad import kernels, nn, optim
from minigrad.autodiff import Tensor
from minigrad.backend import to_device
from minigrad.errors import StateError
from minigrad.sparse import SparseRows


def start(n):
    return np.sin(np.arange(1, n + 1))


def slope(t, n):
    return np.cos((t + 1) * np.arange(2, n + 2)) * 10.0 ** (t % 3 - 1)


# Six steps of w (2, 3) and b (2,) from `start` by `slope`, in float64; b has none in step 2.
# fmt: off
TORCH = [
    ("SGD", {},
     [0.824979622191, 0.9116196938421, 0.1283382266813, -0.7509694363857, -0.9653843451873,
      -0.2691505270987, 0.8345813250575, 0.9025083912232]),
    ("SGD", {"lr": 0.1, "momentum": 0.9},
     [-2.853869414536, 3.1570176057, -3.146445004206, 1.832442163873, -3.533149048839,
      2.110678853778, 0.4028133378346, 0.08079160089235]),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
     [-1.817755347937, 2.339228738071, -2.135404867291, 1.114783643989, -2.606374009579,
      1.398762668285, 0.449520888536, 0.2512035853827]),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
     [-4.143019398818, 2.816610341756, -3.963182636686, 2.139308251817, -3.554730554509,
      2.850383928077, -0.3959541929424, -0.648035572629]),
    ("SGD", {"lr": 0.1, "weight_decay": 0.2, "maximize": True},
     [2.345291175414, 0.6215316522475, 1.354883486328, -1.204940569546, -0.250230610394,
      -1.24140162099, 1.45549186903, 1.497143604456]),
    ("Adam", {},
     [0.8412305907017, 0.9111217428119, 0.1409073315701, -0.7551732293121, -0.9628846502404,
      -0.279070995688, 0.8441885385974, 0.9085049475205]),
    ("Adam", {"lr": 0.1, "betas": (0.5, 0.6), "eps": 0.1, "weight_decay": 0.1},
     [0.6568129942841, 0.9461085174292, -0.01069953172198, -0.5135013935256, -1.185702184021,
      -0.09635370596427, 0.901188825231, 0.734788618527]),
    ("Adam", {"amsgrad": True, "lr": 0.1, "betas": (0.8, 0.7)},
     [0.8377820672078, 1.061983033165, 0.150853278467, -0.6354342405267, -1.307483526801,
      -0.2691322008426, 1.099233456386, 0.8518473580821]),
    ("Adam", {"maximize": True, "lr": 0.1},
     [0.8655103954246, 0.726865828207, 0.1623876570371, -0.9197290948915, -0.5628867169353,
      -0.3138657492959, 0.5697156058544, 0.9885453573466]),
    ("AdamW", {"lr": 0.1},
     [0.811895104009, 1.085743946535, 0.1184615098501, -0.5894979375219, -1.348015502118,
      -0.2427443691124, 1.108191449215, 0.8254294794251]),
    ("AdamW", {"lr": 0.1, "betas": (0.8, 0.7), "weight_decay": 0.5, "amsgrad": True,
      "maximize": True},
     [0.6456049355164, 0.53948180996, 0.1195163533318, -0.6719866990839, -0.4096170110586,
      -0.2413264631336, 0.4314772117141, 0.7656500930562]),
    ("Adagrad", {},
     [0.8457789656016, 0.914195304354, 0.1453880042772, -0.7501706402182, -0.9871867938076,
      -0.2805303515267, 0.8596335554839, 0.90481875422]),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1,
      "initial_accumulator_value": 0.3, "eps": 0.001, "maximize": True},
     [0.8659985159393, 0.9011704964559, 0.2170063107352, -0.8689438228067, -0.7743621300526,
      -0.3691676927815, 0.7557049595811, 0.9727078165467]),
    ("RMSprop", {},
     [0.8840790032264, 0.9577756078527, 0.1832922932894, -0.6908925300462, -1.24131309751,
      -0.2899269757345, 1.023395329919, 0.8648089493399]),
    ("RMSprop", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
     [-3.606793064155, 4.270716308358, 2.848943084009, 10.50381420394, -12.31197814101,
      -1.157903007203, 0.7552717703005, 0.8510271689317]),
    ("RMSprop", {"lr": 0.1, "centered": True},
     [1.268774694521, 1.399441016684, 0.5668007078541, -0.09312012954246, -3.799753022642,
      -0.3852939561771, 2.676661026573, 0.4600622168277]),
    ("RMSprop", {"lr": 0.1, "alpha": 0.8, "centered": True, "momentum": 0.5, "eps": 0.1,
      "maximize": True},
     [1.026301614337, 0.8240318703883, 0.475646157439, -1.423639246644, -0.02634370565579,
      -0.7067594858769, 0.3837830551529, 1.211223125629]),
    ("Adafactor", {},
     [0.8412125935575, 0.9084604259309, 0.1404136991978, -0.751793696445, -0.9778460599548,
      -0.2744710165542, 0.8601456270921, 0.9069124463178]),
    ("Adafactor", {"lr": 0.1, "weight_decay": 0.1, "beta2_decay": -0.5, "eps": (0.001, 0.1),
      "d": 2.0, "maximize": True},
     [0.8020210936091, 0.8551141517078, 0.149009873824, -0.7735590551697, -0.7115456838105,
      -0.3341450649026, 0.6237669430051, 0.8938858847374]),
    # optax 0.2.8
    ("Lion", {"weight_decay": 0.001},
     [0.8414704798754, 0.9094968811774, 0.1409199233579, -0.7568020412565, -0.9593236991587,
      -0.2792153305197, 0.8417705639725, 0.9091969721771]),
    ("Lion", {"lr": 0.1, "betas": (0.5, 0.7), "weight_decay": 0.3},
     [0.492967156875, 0.9371207222698, -0.09040560038078, -0.4453821134219, -1.155517059211,
      -0.02479067131299, 0.9934863472938, 0.6810166208967]),
]
# fmt: on


@pytest.mark.parametrize(("name", "options", "expected"), TORCH)
def test_trajectories(path, name, options, expected):
    w = nn.Parameter(start(6).reshape(2, 3))
    b = nn.Parameter(start(2))
    optimizer = getattr(optim, name)({"w": w, "b": b}, **options)
    for t in range(6):
        set_gradient(w, slope(t, 6).reshape(2, 3))
        set_gradient(b, None if t == 2 else slope(t, 2))
        optimizer.step()
    np.testing.assert_allclose([*host(w).ravel(), *host(b)], expected, rtol=1e-11, atol=1e-13)
    state = optimizer.state_dict()
    assert (state["step.w"], state["step.b"]) == (6, 5)


OPTIONS = {
    "NAdam": [
        {}, {"lr": 0.1, "betas": (0.5, 0.6), "eps": 0.1, "momentum_decay": 0.3},
        {"lr": 0.1, "weight_decay": 0.2}, {"lr": 0.1, "momentum_decay": 0.0, "maximize": True},
        {"lr": 0.1, "weight_decay": 0.2, "decoupled_weight_decay": True},
    ],
    "RAdam": [
        {}, {"lr": 0.1, "betas": (0.5, 0.6), "eps": 0.1}, {"lr": 0.1, "weight_decay": 0.2},
        {"lr": 0.1, "weight_decay": 0.2, "decoupled_weight_decay": True, "maximize": True},
        {"betas": (0.9, 0.5)}, {"betas": (0.0, 0.0)},
    ],
    "Adamax": [{}, {"lr": 0.1, "betas": (0.5, 0.6), "eps": 0.1, "weight_decay": 0.2},
               {"maximize": True}],
    "Adadelta": [{}, {"lr": 0.5, "rho": 0.5, "eps": 1e-3, "weight_decay": 0.2}, {"maximize": True},
                 {"rho": 1.0}],
    "ASGD": [{}, {"lr": 0.1, "lambd": 0.1, "alpha": 0.5, "t0": 3, "weight_decay": 0.1},
             {"t0": 0.0, "maximize": True}],
    "Rprop": [{}, {"lr": 0.1, "etas": (0.3, 1.9), "step_sizes": (0.05, 0.15)}, {"maximize": True}],
    "Adam": [{"amsgrad": True, "weight_decay": 0.1}], "AdamW": [{}],
    "RMSprop": [{"centered": True}], "SGD": [{"lr": 0.1, "momentum": 0.9, "nesterov": True}],
    "Adagrad": [{"lr_decay": 0.1}],
}  # fmt: skip


@pytest.mark.peer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "options"), [(n, o) for n, several in OPTIONS.items() for o in several]
)
def test_every_step_is_that_of_pytorch(path, name, options, dtype, request):
    """Twelve steps with rates that change, gradients that are absent, zero, large and small."""
    torch = pytest.importorskip("torch")
    request.addfinalizer(lambda: torch.set_default_dtype(torch.float32))
    torch.set_default_dtype(getattr(torch, dtype))  # which the numbers in its state have
    w, b = nn.Parameter(start(6).reshape(2, 3).astype(dtype)), nn.Parameter(start(2).astype(dtype))
    optimizer = getattr(optim, name)({"w": w, "b": b}, **options)
    theirs = [torch.nn.Parameter(torch.tensor(host(p))) for p in (w, b)]
    reference = getattr(torch.optim, name)(theirs, **options)
    exact = {"rtol": 1e-10, "atol": 1e-12} if dtype == "float64" else {"rtol": 1e-4, "atol": 1e-6}
    for t in range(12):
        if t == 8 and name not in ("ASGD", "Rprop"):  # whose rates are settled a step before
            optimizer.lr = optimizer.lr / 4
            reference.param_groups[0]["lr"] /= 4
        g, h = slope(t, 6).reshape(2, 3), None if t in (2, 3) else slope(t, 2) * (t != 5)
        for p, q, x in zip((w, b), theirs, (g, h), strict=True):
            set_gradient(p, x)
            q.grad = None if x is None else torch.tensor(x.astype(dtype))
        optimizer.step()
        reference.step()
        for p, q in zip((w, b), theirs, strict=True):
            np.testing.assert_allclose(host(p), q.detach().numpy(), err_msg=f"step {t}", **exact)
    state = optimizer.state_dict()
    for which, q in (("w", theirs[0]), ("b", theirs[1])):
        for key, x in reference.state[q].items():
            if key in ("eta", "mu") or x is None:
                continue  # functions of the step
            np.testing.assert_allclose(state[f"{key}.{which}"], x.numpy(), err_msg=key, **exact)


def test_names_of_pytorch_that_are_elsewhere():
    for name, hint in (("LBFGS", "scipy"), ("lr_scheduler", "schedules"), ("swa_utils", "EMA")):
        with pytest.raises(AttributeError, match=hint):
            getattr(optim, name)
    with pytest.raises(AttributeError, match="no attribute 'Adma'"):
        _ = optim.Adma


def test_defaults_are_those_of_pytorch():
    p = {"p": parameter(2)}
    settings = {
        optim.SGD: "lr=0.001, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False",
        optim.Adam: "lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0, amsgrad=False",
        optim.AdamW: "lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01, amsgrad=False",
        optim.Adagrad: "lr=0.01, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, "
        "eps=1e-10",
        optim.RMSprop: "lr=0.01, alpha=0.99, eps=1e-08, weight_decay=0.0, momentum=0.0, "
        "centered=False",
        optim.Lion: "lr=0.0001, betas=(0.9, 0.99), weight_decay=0.001",
        optim.Adafactor: "lr=0.01, beta2_decay=-0.8, eps=(None, 0.001), d=1.0, weight_decay=0.0",
        optim.SparseAdam: "lr=0.001, betas=(0.9, 0.999), eps=1e-08",
        optim.NAdam: "lr=0.002, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0, "
        "momentum_decay=0.004, decoupled_weight_decay=False",
        optim.RAdam: "lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0, "
        "decoupled_weight_decay=False",
        optim.Adamax: "lr=0.002, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0",
        optim.Adadelta: "lr=1.0, rho=0.9, eps=1e-06, weight_decay=0.0",
        optim.ASGD: "lr=0.01, lambd=0.0001, alpha=0.75, t0=1000000.0, weight_decay=0.0",
        optim.Rprop: "lr=0.01, etas=(0.5, 1.2), step_sizes=(1e-06, 50.0)",
    }
    for kind, text in settings.items():
        expected = f"{kind.__name__}(1 parameters, 2 numbers; {text}, maximize=False)"
        assert repr(kind(p)) == expected
        assert repr(kind.torch(p)) == expected
    assert optim.Adam.keras(p).eps == 1e-7
    assert optim.Adam.keras(p, 0.5, eps=1e-3).eps == 1e-3
    assert optim.SGD.keras(p).lr == 0.01


# ------------------------------------------------------------------------------ loops in Python


def lion_loop(w, gradients, lr, betas, weight_decay):
    """Algorithm 2 of the paper, for one weight; None is no gradient."""
    m = 0.0
    for g in gradients:
        if g is not None:
            u = betas[0] * m + (1 - betas[0]) * g
            w -= lr * ((u > 0) - (u < 0) + weight_decay * w)
            m = betas[1] * m + (1 - betas[1]) * g
    return w


def test_lion_is_its_loop(path):
    options = {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1}
    p = parameter(7)
    before = host(p)
    gradients = [None if i in (2, 3) else host_normal(7, seed=i) for i in range(9)]
    optimizer = optim.Lion({"p": p}, **options)
    for g in gradients:
        set_gradient(p, g)
        optimizer.step()
    for i in range(7):
        mine = [None if g is None else float(g[i]) for g in gradients]
        assert host(p)[i] == pytest.approx(lion_loop(before[i], mine, **options), rel=1e-12)


def adafactor_loop(w, gradients, lr, decay, eps, d, weight_decay):
    """Algorithm 4 of the paper with PyTorch's step sizes, for a matrix, a number at a time."""
    rows, columns = len(w), len(w[0])
    R, C = [0.0] * rows, [0.0] * columns
    every = [(i, j) for i in range(rows) for j in range(columns)]

    def size(x):
        return math.sqrt(sum(x[i][j] ** 2 for i, j in every) / len(every))

    for t, g in enumerate(gradients, start=1):
        new, alpha = t**decay, max(eps[1], size(w)) * min(lr, 1 / math.sqrt(t))
        for i in range(rows):
            R[i] += new * (sum(g[i][j] ** 2 for j in range(columns)) / columns - R[i])
        for j in range(columns):
            C[j] += new * (sum(g[i][j] ** 2 for i in range(rows)) / rows - C[j])
        mean = max(sum(R) / rows, eps[0])
        u = [
            [g[i][j] / math.sqrt(max(R[i] * C[j] / mean, eps[0] ** 2)) for j in range(columns)]
            for i in range(rows)
        ]
        shrink = max(1, size(u) / d)
        w = [
            [w[i][j] * (1 - lr * weight_decay) - alpha * u[i][j] / shrink for j in range(columns)]
            for i in range(rows)
        ]
    return w


def test_adafactor_is_its_loop():
    p = parameter(3, 4)
    before, gradients = host(p).tolist(), [host_normal(3, 4, seed=i) for i in range(7)]
    optimizer = optim.Adafactor({"p": p}, 0.05, -0.7, (1e-6, 1e-2), 1.0, 0.1)
    for g in gradients:
        set_gradient(p, g)
        optimizer.step()
    expected = adafactor_loop(before, gradients, 0.05, -0.7, (1e-6, 1e-2), 1.0, 0.1)
    np.testing.assert_allclose(host(p), expected, rtol=1e-12)


def test_adafactor_keeps_little():
    model = {"w": parameter(30, 20), "b": parameter(5), "c": parameter(2, 3, 4)}
    state = optim.Adafactor(model).state_dict()
    assert {k: v.shape for k, v in state.items() if not k.startswith("step")} == {
        "row_var.w": (30, 1),
        "col_var.w": (1, 20),
        "variance.b": (5,),
        "row_var.c": (2, 3, 1),
        "col_var.c": (2, 1, 4),
    }


# --------------------------------------------------------------------------- every one of them


@pytest.fixture(params=EVERY)
def make(request):
    kind, options = EVERY[request.param]

    def make(parameters, **more):
        return kind(parameters, **{"lr": 0.02, **options, **more})

    return make


def step_of(optimizer, model, i, absent=""):
    for name, p in model.items():
        set_gradient(p, None if name in absent else host_normal(*p.shape, seed=i))
    optimizer.step()


def model_of(dtype="float64"):
    shapes = {"a": (3, 4), "b": (0,), "c": (), "d": (7,), "e": (2, 3)}
    return {n: parameter(*s, dtype=dtype) for n, s in shapes.items()}


def test_kernels_decline_what_they_do_not_cover():
    """Nothing has changed then, and the formula answers."""
    from minigrad.kernels import updates

    def flat(dtype="float32"):
        return [np.ones(4, dtype) for _ in range(3)]

    one, four, numbers = np.array([0]), np.array([4]), [0.1, 0.9, 0, 0, 0, 0]
    for (w, g, m), segments in [
        (flat("float16"), (one, four, four)),
        ([np.ones(8, np.float32)[::2], *flat()[1:]], (one, four, four)),
        ([*flat()[:2], np.ones(3, np.float32)], (one, four, four)),
        ([*flat()[:2], np.ones(4)], (one, four, four)),
        (flat(), (one, four + 1, four)),
        (flat(), (one - 1, four, four)),
        (flat(), (four, one, four)),
        (flat(), (one, np.array([1, 4]), four)),
        (flat(), (one.astype(np.int32), four, four)),
    ]:
        for rule in updates.RULES:
            assert updates.step(rule, w, g, [m], *segments, numbers) is NotImplemented
        assert (w == 1).all()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-14)])
def test_kernels_agree_with_formulas(make, monkeypatch, dtype, tolerance):
    def run():
        model = model_of(dtype)
        optimizer = make(model)
        for i in range(6):
            step_of(optimizer, model, i, absent="abcde"[i % 5 : i % 5 + 2])
        return {name: host(p) for name, p in model.items()} | optimizer.state_dict()

    fast = run()
    monkeypatch.setattr(kernels, "_decision", False)
    slow = run()
    assert fast.keys() == slow.keys()
    for name, x in fast.items():
        np.testing.assert_allclose(x, slow[name], rtol=tolerance, atol=tolerance, strict=True)


def test_absent_gradients_change_nothing(path, make):
    model = model_of("float32")
    optimizer = make(model)

    def state():
        return {f"w.{n}": host(p) for n, p in model.items()} | optimizer.state_dict()

    for i, absent in enumerate(["", "ab", "cde", "abcde", "a", ""]):
        before = state()
        step_of(optimizer, model, i, absent)
        for key, new in state().items():
            same = new.tobytes() == before[key].tobytes()
            if key[-1] in absent or key.startswith("step."):
                assert same == (key[-1] in absent), (key, absent)
    assert optimizer.step_count == 5  # one step had no gradients at all


def test_a_saved_state_goes_on_to_the_bit(path, make):
    def run(model, optimizer, steps):
        for i in steps:
            step_of(optimizer, model, i, absent="ad"[i % 2])

    def fresh():
        model = model_of("float32")
        rate = optim.schedules.Linear(0.05, 0.01, 8)
        return model, make([{"params": model, "name": "all"}], lr=rate)

    through = fresh()
    run(*through, range(8))
    first, second = fresh(), fresh()
    run(*first, range(5))
    for name, p in second[0].items():
        p.data[...] = first[0][name].data
    second[1].load_state_dict(first[1].state_dict())
    run(*second, range(5, 8))
    for name, p in second[0].items():
        assert host(p).tobytes() == host(through[0][name]).tobytes(), name
    state, expected = second[1].state_dict(), through[1].state_dict()
    assert state.keys() == expected.keys()
    assert all(state[k].tobytes() == expected[k].tobytes() for k in state)
    assert int(state["step"]) == second[1].step_count == 8


def test_options_out_of_range(make):
    for wrong in ({"lr": -1}, {"lr": math.nan}, {"lr": "0.1"}, {"lr": True}):
        with pytest.raises(ValueError, match="must be finite and not negative"):
            make({"p": parameter(2)}, **wrong)
    with pytest.raises(ValueError, match=r"lr must be .* is -1.0 at step 0"):
        step_of(make(model := model_of(), lr=lambda t: -1.0), model, 0)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (optim.SGD, {"momentum": -0.1}),
        (optim.SGD, {"nesterov": True}),
        (optim.SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}),
        (optim.AdamW, {"betas": (0.9, 1.0)}),
        (optim.AdamW, {"betas": (0.9,)}),
        (optim.RMSprop, {"alpha": -1.0}),
        (optim.Lion, {"betas": (1.0, 0.9)}),
        (optim.Adafactor, {"d": 0.5}),
        (optim.Adafactor, {"beta2_decay": 0.5}),
        (optim.Adafactor, {"eps": (None, -1.0)}),
        (optim.Adagrad, {"initial_accumulator_value": -1.0}),
        (optim.NAdam, {"momentum_decay": -1.0}),
        (optim.NAdam, {"decoupled_weight_decay": 0.1}),
        (optim.RAdam, {"betas": (0.9, -0.1)}),
        (optim.Adadelta, {"rho": 1.1}),
        (optim.Rprop, {"etas": (1.0, 1.2)}),
        (optim.Rprop, {"step_sizes": (1.0, 0.1)}),
        (optim.SGD, {"nesterov": "yes", "momentum": 0.9}),
        (optim.SGD, {"momentum": True}),
        (optim.Adam, {"amsgrad": 1}),
        (optim.Adam, {"betas": (True, 0.9)}),
    ],
)
def test_wrong_options_are_refused(kind, wrong):
    with pytest.raises(ValueError, match=f"^{kind.__name__}: "):
        kind({"p": parameter(2)}, **wrong)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_that_are_not_finite_are_seen(path, make, dtype):
    p = nn.Parameter(np.ones(3, dtype))
    optimizer = make({"p": p})
    set_gradient(p, [math.nan, 1.0, 1.0])
    optimizer.step()
    if "Adafactor" not in type(optimizer).__name__:  # whose step size is that of all
        assert np.isfinite(host(p)).tolist() == [False, True, True]
    assert not np.isfinite(host(p))[0]


def test_zeros_for_ever_stay_fast(make):
    """Moments fall to 0 and not into denormal numbers."""
    p = nn.Parameter(np.ones(4, np.float32))
    optimizer = make({"p": p}, lr=1e-3)
    set_gradient(p, np.full(4, 1e-19))
    optimizer.step()
    set_gradient(p, np.zeros(4))
    for _ in range(60):
        optimizer.step()
    tiny = np.finfo(np.float32).tiny
    for key, x in optimizer.state_dict().items():
        if not key.startswith(("step", "sum", "max", "variance")):
            assert not ((np.abs(x) > 0) & (np.abs(x) < tiny)).any(), key


# ------------------------------------------------------------------------------------- groups


def test_groups_have_options_of_their_own(path, make):
    model, twin = model_of(), model_of()
    grouped = make(
        [{"params": {"a": model["a"], "b": model["b"]}, "lr": 0.5}, {"params": {"c": model["c"]}}]
    )
    grouped.add_param_group({"params": {k: model[k] for k in "de"}, "lr": 0.0})
    assert [g["lr"] for g in grouped.param_groups] == [0.5, 0.02, 0.0]
    assert grouped.param_groups[0]["params"][0] is model["a"]
    names = dict(zip("abcde", model.values(), strict=True))
    assert all(grouped.parameters[n] is p for n, p in names.items())
    alone = [make({k: twin[k] for k in "ab"}, lr=0.5), make({"c": twin["c"]})]
    alone.append(make({k: twin[k] for k in "de"}, lr=0.0))
    for i in range(4):
        step_of(grouped, model, i)
        for p in twin.values():
            set_gradient(p, host_normal(*p.shape, seed=i))
        for optimizer in alone:
            optimizer.step()
    for name, p in model.items():
        assert host(p).tobytes() == host(twin[name]).tobytes(), name


def test_options_may_be_assigned(path):
    model = model_of()
    optimizer = optim.SGD([{"params": {"a": model["a"]}}, {"params": {"e": model["e"]}, "lr": 1.0}])
    for group in optimizer.param_groups:
        group["lr"] *= 0.5
    assert optimizer.learning_rates() == [0.0005, 0.5]
    with pytest.raises(StateError, match=r"SGD.lr: the groups .* \[0.0005, 0.5\]; read them from"):
        _ = optimizer.lr
    optimizer.lr = 0.25
    assert optimizer.lr == 0.25
    before = host(model["a"])
    step_of(optimizer, model, 0)
    np.testing.assert_allclose(host(model["a"]), before - 0.25 * host_normal(3, 4), rtol=1e-12)
    with pytest.raises(ValueError, match="lr, momentum, dampening and weight_decay must be"):
        optimizer.lr = -1.0
    assert optimizer.lr == 0.25
    optimizer.param_groups[0]["momentum"] = 0.9
    with pytest.raises(StateError, match=r"it keeps \['momentum_buffer'\], .* make another"):
        step_of(optimizer, model, 0)


def test_names_of_groups_go_before_those_of_parameters():
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    groups = [{"params": m.parameters()} for m in (one, two)]
    with pytest.raises(StateError, match=r"two parameters are called 'weight', .* a 'name' each"):
        optim.SGD(groups)
    for name, group in zip("xy", groups, strict=True):
        group["name"] = name
    optimizer = optim.SGD(groups, lr=0.1)
    assert list(optimizer.parameters) == ["x.weight", "x.bias", "y.weight", "y.bias"]
    assert "step.y.bias" in optimizer.state_dict()
    assert "\n  x: 2 parameters, 6 numbers; lr=0.1" in repr(optimizer)
    with pytest.raises(StateError, match="one and the same parameter"):
        optimizer.add_param_group({"params": one, "name": "z"})
    assert len(optimizer.param_groups) == 2
    with pytest.raises(StateError, match=r"has the options \['rate'\]; there are lr, momentum"):
        optimizer.add_param_group({"params": {"p": parameter(2)}, "rate": 1})
    with pytest.raises(StateError, match=r"a group .* must have 'params', and has \['lr'\]"):
        optim.SGD([{"lr": 1.0}])


def test_a_group_added_later_knows_the_step():
    model = model_of()
    optimizer = optim.SGD({"a": model["a"]}, lr=lambda t: float(t))
    for i in range(3):
        step_of(optimizer, model, i)
    optimizer.add_param_group({"params": {"d": model["d"]}})
    assert (optimizer.step_count, optimizer.learning_rates()) == (3, [3.0, 3.0])
    before = host(model["d"])
    step_of(optimizer, model, 0)
    np.testing.assert_allclose(host(model["d"]), before - 3 * host_normal(7), rtol=1e-12)


# -------------------------------------------------------------------------------- ways to call


def test_four_ways_to_call(path):
    def network():
        model = nn.Linear(3, 2, dtype="float64")
        for name, p in model.named_parameters():
            p.data[...] = to_device(host_normal(*p.shape, seed=len(name)))
        return model, optim.Adam(model, lr=0.1)

    grads = {"weight": to_device(host_normal(2, 3)), "bias": to_device(host_normal(2))}
    calls = {
        "step()": lambda m, o: o.step(),
        "step(gradients)": lambda m, o: o.step(grads),
        "apply_gradients": lambda m, o: o.apply_gradients(
            zip(grads.values(), m.parameters(), strict=True)
        ),
        "apply in order": lambda m, o: o.apply(list(grads.values())),
        "apply": lambda m, o: o.apply(list(grads.values())[::-1], [m.bias, m.weight]),
        "update(gradients)": lambda m, o: o.update(grads),
        "update(model, gradients)": lambda m, o: o.update(m, grads),
    }
    found = {}
    for name, call in calls.items():
        model, optimizer = network()
        if name == "step()":
            model.weight.grad, model.bias.grad = map(Tensor, grads.values())
        call(model, optimizer)
        found[name] = [host(p).tobytes() for p in model.parameters()]
    assert all(values == found["step()"] for values in found.values())


def test_what_is_absent_in_a_call_is_skipped():
    model = nn.Linear(3, 2)
    optimizer = optim.Adam(model)
    optimizer.apply_gradients([(to_device(np.ones(2, np.float32)), model.bias)])
    optimizer.update(model, {"bias": to_device(np.ones(2, np.float32)), "weight": None})
    optimizer.apply([None, to_device(np.ones(2, np.float32))])
    state = optimizer.state_dict()
    assert (state["step.weight"], state["step.bias"]) == (0, 3)


def test_wrong_calls_are_named():
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    optimizer = optim.Adam(model)
    g = to_device(np.ones(2, np.float32))
    with pytest.raises(StateError, match="apply: 1 gradients for 2 parameters"):
        optimizer.apply([g])
    other.parameters()
    with pytest.raises(StateError, match="'bias' was given and is not among the parameters"):
        optimizer.apply_gradients([(g, other.bias)])
    with pytest.raises(StateError, match="'bias' was given twice"):
        optimizer.apply_gradients([(g, model.bias), (g, model.bias)])
    with pytest.raises(StateError, match=r"no parameters called \['b'\]; it has weight, bias"):
        optimizer.update(model, {"b": g})


def test_optimizers_by_name():
    model = nn.Linear(3, 2)
    for name, kind in {
        "sgd": optim.SGD, "Adam": optim.Adam, "adamw": optim.AdamW, "adagrad": optim.Adagrad,
        "RMSprop": optim.RMSprop, "lion": optim.Lion, "adafactor": optim.Adafactor,
        "sparse_adam": optim.SparseAdam, "nadam": optim.NAdam, "RAdam": optim.RAdam,
        "adamax": optim.Adamax, "adadelta": optim.Adadelta, "asgd": optim.ASGD,
        "rprop": optim.Rprop,
    }.items():  # fmt: skip
        optimizer = optim.get(name, model, lr=0.5)
        assert (type(optimizer), optimizer.lr) == (kind, 0.5)
    assert optim.get(optimizer, model) is optimizer
    assert optim.get(optim.Adam.keras, model, lr=0.5).eps == 1e-7
    config = optim.AdamConfig(lr=0.5, weight_decay=0.1)
    assert config == optim.OptimizerConfig("adam", {"lr": 0.5, "weight_decay": 0.1})
    assert repr(config.init(model)) == repr(optim.Adam(model, lr=0.5, weight_decay=0.1))
    assert optim.get(config, model, lr=0.1).lr == 0.1
    with pytest.raises(
        ValueError, match=r"unknown optimizer 'adm'; did you mean 'adam'\? Known: s"
    ):
        optim.get("adm", model)
    with pytest.raises(ValueError, match="Rprop is made already"):
        optim.get(optimizer, model, lr=1.0)


# ------------------------------------------------------------------------------ sparse gradients

# fmt: off
SPARSE = [
    ("SparseAdam", {"lr": 0.1},
     [1.01005097323, 1.011403586963, 0.02557409130922, -0.6409064896924, -1.270676724199,
      -0.3636571467937, 0.6569865987188, 0.9893582466234]),
    ("SparseAdam", {"lr": 0.1, "betas": (0.5, 0.6), "eps": 0.01, "maximize": True},
     [0.7146509444495, 0.8442081349375, 0.2704761703642, -0.8867384137218, -0.6466998147421,
      -0.2373567025303, 0.6569865987188, 0.9893582466234]),
    ("SGD", {"lr": 0.1},
     [0.8470874535115, 0.9107588122044, -0.6931573558694, -0.001195403067241, -1.71746987172,
      0.2567270763243, 0.6569865987188, 0.9893582466234]),
    ("SGD", {"lr": 0.1, "momentum": 0.9},
     [0.8572372748548, 0.9349047291964, -1.452625918729, 0.6825237185057, -2.479472489375,
      0.7079136702291, 0.6569865987188, 0.9893582466234]),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "nesterov": False},
     [0.8565097746858, 0.9391239989901, -0.6557529553344, -0.03713938840111, -1.735708510098,
      0.2012857367517, 0.6569865987188, 0.9893582466234]),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1},
     [0.966859026149, 0.9593973345893, 0.05865959082605, -0.6738823642185, -1.232393099293,
      -0.3743754064444, 0.6569865987188, 0.9893582466234]),
]
# fmt: on
ROWS = [[0, 2], [2], [1, 2], [0, 1, 2]]


def sparse(g, rows, dtype="float64"):
    g = np.asarray(g, dtype)
    rows = np.array(rows, np.int64)
    return SparseRows(to_device(rows), to_device(g[rows]), g.shape)


@pytest.mark.parametrize(("name", "options", "expected"), SPARSE)
@pytest.mark.parametrize("wrapped", [True, False])
def test_sparse_trajectories(path, name, options, expected, wrapped):
    w = nn.Parameter(start(8).reshape(4, 2))
    optimizer = getattr(optim, name)({"w": w}, **options)
    for t, rows in enumerate(ROWS):
        g = sparse(slope(t, 8).reshape(4, 2), rows)
        w.grad = Tensor(g) if wrapped else g
        optimizer.step()
    np.testing.assert_allclose(host(w).ravel(), expected, rtol=1e-11)


@pytest.mark.parametrize("kind", [optim.SparseAdam, optim.SGD, optim.Adagrad])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_without_gradients_stay_to_the_bit(path, kind, dtype):
    w = parameter(6, 3, dtype=dtype)
    optimizer = kind({"w": w}, lr=0.1)
    rng = np.random.default_rng(0)
    for i in range(10):
        rows = np.flatnonzero(rng.random(6) < 0.4)
        before = {"w": host(w)} | optimizer.state_dict()
        optimizer.step({"w": sparse(host_normal(6, 3, seed=i), rows, dtype)})
        after = {"w": host(w)} | optimizer.state_dict()
        for key, new in after.items():
            if key != "step.w":
                touched = [new[r].tobytes() != before[key][r].tobytes() for r in range(6)]
                assert np.flatnonzero(touched).tolist() == rows.tolist(), key
        assert after["step.w"] == i + 1
        assert after["w"].dtype == dtype


def test_sparse_adam_is_adam_where_every_row_has_a_gradient(path):
    w, v, u = parameter(5, 2), parameter(5, 2), parameter(5, 2)
    lazy, dense = optim.SparseAdam({"w": w}, lr=0.1), optim.Adam({"v": v}, lr=0.1)
    of_dense = optim.SparseAdam({"u": u}, lr=0.1)
    for i in range(8):
        g = host_normal(5, 2, seed=i)
        lazy.step({"w": sparse(g, range(5))})
        dense.step({"v": to_device(g)})
        of_dense.step({"u": to_device(g)})
    np.testing.assert_allclose(host(w), host(v), rtol=1e-6)
    assert host(w).tobytes() == host(u).tobytes()
    mine, theirs = lazy.state_dict(), dense.state_dict()
    for moment in ("exp_avg", "exp_avg_sq"):
        np.testing.assert_allclose(mine[f"{moment}.w"], theirs[f"{moment}.v"], rtol=1e-12)


def test_who_cannot_take_sparse_gradients_says_so():
    g = sparse(host_normal(4, 2), [1])
    dense = [kind for kind, _ in EVERY.values() if kind.rows_of is optim.Optimizer.rows_of]
    for kind in dense:
        w = parameter(4, 2)
        before = host(w)
        with pytest.raises(StateError, match=f"{kind.__name__}: the gradient of 'w' is sparse"):
            kind({"w": w}).step({"w": g})
        assert host(w).tobytes() == before.tobytes()
    for kind in (optim.SGD, optim.Adagrad):
        with pytest.raises(StateError, match="weight_decay would change every row of 'w'"):
            kind({"w": parameter(4, 2)}, weight_decay=0.1).step({"w": g})


def test_sparse_gradients_are_clipped():
    p, q = parameter(4, 2), parameter(2)
    p.grad = Tensor(sparse(np.full((4, 2), 3.0), [1, 3]))
    set_gradient(q, [4.0, 0.0])
    norm = math.sqrt(4 * 9 + 16)
    assert optim.clip_grad_norm_([p, q], norm / 2) == pytest.approx(norm)
    np.testing.assert_allclose(host(p.grad.data.to_dense()), [[0, 0], [1.5] * 2] * 2)
    np.testing.assert_allclose(host(q.grad), [2, 0])
    optim.clip_grad_value_([p, q], 1.0)
    np.testing.assert_allclose(host(p.grad.data.to_dense()), [[0, 0], [1] * 2] * 2)


@pytest.mark.parametrize("kind", [optim.SparseAdam, optim.SGD, optim.Adagrad])
def test_embeddings_with_sparse_gradients(path, kind):
    sparse_, dense = (nn.Embedding(6, 3, padding_idx=0, sparse=s) for s in (True, False))
    sparse_.weight.data[...] = dense.weight.data
    one, other = kind(sparse_, lr=0.1), kind(dense, lr=0.1)
    ids = to_device(np.array([[1, 4, 4], [2, 0, 1]]))
    before = host(sparse_.weight)
    for model, optimizer in ((sparse_, one), (dense, other)):
        (model(ids) ** 2).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    after = host(sparse_.weight)
    np.testing.assert_allclose(after, host(dense.weight), rtol=1e-5, atol=1e-6)
    assert [bool((after[i] != before[i]).any()) for i in range(6)] == [0, 1, 1, 0, 1, 0]
