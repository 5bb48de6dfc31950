"""Files of a directory belong together: written as one, verified by their manifest."""

import os

import pytest
from support import names_in

from minigrad import runs
from minigrad.errors import RunError

posix = pytest.mark.skipif(os.name != "posix", reason="links, pipes and modes of POSIX")


def test_prepare_directory_creates_parents(tmp_path):
    path = runs.prepare_directory(tmp_path / "a" / "b")
    assert path.is_dir()
    assert runs.prepare_directory(str(path)) == path  # an empty one is fine


def test_prepare_directory_refuses_an_occupied_one(tmp_path):
    (tmp_path / "old").write_text("x")
    with pytest.raises(RunError, match="overwrite=True"):
        runs.prepare_directory(tmp_path)
    assert runs.prepare_directory(tmp_path, overwrite=True) == tmp_path
    assert names_in(tmp_path) == ["old"]


def test_prepare_directory_refuses_files(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "inside"):
        for overwrite in (False, True):
            with pytest.raises(RunError, match="not a directory"):
                runs.prepare_directory(path, overwrite)


@pytest.fixture
def run(tmp_path):
    """A directory of three files and their manifest."""
    for name in ("model.safetensors", "optimizer.safetensors", "設定.json"):
        runs.save_text(tmp_path / name, f"first {name}")
    runs.write_manifest(tmp_path, names_in(tmp_path))
    return tmp_path


def test_manifest_of_whole_files(run):
    names = ["model.safetensors", "optimizer.safetensors", "設定.json"]
    assert runs.verify_manifest(run) == names
    assert runs.load_json(run / runs.MANIFEST)["files"]["model.safetensors"] == {
        "bytes": 23,
        "sha256": "2964eaab29ede18a185c53463eea8466000263db350f3531d7af6b7df1050657",
    }


def test_manifest_names_every_file_that_does_not_fit(run):
    runs.save_text(run / "model.safetensors", "other model.safetensors")  # of the same size
    (run / "設定.json").unlink()
    with pytest.raises(RunError) as caught:
        runs.verify_manifest(run)
    assert "model.safetensors differs; 設定.json is missing" in str(caught.value)
    assert "optimizer" not in str(caught.value)


def test_manifest_ignores_other_files(run):
    runs.save_text(run / "notes.txt", "x")
    assert "notes.txt" not in runs.verify_manifest(run)


def test_an_interrupted_second_save_is_noticed(run):
    runs.save_text(run / "model.safetensors", "second model")
    with pytest.raises(RunError, match=r"model\.safetensors differs"):
        runs.verify_manifest(run)
    runs.write_manifest(run, runs.load_json(run / runs.MANIFEST)["files"])
    assert len(runs.verify_manifest(run)) == 3


PATHS = ["../a", "/etc/a", "a/b", "a\\b", "C:a", "..", ".", "", runs.MANIFEST]


@pytest.mark.parametrize("name", PATHS)
def test_manifest_names_are_plain(tmp_path, name):
    with pytest.raises(RunError, match="plain names"):
        runs.write_manifest(tmp_path, [name])
    runs.save_json(tmp_path / runs.MANIFEST, {"files": {name: {"bytes": 0, "sha256": ""}}})
    with pytest.raises(RunError, match="plain name"):
        runs.verify_manifest(tmp_path)


def test_manifest_of_missing_files_is_not_written(tmp_path):
    with pytest.raises(RunError, match="a, b"):
        runs.write_manifest(tmp_path, ["b", "a"])
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("value", [None, [], {}, {"files": []}, {"files": None}, "x"])
def test_manifest_of_another_form_is_refused(tmp_path, value):
    runs.save_json(tmp_path / runs.MANIFEST, value)
    with pytest.raises(RunError, match="expects"):
        runs.verify_manifest(tmp_path)


@pytest.mark.parametrize("value", [None, 3, {}, {"bytes": 0}, []])
def test_manifest_entries_of_another_form_differ(tmp_path, value):
    runs.save_text(tmp_path / "a", "")
    runs.save_json(tmp_path / runs.MANIFEST, {"files": {"a": value}})
    with pytest.raises(RunError, match="a differs"):
        runs.verify_manifest(tmp_path)


def test_a_directory_without_manifest_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"cannot read .*manifest\.json"):
        runs.verify_manifest(tmp_path)
