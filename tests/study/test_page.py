"""The page of a record: as text, and walked through in a real Chromium.

Screenshots go to the folder that MINIGRAD_SCREENSHOTS names, and their paths are printed. Where
there is no Playwright or no Chromium, the tests in a browser are skipped; with MINIGRAD_BROWSER=1
they fail.
"""

import base64
import html
import json
import os
import re
import shutil
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from study import synthetic

import minigrad as mg
import minigrad.nn.functional as F
from jsl.config import PRESETS
from jsl.corpus import load_corpus, starter_corpus_path
from jsl.train import Trainer
from minigrad import nn, optim, random
from minigrad.study import page as pages
from minigrad.study.page import fragment, in_script, page

ATTACK = "</script><img src=x onerror=\"document.title='taken'\"><!-- \u2028 ${1} {{record}}"
DESK, PHONE = (1280, 800), (390, 844)


def record_in(text):
    """The record that is in a page."""
    return json.loads(
        re.search(r'<script type="application/json" id="record">(.*?)</script>', text, re.S)[1]
    )


# ------------------------------------------------------------------------------ without a browser


def test_the_record_is_in_the_page():
    record = synthetic.regression()
    text = page(record)
    assert record_in(text) == record.to_json(256)
    assert '<html lang="en">' in text
    assert "<title>regression.step</title>" in text
    assert '<html lang="ja">' in page(record, "ja")


def test_a_real_record_has_a_page(tmp_path):
    record = mg.study(lambda x: (x * x).sum(), mg.Tensor([1.0, 2.0]).requires_grad_())
    record.page(tmp_path / "x.html", lang="ja")
    text = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert record_in(text) == json.loads(json.dumps(record.to_json(256)))
    assert html.escape(page(record)) in record._repr_html_()


def test_a_language_that_there_is_not():
    with pytest.raises(ValueError, match="one of en, ja, got 'de'"):
        page(synthetic.regression(), "de")


def test_numbers_that_json_lacks_are_not_written():
    with pytest.raises(ValueError, match="JSON"):
        in_script({"mean": float("nan")})


def test_no_text_ends_the_script():
    text = in_script({"a": ATTACK, "b": "<!--<script>", "c": "]]>&amp;"})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"a": ATTACK, "b": "<!--<script>", "c": "]]>&amp;"}


def test_the_template_is_small_and_names_no_address():
    template = Path(pages.__file__).with_suffix(".html").read_text(encoding="utf-8")
    assert len(template.encode()) < 120_000
    assert not re.search(r"(https?:)?//[a-z]|@import|url\(|\bsrc=|<link", template)
    assert "default-src 'none'" in template
    assert "innerHTML" not in template


def test_a_translators_step_weighs_under_3_mb():
    text = page(synthetic.network())
    assert len(text.encode()) < 3e6


