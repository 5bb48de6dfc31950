"""A chapter as it is read: in a terminal, or as one HTML file.

show(chapter, run(chapter), Console(), "en")     prints a cell as soon as it has run
page(chapter, run(chapter), "en")                the text of an HTML file
"""

import html
from collections.abc import Iterable, Iterator

from markdown_it import MarkdownIt
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from rich.console import Console
from rich.markdown import Markdown
from rich.padding import Padding
from rich.syntax import Syntax
from rich.text import Text

from minigrad.study import exercises
from minigrad.study.book import CHAPTERS, Cell, Chapter, linked, read
from minigrad.study.messages import language, say
from minigrad.study.pictures import Picture

__all__ = ["COMMAND", "closing", "command", "page", "show", "show_text"]

COMMAND = "python -m minigrad.study"


def command(what: str, lang: str) -> str:
    """A command line to go on by; it says the language where the environment says another."""
    option = "" if lang == language() else f" --lang {lang}"
    return f"{COMMAND} {what}".rstrip() + option


Ran = Iterable[tuple[Cell, list[str | Picture]]]


def show(chapter: Chapter, ran: Ran, console: Console, lang: str) -> None:
    """Print a chapter: with colors where `console` is a terminal, else as a Markdown document.

    Raises:
        LookupError: a reference leads nowhere.
    """
    plain = not console.is_terminal
    for cell, outputs in ran:
        if cell.kind == "text":
            show_text(_text(chapter, cell), console)
            continue
        if plain:
            _print_plain(f"```python\n{cell.source}\n```", console)
        else:
            code = Syntax(
                cell.source, "python", theme="ansi_dark", background_color="default",
                line_numbers=True, start_line=cell.line, word_wrap=True,
            )  # fmt: skip
            console.print(code)
            console.print()
        if plain and outputs:
            shown = (o if isinstance(o, str) else o.text() + "\n" for o in outputs)
            _print_plain(f"```\n{''.join(shown).rstrip()}\n```", console)
            continue
        for output in outputs:
            shown_as = Text(output.rstrip("\n")) if isinstance(output, str) else output
            console.print(Padding(shown_as, (0, 0, 0, 5)), soft_wrap=False)
        if outputs:
            console.print()
    show_text(closing(chapter, lang), console)


def show_text(text: str, console: Console) -> None:
    """Print a text in Markdown, as it is where `console` is no terminal."""
    if not console.is_terminal:
        _print_plain(text, console)
    else:
        console.print(Markdown(text))
        console.print()


def _print_plain(text: str, console: Console) -> None:
    """As it is, with an empty line after it."""
    console.out(text, highlight=False)
    console.out("")


def _text(chapter: Chapter, cell: Cell) -> str:
    """A text in Markdown; the first line of a chapter becomes its heading."""
    text = linked(chapter, cell.source)
    if cell is chapter.cells[0]:
        _, _, rest = text.partition("\n")
        text = f"# {chapter.number}. {chapter.title}\n{rest}"
    return text


def closing(chapter: Chapter, lang: str) -> str:
    """What one can do after a chapter, in Markdown: its exercises, and the next chapter."""
    parts = []
    mine = [e for e in exercises.EXERCISES.values() if e.chapter == chapter.name]
    if mine:
        parts.append(f"## {say('book.exercises', lang)}")
        parts.append(
            "\n".join(f"- {e.title[lang]}: `{command(f'exercise {e.name}', lang)}`" for e in mine)
        )
    parts.append(f"## {say('book.next', lang)}" if chapter.name != CHAPTERS[-1] else "---")
    if chapter.name == CHAPTERS[-1]:
        parts.append(f"{say('book.last', lang)} `{command('', lang)}`")
    else:
        following = read(CHAPTERS[chapter.number], lang, chapter.path.parent)
        told = say("book.next_chapter", lang, number=following.number, title=following.title)
        parts.append(f"{told} `{command(str(following.number), lang)}`")
    return "\n\n".join(parts)


# -------------------------------------------------------------------------------------------- HTML


def page(chapter: Chapter, ran: Ran, lang: str) -> str:
    """A chapter as the text of one HTML file that asks for nothing else.

    Raises:
        LookupError: a reference leads nowhere.
    """
    body = "\n".join(_sections(chapter, ran, lang))
    title = html.escape(f"{chapter.number}. {chapter.title}")
    return (
        f'<!DOCTYPE html>\n<html lang="{lang}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" '
        f"content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{title}</title>\n<style>\n{_style()}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _sections(chapter: Chapter, ran: Ran, lang: str) -> Iterator[str]:
    markdown = MarkdownIt("commonmark", {"html": False})
    for cell, outputs in ran:
        if cell.kind == "text":
            yield markdown.render(_text(chapter, cell))
            continue
        where = html.escape(f"{chapter.path.name}:{cell.line}")
        code = highlight(cell.source, PythonLexer(), HtmlFormatter(nowrap=True))
        yield f'<pre class="code" tabindex="0" title="{where}"><code>{code}</code></pre>'
        for output in outputs:
            if isinstance(output, str):
                label = say("book.output", lang)
                yield (
                    f'<pre class="output" tabindex="0" aria-label="{label}">'
                    f"{html.escape(output.rstrip())}</pre>"
                )
            else:
                yield f"<figure>{output.svg()}</figure>"
    yield f"<footer>{markdown.render(closing(chapter, lang))}</footer>"


def _style() -> str:
    """The style of the page; colors of code by pygments, in the light and in the dark."""
    light = HtmlFormatter(style="default").get_token_style_defs(".code")
    dark = HtmlFormatter(style="github-dark").get_token_style_defs(".code")
    night = "\n".join(dark)
    return "\n".join([_CSS, *light, f"@media (prefers-color-scheme: dark) {{\n{night}\n}}", ""])


_CSS = """\
:root { color-scheme: light dark; --ink: #1c1c1c; --paper: #ffffff; --soft: #f4f4f1;
  --line: #c9c9c4; --mark: #4477aa; }
@media (prefers-color-scheme: dark) { :root { --ink: #dcdcd8; --paper: #16181b; --soft: #212429;
  --line: #45484d; --mark: #88aedd; } }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1.05rem/1.65 system-ui, "Hiragino Sans", "Noto Sans JP", "Yu Gothic", sans-serif; }
main { max-width: 46rem; margin: 0 auto; padding: 1rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.3; }
h2 { font-size: 1.25rem; margin-top: 2rem; }
code, pre { font-family: ui-monospace, Menlo, Consolas, "Noto Sans Mono CJK JP", monospace;
  font-size: 0.88em; }
p code, li code { background: var(--soft); border-radius: 4px; padding: 0.1em 0.3em;
  overflow-wrap: anywhere; }
pre { overflow-x: auto; padding: 0.8rem 1rem; border-radius: 8px; line-height: 1.45;
  margin: 1rem 0; }
pre code { font-size: 1em; }
pre.code, main pre { background: var(--soft); }
pre.output { background: none; border-left: 4px solid var(--mark); border-radius: 0;
  padding: 0.3rem 1rem; }
figure { margin: 1rem 0; overflow-x: auto; }
figure svg { max-width: 100%; height: auto; }
footer { border-top: 1px solid var(--line); margin-top: 3rem; }
:focus-visible { outline: 2px solid var(--mark); }
"""
