"""A model as a file that runs without its class."""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad import random, runs
from minigrad.autodiff import Tensor
from minigrad.backend import is_array, to_numpy, using
from minigrad.errors import ExportError
from minigrad.export.building import OPSET, Builder, Term
from minigrad.export.comparing import Comparison, Ref, Step, told
from minigrad.export.recording import Recorder, Recording
from minigrad.export.sizes import Root, Size, Unfit, choose
from minigrad.export.translations import REFUSED, Like, fits, has_translation, translation_of
from minigrad.nn.module import Module

DynamicAxes = Mapping[str, Mapping[int, str] | Sequence[int]]


@dataclass(frozen=True)
class Exported:
    """What a file has.

    Attributes:
        inputs, outputs: {name: shape}, with the names of lengths that differ from call to call.
        opset: of ONNX.
        max_lengths: the largest that lengths may have; those that are not here have no limit.
    """

    inputs: dict[str, tuple]
    outputs: dict[str, tuple]
    opset: int
    max_lengths: dict[str, int]


def onnx(
    model: Callable,
    example_inputs: Any,
    path: str | os.PathLike[str],
    *,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: DynamicAxes | None = None,
    max_lengths: Mapping[str, int] | None = None,
) -> Exported:
    """Write a model as an ONNX file (opset 18), which any ONNX runtime computes without its class.

        mg.export.onnx(model, mg.zeros((1, 784)), "mlp.onnx")
        session = onnxruntime.InferenceSession("mlp.onnx")
        session.run(None, {"x": digits})

    It is the forward pass in eval mode; the model is left as it was. Parameters have the names that
    they have in `state_dict`, and what is tied is there once.

    The model is called a few times with inputs of different lengths, made of those of the example.
    What is the same in all calls is a constant in the file; a number that follows from lengths is
    computed there. What hangs on values, or on lengths in another way (a loop over them, say), is
    refused. What the model does at no length but 1 or at large ones only (`if len(x) == 1`) is not
    seen: then compare the file with the model there.

    Ids are not checked in the file beyond what the runtime does: negative ones count from the end.
    onnxruntime has few kernels for float64 (none for erf), and says so when it loads a file.

    Args:
        model: a Module; or a method of one, as `translator.encode`; or any function of Tensors (of
            which parameters are constants without a name).
        example_inputs: what it is called with: an array or Tensor, a tuple of them, or a dictionary
            of keyword arguments. What is no array (None, a number, a text) is part of the file.
        input_names: of the arrays among them; by default those of the parameters of `forward`.
        output_names: by default the keys of a dictionary, else 'output', or 'output_0', ...
        dynamic_axes: the lengths that may differ from call to call, as in torch.onnx:
            {"src": {0: "batch", 1: "length"}}. Lengths of one name are the same in each call. By
            default it is axis 0, 'batch', of all inputs that have the length of the first one
            there; {} for none.
        max_lengths: the largest that a length may have: {"length": 512}. A model with a table of
            positions needs it, and it spares lengths that a model does not take.

    Raises:
        ExportError: the model asks for values, calls an op that has no translation (the message
            names it, and where it is called), or depends on lengths in a way that cannot be
            expressed; or names are wrong.
        ModuleNotFoundError: the `onnx` library is not installed.
        RunError: the file cannot be written.
    """
    made, exported = graph_of(
        model, example_inputs, input_names, output_names, dynamic_axes, max_lengths
    )
    runs.atomic_write(path, made.SerializeToString())
    return exported


def graph_of(
    model: Callable,
    example_inputs: Any,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: DynamicAxes | None = None,
    max_lengths: Mapping[str, int] | None = None,
) -> tuple[Any, Exported]:
    """What `onnx` writes, an `onnx.ModelProto`; and what it gives."""
    builder = Builder()
    arguments = _Arguments(model, example_inputs, input_names)
    axes = _axes_of(arguments.examples, dynamic_axes)
    most = _checked_lengths(axes, max_lengths)
    with _on_the_host(model):
        comparison = _compared(model, arguments, axes, most)
        inputs, outputs = _translated(builder, model, comparison, arguments, axes, output_names)
    limits = dict(comparison.limits)
    about = {"opset": str(OPSET)} | {f"largest {k}": str(n) for k, n in sorted(limits.items())}
    made = builder.model(inputs, outputs, about)
    taken, given = ({x.name: _told_shape(x) for x in xs} for xs in (inputs, outputs))
    return made, Exported(taken, given, OPSET, limits)


