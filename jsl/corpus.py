"""Reads a corpus: sentences in Japanese, each with its sign tags, each in a group.

A corpus is a text file in UTF-8 with three columns between tabs, in any order, named in its first
line; no quoting, and blank lines mean nothing:

    group       japanese            tags
    日本手話    わたしはたべます    <私> <食べる>

Every row is checked before the first is used, and all that is wrong is said at once.
"""

import hashlib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jsl.errors import CorpusError, TextError
from jsl.messages import say
from jsl.text import check, normalise
from jsl.vocabulary import is_tag

COLUMNS = ("group", "japanese", "tags")
MAX_SHOWN = 20  # problems that one error lists


@dataclass(frozen=True)
class Row:
    """One sentence, normalised, with its tags in one group; `line` counts from 1."""

    group: str
    japanese: str
    tags: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class Corpus:
    """The rows of the file `path`, in its order, and the SHA-256 of its bytes in hex."""

    path: Path
    sha256: str
    rows: tuple[Row, ...]

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups, in order of first appearance."""
        return tuple(dict.fromkeys(row.group for row in self.rows))

    @property
    def tags(self) -> tuple[str, ...]:
        """The distinct tags, in order of first appearance."""
        return tuple(dict.fromkeys(tag for row in self.rows for tag in row.tags))


def starter_corpus_path() -> Path:
    """The corpus that comes with jsl: 47 sentences in two groups, with 80 tags in all.

    It is a small example to try the program with. It was not reviewed by native signers.
    """
    return Path(__file__).parent / "corpora" / "starter.tsv"


def load_corpus(path: str | Path, max_length: int) -> Corpus:
    """The corpus in the file `path`, none of whose sequences is longer than `max_length`.

    A sentence takes one place for each symbol and one for its end, and so do its tags.

    Raises CorpusError if the file cannot be read or is not UTF-8, or, with every problem listed as
    `file:line: cause`, if the header or any row is not as it should be: a wrong number of fields,
    an empty one, unknown characters, malformed tags, a group name that could not be part of a
    parameter's name (. and / cannot), too long a sequence, or the same sentence twice in a group.
    """
    path = Path(path)
    data = _read(path)
    numbered = [
        (n, line) for n, line in enumerate(_lines(_decode(path, data)), 1) if line.strip(" ")
    ]
    if not numbered:
        columns = say("list.separator").join(COLUMNS)
        raise CorpusError(say("corpus.empty", path=path, columns=columns))

    (first, header), *body = numbered
    columns = header.split("\t")
    problems = [(first, cause) for cause in _header_causes(columns)]
    if not body:
        problems.append((first, say("corpus.no_rows")))

    rows: list[Row] = []
    if all(columns.count(column) == 1 for column in COLUMNS):
        seen: dict[tuple[str, str], Row] = {}
        for line, text in body:
            values = text.split("\t")
            if len(values) != len(columns):
                cause = say("corpus.fields", found=len(values), expected=len(columns))
                problems.append((line, cause))
                continue
            row = _row(dict(zip(columns, values, strict=True)), line)
            rows.append(row)
            problems += [(line, cause) for cause in _row_causes(row, max_length, seen)]
    if problems:
        raise CorpusError(_report(path, problems))
    return Corpus(path, hashlib.sha256(data).hexdigest(), tuple(rows))


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise CorpusError(say("corpus.directory", path=path))
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CorpusError(say("corpus.missing_file", path=path)) from error
    except OSError as error:
        reason = error.strerror or error
        raise CorpusError(say("corpus.unreadable", path=path, reason=reason)) from error


def _decode(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = len(_lines(data[: error.start].decode("utf-8")))
        problem = (line, say("corpus.not_utf8", offset=error.start))
        raise CorpusError(_report(path, [problem])) from error


def _lines(text: str) -> list[str]:
    # Not splitlines(), which also splits where no editor does (U+0085, U+2028, form feed).
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _header_causes(columns: list[str]) -> Iterator[str]:
    for column in COLUMNS:
        if column not in columns:
            yield say("corpus.missing_column", column=column)
    for column in dict.fromkeys(columns):
        if column not in COLUMNS:
            known = say("list.separator").join(COLUMNS)
            yield say("corpus.unknown_column", column=column, columns=known)
        elif columns.count(column) > 1:
            yield say("corpus.repeated_column", column=column)


def _row(fields: dict[str, str], line: int) -> Row:
    return Row(
        group=unicodedata.normalize("NFC", fields["group"].strip()),
        japanese=normalise(fields["japanese"]),
        tags=tuple(unicodedata.normalize("NFC", fields["tags"]).split()),
        line=line,
    )


def _row_causes(row: Row, max_length: int, seen: dict[tuple[str, str], Row]) -> Iterator[str]:
    """What is wrong with `row`; `seen` holds the first row of each group and sentence."""
    empty = [column for column in COLUMNS if not getattr(row, column)]
    for column in empty:
        yield say("corpus.empty_field", column=column)

    shows = row.group.isprintable()
    if "." in row.group or "/" in row.group or not shows:
        yield say("corpus.group", group=row.group if shows else ascii(row.group)[1:-1])
    if row.japanese:
        try:
            check(row.japanese)
        except TextError as error:
            yield str(error)
    for tag in row.tags:
        if not is_tag(tag):
            yield say("corpus.tag", tag=tag)

    source, target = len(row.japanese) + 1, len(row.tags) + 1
    if max(source, target) > max_length:
        yield say("corpus.too_long", source=source, target=target, limit=max_length)

    if not empty:
        first = seen.setdefault((row.group, row.japanese), row)
        if first is row:
            return
        if first.tags == row.tags:
            yield say("corpus.repeated_row", first=first.line)
        else:
            yield say("corpus.conflict", japanese=row.japanese, first=first.line, group=row.group)


def _report(path: Path, problems: list[tuple[int, str]]) -> str:
    report = [say("corpus.problems", path=path, count=len(problems))]
    report += [f"{path}:{line}: {cause}" for line, cause in problems[:MAX_SHOWN]]
    if len(problems) > MAX_SHOWN:
        report.append(say("corpus.more", count=len(problems) - MAX_SHOWN))
    return "\n".join(report)
