"""Transforms: callables that change an item, made once with their settings.

    class Square:
        def __call__(self, sample):
            return sample**2

A random transform draws from a key. It either has a parameter `key`, or asks
`minigrad.random.next_key()`. The loader sets the stream of keys for each item from
(seed, epoch, index), so the same item gets the same change whoever loads it.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from minigrad import random
from minigrad.errors import ShapeError


class Compose:
    """Transforms one after another; those with a parameter `key` get one each."""

    def __init__(self, transforms: Sequence[Callable]):
        self.transforms = list(transforms)

    def __call__(self, sample: Any) -> Any:
        for transform in self.transforms:
            sample = call(transform, sample)
        return sample

    def __repr__(self) -> str:
        return f"Compose({self.transforms})"


def call(transform: Callable, sample: Any) -> Any:
    """`transform(sample)`, with the next key of the current stream if it has a parameter `key`."""
    is_function = inspect.isroutine(transform)
    if _takes_key(transform if is_function else type(transform).__call__):
        return transform(sample, key=random.next_key())
    return transform(sample)


@lru_cache(maxsize=256)
def _takes_key(function: Any) -> bool:
    try:
        return "key" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # built in, without a signature
        return False


class Normalize:
    """`(x - mean) / std`, where both are numbers, or one for each channel of an image (C, H, W).

    Raises:
        ValueError: `std` is not positive.
    """

    def __init__(self, mean: Any, std: Any):
        self.mean, self.std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        if not (self.std > 0).all():
            raise ValueError(f"Normalize: expects std > 0, got {std}")

    def __call__(self, x: Any) -> Any:
        x = np.asarray(x, np.float32)
        shape = (-1, *[1] * (x.ndim - 1)) if self.mean.ndim or self.std.ndim else ()
        return (x - self.mean.reshape(shape)) / self.std.reshape(shape)


class RandomHorizontalFlip:
    """An image (..., H, W), mirrored with probability `p`."""

    def __init__(self, p: float = 0.5):
        self.p = p

    def __call__(self, image: Any, key: random.Key | None = None) -> Any:
        flip = random.bernoulli(key or random.next_key(), self.p, ()).item()
        return np.ascontiguousarray(image[..., ::-1]) if flip else image


class RandomCrop:
    """A part (..., *size) of an image (..., H, W), after `padding` zeros on every side.

    Raises ShapeError for an image that is too small.
    """

    def __init__(self, size: int | tuple[int, int], padding: int = 0):
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.padding = padding

    def __call__(self, image: Any, key: random.Key | None = None) -> Any:
        sides = [(0, 0)] * (image.ndim - 2) + [(self.padding, self.padding)] * 2
        image = np.pad(image, sides) if self.padding else image
        room = [have - want for have, want in zip(image.shape[-2:], self.size, strict=True)]
        if min(room) < 0:
            raise ShapeError(f"RandomCrop: expects at least {self.size}, got {image.shape}")
        key = key or random.next_key()
        top, left = (
            random.integers(random.fold(key, i), 0, n + 1, ()).item() for i, n in enumerate(room)
        )
        return image[..., top : top + self.size[0], left : left + self.size[1]]
