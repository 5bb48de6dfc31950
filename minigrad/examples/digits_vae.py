"""A variational autoencoder that draws digits (exercise 5).

The encoder gives a normal distribution of 10 latent numbers for a picture, the decoder a picture
for latent numbers. The loss is how far that picture is from the first, divided by twice a
temperature, plus how far the distribution is from the standard normal one (Kingma and Welling,
"Auto-encoding variational Bayes", arXiv 1312.6114):

    KL = -1/2 (1 + l - mu^2 - exp(l)),  l = log sigma^2

which is never negative. As in the lecture both parts are means over all axes.
"""

from pathlib import Path

import numpy as np

import minigrad as mg
from minigrad import data, nn, optim, random
from minigrad.examples import command

LATENT, BATCH = 10, 16


class Encoder(nn.Module):
    def __init__(self):
        self.c1, self.c2, self.c3 = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 8, 3), nn.Conv2d(8, 16, 3)
        self.mean, self.log_variance = nn.Linear(64, LATENT), nn.Linear(64, LATENT)

    def forward(self, x):
        """x: (B, 1, 8, 8) -> mean and log variance, (B, LATENT) each."""
        h = mg.relu(self.c3(mg.relu(self.c2(mg.relu(self.c1(x))))))
        h = h.reshape(len(h), -1)
        return self.mean(h), self.log_variance(h)


class Decoder(nn.Module):
    def __init__(self):
        self.l1 = nn.Linear(LATENT, 256)
        self.c1 = nn.ConvTranspose2d(16, 8, 2)
        self.c2 = nn.ConvTranspose2d(8, 4, 2)
        self.c3 = nn.ConvTranspose2d(4, 1, 3)

    def forward(self, z):
        """z: (B, LATENT) -> (B, 1, 8, 8): 4 pixels become 5, 6 and 8 a side."""
        h = mg.relu(self.l1(z)).reshape(len(z), 16, 4, 4)
        h = mg.leaky_relu(self.c2(mg.leaky_relu(self.c1(h), 0.2)), 0.2)  # Keras's slope
        return mg.sigmoid(self.c3(h))


class VAE(nn.Module):
    def __init__(self, temperature: float):
        self.enc, self.dec, self.temperature = Encoder(), Decoder(), temperature

    def losses(self, x):
        """The two parts of the loss of pictures x (B, 1, 8, 8): reconstruction and KL."""
        mean, log_variance = self.enc(x)
        z = mean + mg.randn(*mean.shape) * mg.exp(log_variance / 2)
        reconstruction = ((self.dec(z) - x) ** 2).mean() / (2 * self.temperature)
        kl = (mg.exp(log_variance) + mean**2 - 1 - log_variance).mean() / 2
        return reconstruction, kl


class VAELearner(mg.Learner):
    def loss_step(self, batch):
        reconstruction, kl = self.model.losses(batch[0])
        return reconstruction + kl, {"reconstruction": reconstruction, "kl": kl}


def train(x: np.ndarray, epochs: int, seed: int, temperature: float = 0.01, verbose: int = 1):
    """A trained model, and its history."""
    with random.stream(seed):
        model = command.glorot_(VAE(temperature))
    learner = VAELearner(model, optim.Adam(model, lr=1e-3), verbose=verbose)
    with random.stream(random.fold(random.key(seed), "noise")):
        history = learner.fit((x,), epochs=epochs, batch_size=BATCH, seed=seed)
    return model, history


def run(
    epochs: int = 20,
    seed: int = 0,
    out: Path | None = None,
    samples: int | None = None,
    temperature: float = 0.01,
) -> command.Figures:
    """Train, then draw 100 digits from latent numbers."""
    x, _ = data.digits()
    model, history = train(x[:samples], epochs, seed, temperature)
    if out is not None:
        with mg.no_grad(), random.stream(random.fold(random.key(seed), "samples")):
            command.grid(model.dec(mg.randn(100, LATENT)).numpy(), out, "digits_vae.png")
        command.curves({k: history[k] for k in ("reconstruction", "kl")}, out, "losses.png")
    return {
        f"{when} {part}": history[part][place]
        for part in ("reconstruction", "kl", "loss")
        for when, place in (("first", 0), ("last", -1))
    }


def _more(parser) -> None:
    parser.add_argument("--temperature", type=float, default=0.01, help="(default 0.01)")


def one_step():
    """A step of the training, for those who study it."""
    with random.stream(0):
        model = command.glorot_(VAE(temperature=0.01))
    return command.training_step(
        model, optim.Adam(model, lr=1e-3), lambda x: sum(model.losses(x)), command.digits(BATCH)[0]
    )


if __name__ == "__main__":
    command.main(__doc__, run, epochs=20, more=_more)
