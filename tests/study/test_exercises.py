"""The checkers of the exercises: what is right passes, and what is wrong is told apart.

The answers are written in `answers.py`, as students write them.
"""

import dataclasses
import importlib.util
import inspect
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from support import close, host

import minigrad as mg
from minigrad.autodiff import REGISTRY, Tensor
from minigrad.backend import to_device
from minigrad.errors import MinigradError
from minigrad.study.exercises import EXERCISES, check, check_file, named, stub
from minigrad.study.exercises.words import WORDS, both, several
from minigrad.study.messages import language

CHAPTERS = [
    "numbers", "broadcasting", "tape", "rules", "memory", "modules", "attention", "vmap", "kernels",
    "gpu",
]  # fmt: skip
SPEC = importlib.util.spec_from_file_location("answers", Path(__file__).with_name("answers.py"))
ANSWERS = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(ANSWERS)


def answers(name):
    """{what it is to be called: function}"""
    return {k: f for k, f in vars(getattr(ANSWERS, name)).items() if inspect.isfunction(f)}


def wrong_answers(name):
    return {key: f for key, f in answers(name).items() if key not in ("right", "almost")}


WRONG = [(name, key) for name in EXERCISES for key in wrong_answers(name)]
KNOWN = [(name, i) for name, e in EXERCISES.items() for i in range(len(e.mistakes))]


def test_every_chapter_has_exercises_in_the_books_order():
    chapters = [e.chapter for e in EXERCISES.values()]
    assert sorted(set(chapters), key=chapters.index) == CHAPTERS
    assert chapters == sorted(chapters, key=CHAPTERS.index)
    assert all(2 <= chapters.count(chapter) <= 4 for chapter in CHAPTERS)
    assert len(EXERCISES) >= 27


@pytest.mark.parametrize("name", EXERCISES)
def test_a_right_answer_is_right(name):
    before = set(REGISTRY)
    for lang in ("en", "ja"):
        verdict = check(name, answers(name)["right"], lang)
        assert verdict.right, verdict.text
        assert verdict.mistake == ""
        assert name in verdict.text
    assert set(REGISTRY) == before, "checking leaves no ops behind"


@pytest.mark.parametrize(("name", "key"), WRONG)
def test_a_wrong_answer_is_told_its_mistake(name, key):
    for lang in ("en", "ja"):
        verdict = check(name, wrong_answers(name)[key], lang)
        assert not verdict.right
        assert verdict.mistake == key, verdict.text
        assert not re.search(r"\{\w*\}", re.sub(r"`[^`]*`", "", verdict.text)), "a field is open"


@pytest.mark.parametrize("name", EXERCISES)
def test_mistakes_are_told_apart(name):
    wrong = wrong_answers(name)
    assert len(wrong) >= 3
    for lang in ("en", "ja"):
        texts = [check(name, f, lang).text for f in wrong.values()]
        # The second paragraph says what is wrong, without the numbers of the input.
        said = {text.split("\n\n")[1] for text in texts}
        assert len(said) == len(wrong)


@pytest.mark.parametrize("name", EXERCISES)
def test_an_answer_that_fails_in_a_hard_case_is_refused(name):
    verdict = check(name, answers(name)["almost"], "en")
    assert not verdict.right
    right = [
        one
        for one in EXERCISES[name].all_cases()
        if check_on(name, one, answers(name)["almost"]).right
    ]
    assert right, "it is right somewhere, or the case is not that hard"


def check_on(name, one, function):
    """The verdict on one input alone."""
    return dataclasses.replace(EXERCISES[name], cases=lambda: [one]).check(function, "en")


@pytest.mark.parametrize("name", EXERCISES)
def test_every_input_counts(name):
    """An answer that is wrong on one input only is refused, whichever it is."""
    right = answers(name)["right"]
    for one in EXERCISES[name].cases():
        one = dataclasses.replace(one, float32=False)
        assert check_on(name, one, right).right
        assert not check_on(name, one, lambda *args: spoilt(right(*args))).right, one.note


