"""What a captured function read beside its arguments, and whether all of that still holds.

While a function is captured a `Watch` notes which Python code runs. Whatever that code can have
read is found from the names in it: globals, closures and defaults by name, attributes of the
objects met there by name, lists, dictionaries and small arrays as a whole. Code that reads
attributes without naming them (`vars(x)`, `getattr(x, computed)`) has all of them compared. A
`Guard` keeps what was found and compares it before each run of the program, mostly by identity and
in C: that costs some 50 ns a name. More is guarded than was read, and never less, but for what
`mg.jit` lists in its docstring.

Where something cannot be compared (a file, a clock, an iterator, an object of an extension) the
guard says so in `unwatched`, and the function has to run as it is.
"""

import _abc
import abc
import builtins
import functools
import gc
import io
import operator
import os
import random
import sys
import threading
import types
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, MappingView
from contextvars import ContextVar
from itertools import chain
from types import CodeType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from minigrad import graph
from minigrad.autodiff import Op, Tensor
from minigrad.backend import is_array
from minigrad.nn.module import Module, changes
from minigrad.optim import Optimizer
from minigrad.optim.flat import adopt_all
from minigrad.programs.watching import (
    LIBRARY,
    OURS,
    READS_UNSEEN,
    USERS,
    Watch,
    code_of,
    contents_of,
    home_of,
    inherited_by,
    is_extension,
    may_run,
    names_in,
    once_each,
    owner_of,
    owner_of_module,
    parts_of,
    slots_of,
)

# Of these only the place where they stand has to be compared: they never change themselves.
_ATOMS = (
    bool, int, float, complex, str, bytes, type(None), type(Ellipsis), type(NotImplemented), range,
    slice, np.generic, np.dtype, np.ufunc, CodeType, types.GenericAlias, types.UnionType,
    operator.itemgetter,
)  # fmt: skip


@once_each
def _is_atom(kind: type) -> bool:
    """Whether objects of a class never change; those of a subclass can have attributes."""
    return issubclass(kind, _ATOMS) and kind is not np.void and not kind.__dictoffset__


_SAFE = {  # modules of C types that never change, or whose state no result hangs on
    "builtins", "re", "_sre", "datetime", "decimal", "uuid", "fractions", "_thread", "numpy",
    "typing", "types", "pathlib", "zoneinfo", "ml_dtypes", "_abc", "abc", "functools", "cython",
    "collections", "_collections",
}  # fmt: skip
_KNOWN = {"minigrad.random", "minigrad.graph", "minigrad.optim.flat", "minigrad.backend"}
_TOLD = {"_hooks", "_buffers"}
_MOST = 50_000  # entries of a container; ten times as many objects may be looked at, once
_BYTES = 1 << 20  # of an array; of a larger one that an op takes, single numbers are not seen


class Entry(NamedTuple):
    """Things to compare: `get(item)` must be what it was, for each of `items`."""

    get: Callable[[Any], Any]
    items: Any
    values: list[Any]
    label: Callable[[Any], str]


