"""Records in the format of `minigrad.study`, made up: small ones of every kind, and big ones."""

import base64

import numpy as np

OPS = ("matmul", "add", "relu", "layer_norm", "softmax", "mul", "gelu", "reshape", "transpose")


class Synthetic:
    """A record that is written by hand; `page` asks it for nothing but `to_json`."""

    def __init__(self, title="a step"):
        self.lines, self.sources, self.leaves = [], [], []
        self.values, self.steps, self.outputs, self.program = [], [], [], None
        self.title = title

    def to_json(self, full=256):
        return {
            "title": self.title,
            "minigrad": "0.1.0",
            "seconds": 0.0124,
            "truncated": False,
            "values": [encoded(v, full) for v in self.values],
            "sources": self.sources,
            "lines": self.lines,
            "leaves": self.leaves,
            "steps": self.steps,
            "outputs": self.outputs,
            "program": self.program,
            "program_note": "" if self.program else "the function was not jitted",
        }

    def line(self, file, line, text):
        return index(self.lines, {"file": file, "line": line, "text": text})

    def source(self, name, file, line, text):
        return index(self.sources, {"name": name, "file": file, "line": line, "text": text})

    def value(self, array, made=None, leaf=None, dtype=None):
        """Its index; `dtype` is a name that NumPy lacks: the array holds its bits."""
        array = np.asarray(array)
        self.values.append((array, dtype or array.dtype.name, made, leaf))
        return len(self.values) - 1

    def leaf(self, name, kind, array, dtype=None):
        """The index of its value; the leaf has the number of leaves before it."""
        i = self.value(array, None, len(self.leaves), dtype)
        self.leaves.append(
            {
                "name": name,
                "kind": kind,
                "value": i,
                "tracked": kind != "constant",
                "gradient": None,
            }
        )
        return i

    def call(self, op, inputs, y, **more):
        """The index of its output; `inputs` are indices of values, or texts."""
        i = self.value(y, made=len(self.steps))
        self.steps.append(
            {
                "kind": "call",
                "op": op,
                "inputs": [{"text": x} if isinstance(x, str) else {"value": x} for x in inputs],
                "params": {},
                "outputs": [i],
                "line": 0,
                "site": None,
                "formula": None,
                "by": "kernel",
                "seconds": 1.2e-5,
                "within": None,
                "tracked": True,
                **more,
            }
        )
        return i

    def to(self, i):
        """Where the gradient of value `i` goes."""
        _, _, made, leaf = self.values[i]
        return {"leaf": leaf} if made is None else {"call": made, "output": 0}

    def pull(self, of, came, gave, **more):
        """The indices of what it gave; `of` is the output of the call, `gave` {input: array}."""
        call, step = self.values[of][2], len(self.steps)
        made = {k: self.value(g, made=step) for k, g in gave.items()}
        inputs = self.steps[call]["inputs"]
        self.steps.append(
            {
                "kind": "pull",
                "call": call,
                "op": self.steps[call]["op"],
                "rules": [],
                "came": [came],
                "gave": [
                    {
                        "input": k,
                        "to": self.to(inputs[k]["value"]),
                        "value": g,
                        "unbroadcast": None,
                        "total": None,
                    }
                    for k, g in made.items()
                ],
                "kept": ["value" in x for x in inputs],
                "freed": 4096,
                "seconds": 2.3e-5,
                **more,
            }
        )
        return list(made.values())


def index(listed, x):
    if x not in listed:
        listed.append(x)
    return listed.index(x)


