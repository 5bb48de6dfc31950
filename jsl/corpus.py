"""Reads a corpus: sentences in Japanese, each with its sign tags, each in a group.

A corpus is a text file in UTF-8 whose first line names its columns, in any order, between tabs:

    group       japanese            tags
    日本手話    わたしはたべます    <私> <食べる>

Commas or semicolons will do as well, if the first line has them. Fields may be quoted as Excel
quotes them. Blank lines and other columns mean nothing, and a row that is there again is dropped.
Without the column of groups all rows are in one. Any other pair of languages will do, too: what a
sentence and its translation are cut into is said by `jsl.tokens`. And they may be in two files, of
which the lines belong together.

Every row is checked before the first is used, and all that is wrong is said at once: each cause
once, with the lines where it is found.
"""

import codecs
import csv
import difflib
import hashlib
import io
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jsl import tokens
from jsl.config import MAX_SEQ_LEN
from jsl.errors import CorpusError, TextError, UsageError
from jsl.messages import listed, ranges, say
from jsl.text import check, visible
from jsl.vocabulary import is_tag

COLUMNS = ("group", "japanese", "tags")
NEEDED = ("japanese", "tags")
DEFAULT_GROUP = "default"
DELIMITERS = ("\t", ",", ";")
MAX_SHOWN = 8  # causes that one error lists


@dataclass(frozen=True)
class Row:
    """One sentence, normalised, with its tags in one group; `line` counts from 1.

    Attributes:
        tags: tokens of the translation, whatever they are.
        symbols: tokens of the sentence; its characters by default.
    """

    group: str
    japanese: str
    tags: tuple[str, ...]
    line: int
    symbols: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.symbols:
            object.__setattr__(self, "symbols", tuple(self.japanese))

    @property
    def length(self) -> int:
        """How long a sequence must be able to be: symbols or tags, and the end mark."""
        return max(len(self.symbols), len(self.tags)) + 1


