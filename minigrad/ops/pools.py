"""Pooling, interpolation, and what rearranges pixels."""

__all__: list[str] = []
