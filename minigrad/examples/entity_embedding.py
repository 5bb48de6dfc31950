"""Categories as vectors beside continuous features (seed document 002).

(Guo and Berkhahn, "Entity embeddings of categorical variables", arXiv 1604.06737.) Each of two
categories, sex (2) and job (22), gets a table of vectors of 8 numbers; they go into a network of
layers together with the continuous features. The data are made up: an income that hangs on the job,
on age and hours, and on how they go together. A network that sees only the continuous features
shows what the categories are worth.
"""

from pathlib import Path

import numpy as np

import minigrad as mg
from minigrad import nn, optim, random
from minigrad.examples import command

CATEGORIES = {"sex": 2, "job": 22}
BATCH = 64


def people(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Continuous features (count, 2), categories (count, 2) as ids, and incomes (count, 1)."""
    world = np.random.default_rng(7)  # the same for every seed
    base, by_hours = world.normal(0, 1, 22), world.normal(0, 0.7, 22)
    generator = np.random.default_rng(seed)
    features = generator.standard_normal((count, 2)).astype("float32")  # age and hours
    ids = np.stack([generator.integers(0, n, count) for n in CATEGORIES.values()], axis=1)
    age, hours = features.T
    job = ids[:, 1]
    income = base[job] + by_hours[job] * hours + 0.3 * age + 0.1 * (ids[:, 0] - 0.5)
    income = income + generator.normal(0, 0.1, count)
    return features, ids, income.astype("float32")[:, None]


class Network(nn.Module):
    def __init__(self, categories: bool):
        self.embed = nn.EntityEmbedding(CATEGORIES, 8) if categories else None
        width = 2 + (8 * len(CATEGORIES) if categories else 0)
        self.layers = nn.Sequential(
            nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1)
        )

    def forward(self, features, ids):
        """features: (B, 2), ids: (B, 2) -> (B, 1)."""
        if self.embed is None:
            return self.layers(features)
        return self.layers(mg.concatenate([self.embed(ids), features], axis=1))


class IncomeLearner(mg.Learner):
    def loss_step(self, batch):
        features, ids, income = batch
        return mg.mse_loss(self.model(features, ids), income)


def run(
    epochs: int = 20, seed: int = 0, out: Path | None = None, samples: int = 4000
) -> command.Figures:
    """Train with and without categories."""
    train, valid = people(samples, seed), people(samples // 4, seed + 1000)
    figures = {"variance of incomes": float(valid[2].var())}
    for label, categories in (("with categories", True), ("without", False)):
        with random.stream(seed):
            model = Network(categories)
        learner = IncomeLearner(model, optim.Adam(model, lr=3e-3), verbose=0)
        learner.fit(train, epochs=epochs, batch_size=BATCH, seed=seed)
        figures[f"squared error {label}"] = learner.evaluate(valid)["loss"]
    return figures


def one_step():
    """A step of the training, for those who study it."""
    with random.stream(0):
        model = Network(categories=True)
    return command.training_step(
        model, optim.Adam(model, lr=3e-3),
        lambda features, ids, income: mg.mse_loss(model(features, ids), income),
        *people(BATCH, 0),
    )  # fmt: skip


if __name__ == "__main__":
    command.main(__doc__, run, epochs=20)
