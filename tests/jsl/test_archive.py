"""Runs in a .zip: read as their directories are, and nothing that an archive says is believed."""

import hashlib
import json
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jsl import archive, checkpoint
from jsl.errors import RunDirError
from jsl.translate import Translator
from minigrad import runs

TEXTS = ["わたしはたべます", "ありがとう", "はい"]

pytestmark = pytest.mark.usefixtures("english")


def files_in(directory):
    return {path.name: path.read_bytes() for path in Path(directory).iterdir() if path.is_file()}


def zipped(path, files, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as new:
        for name, data in files.items():
            new.writestr(name, data)
    return path


def tags(place, group="甲"):
    return [t.tags for t in Translator(place).translate(TEXTS, group)]


def flat(files):
    return files


def in_a_folder(files):
    return {"モデル 1/": b"", **{f"モデル 1/{name}": data for name, data in files.items()}}


def of_a_mac(files):
    others = {"__MACOSX/._run": b"x", "__MACOSX/run/._config.json": b"x", "run/.DS_Store": b"x"}
    return {**{f"run/{name}": data for name, data in files.items()}, **others}


def of_windows(files):
    return {f"run\\{name}": data for name, data in files.items()}


def with_what_was_on_the_way(files):
    inner = {f"best/{name}": b"{}" for name in files}
    return {**{f"./{name}": data for name, data in files.items()}, **inner}


def without_the_optimizer(files):
    return {name: data for name, data in files.items() if name != checkpoint.OPTIMIZER}


LAYOUTS = [
    flat, in_a_folder, of_a_mac, of_windows, with_what_was_on_the_way, without_the_optimizer,
]  # fmt: skip


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
def test_a_zip_of_a_run_translates_as_the_run_does(learned, tmp_path, run, layout, method):
    place = zipped(tmp_path / "run.zip", layout(files_in(learned)), method)
    assert archive.is_archive(place)
    assert tags(place) == tags(learned)
    expected, found = checkpoint.load(learned), checkpoint.load(place)
    assert (found.config, found.metrics) == (expected.config, expected.metrics)
    for name, w in expected.weights.items():
        np.testing.assert_array_equal(found.weights[name], w, strict=True)
    done = run("verify", place)
    count = len(files_in(learned)) - 1 - (layout is without_the_optimizer)
    assert (done.code, done.out) == (0, f"{place}: all {count} files are whole.\n")
    assert run("inspect", place).code == 0


def test_a_zip_may_have_another_name(learned, tmp_path):
    place = zipped(tmp_path / "model.jsl", files_in(learned))
    assert tags(place) == tags(learned)


def test_what_the_system_packs_is_read(learned, tmp_path):
    place = shutil.make_archive(str(tmp_path / "a"), "zip", learned.parent, learned.name)
    assert tags(place) == tags(learned)


def test_a_zip_in_an_object_store(learned, tmp_path):
    pytest.importorskip("fsspec")
    data = zipped(tmp_path / "run.zip", files_in(learned)).read_bytes()
    runs.atomic_write("memory://archives/run.zip", data)
    assert tags("memory://archives/run.zip") == tags(learned)


def test_nothing_is_unpacked(learned, tmp_path, monkeypatch):
    place = zipped(tmp_path / "run.zip", files_in(learned))
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(zipfile.ZipFile, "extract", None)
    monkeypatch.setattr(zipfile.ZipFile, "extractall", None)
    checkpoint.load(place)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["../evil", "/evil", "..\\evil", "run/../../evil", "C:\\evil"])
def test_names_that_lead_out_lead_nowhere(learned, tmp_path, name):
    place = zipped(tmp_path / "run.zip", {**files_in(learned), name: b"evil"})
    assert tags(place) == tags(learned)
    assert not list(tmp_path.rglob("*evil*"))
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize("name", ["../config.json", "/etc/hostname", "a/config.json", "..", "c:x"])
def test_a_manifest_that_leads_out_is_refused(learned, tmp_path, name):
    files = files_in(learned)
    manifest = json.loads(files[runs.MANIFEST])
    manifest["files"][name] = manifest["files"]["config.json"]
    files |= {runs.MANIFEST: json.dumps(manifest).encode(), name: files["config.json"]}
    with pytest.raises(RunDirError, match="plain name"):
        checkpoint.load(zipped(tmp_path / "run.zip", files))


def refused(place, *words):
    with pytest.raises(RunDirError) as caught:
        checkpoint.load(place)
    for word in (str(place), *words):
        assert word in str(caught.value)


def test_what_is_no_zip_is_refused(tmp_path):
    for data in (b"", b"PK\3\4", b"PK\5\6" + bytes(18), b"no zip" * 100):
        (tmp_path / "run.zip").write_bytes(data)
        refused(tmp_path / "run.zip")


