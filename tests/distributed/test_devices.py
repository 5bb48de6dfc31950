"""The same on GPUs: NCCL's calls, on the stand-in for CuPy, whose streams begin late.

What is not waited for there is not there, so a missing event is a wrong number.
"""

import json

import pytest
import several

ON_DEVICE = {
    "MINIGRAD_BACKEND": "cupy",
    "PYTHONPATH": f"{several.ROOT / 'tests'}:{several.ROOT / 'tests' / 'standin'}",
}


@pytest.mark.parametrize("jit", [False, True])
def test_two_gpus_train_what_one_process_trains(jit):
    options = {"jit": jit, "clip_norm": 0.5}
    whole = several.alone(several.TRAINING, json.dumps(options))
    finished = several.run(2, several.TRAINING, json.dumps(options), **ON_DEVICE)
    assert finished.code == 0, finished.text
    several.equal_trainings(finished.found, whole)


CALLS = """
import cupy
import ml_dtypes
import numpy as np
from minigrad import distributed, nn, optim
from several import give

distributed.init()
rank, nccl = distributed.rank(), cupy.cuda.nccl
half = distributed.all_reduce(cupy.asarray(np.array([1.0, 3.0 * rank], ml_dtypes.bfloat16)))
most = distributed.all_reduce(cupy.arange(3) * (1 - 2 * rank), "max")
given = distributed.broadcast(cupy.full((2, 2), rank, "float16"), 1)
try:
    distributed.all_reduce(cupy.ones(2, "complex64"))
    said = ""
except TypeError as error:
    said = str(error)
first = list(nccl.calls)
late, ready = cupy.zeros(3, "float32"), cupy.full(3, 1.0 + rank, "float32")
with cupy.cuda.Stream(non_blocking=True) as stream:
    # not there yet when the sum is asked for
    cupy.cuda.runtime.memcpyAsync(late.data.ptr, ready.data.ptr, late.nbytes, 3, stream.ptr)
    distributed.group().start(late)
cupy.cuda.runtime.deviceSynchronize()
model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 1))
for p in model.parameters():
    p.data = cupy.full(p.shape, 0.1, "float32")
average = optim.AverageGradients(optim.SGD(model, lr=0.1), bucket_bytes=64)
during = []
class Spy(type(average)):
    def _start(self, i):
        during.append(average._begun and not average.over)
        super()._start(i)
average.__class__, average.over = Spy, False
with average(weight=1 + 2 * rank):
    model(cupy.ones((3, 4), "float32") * (1 + rank)).sum().backward()
    average.over = True
give({
    "device": cupy.cuda.Device().id, "half": half.astype("float32").get().tolist(),
    "half type": str(half.dtype), "most": most.get().tolist(), "given": given.get().tolist(),
    "late": late.get().tolist(), "said": said, "calls": first, "during": during,
    "bias": model[2].bias.grad.numpy().tolist(), "weight": model[0].weight.grad.numpy().tolist(),
})
"""


def test_what_nccl_is_asked_for():
    finished = several.run(2, CALLS, **ON_DEVICE)
    assert finished.code == 0, finished.text
    for rank, found in enumerate(finished.found):
        assert found["device"] == rank, "the local rank"
        assert (found["half"], found["half type"]) == ([2.0, 3.0], "bfloat16")
        assert found["most"] == [0, 1, 2]
        assert found["given"] == [[1, 1], [1, 1]]
        assert found["late"] == [3.0] * 3
        assert "NCCL has no complex64" in found["said"]
        assert found["calls"] == [
            ["allReduce", 2, "bfloat16"], ["allReduce", 3, "int64"], ["broadcast", 8, "uint8"]
        ]  # fmt: skip
        assert any(found["during"]), "sums begin in the backward pass"
        assert found["bias"] == pytest.approx([3.0])
        # (1 * 1 + 3 * 2) / 4 of what a batch of ones gives
        assert found["weight"] == finished.found[0]["weight"]
        assert found["weight"][0][0] == pytest.approx(3 * 0.04 * 7 / 4, rel=1e-5)


def test_each_process_needs_a_gpu_of_its_own():
    finished = several.run(3, CALLS, **ON_DEVICE)
    assert finished.code != 0
    assert "3 processes on this machine and 2 GPUs" in finished.text
