"""What is written of a run to look at: weights and attention as CSV, and as pictures.

    exports/index.json                                  what is here, and what was left out
    exports/weights_models.甲.encoder.embed.weight.csv  a parameter under its full name
    exports/decoder_output_weight.csv                   the output projection's weight once more
    exports/attn_{enc,dec,cross}_layer{L}_head{H}.csv   of one text in one group; both from 0
    exports/text0002_甲/attn_...                        of several

All files of a call are put in their places together, or none is. Nothing else is touched: neither
the model nor its manifest. A number has nine digits, by which a float32 reads back as it was,
whether it is read in single or in double precision.
"""

import codecs
import csv
import difflib
import hashlib
import io
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jsl.errors import ExportError, UsageError
from jsl.messages import Said, listed, reason_of, say
from minigrad import runs
from minigrad.errors import RunError

if TYPE_CHECKING:
    from jsl.translate import Candidate, Translator
    from minigrad import nn

FOLDER, INDEX, FORMAT = "exports", "index.json", 1
LIMIT = 100 * 10**6  # bytes that are written without being asked twice
LONGEST = 20  # symbols or tags of a side of a map, its end counted
CELL = 13  # bytes of a number as it is written, about
PICTURES = 60_000  # bytes of a map as PNG and SVG, about
TOLERANCE = 1e-5  # of the sum of a row
KINDS = {"enc": "encoder", "dec": "decoder", "cross": "cross"}  # as files and as maps call them
OUTPUTS = ("decoder.output_projection.weight", "output_projection.weight")  # of decoder-only
# How spreadsheets begin a formula; in Japanese, in full width as well.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
DEVICE = re.compile(r"(con(in\$|out\$)?|prn|aux|nul|(com|lpt)[\d¹²³]) *(\..*)?", re.IGNORECASE)
NAME_BYTES = 180  # of a name, so that with what is added to it every file system takes it


@dataclass(frozen=True)
class Style:
    """How files are written.

    Attributes:
        layout: 'matrix', or 'long' with a line for each number.
        encoding: of CSV files.
        plot: whether maps are drawn, too.
        longest: side of a map that is exported at most.
    """

    layout: str = "matrix"
    encoding: str = "utf-8"
    plot: bool = False
    longest: int = LONGEST


@dataclass(frozen=True)
class Sheet:
    """A file that is to be written.

    Attributes:
        name: its path in the directory, with /.
        size: how many bytes it will have, about.
        about: its entry in the index, without the file's name.
        content: makes what is in it.
    """

    name: str
    size: int
    about: dict[str, Any] = field(repr=False)
    content: Callable[[], Iterable[bytes]] = field(repr=False)


class Labels(NamedTuple):
    """What the sides of maps stand for: tokens of the text, and what the decoder says and is given.

    A row of the decoder is the step that gave its tag, or the end; its columns are what the decoder
    was given: the start, then the tags.
    """

    source: list[str]
    output: list[str]
    given: list[str]

    def of(self, kind: str) -> tuple[list[str], list[str]]:
        """Rows and columns of a kind of map, by either name."""
        match kind:
            case "enc" | "encoder":
                return self.source, self.source
            case "dec" | "decoder":
                return self.output, self.given
        return self.output, self.source


def labels_of(translator: "Translator", text: str, found: "Candidate") -> Labels:
    """The labels of the maps of a candidate for `text`."""
    from jsl.vocabulary import BOUNDARY

    vocabulary = translator.vocabulary
    end, tags = vocabulary.special[BOUNDARY], vocabulary.decode(found.ids)
    if vocabulary.source_kind == "kana":  # as it was read
        source = [vocabulary.source_tokens[i] for i in translator.encode(text)[:-1]]
    else:  # with tokens that have no id of their own
        source = list(vocabulary.symbols_of(text))
    return Labels([*source, end], [*tags, end], [end, *tags])


# --------------------------------------------------------------------------- names of parameters


def without_group(name: str) -> str:
    """A parameter's name in its group: decoder.norm.weight of models.甲.decoder.norm.weight."""
    return name.split(".", 2)[2] if name.startswith("models.") else name


def group_of(name: str) -> str | None:
    """The group that a parameter is of; None if it is of all."""
    return name.split(".", 2)[1] if name.startswith("models.") else None


