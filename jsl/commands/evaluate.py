"""`jsl evaluate`: how well a saved run translates a corpus."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jsl import options
from jsl.commands.backends import (
    asked_for_auto,
    backend_option,
    using_backend,
    what_computes,
)
from jsl.commands.corpora import Files, reading
from jsl.errors import UsageError
from jsl.help import command, option
from jsl.messages import Said, columns, listed, ranges, say
from jsl.tokens import joined

if TYPE_CHECKING:
    from jsl.corpus import Row
    from jsl.evaluate import Outcome, Scores

SEED = 0  # of the bootstrap
HELPS = {name: f"help.evaluate.{name}" for name in ("corpus", "source_tokens", "target_tokens")}
SPELLED = {"bleu": "BLEU", "chrf": "chrF"}


@command("help.evaluate")
@option("--load", type=options.Run(), required=True, help="help.predict.load")
@reading(valid=False, helps=HELPS)
@option("--group", help="help.evaluate.group")
@option("--beam", type=options.Integer(1, 1000), default=1, help="help.predict.beam")
@option(
    "--length-penalty", type=options.NotNegative(), default=1.0, help="help.predict.length_penalty"
)
@option("--batch-size", type=options.Integer(1, 1_000_000), default=64,
        help="help.predict.batch_size")  # fmt: skip
@option("--int8", is_flag=True, help="help.predict.int8")
@option("--failures", type=options.Integer(0), default=0, help="help.evaluate.failures")
@option("--json", "as_json", is_flag=True, help="help.evaluate.json")
@backend_option
def evaluate(
    load: Path | str,
    files: Files,
    group: str | None,
    beam: int,
    length_penalty: float,
    batch_size: int,
    int8: bool,
    failures: int,
    as_json: bool,
    backend: str | None,
) -> None:
    from jsl import checkpoint, memory, scores
    from jsl.evaluate import measure, translate, unknown_tags
    from jsl.translate import Translator
    from minigrad import kernels
    from minigrad.backend import get_backend

    if not files.given:
        raise UsageError(say("evaluate.nothing"))
    if kernels.in_use() is None:
        kernels.use(False)  # as `jsl predict` does: the search has kernels of its own
    with using_backend(backend, "numpy"):
        if asked_for_auto(backend):
            click.echo(what_computes(), err=True)
        translator = Translator(load, beam, int8)
        run, vocabulary = translator.run, translator.vocabulary
        memory.require(memory.for_search(run.model, vocabulary.target_size, beam), "--beam")
        kinds = vocabulary.source_kind, vocabulary.target_kind
        asked = files.source_tokens, files.target_tokens
        for name, given, own in zip(("source", "target"), asked, kinds, strict=True):
            if given not in (None, own):
                raise UsageError(
                    say("evaluate.kind", option=f"--{name}-tokens", given=given, own=own)
                )
        found = files.load(None, kinds, strict=False)
        for note in found.notes:
            click.echo(note, err=True)
        rows = chosen(found.rows, group, run.groups)
        if not has_sacrebleu():
            click.echo(say("evaluate.no_sacrebleu"), err=True)
        with progress(len(rows)) as report:
            outcomes = translate(
                translator,
                rows,
                batch_size=batch_size,
                length_penalty=length_penalty,
                report=report,
            )
        computed_with = get_backend()
    by_group, whole = measure(outcomes, vocabulary.target_kind == "char", SEED)
    wrong = [outcome for outcome in outcomes if not outcome.right]
    data: dict[str, Any] = {
        "run": {
            "path": checkpoint.shown(load),
            "source_tokens": vocabulary.source_kind,
            "target_tokens": vocabulary.target_kind,
            "vocabulary_hash": vocabulary.hash,
            "trained_at": run.trained_at,
            "git_commit": commit_of(run),
        },
        "corpus": {
            "path": str(found.path),
            "target_path": str(found.target) if found.target else None,
            "sha256": found.sha256,
            "rows": len(found.rows),
            "notes": [*found.notes],
        },
        "search": {
            "beam": beam,
            "length_penalty": length_penalty,
            "weights": "int8" if int8 else "float32",
            "backend": computed_with,
        },
        "bootstrap": {
            "resamples": scores.RESAMPLES,
            "confidence": scores.CONFIDENCE,
            "seed": SEED,
            "enough": scores.ENOUGH,
            "sure": scores.SURE,
        },
        "signatures": {"computed_by": whole.computed_by, **whole.signatures},
        "groups": {name: as_data(part) for name, part in by_group.items()},
        "all": as_data(whole),
        "untranslated": [entry(o) for o in wrong if o.error is not None],
        "unknown_tags": dict(unknown_tags(rows, vocabulary.tags).most_common()),
        "failures": [entry(o) for o in wrong[:failures]],
    }
    data["warnings"] = [*warnings(data)]
    for warning in data["warnings"]:
        click.echo(warning, err=True)
    if as_json:
        click.echo(json.dumps(data, ensure_ascii=False))
    else:
        show(data)


def chosen(rows: "Sequence[Row]", group: str | None, known: tuple[str, ...]) -> "Sequence[Row]":
    """The rows to translate, in the groups to translate them in.

    Raises:
        UsageError: the run does not know their groups, or none is left.
    """
    from jsl.corpus import DEFAULT_GROUP, known_group

    name = None if group is None else known_group(known, group)
    there = tuple(dict.fromkeys(row.group for row in rows))
    if there == (DEFAULT_GROUP,) and DEFAULT_GROUP not in known:  # it has none
        if name is None and len(known) > 1:
            raise UsageError(say("evaluate.which_group", known=listed(known)))
        return [replace(row, group=name or known[0]) for row in rows]
    if name is not None:
        if name not in there:
            raise UsageError(say("evaluate.no_rows", group=group, found=listed(there)))
        return [row for row in rows if row.group == name]
    if unknown := [name for name in there if name not in known]:
        raise UsageError(say("evaluate.unknown_groups", found=listed(unknown), known=listed(known)))
    return rows


def has_sacrebleu() -> bool:
    try:
        import sacrebleu.metrics  # noqa: F401
    except ImportError:
        return False
    return True


def commit_of(run: Any) -> Any:
    """The git commit that a run says it was trained at."""
    from jsl import checkpoint
    from minigrad import runs

    return runs.load_json(run.files[checkpoint.CONFIG])["metadata"].get("git_commit")


@contextmanager
def progress(rows: int) -> Iterator[Callable[[int], None] | None]:
    """A bar on standard error where that is a terminal."""
    if not (sys.stderr and sys.stderr.isatty()):
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(say("evaluate.translating"), total=rows)
        yield lambda done: bar.update(task, completed=done)


# ---------------------------------------------------------------------------- for programs


def as_data(found: "Scores") -> dict[str, Any]:
    return {
        "rows": found.rows,
        "texts": found.texts,
        "right": found.right,
        "untranslated": found.untranslated,
        "edits": found.edits,
        "reference_tags": found.tags,
        "figures": {
            name: {"value": round(f.value, 6), "low": round(f.low, 6), "high": round(f.high, 6)}
            for name, f in found.figures.items()
        },
        "few": found.few,
        "unsure": [*found.unsure],
        "undefined": [*found.undefined],
    }


def entry(outcome: "Outcome") -> dict[str, Any]:
    """A row and what became of it."""
    return {
        "line": outcome.row.line,
        "group": outcome.row.group,
        "text": outcome.row.japanese,
        "expected": [*outcome.row.tags],
        "got": None if outcome.error else [*outcome.tags],
        "error": str(outcome.error) if outcome.error else None,
    }


def warnings(data: dict[str, Any]) -> Iterator[str]:
    """What a person should know of the figures before believing them."""
    kind = data["run"]["target_tokens"]
    if lost := data["untranslated"]:
        lines = ranges(x["line"] for x in lost)
        error = Said(lost[0]["error"])
        yield say("evaluate.untranslated", count=len(lost), lines=lines, error=error)
    if unknown := data["unknown_tags"]:
        yield say("evaluate.unknown_tags", count=len(unknown), tags=listed(unknown))
    for group, part in parts(data):
        if undefined := part["undefined"]:
            names = listed(called(name, kind) for name in undefined)
            yield say("evaluate.undefined", group=group, figures=names)
        figures = listed(
            say("evaluate.unsure", figure=called(name, kind), value=f["value"], ends=Said(ends(f)))
            for name, f in part["figures"].items()
            if name in part["unsure"]
        )
        texts = part["texts"]
        if part["few"]:
            wide = say("evaluate.also_wide", figures=figures) if figures else Said("")
            enough = data["bootstrap"]["enough"]
            yield say("evaluate.few", group=group, texts=texts, enough=enough, wide=wide)
        elif figures:
            yield say("evaluate.wide", group=group, texts=texts, figures=figures)


def parts(data: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The groups, and all of them if there are several, each with its name."""
    yield from data["groups"].items()
    if len(data["groups"]) > 1:
        yield say("evaluate.all"), data["all"]