def test_a_heavy_record_keeps_fewer_numbers(monkeypatch):
    record = synthetic.network(calls=40, parameters=8, shape=(10, 20))
    whole = page(record)
    monkeypatch.setattr(pages, "FITS", len(whole) // 2)
    lighter = page(record)
    assert len(lighter) < len(whole) * 0.9
    assert record_in(lighter) == record.to_json(64)
    monkeypatch.setattr(pages, "FITS", 1000)  # nothing fits: then all numbers rather than few
    assert page(record) == whole


def test_a_frame_holds_the_whole_page():
    record = synthetic.regression()
    text = fragment(record)
    assert text.count("<") == 2
    assert html.unescape(re.search(r'srcdoc="(.*?)"', text, re.S)[1]) == page(record)


# --------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing = "no Playwright: pip install playwright"
    else:
        missing = None if path else f"no Chromium: none of {', '.join(names)} is on the path"
    if missing and os.environ.get("MINIGRAD_BROWSER") == "1":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def show(browser, tmp_path):
    """show(record) -> the page in a tab; at the end: nothing was asked for, nothing went wrong."""
    contexts, wrong = [], []

    def show(record, size=DESK, text=None, lang="en", **options):
        file = tmp_path / f"{len(contexts)}.html"
        file.write_text(text or page(record, lang), encoding="utf-8")
        options = {"reduced_motion": "reduce"} | options
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        contexts.append(context)
        tab = context.new_page()
        tab.set_default_timeout(20_000)

        def asked(route):
            if route.request.url == file.as_uri():
                return route.continue_()
            wrong.append(f"asked for {route.request.url}")
            return route.abort()

        tab.route("**", asked)
        tab.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        tab.on("pageerror", lambda e: wrong.append(str(e)))
        tab.goto(file.as_uri())
        return tab

    yield show
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def shot(tmp_path):
    folder = Path(os.environ.get("MINIGRAD_SCREENSHOTS") or tmp_path)

    def shot(tab, name):
        folder.mkdir(parents=True, exist_ok=True)
        tab.wait_for_timeout(60)  # a frame or two
        tab.screenshot(path=folder / f"{name}.png")
        print(f"screenshot: {folder / name}.png")

    return shot


def settled(tab):
    tab.evaluate("() => new Promise(f => requestAnimationFrame(() => requestAnimationFrame(f)))")


def opened(tab):
    """How long the page took, as text."""
    ready = tab.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
    paints = tab.evaluate("performance.getEntriesByType('paint').map(p => p.startTime)")
    first = f", first paint {paints[0]:.0f} ms" if paints else ""
    return f"ready after {ready:.0f} ms{first}"


def step_of(tab):
    return int(tab.get_attribute("body", "data-step"))


def panel(tab):
    settled(tab)
    return tab.inner_text("#panel")


def click_node(tab, condition):
    """A click on the node for which a JavaScript condition on `n` holds."""
    settled(tab)
    x, y = tab.evaluate(f"study.at(study.nodes.find(n => {condition}))")
    tab.mouse.click(x, y)
    settled(tab)


def shown(tab, number):
    """The texts of a value's elements, as the panel shows them."""
    figure = tab.locator(f'#panel figure[data-value="{number}"]').first
    one = figure.locator(".one")
    if one.count():
        return [one.inner_text()]
    if not figure.locator("details[open]").count():
        figure.locator("summary").click()
    figure.locator("td").first.wait_for()
    return figure.locator("td").all_inner_texts()


def test_arrow_keys_walk(show, shot):
    tab = show(synthetic.regression())
    assert step_of(tab) == 0
    assert "matmul" in tab.inner_text("#status")
    shot(tab, "desk-first")
    tab.keyboard.press("ArrowRight")
    assert step_of(tab) == 1
    assert "add" in tab.inner_text("#status")
    assert "Forward, step 1" in panel(tab)
    tab.keyboard.press("End")
    assert step_of(tab) == 15
    tab.keyboard.press("ArrowRight")  # no further
    assert step_of(tab) == 15
    tab.keyboard.press("Home")
    tab.keyboard.press("ArrowLeft")
    assert step_of(tab) == 0
    for _ in range(7):
        tab.keyboard.press("ArrowRight")
    assert "Walk back, step 7" in panel(tab)
    shot(tab, "desk-walk-back")


def test_the_slider_goes_to_the_end_and_back(show):
    tab = show(synthetic.regression())
    slider = tab.locator("#slider")
    slider.fill("15")
    assert step_of(tab) == 15
    assert slider.get_attribute("aria-valuetext") == "Step 15 of 15: Written, x"
    slider.fill("0")
    assert step_of(tab) == 0
    assert tab.inner_text("#count") == "0 / 15"
    box = slider.bounding_box()
    tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert 6 <= step_of(tab) <= 9


def test_data_flows_where_motion_is_welcome(show, shot):
    tab = show(synthetic.network(calls=60, parameters=10), reduced_motion="no-preference")
    settled(tab)
    before = tab.evaluate("study.camera.y")
    for _ in range(30):
        tab.keyboard.press("ArrowRight")
    shot(tab, "desk-flowing")
    tab.wait_for_timeout(700)  # the camera has followed
    x, y = tab.evaluate("study.at(study.nodes.find(n => n.step === 30))")
    box = tab.locator("#graph").bounding_box()
    assert box["x"] < x < box["x"] + box["width"]
    assert box["y"] < y < box["y"] + box["height"]
    assert tab.evaluate("study.camera.y") != before


def test_it_plays_to_the_end(show):
    tab = show(synthetic.regression())
    tab.keyboard.press("Space")
    assert tab.get_attribute("#play", "aria-label") == "Pause"
    tab.locator("body[data-step='15']").wait_for(state="attached")
    tab.locator("#play[aria-label='Play']").wait_for()


def test_a_click_opens_a_node(show, shot):
    record = synthetic.regression()
    tab = show(record)
    click_node(tab, "n.label === 'matmul'")
    text = panel(tab)
    for part in (
        "train.py:7", "y = x @ w + b", "minigrad/nn/linear.py:31", "a kernel answered",
        "minigrad/ops/products.py:12", "return xp.matmul(x, y)",
        "minigrad/ops/products.py:18", "return g @ y.mT  # as x stood on the left",
        "Gradient that came", "to input 1", "4.1 kB freed", "kept for the rule: input 0",
        "float32[6, 4]",
    ):  # fmt: skip
        assert part in text
    shot(tab, "desk-node")
    step = record.steps[0]
    for number in [step["inputs"][0]["value"], step["inputs"][1]["value"], step["outputs"][0]]:
        array = record.values[number][0]
        read = np.array([np.float32(x) for x in shown(tab, number)])
        assert read.tobytes() == array.tobytes()
    tab.keyboard.press("Escape")
    assert "Forward, step 0" in panel(tab)


def real_step():
    """A record of a training step of a small network."""
    with random.stream(0):
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 2))
    optimizer = optim.Adam(model, lr=0.01)

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    return mg.study(step, x, np.array([0, 1, 1, 0, 1]))


