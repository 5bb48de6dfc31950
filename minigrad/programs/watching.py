"""Which Python code runs while a function is captured, whose it is, and which names it reads."""

import dis
import functools
import gc
import importlib.machinery
import inspect
import os
import random
import sys
import sysconfig
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, NamedTuple, TypeVar

import numpy as np

# ------------------------------------------------------------------------------- whose code it is

OURS, LIBRARY, USERS = range(3)  # the engine; Python's own and NumPy's; everybody else's

_PACKAGE = str(Path(__file__).parents[1]) + os.sep
_EXAMPLES = os.path.join(_PACKAGE, "examples", "")  # who runs one is its user
_PYTHONS = tuple(sysconfig.get_path(kind) + os.sep for kind in ("stdlib", "platstdlib"))
_SITE = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
COMPILED = tuple(importlib.machinery.EXTENSION_SUFFIXES)
_COMPILERS = tuple(f"{os.sep}{name}{os.sep}" for name in ("numba", "llvmlite"))
_NUMERIC = (*_COMPILERS, *(f"{os.sep}{name}{os.sep}" for name in ("numpy", "scipy")))


# What computes on a device is part of the engine: it compiles and looks into files on the way.
_DEVICES = (
    *(f"{os.sep}{name}{os.sep}" for name in ("cupy", "cupyx", "cupy_backends")),
    f"{os.sep}cuda{os.sep}pathfinder",
)


def home_of(kind: type) -> str:
    """The module of a class; of classes that Cython makes for functions it is no text."""
    name = kind.__module__
    return name if isinstance(name, str) else "cython"


@functools.cache
def owner_of(file: str) -> int:
    """Whose code a file holds: OURS, LIBRARY or USERS."""
    if file.startswith(_PACKAGE):
        return USERS if file.startswith(_EXAMPLES) else OURS
    if any(part in file for part in _DEVICES):
        return OURS
    if file.startswith(("<frozen", "<__array_function__")):
        return LIBRARY
    if any(part in file for part in _SITE):
        return LIBRARY if any(part in file for part in _NUMERIC) else USERS
    return LIBRARY if file.startswith(_PYTHONS) else USERS


def owner_of_module(name: str) -> int:
    if name in sys.builtin_module_names:
        return LIBRARY
    file = getattr(sys.modules.get(name), "__file__", None)
    if isinstance(file, str):  # a module's own __getattr__ may answer anything
        return owner_of(file)
    return LIBRARY if name.split(".")[0] in sys.stdlib_module_names else USERS


# ------------------------------------------------------------------------------------- watching

# What C functions read that no guard can compare, by module and name; None for all of a module.
_READS_OUTSIDE: dict[str, set[str] | None] = {
    "time": None, "posix": None, "nt": None, "_random": None, "_socket": None, "gc": None,
    "_posixsubprocess": None, "_winapi": None, "_sqlite3": None,
    "_thread": {"start_new_thread", "start_joinable_thread"},
    "builtins": {"open", "input", "globals"}, "io": {"open"}, "_io": {"open"},
    "sys": {"_getframe", "getrefcount", "_current_frames", "getrecursionlimit"},
}  # fmt: skip
_HARMLESS = {"sleep", "fspath", "getpid", "cpu_count", "register_at_fork"}
# What is read without a call that is told, or of what no call is told at all, by its name.
READS_UNSEEN = {
    "fromfile", "geterr", "get_printoptions", "get_num_threads", "__closure__", "cell_contents",
    "__defaults__", "__kwdefaults__", "__annotations__", "__doc__", "__subclasses__",
}  # fmt: skip
_READS_FILES = {"read", "readline", "readlines", "readinto", "read1"}
_NOW = {"now", "utcnow", "today"}
# Code of ours that reads attributes of what users make of our classes.
_READERS = tuple(os.path.join(_PACKAGE, folder, "") for folder in ("nn", "learner"))
# Helpers of the interpreter that look into files for reasons of their own.
_ASIDE = ("linecache.py", "warnings.py", "traceback.py", "tokenize.py")
_READS_ALL = ("dataclasses.py", "copy.py", "pprint.py", "inspect.py", "pickle.py")


