"""CUDA sources as programs for the CPU: compiled by the host's C++ compiler behind `on_host.h`.

Libraries are kept in a folder under the system's for temporary files, by a hash of all that goes
into them, so that each is compiled once. `MINIGRAD_CXX` names another compiler.
"""

import ctypes
import getpass
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
OPTIONS = [
    "-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti",
    "-fno-strict-aliasing", "-ffp-contract=off", "-w", "-DON_HOST",
]  # fmt: skip
# With these each access of a kernel to memory is looked at: GCC calls `on_host.cpp` before it. What
# would join accesses, or take them apart, is left out.
LOOKED_AT = [
    "-fsanitize=kernel-address", "--param", "asan-instrumentation-with-call-threshold=0",
    "--param", "asan-globals=1", "-fno-gnu-unique", "-fno-tree-vectorize", "-fno-store-merging",
    "-fno-tree-sra",
]  # fmt: skip
KERNEL = re.compile(r"__global__\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?void\s+"
                    r"(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(")  # fmt: skip


class CompileError(Exception):
    """What the compiler says, with the source."""


@cache
def compiler() -> tuple[str, str]:
    """The path of the compiler, and what it says of itself.

    Raises:
        CompileError: there is none.
    """
    found = os.environ.get("MINIGRAD_CXX") or next(
        filter(None, map(shutil.which, ("g++", "clang++", "c++"))), None
    )
    if not found:
        raise CompileError(
            "kernels run on the CPU by a C++ compiler, and there is no g++, clang++ or c++ on "
            "PATH; install one, or name one in the environment variable MINIGRAD_CXX"
        )
    return found, _told([found, "--version"])


def looks() -> bool:
    """Whether the accesses of kernels to memory are looked at."""
    return sys.platform == "linux" and "Free Software Foundation" in compiler()[1]


def _told(command: list[str], source: str = "") -> str:
    try:
        done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CompileError(f"{command[0]} cannot be run: {error}") from error
    if done.returncode:
        raise CompileError(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


@cache
def folder() -> Path:
    """Where libraries are kept."""
    path = Path(tempfile.gettempdir()) / f"minigrad-on-host-{getpass.getuser()}"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def built(kind: str, command: list[str], source: str, files: list[Path], *linked: Path) -> Path:
    """What `command` makes of `source`, which reads `files` besides: a file ending in `kind`."""
    told = "\0".join([*compiler(), *command, source, *(f.read_text("utf-8") for f in files)])
    path = folder() / (hashlib.sha256(told.encode()).hexdigest()[:32] + kind)
    if not path.exists():
        # Several processes may be at it: each writes a file of its own, and the last one stays.
        with tempfile.TemporaryDirectory(dir=folder()) as own:
            made = Path(own) / path.name
            options = [*command, "-x", "c++", "-", "-x", "none", *map(str, linked)]
            _told([compiler()[0], *options, "-o", str(made)], source)
            try:
                made.replace(path)
            except PermissionError:  # Windows, where another process has it open
                if not path.exists():
                    raise
    return path


@cache
def machine() -> Path:
    """The scheduler, compiled."""
    source = HERE / "on_host.cpp"
    command = [*OPTIONS, "-O2", "-c", f"-I{HERE}"]
    return built(".o", command, source.read_text("utf-8"), [HERE / "on_host.h"])


@cache
def library(code: str) -> ctypes.PyDLL:
    """The library of a source; it has a function `host_call_f` for each kernel `f`."""
    command = [*OPTIONS, *(LOOKED_AT if looks() else []), "-shared", f"-I{HERE}"]
    names = KERNEL.findall(_told([compiler()[0], "-E", "-P", "-DON_HOST", "-x", "c++", "-"], code))
    export = "__declspec(dllexport)" if sys.platform == "win32" else (
        '__attribute__((visibility("default")))'
    )  # fmt: skip
    calls = "".join(
        f'extern "C" {export} int host_call_{name}(HostLaunch* launch) '
        f"{{ return host_launch({name}, launch); }}\n"
        for name in dict.fromkeys(names)
    )
    text = f'#include "on_host.h"\n#line 1 "source.cu"\n{code}\n#line 1 "calls"\n{calls}'
    files = [HERE / "on_host.h", HERE / "on_host.cpp"]
    return ctypes.PyDLL(str(built(".so", command, text, files, machine())))