def test_a_real_step_is_shown_bit_for_bit(show, shot):
    """Every step of it: its kind, and all numbers that the panel shows."""
    record = real_step()
    tab = show(record)
    drawn = tab.evaluate("study.nodes.filter(n => n.leaf === undefined).map(n => n.step)")
    assert drawn == record.forward
    named = tab.evaluate("study.nodes.filter(n => n.leaf !== undefined).map(n => n.leaf)")
    assert {"0.weight", "0.bias", "2.weight", "3.bias"} <= {record.leaves[i].name for i in named}
    seen = set()
    for i, step in enumerate(record.steps):
        tab.evaluate(f"study.go({i})")
        settled(tab)
        head = tab.inner_text("#panel h2")
        assert getattr(step, "parameter", getattr(step, "op", head)) in head
        figures = tab.evaluate(
            "[...document.querySelectorAll('#panel figure[data-value]')].map(f => {"
            " for (const d of f.querySelectorAll('details')) d.open = true;"
            " return Number(f.dataset.value); })"
        )
        settled(tab)
        texts = tab.evaluate(
            "[...document.querySelectorAll('#panel figure[data-value]')].map("
            "f => [...f.querySelectorAll('td, .one')].map(e => e.textContent))"
        )
        if type(step).__name__ in ("Call", "Pull"):
            own = [v["value"] for v in getattr(step, "gave", ())]
            own += [*getattr(step, "outputs", ()), *getattr(step, "came", ())]
            assert {v for v in own if v is not None} <= set(figures)
        for number, found in zip(figures, texts, strict=True):
            array = record.values[number].numbers()
            if array.dtype.kind == "b":
                found = [v == "True" for v in found]
            read = np.array([array.dtype.type(v) for v in found]).reshape(array.shape)
            assert read.tobytes() == array.tobytes()
            seen.add(number)
    assert len(seen) > 0.8 * len(record.values)
    shot(tab, "desk-real")


def test_the_translators_page_weighs_under_3_mb(show, shot):
    preset = PRESETS["tiny"]
    trainer = Trainer(load_corpus(starter_corpus_path()), *preset, jit=False)
    batch = trainer.prepare(next(iter(trainer.batches)))

    def step():
        trainer.optimizer.zero_grad()
        loss = trainer.loss_step(batch)
        loss.backward()
        trainer.optimizer.step()
        return loss

    record = mg.study(step)
    text = page(record)
    assert len(text.encode()) < 3e6
    tab = show(record, text=text)
    print(f"{len(text.encode()) / 1e6:.2f} MB, {opened(tab)}")
    drawn = tab.evaluate("study.nodes.filter(n => n.leaf === undefined).map(n => n.step)")
    assert drawn == record.forward
    shot(tab, "desk-translator")


def test_what_a_rule_did_is_told(show):
    record = synthetic.regression()
    tab = show(record)
    click_node(tab, "n.label === 'mul'")
    text = panel(tab)
    assert "added to what had arrived: the sum" in text
    assert "Ops that the rule called" in text
    total = record.steps[7]["gave"][1]["total"]
    assert [np.float32(x) for x in shown(tab, total)] == list(record.values[total][0].ravel())
    click_node(tab, "n.label === 'add'")
    assert "broadcasting undone: [6, 3] summed over axis 0 to [3]" in panel(tab)
    tab.locator("#panel .link", has_text="layer.bias").first.click()
    text = panel(tab)
    assert text.startswith("Parameter\nlayer.bias")
    for part in ("Gradients that arrived", "Used by", "step 1 of Adam", "lr", "0.01", "m after"):
        assert part in text


def test_a_node_opens_by_keyboard_alone(show, shot):
    record = synthetic.regression()
    tab = show(record)
    tab.locator("#graph").focus()
    tab.keyboard.press("Shift+ArrowUp")  # from matmul to the nearest of its inputs
    first = tab.inner_text("#status")
    assert first in ("Argument: x", "Parameter: layer.weight")
    tab.keyboard.press("Shift+ArrowLeft" if "weight" in first else "Shift+ArrowRight")
    assert tab.inner_text("#status") != first
    tab.keyboard.press("Shift+ArrowDown")
    assert tab.inner_text("#status") == "Forward: matmul, step 0"
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "panel"
    assert "return xp.matmul(x, y)" in panel(tab)
    tab.keyboard.press("Tab")  # into the panel: its first stop shows where it is
    ring = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert ring != "none"
    shot(tab, "desk-keyboard")
    tab.keyboard.press("Escape")
    assert tab.evaluate("document.activeElement.id") == "graph"


