"""Options about corpora, and the corpora that they name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

from jsl import options
from jsl.errors import UsageError
from jsl.help import option
from jsl.messages import say
from jsl.tokens import SOURCES, TARGETS

if TYPE_CHECKING:
    from jsl.corpus import Corpus


@dataclass(frozen=True)
class Files:
    """What the options say.

    Raises:
        UsageError: they do not go together.
    """

    corpus: Path | None = None
    source: Path | None = None
    target: Path | None = None
    valid: Path | None = None
    valid_source: Path | None = None
    valid_target: Path | None = None
    encoding: str | None = None
    source_tokens: str | None = None
    target_tokens: str | None = None

    def __post_init__(self) -> None:
        for one, source, target in (
            ("corpus", "source", "target"),
            ("valid", "valid_source", "valid_target"),
        ):
            pair = [getattr(self, name) is not None for name in (source, target)]
            names = {n: f"--{n}".replace("_", "-") for n in (one, source, target)}
            if any(pair) and getattr(self, one) is not None:
                raise UsageError(
                    say("corpora.both", one=names[one], source=names[source], target=names[target])
                )
            if any(pair) and not all(pair):
                there, absent = (source, target) if pair[0] else (target, source)
                raise UsageError(say("corpora.half", there=names[there], absent=names[absent]))
        if self.encoding is not None:
            from jsl.corpus import check_encoding

            check_encoding(self.encoding)
            if not self.given:
                raise UsageError(say("train.encoding"))

    @property
    def given(self) -> bool:
        """Whether there is a corpus of the user's own."""
        return self.corpus is not None or self.source is not None

    @property
    def valid_given(self) -> bool:
        """Whether there is a corpus for validation."""
        return self.valid is not None or self.valid_source is not None

    def load(self, limit: int | None, kinds: tuple[str, str], strict: bool = True) -> "Corpus":
        """The corpus, or else the bundled one; `strict` and what is raised: see `load_corpus`."""
        from jsl.corpus import load_corpus, load_parallel, starter_corpus_path

        if self.source is not None and self.target is not None:
            return load_parallel(self.source, self.target, limit, self.encoding, *kinds, strict)
        path = self.corpus or starter_corpus_path()
        return load_corpus(path, limit, self.encoding, *kinds, strict)

    def load_valid(self, limit: int | None, kinds: tuple[str, str]) -> "Corpus | None":
        """The corpus for validation, if there is one."""
        if not self.valid_given:
            return None
        files = Files(self.valid, self.valid_source, self.valid_target, encoding=self.encoding)
        return files.load(limit, kinds)

    def arguments(self) -> list[str]:
        """The options again, for a command that goes on."""
        found: list[str] = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                found += [f"--{field.name}".replace("_", "-"), str(value)]
        return found


def reading(
    valid: bool = True, tokens: bool = True, helps: Mapping[str, str] | None = None
) -> Callable[[Callable], Callable]:
    """Options about the corpus, which the command gets as one argument, `files`.

    Args:
        valid: whether there is one for validation, too.
        tokens: whether they say what it is cut into.
        helps: keys of texts, for options that mean something else to the command.
    """
    kinds = {"source_tokens": SOURCES, "target_tokens": TARGETS}
    names = [
        field.name
        for field in fields(Files)
        if (valid or not field.name.startswith("valid")) and (tokens or field.name not in kinds)
    ]

    def decorate(command: Callable) -> Callable:
        @wraps(command)
        def gathered(**given):
            files = Files(**{name: given.pop(name) for name in names})
            return command(files=files, **given)

        for name in reversed(names):
            kind = options.Choice(kinds[name]) if name in kinds else options.Path()
            gathered = option(
                f"--{name}".replace("_", "-"),
                type=None if name == "encoding" else kind,
                help=(helps or {}).get(name, f"help.corpora.{name}"),
            )(gathered)
        return gathered

    return decorate
