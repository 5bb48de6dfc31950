"""The reference page of all commands, `jsl/COMMANDS.md`, made of what `--help` shows:

python -m jsl.commands > jsl/COMMANDS.md
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import click

from jsl.cli import cli
from jsl.help import pages
from jsl.messages import LANGUAGES, language, say, use_language

HEAD = """\
# jsl のコマンド / The commands of jsl

（このページは `python -m jsl.commands` が `--help` から作ります。）
(This page is made of what `--help` shows, by `python -m jsl.commands`.)

`--config FILE` のファイルの例です。キーはオプションの長い名前で、`-` の代わりに `_` も使えます。
表の外のキーは、そのオプションのあるすべてのコマンドに効きます。コマンドラインの指定が優先です。
パスは、コマンドラインと同じく、jsl を実行する場所からの相対パスです。

A file for `--config FILE`. Keys are the long names of options, with `_` for `-` if you like. Those
above all tables are for every command that has them; the command line wins. Paths are relative to
where jsl is called, as they are on the command line.

```toml
lang = "ja"
backend = "numpy"

[train]
corpus = "corpus.tsv"
batch-size = 16
save-every-minutes = 5

[predict]
load = "models/a"
json = true
```

シェルの補完は、次の行をシェルの設定に書くと使えます。
To have a shell complete commands and options, put its line into the shell's settings:

```sh
eval "$(jsl completion bash)"                                    # ~/.bashrc
eval "$(jsl completion zsh)"                                     # ~/.zshrc
jsl completion fish > ~/.config/fish/completions/jsl.fish        # fish
```
"""


def page() -> str:
    """The page."""
    before = language()
    try:
        return "\n".join([HEAD, *(line for c in pages(cli, "jsl") for line in of(c))])
    finally:
        use_language(before)


def of(context: click.Context) -> Iterator[str]:
    """The lines about a command: how to call it, what it does, and its options."""
    command = context.command
    calls = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield from [f"## {context.command_path}", "", f"    {calls}", ""]
    keys = ["help.exit_codes"] if context.parent is None else []
    for text in both(lambda: [str(command.help), *map(say, keys)]):
        yield from [*plain("\n\n".join(text)).split("\n"), ""]
    root = context.find_root()
    named_once = set() if context is root else {p.name for p in root.command.get_params(root)}

    def options() -> list[tuple[str, str]]:
        found = [p for p in command.get_params(context) if p.name not in named_once]
        return [
            p.get_help_record(context) or ("", "") for p in found if p.param_type_name == "option"
        ]

    rows = list(zip(*both(options), strict=True))
    if rows:
        yield from ["| | | |", "| --- | --- | --- |"]
        for (names, japanese), (_, english) in rows:
            yield f"| `{cell(names)}` | {cell(plain(japanese))} | {cell(plain(english))} |"
        yield ""


def both(make: Callable[[], Any]) -> list[Any]:
    """What is made in Japanese, and in English."""
    found = []
    for name in LANGUAGES:
        use_language(name)
        found.append(make())
    return found


def cell(text: str) -> str:
    """A text in a table."""
    return text.replace("|", "\\|")


def plain(text: str) -> str:
    """A text whose signs mean nothing to Markdown."""
    return re.sub(r"([<*_\[\]])", r"\\\1", text)


if __name__ == "__main__":
    print(page(), end="")