def test_tab_reaches_everything_in_order(show):
    tab = show(synthetic.regression())
    seen = []
    for _ in range(20):
        tab.keyboard.press("Tab")
        seen.append(tab.evaluate("document.activeElement.id"))
    order = [x for x in seen if x in ("to-program", "search", "theme", "graph", "play", "slider")]
    assert order == ["to-program", "search", "theme", "graph", "play", "slider"]
    unnamed = tab.evaluate(
        "[...document.querySelectorAll('button, input, canvas[tabindex], [role=listbox]')]"
        ".filter(e => !(e.ariaLabel || e.textContent).trim()).map(e => e.outerHTML)"
    )
    assert unnamed == []


def test_search_finds_by_name_and_by_line(show, shot):
    tab = show(synthetic.regression())

    def find(text):
        tab.keyboard.press("/")
        tab.locator("#search").fill(text)
        return tab.locator("#found [role=option] b").all_inner_texts()

    assert find("matm") == ["matmul"]
    assert find("train.py:8") == ["sub", "mul", "mean"]
    assert find("nothing like it") == []
    assert "Nothing found." in tab.inner_text("#found")
    assert find("target) ** 2") == ["sub", "mul", "mean"]
    shot(tab, "desk-search")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    assert step_of(tab) == 3
    assert panel(tab).startswith("Forward, step 3\nmul")
    assert find("layer.wei") == ["layer.weight"]
    tab.keyboard.press("Enter")
    assert panel(tab).startswith("Parameter\nlayer.weight")
    assert tab.evaluate("document.activeElement.id") == "panel"


def test_the_list_follows(show):
    tab = show(synthetic.network(calls=300, parameters=10, shape=(2, 2)))
    count = tab.evaluate("study.record.steps.length")
    assert tab.locator(".row").count() < 60  # only those in sight
    tab.keyboard.press("End")
    here = tab.locator(".row.here")
    assert here.inner_text().startswith(str(count - 1))
    assert here.get_attribute("aria-posinset") == str(count)
    tab.locator(".row").first.click()
    assert step_of(tab) == int(tab.locator(".row.here i").inner_text()) < count - 1


# what may stand in an array, and how it is read back
EVERYTHING = {
    "bool": np.array([True, False, True]),
    "int8": np.array([-128, 127, 0], np.int8),
    "int64": np.array([2**53 + 1, -(2**63), 2**63 - 1]),
    "uint64": np.array([2**64 - 1, 0, 9007199254740993], np.uint64),
    "float16": np.array([0.1, 65504, 6e-8, np.inf, -0.0, np.nan, 1 / 3], np.float16),
    "float32": np.array([0.1, 1e-45, 3.4028235e38, -np.inf, np.nan, -0.0, 16777216], np.float32),
    "float64": np.array([0.1, 5e-324, 1.7976931348623157e308, np.nan, 1 / 3, -0.0, np.inf]),
    "scalar": np.array(2.5, np.float32),
    "negative": np.array(-(2**62) - 1),
    "empty": np.zeros((3, 0, 2), np.float32),
    "cube": np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float16),
}


def test_numbers_are_shown_bit_for_bit(show, shot):
    record = synthetic.Synthetic("every dtype")
    record.line("here.py", 1, "f(everything)")
    numbers = {name: record.leaf(name, "argument", x) for name, x in EVERYTHING.items()}
    bits = np.array([0x3DCD, 0x7F80, 0x0001, 0xFF7F, 0x8000, 0x7FC1, 0x4049], np.uint16)
    numbers["bfloat16"] = record.leaf("bfloat16", "argument", bits, dtype="bfloat16")
    record.call("f", [*numbers.values(), "2.0"], np.float32(0))
    tab = show(record)
    shot(tab, "desk-dtypes")
    for name, x in EVERYTHING.items():
        if name == "empty":
            figure = tab.locator(f'#panel figure[data-value="{numbers[name]}"]')
            assert "no elements" in figure.inner_text()
            assert "float32[3, 0, 2]" in figure.inner_text()
            continue
        texts = shown(tab, numbers[name])
        if x.dtype.kind == "b":
            assert texts == [str(v) for v in x.tolist()]
        elif x.dtype.kind in "iu":
            assert list(map(int, texts)) == x.ravel().tolist()
        else:
            read = np.array([x.dtype.type(v) for v in texts]).reshape(x.shape)
            np.testing.assert_array_equal(read, x)
            np.testing.assert_array_equal(np.signbit(read), np.signbit(x))
            assert all("." in v or "e" in v for v in texts if v.strip("-") not in ("nan", "inf"))
    texts = shown(tab, numbers["bfloat16"])
    assert texts[1] == "inf"
    assert texts[4:6] == ["-0.0", "nan"]
    ml_dtypes = pytest.importorskip("ml_dtypes")
    read = np.array([float(v) for v in texts]).astype(ml_dtypes.bfloat16).view(np.uint16)
    keep = [0, 1, 2, 3, 4, 6]
    assert read[keep].tolist() == bits[keep].tolist()
    assert "2.0" in tab.inner_text("#panel")


