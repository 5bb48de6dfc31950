"""The commands of `jsl`, a file each, which are imported when they are called.

To add one, say `jsl count`: write `jsl/commands/count.py` with a command of that name
(`@command("help.count")`, see `jsl.help`), its name here, and its texts in `jsl.helptexts`; then
`python -m jsl.commands > jsl/COMMANDS.md`. For `jsl count words` and `jsl count tags`, `count` is
made by `@group("help.count")`; `count.add_command` puts `@command("help.count.words")` below it.
"""

NAMES = (
    "completion",
    "corpus",
    "doctor",
    "evaluate",
    "export",
    "inspect",
    "predict",
    "resume",
    "study",
    "train",
    "verify",
    "warmup",
)
MODULES = {name: f"jsl.commands.{name}" for name in NAMES}
