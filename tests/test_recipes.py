"""Recipes of the documentation: their blocks run, in order, and the index names every page."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "docs" / "recipes"
PAGES = sorted(page for page in FOLDER.glob("*.md") if page.name != "README.md")
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(text):
    """Return the Python blocks of a page, each with the number of lines before it."""
    return [(text[: found.start(1)].count("\n"), found[1]) for found in _BLOCK.finditer(text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_runs(page, tmp_path, monkeypatch):
    """Run the blocks as one session, in a folder of their own; errors name lines of the page."""
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    found = blocks(text)
    assert found, f"{page.name} has no block of Python"
    assert len(text.splitlines()) <= 100, f"{page.name} is longer than 100 lines"
    scope = {"__name__": "__main__"}
    for lines, block in found:
        exec(compile("\n" * lines + block, str(page), "exec"), scope)


def test_index_names_every_page_once():
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)#]+)\)", index)
    assert sorted(linked) == [page.name for page in PAGES]


@pytest.mark.parametrize("page", [*PAGES, FOLDER / "README.md"], ids=lambda page: page.stem)
def test_links_within_the_repository_resolve(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_blocks_know_their_lines():
    text = "# Title\n\n```python\nx = 1\n```\n\ntext\n\n```python\n1 / 0\n```\n"
    assert blocks(text) == [(3, "x = 1\n"), (9, "1 / 0\n")]
