"""The stepper in a terminal: what keys do, what is on the screen, and the real thing in a pty."""

import io
import os
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import minigrad as mg
from minigrad import nn, optim
from minigrad.study.steps import Call, Pull, Seed, Update
from minigrad.study.terminal import State, after, items, keys_of, render, walk, without_docstring

ROOT = Path(mg.__file__).parents[1]


@pytest.fixture(scope="module")
def record():
    """A training step of a layer whose bias is broadcast."""
    model = nn.Linear(3, 20)
    adam = optim.Adam(model, lr=0.1)

    def step(x):
        loss = mg.tanh(x @ model.weight.T + model.bias).sum()
        loss.backward()
        adam.step()

    return mg.study(step, np.ones((8, 3), np.float32))


def at(record, kind, **fields):
    """The first step of a kind with these fields."""
    return next(
        i
        for i, s in enumerate(record.steps)
        if type(s) is kind and all(getattr(s, k) == v for k, v in fields.items())
    )


def press(record, state, *keys):
    for key in keys:
        state = after(record, state, key, "en")
    return state


def screen(record, state, lang="en", width=100, height=34):
    stream = io.StringIO()
    console = Console(file=stream, width=width, height=height, color_system=None)
    console.print(render(record, state, lang, width, height), height=height)
    lines = stream.getvalue().splitlines()
    assert len(lines) == height
    return "\n".join(line.rstrip() for line in lines)


# --------------------------------------------------------------------------------------- keys


def test_forward_and_back(record):
    last = len(record.steps) - 1
    for key in ("right", "l", "n", " "):
        assert press(record, State(), key).at == 1
    for key in ("left", "h", "p"):
        assert press(record, State(at=2), key).at == 1
        assert press(record, State(), key).at == 0
    assert press(record, State(at=last), "right").at == last
    assert press(record, State(at=1), "end").at == last
    assert press(record, State(at=last), "home").at == 0
    assert press(record, State(), "pagedown").at == 10
    assert press(record, State(), "pagedown", "pageup").at == 0
    assert press(record, State(), "x") == State()
    assert press(record, State(), "q").done
    assert press(record, State(), "closed").done


def test_an_array_of_a_step_is_chosen(record):
    step = at(record, Call, op="add")
    assert press(record, State(at=step - 1), "right").chosen == 2  # its output
    state = press(record, State(at=step, chosen=2), "up")
    assert state.chosen == 1
    assert press(record, state, "k", "k", "up").chosen == 0
    assert press(record, state, "down", "j", "down").chosen == 2


def test_from_an_op_to_its_rule_and_back(record):
    call = at(record, Call, op="tanh")
    rule = press(record, State(at=call), "enter").at
    assert rule == at(record, Pull, op="tanh")
    assert press(record, State(at=rule), "enter").at == call
    inner = next(i for i, s in enumerate(record.steps) if getattr(s, "within", None) is not None)
    assert press(record, State(at=inner), "enter").at == record.steps[inner].within
    update = at(record, Update, parameter="bias")
    given = record.steps[press(record, State(at=update), "enter").at]
    assert record.steps[update].leaf in [g["to"].get("leaf") for g in given.gave]
    seed = at(record, Seed)
    assert press(record, State(at=seed), "enter").at == seed


def test_search(record):
    state = press(record, State(), "/", *"TANHX", "backspace")
    assert state.typed == "TANH"
    assert state.at == 0
    first = press(record, state, "enter")
    assert (first.at, first.typed) == (at(record, Call, op="tanh"), None)
    again = press(record, first, "/", "enter")
    assert type(record.steps[again.at]) is Pull
    assert record.steps[again.at].op == "tanh"
    back = again
    while back.at != first.at:  # round the end
        back = press(record, back, "/", "enter")
        assert back.message == ""
    assert press(record, State(), "/", "q", "escape") == State()
    assert press(record, State(), "/", "backspace") == State()
    assert press(record, State(), "/", "enter") == State()
    assert press(record, State(), "/", "right", "up").typed == ""


def test_search_by_line_and_parameter(record):
    step = at(record, Call, op="tanh")
    line = record.line_of(step)
    found = press(record, State(), "/", *f":{line.line} ", "enter")
    assert record.line_of(found.at).line == line.line
    found = press(record, State(), "/", *"xyzzy", "enter")
    assert found.message == "'xyzzy' is nowhere"
    assert press(record, found, "right").message == ""
    found = press(record, State(), "/", *"model.bias", "enter")
    assert "model.bias" in record.line_of(found.at).text
    found = press(record, State(), "/", *"bias", "enter")
    assert record.steps[found.at].parameter == "bias"


# ------------------------------------------------------------------------------------- screen


