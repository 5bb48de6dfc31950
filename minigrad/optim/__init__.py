"""Optimizers, with PyTorch's names. State is kept under the names of the parameters.

In the order in which one reads them:

    naming  copying  flat  optimizer    parameters by name, in flat buffers, and what is shared
    sgd  adagrad  rmsprop  adam  lion  adafactor  sparse_adam           a formula each
    schedules  plateau                  learning rates that change
    clipping  accumulation  averaging   gradients kept small, of large batches; weights averaged
    ownership  lookup                   whose a parameter is; optimizers by name
"""

from minigrad.optim import schedules
from minigrad.optim.accumulation import Accumulate
from minigrad.optim.adafactor import Adafactor
from minigrad.optim.adagrad import Adagrad
from minigrad.optim.adam import Adam, AdamW
from minigrad.optim.averaging import EMA
from minigrad.optim.clipping import clip_grad_norm_, clip_grad_value_
from minigrad.optim.lion import Lion
from minigrad.optim.lookup import AdamConfig, OptimizerConfig, get
from minigrad.optim.optimizer import Optimizer
from minigrad.optim.ownership import check_ownership
from minigrad.optim.plateau import ReduceLROnPlateau
from minigrad.optim.rmsprop import RMSprop
from minigrad.optim.sgd import SGD
from minigrad.optim.sparse_adam import SparseAdam

__all__ = [
    "EMA", "SGD", "Accumulate", "Adafactor", "Adagrad", "Adam", "AdamConfig", "AdamW", "Lion",
    "Optimizer", "OptimizerConfig", "RMSprop", "ReduceLROnPlateau", "SparseAdam",
    "check_ownership", "clip_grad_norm_", "clip_grad_value_", "get", "schedules",
]  # fmt: skip
