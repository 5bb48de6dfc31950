"""The `README.md` of a run: what was trained and how, what came of it, and what it cannot do.

Everything in it is from the run's own files and from what was tried at the end of the training. It
is not in the manifest: it may be changed, or removed, and the run is as good as before.
"""

import math
import os
import re
import shlex
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsl.errors import RunDirError
from jsl.messages import reason_of, say
from minigrad import runs
from minigrad.errors import RunError

if TYPE_CHECKING:
    from jsl.matching import Compared, Matches

FILE = "README.md"
MARK = "<!-- jsl train"  # how our own begin
TRAINED = "<!-- trained by -->"  # before the commands of training
LONGEST = 200  # characters of a text that are shown
EPOCHS = 12  # rows of the curve's table
BARS = "▁▂▃▄▅▆▇█"
WIDE = 40  # bars of the curve
# What Markdown, or HTML in it, would take for more than a character. (d_model is nothing else.)
_SIGNS = re.compile(
    r"[\\`*\[\]<>|~$&#@!{}]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=www)\.", re.IGNORECASE
)


def notes(
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    *,
    command: Sequence[str],
    directory: str,
    before: str = "",
    corpus: Sequence[str] = (),
    evaluate: Sequence[str] = (),
    looked: Mapping[str, "Matches"] | None = None,
    reviewed: bool | None = None,
) -> str:
    """The page, in the language of the moment.

    Args:
        config, metrics: what config.json and metrics.json say.
        command: the words by which it was trained, paths relative to where that was.
        directory: of the run, from there.
        before: the commands by which a run was trained that this one goes on from; see `trained`.
        corpus: options that name the corpora, for commands that train on.
        evaluate: those to evaluate with.
        looked: what came of comparing rows: of "training", and perhaps of "valid".
        reviewed: False if it is known that no native signer has looked at the corpus.
    """
    looked = looked or {}
    sections = [
        ("settings", _settings(config)),
        ("results", _results(config, metrics)),
        ("curve", _curve(metrics["history"])),
        ("examples", _examples(looked)),
        ("failures", _failures(looked)),
        ("commands", _commands(config, command, directory, before, (corpus, evaluate), looked)),
        ("provenance", _provenance(config)),
        ("limits", _limits(config, looked, reviewed)),
    ]
    out = [f"{MARK}: {say('notes.mark')} -->", "", f"# {say('notes.title')}", ""]
    out += [say("notes.about"), ""]
    for name, content in sections:
        if lines := list(content):
            out += [f"## {say(f'notes.{name}')}", "", *lines, ""]
    return "\n".join(out[:-1]) + "\n"


def write(directory: Path | str, text: str) -> bool:
    """Put the page into a run's directory; False if there is one that somebody else wrote.

    Raises:
        RunDirError: it cannot be written.
    """
    place = runs.inside(directory, FILE)
    try:
        if isinstance(place, Path) and place.exists():
            with open(place, "rb") as file:
                if file.read(len(MARK)) != MARK.encode():
                    return False
        runs.save_text(place, text)
    except (RunError, OSError) as error:
        path = runs.redacted(str(directory))
        reason = reason_of(error)
        raise RunDirError(say("checkpoint.unwritable", path=path, reason=reason)) from error
    return True


def trained(directory: Path | str) -> str:
    """The commands by which a run was trained, a line each, as its page has them; "" without one.

    (Whoever has changed it has changed what later ones say.)
    """
    place = runs.inside(directory, FILE)
    try:
        text = place.read_text(encoding="utf-8") if isinstance(place, Path) else ""
    except (OSError, ValueError):
        return ""
    if not text.startswith(MARK):
        return ""
    found = re.search(rf"^{TRAINED}\n(```+)sh\n(.*?)\n\1$", text, re.DOTALL | re.MULTILINE)
    return found[2] if found else ""


def relative(path: Path | str) -> str:
    """A path as it is from here, with / between its parts; a URI without its password."""
    if runs.is_uri(path):
        return runs.redacted(str(path))
    try:
        found = os.path.relpath(path)
    except ValueError:  # on another drive
        found = os.path.basename(path)
    return Path(found).as_posix()


# -------------------------------------------------------------------------------- the sections


