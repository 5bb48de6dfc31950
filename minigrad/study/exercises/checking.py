"""What checks an answer: it is run on inputs that tell mistakes apart, and told what is wrong.

In the order in which one reads them:

    Case  Mistake  Slopes  Exercise     what a page of exercises writes down
    Run                                 an answer on one input
    explanations                        the mistake that explains all runs
    texts                               what is said of it

A mistake is known by what it gives: a page writes the wrong answer as a function, and if the
student's agrees with it wherever it fails, that is what went wrong. Then come the mistakes of all
exercises (a sign, a factor, a sum forgotten), and at last the plain numbers.
"""

import ast
import inspect
import linecache
import os
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import numpy as np

from minigrad.autodiff import Tensor
from minigrad.backend import is_array, to_device, to_numpy
from minigrad.study.exercises.comparing import (
    Difference,
    arrays,
    close,
    copied,
    differences,
    narrowed,
)  # fmt: skip
from minigrad.study.exercises.relations import SHAPES, Pair, relation, times
from minigrad.study.exercises.words import NAMES, WORDS, Text, both, filled, several
from minigrad.study.messages import language
from minigrad.testing import check_gradients
from minigrad.transforms import custom_vjp

__all__ = ["Case", "Exercise", "Mistake", "Slopes", "Verdict", "Wrong", "case", "several"]

SMALL = 12  # arrays of so many elements are shown whole
MOST = 12  # so many things in a list are shown
COMPARED = 4  # inputs on which an answer that seems right is compared with finite differences


@dataclass(frozen=True)
class Verdict:
    """What is said of an answer: whether it is right, a text, and a short key of the mistake."""

    right: bool
    text: str
    mistake: str = ""


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        note: what is special about it.
        args: the arguments by name, in the order of the signature; copied for each call.
        given: what else the value in `Slopes` is a function of.
        smooth: whether finite differences mean something here.
        float32: whether to try it in float32, too.
    """

    note: Text
    args: dict[str, Any]
    given: dict[str, Any] = field(default_factory=dict)
    smooth: bool = True
    float32: bool = True


def case(
    en: str,
    ja: str,
    /,
    *,
    given: dict[str, Any] | None = None,
    smooth: bool = True,
    float32: bool = True,
    **args: Any,
) -> Case:
    """A `Case`, with its arguments as keywords."""
    return Case(both(en, ja), args, given or {}, smooth, float32)


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that is often given: a key, the answer, and what a teacher says to it."""

    key: str
    answer: Callable
    text: Text


class Wrong(Exception):
    """Raised by an exercise's own `run`: a mistake that is seen in how the answer was reached."""

    def __init__(self, key: str, text: Text):
        super().__init__(text["en"])
        self.key, self.text = key, text


@dataclass(frozen=True)
class Slopes:
    """For answers that are gradients: of which inputs, and of what.

    Attributes:
        inputs: names in `Case.args` or `Case.given`, one for each gradient that is returned.
        value: the function of ops whose output has the gradient `g`; it names what it takes.
    """

    inputs: tuple[str, ...]
    value: Callable

    def names(self) -> list[str]:
        return list(inspect.signature(self.value).parameters)