class Guard:
    """What a function depends on beside its arguments.

    Args:
        function: what was run.
        objects: its arguments that are no data, such as a model.
        watch: what ran meanwhile.
        whole: whether an array was an op's input as a whole, so that every run reads it anew.
        made: whether an array was computed by an op of this run.

    Attributes:
        unwatched: what was read that cannot be compared; then the function has to run as it is.
        changed: what `holds` has found to be different.
        modules, tensors, optimizers: that were met.
        kept: tensors of this run that it left behind, such as `self.last = y`, by their places.
        absent: tensors that must not have a gradient when a run begins.
        reads_gradients: whether users' code names `grad`.
        grads: tensors whose gradient must be the one that they had.
    """

    def __init__(
        self,
        function: Callable,
        objects: list[Any],
        watch: Watch,
        whole: Callable[[Any], bool],
        made: Callable[[Any], bool],
    ):
        self.unwatched, self.changed = list(watch.unwatched), ""
        self.modules: list[Module] = []
        self.tensors: list[Tensor] = []
        self.optimizers: list[Optimizer] = []
        self.kept: dict[str, Tensor] = {}
        self.absent: list[Tensor] = []
        self.grads: list[tuple[Tensor, Any]] = []
        self._entries: list[Entry] = []
        self._sized: list[Entry] = []  # what is iterated over, so that its length counts
        self._settings: list[Entry] = []  # of modules, which say themselves when one is set
        self._arrays: list[tuple[str, Any, bytes]] = []
        # By id, or an id and what was looked at; it keeps them, so that an id stays its own.
        self._met: dict[Any, Any] = {}
        self._queue: deque[tuple[str, Any]] = deque()
        self._watch, self._whole, self._made = watch, whole, made
        self._follow(function, objects)
        for p in [p for m in self.modules for p in (*m.parameters(), *m.buffers())]:
            if id(p) not in self._met:
                self._met[id(p)] = p
                self.tensors.append(p)
        self.reads_gradients = "grad" in self._users
        del self._codes, self._watch, self._whole, self._made, self._queue, self._met

    def seal(self) -> None:
        """The function has run: what holds now must hold from here on."""
        self._changes, self._rebound = changes(), graph.rebound[0]
        self._rows = [(t, t._data, t.requires_grad) for t in self.tensors]
        self._line_up()

    def _line_up(self) -> None:
        """Put all that is compared end to end, so that C compares it in one go."""
        self._gets, self._items, self._values = [], [], []
        self._reads, self._scopes, self._read = [], [], []  # several names of one dictionary each
        for get, items, values, _ in self._entries:
            scope = getattr(get, "__self__", None)
            if isinstance(scope, dict | types.MappingProxyType):
                if absent := [n for n in items if n not in scope]:
                    self._gets.append(scope.keys().isdisjoint)
                    self._items.append(absent)
                    self._values.append(True)
                pairs = [(n, v) for n, v in zip(items, values, strict=True) if n in scope]
                items, values = [n for n, _ in pairs], [v for _, v in pairs]
                if len(items) > 1:
                    self._reads.append(operator.itemgetter(*items))
                    self._scopes.append(scope)
                    self._read += values
                    continue
            self._gets += [get] * len(items)
            self._items += items
            self._values += values
        self._values = self._read + self._values
        self._containers = [entry.items for entry in self._sized]
        self._lengths = [len(entry.values) for entry in self._sized]
        self._inside = [value for entry in self._sized for value in entry.values]

    # -- what was met

    def _follow(self, function: Callable, objects: list[Any]) -> None:
        watch = self._watch
        self._codes = dict(watch.codes)
        known = -1
        while known < len(self._codes):  # more code may be met that has to be taken into account
            known = len(self._codes)
            lists: tuple[list, ...] = (self.modules, self.tensors, self.optimizers, self._arrays)
            for found in (*lists, self._entries, self._sized, self._settings):
                found.clear()
            self._met.clear()
            self.kept.clear()
            self.unwatched = list(watch.unwatched)
            codes = [code for code, _ in self._codes.values()]
            self._ran = {id(code) for code in (*codes, *watch.helpers)}
            named = [(names_in(code), scope) for code, scope in self._codes.values()]
            self._users = frozenset().union(*(names.attributes for names, _ in named))
            self._asked = frozenset().union(*(names.asked for names, _ in named))
            self._all = watch.all_attributes or any(names.all for names, _ in named)
            self._dotted: dict[str, set[str]] = {}
            for names, _ in named:
                for name, attribute in names.dotted:
                    self._dotted.setdefault(name, set()).add(attribute)
            everything = self._users.union(*(names.globals for names, _ in named))
            self.unwatched += sorted(READS_UNSEEN & everything)
            self._class(Tensor)
            self._meet("the function", function)
            for x in objects:
                self._meet("an argument", x)
            for names, scope in named:
                self._names("", scope, names.globals)
                package = scope.get("__package__") or ""
                for name in names.imports:
                    for full in (name, f"{package}.{name}" if name else package):
                        if full in sys.modules:
                            self._names("", sys.modules, [full])
            absent = (names.globals.difference(scope) for names, scope in named)
            self._of_library(builtins, set().union(*absent))
            if watch.environment:
                self._contents("os.environ", vars(os.environ)["_data"])
            self._walk()
            self._find_closures(codes)
            self._walk()
        self.unwatched = list(dict.fromkeys(self.unwatched))

    def _walk(self) -> None:
        while self._queue:
            self._look(*self._queue.popleft())
            if len(self._met) > 10 * _MOST:
                self.unwatched.append(f"more than {10 * _MOST:,} objects can be reached from it")
                return self._queue.clear()

    def _find_closures(self, codes: list[CodeType]) -> None:
        """Functions that ran but were not met: whatever has such a code is taken for them."""
        inside = {id(part) for code in codes for part in code.co_consts}
        for code in codes:
            if code.co_freevars and id(code) not in self._met and id(code) not in inside:
                for x in gc.get_referrers(code):
                    if isinstance(x, types.FunctionType):
                        self._meet(code.co_qualname, x)

    def _meet(self, path: str, x: Any) -> None:
        if not _is_atom(type(x)) and id(x) not in self._met:
            self._met[id(x)] = x
            self._queue.append((path, x))

    def _look(self, path: str, x: Any) -> None:
        """Guard what is in `x`, and go on to what is there."""
        kind = type(x)
        home = home_of(kind)
        if kind is Tensor:
            self.tensors.append(x)
        elif isinstance(x, Module):
            self._module(path, x)
        elif isinstance(x, Optimizer):
            self._optimizer(path, x)
        elif isinstance(x, Op):
            for part in (x.formula, x.joint_rule, *(x.rules or ())):
                self._meet(path, part)
        elif isinstance(x, np.ndarray | np.void):
            self._array(path, x)
        elif is_array(x):
            if not self._whole(x):
                self.unwatched.append(f"{path} is an array on a device, which is not compared")
        elif isinstance(x, _CONTAINERS):
            self._contents(path, x)
            if hasattr(x, "__dict__"):
                self._object(path, x)
        elif isinstance(x, types.FunctionType):
            self._function(x)
        elif isinstance(x, functools._lru_cache_wrapper):
            for f in may_run(x.__wrapped__):  # it may not have run, and counts all the same
                self._codes.setdefault(
                    (id(f.__code__), id(f.__globals__)), (f.__code__, f.__globals__)
                )
            self._meet(path, x.__wrapped__)
        elif (parts := parts_of(x)) is not None:
            for part in parts:
                self._meet(path, part)
        elif isinstance(x, ModuleType):
            if owner_of_module(x.__name__) == USERS:
                found = vars(x)
                here = {n for n in self._users if n in found} | self._asked
                self._names(f"{x.__name__}.", found, here)
        elif isinstance(x, type):
            self._class(x)
            self._class(type(x))
        elif isinstance(x, ContextVar | weakref.ref):
            read = (lambda v: v.get(None)) if isinstance(x, ContextVar) else (lambda r: r())
            self._note([x], read, lambda v: path)
            self._meet(path, read(x))
        elif (size := _bytes_in(x)) is not None:
            if size > _BYTES:
                self.unwatched.append(f"{path} has {size / 1e6:.0f} MB, which are not compared")
            else:
                self._arrays.append((path, x, _content_of(x)))
        elif isinstance(x, operator.attrgetter | operator.methodcaller):
            self._all = True
        elif _cannot_be_compared(x):
            self.unwatched.append(f"{path} is a {kind.__name__}")
        elif home not in _KNOWN:
            self._object(path, x)

    def _optimizer(self, path: str, x: Optimizer) -> None:
        """Its options are read anew in each run; but not by who takes them for numbers."""
        self.optimizers.append(x)
        for p in x.parameters.values():
            self._meet(path, p)
        if self._users & {*x.defaults, "param_groups", "learning_rates", "defaults"}:
            self._meet(f"{path}.param_groups", x.param_groups)
        if self._users & {"step_count", "learning_rates"}:
            for flat in x.flats:
                self._meet(f"{path}.step_count", flat.steps)

    def _names_for(self, kind: type) -> frozenset[str]:
        """The attributes that code may have read of objects of a class."""
        owners = {owner_of_module(home_of(c)) for c in kind.__mro__[:-1]}
        names = self._users
        if "__match_args__" in names:
            names = names.union(getattr(kind, "__match_args__", ()))
        if OURS in owners:
            # What begins with _ is their own matter, such as a table that was computed before.
            names = names.union(n for n in self._watch.ours if n[0] != "_" or n in _TOLD)
        if LIBRARY in owners:
            names = names | self._watch.library
        return names

    def _object(self, path: str, x: Any) -> None:
        """The attributes of an object that code names, there or in its class."""
        kind = type(x)
        slots, inherited, names = slots_of(kind), inherited_by(kind), self._names_for(kind)
        found = getattr(x, "__dict__", None)
        path = path if path.startswith("'") else kind.__name__
        if isinstance(x, threading.local):
            slots, found = slots | vars(x).keys(), {}
        if home_of(kind) not in _SAFE and is_extension(kind) and not isinstance(x, np.ndarray):
            self.unwatched.append(f"{path} is a {kind.__name__}, of an extension")
            return
        if owner_of_module(home_of(kind)) == USERS:
            self._note([x], type, lambda v: f"the class of {path}")
        if isinstance(found, dict):
            here = {n for n in names if n in found or n in inherited} | self._asked
            if self._all:
                here |= found.keys() | {n for n in inherited if n[:2] != "__"}
            self._names(f"{path}.", found, here)
        if read := sorted(slots if self._all else names & slots):
            get = functools.partial(_slot, x)
            self._note(read, get, lambda n: f"{path}.{n}")
            for n in read:
                self._meet(f"{path}.{n}", get(n))
        self._class(kind)

    def _module(self, path: str, x: Module) -> None:
        self.modules.append(x)
        found, inherited, names = vars(x), inherited_by(type(x)), self._names_for(type(x))
        here = {n for n in names if n in found or n in inherited} | self._asked
        read = sorted(here | found.keys() if self._all or self._spread(type(x)) else here)
        label = type(x).__name__
        self._note(read, found.get, lambda n: f"{label}.{n}", self._settings)
        self._note([x], type, lambda m: f"the class of a {label}", self._settings)
        self._note([x], _held, lambda m: f"what a {label} holds", self._settings)
        for name, part in _held(x):
            self._meet(f"{path}.{name}", part)
        for n in read:
            if n in found:
                self._meet(f"{path}.{n}", found[n])
        self._class(type(x))

    def _spread(self, kind: type) -> bool:
        """Whether a method of a class of ours reads attributes unnamed, such as all its options."""
        return any(
            c.__name__ in self._watch.spread and owner_of_module(home_of(c)) == OURS
            for c in kind.__mro__
        )

    def _class(self, kind: type) -> None:
        """Attributes that code names of a class and those above it, and its functions that ran."""
        if (id(kind), "class") in self._met:
            return
        self._met[id(kind), "class"] = kind
        inherited = inherited_by(kind)
        names = inherited if self._all else (self._users & inherited) | self._asked
        names = {n for n in names if n[:2] != "__"}
        for c in kind.__mro__[:-1]:
            if owner_of_module(home_of(c)) != USERS:
                if (id(c), "ours") not in self._met:
                    self._met[id(c), "ours"] = c
                    read = (self._users | {"forward"}) & vars(c).keys()
                    self._names(f"{c.__name__}.", vars(c), {n for n in read if n[:2] != "__"})
            else:
                ran = {n for n, v in vars(c).items() if code_of(v) in self._ran}
                self._names(f"{c.__name__}.", vars(c), names | ran)
                # A special method that is added, such as __bool__, has been asked for by no name.
                self._note([vars(c)], len, _always(f"what {c.__name__} has"))
                told = ["__mro__", *sorted({"__name__", "__qualname__"} & self._users)]
                for n in told:
                    self._note([c], operator.attrgetter(n), _always(f"{n} of {c.__name__}"))
                if isinstance(c, abc.ABCMeta):
                    self._note([c], _registered, _always(f"what is registered as {c.__name__}"))

    def _function(self, x: types.FunctionType) -> None:
        self._met[id(x.__code__)] = x.__code__
        if x.__dict__:
            here = (vars(x).keys() & self._users) | self._asked
            self._names(f"{x.__name__}.", vars(x), vars(x).keys() if self._all else here)
        if id(x.__code__) not in self._ran:
            return
        names = dict(zip(map(id, x.__closure__ or ()), x.__code__.co_freevars, strict=True))
        if cells := list(x.__closure__ or ()):
            self._note(cells, contents_of, lambda cell: f"'{names[id(cell)]}'")
            for cell in cells:
                self._meet(f"'{names[id(cell)]}'", contents_of(cell))
        self._note([x], operator.attrgetter("__code__"), lambda f: f"the code of '{x.__name__}'")
        for what in ("__defaults__", "__kwdefaults__"):
            if found := getattr(x, what):
                told = f"a default of '{x.__name__}'"
                self._note([x], operator.attrgetter(what), _always(told))
                self._meet(told, found)

    def _names(self, prefix: str, scope: Mapping[str, Any], names: Iterable[str]) -> None:
        """Guard names in a dictionary of variables or attributes."""
        label = (lambda n: f"{prefix}{n}") if prefix else (lambda n: f"'{n}'")
        names = sorted(names)
        self._note(names, scope.get, label)
        for n in names:
            if n in scope:
                self._meet(label(n), scope[n])
                if type(scope[n]) is ModuleType and owner_of_module(scope[n].__name__) != USERS:
                    self._of_library(scope[n], self._dotted.get(n, ()))

    def _of_library(self, module: ModuleType, names: Iterable[str]) -> None:
        """Names of a module that is no user's, and what users have put there."""
        if not (names := [n for n in sorted(names) if n in vars(module)]):
            return
        if (key := (id(module), *names)) in self._met:
            return
        self._met[key] = module
        self._note(names, vars(module).get, lambda n: f"{module.__name__}.{n}")
        for n in names:
            x = vars(module)[n]
            if type(x) is ModuleType and owner_of_module(x.__name__) != USERS:
                self._of_library(x, self._dotted.get(n, ()))
            elif x is sys.modules:
                self.unwatched.append("sys.modules")
            elif _is_users(x):
                self._meet(f"{module.__name__}.{n}", x)

    def _note(
        self,
        items: list[Any],
        get: Callable[[Any], Any],
        label: Callable[[Any], str],
        entries: list[Entry] | None = None,
    ) -> None:
        """Have `get(item)` compared; what the step itself computed and put there is kept apart."""
        here = []
        for item in items:
            value = get(item)
            if type(value) is Tensor and self._made(value._data):
                self.kept[label(item)] = value
            else:
                here.append(item)
        if here:
            entries = self._entries if entries is None else entries
            entries.append(Entry(get, here, [get(item) for item in here], label))

    def _contents(self, path: str, x: Any) -> None:
        """Guard all that a container holds."""
        if len(x) > _MOST:
            self.unwatched.append(f"{path} has more than {_MOST:,} entries")
            return
        if isinstance(x, dict | types.MappingProxyType):
            self._sized.append(Entry(_itself, x, list(x), lambda v: path))
            if isinstance(x, defaultdict):
                self._note(
                    [x], operator.attrgetter("default_factory"), lambda d: f"{path}'s default"
                )
                self._meet(f"{path}'s default", x.default_factory)
            values = x.values()
            self._sized.append(Entry(_itself, values, list(values), lambda v: path))
            for k, v in x.items():
                self._meet(path, k)
                self._meet(f"{path}[{k!r}]"[:80], v)
        elif isinstance(x, set | frozenset):
            if isinstance(x, set):
                self._entries.append(Entry(_identities, [x], [_identities(x)], lambda s: path))
            for v in x:
                self._meet(path, v)
        else:
            if not isinstance(x, tuple):
                self._sized.append(Entry(_itself, x, list(x), lambda v: path))
            for i, v in enumerate(x):
                self._meet(f"{path}[{i}]", v)

    def _array(self, path: str, x: np.ndarray | np.void) -> None:
        if x.dtype.hasobject:
            self.unwatched.append(f"{path} is an array of objects")
        elif x.nbytes <= _BYTES:
            self._arrays.append((path, x, _content_of(x)))
        elif not self._whole(x):
            self.unwatched.append(
                f"{path} is an array of {x.nbytes / 1e6:.0f} MB, which is not compared"
            )
        if getattr(x, "__dict__", None):
            self._object(path, x)

    # -- whether it still holds

    def holds(self, before: bool = True) -> bool:
        """Whether the function would find what it found when it was captured.

        Args:
            before: whether it has yet to run, and not just left gradients where there were none.
        """
        try:
            read = chain.from_iterable(map(operator.call, self._reads, self._scopes))
            found = chain(read, map(operator.call, self._gets, self._items))
            same = all(map(operator.is_, found, self._values))
        except KeyError:  # a name is gone
            same = False
        same = same and list(map(len, self._containers)) == self._lengths
        if not (
            same and all(map(operator.is_, chain.from_iterable(self._containers), self._inside))
        ):
            if any(map(self._differs, (*self._entries, *self._sized))):
                return False
            self._line_up()
        for path, x, content in self._arrays:
            if _content_of(x) != content:
                self.changed = f"the numbers in {path}"
                return False
        if changes() != self._changes:
            now = changes()
            if any(map(self._differs, self._settings)):
                return False
            self._changes = now
        return graph.rebound[0] == self._rebound or self._same_tensors(before)

    def _same_tensors(self, before: bool) -> bool:
        now = graph.rebound[0]
        adopt_all()
        for t, array, wish in self._rows:
            if t._data is not array or t.requires_grad is not wish:
                what = "requires_grad" if t._data is array else "data"
                self.changed = f"the {what} of {t.name or 'a tensor'} of shape {t.shape}"
                return False
        for t in self.absent:
            if before and t.grad is not None:
                self.changed = f"the gradient of {t.name or 'a tensor'}, which was absent"
                return False
        for t, grad in self.grads:
            if t._grad is not grad:
                self.changed = f"the gradient of {t.name or 'a tensor'}"
                return False
        if before:
            self._rebound = now
        return True

    def _differs(self, entry: Entry) -> bool:
        """Compare by value what is another object; where that is the same, it is the one now."""
        get, items, values, label = entry
        items = list(items)
        found = [get(item) for item in items]
        if len(found) != len(values):
            self.changed = f"{label(None)}, which had {len(values)} entries and has {len(found)}"
            return True
        for item, new, old in zip(items, found, values, strict=True):
            if not _alike(new, old):
                self.changed = f"{label(item)}, which was {_shown(old)} and is {_shown(new)}"
                return True
        values[:] = found
        return False


