"""What PyTorch has in `nn.utils`: packed sequences, parameters as one vector, clipping."""

from minigrad.nn.utils import rnn

__all__ = ["rnn"]