# ------------------------------------------------------------------------------ for people


def called(name: str, kind: str) -> str:
    """What a figure of tags, words or characters is called."""
    return say(f"evaluate.{name.replace('tag', kind)}")


def ends(figure: dict[str, float]) -> str:
    return f"{figure['low']:.1f}–{figure['high']:.1f}"


def show(data: dict[str, Any]) -> None:
    """Print the figures as a table, a line each, and the failures that were asked for."""
    run, corpus, search = data["run"], data["corpus"], data["search"]
    paths = [corpus[name] for name in ("path", "target_path") if corpus[name]]
    commit, *dirty = str(run["git_commit"]).split("-", 1)
    table(
        [
            (
                say("evaluate.run"),
                run["path"],
                say(
                    "evaluate.identity",
                    vocabulary=Said(run["vocabulary_hash"][:12]),
                    commit=Said("-".join([commit[:12], *dirty])),
                ),
            ),
            (say("evaluate.corpus"), " + ".join(paths), f"SHA-256 {corpus['sha256'][:12]}"),
            (
                say("evaluate.search"),
                say("evaluate.greedy")
                if search["beam"] == 1
                else say("evaluate.beam", beam=search["beam"], penalty=search["length_penalty"]),
                f"{search['weights']}, {search['backend']}",
            ),
        ]
    )
    percent = round(100 * data["bootstrap"]["confidence"])
    header = [say("evaluate.group"), say("evaluate.figure"), say("evaluate.value")]
    lines: list[Sequence[str]] = [(*header, say("evaluate.interval", percent=percent))]
    for group, part in parts(data):
        lines.append((group, say("evaluate.rows"), f"{part['rows']} ({part['texts']})", ""))
        lines += [
            (group, called(name, run["target_tokens"]), f"{figure['value']:.1f}", ends(figure))
            for name, figure in part["figures"].items()
        ]
    click.echo()
    table(lines, right=(2, 3))
    click.echo()
    made = data["signatures"]
    for name in ("bleu", "chrf"):
        click.echo(f"{SPELLED[name]}  {made['computed_by']}  {made[name]}")
    wrong = data["all"]["rows"] - data["all"]["right"]
    shown = len(data["failures"])
    click.echo(say("evaluate.wrong", wrong=wrong, rows=data["all"]["rows"], shown=shown))
    kind = run["target_tokens"]
    for failure in data["failures"]:
        got = failure["error"] or joined(failure["got"], kind)
        click.echo(f"\n{failure['line']}  {failure['group']}  {failure['text']}")
        table(
            [
                (f"  {say('evaluate.expected')}", joined(failure["expected"], kind)),
                (f"  {say('evaluate.got')}", got),
            ]
        )


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Print rows with their columns below each other, those of `right` to the right."""
    widths = [max(columns(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = []
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            pad = " " * (width - columns(cell))
            cells.append(pad + cell if i in right else cell + pad)
        click.echo("  ".join(cells).rstrip())
