"""Looks a corpus over: what is wrong with it, what is in it, and what two parts of it share."""

import bisect
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsl.config import PRESETS
from jsl.corpus import Corpus, Problems, Row, read_corpus
from jsl.errors import CorpusError, TextError
from jsl.text import check
from jsl.vocabulary import is_tag

SHOWN = 10  # of the rarest and the most frequent
BINS = (1, 2, 5, 10, 20, 50, 100, 1000)  # how often tags are there: from one to before the next
# A question mark after か says nothing more; elsewhere it makes the question.
_MARKS = re.compile("[、。！ ]|(?<=か)？")


@dataclass(frozen=True)
class Part:
    """One file as it was read; `error` says why it could not be, and then it has no rows."""

    path: Path
    corpus: Corpus | None = None
    problems: Problems | None = None
    error: CorpusError | None = None

    @property
    def rows(self) -> tuple[Row, ...]:
        """Its rows, those with problems too; without the ones that are there again."""
        return self.corpus.rows if self.corpus else ()


@dataclass(frozen=True)
class Clash:
    """A sentence of a group with several translations: each with where it is, (file, line)."""

    group: str
    japanese: str
    tags: dict[str, list[tuple[str, int]]]


@dataclass(frozen=True)
class Leak:
    """A sentence of training that is validated, too; the lines are those of the two files.

    Attributes:
        group, valid_group: of training and of validation.
        marks: whether the two are alike but for marks and spaces only.
    """

    japanese: str
    group: str
    valid_group: str
    path: Path
    lines: list[int]
    valid_path: Path
    valid_lines: list[int]
    marks: bool = False