class Watch:
    """Notes, in a `with` block, which Python code runs on this thread.

    Attributes:
        codes: the code of users that ran, with its globals.
        library, ours: the names in code of Python's libraries that users called, and in ours.
        helpers: such code of Python's libraries.
        spread: the names of our classes of which a method read attributes without naming them.
        environment: whether `os.environ` was read.
        all_attributes: whether attributes were read unnamed, as `dataclasses.asdict` does.
        unwatched: what was read that cannot be compared.
    """

    def __init__(self) -> None:
        self.codes: dict[tuple[int, int], tuple[CodeType, dict[str, Any]]] = {}
        self.library: set[str] = set()
        self.helpers: list[CodeType] = []
        self.spread: set[str] = set()
        self.ours: set[str] = set()
        self.environment = self.all_attributes = False
        self.unwatched: list[str] = []
        self._kinds: dict[int, tuple[CodeType, int]] = {}  # keeps the code: its id stays its own

    def __enter__(self) -> "Watch":
        self._dice, self._collecting = _dice(), gc.isenabled()
        gc.disable()  # what it calls back is not the function's
        sys.setprofile(self._tell())
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)
        if self._collecting:
            gc.enable()
        if _dice() != self._dice:
            self.unwatched.append("random numbers of Python's or NumPy's")

    def _tell(self) -> Callable[[FrameType, str, Any], None]:
        kinds, codes = self._kinds, self.codes

        def tell(frame: FrameType, event: str, x: Any) -> None:
            code = frame.f_code
            known = kinds.get(id(code))
            owner = self._first(frame, code) if known is None else known[1]
            if owner == OURS:
                return
            if event == "call":
                if owner == USERS:
                    codes.setdefault((id(code), id(frame.f_globals)), (code, frame.f_globals))
                    local = not code.co_flags & inspect.CO_OPTIMIZED  # `eval` was given variables
                    if local and isinstance(frame.f_locals, Mapping):
                        codes.setdefault((id(code), id(frame.f_locals)), (code, frame.f_locals))
                elif code.co_qualname.startswith("_Environ."):
                    self.environment = self.environment or _for_users(frame)
            elif event == "c_call":
                self._called(frame, x)

        return tell

    def _first(self, frame: FrameType, code: CodeType) -> int:
        """Note code that was not met before; whose it is."""
        file, owner = code.co_filename, _owner(frame)
        if owner == OURS:
            if file.startswith(_READERS):
                self.ours.update(code.co_names)
            if (_ASKS | _SHOWS_ALL).intersection(code.co_names) and names_in(code).all:
                self.spread.add(code.co_qualname.split(".")[0])
        elif frame.f_globals.get("__name__", "").startswith("namedtuple_"):
            owner = OURS  # a constructor that reads nothing
        elif not _for_users(frame):
            owner = OURS
        elif owner == LIBRARY:
            self.library.update(code.co_names)
            self.helpers.append(code)
            if file.endswith(_READS_ALL):
                self.all_attributes = True
            if code.co_name == "import_module":
                self.unwatched.append("import_module()")
        self._kinds[id(code)] = code, owner
        return owner

    def _called(self, frame: FrameType, function: Any) -> None:
        """Note that a function of C is called, if it reads what nobody can compare."""
        home, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        if isinstance(home, ModuleType):
            names = _READS_OUTSIDE.get(home.__name__, ())
            told = f"{home.__name__}.{name}"
            found = (names is None or name in names) and name not in _HARMLESS
        elif isinstance(home, type):
            told, found = f"{home.__name__}.{name}", name in _NOW
        else:
            kind = type(home)
            told = f"{kind.__name__}.{name}"
            found = home_of(kind) == "_io" and name in _READS_FILES
            found = found or home_of(kind) == "sqlite3"
            found = found or (home_of(kind) == "_thread" and name == "locked")
            if kind is str and name in ("format", "format_map") and _for_users(frame):
                self.all_attributes = True  # "{0.value}"
            found = found or isinstance(home, random.Random)
        file = frame.f_code.co_filename
        aside = file.startswith("<frozen importlib") or file.endswith(_ASIDE)
        if found and not aside and _for_users(frame) and f"{told}()" not in self.unwatched:
            self.unwatched.append(f"{told}()")


