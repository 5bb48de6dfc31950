"""The steps of a record: what happened, one after the other; and the leaves that they began with.

Arrays, lines, sources and steps are given by their numbers in the record; see FORMAT.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# {"call": step, "output": k}, {"leaf": i}, or of what was computed before the record
# {"call": None, "before": which node, "output": k}.
Place = Mapping[str, Any]


@dataclass
class Leaf:
    """An array that no recorded op made.

    Attributes:
        name: a parameter's or argument's; empty if nobody has named it.
        kind: 'parameter', 'argument' or 'constant'.
        value: its first state.
        tracked: whether gradients are wanted.
        gradient: what `.grad` was after the last backward pass that came here; or, where it was
            not set, what the last walk back gave.
    """

    name: str
    kind: str
    value: int
    tracked: bool = False
    gradient: int | None = None


@dataclass
class Call:
    """An op was called. Values are numbers of `Record.values`; see the properties of `Seen`.

    Attributes:
        inputs: {"value": number}, or {"text": what else it was}.
        line: of the user, a number of `Record.lines`; `site`: in a layer, if that is another.
        formula: a number of `Record.sources`.
        by: who answered, 'kernel' or 'formula'.
        within: the step of the pull whose rule made the call, or of the call whose formula did;
            None for one that the user made.
        tracked: whether it left a node, through which the walk back can come.
    """

    op: str
    inputs: list[dict[str, Any]]
    params: dict[str, str]
    outputs: list[int]
    line: int
    site: int | None
    formula: int | None
    by: str
    seconds: float
    within: int | None
    tracked: bool
    kind: str = "call"


@dataclass
class Seed:
    """A backward pass began, with these gradients."""

    gradients: list[dict[str, Any]]
    kind: str = "seed"


@dataclass
class Pull:
    """The rule of a call's node was asked on the walk back.

    Attributes:
        call: the step of the call; None if it was made before the record, and then `before` says
            which of those it was.
        rules: {"input": k or None for a joint rule, "source": number}.
        came: the gradient of each output; None where none came.
        gave: {"input", "to", "value", "unbroadcast", "total"}, as the format has it.
        kept: of each input, whether the node had kept it.
        freed: how many bytes were let go of afterwards; None if they were kept.
    """

    call: int | None
    op: str
    rules: list[dict[str, Any]]
    came: list[int | None]
    gave: list[dict[str, Any]]
    kept: list[bool]
    seconds: float
    freed: int | None = None
    before: int | None = None
    kind: str = "pull"


@dataclass
class Update:
    """What an optimizer did to one parameter; without a gradient it left it alone."""

    optimizer: str
    settings: dict[str, str]
    step: int
    parameter: str
    leaf: int | None
    before: int
    after: int
    gradient: int | None
    moments: dict[str, list[int]]
    formula: int | None
    kind: str = "update"


@dataclass
class Write:
    """A tensor was given other values, not by an op."""

    leaf: int | None
    value: int
    line: int
    kind: str = "write"


Step = Call | Seed | Pull | Update | Write
KINDS: dict[str, Any] = {
    "call": Call, "seed": Seed, "pull": Pull, "update": Update, "write": Write,
}  # fmt: skip