@dataclass(frozen=True)
class Survey:
    """All that is to be said of files for training, `parts`, and of those for validation, `valid`.

    Attributes:
        clashes: sentences with several translations, in one file or in two.
        leaks: sentences that are trained and validated.
        alike: those that are so but for marks and spaces, in one group.
        shared: how many sentences several files for training have, with the same translation.
        unseen: for each group, the tags that validation has and training has not, with how often.
    """

    parts: tuple[Part, ...]
    valid: tuple[Part, ...]
    clashes: tuple[Clash, ...]
    leaks: tuple[Leak, ...]
    alike: tuple[Leak, ...]
    unseen: dict[str, dict[str, int]]
    shared: int

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong: all rows can be trained on, and none is validated, too."""
        files = (*self.parts, *self.valid)
        broken = any(part.error or (part.problems and part.problems.first) for part in files)
        return not (broken or self.clashes or self.leaks)


def survey(
    paths: Sequence[Path],
    valid: Sequence[Path] = (),
    max_seq_len: int | None = None,
    encoding: str | None = None,
    kinds: tuple[str, str] = ("kana", "tag"),
) -> Survey:
    """Look over the files `paths`, and what they share with the files `valid`.

    Args:
        kinds: what sentences and their translations are cut into, see `jsl.tokens`. Unless they
            are tags, a sentence may have several translations.

    Raises:
        UsageError: there is no such encoding.
    """
    parts, held = (
        tuple(_read(path, max_seq_len, encoding, kinds) for path in files)
        for files in (paths, valid)
    )
    leaks, alike = _leaks(parts, held)
    clashes = _clashes((*parts, *held)) if kinds[1] == "tag" else ()
    return Survey(parts, held, clashes, leaks, alike, _unseen(parts, held), _shared(parts))


def _read(
    path: Path, max_seq_len: int | None, encoding: str | None, kinds: tuple[str, str]
) -> Part:
    try:
        corpus, problems = read_corpus(path, max_seq_len, encoding, *kinds)
    except CorpusError as error:
        return Part(path, error=error)
    return Part(path, corpus, problems)


def _clashes(parts: Iterable[Part]) -> tuple[Clash, ...]:
    found: dict[tuple[str, str], dict[str, list[tuple[str, int]]]] = defaultdict(dict)
    for part in parts:
        for row in part.rows:
            if row.group and row.japanese and row.tags:
                places = found[row.group, row.japanese].setdefault(" ".join(row.tags), [])
                places.append((part.path.as_posix(), row.line))
    return tuple(
        Clash(group, japanese, tags) for (group, japanese), tags in found.items() if len(tags) > 1
    )


def _shared(parts: Sequence[Part]) -> int:
    rows = (
        {(row.group, row.japanese, row.tags) for row in part.rows if row.japanese} for part in parts
    )
    return sum(count > 1 for count in Counter(key for keys in rows for key in keys).values())


def _without_marks(text: str) -> str:
    return _MARKS.sub("", text)


def _leaks(
    parts: Sequence[Part], valid: Sequence[Part]
) -> tuple[tuple[Leak, ...], tuple[Leak, ...]]:
    """The sentences of both sides, and those that are alike but for marks."""
    trained: dict[str, dict[tuple[Path, str], list[int]]] = defaultdict(lambda: defaultdict(list))
    spelled: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)  # without marks
    for part in parts:
        for row in part.rows:
            trained[row.japanese][part.path, row.group].append(row.line)
            spelled[row.group, _without_marks(row.japanese)][row.japanese] = None
    validated: dict[tuple[Path, str, str], list[int]] = defaultdict(list)
    for part in valid:
        for row in part.rows:
            validated[part.path, row.group, row.japanese].append(row.line)

    leaks, alike = list[Leak](), list[Leak]()
    for (valid_path, valid_group, japanese), valid_lines in validated.items():
        if not japanese:
            continue
        places = trained.get(japanese, {})
        for (path, group), lines in places.items():
            leak = Leak(japanese, group, valid_group, path, lines, valid_path, valid_lines)
            leaks.append(leak)
        bare = _without_marks(japanese)
        if places or not bare:
            continue
        for other in spelled.get((valid_group, bare), ()):
            for (path, group), lines in trained[other].items():
                if group == valid_group:
                    at = (group, valid_group, path, lines, valid_path, valid_lines)
                    alike.append(Leak(japanese, *at, marks=True))
    return tuple(leaks), tuple(alike)


def _unseen(parts: Sequence[Part], valid: Sequence[Part]) -> dict[str, dict[str, int]]:
    trained: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        for row in part.rows:
            trained[row.group].update(row.tags)
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for part in valid:
        for row in part.rows:
            found[row.group].update(t for t in row.tags if t not in trained[row.group])
    return {group: dict(counts.most_common()) for group, counts in found.items() if counts}


# ------------------------------------------------------------------------------ figures of one file


def unknown_characters(part: Part) -> dict[str, list[int]]:
    """The characters that no sentence may have, each with the lines where it is."""
    found: dict[str, list[int]] = defaultdict(list)
    for row in part.rows if part.corpus and part.corpus.source_kind == "kana" else ():
        try:
            check(row.japanese)
        except TextError as error:
            for character in dict.fromkeys(c for _, c in error.unknown):
                found[character].append(row.line)
    return dict(found)


def malformed_tags(part: Part) -> dict[str, list[int]]:
    """What stands for a tag and is none, with the lines where it is."""
    found: dict[str, list[int]] = defaultdict(list)
    for row in part.rows if part.corpus and part.corpus.target_kind == "tag" else ():
        for tag in dict.fromkeys(row.tags):
            if not is_tag(tag):
                found[tag].append(row.line)
    return dict(found)


def tag_counts(rows: Iterable[Row]) -> dict[str, int]:
    """How often each tag is there, the most frequent first; of equals, in their order."""
    counts = Counter(tag for row in rows for tag in row.tags)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def histogram(counts: Iterable[int]) -> list[tuple[int, int | None, int]]:
    """(from, to, how many counts are there), the last one without an end."""
    found = [0] * len(BINS)
    for count in counts:
        found[bisect.bisect_right(BINS, count) - 1] += 1
    ends = [*(n - 1 for n in BINS[1:]), None]
    return list(zip(BINS, ends, found, strict=True))


def lengths(numbers: Sequence[int]) -> dict[str, float]:
    """The least, the middle, the mean and the largest of `numbers`; of none, nothing."""
    if not numbers:
        return {}
    ordered = sorted(numbers)
    return {
        "min": ordered[0],
        "median": statistics.median(ordered),
        "mean": round(statistics.fmean(ordered), 2),
        "p95": ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))],
        "max": ordered[-1],
    }


def too_long(part: Part) -> dict[str, int]:
    """For each preset, how many rows are longer than it takes."""
    return {
        name: sum(row.length > model.max_seq_len for row in part.rows)
        for name, (model, _) in PRESETS.items()
    }


def groups(part: Part) -> dict[str, dict[str, Any]]:
    """The figures of each group: rows, the distinct tags, and lengths without end marks."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in part.rows:
        rows[row.group].append(row)
    return {
        group: {
            "rows": len(found),
            "tags": len({tag for row in found for tag in row.tags}),
            "sentence_lengths": lengths([len(row.symbols) for row in found]),
            "tag_lengths": lengths([len(row.tags) for row in found]),
        }
        for group, found in rows.items()
    }


