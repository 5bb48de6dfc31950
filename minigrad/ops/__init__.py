"""The ops: one formula each, with its rule under it. This package is also the array module that
formulas get when they are to be differentiated, so it has NumPy's names.
"""

from minigrad.autodiff import REGISTRY
from minigrad.ops import linalg
from minigrad.ops.activations import *
from minigrad.ops.attentions import *
from minigrad.ops.convs import *
from minigrad.ops.creation import *
from minigrad.ops.elementwise import *
from minigrad.ops.indexing import *
from minigrad.ops.losses import *
from minigrad.ops.noise import *
from minigrad.ops.norms import *
from minigrad.ops.pools import *
from minigrad.ops.products import *
from minigrad.ops.reductions import *
from minigrad.ops.shaping import *
from minigrad.ops.softmaxes import *

__all__ = sorted(
    name for name, value in globals().items()
    if not name.startswith("_") and (callable(value) or value is linalg)
)  # fmt: skip

from minigrad.ops import methods as _methods

for _op in REGISTRY.values():
    if _op.primitive and _op.differentiable and not _op.has_rule:
        raise TypeError(f"the primitive '{_op.__name__}' needs a rule, or .no_gradient()")


def __getattr__(name: str):
    raise AttributeError(
        f"minigrad has no op '{name}'. In the formula of an op that is to be differentiated, use "
        f"the ops there are; or make it a primitive (`@minigrad.primitive`) and give it a rule"
    )
