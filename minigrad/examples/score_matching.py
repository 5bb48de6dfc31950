"""The gradient of a log-density, learned from points and followed to new ones (exercise 9).

A network s(x), 2-32-32-2 with softplus, is trained so that it becomes the score grad log p(x) of
the data: the mean of |s|^2 + 2 div s is smallest there (Hyvarinen, "Estimation of non-normalized
statistical models by score matching", JMLR 6, 2005). The divergence is the trace of a Jacobian
inside the loss, so training takes derivatives of derivatives. With --estimator hutchinson it is
v J v for random signs v instead, whose mean it is; that costs one product in any dimension.

Langevin steps x + eps s(x) + sqrt(2 eps T) noise then carry points from a normal distribution to
that of the data. Each frame of the animation is one step of 5000 points.
"""

import argparse
import math
from pathlib import Path

import numpy as np

import minigrad as mg
from minigrad import data, nn, optim, random
from minigrad.examples import command

BATCH, LR = 16, 1e-2
POINTS, FRAMES, STEP, TEMPERATURE = 5000, 50, 0.01, 1.0


class ScoreModel(nn.Module):
    def __init__(self):
        self.l1, self.l2, self.l3 = nn.Linear(2, 32), nn.Linear(32, 32), nn.Linear(32, 2)

    def forward(self, x):
        """x: (..., 2) -> (..., 2)."""
        return self.l3(mg.softplus(self.l2(mg.softplus(self.l1(x)))))


def exact(model, x):
    """The score at x (B, 2), and its divergence (B,) from the whole Jacobian."""
    jacobians = mg.vmap(mg.jacfwd(model))(x)  # (B, 2, 2)
    return model(x), mg.trace(jacobians, axis1=1, axis2=2)


def hutchinson(model, x):
    """The score at x (B, 2), and an estimate of its divergence: v J v for signs v.

    (Hutchinson, "A stochastic estimator of the trace of the influence matrix", 1989.)
    """
    v = mg.sign(mg.rand(x.shape) - 0.5)
    s, jv = mg.jvp(model, (x,), (v,))
    return s, (v * jv).sum(axis=1)


def loss_of(s, div):
    """Smallest where s is the score: see the module's docstring."""
    return ((s * s).sum(axis=1) + 2.0 * div).mean()


ESTIMATORS = {"exact": exact, "hutchinson": hutchinson}


def train(x: np.ndarray, epochs: int, seed: int, estimator: str = "exact", report=print):
    """A trained model, and the mean loss of each epoch."""
    divergence = ESTIMATORS[estimator]
    with random.stream(seed):
        model = command.glorot_(ScoreModel())
    adam = optim.Adam(model, lr=LR)
    loader = data.DataLoader(data.TensorDataset(x), BATCH, shuffle=True, seed=seed)

    @mg.jit
    def step(x):
        s, div = divergence(model, x)
        loss = loss_of(s, div)
        loss.backward()
        adam.step()
        adam.zero_grad()
        return loss

    losses = []
    with random.stream(random.fold(random.key(seed), "signs")):
        for epoch in range(epochs):
            found = [(step(batch).item(), len(batch)) for (batch,) in loader]
            losses.append(sum(a * n for a, n in found) / sum(n for _, n in found))
            report(f"epoch {epoch + 1:3}  loss {losses[-1]:9.3f}  last batch {found[-1][0]:9.3f}")
    return model, losses


def langevin(model, points: int, frames: int, scale: float, seed: int) -> np.ndarray:
    """(frames + 1, points, 2): where points that start normal are after each step."""
    generator = np.random.default_rng(seed)
    x = generator.normal(0, scale, (points, 2)).astype("float32")
    noise = math.sqrt(2 * STEP * TEMPERATURE)
    found = [x]
    with mg.no_grad():
        for _ in range(frames):
            z = generator.standard_normal(x.shape, np.float32)
            x = x + STEP * model(mg.tensor(x)).numpy() + noise * z
            found.append(x)
    return np.stack(found)


def energy_distance(x: np.ndarray, y: np.ndarray) -> float:
    """sqrt(2 E|X - Y| - E|X - X'| - E|Y - Y'|): 0 for equal distributions (Szekely and Rizzo)."""

    def mean_distance(a, b):
        parts = np.array_split(a, max(1, len(a) // 256))
        total = sum(
            np.sqrt(((p[:, None] - b) ** 2).sum(axis=2), dtype=np.float64).sum() for p in parts
        )
        return total / (len(a) * len(b))

    squared = 2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y)
    return math.sqrt(max(squared, 0.0))


def animate(x: np.ndarray, frames: np.ndarray, out: Path) -> None:
    """Write the frames as a GIF, by Pillow, which matplotlib brings along."""
    if (plot := command.pictures(out)) is None:
        return
    from matplotlib.animation import FuncAnimation, PillowWriter

    figure, axis = plot.subplots(figsize=(4, 4))
    axis.set(xlim=(-3, 3), ylim=(-4, 4))
    axis.scatter(*x.T, s=4, label="data")
    moving = axis.scatter(*frames[0].T, s=2, alpha=0.5, label="model")
    axis.legend(loc="upper right")

    def draw(i):
        moving.set_offsets(frames[i])
        axis.set_title(f"step {i}")

    path = out / "langevin.gif"
    FuncAnimation(figure, draw, frames=len(frames)).save(path, writer=PillowWriter(fps=8))
    plot.close(figure)
    print(f"written: {path}")


def run(
    epochs: int = 20,
    seed: int = 0,
    out: Path | None = None,
    estimator: str = "exact",
    samples: int = 3000,
    points: int = POINTS,
    frames: int = FRAMES,
) -> command.Figures:
    """Train, sample, compare; see the module's docstring."""
    x, _ = data.ToyDataGenerator(dim=2, n_class=5).sample(samples)
    model, losses = train(x, epochs, seed, estimator)
    walk = langevin(model, points, frames, float(np.std(x)), seed)
    if out is not None:
        animate(x, walk, out)
        command.curves({"loss": losses}, out, "score_matching.png")
    return {
        "first loss": losses[0],
        "last loss": losses[-1],
        "energy distance at the start": energy_distance(walk[0], x),
        "energy distance at the end": energy_distance(walk[-1], x),
    }


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--estimator", choices=ESTIMATORS, default="exact", help="of the divergence"
    )


def one_step():
    """A step of the training, for those who study it."""
    with random.stream(0):
        model = command.glorot_(ScoreModel())
    x, _ = data.ToyDataGenerator(dim=2, n_class=5).sample(BATCH)
    return command.training_step(
        model, optim.Adam(model, lr=LR), lambda x: loss_of(*exact(model, x)), x
    )


if __name__ == "__main__":
    command.main(__doc__, run, epochs=20, more=_more)
