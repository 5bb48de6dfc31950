"""Save and load a model's arrays in one file.

    full      every bit, as safetensors
    compact   floating-point numbers of 16 bits, as safetensors
    pretty    JSON, to be read by people

(Burn's recorders: NamedMpkFile, HalfPrecision and PrettyJson.)
"""

from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO, cast

import numpy as np

from minigrad.errors import DtypeError, RunError
from minigrad.runs import prefixes
from minigrad.runs.arrays import (
    BFLOAT16,
    DTYPES,
    DTYPES_BEFORE,
    LONGEST_HEADER,
    TAGS,
    ArrayFile,
    as_text,
    chosen,
    write_arrays,
)
from minigrad.runs.directories import load_together
from minigrad.runs.documents import parse_json, save_json
from minigrad.runs.files import Local, Place, Seekable, Target, place_of
from minigrad.runs.stores import Remote

__all__ = ["load", "save"]

RECORDS = ("full", "compact", "pretty")
HALVES = ("float16", "bfloat16")
PRETTY = "minigrad.pretty"  # the key of a JSON file's format
MODEL = "model.safetensors"  # of a directory


def save(
    path: Target, model_or_arrays: Any, record: str = "full", dtype: str = "float16"
) -> dict[str, float]:
    """Write the arrays of a model, or named arrays, to one file; `atomic_write`.

    Args:
        path: a path, a URI, or an open binary file.
        model_or_arrays: what has a `state_dict()`, or arrays or tensors by name. What comes under
            several names is written once.
        record: 'full', as safetensors; 'compact', which keeps floating-point numbers in 16 bits;
            'pretty', as JSON to be read, in which every number comes back to the bit.
        dtype: of compact records: 'float16', of 11 bits and up to 65504, or 'bfloat16', of 8 bits
            and the range of float32.

    Returns:
        The largest relative error by name, of the arrays that lost bits: of a full or pretty record
        there are none. (For numbers below the least normal one of the dtype, relative to that.)

    Raises:
        DtypeError: an array is of a dtype that cannot be kept.
        RunError: a number is too large for float16, or the file cannot be written.
        ValueError: `record` or `dtype` is none of these.
    """
    if record not in RECORDS:
        raise ValueError(f"save: record must be one of {', '.join(RECORDS)}, got {record!r}")
    if dtype not in HALVES:
        raise ValueError(f"save: dtype must be 'float16' or 'bfloat16', got {dtype!r}")
    arrays = _arrays(model_or_arrays)
    if record == "pretty":
        _write_pretty(path, arrays)
        return {}
    if record == "full":
        write_arrays(path, arrays, {})
        return {}
    halves, tags, before, errors = {}, {}, {}, {}
    done = dict[int, np.ndarray]()  # so that what is one array stays one
    for name, array in arrays.items():
        if array.dtype.kind != "f" or array.dtype.itemsize < 4:
            halves[name] = array
            continue
        if id(array) not in done:
            done[id(array)] = _halved(name, array, dtype)
        halves[name] = half = done[id(array)]
        before[name] = TAGS[array.dtype.newbyteorder("=")]
        if dtype == "bfloat16":
            tags[name] = BFLOAT16
        errors[name] = _largest_error(array, half, dtype)
    write_arrays(path, halves, {DTYPES_BEFORE: as_text(before)} if before else {}, tags)
    return errors


def _arrays(given: Any) -> dict[str, np.ndarray]:
    """NumPy arrays by name."""
    if hasattr(given, "state_dict"):
        given = given.state_dict()
    if not isinstance(given, Mapping):
        raise DtypeError(
            f"save: expects a model or arrays by name, got {type(given).__name__}; "
            f"a dictionary names an array"
        )
    given = dict(given)  # which keeps all of them, so that no two have one id
    found, seen = {}, dict[int, np.ndarray]()
    for name, x in given.items():
        if id(x) not in seen:
            array = x
            if not isinstance(x, np.ndarray):
                array = x.detach().numpy() if hasattr(x, "detach") else None
            if not isinstance(array, np.ndarray):
                raise DtypeError(
                    f"save: entry {name!r} is of type {type(x).__name__}; expects an array"
                )
            if array.dtype.newbyteorder("=") not in TAGS:
                raise DtypeError(
                    f"save: entry {name!r} has dtype {array.dtype}; expects one of "
                    f"{', '.join(map(str, TAGS))}; convert it first"
                )
            seen[id(x)] = array
        found[name] = seen[id(x)]
    return found


