"""Exports as commands carry them out: options, what is said, and where files go."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from jsl import options
from jsl.errors import UsageError
from jsl.help import option
from jsl.messages import Said, listed, say

if TYPE_CHECKING:
    from jsl.checkpoint import Run
    from jsl.exports import Sheet, Style
    from jsl.translate import Translation, Translator

LISTED = 20  # files that are named one by one


def weights_option(command: Callable) -> Callable:
    """Which weights."""
    return option(
        "--export-weights", "patterns", multiple=True, metavar="LAYER", help="help.export_weights"
    )(command)


def as_csv(command: Callable) -> Callable:
    """How CSV files are written."""
    layouts = options.Choice(["matrix", "long"])
    command = option(
        "--csv-encoding", default="utf-8", metavar="NAME", help="help.csv_encoding"
    )(command)  # fmt: skip
    return option("--csv-layout", type=layouts, default="matrix", help="help.csv_layout")(command)


def of_attention(command: Callable) -> Callable:
    """How attention is exported."""
    length = options.Integer(1, 10_000)
    command = option("--attn-max-len", type=length, default=20, help="help.attn_max_len")(command)
    return option("--attn-plot", is_flag=True, help="help.attn_plot")(command)


def placing(command: Callable) -> Callable:
    """Where to, and however much."""
    command = option("--force", "--yes", is_flag=True, help="help.export_force")(command)
    return option("--out", type=options.Path(), help="help.export_out")(command)


def style_of(
    csv_layout: str, csv_encoding: str, attn_plot: bool = False, attn_max_len: int = 20
) -> "Style":
    """The style that options ask for.

    Raises:
        UsageError: there is no such encoding, or what draws is not installed.
    """
    from jsl import exports

    if attn_plot:
        from jsl import heatmaps

        heatmaps.require()
    exports.check_encoding(csv_encoding)
    return exports.Style(csv_layout, csv_encoding, attn_plot, attn_max_len)


def refuse_without(needed: str, *names: str) -> None:
    """UsageError if one of the options `names` stands on the command line without `needed`.

    (A file of settings may have them for when something is.)
    """
    context = click.get_current_context()
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in names
        and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise UsageError(say("exports.only_with", options=listed(given), needed=needed))


class Exporter:
    """Gathers what is to be exported of a run, and writes it.

    Args:
        run: what it is of.
        load: where that is, for the place of exports; `out` wins.
        force: whether there may be more than `exports.LIMIT` bytes, over all calls of `write`.
        says: takes what is said of it, a line each; `warns` what is left out.

    Raises:
        UsageError: the run is nowhere where files can be put.
    """

    def __init__(
        self,
        run: "Run",
        load: Path | str,
        style: "Style",
        out: Path | None = None,
        force: bool = False,
        says: Callable[[str], Any] = click.echo,
        warns: Callable[[str], Any] = lambda text: click.echo(text, err=True),
    ):
        from jsl import exports

        self.directory = exports.place_of(load, out)
        self.run, self.style, self.force, self.says, self.warns = run, style, force, says, warns
        self.folders = exports.file_names(run.groups)
        self.sheets: list[Sheet] = []
        self.skipped: list[dict[str, Any]] = []
        self.size = 0  # of all that was written
        self.boxes = set[str]()  # characters that were said to have no font

    def add_weights(self, patterns: Sequence[str], groups: Sequence[str] = ()) -> None:
        """The parameters that `patterns` mean, of some groups or of all.

        Raises:
            UsageError: a pattern means none.
        """
        from jsl import exports

        weights = exports.complete(self.run.weights, self.run.groups)
        names = exports.choose(exports.of_groups(weights, groups), patterns)
        order = [None, *self.run.groups]  # not that of the file
        names.sort(key=lambda name: order.index(exports.group_of(name)))
        sheets = exports.of_weights(weights, names, self.style)
        self.sheets += sheets
        if any(s.name.startswith("decoder_output_weight.") and s.name.count(".") > 1
               for s in sheets):  # fmt: skip
            self.says(say("exports.output_of", group=sheets[-1].about["group"]))

    def add_attention(
        self,
        translator: "Translator",
        results: Sequence["Translation"],
        number: int,
        several: bool,
    ) -> list[dict[str, Any]]:
        """The maps of the translations of one text, in each group.

        Args:
            number: of the text, from 1.
            several: whether there are other texts, so that this one needs a folder.

        Returns:
            For each group, which files there will be, and what is left out.
        """
        from jsl import exports

        told: list[dict[str, Any]] = []
        for result in results:
            parts = [f"text{number:04}"] if several else []
            parts += [self.folders[result.group]] if len(results) > 1 else []
            folder = "_".join(parts)
            about: dict[str, Any] = {"text": result.text, "group": result.group}
            sheets: list[Sheet] = []
            skipped: list[dict[str, Any]] = []
            if result.error is not None:
                reason = str(result.error)
                skipped.append({"folder": folder, "kind": "attention", **about, "reason": reason})
            elif result.candidates:  # a line of nothing has none
                best = result.candidates[0]
                assert best.attention is not None
                labels = exports.labels_of(translator, result.text, best)
                about["tags"] = labels.output[:-1]
                maps = best.attention
                sheets, skipped = exports.of_attention(maps, labels, about, self.style, folder)
                if skipped:
                    reasons = listed(Said(entry["reason"]) for entry in skipped)
                    text, group = result.text, result.group
                    self.warns(say("exports.left_out", text=text, group=group, reasons=reasons))
                if self.style.plot:
                    named = [result.text, result.group]
                    self._look_for_fonts([*labels.source, *labels.output, *named])
            self.sheets += sheets
            self.skipped += skipped
            shown = ("kind", "shape", "reason")
            told.append(
                {
                    "files": [sheet.name for sheet in sheets],
                    "skipped": [{k: e[k] for k in shown if k in e} for e in skipped],
                }
            )
        return told

    def _look_for_fonts(self, texts: Iterable[str]) -> None:
        from jsl import heatmaps

        if new := set(heatmaps.undrawn(texts)) - self.boxes:
            self.boxes |= new
            self.warns(say("heatmaps.undrawn", characters=listed(sorted(new))))

    def check(self) -> None:
        """That what was gathered may be written, and can.

        Raises:
            UsageError: it is too much.
            ExportError: the disk has too little room.
        """
        from jsl import exports

        gathered = exports.size_of(self.sheets)
        exports.require(gathered, self.directory, force=True)  # the disk
        exports.require(self.size + gathered, self.directory, self.force)

    def write(self, quiet: bool = False) -> None:
        """Write what was gathered, and forget it.

        Raises:
            UsageError: it is too much.
            ExportError: it cannot be written; nothing was.
        """
        from jsl import checkpoint, exports

        self.check()
        sheets, skipped, self.sheets, self.skipped = self.sheets, self.skipped, [], []
        if not sheets and not skipped:
            return
        size = exports.size_of(sheets)
        self.size += size
        said = exports.in_words(size)
        path = checkpoint.shown(self.directory)
        if not quiet:
            self.says(say("exports.estimate", count=len(sheets), size=said, path=path))
        about = {"run": Path(self.run.directory).absolute().name, "trained_at": self.run.trained_at}
        written = exports.write(self.directory, sheets, skipped, about)
        if quiet:
            return
        if len(sheets) <= LISTED:
            for sheet in sheets:
                self.says(f"  {sheet.name}")
        if written.replaced:
            names = listed(written.replaced)
            self.says(say("exports.replaced", count=len(written.replaced), names=names))
        if written.others:
            self.warns(say("exports.others", path=path, count=written.others))
        self.says(say("exports.written", path=path, index=exports.INDEX))


@dataclass(frozen=True)
class Weights:
    """Weights that are exported when a training has ended.

    Attributes:
        patterns: see `exports.choose`.
    """

    patterns: tuple[str, ...]
    style: "Style"

    def check(
        self,
        shapes: Iterable[tuple[str, tuple[int, ...]]],
        groups: Sequence[str],
        directory: Path | str | None,
    ) -> None:
        """That it can be done, before hours go by.

        Args:
            shapes: names and shapes of the weights of a model of these groups.
            directory: where it will be saved.

        Raises:
            UsageError: a pattern means nothing, it is too much, or the run is not put on disk.
        """
        import numpy as np

        from jsl import exports

        if isinstance(directory, str):
            exports.place_of(directory, None)
        made = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes}
        weights = exports.complete(made, groups)
        names = exports.choose(weights, self.patterns)
        size = exports.size_of(exports.of_weights(weights, names, self.style))
        if size > exports.LIMIT:
            limit = exports.in_words(exports.LIMIT)
            raise UsageError(say("exports.large_after", size=exports.in_words(size), limit=limit))

    def write(self, directory: Path | str) -> None:
        """Export them of the run in `directory`.

        Raises:
            ExportError: it cannot be written.
        """
        from jsl import checkpoint

        exporter = Exporter(checkpoint.load(directory), directory, self.style)
        exporter.add_weights(self.patterns)
        exporter.write()

    def arguments(self) -> list[str]:
        """The options again, for a command that goes on."""
        found = [word for pattern in self.patterns for word in ("--export-weights", pattern)]
        style = ["--csv-layout", self.style.layout, "--csv-encoding", self.style.encoding]
        return found + style


def layers(run: "Run", groups: Sequence[str] = ()) -> list[tuple[str, list[int], int]]:
    """Name, shape and count of each parameter, of some groups or of all."""
    from jsl import exports

    weights = exports.complete(run.weights, run.groups)
    names = exports.of_groups(weights, groups)
    return [(n, [int(x) for x in weights[n].shape], int(weights[n].size)) for n in names]
