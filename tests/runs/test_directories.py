"""Files of a directory belong together: written as one, verified by their manifest."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
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


# ----------------------------------------------------------------------------------- transactions


def save(directory, number, *others):
    with runs.transaction(directory) as new:
        runs.save_arrays(new / "model.safetensors", {"w": np.full(9, number)})
        runs.save_json(new / "config.json", number)
        for name in others:
            (new / name).write_text(name)


def read(directory):
    def both(files):
        model = runs.load_arrays(files["model.safetensors"])["w"]
        return runs.load_json(files["config.json"]), int(model[0])

    return runs.load_together(directory, both)


def test_a_transaction_replaces_what_the_manifest_names_and_nothing_else(tmp_path):
    directory = tmp_path / "a" / "run"
    save(directory, 1, "old.txt")
    (directory / "notes").mkdir()
    (directory / "notes.txt").write_text("mine")
    assert read(directory) == (1, 1)
    save(directory, 2, "new.txt")
    assert read(directory) == (2, 2)
    assert names_in(directory) == [
        "config.json", "manifest.json", "model.safetensors", "new.txt", "notes", "notes.txt",
    ]  # fmt: skip
    assert list(runs.files_of(directory)) == ["config.json", "model.safetensors", "new.txt"]


@pytest.mark.parametrize("error", [KeyError(), KeyboardInterrupt(), OSError(28, "full")])
def test_a_transaction_whose_block_raises_changes_nothing(tmp_path, error):
    save(tmp_path, 1)

    def fail():
        with runs.transaction(tmp_path) as new:
            runs.save_json(new / "config.json", 2)
            raise error

    with pytest.raises(RunError if isinstance(error, OSError) else type(error)):
        fail()
    assert names_in(tmp_path) == ["config.json", "manifest.json", "model.safetensors"]
    assert read(tmp_path) == (1, 1)


def test_a_transaction_takes_plain_files_only(tmp_path):
    save(tmp_path, 1)
    for wrong in ("inner", "con.json"):
        with pytest.raises(RunError), runs.transaction(tmp_path) as new:
            (new / wrong).mkdir()
    (tmp_path / "taken").mkdir()
    with pytest.raises(RunError, match="there is a directory"):
        save(tmp_path, 2, "taken")
    assert read(tmp_path) == (1, 1)
    save(tmp_path, 2)
    assert read(tmp_path) == (2, 2)


def test_a_directory_where_an_old_file_was_stops_nothing(tmp_path):
    save(tmp_path, 1, "notes")
    (tmp_path / "notes").unlink()
    (tmp_path / "notes").mkdir()
    save(tmp_path, 2)
    assert read(tmp_path) == (2, 2)
    assert (tmp_path / "notes").is_dir()


def test_transactions_of_one_directory_do_not_lie_in_each_other(tmp_path):
    save(tmp_path, 1)
    with runs.transaction(tmp_path) as new:
        runs.save_json(new / "config.json", 3)
        with pytest.raises(RunError, match="has not ended"), runs.transaction(tmp_path):
            pass
        with runs.locked(tmp_path):
            pass
    assert runs.load_json(runs.files_of(tmp_path)["config.json"]) == 3


def test_every_file_is_flushed_before_the_new_save_counts(tmp_path, monkeypatch):
    flushed, real = [], os.fsync

    def fsync(descriptor):
        flushed.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    rename = os.rename

    def renaming(source, target):
        inodes = [path.stat().st_ino for path in source.iterdir()]
        assert len(inodes) == 4
        assert set(inodes) <= set(flushed)
        rename(source, target)

    monkeypatch.setattr(os, "rename", renaming)
    save(tmp_path, 1, "plain.txt")


def test_a_file_under_a_name_in_other_letters_is_kept(tmp_path, monkeypatch):
    """On macOS and Windows the old file has become the new one."""
    save(tmp_path, 1, "Notes")
    with runs.transaction(tmp_path) as new:
        (new / "notes").write_text("new")
    assert (tmp_path / "notes").read_text() == "new"
    assert "Notes" in names_in(tmp_path)


NO_NAMES = [
    "con", "NUL.txt", "com1", "LPT9.a.b", "COM¹", "conin$", "nul .txt", "a.", "a ", "a:b", "a*",
    "a?", 'a"b', "a<b", "a|b", "a\x7f", "a\nb", "e\u0301", "\ud800", "x" * 234, "重" * 78, ".LOCK",
    ".Commit", "Manifest.json", ".save-0123456789abcdef", ".a.tmp-0123456789abcdef",
]  # fmt: skip


@pytest.mark.parametrize("name", NO_NAMES)
def test_names_that_a_system_cannot_have(tmp_path, name):
    with pytest.raises(RunError, match="plain names"):
        runs.write_manifest(tmp_path, [name])
    runs.save_json(tmp_path / runs.MANIFEST, {"files": {}})
    text = (tmp_path / runs.MANIFEST).read_text()
    text = text.replace("{}", json.dumps({name: {"bytes": 0, "sha256": ""}}))
    (tmp_path / runs.MANIFEST).write_text(text)
    with pytest.raises(RunError, match="plain name"):
        runs.files_of(tmp_path)


def test_names_that_every_system_can_have(tmp_path):
    names = ["a", "重み.safetensors", "é", "con1", "nula.txt", ".hidden", "x" * 233, "a b.c-d_e"]
    for name in names:
        (tmp_path / name).write_text(name)
    runs.write_manifest(tmp_path, names)
    assert runs.verify_manifest(tmp_path) == sorted(names)
    assert runs.verify(tmp_path) == []


@pytest.mark.parametrize("pair", [("a.json", "A.JSON"), ("é", "É"), ("ß", "SS")])
def test_names_that_are_one_file_elsewhere(tmp_path, pair):
    for name in pair:
        (tmp_path / name).write_text("")
    with pytest.raises(RunError, match="one file on macOS and Windows"):
        runs.write_manifest(tmp_path, pair)


def test_a_copied_directory_verifies(tmp_path):
    save(tmp_path / "run", 1)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    assert runs.verify(tmp_path / "copy") == []
    assert runs.verify((tmp_path / "copy").as_uri()) == []


def test_verify_names_what_is_damaged(tmp_path):
    save(tmp_path, 1, "a.txt")
    (tmp_path / "a.txt").unlink()
    (tmp_path / "config.json").write_text("2\n")
    assert runs.verify(tmp_path) == ["a.txt is missing", "config.json differs"]
    assert runs.verify(tmp_path / "model.safetensors") == []
    data = bytearray((tmp_path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(data)
    [line] = runs.verify(tmp_path / "model.safetensors")
    assert "'w' differs from the digest" in line
    for absent in (tmp_path / "absent", tmp_path / "absent" / "inside"):
        with pytest.raises(RunError, match="no such directory"):
            runs.verify(absent)


@posix
def test_links_pipes_and_directories_in_place_of_files(tmp_path):
    directory, outside = tmp_path / "run", tmp_path / "outside"
    outside.write_text("secret")
    save(directory, 1, "a")
    (directory / "a").unlink()
    (directory / "a").symlink_to(outside)
    assert runs.verify(directory) == ["a leads out of the directory"]
    (directory / "a").unlink()
    os.mkfifo(directory / "a")
    assert runs.verify(directory) == ["a is missing"]
    (directory / "a").unlink()
    (directory / "a").mkdir()
    assert runs.verify(directory) == ["a is missing"]
    (directory / "a").rmdir()
    (directory / "a").symlink_to("a")
    assert "a" in runs.verify(directory)[0]
    for make in (lambda p: p.symlink_to(outside), os.mkfifo, Path.mkdir):
        (directory / runs.MANIFEST).unlink()
        make(directory / runs.MANIFEST)
        with pytest.raises(RunError, match=r"leads out|no file"):
            runs.verify(directory)
        if (directory / runs.MANIFEST).is_dir():
            (directory / runs.MANIFEST).rmdir()
            (directory / runs.MANIFEST).touch()


@posix
def test_links_lead_no_save_out_of_its_directory(tmp_path):
    directory, outside = tmp_path / "run", tmp_path / "outside"
    save(outside, 2, "secret")
    before = {p.name: p.read_bytes() for p in outside.iterdir()}
    save(directory, 1)
    (directory / ".commit").symlink_to(outside)
    assert read(directory) == (1, 1)
    with pytest.raises(RunError):
        save(directory, 3)
    (directory / ".commit").unlink()
    (directory / ".lock").symlink_to(outside / "new")
    with pytest.raises(RunError):
        save(directory, 3)
    (directory / ".lock").unlink()
    (directory / ".save-0123456789abcdef").symlink_to(outside)
    save(directory, 3)
    assert read(directory) == (3, 3)
    assert {p.name: p.read_bytes() for p in outside.iterdir()} == before


# ------------------------------------------------------------------------------------------ locks


def test_another_thread_gets_an_error(tmp_path):
    save(tmp_path, 1)
    with (
        runs.locked(tmp_path),
        ThreadPoolExecutor(1) as pool,
        pytest.raises(RunError, match="another process is writing"),
    ):
        pool.submit(save, tmp_path, 2).result()
    assert read(tmp_path) == (1, 1)
    save(tmp_path, 2)
    assert names_in(tmp_path) == ["config.json", "manifest.json", "model.safetensors"]


@posix
def test_temporary_files_of_the_killed_are_removed_and_those_of_the_living_are_not(tmp_path):
    name = ".config.json.tmp-0123456789abcdef"
    (tmp_path / name).write_text("left")
    runs.save_json(tmp_path / "other.json", 1)
    assert name in names_in(tmp_path)
    with open(tmp_path / name) as file:
        assert runs.locks.taken(file.fileno())
        runs.save_json(tmp_path / "config.json", 1)
        save(tmp_path, 2)
        assert name in names_in(tmp_path)
    runs.save_json(tmp_path / "config.json", 2)
    assert name not in names_in(tmp_path)


# ------------------------------------------------------------------------- readers beside a writer


def test_a_reader_of_several_files_begins_again_if_somebody_saves_between(tmp_path):
    save(tmp_path, 1)
    found = []

    def load(files):
        first = runs.load_json(files["config.json"])
        if not found:
            save(tmp_path, 2)
        found.append((first, int(runs.load_arrays(files["model.safetensors"])["w"][0])))
        return found[-1]

    assert runs.load_together(tmp_path, load) == (2, 2)
    assert found == [(1, 2), (2, 2)]


def test_files_are_verified_again_if_somebody_saves_meanwhile(tmp_path, monkeypatch):
    save(tmp_path, 1)
    real, looked = runs.directories.file_fingerprint, []

    def fingerprint(path, within=None):
        looked.append(path)
        if len(looked) == 1:
            save(tmp_path, 2)
        return real(path, within)

    monkeypatch.setattr(runs.directories, "file_fingerprint", fingerprint)
    assert sorted(runs.files_of(tmp_path)) == ["config.json", "model.safetensors"]
    assert runs.verify(tmp_path) == []