def test_floats_are_the_shortest_that_are_exact(show):
    """As NumPy's own shortest ones, for many bit patterns."""
    tab = show(synthetic.regression())
    bits = np.random.default_rng(0).integers(0, 2**32, 4000, dtype=np.uint64).astype(np.uint32)
    for dtype, few in [(np.float32, bits), (np.float16, bits.astype(np.uint16))]:
        x = few.view(dtype)
        x = x[np.isfinite(x)]
        texts = tab.evaluate(
            "([x, dtype]) => x.map(v => study.exact(v, dtype))",
            [[float(v) for v in x], np.dtype(dtype).name],
        )
        assert np.array([dtype(v) for v in texts]).tobytes() == x.tobytes()
        digits = [len(re.sub(r"e.*|[-.]", "", v).strip("0")) for v in texts]
        best = [len(re.sub(r"e.*|[-.]", "", np.format_float_scientific(v)).strip("0")) for v in x]
        assert digits == best


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_tell_sign_and_size(show, scheme):
    record = synthetic.Synthetic("colours")
    record.line("here.py", 1, "f(x)")
    x = np.array([[-4, -1, 0, 1, 4, np.nan, np.inf]], np.float32)
    record.call("f", [record.leaf("x", "argument", np.concatenate([x, x]))], np.float32(0))
    tab = show(record, color_scheme=scheme)
    pixels = tab.evaluate("""() => {
      const c = document.querySelector("#panel figure canvas.heat"), wide = c.width / 7;
      return [0, 1, 2, 3, 4, 5, 6].map(i => [...c.getContext("2d").getImageData(
        (i + .5) * wide, 5, 1, 1).data]);
    }""")
    red, blue = (np.array([p[i] for p in pixels], float) for i in (0, 2))
    assert (blue > red + 30)[:2].all()  # below zero
    assert (red > blue + 30)[3:5].all()  # above
    assert abs(red[2] - blue[2]) < 12  # nought
    light = np.array(pixels)[:, :3].sum(axis=1)
    away = np.abs(light - light[2])
    assert away[0] > away[1]  # further from nought, further from its colour
    assert away[4] > away[3]
    assert pixels[5] == pixels[6]
    assert pixels[5] not in pixels[:5]


def test_nodes_light_up_forward_and_then_back(show):
    tab = show(synthetic.regression())
    fill = """step => {
      study.go(step);
      return new Promise(f => requestAnimationFrame(() => requestAnimationFrame(() => {
        const probe = document.body.appendChild(document.createElement("i")), names = {};
        for (const name of ["surface", "forward-tint", "back-tint", "update-tint", "forward",
          "back", "update"]) {
          probe.style.color = `var(--${name})`;
          names[getComputedStyle(probe).color.match(/\\d+/g).join()] = name;
        }
        probe.remove();
        const canvas = document.querySelector("#graph"), box = canvas.getBoundingClientRect();
        const g = canvas.getContext("2d"), out = {};
        for (const n of study.nodes) {
          const [x, y] = study.at(n), k = study.camera.k;
          const p = g.getImageData(x - box.left - (n.w / 2 - 5) * k, y - box.top, 1, 1).data;
          out[n.label] = names[[...p].slice(0, 3).join()];
        }
        f(out);
      })));
    }"""
    names = ("matmul", "add", "sub", "mul", "mean", "layer.weight", "layer.bias")

    def seen(step):
        found = tab.evaluate(fill, step)
        return [found[name] for name in names]

    dark, blue, orange, green = "surface", "forward-tint", "back-tint", "update-tint"
    assert seen(1) == [blue, "forward", dark, dark, dark, blue, blue]
    assert seen(7) == [blue, blue, blue, "back", orange, blue, blue]
    assert seen(12) == ["back", *[orange] * 6]
    assert seen(14) == [*[orange] * 5, green, "update"]
    assert seen(1) == [blue, "forward", dark, dark, dark, blue, blue]


def test_a_pointer_reads_the_heat_map(show):
    record = synthetic.regression()
    tab = show(record)
    x = record.values[0][0]
    canvas = tab.locator('#panel figure[data-value="0"] canvas.heat')
    box = canvas.bounding_box()
    canvas.hover(position={"x": box["width"] * 2.5 / 4, "y": box["height"] * 1.5 / 6})
    text = tab.inner_text('#panel figure[data-value="0"] output')
    place, number = text.split(")")
    assert place == "(1, 2"
    assert np.float32(number) == x[1, 2]
    legend = tab.locator('#panel figure[data-value="0"] .scale span').all_inner_texts()
    assert [float(v) for v in legend] == pytest.approx([x.min(), x.max()], rel=1e-3)


