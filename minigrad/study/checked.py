"""What a file must have in it to be a record: every field, and no number that leads nowhere.

A check takes what was found and where, and raises DataError. Nothing is made of what a file says
before it is known to be so: a shape must fit the bytes that are there.
"""

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minigrad.errors import DataError
from minigrad.study.values import FIGURES, SIDE

Check = Callable[[Any, str], None]

DTYPES = {
    "bool": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8, "uint8": 1, "uint16": 2, "uint32": 4,
    "uint64": 8, "float16": 2, "float32": 4, "float64": 8, "bfloat16": 2,
}  # fmt: skip
LONG = np.dtype(np.longdouble)  # which a machine has, or has not
DTYPES.setdefault(LONG.name, LONG.itemsize)


def check_record(body: Any) -> None:
    """Raise unless `body` is what `Record.to_json` gives.

    Raises:
        DataError: it says where something else stands, and what.
    """
    fields(
        title=text, minigrad=text, seconds=number, truncated=flag, values=many(anything),
        sources=many(fields(name=text, file=text, line=whole, text=text)),
        lines=many(fields(file=text, line=whole, text=text)), leaves=many(anything),
        steps=many(anything), outputs=many(anything), program=anything, program_note=text,
    )(body, "record")  # fmt: skip
    value = index(body["values"], "value")
    step, leaf = index(body["steps"], "step"), index(body["leaves"], "leaf")
    line, source = index(body["lines"], "line"), index(body["sources"], "source")
    many(_value(step, leaf))(body["values"], "values")
    many(
        fields(
            name=text, kind=one_of("parameter", "argument", "constant"), value=value, tracked=flag,
            gradient=optional(value),
        )
    )(body["leaves"], "leaves")  # fmt: skip
    many(value)(body["outputs"], "outputs")
    many(_step(value, step, leaf, line, source))(body["steps"], "steps")
    for i, s in enumerate(body["steps"]):
        _check_places(body["steps"], s, f"steps[{i}]")
    optional(check_program)(body["program"], "program")


# ------------------------------------------------------------------------------------- pieces


def wrong(where: str, x: Any, expected: str) -> DataError:
    found = repr(x)
    found = found if len(found) <= 60 else f"{found[:60]}..."
    return DataError(f"{where} is {found}, expected {expected}")


def _of(kind: type, expected: str) -> Check:
    def check(x: Any, where: str) -> None:
        if type(x) is not kind:
            raise wrong(where, x, expected)

    return check


text, flag = _of(str, "a text"), _of(bool, "true or false")


def anything(x: Any, where: str) -> None:
    """It is checked later."""


def whole(x: Any, where: str) -> None:
    if type(x) is not int or x < 0:
        raise wrong(where, x, "a whole number, not negative")


def signed(x: Any, where: str) -> None:
    if type(x) is not int or x < -1:
        raise wrong(where, x, "a whole number, at least -1")


def number(x: Any, where: str) -> None:
    if type(x) not in (int, float) or not math.isfinite(x):
        raise wrong(where, x, "a finite number")


def one_of(*choices: str) -> Check:
    def check(x: Any, where: str) -> None:
        if type(x) is not str or x not in choices:
            raise wrong(where, x, f"one of {', '.join(choices)}")

    return check


def optional(inner: Check) -> Check:
    def check(x: Any, where: str) -> None:
        if x is not None:
            inner(x, where)

    return check


def many(inner: Check) -> Check:
    def check(x: Any, where: str) -> None:
        if type(x) is not list:
            raise wrong(where, x, "a list")
        for i, part in enumerate(x):
            inner(part, f"{where}[{i}]")

    return check


def mapping(inner: Check) -> Check:
    def check(x: Any, where: str) -> None:
        if type(x) is not dict:
            raise wrong(where, x, "an object")
        for key, part in x.items():
            inner(part, f"{where}[{key!r}]")

    return check


def pair(inner: Check) -> Check:
    def check(x: Any, where: str) -> None:
        if type(x) is not list or len(x) != 2:
            raise wrong(where, x, "a list of two")
        many(inner)(x, where)

    return check


def index(of: list, what: str) -> Check:
    """The number of one of a list."""

    def check(x: Any, where: str) -> None:
        if type(x) is not int or not 0 <= x < len(of):
            raise wrong(where, x, f"the number of a {what}, from 0 and below {len(of)}")

    return check


def fields(**inner: Check) -> Check:
    """An object with exactly these fields."""

    def check(x: Any, where: str) -> None:
        if type(x) is not dict:
            raise wrong(where, x, "an object")
        if x.keys() != inner.keys():
            missing, odd = sorted(inner.keys() - x.keys()), sorted(x.keys() - inner.keys())
            raise DataError(
                f"{where} has the wrong fields: missing are {missing}, and unknown are {odd}"
            )
        for name, one in inner.items():
            one(x[name], f"{where}.{name}")

    return check


# --------------------------------------------------------------------------- values and steps