def _dice() -> tuple:
    """The states of the random numbers that all share."""
    # (NumPy loads it when it is asked for: within the watched step that would look like a change.)
    state: Any = np.random.get_state(legacy=False)
    state = state["state"]
    return hash(random.getstate()), state.get("pos"), bytes(state.get("key", b""))


def _owner(frame: FrameType) -> int:
    """Whose code runs; what `exec` was given, as by dataclasses, is that of its module."""
    file, module = frame.f_code.co_filename, frame.f_globals.get("__name__")
    return (
        owner_of_module(module) if file == "<string>" and module in sys.modules else owner_of(file)
    )


def _for_users(frame: FrameType | None) -> bool:
    """Whether code runs for a user's: not for ours, and not because a module is imported."""
    users = False
    while frame is not None and (owner := _owner(frame)) != OURS:
        file = frame.f_code.co_filename
        if file.startswith("<frozen importlib") or any(part in file for part in _COMPILERS):
            return False
        if owner == USERS:
            users = True
            if not (file == "<string>" or any(part in file for part in _SITE)):
                break
        frame = frame.f_back
    return users


# -------------------------------------------------------------------------- the names in a code


class Names(NamedTuple):
    """What a code names: globals, attributes, modules that it imports.

    dotted: pairs of a name and an attribute that is read of it, such as ("sys", "argv").
    asked: those of the attributes that `getattr` and `hasattr` are given, which may be absent.
    all: whether it reads attributes without naming them (`vars(x)`, `getattr(x, computed)`).
    """

    globals: frozenset[str]
    attributes: frozenset[str]
    imports: frozenset[str]
    dotted: frozenset[tuple[str, str]]
    asked: frozenset[str]
    all: bool


_ASKS = {"getattr", "hasattr", "attrgetter", "methodcaller"}
_SHOWS_ALL = {"vars", "__dict__", "__getattribute__", "getmembers", "asdict", "astuple", "deepcopy"}


def names_in(code: CodeType) -> Names:
    instructions = list(dis.get_instructions(code))
    globals_, attributes, imports, dotted, maybe = set(), set(), set(), set(), set()
    called: dict[str, str] = {}  # modules that are imported here, by the names they get
    everything, module, before = False, "", None
    for i, instruction in enumerate(instructions):
        op, name = instruction.opname, instruction.argval
        if op in ("LOAD_ATTR", "LOAD_METHOD") and isinstance(before, str):
            dotted |= {(before, name), (called.get(before, before), name)}
        elif op == "IMPORT_FROM":
            dotted.add((module, name))
        elif op == "IMPORT_NAME":
            module = name
        elif op.startswith("STORE_") and before == module != "":
            called[name] = module
        before = name
        if op in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"):
            globals_.add(name)
        elif op in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM") or op.startswith("LOAD_SUPER"):
            attributes.add(name)
        elif op == "IMPORT_NAME":
            imports.add(name)
        elif op == "MATCH_CLASS" and isinstance(instructions[i - 1].argval, tuple):
            attributes.update(("__match_args__", *instructions[i - 1].argval))
        if name in _ASKS and op.startswith("LOAD"):
            asked = _asked(instructions[i + 1 :])
            maybe.update(asked)
            everything = everything or not asked
    everything = everything or bool(_SHOWS_ALL & (globals_ | attributes))
    return Names(
        frozenset(globals_), frozenset(attributes | maybe), frozenset(imports), frozenset(dotted),
        frozenset(maybe), everything,
    )  # fmt: skip


