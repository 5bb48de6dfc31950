"""What a step is: the part of a Learner that its subclasses define anew."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad import nn, optim
from minigrad.arguments import count
from minigrad.autodiff import Tensor, enable_grad, gradients
from minigrad.backend import modes, refuse_while_capturing, to_device, xp
from minigrad.data.collating import map_leaves
from minigrad.errors import StateError
from minigrad.learner.batches import samples_of
from minigrad.learner.lookup import loss_of, optimizers_of
from minigrad.learner.together import Together
from minigrad.precision import HALVES, autocast, float32_matmul_precision, half, is_half
from minigrad.programs import disable_jit
from minigrad.trees import tree_map


@dataclass
class Place:
    """How far a training is.

    Attributes:
        epoch, step: how many of them are done.
        batches: how many of the epoch in progress are done.
        waiting: how many of those have gradients that wait for a step of the optimizers.
        stopped: whether the training is to end.
        warned: whether it was said that a figure is not finite.
        batch_weight: how much the last batch counts.
        loader: where the loader is.
        seed: of the training; None before there is one.
        whole: whether this is a place to go on from later, not the midst of a step.
    """

    epoch: int = 0
    step: int = 0
    batches: int = 0
    waiting: int = 0
    stopped: bool = False
    warned: bool = False
    batch_weight: float = 0
    loader: Any = None
    seed: int | None = None
    whole: bool = True


PRECISIONS = ("float32", "tf32", *HALVES)


class Stepping:
    """A model, its optimizers, and the steps that they take; see `Learner`.

    Attributes:
        by_program: whether the step in progress is repeated by `jit`.

    Raises:
        ValueError: `clip_norm`, `accumulate` or `precision` is out of its range.
        DtypeError: bfloat16 needs `ml_dtypes`, which is not installed.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any,
        loss: Callable | str | None,
        clip_norm: float | None,
        accumulate: int,
        precision: str = "float32",
    ):
        accumulate = count("Learner", "accumulate", accumulate)
        if precision not in PRECISIONS:
            raise ValueError(
                f"Learner: precision must be one of {', '.join(PRECISIONS)}, got {precision!r}"
            )
        if precision in HALVES:
            half(precision)  # or else say now what it needs
        if clip_norm is not None and (isinstance(clip_norm, bool) or not clip_norm > 0):
            raise ValueError(f"Learner: clip_norm must be above 0, got {clip_norm!r}")
        self.model, self.loss = model, loss_of(loss)
        self.optimizers = optimizers_of(model, optimizer)
        self.clip_norm, self.accumulate, self.precision = clip_norm, accumulate, precision
        self.scalers: dict[str, optim.LossScaler] = {}
        if precision == "float16":
            self.scalers = {name: optim.LossScaler() for name in self.optimizers}
        self._place = Place()
        self._sums: dict[str, optim.Accumulate] = {}
        self._updated: frozenset[str | None] = frozenset()  # optimizers, in this step
        self._together: Together | None = None  # with other processes
        self.by_program = False  # whether this step is one of `jit`
        self._share = 0.0  # what this process's part of the batch weighs
        self._frozen = self._norms = False

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return self._read("epoch")

    @property
    def step(self) -> int:
        """How many batches have been trained on."""
        return self._read("step")

    @property
    def whole(self) -> bool:
        """Whether this is a place to go on from later, not the midst of a step."""
        return self._read("whole")

    @property
    def batch_weight(self) -> float:
        """What `weigh` gave for the last batch that was trained on; for callbacks."""
        return self._read("batch_weight")

    def _read(self, name: str) -> Any:
        refuse_while_capturing(f"Learner.{name}")  # a program would take it for a constant
        return getattr(self._place, name)

    def prepare(self, batch: Any) -> Any:
        """What steps get of a batch, by default the batch; subclasses may override.

        For data that are not arrays yet, or that are filled up to few shapes. Where the model is
        on a device, NumPy arrays among the leaves of the batch are moved there.
        """
        return batch if xp() is np else map_leaves(_moved, batch)

    def weigh(self, batch: Any) -> float:
        """How much a batch counts in the means, by default its samples; subclasses may override.

        For a loss that is a mean over other things, as tokens that are not padding, their number:
        then the loss of an epoch, and the step after accumulated batches, are means over them. It
        gets the batch as the data gave it, before `prepare`.
        """
        return samples_of(batch)

    def loss_step(self, batch: Any) -> Any:
        """The loss of a batch (x, ..., y), or a pair of it and figures; subclasses may override.

        By default `loss(model(x, ...), y)`.

        Raises:
            StateError: there is no `loss`, or nothing beside `y` in the batch.
        """
        if self.loss is None:
            raise StateError(
                "Learner: give a loss, or a subclass with loss_step(batch) or train_step(batch)"
            )
        *x, y = batch if isinstance(batch, list | tuple) else (batch,)
        if not x:
            raise StateError(
                "Learner: a batch must be (x, y) for the loss; give arrays as a pair, "
                "fit((x, y)), or define loss_step for other batches"
            )
        y_pred = self.model(*x)
        return self.loss(y_pred, y), {"y_pred": tree_map(in_float32, y_pred)}

    def train_step(self, batch: Any) -> dict[str, Any]:
        """One step of training; gives figures by name. Subclasses may override."""
        loss, figures = _pair(self.loss_step(batch))
        return {"loss": loss, **figures, **self.update(loss)}

    def valid_step(self, batch: Any) -> dict[str, Any]:
        """The figures of a batch that is not trained on. Subclasses may override."""
        if self._only_trains():
            # The step may ask for gradients; what it does with them is undone. A program of its
            # own would take its steps all the same.
            with disable_jit(), enable_grad():
                return self.train_step(batch)
        loss, figures = _pair(self.loss_step(batch))
        return {"loss": loss, **figures}

    def _only_trains(self) -> bool:
        """Whether `train_step` alone says what the losses are."""
        own = type(self)
        return (
            self.loss is None
            and own.train_step is not Stepping.train_step
            and own.loss_step is Stepping.loss_step
        )

    def update(self, loss: Tensor, name: str | None = None) -> dict[str, Any]:
        """One step of an optimizer down the slope of `loss`; nothing in validation.

        Only the parameters of that optimizer get gradients.

        Args:
            name: of the optimizer, if there are several.

        Returns:
            Figures: the norm of the gradients, where somebody asked for it.

        Raises:
            StateError: with `accumulate`, an optimizer has several losses in a step.
            CaptureError: a step that is being captured has several updates.
        """
        if self._frozen:
            return {}
        if self._together is not None and self.by_program and self._updated:
            refuse_while_capturing(
                "a second update", "has no place in a program, which leaves gradients at its end"
            )
        if self.accumulate == 1 and any(observer.updates for observer in modes.get().observers):
            refuse_while_capturing(
                "a second update", "has no place in a program, which updates parameters at its end"
            )
        optimizer = self.optimizer_named(name)
        parameters = optimizer.parameters.values()
        if (scaler := self.scaler_of(optimizer)) is not None:
            loss = scaler.scale(loss)
        outside = self.accumulate > 1 or (self.by_program and self._together is not None)
        with nullcontext() if outside else self._averaging(name):
            for p, g in zip(parameters, gradients([loss], list(parameters)), strict=True):
                p.grad = g
        if self.accumulate > 1 and name in self._updated:
            raise StateError("Learner.update: with accumulate, an optimizer has one loss in a step")
        self._updated |= {name}
        return {} if outside else self._descend(name)

    def _averaging(self, name: str | None, weight: float | None = None) -> Any:
        """A block that gives gradients: they are averaged over the processes, if there are more.

        A program cannot do that: it leaves them in `.grad`, and they are averaged behind it.
        """
        if self._together is None:
            return nullcontext()
        if name is None:
            name = next(iter(self.optimizers))
        return self._together.averages[name](self._share if weight is None else weight)

    def _behind_program(self) -> dict[str, float]:
        """The updates that a program has left to do: the figures that come of them."""
        figures: dict[str, float] = {}
        for name, optimizer in self.optimizers.items():
            if any(p.grad is not None for p in optimizer.parameters.values()):
                with self._averaging(name):
                    pass
                figures |= {k: float(v) for k, v in self._descend(name).items()}
        return figures

    def _descend(self, name: str | None) -> dict[str, Any]:
        """One step of an optimizer by the gradients that are there."""
        optimizer, figures = self.optimizer_named(name), {}
        scaler = self.scaler_of(optimizer)
        if scaler is not None and any(p.grad is not None for p in optimizer.parameters.values()):
            scaler.unscale(optimizer)
        else:
            scaler = None
        if self.clip_norm is not None or self._norms:
            most = math.inf if self.clip_norm is None else self.clip_norm
            norm = optim.clip_grad_norm_(optimizer.parameters, most)
            if self._norms:
                figures[f"grad_norm_{name}" if name else "grad_norm"] = norm
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        optimizer.zero_grad()
        return figures

    def scaler_of(self, optimizer: optim.Optimizer) -> optim.LossScaler | None:
        """What scales the loss of an optimizer, in float16; else None."""
        return next((s for k, s in self.scalers.items() if self.optimizers[k] is optimizer), None)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Inside the block, everything computes in this learner's `precision`."""
        if self.precision == "tf32":
            with float32_matmul_precision("high"):
                yield
        elif self.precision == "bfloat16":
            with autocast("bfloat16"):
                yield
        elif self.precision == "float16":  # what is too large for it is infinite; see LossScaler
            with autocast("float16"), np.errstate(over="ignore", invalid="ignore"):
                yield
        else:
            yield

    def begin_step(self) -> None:
        """Called before each step of any kind."""
        self._updated = frozenset()

    def optimizer_named(self, name: str | None = None) -> optim.Optimizer:
        """The optimizer of that name, or the only one.

        Raises:
            KeyError: there is none.
        """
        if name is None and len(self.optimizers) == 1:
            return next(iter(self.optimizers.values()))
        if name not in self.optimizers:
            raise KeyError(
                f"Learner: no optimizer {name!r}; there are {', '.join(map(repr, self.optimizers))}"
            )
        return self.optimizers[name]

    @property
    def optimizer(self) -> optim.Optimizer:
        """The only optimizer."""
        return self.optimizer_named()

    def watch_gradients(self) -> None:
        """Have `update` give the norm of the gradients as a figure, from now on."""
        self._norms = True

    def _without_gradients(self) -> None:
        """Let nothing be left of an earlier training that did not end."""
        self._sums = {k: optim.Accumulate(o.parameters) for k, o in self.optimizers.items()}
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()

    def _accumulated(self, weight: float | None) -> dict[str, float]:
        """Note the gradients of a batch; a step of the optimizers when there are enough of them."""
        place, figures = self._place, dict[str, float]()
        for total in self._sums.values():
            if any(p.grad is not None for _, p in total.parameters):
                total.add(weight)
        place.waiting += 1
        if weight is not None and place.waiting < self.accumulate:
            return figures
        place.waiting = 0
        for name, total in self._sums.items():
            weight = total.finish()
            with self._averaging(name, weight):
                pass
            figures |= {k: float(v) for k, v in self._descend(name).items()}
        return figures

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Updates do nothing; where `train_step` runs for its figures, all is undone afterwards."""
        self._frozen, alone = True, self._only_trains()
        state = self.model.state_dict() if alone else {}
        for optimizer in self.optimizers.values() if alone else ():
            vars(optimizer)["step"] = lambda *args, **kwargs: None
        try:
            yield
        finally:
            self._frozen = False
            for optimizer in self.optimizers.values() if alone else ():
                vars(optimizer).pop("step", None)
                optimizer.zero_grad()
            if alone:
                self.model.load_state_dict(state)


def in_float32(x: Any) -> Any:
    """A tensor of 16 bits as float32, as others want it; anything else itself."""
    return x.astype("float32") if type(x) is Tensor and is_half(x.dtype) else x


def _pair(found: Any) -> tuple[Tensor, dict[str, Any]]:
    return found if isinstance(found, tuple) else (found, {})


def _moved(x: Any) -> Any:
    """A NumPy array of numbers on the device; anything else as it is."""
    return to_device(x) if isinstance(x, np.ndarray) and x.dtype.kind in "biufV" else x