_CONTAINERS = (list, tuple, dict, set, frozenset, deque, types.MappingProxyType, MappingView)


def _cannot_be_compared(x: Any) -> bool:
    """Whether what comes out of an object hangs on more than can be seen in it."""
    if isinstance(x, io.IOBase):
        streams = sys.stdin, sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__
        return x not in streams and not x.closed and x.readable()
    moves_on = isinstance(x, Iterator) and not hasattr(x, "__dict__")  # not in a user's class
    return moves_on or isinstance(x, random.Random) or home_of(type(x)).startswith("numpy.random")


def _registered(c: abc.ABCMeta) -> int:
    return len(_abc._get_dump(c)[0])


def _is_users(x: Any) -> bool:
    """Whether what stands in a module of others may be a user's."""
    if isinstance(x, types.FunctionType):
        return owner_of(x.__code__.co_filename) == USERS
    return isinstance(x, (*_CONTAINERS, np.ndarray)) or owner_of_module(home_of(type(x))) == USERS


def _held(module: Module) -> tuple[tuple[str, Any], ...]:
    """Modules and parameters in attributes that nobody names, as in a Sequential."""
    return tuple(
        (name, x)
        for name, x in vars(module).items()
        if isinstance(x, Module) or (type(x) is Tensor and x.name is not None)
    )


