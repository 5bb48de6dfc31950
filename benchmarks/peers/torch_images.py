"""The convolutional networks of `benchmarks.images` in PyTorch, with the same names of weights."""

from collections.abc import Callable, Mapping

import torch
from torch.nn import functional as F


def loss_of(
    state: Mapping[str, torch.Tensor], convolutions: int, pools: int, linear: int
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The cross entropy of pictures and classes, as a function of them, with the weights `state`.

    Args:
        convolutions, linear: how many layers there are of each.
        pools: how many of the first ones a pooling follows.
    """

    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        for k in range(convolutions):
            x = F.conv2d(x, state[f"kernels.{k}"], state[f"shifts.{k}"]).relu()
            x = F.max_pool2d(x, 2) if k < pools else x
        x = x.flatten(1)
        for k in range(linear):
            x = F.linear(x, state[f"linear.{k}.weight"], state[f"linear.{k}.bias"])
            x = x.relu() if k < linear - 1 else x
        return F.cross_entropy(x, y)

    return loss
