"""`jsl inspect`: what a saved run is, read from its files."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from jsl import options
from jsl.help import command, option
from jsl.messages import columns, say

SHOWN = 60  # characters of a value on a line


@command("help.inspect")
@click.argument("directory", type=options.Run(), metavar="DIR")
@option("--json", "as_json", is_flag=True, help="help.inspect.json")
def inspect(directory: Path | str, as_json: bool) -> None:
    from jsl import checkpoint
    from minigrad import runs

    run = checkpoint.load(directory)
    config = runs.load_json(run.files[checkpoint.CONFIG])
    config["corpus"].pop("trigrams", None)  # as long as a corpus
    weights = run.weights.items()
    parameters = [(name, [int(n) for n in array.shape], int(array.size)) for name, array in weights]
    total = sum({id(array): int(array.size) for _, array in weights}.values())  # tied ones once
    found = {
        "directory": checkpoint.shown(run.directory),
        "config": config,
        "metrics": run.metrics,
        "parameters": [
            {"name": name, "shape": shape, "count": count} for name, shape, count in parameters
        ],
        "parameter_count": total,
    }
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    click.echo(say("inspect.run", path=found["directory"], parameters=total))
    for section, content in config.items():
        if section != "format":
            show(section, content)
    if run.deployed is None:
        short = {k: v for k, v in run.metrics.items() if k not in ("history", "layers")}
        show("metrics", short)
    click.echo(f"\n{say('inspect.parameters')}")
    figures = run.metrics["layers"]
    rows = [(name, " × ".join(map(str, shape)), f"{n:,}") for name, shape, n in parameters]
    widths = [max(columns(row[i]) for row in rows) for i in range(3)]
    for name, shape, count in rows:
        pad = " " * (widths[0] - columns(name))
        like = "".join(
            f"  {key} {figures[name][key]:+.4f}"
            for key in ("mean", "std")
            if key in figures.get(name, {})
        )
        click.echo(f"  {name}{pad}  {shape:{widths[1]}}  {count:>{widths[2]}}{like}")


def show(section: str, content: Any) -> None:
    """A section of config.json or metrics.json: its title, and an entry a line."""
    click.echo(f"\n{section}")
    entries = list(lines(content))
    width = max((columns(place) for place, _ in entries), default=0)
    for place, value in entries:
        pad = " " * (width - columns(place))
        click.echo(f"  {place}{pad}  {value}" if place else f"  {value}")


def lines(content: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every entry with its place; of a long list how many there are, and the first ones."""
    if isinstance(content, dict):
        for name, inner in content.items():
            yield from lines(inner, f"{place}.{name}" if place else name)
    elif isinstance(content, list):
        text = ", ".join(map(str, content))
        if len(text) > SHOWN:
            text = say("inspect.list", count=len(content), first=text[:SHOWN] + " …")
        yield place, text
    else:
        yield place, json.dumps(content, ensure_ascii=False).strip('"')
