"""A process that fails, leaves, is killed or does something else ends the job, and says why."""

import time

import pytest
import several

FAILING = """
import os, signal, sys, time
import numpy as np
from minigrad import distributed
from several import give

distributed.init()
rank, how = distributed.rank(), sys.argv[1]
distributed.barrier()
if rank == 1:
    if how == "raises":
        raise ValueError("the data are gone")
    if how == "leaves":
        sys.exit(3)
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "other order":
        distributed.barrier()
    if how == "other shape":
        distributed.all_reduce(np.ones(5))
    if how == "stuck":
        time.sleep(100)
distributed.all_reduce(np.ones(4))
give("went on")
"""


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raises", ["rank 1 of 2 failed: ValueError: the data are gone; all processes are ended"]),
        ("leaves", ["rank 0 is at call 2: all_reduce(float64 (4,)", "call 2: end the program"]),
        ("killed", []),
        ("other order", ["rank 0 is at call 2: all_reduce(float64 (4,)", "at call 2: barrier"]),
        ("other shape", ["all_reduce(float64 (4,)", "all_reduce(float64 (5,)"]),
        ("stuck", ["rank 0 of 2 has waited 1 s for the others at call 2, all_reduce(float64 (4,)"]),
    ],
)
def test_the_job_ends(how, said):
    seconds = {"MINIGRAD_DISTRIBUTED_TIMEOUT": 1} if how == "stuck" else {}
    began = time.monotonic()
    finished = several.run(2, FAILING, how, limit=50, **seconds)
    assert time.monotonic() - began < 40
    assert finished.code != 0
    assert finished.found[0] is None, "did not go on"
    for text in said:
        assert text in finished.text, finished.text


GROUPS = """
import sys
import numpy as np
import minigrad as mg
from minigrad import data, distributed
from several import give

group = distributed.init()
rank = distributed.rank()
found = {
    "place": [rank, distributed.world_size(), group.local_rank, distributed.is_initialized()],
    "sum": distributed.all_reduce(np.arange(3) + rank).tolist(),
    "low": distributed.all_reduce(mg.Tensor([1.0, 2.0]) * (rank + 1), "min").tolist(),
    "half": distributed.all_reduce(np.ones(2, np.float16)).dtype.name,
    "strided": distributed.all_reduce(np.arange(6.0).reshape(2, 3).T).tolist(),
    "from the last": distributed.broadcast(
        np.array([rank, 7]), distributed.world_size() - 1
    ).tolist(),
    "empty": distributed.all_reduce(np.zeros((0, 2))).shape,
    "texts": distributed.all_gather({"rank": rank, "long": "あ" * 200 * rank}),
    "mpi": "mpi4py" in sys.modules,
}
items = np.arange(11)
loader = data.DataLoader(items, batch_size=4, shuffle=True, seed=3)
shares = []
for epoch in range(2):
    shares.append([None if b is None else b.tolist() for b in loader])
found["shares"] = shares
halfway = iter(data.DataLoader(items, batch_size=4, shuffle=True, seed=3))
first = next(halfway)
again = data.DataLoader(items, batch_size=4, shuffle=True, seed=3)
state = data.DataLoader(items, batch_size=4, shuffle=True, seed=3).state_dict() | {"batch": 1}
again.load_state_dict(state)
found["rest"] = [None if b is None else b.tolist() for b in again]
own = data.DataLoader(items, batch_size=2, sampler=data.DistributedSampler(items, seed=3))
found["own"] = [b.tolist() for b in own]
single = data.DataLoader(items, batch_size=None)
found["single"] = [None if b is None else int(b) for b in single]
workers = data.DataLoader(items, batch_size=4, shuffle=True, seed=3, num_workers=2,
                          worker_type="thread")
found["workers"] = [None if b is None else b.tolist() for b in workers]
give(found)
"""


def test_groups_and_shares():
    alone = several.alone(GROUPS)
    assert alone["place"] == [0, 1, 0, False]
    assert not alone["mpi"], "mpi4py is not imported"
    finished = several.run(2, GROUPS)
    assert finished.code == 0, finished.text
    for rank, found in enumerate(finished.found):
        assert found["place"] == [rank, 2, rank, True]
        assert found["sum"] == [1, 3, 5]
        assert found["low"] == [1.0, 2.0]
        assert found["half"] == "float16"
        assert found["strided"] == [[0, 6], [2, 8], [4, 10]]
        assert found["from the last"] == [1, 7]
        assert found["empty"] == [0, 2]
        assert found["texts"] == [{"rank": 0, "long": ""}, {"rank": 1, "long": "あ" * 200}]
        assert found["rest"] == found["shares"][0][1:]
        assert found["workers"] == found["shares"][0]
    for epoch in range(2):
        batches = zip(*(f["shares"][epoch] for f in finished.found), strict=True)
        for (even, odd), whole in zip(batches, alone["shares"][epoch], strict=True):
            assert [even, odd] == [whole[::2], whole[1::2]]
    own = [[i for batch in f["own"] for i in batch] for f in finished.found]
    assert sorted(own[0] + own[1]) == list(range(11))
    assert [len(part) for part in own] == [6, 5]
    assert [f["single"] for f in finished.found] == [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, None]]


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"MINIGRAD_DISTRIBUTED": "1"}, "was started alone"),
        ({"MINIGRAD_DISTRIBUTED": "yes"}, "expected 0 or 1, got 'yes'"),
        ({"PMI_RANK": "0", "PMI_SIZE": "2", "MPI4PY_LIBMPI": "/nowhere"}, "mpi4py does not work"),
    ],
)
def test_what_cannot_begin_says_so(environment, said):
    finished = several.run(0, GROUPS, **environment)
    assert finished.code == 1
    assert said in finished.text, finished.text


def test_processes_can_stay_alone():
    finished = several.run(2, GROUPS, MINIGRAD_DISTRIBUTED=0)
    assert finished.code == 0, finished.text
    assert finished.found[0]["place"] == [0, 1, 0, False]
