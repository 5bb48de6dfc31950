"""What checks an answer: it is run on inputs that tell mistakes apart, and told what is wrong.

In the order in which one reads them:

    Case  Mistake  Slopes  Exercise     what a page of exercises writes down
    Run  differences                    an answer on one input, and how it misses the right one
    check                               the runs, the mistake that explains them, and the text

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
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import numpy as np

from minigrad.autodiff import Tensor
from minigrad.backend import is_array, to_device, to_numpy
from minigrad.study.exercises.words import NAMES, WORDS, Text, both, language, several
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
        body = f'"""{_filled(self.doc[lang], lang, 4)}"""\n    raise NotImplementedError'
        if '"""' in heading or "\\" in heading:
            raise ValueError(f"{self.name}: a task with quotes or backslashes breaks the stub")
        parts = [f'"""{_filled(heading, lang, 0)}\n"""']
        parts += [self.imports] if self.imports else []
        return "\n\n".join(parts) + f"\n\n\n{self.signature}\n    {body}\n"

    def check(self, function: Callable, lang: str | None = None) -> Verdict:
        """Run an answer on all inputs; says what is wrong with it, or that it is right."""
        return _check(self, function, language(lang))

    def all_cases(self) -> list[Case]:
        """The inputs, and those of them that have arrays of float64 in float32, too."""
        cases = list(self.cases())
        twins = [c for c in cases if c.float32 and _narrowed(c.args) is not c.args]
        return cases + [
            replace(
                c,
                note=both(f"{c.note['en']}, in float32", f"{c.note['ja']}（float32）"),
                args=_narrowed(c.args),
                smooth=False,
            )
            for c in twins
        ]

    def called(self, function: Callable, args: dict[str, Any]) -> Any:
        """What `function` gives, which is compared with what the right answer gives."""
        return self.run(function, args) if self.run else function(*args.values())