def encoded(value, full):
    array, dtype, made, leaf = value
    v = {"shape": list(array.shape), "dtype": dtype, "made": made, "leaf": leaf}
    if array.size <= full:
        little = array.astype(array.dtype.newbyteorder("<"))
        return v | {"data": base64.b64encode(little.tobytes()).decode()}
    rows = array.astype(np.float64).reshape(-1, array.shape[-1])
    picture = rows[:: -(-rows.shape[0] // 32), :: -(-rows.shape[1] // 32)]
    low, high = float(np.nanmin(picture)), float(np.nanmax(picture))
    scaled = (picture - low) / ((high - low) or 1) * 254
    painted = np.where(np.isfinite(picture), np.nan_to_num(scaled), 255).astype(np.uint8)
    return v | {
        "low": float(np.nanmin(rows)),
        "high": float(np.nanmax(rows)),
        "mean": float(np.nanmean(rows)),
        "std": float(np.nanstd(rows)),
        "zeros": int((rows == 0).sum()),
        "nan": int(np.isnan(rows).sum()),
        "infinite": int(np.isinf(rows).sum()),
        "picture": {
            "shape": list(picture.shape),
            "low": low,
            "high": high,
            "data": base64.b64encode(painted.tobytes()).decode(),
        },
    }


MATMUL = """@op
def matmul(xp, x, y):
    \"\"\"Matrix product of `x` and `y`.\"\"\"
    return xp.matmul(x, y)"""
MATMUL_RULE = """@matmul.rule
def _(g, output, x, y):
    return g @ y.mT  # as x stood on the left"""
ADAM = """def adam(xp, w, g, m, v, lr, beta1, beta2, eps):
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    return w - lr * m / (xp.sqrt(v) + eps), m, v"""


def regression():
    """One step of a layer with a bias, its loss and its walk back; every kind of step is in it."""
    r, rng = Synthetic("regression.step"), np.random.default_rng(0)
    x, w, b, t = (
        rng.standard_normal(shape).astype(np.float32) for shape in [(6, 4), (4, 3), (3,), (6, 3)]
    )
    for number, text in [(7, "y = x @ w + b"), (8, "loss = ((y - target) ** 2).mean()")]:
        r.line("train.py", number, text)
    linear = r.line("minigrad/nn/linear.py", 31, "return x @ self.weight + self.bias")
    formula = r.source("matmul", "minigrad/ops/products.py", 12, MATMUL)
    rule = r.source("matmul", "minigrad/ops/products.py", 18, MATMUL_RULE)
    adam = r.source("adam", "minigrad/optim/adam.py", 40, ADAM)

    vx, vw = r.leaf("x", "argument", x), r.leaf("layer.weight", "parameter", w)
    vb, vt = r.leaf("layer.bias", "parameter", b), r.leaf("target", "constant", t)
    product = r.call("matmul", [vx, vw], x @ w, formula=formula, site=linear)
    y = r.call("add", [product, vb], x @ w + b, site=linear, by="formula")
    d = r.call("sub", [y, vt], x @ w + b - t, line=1)
    squares = r.call("mul", [d, d], (x @ w + b - t) ** 2, line=1)
    loss = r.call("mean", [squares], ((x @ w + b - t) ** 2).mean(), line=1, params={"axis": "None"})
    r.outputs = [loss]

    one = r.value(np.float32(1))
    r.steps.append({"kind": "seed", "gradients": [{"to": r.to(loss), "value": one}]})
    r.values[one] = (np.float32(1), "float32", len(r.steps) - 1, None)
    g = np.full((6, 3), 1 / 18, np.float32)
    (g1,) = r.pull(loss, one, {0: g}, kept=[False])
    g = g * (x @ w + b - t)
    inner = len(r.steps) + 1  # the pull comes first, then the calls of its rule
    r.pull(squares, g1, {0: g, 1: g})
    total = r.value(2 * g, made=inner - 1)
    r.steps[inner - 1]["gave"][1]["total"] = total
    for _ in range(2):
        r.call("mul", [g1, d], g, within=inner - 1, tracked=False)
    (g2,) = r.pull(d, total, {0: 2 * g})
    gp, gb = r.pull(y, g2, {0: 2 * g, 1: 2 * g.sum(0)}, freed=None)
    r.steps[-1]["gave"][1]["unbroadcast"] = [6, 3]
    (gw,) = r.pull(
        product, gp, {1: 2 * x.T @ g}, kept=[True, False], rules=[{"input": 1, "source": rule}]
    )
    for leaf, (name, before, gradient) in enumerate(
        [("layer.weight", vw, gw), ("layer.bias", vb, gb)], start=1
    ):
        r.leaves[leaf]["gradient"] = gradient
        old, got = r.values[before][0], r.values[gradient][0]
        step = len(r.steps)
        after = r.value(old - np.float32(0.01) * np.sign(got), made=step)
        zero = r.value(np.zeros_like(old))
        m = r.value(np.float32(0.1) * got, made=step)
        r.steps.append(
            {
                "kind": "update",
                "optimizer": "Adam",
                "settings": {"lr": "0.01", "betas": "(0.9, 0.999)", "eps": "1e-08"},
                "step": 1,
                "parameter": name,
                "leaf": leaf,
                "before": before,
                "after": after,
                "gradient": gradient,
                "moments": {"m": [zero, m]},
                "formula": adam,
            }
        )
    r.steps.append({"kind": "write", "leaf": 0, "value": r.value(x + 1), "line": 0})
    r.program = program()
    return r


def program(instructions=12):
    """A made-up program: three ops an instruction, one view, arrays that share an arena."""
    calls = [
        {
            "op": OPS[i % len(OPS)],
            "inputs": ["float32[64, 32]", "float32[32]"],
            "outputs": ["float32[64, 32]"],
            "instruction": None if i % 11 == 5 else i // 3,
        }
        for i in range(3 * instructions)
    ]
    size = 64 * 32 * 4
    places = [
        {
            "offset": (i % 4) * size,
            "size": size // (1 + i % 3),
            "first": i - 1,
            "last": min(i + 3, instructions),
            "what": f"float32[64, 32] of {OPS[i % len(OPS)]}",
        }
        for i in range(instructions)
    ]
    return {
        "calls": calls,
        "instructions": [
            {
                "name": ("product", "chain", "norm")[i % 3],
                "by": "NumPy" if i % 5 == 4 else "kernel",
                "shapes": "float32[64, 32], float32[32] -> float32[64, 32]",
                "seconds": 1e-6 * (3 + i * 7 % 19),
                "calls": [k for k, c in enumerate(calls) if c["instruction"] == i],
                "reads": [i - 1] if i else [],
                "writes": [i],
            }
            for i in range(instructions)
        ],
        "places": places,
        "bytes": 4 * size,
        "threads": 2,
    }


def network(calls=250, parameters=60, shape=(8, 24), title="translator.step", width=2):
    """A random network of so many calls, walked back and updated; each value is its own."""
    r, rng = Synthetic(title), np.random.default_rng(1)

    def array():
        return rng.standard_normal(shape).astype(np.float32)

    for i in range(40):
        r.line("translator.py", 10 + i, f"h = self.layers[{i}](h, mask)")
    formula = r.source("matmul", "minigrad/ops/products.py", 12, MATMUL)
    rule = r.source("matmul", "minigrad/ops/products.py", 18, MATMUL_RULE)
    weights = [r.leaf(f"layers.{i}.weight", "parameter", array()) for i in range(parameters)]
    stream = [r.leaf(f"x{i}", "argument", array()) for i in range(width)]
    made = []
    for i in range(calls):
        lane = int(rng.integers(width)) if i < calls - width else i % width
        inputs = [stream[lane]]
        if i % max(1, calls // parameters) == 0:
            inputs.append(weights[i // max(1, calls // parameters) % parameters])
        elif rng.random() < 0.15:
            inputs.append(stream[int(rng.integers(width))])
        elif rng.random() < 0.15 and len(made) > 6:
            inputs.append(made[-int(rng.integers(2, 6))])
        op = OPS[i % len(OPS)]
        stream[lane] = r.call(op, inputs, array(), line=i * 40 // calls, formula=formula)
        made.append(stream[lane])
    loss = r.call("mean", list(dict.fromkeys(stream)), np.float32(0.7), line=39)
    made.append(loss)
    r.outputs = [loss]
    came = {loss: r.value(np.float32(1), made=len(r.steps))}
    r.steps.append({"kind": "seed", "gradients": [{"to": r.to(loss), "value": came[loss]}]})
    for y in reversed(made):
        if y not in came:
            continue
        inputs = [x["value"] for x in r.steps[r.values[y][2]]["inputs"]]
        got = r.pull(
            y,
            came[y],
            {k: array() for k in range(len(inputs))},
            rules=[{"input": k, "source": rule} for k in range(len(inputs))],
        )
        for k, (x, g) in enumerate(zip(inputs, got, strict=True)):
            if x in came:
                r.steps[-1]["gave"][k]["total"] = g
            came[x] = g
    for i, w in enumerate(weights):
        if w in came:
            r.leaves[i]["gradient"] = came[w]
            zero = r.value(np.zeros(shape, np.float32))
            r.steps.append(
                {
                    "kind": "update",
                    "optimizer": "Adam",
                    "settings": {"lr": "0.001"},
                    "step": 1,
                    "parameter": f"layers.{i}.weight",
                    "leaf": i,
                    "before": w,
                    "after": r.value(array(), made=len(r.steps)),
                    "gradient": came[w],
                    "moments": {"m": [zero, r.value(array())], "v": [zero, r.value(array())]},
                    "formula": None,
                }
            )
    r.program = program(calls)
    return r