def _value(step: Check, leaf: Check) -> Check:
    own = {"shape": many(whole), "dtype": one_of(*DTYPES), "made": optional(step)}
    own["leaf"] = optional(leaf)
    picture = fields(shape=pair(whole), low=number, high=number, data=text)
    figures = {name: optional(number) for name in FIGURES} | {"picture": picture}
    with_data, with_figures = fields(**own, data=text), fields(**own, **figures)

    def check(x: Any, where: str) -> None:
        if type(x) is dict and "data" in x:
            with_data(x, where)
            size = math.prod(x["shape"]) * DTYPES[x["dtype"]]
            _check_bytes(x["data"], size, f"{where}.data")
            return
        with_figures(x, where)
        for name in ("zeros", "nan", "infinite"):
            whole(x[name], f"{where}.{name}")
        rows, columns = x["picture"]["shape"]
        if max(rows, columns) > SIDE:
            raise wrong(f"{where}.picture.shape", [rows, columns], f"at most {SIDE} each way")
        _check_bytes(x["picture"]["data"], rows * columns, f"{where}.picture.data")

    return check


def _check_bytes(data: str, size: int, where: str) -> None:
    try:
        found = len(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{where} is no base64: {error}") from error
    if found != size:
        raise DataError(f"{where} has {found} bytes, expected {size}")


def _place(step: Check, leaf: Check) -> Check:
    to_leaf = fields(leaf=leaf)
    to_call = fields(call=step, output=whole)
    before = fields(call=anything, before=whole, output=whole)

    def check(x: Any, where: str) -> None:
        if type(x) is dict and "leaf" in x:
            to_leaf(x, where)
        elif type(x) is dict and x.get("call", 0) is None:
            before(x, where)
        else:
            to_call(x, where)

    return check


def _step(value: Check, step: Check, leaf: Check, line: Check, source: Check) -> Check:
    place = _place(step, leaf)
    kinds: Mapping[str, Check] = {
        "call": fields(
            kind=text, op=text, inputs=many(_input(value)), params=mapping(text),
            outputs=many(value), line=line, site=optional(line), formula=optional(source),
            by=one_of("kernel", "formula"), seconds=number, within=optional(step), tracked=flag,
        ),
        "seed": fields(kind=text, gradients=many(fields(to=place, value=value))),
        "pull": fields(
            kind=text, call=optional(step), op=text,
            rules=many(fields(input=optional(whole), source=source)), came=many(optional(value)),
            gave=many(
                fields(
                    input=whole, to=place, value=value, unbroadcast=optional(many(whole)),
                    total=optional(value),
                )
            ),
            kept=many(flag), seconds=number, freed=optional(whole), before=optional(whole),
        ),
        "update": fields(
            kind=text, optimizer=text, settings=mapping(text), step=whole, parameter=text,
            leaf=optional(leaf), before=value, after=value, gradient=optional(value),
            moments=mapping(pair(value)), formula=optional(source),
        ),
        "write": fields(kind=text, leaf=optional(leaf), value=value, line=line),
    }  # fmt: skip

    def check(x: Any, where: str) -> None:
        if type(x) is not dict:
            raise wrong(where, x, "an object")
        one_of(*kinds)(x.get("kind"), f"{where}.kind")
        kinds[x["kind"]](x, where)

    return check


def _input(value: Check) -> Check:
    as_array, as_text = fields(value=value), fields(text=text)

    def check(x: Any, where: str) -> None:
        (as_text if type(x) is dict and "text" in x else as_array)(x, where)

    return check


def _check_places(steps: list, s: dict, where: str) -> None:
    """That what stands for a call is one, and has as many inputs and outputs."""

    def call(i: int, where: str) -> dict:
        if steps[i]["kind"] != "call":
            raise wrong(where, i, f"the number of a call, and that is a {steps[i]['kind']}")
        return steps[i]

    gifts = s.get("gradients", []) if s["kind"] == "seed" else s.get("gave", [])
    for k, gift in enumerate(gifts):
        to, at = gift["to"], f"{where}, gradient {k}"
        if to.get("call") is not None:
            index(call(to["call"], at)["outputs"], "output")(to["output"], at)
    if s["kind"] != "pull":
        return
    if (s["call"] is None) == (s["before"] is None):
        raise DataError(f"{where} must have either a call, or a number before the record")
    if s["call"] is not None:
        called = call(s["call"], f"{where}.call")
        if len(s["came"]) != len(called["outputs"]):
            raise wrong(f"{where}.came", s["came"], f"one for each of {len(called['outputs'])}")
        for gift in gifts:
            index(called["inputs"], "input")(gift["input"], f"{where}.gave")


def check_program(x: Any, where: str) -> None:
    """Raise unless it is what `minigrad.study.programs.as_data` gives."""
    fields(
        calls=many(anything), instructions=many(anything), places=many(anything), bytes=whole,
        threads=whole,
    )(x, where)  # fmt: skip
    call, instruction = index(x["calls"], "call"), index(x["instructions"], "instruction")
    place, texts = index(x["places"], "place"), many(text)
    many(fields(op=text, inputs=texts, outputs=texts, instruction=optional(instruction)))(
        x["calls"], f"{where}.calls"
    )
    many(
        fields(
            name=text, by=text, shapes=text, seconds=number, calls=many(call), reads=many(place),
            writes=many(place),
        )
    )(x["instructions"], f"{where}.instructions")  # fmt: skip
    many(fields(offset=whole, size=whole, first=signed, last=signed, what=text))(
        x["places"], f"{where}.places"
    )
    for i, found in enumerate(x["places"]):
        for name in ("first", "last"):
            if found[name] > len(x["instructions"]):
                raise wrong(f"{where}.places[{i}].{name}", found[name], "that of an instruction")