def _filled(text: str, lang: str, indent: int) -> str:
    """`text` with its paragraphs broken into lines; code keeps its own."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("    "):
            lines.append(line)
        else:
            hang = "  " if line.startswith("- ") else ""
            lines += _broken(line, 92 - indent, hang)
    return "\n".join([lines[0], *(" " * indent + line if line else "" for line in lines[1:])])


def _broken(line: str, width: int, hang: str) -> list[str]:
    """A line in several: broken at spaces and after wide characters, best where a clause ends."""
    used, last, clause = 0, 0, 0
    for i, c in enumerate(line):
        wide = unicodedata.east_asian_width(c) in "WF"
        used += 1 + wide
        if used > width and last and c != " ":
            at = clause if 3 * clause > 2 * i else last
            return [line[:at].rstrip(), *_broken(hang + line[at:].lstrip(), width, hang)]
        ends = line[i + 1 : i + 2] not in (*"、。）」：", "")
        if i >= len(hang) and (c == " " or (wide and ends)):
            last = i + 1
            clause = last if c in "、。" else clause
    return [line]


def _narrowed(x: Any) -> Any:
    """`x` with float32 in place of float64 in its arrays; `x` itself if there are none."""
    if isinstance(x, np.ndarray) and x.dtype == np.float64:
        return x.astype(np.float32)
    if type(x) is dict:
        new = {name: _narrowed(part) for name, part in x.items()}
        return new if any(new[name] is not x[name] for name in x) else x
    if type(x) in (list, tuple):
        parts = [_narrowed(part) for part in x]
        return x if all(a is b for a, b in zip(parts, x, strict=True)) else type(x)(parts)
    return x


def _copied(x: Any, known: dict[int, Any] | None = None) -> Any:
    """`x` with copies of its arrays and containers; what is the same object stays the same."""
    known = {} if known is None else known
    if id(x) in known:
        return known[id(x)]
    new = x
    if isinstance(x, np.ndarray):
        new = x.copy()
    elif type(x) is dict:
        new = {name: _copied(part, known) for name, part in x.items()}
    elif type(x) in (list, tuple):
        new = type(x)(_copied(part, known) for part in x)
    known[id(x)] = new
    return new


# ------------------------------------------------------------------------------- differences


@dataclass(frozen=True)
class Difference:
    """Where an answer misses the right one: `kind` is type, length, keys, plain, shape, dtype or
    value."""

    part: str
    kind: str
    yours: Any
    right: Any


def differences(
    yours: Any, right: Any, narrow: bool, part: str = "", parts: Sequence[str] = ()
) -> Iterator[Difference]:
    """How `yours` differs from what is `right`; numbers may differ by rounding.

    Args:
        narrow: whether the numbers are float32.
        part: what is compared, as a message calls it.
        parts: names of the things in a tuple.
    """
    if isinstance(right, tuple | list):
        if not isinstance(yours, tuple | list):
            yield Difference(part, "type", yours, right)
        elif len(yours) != len(right):
            yield Difference(part, "length", yours, right)
        else:
            for i, (a, b) in enumerate(zip(yours, right, strict=True)):
                name = parts[i] if i < len(parts) else f"{part}[{i}]"
                yield from differences(a, b, narrow, name)
    elif isinstance(right, dict):
        if not isinstance(yours, dict):
            yield Difference(part, "type", yours, right)
        elif yours.keys() != right.keys():
            yield Difference(part, "keys", set(yours), set(right))
        else:
            for name in right:
                yield from differences(yours[name], right[name], narrow, f"{part}[{name!r}]")
    elif isinstance(right, set | frozenset):
        if not isinstance(yours, set | frozenset):
            yield Difference(part, "type", yours, right)
        elif yours != right:
            yield Difference(part, "keys", set(yours), set(right))
    elif right is None or isinstance(right, str | bool):
        yours = bool(yours) if isinstance(yours, np.bool_) else yours
        if type(yours) is not type(right):
            yield Difference(part, "type", yours, right)
        elif yours != right:
            yield Difference(part, "plain", yours, right)
    else:
        yield from _numbers_differ(yours, right, narrow, part)


def _numbers_differ(yours: Any, right: Any, narrow: bool, part: str) -> Iterator[Difference]:
    a, b = _numbers(yours), np.asarray(right)
    if a is None or (b.ndim and isinstance(yours, list | tuple)):
        yield Difference(part, "type", yours, right)
    elif a.shape != b.shape:
        yield Difference(part, "shape", a, b)
    elif not _near(a, b, narrow):
        yield Difference(part, "value", a, b)
    elif b.ndim and a.dtype != b.dtype:
        yield Difference(part, "dtype", a, b)


def _numbers(x: Any) -> np.ndarray | None:
    """`x` as an array; None if it is no numbers."""
    if type(x) is Tensor or is_array(x):
        return to_numpy(x.data if type(x) is Tensor else x)
    if not isinstance(x, int | float | np.generic | list | tuple):
        return None
    try:
        a = np.asarray(x)
    except ValueError:  # ragged
        return None
    return a if a.dtype.kind in "fiub" else None


def _close(a: np.ndarray, b: np.ndarray, narrow: bool) -> np.ndarray:
    """Where two arrays of one shape agree."""
    if b.dtype.kind in "iub" and a.dtype.kind in "iub":
        return a == b
    a, b = a.astype(np.float64), b.astype(np.float64)
    finite = np.abs(b[np.isfinite(b)])
    size = max(1.0, finite.max()) if finite.size else 1.0
    relative, absolute = (1e-4, 1e-5) if narrow else (1e-7, 1e-10)
    return np.isclose(a, b, relative, absolute * size, equal_nan=True)


def _near(a: np.ndarray, b: np.ndarray, narrow: bool) -> bool:
    return a.shape == b.shape and bool(_close(a, b, narrow).all())


# ---------------------------------------------------------------------------------- runs


@dataclass
class Run:
    """An answer on one input: what it gave or raised, how that is wrong, what it wrote to."""

    case: Case
    narrow: bool
    yours: Any = None
    right: Any = None
    error: Exception | None = None
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
    narrow = any(a.dtype == np.float32 for a in _arrays(one.args))
    run = Run(one, narrow, right=right)
    args = _copied(one.args)
    try:
        run.yours = _quietly(exercise.called, function, args)
    except Exception as error:
        run.error = error
        return run
    run.wrong = list(differences(run.yours, right, narrow, parts=_parts(exercise)))
    for name, before in one.args.items():
        pairs = zip(_arrays(before), _arrays(args[name]), strict=False)
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


def _arrays(x: Any) -> Iterator[np.ndarray]:
    """The NumPy arrays in `x`."""
    if isinstance(x, np.ndarray):
        yield x
    elif isinstance(x, dict):
        for part in x.values():
            yield from _arrays(part)
    elif isinstance(x, list | tuple):
        for part in x:
            yield from _arrays(part)


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
        right = _quietly(exercise.called, exercise.answer, _copied(one.args))
        runs.append(_run(exercise, function, one, right))
        if isinstance(runs[-1].error, NotImplementedError):
            return told.plainly("unwritten")
        if isinstance(runs[-1].error, Wrong) and not any(run.failed for run in runs[:-1]):
            break  # what is wrong is known, and later inputs may take long
    failing = [run for run in runs if run.failed]
    if failing:
        return _explained(exercise, runs, failing, told, function)
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
    named = slopes.names()

    def value(*xs):
        return slopes.value(*(dict(zip(slopes.inputs, xs, strict=True)).get(n, known.get(n))
                              for n in named))  # fmt: skip

    def with_rule(*xs):
        y = value(*xs)
        return y, (xs, y)

    def pulled(kept, g):
        xs, y = kept
        now = {**known, **dict(zip(slopes.inputs, xs, strict=True)), "g": g}
        if "y" not in slopes.inputs:  # then that is the output
            now["y"] = y
        given = [
            to_numpy(x.data if type(x) is Tensor else x).copy()
            if type(x) is Tensor or is_array(x)
            else x
            for x in (now[name] for name in one.args)
        ]
        found = _quietly(rule, *given)
        found = found if isinstance(found, tuple | list) else (found,)
        if "g" not in one.args:  # a derivative by itself
            found = [np.asarray(v) * to_numpy(g.data if type(g) is Tensor else g) for v in found]
        return tuple(Tensor(to_device(np.asarray(v, np.float64))) for v in found)

    checked = custom_vjp(value)
    checked.defvjp(with_rule, pulled)
    inputs = [np.asarray(known[name], dtype=np.float64) for name in slopes.inputs]
    try:
        check_gradients(checked, *inputs, order=1)
    except AssertionError as error:
        return str(error)
    return ""


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
    for among in (runs, explicable) if explicable else ():
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
    key, fields = _relation([(d.yours, d.right, run) for run, d in wrong])
    if key in ("value", "shape"):  # of several things, that are wrong in several ways, look at one
        wrong = [(run, d) for run, d in wrong if d.part == worst.part]
        key, fields = _relation([(d.yours, d.right, run) for run, d in wrong])
    if key == "shape" or key in _SHAPES:
        first, worst = next((run, d) for run, d in wrong if d.kind == "shape")
        fields = {"yours": worst.yours.shape, "right": worst.right.shape}
    if "times" in fields:
        fields["times"] = times(fields["times"], told.lang)
    if key in ("value", "shape") and len(failing) <= len(runs) / 2:
        fields |= {"passed": len(runs) - len(failing), "all": len(runs)}
        return told.of_run(f"{key}_here", first, worst, **fields)
    return told.of_run(key, first, worst, elsewhere=(len(runs) - len(failing), len(runs)), **fields)


def _agrees(exercise: Exercise, mistake: Callable, run: Run) -> bool:
    """Whether a known mistake gives what the student's answer gave."""
    try:
        given = _quietly(exercise.called, mistake, _copied(run.case.args))
    except Exception as error:
        return type(error) is type(run.error)
    if run.error is not None:
        return False
    found = differences(run.yours, given, run.narrow)
    return all(d.kind == "dtype" for d in found)