def complete(weights: Mapping[str, Any], groups: Sequence[str]) -> dict[str, Any]:
    """The weights of all groups; what is shared or tied, under each of its names.

    A run has them once: under the names of the first group, and of the embedding.
    """
    found = dict(weights)
    for group in groups:
        for name, array in weights.items():
            if group_of(name) == groups[0]:
                found.setdefault(f"models.{group}.{without_group(name)}", array)
        start = f"models.{group}.decoder."
        if f"{start}output_projection.bias" in found and f"{start}embed.weight" in found:
            found.setdefault(f"{start}output_projection.weight", found[f"{start}embed.weight"])
    return found


def of_groups(names: Iterable[str], groups: Collection[str]) -> list[str]:
    """The names of the parameters that some groups have; all if there are no groups."""
    return [name for name in names if not groups or group_of(name) in (None, *groups)]


def choose(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """The parameters that `patterns` mean, in their own order.

    A pattern is the name of a parameter or of a layer, or has *, ? and [...] in it, which stand for
    dots as well; without "models.<group>." before, it means every group.

    Raises:
        UsageError: a pattern means none; the message has the nearest names.
    """
    names = list(names)
    found = set[str]()
    for pattern in patterns:
        meant = {name for name in names if _means(pattern, name)}
        if not meant:
            near = _nearest(pattern, names)
            hint = say("exports.nearest", names=listed(near)) if near else ""
            raise UsageError(say("exports.no_layer", pattern=pattern, nearest=hint))
        found |= meant
    return [name for name in names if name in found]


def _means(pattern: str, name: str) -> bool:
    places = (place for full in {name, without_group(name)} for place in _layers(full))
    return any(place == pattern or fnmatchcase(place, pattern) for place in places)


def _layers(name: str) -> list[str]:
    """a.b.c, a.b and a."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]


def _nearest(pattern: str, names: Iterable[str]) -> list[str]:
    known = dict.fromkeys(place for n in names for place in _layers(without_group(n)))
    known |= dict.fromkeys(place for n in names for place in _layers(n))
    found = difflib.get_close_matches(pattern, known, 3)
    if not found:  # "output_projection", without what it is in
        found = [place for place in known if place.rpartition(".")[2] == pattern][:3]
    return found


# ------------------------------------------------------------------------------- names of files


def safe(name: str) -> str:
    """A name as part of a file's name on every system: what none may have, as %3A, and not long."""
    name = unicodedata.normalize("NFC", name)

    def escaped(c: str) -> str:
        wrong = c in '<>:"/\\|?*%' or unicodedata.category(c) in ("Cc", "Cs", "Cf", "Zl", "Zp")
        return "".join(f"%{b:02X}" for b in c.encode("utf-8", "surrogatepass")) if wrong else c

    found = "".join(map(escaped, name))
    if found[-1:] in (".", " "):
        found = found[:-1] + f"%{ord(found[-1]):02X}"
    if DEVICE.fullmatch(found) or found[:1] in (".", " ", ""):
        found = f"_{found}"
    if len(found.encode()) > NAME_BYTES:
        mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        cut = found.encode()[: NAME_BYTES - 13].decode(errors="ignore")
        found = f"{cut}~{mark}"
    return found


def file_names(names: Iterable[str]) -> dict[str, str]:
    """For each name its part of a file's name; no two are one file, where A and a are the same."""
    taken, found = set[str](), dict[str, str]()
    for name in names:
        made = safe(name)
        number = 1
        while unicodedata.normalize("NFC", made.casefold()) in taken:
            number += 1
            made = f"{safe(name)}~{number}"
        taken.add(unicodedata.normalize("NFC", made.casefold()))
        found[name] = made
    return found


# ----------------------------------------------------------------------------------- CSV


def check_encoding(name: str) -> str:
    """`name`; UsageError if Python knows no such encoding of texts."""
    try:
        "".encode(name)
        codecs.getincrementalencoder(name)
    except (LookupError, ValueError) as error:
        raise UsageError(say("corpus.unknown_encoding", name=name)) from error
    return name


def cell(text: str) -> str:
    """A label that no spreadsheet takes for a formula: with an apostrophe before what begins so."""
    return f"'{text}" if text.lstrip(" \u3000").startswith(FORMULA) else text


def lines(
    array: np.ndarray, layout: str, labels: tuple[list[str], list[str]] | None = None
) -> Iterator[str]:
    """The lines of an array as CSV.

    As a matrix they are its rows, a row for each number of a vector; with `labels` they stand
    before each row, and above. In long layout, and for arrays of more than two axes, there is a
    line for each number, with its indices from 0 before it, and names of these above.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")

    def line(cells: Iterable[object]) -> str:
        out.seek(0)
        out.truncate()
        writer.writerow(cells)
        return out.getvalue()

    form = "%d" if array.dtype.kind in "iub" else "%.17g" if array.itemsize > 4 else "%.9g"
    if layout == "long" or array.ndim > 2:
        names = ("row", "col") if array.ndim <= 2 else [f"dim{i}" for i in range(array.ndim)]
        yield line([*names[: array.ndim], "value"])
        for place in np.ndindex(array.shape):
            yield ",".join([*map(str, place), form % array[place]]) + "\n"
        return
    rows = array if array.ndim == 2 else array.reshape(-1, 1)
    numbers = ",".join([form] * rows.shape[1]) + "\n"
    if labels is None:
        yield from (numbers % tuple(row.tolist()) for row in rows)
        return
    yield line(["", *map(cell, labels[1])])
    for label, row in zip(labels[0], rows, strict=True):
        yield line([cell(label)])[:-1] + "," + numbers % tuple(row.tolist())


def encoded(name: str, text: Iterable[str], encoding: str) -> Iterator[bytes]:
    """Text in an encoding.

    Raises:
        ExportError: it has no such characters.
        UsageError: it is no encoding of text at all.
    """
    encoder = codecs.getincrementalencoder(encoding)()
    try:
        for piece in text:
            yield encoder.encode(piece)
        yield encoder.encode("", final=True)
    except UnicodeEncodeError as error:
        wrong = error.object[error.start]
        raise ExportError(
            say(
                "exports.not_encodable",
                file=name,
                encoding=encoding,
                character=f"{wrong} (U+{ord(wrong):04X})",
            )
        ) from error
    except UnicodeError as error:
        raise UsageError(say("corpus.unknown_encoding", name=encoding)) from error


# ------------------------------------------------------------------------------------ sheets


def of_weights(
    weights: Mapping[str, np.ndarray], names: Sequence[str], style: Style
) -> list[Sheet]:
    """The files of the parameters `names` among all `weights`, each under its full name.

    The index says of one that is shared or tied which it is the same as.

    The output projection's weight is there once more as decoder_output_weight.csv: of one group.
    Of several, each has one with the group's name in it, and the plain one is of the first.
    """
    files = file_names(weights)
    kept: dict[int, str] = {}
    for name, array in weights.items():
        kept.setdefault(id(array), name)
    first = {name: kept[id(weights[name])] for name in names}
    sheets = [_weight(f"weights_{files[n]}.csv", n, weights[n], style, first[n]) for n in names]
    outputs = [name for name in names if without_group(name) in OUTPUTS]
    groups = file_names(str(group_of(name)) for name in weights if without_group(name) in OUTPUTS)
    if len(outputs) > 1:
        for name in outputs:
            file = f"decoder_output_weight.{groups[str(group_of(name))]}.csv"
            sheets.append(_weight(file, name, weights[name], style, first[name]))
    if outputs:
        name = outputs[0]
        file = "decoder_output_weight.csv"
        sheets.append(_weight(file, name, weights[name], style, first[name]))
    return sheets


def _weight(file: str, name: str, array: np.ndarray, style: Style, first: str) -> Sheet:
    group = group_of(name)
    about: dict[str, Any] = {"kind": "weights", "name": name}
    about |= {} if first == name else {"same_as": first}
    about |= {} if group is None else {"group": group}
    about |= {"shape": [int(n) for n in array.shape], "layout": style.layout}
    more = 14 if style.layout == "long" else 0
    return Sheet(
        file,
        array.size * (CELL + more) + 20,
        about | {"encoding": style.encoding},
        lambda: encoded(file, lines(array, style.layout), style.encoding),
    )


def of_attention(
    maps: "nn.Attention",
    labels: Labels,
    about: Mapping[str, Any],
    style: Style,
    folder: str = "",
) -> tuple[list[Sheet], list[dict[str, Any]]]:
    """The files of all maps of one text in one group.

    Args:
        about: what the index is to say of them: text, group and tags.
        folder: in the directory, where they are to be.

    Returns:
        The files, and an entry for each kind of map that was left out, as it is too long.

    Raises:
        ExportError: a map is not one, by shape, range or sums.
    """
    sheets, skipped = list[Sheet](), list[dict[str, Any]]()
    for kind, whole in KINDS.items():
        rows, columns = labels.of(kind)
        if (length := max(len(rows), len(columns))) > style.longest:
            reason = say("exports.too_long", kind=kind, length=length, limit=style.longest)
            shape = [len(rows), len(columns)]
            left: dict[str, Any] = {"folder": folder, "kind": kind, "shape": shape, **about}
            skipped.append(left | {"reason": str(reason)})
            continue
        for layer, heads in enumerate(getattr(maps, whole)):
            for head, weights in enumerate(heads):
                name = f"{folder}{'/' if folder else ''}attn_{kind}_layer{layer}_head{head}"
                check_map(name, weights, (len(rows), len(columns)))
                entry: dict[str, Any] = {"kind": kind, "layer": layer, "head": head}
                entry |= {"shape": [len(rows), len(columns)], **about}
                sheets += _map(name, weights, (rows, columns), entry, style)
    return sheets, skipped


def _map(
    name: str,
    weights: np.ndarray,
    labels: tuple[list[str], list[str]],
    entry: dict[str, Any],
    style: Style,
) -> Iterator[Sheet]:
    long = style.layout == "long"
    # In long layout the file has no labels.
    more: dict[str, Any] = {"rows": labels[0], "columns": labels[1]} if long else {}
    more |= {"layout": style.layout, "encoding": style.encoding}
    size = weights.size * (CELL + 6 * long) + sum(4 * len(x) for side in labels for x in side)

    def table() -> Iterable[bytes]:
        text = lines(weights, style.layout, None if long else labels)
        return encoded(f"{name}.csv", text, style.encoding)

    yield Sheet(f"{name}.csv", size, entry | more, table)
    if style.plot:
        drawn = _Drawn(weights, labels, entry)
        for ending in ("png", "svg"):
            yield Sheet(f"{name}.{ending}", PICTURES // 2, dict(entry), partial(drawn.take, ending))


class _Drawn:
    """The pictures of a map, which are drawn when the first is taken, and kept until all are."""

    def __init__(self, *drawn: Any):
        self.drawn = drawn
        self.made: dict[str, bytes] = {}

    def take(self, ending: str) -> list[bytes]:
        if ending not in self.made:
            from jsl import heatmaps

            self.made = heatmaps.pictures(*self.drawn)
        return [self.made.pop(ending)]


def check_map(name: str, weights: np.ndarray, shape: tuple[int, int]) -> None:
    """ExportError unless these are the weights of attention: of this shape, rows that sum to 1."""
    if weights.shape != shape:
        raise ExportError(say("exports.map_shape", name=name, found=weights.shape, expected=shape))
    if not (np.isfinite(weights).all() and (weights >= 0).all() and (weights <= 1.00001).all()):
        raise ExportError(say("exports.map_range", name=name))
    sums = weights.sum(axis=-1, dtype=np.float64)
    if weights.size and (worst := float(np.abs(sums - 1).max())) > TOLERANCE:
        raise ExportError(say("exports.map_sum", name=name, worst=worst))


# ----------------------------------------------------------------------------------- writing


def place_of(load: Path | str, out: Path | None) -> Path:
    """Where exports of a run go: into it, unless somewhere else is named.

    Raises:
        UsageError: it is no directory on disk, so that a place has to be named.
    """
    if out is not None:
        return out
    if not isinstance(load, Path) or not load.is_dir():
        raise UsageError(say("exports.where", path=runs.redacted(str(load))))
    return load / FOLDER


def size_of(sheets: Iterable[Sheet]) -> int:
    """About how many bytes they will have."""
    return sum(sheet.size for sheet in sheets)


def in_words(size: float) -> Said:
    """Bytes in the unit that suits."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return Said(f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}")
        size /= 1000
    return Said(f"{size:.1f} GB")


