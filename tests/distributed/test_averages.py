"""Gradients of several processes: the mean is what one process has of all samples."""

import numpy as np
import pytest
import several

MODEL = """
import json
import numpy as np
import minigrad as mg
from minigrad import distributed, nn, optim
from several import give

distributed.init()
rank, size = distributed.rank(), distributed.world_size()
r = np.random.default_rng(0)
x, y = r.normal(size=(11, 5)), r.normal(size=(11, 3))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(5, 7)
        self.second = nn.Linear(7, 3)
        self.left = nn.Linear(5, 3)
        self.right = nn.Linear(5, 3)
        self.never = nn.Linear(2, 2)
        for p in self.parameters():
            p.data = r.normal(size=p.shape)

    def forward(self, x, way):
        y = self.second(mg.tanh(self.first(x))) + self.first(x).sum(axis=-1, keepdims=True)
        return y + (self.left(x) if way == 0 else self.right(x))


def share():
    # unequal: 8 and 3 of two, 8, 3 and none of three
    start, stop = [(0, 8), (8, 11), (11, 11)][rank] if size > 1 else (0, 11)
    return slice(start, stop)


def loss(model, s):
    # the first eight samples go left, the others right
    n = max(s.stop - s.start, 1)
    total = 0.0
    for way, part in ((0, slice(s.start, min(s.stop, 8))), (1, slice(max(s.start, 8), s.stop))):
        if part.stop > part.start:
            e = model(mg.Tensor(x[part]), way) - mg.Tensor(y[part])
            total = total + (e * e).sum()
    return total / n


def shown(model):
    return {n: None if p.grad is None else np.asarray(p.grad.data).tolist()
            for n, p in model.named_parameters()}
"""

WHOLE = (
    MODEL
    + """
model = Net()
optimizer = optim.SGD(model, lr=0.1)
loss(model, slice(0, 11)).backward()
grads = shown(model)
norm = optim.clip_grad_norm_(optimizer.parameters, 0.5)
optimizer.step()
after = {n: p.data.tolist() for n, p in model.named_parameters()}
give({"grads": grads, "norm": norm, "after": after})
"""
)

PARTS = (
    MODEL
    + """
import sys
bucket, overlapped = int(sys.argv[1]), sys.argv[2] == "overlapped"
model = Net()
optimizer = optim.SGD(model, lr=0.1)
average = optim.AverageGradients(optimizer, bucket)
s = share()
started = []
class Spy(type(average)):
    def _start(self, i):
        started.append([i, self._begun and self.spying])
        super()._start(i)
average.__class__ = Spy
average.spying = True
for turn in range(2):
    optimizer.zero_grad()
    if overlapped:
        with average(weight=s.stop - s.start):
            if s.stop > s.start:
                loss(model, s).backward()
                average.spying = False
    else:
        if s.stop > s.start:
            loss(model, s).backward()
        with average(weight=s.stop - s.start):
            pass
grads = shown(model)
norm = optim.clip_grad_norm_(optimizer.parameters, 0.5)
optimizer.step()
give({"grads": grads, "norm": norm, "started": started, "buckets": len(average.buckets),
      "after": {n: p.data.tolist() for n, p in model.named_parameters()}})
"""
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEVERAL_FOLDER", str(tmp_path_factory.mktemp("whole")))
        return several.alone(WHOLE)


def equal(a, b, path=""):
    assert (a is None) == (b is None), path
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            equal(a[key], b[key], f"{path}.{key}")
    elif a is not None:
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12, err_msg=path)


@pytest.mark.parametrize(
    ("processes", "bucket", "way"),
    [(2, 1, "overlapped"), (3, 200, "overlapped"), (3, 1 << 20, "after"), (2, 100, "after")],
)
def test_the_mean_is_that_of_all_samples(whole, processes, bucket, way):
    finished = several.run(processes, PARTS, bucket, way)
    assert finished.code == 0, finished.text
    for found in finished.found:
        for key in ("grads", "norm", "after"):
            equal(found[key], whole[key], key)
        assert found["grads"]["never.weight"] is None, "took part in no process"
        assert found["grads"]["left.weight"] is not None, "took part in one"
        order = [i for i, _ in found["started"]]
        half = len(order) // 2
        assert order[:half] == sorted(order[:half]) == order[half:]
    if way == "overlapped" and bucket < 1000:
        assert any(early for _, early in finished.found[0]["started"][:3]), "in the backward pass"
