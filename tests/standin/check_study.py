"""`mg.study` on the stand-in: what was on the device is recorded, and can be kept and shown."""

import numpy as np

import minigrad as mg
from minigrad import backend, nn, optim
from minigrad.study import load


def test_a_step_on_the_device(tmp_path):
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    adam = optim.Adam(model, lr=1e-2)
    before = {name: backend.to_numpy(p.data).copy() for name, p in model.named_parameters()}

    def step(x, y):
        loss = mg.cross_entropy(model(x), y)
        loss.backward()
        adam.step()
        return loss

    generator = np.random.default_rng(0)
    x = mg.tensor(generator.standard_normal((5, 4), np.float32))
    y = mg.tensor(np.array([0, 1, 2, 0, 1]))
    record = mg.study(mg.jit(step), x, y)
    assert backend.get_backend() == "cupy"
    assert type(x.data) is not np.ndarray
    for name, p in model.named_parameters():
        found = record.parameter(name)
        assert found.value.tobytes() == before[name].tobytes()
        assert found.gradient.tobytes() == backend.to_numpy(p.grad.data).tobytes()
        after = record.values[found.update.after].numbers()
        assert after.tobytes() == backend.to_numpy(p.data).tobytes()
    assert record.op("relu").by == "formula"
    assert record.program is None
    assert "device" in record.program_note
    record.save(tmp_path / "a.json")
    again = load(tmp_path / "a.json")
    assert str(again) == str(record)
    assert again.parameter("0.weight").gradient.shape == (8, 4)
    record.page(tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text(encoding="utf-8").count("cross_entropy_rows")
