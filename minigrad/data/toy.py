"""The artificial classification data of the lecture."""

import numpy as np

from minigrad.errors import ShapeError


class ToyDataGenerator:
    """Points around `n_class` centres, labelled with the number of their centre.

    Centres are standard normal and points have a standard deviation of 0.2 around them. The numbers
    are those of NumPy's generator with seed 3, so each sample of the same sizes, taken in the same
    order, is that of the lecture.
    """

    def __init__(self, dim: int = 2, n_class: int = 5):
        self.rg = np.random.default_rng(seed=3)
        self.mu_for_class_np = self.rg.normal(0, 1, size=(n_class, dim))
        self.dim, self.n_class = dim, n_class

    def sample(self, N_batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Points, float32 (N, dim), and labels, int32 (N,): class by class, equally many of each.

        N is `N_batch`, rounded down to a multiple of the number of classes. Raises ShapeError if
        that is none.
        """
        each = N_batch // self.n_class
        if each < 1:
            raise ShapeError(f"sample: expects at least {self.n_class} points, got {N_batch}")
        x = [self.rg.normal(0, 0.2, size=(each, self.dim)) + mu for mu in self.mu_for_class_np]
        y = np.repeat(np.arange(self.n_class, dtype=np.int32), each)
        return np.concatenate(x).astype(np.float32), y