@dataclass(frozen=True)
class Exercise:
    """One exercise: a task, what the student writes, and how it is checked.

    Attributes:
        name, chapter: the function to write; the chapter that explains what is needed.
        title, task: texts by language, the task in Markdown.
        signature, doc: the function's first line, and its docstring by language.
        answer: the right one.
        cases: gives the inputs, simple ones first.
        mistakes: wrong answers that are known, the likely first.
        run: `run(function, args)` gives what is compared; it may raise `Wrong`. None: the result.
        slopes: what the results are gradients of.
        parts: names of the things in a tuple that is returned.
        writes: names of arguments that the function may write to.
        imports: what the stub begins with.
    """

    name: str
    chapter: str
    title: Text
    task: Text
    signature: str
    doc: Text
    answer: Callable
    cases: Callable[[], Sequence[Case]]
    mistakes: tuple[Mistake, ...] = ()
    run: Callable[[Callable, dict[str, Any]], Any] | None = None
    slopes: Slopes | None = None
    parts: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    imports: str = "import numpy as np"

    @property
    def stub(self) -> Text:
        """The function to write, by language, as the text of a file."""
        return {lang: self._stub(lang) for lang in ("en", "ja")}

    def _stub(self, lang: str) -> str:
        heading = f"{self.title[lang]}\n\n{self.task[lang]}\n\n{WORDS['command'][lang]}"
        body = f'"""{filled(self.doc[lang], lang, 4)}"""\n    raise NotImplementedError'
        if '"""' in heading or "\\" in heading:
            raise ValueError(f"{self.name}: a task with quotes or backslashes breaks the stub")
        parts = [f'"""{filled(heading, lang, 0)}\n"""']
        parts += [self.imports] if self.imports else []
        return "\n\n".join(parts) + f"\n\n\n{self.signature}\n    {body}\n"

    def check(self, function: Callable, lang: str | None = None) -> Verdict:
        """Run an answer on all inputs; says what is wrong with it, or that it is right."""
        return _check(self, function, language(lang))

    def all_cases(self) -> list[Case]:
        """The inputs, and those of them that have arrays of float64 in float32, too."""
        cases = list(self.cases())
        twins = [c for c in cases if c.float32 and narrowed(c.args) is not c.args]
        return cases + [
            replace(
                c,
                note=both(f"{c.note['en']}, in float32", f"{c.note['ja']}（float32）"),
                args=narrowed(c.args),
                smooth=False,
            )
            for c in twins
        ]

    def called(self, function: Callable, args: dict[str, Any]) -> Any:
        """What `function` gives, which is compared with what the right answer gives."""
        return self.run(function, args) if self.run else function(*args.values())


# ---------------------------------------------------------------------------------- runs


@dataclass
class Run:
    """An answer on one input: what it gave or raised, how that is wrong, what it wrote to."""

    case: Case
    narrow: bool
    yours: Any = None
    right: Any = None
    error: Exception | SystemExit | None = None
    wrong: list[Difference] = field(default_factory=list)
    written: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        return self.error is not None or bool(self.wrong)

    @property
    def misses(self) -> bool:
        """Whether more is wrong than a dtype."""
        return self.error is not None or any(d.kind != "dtype" for d in self.wrong)


def _run(exercise: Exercise, function: Callable, one: Case, right: Any) -> Run:
    narrow = any(a.dtype == np.float32 for a in arrays(one.args))
    run = Run(one, narrow, right=right)
    args = copied(one.args)
    try:
        run.yours = _quietly(exercise.called, function, args)
    except (Exception, SystemExit) as error:  # an answer that leaves shall not end the checker
        run.error = error
        return run
    run.wrong = list(differences(run.yours, right, narrow, parts=_parts(exercise)))
    for name, before in one.args.items():
        pairs = zip(arrays(before), arrays(args[name]), strict=False)
        # (What may be written to may be one of the inputs at the same time.)
        if not any(args[name] is args[out] for out in exercise.writes) and any(
            a.shape != b.shape or not np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
            for a, b in pairs
        ):
            run.written.append(name)
    return run


def _parts(exercise: Exercise) -> tuple[str, ...]:
    if exercise.slopes and not exercise.parts:
        return tuple(f"d{name}" for name in exercise.slopes.inputs)
    return exercise.parts


def _quietly(function: Callable, *args: Any) -> Any:
    """The call, without NumPy's warnings: what comes of them is seen in the result."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return function(*args)


def _check(exercise: Exercise, function: Callable, lang: str) -> Verdict:
    told = _Told(exercise, lang)
    if not callable(function):
        return told.plainly("no_function", came=type(function).__name__)
    if _is_stub(function):
        return told.plainly("unwritten")
    cases = exercise.all_cases()
    try:
        inspect.signature(function).bind(*cases[0].args.values())
    except TypeError as error:
        return told.plainly("signature", error=error, signature=exercise.signature)
    except ValueError:  # one of C's, which has no signature
        pass
    runs = []
    for one in cases:
        right = _quietly(exercise.called, exercise.answer, copied(one.args))
        runs.append(_run(exercise, function, one, right))
        if len(runs) == 1 and isinstance(runs[-1].error, NotImplementedError):
            return told.plainly("unwritten")
        if isinstance(runs[-1].error, Wrong) and not any(run.failed for run in runs[:-1]):
            break  # what is wrong is known, and later inputs may take long
    failing = [run for run in runs if run.failed]
    if failing:
        return _quietly(_explained, exercise, runs, failing, told, function)
    for run in runs:
        if run.written:
            return told.of_run("overwrites", run, None, name=several(run.written, lang))
    if exercise.slopes is not None:
        for one in [c for c in cases if c.smooth][:COMPARED]:
            if message := _misses_slope(exercise.slopes, function, one):
                return told.plainly("slope", message=message)
    return told.right(len(cases))


def _is_stub(function: Callable) -> bool:
    """Whether there is nothing in the function but a docstring, `pass` or `...`."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return False
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef):
        return False
    return all(
        isinstance(statement, ast.Pass)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in tree.body[0].body
    )


