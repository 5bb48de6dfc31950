"""A small book, and a terminal's environment that no setting of the machine changes."""

import pytest

from minigrad.study.book import CHAPTERS, file_of

TAPE = '''"""A title.

An introduction that tells of [[minigrad.graph.Node.pull_back]].
"""

from minigrad.study.pictures import heat

# why
x = 3

"""A second `text`, **bold**, of 1 < 2."""

print("x is", x)
heat([[1, 2], [3, 4]], title="four")
print("after <b>")

"""The last."""
'''


@pytest.fixture
def folder(tmp_path):
    """A folder with all chapters, of which tape has something to say, in two languages."""
    (tmp_path / "ja").mkdir()
    for name in CHAPTERS:
        file_of(name, tmp_path).write_text(f'"""Title of {name}"""\n', encoding="utf-8")
        (tmp_path / "ja" / f"{name}.md").write_text(f"{name}の題\n", encoding="utf-8")
    (tmp_path / "tape.py").write_text(TAPE, encoding="utf-8")
    texts = "題\n\n導入。[[minigrad.graph.Node.pull_back]]\n\n---\n\n次の`text`。\n---\n最後。\n"
    (tmp_path / "ja" / "tape.md").write_text(texts, encoding="utf-8")
    return tmp_path
