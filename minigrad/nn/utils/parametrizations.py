"""The norms of `minigrad.nn.parametrization`, under the path that they have in PyTorch."""

from minigrad.nn.parametrization import spectral_norm, weight_norm

__all__ = ["spectral_norm", "weight_norm"]
