"""Sequences of different lengths, where PyTorch has them; the functions of `minigrad.nn.packing`."""

from minigrad.nn import packing
from minigrad.nn.packing import *

__all__ = packing.__all__
