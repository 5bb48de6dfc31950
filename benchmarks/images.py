"""One training step of two small convolutional networks: forward, backward, Adam; beside PyTorch.

    python -m benchmarks.images [--rounds N] [--threads N] [--save] [--json FILE]

"digits" has 8 x 8 pixels, three convolutions of 3 x 3 with 4, 8 and 8 channels and one linear
layer, in batches of 10; "MNIST" has 28 x 28, convolutions with 32, 64 and 64 channels, pooling of
2 x 2 after the first two, and linear layers of 64 and 10, in batches of 32. Images are random. Both
libraries get the same weights and batches and must agree in the losses of the first steps to 1e-4;
they take turns in one run, with the same number of threads.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

import minigrad as mg
import minigrad.nn.functional as F
from benchmarks.harness import finish, measure, parser
from benchmarks.train_step import LR, trainer, verify
from minigrad import nn

# Channels of the convolutions, how many of them a pooling follows, linear layers, pixels, batch.
NETWORKS = {
    "digits": ((1, 4, 8, 8), 0, (32, 10), 8, 10),
    "MNIST": ((1, 32, 64, 64), 2, (576, 64, 10), 28, 32),
}
BATCHES = 4


class Network(nn.Module):
    """Convolutions of 3 x 3 with relu, pooling after the first `pools`, linear layers."""

    def __init__(self, channels, pools, linear):
        bound = nn.init.fan_in_bound
        self.pools = pools
        self.kernels = [nn.init.uniform((b, a, 3, 3), bound(9 * a)) for a, b in pairwise(channels)]
        self.shifts = [nn.init.constant((b,), 0.0) for b in channels[1:]]
        self.linear = [nn.Linear(a, b) for a, b in pairwise(linear)]

    def forward(self, x):
        for i, (kernel, shift) in enumerate(zip(self.kernels, self.shifts, strict=True)):
            x = mg.relu(F.conv2d(x, kernel, shift))
            x = F.max_pool2d(x, 2) if i < self.pools else x
        x = x.reshape(x.shape[0], -1)
        for layer in self.linear[:-1]:
            x = mg.relu(layer(x))
        return self.linear[-1](x)


def model_of(name: str) -> Network:
    channels, pools, linear, *_ = NETWORKS[name]
    with mg.random.stream(0):
        return Network(channels, pools, linear)


def batches_of(name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Random pictures (B, 1, side, side) and their classes (B,)."""
    *_, side, batch = NETWORKS[name]
    generator = np.random.default_rng(0)
    return [
        (generator.random((batch, 1, side, side), np.float32), generator.integers(0, 10, batch))
        for _ in range(BATCHES)
    ]


def loss_of(model, x, y):
    return F.cross_entropy(model(x), y)


def prepare(name: str) -> dict[str, Callable]:
    """A step of each library as a function of a batch's number."""
    channels, pools, linear, *_ = NETWORKS[name]
    batches = batches_of(name)
    ours, eager = (trainer(model_of(name), loss_of, jit=jit) for jit in (True, False))
    steps = {
        "minigrad": lambda i: ours(*batches[i]).item(),
        "minigrad, without jit": lambda i: eager(*batches[i]).item(),
    }
    try:
        import torch

        from benchmarks.peers import torch_images
    except ImportError:
        return steps
    state = model_of(name).state_dict()
    state = {key: torch.nn.Parameter(torch.tensor(p)) for key, p in state.items()}
    adam = torch.optim.Adam(state.values(), lr=LR, fused=True)
    tensors = [tuple(map(torch.from_numpy, b)) for b in batches]
    loss_of_theirs = torch_images.loss_of(state, len(channels) - 1, pools, len(linear) - 1)

    def theirs(i):
        loss = loss_of_theirs(*tensors[i])
        adam.zero_grad()
        loss.backward()
        adam.step()
        return loss.item()

    return steps | {"PyTorch, fused Adam": theirs}


def main() -> None:
    options = parser(__doc__, rounds=15, threads=2).parse_args()
    mg.set_num_threads(options.threads)
    peers = {}
    try:
        import torch

        torch.set_num_threads(options.threads)
        peers["torch"] = torch.__version__
    except ImportError:
        pass
    mg.kernels.warm_up()
    rows = []
    for name in NETWORKS:
        steps = prepare(name)
        verify(steps, BATCHES)
        timings = measure(
            {
                key: lambda step=step: [step(i) for i in range(BATCHES)]
                for key, step in steps.items()
            },
            rounds=options.rounds,
        )
        rows += [
            {
                "network": name,
                "library": key,
                "ms a step": timing.median / BATCHES * 1e3,
                "times ours": timing.ratio(timings["minigrad"]),
            }
            for key, timing in timings.items()
        ]
    finish("images", rows, options, peers=peers, threads=options.threads)


if __name__ == "__main__":
    main()
