"""The README and the pages it links to cannot go stale.

Its commands are run, in a copy of the tree, as they stand there; Python blocks are executed, links
are followed.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

import minigrad

ROOT = Path(__file__).parents[2]
PACKAGES = ("benchmarks", "jsl", "minigrad")
README = (ROOT / "README.md").read_text(encoding="utf-8")
LIBRARY = (ROOT / "minigrad" / "README.md").read_text(encoding="utf-8")
COMING = (ROOT / "minigrad" / "FROM_OTHER_LIBRARIES.md").read_text(encoding="utf-8")
TRANSLATOR = (ROOT / "jsl" / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *(p for d in PACKAGES for p in sorted((ROOT / d).rglob("*.md")))]
QUICK = "tests/jsl/test_text.py"  # of all test files: one that is over at once

posix = pytest.mark.skipif(os.name != "posix", reason="the README's lines are for a POSIX shell")


def block(name):
    """The lines of the code block under the comment `<!-- name -->`."""
    [found] = re.findall(rf"^<!-- {name} -->\n```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return found


def files_of_the_tree():
    """What a commit of everything here would hold."""
    try:
        listed = subprocess.run(
            ["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "-z"],
            capture_output=True,
            check=True,
        )
        names = os.fsdecode(listed.stdout).split("\0")[:-1]
    except (OSError, subprocess.CalledProcessError):  # no git, or an archive of the tree
        made = {".git", ".venv", "build", "dist", "models"}
        names = [
            str(path.relative_to(ROOT))
            for path in ROOT.rglob("*")
            if not made & set(path.relative_to(ROOT).parts)
            and not re.search(r"__pycache__|_cache|\.egg-info|\.hypothesis", str(path))
        ]
    return [name for name in names if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of the tree, with an environment that needs no network.

    Its `.venv` is what `python3 -m venv` makes, but sees all that is installed here except this
    project. So pip finds every requirement there already, and has only to install the copy.
    """
    clone = tmp_path_factory.mktemp("clone")
    for name in files_of_the_tree():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, clone / name)

    installed = tmp_path_factory.mktemp("installed")
    for directory in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for path in Path(directory).iterdir():
            if not re.search(r"minigrad|^jsl$|^pip($|-)|\.pth$", path.name):
                (installed / path.name).symlink_to(path)
    subprocess.run([sys.executable, "-m", "venv", clone / ".venv"], check=True)
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    inside = subprocess.run(
        [clone / ".venv" / "bin" / "python", "-c", asked], capture_output=True, check=True
    )
    # In front, as the environment may have brought an old setuptools of its own.
    code = f"import sys; sys.path.insert(0, {str(installed)!r})\n"
    Path(os.fsdecode(inside.stdout.strip()), "installed.pth").write_text(code, encoding="utf-8")
    return clone


