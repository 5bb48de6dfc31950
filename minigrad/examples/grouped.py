"""A model for each group of the data, behind one loss over the whole batch (seed document 000).

Each group of points (x, y) follows a curve of its own. A `Grouped` model has a sub-model for each
group; a batch mixes groups, every row goes through the sub-model of its group, results come back in
the order of the batch, and one mean squared error is taken over all of them. A sub-model whose
group is not in a batch is left alone, to the bit: parameters and Adam's moments.
"""

from pathlib import Path

import numpy as np

import minigrad as mg
from minigrad import data, nn, optim, random
from minigrad.examples import command

GROUPS = ("linear", "sine", "parabola")
CURVES = (lambda x: 0.5 * x, np.sin, lambda x: x**2 / 4 - 1)
BATCH = 32


def points(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (count, 1), y (count, 1) with noise of 0.1, and the number of each one's group (count,)."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(-3, 3, (count, 1)).astype("float32")
    groups = generator.integers(0, len(GROUPS), count)
    y = np.choose(groups[:, None], [curve(x) for curve in CURVES])
    return x, (y + generator.normal(0, 0.1, y.shape)).astype("float32"), groups


def sub_model() -> nn.Module:
    return nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))


class GroupLearner(mg.Learner):
    def loss_step(self, batch):
        x, y, groups = batch
        return mg.mse_loss(self.model(groups, x), y)


def run(
    epochs: int = 20, seed: int = 0, out: Path | None = None, samples: int = 3000
) -> command.Figures:
    """Train on mixed batches, then measure each group by itself."""
    train, valid = points(samples, seed), points(samples // 4, seed + 1000)
    with random.stream(seed):
        model = nn.Grouped({name: command.glorot_(sub_model()) for name in GROUPS})
    learner = GroupLearner(model, optim.Adam(model, lr=1e-2), artifact_dir=out and out / "run")
    train_loader = data.DataLoader(data.TensorDataset(*train), BATCH, shuffle=True, seed=seed)
    valid_loader = data.DataLoader(data.TensorDataset(*valid), 2 * BATCH)
    history = learner.fit(train_loader, valid_loader, epochs=epochs)
    figures = {"loss": history["loss"][-1], "validation loss": history["val_loss"][-1]}
    x, y, groups = valid
    with mg.no_grad():
        for i, name in enumerate(GROUPS):
            mine = groups == i
            error = said(model, i, x[mine]) - y[mine]
            figures[f"error of {name}"] = float((error**2).mean())
    if out is not None:
        picture(model, valid, out)
    return figures


def said(model, i: int, x: np.ndarray) -> np.ndarray:
    """What the sub-model of group `i` says of all `x`."""
    return model(mg.tensor(np.full(len(x), i)), mg.tensor(x)).numpy()


def picture(model, valid, out: Path) -> None:
    """Points and what the model says, group by group."""
    if (plot := command.pictures(out)) is None:
        return
    x, y, groups = valid
    line = np.linspace(-3, 3, 200, dtype="float32")[:, None]
    figure, axis = plot.subplots(figsize=(5, 4))
    with mg.no_grad():
        for i, name in enumerate(GROUPS):
            axis.scatter(x[groups == i], y[groups == i], s=3, label=name)
            axis.plot(line, said(model, i, line))
    axis.legend()
    command.save(plot, figure, out / "grouped.png")


def one_step():
    """A step of the training, for those who study it."""
    with random.stream(0):
        model = nn.Grouped({name: command.glorot_(sub_model()) for name in GROUPS})
    return command.training_step(
        model, optim.Adam(model, lr=1e-2),
        lambda x, y, groups: mg.mse_loss(model(groups, x), y),
        *points(BATCH, 0),
    )  # fmt: skip


if __name__ == "__main__":
    command.main(__doc__, run, epochs=20)
