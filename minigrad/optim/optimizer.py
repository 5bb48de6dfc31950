"""What optimizers share: named parameters in groups, and state under the same names."""

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self, cast

import numpy as np

from minigrad import kernels
from minigrad.autodiff import Tensor, as_array
from minigrad.backend import array_module, describe, modes, refuse_while_capturing, to_numpy
from minigrad.errors import StateError
from minigrad.kernels.instructions import Instruction
from minigrad.optim.copying import Follower
from minigrad.optim.flat import Flat, Shape, rows_in, runs
from minigrad.optim.naming import Parameters, groups_of, named
from minigrad.writes import wrote


class Setting:
    """An option of an optimizer as its attribute: read from its groups, set in all of them."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, optimizer: Any, owner: type | None = None) -> Any:
        if optimizer is None:
            return self
        found = [group[self.name] for group in optimizer.param_groups]
        if any(x != found[0] for x in found):
            raise StateError(
                f"{type(optimizer).__name__}.{self.name}: the groups of parameters have different "
                f"ones, {found}; read them from param_groups"
            )
        return found[0]

    def __set__(self, optimizer: Any, value: Any) -> None:
        for group in optimizer.param_groups:
            optimizer.check({**optimizer.settings(group), self.name: value})
        for group in optimizer.param_groups:
            group[self.name] = value


class Optimizer(Follower):
    """Changes parameters by their gradients.

    A parameter whose gradient is absent (None) is left alone: its value, its state and its step
    count stay as they are, to the bit. A gradient of zeros is not absent.

    Every number among the options may be a function of the step: `lr=lambda t: 0.1 * 0.99**t`, or a
    schedule of `minigrad.optim.schedules`. Steps count from 0, the first update has number 0, and
    are part of the state: who resumes goes on where it was.

    An optimizer that is made over parameters of an earlier one takes them over; the earlier one
    says so at its next step. `copy.deepcopy((model, optimizer))` gives a copy of both that trains
    the copied model.

    Args:
        parameters: a Module, a mapping of name to parameter, the list from `parameters()`, or pairs
            (name, parameter). Or a list of groups with options of their own, as in
            `[{"params": encoder, "name": "encoder", "lr": 1e-4}, {"params": head}]`, where a
            group's name, if it has one, goes before those of its parameters.
        defaults: the options of groups that do not have their own.

    Attributes:
        parameters: by name.
        param_groups: dictionaries with 'params' and the options, which may be changed between
            steps; an attribute such as `lr` stands for that of all groups.

    Raises:
        StateError: there are no parameters, one has no name, two have the same one.
        ValueError: an option is out of its range.
    """

    slots: tuple[str, ...] = ()  # names of the moments, in the order in which formulas take them
    kernel = ""  # of the rules in minigrad.kernels.updates
    formula: Callable[..., None]
    called = "optimizer"

    lr = Setting()

    def __init__(self, parameters: Parameters, **defaults: Any):
        self.defaults = defaults
        self.parameters: dict[str, Tensor] = {}
        self.param_groups: list[dict[str, Any]] = []
        self.flats: list[Flat] = []
        self._leader: Flat | None = None
        self._add(groups_of(parameters))

    def add_param_group(self, group: dict[str, Any]) -> None:
        """One more group of parameters; its state starts from zero."""
        self._add(groups_of([group]))

    def _add(self, groups: list[dict[str, Any]]) -> None:
        pairs = [pair for group in groups for pair in group["params"]]
        everything = named([*self.parameters.items(), *pairs])
        names = {id(p): name for name, p in everything.items()}
        for group in groups:
            if unknown := group.keys() - self.defaults.keys() - {"params", "name"}:
                raise StateError(
                    f"{type(self).__name__}: a group of parameters has the options "
                    f"{sorted(unknown)}; there are {', '.join(self.defaults)}"
                )
            self.check({**self.defaults, **self.settings(group)})
        count = self.step_count
        for group in groups:
            tensors = [p for _, p in group["params"]]
            group = {**self.defaults, **group, "params": tensors}
            self.param_groups.append(group)
            kinds: dict[Any, dict[str, Tensor]] = {}
            for p in tensors:
                kinds.setdefault((array_module(p.data), p.dtype), {})[names[id(p)]] = p
            for kind in kinds.values():
                moments = {m: self._shape_of(m) for m in self.moments(group)}
                flat = Flat(kind, moments, group, type(self).__name__)
                flat.steps[-1] = count
                self.prepare(flat)
                self.flats.append(flat)
        self.parameters = everything

    def _shape_of(self, moment: str) -> Callable[[Shape], Shape | None]:
        return lambda shape: self.moment_shape(moment, shape)

    # -- for subclasses

    def moments(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """Those of `slots` that are kept with these options."""
        return self.slots

    def moment_shape(self, moment: str, shape: Shape) -> Shape | None:
        """The shape of a moment of a parameter of this shape; None if it has none."""
        return shape

    def prepare(self, flat: Flat) -> None:
        """Give moments the values that they start with, where those are not zeros."""

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise ValueError if an option is out of its range."""
        kind, none = cast(Any, type(self)), cast(Any, type(None))  # mypy: no class is hashable
        flags, may_be_none = _with_default(kind, bool), _with_default(kind, none)
        plain = {
            k: v
            for k, v in options.items()
            if not callable(v) and not (v is None and k in may_be_none)
        }
        for name in flags & plain.keys():
            if not isinstance(plain[name], bool | np.bool_):
                raise ValueError(
                    f"{type(self).__name__}: {name} must be True or False, got {plain[name]!r}"
                )
        rates = {
            k: v for k, v in plain.items() if k not in flags and not isinstance(v, tuple | list)
        }
        betas = plain.get("betas", (0.0, 0.0))
        fine = all(_number(r) and 0 <= r < math.inf for r in rates.values())
        fine = fine and len(betas) == 2 and all(_number(b) and 0 <= b < 1 for b in betas)
        if not fine:
            *most, last = rates
            names = f"{', '.join(most)} and {last}" if most else last
            and_betas = ", and betas in [0, 1)" if "betas" in plain else ""
            got = ", ".join(f"{k}={v!r}" for k, v in plain.items())
            raise ValueError(
                f"{type(self).__name__}: {names} must be finite and not negative{and_betas}; got "
                f"{got}"
            )

    def rows_of(self, flat: Flat, name: str, g: Any) -> Any:
        """A sparse gradient as this optimizer takes it: as it is, or dense.

        Raises:
            StateError: it takes none, or not with these options.
        """
        raise StateError(
            f"{type(self).__name__}: the gradient of '{name}' is sparse, of {len(g.rows)} rows; "
            f"use SparseAdam, SGD or Adagrad for it, or nn.Embedding(..., sparse=False)"
        )

    # -- options

    def settings(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a group without its parameters."""
        return {k: group[k] for k in self.defaults if k in group}

    def options(self, flat: Flat) -> dict[str, Any]:
        """What the present step is told, as it is now.

        Raises:
            StateError: they were changed so that other moments are to be kept.
        """
        if flat.moments.keys() != set(self.moments(flat.group)):
            raise StateError(
                f"{type(self).__name__}: the options were changed so that it keeps "
                f"{list(self.moments(flat.group))}, and it was made to keep "
                f"{list(flat.moments)}; make another optimizer"
            )
        return self._at(flat.group, max(int(flat.counted[-1]) - 1, 0))

    def _at(self, group: Mapping[str, Any], step: int) -> dict[str, Any]:
        """The options of a group at a step, betas one by one."""
        found: dict[str, Any] = {}
        for name in self.defaults:
            value = group[name]
            if callable(value):
                value = value(step)
            # float(): a learning rate may be a NumPy scalar, which would lift float32.
            if name == "betas":
                found["beta1"], found["beta2"] = (float(b) for b in value)
            elif value is None or isinstance(value, bool | tuple | list | str):
                found[name] = value
            else:
                found[name] = float(value)
        if not 0 <= found["lr"] < math.inf:
            raise ValueError(
                f"{type(self).__name__}: lr must be finite and not negative, and is "
                f"{found['lr']} at step {step}"
            )
        return found

    @property
    def step_count(self) -> int:
        """How many updates have been made: the number, from 0, of the next one."""
        return int(self.flats[0].steps[-1]) if self.flats else 0

    def learning_rates(self) -> list[float]:
        """The learning rate of each group in the next update."""
        return [self._at(group, self.step_count)["lr"] for group in self.param_groups]

    # -- steps

    def step(
        self, gradients: Mapping[str, Any] | None = None, *, skip: Tensor | None = None
    ) -> None:
        """One update.

        Args:
            gradients: gradient (or None) for every parameter's name; by default each one's `.grad`.
            skip: a boolean; where it is true nothing is done, as if it had not been called. A
                program of `mg.jit` finds out in each run. See `LossScaler`.

        Raises:
            StateError: `gradients` is no mapping by the names of all parameters.
            CaptureError: a gradient is sparse, in a step of `mg.jit`.
        """
        if gradients is None:
            gradients = {name: p.grad for name, p in self.parameters.items()}
        elif not isinstance(gradients, Mapping):
            raise StateError(
                f"step: expected a mapping of parameters' names to gradients, got "
                f"{type(gradients).__name__}"
            )
        elif gradients.keys() != self.parameters.keys():
            raise StateError(
                f"step: gradients must have exactly the parameters' names; they differ in "
                f"{sorted(gradients.keys() ^ self.parameters.keys())}"
            )
        mode = modes.get()
        if mode.capturing:
            for name, g in gradients.items():
                if rows_in(g) is not None:
                    refuse_while_capturing(
                        f"the gradient of '{name}'",
                        "is sparse, of other rows in every call; leave out jit, or make it dense "
                        "with nn.Embedding(..., sparse=False)",
                    )
            with_gradients = (
                f for f in self.flats if any(gradients[n] is not None for n in f.parameters)
            )
            self._leader = next(with_gradients, None)
        for observer in mode.observers:
            observer.updated(self, gradients, skip)
        for flat in self.flats:
            flat.adopt()
        if skip is not None and bool(as_array(skip)):
            for observer in mode.observers:
                observer.stepped(self)
            return
        found = [flat.collect(gradients, self.rows_of) for flat in self.flats]
        if any(len(present) or sparse for present, sparse in found):
            self._count()
        for flat, (present, sparse) in zip(self.flats, found, strict=True):
            if len(present):
                flat.steps[present] += 1
                self.change(flat, present)
                for neighbours in np.split(present, np.flatnonzero(np.diff(present) != 1) + 1):
                    start, stop = flat.starts[neighbours[0]], flat.stops[neighbours[-1]]
                    wrote(flat.weights[start:stop])
            for i, g in sparse.items():
                flat.steps[i] += 1
                self.change_rows(flat, i, g)
                wrote(flat.views[i])
        for observer in mode.observers:
            observer.stepped(self)

    def apply_gradients(self, grads_and_params: Iterable[tuple[Any, Tensor]]) -> None:
        """One update by pairs (gradient, parameter), as in Keras; for the others there is none.

        Raises:
            StateError: a parameter is not one of this optimizer, or comes twice.
        """
        names = {id(p): name for name, p in self.parameters.items()}
        gradients: dict[str, Any] = dict.fromkeys(self.parameters)
        given: set[str] = set()
        for g, p in grads_and_params:
            name = names.get(id(p))
            if name is None or name in given:
                what = "twice" if name else "and is not among the parameters of this optimizer"
                raise StateError(
                    f"apply_gradients: '{name or getattr(p, 'name', None)}' was given {what}"
                )
            given.add(name)
            gradients[name] = g
        self.step(gradients)

    def apply(
        self, gradients: Sequence[Any] | Mapping[str, Any], params: Iterable[Tensor] | None = None
    ) -> None:
        """One update by gradients in the order of `params`, by default that of the parameters.

        Raises:
            StateError: there are more or fewer gradients than parameters.
        """
        if isinstance(gradients, Mapping):
            return self.step(gradients)
        gradients = list(gradients)
        owned = list(self.parameters.values() if params is None else params)
        if len(gradients) != len(owned):
            raise StateError(
                f"apply: {len(gradients)} gradients for {len(owned)} parameters; give one (or "
                f"None) each"
            )
        self.apply_gradients(zip(gradients, owned, strict=True))

    def update(self, model: Any, gradients: Any = None) -> None:
        """One update by what `mg.grad` gives for `model`: `update(model, gradients)`.

        Also `update(gradients)`, by the names of this optimizer's parameters or in their order.

        Raises:
            StateError: a gradient is of no parameter of the model.
        """
        if gradients is None:
            return self.apply(model)
        inside = dict(model.named_parameters())
        if unknown := gradients.keys() - inside.keys():
            raise StateError(
                f"update: the model has no parameters called {sorted(unknown)}; it has "
                f"{', '.join(inside)}"
            )
        self.apply_gradients((g, inside[n]) for n, g in gradients.items() if g is not None)

    def _count(self) -> None:
        """Note that an update is made: in every flat, so that whoever copies one has it."""
        for flat in self.flats:
            flat.counted[-1] += 1

    def change(self, flat: Flat, present: np.ndarray) -> None:
        """Change the weights of `present` parameters by `flat.gradients`."""
        options = self.options(flat)
        moments = [flat.moments.get(name) for name in self.slots]
        buffers = flat.weights, flat.gradients, moments
        numbers = [float(x) for x in options.values()] if self.kernel else []
        fast = bool(self.kernel) and kernels.enabled()
        if fast and flat.xp is np:
            segments = flat.starts[present], flat.stops[present], flat.steps[present]
            if kernels.find("updates.step")(self.kernel, *buffers, *segments, numbers) is None:
                return
        for stretch, step in runs(flat, present):
            if fast and flat.xp is not np:
                launch = kernels.find("cuda.updates.change")
                if launch(self.kernel, *buffers, stretch, step, numbers) is not NotImplemented:
                    continue
            w, g = flat.weights[stretch], flat.gradients[stretch]
            parts = (None if m is None else m[stretch] for m in moments)
            self.formula(flat.xp, w, g, *parts, step, **options)

    def change_rows(self, flat: Flat, i: int, g: Any) -> None:
        """Change the rows of parameter `i` that a sparse gradient has; no other is touched."""
        here = [flat.moment(m, i) if m in flat.moments else None for m in self.slots]
        views = [flat.views[i], *here]
        w, *parts = [None if v is None else v[g.rows] for v in views]
        values = g.values.astype(flat.weights.dtype)
        self.formula(flat.xp, w, values, *parts, int(flat.steps[i]), **self.options(flat))
        for view, part in zip(views, (w, *parts), strict=True):
            if view is not None:
                view[g.rows] = part

    # -- in programs

    def captured(
        self, flat: Flat, present: Callable[[], np.ndarray]
    ) -> tuple[Any, Callable[[], None]]:
        """This update as an instruction of a program, and what to do before each run.

        `present()` gives the places of the parameters that have gradients in the run to come.

        Raises:
            CaptureError: before a run: an option was changed that the instruction has built in.
        """
        rule = self.rule(flat)
        native = flat.xp is np and flat.weights.dtype.itemsize >= 4 and kernels.in_use()
        if not (native and rule):
            count = self._counter(flat)

            def update() -> None:
                here = present()
                flat.steps[here] += 1
                self.change(flat, here)

            return Instruction(type(self).__name__, function=update), count

        segments, numbers, w = Segments(flat), np.zeros(16), flat.weights
        moments = [flat.moments.get(name) for name in self.slots]
        fields: dict[str, Any] = {"n": w.size, "w": w, "g": flat.gradients, "numbers": numbers}
        if rule == "adam_step":
            record = kernels.find("updates.adam")
            fields |= {"m": moments[0], "v": moments[1]}
        else:
            record = kernels.find("updates.update")
            # Where there is no moment a loop does not look.
            buffers = (w if m is None else m for m in (*moments, None, None))
            fields["rule"] = kernels.find("updates.RULES").index(rule)
            fields |= dict(zip("abc", buffers, strict=False))
        instruction = record.instruction(w.dtype, record.work * w.size, **fields, **segments.fields)
        if rule != "adam_step":
            instruction.name = rule
        return instruction, self.preparing(flat, present, segments, numbers)

    def rule(self, flat: Flat) -> str:
        """The rule of `minigrad.kernels.updates` that makes its steps; "" if there is none."""
        return self.kernel

    def numbers(self, flat: Flat, rule: str) -> list[float]:
        """What that rule is told of the options as they are now.

        Raises:
            CaptureError: an option was changed that is part of the rule.
        """
        return [float(x) for x in self.options(flat).values()]

    def preparing(
        self,
        flat: Flat,
        present: Callable[[], np.ndarray],
        segments: "Segments",
        numbers: np.ndarray,
        settled: bool = True,
    ) -> Callable[[], None]:
        """What is done before each run of a program: steps are counted, options read anew.

        `settled` unless the run itself may leave the step out, and see to what was (`LeftOut`).
        """
        count, rule = self._counter(flat), self.rule(flat)

        def prepare() -> None:
            if settled:
                flat.settle()
            count()
            here = present()
            flat.counted[here] += 1
            options = self.numbers(flat, rule)
            numbers[: 1 + len(options)] = segments.find(here), *options

        return prepare

    def _counter(self, flat: Flat) -> Callable[[], None]:
        """What notes an update before each run: for one of the flats of a program."""
        return self._count if flat is self._leader else lambda: None

    # -- state

    def zero_grad(self) -> None:
        """Make all gradients absent."""
        for p in self.parameters.values():
            p.grad = None

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the state on the host: 'exp_avg.<parameter>' and so on, 'step.<parameter>'.

        Where an option is a function of the step there is 'step' too, the number of updates made.
        """
        return {key: np.array(to_numpy(view)) for key, view in self._entries()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state saved from an optimizer over parameters of the same names.

        A state without 'step' has made as many updates as the parameter that has taken most.

        Raises:
            StateError: `state` is not a mapping; or lists everything missing, unexpected, of
                another shape or dtype, or a negative step. Nothing has been changed then.
        """
        ours = dict(self._entries())
        count = np.zeros((), np.int64)
        if isinstance(state, Mapping) and "step" in state:
            ours["step"] = count
        else:
            ours.pop("step", None)
        load_entries(type(self).__name__, ours, state)
        if "step" not in ours:
            count = np.max([flat.steps[:-1].max() for flat in self.flats])
        for flat in self.flats:
            flat.steps[-1] = count

    def _entries(self) -> Iterator[tuple[str, Any]]:
        """Names and views of all state."""
        for flat in self.flats:
            for i, name in enumerate(flat.parameters):
                for moment in flat.moments:
                    if (view := flat.moment(moment, i)) is not None:
                        yield f"{moment}.{name}", view
                yield f"step.{name}", flat.steps[i : i + 1].reshape(())
        if any(callable(group[name]) for group in self.param_groups for name in self.defaults):
            yield "step", np.array(self.step_count)

    @classmethod
    def torch(cls, parameters: Parameters, **options: Any) -> Self:
        """With the defaults of PyTorch, which are the defaults here."""
        return cls(parameters, **options)

    def __repr__(self) -> str:
        lines = []
        for group in self.param_groups:
            size = sum(p.size for p in group["params"])
            options = ", ".join(f"{k}={v!r}" for k, v in self.settings(group).items())
            name = f"{group['name']}: " if group.get("name") else ""
            lines.append(f"{name}{len(group['params'])} parameters, {size:,} numbers; {options}")
        body = lines[0] if len(lines) == 1 else "".join(f"\n  {line}" for line in lines) + "\n"
        return f"{type(self).__name__}({body})"


class Segments:
    """Where parameters with gradients lie and how many steps they have taken, as kernels read it.

    Attributes:
        table: (3, parameters) the starts, stops and steps.
        fields: the same, by these names.
    """

    def __init__(self, flat: Flat, table: np.ndarray | None = None):
        self.flat = flat
        self.table = np.zeros((3, len(flat.starts)), np.int64) if table is None else table
        self.fields = dict(zip(("starts", "stops", "steps"), self.table, strict=True))
        self._here: np.ndarray | None = None  # the parameters of the last time,
        self._count = 0  # how many segments they were,
        self._due = np.zeros(0, np.int64)  # and the steps that make the next time one like it
        self._more = self._due

    def find(self, here: np.ndarray) -> int:
        """Fill in the parameters `here`; the number of segments."""
        flat = self.flat
        if here is self._here and flat.counted[:-1].tobytes() == self._due.tobytes():
            self.table[2, : self._count] += 1  # as it mostly is: the same ones, a step later
        else:
            self._here, self._count = here, self._found(here)
            self._more = np.zeros(len(flat.starts), np.int64)
            self._more[here] = 1
            self._due = flat.counted[:-1].copy()
        self._due += self._more
        return self._count

    def _found(self, here: np.ndarray) -> int:
        flat = self.flat
        starts, stops, steps = flat.starts[here], flat.stops[here], flat.counted[here]
        # Neighbours that have taken as many steps are one segment; on a device with the zeros in
        # between.
        apart = (here[1:] != here[:-1] + 1) | (steps[1:] != steps[:-1])
        cut = np.flatnonzero(apart) + 1
        count = len(cut) + 1 if len(here) else 0
        self.table[:, :count] = starts[[0, *cut]], stops[[*(cut - 1), -1]], steps[[0, *cut]]
        return count


def load_entries(who: str, ours: Mapping[str, Any], state: Any) -> None:
    """Copy `state` into the arrays `ours` of the same names, or raise and change nothing."""
    if not isinstance(state, Mapping):
        raise StateError(
            f"{who}.load_state_dict: expected a mapping of names to arrays, got "
            f"{type(state).__name__}"
        )
    problems = [f"missing: {k}" for k in ours.keys() - state.keys()]
    problems += [f"unexpected: {k}" for k in state.keys() - ours.keys()]
    for key in ours.keys() & state.keys():
        a, b = describe(ours[key]), describe(state[key])
        if a != b:
            problems.append(f"{key} must be {a}, got {b}")
        elif key.partition(".")[0] == "step" and (step := int(to_numpy(state[key]))) < 0:
            problems.append(f"{key} must not be negative, got {step}")
    if problems:
        listing = "\n  ".join(sorted(problems))
        raise StateError(
            f"{who}.load_state_dict: {len(problems)} entries do not fit; "
            f"nothing was loaded:\n  {listing}"
        )
    for key, view in ours.items():
        view[...] = array_module(view).asarray(state[key])


def flush(xp: Any, *moments: Any) -> None:
    """Make denormal numbers zero: a moment that gets zeros decays into them, and they are slow."""
    for moment in moments:
        moment *= xp.abs(moment) >= float(np.finfo(moment.dtype).tiny)


@functools.cache
def _with_default(kind: type[Optimizer], default: type) -> frozenset[str]:
    """The options whose default is of that type, as of those that are True or False."""
    parameters = inspect.signature(kind.__init__).parameters
    return frozenset(name for name, p in parameters.items() if type(p.default) is default)


def _number(x: Any) -> bool:
    """Whether it is one; True is none."""
    if isinstance(x, bool | np.bool_):
        return False
    return isinstance(x, int | float | np.number) or (hasattr(x, "ndim") and x.ndim == 0)