def spoilt(x):
    """`x`, a little wrong."""
    if isinstance(x, tuple | list):
        return type(x)([spoilt(x[0]), *x[1:]]) if x else [0]
    if isinstance(x, dict):
        return dict(list(x.items())[1:]) if x else {"a": 0}
    if isinstance(x, set):
        return x ^ {"x"}
    if isinstance(x, bool):
        return not x
    if isinstance(x, str):
        return x + "?"
    if isinstance(x, np.ndarray):
        return np.append(x.ravel(), x.dtype.type(0)) if x.size == 0 else x * 1.001 + 0.001
    return 1 if x is None else x * 1.001 + 0.001 if not isinstance(x, int) else x + 1


@pytest.mark.parametrize(("name", "i"), KNOWN)
def test_the_known_mistakes_of_the_pages_are_known(name, i):
    mistake = EXERCISES[name].mistakes[i]
    for lang in ("en", "ja"):
        verdict = check(name, mistake.answer, lang)
        assert verdict.mistake == mistake.key
        assert mistake.text[lang] in verdict.text


@pytest.mark.parametrize("name", EXERCISES)
def test_every_text_is_there_in_both_languages(name):
    exercise = EXERCISES[name]
    texts = [exercise.title, exercise.task, exercise.doc, *(m.text for m in exercise.mistakes)]
    texts += [one.note for one in exercise.all_cases()]
    for text in texts:
        assert text.keys() == {"en", "ja"}
        assert text["en"].isascii()
        assert text["ja"]
    for text in texts:
        assert all(line == line.rstrip() for t in text.values() for line in t.splitlines())
    for text in (exercise.task, *(m.text for m in exercise.mistakes)):
        assert re.search(r"[ぁ-んァ-ヶ一-龠]", text["ja"])


def test_the_words_have_the_same_fields_in_both_languages():
    for key, text in WORDS.items():
        fields = [sorted(set(re.findall(r"\{\w+\}", text[lang]))) for lang in ("en", "ja")]
        assert fields[0] == fields[1], key


# --------------------------------------------------------------------------------- stubs


@pytest.mark.parametrize("lang", ["en", "ja"])
@pytest.mark.parametrize("name", EXERCISES)
def test_a_stub_is_a_file_to_begin_with(name, lang, tmp_path):
    text = stub(name, lang)
    assert EXERCISES[name].title[lang] in text
    file = tmp_path / "mine.py"
    file.write_text(text, encoding="utf-8")
    (verdict,) = check_file(file, lang=lang).values()
    assert verdict.mistake == "unwritten"
    assert not verdict.right
    assert all(len(line) <= 100 for line in text.splitlines())
    assert all(line == line.rstrip() for line in text.splitlines())


def test_functions_without_a_body_are_not_written_yet():
    def with_docstring(g, y):
        """The gradient."""

    def with_dots(g, y): ...

    def with_pass(g, y):
        pass

    for function in (with_docstring, with_dots, with_pass):
        assert check("sigmoid_rule", function, "en").mistake == "unwritten"


# -------------------------------------------------------------------------------- files


def test_a_file_is_checked_function_by_function(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import numpy as np\n\n"
        "def softmax_rule(g, y, axis):\n    return g * y\n\n"
        "def product_rule(g, x, y):\n    return g * y, g * x\n\n"
        "def mean_rule(g, x, axis):\n    n = x.shape[axis]\n    return g / n\n\n"
        "def helper(x):\n    return x\n",
        encoding="utf-8",
    )
    found = check_file(file, lang="en")
    assert list(found) == ["product_rule", "mean_rule", "softmax_rule"], "in the book's order"
    assert found["product_rule"].right
    assert found["softmax_rule"].mistake == "no_normaliser"
    some = check_file(str(file), ["product_rule", "max_rule"], lang="ja")
    assert list(some) == ["product_rule", "max_rule"]
    assert some["max_rule"].mistake == "absent"
    assert "max_rule" in some["max_rule"].text
    with pytest.raises(ValueError, match="no exercise 'helper'"):
        check_file(file, ["helper"])


