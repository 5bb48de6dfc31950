"""A variational autoencoder of MNIST, as a training flow in eight steps (seed document 001).

    1  a directory for artifacts         5  the optimizer, from its configuration
    2  configuration, and the seed       6  the Learner, with metrics and checkpoints
    3  data and loaders                  7  training, with validation
    4  the model, from its configuration 8  the model as a compact record of half the size

The encoder is 784-400-(20, 20), the decoder 20-400-784, as in "Auto-encoding variational Bayes"
(arXiv 1312.6114). The loss is the reconstruction's squared error and

    KL = -1/2 (1 + log sigma^2 - mu^2 - sigma^2),

each summed over its axis and averaged over the batch. (The document has the KL without its minus.)
"""

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import minigrad as mg
from minigrad import data, nn, optim, random, runs
from minigrad.examples import command


@dataclass(frozen=True)
class ModelConfig:
    """The sizes of the network."""

    pixels: int = 784
    hidden: int = 400
    latent: int = 20


@dataclass(frozen=True)
class TrainingConfig:
    """All that a run depends on; kept in config.json."""

    model: ModelConfig = ModelConfig()
    optimizer: optim.OptimizerConfig = field(default_factory=optim.AdamConfig)
    num_epochs: int = 10
    batch_size: int = 64
    num_workers: int = 0
    seed: int = 42
    learning_rate: float = 1e-3


class VAE(nn.Module):
    def __init__(self, config: ModelConfig):
        self.encoder = nn.Linear(config.pixels, config.hidden)
        self.mean = nn.Linear(config.hidden, config.latent)
        self.log_variance = nn.Linear(config.hidden, config.latent)
        self.decoder = nn.Sequential(
            nn.Linear(config.latent, config.hidden), nn.ReLU(),
            nn.Linear(config.hidden, config.pixels), nn.Sigmoid(),
        )  # fmt: skip

    @classmethod
    def from_config(cls, config: ModelConfig) -> "VAE":
        return cls(config)

    def encode(self, images):
        """images: (B, 1, H, W) -> mean and log variance, (B, latent) each."""
        h = mg.relu(self.encoder(images.reshape(len(images), -1)))
        return self.mean(h), self.log_variance(h)

    def forward(self, images):
        """Images from latent numbers drawn for `images`; and their mean and log variance."""
        mean, log_variance = self.encode(images)
        z = mean + mg.randn(*mean.shape) * mg.exp(log_variance / 2)
        return self.decoder(z).reshape(images.shape), mean, log_variance

    def forward_loss(self, images):
        """The two parts of the loss: reconstruction and KL."""
        drawn, mean, log_variance = self(images)
        reconstruction = ((drawn - images) ** 2).sum(axis=(1, 2, 3)).mean()
        kl = (mg.exp(log_variance) + mean**2 - 1 - log_variance).sum(axis=1).mean() / 2
        return reconstruction, kl


class VAELearner(mg.Learner):
    def loss_step(self, batch):
        reconstruction, kl = self.model.forward_loss(batch[0])
        return reconstruction + kl, {"reconstruction": reconstruction, "kl": kl}


def save_compact(model: nn.Module, path: Path) -> float:
    """Write the weights in half precision; the largest error that brings, relative to a tensor's
    largest number."""
    state, errors, compact = model.state_dict(), [0.0], {}
    for name, values in state.items():
        compact[name] = values.astype(np.float16) if values.dtype == np.float32 else values
        size = float(np.abs(values).max(initial=0))
        errors.append(float(np.abs(values - compact[name]).max(initial=0)) / (size or 1.0))
    runs.save_arrays(path, compact)
    return max(errors)


def load_compact(model: nn.Module, path: Path) -> nn.Module:
    """The model with the weights of a compact record."""
    state = model.state_dict()
    found = runs.load_arrays(path)
    model.load_state_dict({k: v.astype(state[k].dtype) for k, v in found.items()})
    return model


def run(
    epochs: int = 10,
    seed: int = 42,
    out: Path | None = None,
    folder: Path = Path("mnist"),
    samples: int | None = None,
    check: bool = True,
) -> command.Figures:
    """The eight steps."""
    artifacts = None if out is None else out / "artifacts"  # 1: the Learner makes it
    config = TrainingConfig(num_epochs=epochs, seed=seed)  # 2
    random.seed(config.seed)
    train, test = (data.MNIST(folder, train=part, check=check) for part in (True, False))  # 3
    builder = data.DataLoaderBuilder().batch_size(config.batch_size)
    builder = builder.num_workers(config.num_workers)
    test_loader = builder.build(data.Subset(test, range(len(test))[:samples]))
    train_loader = builder.shuffle(config.seed).build(
        data.Subset(train, range(len(train))[:samples])
    )
    model = VAE.from_config(config.model)  # 4
    optimizer = config.optimizer.init(model)  # 5
    optimizer.lr = config.learning_rate
    callbacks = [] if artifacts is None else [mg.learner.Checkpoint(), mg.learner.JSONLog()]
    learner = VAELearner(  # 6
        model, optimizer, callbacks=callbacks, artifact_dir=artifacts, config=config
    )
    print(nn.summary(model, (1, 28, 28)))
    history = learner.fit(train_loader, test_loader, epochs=config.num_epochs, seed=seed)  # 7
    figures = {name: history[name][-1] for name in ("loss", "reconstruction", "kl", "val_loss")}
    if out is not None:
        figures["error of the compact record"] = save_compact(model, out / "model.safetensors")  # 8
        load_compact(VAE.from_config(config.model), out / "model.safetensors")
        with mg.no_grad():
            z = mg.randn(100, config.model.latent)
            command.grid(model.decoder(z).numpy().reshape(-1, 1, 28, 28), out, "mnist_vae.png")
    return figures


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, default=Path("mnist"), dest="folder", metavar="DIR",
        help="where the four files of MNIST are (default mnist)",
    )  # fmt: skip
    parser.add_argument("--samples", type=int, help="train on the first N digits only")


def one_step():
    """A step of the training, for those who study it, on noise."""
    config = TrainingConfig()
    random.seed(config.seed)
    model = VAE.from_config(config.model)
    return command.training_step(
        model, config.optimizer.init(model), lambda x: sum(model.forward_loss(x)),
        command.noise(config.batch_size, 28)[0],
    )  # fmt: skip


if __name__ == "__main__":
    command.main(__doc__, run, epochs=10, more=_more)