def require(size: int, directory: Path, force: bool) -> None:
    """That so many bytes may be written into a directory, and can.

    Raises:
        UsageError: they are many, and nobody insists.
        ExportError: the disk has less.
    """
    if size > LIMIT and not force:
        size_said, limit = in_words(size), in_words(LIMIT)
        raise UsageError(say("exports.large", size=size_said, limit=limit, path=directory))
    place = next((p for p in (directory, *directory.absolute().parents) if p.exists()), None)
    with suppress(OSError):  # of a file system that does not say
        if place is not None and size > (free := shutil.disk_usage(place).free):
            raise ExportError(
                say("exports.full", path=directory, size=in_words(size), free=in_words(free))
            )


class Written(NamedTuple):
    """What became of the files of earlier calls.

    Attributes:
        replaced: those that were replaced, or went.
        others: of those that stay, how many are of another run, as when one was overwritten.
    """

    replaced: list[str]
    others: int


def write(
    directory: Path,
    sheets: Sequence[Sheet],
    skipped: Sequence[Mapping[str, Any]] = (),
    run: Mapping[str, Any] | None = None,
) -> "Written":
    """Write all files into `directory`, or none, and what is there now into its index.

    Maps of earlier calls go, from the folders where maps of this one are put.

    Args:
        skipped: what was left out, for the index.
        run: what the index says of the run in each entry.

    Raises:
        ExportError: something cannot be written; all is as it was.
    """
    new = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with runs.locked(directory):
            runs.tidy(directory)
            return _write(directory, sheets, skipped, dict(run or {}))
    except (RunError, OSError) as error:
        reason = getattr(error.__cause__ or error, "strerror", None) or reason_of(error)
        raise ExportError(say("exports.unwritable", path=directory, reason=reason)) from error
    finally:
        if new:
            with suppress(OSError):
                directory.rmdir()  # nothing came to be in it