def test_a_file_may_use_its_neighbours_and_dataclasses(tmp_path):
    (tmp_path / "my_helpers.py").write_text("def times(a, b):\n    return a * b\n", "utf-8")
    file = tmp_path / "mine.py"
    file.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from my_helpers import times\n\n@dataclass\nclass Pair:\n    dx: float\n    dy: float\n\n"
        "def product_rule(g, x, y):\n    pair = Pair(times(g, y), times(g, x))\n"
        "    return pair.dx, pair.dy\n",
        "utf-8",
    )
    before = list(sys.path)
    assert check_file(file)["product_rule"].right
    assert sys.path == before
    sys.modules.pop("my_helpers")


def test_an_edited_file_is_read_anew(tmp_path):
    file = tmp_path / "mine.py"
    for body, right in (("g * y, g * x", True), ("g * x, g * y", False), ("y * g, x * g", True)):
        file.write_text(f"def product_rule(g, x, y):\n    return {body}\n", encoding="utf-8")
        assert check_file(file)["product_rule"].right == right


def test_an_error_is_shown_with_the_students_line(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "def product_rule(g, x, y):\n    h = g\n    return h * y, hh * x\n", encoding="utf-8"
    )
    text = check_file(file, lang="en")["product_rule"].text
    assert "NameError: name 'hh' is not defined" in text
    assert "mine.py:3: return h * y, hh * x" in text
    assert "x = 3" in text


def test_an_answer_that_leaves_does_not_end_the_checker(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "def product_rule(g, x, y):\n    raise SystemExit(3)\n\n"
        "def chain_rule(fs, slopes, x):\n    return None\n\nraise SystemExit\n",
        encoding="utf-8",
    )
    verdicts = check_file(file, lang="en")
    assert verdicts["product_rule"].mistake == "exception"
    assert "SystemExit: 3\n    mine.py:2: raise SystemExit(3)" in verdicts["product_rule"].text
    assert verdicts["chain_rule"].mistake == "nothing"


def test_a_known_mistake_is_told_beside_an_error_on_a_later_input():
    def each_alone(grads, max_norm):  # and it has forgotten that there may be None
        norms = [np.sqrt((g * g).sum()) for g in grads]
        return [g * min(1, max_norm / n) for g, n in zip(grads, norms, strict=True)]

    assert check("clip_by_global_norm", each_alone, "en").mistake == "each_alone"

    def swapped(x, in_axis, size):
        return np.swapaxes(x, 0, in_axis)

    assert check("batch_in_front", swapped, "en").mistake == "swapped"