def test_what_arrived_at_a_rule_is_named_inside_it(record):
    found = []
    for step, s in enumerate(record.steps):
        if type(s) is Call and s.within is not None:
            came = {v for v in record.steps[s.within].came if v is not None}
            if came & {x.get("value") for x in s.inputs}:
                found.append(screen(record, State(at=step)))
    assert found
    assert all(re.search(r"^.  input \S+ +float32\S*.* gradient in$", t, re.M) for t in found)


def test_a_call_on_the_screen(record):
    step = at(record, Call, op="add")
    text = screen(record, State(at=step, chosen=2))
    assert f"step {step} of {len(record.steps) - 1}  forward" in text
    assert re.search(r"^add  computed by (its formula|a kernel)  [\d.]+ ms", text, re.M)
    assert "test_terminal.py" in text
    assert "loss = mg.tanh(x @ model.weight.T + model.bias).sum()" in text
    assert re.search(r"^   input a +float32\[8, 20\] +from matmul, step \d+", text, re.M)
    assert re.search(r"^   input b +float32\[20\] +bias", text, re.M)
    assert re.search(r"^>  output +float32\[8, 20\]", text, re.M)
    assert "formula  minigrad/ops/elementwise.py:" in text
    assert "return xp.add(*matched(a, b))" in text
    value = record.values[record.steps[step].outputs[0]].numbers()
    assert f"mean {value.mean(dtype=float):.4g}" in text
    assert "left right: step" in text.splitlines()[-1]


def test_small_arrays_are_shown_as_numbers(record):
    step = at(record, Call, op="add")
    text = screen(record, State(at=step, chosen=1))
    value = record.values[record.steps[step].inputs[1]["value"]].numbers()
    for number in value:
        assert np.array2string(number, precision=4) in text


def test_a_rule_on_the_screen(record):
    step = at(record, Pull, op="add")
    text = screen(record, State(at=step))
    assert "backward" in text.splitlines()[0]
    assert "the rule of add" in text
    assert re.search(r"^>  gradient in +float32\[8, 20\]", text, re.M)
    assert re.search(r"^   gradient out +float32\[8, 20\] +to matmul", text, re.M)
    assert re.search(r"^   gradient out +float32\[20\] +to bias +summed from \(8, 20\)", text, re.M)
    assert "rule  minigrad/ops/elementwise.py:" in text
    assert "lambda g, _y, _a, _b: g" in text


def test_the_beginning_and_an_update_on_the_screen(record):
    text = screen(record, State(at=at(record, Seed)))
    assert "the walk back begins" in text
    assert "to sum" in text
    assert "[1.]" in text or "1." in text
    text = screen(record, State(at=at(record, Update, parameter="bias")))
    assert "update" in text.splitlines()[0]
    assert "Adam bias" in text
    assert "lr=0.1" in text
    for what in ("before", "gradient", "exp_avg", "after"):
        assert what in text
    assert "minigrad/optim/adam.py:" in text


def test_every_step_fits_every_screen(record):
    for step in range(len(record.steps)):
        for lang in ("en", "ja"):
            for width, height in ((100, 34), (40, 16), (20, 8)):
                for chosen in range(len(items(record, step, lang))):
                    screen(record, State(at=step, chosen=chosen), lang, width, height)


def test_japanese(record):
    text = screen(record, State(at=at(record, Pull, op="add")), "ja")
    assert "逆伝播" in text
    assert "add の微分規則" in text


def test_what_is_typed_and_said_is_in_the_last_line(record):
    assert screen(record, State(typed="tan")).splitlines()[-1].endswith("a line: tan_")
    assert screen(record, State(message="no")).splitlines()[-1] == "no"


def test_a_record_from_a_file_is_the_same_on_the_screen(record, tmp_path):
    record.save(tmp_path / "r.json", full=100)
    loaded = mg.study.load(tmp_path / "r.json")
    for step in range(len(record.steps)):
        assert screen(loaded, State(at=step)) == screen(record, State(at=step))


def test_numbers_that_are_not_finite():
    with np.errstate(all="ignore"):
        record = mg.study(lambda: mg.log(mg.zeros((10, 10))))
    step = at(record, Call, op="log")
    text = screen(record, State(at=step, chosen=1))
    assert "100 infinite" in text
    assert "low -  high -" in text


def test_docstrings_give_way_to_code():
    text = 'def f(x):\n    """What.\n\n    More.\n    """\n    return x'
    assert without_docstring(text) == "def f(x):\n    return x"
    for same in ("lambda x: x", 'def f():\n    """Only."""', "def f(", ""):
        assert without_docstring(same) == same


# ----------------------------------------------------------------------------------- terminal