def _raised(error: Exception, function: Callable) -> str:
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
    if d.kind == "keys":
        missing, extra = d.right - d.yours, d.yours - d.right
        fields = {
            "missing": several(sorted(map(repr, missing)), lang) or "-",
            "extra": several(sorted(map(repr, extra)), lang) or "-",
        }
    return fields


def _described(x: Any, lang: str) -> str:
    kind = next((name for kinds, name in NAMES.items() if isinstance(x, kinds)), None)
    called = type(x).__name__ if kind is None else kind[lang]
    return called if isinstance(x, np.ndarray) else f"{called} ({_shown(x)})"


Pairs = list[tuple[np.ndarray, np.ndarray, Run]]


def _relation(pairs: Pairs) -> tuple[str, dict[str, Any]]:
    """The key of what all wrong numbers have in common with the right ones, and its fields."""

    def every(test: Callable[[np.ndarray, np.ndarray, Run], Any]) -> bool:
        return all(bool(test(y, r, run)) for y, r, run in pairs)

    if every(_transposed):
        return "transposed", {}
    if any(y.shape != r.shape for y, r, _ in pairs):
        return next((key for key, test in _SHAPES.items() if every(test)), "shape"), {}
    for key, test in _NUMBERS.items():
        if every(test):
            return key, {}
    if every(lambda y, r, run: "g" in run.case.args and _outer(y, r, run)):
        return "outer", {}
    ratios = [_ratio(y, r, run.narrow) for y, r, run in pairs]
    if all(ratio is not None for ratio in ratios):
        found = [float(ratio) for ratio in ratios if ratio is not None]
        if max(found) - min(found) <= 1e-3 * abs(found[0]):
            return "factor", {"times": found[0]}
        whole = [c if abs(c) > 1 else 1 / c for c in found]
        if all(round(c) in _lengths(run) for c, (_, _, run) in zip(whole, pairs, strict=True)):
            return ("times_n" if abs(found[0]) > 1 else "over_n"), {"n": round(whole[0])}
    return "value", {}


