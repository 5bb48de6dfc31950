"""Text and JSON."""

import json
import math
from collections import Counter
from typing import Any

from minigrad.errors import RunError
from minigrad.runs.files import Target, atomic_write, place_of, read, shown

__all__ = ["load_json", "parse_json", "save_json", "save_text"]


def save_text(path: Target, text: str) -> None:
    """Write `text` as UTF-8, line ends as they are, on every platform; see `atomic_write`.

    Raises:
        RunError: it cannot be written.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise RunError(f"save_text: cannot write {shown(path)} as UTF-8: {error}") from error
    atomic_write(path, data)


def save_json(path: Target, value: Any) -> None:
    """Write `value` as JSON: UTF-8, indented, ending in a line feed; see `atomic_write`.

    `value` is made of dictionaries with string keys, lists, tuples (which load as lists),
    strings, integers, finite floats, booleans and None. Raises RunError naming the place, such
    as history[3].loss, of anything else.
    """
    try:
        _check_json(path, value, "")
        text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    except (ValueError, RecursionError) as error:  # a giant integer; a list that holds itself
        raise RunError(f"save_json: cannot write {shown(path)}: {error}") from error
    save_text(path, text + "\n")


def _check_json(path: Target, value: Any, place: str) -> None:
    match value:
        case dict():
            for name, item in value.items():
                if not isinstance(name, str):
                    _refuse_json(path, place, f"has the key {name!r}; keys are strings")
                _check_json(path, item, f"{place}.{name}" if place else name)
        case list() | tuple():
            for i, item in enumerate(value):
                _check_json(path, item, f"{place}[{i}]")
        case float():
            if not math.isfinite(value):
                _refuse_json(path, place, f"is {value}, which JSON cannot hold; use None")
        case str() | int() | None:
            pass
        case _:
            kind = type(value).__name__
            _refuse_json(path, place, f"is of type {kind}; convert it (int, float, str, list)")


def _refuse_json(path: Target, place: str, reason: str) -> None:
    raise RunError(f"save_json: cannot write {shown(path)}: {place or 'the value'} {reason}")


def load_json(path: Target) -> Any:
    """The value in the JSON file at `path`.

    Raises RunError, with line and column where they are known, for a file that is missing or is
    not UTF-8 or JSON, for NaN, infinities, numbers beyond float64, and for repeated keys.
    """
    return parse_json(place_of(path), read(path))


def parse_json(path: Any, data: bytes) -> Any:
    def refuse(token):
        raise RunError(f"{path}: the number {token} is not finite")

    def number(token):
        x = float(token)
        return x if math.isfinite(x) else refuse(token)

    def unique(pairs):
        result = dict(pairs)
        if len(result) < len(pairs):
            twice = next(name for name, n in Counter(k for k, _ in pairs).items() if n > 1)
            raise RunError(f"{path}: the key {twice!r} is repeated in one object")
        return result

    try:
        return json.loads(
            data.decode(), object_pairs_hook=unique, parse_float=number, parse_constant=refuse
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise RunError(f"{path}: not JSON at {where}: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: not JSON: {error}") from error
