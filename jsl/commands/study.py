"""`jsl study`: one step of the training, as a page to walk through."""

from pathlib import Path

import click

from jsl import options
from jsl.commands.corpora import Files, reading
from jsl.config import PRESETS
from jsl.help import command, option
from jsl.messages import language, say

PAGE = Path("jsl.study.html")


@command("help.study")
@reading(valid=False)
@option("--preset", type=options.Choice(list(PRESETS)), help="help.study.preset")
@option("--out", type=options.Path(), help="help.study.out")
@option("--json", type=options.Path(), help="help.study.json")
@option("--terminal", is_flag=True, help="help.study.terminal")
def study(
    files: Files, preset: str | None, out: Path | None, json: Path | None, terminal: bool
) -> None:
    from jsl.train import Trainer
    from minigrad import jit
    from minigrad.study import study as recorded

    model, training = PRESETS[preset or "tiny"]
    kinds = files.source_tokens or "kana", files.target_tokens or "tag"
    trainer = Trainer(files.load(model.max_seq_len, kinds), model, training)
    trainer.model.train()

    def step(groups, src, tgt_in, tgt_out, weights):
        loss = trainer.loss_step((groups, src, tgt_in, tgt_out, weights))
        loss.backward()
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
        return loss

    record = recorded(jit(step), *trainer.prepare(next(trainer.batches.whole())))
    record.title = f"jsl train --preset {preset or 'tiny'}"
    if json is not None:
        record.save(json)
        click.echo(say("study.written", path=json))
    if out is not None or not (json or terminal):
        record.page(out or PAGE, language())
        click.echo(say("study.written", path=out or PAGE))
    if terminal:
        record.walk(language())
