"""`python -m minigrad.study`: where a newcomer begins.

    python -m minigrad.study                        the contents
    python -m minigrad.study 3 | tape               a chapter  [--html FILE]
    python -m minigrad.study exercises              the list of exercises
    python -m minigrad.study exercise NAME          task and stub  [--write FILE]
    python -m minigrad.study check FILE [NAME ...]  what is right and what is wrong
    python -m minigrad.study digits_cnn             a training step of an example, as a page
    python -m minigrad.study FILE[:FUNCTION]        the same of a user's function, or of a file
    python -m minigrad.study RECORD.json            a record that was saved
        [--out PAGE.html] [--json FILE] [--terminal] [--open]

Exit codes: 0 it worked, 1 an answer is wrong or the code that was run failed, 2 the command line is
wrong, 130 it was interrupted. Tracebacks are those of the user's own code.
"""

import ast
import errno
import os
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import click
from rich.console import Console

from minigrad.errors import MinigradError
from minigrad.study import book, exercises
from minigrad.study.chapters import COMMAND, command, page, show, show_text
from minigrad.study.messages import LANGUAGES, language, say
from minigrad.study.targets import EXAMPLES, UserError, near, recorded


class Commands(click.Group):
    """The commands by their names; anything else is a chapter, or something to be recorded."""

    chapter: click.Command
    record: click.Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name in self.commands:
            return super().resolve_command(ctx, args)
        if name in book.CHAPTERS or name.isdecimal():
            return name, self.chapter, args
        return name, self.record, args