def _misses_slope(slopes: Slopes, rule: Callable, one: Case) -> str:
    """What finite differences say against a rule; "" if they agree.

    `minigrad.testing.check_gradients` looks at the value as an op whose rule is the student's.
    """
    known = {**one.args, **one.given}

    def value(*xs):
        now = {**known, **dict(zip(slopes.inputs, xs, strict=True))}
        return slopes.value(*(now[name] for name in slopes.names()))

    def with_rule(*xs):
        y = value(*xs)
        return y, (xs, y)

    def pulled(kept, g):
        xs, y = kept
        now = {**known, **dict(zip(slopes.inputs, xs, strict=True)), "g": g}
        if "y" not in slopes.inputs:  # then that is the output
            now["y"] = y
        given = [_on_host(now[name]) for name in one.args]
        found = _quietly(rule, *given)
        found = found if isinstance(found, tuple | list) else (found,)
        if "g" not in one.args:  # a derivative by itself
            found = [np.asarray(v) * _on_host(g) for v in found]
        return tuple(Tensor(to_device(np.asarray(v, np.float64))) for v in found)

    checked = custom_vjp(value)
    checked.defvjp(with_rule, pulled)
    inputs = [np.asarray(known[name], dtype=np.float64) for name in slopes.inputs]
    try:
        check_gradients(checked, *inputs, order=1)
    except AssertionError as error:
        return str(error)
    return ""


def _on_host(x: Any) -> Any:
    """A copy as a NumPy array of what is a Tensor or an array; other things as they are."""
    x = x.data if type(x) is Tensor else x
    return to_numpy(x).copy() if is_array(x) else x


# ------------------------------------------------------------------------------- explanations


def _explained(
    exercise: Exercise, runs: list[Run], failing: list[Run], told: "_Told", function: Callable
) -> Verdict:
    # Wrong numbers come before right ones of a wrong dtype.
    of_numbers = [run for run in failing if run.misses]
    first = (of_numbers or failing)[0]
    if isinstance(first.error, Wrong):
        return told.of_run(first.error.key, first, None, text=first.error.text)
    # One that explains every run is best. (A run that raised Wrong gave no result to be explained.)
    explicable = [run for run in of_numbers if not isinstance(run.error, Wrong)]
    # Else one that explains all that came to a result: an error elsewhere is a second mistake.
    finished = [run for run in runs if run.error is None] if first.error is None else []
    for among in (runs, explicable, finished) if explicable else ():
        if not among:
            continue
        for mistake in exercise.mistakes:
            if all(_agrees(exercise, mistake.answer, run) for run in among):
                return told.of_run(mistake.key, first, text=mistake.text)
    if first.error is not None:
        return told.of_run("exception", first, None, error=_raised(first.error, function))
    if all(run.yours is None for run in failing if not run.error) and first.right is not None:
        return told.of_run("nothing", first, None)
    worst = next((d for d in first.wrong if d.kind != "dtype"), first.wrong[0])
    if first.written:
        name = several(first.written, told.lang)
        return told.of_run("overwrites", first, worst, name=name)
    if worst.kind in ("type", "length", "keys", "plain", "dtype"):
        return told.of_run(worst.kind, first, worst, **_kinds(worst, told.lang))
    wrong = [(run, d) for run in failing for d in run.wrong if d.kind in ("value", "shape")]
    key, fields = relation(_pairs(wrong))
    if key in ("value", "shape"):  # of several things, that are wrong in several ways, look at one
        wrong = [(run, d) for run, d in wrong if d.part == worst.part]
        key, fields = relation(_pairs(wrong))
    if key == "shape" or key in SHAPES:
        first, worst = next((run, d) for run, d in wrong if d.kind == "shape")
        fields = {"yours": worst.yours.shape, "right": worst.right.shape}
    if "times" in fields:
        fields["times"] = times(fields["times"], told.lang)
    if key in ("value", "shape") and len(failing) <= len(runs) / 2:
        fields |= {"passed": len(runs) - len(failing), "all": len(runs)}
        return told.of_run(f"{key}_here", first, worst, **fields)
    return told.of_run(key, first, worst, elsewhere=(len(runs) - len(failing), len(runs)), **fields)


