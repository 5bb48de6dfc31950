"""A generator of digits and a discriminator, trained against each other (exercise 7).

(Goodfellow et al., "Generative adversarial networks", arXiv 1406.2661.) The discriminator gives a
logit for "this is real", and learns five times for each time that the generator learns to raise it:

    discriminator  softplus(-D(x)) + softplus(D(G(z)))
    generator      softplus(-D(G(z)))

Whether the generator has collapsed or copied shows in distances: of each drawn digit to the nearest
real one, beside what real ones have among themselves; and of drawn digits among themselves.
"""

import argparse
import functools
from pathlib import Path

import numpy as np

import minigrad as mg
from minigrad import data, nn, optim, random
from minigrad.examples import command

LATENT, BATCH, RATIO = 10, 16, 5


class Generator(nn.Module):
    def __init__(self):
        self.l1 = nn.Linear(LATENT, 256)
        self.bn = nn.BatchNorm2d(16)
        self.c1, self.bn1 = nn.ConvTranspose2d(16, 8, 2), nn.BatchNorm2d(8)
        self.c2, self.bn2 = nn.ConvTranspose2d(8, 4, 2), nn.BatchNorm2d(4)
        self.c3 = nn.ConvTranspose2d(4, 1, 3)

    def forward(self, z):
        """z: (B, LATENT) -> (B, 1, 8, 8)."""
        h = self.bn(mg.relu(self.l1(z)).reshape(len(z), 16, 4, 4))
        h = self.bn2(mg.relu(self.c2(self.bn1(mg.relu(self.c1(h))))))
        return mg.sigmoid(self.c3(h))


def discriminator() -> nn.Module:
    """(B, 1, 8, 8) -> logits (B, 1)."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(),
        nn.Conv2d(4, 8, 3), nn.ReLU(),
        nn.Conv2d(8, 16, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(64, 1),
    )  # fmt: skip


class GAN(nn.Module):
    def __init__(self):
        self.dis, self.gen = discriminator(), Generator()

    def forward(self, z):
        return self.gen(z)


class GANLearner(mg.Learner):
    """Two optimizers by name; one step of the Learner is `ratio` + 1 steps of theirs.

    Each of the two kinds is compiled by itself, as a program has one step of an optimizer.
    """

    def __init__(self, model: GAN, optimizers, ratio: int = RATIO, **options):
        super().__init__(model, optimizers, jit=False, **options)
        self.ratio = ratio
        self.fast_discriminate = mg.jit(self.discriminate)
        self.fast_generate = mg.jit(self.generate)

    def discriminate(self, x):
        """One step of the discriminator; the generator stays as it is."""
        dis, gen = self.model.dis, self.model.gen
        with mg.no_grad():
            fake = gen(mg.randn(len(x), LATENT))
        loss = (mg.softplus(-dis(x)) + mg.softplus(dis(fake))).mean()
        self.update(loss, "dis")
        return loss

    def generate(self, x):
        """One step of the generator, for as many pictures as `x` has."""
        loss = mg.softplus(-self.model.dis(self.model(mg.randn(len(x), LATENT)))).mean()
        self.update(loss, "gen")
        return loss

    def train_step(self, batch):
        self.model.gen.eval()  # its batch norms use what they know
        for _ in range(self.ratio):
            discriminator = self.fast_discriminate(batch[0])
        self.model.gen.train(self.model.training)
        generator = self.fast_generate(batch[0])
        return {"discriminator": discriminator, "generator": generator}


def distances(a: np.ndarray, b: np.ndarray, same: bool = False) -> np.ndarray:
    """From each picture of `a` to the nearest one of `b`; itself does not count if `same`."""
    a, b = (v.reshape(len(v), -1).astype("float64") for v in (a, b))
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    if same:
        np.fill_diagonal(squared, np.inf)
    return np.sqrt(np.maximum(squared.min(axis=1), 0))


def run(
    epochs: int = 20,
    seed: int = 0,
    out: Path | None = None,
    samples: int | None = None,
    ratio: int = RATIO,
) -> command.Figures:
    """Train, draw, and compare what is drawn with what is real."""
    x = data.digits()[0][:samples]
    with random.stream(seed):
        model = command.glorot_(GAN())
    optimizers = {"dis": optim.Adam(model.dis, lr=1e-3), "gen": optim.Adam(model.gen, lr=1e-3)}
    learner = GANLearner(model, optimizers, ratio)
    with random.stream(random.fold(random.key(seed), "latent")):
        history = learner.fit((x,), epochs=epochs, batch_size=BATCH, seed=seed)
        with mg.no_grad():
            model.eval()
            drawn = model(mg.randn(len(x), LATENT)).numpy()
            real, fake = (model.dis(mg.tensor(v)).numpy() > 0 for v in (x, drawn))
    command.grid(drawn[:100], out, "digits_gan.png")
    if out is not None:
        series = {k: history[k] for k in ("discriminator", "generator")}
        command.curves(series, out, "losses.png")
    return {
        "discriminator's last loss": history["discriminator"][-1],
        "generator's last loss": history["generator"][-1],
        "discriminator's accuracy": float((real.mean() + 1 - fake.mean()) / 2),
        "drawn to nearest real": float(np.median(distances(drawn, x))),
        "real to nearest real": float(np.median(distances(x, x, same=True))),
        "drawn to nearest drawn": float(np.median(distances(drawn, drawn, same=True))),
    }


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ratio", type=int, default=RATIO, help="discriminator's steps for one of the generator"
    )


def one_step():
    """A step of the training, for those who study it: one of each network."""
    with random.stream(0):
        model = command.glorot_(GAN())
    optimizers = {"dis": optim.Adam(model.dis, lr=1e-3), "gen": optim.Adam(model.gen, lr=1e-3)}
    learner = GANLearner(model, optimizers, ratio=1)
    return functools.partial(learner.train_step, (command.digits(BATCH)[0],))


if __name__ == "__main__":
    command.main(__doc__, run, epochs=20, more=_more)
