"""Reads a corpus: sentences in Japanese, each with its sign tags, each in a group.

A corpus is a text file in UTF-8 whose first line names its columns, in any order, between tabs:

    group       japanese            tags
    日本手話    わたしはたべます    <私> <食べる>

Commas or semicolons will do as well, if the first line has them. Fields may be quoted as Excel
quotes them. Blank lines and other columns mean nothing, and a row that is there again is dropped.

Every row is checked before the first is used, and all that is wrong is said at once: each cause
once, with the lines where it is found.
"""

import codecs
import csv
import hashlib
import io
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jsl.config import MAX_SEQ_LEN
from jsl.errors import CorpusError, TextError, UsageError
from jsl.messages import listed, ranges, say
from jsl.text import check, normalise, visible
from jsl.vocabulary import is_tag

COLUMNS = ("group", "japanese", "tags")
DELIMITERS = ("\t", ",", ";")
MAX_SHOWN = 8  # causes that one error lists


@dataclass(frozen=True)
class Row:
    """One sentence, normalised, with its tags in one group; `line` counts from 1."""

    group: str
    japanese: str
    tags: tuple[str, ...]
    line: int

    @property
    def length(self) -> int:
        """How long a sequence must be able to be: symbols or tags, and the end mark."""
        return max(len(self.japanese), len(self.tags)) + 1


