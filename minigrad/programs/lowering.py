"""Calls as instructions: a kernel with its record, or a function that calls NumPy."""

from typing import Any

import numpy as np

from minigrad import ops
from minigrad.autodiff import Op
from minigrad.errors import CaptureError
from minigrad.kernels import find
from minigrad.kernels.elementwise import add, relu, relu_grad, relu_grad_strided
from minigrad.kernels.embeddings import embedding, reorder_rows
from minigrad.kernels.instructions import Declined, Drawn, Instruction, NotByGroup
from minigrad.kernels.layouts import alike, flat
from minigrad.kernels.losses import count_of
from minigrad.kernels.machine import Kernel, address_of, float_of
from minigrad.kernels.products import group_products, product
from minigrad.kernels.reductions import channel_sums, column_sums, sum_all
from minigrad.kernels.windows import reshape
from minigrad.ops.activations import _relu_grad
from minigrad.ops.indexing import _reorder_rows
from minigrad.ops.losses import _count_of
from minigrad.programs.in_python import in_python
from minigrad.programs.values import Call, Groups, Value, kernels_know
from minigrad.random import Key

# Kernels that only programs use, or that are tried in turn. For all others an op names its own.
CHOICES: dict[Any, tuple[Kernel, ...]] = {
    ops.add: (add,),
    ops.relu: (relu,),
    _relu_grad: (relu_grad, relu_grad_strided),
    ops.reshape: (reshape,),
    ops.sum: (channel_sums, sum_all, column_sums),
    ops.embedding: (embedding,),
    _reorder_rows: (reorder_rows,),
    _count_of: (count_of,),
    product: (group_products, product),
}


class Host:
    """The machine of programs on NumPy's arrays: what its kernels take."""

    def knows(self, call: Call) -> bool:
        """Whether all its arrays of floats are of one dtype that kernels are compiled for."""
        return kernels_know(call)

    def flat(self, *values: Value) -> bool:
        """Whether all lie without gaps, in the same order of axes."""
        return flat(*values)

    def alike(self, *values: Value) -> bool:
        """Whether all are C-contiguous, and of one shape and dtype of floats."""
        return alike(*values)

    def kernels_for(self, call: Call) -> list[Kernel]:
        """The kernels that take a call, in the order in which they are tried."""
        if not kernels_know(call):
            return []
        if (found := CHOICES.get(call.op)) is None:
            named = call.op.kernel.get("numpy") if type(call.op) is Op else call.op
            kernel = find(named) if type(named) is str else named
            found = (kernel,) if type(kernel) is Kernel else ()
        return [kernel for kernel in found if self.takes(kernel, call)]

    def takes(self, kernel: Any, call: Call) -> bool:
        """Whether a kernel says of the inputs that what comes out is what the call gives."""
        if kernel.outputs is None:  # calls were put together to fit it
            return True
        if any(not (x is None or type(x) in (Value, Drawn, Key)) for x in call.inputs):
            return False
        return call.is_given_by(kernel.outputs(*call.inputs, **call.settings), kernel.strided)


class Lowering:
    """Turns calls into instructions, once every value has its place.

    It is the `program` that a kernel's `fills` is given: it says where things lie.

    Attributes:
        status: where the number of a call is written whose input turned out to be wrong.
        number: of the call at hand.
        keys: what a run draws; `key_words` has the two words of each.
        alive: what instructions point to.
    """

    def __init__(
        self,
        chosen: dict[Call, list[Kernel]],
        scratches: dict[Call, list[Value]],
        status: np.ndarray,
        keys: list,
        key_words: np.ndarray,
        by_group: Groups | None,
    ):
        self.chosen, self.scratches, self.by_group = chosen, scratches, by_group
        self.status, self.keys, self.key_words = status, keys, key_words
        self.alive: list[Any] = []
        self.number = 0

    def instructions(self, call: Call, number: int) -> list[Instruction]:
        """What computes a call.

        Raises:
            NotByGroup: it has to do with parameters of groups, and cannot be done for each.
            CaptureError: calls were put together to one that no kernel takes.
        """
        self.call, self.number = call, number + 1
        shapes = f"{', '.join(map(repr, call.reads))} -> {', '.join(map(repr, call.outputs))}"
        chain = call.params.get("chain")
        name = call.name if chain is None else ", ".join(op.__name__ for op, _ in chain.steps)
        try:
            found = self._by_kernel(call)
        except NotByGroup:
            raise NotByGroup(f"'{name}' of {shapes}") from None
        if not found:
            if self.owns(*call.reads, *call.outputs):
                raise NotByGroup(f"'{name}' of {shapes}")
            if type(call.op) is Kernel:  # which stands for several ops, and not for one of its name
                raise CaptureError(f"jit: no kernel computes '{name}' of {shapes}; this is a fault")
            found = [Instruction(call.name, function=in_python(call, self.keys))]
        for instruction in found:
            instruction.shapes = shapes
        return found

    def _by_kernel(self, call: Call) -> list[Instruction]:
        owned = self.owns(*call.reads, *call.outputs)
        for kernel in self.chosen[call]:
            if owned and not kernel.by_group:
                continue
            self.following: list[Instruction] = []
            try:
                values = kernel.values(self, call.outputs, *call.inputs, **call.settings)
            except Declined:
                continue
            first = next((x.size for x in call.inputs if type(x) is Value), 0)
            work = values.pop("work", kernel.work * max(call.outputs[0].size, first))
            dtype = float_of(*call.outputs, *call.inputs)
            return [kernel.instruction(dtype, work, **values), *self.following]
        return []

    # -- what kernels ask

    def owns(self, *values: Any) -> bool:
        """Whether one of the values is a group's own."""
        return self.by_group is not None and self.by_group.owns(*values)

    def of_groups(self, value: Any) -> Any:
        """Where the addresses of a value in each group lie, if it is a group's own; else itself."""
        return self.table(value) if self.owns(value) else value

    def table(self, value: Value) -> np.ndarray:
        """The addresses of a value in each group.

        Raises:
            NotByGroup: it is not a group's own, or a part of it.
        """
        found = None if self.by_group is None else self.by_group.table(value)
        if found is None:
            raise NotByGroup
        return found

    def groups(self, rows: int, *values: Any) -> dict[str, Any]:
        """The fields `GROUPS`, if one of the values is a group's own."""
        if self.by_group is None or not self.by_group.owns(*values):
            return {}
        return self.by_group.fields(rows)

    def scratch(self) -> int:
        """Where the memory begins that the kernel uses meanwhile."""
        return self.scratches[self.call][0].address

    def key(self, key: Any) -> int:
        """Where the two words of a key lie."""
        if type(key) is Drawn:
            return address_of(self.key_words[key.index])
        return address_of(self.keep(np.array(tuple(key), np.int64)))

    def keep(self, array: np.ndarray) -> np.ndarray:
        """Keep an array for as long as the program."""
        self.alive.append(array)
        return array

    def then(self, instruction: Instruction) -> None:
        """Have an instruction follow the one at hand."""
        self.following.append(instruction)