def test_what_is_no_number_is_compared_in_plain_words():
    text = check("spoiled", lambda events: ["first"], "en").text
    assert "a text" not in text
    text = check("what_to_keep", lambda op, tracked: {"x"}, "en").text
    assert "Your answer does not hold the right things. Too many: 'x'.\n" in text
    text = check("what_to_keep", lambda op, tracked: {"x"}, "ja").text
    assert "あなたの答えに含まれているものが違います。余分なもの: 'x'。\n" in text


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise SystemExit(3)\n", r"mine\.py:1 stops with SystemExit: 3"),
        ("def product_rule(g, x, y):\n    return (\n", r"mine\.py:2 stops with SyntaxError"),
        (
            "import math\nmath.sine(1)\n",
            r"mine\.py:2 stops with AttributeError[^\n]*\n    math\.sine",
        ),
        ("def mine():\n    return 1\n", "nothing in .*mine.py is named as an exercise"),
    ],
)
def test_files_that_cannot_be_checked(source, said, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(source, encoding="utf-8")
    with pytest.raises(MinigradError, match=said):
        check_file(file)
    with pytest.raises(MinigradError, match="there is no file"):
        check_file(tmp_path / "none.py")


# ---------------------------------------------------------------------- what is said of all


def test_the_language_is_that_of_the_environment(monkeypatch):
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    assert language() == "ja"
    assert "正解" in check("product_rule", answers("product_rule")["right"]).text
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert language() == "en"
    monkeypatch.delenv("LC_ALL")
    monkeypatch.setenv("LANG", "ja_JP.UTF-8")
    assert language() == "ja"
    monkeypatch.delenv("LANG")
    assert language() == "en"
    with pytest.raises(ValueError, match="lang must be one of ja, en"):
        check("product_rule", max, "de")


def test_exercises_are_found_by_name():
    assert named("max_rule") is EXERCISES["max_rule"]
    with pytest.raises(ValueError, match=r"no exercise 'maxrule'; there are product_rule, "):
        check("maxrule", max)


def test_what_cannot_be_called_as_it_should_is_said():
    assert check("product_rule", 3, "en").mistake == "no_function"
    verdict = check("product_rule", lambda g, x: (g, x), "en")
    assert verdict.mistake == "signature"
    assert "def product_rule(g, x, y):" in verdict.text


def right_of(name):
    return answers(name)["right"]


@pytest.mark.parametrize(
    ("key", "name", "change"),
    [
        ("sign", "sigmoid_rule", lambda v: -v),
        ("factor", "sigmoid_rule", lambda v: 3 * v),
        ("zeros", "sigmoid_rule", lambda v: 0 * v),
        ("offset", "stable_softmax", lambda v: v + v.dtype.type(0.5)),
        ("inverse", "adam_step", lambda v: (1 / v[0], *v[1:])),
        ("imprecise", "masked_attention", lambda v: v * v.dtype.type(1.0003)),
        ("squared", "stable_softmax", lambda v: v * v),
        ("absolute", "hessian_vector", lambda v: np.abs(v.data)),
        ("nan", "max_rule", lambda v: v + v.dtype.type(np.nan)),
        ("infinite", "max_rule", lambda v: v + v.dtype.type(np.inf)),
        ("integers", "masked_attention", lambda v: v.astype(int)),
        ("dtype", "max_rule", lambda v: v.astype(np.float64)),
        ("nothing", "max_rule", lambda v: None),
        ("type", "max_rule", lambda v: "a text"),
        ("length", "adam_step", lambda v: v[:2]),
        ("axes", "unbroadcast", lambda v: v[None]),
        ("over_summed", "max_rule", lambda v: v.sum(0)),
        ("not_summed", "mean_loss", lambda v: np.array([v / 2, v / 2])),
        ("transposed", "affine_rule", lambda v: (v[0].swapaxes(-1, -2) if v[0].ndim > 1 else v[0],
                                                 *v[1:])),
        ("keys", "named_parameters", lambda v: {**v, "more": np.ones(2)}),
        ("plain", "can_overwrite", lambda v: not v),
        ("shape", "sigmoid_rule", lambda v: np.concatenate([np.atleast_1d(v)] * 2)),
        ("value", "sigmoid_rule", lambda v: np.cos(v)),
    ],
)  # fmt: skip
def test_mistakes_of_all_exercises(key, name, change):
    for lang in ("en", "ja"):
        if name == "named_parameters" and key == "keys":
            verdict = check(name, lambda m: {**right_of(name)(m), "more": None}, lang)
        else:
            verdict = check(name, lambda *args: change(right_of(name)(*args)), lang)
        assert verdict.mistake == key, verdict.text


def test_a_wrong_dtype_is_not_taken_for_a_mistake_that_gives_the_same_numbers():
    """Where nothing is tied, the known mistakes about ties give the right numbers."""

    def wide_in_one_case(g, x, axis):
        found = right_of("max_rule")(g, x, axis)
        return found.astype(float) if x.shape == (3, 3) else found

    assert check("max_rule", wide_in_one_case, "en").mistake == "dtype"

    def wide_and_wrong(g, x, axis):
        found = right_of("max_rule")(g, x, axis)
        return found.astype(float) if x.shape == (3, 3) else -found

    assert check("max_rule", wide_and_wrong, "en").mistake == "sign"


def test_of_two_mistakes_one_is_told():
    def layer(g, x, w, b):
        dx, dw, db = right_of("affine_rule")(g, x, w, b)
        return 2 * dx, -dw, db

    verdict = check("affine_rule", layer, "en")
    assert verdict.mistake == "factor"
    assert "dx is twice the right one" in verdict.text


def test_elements_that_are_missing():
    def first(x, axis):
        found = np.zeros_like(x)
        at = tuple(slice(0, 1) if i == axis % x.ndim else slice(None) for i in range(x.ndim))
        found[at] = right_of("stable_softmax")(x, axis)[at]
        return found

    def last(x, axis):
        return first(np.flip(x, axis), axis)[
            tuple(slice(None, None, -1) if i == axis % x.ndim else slice(None)
                  for i in range(x.ndim))
        ]  # fmt: skip

    assert check("stable_softmax", first, "en").mistake == "first_only"
    assert check("stable_softmax", last, "en").mistake == "last_only"


def test_a_factor_that_is_the_length_of_an_axis():
    def by(power):
        def layer(g, x, w, b):
            dx, dw, db = right_of("affine_rule")(g, x, w, b)
            return dx, dw * dw.dtype.type(float(x.shape[-1]) ** power), db

        return layer

    assert check("affine_rule", by(1), "en").mistake == "times_n"
    assert check("affine_rule", by(-1), "en").mistake == "over_n"


def test_the_missing_outer_factor_is_seen_without_a_page_that_knows_it():
    exercise = dataclasses.replace(EXERCISES["softmax_rule"], mistakes=())
    verdict = exercise.check(lambda g, y, axis: right_of("softmax_rule")(g, y, axis) / g, "en")
    assert verdict.mistake == "outer"
    assert "multiplies it with `g`" in verdict.text


def test_a_gradient_is_held_against_a_finite_difference():
    text = check("product_rule", lambda g, x, y: (g * y, g * x * 1.5), "en").text
    assert "dy is 1.5 times the right one" in text
    assert "yours is 9, right is 6" in text
    assert "moving y by 1e-05 to either side changes the result with slope 6" in text


def test_what_a_page_took_for_right_is_compared_with_finite_differences():
    """A page whose own answer is wrong does not let the same wrong answer pass."""

    def wrong(g, x, axis):
        return right_of("mean_rule")(g, x, axis) * 2

    page = dataclasses.replace(EXERCISES["mean_rule"], answer=wrong, mistakes=())
    verdict = page.check(wrong, "en")
    assert verdict.mistake == "slope"
    assert "first derivative against finite differences" in verdict.text


def test_where_it_is_right_is_said_too():
    def twice_where_tied(g, x, axis):
        found = right_of("max_rule")(g, x, axis)
        tied = (x == x.max(axis, keepdims=True)).sum() > g.size
        return found * 2 if tied else found

    page = dataclasses.replace(EXERCISES["max_rule"], mistakes=())
    text = page.check(twice_where_tied, "en").text
    assert "twice the right one" in text
    assert "What is special here: two equal largest ones" in text
    assert "最大が 2 つある" in page.check(twice_where_tied, "ja").text


def test_an_input_that_is_written_to_is_named():
    text = check("softmax_rule", lambda g, y, axis: g.__imul__(y), "en").text
    assert check("softmax_rule", lambda g, y, axis: g * y).mistake == "no_normaliser"
    assert "writes to its input g" in text or "rule of exp" in text

    def in_place(g, y, axis):
        found = right_of("softmax_rule")(g, y, axis)
        y *= 0
        return found

    verdict = check("softmax_rule", in_place, "en")
    assert verdict.mistake == "overwrites"
    assert "writes to its input y" in verdict.text


def test_long_inputs_are_shown_in_part():
    """And nothing of the machine is."""
    long = {
        "backward_by_serial": "recursion", "topological_order": "recursion",
        "checkpointed_backward": "kept_too_much", "normalise": "mixed",
    }  # fmt: skip
    for name, key in long.items():
        for lang in ("en", "ja"):
            text = check(name, wrong_answers(name)[key], lang).text
            assert len(text) < 2500
            assert str(Path(np.__file__).parent) not in text


def test_texts_are_joined_as_their_language_is():
    assert both("a\nb", "あ\nい") == {"en": "a b", "ja": "あい"}
    assert both("a\n\nb\n- c\n- d", "あ")["en"] == "a\n\nb\n- c\n- d"
    assert both("a\n-inf", "あ\nx の\n-inf、\n0 と\n（い）\n")["en"] == "a -inf"
    assert both("", "あ\nx の\n-inf、\n0 と\n（い）\n")["ja"] == "あ x の -inf、0 と（い）"
    assert several(["a", "b", "c"], "en") == "a, b and c"
    assert several(["a", "b", "c"], "ja") == "a、b、c"


# --------------------------------------------------- the right answers and the production engine


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def test_steps_are_those_of_the_optimizers():
    w, v = normal(4), None
    p = mg.nn.Parameter(w.copy())
    sgd = mg.optim.SGD({"p": p}, lr=0.1, momentum=0.9)
    for i in range(4):
        g = normal(4, seed=i)
        p.grad = Tensor(to_device(g.copy()))
        sgd.step()
        w, v = EXERCISES["momentum_step"].answer(w, g, v, 0.1, 0.9)
        close(p, w, rtol=1e-12)
    w, m, s = normal(4), np.zeros(4), np.zeros(4)
    p = mg.nn.Parameter(w.copy())
    adam = mg.optim.Adam({"p": p}, lr=0.1, betas=(0.8, 0.95), eps=1e-3)
    for t in range(1, 5):
        g = normal(4, seed=t)
        p.grad = Tensor(to_device(g.copy()))
        adam.step()
        w, m, s = EXERCISES["adam_step"].answer(w, g, m, s, t, 0.1, 0.8, 0.95, 1e-3)
        close(p, w, rtol=1e-12)


def test_clipping_is_that_of_the_optimizers():
    for max_norm in (0.5, 100.0):
        grads = [normal(3), None, normal(2, 2)]
        parameters = {str(i): mg.nn.Parameter(np.ones(3)) for i in range(3)}
        parameters["2"] = mg.nn.Parameter(np.ones((2, 2)))
        for p, g in zip(parameters.values(), grads, strict=True):
            p.grad = None if g is None else Tensor(to_device(g.copy()))
        mg.optim.clip_grad_norm_(parameters, max_norm)
        clipped = EXERCISES["clip_by_global_norm"].answer(grads, max_norm)
        for p, g in zip(parameters.values(), clipped, strict=True):
            assert (p.grad is None) == (g is None)
            if g is not None:
                close(p.grad, g, rtol=1e-5)


def test_attention_is_that_of_the_engine():
    for one in EXERCISES["masked_attention"].cases():
        q, k, v, mask = one.args.values()
        q, k, v = (x if x.ndim == 3 else x[None] for x in (q, k, v))
        found = mg.attention(q, k, v, mask)
        right = EXERCISES["masked_attention"].answer(**one.args)
        close(found.reshape(right.shape), right, rtol=1e-10, atol=1e-12)


def test_streams_are_attention_too():
    for one in EXERCISES["streamed_attention"].cases():
        blocks = one.args["blocks"]
        scores, values = (np.concatenate(part) for part in zip(*blocks, strict=True))
        close(EXERCISES["streamed_attention"].answer(iter(blocks)), mg.softmax(scores) @ values,
              rtol=1e-10)  # fmt: skip


def test_hidden_axes_are_those_of_vmap():
    for one in EXERCISES["hidden_matmul"].cases():
        x, w, x_batched, w_batched = one.args.values()
        if x_batched or w_batched:
            axes = (0 if x_batched else None, 0 if w_batched else None)
            close(EXERCISES["hidden_matmul"].answer(**one.args), mg.vmap(mg.matmul, axes)(x, w),
                  rtol=1e-12)  # fmt: skip


def test_names_are_those_of_modules():
    model = mg.nn.Sequential(mg.nn.Linear(2, 3), mg.nn.Sequential(mg.nn.Linear(3, 1)))
    tree = {
        str(i): part
        for i, part in enumerate(
            [
                {"weight": host(model[0].weight), "bias": host(model[0].bias)},
                [{"weight": host(model[1][0].weight), "bias": host(model[1][0].bias)}],
            ]
        )
    }
    names = {name for name, _ in model.named_parameters()}
    assert set(EXERCISES["named_parameters"].answer(tree)) == names


def test_what_is_kept_is_what_the_ops_keep():
    """The table of the exercise against the rules of the production engine."""
    for one in EXERCISES["what_to_keep"].cases():
        op, tracked = getattr(mg, one.args["op"]), one.args["tracked"]
        if not any(tracked):
            continue
        bits = sum(1 << i for i, wanted in enumerate(tracked) if wanted)
        keeps_output, dropped = op.keeps(bits, len(tracked))
        kept = {name for i, name in enumerate("xy"[: len(tracked)]) if i not in dropped}
        kept |= {"out"} if keeps_output else set()
        assert kept == EXERCISES["what_to_keep"].answer(**one.args), one.args