def test_large_values_are_shown_by_statistics_and_a_picture(show):
    record = synthetic.Synthetic("large")
    record.line("here.py", 1, "f(x)")
    x = np.random.default_rng(0).standard_normal((100, 80)).astype(np.float32)
    x[0, 0] = np.nan
    record.call("f", [record.leaf("x", "argument", x)], x)
    tab = show(record)
    text = tab.inner_text('#panel figure[data-value="0"]')
    assert f"{np.nanmean(x.astype(np.float64)):.4g}" in text.replace("\n", " ")
    assert re.search(r"NaN\s+1\b", text)
    assert "averaged over blocks to 25 × 27" in text
    assert not tab.locator('#panel figure[data-value="0"] details').count()


def test_a_text_stays_a_text(show):
    record = synthetic.Synthetic(ATTACK)
    record.line(ATTACK, 1, ATTACK)
    formula = record.source(ATTACK, ATTACK, 1, ATTACK)
    x = record.leaf(ATTACK, "parameter", np.ones((2, 2), np.float32))
    record.call(ATTACK, [x, ATTACK], np.float32(1), formula=formula, params={ATTACK: ATTACK})
    record.program = synthetic.program(2)
    record.program["instructions"][0]["name"] = record.program["calls"][0]["op"] = ATTACK
    tab = show(record)
    assert tab.title() == ATTACK.replace("\u2028", " ") or tab.title() == ATTACK
    assert ATTACK in tab.inner_text("#panel h2")
    assert ATTACK in tab.locator("#panel .source code").inner_text()
    tab.keyboard.press("/")
    tab.locator("#search").fill("onerror")
    assert tab.locator("#found [role=option]").count() == 2
    click_node(tab, "n.leaf === 0")
    tab.click("#to-program")
    assert ATTACK in tab.text_content("#table")
    assert tab.locator("img").count() == 0


def test_the_program_shows_every_instruction(show, shot):
    record = synthetic.regression()
    tab = show(record)
    tab.click("#to-program")
    rows = tab.locator("[data-instruction]")
    assert rows.count() == 12
    for i, x in enumerate(record.program["instructions"]):
        assert x["name"] in rows.nth(i).text_content()
        ops = rows.nth(i).locator("[data-call]").all_text_contents()
        assert ops == [record.program["calls"][k]["op"] for k in x["calls"]]
    assert tab.locator("[data-call]").count() == len(record.program["calls"])
    tab.locator("[data-call='7']").click()  # an op leads to its instruction
    assert tab.get_attribute("[aria-current]", "data-instruction") == "2"
    assert "Instruction 2: norm" in tab.inner_text("#told")
    shot(tab, "desk-program")
    tab.locator("#told .link").last.click()  # that to what it writes
    assert "float32[64, 32] of relu" in tab.inner_text("#told")
    tab.locator("#told .link").first.click()  # and that to who wrote it
    assert "Instruction 2" in tab.inner_text("#told")
    tab.keyboard.press("ArrowDown")
    assert tab.get_attribute("[aria-current]", "data-instruction") == "3"
    # the arena: place 0 lies at its foot from before the first instruction until after the third
    box = tab.locator("#arena").bounding_box()
    foot = {"x": box["width"] * 1.5 / 14, "y": box["height"] - 10}
    tab.locator("#arena").hover(position=foot)
    assert "8.19 kB, at 0 bytes, from before the first to 3" in tab.inner_text("#pointed")
    tab.locator("#arena").click(position=foot)
    assert "Place in memory" in tab.inner_text("#told")
    bars = tab.locator("#times").bounding_box()
    tab.locator("#times").click(position={"x": bars["width"] * 5.5 / 14, "y": 40})
    assert tab.get_attribute("[aria-current]", "data-instruction") == "4"


def test_why_there_is_no_program(show):
    record = synthetic.network(calls=5, parameters=1, shape=(2, 2))
    record.program = None
    tab = show(record)
    tab.click("#to-program")
    assert tab.inner_text("#program") == "the function was not jitted"


def test_a_phone(show, shot):
    tab = show(synthetic.regression(), PHONE, has_touch=True, device_scale_factor=2)
    for name in ("phone-first", "phone-node", "phone-program"):
        if name == "phone-node":
            settled(tab)
            x, y = tab.evaluate("study.at(study.nodes.find(n => n.label === 'matmul'))")
            tab.touchscreen.tap(x, y)
            assert "return xp.matmul(x, y)" in panel(tab)
        elif name == "phone-program":
            tab.click("#to-program")
        wide = tab.evaluate("document.documentElement.scrollWidth")
        assert wide <= PHONE[0], name
        shot(tab, name)
    tab.click("#to-steps")
    tops = [tab.locator(part).bounding_box() for part in ("#stage", "#panel", "#list")]
    for above, below in pairwise(tops):  # one below the other
        assert below["y"] >= above["y"] + above["height"] - 1
    assert tab.locator("#steps").bounding_box()["y"] < PHONE[1]  # always in reach