def _pairs(wrong: list[tuple[Run, Difference]]) -> list[Pair]:
    return [Pair(d.yours, d.right, run.narrow, run.case.args) for run, d in wrong]


def _agrees(exercise: Exercise, mistake: Callable, run: Run) -> bool:
    """Whether a known mistake gives what the student's answer gave."""
    try:
        given = _quietly(exercise.called, mistake, copied(run.case.args))
    except Exception as error:
        return type(error) is type(run.error)
    if run.error is not None:
        return False
    found = differences(run.yours, given, run.narrow)
    return all(d.kind == "dtype" for d in found)


def _raised(error: BaseException, function: Callable) -> str:
    """An error, with the student's line: the innermost of the file the function is in."""
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    message = f"{type(error).__name__}: {error}"
    if not lines:
        return message
    at = lines[-1]
    source = linecache.getline(at.filename, at.lineno or 0).strip()
    return f"{message}\n    {os.path.basename(at.filename)}:{at.lineno}: {source}"


def _kinds(d: Difference, lang: str) -> dict[str, Any]:
    """What the message of a difference that is none of numbers says."""
    fields: dict[str, Any] = {
        "yours": _described(d.yours, lang),
        "right": _described(d.right, lang),
    }
    if d.kind == "length":
        fields = {"yours": len(d.yours), "right": len(d.right)}
    if d.kind == "dtype":
        fields = {"yours": d.yours.dtype, "right": d.right.dtype}
    if d.kind == "plain" and type(d.yours) is type(d.right):  # then it need not be named
        fields = {"yours": _shown(d.yours), "right": _shown(d.right)}
    if d.kind == "keys":
        found = {"missing": d.right - d.yours, "extra": d.yours - d.right}
        told = [
            WORDS[key][lang].format(names=several(sorted(map(repr, names)), lang))
            for key, names in found.items()
            if names
        ]
        fields = {"told": (" " if lang == "en" else "").join(told)}
    return fields


def _described(x: Any, lang: str) -> str:
    kind = next((name for kinds, name in NAMES.items() if isinstance(x, kinds)), None)
    called = type(x).__name__ if kind is None else kind[lang]
    return called if isinstance(x, np.ndarray) else f"{called} ({_shown(x)})"


# ---------------------------------------------------------------------------------- texts


