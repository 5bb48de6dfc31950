"""Handlers of the machine for what draws random numbers."""

import numpy as np
from numba import carray

from minigrad.kernels.cpu import BLOCKS, dropout_loop
from minigrad.kernels.machine import WORDS, at, handler, share


@handler
def dropout(words, kind, part, parts):
    """y = x, scaled or 0 as the words of a key say; see `cpu.dropout`.

    Words: y, x, n, where the key's two words lie, the limit, the scale.
    """
    w = carray(words, (WORDS,))
    n, limit = w[2], w[4]
    scale = w[5:6].view(np.float64)[0]
    y, x, key = (
        carray(at(kind, w[0]), (n,)),
        carray(at(kind, w[1]), (n,)),
        carray(at(words, w[3]), (2,)),
    )
    start, stop = share(n, 4 * BLOCKS, part, parts)
    dropout_loop(y, x, start, stop, key[0], key[1], limit, scale)