def run(clone, script):
    """Run a script in the copy; its output, once it has succeeded."""
    environment = os.environ | {
        "LC_ALL": "C.UTF-8",
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # as pip spells it: no isolation
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    # The copy sees neither this process's modules nor its workers.
    for name in ("PYTHONPATH", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "VIRTUAL_ENV"):
        environment.pop(name, None)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=clone,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


SHOW = "import jsl, minigrad; print(jsl.__file__, minigrad.__file__)"


def changed(script, old, new):
    assert script.count(old) == 1, f"{old!r} is not, or not once, in: {script}"
    return script.replace(old, new)


@posix
def test_the_main_job_runs(clone):
    """Verbatim but for the number of epochs."""
    out = run(clone, changed(block("main job"), "jsl train", "jsl train --epochs 2"))
    assert "epoch 2/2" in out
    assert "Saved to models/first." in out
    groups = [line.partition("\t")[0] for line in out.splitlines()[-2:]]
    assert groups == ["日本手話", "日本語対応手話"]
    assert (clone / "models" / "first" / "model.safetensors").is_file()


@posix
def test_the_tests_run(clone):
    """Verbatim but for the choice of tests, and in the copy."""
    script = block("tests").rstrip("\n")
    assert script.endswith("pytest -q -n auto")
    out = run(clone, f"{script} {QUICK} && cd / && {clone}/.venv/bin/python -c '{SHOW}'")
    assert re.search(r"^\d+ passed", out, re.MULTILINE)
    packages = [str(clone / name / "__init__.py") for name in ("jsl", "minigrad")]
    assert out.splitlines()[-1] == " ".join(packages)


@pytest.mark.parametrize("page", [README, LIBRARY], ids=["README", "the library"])
def test_the_python_prints_what_it_says(page, capsys, tmp_path, monkeypatch):
    """Each `print` of a Python block has its output behind it as a comment; one session a page."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert blocks
    session: dict = {"__name__": "readme"}
    for code in blocks:
        exec(code, session)
        printed = re.findall(r"^print.*  # (.*)$", code, re.M)
        # On a device, which the pages are not written for, tensors say that they are there.
        out = re.sub(r", device='cuda:\d'", "", capsys.readouterr().out)
        assert out.splitlines() == printed


def test_every_call_of_the_table_of_idioms_runs(tmp_path, monkeypatch):
    """One session for all rows, from top to bottom."""
    monkeypatch.chdir(tmp_path)
    theirs = ROOT / "tests" / "runs" / "pytorch_files" / "kinds.pt"
    shutil.copy(theirs, tmp_path / "theirs.pt")
    [table] = re.findall(r"<!-- idioms -->\n((?:\|.*\n)+)", COMING)
    rows = [line.strip("| \n").split(" | ") for line in table.splitlines()[2:]]
    session: dict = {}
    exec(IDIOMS, session)
    for row in rows:
        calls = re.findall(r"`([^`]*)`", row[-1])
        assert calls, row
        for code in calls:
            if code != "'cupy'":  # a model that is made elsewhere is not that of the other rows
                own = "using('numpy')" in code or "'cpu'" in code
                exec(code, dict(session) if own else session)


# What the rows of the table stand on.
IDIOMS = """
from pathlib import Path
import numpy as np
import minigrad as mg
import minigrad.nn.functional as F
from minigrad import data, nn, optim, runs

class Net(nn.Module):
    def __init__(self):
        self.l1 = nn.Linear(2, 2)

    def forward(self, x):
        return self.l1(x)

def loss_fn(model, x, y):
    return F.cross_entropy(model(x), y)

def step(x, y):
    return loss_fn(model, x, y)

def f(v):
    return (mg.tanh(v) ** 2).sum()

def g(v):
    return mg.tanh(v) * v[0]

X = np.linspace(-1, 1, 60, dtype="float32").reshape(30, 2)
Y = np.arange(30) % 2
V, v, xs = X[0], mg.tensor([0.5, 1.0]), mg.tensor(X)
x, y = mg.tensor(X), mg.tensor(Y)
ids, groups = mg.tensor([0, 2]), mg.tensor(Y)
dataset, folder, path = data.TensorDataset(X, Y), "run", "model.safetensors"
model = Net()
optimizer = optim.Adam(model)
"""


def test_the_commands_stand_in_one_line_each():
    for name in ("main job", "tests"):
        assert block(name).count("\n") == 1
    assert block("main job").startswith("python3 -m venv .venv && .venv/bin/pip install -e . && ")
    assert block("main job").endswith("predict --load models/first ありがとう\n")


# ------------------------------------------------------------------- the page and its links


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 250


def test_the_pictures_of_the_readme_are_small():
    names = re.findall(r"!\[[^]]+\]\((\S+)\)", README)
    assert names
    for name in names:
        assert (ROOT / name).stat().st_size < 200_000


def anchors(page):
    """What a link into a page may point to: its headings, as GitHub writes them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith(("https://", "http://")):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_file_that_is_named_is_there(page):
    """As `minigrad/graph.py` is, or `tests/cases/`."""
    named = re.findall(r"`((?:minigrad|jsl|benchmarks|tests)/[\w./]+)`", page.read_text("utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


# ---------------------------------------------------------------------------- .ci/run


@posix
def test_ci_is_a_script():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_bytes().startswith(b"#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", script], check=True)


@posix
def test_ci_runs_the_readmes_own_test_command():
    """Its awk line finds the same block as this file."""
    [awk] = re.findall(r"^awk '.*' README\.md", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    found = subprocess.run(
        ["bash", "-c", awk], cwd=ROOT, capture_output=True, check=True, encoding="utf-8"
    )
    assert found.stdout == block("tests")


@posix
def test_ci_leaves_the_tree_as_it_is():
    """Every place where the command would put its environment is moved out of the tree."""
    text = (ROOT / ".ci" / "run").read_text()
    [sed] = re.findall(r"""sed "(.*?)" >""", text)
    moved = subprocess.run(
        ["bash", "-c", f'venv=/elsewhere/venv; sed "{sed}"'],
        input=block("tests"),
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    assert ".venv" not in moved.stdout
    assert moved.stdout.count("/elsewhere/venv") == block("tests").count(".venv")
    assert "ruff" in text.rpartition("tests.sh")[2]


# ----------------------------------------------------------------- version and options


def test_the_version_is_in_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "minigrad.__version__"}
    written = re.compile(rf"""version\w*"?\s*[=:]\s*["']{re.escape(minigrad.__version__)}""")
    sources = [ROOT / "pyproject.toml", *ROOT.glob("minigrad/**/*.py"), *ROOT.glob("jsl/**/*.py")]
    found = [path for path in sources if written.search(path.read_text(encoding="utf-8"))]
    assert found == [ROOT / "minigrad" / "__init__.py"]
    assert f"- {minigrad.__version__}:" in README.partition("## Changes")[2]


CORPORA = [
    *("--corpus", "--source", "--target", "--valid", "--valid-source", "--valid-target"),
    *("--encoding", "--source-tokens [kana|char|word]", "--target-tokens [tag|word|char]"),
]
OPTIONS = {
    "": ["--help", "--version", "--lang [ja|en]", "--debug"],
    "train": [
        *CORPORA,
        *("--preset [tiny|long|large]", "--epochs", "--batch-size", "--batch-tokens"),
        *("--learning-rate", "--seed", "--model [seq2seq|decoder-only]", "--dropout"),
        *("--layer-norm [pre|post]", "--tie-embeddings", "--share", "--label-smoothing"),
        *("--warmup", "--clip-norm", "--min-count", "--buckets"),
        "--loss-weighting [batch|group]",
        *("--d-model", "--n-heads", "--d-ff", "--n-layers", "--max-seq-len"),
        *("--backend [auto|cupy|numpy]", "--save", "--load", "--resume", "--save-every-steps"),
        *("--save-every-minutes", "--keep", "--overwrite", "--no-jit", "--distributed"),
        "--precision",
        *("--export-weights", "--csv-layout [matrix|long]", "--csv-encoding"),
        *("--help", "--config", "--lang [ja|en]", "--debug"),
    ],
    "predict": [
        *("TEXT...", "--load", "--group", "--backend [auto|cupy|numpy]", "--json"),
        *("--beam", "--length-penalty", "--nbest", "--attention", "--batch-size", "--input"),
        *("--output", "--int8", "--reading [auto|off]", "--quiet"),
        *("--export-attn", "--attn-plot", "--attn-max-len"),
        *("--csv-layout [matrix|long]", "--csv-encoding", "--out", "--force"),
        *("--help", "--config", "--lang [ja|en]", "--debug"),
    ],
    "export": [
        *("--load", "--deploy", "--dtype [float32|float16|int8]", "--corpus", "--source"),
        *("--target", "--encoding", "--overwrite"),
        *("--group", "--list-layers", "--export-weights", "--export-attn"),
        *("--attn-plot", "--attn-max-len", "--beam", "--length-penalty", "--out", "--force"),
        *("--csv-layout [matrix|long]", "--csv-encoding", "--json"),
        *("--backend [auto|cupy|numpy]", "--help", "--config", "--lang [ja|en]", "--debug"),
    ],
    "resume": [
        *("DIR", *CORPORA, "--save-every-steps", "--save-every-minutes", "--keep"),
        *(
            "--no-jit",
            "--precision",
            "--distributed",
            "--backend [auto|cupy|numpy]",
            "--help",
            "--config",
            "--lang [ja|en]",
            "--debug",
        ),
    ],
    "evaluate": [
        *("--load", "--corpus", "--source", "--target", "--encoding", "--source-tokens"),
        *("--target-tokens", "--group", "--beam", "--length-penalty", "--batch-size", "--int8"),
        *("--failures", "--json", "--backend [auto|cupy|numpy]"),
        *("--help", "--config", "--lang [ja|en]", "--debug"),
    ],
    "verify": ["--help", "--config", "--lang [ja|en]", "--debug"],
    "corpus generate": [
        *("--size", "--seed", "--out", "--group", "--split [random|compositional]"),
        *("--valid-out", "--valid-share", "--annotate"),
        *("--help", "--config", "--lang [ja|en]", "--debug"),
    ],
    "corpus check": [
        *("--valid", "--max-length", "--source-tokens [kana|char|word]"),
        *("--target-tokens [tag|word|char]", "--encoding", "--json"),
        *("--help", "--config", "--lang [ja|en]", "--debug"),
    ],
}


@pytest.mark.parametrize("command", OPTIONS)
def test_help_mentions_every_option(command):
    found = subprocess.run(
        [sys.executable, "-m", "jsl", *command.split(), "--help"],
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    for option in OPTIONS[command]:
        assert option in found.stdout
    if command:
        listed = set(re.findall(r"^  (?:-h, )?(--[\w-]+)", found.stdout, re.MULTILINE))
        assert listed == {option.split()[0] for option in OPTIONS[command]} - {"TEXT...", "DIR"}


@pytest.mark.parametrize("page", [README, TRANSLATOR], ids=["README", "the translator"])
def test_options_that_are_named_exist(page):
    named = set(re.findall(r"\bjsl [^`\n]*", page))
    options = {option for line in named for option in re.findall(r"--[\w-]+", line)}
    known = {option.split()[0] for options in OPTIONS.values() for option in options}
    assert options
    assert options <= known