# -------------------------------------------------------------------------------------------- JSON


def to_json(found: Survey, max_seq_len: int | None = None) -> dict[str, Any]:
    """A survey as JSON values."""
    return {
        "ok": found.is_well,
        "max_length": max_seq_len,
        "files": [_file(part, "train") for part in found.parts]
        + [_file(part, "valid") for part in found.valid],
        "contradictions": [
            {
                "group": clash.group,
                "japanese": clash.japanese,
                "tags": [
                    {"tags": tags, "places": [{"path": p, "line": n} for p, n in places]}
                    for tags, places in clash.tags.items()
                ],
            }
            for clash in found.clashes
        ],
        "leakage": {
            "same_group": [_leak(x) for x in found.leaks if x.group == x.valid_group],
            "other_group": [_leak(x) for x in found.leaks if x.group != x.valid_group],
            "alike_but_for_marks": [_leak(x) for x in found.alike],
        },
        "unseen_tags": found.unseen,
        "in_several_files": found.shared,
    }


def _leak(leak: Leak) -> dict[str, Any]:
    return {
        "japanese": leak.japanese,
        "group": leak.group,
        "path": leak.path.as_posix(),
        "lines": leak.lines,
        "valid_group": leak.valid_group,
        "valid_path": leak.valid_path.as_posix(),
        "valid_lines": leak.valid_lines,
    }


def _file(part: Part, role: str) -> dict[str, Any]:
    data: dict[str, Any] = {"path": part.path.as_posix(), "role": role}
    if part.corpus is None or part.problems is None:
        return data | {"error": str(part.error), "rows": 0, "problems": []}
    counts = tag_counts(part.rows)
    names = list(counts)
    return data | {
        "error": None,
        "sha256": part.corpus.sha256,
        "rows": len(part.rows),
        "sentences": len({row.japanese for row in part.rows}),
        "groups": groups(part),
        "notes": [str(note) for note in part.corpus.notes],
        "problems": [
            {"kind": kind, "cause": str(cause), "lines": part.problems.lines[kind]}
            for kind, cause in part.problems.first.items()
        ],
        "duplicates": {"count": len(part.problems.repeated), "lines": part.problems.repeated},
        "unknown_characters": [
            {"character": c, "codepoint": f"U+{ord(c):04X}", "lines": lines}
            for c, lines in unknown_characters(part).items()
        ],
        "malformed_tags": [
            {"tag": tag, "lines": lines} for tag, lines in malformed_tags(part).items()
        ],
        "longest": max((row.length for row in part.rows), default=0),
        "too_long_for": too_long(part),
        "sentence_lengths": lengths([len(row.symbols) for row in part.rows]),
        "tag_lengths": lengths([len(row.tags) for row in part.rows]),
        "tags": {
            "distinct": len(counts),
            "total": sum(counts.values()),
            "once": [tag for tag in names if counts[tag] == 1],
            "rarest": {tag: counts[tag] for tag in names[::-1][:SHOWN]},
            "most_frequent": {tag: counts[tag] for tag in names[:SHOWN]},
            "histogram": [
                {"from": low, "to": high, "tags": n} for low, high, n in histogram(counts.values())
            ],
        },
    }
