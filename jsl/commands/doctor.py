"""`jsl doctor`: what this machine has for jsl, and what is broken."""

import json
import locale
import os
import platform
import sys
from importlib import import_module, metadata
from typing import Any

import click

from jsl.help import command, option
from jsl.messages import Said, columns, default_language, language, reason_of, say

# Modules, and the distributions that they come in; without these nothing works.
NEEDED = {
    "minigrad": "minigrad",
    "numpy": "numpy",
    "numba": "numba",
    "scipy": "scipy",
    "safetensors": "safetensors",
    "click": "click",
    "rich": "rich",
    "markdown_it": "markdown-it-py",
    "pygments": "pygments",
}
# What can be installed beside: what it consists of. What it is for is "doctor.extra.<name>".
EXTRAS = {
    "cuda12": ("cupy-cuda12x",),
    "cuda13": ("cupy-cuda13x",),
    "plot": ("matplotlib",),
    "tensorboard": ("tensorboard",),
    "onnx": ("onnx",),
    "data": ("scikit-learn", "polars", "pyarrow"),
    "stores": ("fsspec",),
    "s3": ("s3fs",),
    "kanji": ("sudachipy", "sudachidict_core"),
    "evaluate": ("sacrebleu",),
    "mpi": ("mpi4py",),
}


@command("help.doctor")
@option("--json", "as_json", is_flag=True, help="help.doctor.json")
def doctor(as_json: bool) -> None:
    found = findings()
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        show(found)
    if found["problems"]:
        sys.exit(1)


def findings() -> dict[str, Any]:
    """Everything that is to be said, for programs."""
    problems: list[str] = []
    packages: dict[str, str | None] = {}
    for module, distribution in NEEDED.items():
        packages[distribution] = version(distribution)
        try:
            import_module(module)
        except Exception as error:  # of a library that is broken, anything may come
            problems.append(say("doctor.broken", name=module, reason=reason_of(error)))
    cupy = ("cupy-cuda12x", "cupy-cuda13x", "cupy")
    packages["cupy"] = next(filter(None, map(version, cupy)), None)
    return {
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": packages,
        **(computing(problems) if not problems else {}),
        "extras": {
            name: {
                "installed": all(version(part) is not None for part in parts),
                "for": say(f"doctor.extra.{name}"),
                "install": f"pip install 'minigrad[{name}]'",
            }
            for name, parts in EXTRAS.items()
        },
        "terminal": {
            "encoding": locale.getpreferredencoding(False),
            "interactive": bool(sys.stdout and sys.stdout.isatty()),
        },
        "language": {"messages": language(), "environment": default_language()},
        "problems": problems,
    }


def computing(problems: list[str]) -> dict[str, Any]:
    """What computes: backend, kernels, threads and memory; adds what is broken to `problems`."""
    from jsl import memory
    from minigrad import backend, kernels
    from minigrad.errors import BackendError

    with backend.using("auto"):
        auto = {"takes": backend.get_backend(), "reason": backend.explain()}
    try:
        backend.get_backend()
        on: bool | None = kernels.enabled()
    except BackendError as error:  # of what the environment asks for
        on = None
        problems.append(say("doctor.environment", reason=reason_of(error)))
    kept = kernels.kept("search and transformer")
    gib = memory.installed() / 2**30
    return {
        "backend": {
            "auto": auto["takes"],
            "reason": auto["reason"],
            "environment": os.environ.get("MINIGRAD_BACKEND"),
        },
        "kernels": {
            "enabled": on,
            "compiled": len(kept.there),
            "missing": kept.missing,
            "folder": str(kept.folder) if kept.folder else None,
            "writable": bool(kept.folder and os.access(kept.folder, os.W_OK)),
        },
        "threads": kernels.get_num_threads(),
        "memory_gib": round(gib, 1) if gib < float("inf") else None,
    }


def version(distribution: str) -> str | None:
    """The version of a distribution that is installed, else None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def show(found: dict[str, Any]) -> None:
    """Print what was found, for people."""
    absent = say("doctor.absent")
    rows = [
        ("Python", f"{found['python']['version']}  {found['python']['executable']}"),
        (say("doctor.platform"), found["platform"]),
        *((name, there or absent) for name, there in found["packages"].items()),
    ]
    if "backend" in found:
        kernels = found["kernels"]
        compiled, missing = kernels["compiled"], len(kernels["missing"])
        total = compiled + missing
        rows += [
            (say("doctor.backend"), f"{found['backend']['auto']}  ({found['backend']['reason']})"),
            (
                say("doctor.kernels"),
                say("doctor.compiled", count=compiled, total=total)
                + (say("doctor.warmup") if missing else ""),
            ),
        ]
        if not kernels["enabled"]:
            rows.append(("", say("doctor.off")))
        folder = kernels["folder"] or absent
        writable = say("doctor.writable" if kernels["writable"] else "doctor.unwritable")
        rows += [
            ("", f"{folder}  {writable}"),
            (say("doctor.threads"), str(found["threads"])),
            (say("doctor.memory"), f"{found['memory_gib'] or '?'} GiB"),
        ]
    terminal = "doctor.terminal" if found["terminal"]["interactive"] else "doctor.no_terminal"
    rows += [
        (say("doctor.encoding"), f"{found['terminal']['encoding']}  {say(terminal)}"),
        (say("doctor.language"), found["language"]["messages"]),
    ]
    table(rows)
    click.echo(f"\n{say('doctor.extras')}")
    table(
        [
            (name, extra["for"] + ("" if extra["installed"] else f"  {extra['install']}"))
            for name, extra in found["extras"].items()
        ]
    )
    click.echo()
    for problem in found["problems"]:
        click.echo(say("doctor.problem", problem=Said(problem)))
    if not found["problems"]:
        click.echo(say("doctor.well"))


def table(rows: list[tuple[str, str]]) -> None:
    """Print what is called how, side by side."""
    width = max(columns(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name}{' ' * (width - columns(name))}  {value}")
