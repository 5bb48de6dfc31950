"""A folder of its own for what the processes of a test give."""

import pytest


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    folder = tmp_path / "several"
    folder.mkdir()
    monkeypatch.setenv("SEVERAL_FOLDER", str(folder))
