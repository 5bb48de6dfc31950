"""Convolution."""

__all__: list[str] = []
