"""A record as one HTML page: the graph, a slider over the steps, and every value on a click.

`page.html` beside this file is the page with three holes: the language, the title and the record.
Everything else is in it: its styles, its script, no address of anything. So the page opens from a
file, in a notebook, and where there is no network; a policy in its head forbids one.
"""

import html
import json
import re
from importlib import resources
from typing import Any

LANGUAGES = ("en", "ja")
FULL = (256, 64, 16)  # up to how many elements of an array are in the page: the first that fits
FITS = 2_800_000  # characters of the record: with the rest under 3 MB


def page(record: Any, lang: str = "en") -> str:
    """The whole HTML of a record, in English ("en") or Japanese ("ja").

    Values of at most 256 elements are in it as they are, larger ones as statistics and a picture;
    where that would weigh 3 MB, those of at most 64 or 16, if it helps.

    Raises:
        ValueError: for another language, or a record in which there is a number that JSON lacks.
    """
    if lang not in LANGUAGES:
        raise ValueError(f"expected lang to be one of {', '.join(LANGUAGES)}, got {lang!r}")
    data = record.to_json(full=FULL[0])
    text = in_script(data)
    if len(text) > FITS:
        lighter = (in_script(record.to_json(full=full)) for full in FULL[1:])
        text = next((t for t in lighter if len(t) <= FITS), text)
    parts = {"lang": lang, "title": html.escape(data["title"]), "record": text}
    template = resources.files("minigrad.study").joinpath("page.html").read_text(encoding="utf-8")
    # in one pass, so that a hole's name in a title or a record stays text
    return re.sub(r"\{\{(\w+)\}\}", lambda hole: parts[hole[1]], template)


def fragment(record: Any, lang: str = "en") -> str:
    """The page in a frame of its own, for a notebook: `_repr_html_` may return it.

    The frame may run its script, and reach nothing of the notebook.

    Raises:
        ValueError: as for `page`.
    """
    return (
        f'<iframe title="minigrad.study" sandbox="allow-scripts" '
        f'style="width: 100%; height: 720px; border: 0" '
        f'srcdoc="{html.escape(page(record, lang))}"></iframe>'
    )


def in_script(data: Any) -> str:
    """JSON that can stand in a `<script>` element: no text in it can end or comment that out.

    Raises:
        ValueError: there is a NaN or an infinity in it, which JSON lacks.
    """
    text = json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return re.sub("[<>&\u2028\u2029]", lambda sign: f"\\u{ord(sign[0]):04x}", text)