def test_keys_of_terminals():
    assert keys_of("a あ") == (["a", " ", "あ"], "")
    assert keys_of("\x1b[A\x1bOB\x1b[C\x1b[D") == (["up", "down", "right", "left"], "")
    assert keys_of("\x1b[H\x1b[F\x1b[1~\x1b[4~\x1b[5~\x1b[6~") == (
        ["home", "end", "home", "end", "pageup", "pagedown"], "",
    )  # fmt: skip
    assert keys_of("\x1b[1;5C") == (["right"], "")
    assert keys_of("\r\n\x7f\x08") == (["enter", "enter", "backspace", "backspace"], "")
    assert keys_of("x\x1b") == (["x"], "\x1b")
    assert keys_of("\x1b[1;") == ([], "\x1b[1;")
    assert keys_of("\x1bq") == (["escape", "q"], "")
    assert keys_of("\x1b[99~\x01") == ([], "")


def test_without_a_terminal_the_steps_are_printed(record, capsys):
    walk(record, "en")
    out = capsys.readouterr().out
    assert out == f"This is no terminal; here are the steps.\n{record}\n"


PROGRAM = """
import fcntl, signal, termios
import minigrad as mg
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C comes as a signal
record = mg.study(lambda: mg.tanh(mg.ones((40, 40))).sum())
print("before", flush=True)
try:
    record.walk("en")
finally:
    print("after", signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, flush=True)
"""


class Pseudo:
    """The program in a pseudo-terminal of 30 x 90."""

    def __init__(self):
        import fcntl
        import pty
        import struct
        import subprocess
        import termios

        self.termios = termios
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
        self.before = termios.tcgetattr(self.theirs)
        environment = os.environ | {
            "TERM": "xterm-256color",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "COLUMNS": "80",
            "LINES": "24",  # as an environment may say, of another terminal
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=self.theirs, stdout=self.theirs, stderr=self.theirs, env=environment,
            start_new_session=True,
        )  # fmt: skip
        self.said = ""

    def until(self, text, seconds=120):
        import select

        end = time.monotonic() + seconds
        while text not in self.said:
            assert time.monotonic() < end, f"no {text!r} in {self.said[-2000:]!r}"
            if select.select([self.ours], [], [], 0.1)[0]:
                try:
                    self.said += os.read(self.ours, 65536).decode("utf-8", "replace")
                except OSError:  # Linux says so at its end
                    assert text in self.said
        found, self.said = self.said.split(text, 1)
        return found

    def send(self, text):
        os.write(self.ours, text.encode())

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(60)
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def pseudo():
    if os.name == "nt":
        pytest.skip("Windows has no pty")
    terminal = Pseudo()
    yield terminal
    terminal.close()


ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"


def restored(pseudo):
    """The screen, the cursor and the mode of the terminal are as they were."""
    pseudo.until(LEAVE)
    pseudo.until("after True")
    pseudo.process.wait(60)
    assert pseudo.termios.tcgetattr(pseudo.theirs)[3] == pseudo.before[3]
    return pseudo.process.returncode


def test_a_walk_in_a_terminal(pseudo):
    pseudo.until("before")
    pseudo.until(ENTER)
    pseudo.until("step 0 of")
    mode = pseudo.termios.tcgetattr(pseudo.theirs)
    assert not mode[3] & pseudo.termios.ICANON
    pseudo.send("\x1b[C")
    pseudo.until("step 1 of")
    pseudo.send("\x1b[D")
    pseudo.until("step 0 of")
    pseudo.send("/sum")
    pseudo.until("a line: sum_")
    pseudo.send("\r")
    pseudo.until("step 1 of")
    pseudo.send("\x1b")
    pseudo.send("\x1a")  # Ctrl-Z does not suspend it
    pseudo.send("\x1b[H")
    pseudo.until("step 0 of 1")
    pseudo.send("q")
    assert restored(pseudo) == 0


def test_ctrl_c_puts_the_terminal_back(pseudo):
    pseudo.until("step 0 of")
    pseudo.send("\x03")
    assert restored(pseudo) == -signal.SIGINT


def test_a_signal_puts_the_terminal_back(pseudo):
    pseudo.until("step 0 of")
    pseudo.process.send_signal(signal.SIGTERM)
    assert restored(pseudo) == 128 + signal.SIGTERM


def test_another_size_is_drawn_anew(pseudo):
    import fcntl
    import struct

    pseudo.until("step 0 of")
    size = struct.pack("HHHH", 20, 60, 0, 0)
    fcntl.ioctl(pseudo.theirs, pseudo.termios.TIOCSWINSZ, size)
    pseudo.until("step 0 of")
    pseudo.send("q")
    assert restored(pseudo) == 0
