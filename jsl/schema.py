"""What the JSON files of a run hold: each entry's type, range and meaning.

One table serves who writes (nothing is saved that is not as it says), who reads (nothing else is
let in), and the reference page, `jsl/FILES.md`, which is made of it:

    python -m jsl.schema > jsl/FILES.md
"""

import difflib
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jsl import tokens
from jsl.config import KINDS, MAX_SEQ_LEN, SHARED
from jsl.errors import RunDirError
from jsl.messages import listed, say

HASH = r"[0-9a-f]{64}"
NAME = r"[^\s.\ud800-\udfff][^.\ud800-\udfff\n\t]*"  # a group: it becomes part of weights' names


@dataclass(frozen=True)
class Entry:
    """An entry of a file: what it means, and what is let in.

    Attributes:
        kind: 'integer', 'number', 'text' or 'flag'.
        low, high: of numbers and of lengths; `low` itself is out if `above`.
        pattern: of texts, as a whole.
        optional: whether it may be missing. Nothing is ever null.
    """

    about: str
    kind: str
    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    pattern: str | None = None
    optional: bool = False

    def fits(self, value: Any) -> bool:
        """Whether a value is of this type and in this range."""
        match self.kind:
            case "flag":
                return type(value) is bool
            case "text":
                return type(value) is str and (
                    self.pattern is None or re.fullmatch(self.pattern, value) is not None
                )
            case "integer" if type(value) is not int:
                return False
            case "number" if type(value) not in (int, float) or not abs(value) <= MOST_REAL:
                return False
        return self.low <= value <= self.high and not (self.above and value == self.low)

    def __str__(self) -> str:
        """Type and range in words."""
        if self.kind == "text" and self.pattern is not None:
            return f"text like `{self.pattern}`"
        if self.kind in ("flag", "text"):
            return self.kind
        words = (
            [] if self.low == -math.inf else [f"{'above' if self.above else 'from'} {self.low:,}"]
        )
        words += [] if self.high == math.inf else [f"to {self.high:,}"]
        return " ".join([self.kind, *words])


@dataclass(frozen=True)
class Each:
    """A list, or an object with any names, whose entries are all alike.

    Attributes:
        of: list or dict.
        distinct: whether no entry may be there twice.
    """

    entry: Any
    of: type
    least: int = 0
    distinct: bool = False


MOST = 2**63 - 1  # what other programs read
MOST_REAL = sys.float_info.max  # an integer may be beyond it


def integer(about: str, low: int = 0, high: float = MOST, **options: Any) -> Entry:
    """An entry that is an integer."""
    return Entry(about, "integer", low, high, **options)


def text(about: str, pattern: str | None = None, **options: Any) -> Entry:
    """An entry that is text."""
    return Entry(about, "text", pattern=pattern, **options)


def number(about: str, low: float = -math.inf, high: float = math.inf, **options: Any) -> Entry:
    """An entry that is a finite number."""
    return Entry(about, "number", low, high, **options)