@contextmanager
def _on_the_host(model: Any) -> Iterator[None]:
    """What a model has on a device is on the host, and back there after the `with` block."""
    owner = _owner(model)
    tensors = [*owner.parameters(), *owner.buffers()] if owner is not None else []
    there = [(x, x.data) for x in tensors if not isinstance(x.data, np.ndarray)]
    try:
        for x, array in there:
            x.data = to_numpy(array)
        with using("numpy"):
            yield
    finally:
        for x, array in there:
            x.data = array


def _told_shape(x: Term) -> tuple:
    return tuple(n if isinstance(n, int) or n is None else str(n) for n in x.shape or ())


# ------------------------------------------------------------------------------ the arguments


class _Arguments:
    """What the model is called with: arrays by name, and what else there is.

    Attributes:
        examples: the arrays.
    """

    def __init__(self, model: Callable, given: Any, names: Sequence[str] | None):
        by_name = isinstance(given, Mapping)
        self.kwargs: dict[str, Any] = dict(given) if by_name else {}
        self.args = () if by_name else given if isinstance(given, tuple) else (given,)
        places = [*range(len(self.args)), *self.kwargs]
        self._places = [k for k in places if _holds_numbers(self._get(k))]
        if not self._places:
            raise ExportError("export.onnx: there is no array among example_inputs")
        own = list(names) if names is not None else self._named_by(model)
        if len(own) != len(self._places) or len(set(own)) != len(own):
            raise ExportError(
                f"export.onnx: input_names must be {len(self._places)} names, one for each array "
                f"of example_inputs, got {own}"
            )
        self.examples = {
            name: _array(self._get(k)) for name, k in zip(own, self._places, strict=True)
        }

    def _get(self, place: Any) -> Any:
        return self.args[place] if isinstance(place, int) else self.kwargs[place]

    def _named_by(self, model: Callable) -> list[str]:
        function = model.forward if isinstance(model, Module) else model
        try:
            kinds = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            kinds = ()  # type: ignore[assignment]
        own = [p.name for p in kinds if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        return [
            k if isinstance(k, str) else own[k] if k < len(own) else f"input_{k}"
            for k in self._places
        ]

    def with_arrays(self, arrays: Mapping[str, Tensor]) -> tuple[list, dict]:
        """The arguments, with `arrays` in place of the examples."""
        args, kwargs = list(self.args), dict(self.kwargs)
        for k, x in zip(self._places, arrays.values(), strict=True):
            if isinstance(k, int):
                args[k] = x
            else:
                kwargs[k] = x
        return args, kwargs


def _owner(model: Any) -> Module | None:
    """The module whose parameters are named: the model, or that which it is a method of."""
    found = model if isinstance(model, Module) else getattr(model, "__self__", None)
    return found if isinstance(found, Module) else None


def _holds_numbers(x: Any) -> bool:
    return type(x) is Tensor or is_array(x) or isinstance(x, list)


def _array(x: Any) -> np.ndarray:
    return to_numpy(x.data if type(x) is Tensor else Tensor(x).data)


def _axes_of(
    examples: Mapping[str, np.ndarray], wanted: DynamicAxes | None
) -> dict[str, dict[int, str]]:
    """The names of lengths that differ, by input and axis."""
    if wanted is None:
        first = next((x for x in examples.values() if x.ndim), None)
        return {
            name: {0: "batch"}
            for name, x in examples.items()
            if first is not None and x.ndim and len(x) == len(first)
        }
    found: dict[str, dict[int, str]] = {}
    lengths: dict[str, int] = {}
    for name, axes in wanted.items():
        if name not in examples:
            raise ExportError(
                f"export.onnx: dynamic_axes names '{name}'; the inputs are {', '.join(examples)}"
            )
        x = examples[name]
        if not isinstance(axes, Mapping):
            axes = {a: f"{name}_{a}" for a in axes}
        found[name] = {}
        for a, length in axes.items():
            if not -x.ndim <= a < x.ndim or not isinstance(length, str) or not length:
                raise ExportError(
                    f"export.onnx: dynamic_axes[{name!r}] has {a!r}: {length!r}; expects an axis "
                    f"of {x.shape}, and a name"
                )
            found[name][a % x.ndim] = length
            if lengths.setdefault(length, x.shape[a]) != x.shape[a]:
                raise ExportError(
                    f"export.onnx: '{length}' is {lengths[length]} and {x.shape[a]} in the "
                    f"example; lengths of one name must be the same"
                )
    return found


def _checked_lengths(axes: Mapping[str, Mapping[int, str]], most: Any) -> dict[str, int]:
    most = dict(most or {})
    known = {name for own in axes.values() for name in own.values()}
    for name, n in most.items():
        if name not in known or not isinstance(n, int) or n < 2:
            raise ExportError(
                f"export.onnx: max_lengths has {name!r}: {n!r}; expects a number from 2 on for one "
                f"of {', '.join(sorted(known)) or 'no names at all'}"
            )
    return most


# --------------------------------------------------------------------------------- recordings


def _compared(model, arguments: _Arguments, axes, most) -> Comparison:
    """The model's calls at several lengths, as one."""
    example = {}
    for name, own in axes.items():
        for a, length in own.items():
            example[length] = arguments.examples[name].shape[a]
    sizes = choose(example, most) if example else [{}, {}]
    recordings: list[Recording] = []
    owner = _owner(model)
    with nullcontext() if owner is None else owner.in_mode(training=False):
        for i, at in enumerate(sizes):
            recorder = Recorder(has_translation, fits, owner)
            arrays = {
                name: Tensor(_resized(x, {a: at[n] for a, n in axes.get(name, {}).items()}, i))
                for name, x in arguments.examples.items()
            }
            args, kwargs = arguments.with_arrays(arrays)
            try:
                with random.stream(0):  # the caller's is not used up
                    recordings.append(recorder.record(model, arrays, args, kwargs))
            except ExportError:
                raise
            except Exception as error:
                raise ExportError(
                    f"export.onnx: the model cannot be recorded with {told(at)}: "
                    f"{type(error).__name__}: {error}"
                    + (
                        "; give an example and max_lengths that it takes, or leave lengths out of "
                        "dynamic_axes"
                        if at
                        else ""
                    )
                ) from error
    return Comparison(recordings, sizes, most)


def _resized(x: np.ndarray, lengths: Mapping[int, int], turn: int) -> np.ndarray:
    """The numbers of an example in other lengths, and each turn in other places.

    What the model computes from values behind our back is then found out, as it differs.
    """
    if not x.size:
        if lengths:
            raise ExportError("export.onnx: an example must not be empty; give it some elements")
        return x
    y = np.roll(x.reshape(-1), turn).reshape(x.shape)
    for a, n in lengths.items():
        y = np.take(y, np.arange(n) % x.shape[a], axis=a)
    if x.dtype.kind == "f" and turn and (x == x.flat[0]).all():
        y = y + np.linspace(0, 0.01 * turn, y.size, dtype=x.dtype).reshape(y.shape)
    return np.array(y, x.dtype, order="C")


# -------------------------------------------------------------------------------- translation


def _translated(
    b: Builder, model: Any, comparison: Comparison, arguments, axes, output_names
) -> tuple[list[Term], list[Term]]:
    """The graph's inputs and outputs; its nodes are in the builder."""
    inputs = []
    for name, x in arguments.examples.items():
        own = axes.get(name, {})
        shape = tuple(Size({(own[a],): 1}) if a in own else n for a, n in enumerate(x.shape))
        inputs.append(Term(b.name(name), x.dtype, shape))
        for a, length in own.items():
            b.sources.setdefault(length, (inputs[-1], a))
    given = {x.name: x for x in inputs}
    names = _output_names(comparison.recordings[0].structure, len(comparison.outputs), output_names)
    for name in names:
        if b.name(name) != name:
            raise ExportError(f"export.onnx: the output '{name}' has the name of an input")
    owner = _owner(model)
    weights = {}
    if owner is not None:
        weights = dict(owner.named_parameters()) | dict(owner.named_buffers())
    made: list[tuple[Term, ...]] = []
    known: dict[str, Term] = {}

    def term(x: Any) -> Any:
        if type(x) is Ref:
            if x.kind == "made":
                return made[x.name][x.index]
            if x.kind == "input":
                return given[x.name]
            if x.name not in known:
                known[x.name] = b.constant(to_numpy(weights[x.name].data), name=x.name)
            return known[x.name]
        if x is None or isinstance(x, int | float | str | Size | Root | np.generic):
            return x
        return b.grown(x) if hasattr(x, "shape") or hasattr(x, "array") else x

    for step in comparison.steps:
        b.scope = (step.call.module or "").replace(".", "/")
        terms = [
            t._replace(shape=shape) if type(t) is Term and shape is not None else t
            for t, shape in zip(map(term, step.inputs), step.shapes, strict=True)
        ]
        made.append(_nodes_of(b, step, terms))
    b.scope = ""
    outputs = []
    for i, (ref, name) in enumerate(zip(comparison.outputs, names, strict=True)):
        y = term(ref)
        b.nodes.append(b.onnx.helper.make_node("Identity", [y.name], [name], f"/{name}"))
        outputs.append(Term(name, y.dtype, comparison.shapes[i]))
    return inputs, outputs


def _nodes_of(b: Builder, step: Step, terms: list) -> tuple[Term, ...]:
    """The outputs of a step, once its nodes are added.

    Raises:
        ExportError: there is no translation.
    """
    call = step.call
    found = translation_of(call.op)
    if found is None:
        reason = REFUSED.get(call.name, "there is no translation for it")
        raise ExportError(
            f"export.onnx: the op {call.place} cannot be exported: {reason}"
            + ("" if call.name in REFUSED else "; write it with others, or export the model "
               "without this part and compute that outside")
        )  # fmt: skip
    likes = [Like(d, s) for d, s in zip(step.dtypes, step.made, strict=True)]
    for name, value in step.params.items():
        if name not in found.loose and (unfit := next(_parts(value, Unfit), None)):
            raise ExportError(unfit.why)
        if name not in found.sized and next(_parts(value, Size, Root), None) is not None:
            raise ExportError(
                f"export.onnx: '{name}' of the op {call.place} follows from lengths ({value}), and "
                f"ONNX takes a constant there; leave these out of dynamic_axes"
            )
    try:
        ys = found.function(b, *terms, y=likes[0] if len(likes) == 1 else likes, **step.params)
    except Exception as error:  # also of NumPy's, as for a number that a dtype cannot hold
        raise ExportError(
            f"export.onnx: the op {call.place} cannot be exported: {error}"
        ) from error
    ys = ys if type(ys) is tuple and type(ys) is not Term else (ys,)
    return tuple(
        b.cast(y, like.dtype)._replace(shape=like.shape) for y, like in zip(ys, likes, strict=True)
    )


def _parts(value: Any, *kinds: type) -> Iterator[Any]:
    """What of some kinds is in a parameter."""
    if isinstance(value, tuple | list):
        for part in value:
            yield from _parts(part, *kinds)
    elif type(value) in kinds:
        yield value


def _output_names(structure: Any, count: int, wanted: Sequence[str] | None) -> list[str]:
    if wanted is not None:
        if len(wanted) != count or len(set(wanted)) != count:
            raise ExportError(
                f"export.onnx: output_names must be {count} names, one for each Tensor that the "
                f"model gives, got {list(wanted)}"
            )
        return list(wanted)
    if isinstance(structure, dict) and all(isinstance(v, int) for v in structure.values()):
        return list(structure)
    return ["output"] if count == 1 else [f"output_{i}" for i in range(count)]