def test_two_fingers_zoom_and_one_moves(show):
    tab = show(synthetic.regression(), PHONE, has_touch=True)
    settled(tab)
    before = tab.evaluate("({...study.camera})")
    box = tab.locator("#graph").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = tab.context.new_cdp_session(tab)

    def touch(kind, *points):
        session.send(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": [{"x": a, "y": b, "id": i}
                                           for i, (a, b) in enumerate(points)]},
        )  # fmt: skip

    touch("touchStart", (x - 30, y), (x + 30, y))
    touch("touchMove", (x - 60, y), (x + 60, y))
    touch("touchEnd")
    pinched = tab.evaluate("({...study.camera})")
    assert pinched["k"] == pytest.approx(2 * before["k"], rel=0.05)
    touch("touchStart", (x, y))
    touch("touchMove", (x, y - 50))
    touch("touchEnd")
    moved = tab.evaluate("({...study.camera})")
    assert moved["y"] - pinched["y"] == pytest.approx(50 / pinched["k"], rel=0.05)
    assert step_of(tab) == 0


# every text that is shown, with its colour and what is behind it: contrast as WCAG 2 has it
CONTRASTS = """() => {
  const rgb = c => c.match(/[\\d.]+/g).map(Number);
  const light = c => c.slice(0, 3).map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > .9) return c;
    }
  };
  const out = {};
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest("#stage")) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    const name = e.tagName + (e.className ? "." + e.className : "");
    out[name] = Math.min(out[name] ?? 99, ratio);
  }
  const probe = document.body.appendChild(document.createElement("i"));
  for (const [ink, on] of [["ink", "forward-tint"], ["ink", "back-tint"], ["ink", "update-tint"],
    ["on", "forward"], ["on", "back"], ["on", "update"], ["soft", "surface"], ["soft", "paper"],
    ["forward", "surface"], ["back", "surface"]]) {
    probe.style.color = `var(--${ink})`;
    probe.style.backgroundColor = `var(--${on})`;
    const s = getComputedStyle(probe);
    const [a, b] = [light(rgb(s.color)), light(rgb(s.backgroundColor))];
    out[`graph: ${ink} on ${on}`] = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  }
  probe.remove();
  return out;
}"""


def test_light_and_dark_can_be_read(show, shot):
    seen = {}
    for scheme in ("light", "dark"):
        tab = show(synthetic.regression(), color_scheme=scheme)
        for step in (0, 9, 12, 13):  # a call, a rule's, a pull, an update
            tab.evaluate(f"study.go({step})")
            settled(tab)
            found = tab.evaluate(CONTRASTS)
            assert len(found) > 20
            assert {k: v for k, v in found.items() if v < 4.5} == {}
        seen[scheme] = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        shot(tab, f"desk-{scheme}")
        tab.click("#to-program")
        assert {k: v for k, v in tab.evaluate(CONTRASTS).items() if v < 4.5} == {}
    assert seen["light"] != seen["dark"]
    tab.click("#theme")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == seen["light"]


def test_in_japanese(show, shot):
    tab = show(synthetic.regression(), lang="ja")
    tab.keyboard.press("End")
    tab.keyboard.press("ArrowLeft")
    assert "更新" in panel(tab)
    shot(tab, "desk-ja")
    tab.click("#lang")
    assert tab.get_attribute("html", "lang") == "en"
    assert panel(tab).startswith("Update, step 14")
    words = tab.evaluate("[...document.querySelectorAll('[data-t], [data-label]')].length")
    assert words > 20


def test_both_languages_have_every_word():
    template = Path(pages.__file__).with_suffix(".html").read_text(encoding="utf-8")
    en, ja = re.search(r"\n  en: \{(.*?)\n  \},\n  ja: \{(.*?)\n  \},\n", template, re.S).groups()
    words = [re.findall(r'\b(\w+):\s*"((?:[^"\\]|\\.)*)"', part) for part in (en, ja)]
    assert [key for key, _ in words[0]] == [key for key, _ in words[1]]
    for (key, a), (_, b) in zip(*words, strict=True):
        assert sorted(re.findall(r"\{\d\}", a)) == sorted(re.findall(r"\{\d\}", b)), key
    used = set(re.findall(r'\bt\("(\w+)"', template)) | set(
        re.findall(r'data-(?:t|label|hint)="(\w+)"', template)
    )
    assert used <= {key for key, _ in words[0]}


def test_without_javascript_a_sentence_stands(show):
    tab = show(synthetic.regression(), java_script_enabled=False)
    text = tab.inner_text("body")
    assert "it needs JavaScript" in text
    assert "JavaScript が必要です" in text
    assert not tab.locator("#shell").is_visible()


def test_nothing_recorded(show):
    tab = show(synthetic.Synthetic("nothing"))
    assert "Nothing was recorded." in tab.inner_text("#panel")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("End")