def _write(
    directory: Path,
    sheets: Sequence[Sheet],
    skipped: Sequence[Mapping[str, Any]],
    run: dict[str, Any],
) -> "Written":
    index = read_index(directory)
    names = {sheet.name for sheet in sheets}
    folders = {_folder(s.name) for s in sheets if s.about["kind"] in KINDS}
    folders |= {entry["folder"] for entry in skipped}

    def goes(name: str) -> bool:
        return name in names or (_folder(name) in folders and _MAP.fullmatch(name) is not None)

    before = index["exports"]
    old = [entry["file"] for entry in before if goes(entry["file"])]
    replaced = {name for name in {*old, *names} if (directory / name).is_file()}
    stay = [entry for entry in before if not goes(entry["file"])]
    others = sum(entry.get("trained_at") != run.get("trained_at") for entry in stay)
    index["exports"] = stay + [{"file": sheet.name, **sheet.about, **run} for sheet in sheets]
    index["skipped"] = [e for e in index["skipped"] if e["folder"] not in folders]
    index["skipped"] += [{**entry, **run} for entry in skipped]
    with staged(directory) as (new, aside):
        for sheet in sheets:
            place = new / sheet.name
            place.parent.mkdir(parents=True, exist_ok=True)
            with open(place, "xb") as file:
                for piece in sheet.content():
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
        runs.save_json(new / INDEX, index)
        _move(directory, new, aside, sorted(names), sorted(replaced))
    return Written(sorted(replaced), others)