def commands(lang: str) -> click.Group:
    """The command line, its help in `lang`."""
    chosen = click.option(
        "--lang", type=click.Choice(LANGUAGES), expose_value=False, help=say("help.lang", lang)
    )  # read by `wished`, before there are commands

    @click.group(
        cls=Commands,
        invoke_without_command=True,
        help=say("help.study", lang),
        subcommand_metavar="[WHAT] ...",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    @chosen
    @click.pass_context
    def study(ctx: click.Context) -> None:
        if ctx.invoked_subcommand is None:
            show_text(contents(lang), Console())

    @click.command(help=say("help.chapter", lang))
    @click.argument("name", metavar="")  # what the help calls the command
    @click.option("--html", type=_file(), help=say("help.html", lang))
    @chosen
    def chapter(name: str, html: Path | None) -> None:
        try:
            known = book.find(name)
        except ValueError:
            raise click.UsageError(_unknown(name, lang)) from None
        found = book.read(known, lang)
        if html is None:
            show(found, book.run(found), Console(), lang)
        else:
            _write(html, page(found, book.run(found), lang), lang)
            click.echo(say("book.written", lang, path=html))

    @study.command("exercises", help=say("help.exercises", lang))
    @chosen
    def list_exercises() -> None:
        show_text(listing(lang), Console())

    @study.command(help=say("help.exercise", lang))
    @click.argument("name")
    @click.option("--write", type=_file(), help=say("help.write", lang))
    @chosen
    def exercise(name: str, write: Path | None) -> None:
        found = _exercise(name, lang)
        if write is None:
            show_text(task(found, lang), Console())
            return
        if write.exists():
            raise click.UsageError(say("exercise.exists", lang, path=write))
        _write(write, exercises.stub(name, lang), lang)
        click.echo(say("book.written", lang, path=write))

    @study.command(help=say("help.check", lang))
    @click.argument("file", type=_file())
    @click.argument("names", nargs=-1, metavar="[NAME]...")
    @chosen
    @click.pass_context
    def check(ctx: click.Context, file: Path, names: tuple[str, ...]) -> None:
        ctx.exit(0 if checked(file, names, lang) else 1)

    @click.command(help=say("help.record", lang))
    @click.argument("what", metavar="")
    @click.option("--out", type=_file(), help=say("help.out", lang))
    @click.option("--json", type=_file(), help=say("help.json", lang))
    @click.option("--terminal", is_flag=True, help=say("help.terminal", lang))
    @click.option("--open", "opens", is_flag=True, help=say("help.open", lang))
    @chosen
    def record(what: str, out: Path | None, json: Path | None, terminal: bool, opens: bool) -> None:
        if what not in EXAMPLES and "." not in what:
            raise click.UsageError(_unknown(what, lang))
        found, name = recorded(what, lang)
        if found.truncated:
            told = say("cli.truncated", lang, count=len(found.steps))
            click.echo(f"{COMMAND}: {told}", err=True)
        if json is not None:
            _save(found.save, json, lang)
            click.echo(say("cli.saved", lang, path=json))
        if out is not None or opens or not (terminal or json):
            out = out or Path(f"{name}.study.html")
            _save(lambda path: found.page(path, lang), out, lang)
            click.echo(say("cli.page", lang, path=out))
        if opens and out is not None:
            click.launch(str(out))
        if terminal:
            found.walk(lang)

    assert isinstance(study, Commands)
    study.chapter, study.record = chapter, record
    return study


def _file() -> click.Path:
    return click.Path(dir_okay=False, path_type=Path)


def _write(path: Path, text: str, lang: str) -> None:
    _save(lambda path: path.write_text(text, encoding="utf-8", newline="\n"), path, lang)


def _save(write: Callable[[Path], object], path: Path, lang: str) -> None:
    try:
        write(path)
    except OSError as error:
        cause = error.__cause__ or error  # what saves to a file of its own says so at length
        reason = getattr(cause, "strerror", None) or error
        told = say("cli.unwritten", lang, path=path, error=reason)
        raise click.UsageError(told) from None


def _unknown(what: str, lang: str) -> str:
    names = (*book.CHAPTERS, *EXAMPLES, "exercises", "exercise", "check")
    return say("cli.unknown", lang, name=what, nearest=near(what, names, lang), command=COMMAND)


# ----------------------------------------------------------------------------------------- texts


def contents(lang: str) -> str:
    """What there is, in Markdown."""
    chapters = []
    for i, name in enumerate(book.CHAPTERS, 1):
        chapters.append(f"{i}. {book.read(name, lang).title} (`{name}`)")
    run = command("digits_cnn", lang)
    return "\n\n".join(
        [
            f"# {say('contents.title', lang)}",
            say("contents.about", lang),
            say("contents.language", "en" if lang == "ja" else "ja"),  # for who reads that one
            f"## {say('contents.book', lang)}",
            "\n".join(chapters),
            say("contents.begin", lang, command=command("1", lang)),
            say("contents.chapter", lang),
            f"## {say('contents.exercises', lang)}",
            say(
                "contents.exercises_about", lang,
                count=len(exercises.EXERCISES), list=command("exercises", lang),
                show=command("exercise NAME", lang), check=command("check FILE", lang),
            ),
            f"## {say('contents.stepper', lang)}",
            say("contents.stepper_about", lang),
            f"- `{run}`: {say('contents.example', lang)}\n"
            f"- `{command('digits_cnn --terminal', lang)}`: {say('contents.terminal', lang)}\n"
            f"- `{command('FILE.py:FUNCTION', lang)}`: {say('contents.own', lang)}",
            say("contents.examples", lang, names=", ".join(EXAMPLES)),
        ]
    )  # fmt: skip


def listing(lang: str) -> str:
    """The exercises by chapter, in Markdown."""
    parts = [f"# {say('exercise.title', lang)}"]
    for i, chapter in enumerate(book.CHAPTERS, 1):
        mine = [e for e in exercises.EXERCISES.values() if e.chapter == chapter]
        if mine:
            title = book.read(chapter, lang).title
            parts.append(f"## {say('exercise.of_chapter', lang, number=i, title=title)}")
            parts.append("\n".join(f"- `{e.name}`: {e.title[lang]}" for e in mine))
    return "\n\n".join([*parts, f"`{command('exercise NAME', lang)}`"])


def task(exercise: "exercises.Exercise", lang: str) -> str:
    """An exercise with its stub, and the commands to go on, in Markdown."""
    file, stub = f"{exercise.name}.py", exercise.stub[lang]
    heading = ast.parse(stub).body[0]  # the task, once more
    code = "\n".join(stub.splitlines()[heading.end_lineno :]).strip()
    return "\n\n".join(
        [
            f"# {exercise.title[lang]}",
            exercise.task[lang].strip(),
            f"```python\n{code}\n```",
            say(
                "exercise.begin", lang,
                write=command(f"exercise {exercise.name} --write {file}", lang),
                check=command(f"check {file}", lang),
            ),
        ]
    )  # fmt: skip


# --------------------------------------------------------------------------------------- answers


def _exercise(name: str, lang: str) -> "exercises.Exercise":
    if name in exercises.EXERCISES:
        return exercises.EXERCISES[name]
    nearest = near(name, exercises.EXERCISES, lang)
    listed = command("exercises", lang)
    told = say("exercise.unknown", lang, name=name, nearest=nearest, command=listed)
    raise click.UsageError(told)


def checked(file: Path, names: tuple[str, ...], lang: str) -> bool:
    """Print what is to be said of the answers in a file; whether all are right."""
    if not file.is_file():
        raise click.UsageError(say("cli.no_file", lang, path=file))
    if file.suffix != ".py":
        raise click.UsageError(say("exercise.not_python", lang, path=file))
    asked = [_exercise(name, lang).name for name in names]
    try:
        verdicts = exercises.check_file(file, asked, lang)
    except MinigradError as error:
        if error.__cause__ is not None:
            raise UserError(error.__cause__, file) from None
        begin = command("exercise NAME --write FILE", lang)
        raise click.UsageError(say("exercise.none_in", lang, path=file, command=begin)) from None
    for verdict in verdicts.values():
        click.echo(f"{verdict.text}\n")
    right = sum(verdict.right for verdict in verdicts.values())
    if len(verdicts) > 1:
        click.echo(say("exercise.score", lang, right=right, count=len(verdicts)))
    return right == len(verdicts)


# ------------------------------------------------------------------------------------------- main


def wished(arguments: list[str]) -> str | None:
    """The language in a command line, before it is read: its help is in it, too."""
    for option, value in pairwise([*arguments, ""]):
        given = value if option == "--lang" else option.removeprefix("--lang=")
        if option.startswith("--lang") and given in LANGUAGES:
            return given
    return None


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, and exit."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # whatever the code page of a console is
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = commands(language(wished(given))).main(given, COMMAND, standalone_mode=False) or 0
        sys.stdout.flush()
    except UserError as error:
        error.show()
        code = 1
    except click.ClickException as error:
        click.echo(f"{COMMAND}: {error.format_message()}", err=True)
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        code = 130
    except OSError as error:
        closed = errno.EINVAL if os.name == "nt" else errno.EPIPE
        if error.errno != closed or error.filename is not None:
            raise
        # Nobody reads any more; nor shall Python fail over it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
