"""`jsl export`: write what others use of a run: a deployed model."""

import json
from pathlib import Path

import click

from jsl import options
from jsl.commands.corpora import Files
from jsl.commands.deploying import deploy_model, deploying
from jsl.errors import UsageError
from jsl.help import command, option
from jsl.messages import say


@command("help.export")
@option("--load", type=options.Run(), required=True, help="help.export.load")
@option("--group", "groups", multiple=True, help="help.export.group")
@deploying
@option("--json", "as_json", is_flag=True, help="help.export.json")
def export(
    load: Path | str,
    groups: tuple[str, ...],
    deploy: Path | str | None,
    dtype: str,
    corpus: Path | None,
    source: Path | None,
    target: Path | None,
    encoding: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    if deploy is None:
        raise UsageError(say("export.nothing"))
    files = Files(corpus, source, target, encoding=encoding)
    says = (lambda text: None) if as_json else click.echo
    told = {"deployed": deploy_model(load, deploy, dtype, groups, files, overwrite, says)}
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