def _settings(config: Mapping[str, Any]) -> Iterator[str]:
    entries = [(name, value) for part in ("model", "training") for name, value in
               config[part].items()]  # fmt: skip
    corpus = config["corpus"]
    entries += [("corpus", corpus["name"]), ("rows", corpus["rows"])]
    entries += [(k, corpus[k]) for k in ("valid_name", "valid_rows") if k in corpus]
    entries += [("groups", list(config["groups"]))]
    yield from table(("notes.entry", "notes.value"), entries)


def _results(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> Iterator[str]:
    names = ("first_step_loss_per_token", "loss_per_token", "loss_per_sentence")
    figures = [*names, "valid_loss_per_token"]
    rows = [(say(f"notes.{name}"), _number(metrics[name])) for name in figures if name in metrics]
    yield from table(("notes.entry", "notes.value"), rows)
    if not config["progress"]["finished"]:
        yield from ["", say("notes.unfinished")]
    if matches := metrics.get("exact_match"):
        valid, losses = metrics.get("valid_exact_match", {}), metrics.get("loss_by_group", {})
        head = ["notes.group", "notes.matches"]
        head += ["notes.valid_matches"] if valid else []
        head += ["notes.loss_per_token"] if losses else []
        lines = []
        for group in dict.fromkeys([*matches, *valid]):
            line = [group, *(_share(found.get(group)) for found in (matches, valid) if found)]
            lines.append([*line, *([_number(losses.get(group))] if losses else [])])
        yield from ["", *table(head, lines)]


def _share(found: Mapping[str, int] | None) -> str:
    if not found or not found["rows"]:
        return "-"
    percent = math.floor(1000 * found["right"] / found["rows"]) / 10  # 100 % is all of them
    return f"{found['right']:,} / {found['rows']:,} ({percent:.1f} %)"


def _number(x: float | None) -> str:
    return "-" if x is None else f"{x:.4g}"


def _curve(history: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not history:
        return
    losses = [epoch["loss_per_token"] for epoch in history]
    yield say("notes.curve_of", bars=sparkline(losses), first=_number(losses[0]),
              last=_number(losses[-1]))  # fmt: skip
    yield ""
    last = len(history) - 1
    chosen = sorted({round(i * last / max(EPOCHS - 1, 1)) for i in range(EPOCHS)})
    names = ("loss_per_token", "loss_per_sentence", "valid_loss_per_token")
    known = [name for name in names if any(name in history[i] for i in chosen)]
    head = ["notes.epoch", *(f"notes.{name}" for name in known)]
    rows = [[history[i]["epoch"], *(_number(history[i].get(n)) for n in known)] for i in chosen]
    yield from table(head, rows)


def sparkline(values: Sequence[float], width: int = WIDE) -> str:
    """Values as bars, at most `width`; their logarithms, so that small ones differ, too."""
    last = len(values) - 1
    count = min(len(values), width)
    chosen = [values[round(i * last / max(count - 1, 1))] for i in range(count)]
    logs = [math.log10(max(x, 1e-9)) for x in chosen]
    low, high = min(logs), max(logs)
    steps = len(BARS) - 1
    return "".join(BARS[round((x - low) / (high - low) * steps) if high > low else 0] for x in logs)


def _examples(looked: Mapping[str, "Matches"]) -> Iterator[str]:
    if found := [one for matches in looked.values() for one in matches.examples]:
        yield from _rows(found)


def _failures(looked: Mapping[str, "Matches"]) -> Iterator[str]:
    if not looked:
        yield say("notes.not_looked")
    for number, (name, matches) in enumerate(looked.items()):
        yield from [""] if number else []
        total = sum(rows for _, rows in matches.counts.values())
        key = "notes.failed_valid" if name == "valid" else "notes.failed"
        text = say(key, failed=matches.failed, rows=total) if matches.failed else ""
        none = "notes.none_failed_valid" if name == "valid" else "notes.none_failed"
        yield text or say(none, rows=total)
        if matches.failures:
            if matches.failed > len(matches.failures):
                yield say("notes.first", count=len(matches.failures))
            yield ""
            yield from _rows(matches.failures)


def _rows(found: Iterable["Compared"]) -> Iterator[str]:
    head = ("notes.group", "notes.text", "notes.expected", "notes.got", "notes.right")
    marks = {True: say("notes.yes"), False: say("notes.no")}
    yield from table(
        head, [(one.group, one.text, one.expected, one.got, marks[one.right]) for one in found]
    )


def _commands(
    config: Mapping[str, Any],
    command: Sequence[str],
    directory: str,
    before: str,
    options: tuple[Sequence[str], Sequence[str]],
    looked: Mapping[str, "Matches"],
) -> Iterator[str]:
    examples = [one for matches in looked.values() for one in matches.examples]
    text = examples[0].text if examples else "ありがとう"
    load = ["--load", directory]
    words = ["--", text] if text.startswith("-") else [text]
    calls = [
        ("predict", ["jsl", "predict", *load, *words]),
        ("attention", ["jsl", "predict", *load, "--export-attn", *words]),
        ("verify", ["jsl", "verify", directory]),
    ]
    corpus, evaluate = options
    if evaluate:
        calls.append(("evaluate", ["jsl", "evaluate", *load, *evaluate]))
    if config["progress"]["finished"]:
        more = ["--epochs", "100", "--save", f"{directory.rstrip('/')}-2"]
        calls.append(("more", ["jsl", "train", *load, *corpus, *more]))
    else:
        calls.append(("resume", ["jsl", "train", "--resume", directory, *corpus]))
    if config["model"].get("kind") == "decoder-only":
        calls = [call for call in calls if call[0] != "attention"]
    yield say("notes.from_here")
    trained = "\n".join(filter(None, [before, shlex.join(command)]))
    yield from ["", say("notes.trained"), "", TRAINED, *code(trained)]
    for name, call in calls:
        yield from ["", say(f"notes.{name}"), "", *code(shlex.join(call))]


def _provenance(config: Mapping[str, Any]) -> Iterator[str]:
    about, corpus = config["metadata"], config["corpus"]
    entries = [("git_commit", about["git_commit"]), ("corpus sha256", corpus["sha256"])]
    entries += [("valid sha256", corpus["valid_sha256"])] if "valid_sha256" in corpus else []
    skipped = ("git_commit", "seed")
    entries += [(name, value) for name, value in about.items() if name not in skipped]
    yield from table(("notes.entry", "notes.value"), entries)


def _limits(
    config: Mapping[str, Any], looked: Mapping[str, "Matches"], reviewed: bool | None
) -> Iterator[str]:
    vocabulary, corpus = config["vocabulary"], config["corpus"]
    source = vocabulary.get("source_tokens", "kana")
    target = vocabulary.get("target_tokens", "tag")
    limits = [say("notes.kana")] if source == "kana" else []
    limits += [say("notes.vocabulary", count=len(vocabulary["tags"]))]
    limits += [say("notes.longest", count=config["model"]["max_seq_len"] - 1)]
    limits += [say("notes.data", rows=corpus["rows"])]
    limits += [] if "valid" in looked else [say("notes.only_trained")]
    limits += [say("notes.gloss")] if target == "tag" else []
    limits += [say("notes.unreviewed" if reviewed is False else "notes.review")]
    limits += [say("notes.purpose")]
    yield from (f"- {limit}" for limit in limits)


# --------------------------------------------------------------------------------- Markdown


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """A table, its head by the keys of texts; whatever is in a cell stays in it."""
    yield f"| {' | '.join(plain(say(key)) for key in head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    for row in rows:
        yield f"| {' | '.join(cell(_shown(x)) for x in row)} |"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return say("notes.yes" if value else "notes.no")
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return str(value)


def cell(text: str) -> str:
    """A text in a table: tags as code, `<私>`, where nothing in them would end it."""
    if "<" in text and text.strip() == text and not set(text) & set("`|\\"):
        return f"`{_visible(text)}`" if text.isprintable() else plain(text)
    return plain(text)


def plain(text: str) -> str:
    """A text of one line that Markdown shows as it is: signs escaped, what is invisible as code."""
    return _SIGNS.sub(r"\\\g<0>", _visible(text))


def _visible(text: str) -> str:
    text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return "".join(
        c if c.isprintable() or unicodedata.category(c) == "Zs" else ascii(c)[1:-1] for c in text
    )


def code(line: str) -> list[str]:
    """A command in a fence that it cannot close."""
    longest, run = 0, 0
    for c in line:
        run = run + 1 if c == "`" else 0
        longest = max(longest, run)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}sh", line, fence]