def _halved(name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    """The nearest numbers of 16 bits; bfloat16 as the uint16 of its bits. Ties go to even."""
    if dtype == "float16":
        with np.errstate(over="ignore", invalid="ignore"):
            half = array.astype(np.float16)
        if not np.array_equal(np.isinf(half), np.isinf(array)):
            largest = np.abs(array[np.isfinite(array)]).max()
            raise RunError(
                f"save: entry {name!r} has {largest:.6g}, beyond float16's 65504; "
                f"use dtype='bfloat16'"
            )
        return half
    with np.errstate(over="ignore", invalid="ignore"):
        single = array.astype(np.float32, order="C")
    bits = single.view(np.uint32)
    if array.dtype.itemsize > 4:
        # What is a tie only by this first rounding goes the way it came from.
        tie = bits & 0xFFFF == 0x8000
        bits = bits + (tie & (abs(array) > abs(single))) - (tie & (abs(array) < abs(single)))
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16  # beyond 32 bits: a NaN only
    half = np.where(np.isnan(array), 0x7FC0, rounded).astype(np.uint16)
    if not np.array_equal(np.isinf(_widened(half)), np.isinf(array)):
        raise RunError(f"save: entry {name!r} has numbers beyond bfloat16's; use record='full'")
    return half


def _widened(half: np.ndarray) -> np.ndarray:
    """The float32 of bfloat16 bits, or of float16."""
    if half.dtype == np.float16:
        return half.astype(np.float32)
    return (half.astype(np.uint32) << 16).view(np.float32)


def _largest_error(array: np.ndarray, half: np.ndarray, dtype: str) -> float:
    finite = np.isfinite(array)
    if not finite.any():
        return 0.0
    exact, kept = array[finite].astype(np.float64), _widened(half)[finite].astype(np.float64)
    least = 2.0**-14 if dtype == "float16" else 2.0**-126
    return float((np.abs(kept - exact) / np.maximum(np.abs(exact), least)).max())


# ---------------------------------------------------------------------------------------- pretty


def _write_pretty(path: Target, arrays: Mapping[str, np.ndarray]) -> None:
    entries, first = dict[str, Any](), dict[int, str]()
    for name, array in arrays.items():
        if not isinstance(name, str):
            raise RunError(f"save: an entry cannot be named {name!r}")
        if (other := first.setdefault(id(array), name)) != name:
            entries[name] = {"same_as": other}
            continue
        tag = TAGS[array.dtype.newbyteorder("=")]
        entries[name] = {
            "dtype": str(DTYPES[tag]),
            "shape": list(array.shape),
            "values": _plain(array.tolist(), array.dtype),
        }
    save_json(path, {PRETTY: 1, "arrays": entries})


def _plain(x: Any, dtype: np.dtype) -> Any:
    """Nested lists as JSON can hold them: what is not finite, as text; float32 with its own digits,
    which are fewer than those of the float64 that Python has. (A few of these digits would be
    rounded to a neighbour by way of float64: those numbers have all.)
    """
    if isinstance(x, list):
        return [_plain(v, dtype) for v in x]
    if isinstance(x, float):
        if not np.isfinite(x):
            return str(x)
        shorter = float(str(dtype.type(x)))
        return shorter if dtype.type(shorter) == x else x
    return x


def _read_pretty(place: Any, document: Any) -> dict[str, np.ndarray]:
    """The arrays of a pretty record. Raises RunError if it is none."""
    arrays = document.get("arrays") if isinstance(document, dict) else None
    if not isinstance(arrays, dict) or document.get(PRETTY) != 1:
        raise RunError(f"{place}: it is JSON, but no pretty record: {PRETTY} is not 1")
    found = dict[str, np.ndarray]()
    for name, entry in arrays.items():
        match entry:
            case {"same_as": str(other)} if other in found:
                found[name] = found[other]
            case {"dtype": str(dtype), "shape": list(shape), "values": values}:
                found[name] = _array(place, name, dtype, shape, values)
            case _:
                raise RunError(f"{place}: entry {name!r} has not just dtype, shape and values")
    return found


def _array(place: Any, name: str, dtype: str, shape: list, values: Any) -> np.ndarray:
    if dtype not in map(str, DTYPES.values()):
        raise RunError(f"{place}: entry {name!r} has the dtype {dtype!r}")
    if not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 64:
        raise RunError(f"{place}: entry {name!r}: {shape} is no shape")
    flat = [values]
    for n in shape:  # axis by axis
        if not all(isinstance(v, list) and len(v) == n for v in flat):
            raise RunError(f"{place}: entry {name!r} is not of the shape {shape} that it has")
        flat = [v for row in flat for v in row]
    kind = np.dtype(dtype).kind
    types = {"b": (bool,), "f": (float, int, str)}.get(kind, (int,))
    texts = ("nan", "inf", "-inf")
    for v in flat:
        if type(v) not in types or (isinstance(v, str) and v not in texts):
            raise RunError(f"{place}: entry {name!r} is {dtype} and has the value {v!r}")
    try:
        numbers = [float(v) for v in flat] if kind == "f" else flat
        with np.errstate(over="ignore"):
            array = np.array(numbers, dtype)
        if kind == "f" and not np.array_equal(np.isinf(array), np.isinf(numbers)):
            raise ValueError(f"a number is too large for {dtype}")
        return array.reshape(shape)
    except (ValueError, OverflowError, TypeError) as error:
        raise RunError(f"{place}: entry {name!r}: {error}") from error


# --------------------------------------------------------------------------------------- loading


def load(
    path: Target, names: str | Iterable[str] | None = None, lazy: bool = False
) -> Mapping[str, np.ndarray]:
    """The arrays of a file by name: a record of `save`, or what others have written.

    Args:
        path: a path, a URI, bytes or an open binary file of safetensors, of a pretty record, or of
            `torch.save` (a state dictionary or a checkpoint, by dotted names; no code is run). Or a
            directory with a manifest: its model.safetensors, verified. (Of a URI, by the digests
            in the file where not all of it is read.)
        names: only these arrays, and those in the modules of these names; of safetensors, nothing
            else is read.
        lazy: give a mapping that reads an array when it is asked for.

    Returns:
        Writable arrays, those of compact records in the dtypes that they had.

    Raises:
        RunError: the file is missing, damaged or none of these, or has not these names.
    """
    place = place_of(path)
    if isinstance(place, Local) and place.path.is_dir():

        def of_the_model(files: dict[str, Any]) -> Mapping[str, np.ndarray]:
            if MODEL not in files:
                raise RunError(f"load: {place} has no {MODEL}; its files are {', '.join(files)}")
            return _loaded(Local(files[MODEL]), names, lazy)

        return load_together(place.path, of_the_model)
    if isinstance(place, Remote) and not place.is_file():
        whole = names is None and not lazy
        return prefixes.read_file(place.uri, MODEL, whole, lambda p: _loaded(p, names, lazy))
    return _loaded(place, names, lazy)


def _loaded(
    place: Place, names: str | Iterable[str] | None, lazy: bool
) -> Mapping[str, np.ndarray]:
    head = place.read(0, 16)
    # As the length of a header, the first eight bytes of a text would be far too large.
    text = len(head) < 8 or int.from_bytes(head[:8], "little") > LONGEST_HEADER
    if text and head.lstrip()[:1] == b"{":
        document = parse_json(place, place.read())
        return _selected(place, _read_pretty(place, document), names)
    if head[:4] == b"PK\3\4" or head[:1] == b"\x80":  # or a safetensors header of 128 bytes, ...
        from minigrad.runs import pytorch

        stream = cast(BinaryIO, Seekable(place))
        if pytorch.recognise(stream) is not None:
            return pytorch.read(stream, names, str(place))
        if head[:4] == b"PK\3\4":
            raise RunError(f"load: {place}: it is a zip archive, but none of PyTorch's")
    file = ArrayFile(place, whole=names is None and not lazy)
    if lazy and names is None:
        return file
    return file.selected(names)


def _selected(
    place: Any, arrays: dict[str, np.ndarray], names: str | Iterable[str] | None
) -> dict[str, np.ndarray]:
    return arrays if names is None else {n: arrays[n] for n in chosen(place, arrays, names)}