def test_a_truncated_zip_is_refused(learned, tmp_path):
    data = zipped(tmp_path / "run.zip", files_in(learned)).read_bytes()
    for size in (10, len(data) // 2, len(data) - 1):
        (tmp_path / "run.zip").write_bytes(data[:size])
        refused(tmp_path / "run.zip", "no whole zip")


def test_a_zip_of_something_else_or_of_several_runs_is_refused(learned, tmp_path):
    files = files_in(learned)
    refused(zipped(tmp_path / "a.zip", {"readme.txt": b"x"}), "no run", "manifest.json")
    deep = {f"a/b/{name}": data for name, data in files.items()}
    refused(zipped(tmp_path / "b.zip", deep), "no run")
    two = {f"{folder}/{name}": data for folder in "ab" for name, data in files.items()}
    refused(zipped(tmp_path / "c.zip", two), "several runs: a/, b/")


def test_a_file_that_is_there_twice_is_refused(learned, tmp_path):
    files = files_in(learned)
    place = zipped(tmp_path / "run.zip", {**files, "./config.json": files["config.json"]})
    refused(place, "config.json twice")


def test_missing_and_other_files_are_refused(learned, tmp_path):
    files = files_in(learned)
    less = {name: data for name, data in files.items() if name != "config.json"}
    refused(zipped(tmp_path / "a.zip", less), "config.json is missing")
    other = {**files, "config.json": files["config.json"].replace(b"16", b"61")}
    refused(zipped(tmp_path / "b.zip", other), "config.json differs")
    longer = {**files, "config.json": files["config.json"] + b" "}
    refused(zipped(tmp_path / "c.zip", longer), "config.json")


def test_an_encrypted_zip_is_refused(learned, tmp_path):
    place = zipped(tmp_path / "run.zip", files_in(learned))
    data = bytearray(place.read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = -1
        while (at := data.find(signature, at + 1)) >= 0:
            data[at + flags] |= 1
    place.write_bytes(data)
    refused(place, "is encrypted. Pack it without a password")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_are_refused(learned, tmp_path, method):
    refused(zipped(tmp_path / "run.zip", files_in(learned), method), "method", "Deflate")


def manifest_of(files):
    entries = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
    }
    return json.dumps({"files": entries}).encode()


def test_a_bomb_is_not_unpacked(learned, tmp_path):
    files = {**files_in(learned), "model.safetensors": bytes(1 << 25)}
    del files[runs.MANIFEST]
    files[runs.MANIFEST] = manifest_of(files)
    refused(zipped(tmp_path / "run.zip", files), "model.safetensors", f"{1 << 25:,} bytes")


def test_more_than_memory_holds_is_not_unpacked(learned, tmp_path, monkeypatch):
    place = zipped(tmp_path / "run.zip", files_in(learned))
    monkeypatch.setattr(archive.memory, "installed", lambda: 1 << 16)
    refused(place, "GiB of memory")


def test_sizes_that_an_archive_lies_about_are_found_out(learned, tmp_path):
    """A directory entry that says less, or more, than there is."""
    files = files_in(learned)
    place = zipped(tmp_path / "run.zip", files)
    whole = place.read_bytes()
    at = whole.rfind(b"PK\1\2")
    [size] = struct.unpack("<L", whole[at + 24 : at + 28])
    for other in (size - 1, size + 1, 2**31):
        data = bytearray(whole)
        data[at + 24 : at + 28] = struct.pack("<L", other)
        place.write_bytes(data)
        refused(place)


def test_any_byte_that_is_changed_is_noticed_or_changes_nothing(learned, tmp_path):
    whole = zipped(tmp_path / "run.zip", files_in(learned)).read_bytes()
    expected = checkpoint.load(tmp_path / "run.zip")
    place = tmp_path / "other.zip"
    rng = np.random.default_rng(5)
    # Of the directory at the end, and of the first header, every byte; of the rest some.
    ends = [*range(64), *range(whole.index(b"PK\1\2"), len(whole))]
    noticed = 0
    for at in [*ends, *rng.integers(0, len(whole), 60).tolist()]:
        data = bytearray(whole)
        data[at] ^= int(rng.integers(1, 256))
        place.write_bytes(data)
        try:
            found = checkpoint.load(place)
        except RunDirError:
            noticed += 1
            continue
        assert found.config == expected.config, at
        for name, w in expected.weights.items():
            assert found.weights[name].tobytes() == w.tobytes(), at
    assert noticed > 100


def test_packing_gives_equal_bytes(learned, monkeypatch):
    files = files_in(learned)
    first = archive.packed(files)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert archive.packed(dict(reversed(files.items()))) == first


def test_training_is_not_continued_in_an_archive(learned, tmp_path, run, corpus_path):
    place = zipped(tmp_path / "run.zip", files_in(learned))
    for command in (["train", "--load", place], ["train", "--resume", place], ["resume", place]):
        done = run(*command, "--corpus", corpus_path)
        assert done.code == 1
        assert "unpack it first" in done.err


def test_predict_takes_a_zip(learned, tmp_path, run):
    place = zipped(tmp_path / "run.zip", in_a_folder(files_in(learned)))
    expected = run("predict", "--load", learned, "--json", *TEXTS)
    found = run("predict", "--load", place, "--json", *TEXTS)
    assert (found.code, found.out) == (0, expected.out)