@dataclass(frozen=True)
class Corpus:
    """The rows of the file `path`, in its order, and the SHA-256 of its bytes in hex.

    Attributes:
        notes: what a person should know of how it was read.
    """

    path: Path
    sha256: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups, in order of first appearance."""
        return tuple(dict.fromkeys(row.group for row in self.rows))

    @property
    def tags(self) -> tuple[str, ...]:
        """The distinct tags, in order of first appearance."""
        return tuple(dict.fromkeys(tag for row in self.rows for tag in row.tags))

    @property
    def longest(self) -> int:
        """The length of the longest sequence, its end mark counted."""
        return max(row.length for row in self.rows)


def starter_corpus_path() -> Path:
    """The corpus that comes with jsl: 47 sentences in two groups, with 80 tags in all.

    It is a small example to try the program with. It was not reviewed by native signers.
    """
    return Path(__file__).parent / "corpora" / "starter.tsv"


@dataclass
class _Problems:
    """What is wrong with a file: of each kind the first case, and the lines of all."""

    path: Path
    first: dict[str, str] = field(default_factory=dict)
    lines: dict[str, list[int]] = field(default_factory=dict)

    def add(self, line: int, cause: str, kind: str) -> None:
        self.first.setdefault(kind, cause)
        self.lines.setdefault(kind, []).append(line)

    def __str__(self) -> str:
        count = sum(map(len, self.lines.values()))
        report: list[str] = [say("corpus.problems", path=self.path, count=count)]
        for kind, cause in list(self.first.items())[:MAX_SHOWN]:
            line, *others = dict.fromkeys(self.lines[kind])
            text = say("corpus.problem", path=self.path, line=line, cause=cause)
            report.append(text + (say("corpus.also", lines=ranges(others)) if others else ""))
        if more := len(self.first) - MAX_SHOWN:
            report += [say("corpus.more", count=more)] if more > 0 else []
        return "\n".join(report)

    def check(self) -> None:
        """CorpusError if there are any."""
        if self.first:
            raise CorpusError(str(self))


def load_corpus(
    path: str | Path, max_seq_len: int | None = None, encoding: str | None = None
) -> Corpus:
    """The corpus in the file `path`, none of whose sequences is longer than `max_seq_len`.

    A sentence takes one place for each symbol and one for its end, and so do its tags.

    Args:
        max_seq_len: None for as long as they are.
        encoding: Python's name of that of the file; None for UTF-8.

    Raises:
        UsageError: there is no such encoding.
        CorpusError: the file cannot be read or decoded, or, with every cause listed as
            `file:line: cause`, the header or a row is not as it should be: a wrong number of
            fields, an empty one, unknown characters, malformed tags, a group name that could not
            be part of a parameter's name (. and / cannot), too long a sequence, or the same
            sentence with different tags in a group.
    """
    path = Path(path)
    data = _read(path)
    text = _decode(path, data, encoding)
    problems = _Problems(path)
    notes: list[str] = []
    first, columns, delimiter = _header(path, text)
    if delimiter != "\t":
        notes.append(say("corpus.delimiter", path=path, delimiter=delimiter))
    others = [name for name in columns if name and name not in COLUMNS]
    if others:
        notes.append(say("corpus.ignored", columns=listed(dict.fromkeys(others))))
    for name in COLUMNS:
        if columns.count(name) > 1:
            problems.add(first, say("corpus.repeated_column", column=name), f"repeated {name}")
    problems.check()

    rows: list[Row] = []
    seen: dict[tuple[str, str], Row] = {}
    repeated: list[int] = []
    body = False
    for line, values in _records(text, delimiter, problems):
        if line == first:
            continue
        body = True
        needed = max(columns.index(name) for name in COLUMNS) + 1
        if len(values) < needed or any(values[len(columns) :]):
            cause = say("corpus.fields", found=len(values), expected=len(columns))
            problems.add(line, cause, "corpus.fields")
            continue
        row = _row(dict(zip(columns, values, strict=False)), line)
        earlier = seen.get((row.group, row.japanese))
        if earlier is not None and earlier.tags == row.tags:
            repeated.append(line)
            continue
        rows.append(row)
        for kind, reason in _row_causes(row, seen):
            problems.add(line, reason, kind)
    if not body and not problems.first:
        problems.add(first, say("corpus.no_rows"), "corpus.no_rows")
    if max_seq_len is not None and (long := [row for row in rows if row.length > max_seq_len]):
        most = max(long, key=lambda row: row.length)
        key = "corpus.too_long" if most.length <= MAX_SEQ_LEN else "corpus.much_too_long"
        fields = {"limit": max_seq_len, "rows": len(long), "line": most.line, "fit": most.length}
        cause = say(key, **fields)
        for row in long:
            problems.add(row.line, cause, "corpus.too_long")
    problems.check()
    if repeated:
        notes.append(say("corpus.dropped", count=len(repeated), lines=ranges(repeated)))
    return Corpus(path, hashlib.sha256(data).hexdigest(), tuple(rows), tuple(notes))


# -------------------------------------------------------------------------- bytes to characters


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise CorpusError(say("corpus.directory", path=path))
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CorpusError(say("corpus.missing_file", path=path)) from error
    except OSError as error:
        reason = error.strerror or error
        raise CorpusError(say("corpus.unreadable", path=path, reason=reason)) from error


def check_encoding(name: str) -> str:
    """`name`; UsageError if Python knows no such encoding of texts."""
    try:
        "".encode(name)
    except (LookupError, ValueError) as error:  # a ValueError if it holds a NUL
        raise UsageError(say("corpus.unknown_encoding", name=name)) from error
    return name


def _decode(path: Path, data: bytes, encoding: str | None) -> str:
    if encoding is None and (found := _looks_like(data)):
        kind, name = found
        raise CorpusError(say("corpus.looks_like", path=path, kind=say(kind), encoding=name))
    name = check_encoding("utf-8" if encoding is None else encoding)
    try:
        return data.decode(name).removeprefix("\ufeff")
    except UnicodeError as error:
        offset = getattr(error, "start", 0)
        before = data[:offset].decode(name, errors="replace")
        line = len(_with_plain_ends(before).split("\n"))
        problems = _Problems(path)
        key = "corpus.not_utf8" if encoding is None else "corpus.not_encoding"
        fields = {} if encoding is None else {"encoding": encoding}
        problems.add(line, say(key, offset=offset, **fields), key)
        raise CorpusError(str(problems)) from error


def _looks_like(data: bytes) -> tuple[str, str] | None:
    """What a file that is not UTF-8 looks like, as a message's key, and what Python calls it."""
    if data.startswith(codecs.BOM_UTF8):
        return None
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise CorpusError(say("corpus.workbook"))
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "encoding.utf32", "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "encoding.utf16", "utf-16"
    if b"\0" in data:
        # The tabs and the names of the columns are ASCII: every second byte is 0 where they are.
        even, odd = data[::2].count(0), data[1::2].count(0)
        name = "utf-16-le" if odd > even else "utf-16-be"
        try:
            text = data.decode(name)
        except UnicodeDecodeError:
            return None
        return ("encoding.utf16", name) if any(d in text for d in DELIMITERS) else None
    if b"\x1b$" in data:
        return "encoding.jis", "iso-2022-jp"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        candidates = [("encoding.cp932", "cp932"), ("encoding.eucjp", "euc_jp")]
        share, kind, name = max((_kana(data, name), kind, name) for kind, name in candidates)
        return (kind, name) if share > 0.2 else None
    return None


