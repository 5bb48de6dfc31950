"""`jsl inspect` and `jsl doctor`: what a run is, and what a machine has."""

import importlib.metadata
import json
import os
import re
import shutil
import tomllib
from pathlib import Path
from types import SimpleNamespace

import jsl.commands.doctor
from jsl import checkpoint
from jsl.commands.doctor import EXTRAS, NEEDED
from minigrad import kernels
from minigrad.kernels import warming

ROOT = Path(jsl.__file__).parents[1]


def test_inspect_says_all_that_the_files_do(run, learned):
    found = run("inspect", learned)
    assert (found.code, found.err) == (0, "")
    loaded = checkpoint.load(learned)
    for name, value in loaded.model.to_json().items():
        value = json.dumps(value).strip('"') if value != [] else ""
        assert re.search(rf"^  {name} +{value}$", found.out, re.M)
    for title in ("model", "training", "progress", "groups", "vocabulary", "corpus", "metadata"):
        assert title in found.lines
    assert "  甲, 乙" in found.lines
    assert re.search(r"^  name +small\.tsv$", found.out, re.M)
    assert re.search(r"^  exact_match\.甲\.right +3$", found.out, re.M)
    for name, array in loaded.weights.items():
        shape = " × ".join(map(str, array.shape))
        assert re.search(
            rf"^  {re.escape(name)} +{shape} +{array.size:,}  mean [+-]", found.out, re.M
        )
    assert max(map(len, found.lines)) < 120
    assert "trigrams" not in found.out


def test_inspect_for_programs(run, learned):
    found = run("inspect", "--json", learned)
    assert found.code == 0
    [line] = found.lines
    said = json.loads(line)
    loaded = checkpoint.load(learned)
    assert said["config"]["model"] == {
        **loaded.model.to_json(),
        "vocab_size": 94,
        "target_vocab_size": 94,
    }
    assert said["config"]["groups"] == ["甲", "乙"]
    assert said["metrics"]["exact_match"]["乙"] == {"right": 4, "rows": 4}
    assert len(said["metrics"]["history"]) == 60
    expected = [(name, list(array.shape), array.size) for name, array in loaded.weights.items()]
    assert [(p["name"], p["shape"], p["count"]) for p in said["parameters"]] == expected
    assert said["parameter_count"] == sum(array.size for array in loaded.weights.values())


def test_inspect_refuses_what_is_no_run(run, learned):
    assert "There is no run directory none." in run("inspect", "none").err
    shutil.copytree(learned, "a")
    Path("a", "model.safetensors").write_bytes(b"")
    found = run("inspect", "a")
    assert (found.code, found.out) == (1, "")
    assert "model.safetensors" in found.err


def test_doctor_for_people(run):
    found = run("doctor")
    assert (found.code, found.err) == (0, "")
    for name in (
        *NEEDED.values(),
        "cupy",
        *EXTRAS,
        "Python",
        "platform",
        "threads",
        "memory",
        "encoding",
    ):
        assert re.search(rf"^{name} +\S", found.out, re.M), name
    assert found.lines[-1] == "Everything that is needed is there."
    assert run("--lang", "ja", "doctor").lines[-1] == "必要なものはすべて揃っています。"


def test_doctor_for_programs(run):
    found = run("doctor", "--json")
    [line] = found.lines
    said = json.loads(line)
    assert (found.code, said["problems"]) == (0, [])
    assert said["packages"]["click"] == importlib.metadata.version("click")
    assert said["backend"]["auto"] in ("numpy", "cupy")
    assert said["threads"] == kernels.get_num_threads()
    assert said["kernels"]["enabled"] is True
    assert said["language"]["messages"] == "en"
    assert set(said["extras"]) == set(EXTRAS)
    assert said["extras"]["plot"]["install"] == "pip install 'minigrad[plot]'"


def test_doctor_knows_everything_that_can_be_installed_beside():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    def names(requirements):
        return tuple(re.match(r"[\w-]+", requirement)[0] for requirement in requirements)

    assert set(names(project["dependencies"])) == set(NEEDED.values()) - {"minigrad"}
    optional = {name: names(r) for name, r in project["optional-dependencies"].items()}
    assert {k: v for k, v in optional.items() if k not in ("test", "bench")} == EXTRAS


def test_what_is_broken_is_named(run, monkeypatch):
    def fail(name, real=importlib.import_module):
        if name == "safetensors":
            raise ImportError("no such symbol")
        return real(name)

    monkeypatch.setattr(jsl.commands.doctor, "import_module", fail)
    found = run("doctor")
    assert found.code == 1
    assert found.lines[-1] == "Problem: safetensors is broken: no such symbol"
    assert json.loads(run("doctor", "--json").out)["problems"]


def test_an_environment_that_asks_for_nonsense_is_a_problem(run, monkeypatch):
    monkeypatch.setenv("MINIGRAD_BACKEND", "abacus")
    found = run("doctor")
    assert found.code == 1
    assert "unknown backend 'abacus'" in found.lines[-1]


def test_what_is_compiled_is_known(run):
    assert run("warmup").code == 0
    said = json.loads(run("doctor", "--json").out)["kernels"]
    assert said["missing"] == []
    assert said["compiled"] > 10
    assert said["writable"]
    assert any(Path(said["folder"]).glob("*.nbi"))


def test_what_is_not_compiled_is_said(run, monkeypatch, tmp_path):
    kept = warming.Kept(tmp_path, ["layer_norm"], ["adam", "product"])
    monkeypatch.setattr(kernels, "kept", lambda what: kept)
    assert "1 of 3 are compiled (jsl warmup compiles the others)" in run("doctor").out


def test_a_file_older_than_its_source_is_not_counted(monkeypatch, tmp_path):
    loop = SimpleNamespace(stats=SimpleNamespace(cache_path=str(tmp_path)))
    monkeypatch.setattr(warming, "norms", SimpleNamespace(layer_norm_loop=loop))
    file = tmp_path / "norms.layer_norm-66.py311.nbi"
    assert kernels.kept("transformer").there == []
    file.write_bytes(b"")
    assert kernels.kept("transformer").there == ["layer_norm"]
    os.utime(file, (1, 1))
    assert kernels.kept("transformer").there == []
    assert len(kernels.kept("transformer").missing) == len(warming.TRANSFORMER)