@dataclass(frozen=True)
class Corpus:
    """The rows of the file `path`, in its order, and the SHA-256 of its bytes in hex.

    Attributes:
        notes: what a person should know of how it was read.
        source_kind, target_kind: of its tokens.
        target: the file of the translations, if they have one of their own.
    """

    path: Path
    sha256: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    source_kind: str = "kana"
    target_kind: str = "tag"
    target: Path | None = None

    @property
    def name(self) -> str:
        """That of the file, or of both."""
        return self.path.name if self.target is None else f"{self.path.name} + {self.target.name}"

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups, in order of first appearance."""
        return tuple(dict.fromkeys(row.group for row in self.rows))

    @property
    def tags(self) -> tuple[str, ...]:
        """The distinct tags, in order of first appearance."""
        return tuple(dict.fromkeys(tag for row in self.rows for tag in row.tags))

    @property
    def vocabulary_size(self) -> int:
        """How many ids there are for it, at most."""
        kana = self.source_kind == "kana"
        symbols = 0 if kana else len({symbol for row in self.rows for symbol in row.symbols})
        return 90 + symbols + len(self.tags)

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
class Problems:
    """What is wrong with a file: of each kind the first case, and the lines of all.

    Attributes:
        repeated: the lines of rows that are there again, which is no problem.
    """

    path: Path
    first: dict[str, str] = field(default_factory=dict)
    lines: dict[str, list[int]] = field(default_factory=dict)
    repeated: list[int] = field(default_factory=list)

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
    path: str | Path,
    max_seq_len: int | None = None,
    encoding: str | None = None,
    source_kind: str = "kana",
    target_kind: str = "tag",
    strict: bool = True,
) -> Corpus:
    """The corpus in the file `path`, none of whose sequences is longer than `max_seq_len`.

    A sentence takes one place for each symbol and one for its end, and so do its tags.

    Args:
        max_seq_len: None for as long as they are.
        encoding: Python's name of that of the file; None for UTF-8.
        source_kind, target_kind: what is cut into what, see `jsl.tokens`. Of words and characters
            there may be several translations of a sentence, and rows may be there again.
        strict: False for a corpus to compare with: sentences may have unknown characters, and be
            there again, with the same tags or others; all rows are kept.

    Raises:
        UsageError: there is no such encoding.
        CorpusError: the file cannot be read or decoded, or, with every cause listed as
            `file:line: cause`, the header or a row is not as it should be: a wrong number of
            fields, an empty one, unknown characters, malformed tags, a group name that could not
            be part of a parameter's name (. and / cannot), too long a sequence, or the same
            sentence with different tags in a group.
    """
    corpus, problems = read_corpus(path, max_seq_len, encoding, source_kind, target_kind, strict)
    problems.check()
    return corpus


def read_corpus(
    path: str | Path,
    max_seq_len: int | None = None,
    encoding: str | None = None,
    source_kind: str = "kana",
    target_kind: str = "tag",
    strict: bool = True,
) -> tuple[Corpus, Problems]:
    """The corpus as `load_corpus` has it, and what is wrong with its rows.

    Rows of which something is wrong are there, save those with a wrong number of fields.

    Raises:
        UsageError: there is no such encoding.
        CorpusError: the file cannot be read or decoded, or its header is not as it should be.
    """
    path = Path(path)
    data = _read(path)
    text = _decode(path, data, encoding)
    problems = Problems(path)
    notes: list[str] = []
    first, columns, delimiter = _header(path, text)
    if delimiter != "\t":
        notes.append(say("corpus.delimiter", path=path, delimiter=delimiter))
    others = [name for name in columns if name and name not in COLUMNS]
    if "group" not in columns:
        if near := difflib.get_close_matches("group", others, 1):
            cause = say("corpus.missing_column", columns="group", found=listed(near))
            problems.add(first, cause, "corpus.missing_column")
        notes.append(say("corpus.one_group", group=DEFAULT_GROUP))
    if others:
        notes.append(say("corpus.ignored", columns=listed(dict.fromkeys(others))))
    for name in COLUMNS:
        if columns.count(name) > 1:
            problems.add(first, say("corpus.repeated_column", column=name), f"repeated {name}")
    problems.check()

    there = [name for name in COLUMNS if name in columns]
    found = _Rows(problems, source_kind, target_kind, drop=strict, strict=strict)
    body = False
    for line, values in _records(text, delimiter, problems):
        if line == first:
            continue
        body = True
        needed = max(columns.index(name) for name in there) + 1
        if len(values) < needed or any(values[len(columns) :]):
            cause = say("corpus.fields", found=len(values), expected=len(columns))
            problems.add(line, cause, "corpus.fields")
            continue
        found.add(line, {"group": DEFAULT_GROUP} | dict(zip(columns, values, strict=False)))
    if not body and not problems.first:
        problems.add(first, say("corpus.no_rows"), "corpus.no_rows")
    found.check_lengths(max_seq_len)
    problems.repeated = found.repeated
    if found.repeated:
        lines = ranges(found.repeated)
        notes.append(say("corpus.dropped", count=len(found.repeated), lines=lines))
    digest = hashlib.sha256(data).hexdigest()
    return Corpus(path, digest, tuple(found.rows), tuple(notes), source_kind, target_kind), problems


def load_parallel(
    source: str | Path,
    target: str | Path,
    max_seq_len: int | None = None,
    encoding: str | None = None,
    source_kind: str = "kana",
    target_kind: str = "tag",
    strict: bool = True,
) -> Corpus:
    """The corpus of the sentences in one file and their translations in another, line by line.

    All are in one group, "default". Lines that have nothing on one side are left out, with a note;
    no other is. The corpus's hash is that of both files with a zero byte between them.

    Raises:
        UsageError, CorpusError: as `load_corpus`; or the files have not as many lines.
    """
    source, target = Path(source), Path(target)
    data = _read(source), _read(target)
    sides = [
        _with_plain_ends(_decode(path, read, encoding)).removesuffix("\n").split("\n")
        for path, read in zip((source, target), data, strict=True)
    ]
    if len(sides[0]) != len(sides[1]):
        raise CorpusError(
            say(
                "corpus.lines",
                source=source,
                target=target,
                source_lines=len(sides[0]),
                target_lines=len(sides[1]),
            )
        )
    problems, empty = Problems(source), list[int]()
    found = _Rows(problems, source_kind, target_kind, drop=False, strict=strict)
    for line, (sentence, translation) in enumerate(zip(*sides, strict=True), start=1):
        fields = {"group": DEFAULT_GROUP, "japanese": sentence, "tags": translation}
        if visible(sentence).strip() and visible(translation).strip():
            found.add(line, fields)
        else:
            empty.append(line)
    if not found.rows:
        problems.add(1, say("corpus.no_rows"), "corpus.no_rows")
    found.check_lengths(max_seq_len)
    problems.check()
    notes: tuple[str, ...] = ()
    if empty:
        notes = (say("corpus.empty_lines", count=len(empty), lines=ranges(empty)),)
    digest = hashlib.sha256(b"\0".join(data)).hexdigest()
    kinds = source_kind, target_kind
    return Corpus(source, digest, tuple(found.rows), notes, *kinds, target=target)


def known_group(groups: Iterable[str], name: str) -> str:
    """The group that a person means by a name, which is read as that of a row is.

    Raises:
        UsageError: it is not among `groups`; the message lists them.
    """
    groups = list(groups)
    found = unicodedata.normalize("NFC", visible(name).strip())
    if found not in groups:
        raise UsageError(say("predict.unknown_group", group=name, known=listed(groups)))
    return found


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
        problems = Problems(path)
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
    text: str, delimiter: str, problems: Problems | None = None
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
        problems = Problems(path)
        list(_records(text, "\t", problems))
        problems.check()
        raise CorpusError(say("corpus.empty", path=path, columns=listed(COLUMNS)))
    known, line, columns, delimiter = max(found, key=lambda header: header[0])
    if set(NEEDED) <= set(columns):
        return line, columns, delimiter
    problems = Problems(path)
    written = visible(_with_plain_ends(text).split("\n")[line - 1])
    if set(written.casefold().split()) >= set(NEEDED):
        problems.add(line, say("corpus.spaces"), "corpus.spaces")
    elif known:
        missing = [name for name in NEEDED if name not in columns]
        cause = say("corpus.missing_column", columns=listed(missing), found=listed(columns))
        problems.add(line, cause, "corpus.missing_column")
    else:
        cause = say("corpus.no_header", columns=listed(COLUMNS), found=written)
        problems.add(line, cause, "corpus.no_header")
    raise CorpusError(str(problems))


class _Rows:
    """The rows of a file, as they are found, each with what is wrong with it.

    Args:
        drop: whether a row of tags that is there again is left out.
        strict: as of `load_corpus`.
    """

    def __init__(
        self,
        problems: Problems,
        source_kind: str,
        target_kind: str,
        drop: bool,
        strict: bool = True,
    ):
        self.problems, self.drop, self.strict = problems, drop, strict
        self.kinds = source_kind, target_kind
        self.rows: list[Row] = []
        self.repeated: list[int] = []
        self._seen: dict[tuple[str, str], Row] = {}  # the first of each group and sentence

    def add(self, line: int, fields: Mapping[str, str]) -> None:
        """Take in the row of these columns."""
        source_kind, target_kind = self.kinds
        sentence = tokens.spelled(fields["japanese"], source_kind)
        row = Row(
            group=unicodedata.normalize("NFC", fields["group"]),
            japanese=sentence,
            tags=tokens.target_tokens(fields["tags"], target_kind),
            line=line,
            symbols=tokens.source_tokens(sentence, source_kind),
        )
        earlier = self._seen.get((row.group, row.japanese))
        if self.drop and target_kind == "tag" and earlier is not None and earlier.tags == row.tags:
            self.repeated.append(line)
            return
        self.rows.append(row)
        for kind, reason in self._causes(row):
            if not self.strict and kind in ("text.unknown", "corpus.conflict"):
                continue
            self.problems.add(line, reason, kind)

    def _causes(self, row: Row) -> Iterator[tuple[str, str]]:
        """What is wrong with `row`, each with its kind."""
        source_kind, target_kind = self.kinds
        empty = [column for column in COLUMNS if not getattr(row, column)]
        for column in empty:
            yield f"empty {column}", say("corpus.empty_field", column=column)

        if "." in row.group or "/" in row.group or not row.group.isprintable():
            yield "corpus.group", say("corpus.group", group=row.group)
        if row.japanese and source_kind == "kana":
            try:
                check(row.japanese)
            except TextError as error:
                yield "text.unknown", str(error)
        for tag in row.tags:
            if target_kind == "tag" and not is_tag(tag):
                yield "corpus.tag", say("corpus.tag", tag=tag)

        if not empty:
            first = self._seen.setdefault((row.group, row.japanese), row)
            if target_kind == "tag" and first.tags != row.tags:
                yield (
                    "corpus.conflict",
                    say(
                        "corpus.conflict",
                        japanese=row.japanese,
                        first=first.line,
                        group=row.group,
                    ),
                )

    def check_lengths(self, limit: int | None) -> None:
        """Note the rows that are longer than `limit`."""
        if limit is None or not (long := [row for row in self.rows if row.length > limit]):
            return
        most = max(long, key=lambda row: row.length)
        key = "corpus.too_long" if most.length <= MAX_SEQ_LEN else "corpus.much_too_long"
        cause = say(key, limit=limit, rows=len(long), line=most.line, fit=most.length)
        for row in long:
            self.problems.add(row.line, cause, "corpus.too_long")
