"""Sparse gradients of several processes, and buffers that each sees another part for."""

import numpy as np
import several

PROGRAM = """
import numpy as np
import minigrad as mg
from minigrad import distributed, nn, optim
from minigrad.learner import Learner
from several import give

distributed.init()
rank, size = distributed.rank(), distributed.world_size()
ids = np.array([[3, 5], [3, 3], [1, 5], [0, 7]])
table = nn.Embedding(10, 2, sparse=True)
table.weight.data = np.arange(20.0).reshape(10, 2)
adam = optim.SGD(table, lr=0.1)
mine = ids[rank::size]
with optim.AverageGradients(adam)(weight=len(mine)):
    (table(mine) ** 2).sum(axis=(1, 2)).mean().backward()
kind, rows = type(table.weight.grad).__name__, table.weight.grad.rows.tolist()
adam.step()

x = np.arange(32.0).reshape(8, 4) % 7
y = np.arange(8) % 3
model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))
Learner(model, "sgd", "cross_entropy", verbose=0).fit((x.astype("float32"), y), batch_size=4)
buffers = {n: np.asarray(b.data, "float64").tolist() for n, b in model.named_buffers()}
give({"kind": kind, "rows": rows, "table": table.weight.data.tolist(), "buffers": buffers})
"""


def test_rows_and_buffers():
    alone = several.alone(PROGRAM)
    finished = several.run(2, PROGRAM)
    assert finished.code == 0, finished.text
    one, two = finished.found
    assert alone["kind"] == one["kind"] == "SparseRows"
    assert alone["rows"] == one["rows"] == [0, 1, 3, 5, 7]
    np.testing.assert_allclose(one["table"], alone["table"], rtol=1e-12)
    assert one == two
    # Of equal shares the mean of means is the mean of all.
    name = next(n for n in alone["buffers"] if n.endswith("running_mean"))
    np.testing.assert_allclose(one["buffers"][name], alone["buffers"][name], rtol=1e-5)