VERSION = r"[^\s]+"
CONFIG: dict[str, Any] = {
    "format": integer("of these files", 3, 3),
    "model": {
        "d_model": integer("features of a position, a multiple of n_heads", 1, 2**14),
        "n_heads": integer("attention heads", 1, 2**14),
        "d_ff": integer("inner features of the feed-forward networks", 1, 2**16),
        "n_layers": integer("encoder layers, and as many decoder layers", 1, 1000),
        "max_seq_len": integer("the longest sequence, its end mark counted", 1, MAX_SEQ_LEN),
        "dropout": number("share of what is left out in training", 0, high=1),
        "layer_norm": text("before attention and feed-forward networks, or after them", "pre|post"),
        "tie_embeddings": Entry("whether the output has the weights of the embedding", "flag"),
        "share": Each(
            text("what all groups have in common", "|".join(SHARED)), list, distinct=True
        ),
        "kind": text("the kind of model", "|".join(KINDS)),
        "vocab_size": integer("ids of the source: those of the vocabulary", 1, 10**7),
        "target_vocab_size": integer("ids of the target; those of the source if shared", 1, 10**7),
    },
    "training": {
        "learning_rate": number("of the optimizer", 0, above=True),
        "epochs": integer("whole passes over the corpus that were made, in all", 0),
        "batch_size": integer("sentences a step", 1, 10**6),
        "optimizer": text("its name", "Adam"),
        "seed": integer("of the first weights and of the order of batches", 0, 2**64 - 1),
        "warmup": integer("steps in which the rate rises; 0: it is constant", 0, 10**9),
        "clip_norm": number("of the gradients at most; 0: any", 0),
        "label_smoothing": number("share of a target that goes to all tokens", 0, high=1),
        "buckets": Entry("whether sentences of about one length make a batch", "flag"),
        "batch_tokens": integer("positions a step, in place of sentences; 0: not", 0, 10**9),
        "min_count": integer("occurrences that a word needs for the vocabulary", 1, 10**9),
        "loss_weighting": text("what counts alike: tokens of a batch, or groups", "batch|group"),
    },
    "progress": {
        "steps": integer("steps of the optimizer that were made, in all"),
        "last_epoch": integer("the epoch at which the training was to end", 0),
        "finished": Entry("whether it came there", "flag"),
        "jit": Entry("whether steps were repeated as captured programs", "flag"),
    },
    "groups": Each(text("the groups, in the order of their numbers", NAME), list, 1, True),
    "vocabulary": {
        "source_tokens": text("what sentences are cut into", "|".join(tokens.SOURCES)),
        "target_tokens": text("what translations are cut into", "|".join(tokens.TARGETS)),
        "special": Each(text("ids from 0 on: padding, start and end, and perhaps unknown"), list),
        "symbols": Each(text("ids of the source behind them: symbols of Japanese, ..."), list),
        "tags": Each(text("ids of the target behind them (of kana and tags: behind both)"), list),
    },
    "corpus": {
        "name": text("of the file, or of both"),
        "sha256": text("of the file; of two with a zero byte between them", HASH),
        "rows": integer("sentences in it", 1),
        "valid_name": text("of the corpus for validation", optional=True),
        "valid_sha256": text("of that corpus", HASH, optional=True),
        "valid_rows": integer("sentences in that corpus", 1, optional=True),
        "trigrams": text("every three neighbouring characters of all corpora, between tabs"),
    },
    "metadata": {
        "minigrad_version": text("what trained it", VERSION),
        "numpy_version": text("what trained it", VERSION),
        "numba_version": text("what trained it, or 'absent'", VERSION),
        "cupy_version": text("what trained it, or 'absent'", VERSION),
        "python_version": text("what trained it", VERSION),
        "backend": text("what computed", "numpy|cupy"),
        "kernels": Entry("whether by compiled kernels", "flag"),
        "vocab_hash": text("SHA-256 of the vocabulary", HASH),
        "seed": integer("that of the training", 0, 2**64 - 1),
        "trained_at": text("UTC", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
        "git_commit": text(
            "of the code, '-dirty' if it was changed; or 'unknown'",
            r"[0-9a-f]{40,64}(-dirty)?|unknown",
        ),
    },
}
MATCHES = Each(
    {
        "right": integer("rows that are translated exactly; nobody looks after an interrupt"),
        "rows": integer("rows of the group"),
    },
    dict,
)
METRICS: dict[str, Any] = {
    "first_step_loss_per_token": number("before the first step of all", 0, optional=True),
    "loss_per_token": number("of the last whole epoch", 0, optional=True),
    "loss_per_sentence": number("of the last whole epoch", 0, optional=True),
    "valid_loss_per_token": number("after it, on the corpus for validation", 0, optional=True),
    "exact_match": MATCHES,
    "valid_exact_match": MATCHES,
    "loss_by_group": Each(number("per token of the group's rows, at the end", 0), dict),
    "layers": Each(
        {
            "mean": number("of a parameter's numbers", optional=True),
            "std": number("standard deviation, as of all there are (ddof 0)", 0, optional=True),
            "min": number("the least", optional=True),
            "max": number("the greatest", optional=True),
            "norm": number("the root of the sum of squares", 0, optional=True),
            "zero_fraction": number("share of zeros", 0, high=1),
            "nonfinite": integer("how many are infinite or NaN, and left out of the others"),
        },
        dict,
    ),
    "history": Each(
        {
            "epoch": integer("from 1 on", 1),
            "loss_per_token": number("mean of the steps", 0),
            "loss_per_sentence": number("mean of the steps", 0),
            "tokens_per_second": number("target tokens", 0),
            "seconds": number("of the steps", 0),
            "valid_loss_per_token": number("on the corpus for validation", 0, optional=True),
        },
        list,
    ),
}


def check(path: Any, value: Any, schema: Any, place: str = "") -> None:
    """RunDirError, naming the entry, if a value is not as the table says.

    Args:
        path: of the file, for messages.
    """
    if isinstance(schema, Entry):
        if not schema.fits(value):
            # (Lists and objects may be deeper than Python shows them.)
            shown = "" if isinstance(value, list | dict) and value else repr(value)
            found = shown if 0 < len(shown) <= 60 else type(value).__name__
            raise RunDirError(
                say("schema.value", path=path, place=place, expected=str(schema), found=found)
            )
        return
    if isinstance(schema, Each):
        if not isinstance(value, list | dict) or (
            type(value) is not schema.of or len(value) < schema.least
        ):
            kind = "list" if schema.of is list else "object"
            found = type(value).__name__ if type(value) is not schema.of else repr(value)
            raise RunDirError(
                say("schema.value", path=path, place=place, expected=kind, found=found)
            )
        items: Any = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in items:
            check(path, item, schema.entry, f"{place}[{name}]")
        if schema.distinct and isinstance(value, list) and len(set(value)) < len(value):
            twice = next(name for name in value if value.count(name) > 1)
            raise RunDirError(say("schema.twice", path=path, place=place, found=twice))
        return
    if type(value) is not dict:
        found = type(value).__name__
        raise RunDirError(
            say("schema.value", path=path, place=place or "{}", expected="object", found=found)
        )
    needed = [k for k, v in schema.items() if not (isinstance(v, Entry) and v.optional)]
    if missing := [name for name in needed if name not in value]:
        names = listed(f"{place}.{name}" if place else name for name in missing)
        raise RunDirError(say("checkpoint.sections", path=path, names=names))
    for name, item in value.items():
        inner = f"{place}.{name}" if place else name
        if name not in schema:
            near = difflib.get_close_matches(str(name), schema, n=1)
            known = say("schema.nearest", name=near[0]) if near else ""
            raise RunDirError(say("schema.unknown", path=path, place=inner, nearest=known))
        check(path, item, schema[name], inner)


def rows(schema: Any, place: str = "") -> Iterator[tuple[str, Entry]]:
    """Every entry, with its place."""
    if isinstance(schema, Entry):
        yield place, schema
    elif isinstance(schema, Each):
        yield from rows(schema.entry, f"{place}[]" if schema.of is list else f"{place}.*")
    else:
        for name, inner in schema.items():
            yield from rows(inner, f"{place}.{name}" if place else name)


def page() -> str:
    """The reference page."""
    lines = [
        "# The files of a run",
        "",
        "`jsl train --save DIR` writes into DIR:",
        "",
        "| File | What it holds |",
        "| --- | --- |",
        "| `model.safetensors` | the weights, under their names; with SHA-256 of each |",
        "| `optimizer.safetensors` | the optimizer's state; without it training goes on anew |",
        "| `training.json` | where the training is: the Learner's own state |",
        "| `config.json` | what was trained, and how |",
        "| `metrics.json` | what came of it |",
        "| `manifest.json` | size and SHA-256 of each of these files; `jsl verify DIR` compares |",
        "| `README.md` | notes for people, not in the manifest: they may be changed or removed |",
        "| `exports/` | what `--export-weights` and `--export-attn` write; `index.json` lists it |",
        "",
        "Text is UTF-8 with line feeds. Entries are as follows; nothing is null, other entries are",
        "refused, and those in brackets may be missing. (This page is made by",
        "`python -m jsl.schema`, of the table that reading and writing follow.)",
    ]
    for name, schema in (("config.json", CONFIG), ("metrics.json", METRICS)):
        lines += [
            "",
            f"## {name}",
            "",
            "| Entry | Type and range | What it is |",
            "| --- | --- | --- |",
        ]
        for place, entry in rows(schema):
            shown = f"(`{place}`)" if entry.optional else f"`{place}`"
            words = str(entry).replace("|", "\\|")
            lines.append(f"| {shown} | {words} | {entry.about} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