@dataclass
class _Told:
    """The texts of verdicts on one exercise, in one language."""

    exercise: Exercise
    lang: str

    def right(self, count: int) -> Verdict:
        text = WORDS["right"][self.lang].format(name=self.exercise.name, count=count)
        return Verdict(True, text)

    def plainly(self, key: str, **fields: Any) -> Verdict:
        text = WORDS[key][self.lang].format(name=self.exercise.name, **fields)
        return Verdict(False, f"{self._heading()}\n\n{text}", key)

    def of_run(
        self,
        key: str,
        run: Run,
        worst: Difference | type | None = Difference,
        text: Text | None = None,
        elsewhere: tuple[int, int] = (0, 0),
        **fields: Any,
    ) -> Verdict:
        """A mistake, and the input on which it was seen; `worst` is the first one by default."""
        if isinstance(worst, type):
            worst = run.wrong[0] if run.wrong else None
        said = text[self.lang] if text else WORDS[key][self.lang].format(
            **fields, part=self._part(worst), note=run.case.note[self.lang]
        )  # fmt: skip
        said = said.replace("あなたの答え ", "あなたの答え")
        if 2 * elsewhere[0] >= elsewhere[1] > 0:
            said += " " * (self.lang == "en") + WORDS["elsewhere"][self.lang].format(
                passed=elsewhere[0], all=elsewhere[1], note=run.case.note[self.lang]
            )
        paragraphs = [self._heading(), said, *self._evidence(run, worst)]
        return Verdict(False, "\n\n".join(paragraphs), key)

    def _part(self, worst: Difference | None) -> str:
        return (worst.part if worst else "") or WORDS["answer"][self.lang]

    def _heading(self) -> str:
        return WORDS["wrong"][self.lang].format(name=self.exercise.name)

    def _evidence(self, run: Run, worst: Difference | None) -> Iterable[str]:
        known = {**run.case.args, **run.case.given}
        args = "\n".join(f"    {name} = {_shown(x, 7 + len(name))}" for name, x in known.items())
        yield WORDS["with"][self.lang].format(note=run.case.note[self.lang], args=args)
        if worst is None or worst.kind == "dtype":
            return
        small = not isinstance(worst.yours, np.ndarray) or worst.yours.size <= SMALL
        if small or worst.kind != "value":
            yield WORDS["both"][self.lang].format(
                part=self._part(worst),
                yours=_shown(worst.yours, 11 if self.lang == "en" else 12),
                right=_shown(worst.right, 11 if self.lang == "en" else 14),
            )
        if worst.kind == "value":
            at = tuple(map(int, np.argwhere(~close(worst.yours, worst.right, run.narrow))[0]))
            slope = self._slope(run, worst, at)
            if worst.right.ndim or slope:
                yield WORDS["at"][self.lang].format(
                    part=worst.part, at=list(at) if at else "", yours=_shown(worst.yours[at]),
                    right=_shown(worst.right[at]),
                ) + (" " if slope and self.lang == "en" else "") + slope  # fmt: skip

    def _slope(self, run: Run, worst: Difference, at: tuple[int, ...]) -> str:
        """What a finite difference says of one element of a gradient; "" if nothing can be said."""
        slopes, parts = self.exercise.slopes, _parts(self.exercise)
        if slopes is None or run.narrow or not run.case.smooth:
            return ""
        i = parts.index(worst.part) if worst.part in parts else 0
        known = {**run.case.args, **run.case.given}
        name, step = slopes.inputs[i], 1e-5

        def moved(by: float) -> float:
            x = np.array(known[name], dtype=np.float64)
            x[at] += by
            y = slopes.value(*({**known, name: x}[n] for n in slopes.names()))
            return float(np.sum(np.asarray(known.get("g", 1.0)) * to_numpy(y)))

        slope = (moved(step) - moved(-step)) / (2 * step)
        if abs(slope - worst.right[at]) > 1e-4 * max(1.0, abs(slope)):
            return ""  # a kink
        return WORDS["difference"][self.lang].format(
            name=f"{name}{list(at) if at else ''}", step=step, slope=f"{slope:.6g}"
        )


def _shown(x: Any, indent: int = 0) -> str:
    """`x` as a message shows it: small arrays whole, of others shape and dtype."""
    if isinstance(x, np.ndarray | np.generic) and x.ndim == 0:
        x = x.item()
    if isinstance(x, float):
        return f"{x:.10g}"
    if isinstance(x, np.ndarray):
        if x.size > SMALL:
            return f"{x.dtype} {x.shape}"
        text = np.array2string(x, precision=6, separator=", ", suppress_small=True)
        return text.replace("\n", "\n" + " " * indent)
    if isinstance(x, list | tuple):
        ends = "[]" if isinstance(x, list) else "()"
        shown = [_shown(part, indent) for part in x[:MOST]]
        if len(x) > MOST:
            shown.append(f"... {len(x)} in all")
        return ends[0] + ", ".join(shown) + "," * (ends == "()" and len(x) == 1) + ends[1]
    if isinstance(x, dict):
        parts = [f"{name!r}: {_shown(part, indent)}" for name, part in list(x.items())[:MOST]]
        if len(x) > MOST:
            parts.append(f"... {len(x)} in all")
        return "{" + ", ".join(parts) + "}"
    if isinstance(x, ModuleType):
        return x.__name__
    if callable(x):
        return str(x.__doc__ or getattr(x, "__name__", x)).splitlines()[0]
    return textwrap.shorten(repr(x), 400, placeholder=" ...")
