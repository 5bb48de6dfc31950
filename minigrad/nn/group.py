"""One sub-model per group of data, trained as one model."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from minigrad import ops, random
from minigrad.autodiff import Tensor, no_grad
from minigrad.backend import array_module, modes, to_numpy
from minigrad.errors import GroupError, ShapeError
from minigrad.nn.module import Module
from minigrad.trees import tree_map


class Grouped(Module):
    """Sends each sample of a batch to the sub-model of its group, and gives the results in order.

    The part of a batch that belongs to a group goes through its sub-model at once. Groups that are
    absent from a batch take no part: their gradients are absent (None), not zero, so an optimizer
    leaves their parameters and its own state for them as they are.

    Args:
        models: group name -> module; all take the same inputs and give outputs of the same shape.
            Names may not contain a dot, as they become parts of parameter names.
        example: inputs for a dry run (a tuple, or one array) that checks exactly that.

    Raises:
        GroupError: there are no models, a name is not usable, or in the dry run one sub-model
            failed or gave another shape or dtype than the others; the message names it.
    """

    def __init__(self, models: Mapping[str, Module], example: Any = None):
        if not models:
            raise GroupError("Grouped: give at least one model")
        for name, model in models.items():
            if not isinstance(name, str) or not name or "." in name:
                raise GroupError(
                    f"Grouped: a group's name must be a string without a dot and not empty, got "
                    f"{name!r}"
                )
            if not isinstance(model, Module):
                raise GroupError(f"Grouped: group {name!r} must have a Module, got {type(model)}")
        self.models = dict(models)
        if example is not None:
            self.dry_run(*(example if isinstance(example, tuple) else (example,)))

    @property
    def groups(self) -> list[str]:
        """The names of the groups, in order."""
        return list(self.models)

    def __getitem__(self, group: str) -> Any:  # a Module of the class that was given
        if group not in self.models:
            raise GroupError(
                f"Grouped: unknown group {group!r}; known groups: {', '.join(self.models)}"
            )
        return self.models[group]

    def dry_run(self, *inputs: Any) -> None:
        """Run every sub-model on the same inputs and compare what they give; see the class.

        Raises:
            GroupError: a sub-model fails on them, or gives another shape or dtype than the others.
        """
        kinds: dict[str, Any] = {}
        # A stream of its own: the caller's is not used up, but for first values of lazy layers.
        own = nullcontext() if any(m.unmade for m in self.modules()) else random.stream(0)
        with self.in_mode(training=False), no_grad(), own:
            for name, model in self.models.items():
                try:
                    kinds[name] = _kind(model(*inputs), inputs)
                except Exception as error:
                    raise GroupError(
                        f"Grouped: the model of group {name!r} fails on the example: {error}"
                    ) from error
        if len(set(kinds.values())) > 1:
            common = max(kinds.values(), key=list(kinds.values()).count)
            odd = ", ".join(f"{n!r} gives {k}" for n, k in kinds.items() if k != common)
            raise GroupError(
                f"Grouped: all models must give the same shapes and dtypes on the example; {odd}, "
                f"the others give {common}"
            )

    def forward(self, groups: Sequence[str] | Any, *inputs: Any) -> Any:
        """What each sample's sub-model gives for it, in the order of the batch.

        Args:
            groups: the group of each sample: names, or integers that count the groups in order.
            inputs: arrays or Tensors whose first axis is the batch.

        Raises:
            GroupError: a group is not known; the message lists the known ones.
            ShapeError: the batch is empty, or lengths differ.
        """
        models = list(self.models.values())
        if any(observer.split(groups, models) for observer in modes.get().observers):
            # One program for every split: rows sorted by group, all through the first sub-model,
            # in whose place the program puts each group's own.
            order = ops.argsort(groups)
            back = ops.argsort(order)
            model = next(iter(self.models.values()))
            y = model(*(ops.indexing._reorder_rows(x, order, back) for x in inputs))
            return tree_map(lambda t: ops.indexing._reorder_rows(t, back, order), y)
        ids = self.group_ids(groups)
        shapes = [getattr(x, "shape", None) for x in inputs]
        if len(ids) == 0 or any(not shape or shape[0] != len(ids) for shape in shapes):
            raise ShapeError(
                f"Grouped: expected one group per sample and at least one sample; got {len(ids)} "
                f"groups for inputs of shapes {shapes}"
            )
        xp = array_module(*(x.data for x in inputs))
        rows, results = [], []
        for i, model in enumerate(self.models.values()):
            here = np.flatnonzero(ids == i)
            if len(here) == len(ids):
                return model(*inputs)
            if len(here):
                place = xp.asarray(here)
                rows.append(place)
                results.append(model(*(ops.take(x, place, axis=0) for x in inputs)))
        order = xp.concatenate(rows)
        if type(results[0]) is Tensor:
            return _in_order(order, results)
        return tuple(_in_order(order, parts) for parts in zip(*results, strict=True))

    def group_ids(self, groups: Any) -> np.ndarray:
        """(B,) integers: the place of each sample's group among the groups.

        Raises:
            ShapeError: the groups have not one axis.
            GroupError: a group is not known.
        """
        if not hasattr(groups, "dtype"):
            groups = list(groups)
            if groups and all(isinstance(g, int | np.integer) for g in groups):
                groups = np.array(groups)
        if hasattr(groups, "dtype"):
            ids = to_numpy(groups.data if type(groups) is Tensor else groups)
            if ids.dtype.kind in "iu":
                if ids.ndim != 1:
                    raise ShapeError(f"Grouped: groups must be (B,), got {ids.shape}")
                if ids.size and not (ids.min() >= 0 and ids.max() < len(self.models)):
                    raise GroupError(
                        f"Grouped: group numbers must be in [0, {len(self.models)}), got "
                        f"{ids.min()}..{ids.max()}; known groups: {', '.join(self.models)}"
                    )
                return ids
            groups = ids.tolist()
        places = {name: i for i, name in enumerate(self.models)}
        unknown = sorted({str(g) for g in groups if not isinstance(g, str) or g not in places})
        if unknown:
            raise GroupError(
                f"Grouped: unknown groups {', '.join(map(repr, unknown))}; known groups: "
                f"{', '.join(self.models)}"
            )
        return np.array([places[g] for g in groups], dtype=np.int64)


def _kind(y: Any, inputs: tuple) -> Any:
    """Shape and dtype of a Tensor, or of each in a tuple; raises if it is anything else."""
    if isinstance(y, tuple):
        return tuple(_kind(part, inputs) for part in y)
    if type(y) is not Tensor:
        raise TypeError(f"it gives {type(y).__name__}, not a Tensor or a tuple of Tensors")
    if inputs and y.shape[:1] != inputs[0].shape[:1]:
        raise ShapeError(f"it gives shape {y.shape}, whose first axis is not the batch")
    return y.shape, str(y.dtype)


def _in_order(order: Any, parts: Sequence[Tensor]) -> Tensor:
    """The rows of all parts, row i put at `order[i]`."""
    values = ops.concatenate(parts)
    return ops.index_set(ops.zeros_like(values), order, values)
