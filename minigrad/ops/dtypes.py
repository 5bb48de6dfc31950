"""What the ops ask of dtypes."""

__all__: list[str] = []


def is_half(dtype) -> bool:
    """Whether it is float16 or bfloat16, of which sums and squares need more digits."""
    return dtype.itemsize == 2 and dtype.kind not in "iu"
