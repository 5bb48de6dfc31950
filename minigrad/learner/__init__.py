"""The training loop, and what belongs to it.

learner     Learner: fit, evaluate, predict
metrics     numbers about a whole pass
callbacks   what looks on, and may step in
history     the figures of all epochs
artifacts   the directory with configuration and checkpoints
progress    bars and lines
"""

from minigrad.learner import callbacks, metrics
from minigrad.learner.artifacts import Artifacts
from minigrad.learner.callbacks import *
from minigrad.learner.history import History
from minigrad.learner.learner import Learner
from minigrad.learner.metrics import *
from minigrad.learner.progress import Progress, loop

__all__ = ["Artifacts", "History", "Learner", "Progress", "loop"]
__all__ += callbacks.__all__
__all__ += metrics.__all__
