"""The page of all commands, shell completion, and what is said of `auto`."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import jsl.messages
from jsl.cli import cli
from jsl.commands import MODULES, NAMES
from jsl.commands.__main__ import HEAD, page
from jsl.help import pages
from jsl.messages import language, use_language
from jsl.settings import Settings


@pytest.fixture(autouse=True)
def unchosen(monkeypatch):
    monkeypatch.setattr(jsl.messages, "_chosen", None)


def test_the_page_is_what_help_says():
    written = Path(jsl.__file__).with_name("COMMANDS.md").read_text(encoding="utf-8")
    assert written == page(), "python -m jsl.commands > jsl/COMMANDS.md"


def test_the_page_names_everything_and_leaves_the_language_as_it_was():
    use_language("ja")
    text = page()
    assert language() == "ja"
    for context in pages(cli, "jsl"):
        assert f"## {context.command_path}\n" in text
        for name in (name for p in context.command.params for name in p.opts if name[:2] == "--"):
            assert name in text


def test_the_example_of_settings_is_one(tmp_path):
    example = HEAD.partition("```toml\n")[2].partition("```")[0]
    assert tomllib.loads(example)
    (tmp_path / "example.toml").write_text(example, encoding="utf-8")
    [root, *_] = pages(cli, "jsl")
    found = Settings(tmp_path / "example.toml", cli, root).defaults
    assert found["train"]["batch_size"] == 16
    assert found["predict"]["backend"] == "numpy"


def test_each_command_is_a_module():
    folder = Path(jsl.__file__).with_name("commands")
    context, *_ = pages(cli, "jsl")
    assert list(NAMES) == sorted(NAMES)
    for name, module in MODULES.items():
        assert folder.joinpath(*module.split(".")[2:]).with_suffix(".py").exists()
        assert cli.get_command(context, name).name == name


# ----------------------------------------------------------------------------- completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_for_shells(run, shell):
    found = run("completion", shell)
    assert (found.code, found.err) == (0, "")
    assert f"_JSL_COMPLETE={shell}_complete" in found.out
    wrong = run("completion", "csh")
    assert (wrong.code, wrong.out) == (2, "")
    assert "SHELL: expected one of bash, zsh, fish, got csh." in wrong.err


def completed(*words, **environment):
    """What is offered for the last of some words, as a shell asks for it."""
    asked = {
        "_JSL_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["jsl", *words]),
        "COMP_CWORD": str(len(words)),
    }
    found = subprocess.run(
        [sys.executable, "-m", "jsl"],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"LC_ALL": "C"} | asked | environment,
    )
    assert found.stderr == ""
    return [line.partition(",")[2] for line in found.stdout.splitlines()]


def test_commands_options_and_values_are_completed():
    assert completed("pre") == ["predict"]
    assert set(completed("")) == set(NAMES)
    assert completed("train", "--batch-s") == ["--batch-size"]
    assert completed("predict", "--backend", "n") == ["numpy"]
    assert completed("train", "--lang", "") == ["ja", "en"]
    assert completed("completion", "") == ["bash", "zsh", "fish"]
    assert "--load" in completed("predict", "--config", "no-such-file.toml", "--l")


def test_zsh_shows_help_in_the_language_of_the_environment():
    found = subprocess.run(
        [sys.executable, "-m", "jsl"],
        capture_output=True,
        encoding="utf-8",
        env=os.environ
        | {"_JSL_COMPLETE": "zsh_complete", "COMP_WORDS": "jsl veri", "COMP_CWORD": "1"}
        | {"LC_ALL": "ja_JP.UTF-8"},
    )
    kind, name, text = found.stdout.splitlines()
    assert (kind, name) == ("plain", "verify")
    assert text.startswith("保存した")


@pytest.mark.skipif(os.name != "posix" or not shutil.which("bash"), reason="no bash")
def test_bash_completes(tmp_path):
    program = tmp_path / "jsl"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m jsl "$@"\n')
    program.chmod(0o755)
    script = f"""
    eval "$({shlex.quote(str(program))} completion bash)"
    COMP_WORDS=(jsl train --ba) COMP_CWORD=2
    _jsl_completion {shlex.quote(str(program))}
    echo "${{COMPREPLY[@]}}"
    """
    found = subprocess.run(["bash", "-c", script], capture_output=True, encoding="utf-8")
    assert (found.stdout, found.stderr) == ("--batch-size --batch-tokens --backend\n", "")


# ------------------------------------------------------------------------------------ auto


def test_what_auto_takes_is_said_beside_the_answer(run, learned, monkeypatch):
    monkeypatch.delenv("MINIGRAD_BACKEND", raising=False)
    predict = ["predict", "--load", learned, "--group", "甲", "はい"]
    found = run(*predict, "--backend", "auto")
    assert (found.code, found.out) == (0, "<はい>\n")
    assert found.err.startswith("Computing on ")
    assert "CuPy" in found.err
    assert run(*predict, "--backend", "auto", "--quiet").err == ""
    assert run(*predict).err == ""
    monkeypatch.setenv("MINIGRAD_BACKEND", "auto")
    assert run(*predict).err == found.err
    assert json.loads(run(*predict, "--json").out)["error"] is None


def test_quiet_leaves_out_notes_but_no_errors(run, learned):
    predict = ["predict", "--load", learned, "--group", "甲", "--quiet"]
    assert run(*predict, "ゆきがふる").err == ""
    found = run(*predict, "犬")
    assert (found.code, found.err.startswith("text 1: ")) == (1, True)
