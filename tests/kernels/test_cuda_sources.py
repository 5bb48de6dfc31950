"""Every kernel for CUDA compiles, without a device, and the compiler's report of it is good.

NVRTC comes from the package index and needs no driver. Functions are compiled as the examples of
their kernels launch them, with arrays that begin at multiples of 16 bytes and with others. All that
is some 1700 programs, and ten minutes: every day a few of each function are looked at, and with
`-m slow` all of them.
"""

import ctypes
import getpass
import hashlib
import importlib
import importlib.metadata
import json
import os
import pkgutil
import re
import sys
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import pytest

import minigrad.kernels
import minigrad.kernels.cuda
from minigrad.kernels.cuda import machine

ARCHITECTURES = ["sm_80", "sm_90"]
OPTIONS = ["--std=c++17", "-ftz=true", "--device-as-default-execution-space"]  # as CuPy's
REGISTERS = 65536  # of a block
SHARED = 48 * 1024  # bytes that a block has without asking for more
TYPES = {"float", "double", "f16", "bf16"}
FUNCTION = re.compile(
    r'extern "C" __global__ void\s+(?:\w*BOUNDS|__launch_bounds__\(.+?\))?\s*(\w+)\('
)
WIDE = re.compile(r"\b(?:ld|st)\.global(?:\.\w+)*\.(?:v4\.\w32|v2\.\w64)\b|\bcp\.async\.cg\b")

# Functions that need the stack: with which text, how many bytes of it, and the reason.
STACK = {
    "chain": (
        r"double\b.*\b(sin|cos|tan)\(", 40,
        "the rest of a large number by pi is found with digits of pi in a table",
    ),
}  # fmt: skip
# Functions that move little, beside others of the same launches that move much, with the reason.
NARROW = {
    "channel_numbers": "a few numbers of each channel",
    "channel_statistics": "likewise",
    "count_digits": "ids, not rows",
    "first_keys": "likewise",
    "place_keys": "likewise",
    "ranks": "likewise",
    "sum_counts": "likewise",
    "sums_of_columns": "neighbours read what lies side by side, and eight loads are under way",
    "total_of_parts": "sums of blocks, which are few",
}
# Kernels, or pages of them, without a twin of their name among those for the CPU, with the reason.
ALONE = {
    "buffers": "on the CPU gradients are written to one buffer, and clipped by `updates`",
    "channels": "on the CPU batch norm is its formula",
    "copies": "on the CPU NumPy copies",
    "counts": "on the CPU NumPy counts",
    "groups": "on the CPU `reductions.column_sums` adds up for groups, too",
    "indexing": "the host looks at ids at once",
    "draws": "on the CPU NumPy draws",
    "embeddings.take": "on the CPU NumPy takes rows",
    "norms.rms_norm": "on the CPU RMS norm is its formula",
    "norms.rms_norm_grad": "likewise",
    "products.matmul": "on the CPU BLAS multiplies",
    "products.linear": "likewise",
    "products.products_together": "launches are what it saves",
    "reductions.reduce": "on the CPU NumPy reduces",
    "reductions.mean": "likewise",
    "reductions.largest": "likewise",
    "reductions.smallest": "likewise",
    "sorting.argmax": "on the CPU NumPy finds it",
    "sorting.argmin": "likewise",
}
# Functions that no example launches, each with the reason.
NOT_LAUNCHED = {
    "offsets_of": "a program of groups launches it by itself",
}

for _module in pkgutil.iter_modules(minigrad.kernels.cuda.__path__):
    importlib.import_module(f"minigrad.kernels.cuda.{_module.name}")
KERNELS = machine.KERNELS
NAMES = [f"{k.page.name}.{k.name}" for k in KERNELS]

# ---------------------------------------------------------------------------------- compiling


@cache
def nvrtc():
    """The library, and the version of its package."""
    try:
        version = importlib.metadata.version("nvidia-cuda-nvrtc")
    except importlib.metadata.PackageNotFoundError:
        if sys.platform not in ("linux", "win32"):
            pytest.skip(f"nvidia-cuda-nvrtc is not for {sys.platform}")
        raise
    paths = [Path(f.locate()) for f in importlib.metadata.files("nvidia-cuda-nvrtc")]
    paths = [p for p in paths if "nvrtc" in p.name and (".so." in p.name or p.suffix == ".dll")]
    paths = [p for p in paths if ".alt." not in p.name]
    # What is built in is loaded first: NVRTC does not find it where it lies.
    for path in paths:
        if sys.platform == "win32":
            os.add_dll_directory(str(path.parent))
        if "builtins" in path.name:
            ctypes.CDLL(str(path))
    return ctypes.CDLL(next(str(p) for p in paths if "builtins" not in p.name)), version


