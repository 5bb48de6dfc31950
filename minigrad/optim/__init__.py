"""Optimizers, with PyTorch's names. State is kept under the names of the parameters.

In the order in which one reads them:

    naming  copying  flat  optimizer    parameters by name, in flat buffers, and what is shared
    sgd  adagrad  rmsprop  adam  lion  adafactor  sparse_adam           a formula each
    nadam  radam  adamax  adadelta  asgd  rprop
    schedules  plateau                  learning rates that change
    clipping  scaling                   gradients kept small, and from vanishing in 16 bits
    accumulation  averaging             gradients of large batches; weights averaged
    reducing                            gradients averaged over processes
    ownership  lookup                   whose a parameter is; optimizers by name
"""

from typing import TYPE_CHECKING, Any

from minigrad.optim.accumulation import Accumulate
from minigrad.optim.adadelta import Adadelta
from minigrad.optim.adafactor import Adafactor
from minigrad.optim.adagrad import Adagrad
from minigrad.optim.adam import Adam, AdamW
from minigrad.optim.adamax import Adamax
from minigrad.optim.asgd import ASGD
from minigrad.optim.averaging import EMA
from minigrad.optim.clipping import clip_grad_norm_, clip_grad_value_
from minigrad.optim.lion import Lion
from minigrad.optim.lookup import AdamConfig, OptimizerConfig, get
from minigrad.optim.nadam import NAdam
from minigrad.optim.optimizer import Optimizer
from minigrad.optim.ownership import check_ownership
from minigrad.optim.plateau import ReduceLROnPlateau
from minigrad.optim.radam import RAdam
from minigrad.optim.reducing import AverageGradients
from minigrad.optim.rmsprop import RMSprop
from minigrad.optim.rprop import Rprop
from minigrad.optim.scaling import LossScaler
from minigrad.optim.sgd import SGD
from minigrad.optim.sparse_adam import SparseAdam

__all__ = [
    "ASGD", "EMA", "SGD", "Accumulate", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamConfig",
    "AdamW", "Adamax", "AverageGradients", "Lion", "LossScaler", "NAdam", "Optimizer",
    "OptimizerConfig", "RAdam", "RMSprop", "ReduceLROnPlateau", "Rprop", "SparseAdam",
    "check_ownership", "clip_grad_norm_", "clip_grad_value_", "get", "schedules",
]  # fmt: skip

if TYPE_CHECKING:
    from minigrad.optim import schedules

_ELSEWHERE = {  # names of PyTorch
    "LBFGS": "it calls the loss many times a step; scipy.optimize.minimize(method='L-BFGS-B') does",
    "Muon": "not here; AdamW is the usual choice for the same models",
    "lr_scheduler": "give a schedule of optim.schedules as lr, or use optim.ReduceLROnPlateau",
    "swa_utils": "optim.EMA averages weights",
}


def __getattr__(name: str) -> Any:
    if name == "schedules":  # loaded when asked for: its classes take a while to make
        import importlib

        return importlib.import_module("minigrad.optim.schedules")
    hint = f": {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
    raise AttributeError(f"module 'minigrad.optim' has no attribute '{name}'{hint}")