def _kana(data: bytes, encoding: str) -> float:
    """How much of what is not ASCII is kana, if `data` is in this encoding."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return 0.0
    foreign = [c for c in text if not c.isascii()]
    return sum("ぁ" <= c <= "ー" for c in foreign) / max(len(foreign), 1)


# --------------------------------------------------------------------------- characters to rows


def _with_plain_ends(text: str) -> str:
    # Not splitlines(), which also splits where no editor does (U+0085, U+2028, form feed).
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _records(
    text: str, delimiter: str, problems: _Problems | None = None
) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, each with the line where it begins; what shows of fields."""
    lines = io.StringIO(_with_plain_ends(text), newline="\n")
    csv.field_size_limit(2**31 - 1)  # else a field of 131,073 characters passes for a wrong quote
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            values = [visible(value).strip() for value in next(reader)]
        except StopIteration:
            return
        except csv.Error:
            if problems is not None:
                problems.add(line, say("corpus.quotes"), "corpus.quotes")
            return  # from here on nobody knows what is quoted
        if any(values):
            yield line, values


def _header(path: Path, text: str) -> tuple[int, list[str], str]:
    """The line of the header, its columns, and what stands between them."""
    found = []
    for delimiter in DELIMITERS:
        for line, values in _records(text, delimiter):
            columns = [unicodedata.normalize("NFKC", value).casefold() for value in values]
            columns = [n if n in COLUMNS else v for n, v in zip(columns, values, strict=True)]
            found.append((sum(name in columns for name in COLUMNS), line, columns, delimiter))
            break
    if not found:
        problems = _Problems(path)
        list(_records(text, "\t", problems))
        problems.check()
        raise CorpusError(say("corpus.empty", path=path, columns=listed(COLUMNS)))
    known, line, columns, delimiter = max(found, key=lambda header: header[0])
    if known == len(COLUMNS):
        return line, columns, delimiter
    problems = _Problems(path)
    written = visible(_with_plain_ends(text).split("\n")[line - 1])
    if set(written.casefold().split()) >= set(COLUMNS):
        problems.add(line, say("corpus.spaces"), "corpus.spaces")
    elif known:
        missing = [name for name in COLUMNS if name not in columns]
        cause = say("corpus.missing_column", columns=listed(missing), found=listed(columns))
        problems.add(line, cause, "corpus.missing_column")
    else:
        cause = say("corpus.no_header", columns=listed(COLUMNS), found=written)
        problems.add(line, cause, "corpus.no_header")
    raise CorpusError(str(problems))


def _row(fields: dict[str, str], line: int) -> Row:
    return Row(
        group=unicodedata.normalize("NFC", fields["group"]),
        japanese=normalise(fields["japanese"]),
        tags=tuple(unicodedata.normalize("NFC", fields["tags"]).split()),
        line=line,
    )


def _row_causes(row: Row, seen: dict[tuple[str, str], Row]) -> Iterator[tuple[str, str]]:
    """What is wrong with `row`, each with its kind.

    `seen` holds the first row of each group and sentence.
    """
    empty = [column for column in COLUMNS if not getattr(row, column)]
    for column in empty:
        yield f"empty {column}", say("corpus.empty_field", column=column)

    if "." in row.group or "/" in row.group or not row.group.isprintable():
        yield "corpus.group", say("corpus.group", group=row.group)
    if row.japanese:
        try:
            check(row.japanese)
        except TextError as error:
            yield "text.unknown", str(error)
    for tag in row.tags:
        if not is_tag(tag):
            yield "corpus.tag", say("corpus.tag", tag=tag)

    if not empty:
        first = seen.setdefault((row.group, row.japanese), row)
        if first is not row:
            yield (
                "corpus.conflict",
                say("corpus.conflict", japanese=row.japanese, first=first.line, group=row.group),
            )