def times(c: float, lang: str) -> str:
    """'twice', 'half' or '1.5 times', in a language."""
    for number, text in (
        (2.0, {"en": "twice", "ja": " 2 倍"}),
        (0.5, {"en": "half", "ja": "半分"}),
    ):
        if abs(c - number) < 1e-3:
            return text[lang]
    return f"{c:.4g} times" if lang == "en" else f" {c:.4g} 倍"


def _transposed(y: np.ndarray, r: np.ndarray, run: Run) -> bool:
    return y.ndim > 1 and any(_near(t, r, run.narrow) for t in (y.swapaxes(-1, -2), y.T))


def _ratio(y: np.ndarray, r: np.ndarray, narrow: bool) -> float | None:
    """The number that `r` is to be multiplied with to give `y`, if there is one."""
    y, r = y.astype(np.float64), r.astype(np.float64)
    size = float((r * r).sum())
    c = float((y * r).sum()) / size if size and np.isfinite(y).all() else 0.0
    return c if c and _near(y, c * r, narrow) else None


def _lengths(run: Run) -> set[int]:
    """The lengths of axes, and the sizes, of the arrays that came in."""
    arrays = list(_arrays(run.case.args))
    return {n for a in arrays for n in (a.size, *a.shape)}


def _outer(y: np.ndarray, r: np.ndarray, run: Run) -> bool:
    g = np.asarray(run.case.args["g"])
    try:
        return _near(np.asarray(y * g), r, run.narrow)
    except ValueError:
        return False


def _summed(g: np.ndarray, shape: tuple[int, ...], mean: bool = False) -> np.ndarray | None:
    """`g` summed to `shape`, to which it was broadcast; None if it was not."""
    lead = g.ndim - len(shape)
    if lead < 0 or any(n not in (1, m) for n, m in zip(shape, g.shape[lead:], strict=True)):
        return None
    axes = tuple(i for i in range(g.ndim) if i < lead or shape[i - lead] != g.shape[i])
    return (g.mean(axes) if mean else g.sum(axes)).reshape(shape)


def _is_summed(y: np.ndarray, r: np.ndarray, run: Run, mean: bool = False) -> bool:
    summed = _summed(y, r.shape, mean)
    return summed is not None and _near(summed, r, run.narrow)


def _only(i: int) -> Callable:
    """A test whether only the first, or the last, elements along an axis are there."""

    def test(y, r, run):
        for axis in range(r.ndim):
            rest = np.delete(y, i, axis)
            kept = _near(np.take(y, i, axis), np.take(r, i, axis), run.narrow)
            if rest.size and not rest.any() and kept:
                return True
        return False

    return test


_SHAPES: dict[str, Callable] = {
    "axes": lambda y, r, run: (
        y.size == r.size
        and [n for n in y.shape if n > 1] == [n for n in r.shape if n > 1]
        and _near(y.reshape(r.shape), r, run.narrow)
    ),
    "not_summed": _is_summed,
    "not_averaged": lambda y, r, run: _is_summed(y, r, run, mean=True),
    "over_summed": lambda y, r, run: (
        (summed := _summed(r, y.shape)) is not None and _near(y, summed, run.narrow)
    ),
}

_NUMBERS: dict[str, Callable] = {
    "nan": lambda y, r, run: (np.isnan(y) & ~np.isnan(r)).any(),
    "infinite": lambda y, r, run: (np.isinf(y) & np.isfinite(r)).any(),
    "zeros": lambda y, r, run: not y.any(),
    "integers": lambda y, r, run: (
        y.dtype.kind in "iu" and _near(y, np.trunc(r).astype(int), run.narrow)
    ),
    "sign": lambda y, r, run: _near(y, -r, run.narrow),
    "absolute": lambda y, r, run: _near(y, np.abs(r), run.narrow),
    "reversed": lambda y, r, run: r.ndim == 1 and _near(y[::-1], r, run.narrow),
    "first_only": _only(0),
    "last_only": _only(-1),
    "squared": lambda y, r, run: _near(y, r * r, run.narrow),
    "inverse": lambda y, r, run: r.all() and _near(y, 1 / r, run.narrow),
    "offset": lambda y, r, run: (
        r.size > 1 and np.ptp(y - r) <= 1e-6 * np.abs(y - r).max() and np.isfinite(y).all()
    ),
    "imprecise": lambda y, r, run: np.allclose(y, r, 1e-3, 1e-3 * np.abs(r).max(initial=0)),
}


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
            at = tuple(map(int, np.argwhere(~_close(worst.yours, worst.right, run.narrow))[0]))
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