class Report(NamedTuple):
    """What the compiler says of a function, and whether it moves 128 bits at a time."""

    stack: int
    spills: int
    registers: int
    shared: int
    wide: bool


REPORTED = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
    r"(\d+) bytes spill loads.*?Used (\d+) registers(.*?)$",
    re.DOTALL | re.MULTILINE,
)


@cache
def compiled(page, define, architecture):
    """A `Report` for each function of a page.

    Reports are kept in a folder under the system's for temporary files, by all that they depend on.
    """
    source, options = page.source(define), [*OPTIONS, f"-arch={architecture}", "-Xptxas=-v"]
    told = "\0".join([source, *options, nvrtc()[1], WIDE.pattern])
    kept = FOLDER / f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.json"
    try:
        return {name: Report(*x) for name, x in json.loads(kept.read_text("utf-8")).items()}
    except (OSError, ValueError):
        pass
    found = reported(source, options, f"{page} with {dict(define)}")
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    own = kept.with_suffix(f".{os.getpid()}")
    own.write_text(json.dumps(found), "utf-8")
    own.replace(kept)
    return found


FOLDER = Path(tempfile.gettempdir()) / f"minigrad-nvrtc-{getpass.getuser()}"


def reported(source, options, what):
    """Compile `source`; a `Report` for each function."""
    library, program, size = nvrtc()[0], ctypes.c_void_p(), ctypes.c_size_t()
    assert not library.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), b"k.cu", 0, None, None
    )

    def take(part):
        assert not getattr(library, f"nvrtcGet{part}Size")(program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        assert not getattr(library, f"nvrtcGet{part}")(program, text)
        return text.value.decode()

    given = (ctypes.c_char_p * len(options))(*map(str.encode, options))
    failed = library.nvrtcCompileProgram(program, len(options), given)
    log = take("ProgramLog")
    assert not failed, f"{what}:\n{log}"
    parts = re.split(r"^\s*(?:\.visible )?\.entry (\w+)", take("PTX"), flags=re.MULTILINE)
    texts = dict(zip(parts[1::2], parts[2::2], strict=True))
    library.nvrtcDestroyProgram(ctypes.byref(program))
    found = {}
    for name, stack, stores, loads, registers, rest in REPORTED.findall(log):
        shared = re.search(r"(\d+) bytes smem", rest)
        found[name] = Report(
            int(stack), int(stores) + int(loads), int(registers),
            int(shared[1]) if shared else 0, bool(WIDE.search(texts[name])),
        )  # fmt: skip
    return found


@cache
def launches(kernel, aligned):
    """What its examples launch, on arrays that begin at a multiple of 16 or else of 8."""
    return list(kernel.compiled_with((1 << 20) + (0 if aligned else 8)))


def looked_at(kernel, architecture, share):
    """Launches of a kernel: all of them; or the first and the last of each function, for float32
    and bfloat16.
    """
    alike = {}
    for launch in (x for way in (True, False) for x in launches(kernel, way)):
        define = machine.definitions(launch.define)
        types = TYPES & set(re.findall(r"\w+", f"{define} {launch.page.text}"))
        same = alike.setdefault((launch.function, *sorted(types)), {})
        same.setdefault((launch.page, define, threads(launch), launch.shared), launch)
    if share == "some":
        usual = {key: same for key, same in alike.items() if not {"double", "f16"} & set(key)}
        others = {key: same for key, same in alike.items() if key[0] not in {k[0] for k in usual}}
        alike = usual | others
    for same in map(list, map(dict.values, alike.values())):
        if share == "all":
            yield from same
        else:
            yield from (same[i] for i in {0, len(same) - 1 if architecture == "sm_90" else 0})


def title(launch, architecture):
    return f"{launch.page.name}.cu: {launch.function} with {launch.define}, {architecture}"


def threads(launch):
    block = (launch.block,) if isinstance(launch.block, int) else launch.block
    n = 1
    for m in block:
        n *= m
    return n


# -------------------------------------------------------------------------------------- tests


SHARES = pytest.mark.parametrize("share", ["some", pytest.param("all", marks=pytest.mark.slow)])
EACH_KERNEL = pytest.mark.parametrize("kernel", KERNELS, ids=NAMES)


@SHARES
@EACH_KERNEL
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_kernel_compiles_well(kernel, architecture, share):
    found = list(looked_at(kernel, architecture, share))
    assert found, f"{kernel.name} has no examples"
    for launch in found:
        reports = compiled(launch.page, machine.definitions(launch.define), architecture)
        where = title(launch, architecture)
        assert launch.function in reports, f"{where}: there is no such function"
        for name in {launch.function, *NOT_LAUNCHED} & set(reports):
            report = reports[name]
            text, most, _ = STACK.get(name, ("", 0, ""))
            most = most if re.search(text, launch.page.text) else 0
            assert report.stack <= most, f"{where}: {name} has {report.stack} bytes of stack"
            assert report.spills == 0, f"{where}: {name} spills {report.spills} bytes"
        report, n = reports[launch.function], threads(launch)
        assert n <= 1024, where
        assert n % 32 == 0, where
        # Registers are handed out in eights.
        assert -(-report.registers // 8) * 8 * n <= REGISTERS, (
            f"{where}: {n} threads with {report.registers} registers each"
        )
        assert report.shared <= SHARED, where
        assert report.shared + launch.shared <= (163 if architecture == "sm_80" else 227) * 1024


@SHARES
@EACH_KERNEL
def test_what_lies_at_multiples_of_16_bytes_is_moved_so(kernel, share):
    """Where a kernel asks how arrays lie, its functions read or write 128 bits at a time."""
    wide, narrow = (
        {(x.function, x.page, machine.definitions(x.define)) for x in launches(kernel, way)}
        for way in (True, False)
    )
    for launch in looked_at(kernel, "sm_90", share):
        define = machine.definitions(launch.define)
        if (launch.function, launch.page, define) not in wide - narrow:
            continue  # it does not ask
        if launch.function not in NARROW:
            report = compiled(launch.page, define, "sm_90")[launch.function]
            assert report.wide, f"{title(launch, 'sm_90')}: nothing of 128 bits is moved"


def test_every_function_is_launched_by_an_example():
    launched, there = set(), set()
    for launch in (x for kernel in KERNELS for x in launches(kernel, True)):
        launched.add((launch.page.name, launch.function))
        source = launch.page.source(machine.definitions(launch.define))
        there |= {(launch.page.name, name) for name in FUNCTION.findall(source)}
    assert launched <= there
    missing = {name for _, name in there - launched}
    assert missing == set(NOT_LAUNCHED), "functions that no example launches"


@EACH_KERNEL
def test_a_kernel_has_its_twin(kernel):
    page, name = kernel.page.name, f"{kernel.page.name}.{kernel.name}"
    try:
        module = importlib.import_module(f"minigrad.kernels.{page}")
    except ModuleNotFoundError:
        module = None
    assert hasattr(module, kernel.name) != bool({name, page} & set(ALONE)), name


def test_the_reports_would_show_what_is_wrong():
    """A function that needs the stack and moves little at a time, and one that is well."""
    source = (
        (resources.files("minigrad.kernels.cuda") / "common.cuh").read_text("utf-8")
        + """
        extern "C" __global__ void bad(float* y, int i, int j) {
            float x[100];
            for (int k = 0; k < 500; k++) x[(k * j) % 100] = y[k];
            y[threadIdx.x] = x[i] + x[j];
        }
        extern "C" __global__ void good(float* y) { store(y, load(y + 4 * threadIdx.x)); }
    """
    )
    found = reported(source, [*OPTIONS, "-arch=sm_90", "-Xptxas=-v"], "")
    assert found["bad"].stack >= 400
    assert not found["bad"].wide
    assert found["good"].wide
    assert found["good"].stack == found["good"].spills == 0
    with pytest.raises(AssertionError, match="nonsense"):
        reported("nonsense", OPTIONS, "")
