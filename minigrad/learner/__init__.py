"""The training loop, and what belongs to it.

steps       what a step is: the part that subclasses define anew
learner     Learner: fit, evaluate, predict
metrics     numbers about a whole pass
callbacks   what looks on, and may step in
history     the figures of all epochs
progress    bars and lines
artifacts   the directory with configuration and checkpoints
interrupts  Ctrl-C and SIGTERM, put off to a good place
compiled    steps as programs, where they can be
lookup      losses, metrics, optimizers by name
batches     arrays, data sets and loaders as batches
builder     a Learner put together as in Burn
"""

from minigrad.learner import callbacks, metrics
from minigrad.learner.artifacts import Artifacts
from minigrad.learner.builder import LearnerBuilder
from minigrad.learner.callbacks import *
from minigrad.learner.history import History
from minigrad.learner.interrupts import Interrupts
from minigrad.learner.learner import Learner
from minigrad.learner.metrics import *
from minigrad.learner.progress import Progress, loop

__all__ = ["Artifacts", "History", "Interrupts", "Learner", "LearnerBuilder", "Progress", "loop"]
__all__ += callbacks.__all__
__all__ += metrics.__all__