def _slot(x: Any, name: str) -> Any:
    return getattr(x, name, None)


def _content_of(x: Any) -> Any:
    """What lies in memory, to be compared."""
    return (x.dtype, x.shape, x.tobytes()) if isinstance(x, np.ndarray | np.void) else bytes(x)


def _bytes_in(x: Any) -> int | None:
    """How much memory an object shows, such as an `array` or a number of ctypes; None if none."""
    try:
        return memoryview(x).nbytes
    except (TypeError, ValueError, BufferError):
        return None


def _itself(x: Any) -> Any:
    return x


def _always(text: str) -> Callable[[Any], str]:
    return lambda x: text


def _identities(x: Iterable) -> frozenset:
    """A set's members: by value where they are values, by identity where they are objects."""
    return frozenset((type(v), v if _is_atom(type(v)) else id(v)) for v in x)


def _alike(new: Any, old: Any) -> bool:
    """Whether two objects are one, or equal values."""
    if new is old:
        return True
    if type(new) is not type(old) or (new.__class__.__dictoffset__ and not isinstance(new, tuple)):
        return False
    if isinstance(new, float | complex):
        return repr(new) == repr(old)  # -0.0 is not 0.0, and NaN is NaN
    if isinstance(new, np.generic):
        return new.tobytes() == old.tobytes()
    if isinstance(new, tuple):
        return len(new) == len(old) and all(map(_alike, new, old))
    if isinstance(new, frozenset):
        return _identities(new) == _identities(old)
    if isinstance(new, types.MethodType):
        return new.__self__ is old.__self__ and new.__func__ is old.__func__
    return isinstance(new, int | str | bytes | range | slice | np.dtype) and new == old


def _shown(x: Any) -> str:
    text = repr(x) if _is_atom(type(x)) else type(x).__name__
    return text if len(text) <= 40 else f"{text[:37]}..."