# What of an index is taken for ours to remove.
_MAP = re.compile(r"([^/\\]+/)?attn_(enc|dec|cross)_layer\d+_head\d+\.(csv|png|svg)")


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


@contextmanager
def staged(directory: Path) -> Iterator[tuple[Path, Path]]:
    """Two directories in `directory`, for what comes and for what goes; they are removed behind."""
    # A name that `runs.tidy` knows, for those that are killed.
    root = directory / f".save-{secrets.token_hex(8)}"
    new, aside = root / "new", root / "aside"
    try:
        for path in (root, new, aside):
            path.mkdir()
        yield new, aside
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _move(
    directory: Path, new: Path, aside: Path, names: Sequence[str], old: Sequence[str]
) -> None:
    """Move files into their places, the old ones aside, the index last.

    All go back again if one cannot be moved, as on Windows if a spreadsheet has it open.
    """
    moved: list[tuple[Path, Path]] = []

    def move(whence: Path, where: Path) -> None:
        where.parent.mkdir(parents=True, exist_ok=True)
        os.replace(whence, where)
        moved.append((whence, where))

    try:
        for name in old:
            move(directory / name, aside / name)
        for name in names:
            move(new / name, directory / name)
        os.replace(new / INDEX, directory / INDEX)
    except BaseException:
        for whence, where in reversed(moved):
            os.replace(where, whence)
        raise


def read_index(directory: Path) -> dict[str, Any]:
    """The index of a directory of exports, an empty one if there is none yet.

    Raises:
        ExportError: the file of its name is something else.
    """
    path = directory / INDEX
    if not os.path.lexists(path):
        return {"format": FORMAT, "exports": [], "skipped": []}
    try:
        index = runs.load_json(path)
    except RunError as error:
        raise ExportError(say("exports.index", path=path)) from error
    well = isinstance(index, dict) and index.get("format") == FORMAT
    for name, needed in (("exports", ("file", "kind")), ("skipped", ("folder", "kind"))):
        entries = index.get(name) if well else None
        well = isinstance(entries, list) and all(
            isinstance(e, dict) and all(isinstance(e.get(key), str) for key in needed)
            for e in entries
        )
    if not well:
        raise ExportError(say("exports.index", path=path))
    return index