def test_a_frame_in_a_notebook(show):
    record = synthetic.regression()
    text = f"<!DOCTYPE html><body>a cell{fragment(record)}</body>"
    tab = show(None, text=text)
    inside = tab.frame_locator("iframe")
    inside.locator("#status", has_text="matmul").wait_for()
    inside.locator("#next").click()
    inside.locator("#status", has_text="add").wait_for()
    inside.locator("#theme").click()  # which has no storage there


def test_second_order_calls_are_drawn(show):
    """A rule's call is a node only if a later rule walks through it."""
    r = synthetic.Synthetic("second order")
    r.line("here.py", 1, "y = x * x")
    x = r.leaf("x", "argument", np.float32(3))
    y = r.call("mul", [x, x], np.float32(9))
    one = r.value(np.float32(1))
    r.pull(y, one, {0: np.float32(3), 1: np.float32(3)})
    inner = r.call("times", [one, x], np.float32(3), within=1)
    r.call("unseen", [one, x], np.float32(3), within=1)
    r.steps[1]["gave"][0]["value"] = inner
    r.pull(inner, one, {1: np.float32(1)})
    tab = show(r)
    labels = tab.evaluate("study.nodes.filter(n => n.leaf === undefined).map(n => n.label)")
    assert labels == ["mul", "times"]
    tab.keyboard.press("End")
    assert "∂ times" in panel(tab)


def test_what_a_formula_calls_belongs_to_its_call(show):
    """On the way forward, and on the way back: below the call, whose node it lights."""
    record = mg.study(cross_entropy_and_back, np.float32([[1, 2, 3]]))
    calls = [i for i, s in enumerate(record.steps) if s.kind == "call" and s.within is not None]
    outer = {i: record.steps[record.steps[i].within] for i in calls}
    forward = [i for i, s in outer.items() if s.kind == "call" and s.within is None]
    back = [i for i, s in outer.items() if s.kind == "pull"]
    assert forward
    assert back
    tab = show(record)
    for steps, hue, told in ((forward, "forward", "formula"), (back, "back", "rule")):
        for i in steps:
            tab.evaluate(f"study.go({i})")
            assert f"Called by a {told}" in panel(tab)
            assert tab.locator(f"#panel .{hue}").count()


def cross_entropy_and_back(x):
    x = mg.Tensor(x, requires_grad=True)
    with_ids = mg.cross_entropy(x, np.array([1]))
    with_ids.backward()
    return with_ids


def test_two_thousand_nodes(show, shot):
    tab = show(synthetic.network(1950, 50, (2, 3), "two thousand nodes", width=6))
    assert tab.evaluate("study.nodes.length") >= 2000
    print(opened(tab))
    shot(tab, "desk-2000-first")
    tab.evaluate("study.go(2900)")
    began = time.perf_counter()
    for _ in range(60):
        tab.keyboard.press("ArrowRight")
        settled(tab)
    print(f"a step with two frames: {(time.perf_counter() - began) / 60 * 1e3:.0f} ms")
    assert step_of(tab) == 2960
    shot(tab, "desk-2000-middle")
    tab.click("#fit")
    settled(tab)
    shot(tab, "desk-2000-fit")
    before = tab.evaluate("study.camera.x")
    box = tab.locator("#graph").bounding_box()
    tab.mouse.move(box["x"] + 200, box["y"] + 300)
    tab.mouse.down()
    began = time.perf_counter()
    for i in range(60):
        tab.mouse.move(box["x"] + 200 + 2 * i, box["y"] + 300)
        settled(tab)
    print(f"a move with two frames: {(time.perf_counter() - began) / 60 * 1e3:.0f} ms")
    tab.mouse.up()
    assert tab.evaluate("study.camera.x") < before
    no_overlap = tab.evaluate("""() => {
      const rows = new Map();
      for (const n of study.nodes) {
        const key = `${n.col}:${n.row}`;
        rows.set(key, [...(rows.get(key) || []), n]);
      }
      return [...rows.values()].every(row => row.sort((a, b) => a.x - b.x).every(
        (n, k) => !k || n.x - n.w / 2 >= row[k - 1].x + row[k - 1].w / 2));
    }""")
    assert no_overlap
    downward = tab.evaluate(
        "study.nodes.every(n => n.outs.every(e => e.to.col > n.col || e.to.row > n.row))"
    )
    assert downward


def test_made_up_values_are_as_they_are_told():
    """The tests' own encoding: little-endian bytes, in C order."""
    v = synthetic.encoded((np.arange(6, dtype=">f4").reshape(2, 3).T, "float32", None, None), 256)
    assert v["shape"] == [3, 2]
    read = np.frombuffer(base64.b64decode(v["data"]), "<f4")
    assert read.tolist() == [0, 3, 1, 4, 2, 5]