def _asked(instructions: list[dis.Instruction]) -> set[str]:
    """The names that `getattr` is given; none if they are computed."""
    found: set[str] = set()
    for instruction in instructions:
        if instruction.opname.startswith(("PRECALL", "CALL")):
            return found
        if instruction.opname.startswith(("FORMAT", "BUILD", "BINARY")):
            return set()
        if instruction.opname.startswith("LOAD_CONST") and isinstance(instruction.argval, str):
            found.add(instruction.argval)
    return set()


# ----------------------------------------------------------- what classes and functions consist of

T = TypeVar("T")


def once_each(function: Callable[[Any], T]) -> Callable[[Any], T]:
    """Decorator: `functools.cache`, for functions of a class; mypy thinks that it has no hash."""
    return functools.cache(function)


def parts_of(x: Any) -> tuple | None:
    """What something that is called, or wraps what is called, consists of; None for all else."""
    if isinstance(x, types.MethodType):
        return x.__self__, x.__func__
    if isinstance(x, functools.partial | functools.partialmethod):
        return x.func, x.args, x.keywords
    if isinstance(x, functools.cached_property):
        return (x.func,)
    if isinstance(x, staticmethod | classmethod):
        return (x.__func__,)
    if isinstance(x, property):
        return x.fget, x.fset
    if isinstance(x, types.BuiltinFunctionType):
        return () if isinstance(x.__self__, ModuleType) else (x.__self__,)
    if home_of(type(x)) == "minigrad.programs.jitted":
        return (x.function,) if hasattr(x, "function") else ()
    return None


def may_run(function: Any) -> list[types.FunctionType]:
    """A function of users and all of theirs that it may call, as far as names tell."""
    found: dict[int, types.FunctionType] = {}
    todo = [function]
    while todo:
        f = todo.pop()
        todo += parts_of(f) or ()
        f = f.__wrapped__ if isinstance(f, functools._lru_cache_wrapper) else f
        if not isinstance(f, types.FunctionType) or id(f.__code__) in found:
            continue
        if owner_of(f.__code__.co_filename) != USERS:
            continue
        found[id(f.__code__)] = f
        names = names_in(f.__code__)
        objects = [f.__globals__[n] for n in names.globals if n in f.__globals__]
        for x in (*objects, *map(contents_of, f.__closure__ or ())):
            todo.append(x)
            kind = x if isinstance(x, type) else type(x)
            homes = (x,) if isinstance(x, ModuleType) else kind.__mro__
            todo += [vars(home)[n] for home in homes for n in names.attributes if n in vars(home)]
    return list(found.values())


@once_each
def is_extension(kind: type) -> bool:
    """Whether objects of a class have more in them than Python sees."""
    if not any("__slots__" in vars(c) or "__dict__" in vars(c) for c in kind.__mro__[:-1]):
        return True
    files = [getattr(sys.modules.get(home_of(c)), "__file__", None) for c in kind.__mro__[:-1]]
    return any(isinstance(file, str) and file.endswith(COMPILED) for file in files)


@once_each
def slots_of(kind: type) -> frozenset[str]:
    """The attributes that lie in slots."""
    return frozenset(
        n for c in kind.__mro__ for n, v in vars(c).items() if type(v) is types.MemberDescriptorType
    )


def inherited_by(kind: type) -> set[str]:
    """The names of what classes have."""
    return {n for c in kind.__mro__[:-1] for n in vars(c)}


def code_of(x: Any) -> int:
    """The id of the code of a function, or of what a class makes of one; 0 for all else."""
    functions = (f for f in (x, *(parts_of(x) or ())) if isinstance(f, types.FunctionType))
    return next((id(f.__code__) for f in functions), 0)


_EMPTY = object()


def contents_of(cell: Any) -> Any:
    """What a closure's variable is; `_EMPTY` before it is set."""
    try:
        return cell.cell_contents
    except ValueError:
        return _EMPTY
