"""Optimizers, with PyTorch's names. State is kept under the names of the parameters."""

from minigrad.optim.adam import Adam
from minigrad.optim.optimizer import Optimizer, clip_grad_norm_

__all__ = ["Adam", "Optimizer", "clip_grad_norm_"]
