"""What there is, made from the code itself: a table of all ops, and a page to look them up.

    python -m minigrad.testing              the table
    python -m minigrad.testing --docs DIR   DIR/index.html: each op with its formula, rule, kernels

What tests have shown of an op (orders of derivatives, dtypes, vmap) is in `tested.json` beside this
file. The test suite compares it with what it measures, and so it is never out of date.
"""

import html
import inspect
import json
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import minigrad
from minigrad import kernels, ops
from minigrad.autodiff import REGISTRY, Op
from minigrad.errors import RunError
from minigrad.runs import atomic_write

TESTED = Path(__file__).parent / "tested.json"
COLUMNS = ("op", "kind", "rule", "kernels", "dtypes", "order", "vmap")


def rows() -> list[dict[str, str]]:
    """One row for each op of minigrad, and for each public function that is made of ops."""
    tested = json.loads(TESTED.read_text(encoding="utf-8"))
    return [
        {"op": name} | _facts(name, value) | _shown(tested.get(key(value)))
        for name, value in names()
    ]


def key(value: Op | Callable) -> str:
    """The name of an op or function in `tested.json`: `linalg.inv`, `elementwise.exp`."""
    return f"{value.__module__.removeprefix('minigrad.ops.')}.{value.__name__}"


def names() -> Iterator[tuple[str, Op | Callable]]:
    """Ops and functions, by the name under which `minigrad` has them (`linalg.inv`)."""
    public = {name: getattr(ops, name) for name in ops.__all__ if name not in ops.MODULES}
    for module in ops.MODULES:
        home = getattr(ops, module)
        public |= {f"{module}.{name}": getattr(home, name) for name in home.__all__}
    public = {name: value for name, value in public.items() if not isinstance(value, type)}
    known = {id(value) for value in public.values()}
    private = {
        name: op
        for name, op in REGISTRY.items()
        if op.__module__.startswith("minigrad.ops.") and id(op) not in known
    }
    yield from sorted((public | private).items(), key=lambda pair: pair[0].lstrip("_"))


def _facts(name: str, value: Op | Callable) -> dict[str, str]:
    """What the registry says."""
    if not isinstance(value, Op):
        return {"kind": "function of ops", "rule": "", "kernels": ""}
    kind = "primitive" if value.primitive else "composite"
    if not value.differentiable:
        rule = "no gradient"
    elif value.has_rule:
        rule = "rule"
    else:
        rule = "by formula"
    return {"kind": kind, "rule": rule, "kernels": ", ".join(_kernels(value))}


def _kernels(op: Op) -> list[str]:
    """Numba or CUDA for one of ours; else the array modules that a user's own is for."""
    ours = {"numpy": "Numba", "cupy": "CUDA"}
    return sorted(ours[name] if type(k) is str else name for name, k in op.kernel.items())


def _shown(entry: dict[str, Any] | None) -> dict[str, str]:
    """What tests have shown."""
    if entry is None:
        return {"dtypes": "", "order": "", "vmap": ""}
    return {
        "dtypes": " ".join(entry["dtypes"]),
        "order": str(entry["order"]),
        "vmap": entry["vmap"],
    }


def table() -> str:
    """The rows as text in columns."""
    cells = [COLUMNS, *(tuple(row[c] for c in COLUMNS) for row in rows())]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


# -------------------------------------------------------------------------------------- pages


def write_docs(directory: str | Path) -> Path:
    """Write the reference page `index.html` into `directory`, which is made; returns its path.

    It needs no network and no server; a field at its top searches names and docstrings.

    Raises:
        RunError: it cannot be made.
    """
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"--docs: cannot make the directory {directory}: {error}") from error
    values = dict(names())
    sections = "\n".join(_section(row, values[row["op"]]) for row in rows())
    page = _PAGE.format(version=html.escape(minigrad.__version__), sections=sections)
    path = directory / "index.html"
    atomic_write(path, page.encode())
    return path


def _section(row: dict[str, str], value: Op | Callable) -> str:
    """One op or function of the page."""
    name, escape = row["op"], html.escape
    facts = [f"{c}: {row[c]}" for c in COLUMNS[1:] if row[c]]
    parts = [
        f'<section id="{escape(name)}"><h2><code>{escape(name + _signature(value))}</code></h2>',
        f"<p class=facts>{escape(' · '.join(facts))}</p>",
        f"<pre class=doc>{escape(inspect.getdoc(value) or '')}</pre>",
    ]
    for title, source in _sources(value):
        parts.append(f"<details><summary>{title}</summary><pre>{escape(source)}</pre></details>")
    return "\n".join([*parts, "</section>"])


def _signature(value: Op | Callable) -> str:
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    return str(signature.replace(return_annotation=inspect.Signature.empty))


def _sources(value: Op | Callable) -> Iterator[tuple[str, str]]:
    """Titles and texts: formula, rules and kernels of an op, or the body of a function."""
    if not isinstance(value, Op):
        yield "source", _source(value)
        return
    yield "formula", _source(value.formula)
    if value.joint_rule is not None:
        yield "rule", _source(value.joint_rule)
    elif value.rules:
        # Rules given side by side are one expression of one or more lines.
        yield "rule", "\n".join(dict.fromkeys(_source(rule) for rule in value.rules))
    if type(kernel := value.kernel.get("numpy")) is str and kernels.enabled():
        yield "Numba kernel", _source(kernels.find(kernel))


def _source(function: Callable) -> str:
    try:
        return textwrap.dedent(inspect.getsource(inspect.unwrap(function))).rstrip()
    except (OSError, TypeError):
        return repr(function)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>minigrad {version}: ops</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto }}
input {{ font: inherit; width: 100%; padding: .5rem; box-sizing: border-box }}
h2 {{ font-size: 1rem; margin: 2rem 0 0; overflow-wrap: anywhere }}
pre {{ background: #f4f4f4; padding: .75rem; overflow-x: auto; font-size: .85rem }}
pre.doc {{ background: none; padding: 0; white-space: pre-wrap }}
.facts {{ color: #666; margin: 0; font-size: .85rem }}
@media (prefers-color-scheme: dark) {{
  body {{ background: #111; color: #ddd }}
  pre {{ background: #222 }}
}}
</style></head><body>
<h1>minigrad {version}: ops</h1>
<input id="search" type="search" placeholder="Search names and descriptions" autofocus>
<p id="count" class="facts"></p>
{sections}
<script>
const sections = [...document.querySelectorAll("section")];
const search = document.getElementById("search");
function show() {{
  const words = search.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let count = 0;
  for (const s of sections) {{
    const text = (s.id + " " + s.querySelector(".doc").textContent).toLowerCase();
    s.hidden = !words.every(w => text.includes(w));
    count += !s.hidden;
  }}
  document.getElementById("count").textContent = count + " of " + sections.length;
}}
search.addEventListener("input", show);
show();
</script></body></html>
"""
