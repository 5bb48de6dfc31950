"""Linear algebra, under NumPy's names: `minigrad.linalg`."""

__all__: list[str] = []
