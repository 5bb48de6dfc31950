"""The ops: one formula each, with its rule under it. This package is also the array module that
formulas get when they are to be differentiated, so it has NumPy's names.
"""

import sys

from minigrad.autodiff import REGISTRY
from minigrad.graph import use_ops
from minigrad.ops import (
    activations,
    arithmetic,
    assembling,
    attentions,
    batching,
    convs,
    creation,
    differences,
    dtypes,
    elementwise,
    fft,
    indexing,
    linalg,
    losses,
    moving,
    noise,
    norms,
    pools,
    products,
    reductions,
    selecting,
    shaping,
    softmaxes,
    sorting,
    special,
    statistics,
    windows,
)
from minigrad.ops.activations import *
from minigrad.ops.arithmetic import *
from minigrad.ops.assembling import *
from minigrad.ops.attentions import *
from minigrad.ops.convs import *
from minigrad.ops.creation import *
from minigrad.ops.differences import *
from minigrad.ops.dtypes import *
from minigrad.ops.elementwise import *
from minigrad.ops.indexing import *
from minigrad.ops.linalg import matrix_transpose, norm
from minigrad.ops.losses import *
from minigrad.ops.noise import *
from minigrad.ops.norms import *
from minigrad.ops.pools import *
from minigrad.ops.products import *
from minigrad.ops.reductions import *
from minigrad.ops.selecting import *
from minigrad.ops.shaping import *
from minigrad.ops.softmaxes import *
from minigrad.ops.sorting import *
from minigrad.ops.special import *
from minigrad.ops.statistics import *

# Spelled out, so that editors and type checkers can follow it.
MODULES = ("fft", "linalg")  # whose names stay in them, but for a few that NumPy has twice
__all__ = [*MODULES, "matrix_transpose", "norm"]
__all__ += activations.__all__
__all__ += arithmetic.__all__
__all__ += assembling.__all__
__all__ += attentions.__all__
__all__ += convs.__all__
__all__ += creation.__all__
__all__ += differences.__all__
__all__ += dtypes.__all__
__all__ += elementwise.__all__
__all__ += indexing.__all__
__all__ += losses.__all__
__all__ += noise.__all__
__all__ += norms.__all__
__all__ += pools.__all__
__all__ += products.__all__
__all__ += reductions.__all__
__all__ += selecting.__all__
__all__ += shaping.__all__
__all__ += softmaxes.__all__
__all__ += sorting.__all__
__all__ += special.__all__
__all__ += statistics.__all__

use_ops(sys.modules[__name__])

for _op in REGISTRY.values():
    if _op.primitive and _op.differentiable and not _op.has_rule:
        raise TypeError(f"the primitive '{_op.__name__}' needs a rule, or .no_gradient()")


def __getattr__(name: str):
    raise AttributeError(
        f"minigrad has no op '{name}'. In the formula of an op that is to be differentiated, use "
        f"the ops there are; or make it a primitive (`@minigrad.primitive`) and give it a rule"
    )
